import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DOORBELL, LIMITS } from '../../src/abi/queue.js';
import { PCI, REGION } from '../../src/abi/registers.js';
import { COMMAND, DEVICE_INFO, HEADER, MESSAGE_FLAG, MESSAGE_TYPE } from '../../src/abi/vfio-user.js';
import { explain, INSPECT_EXIT, inspectSocket } from '../../src/cli/inspect.js';
import { type Inspection, identify } from '../../src/cli/inspection.js';
import { closeFd } from '../../src/sys/fd.js';
import { listenUnix } from '../../src/sys/unix-socket.js';
import { encodeVersion } from '../../src/transport/vfio-user/version.js';
import { message, words } from '../support/hostile-client.js';
import { listeningDevice } from '../support/listening-device.js';
import { requirement } from '../support/requirement.js';
import { startWarpdrive, temporaryFolder } from './support-cli.js';

const FOREIGN = fileURLToPath(new URL('../../../test/fixtures/foreign-server.py', import.meta.url));
const hasPython = spawnSync('python3', ['--version']).status === 0;
const folder = temporaryFolder();
writeFileSync(join(folder, 'plain'), '');
let sockets = 0;
const socketPath = (): string => join(folder, `socket-${sockets++}`);

/** Runs the command beside this process, which may be the one that answers it. */
async function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = startWarpdrive(['inspect', ...args]);
  let stdout = '';
  let stderr = '';
  child.stdout!.on('data', (data) => {
    stdout += data;
  });
  child.stderr!.on('data', (data) => {
    stderr += data;
  });
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}

/** A server that does with each connection what it is told. */
async function server(t: TestContext, serve: (socket: Socket) => void): Promise<string> {
  const path = socketPath();
  const open = new Set<Socket>();
  const listening = createServer((socket) => {
    open.add(socket);
    socket.on('error', () => {});
    serve(socket);
  });
  listening.listen(path);
  await once(listening, 'listening');
  t.after(() => {
    for (const socket of open) socket.destroy();
    listening.close();
  });
  return path;
}

/** Answers each whole message; `replies` gives a body, or an errno. */
function answering(replies: (command: number, body: Buffer) => Buffer | number): (socket: Socket) => void {
  return (socket) => {
    let pending = Buffer.alloc(0);
    socket.on('data', (data) => {
      pending = Buffer.concat([pending, data]);
      while (pending.length >= HEADER.bytes) {
        const size = pending.readUInt32LE(HEADER.offset.size);
        if (pending.length < size) return;
        const id = pending.readUInt16LE(HEADER.offset.id);
        const command = pending.readUInt16LE(HEADER.offset.command);
        const reply = replies(command, pending.subarray(HEADER.bytes, size));
        pending = pending.subarray(size);
        socket.write(
          typeof reply === 'number'
            ? message(command, undefined, {
                id,
                flags: MESSAGE_TYPE.reply | MESSAGE_FLAG.error,
                error: reply,
              })
            : message(command, reply, { id, flags: MESSAGE_TYPE.reply }),
        );
      }
    });
  };
}

