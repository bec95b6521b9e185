import { PCI_CONFIG } from '../../abi/pci.js';
import { REGION } from '../../abi/registers.js';
import { VIRTIO_COMMON, VIRTIO_FEATURE, VIRTIO_NO_VECTOR, VIRTIO_STATUS } from '../../abi/virtio.js';
import { DeviceLostError, ProtocolError, UnsupportedError } from '../../errors.js';
import { type Mapping, PAGE_BYTES } from '../../sys/memory.js';
import { Registers } from '../../sys/registers.js';
import type { Transport } from '../../transport/transport.js';
import { findStructures, type PciStructures, type StructurePlace } from './pci-structures.js';

export type VirtioFeature = keyof typeof VIRTIO_FEATURE;

/** Features by name: what a driver cannot do without, and what it uses where it is offered. */
export interface WantedFeatures {
  required: readonly VirtioFeature[];
  optional: readonly VirtioFeature[];
}

/** Where the parts of a queue lie, as the device knows their addresses. */
export interface QueueAddresses {
  size: number;
  descriptors: number;
  available: number;
  used: number;
}

const { offset: COMMON } = VIRTIO_COMMON;
/** What a device that is not there any more answers. */
const ALL_ONES_8 = 0xff;
const ALL_ONES_16 = 0xffff;
/** How long a reset may take. */
const RESET_MS = 500;
/** Reads of a device's configuration before it is believed that it changes all the time. */
const CONFIG_READS = 100;
const NO_REGISTERS = new Registers({ bytes: new Uint8Array(VIRTIO_COMMON.bytes) });

/**
 * A modern virtio device over PCI: virtio 1.2, 3.1 and 4.1. The life of one is `open`, then `setQueue` for each queue,
 * then `start`; `reset` takes it back to where `negotiate` begins. All but `open` and `close` are loads and stores of
 * registers, and block this thread no longer than the device takes to answer.
 */
export class VirtioPci {
  readonly name: string;
  readonly structures: PciStructures;
  readonly #mappings: Mapping[];
  #common: Registers;
  #notify: Registers;
  #device: Registers | undefined;
  readonly #wanted: WantedFeatures;
  #features: ReadonlySet<VirtioFeature> = new Set();

  private constructor(
    name: string,
    structures: PciStructures,
    wanted: WantedFeatures,
    mappings: Mapping[],
    registers: { common: Registers; notify: Registers; device: Registers | undefined },
  ) {
    this.name = name;
    this.structures = structures;
    this.#wanted = wanted;
    this.#mappings = mappings;
    this.#common = registers.common;
    this.#notify = registers.notify;
    this.#device = registers.device;
  }

  /** Finds and maps the structures of a device, resets it and settles the features. */
  static async open(transport: Transport, wanted: WantedFeatures): Promise<VirtioPci> {
    const config = await transport.readRegion(REGION.config, 0, PCI_CONFIG.extended);
    const structures = findStructures(config, transport.name);
    const mappings: Mapping[] = [];
    try {
      const map = (place: StructurePlace): Promise<Registers> => mapStructure(transport, place, mappings);
      const registers = {
        common: await map(structures.common),
        notify: await map(structures.notify),
        device: structures.device && (await map(structures.device)),
      };
      const made = new VirtioPci(transport.name, structures, wanted, mappings, registers);
      made.reset();
      made.negotiate();
      return made;
    } catch (error) {
      for (const mapping of mappings) mapping.unmap();
      throw error;
    }
  }

  /** Agreed on by `negotiate`. */
  has(feature: VirtioFeature): boolean {
    return this.#features.has(feature);
  }

  /** How many queues the device has. */
  get queues(): number {
    return this.#common.read16(COMMON.queues);
  }

  get status(): number {
    return this.#common.read8(COMMON.deviceStatus);
  }

  /** Why the device can do nothing more for us; undefined while it works. */
  get trouble(): 'gone' | 'needs reset' | undefined {
    const { status } = this;
    if (status === ALL_ONES_8) return 'gone';
    const isOurs = (status & VIRTIO_STATUS.driverOk) !== 0 && (status & VIRTIO_STATUS.needsReset) === 0;
    return isOurs ? undefined : 'needs reset';
  }

  /**
   * Stops the device: it does nothing with memory from then on.
   * @throws DeviceLostError if it does not answer
   */
  reset(): void {
    if (this.status === ALL_ONES_8) throw this.#gone();
    this.#common.write8(COMMON.deviceStatus, 0);
    const until = performance.now() + RESET_MS;
    while (this.status !== 0) {
      if (performance.now() < until) continue;
      throw new DeviceLostError(`${this.name} does not come out of its reset`, {
        device: this.name,
        hint: 'unbind the device and bind it again, or restart the machine that it belongs to',
      });
    }
  }

