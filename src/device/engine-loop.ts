import { availableParallelism } from 'node:os';
import { DOORBELL, STATUS_PAGE } from '../abi/queue.js';
import { EpollEvents } from '../sys/epoll.js';
import { drainEventfd, signalEventfd } from '../sys/fd.js';
import { yieldProcessor } from '../sys/thread.js';
import { ClientList, type ServedClient } from './client-list.js';
import { BACKLOG_US, HEAVY_US, QueueTurn, type TurnHost, type TurnOptions } from './queue-turn.js';
import {
  HEADER,
  QUEUE,
  SPACE,
  SPACE_BLOCKS,
  THREAD,
  THREAD_AWAY,
  THREAD_COUNTED,
  WORK_TICK_NS,
} from './state.js';

/*
 * The engine loop: what a device's hardware would do.
 *
 * Fairness. Clients take turns by deficit round robin (Shreedhar and Varghese, 1996): in each round a client may have
 * so much work done, whatever number of queues it has and however full they are; what it overdraws it pays back in
 * later rounds. Clients of the latency class are looked at before every other client's turn, within their own share.
 *
 * Hot and cold. Only hot queues are polled. One that has had nothing for a while cools: its owner is told so in its
 * doorbell page, and wakes the device by descriptor when it next rings. So an open queue that is idle costs nothing.
 *
 * Sleeping. A thread that is about to sleep first takes itself off the count of pollers, then looks at every hot
 * doorbell once more; a client first rings, then looks at the count. Both are sequentially consistent, so at least one
 * of them sees the other, and no ring is lost. The same holds for cooling, with the word in the doorbell page.
 */

/** Requests shorter than this are worth another thread only where a processor is idle. */
const SHORT_US = 40;
/** How long a thread polls when another one does, too. */
const SPARE_SPIN_MS = 0.02;
/** An idle thread polls this long before it lets others have the processor between two looks. */
const YIELD_MS = 0.03;
/** Polls between two looks at the clock. */
const POLLS_PER_LOOK = 64;
/** Turns without data between two looks at the clock. */
const TURNS_PER_LOOK = 16;
/** How often a thread that is awake looks for rings of cold queues. */
const RING_MS = 0.1;
/** How often it looks for queues to cool. */
const COOL_LOOK_MS = 1;
/** Rings taken by one wait. */
const MAX_EVENTS = 64;

/** The tag of the device's own descriptor in the set that engines sleep on; other tags are numbers of address spaces. */
export const DEVICE_TAG = 0x7fffffff;

export interface EngineLoopOptions extends TurnOptions {
  /** The device's wake descriptor, and the epoll set that holds it and those of all clients. */
  wakeFd: number;
  sleepSet: number;
  /** How long an idle thread polls before it sleeps. */
  spinMicroseconds: number;
  /** How long a queue stays hot with nothing to do; 0 for ever. */
  coolMs: number;
  /** Asks the control thread for one more engine thread. */
  requestThread: () => void;
}

export class EngineLoop implements TurnHost {
  readonly #state: EngineLoopOptions['state'];
  readonly #words: Int32Array;
  readonly #threadAt: number;
  readonly #status: Int32Array;
  readonly #wakeFd: number;
  readonly #sleepSet: number;
  readonly #spinMs: number;
  readonly #coolMs: number;
  readonly #requestThread: () => void;
  readonly #processors = availableParallelism();
  readonly #turn: QueueTurn;
  readonly #list: ClientList;
  readonly #events = new EpollEvents(MAX_EVENTS);
  /** Events of the last wait that are still to be acted upon. */
  #rings = 0;
  #heldBack = false;
  #ringLookMs = 0;
  #coolLookMs = 0;
  #cursor = 0;
  #urgentRefill = false;
  /** Ticks of work done since all clients had their turn. */
  #roundTicks = 0;

  constructor(options: EngineLoopOptions) {
    this.#state = options.state;
    this.#words = options.state.words;
    this.#threadAt = options.state.thread(options.thread);
    this.#status = options.status;
    this.#wakeFd = options.wakeFd;
    this.#sleepSet = options.sleepSet;
    this.#spinMs = options.spinMicroseconds / 1000;
    this.#coolMs = options.coolMs;
    this.#requestThread = options.requestThread;
    this.#turn = new QueueTurn(options, this);
    this.#list = new ClientList(options.state, (base) => this.#turn.lock(base));
  }

  get version(): number {
    return this.#list.version;
  }

  /** Whether the last sleep ended with rings that `run` has yet to act upon. */
  get rung(): boolean {
    return this.#rings > 0;
  }

  /**
   * Whether something waited for others of its client, or its user, when the last `run` ended. They may be another
   * process's, which rings nobody: the next `run` must not be far off.
   */
  get heldBack(): boolean {
    return this.#heldBack;
  }

