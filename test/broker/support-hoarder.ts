import { writeSync } from 'node:fs';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, STATUS, statusName } from '../../src/abi/queue.js';
import { Submission } from '../../src/driver/driver.js';
import { wva } from '../../src/driver/wva/wva.js';
import { connectUnix } from '../../src/sys/unix-socket.js';
import { VfioUserTransport } from '../../src/transport/vfio-user/client.js';
import { completion } from './support-broker.js';

/*
 * A client that opens sessions until it is refused one, says how many it has and why there is no other, and keeps them:
 * SOCKET.
 */

const device = await wva.open(await VfioUserTransport.connect(connectUnix(process.argv[2]!), 'broker'));
const queue = await device.createQueue({ depth: 4 });
const request = new Submission();
request.operation = OPCODE.sessionOpen;
request.algorithm = ALGORITHM.gzip;
for (let sessions = 0; ; sessions++) {
  queue.submit(request);
  queue.publish();
  const { status } = await completion(queue);
  if (status === STATUS.ok) continue;
  writeSync(1, `${sessions} ${statusName(status)}\n`);
  break;
}
setInterval(() => {}, 60_000);
