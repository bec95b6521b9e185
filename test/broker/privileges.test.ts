import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { connect } from 'node:net';
import { json } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { BrokerReport } from '../../src/broker/info.js';
import { ERRNO } from '../../src/sys/libc.js';
import { requirement } from '../support/requirement.js';
import { Broker } from './support-broker.js';

const DROPPER = fileURLToPath(new URL('./support-dropper.js', import.meta.url));
/** "nobody" on Debian; any user but root will do. */
const NOBODY = 65534;

describe('a client that gives up its user', () => {
  test('keeps the device it has, on the account of who connected, and gets no other', async (t) => {
    if (!requirement(t, process.getuid!() === 0, 'root, to become another user')) return;
    const broker = await Broker.start(t, ['--mode', '0666'], { config: { allow: { users: ['root'] } } });
    // The other user reaches the socket: it is the broker that says no.
    chmodSync(broker.folder, 0o711);
    const child = spawn(process.execPath, [DROPPER, broker.socket, `${NOBODY}`], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const exit = once(child, 'exit');
    t.after(() => child.kill('SIGKILL'));
    const [said] = (await once(child.stdout, 'data')) as [Buffer];
    assert.deepEqual(JSON.parse(said.toString()), { kept: true, refused: ERRNO.EACCES });
    const report = (await json(connect(`${broker.socket}.info`))) as BrokerReport;
    assert.deepEqual(
      report.clients.map(({ uid, pid, held }) => ({ uid, pid, queues: held.queues })),
      [{ uid: 0, pid: child.pid, queues: 1 }],
    );
    child.stdin.write('done\n');
    assert.deepEqual(await exit, [0, null]);
  });
});
