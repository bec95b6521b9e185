import { parseArgs } from 'node:util';
import { alloc } from './alloc.js';
import { broker } from './broker.js';
import { cli } from './cli.js';
import { crossover } from './crossover.js';
import { idle } from './idle.js';
import { kernelVsUser } from './kernel-vs-user.js';
import { latency } from './latency.js';
import { FULL_BUDGET, QUICK_BUDGET, type RowPlan, runChild, runRow, type Suite } from './measure.js';
import { memory } from './memory.js';
import { formatReport, type Machine, type SuiteReport } from './report.js';
import { server } from './server.js';
import { small } from './small.js';
import { starvation } from './starvation.js';
import { stream } from './stream.js';
import { syscalls } from './syscalls.js';
import { throughputSuite } from './throughput.js';

const SUITES: Suite[] = [
  latency,
  throughputSuite,
  cli,
  syscalls,
  memory,
  starvation,
  idle,
  alloc,
  broker,
  crossover,
  kernelVsUser,
  stream,
  small,
  server,
];

const USAGE = `usage: warpdrive bench SUITE [--json] [--quick] [--rows a,b]
suites: ${SUITES.map((suite) => suite.name).join(', ')}, all
`;

/** A wrong command line. */
class UsageError extends Error {}

/**
 * Runs benchmark suites and prints what they found: tables, or with `--json` one JSON document a line for each suite.
 * Resolves with the exit code: 0 whatever the figures, 1 if something broke, 2 for a wrong command line.
 */
export async function runBench(
  args: string[],
  write: (text: string) => void = (text) => void process.stdout.write(text),
): Promise<number> {
  try {
    const { suites, rows, json, quick } = parse(args);
    const budget = quick ? QUICK_BUDGET : FULL_BUDGET;
    for (const suite of suites) {
      const report: SuiteReport = {
        suite: suite.name,
        machine: await runChild<Machine>('machine-child.js', []),
        rows: [],
      };
      for (const plan of selected(suite, rows)) {
        progress(`${suite.name} ${plan.name}`);
        report.rows.push(await runRow(plan, budget));
      }
      progress('');
      write(json ? `${JSON.stringify(report)}\n` : formatReport(report));
    }
    return 0;
  } catch (error) {
    progress('');
    if (error instanceof UsageError) {
      process.stderr.write(`warpdrive bench: ${error.message}\n${USAGE}`);
      return 2;
    }
    process.stderr.write(`warpdrive bench: ${(error as Error).stack ?? error}\n`);
    return 1;
  }
}

interface Command {
  suites: Suite[];
  rows: string[] | undefined;
  json: boolean;
  quick: boolean;
}

function parse(args: string[]): Command {
  let parsed: ReturnType<typeof parseCommandLine>;
  try {
    parsed = parseCommandLine(args);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const [name, ...others] = parsed.positionals;
  if (name === undefined || others.length > 0) throw new UsageError('one suite is wanted');
  const suites = SUITES.filter((suite) => name === 'all' || suite.name === name);
  if (suites.length === 0) throw new UsageError(`there is no suite ${JSON.stringify(name)}`);
  const rows = parsed.values.rows?.split(',').filter((row) => row !== '');
  const known = suites.flatMap((suite) => suite.rows.map((row) => row.name));
  const unknown = rows?.filter((row) => !known.includes(row)) ?? [];
  if (unknown.length > 0) {
    throw new UsageError(`there is no row ${unknown.join(', ')} in ${name}: there are ${known.join(', ')}`);
  }
  return { suites, rows, json: parsed.values.json, quick: parsed.values.quick };
}

function parseCommandLine(args: string[]) {
  return parseArgs({
    args,
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      rows: { type: 'string' },
    },
  });
}

function selected(suite: Suite, rows: string[] | undefined): RowPlan[] {
  return suite.rows.filter((row) => !rows || rows.includes(row.name));
}

/** Says on a terminal what is being measured; the line is overwritten. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
