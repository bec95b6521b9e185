import { type ServedQueue, viewQueue } from './served-queue.js';
import { type DeviceState, HEADER, QUEUE, SPACE, WORK_TICK_NS } from './state.js';

/** Work, in microseconds, that a client of weight 1 may have done in one round when others wait. */
const QUANTUM_US = 30;

/** A client as one engine thread sees it: its queues that are polled. */
export interface ServedClient {
  space: number;
  /** Where its address space's words start. */
  at: number;
  queues: ServedQueue[];
  /** Which of them has its turn next. */
  next: number;
  /** Ticks of work that it gets in each round. */
  quantum: number;
}

/** The hot queues of all clients. One thread's own: it is built anew when the shared bits have changed. */
export class ClientList {
  /** Clients that take turns, and those that are looked at before each of them. */
  clients: ServedClient[] = [];
  urgent: ServedClient[] = [];
  /** All hot queues. */
  queues: ServedQueue[] = [];
  version = -1;
  #hotVersion = -1;
  readonly #state: DeviceState;
  readonly #lock: (base: number) => void;
  /** Queues that were viewed before, by generation; a queue that cools and warms is not viewed again. */
  readonly #known = new Map<number, ServedQueue>();

  /** @param lock takes the lock of the queue whose words start there; it is given back here */
  constructor(state: DeviceState, lock: (base: number) => void) {
    this.#state = state;
    this.#lock = lock;
  }

  /** Whether queues have come, gone, warmed or cooled since the list was built. */
  get isStale(): boolean {
    const { words } = this.#state;
    return (
      Atomics.load(words, HEADER.queueVersion) !== this.version ||
      Atomics.load(words, HEADER.hotVersion) !== this.#hotVersion
    );
  }

  refresh(): void {
    const { words, hotAt, hotWords } = this.#state;
    const version = Atomics.load(words, HEADER.queueVersion);
    this.#hotVersion = Atomics.load(words, HEADER.hotVersion);
    if (version !== this.version) this.#forgetDisabled();
    this.version = version;
    const bySpace = new Map<number, ServedClient>();
    const before = new Map([...this.clients, ...this.urgent].map((client) => [client.space, client.next]));
    this.queues = [];
    for (let word = 0; word < hotWords; word++) {
      for (let bits = Atomics.load(words, hotAt + word); bits !== 0; bits &= bits - 1) {
        const queue = this.find(word * 32 + 31 - Math.clz32(bits & -bits));
        if (!queue) continue;
        this.queues.push(queue);
        let client = bySpace.get(queue.space);
        if (!client) {
          client = this.#client(queue.space, before.get(queue.space) ?? 0);
          bySpace.set(queue.space, client);
        }
        client.queues.push(queue);
      }
    }
    this.clients = [];
    this.urgent = [];
    for (const client of bySpace.values()) {
      if (client.next >= client.queues.length) client.next = 0;
      if (words[client.at + SPACE.lowLatency] === 0) this.clients.push(client);
      else this.urgent.push(client);
    }
  }

  #client(space: number, next: number): ServedClient {
    const at = this.#state.space(space);
    const weight = Math.max(1, this.#state.words[at + SPACE.weight]!);
    return { space, at, queues: [], next, quantum: weight * QUANTUM_US * (1000 / WORK_TICK_NS) };
  }

  /** The queue in a block, viewed now if it was not before; undefined while it is disabled. */
  find(block: number): ServedQueue | undefined {
    const base = this.#state.queue(block);
    const { words } = this.#state;
    const generation = Atomics.load(words, base + QUEUE.generation);
    if (generation === 0) return undefined;
    let queue = this.#known.get(generation);
    if (queue) return queue;
    // The control thread disables a queue only while nobody holds its lock: hold it while viewing its memory.
    this.#lock(base);
    if (Atomics.load(words, base + QUEUE.generation) === generation) {
      queue = viewQueue(this.#state, base, generation);
      this.#known.set(generation, queue);
    }
    Atomics.store(words, base + QUEUE.lock, 0);
    return queue;
  }

  #forgetDisabled(): void {
    const { words } = this.#state;
    for (const [generation, queue] of this.#known) {
      if (Atomics.load(words, queue.base + QUEUE.generation) !== generation) this.#known.delete(generation);
    }
  }
}
