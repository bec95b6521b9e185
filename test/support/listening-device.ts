import type { TestContext } from 'node:test';
import { Device } from '../../src/device/device.js';
import { Lifeline } from '../../src/device/lifeline.js';
import { DeviceServer } from '../../src/device/server.js';
import { closeFd } from '../../src/sys/fd.js';
import { watch } from '../../src/sys/libc.js';
import { acceptUnix, listenUnix } from '../../src/sys/unix-socket.js';

/** Serves a device at a path until the test ends: to other processes, one function each. */
export async function listeningDevice(t: TestContext, path: string, maxClients = 4): Promise<Device> {
  const device = new Device({
    maxThreads: 1,
    spinMicroseconds: 50,
    disabledEngines: [],
    faults: [],
    lifeline: new Lifeline(1).buffer,
    shared: { maxClients, maxQueues: 64, maxSessions: 64, coolMs: 5 },
  });
  await device.start();
  const listener = listenUnix(path, 0o600);
  const accepting = watch(listener, 'readable', () => {
    const fd = acceptUnix(listener);
    if (fd >= 0) new DeviceServer(device, fd, { sva: false }, () => {}).listen();
  });
  t.after(async () => {
    accepting.close();
    closeFd(listener);
    await device.stop();
  });
  return device;
}
