import { cpus, release } from 'node:os';
import { EngineRegistry } from '../src/device/engines/registry.js';

/** How a result is judged: its ratio or its value against a bound; without one it is stated, and not judged. */
export interface Target {
  of: 'ratio' | 'value';
  atLeast?: number;
  atMost?: number;
}

/** The results of all rounds, in order: WarpDrive's and the baseline's. */
export interface Samples {
  value: number[];
  baseline: number[];
}

export interface Row {
  name: string;
  unit: string;
  /** Median over the rounds; null for a row that was skipped. */
  value: number | null;
  baseline: { name: string; value: number | null };
  /** Above 1, WarpDrive is better. Null where there is nothing to divide, or nothing to divide by. */
  ratio: number | null;
  samples: Samples;
  target: Target;
  met: boolean | null;
  /** Why the row was not measured. */
  skipped?: string;
  /** Processors that other processes kept busy meanwhile, on average. */
  othersLoad: number;
  /** What a reader must know to judge the figures. */
  notes: string[];
}

export interface Machine {
  cpu: string;
  cores: number;
  node: string;
  kernel: string;
  engines: string[];
  date: string;
}

/** What one suite yields, and what `--json` prints. */
export interface SuiteReport {
  suite: string;
  machine: Machine;
  rows: Row[];
}

/** The machine as far as it explains a figure. */
export function describeMachine(): Machine {
  const processors = cpus();
  const { entries } = new EngineRegistry([]);
  return {
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    node: process.version,
    kernel: release(),
    engines: entries.flatMap(({ name, engine }) => (engine ? [`${name} ${engine.version}`] : [])),
    date: new Date().toISOString(),
  };
}

/** Whether a result is within its target; null when there is no result, or no target. */
export function isMet(target: Target, value: number | null, ratio: number | null): boolean | null {
  if (!isBounded(target)) return null;
  // A value of zero, of which less is better, leaves no ratio, and is as good as can be.
  const judged = target.of === 'value' ? value : value === 0 ? Number.POSITIVE_INFINITY : ratio;
  if (judged === null) return null;
  return judged >= (target.atLeast ?? Number.NEGATIVE_INFINITY) && judged <= (target.atMost ?? judged);
}

function isBounded(target: Target): boolean {
  return target.atLeast !== undefined || target.atMost !== undefined;
}

/** A table of one suite, for people. */
export function formatReport(report: SuiteReport): string {
  const { machine } = report;
  const lines = [
    `${report.suite}: ${machine.cpu}, ${machine.cores} cores, Node ${machine.node}, Linux ${machine.kernel}`,
    `engines: ${machine.engines.join(', ') || 'none'}; ${machine.date}`,
    '',
  ];
  const cells = [
    ['row', 'value', 'unit', 'baseline', '', 'ratio', 'target', '', 'others'],
    ...report.rows.map((row) => [
      row.name,
      formatNumber(row.value),
      row.unit,
      formatNumber(row.baseline.value),
      row.baseline.name,
      formatNumber(row.ratio),
      formatTarget(row.target),
      judgement(row),
      row.othersLoad.toFixed(2),
    ]),
  ];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((line) => line[column]!.length)));
  const isNumber = (column: number): boolean => column === 1 || column === 3 || column === 5;
  for (const line of cells) {
    const padded = line.map((cell, column) =>
      isNumber(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
    );
    lines.push(padded.join('  ').trimEnd());
  }
  lines.push('others: processors that other processes kept busy meanwhile');
  for (const row of report.rows) {
    if (row.skipped) lines.push(`! ${row.name} was SKIPPED: ${row.skipped}`);
    for (const note of row.notes) lines.push(`- ${row.name}: ${note}`);
  }
  return `${lines.join('\n')}\n\n`;
}

function judgement(row: Row): string {
  if (row.skipped) return 'SKIPPED';
  if (!isBounded(row.target)) return 'stated';
  return row.met ? 'met' : 'MISSED';
}

function formatTarget(target: Target): string {
  if (!isBounded(target)) return '-';
  const bounds = [
    ...(target.atLeast === undefined ? [] : [`>= ${formatNumber(target.atLeast)}`]),
    ...(target.atMost === undefined ? [] : [`<= ${formatNumber(target.atMost)}`]),
  ];
  return `${target.of} ${bounds.join(', ')}`;
}

/** Four significant digits, with thousands apart. */
export function formatNumber(value: number | null): string {
  if (value === null) return '-';
  if (value === 0) return '0';
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US');
  return Number(value.toPrecision(4)).toString();
}