describe('inspect shows', () => {
  test('an accelerator of our own', async (t) => {
    const path = socketPath();
    await listeningDevice(t, path);
    const table = await run(`unix:${path}`);
    assert.equal(table.stderr, '');
    assert.equal(table.code, 0);
    for (const expected of [
      /^device +unix:\/.*\nprotocol +vfio-user 0\.1\n/,
      /\nvendor +0x7764\ndevice id +0x0001, revision 1\n/,
      /\nclass +0x120000, processing accelerator\n/,
      /\naccelerator +WarpDrive 1\.0, state 1\n/,
      /\n2 +BAR 2 +262144 +read, write, mmap, caps +0x0\+0x40000 +yes +0x0\+0x40000 +sparse mmap\n/,
      /\n7 +config +256 +read, write +- +no +- +-\n/,
      /\n2 +MSI-X +64 +eventfd, noresize\n/,
      /\nengine +version/,
    ]) {
      assert.match(table.stdout, expected);
    }
    const json = await run('--json', `unix:${path}`);
    const inspection = JSON.parse(json.stdout) as Inspection;
    assert.equal(inspection.pci!.vendorId, PCI.vendorId);
    assert.deepEqual(inspection.pci!.capabilities, []);
    assert.deepEqual(inspection.flags, ['reset', 'pci']);
    assert.deepEqual(inspection.notes, []);
    const doorbells = inspection.regions[REGION.doorbells]!;
    assert.deepEqual(doorbells.areas, [{ offset: 0, length: LIMITS.maxQueues * DOORBELL.pageBytes }]);
    assert.equal(doorbells.descriptor, true);
    assert.equal(inspection.warpdrive!.registers['maxDepth'], LIMITS.maxDepth);
    assert.ok(inspection.warpdrive!.description.engines.length > 0);
    assert.equal(inspection.protocol!.capabilities.maxDmaMaps, LIMITS.maxRegions);
  });

  test('a device that others wrote', async (t) => {
    if (!requirement(t, hasPython, 'python3')) return;
    const path = socketPath();
    const foreign = spawn('python3', [FOREIGN, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => foreign.kill());
    let said = '';
    foreign.stdout.on('data', (data) => {
      said += data;
    });
    while (!said.includes('ready')) await once(foreign.stdout, 'data');
    const { code, stdout, stderr } = await run('--json', `unix:${path}`);
    assert.equal(stderr, '');
    assert.equal(code, 0);
    const inspection = JSON.parse(stdout) as Inspection;
    const { pci, regions, irqs, protocol } = inspection;
    assert.equal(protocol!.capabilities.maxMessageFds, 8);
    assert.equal(protocol!.capabilities.maxTransferBytes, 1000);
    assert.equal(pci!.vendorId, 0x1af4);
    assert.equal(pci!.classCode, 0x010080);
    assert.equal(pci!.className, 'mass storage');
    assert.deepEqual(
      pci!.capabilities.map(({ offset, name, extended }) => [offset, name, extended]),
      [
        [0x40, 'MSI-X', false],
        [0x50, 'vendor specific', false],
        [0x60, 'power management', false],
        [0x100, 'advanced error reporting', true],
        [0x140, 'serial number', true],
      ],
    );
    assert.equal(regions.length, 9);
    assert.deepEqual(regions[0]!.areas, [
      { offset: 4096, length: 4096 },
      { offset: 12288, length: 4096 },
    ]);
    assert.deepEqual(regions[0]!.capabilities, ['capability 99', 'sparse mmap']);
    assert.deepEqual(regions[0]!.wake, [
      { offset: 0, length: 4 },
      { offset: 64, length: 4 },
    ]);
    assert.equal(regions[2]!.areas.length, 300, 'asked again with more room');
    assert.equal(regions[2]!.descriptor, true);
    assert.match(regions[2]!.notes[0]!, /^wake: .*EINVAL/);
    assert.deepEqual(
      [regions[4]!.flags, regions[4]!.areas, regions[4]!.descriptor],
      [['read', 'mmap'], [], false],
    );
    assert.deepEqual(irqs[0], {
      index: 0,
      name: 'INTx',
      count: 1,
      flags: ['eventfd', 'maskable', 'automasked'],
      notes: [],
    });
    assert.equal(irqs[2]!.count, 4);
    assert.match(irqs[3]!.notes[0]!, /EINVAL/);
    assert.equal(inspection.warpdrive, undefined);
    while (!said.includes('errno 95')) await once(foreign.stdout, 'data');
    // And as a table.
    const table = await run(`unix:${path}`);
    assert.equal(table.code, 0);
    assert.match(table.stdout, /\nnote: region 2, wake: vfio-user getRegionIoFds: EINVAL\n/);
  });

  test('a device that claims more than there can be, and refuses the rest', async (t) => {
    const path = await server(
      t,
      answering((command) => {
        if (command === COMMAND.version) return encodeVersion(0, 0, {});
        if (command === COMMAND.getInfo) return words(DEVICE_INFO.bytes, 0xffffffff, 0xffffffff, 0xffffffff);
        return 38;
      }),
    );
    const { code, stdout, stderr } = await run('--json', `unix:${path}`);
    assert.equal(stderr, '');
    assert.equal(code, 0);
    const inspection = JSON.parse(stdout) as Inspection;
    assert.equal(inspection.regions.length, 64);
    assert.equal(inspection.notes.length, 2);
    assert.deepEqual(inspection.flags, ['reset', 'pci', '0xfffffffc']);
    assert.equal(inspection.protocol!.minor, 0);
    assert.equal(inspection.pci, undefined);
  });
});

describe('inspect says what is wrong, with an exit code of its own:', () => {
  async function fails(path: string, code: number, stderr: RegExp): Promise<void> {
    const result = await run(`unix:${path}`);
    assert.match(result.stderr, stderr);
    assert.match(result.stderr, /^warpdrive: unix:[^\n]{1,300}\n$/);
    assert.equal(result.stdout, '');
    assert.equal(result.code, code);
  }

  test('no such socket', async () => {
    await fails(socketPath(), INSPECT_EXIT.noSocket, /no such socket/);
    await fails(join(folder, 'plain', 'socket'), INSPECT_EXIT.noSocket, /no such socket/);
  });

  test('nobody listens', async () => {
    const path = socketPath();
    closeFd(listenUnix(path, 0o600));
    await fails(path, INSPECT_EXIT.refused, /connection refused/);
    await fails(join(folder, 'plain'), INSPECT_EXIT.refused, /connection refused/);
  });

  test('no permission', async (t) => {
    const path = socketPath();
    const fd = listenUnix(path, 0o000);
    t.after(() => closeFd(fd));
    // The superuser may connect to anything.
    const isSuperuser = process.geteuid!() === 0;
    if (isSuperuser) process.seteuid!(65534);
    try {
      await assert.rejects(inspectSocket(`unix:${path}`), (error) => {
        const failure = explain(error);
        assert.equal(failure?.exitCode, INSPECT_EXIT.permission);
        assert.match(failure.message, /permission denied/);
        return true;
      });
    } finally {
      if (isSuperuser) process.seteuid!(0);
    }
  });

  for (const [what, serve] of Object.entries({
    'text before a question': (socket: Socket) => socket.write('SSH-2.0-OpenSSH_9.9 and more\r\n'),
    'another protocol': (socket: Socket) =>
      socket.once('data', () => socket.write('HTTP/1.1 400 Bad\r\n\r\n')),
    'an echo': (socket: Socket) => socket.pipe(socket),
    'a hang-up': (socket: Socket) => socket.destroy(),
    'a hang-up after the question': (socket: Socket) => socket.once('data', () => socket.destroy()),
    'an answer to something else': (socket: Socket) =>
      socket.once('data', () => socket.write(message(COMMAND.version, undefined, { id: 77, flags: 1 }))),
    'a version without JSON': answering(() => Buffer.from([0, 0, 1, 0, 0x7b, 0])),
    'a major version that nobody knows': answering(() => encodeVersion(7, 0, {})),
    'a later minor version': answering(() => encodeVersion(0, 9, {})),
    'a device that takes no data': answering(() => encodeVersion(0, 1, { maxTransferBytes: 0 })),
    'an answer that is too short': answering((command) =>
      command === COMMAND.version ? encodeVersion(0, 1, {}) : Buffer.alloc(3),
    ),
    'text that drives a terminal': (socket: Socket) => socket.write(Buffer.alloc(64, 0x1b)),
  })) {
    test(`not vfio-user: ${what}`, async (t) => {
      await fails(await server(t, serve), INSPECT_EXIT.notVfioUser, /: (not a vfio-user device|hung up)/);
    });
  }

  test('no answer, at first or in the middle', async (t) => {
    const silent = await server(t, () => {});
    const half = await server(t, (socket) => socket.once('data', () => socket.write(Buffer.alloc(7))));
    const later = await server(t, (socket) => {
      const serve = answering((command) =>
        command === COMMAND.version ? encodeVersion(0, 1, {}) : words(16, 2, 9, 5),
      );
      serve(socket);
      let count = 0;
      socket.on('data', () => {
        if (++count === 2) socket.removeAllListeners('data');
      });
    });
    await Promise.all(
      [silent, half, later].map((path) => fails(path, INSPECT_EXIT.noAnswer, /no answer within 5 seconds/)),
    );
  });

  test('a wrong command line', async () => {
    for (const args of [
      [],
      ['/run/socket'],
      ['unix:'],
      ['unix:/a', 'unix:/b'],
      ['unix:/a', '--jsno'],
      [`unix:/${'x'.repeat(200)}`],
    ]) {
      const { code, stderr } = await run(...args);
      assert.equal(code, 1, args.join(' '));
      assert.match(stderr, /^warpdrive: [^\n]+\n$/);
    }
  });
});

describe('a configuration space', () => {
  const config = (fill: (bytes: Buffer) => void, length = 256): ReturnType<typeof identify> => {
    const bytes = Buffer.alloc(length);
    bytes[6] = 0x10;
    fill(bytes);
    return identify(bytes);
  };

  test('whose list leads back, out, into the header or to itself', () => {
    const ids = (fill: (bytes: Buffer) => void): number[] => config(fill).capabilities.map(({ id }) => id);
    assert.deepEqual(
      ids((b) => b.set([0x40], 0x34)),
      [0],
    );
    assert.deepEqual(
      ids((b) => {
        b[0x34] = 0x43;
        b.set([5, 0x40], 0x40);
      }),
      [5],
    );
    assert.deepEqual(
      ids((b) => {
        b[0x34] = 0xfc;
        b.set([17, 0x10], 0xfc);
      }),
      [17],
    );
    assert.deepEqual(
      ids((b) => b.set([0x10], 0x34)),
      [],
    );
    assert.deepEqual(
      ids((b) => {
        b[6] = 0;
        b[0x34] = 0x40;
      }),
      [],
    );
    assert.equal(config((b) => b.fill(0xff)).capabilities.length, 1);
    assert.equal(config((b) => b.fill(0xff), 4096).capabilities.length, 1);
    assert.equal(config((b) => b.fill(0x41), 4096).className, 'of an unknown class');
    assert.equal(config(() => {}, 64).capabilities.length, 0);
  });
});
