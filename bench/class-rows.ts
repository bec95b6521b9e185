import crypto, { createCipheriv, createHash, randomBytes, webcrypto } from 'node:crypto';
import { createRequire } from 'node:module';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { type Accelerator, open } from '../src/index.js';
import { type Budget, compare, type Outcome, quantile, type RowPlan, throughput } from './measure.js';
import { slices } from './text.js';

const KIB = 1024;
const { subtle } = webcrypto;
const require = createRequire(import.meta.url);

/** One side of a row: handles one input. */
type Side = (input: Buffer) => unknown;

interface Sides {
  own: Side;
  baseline: Side;
  /** Why there is nothing to compare with here. */
  skipped?: string;
}

/** Rows of the classes digest, aead, checksum and compress: the same data on both sides, a session reused on ours. */
export const classRows: RowPlan[] = [
  row('sha256-4k-1', 'subtle.digest', 8, 4 * KIB, 1, digests),
  row('sha256-4k-32', 'subtle.digest', 2, 4 * KIB, 32, digests),
  row('sha256-4k-sync', 'createHash', 1.2, 4 * KIB, 0, (acc) => ({
    own: (input) => acc.digestSync(input),
    baseline: hashOneShot(),
  })),
  row('aesgcm-4k-1', 'subtle.encrypt', 15, 4 * KIB, 1, seals),
  row('aesgcm-4k-32', 'subtle.encrypt', 5, 4 * KIB, 32, seals),
  row('aesgcm-4k-sync', 'createCipheriv', 4, 4 * KIB, 0, (acc) => {
    const key = randomBytes(32);
    const iv = randomBytes(12);
    const session = acc.cipherSession({ key });
    return {
      own: (input) => session.encryptSync(input, { iv }),
      baseline: (input) => sealed(key, iv, input),
    };
  }),
  batch(),
  row('crc32c-64k', '@node-rs/crc32', 1, 64 * KIB, 0, (acc) => {
    const peer = optional<{ crc32c(input: Buffer): number }>('@node-rs/crc32');
    if (!peer) return missing('@node-rs/crc32');
    const options = { algorithm: 'crc32c' } as const;
    return {
      own: (input) => acc.checksumSync(input, options),
      baseline: (input) => peer.crc32c(input),
    };
  }),
  row('crc32-64k', 'zlib.crc32', 1, 64 * KIB, 0, (acc) => {
    const { crc32 } = zlib as unknown as { crc32?: (input: Buffer) => number };
    return {
      own: (input) => acc.checksumSync(input),
      baseline: (input) => crc32!(input),
      ...(crc32 ? {} : { skipped: 'this Node has no zlib.crc32' }),
    };
  }),
  row('zstd1-64k-8', 'zlib.zstdCompress', 1.5, 64 * KIB, 8, (acc) => {
    const { zstdCompress, constants } = zlib as unknown as {
      zstdCompress?: (
        input: Buffer,
        options: object,
        done: (error: Error | null, out: Buffer) => void,
      ) => void;
      constants: Record<string, number>;
    };
    if (!zstdCompress) return { ...NOTHING, skipped: 'this Node has no zlib.zstdCompress' };
    const stock = promisify(zstdCompress) as (input: Buffer, options: object) => Promise<Buffer>;
    const options = { params: { [constants['ZSTD_c_compressionLevel']!]: 1 } };
    return {
      own: (input) => acc.compress(input, { algorithm: 'zstd', level: 1 }),
      baseline: (input) => stock(input, options),
    };
  }),
  row('lz4-64k-8', 'lz4-napi', 1, 64 * KIB, 8, (acc) => {
    const peer = optional<{ compress(input: Buffer): Promise<Buffer> }>('lz4-napi');
    if (!peer) return missing('lz4-napi');
    return {
      own: (input) => acc.compress(input, { algorithm: 'lz4-block' }),
      baseline: (input) => peer.compress(input),
    };
  }),
  {
    name: 'scrypt-beside-sha256',
    unit: 'us, p99',
    better: 'lower',
    baseline: 'alone',
    target: { of: 'ratio', atLeast: 1 / 3 },
    run: besideScrypt,
  },
];

const NOTHING: Sides = { own: () => 0, baseline: () => 0 };

/** A package to compare with, which is here for development alone. */
function optional<T>(name: string): T | undefined {
  try {
    return require(name) as T;
  } catch {
    return undefined;
  }
}

function missing(name: string): Sides {
  return { ...NOTHING, skipped: `${name} is not installed` };
}

