import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { closeFd, closeFds } from '../../src/sys/fd.js';
import { receiveBytes, sendBytes } from '../../src/sys/socket.js';
import { Broker, noop, until } from './support-broker.js';

/** Whether the other end has hung up; what it sent is thrown away. */
function hungUp(fd: number): boolean {
  try {
    return receiveBytes(fd, new Uint8Array(64), []) === 0;
  } catch {
    return true;
  }
}

describe('a broker among hostile clients', () => {
  test('half a header, and then nothing, holds up nobody and ends', async (t) => {
    const broker = await Broker.start(t, [], { config: { handshakeSeconds: 1 } });
    const honest = await broker.device();
    const silent = broker.open();
    const half = broker.open();
    sendBytes(half, new Uint8Array(8), []);
    await noop(honest);
    await until(() => hungUp(silent) && hungUp(half), 'the broker hangs up');
    await noop(honest);
    closeFds([silent, half]);
    await honest.close();
    const reasons = broker.logs
      .filter(({ message }) => message === 'client gone')
      .map((line) => line['reason']);
    assert.deepEqual(reasons.slice(0, 2), Array(2).fill('no version was agreed on in time'));
  });

  test('hundreds of connections that come and go leave nothing behind', async (t) => {
    const broker = await Broker.start(t);
    // Whatever is made once has been made.
    await (await broker.device()).close();
    const gone = (): number => broker.logs.filter(({ message }) => message === 'client gone').length;
    await until(() => gone() === 1, 'the first client goes');
    const before = broker.openFds;
    for (let round = 0; round < 8; round++) {
      const raw = Array.from({ length: 24 }, () => broker.open());
      const honest = await broker.device();
      await noop(honest);
      await honest.close();
      closeFds(raw);
      await (await broker.device()).close();
    }
    await until(() => broker.openFds === before, 'as many descriptors as before');
    const last = await broker.device();
    await noop(last);
    await last.close();
  });

  test('a flood of connections is turned away, and those who are there do not feel it', async (t) => {
    const broker = await Broker.start(t, ['--max-clients', '4']);
    const honest = await broker.device();
    const flood: number[] = [];
    for (let round = 0; round < 20; round++) {
      for (let each = 0; each < 25; each++) flood.push(broker.open());
      await noop(honest);
    }
    // Three have got in; the others are hung up on.
    await until(() => flood.filter(hungUp).length === flood.length - 3, 'all others are turned away');
    closeFds(flood);
    await until(async () => {
      try {
        await (await broker.device()).close();
        return true;
      } catch {
        return false;
      }
    }, 'there is room again');
    await honest.close();
    const refused = broker.logs.filter(({ message }) => message === 'client refused').length;
    assert.ok(refused > 0 && refused <= 100, `${refused} lines about 500 connections`);
  });

  test('out of descriptors, it waits for some, and says so once', async (t) => {
    const wrapper = ['sh', '-c', 'ulimit -n 64; exec "$@"', 'sh'];
    const broker = await Broker.start(t, ['--engines', '1'], { wrapper });
    const honest = await broker.device();
    const flood = Array.from({ length: 100 }, () => broker.open());
    await broker.logged('connections cannot be accepted');
    await honest.counters(0);
    closeFds(flood);
    await broker.logged('connections are accepted again');
    await noop(honest);
    await honest.close();
    const said = broker.logs.filter(({ message }) => message === 'connections cannot be accepted');
    assert.equal(said.length, 1);
    assert.deepEqual(await broker.stop(), { code: 0, signal: null });
  });

  test('bytes that are no message end that connection alone', async (t) => {
    const broker = await Broker.start(t);
    const honest = await broker.device();
    const rubbish = broker.open();
    sendBytes(rubbish, new Uint8Array(64).fill(0xff), []);
    await until(() => hungUp(rubbish), 'the broker hangs up');
    closeFd(rubbish);
    await noop(honest);
    await honest.close();
  });
});