  /** Sleeps until a ring or a signal, or for `timeoutMs`; true if something came. */
  sleep(timeoutMs: number): boolean {
    this.#rings = this.#events.wait(this.#sleepSet, timeoutMs);
    for (let index = 0; index < this.#rings; index++) {
      // Meant for one that sleeps: a thread that is awake leaves it there.
      if (this.#events.tag(index) === DEVICE_TAG && timeoutMs > 0) drainEventfd(this.#wakeFd);
    }
    return this.#rings > 0;
  }

  /** Serves queues until there has been nothing to do for a while; returns when the thread should sleep. */
  run(): void {
    const words = this.#words;
    const list = this.#list;
    Atomics.store(words, HEADER.wakePending, 0);
    this.#countAwake(1);
    this.#countPoller(1);
    // Said before the list is read: from now on a page that it names stays mapped until this thread has moved on.
    Atomics.store(words, this.#threadAt + THREAD.reading, list.version);
    let emptyPolls = 0;
    let looks = 0;
    let idleSince = 0;
    let turns = 0;
    this.#look(performance.now());
    for (;;) {
      if (list.isStale) {
        if (Atomics.load(words, HEADER.stop) !== 0) break;
        list.refresh();
        Atomics.store(words, this.#threadAt + THREAD.reading, list.version);
      }
      if (this.#rings > 0) this.#warmRung();
      if (this.#round() > 0) {
        emptyPolls = 0;
        looks = 0;
        if (this.#turn.executed || ++turns % TURNS_PER_LOOK === 0) this.#look(performance.now());
        continue;
      }
      emptyPolls++;
      if (emptyPolls < list.queues.length || emptyPolls % POLLS_PER_LOOK !== 0) continue;
      const now = performance.now();
      this.#look(now);
      if (this.#rings > 0) {
        looks = 0;
        continue;
      }
      if (looks++ === 0) {
        idleSince = now;
        continue;
      }
      // One thread polls for all: a second one that finds nothing to do soon sleeps.
      const spare = Atomics.load(this.#status, STATUS_PAGE.pollersWord) > 1;
      const patience = spare ? Math.min(SPARE_SPIN_MS, this.#spinMs) : this.#spinMs;
      const idleMs = now - idleSince;
      if (idleMs < patience) {
        if (idleMs > YIELD_MS) yieldProcessor();
        continue;
      }
      this.#countPoller(-1);
      this.#heldBack = this.#anythingHeldBack();
      if (!this.anythingPending() || Atomics.load(this.#status, STATUS_PAGE.pollersWord) > 0) {
        Atomics.store(words, this.#threadAt + THREAD.reading, THREAD_AWAY);
        this.#countAwake(-1);
        return;
      }
      this.#countPoller(1);
      looks = 0;
    }
    this.#countPoller(-1);
    Atomics.store(words, this.#threadAt + THREAD.reading, THREAD_AWAY);
    this.#countAwake(-1);
  }

  #countPoller(by: 1 | -1): void {
    Atomics.add(this.#status, STATUS_PAGE.pollersWord, by);
    this.#words[this.#threadAt + THREAD.counted]! ^= THREAD_COUNTED.poller;
  }

  #countAwake(by: 1 | -1): void {
    Atomics.add(this.#status, STATUS_PAGE.awakeWord, by);
    this.#words[this.#threadAt + THREAD.counted]! ^= THREAD_COUNTED.awake;
  }

  /** One client's turn, after those of the latency class; returns how many requests were served. */
  #round(): number {
    const { clients, urgent } = this.#list;
    let served = 0;
    for (let index = 0; index < urgent.length; index++) {
      served += this.#visit(urgent[index]!, this.#urgentRefill);
    }
    this.#urgentRefill = false;
    if (this.#cursor >= clients.length) {
      this.#cursor = 0;
      this.#urgentRefill = true;
      // More clients wait than one thread serves in good time.
      if (this.#roundTicks * (WORK_TICK_NS / 1000) > BACKLOG_US && clients.length > 1) this.callHelp(0);
      this.#roundTicks = 0;
    }
    if (this.#cursor < clients.length) {
      const client = clients[this.#cursor++]!;
      served +=
        clients.length === 1 && urgent.length === 0 ? this.#visitAlone(client) : this.#visit(client, true);
    }
    return served;
  }

  /** A turn of the only client there is: nobody waits, so nothing is counted. */
  #visitAlone(client: ServedClient): number {
    const { queues, next } = client;
    client.next = next + 1 < queues.length ? next + 1 : 0;
    return this.#turn.serve(queues[next]!);
  }

  /** Serves a client until its deficit is used up or it has nothing more. */
  #visit(client: ServedClient, refill: boolean): number {
    const words = this.#words;
    const deficitAt = client.at + SPACE.deficit;
    let budget = Atomics.load(words, deficitAt);
    if (budget <= 0) {
      if (!refill) return 0;
      budget = Atomics.add(words, deficitAt, client.quantum) + client.quantum;
      if (budget <= 0) return 0;
    }
    const { queues } = client;
    let served = 0;
    let spent = 0;
    for (let misses = 0; misses < queues.length && spent < budget; ) {
      const queue = queues[client.next]!;
      client.next = client.next + 1 < queues.length ? client.next + 1 : 0;
      const count = this.#turn.serve(queue);
      if (count === 0) {
        misses++;
        continue;
      }
      misses = 0;
      served += count;
      spent += this.#turn.ticks;
    }
    if (spent > 0) {
      Atomics.sub(words, deficitAt, spent);
      this.#roundTicks += spent;
    }
    return served;
  }

  anythingPending(): boolean {
    if (this.#list.isStale) return true;
    const { queues } = this.#list;
    for (let index = 0; index < queues.length; index++) {
      if (this.#turn.isPending(queues[index]!)) return true;
    }
    return false;
  }

  #anythingHeldBack(): boolean {
    const { queues } = this.#list;
    for (let index = 0; index < queues.length; index++) {
      if (this.#turn.isHeldBack(queues[index]!)) return true;
    }
    return false;
  }

  /** What is done once in a while: rings of cold queues are looked for, and queues are cooled. */
  #look(now: number): void {
    if (this.#coolMs === 0) return;
    this.#turn.nowMs = Date.now() & 0x3fffffff;
    if (now - this.#ringLookMs > RING_MS && this.#rings === 0) {
      this.#ringLookMs = now;
      if (Atomics.load(this.#words, HEADER.coldQueues) > 0) this.sleep(0);
    }
    if (now - this.#coolLookMs > COOL_LOOK_MS) {
      this.#coolLookMs = now;
      this.#coolIdle();
    }
  }

  /** Takes the queues that have had nothing for a while from the list of those that are polled. */
  #coolIdle(): void {
    const words = this.#words;
    for (const queue of this.#list.queues) {
      const idleMs = (this.#turn.nowMs - words[queue.base + QUEUE.lastServed]!) & 0x3fffffff;
      if (idleMs < this.#coolMs || this.#turn.hasWork(queue)) continue;
      this.#turn.lock(queue.base);
      if (Atomics.load(words, queue.base + QUEUE.generation) === queue.generation) {
        Atomics.store(queue.doorbell, DOORBELL.polledWord, 0);
        if (this.#turn.hasWork(queue)) Atomics.store(queue.doorbell, DOORBELL.polledWord, 1);
        else this.#state.setHot(queue.block, false);
      }
      Atomics.store(words, queue.base + QUEUE.lock, 0);
    }
  }

  /** Acts upon the events of the last wait: every queue of a client that rang is polled from now on. */
  #warmRung(): void {
    const words = this.#words;
    const count = this.#rings;
    this.#rings = 0;
    for (let index = 0; index < count; index++) {
      const tag = this.#events.tag(index);
      if (tag === DEVICE_TAG) continue;
      const blocks = this.#state.space(tag) + SPACE.blocks;
      for (let slot = 0; slot < SPACE_BLOCKS; slot++) {
        const block = Atomics.load(words, blocks + slot) - 1;
        // Also one that looks hot: another thread may be cooling it just now, and have looked at its doorbell already.
        if (block >= 0) this.#warm(block);
      }
    }
  }

  #warm(block: number): void {
    const queue = this.#list.find(block);
    if (!queue) return;
    const words = this.#words;
    this.#turn.lock(queue.base);
    if (Atomics.load(words, queue.base + QUEUE.generation) === queue.generation) {
      words[queue.base + QUEUE.lastServed] = this.#turn.nowMs;
      Atomics.store(queue.doorbell, DOORBELL.polledWord, 1);
      this.#state.setHot(block, true);
    }
    Atomics.store(words, queue.base + QUEUE.lock, 0);
  }

  /**
   * Work waits that this thread will not come to soon: wakes a sleeping thread, or asks for a new one. Short requests
   * keep their client as busy as the engine: a processor taken from it is worth less than it costs.
   */
  callHelp(estimateUs: number): void {
    const words = this.#words;
    const awake = Atomics.load(this.#status, STATUS_PAGE.awakeWord);
    if (estimateUs <= SHORT_US && awake + 1 >= this.#processors) return;
    if (Atomics.load(words, HEADER.sleepers) > 0) {
      if (Atomics.compareExchange(words, HEADER.wakePending, 0, 1) === 0) signalEventfd(this.#wakeFd);
    } else if (Atomics.compareExchange(words, pendingWord(estimateUs), 0, 1) === 0) {
      this.#requestThread();
    }
  }
}

/** Whether a thread was asked for: those for very long requests are counted apart. */
function pendingWord(estimateUs: number): number {
  return estimateUs > HEAVY_US ? HEADER.heavySpawnPending : HEADER.spawnPending;
}
