import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Accelerator } from '../accelerator/accelerator.js';
import type { Checker } from './demo-check.js';

export const REQUEST_BYTES = 4096;
export const REQUEST_LEVEL = 1;
/** Rounds in which the ways take turns, so that whatever else this machine does meets all of them. */
const ROUNDS = 4;

/** One way to have a request compressed. */
export interface Way {
  name: string;
  inFlight: number;
  /** Its counterpart in node:zlib; undefined for that itself. */
  against: string | undefined;
  compress: (input: Buffer) => Promise<Buffer> | Buffer;
}

export interface WayResult {
  way: Way;
  requests: number;
  requestsPerSecond: number;
  p50Us: number;
  p99Us: number;
}

export function requestWays(accelerator: Accelerator): Way[] {
  const zlibGzip = promisify<Buffer, { level: number }, Buffer>(gzip);
  const options = { level: REQUEST_LEVEL };
  const queue = (input: Buffer): Promise<Buffer> => accelerator.compress(input, options);
  const polled = (input: Buffer): Buffer => accelerator.compressSync(input, options);
  const zlib = (input: Buffer): Promise<Buffer> => zlibGzip(input, options);
  return [
    { name: 'warpdrive, polled', inFlight: 1, against: 'node:zlib', compress: polled },
    { name: 'warpdrive, await', inFlight: 1, against: 'node:zlib', compress: queue },
    { name: 'node:zlib, await', inFlight: 1, against: undefined, compress: zlib },
    { name: 'warpdrive, await', inFlight: 32, against: 'node:zlib', compress: queue },
    { name: 'node:zlib, await', inFlight: 32, against: undefined, compress: zlib },
  ];
}

/** Compresses the text in small requests, in every way, and checks each result. */
export async function measureRequests(text: Buffer, ways: Way[], checker: Checker): Promise<WayResult[]> {
  const inputs: Buffer[] = [];
  for (let at = 0; at + REQUEST_BYTES <= text.length; at += REQUEST_BYTES) {
    inputs.push(text.subarray(at, at + REQUEST_BYTES));
  }
  const perRound = Math.floor(inputs.length / ROUNDS);
  const latencies = ways.map(() => [] as number[]);
  const elapsedMs = ways.map(() => 0);
  for (const way of ways) await runRound(way, inputs.slice(0, perRound), []);
  for (let round = 0; round < ROUNDS; round++) {
    const part = inputs.slice(round * perRound, (round + 1) * perRound);
    for (const [index, way] of ways.entries()) {
      const started = performance.now();
      const outputs = await runRound(way, part, latencies[index]!);
      elapsedMs[index]! += performance.now() - started;
      for (const [at, output] of outputs.entries())
        checker.stream(output, part[at]!, `a request (${way.name})`);
    }
  }
  return ways.map((way, index) => {
    const sorted = Float64Array.from(latencies[index]!).sort();
    return {
      way,
      requests: sorted.length,
      requestsPerSecond: (sorted.length / elapsedMs[index]!) * 1000,
      p50Us: percentile(sorted, 0.5) * 1000,
      p99Us: percentile(sorted, 0.99) * 1000,
    };
  });
}

async function runRound(way: Way, inputs: Buffer[], latencies: number[]): Promise<Buffer[]> {
  const outputs = new Array<Buffer>(inputs.length);
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < inputs.length) {
      const index = next++;
      const started = performance.now();
      const result = way.compress(inputs[index]!);
      outputs[index] = result instanceof Promise ? await result : result;
      latencies.push(performance.now() - started);
    }
  };
  await Promise.all(Array.from({ length: way.inFlight }, lane));
  return outputs;
}

function percentile(sorted: Float64Array, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}
