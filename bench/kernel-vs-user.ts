import {
  type Budget,
  capture,
  median,
  type Outcome,
  type RowPlan,
  type Suite,
  scriptPath,
} from './measure.js';
import { total, trace } from './trace.js';

/** What one run of one side took. */
export interface Measured {
  perSecond: number;
  /** Processor time of the process for each request, and of the whole machine, in microseconds. */
  cpuMicroseconds: number;
  machineMicroseconds: number;
}

const SIZES = [16, 256, 4096, 65_536];
const WIDTHS = [1, 32];
/** Names our device, by its PCI address. The kernel's driver has another of its kind. */
export const DEVICE_VARIABLE = 'WARPDRIVE_BENCH_DEVICE';
/** Requests that are traced. */
const TRACED = 640;

type Side = 'kernel' | 'user';

/** A virtio-crypto device under the kernel's driver, reached by AF_ALG, and one of its kind under ours. */
export const kernelVsUser: Suite = {
  name: 'kernel-vs-user',
  rows: WIDTHS.flatMap((width) => SIZES.map((bytes) => row(bytes, width))),
};

function row(bytes: number, width: number): RowPlan {
  return {
    name: `${bytes}-${width}`,
    unit: 'requests/s',
    better: 'higher',
    baseline: 'AF_ALG',
    target: { of: 'ratio', atLeast: 1 },
    run: (budget) => measure(bytes, width, budget),
  };
}

async function measure(bytes: number, width: number, budget: Budget): Promise<Outcome> {
  const device = process.env[DEVICE_VARIABLE];
  if (device === undefined) {
    const skipped = `${DEVICE_VARIABLE} names no device; npm run bench:guest runs this in a guest that has one`;
    return { samples: { value: [], baseline: [] }, skipped };
  }
  const ms = budget.quick ? 50 : 400;
  const sides: Record<Side, Measured[]> = { kernel: [], user: [] };
  const calls = { kernel: 0, user: 0 };
  for (const side of ['kernel', 'user'] as const) {
    const args = (more: string[]): string[] => [side, `${bytes}`, `${width}`, ...more, `vfio:${device}`];
    const script = scriptPath('./kernel-vs-user-child.js');
    sides[side] = JSON.parse(await capture(process.execPath, [script, ...args(['--ms', `${ms}`])]));
    const traced = await trace(script, args(['--requests', `${TRACED}`]));
    calls[side] = total(traced.pair) / TRACED;
  }
  const of = (side: Side, field: keyof Measured): number[] => sides[side].map((each) => each[field]);
  const figure = (side: Side, field: keyof Measured): string => median(of(side, field))!.toFixed(1);
  return {
    samples: { value: of('user', 'perSecond'), baseline: of('kernel', 'perSecond') },
    notes: [
      `system calls per request: ${calls.user.toFixed(2)} | ${calls.kernel.toFixed(2)}`,
      `processor time of the process per request, us: ${figure('user', 'cpuMicroseconds')} | ${figure('kernel', 'cpuMicroseconds')}`,
      `of the machine, us: ${figure('user', 'machineMicroseconds')} | ${figure('kernel', 'machineMicroseconds')}`,
    ],
  };
}
