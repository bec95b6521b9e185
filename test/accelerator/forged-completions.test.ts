import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { CQE, DOORBELL, OPCODE, STATUS, STATUS_PAGE } from '../../src/abi/queue.js';
import { Dispatcher } from '../../src/accelerator/dispatcher.js';
import { Staging } from '../../src/accelerator/staging.js';
import { Operation } from '../../src/algorithms/operation.js';
import { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import { DeviceLostError } from '../../src/errors.js';
import { QueuePair } from '../../src/queue/queue-pair.js';
import { closeFd, createEventfd } from '../../src/sys/fd.js';
import { Interrupt } from '../../src/sys/interrupt.js';
import { Mapping } from '../../src/sys/memory.js';

const DEPTH = 8;
const WORDS = CQE.bytes >> 2;
const CAPACITY = 1024;
const INPUT = Buffer.alloc(100, 'input');
/** What lies in staging memory beside the output of a request: other requests' data. */
const SECRET = 0x5a;

/** What a device writes as a completion; `phase` only where it is not the right one. */
interface Forged {
  requestId: number;
  status?: number;
  produced?: number;
  consumed?: number;
  phase?: number;
}

/** The client's end of a queue whose device is the test: it writes whatever it likes into the completion ring. */
class Forgery {
  readonly queue: WvaQueue;
  readonly dispatcher: Dispatcher;
  readonly #cq = new Int32Array(DEPTH * WORDS);
  readonly #memory = Mapping.anonymous(1 << 16);
  readonly #wakeFd = createEventfd();
  #next = 0;
  lostFor: string | undefined;

  constructor() {
    const doorbell = new Int32Array(1024);
    const status = new Int32Array(1024);
    doorbell[DOORBELL.polledWord] = 1;
    status[STATUS_PAGE.pollersWord] = 1;
    const sq = new Int32Array(DEPTH * 16);
    const rings = { sq, cq: this.#cq, doorbell, status, wakeFd: this.#wakeFd };
    const pair = new QueuePair({ depth: DEPTH, startIndex: 0, token: 1, ...rings });
    this.queue = new WvaQueue(0, pair, new Interrupt(), async () => {});
    this.#memory.bytes.fill(SECRET);
    const staging = new Staging({ mapping: this.#memory, iova: 1 << 20, free: async () => {} });
    this.dispatcher = new Dispatcher(this.queue, staging, 'forged', (reason) => {
      this.lostFor = reason;
      this.dispatcher.fail(reason);
    });
  }

  send(): Operation {
    const operation = new Operation(INPUT);
    operation.operation = OPCODE.compress;
    operation.capacity = CAPACITY;
    this.dispatcher.submit(operation);
    return operation;
  }

  complete({ requestId, status = STATUS.ok, produced = 0, consumed = 0, phase }: Forged): void {
    const at = (this.#next % DEPTH) * WORDS;
    const word = (offset: number): number => at + (offset >> 2);
    this.#next++;
    this.#cq[word(CQE.offset.requestId)] = requestId;
    this.#cq[word(CQE.offset.status)] = status;
    this.#cq[word(CQE.offset.produced)] = produced;
    this.#cq[word(CQE.offset.consumed)] = consumed;
    Atomics.store(this.#cq, word(CQE.offset.phase), phase ?? this.#next);
  }

  close(): void {
    this.dispatcher.fail('the test is over');
    this.queue.interrupt.close();
    closeFd(this.#wakeFd);
    this.#memory.unmap();
  }
}

function forgery(t: TestContext): Forgery {
  const made = new Forgery();
  t.after(() => made.close());
  return made;
}

/** Request ids are taken from the lowest on. */
const FIRST = 0;

describe('a device that forges completions', () => {
  const wrong: Record<string, Forged> = {
    'of a request that was never sent': { requestId: DEPTH - 1 },
    'of a request that cannot be': { requestId: DEPTH },
    'of a negative one': { requestId: -1 },
    'of one beyond the buffer': { requestId: FIRST, produced: CAPACITY + 1 },
    'of one far beyond it': { requestId: FIRST, produced: 0x7fffffff },
    'of a negative length': { requestId: FIRST, produced: -1 },
    'of more input than there was': { requestId: FIRST, consumed: INPUT.length + 1 },
  };
  for (const [name, forged] of Object.entries(wrong)) {
    test(`${name} is given up, and what it had in flight fails`, (t) => {
      const device = forgery(t);
      const operations = [device.send(), device.send()];
      device.complete(forged);
      device.dispatcher.reap();
      assert.match(device.lostFor!, /was not given, or beyond its buffers/);
      for (const operation of operations) {
        assert.equal(operation.state, 'done');
        assert.ok(operation.error instanceof DeviceLostError);
        assert.equal(operation.data.length, 0);
      }
      assert.ok(device.send().error instanceof DeviceLostError);
    });
  }

  test('twice is given up at the second one; the first one counts', (t) => {
    const device = forgery(t);
    const [first, second] = [device.send(), device.send()];
    device.complete({ requestId: FIRST, produced: 10 });
    device.complete({ requestId: FIRST, produced: 20 });
    device.dispatcher.reap();
    assert.equal(first.error, undefined);
    assert.equal(first.data.length, 10);
    assert.ok(second.error instanceof DeviceLostError);
  });

  test('in a synchronous round trip is given up, too', (t) => {
    const device = forgery(t);
    device.complete({ requestId: DEPTH - 1 });
    assert.throws(() => device.dispatcher.noopSync(), DeviceLostError);
  });

  test('with nothing in flight is not heard', (t) => {
    const device = forgery(t);
    for (let lap = 0; lap < DEPTH; lap++) device.complete({ requestId: lap });
    assert.equal(device.queue.ready, false);
    assert.equal(device.dispatcher.reap(), 0);
    assert.equal(device.queue.inFlight, 0);
    assert.equal(device.lostFor, undefined);
  });

  test('with wrong phases completes nothing', (t) => {
    const device = forgery(t);
    const operation = device.send();
    for (const phase of [0, -1, 2, DEPTH + 1, 0x7fffffff]) {
      device.complete({ requestId: FIRST, phase });
      assert.equal(device.dispatcher.reap(), 0);
    }
    assert.equal(operation.state, 'in-flight');
  });

  test('at random never breaks more than itself', () => {
    const int = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
    const near = (most: number) => fc.oneof(fc.integer({ min: -2, max: most }), int);
    const forged = fc.record({
      requestId: near(DEPTH + 1),
      status: near(64),
      produced: near(1100),
      consumed: near(120),
    });
    const step = fc.oneof(fc.constant('send' as const), forged);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const device = new Forgery();
        const sent: Operation[] = [];
        try {
          for (const each of steps) {
            if (each === 'send') sent.push(device.send());
            else device.complete(each);
            device.dispatcher.reap();
            assert.ok(device.queue.inFlight >= 0 && device.queue.inFlight <= DEPTH);
          }
          device.dispatcher.fail('the test is over');
          for (const operation of sent) {
            assert.equal(operation.state, 'done', 'everything is settled');
            assert.ok(operation.data.length <= CAPACITY);
          }
        } finally {
          device.close();
        }
      }),
      { numRuns: 300 },
    );
  });
});
