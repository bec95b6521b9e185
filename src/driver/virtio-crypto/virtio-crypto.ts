import { setTimeout as sleep } from 'node:timers/promises';
import { PCI_IRQ } from '../../abi/pci.js';
import { LIMITS } from '../../abi/queue.js';
import { VIRTIO_DEVICE_ID_BASE, VIRTIO_NO_VECTOR, VIRTIO_VENDOR_ID } from '../../abi/virtio.js';
import {
  CRYPTO_CONFIG,
  CRYPTO_DIRECTION,
  CRYPTO_READY,
  CRYPTO_SERVICE_AKCIPHER,
  VIRTIO_CRYPTO_ID,
} from '../../abi/virtio-crypto.js';
import type { DeviceDescription } from '../../device/device.js';
import { ArgumentError, DeviceLostError, ProtocolError, UnsupportedError } from '../../errors.js';
import { signalEventfd } from '../../sys/fd.js';
import type { Interrupt } from '../../sys/interrupt.js';
import type { Transport } from '../../transport/transport.js';
import {
  Completion,
  type DeviceMemory,
  type Driver,
  type DriverDevice,
  type QueueCounters,
  type QueueOptions,
} from '../driver.js';
import { VirtioPci } from '../virtio/virtio-pci.js';
import { allOf } from './all-of.js';
import type { Cipher } from './ciphers.js';
import { CryptoMemory } from './crypto-memory.js';
import { CryptoQueue } from './crypto-queue.js';
import { DeviceRings } from './device-rings.js';
import { MemoryMap } from './memory-map.js';
import type { QueueOwner, QueueRings } from './requests.js';
import { Sessions } from './sessions.js';
import { SIGNATURE_TRIAL_BYTES, trySignatures } from './signature-trials.js';
import { SIGNATURE, type SignatureDigest } from './signatures.js';
import { StallWatch } from './stall-watch.js';
import { TRIAL_BYTES, tryCiphers } from './trials.js';

/** The driver of virtio-crypto devices: virtio 1.2, 5.9 (docs/virtio-crypto.md). */
export const virtioCrypto: Driver = {
  name: 'virtio-crypto',
  matches: (vendorId, deviceId) =>
    vendorId === VIRTIO_VENDOR_ID && deviceId === VIRTIO_DEVICE_ID_BASE + VIRTIO_CRYPTO_ID,
  open: (transport) => VirtioCryptoDevice.open(transport),
};

/** How often the device is looked at while somebody uses it, and at most. */
const WATCH_MS = 250;
const LOOK_MS = 50;
/** A device that has to be reset more often than this, in this time, is given up. */
const MAX_RESETS = 8;
const RESETS_WINDOW_MS = 60_000;
const NO_COUNTERS: QueueCounters = {
  completed: 0,
  wrongRings: 0,
  staleSlots: 0,
  refused: 0,
  isolated: false,
};

export class VirtioCryptoDevice implements DriverDevice, QueueOwner {
  readonly name: string;
  readonly driver = virtioCrypto.name;
  readonly sva = false;
  readonly maxQueues: number;
  readonly maxDepth: number;
  readonly maxTransfer = LIMITS.maxTransfer;
  readonly maxThreads = 1;
  readonly sessions = new Sessions(() => this.reset('it does not answer on its control queue'));
  readonly memory = new MemoryMap();
  probe: QueueOwner['probe'];
  lost = false;
  readonly #transport: Transport;
  readonly #pci: VirtioPci;
  readonly #rings: DeviceRings;
  readonly #controlQueue: number;
  readonly #config: Interrupt;
  #current: QueueRings[] = [];
  #ciphers: Cipher[] = [];
  /** Of signatures. */
  #digests: SignatureDigest[] = [];
  #scratch: DeviceMemory | undefined;
  readonly #queues = new Map<number, CryptoQueue>();
  readonly #stalls = new Map<number, StallWatch>();
  #watch: NodeJS.Timeout | undefined;
  #lookedAt = 0;
  #resets: number[] = [];
  #onLost: ((reason: string) => void) | undefined;
  #closed = false;
  #stopped: Promise<void> | undefined;

