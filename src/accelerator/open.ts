import { ArgumentError, DeviceLostError, UnsupportedError } from '../errors.js';
import { checkPlatform } from '../sys/libc.js';
import { defaultBrokerSocket } from '../transport/broker-socket.js';
import { VFIO_SCHEME } from '../transport/vfio/address.js';
import { UNSAFE, type Unsafe } from '../transport/vfio/open.js';
import { Accelerator } from './accelerator.js';
import { type Attachment, attachBroker, attachEmbedded, attachVfio } from './attach.js';
import { type InlineBytes, Placement } from './placement.js';
import { attachAgain, type ReconnectOptions, reconnectMs } from './reconnect.js';
import { checkSettings, embeddedSettings, type Settings } from './settings.js';

export interface OpenOptions {
  /**
   * The device: `embedded` is the one in this process, `unix:/path` a broker's (`warpdrive serve`), `vfio:0000:00:03.0`
   * hardware that is bound to vfio-pci, `vfio:UUID` a mediated device of the kernel's. By default WARPDRIVE_DEVICE, else the
   * broker at its default socket if one answers there, else `embedded`.
   */
  device?: string;
  /** The most engine threads; by default WARPDRIVE_ENGINES, else as many as there are processors. Embedded only. */
  engines?: number;
  /** Engines not to use; by default WARPDRIVE_DISABLE_ENGINES, a list with commas. Embedded only. */
  disableEngines?: string[];
  /** Requests in flight on the accelerator's own queue: a power of two; by default 256, or less where the device has less. */
  queueDepth?: number;
  /** Memory for buffers in flight, a power of two; by default 32 MiB. Pages take up room once used. */
  memoryBytes?: number;
  /** How long an idle engine polls before it sleeps; by default WARPDRIVE_SPIN_US, else 100. Embedded only. */
  spinMicroseconds?: number;
  /** Whether the device takes any address of this process (the default), or only memory mapped for it. Embedded only. */
  sva?: boolean;
  /**
   * Faults to inject, for tests of error paths (docs/architecture.md, "Faults on purpose"). By default WARPDRIVE_INJECT.
   * Embedded only.
   */
  inject?: string[];
  /**
   * Sizes below which the calling thread runs a request itself: for all classes but `compress`, or by class. By default
   * it does when that takes no longer than sending it, which is measured when the accelerator is opened. 0 is never.
   */
  inlineBytes?: InlineBytes;
  /** What is refused unless it is allowed here: `noiommu`, a device that no IOMMU guards. Hardware only. */
  allowUnsafe?: Unsafe[];
  /**
   * Whether the calling thread takes over when the device has gone, and this process's own device when there is none of
   * that name; by default not: then calls fail. Results tell with `info: true`, and `devices()` by a flag.
   */
  fallback?: boolean;
  /**
   * Whether to find another broker when the one in use goes away, and to send again what it had not completed; by
   * default not: then everything in flight fails at once. `timeoutMs` is how long to look for one, by default 30 s.
   * Brokers only.
   */
  reconnect?: boolean | ReconnectOptions;
}

const EMBEDDED = 'embedded';
const UNIX = 'unix:';
/** Options that are about a device of one's own. */
const EMBEDDED_ONLY = ['engines', 'disableEngines', 'spinMicroseconds', 'sva', 'inject'] as const;

/**
 * Opens an accelerator.
 * @throws (as a rejection) UnsupportedError for a device that does not exist, DeviceLostError for a broker that does not
 * answer, ArgumentError for a wrong option, PlatformError where WarpDrive cannot run, MemoryError when there is no room.
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
  const settings = checkSettings(options);
  checkUnsafe(options.allowUnsafe);
  const retryMs = reconnectMs(options.reconnect);
  const name = options.device ?? (process.env['WARPDRIVE_DEVICE'] || undefined);
  if (name === undefined) {
    const found = isForEmbedded(options) ? undefined : await findBroker();
    if (found) return accelerate(found, settings, retryMs, defaultBrokerSocket());
    return openEmbedded(options, settings);
  }
  if (name === EMBEDDED) return openEmbedded(options, settings);
  const isHardware = name.startsWith(VFIO_SCHEME);
  if (!isHardware && (!name.startsWith(UNIX) || name.length === UNIX.length)) {
    throw new UnsupportedError(`there is no device ${JSON.stringify(name)}`, {
      hint: 'there is "embedded", "unix:/path" of a broker, and "vfio:0000:00:03.0" of hardware',
    });
  }
  for (const option of EMBEDDED_ONLY) {
    if (options[option] !== undefined) {
      const reason = isHardware ? 'about the embedded device' : "the broker's to choose";
      throw new ArgumentError(`${option} is ${reason}, and cannot be set with ${name}`);
    }
  }
  const path = isHardware ? undefined : name.slice(UNIX.length);
  let attachment: Attachment;
  try {
    attachment =
      path === undefined
        ? await attachVfio(name, { allowUnsafe: options.allowUnsafe ?? [] })
        : await attachBroker(path);
  } catch (error) {
    if (!settings.fallback || !(error instanceof DeviceLostError)) throw error;
    return openEmbedded({}, { ...settings, insteadOf: name });
  }
  return accelerate(attachment, settings, retryMs, path);
}

function checkUnsafe(names: unknown): void {
  if (names === undefined) return;
  if (Array.isArray(names) && names.every((name) => UNSAFE.includes(name))) return;
  throw new ArgumentError(`allowUnsafe is a list of ${UNSAFE.join(', ')}`);
}

/** Whether options ask for a device of one's own without naming it. */
function isForEmbedded(options: OpenOptions): boolean {
  return EMBEDDED_ONLY.some((option) => options[option] !== undefined);
}

/** The broker at its default socket, if one answers. */
async function findBroker(): Promise<Attachment | undefined> {
  try {
    return await attachBroker(defaultBrokerSocket());
  } catch (error) {
    // None there, or none for us: there is a device in every process.
    if (error instanceof DeviceLostError) return undefined;
    throw error;
  }
}

async function openEmbedded(options: OpenOptions, settings: Settings): Promise<Accelerator> {
  return accelerate(await attachEmbedded(embeddedSettings(options)), settings, 0, undefined);
}

async function accelerate(
  attachment: Attachment,
  settings: Settings,
  retryMs: number,
  path: string | undefined,
): Promise<Accelerator> {
  try {
    return await Accelerator.create(attachment, {
      ...settings,
      placement: new Placement(settings.inlineBytes),
      window: Math.max(4, 2 * attachment.device.maxThreads),
      reattach: retryMs > 0 && path !== undefined ? (until) => attachAgain(path, retryMs, until) : undefined,
    });
  } catch (error) {
    await attachment.device.close();
    await attachment.end();
    throw error;
  }
}
