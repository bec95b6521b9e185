import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { gzipSync } from 'node:zlib';
import { type Accelerator, open } from '../src/index.js';
import { closeFd } from '../src/sys/fd.js';
import { createMemfd } from '../src/sys/memfd.js';
import { Mapping } from '../src/sys/memory.js';
import { idleRows } from './broker-idle.js';
import { withBrokers } from './broker-process.js';
import { sharingRows } from './broker-sharing.js';
import { SPINS, timeNoopSync, timePingPong } from './latency.js';
import {
  type Budget,
  compare,
  type Outcome,
  quantile,
  type RowPlan,
  runChild,
  type Suite,
  scriptPath,
  throughput,
} from './measure.js';
import { PINGPONG, PINGPONG_STOP } from './pingpong-worker.js';
import { slices } from './text.js';

const MIB = 1024 * 1024;

/** A device shared between processes: each row has a `warpdrive serve` of its own, and clients in other processes. */
export const broker: Suite = {
  name: 'broker',
  rows: [
    {
      name: 'noop-sync',
      unit: 'ns p50',
      better: 'lower',
      baseline: 'raw-pingpong-2-processes',
      target: { of: 'ratio', atLeast: 1 / 1.8 },
      run: noopSync,
    },
    ...sharingRows,
    ...idleRows,
    zeroCopy('zero-copy-gzip', (input) => input, compressAtOne),
    zeroCopy('zero-copy-gunzip', (input) => gzipSync(input, { level: 1 }), decompress),
    {
      name: 'setup',
      unit: 'ms',
      better: 'lower',
      baseline: 'embedded',
      target: { of: 'value', atMost: 30 },
      run: setup,
    },
  ],
};

/** A spinning request of a client against two processes that spin on a word each. */
function noopSync(budget: Budget): Promise<Outcome> {
  const times = new Float64Array(budget.quick ? SPINS.quick : SPINS.full);
  return withBrokers(1, async ([broker]) => {
    const other = new PingPong();
    const accelerator = await open(broker!.device);
    try {
      const samples = await compare(
        budget.rounds,
        () => {
          timeNoopSync(accelerator, times);
          return quantile(times, 0.5) * 1e6;
        },
        async () => {
          await other.round(times);
          return quantile(times, 0.5) * 1e6;
        },
      );
      return {
        samples,
        notes: [
          'the target is a value of at most 1.8 times the baseline',
          'each request is timed by itself; two readings of the clock (about 70 ns) are in both figures',
        ],
      };
    } finally {
      await other.close();
      await accelerator.close();
    }
  });
}

/** A second process that answers on a word of shared memory. */
class PingPong {
  readonly #memory: Mapping;
  readonly #child;

  constructor() {
    const fd = createMemfd('pingpong', PINGPONG.bytes);
    try {
      this.#memory = Mapping.shared(fd, 0, PINGPONG.bytes, 'read-write');
      this.#child = spawn(process.execPath, [scriptPath('./broker-pingpong-child.js')], {
        stdio: ['pipe', 'ignore', 'inherit', fd],
      });
    } finally {
      closeFd(fd);
    }
  }

  /** Times one round; the first answers come late, which a median does not see. */
  async round(times: Float64Array): Promise<void> {
    const { words } = this.#memory;
    Atomics.store(words, PINGPONG.ping, 0);
    Atomics.store(words, PINGPONG.pong, 0);
    await new Promise<void>((resolve, reject) => {
      this.#child.stdin!.write('.', (error) => (error ? reject(error) : resolve()));
    });
    timePingPong(words, times);
    Atomics.store(words, PINGPONG.ping, PINGPONG_STOP);
    while (Atomics.load(words, PINGPONG.pong) !== PINGPONG_STOP);
  }

  async close(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, 'exit');
      this.#child.kill('SIGKILL');
      await ended;
    }
    this.#memory.unmap();
  }
}

type Call = (accelerator: Accelerator, input: Buffer) => Promise<number>;

async function compressAtOne(accelerator: Accelerator, input: Buffer): Promise<number> {
  await accelerator.compress(input, { level: 1 });
  return input.length;
}

async function decompress(accelerator: Accelerator, input: Buffer): Promise<number> {
  return (await accelerator.decompress(input)).length;
}

/** What it saves not to copy 1 MiB: inputs in memory that the device reaches against ordinary ones. */
function zeroCopy(name: string, prepare: (text: Buffer) => Buffer, call: Call): RowPlan {
  const count = 8;
  return {
    name,
    unit: 'MB/s',
    better: 'higher',
    baseline: 'ordinary-buffers',
    target: { of: 'ratio' },
    run: (budget) =>
      withBrokers(1, async ([broker]) => {
        const accelerator = await open(broker!.device);
        try {
          const ordinary = slices(count, MIB).map(prepare);
          const shared = await Promise.all(ordinary.map((input) => accelerator.alloc(input.length)));
          shared.forEach((buffer, index) => {
            buffer.set(ordinary[index]!);
          });
          const rate = (inputs: Buffer[]): Promise<number> =>
            throughput(budget.roundMs, 1, inputs, (input) => call(accelerator, input));
          const samples = await compare(
            budget.rounds,
            () => rate(shared),
            () => rate(ordinary),
          );
          return {
            samples,
            notes: ['inputs in buffers of alloc(); one in flight; bytes are those uncompressed'],
          };
        } finally {
          await accelerator.close();
        }
      }),
  };
}

/** From `open` to the first completion, each time in a process that has just started. */
function setup(budget: Budget): Promise<Outcome> {
  const run = async (device: string): Promise<number> =>
    (await runChild<{ ms: number }>('./broker-setup-child.js', [device])).ms;
  return withBrokers(1, async ([broker]) => ({
    samples: await compare(
      budget.rounds,
      () => run(broker!.device),
      () => run('embedded'),
    ),
    notes: ['the first open of a process that has just started, its modules loaded'],
  }));
}
