import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { BrokerReport } from '../../src/broker/info.js';
import { closeFd } from '../../src/sys/fd.js';
import { listenUnix } from '../../src/sys/unix-socket.js';
import { MAIN } from '../cli/support-cli.js';
import { requirement } from '../support/requirement.js';
import { Broker } from './support-broker.js';

const ASK_AS = fileURLToPath(new URL('./support-ask-as.js', import.meta.url));
/** Nobody, by tradition: a user without clients. */
const NOBODY = 65534;

const run = promisify(execFile);

/** Runs `warpdrive clients`, while this process goes on. */
async function clients(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  try {
    return { code: 0, ...(await run(process.execPath, [MAIN, 'clients', ...args])) };
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string };
  }
}

describe('warpdrive clients', () => {
  test('lists clients with what they hold', async (t) => {
    const broker = await Broker.start(t, ['--engines', '1']);
    const device = await broker.device();
    await device.createQueue({ depth: 4 });
    const memory = await device.allocate(1 << 20);
    const { stdout } = await clients('--socket', broker.socket, '--json');
    const report = JSON.parse(stdout) as BrokerReport;
    assert.equal(report.pid, broker.pid);
    assert.equal(report.state, 'ready');
    assert.equal(report.device.maxThreads, 1);
    assert.equal(report.clientCount, 1);
    const [only] = report.clients;
    assert.ok(only);
    assert.equal(only.pid, process.pid);
    assert.equal(only.uid, process.getuid!());
    assert.equal(only.held.queues, 1);
    assert.equal(only.held.regions, 2);
    assert.equal(only.held.mappedBytes, memory.mapping.length + 4096);
    assert.equal(only.limits.queues, 64);
    const table = (await clients('--socket', broker.socket)).stdout;
    assert.match(table, /clients +1 of at most \d+/);
    assert.match(table, new RegExp(`${process.pid} +${process.getuid!()} +1 +2 +0 +0\\.0 +0\\.0 `));
    await memory.free();
    await device.close();
  });

  test('tells another user of its own clients alone', async (t) => {
    if (!requirement(t, process.getuid!() === 0, 'root, to become another user,')) return;
    const broker = await Broker.start(t, ['--mode', '0666'], { config: {} });
    chmodSync(broker.folder, 0o755);
    const device = await broker.device();
    const ask = async (): Promise<string> =>
      (await run(process.execPath, [ASK_AS, String(NOBODY), `${broker.socket}.info`])).stdout;
    const report = JSON.parse(await ask()) as BrokerReport;
    assert.equal(report.clientCount, 1);
    assert.deepEqual(report.clients, []);
    await broker.reload({ allow: { users: [0] } });
    assert.equal(await ask(), '', 'whom no list names is told nothing');
    await device.close();
  });

  test('is told, whoever else asks and does not listen', async (t) => {
    const broker = await Broker.start(t);
    const idle = Array.from({ length: 50 }, () => connect(`${broker.socket}.info`).pause());
    const { code, stderr } = await clients('--socket', broker.socket);
    assert.equal(code, 0, stderr);
    for (const each of idle) each.destroy();
  });

  test('says what is wrong where no broker answers', async (t) => {
    const broker = await Broker.start(t);
    const none = await clients('--socket', join(broker.folder, 'none'));
    assert.equal(none.code, 1);
    assert.match(none.stderr, /the broker at .*none cannot be asked: no such file or directory/);
    const silent = join(broker.folder, 'silent');
    const fd = listenUnix(`${silent}.info`, 0o600);
    t.after(() => closeFd(fd));
    assert.match((await clients('--socket', silent)).stderr, /has said nothing for 5 seconds/);
    assert.match((await clients('--sockets')).stderr, /unknown option --sockets/);
    assert.match((await clients('--help')).stdout, /^usage: warpdrive clients/);
  });
});
