import { parentPort, workerData } from 'node:worker_threads';
import { Device, type DeviceOptions } from './device.js';
import { CONTROL_THREAD, Lifeline } from './lifeline.js';
import { DeviceServer } from './server.js';

/** What `startEmbedded` tells the device thread. */
export interface EmbeddedWorkerData {
  socket: number;
  sva: boolean;
  options: DeviceOptions;
}

/** What the client says: that it has sent something, or that the process ends and every engine thread has left. */
export type EmbeddedMessage = 'nudge' | 'leave';

/** What the device thread says when it is ready. */
export interface EmbeddedReady {
  wakeFd: number;
}

const { socket, sva, options } = workerData as EmbeddedWorkerData;
const port = parentPort!;
const lifeline = new Lifeline(options.lifeline);
process.once('exit', () => lifeline.leave(CONTROL_THREAD));
const device = new Device(options);
const server = new DeviceServer(device, socket, { sva }, () => {
  // The only client has gone, and so does the device.
  port.postMessage('socket-closed');
  void device.stop().then(() => port.close());
});
// The client says when it has sent something: this thread can be terminated at any moment, and must not watch.
port.on('message', (message: EmbeddedMessage) => {
  if (message === 'leave') process.exit();
  server.receive();
});
device.start().then(
  () => port.postMessage({ wakeFd: device.wakeFd } satisfies EmbeddedReady),
  (error: Error) => port.postMessage(error),
);