  private constructor(transport: Transport, pci: VirtioPci, rings: DeviceRings, controlQueue: number) {
    this.#transport = transport;
    this.#pci = pci;
    this.#rings = rings;
    this.#controlQueue = controlQueue;
    this.#config = transport.createInterrupt();
    this.name = transport.name;
    this.maxQueues = rings.dataQueues;
    this.maxDepth = rings.slots;
    transport.onLost((reason) => this.#lose(reason.message));
  }

  /** Takes over a device, and tries out what it can do. */
  static async open(transport: Transport): Promise<VirtioCryptoDevice> {
    const pci = await VirtioPci.open(transport, {
      // Without ACCESS_PLATFORM its addresses would be those of the machine, past the IOMMU.
      required: ['version1', 'accessPlatform'],
      optional: ['eventIndex', 'indirectDescriptors'],
    });
    let rings: DeviceRings | undefined;
    let made: VirtioCryptoDevice | undefined;
    try {
      const config = pci.readDevice(CRYPTO_CONFIG.bytes);
      if ((config.readUInt32LE(CRYPTO_CONFIG.offset.status) & CRYPTO_READY) === 0) {
        throw new DeviceLostError(`${transport.name} says that its hardware is not ready`, {
          device: transport.name,
          hint: 'its back end is missing, or was taken away: look at what emulates the device',
        });
      }
      const controlQueue = config.readUInt32LE(CRYPTO_CONFIG.offset.maxDataQueues);
      if (controlQueue < 1 || controlQueue >= pci.queues) {
        throw new ProtocolError(
          `${transport.name} speaks of ${controlQueue} data queues, and has ${pci.queues} queues in all`,
        );
      }
      const dataQueues = Math.min(controlQueue, LIMITS.maxQueues);
      rings = await DeviceRings.allocate(pci, transport, dataQueues, controlQueue);
      made = new VirtioCryptoDevice(transport, pci, rings, controlQueue);
      await made.#begin(config.readUInt32LE(CRYPTO_CONFIG.offset.services));
      return made;
    } catch (error) {
      // What went wrong first is what counts.
      await made?.close().catch(() => {});
      if (!made) {
        pci.close();
        await rings?.free();
      }
      throw error;
    }
  }

  /** @param services that the device says it has, one bit each */
  async #begin(services: number): Promise<void> {
    if (this.#configVector !== VIRTIO_NO_VECTOR) {
      this.#config.listen(() => this.#onConfigChange());
      await this.#transport.setIrqs(PCI_IRQ.msix, this.#configVector, [this.#config.deviceFd]);
    }
    this.#scratch = await this.allocate(Math.max(TRIAL_BYTES, SIGNATURE_TRIAL_BYTES));
    this.#start();
    const queue = await this.createQueue({ depth: 2 });
    this.#ciphers = tryCiphers(queue, this.#scratch);
    // What it denies is believed: an opcode that it does not know may be one that it does not answer.
    if (services & (1 << CRYPTO_SERVICE_AKCIPHER)) {
      this.#digests = trySignatures(queue, this.#scratch);
    }
    if (this.lost)
      throw new DeviceLostError(`${this.name} failed while it was tried out`, { device: this.name });
    const [cipher] = this.#ciphers;
    if (!cipher) {
      throw new UnsupportedError(`${this.name} has none of the ciphers that its driver knows`, {
        device: this.name,
      });
    }
    const key = this.#scratch.mapping.bytes.subarray(0, cipher.keyBytes);
    this.sessions.open(cipher, key, CRYPTO_DIRECTION.encrypt);
    const { iova } = this.#scratch;
    this.probe = { session: this.sessions.low, cipher, source: iova, destination: iova + TRIAL_BYTES / 2 };
    await queue.release();
  }

