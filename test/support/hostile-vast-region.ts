import assert from 'node:assert/strict';
import { DEVICE_MAGIC, REGION } from '../../src/abi/registers.js';
import { Device } from '../../src/device/device.js';
import { Lifeline } from '../../src/device/lifeline.js';
import { DeviceServer } from '../../src/device/server.js';
import { closeFd } from '../../src/sys/fd.js';
import { ERRNO } from '../../src/sys/libc.js';
import { createMemfd } from '../../src/sys/memfd.js';
import { createSocketPair } from '../../src/sys/socket.js';
import { VfioUserTransport } from '../../src/transport/vfio-user/client.js';

/*
 * A client that maps a region of 2^N bytes (the argument), which a sparse memfd makes out of nothing. Run in a process
 * of its own: a device that is not careful ends with it.
 */

const length = 2 ** Number(process.argv[2]);
const device = new Device({
  maxThreads: 1,
  spinMicroseconds: 50,
  disabledEngines: [],
  faults: [],
  lifeline: new Lifeline(1).buffer,
});
await device.start();
const [client, end] = createSocketPair();
const server = new DeviceServer(device, end, { sva: false }, () => {});
const transport = await VfioUserTransport.connect(client, 'vast', () => server.receive());
const fd = createMemfd('vast', length);
try {
  await transport.dmaMap({ fd, offset: 0, iova: 2 ** 46, length, writable: true });
  console.log('mapped');
  await transport.dmaUnmap(2 ** 46, length);
} catch (error) {
  const { errno } = error as { errno?: number };
  assert.ok(errno === ERRNO.EINVAL || errno === ERRNO.ENOMEM || errno === ERRNO.ENOSPC, String(error));
  console.log('refused');
}
closeFd(fd);
const magic = await transport.readRegion(REGION.registers, 0, 4);
assert.equal(magic.readUInt32LE(0), DEVICE_MAGIC);
console.log('the device still answers');
await transport.close();
await device.stop();
