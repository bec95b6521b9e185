import { type EmbeddedOptions, startEmbedded } from '../device/embedded.js';
import type { DriverDevice } from '../driver/driver.js';
import { openDriver } from '../driver/drivers.js';
import { ClosedError, DeadlineError, DeviceLostError, SystemError } from '../errors.js';
import { ERRNO } from '../sys/libc.js';
import { connectUnix } from '../sys/unix-socket.js';
import { openVfio, type VfioOptions } from '../transport/vfio/open.js';
import { VfioUserTransport } from '../transport/vfio-user/client.js';

/** How long a broker may take for one answer; the longest waits until an engine has let go of memory. */
const ANSWER_MS = 30_000;

/** Why a broker refuses (docs/broker.md, "What clients see"). */
const REFUSALS: Record<number, string> = {
  [ERRNO.EACCES]: 'neither its user nor a group of it is on the lists of the broker',
  [ERRNO.EDQUOT]: 'its user has all the clients that it may have',
  [ERRNO.EBUSY]: 'the broker has all the clients that it can have',
};

/** A device with its driver, reached one way or the other. */
export interface Attachment {
  device: DriverDevice;
  /** Resolves when the device has ended, after its transport was closed. */
  end: () => Promise<void>;
}

/** Starts the embedded accelerator. */
export async function attachEmbedded(options: EmbeddedOptions): Promise<Attachment> {
  const embedded = await startEmbedded(options);
  const transport = await VfioUserTransport.connect(embedded.socket, 'embedded', embedded.nudge);
  void embedded.ended.then(() => transport.abandon(new DeviceLostError('the device thread has ended')));
  try {
    return { device: await openDriver(transport), end: embedded.end };
  } catch (error) {
    await transport.close();
    await embedded.end();
    throw error instanceof ClosedError ? new DeviceLostError(error.message, { cause: error }) : error;
  }
}

/**
 * Connects to a broker.
 * @throws DeviceLostError where none answers, or not in time, and whatever its driver finds
 */
export async function attachBroker(path: string): Promise<Attachment> {
  const name = `unix:${path}`;
  const socket = connect(path, name);
  try {
    const transport = await negotiate(socket, name, path);
    try {
      return { device: await openDriver(transport), end: async () => {} };
    } catch (error) {
      await transport.close();
      throw error;
    }
  } catch (error) {
    if (error instanceof ClosedError) {
      throw new DeviceLostError(`the broker at ${path} hung up`, {
        hint: 'its log says why; it may allow this user no more clients, or none at all',
        cause: error,
      });
    }
    if (error instanceof DeadlineError) {
      throw new DeviceLostError(`the broker at ${path} does not answer`, {
        hint: 'is it stopped?',
        cause: error,
      });
    }
    throw error;
  }
}

/** Opens hardware through the kernel's VFIO, with the driver that its PCI numbers call for. */
export async function attachVfio(name: string, options: VfioOptions): Promise<Attachment> {
  const transport = await openVfio(name, options);
  try {
    return { device: await openDriver(transport), end: async () => {} };
  } catch (error) {
    await transport.close();
    throw error;
  }
}

/** @throws DeviceLostError where the broker lets nobody in, or not this process */
async function negotiate(socket: number, name: string, path: string): Promise<VfioUserTransport> {
  try {
    return await VfioUserTransport.connect(socket, name, undefined, ANSWER_MS);
  } catch (cause) {
    if (!(cause instanceof SystemError)) throw cause;
    const hint = REFUSALS[cause.errno] ?? 'its log says more';
    throw new DeviceLostError(`the broker at ${path} lets this process have no device`, { hint, cause });
  }
}

function connect(path: string, device: string): number {
  try {
    return connectUnix(path);
  } catch (cause) {
    if (!(cause instanceof SystemError)) throw cause;
    const hint =
      cause.errno === ERRNO.EACCES || cause.errno === ERRNO.EPERM
        ? 'this user may not connect to it: see its mode and its configuration'
        : cause.errno === ERRNO.EAGAIN
          ? 'too many clients wait to be let in; try again'
          : `start one: warpdrive serve --socket ${path}`;
    throw new DeviceLostError(`no broker answers at ${path}: ${cause.message}`, { device, hint, cause });
  }
}