/** A row of MB/s. Without a width, calls are synchronous. */
function row(
  name: string,
  baseline: string,
  atLeast: number,
  length: number,
  width: number,
  make: (accelerator: Accelerator) => Sides,
): RowPlan {
  return {
    name,
    unit: 'MB/s',
    better: 'higher',
    baseline,
    target: { of: 'ratio', atLeast },
    run: async (budget) => {
      const inputs = slices(((1024 * KIB) / length) * 2, length);
      const accelerator = await open();
      try {
        const sides = make(accelerator);
        if (sides.skipped) return { samples: { value: [], baseline: [] }, skipped: sides.skipped };
        const run = (side: Side) => () =>
          width === 0
            ? inTurn(budget.roundMs, inputs, side)
            : throughput(budget.roundMs, width, inputs, async (input) => {
                await side(input);
                return input.length;
              });
        const samples = await compare(budget.rounds, run(sides.own), run(sides.baseline));
        return { samples, notes: [width === 0 ? 'synchronous, in one thread' : `${width} in flight`] };
      } finally {
        await accelerator.close();
      }
    },
  };
}

function inTurn(ms: number, inputs: readonly Buffer[], side: Side): number {
  const started = performance.now();
  let bytes = 0;
  let elapsed = 0;
  do {
    for (const input of inputs) {
      side(input);
      bytes += input.length;
    }
    elapsed = performance.now() - started;
  } while (elapsed < ms);
  return bytes / 1000 / elapsed;
}

function digests(accelerator: Accelerator): Sides {
  const options = { algorithm: 'sha256' } as const;
  return {
    own: (input) => accelerator.digest(input, options),
    baseline: (input) => subtle.digest('SHA-256', input),
  };
}

/** crypto.hash where this Node has it: its documented fast way. */
function hashOneShot(): Side {
  const { hash } = crypto as unknown as {
    hash?: (name: string, input: Buffer, encoding: 'buffer') => Buffer;
  };
  if (hash) return (input) => hash('sha256', input, 'buffer');
  return (input) => createHash('sha256').update(input).digest();
}

function seals(accelerator: Accelerator): Sides {
  const bytes = randomBytes(32);
  const iv = randomBytes(12);
  const session = accelerator.cipherSession({ key: bytes });
  const key = subtle.importKey('raw', bytes, 'AES-GCM', false, ['encrypt']);
  const options = { iv };
  return {
    own: (input) => session.encrypt(input, options),
    baseline: async (input) => subtle.encrypt({ name: 'AES-GCM', iv }, await key, input),
  };
}

function sealed(key: Buffer, iv: Buffer, input: Buffer): void {
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  cipher.update(input);
  cipher.final();
  cipher.getAuthTag();
}

const BATCH = 128;

function batch(): RowPlan {
  return {
    name: 'aesgcm-1k-batch',
    unit: 'MB/s',
    better: 'higher',
    baseline: 'createCipheriv',
    target: { of: 'ratio', atLeast: 8 },
    run: async (budget) => {
      const inputs = slices(BATCH, KIB);
      const key = randomBytes(32);
      const iv = randomBytes(12);
      const accelerator = await open();
      try {
        const session = accelerator.cipherSession({ key });
        const messages = inputs.map((data) => ({ data, iv }));
        const batches = async (): Promise<number> => {
          const started = performance.now();
          let count = 0;
          while (performance.now() - started < budget.roundMs) {
            count += (await session.encryptMany(messages)).length;
          }
          return (count * KIB) / 1000 / (performance.now() - started);
        };
        const stock = (): number => inTurn(budget.roundMs, inputs, (input) => sealed(key, iv, input));
        return { samples: await compare(budget.rounds, batches, stock), notes: [`${BATCH} in a batch`] };
      } finally {
        await accelerator.close();
      }
    },
  };
}

/** p99 of short requests while long ones run, against the same without them. */
async function besideScrypt(budget: Budget): Promise<Outcome> {
  // Through the queue: in the calling thread nothing could be in the way.
  const accelerator = await open({ inlineBytes: 0 });
  const input = slices(1, 4 * KIB)[0]!;
  try {
    const p99 = async (): Promise<number> => {
      const times: number[] = [];
      const end = performance.now() + budget.roundMs;
      while (performance.now() < end) {
        const started = performance.now();
        await accelerator.digest(input);
        times.push(performance.now() - started);
        // Requests that come now and then, as in a server.
        await new Promise((resolve) => setImmediate(resolve));
      }
      return quantile(Float64Array.from(times), 0.99) * 1000;
    };
    const beside = async (): Promise<number> => {
      let running = true;
      const scrypt = (async () => {
        while (running) {
          await accelerator.deriveKey(input, { algorithm: 'scrypt', salt: input, cost: 32768, length: 32 });
        }
      })();
      const value = await p99();
      running = false;
      await scrypt;
      return value;
    };
    return {
      samples: await compare(budget.rounds, beside, p99),
      notes: ['scrypt with N = 32768, one after the other, in the same accelerator; both through queues'],
    };
  } finally {
    await accelerator.close();
  }
}
