import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, STATUS } from '../../src/abi/queue.js';
import type { ClientReport } from '../../src/broker/client.js';
import type { BrokerReport } from '../../src/broker/info.js';
import { type DeviceQueue, type DriverDevice, Submission } from '../../src/driver/driver.js';
import { MAIN } from '../cli/support-cli.js';
import { Broker, completion, until } from './support-broker.js';

/* That a user's limits hold over all its clients: the same for a broker with one device, and one that isolates. */

const HOARDER = fileURLToPath(new URL('./support-hoarder.js', import.meta.url));
const KiB = 1024;

/** What `warpdrive clients` knows. */
export async function report(broker: Broker): Promise<BrokerReport> {
  const args = [MAIN, 'clients', '--json', '--socket', broker.socket];
  return JSON.parse((await promisify(execFile)(process.execPath, args)).stdout) as BrokerReport;
}

/** Starts a process that takes all the sessions it can get; returns it once it has. */
async function hoard(t: TestContext, broker: Broker): Promise<{ child: ChildProcess; said: string }> {
  const child = spawn(process.execPath, [HOARDER, broker.socket], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout!.on('data', (chunk) => {
    said += chunk;
  });
  await until(() => said.includes('\n') || child.exitCode !== null, 'the hoarder has what it can get');
  return { child, said: said.trim() };
}

async function openSession(queue: DeviceQueue): Promise<number> {
  const request = new Submission();
  request.operation = OPCODE.sessionOpen;
  request.algorithm = ALGORITHM.gzip;
  assert.ok(queue.submit(request));
  queue.publish();
  return (await completion(queue)).status;
}

/** Sessions, held by one client, refused to another of its user, and given back by SIGKILL. */
export async function checkSessions(t: TestContext, args: string[]): Promise<void> {
  const uid = process.getuid!();
  const config = (sessions: number) => ({ limits: { users: { [uid]: { user: { sessions } } } } });
  const broker = await Broker.start(t, args, { config: config(7) });
  const device = await broker.device();
  const queue = await device.createQueue({ depth: 4 });
  assert.equal(await openSession(queue), STATUS.ok);
  const { child, said } = await hoard(t, broker);
  assert.equal(said, '6 noResources');
  assert.equal(await openSession(queue), STATUS.noResources);
  const held = (await report(broker)).clients.map((client: ClientReport) => client.held.sessions);
  assert.deepEqual(held.sort(), [1, 6]);
  const gone = broker.logs.length;
  child.kill('SIGKILL');
  await once(child, 'exit');
  await broker.logged('client gone', gone);
  for (let more = 0; more < 6; more++) assert.equal(await openSession(queue), STATUS.ok);
  assert.equal(await openSession(queue), STATUS.noResources);
  await broker.reload(config(8));
  assert.equal(await openSession(queue), STATUS.ok, 'the new limit holds for those who are there');
  assert.equal(await openSession(queue), STATUS.noResources);
  assert.deepEqual((await report(broker)).clients[0]!.limits.sessions, 8);
  await device.close();
}

/** A client of its own, with requests that it repeats; each counts as 65 KiB in flight. */
async function worker(
  broker: Broker,
): Promise<{ device: DriverDevice; run: (count: number) => Promise<void> }> {
  const device = await broker.device();
  const queue = await device.createQueue({ depth: 16 });
  const memory = await device.allocate(1 << 17);
  const request = new Submission();
  request.operation = OPCODE.compress;
  request.algorithm = ALGORITHM.gzip;
  request.level = 1;
  request.source = memory.iova;
  request.sourceLength = 4 * KiB;
  request.destination = memory.iova + 64 * KiB;
  request.capacity = 60 * KiB;
  const run = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) assert.ok(queue.submit(request));
    queue.publish();
    for (let i = 0; i < count; i++) assert.equal((await completion(queue)).status, STATUS.ok);
  };
  return { device, run };
}

/** Bytes in flight: two clients that would have two requests at once have one, and each of them gets on. */
export async function checkInFlight(t: TestContext, args: string[]): Promise<void> {
  const limits = { user: { inFlightBytes: '100 KiB' } };
  const env = { WARPDRIVE_INJECT: 'delay=40:compress' };
  const broker = await Broker.start(t, args, { config: { limits }, env });
  const workers = [await worker(broker), await worker(broker)];
  let done = false;
  const work = Promise.all(workers.map(({ run }) => run(16))).then(() => {
    done = true;
  });
  let seen = 0;
  while (!done) {
    const { clients } = await report(broker);
    const held = clients.reduce((sum, client) => sum + client.held.inFlightBytes, 0);
    assert.ok(held <= 65 * KiB, `${held} bytes in flight`);
    if (held > 0) seen++;
  }
  await work;
  assert.ok(seen > 0, 'some were seen in flight');
  const { clients } = await report(broker);
  assert.deepEqual(
    clients.map(({ held, total }) => [held.inFlightBytes, total.completed]),
    [
      [0, 16],
      [0, 16],
    ],
  );
  for (const { device } of workers) await device.close();
}
