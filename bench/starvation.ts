import { closeSync, fstat, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { deflate } from 'node:zlib';
import { open } from '../src/index.js';
import { type Budget, compare, type Outcome, type Suite, timeCalls } from './measure.js';
import { slices } from './text.js';

const MIB = 1024 * 1024;
const IN_FLIGHT = 8;

export const starvation: Suite = {
  name: 'starvation',
  rows: [
    {
      name: 'fstat',
      unit: 'x idle p50',
      better: 'lower',
      baseline: 'zlib.deflate',
      target: { of: 'value', atMost: 2 },
      run: fstatBeside,
    },
  ],
};

/** What a call through the libuv pool takes beside compressions, as a multiple of what it takes beside nothing. */
async function fstatBeside(budget: Budget): Promise<Outcome> {
  const inputs = slices(IN_FLIGHT, MIB);
  const zlibDeflate = promisify(deflate) as (input: Buffer) => Promise<Buffer>;
  const statOf = promisify(fstat);
  const fd = openSync(process.execPath, 'r');
  const accelerator = await open();
  const idle: number[] = [];
  const busy = { own: [] as number[], baseline: [] as number[] };
  const round = async (to: number[], compress: (input: Buffer) => Promise<Buffer>): Promise<number> => {
    const alone = await timeCalls(budget.roundMs, () => statOf(fd));
    const beside = await withLoad(inputs, compress, () => timeCalls(budget.roundMs * 2, () => statOf(fd)));
    idle.push(alone);
    to.push(beside);
    return beside / alone;
  };
  try {
    const samples = await compare(
      budget.rounds,
      () => round(busy.own, (input) => accelerator.compress(input, { algorithm: 'deflate' })),
      () => round(busy.baseline, zlibDeflate),
    );
    const us = (times: number[]): string => times.map((time) => (time / 1000).toFixed(1)).join(' ');
    return {
      samples,
      notes: [
        `${IN_FLIGHT} compressions of 1 MiB in flight; p50 of fs.fstat`,
        `fstat p50 in us, the warm-up round first: idle ${us(idle)}; beside WarpDrive ${us(busy.own)}; ` +
          `beside zlib ${us(busy.baseline)}`,
      ],
    };
  } finally {
    closeSync(fd);
    await accelerator.close();
  }
}

/** Measures while compressions of all inputs are in flight; returns when the last has ended. */
async function withLoad(
  inputs: Buffer[],
  compress: (input: Buffer) => Promise<Buffer>,
  measure: () => Promise<number>,
): Promise<number> {
  let over = false;
  const lanes = inputs.map(async (input) => {
    while (!over) await compress(input);
  });
  await sleep(SETTLE_MS);
  const result = await measure();
  over = true;
  await Promise.all(lanes);
  return result;
}

/** Until all compressions are in flight. */
const SETTLE_MS = 10;
