import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { BrokerReport } from '../../src/broker/info.js';
import { wva } from '../../src/driver/wva/wva.js';
import { connectUnix } from '../../src/sys/unix-socket.js';
import { VfioUserTransport } from '../../src/transport/vfio-user/client.js';
import { requirement } from '../support/requirement.js';
import { noop, until } from './support-broker.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const TOOL = 'systemd-socket-activate';

describe('socket activation by systemd', () => {
  test('the first client starts the broker, and is served like those after it', async (t) => {
    const found = spawnSync(TOOL, ['--version']).status === 0;
    if (!requirement(t, found, `${TOOL} (Debian package systemd)`)) return;
    const folder = mkdtempSync(join(tmpdir(), 'warpdrive-activation-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const socket = join(folder, 'warpdrive.sock');
    // As warpdrive.socket has them: two sockets, in this order.
    const listen = ['-l', socket, '-l', `${socket}.info`];
    const command = [process.execPath, MAIN, 'serve', '--socket', socket, '--engines', '1'];
    const child = spawn(TOOL, [...listen, ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = once(child, 'close');
    t.after(() => child.kill('SIGKILL'));
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        said += chunk;
      });
    }
    await until(() => existsSync(`${socket}.info`) && said.includes('Listening on'), 'systemd listens');
    const program = (): string => readFileSync(`/proc/${child.pid}/cmdline`, 'utf8').split('\0')[0]!;
    assert.ok(program().endsWith(TOOL), 'nobody has connected, and nothing was started');
    for (const name of ['first', 'second']) {
      const device = await wva.open(await VfioUserTransport.connect(connectUnix(socket), name));
      await noop(device);
      await device.close();
    }
    assert.equal(program(), process.execPath);
    const report = (await json(connect(`${socket}.info`))) as BrokerReport;
    assert.equal(report.pid, child.pid);
    child.kill('SIGTERM');
    assert.deepEqual(await ended, [0, null], said);
    assert.ok(existsSync(socket), 'its maker removes it');
  });
});
