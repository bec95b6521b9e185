import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, STATUS } from '../../src/abi/queue.js';
import { QUEUE_COMMAND, REGION } from '../../src/abi/registers.js';
import { COMMAND, DMA_ACCESS, HEADER, MESSAGE_FLAG, MESSAGE_TYPE } from '../../src/abi/vfio-user.js';
import { Account, RESOURCES, UNLIMITED } from '../../src/device/account.js';
import { mappingCount } from '../../src/sys/memory.js';
import { message, words } from '../support/hostile-client.js';
import { data, type Misbehaviour, RemoteClient, RemoteQueue } from '../support/remote-client.js';
import { openFds, sampleText } from './support-device.js';
import { LocalDevice } from './support-local-device.js';

const MIB = 1 << 20;
const GZIP = { opcode: OPCODE.compress, algorithm: ALGORITHM.gzip, level: 1 };
const SOURCE = MIB;
const RESULT = 2 * MIB;
const TEXT = sampleText(20_000);

/** Which of the server's commands is answered wrongly. */
type Step = 'submission' | 'source' | 'result' | 'completion' | 'phase';

function stepOf(command: number, address: number, count: number): Step {
  const at = address - RemoteClient.iova;
  if (command === COMMAND.dmaRead) return at < SOURCE ? 'submission' : 'source';
  if (at >= SOURCE) return 'result';
  return count === 4 ? 'phase' : 'completion';
}

const STEPS: Step[] = ['submission', 'source', 'result', 'completion', 'phase'];

function only(step: Step, wrong: Misbehaviour): Misbehaviour {
  return (right, command) =>
    stepOf(command.command, command.address, command.count) === step ? wrong(right, command) : right;
}

const with32 = (right: Buffer, offset: number, value: number): Buffer => {
  const bytes = Buffer.from(right);
  bytes.writeUInt32LE(value >>> 0, offset);
  return bytes;
};
const body = (right: Buffer): Buffer => right.subarray(HEADER.bytes);
const again = (right: Buffer, content: Uint8Array): Buffer =>
  message(right.readUInt16LE(2), content, { id: right.readUInt16LE(0), flags: MESSAGE_TYPE.reply });

/** Answers for which the client is hung up on at once. */
const WRONG: Record<string, Misbehaviour> = {
  'too short a body': (right) => again(right, body(right).subarray(0, 8)),
  'a byte too few': (right) => again(right, body(right).subarray(0, body(right).length - 1)),
  'an empty body': (right) => again(right, Buffer.alloc(0)),
  'another address': (right) => with32(right, HEADER.bytes, 0x1000),
  'another count': (right) => with32(right, HEADER.bytes + DMA_ACCESS.offset.count, 3),
  'a count of 2^32 - 1': (right) => with32(right, HEADER.bytes + DMA_ACCESS.offset.count, 0xffffffff),
  'a size of nothing': (right) => with32(right, HEADER.offset.size, 0),
  'a size beyond all': (right) => with32(right, HEADER.offset.size, 0xffffffff),
};

/** Answers that are none: the server waits for a while. */
const NONE: Record<string, Misbehaviour> = {
  'no answer': () => undefined,
  'the wrong id': (right) => with32(right, 0, right.readUInt32LE(0) ^ 0x1234),
  'the wrong command': (right) => with32(right, 0, right.readUInt32LE(0) ^ (0x40 << 16)),
  'half an answer': (right) => right.subarray(0, 10),
};

class Scene {
  readonly account = new Account({ ...UNLIMITED });
  readonly local: LocalDevice;
  readonly #before: { fds: number; mappings: number };
  #clients = 0;

  private constructor(local: LocalDevice, account: Account) {
    this.local = local;
    this.account = account;
    this.#before = { fds: openFds(), mappings: mappingCount().mappings };
  }

  static async start(t: Parameters<typeof LocalDevice.start>[0]): Promise<Scene> {
    const account = new Account({ ...UNLIMITED });
    return new Scene(await LocalDevice.start(t, 64, { account }), account);
  }

  /** A client that has published one compression, up to the ring. */
  async client(twin: boolean): Promise<[RemoteClient, RemoteQueue]> {
    const client = this.local.remote(3 * MIB);
    this.#clients++;
    await client.negotiate({ twin });
    assert.equal(await client.map(), 0);
    TEXT.copy(client.memory, SOURCE);
    const queue = await RemoteQueue.enable(client, { depth: 4, at: 0 });
    queue.put({ ...GZIP, requestId: 1, ...data(SOURCE, TEXT.length, RESULT, 65536) });
    return [client, queue];
  }

  async serves(client: RemoteClient, queue: RemoteQueue): Promise<void> {
    await queue.ring();
    const { status, produced } = await queue.next();
    assert.equal(status, STATUS.ok);
    assert.ok(gunzipSync(client.memory.subarray(RESULT, RESULT + produced)).equals(TEXT));
  }