  /** The first interrupt tells of changes where there are enough; a queue has one of its own, as far as they go. */
  get #configVector(): number {
    return this.#pci.structures.vectors > this.maxQueues ? 0 : VIRTIO_NO_VECTOR;
  }

  #vectorOf(queue: number): number | undefined {
    const vector = this.#configVector === 0 ? queue + 1 : queue;
    return vector < this.#pci.structures.vectors ? vector : undefined;
  }

  /** Sets up the queues of a device whose features are settled, and lets it serve them. */
  #start(): void {
    const { data, control } = this.#rings.attach(this.#controlQueue, (queue) => this.#vectorOf(queue));
    this.#current = data;
    this.#pci.setConfigVector(this.#configVector);
    this.#pci.start();
    this.sessions.attach(control);
  }

  get description(): DeviceDescription {
    const ciphers = this.#ciphers.map(({ name }) => name);
    const signatures = this.#digests.length > 0 ? [SIGNATURE] : [];
    const operations = { encrypt: ciphers, decrypt: ciphers, sign: signatures, verify: signatures };
    return {
      algorithms: { noop: [], sessionOpen: [], sessionClose: [], ...operations },
      maxLevel: 0,
      streams: false,
      formats: {},
      engines: [{ name: 'hardware', library: 'virtio-crypto', operations }],
      wholeBlocks: this.#ciphers.filter(({ mode }) => mode === 'xts').map(({ name }) => name),
      signatureDigests: this.#digests.map(({ name }) => name),
      ...(this.#transport.unsafe.length > 0 ? { unsafe: [...this.#transport.unsafe] } : {}),
    };
  }

  async createQueue({ depth, startIndex = 0 }: QueueOptions): Promise<CryptoQueue> {
    if (this.lost) throw new DeviceLostError('the device has gone', { device: this.name });
    if (!Number.isInteger(depth) || depth < LIMITS.minDepth || depth > this.maxDepth || depth & (depth - 1)) {
      throw new ArgumentError(
        `a queue's depth is a power of two from ${LIMITS.minDepth} to ${this.maxDepth}`,
      );
    }
    if (startIndex !== 0) throw new ArgumentError(`the queues of ${this.name} start at index 0`);
    let id = 0;
    while (this.#queues.has(id)) id++;
    if (id >= this.maxQueues) {
      throw new ArgumentError(`${this.name} has no more than ${this.maxQueues} queues`, {
        hint: 'release a queue first',
      });
    }
    const vector = this.#vectorOf(id);
    const interrupt = this.#transport.createInterrupt();
    const queue: CryptoQueue = new CryptoQueue(
      id,
      depth,
      this.#current[id]!,
      interrupt,
      vector !== undefined,
      this,
      () => this.#release(queue),
    );
    this.#queues.set(id, queue);
    this.#stalls.set(id, new StallWatch());
    this.#watch ??= setInterval(() => this.look(), WATCH_MS).unref();
    try {
      if (vector !== undefined) await this.#transport.setIrqs(PCI_IRQ.msix, vector, [interrupt.deviceFd]);
    } catch (error) {
      this.#queues.delete(id);
      interrupt.close();
      throw error;
    }
    return queue;
  }

  /**
   * Waits for what the device still has of a queue, whose memory is the device's until then. What was not published is
   * dropped.
   */
  async #release(queue: CryptoQueue): Promise<void> {
    const completion = new Completion();
    while (!this.lost && (queue.ready || queue.outstanding > 0)) {
      if (!queue.poll(completion)) await sleep(1);
    }
    queue.retract();
    this.#queues.delete(queue.id);
    const vector = this.#vectorOf(queue.id);
    try {
      if (vector !== undefined && !this.lost) await this.#transport.setIrqs(PCI_IRQ.msix, vector, [-1]);
    } finally {
      queue.interrupt.close();
    }
  }

  async counters(queue: number): Promise<QueueCounters> {
    return { ...NO_COUNTERS, completed: this.#queues.get(queue)?.completed ?? 0 };
  }

  allocate(length: number): Promise<DeviceMemory> {
    return CryptoMemory.allocate(this.#transport, length, this.memory);
  }

  async mapMemory(): Promise<void> {
    throw new UnsupportedError(`${this.name} takes no memory over from another device`);
  }

  async unmapMemory(): Promise<void> {}

  onLost(listener: (reason: string) => void): void {
    this.#onLost = listener;
  }

  #onConfigChange(): void {
    this.#lookedAt = 0;
    this.look();
    if (this.lost) return;
    try {
      const status = this.#pci.readDevice(CRYPTO_CONFIG.bytes).readUInt32LE(CRYPTO_CONFIG.offset.status);
      if ((status & CRYPTO_READY) === 0) this.#lose('its hardware is not ready any more');
    } catch (error) {
      this.#lose((error as Error).message);
    }
  }

  /** Looks at the device, unless that was done just now, and does what it takes to go on. */
  look(): void {
    const now = performance.now();
    if (this.lost || now - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = now;
    const { trouble } = this.#pci;
    if (trouble === 'gone') {
      this.#lose('it answers all ones: it was unplugged, or has lost its power');
    } else if (trouble === 'needs reset') {
      this.reset('it asked for one');
    } else {
      for (const queue of this.#queues.values()) {
        this.#watchQueue(queue, now);
        if (this.lost) return;
      }
    }
  }

  #watchQueue(queue: CryptoQueue, now: number): void {
    const advice = this.#stalls.get(queue.id)!.look(queue, now);
    // An interrupt may have been lost: one too many does no harm.
    if (advice === 'wake') signalEventfd(queue.interrupt.deviceFd);
    // So may a doorbell: to ring once more does none either.
    if (advice === 'ring') this.#current[queue.id]!.ring();
    if (advice === 'reset') this.reset(`queue ${queue.id} has come to a standstill`);
  }

  distrust(reason: string): void {
    this.#lose(`it cannot be trusted: ${reason}`);
  }

  /**
   * Resets the device and goes on with it: what it had fails at once, and sessions are made again when they are used.
   * @param why it is done, in case that it fails
   */
  reset(why: string): void {
    if (this.lost) return;
    const now = performance.now();
    this.#resets = [...this.#resets.filter((at) => now - at < RESETS_WINDOW_MS), now];
    try {
      if (this.#resets.length > MAX_RESETS) throw new Error('it had to be reset again and again');
      this.#pci.reset();
      this.#pci.negotiate();
      this.#start();
    } catch (error) {
      this.#lose(`${why}, and could not be reset: ${(error as Error).message}`);
      return;
    }
    for (const [id, queue] of this.#queues) {
      queue.restart(this.#current[id]!);
      // Whoever sleeps has completions now.
      signalEventfd(queue.interrupt.deviceFd);
    }
  }

  /** The device is done for: whoever waits is told, and it is given back, which the kernel may be waiting for. */
  #lose(reason: string): void {
    if (this.lost || this.#closed) return;
    this.lost = true;
    this.#onLost?.(`the device was lost: ${reason}`);
    // The kernel may be taking it away at this moment: what cannot be given back any more is no error.
    this.#stopped = this.#letGo().catch(() => {});
  }

  /** Stops the device, and takes all memory from it. */
  #letGo(): Promise<void> {
    clearInterval(this.#watch);
    this.sessions.clear();
    return allOf([
      () => {
        try {
          this.#pci.reset();
        } catch {
          // It is not there any more; what the transport does stops any other.
        }
      },
      () => this.#pci.close(),
      () => this.#config.close(),
      () => this.#transport.close(),
    ]);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.lost = true;
    await allOf([
      () => this.#stopped ?? this.#letGo(),
      ...[...this.#queues.values()].map((queue) => () => {
        queue.detach();
        queue.interrupt.close();
      }),
      () => this.#scratch?.free(),
      () => this.#rings.free(),
    ]);
  }
}
