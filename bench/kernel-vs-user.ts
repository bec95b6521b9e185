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
/** Requests of so many bytes, so many at once. A process opens its side once for all of them, since that takes long. */
export const SHAPES = WIDTHS.flatMap((width) =>
  SIZES.map((bytes) => ({ name: `${bytes}-${width}`, bytes, width })),
);
/** Names our device, by its PCI address. The kernel's driver has another of its kind. */
export const DEVICE_VARIABLE = 'WARPDRIVE_BENCH_DEVICE';
/** Requests that are traced, many where a trace costs little; their size makes no difference to what is counted. */
const TRACED = { kernel: 640, user: 19_200 } as const;
const TRACED_BYTES = 4096;

const SIDES = ['kernel', 'user'] as const;
type Side = (typeof SIDES)[number];

/** Of one side: what each shape took, and the system calls for a request of each width. */
interface Figures {
  measured: Record<string, Measured[]>;
  calls: Map<number, number>;
}

/** A virtio-crypto device under the kernel's driver, reached by AF_ALG, and one of its kind under ours. */
export const kernelVsUser: Suite = {
  name: 'kernel-vs-user',
  rows: SHAPES.map(({ name, width }) => row(name, width)),
};

let figures: Promise<Record<Side, Figures>> | undefined;

function row(name: string, width: number): RowPlan {
  return {
    name,
    unit: 'requests/s',
    better: 'higher',
    baseline: 'AF_ALG',
    target: { of: 'ratio', atLeast: 1 },
    run: (budget) => report(name, width, budget),
  };
}

async function report(name: string, width: number, budget: Budget): Promise<Outcome> {
  const device = process.env[DEVICE_VARIABLE];
  if (device === undefined) {
    const skipped = `${DEVICE_VARIABLE} names no device; npm run bench:guest runs this in a guest that has one`;
    return { samples: { value: [], baseline: [] }, skipped };
  }
  figures ??= measureBoth(device, budget);
  const { kernel, user } = await figures;
  const of = (side: Figures, field: keyof Measured): number[] =>
    side.measured[name]!.map((each) => each[field]);
  const both = (field: keyof Measured): string =>
    `${median(of(user, field))!.toFixed(1)} | ${median(of(kernel, field))!.toFixed(1)}`;
  return {
    samples: { value: of(user, 'perSecond'), baseline: of(kernel, 'perSecond') },
    notes: [
      `system calls per request: ${user.calls.get(width)!.toFixed(2)} | ${kernel.calls.get(width)!.toFixed(2)}`,
      `processor time of the process per request, us: ${both('cpuMicroseconds')}`,
      `of the machine, us: ${both('machineMicroseconds')}`,
    ],
  };
}

async function measureBoth(device: string, budget: Budget): Promise<Record<Side, Figures>> {
  const kernel = await measureSide('kernel', device, budget);
  return { kernel, user: await measureSide('user', device, budget) };
}

async function measureSide(side: Side, device: string, budget: Budget): Promise<Figures> {
  const script = scriptPath('./kernel-vs-user-child.js');
  const name = `vfio:${device}`;
  const ms = budget.quick ? 50 : 400;
  const printed = await capture(process.execPath, [script, side, name, 'measure', `${ms}`]);
  const calls = new Map<number, number>();
  for (const width of WIDTHS) {
    const traced = TRACED[side];
    const { pair } = await trace(script, [side, name, 'trace', `${TRACED_BYTES}`, `${width}`, `${traced}`]);
    calls.set(width, total(pair) / traced);
  }
  return { measured: JSON.parse(printed), calls };
}
