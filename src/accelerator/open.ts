import { availableParallelism } from 'node:os';
import { PCI, REGION } from '../abi/registers.js';
import { startEmbedded } from '../device/embedded.js';
import { ENGINE_NAMES } from '../device/engines/engine.js';
import { parseFaults } from '../device/inject.js';
import type { DriverDevice } from '../driver/driver.js';
import { wva } from '../driver/wva/wva.js';
import { ArgumentError, ClosedError, DeviceLostError, UnsupportedError } from '../errors.js';
import { checkPlatform } from '../sys/libc.js';
import { VfioUserTransport } from '../transport/vfio-user/client.js';
import { Accelerator } from './accelerator.js';
import { Dispatcher } from './dispatcher.js';
import { Staging } from './staging.js';

export interface OpenOptions {
  /** The device; `embedded` is the one in this process. By default WARPDRIVE_DEVICE, else `embedded`. */
  device?: string;
  /** The most engine threads; by default WARPDRIVE_ENGINES, else as many as there are processors. */
  engines?: number;
  /** Engines not to use; by default WARPDRIVE_DISABLE_ENGINES, a list with commas. */
  disableEngines?: string[];
  /** Requests in flight on the accelerator's own queue: a power of two, by default 256. */
  queueDepth?: number;
  /** Memory for buffers in flight, a power of two; by default 64 MiB. Pages take up room once used. */
  memoryBytes?: number;
  /** How long an idle engine polls before it sleeps; by default WARPDRIVE_SPIN_US, else 100. */
  spinMicroseconds?: number;
  /** Whether the embedded device takes any address of this process (the default), or only memory mapped for it. */
  sva?: boolean;
  /** Faults to inject, for tests of error paths (docs/architecture.md, "Faults on purpose"). By default WARPDRIVE_INJECT. */
  inject?: string[];
}

const DEFAULT_DEPTH = 256;
const DEFAULT_MEMORY_BYTES = 64 * 1024 * 1024;
const MIN_MEMORY_BYTES = 4 * 1024 * 1024;
const MAX_MEMORY_BYTES = 1024 * 1024 * 1024;
const DEFAULT_SPIN_US = 100;
const MAX_THREADS = 64;
const THERE_ARE = `there are ${ENGINE_NAMES.join(', ')}`;

/**
 * Opens an accelerator.
 * @throws (as a rejection) UnsupportedError for a device that does not exist, ArgumentError for a wrong option,
 * PlatformError where WarpDrive cannot run, MemoryError when there is no room.
 */
export async function open(
  device?: string | OpenOptions,
  more: Omit<OpenOptions, 'device'> = {},
): Promise<Accelerator> {
  checkPlatform();
  if (device === null || (device !== undefined && typeof device !== 'string' && typeof device !== 'object')) {
    throw new ArgumentError('open takes the name of a device, or options');
  }
  const options: OpenOptions =
    typeof device === 'object' ? device : { ...more, ...(device ? { device } : {}) };
  const name = options.device ?? process.env['WARPDRIVE_DEVICE'] ?? 'embedded';
  if (name !== 'embedded') {
    throw new UnsupportedError(`there is no device ${JSON.stringify(name)}`, { hint: 'there is "embedded"' });
  }
  return openEmbedded(options);
}

async function openEmbedded(options: OpenOptions): Promise<Accelerator> {
  const settings = check(options);
  const embedded = await startEmbedded({
    sva: options.sva ?? true,
    maxThreads: settings.engines,
    spinMicroseconds: settings.spinMicroseconds,
    disabledEngines: settings.disabledEngines,
    faults: settings.faults,
  });
  const transport = await VfioUserTransport.connect(embedded.socket, 'embedded', embedded.nudge);
  void embedded.ended.then(() => transport.abandon(new DeviceLostError('the device thread has ended')));
  const config = await transport.readRegion(REGION.config, 0, PCI.configBytes);
  if (!wva.matches(config.readUInt16LE(PCI.offset.vendorId), config.readUInt16LE(PCI.offset.deviceId))) {
    throw new UnsupportedError('no driver matches the device');
  }
  let device: DriverDevice | undefined;
  try {
    device = await wva.open(transport);
    const staging = new Staging(await device.allocate(settings.memoryBytes));
    const queue = await device.createQueue({ depth: settings.depth });
    return new Accelerator({
      device,
      dispatcher: new Dispatcher(queue, staging, device.name),
      staging,
      window: Math.max(4, 2 * settings.engines),
      end: embedded.end,
    });
  } catch (error) {
    await (device ?? transport).close();
    await embedded.end();
    throw error instanceof ClosedError ? new DeviceLostError(error.message, { cause: error }) : error;
  }
}

interface Settings {
  engines: number;
  spinMicroseconds: number;
  disabledEngines: string[];
  faults: string[];
  depth: number;
  memoryBytes: number;
}

function check(options: OpenOptions): Settings {
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
  const depth = options.queueDepth ?? DEFAULT_DEPTH;
  if (!isPowerOfTwo(depth) || depth < 2 || depth > 32768) {
    throw new ArgumentError('queueDepth must be a power of two from 2 to 32768');
  }
  const memoryBytes = options.memoryBytes ?? DEFAULT_MEMORY_BYTES;
  if (!isPowerOfTwo(memoryBytes) || memoryBytes < MIN_MEMORY_BYTES || memoryBytes > MAX_MEMORY_BYTES) {
    throw new ArgumentError(
      `memoryBytes must be a power of two from ${MIN_MEMORY_BYTES} to ${MAX_MEMORY_BYTES}`,
    );
  }
  const disabledEngines = strings(
    'disableEngines',
    options.disableEngines,
    'WARPDRIVE_DISABLE_ENGINES',
    THERE_ARE,
  );
  for (const name of disabledEngines) {
    if (!(ENGINE_NAMES as string[]).includes(name)) {
      throw new ArgumentError(`there is no engine ${JSON.stringify(name)}`, {
        hint: THERE_ARE,
      });
    }
  }
  const faults = strings('inject', options.inject, 'WARPDRIVE_INJECT', 'for example kill:compress:3');
  parseFaults(faults);
  return { engines, spinMicroseconds, disabledEngines, faults, depth, memoryBytes };
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
