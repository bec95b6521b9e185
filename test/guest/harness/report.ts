/** What the guest says to the host, a JSON line each, and what the host makes of it. */

export type Message =
  | { kind: 'start' }
  | { kind: 'test'; name: string; nesting: number; passed: boolean; skipped?: string; error?: string }
  | { kind: 'output'; text: string }
  | { kind: 'coverage'; name: string; text: string }
  | { kind: 'log'; text: string }
  | { kind: 'end'; passed: boolean };

/** A test that ran in the guest. */
export interface GuestTest {
  name: string;
  passed: boolean;
  skipped: string | undefined;
  error: string | undefined;
  children: GuestTest[];
}

export interface Report {
  tests: GuestTest[];
  /** What the suites printed. */
  output: string;
  /** The kernel's log, where the guest lived to tell. */
  log: string | undefined;
  coverage: { name: string; text: string }[];
  /** Whether the guest came to its end. */
  ended: boolean;
}

/** Reads what a guest sent. A last line that was cut off is left out. */
export function readReport(text: string): Report {
  const report: Report = { tests: [], output: '', log: undefined, coverage: [], ended: false };
  /** Tests by depth that wait for the one that holds them: it is told after them. */
  const waiting: GuestTest[][] = [];
  for (const line of text.split('\n').slice(0, -1)) {
    const message = JSON.parse(line) as Message;
    if (message.kind === 'output') report.output += message.text;
    if (message.kind === 'log') report.log = message.text;
    if (message.kind === 'coverage') report.coverage.push({ name: message.name, text: message.text });
    if (message.kind === 'end') report.ended = true;
    if (message.kind !== 'test') continue;
    const { name, nesting, passed, skipped, error } = message;
    const children = waiting[nesting + 1] ?? [];
    waiting[nesting + 1] = [];
    waiting[nesting] ??= [];
    waiting[nesting].push({ name, passed, skipped, error, children });
  }
  report.tests = waiting.flatMap((tests) => tests ?? []);
  return report;
}