  /** Settles the features, from a reset: virtio 1.2, 3.1.1. */
  negotiate(): void {
    this.#setStatus(VIRTIO_STATUS.acknowledge);
    this.#setStatus(VIRTIO_STATUS.driver);
    const offered = [this.#offered(0), this.#offered(1)];
    const isOffered = (name: VirtioFeature): boolean => {
      const bit = VIRTIO_FEATURE[name];
      return ((offered[bit >> 5]! >>> (bit & 31)) & 1) === 1;
    };
    const missing = this.#wanted.required.filter((name) => !isOffered(name));
    if (missing.length > 0) throw this.#refuse('does not offer', missing);
    const accepted = [...this.#wanted.required, ...this.#wanted.optional.filter(isOffered)];
    for (const half of [0, 1]) {
      const bits = accepted
        .map((name) => VIRTIO_FEATURE[name])
        .filter((bit) => bit >> 5 === half)
        .reduce((sum, bit) => sum + 2 ** (bit & 31), 0);
      this.#common.write32(COMMON.driverFeatureSelect, half);
      this.#common.write32(COMMON.driverFeature, bits);
    }
    this.#setStatus(VIRTIO_STATUS.featuresOk);
    if ((this.status & VIRTIO_STATUS.featuresOk) === 0) throw this.#refuse('takes back', accepted);
    this.#features = new Set(accepted);
  }

  #offered(half: number): number {
    this.#common.write32(COMMON.deviceFeatureSelect, half);
    return this.#common.read32(COMMON.deviceFeature);
  }

  #refuse(what: string, features: readonly VirtioFeature[]): UnsupportedError {
    this.#setStatus(VIRTIO_STATUS.failed);
    const hints = features.map((name) => FEATURE_HINT[name]).filter((hint) => hint !== undefined);
    return new UnsupportedError(`${this.name} ${what} what its driver needs: ${features.join(', ')}`, {
      device: this.name,
      ...(hints.length > 0 ? { hint: hints.join('; ') } : {}),
    });
  }

  #setStatus(bit: number): void {
    this.#common.write8(COMMON.deviceStatus, this.status | bit);
  }

  /** Sizes that a queue can have: up to this many descriptors; 0 if there is no such queue. */
  queueSize(queue: number): number {
    this.#common.write16(COMMON.queueSelect, queue);
    const size = this.#common.read16(COMMON.queueSize);
    return size === ALL_ONES_16 ? 0 : size;
  }

  /**
   * Enables a queue, before `start`.
   * @param vector of MSI-X for its completions, or VIRTIO_NO_VECTOR
   * @returns the byte offset of its doorbell, for `ring`
   */
  setQueue(queue: number, { size, descriptors, available, used }: QueueAddresses, vector: number): number {
    const common = this.#common;
    const put = (low: number, high: number, address: number): void => {
      common.write32(low, address % 4294967296);
      common.write32(high, Math.floor(address / 4294967296));
    };
    common.write16(COMMON.queueSelect, queue);
    common.write16(COMMON.queueSize, size);
    put(COMMON.descriptorsLow, COMMON.descriptorsHigh, descriptors);
    put(COMMON.availableLow, COMMON.availableHigh, available);
    put(COMMON.usedLow, COMMON.usedHigh, used);
    common.write16(COMMON.queueVector, vector);
    if (common.read16(COMMON.queueVector) !== vector) throw this.#noVector(vector);
    const doorbell = common.read16(COMMON.queueNotifyOffset) * this.structures.notifyMultiplier;
    if (doorbell + 2 > this.structures.notify.length) {
      throw new ProtocolError(`${this.name} has no doorbell for queue ${queue}`, { device: this.name });
    }
    common.write16(COMMON.queueEnable, 1);
    return doorbell;
  }

  /** Which vector tells of changes of the configuration, and of a device that needs a reset. */
  setConfigVector(vector: number): void {
    this.#common.write16(COMMON.configVector, vector);
    if (this.#common.read16(COMMON.configVector) !== vector) throw this.#noVector(vector);
  }

  #noVector(vector: number): Error {
    if (vector === VIRTIO_NO_VECTOR) return this.#gone();
    return new ProtocolError(`${this.name} has no room for interrupt ${vector}`, { device: this.name });
  }

  /** From here on the device serves its queues. */
  start(): void {
    this.#setStatus(VIRTIO_STATUS.driverOk);
  }

  /** Rings the doorbell of a queue. */
  ring(doorbell: number, queue: number): void {
    this.#notify.write16(doorbell, queue);
  }

  /** The configuration of this kind of device, as it was at one moment. */
  readDevice(length: number): Buffer {
    const registers = this.#device;
    if (!registers || this.structures.device!.length < length) {
      throw new ProtocolError(`${this.name} has no configuration of ${length} bytes`, { device: this.name });
    }
    const config = Buffer.alloc(length);
    for (let reads = 0; reads < CONFIG_READS; reads++) {
      const generation = this.#common.read8(COMMON.configGeneration);
      for (let at = 0; at < length; at += 4) config.writeUInt32LE(registers.read32(at), at);
      if (this.#common.read8(COMMON.configGeneration) === generation) return config;
    }
    throw new ProtocolError(`the configuration of ${this.name} changes all the time`, { device: this.name });
  }

  #gone(): DeviceLostError {
    return new DeviceLostError(`${this.name} answers all ones: it is not there any more`, {
      device: this.name,
      hint: 'look for it with lspci; it may have been unplugged, or lost its power',
    });
  }

  /** Unmaps the registers. */
  close(): void {
    this.#common = this.#notify = NO_REGISTERS;
    this.#device = undefined;
    for (const mapping of this.#mappings.splice(0)) mapping.unmap();
  }
}

const FEATURE_HINT: Partial<Record<VirtioFeature, string>> = {
  version1: 'it is a legacy device: in QEMU, disable-legacy=on',
  accessPlatform: 'it would go past the IOMMU: in QEMU, iommu_platform=on',
};

/** Maps the pages that a structure lies in. */
async function mapStructure(
  transport: Transport,
  { bar, offset, length }: StructurePlace,
  mappings: Mapping[],
): Promise<Registers> {
  const region = await transport.regionInfo(bar);
  if (offset + length > region.length) {
    throw new ProtocolError(
      `${transport.name} has a structure of ${length} bytes at ${offset} of BAR ${bar}, which has ${region.length}`,
      { device: transport.name },
    );
  }
  const start = Math.floor(offset / PAGE_BYTES) * PAGE_BYTES;
  const end = Math.ceil((offset + length) / PAGE_BYTES) * PAGE_BYTES;
  const mapping = await transport.mapRegion(bar, start, end - start);
  mappings.push(mapping);
  return new Registers(mapping, offset - start);
}
