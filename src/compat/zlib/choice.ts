import { kMaxLength } from 'node:buffer';
import { DEFAULT_LEVELS } from '../../abi/algorithms.js';
import type { Reason } from './counters.js';
import { constants, type Format } from './formats.js';

/** What a caller's options ask for, as far as the accelerator is concerned. */
export interface Plan {
  level: number;
  maxOutputLength: number;
}

/** Options of streams, and chunkSize, which says how node:zlib works and not what comes out. */
const HARMLESS = new Set([
  'chunkSize',
  'level',
  'memLevel',
  'strategy',
  'windowBits',
  'flush',
  'finishFlush',
  'maxOutputLength',
  'params',
]);

const MAX_WINDOW_BITS = constants.Z_MAX_WINDOWBITS;
const { Z_FINISH, Z_DEFAULT_COMPRESSION, BROTLI_PARAM_QUALITY, BROTLI_OPERATION_FINISH } = constants;
/** Zstandard is in newer versions of Node alone; the published types of the oldest leave it out. */
const { ZSTD_c_compressionLevel, ZSTD_e_end } = constants as {
  ZSTD_c_compressionLevel?: number;
  ZSTD_e_end?: number;
};

/**
 * What a call asks for, or why node:zlib must answer it: what is wrong is refused by node:zlib itself, in its own words.
 * Window, dictionary and strategy change what may come out in ways that callers rely on.
 */
export function planCall(format: Format, options: unknown): Plan | Reason {
  const plan = { level: DEFAULT_LEVELS[format.algorithm ?? 'gzip'], maxOutputLength: kMaxLength };
  if (options === undefined || options === null) return plan;
  if (typeof options !== 'object') return 'argument';
  const given = options as Record<string, unknown>;
  for (const name in given) {
    if (given[name] !== undefined && !HARMLESS.has(name)) return 'option';
  }
  const { algorithm } = format;
  const isOther = algorithm === 'br' || algorithm === 'zstd';
  const finish = algorithm === 'br' ? BROTLI_OPERATION_FINISH : algorithm === 'zstd' ? ZSTD_e_end : Z_FINISH;
  if (!isAbsentOr(given['finishFlush'], finish)) return 'option';
  if (!isAbsentOr(given['flush'], 0)) return 'option';
  if (given['chunkSize'] !== undefined && !isBetween(given['chunkSize'], 64, kMaxLength)) return 'argument';
  const { maxOutputLength } = given;
  if (maxOutputLength !== undefined) {
    if (!isBetween(maxOutputLength, 1, kMaxLength)) return 'argument';
    plan.maxOutputLength = maxOutputLength as number;
  }
  return isOther ? withParameters(plan, format, given['params']) : withLevel(plan, format, given);
}

/** What a stream asks for, or why node:zlib must do it. Other options than zlib's are those of streams. */
export function planStream(format: Format, options: unknown): Plan | Reason {
  if (typeof options !== 'object' || options === null) return planCall(format, undefined);
  const { level, memLevel, strategy, windowBits, dictionary } = options as Record<string, unknown>;
  if (dictionary !== undefined) return 'option';
  return planCall(format, { level, memLevel, strategy, windowBits });
}

function withLevel(plan: Plan, format: Format, given: Record<string, unknown>): Plan | Reason {
  const { level, memLevel, strategy, windowBits } = given;
  if (memLevel !== undefined && !isBetween(memLevel, 1, 9)) return 'argument';
  if (!isAbsentOr(strategy, constants.Z_DEFAULT_STRATEGY)) return 'option';
  const isDefault = isAbsentOr(windowBits, MAX_WINDOW_BITS) || (!format.compresses && windowBits === 0);
  if (!isDefault) return 'option';
  if (level === undefined || level === Z_DEFAULT_COMPRESSION) return plan;
  if (!isBetween(level, 0, 9)) return 'argument';
  if (level === 0 && format.compresses) return 'level 0';
  plan.level = level as number;
  return plan;
}

/** Of Brotli and Zstandard, whose parameters have numbers, only the level is the same everywhere. */
function withParameters(plan: Plan, format: Format, params: unknown): Plan | Reason {
  const isBrotli = format.algorithm === 'br';
  if (format.compresses && isBrotli) plan.level = constants.BROTLI_DEFAULT_QUALITY;
  if (params === undefined) return plan;
  if (typeof params !== 'object' || params === null) return 'argument';
  const wanted = isBrotli ? BROTLI_PARAM_QUALITY : ZSTD_c_compressionLevel;
  const [low, high] = isBrotli ? [0, 11] : [1, 19];
  for (const [name, value] of Object.entries(params)) {
    if (name !== String(wanted) || !format.compresses) return 'option';
    if (!isBetween(value, low!, high!)) return 'argument';
    plan.level = value as number;
  }
  return plan;
}

function isAbsentOr(value: unknown, wanted: number | undefined): boolean {
  return value === undefined || value === wanted;
}

function isBetween(value: unknown, low: number, high: number): boolean {
  return Number.isInteger(value) && (value as number) >= low && (value as number) <= high;
}
