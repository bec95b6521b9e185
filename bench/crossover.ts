import { randomBytes } from 'node:crypto';
import { type Accelerator, open } from '../src/index.js';
import { type Budget, median, type Outcome, type RowPlan, type Suite, throughput } from './measure.js';
import { slices } from './text.js';

/*
 * For each class, the size from which a request through the queue is done faster than in the calling thread: both with 8
 * requests in flight, the same data, one accelerator that never runs a request itself and one that always does.
 */

const SIZES = [64, 256, 1024, 4096, 16384, 65536, 262144, 1048576];
const WIDTH = 8;

/** What is asked of an accelerator for one input. */
type Call = (input: Buffer) => Promise<unknown>;

const KINDS: Record<string, (accelerator: Accelerator) => Call> = {
  'digest sha256': (acc) => (input) => acc.digest(input),
  'hmac sha256': (acc) => {
    const session = acc.hmacSession({ key: randomBytes(32) });
    return (input) => session.mac(input);
  },
  'cipher aes-256-ctr': (acc) => {
    const session = acc.cipherSession({ algorithm: 'aes-256-ctr', key: randomBytes(32) });
    const iv = randomBytes(16);
    return (input) => session.encrypt(input, { iv });
  },
  'aead aes-256-gcm': (acc) => {
    const session = acc.cipherSession({ key: randomBytes(32) });
    const iv = randomBytes(12);
    return (input) => session.encrypt(input, { iv });
  },
  'checksum crc32c': (acc) => (input) => acc.checksum(input, { algorithm: 'crc32c' }),
  'kdf hkdf': (acc) => (input) => acc.deriveKey(input, { algorithm: 'hkdf', length: 32 }),
};

export const crossover: Suite = {
  name: 'crossover',
  rows: Object.entries(KINDS).map(([name, make]) => plan(name, make)),
};

function plan(name: string, make: (accelerator: Accelerator) => Call): RowPlan {
  return {
    name: name.replace(' ', '-'),
    unit: 'bytes',
    better: 'lower',
    baseline: 'measured-at-open',
    target: { of: 'value' },
    run: (budget) => measure(budget, make),
  };
}

/** MB/s at one size, through the queue and in the calling thread. */
export interface Point {
  bytes: number;
  queue: number;
  caller: number;
}

async function measure(budget: Budget, make: (accelerator: Accelerator) => Call): Promise<Outcome> {
  const queued = await open({ inlineBytes: 0 });
  const inline = await open({ inlineBytes: Number.POSITIVE_INFINITY });
  try {
    const byQueue = make(queued);
    const byCaller = make(inline);
    const points: Point[] = [];
    for (const bytes of SIZES) {
      const inputs = slices(8, bytes);
      const samples: { queue: number[]; caller: number[] } = { queue: [], caller: [] };
      const ms = budget.roundMs / 4;
      const run = (call: Call) =>
        throughput(ms, WIDTH, inputs, async (input) => {
          await call(input);
          return input.length;
        });
      for (let round = 0; round < budget.rounds; round++) {
        samples.queue.push(await run(byQueue));
        samples.caller.push(await run(byCaller));
      }
      points.push({ bytes, queue: median(samples.queue)!, caller: median(samples.caller)! });
    }
    const from = points.findIndex((_, at) => points.slice(at).every(({ queue, caller }) => queue > caller));
    return {
      samples: { value: [], baseline: [] },
      value: from < 0 ? Number.POSITIVE_INFINITY : points[from]!.bytes,
      notes: [
        'MB/s through the queue | in the calling thread:',
        ...points.map(({ bytes, queue, caller }) => `${bytes}: ${queue.toFixed(1)} | ${caller.toFixed(1)}`),
      ],
    };
  } finally {
    await queued.close();
    await inline.close();
  }
}
