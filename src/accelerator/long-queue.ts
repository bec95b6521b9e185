import type { DeviceQueue, DriverDevice } from '../driver/driver.js';
import { SystemError } from '../errors.js';
import { Dispatcher } from './dispatcher.js';
import { Staging } from './staging.js';

/** Few of them are in flight, and they are small: secrets and keys. */
const DEPTH = 32;
const MEMORY_BYTES = 2 * 1024 * 1024;

/** A queue of an accelerator's own for requests that take long, so that no other request waits behind one. */
export class LongQueue {
  readonly generation: number;
  readonly dispatcher: Dispatcher | undefined;
  readonly #queue: DeviceQueue | undefined;
  readonly #staging: Staging | undefined;

  private constructor(
    generation: number,
    dispatcher: Dispatcher | undefined,
    queue: DeviceQueue | undefined,
    staging: Staging | undefined,
  ) {
    this.generation = generation;
    this.dispatcher = dispatcher;
    this.#queue = queue;
    this.#staging = staging;
  }

  /** One without a dispatcher where the device has no room for it. */
  static async create(device: DriverDevice, generation: number, onLost: () => void): Promise<LongQueue> {
    let staging: Staging | undefined;
    try {
      staging = new Staging(await device.allocate(MEMORY_BYTES));
      const queue = await device.createQueue({ depth: Math.min(DEPTH, device.maxDepth) });
      const dispatcher = new Dispatcher(queue, staging, device.name, onLost);
      return new LongQueue(generation, dispatcher, queue, staging);
    } catch (error) {
      await staging?.free().catch(() => {});
      if (!(error instanceof SystemError)) throw error;
      return new LongQueue(generation, undefined, undefined, undefined);
    }
  }

  /** Everything in flight fails. */
  fail(reason: string): void {
    this.dispatcher?.fail(reason);
  }

  async close(): Promise<void> {
    await this.dispatcher?.close();
    await this.#queue?.release();
    await this.#staging?.free();
  }
}
