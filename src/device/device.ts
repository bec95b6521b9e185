import { setTimeout as sleep } from 'node:timers/promises';
import type { MessagePort } from 'node:worker_threads';
import { ALGORITHM, type CompressionAlgorithm } from '../abi/algorithms.js';
import { DEVICE_STATE, LIMITS, OPCODE, type OperationName, STATUS_PAGE } from '../abi/queue.js';
import { SystemError } from '../errors.js';
import { createEpoll } from '../sys/epoll.js';
import { closeFd, signalEventfd } from '../sys/fd.js';
import { ERRNO } from '../sys/libc.js';
import { addSeals, createMemfd, SEAL } from '../sys/memfd.js';
import { Mapping } from '../sys/memory.js';
import { Signaller } from '../sys/signal.js';
import { DescriptorBudget } from './descriptor-budget.js';
import { type Engine, EngineRequest } from './engines/engine.js';
import { EngineRegistry } from './engines/registry.js';
import { type ClientOptions, DeviceFunction } from './function.js';
import type { Ledger } from './ledger.js';
import { recoverThread } from './recovery.js';
import { Sessions, sessionKeyBytes } from './sessions.js';
import { DeviceState, HEADER, QUEUE, THREAD, THREAD_AWAY } from './state.js';
import { Supervisor } from './supervisor.js';

export interface DeviceOptions {
  /** The most engine threads the device may have. */
  maxThreads: number;
  /** How long an idle engine thread polls before it sleeps. */
  spinMicroseconds: number;
  /** Names of engines not to be used. */
  disabledEngines: string[];
  /** Faults to inject (inject.ts). */
  faults: string[];
  /** One word, set by the host process when it ends: engine threads then leave by themselves. */
  lifeline: SharedArrayBuffer;
  /** Map memory of clients that can still shrink: unsafe, since a client that shrinks it ends this process. */
  unsealedMemory?: boolean;
  /** A port to an engine thread that has been started already (engine-worker.ts, SpareThreadData). */
  spareThread?: MessagePort;
  /**
   * For a device that several clients share: each has a wake descriptor of its own, idle queues are not polled, and an
   * engine thread that dies is replaced instead of taking the device with it.
   */
  shared?: SharedOptions;
  /** Where accounts of its clients lie; it outlives the device. */
  ledger?: Ledger;
}

export interface SharedOptions {
  /** Clients at once. */
  maxClients: number;
  /** Queues of all clients together. */
  maxQueues: number;
  /** Sessions of all clients together. */
  maxSessions: number;
  /** How long a queue is polled with nothing to do. */
  coolMs: number;
  /** What clients may make the process hold; without it, as much as there is. */
  descriptors?: DescriptorBudget;
  /** An engine thread died, and is being replaced. */
  onThreadDeath?: (reason: string, thread: number) => void;
}

/** A shared device whose engine threads die more often than this, in this time, fails. */
const MAX_DEATHS = 5;
const DEATH_WINDOW_MS = 60_000;

/** One engine as the device describes it to clients. */
export interface EngineDescription {
  name: string;
  library?: string;
  version?: string;
  /** What it does, and with which algorithms. */
  operations?: Partial<Record<OperationName, string[]>>;
  /** Levels at which it compresses, in the first of its formats. */
  levels?: { min: number; max: number };
  /** Whether it decompresses, and streams that are cut over many requests. */
  decompress?: boolean;
  streams?: boolean;
  /** Why the engine is not used. */
  absent?: string;
}

/** What a device can do with a compression format. */
export interface FormatDescription {
  /** At which it compresses; absent where it only decompresses. */
  levels?: { min: number; max: number };
  decompress: boolean;
  /** Whether it decompresses streams that are cut over many requests. */
  streams: boolean;
}

/** The text of region 5: what there is, as JSON. */
export interface DeviceDescription {
  /** By operation; an operation without algorithms has an empty list. */
  algorithms: Partial<Record<OperationName, string[]>>;
  /** Those that it also takes in parts, in a session. */
  sequences?: Partial<Record<OperationName, string[]>>;
  maxLevel: number;
  streams: boolean;
  /** By compression algorithm. A device that does not say has the deflate family alone. */
  formats?: Partial<Record<CompressionAlgorithm, FormatDescription>>;
  engines: EngineDescription[];
  /** Ciphers that it takes whole blocks of, where others take any number of bytes. */
  wholeBlocks?: string[];
  /** Digests that its signatures take, where they do not take every one. */
  signatureDigests?: string[];
  /** Guarantees that this device does not give, by name. */
  unsafe?: string[];
}

