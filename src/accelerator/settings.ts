import { availableParallelism } from 'node:os';
import type { EmbeddedOptions } from '../device/embedded.js';
import { ENGINE_NAMES } from '../device/engines/engine.js';
import { parseFaults } from '../device/inject.js';
import { ArgumentError } from '../errors.js';
import type { OpenOptions } from './open.js';
import type { InlineBytes } from './placement.js';

/** With more, the first open of a process has the whole heap collected: views of memory count as JavaScript's. */
const DEFAULT_MEMORY_BYTES = 32 * 1024 * 1024;
const MIN_MEMORY_BYTES = 4 * 1024 * 1024;
const MAX_MEMORY_BYTES = 1024 * 1024 * 1024;
const DEFAULT_SPIN_US = 100;
const MAX_THREADS = 64;
const THERE_ARE = `there are ${ENGINE_NAMES.join(', ')}`;

/** What an accelerator needs of its options, whatever its device. */
export interface Settings {
  /** Undefined where it is up to the accelerator. */
  depth: number | undefined;
  memoryBytes: number;
  inlineBytes: InlineBytes | undefined;
  fallback: boolean;
  /** Engines that the calling thread does not use. */
  disabledEngines: string[];
  /** The device that was asked for, and is not there. */
  insteadOf?: string;
}

/** Checks the options that every device has. */
export function checkSettings(options: OpenOptions): Settings {
  const { queueDepth: depth } = options;
  if (depth !== undefined && (!isPowerOfTwo(depth) || depth < 2 || depth > 32768)) {
    throw new ArgumentError('queueDepth must be a power of two from 2 to 32768');
  }
  const memoryBytes = options.memoryBytes ?? DEFAULT_MEMORY_BYTES;
  if (!isPowerOfTwo(memoryBytes) || memoryBytes < MIN_MEMORY_BYTES || memoryBytes > MAX_MEMORY_BYTES) {
    throw new ArgumentError(
      `memoryBytes must be a power of two from ${MIN_MEMORY_BYTES} to ${MAX_MEMORY_BYTES}`,
    );
  }
  const { fallback = false } = options;
  // Faults are met on the device: nothing must pass it by.
  const inlineBytes = options.inlineBytes ?? (faultsOf(options).length > 0 ? 0 : undefined);
  if (typeof fallback !== 'boolean') throw new ArgumentError('fallback is true or false');
  return { depth, memoryBytes, inlineBytes, fallback, disabledEngines: disabledEngines(options) };
}

/** Checks the options of the embedded device, with what the environment says. */
export function embeddedSettings(options: OpenOptions): EmbeddedOptions {
  const engines = wholeNumber(
    'engines',
    options.engines,
    'WARPDRIVE_ENGINES',
    availableParallelism(),
    1,
    MAX_THREADS,
  );
  const spinMicroseconds = wholeNumber(
    'spinMicroseconds',
    options.spinMicroseconds,
    'WARPDRIVE_SPIN_US',
    DEFAULT_SPIN_US,
    0,
    1e6,
  );
  return {
    sva: options.sva ?? true,
    maxThreads: engines,
    spinMicroseconds,
    disabledEngines: disabledEngines(options),
    faults: faultsOf(options),
  };
}

function faultsOf(options: OpenOptions): string[] {
  const faults = strings('inject', options.inject, 'WARPDRIVE_INJECT', 'for example kill:compress:3');
  parseFaults(faults);
  return faults;
}

function disabledEngines(options: OpenOptions): string[] {
  const names = strings('disableEngines', options.disableEngines, 'WARPDRIVE_DISABLE_ENGINES', THERE_ARE);
  for (const name of names) {
    if (!(ENGINE_NAMES as string[]).includes(name)) {
      throw new ArgumentError(`there is no engine ${JSON.stringify(name)}`, { hint: THERE_ARE });
    }
  }
  return names;
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value <= 2 ** 30 && (value & (value - 1)) === 0;
}

/** A list from an option, or with commas from the environment. */
function strings(name: string, given: unknown, variable: string, hint: string): string[] {
  if (given !== undefined) {
    if (Array.isArray(given) && given.every((item) => typeof item === 'string')) return given;
    throw new ArgumentError(`${name} must be a list of strings`, { hint });
  }
  return (process.env[variable] ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function wholeNumber(
  name: string,
  given: number | undefined,
  variable: string,
  fallback: number,
  min: number,
  max: number,
): number {
  const text = process.env[variable];
  const source = given !== undefined ? name : variable;
  const value = given ?? (text === undefined || text === '' ? fallback : Number(text));
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new ArgumentError(`${source} must be a whole number from ${min} to ${max}`);
  }
  return value;
}
