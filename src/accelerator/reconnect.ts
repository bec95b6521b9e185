import { setTimeout as sleep } from 'node:timers/promises';
import { ArgumentError, DeviceLostError, WarpDriveError } from '../errors.js';
import { type Attachment, attachBroker } from './attach.js';

export interface ReconnectOptions {
  /** How long to look for a broker after one has gone. */
  timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 30_000;
/** Pauses between two attempts: the first, and what they grow to. */
const FIRST_PAUSE_MS = 20;
const MAX_PAUSE_MS = 1000;

/** How long to look for another broker, as the option says; 0 for not at all. */
export function reconnectMs(option: boolean | ReconnectOptions | undefined): number {
  if (option === undefined || option === false) return 0;
  if (option === true) return DEFAULT_TIMEOUT_MS;
  const { timeoutMs = DEFAULT_TIMEOUT_MS } = option;
  if (typeof option !== 'object' || !(timeoutMs > 0 && timeoutMs <= 0x7fffffff)) {
    throw new ArgumentError('reconnect is true, false, or { timeoutMs } from 1 to 2147483647');
  }
  return timeoutMs;
}

/**
 * Attaches to the broker at a path again, as often as it takes: `use` is given each attachment, and what it makes of it
 * is the result. An attempt that fails for any reason is followed by another, until the time is up or `isGivenUp`.
 */
export async function attachAgain<T>(
  path: string,
  timeoutMs: number,
  { use, isGivenUp }: Retry<T>,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  let pauseMs = FIRST_PAUSE_MS;
  for (;;) {
    let attachment: Attachment | undefined;
    try {
      attachment = await attachBroker(path);
      return await use(attachment);
    } catch (cause) {
      await attachment?.device.close();
      if (!(cause instanceof WarpDriveError)) throw cause;
      if (isGivenUp()) throw cause;
      if (performance.now() + pauseMs > end) {
        throw new DeviceLostError(`no broker could be attached to within ${timeoutMs} ms: ${cause.message}`, {
          cause,
        });
      }
    }
    await sleep(pauseMs);
    pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS);
  }
}

export interface Retry<T> {
  use: (attachment: Attachment) => Promise<T>;
  isGivenUp: () => boolean;
}