  /** All clients have gone with all they had, and an honest one is served. */
  async end(): Promise<void> {
    while (this.local.gone < this.#clients) await turn();
    for (const resource of RESOURCES) assert.equal(this.account.held(resource), 0, resource);
    assert.deepEqual({ fds: openFds(), mappings: mappingCount().mappings }, this.#before);
    const [client, queue] = await this.client(false);
    await this.serves(client, queue);
    client.close();
    while (this.local.gone < this.#clients) await turn();
    assert.equal(openFds(), this.#before.fds);
  }
}

describe('a client that misbehaves when it is asked for its memory loses its connection alone', () => {
  for (const [name, wrong] of Object.entries(WRONG)) {
    test(`${name}, at any step`, async (t) => {
      const scene = await Scene.start(t);
      for (const step of STEPS) {
        const twin = step === 'source' || step === 'completion';
        const [client, queue] = await scene.client(twin);
        client.misbehave = only(step, wrong);
        await queue.ring();
        await client.until(() => client.ended, `the end, after ${name} at ${step}`);
        client.close();
      }
      await scene.end();
    });
  }

  test('no answer, and what is no answer, until the time is up', async (t) => {
    const scene = await Scene.start(t);
    const waiting: Promise<void>[] = [];
    for (const wrong of Object.values(NONE)) {
      for (const step of STEPS) {
        const [client, queue] = await scene.client(step !== 'source');
        client.misbehave = only(step, wrong);
        await queue.ring();
        waiting.push(client.until(() => client.ended, 'the end').then(() => client.close()));
      }
    }
    // Meanwhile another is served.
    const [honest, queue] = await scene.client(true);
    await scene.serves(honest, queue);
    await Promise.all(waiting);
    honest.close();
    await scene.end();
  });

  test('an error for data fails the request; an error for a ring ends it all', async (t) => {
    const scene = await Scene.start(t);
    for (const step of STEPS) {
      for (const error of [14, 0]) {
        const [client, queue] = await scene.client(step === 'result');
        client.misbehave = only(step, (_right, { id, command }) =>
          message(command, undefined, { id, flags: MESSAGE_TYPE.reply | MESSAGE_FLAG.error, error }),
        );
        await queue.ring();
        if (step === 'source' || step === 'result') {
          const { status, produced } = await queue.next();
          assert.deepEqual([status, produced], [STATUS.badAddress, 0]);
          client.misbehave = undefined;
          queue.put({ ...GZIP, ...data(SOURCE, TEXT.length, RESULT, 65536) });
          await scene.serves(client, queue);
        } else {
          await client.until(() => client.ended, `the end, after an error for a ${step}`);
        }
        client.close();
      }
    }
    await scene.end();
  });

  test('a client that hangs up at any step, or closes the twin socket', async (t) => {
    const scene = await Scene.start(t);
    for (const step of STEPS) {
      for (const twin of [false, true]) {
        const [client, queue] = await scene.client(twin);
        client.misbehave = only(step, () => {
          client.close();
          return undefined;
        });
        await queue.ring();
        await client.until(() => client.ended, 'its own end');
      }
      const [client, queue] = await scene.client(true);
      client.misbehave = only(step, () => {
        client.closeTwin();
        return undefined;
      });
      await queue.ring();
      await client.until(() => client.ended, 'the end, after the twin socket was closed');
      client.close();
    }
    const [client, queue] = await scene.client(true);
    client.closeTwin();
    await queue.ring();
    await client.until(() => client.ended, 'the end, with the twin socket closed before');
    client.close();
    await scene.end();
  });

  test('a queue that is disabled, or reset, while the client does not answer', async (t) => {
    const scene = await Scene.start(t);
    for (const command of ['disable', 'reset'] as const) {
      const [client, queue] = await scene.client(true);
      let silent = true;
      client.misbehave = only('source', (right) => {
        if (!silent) return right;
        silent = false;
        held = right;
        return undefined;
      });
      let held: Buffer | undefined;
      await queue.ring();
      await client.until(() => held !== undefined, 'the question');
      const disable = words(0, 0, 0, 0, 0, 0, 0, 0, QUEUE_COMMAND.disable);
      const id =
        command === 'reset'
          ? await client.send(COMMAND.reset, Buffer.alloc(0))
          : await client.send(
              COMMAND.regionWrite,
              Buffer.concat([words(0x100, 0, REGION.registers, disable.length), disable]),
            );
      // It waits for the answer that is due, and no longer.
      await client.answer(held!);
      assert.equal((await client.reply(id))!.error, 0);
      assert.equal(queue.ready, false);
      client.close();
    }
    await scene.end();
  });

  test('a command on the socket of the server’s commands', async (t) => {
    const scene = await Scene.start(t);
    const [client, queue] = await scene.client(true);
    client.misbehave = () => message(COMMAND.getInfo, words(16, 0, 0, 0));
    await queue.ring();
    await client.until(() => client.ended, 'the end');
    client.close();
    await scene.end();
  });

  test('answers to nothing are dropped', async (t) => {
    const scene = await Scene.start(t);
    const [client, queue] = await scene.client(false);
    for (const command of [COMMAND.dmaRead, COMMAND.dmaWrite]) {
      await client.answer(message(command, Buffer.alloc(100), { id: 0, flags: MESSAGE_TYPE.reply }));
    }
    client.misbehave = (right) => Buffer.concat([right, right]);
    await scene.serves(client, queue);
    client.close();
    await scene.end();
  });
});
