import { wva } from '../../src/driver/wva/wva.js';
import { SystemError } from '../../src/errors.js';
import { connectUnix } from '../../src/sys/unix-socket.js';
import { VfioUserTransport } from '../../src/transport/vfio-user/client.js';
import { noop } from './support-broker.js';

// Connects as whoever started it, becomes another user, and says what it can do then.
const [socket, uid] = process.argv.slice(2);
const connect = async () => wva.open(await VfioUserTransport.connect(connectUnix(socket!), 'broker'));
const device = await connect();
const queue = await device.createQueue({ depth: 4 });
process.setgroups!([]);
process.setgid!(Number(uid));
process.setuid!(Number(uid));
await noop(device);
const memory = await device.allocate(4096);
let refused: number | undefined;
try {
  await (await connect()).close();
} catch (error) {
  refused = error instanceof SystemError ? error.errno : -1;
}
console.log(JSON.stringify({ kept: true, refused }));
process.stdin.once('data', async () => {
  await memory.free();
  await queue.release();
  await device.close();
  process.exit();
});
