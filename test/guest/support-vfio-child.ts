import { Edu } from '../../src/driver/edu/edu.js';
import { WarpDriveError } from '../../src/errors.js';
import { DmaBuffer } from '../../src/transport/dma-buffer.js';
import { openVfio } from '../../src/transport/vfio/open.js';

/** Another process that opens a device: `open`, `allocate` a megabyte, or do DMA for ever (`storm`). Tells what came of it. */
const [what, address] = process.argv.slice(2);
try {
  const transport = await openVfio(address!);
  if (what === 'allocate') await DmaBuffer.allocate(transport, 1 << 20);
  if (what === 'storm') {
    const edu = await Edu.open(transport);
    const buffer = await DmaBuffer.allocate(transport, 4096);
    buffer.mapping.bytes.fill(0xab);
    await edu.dma('read', buffer.iova, 2048);
    process.stdout.write(`${buffer.iova}\n`);
    for (;;) await edu.dma('write', buffer.iova, 2048);
  }
  process.stdout.write('done\n');
  await transport.close();
} catch (error) {
  if (!(error instanceof WarpDriveError)) throw error;
  process.stdout.write(`${error.code}: ${error.message}\n`);
}
