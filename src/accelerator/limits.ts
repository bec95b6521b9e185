import type { RequestOptions } from '../algorithms/options.js';
import { ArgumentError, DeadlineError } from '../errors.js';

/** Throws if the options are wrong, or the signal has been aborted already. */
export function checkLimits({ signal, deadlineMs }: RequestOptions): void {
  if (deadlineMs !== undefined && !(deadlineMs >= 0 && deadlineMs <= 0x7fffffff)) {
    throw new ArgumentError('deadlineMs must be a number of milliseconds from 0 to 2147483647');
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new ArgumentError('signal must be an AbortSignal');
  }
  signal?.throwIfAborted();
}

/**
 * Settles as `work` does, unless the signal is aborted or the deadline passes first: then `cancel` is called, and the
 * promise rejects.
 */
export function withLimits<T>(work: Promise<T>, options: RequestOptions, cancel: () => void): Promise<T> {
  const { signal, deadlineMs } = options;
  if (!signal && deadlineMs === undefined) return work;
  return new Promise<T>((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    const giveUp = (reason: unknown): void => {
      end();
      reject(reason);
      cancel();
    };
    const onAbort = (): void => giveUp(signal!.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (deadlineMs !== undefined) {
      timer = setTimeout(
        () => giveUp(new DeadlineError(`the result was not there after ${deadlineMs} ms`)),
        deadlineMs,
      );
    }
    work.then(
      (value) => {
        end();
        resolve(value);
      },
      (error) => {
        end();
        reject(error);
      },
    );
  });
}
