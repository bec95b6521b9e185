import { DEVICE_STATE, LIMITS, STATUS_PAGE } from '../abi/queue.js';
import { Device } from '../device/device.js';
import type { Ledger } from '../device/ledger.js';
import { Lifeline } from '../device/lifeline.js';
import { signalEventfd } from '../sys/fd.js';
import { BrokerClient } from './client.js';
import type { BrokerConfig } from './config.js';
import { descriptorBudget } from './descriptors.js';
import type { ClientSettings, Host } from './host.js';

/** How long an exit waits for the engine threads; one that executes a request ends it first. */
const LEAVE_MS = 2000;
/** Queues and sessions of all clients together. */
const MAX_QUEUES = 4096;
const MAX_SESSIONS = 4095;
/** How long an idle queue is polled. */
const COOL_MS = 5;

/** What of the configuration a device is made with. */
export type DeviceSettings = Pick<
  BrokerConfig,
  'engines' | 'disableEngines' | 'spinMicroseconds' | 'allowUnsafeUnsealedMemory' | 'faults'
>;

export interface DeviceEvents {
  /** An engine thread died, and is being replaced. */
  onThreadDeath: (reason: string, thread: number) => void;
  /** The device failed: called once at most. */
  onFailure: (reason: string) => void;
}

/** A software accelerator with its engine threads, from its start to its end. */
export class HostedDevice implements Host {
  readonly device: Device;
  readonly #lifeline: Lifeline;
  #stopped = false;

  private constructor(device: Device, lifeline: Lifeline) {
    this.device = device;
    this.#lifeline = lifeline;
  }

  /** Resolves when it is ready. */
  static async start(
    config: DeviceSettings,
    maxClients: number,
    ledger: Ledger,
    events: DeviceEvents,
  ): Promise<HostedDevice> {
    const lifeline = new Lifeline(config.engines);
    const device = new Device({
      maxThreads: config.engines,
      spinMicroseconds: config.spinMicroseconds,
      disabledEngines: config.disableEngines,
      faults: config.faults,
      unsealedMemory: config.allowUnsafeUnsealedMemory,
      lifeline: lifeline.buffer,
      ledger,
      shared: {
        maxClients,
        maxQueues: Math.min(MAX_QUEUES, maxClients * LIMITS.maxQueues),
        maxSessions: MAX_SESSIONS,
        coolMs: COOL_MS,
        onThreadDeath: events.onThreadDeath,
        descriptors: descriptorBudget(maxClients, config.engines),
      },
    });
    const made = new HostedDevice(device, lifeline);
    try {
      await device.start();
    } catch (error) {
      await made.stop();
      throw error;
    }
    device.onFailure = events.onFailure;
    return made;
  }

  get threads(): number {
    return this.device.threads;
  }

  get failed(): boolean {
    return this.device.failed;
  }

  connect(fd: number, settings: ClientSettings): BrokerClient {
    return new BrokerClient(this.device, fd, settings);
  }

  /** Tells every client, on the status page, that no new work is wanted. */
  announceStop(): void {
    Atomics.store(this.device.status.words, STATUS_PAGE.stateWord, DEVICE_STATE.stopping);
  }

  /** Stops the engine threads, once they have completed what they execute, and frees everything. */
  async stop(): Promise<void> {
    await this.device.stop();
    this.#stopped = true;
  }

  /** The process exits now: lets the engine threads leave native code first (device/lifeline.ts). */
  abandon(): void {
    if (this.#stopped) return;
    this.#lifeline.cut();
    signalEventfd(this.device.wakeFd);
    this.#lifeline.waitForEngines(performance.now() + LEAVE_MS);
  }
}