/** The software accelerator: engine threads, and a function for each client. */
export class Device {
  readonly state: DeviceState;
  readonly status: Mapping;
  readonly statusFd: number;
  readonly description: Buffer;
  readonly sessions: Sessions;
  /** Key material of sessions. */
  readonly #keys: Mapping;
  /** What engine threads sleep on: the device's wake descriptor, and those of clients. */
  readonly sleepSet = createEpoll();
  /** Signals clients from the control thread. */
  readonly signaller: Signaller;
  readonly #shared: SharedOptions | undefined;
  readonly descriptors: DescriptorBudget;
  readonly unsealedMemory: boolean;
  /** The most engine threads, but for one that comes for requests that take very long. */
  readonly maxThreads: number;
  readonly #registry: EngineRegistry;
  readonly #supervisor: Supervisor;
  readonly #functions = new Set<DeviceFunction>();
  readonly #freeBlocks: number[] = [];
  readonly #freeSpaces: number[] = [];
  #generation = 0;
  /** When engine threads died lately. */
  #deaths: number[] = [];
  failure: string | undefined;
  /** Called once if the device fails. */
  onFailure: ((reason: string) => void) | undefined;

  constructor(options: DeviceOptions) {
    const { shared } = options;
    this.maxThreads = options.maxThreads;
    const maxClients = shared?.maxClients ?? 1;
    this.#shared = shared;
    this.descriptors = shared?.descriptors ?? new DescriptorBudget(Number.POSITIVE_INFINITY, 0);
    const shape = {
      // One more than is named: the one that comes while others are in very long requests.
      threads: options.maxThreads + 1,
      queues: shared?.maxQueues ?? LIMITS.maxQueues,
      spaces: maxClients,
      // One for scratch memory of the device's own (shadow-queues.ts).
      regionsPerSpace: LIMITS.maxRegions + 1,
      sessions: shared?.maxSessions ?? LIMITS.maxSessions,
    };
    this.state = new DeviceState(shape, undefined, options.ledger?.words);
    for (let block = this.state.shape.queues - 1; block >= 0; block--) this.#freeBlocks.push(block);
    for (let space = maxClients - 1; space >= 0; space--) this.#freeSpaces.push(space);
    const registry = new EngineRegistry(options.disabledEngines);
    this.#registry = registry;
    this.#keys = Mapping.anonymous(sessionKeyBytes(this.state.shape.sessions));
    this.sessions = new Sessions(this.state, registry, -1, this.#keys.address, new EngineRequest());
    this.unsealedMemory = options.unsealedMemory ?? false;
    const unsafe = this.unsealedMemory ? { unsafe: ['unsealed-memory'] } : {};
    this.description = Buffer.from(JSON.stringify({ ...describe(registry), ...unsafe }));
    this.statusFd = createMemfd('status', STATUS_PAGE.pageBytes);
    this.status = Mapping.shared(this.statusFd, 0, STATUS_PAGE.pageBytes, 'read-write');
    this.signaller = new Signaller(this.statusFd);
    // From here on nobody else can map the page for writing.
    addSeals(this.statusFd, SEAL.futureWrite | SEAL.seal);
    this.#supervisor = new Supervisor({
      state: this.state,
      statusAddress: this.status.address,
      statusFd: this.statusFd,
      keysAddress: this.#keys.address,
      maxThreads: options.maxThreads,
      spinMicroseconds: options.spinMicroseconds,
      coolMs: shared?.coolMs ?? 0,
      sleepSet: this.sleepSet,
      disabledEngines: options.disabledEngines,
      faults: options.faults,
      lifeline: options.lifeline,
      spareThread: options.spareThread,
      ledger: options.ledger,
      onDeath: (reason, thread) => this.#threadDied(reason, thread),
    });
  }

  get threads(): number {
    return this.#supervisor.threads;
  }

  /** Where engine threads find the key material of sessions. */
  get keysAddress(): number {
    return this.#keys.address;
  }

  /** Whether each client has a wake descriptor of its own. */
  get isShared(): boolean {
    return this.#shared !== undefined;
  }

  #threadDied(reason: string, thread: number): boolean {
    const now = performance.now();
    this.#deaths = [...this.#deaths.filter((at) => now - at < DEATH_WINDOW_MS), now];
    if (!this.#shared || this.#deaths.length > MAX_DEATHS) {
      this.#fail(`an engine thread died: ${reason}`);
      return false;
    }
    recoverThread(
      { state: this.state, status: this.status.words, signaller: this.signaller, sessions: this.sessions },
      thread,
    );
    // What it would have come to next may have rung already, with no other thread awake.
    signalEventfd(this.wakeFd);
    this.#shared.onThreadDeath?.(reason, thread);
    return true;
  }

  /** Wakes sleeping engine threads when a client writes to it. */
  get wakeFd(): number {
    return this.#supervisor.wakeFd;
  }

  get failed(): boolean {
    return this.failure !== undefined;
  }

  async start(): Promise<void> {
    await this.#supervisor.start();
    Atomics.store(this.status.words, STATUS_PAGE.stateWord, DEVICE_STATE.ready);
  }

  /** A function for a new client. */
  createFunction(client: ClientOptions): DeviceFunction {
    const space = this.#freeSpaces.pop();
    if (space === undefined) throw new SystemError('device', ERRNO.EBUSY, 'the device has no more functions');
    try {
      const made = new DeviceFunction(this, space, client);
      this.#functions.add(made);
      return made;
    } catch (error) {
      this.#freeSpaces.push(space);
      throw error;
    }
  }

  /** A client is gone. */
  async releaseFunction(released: DeviceFunction): Promise<void> {
    if (!this.#functions.delete(released)) return;
    await released.close();
    this.#freeSpaces.push(released.space);
  }

  takeQueueBlock(): number {
    const block = this.#freeBlocks.pop();
    if (block === undefined)
      throw new SystemError('queue set-up', ERRNO.ENOSPC, 'the device has no free queue');
    return block;
  }

  /** Gives a block back that nobody has seen. */
  returnQueueBlock(block: number): void {
    this.#freeBlocks.push(block);
  }

  /** Gives a block back whose queue was published, and withdrawn since. */
  retireQueueBlock(block: number): void {
    this.state.setHot(block, false);
    Atomics.sub(this.state.words, HEADER.coldQueues, 1);
    this.returnQueueBlock(block);
  }

  /** Lets the engine threads see a queue that has been filled in. */
  publishQueue(block: number): void {
    this.#generation = (this.#generation % 0x7fffffff) + 1;
    Atomics.store(this.state.words, this.state.queue(block) + QUEUE.generation, this.#generation);
    Atomics.add(this.state.words, HEADER.coldQueues, 1);
    this.state.setHot(block, true);
    this.#listChanged();
  }

  /**
   * Takes a queue from the engine threads' sight. Resolves when none can still be reading its doorbell; one may hold
   * its lock, or be executing a request of it.
   */
  async withdrawQueue(block: number): Promise<void> {
    const { words, shape } = this.state;
    Atomics.store(words, this.state.queue(block) + QUEUE.generation, 0);
    this.#listChanged();
    const version = Atomics.load(words, HEADER.queueVersion);
    for (let thread = 0; thread < shape.threads; thread++) {
      const at = this.state.thread(thread) + THREAD.reading;
      for (;;) {
        const reading = Atomics.load(words, at);
        if (reading === THREAD_AWAY || ((reading - version) | 0) >= 0 || this.failed) break;
        await sleep(1);
      }
    }
  }

  #listChanged(): void {
    Atomics.add(this.state.words, HEADER.queueVersion, 1);
  }

  /** The device is done for: whoever has requests in flight is told at once. */
  #fail(reason: string): void {
    if (this.failure !== undefined) return;
    this.failure = reason;
    Atomics.store(this.status.words, STATUS_PAGE.stateWord, DEVICE_STATE.failed);
    for (const each of this.#functions) {
      each.signalError();
    }
    void this.stopThreads();
    this.onFailure?.(reason);
  }

  /** Stops every engine thread; resolves when the last has gone. */
  stopThreads(): Promise<void> {
    return this.#supervisor.stop();
  }

  async stop(): Promise<void> {
    Atomics.store(this.status.words, STATUS_PAGE.stateWord, DEVICE_STATE.stopping);
    for (const each of [...this.#functions]) await this.releaseFunction(each);
    Atomics.store(this.status.words, STATUS_PAGE.stateWord, DEVICE_STATE.stopped);
    await this.stopThreads();
    this.#supervisor.close();
    this.#registry.close();
    this.signaller.close();
    this.#keys.unmap();
    closeFd(this.sleepSet);
    this.status.unmap();
    closeFd(this.statusFd);
  }
}

function describe(registry: EngineRegistry): DeviceDescription {
  const operations = Object.keys(OPCODE) as OperationName[];
  const offered = operations.filter((name) => registry.offers(OPCODE[name], 0).length > 0);
  const algorithms: DeviceDescription['algorithms'] = {};
  const sequences: DeviceDescription['sequences'] = {};
  for (const name of operations) {
    const names = registry.algorithms(name);
    const inParts = names.filter((each) => registry.chooseForSession(OPCODE[name], ALGORITHM[each], true));
    if (inParts.length > 0) sequences[name] = inParts;
    if (names.length > 0 || offered.includes(name)) algorithms[name] = names;
  }
  algorithms.chain = [];
  return {
    algorithms,
    sequences,
    maxLevel: registry.maxLevel,
    streams: registry.streams,
    formats: registry.formats,
    engines: registry.entries.map(({ name, engine, absent }) =>
      engine ? describeEngine(engine) : { name, absent: absent! },
    ),
  };
}

function describeEngine({ name, library, version, capabilities }: Engine): EngineDescription {
  const operations: NonNullable<EngineDescription['operations']> = {};
  for (const capability of capabilities) {
    for (const operation of capability.operations) {
      operations[operation] = [...new Set([...(operations[operation] ?? []), ...capability.algorithms])];
    }
  }
  const { levels } = capabilities.find((capability) => capability.levels) ?? {};
  const unpacking = capabilities.filter((capability) => capability.operations.includes('decompress'));
  return {
    name,
    library,
    version,
    operations,
    ...(levels ? { levels } : {}),
    decompress: unpacking.length > 0,
    streams: unpacking.some(({ session }) => session === 'exclusive'),
  };
}
