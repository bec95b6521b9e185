import { open } from 'node:fs/promises';

let asked = 0;

/** Asks QEMU's monitor (QMP) from inside the guest, and returns its answer. */
export async function monitor(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
  const port = await open('/dev/warpdrive-monitor', 'r+');
  try {
    const id = `${process.pid}-${++asked}`;
    // Once for each connection, which outlives us: a second time it is refused, and nobody looks.
    const hello = JSON.stringify({ execute: 'qmp_capabilities' });
    await port.write(`${hello}\n${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    let text = '';
    const chunk = Buffer.alloc(4096);
    for (;;) {
      const { bytesRead } = await port.read(chunk, 0, chunk.length, null);
      text += chunk.toString('utf8', 0, bytesRead);
      const lines = text.split('\n');
      text = lines.pop()!;
      for (const line of lines) {
        const message = JSON.parse(line) as { id?: string; return?: unknown; error?: { desc: string } };
        if (message.id !== id) continue;
        if (message.error) throw new Error(`${command}: ${message.error.desc}`);
        return message.return;
      }
    }
  } finally {
    await port.close();
  }
}

/** Pulls a device out of the running guest. */
export async function unplug(id: string): Promise<void> {
  await monitor('device_del', { id });
}
