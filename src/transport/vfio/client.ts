import { PCI_COMMAND, PCI_IRQ } from '../../abi/pci.js';
import { PCI, REGION } from '../../abi/registers.js';
import { DEVICE_FLAG, IRQ_FLAG } from '../../abi/vfio-user.js';
import {
  ArgumentError,
  ClosedError,
  DeviceLostError,
  type DmaError,
  ProtocolError,
  UnsupportedError,
} from '../../errors.js';
import { closeFd, readAt, writeAt } from '../../sys/fd.js';
import { Interrupt } from '../../sys/interrupt.js';
import { Mapping } from '../../sys/memory.js';
import type { IrqDetails, RegionDetails } from '../details.js';
import { DmaMappings } from '../dma-mappings.js';
import type { LocalDmaRegion, RegionInfo, Transport, WakeFd } from '../transport.js';
import { VfioDevice } from './device.js';
import type { AddressSpace } from './group.js';

/** As many vectors are set up at first: adding one later takes all of them away for a moment. */
const FIRST_VECTORS = 32;

/** A Transport over the kernel's VFIO: a device of /dev/vfio that this process has to itself. */
export class VfioTransport implements Transport {
  readonly name: string;
  readonly unsafe: readonly string[];
  readonly #device: VfioDevice;
  readonly #space: AddressSpace;
  readonly #release: () => void;
  readonly #mappings = new DmaMappings();
  readonly #regions = new Map<number, RegionDetails>();
  /** Eventfds by index of interrupts: what has to be said again when one is added. */
  readonly #routes = new Map<number, number[]>();
  /** The kernel's own: it asks for the device, or tells of an error that ends it. */
  readonly #watched: Interrupt[] = [];
  #lost: Error | undefined;
  #onLost: ((reason: Error) => void) | undefined;
  /** The device may do DMA. */
  #isMaster = false;
  #closed = false;
  #closing: Promise<void> | undefined;

  /** @param release called once the device is closed, for what it was opened through */
  private constructor(name: string, device: VfioDevice, space: AddressSpace, release: () => void) {
    this.name = name;
    this.#device = device;
    this.#space = space;
    this.#release = release;
    this.unsafe = space.iommu.kind === 'noiommu' ? ['noiommu'] : [];
  }

  /**
   * Takes over an open device, and watches what the kernel says of it. It does no DMA yet: one that cannot be reset may still be
   * at what its last owner had it do, which its driver can wait for before anything is there to be reached.
   * @throws DeviceLostError if it does not answer, ProtocolError if its configuration space is cut short
   */
  static async attach(
    name: string,
    fd: number,
    space: AddressSpace,
    release: () => void,
  ): Promise<VfioTransport> {
    const transport = new VfioTransport(name, new VfioDevice(fd), space, release);
    try {
      if (transport.#isPci) await transport.#setBusMaster(false);
      await transport.#watch(
        PCI_IRQ.request,
        'the kernel asks for the device: it is being removed or unbound',
      );
      await transport.#watch(PCI_IRQ.error, 'the device reports an error that it cannot recover from');
      return transport;
    } catch (error) {
      transport.#closeInterrupts();
      throw error;
    }
  }

  get regions(): number {
    return this.#device.regions;
  }

  get irqs(): number {
    return this.#device.irqs;
  }

  /** DEVICE_FLAG. */
  get flags(): number {
    return this.#device.flags;
  }

  /** Which interface of the kernel gives it its address space. */
  get iommu(): AddressSpace['iommu']['kind'] {
    return this.#space.iommu.kind;
  }

  get #isPci(): boolean {
    return (this.flags & DEVICE_FLAG.pci) !== 0;
  }

  async regionInfo(index: number): Promise<RegionInfo> {
    const { length, read, write, areas } = await this.regionDetails(index);
    return { index, length, read, write, areas };
  }

  async regionDetails(index: number): Promise<RegionDetails> {
    this.#check();
    let region = this.#regions.get(index);
    if (!region) {
      region = this.#device.region(index);
      this.#regions.set(index, region);
    }
    return region;
  }

  async readRegion(index: number, offset: number, length: number): Promise<Buffer> {
    const region = await this.#within(index, offset, length);
    this.#check();
    const data = Buffer.alloc(length);
    const count = readAt(this.#device.fd, data, region.fdOffset + offset);
    if (count !== length) {
      throw new ProtocolError(
        `${this.name} gave ${count} of ${length} bytes of region ${index} at ${offset}`,
      );
    }
    return data;
  }

  async writeRegion(index: number, offset: number, data: Uint8Array): Promise<void> {
    const region = await this.#within(index, offset, data.byteLength);
    this.#check();
    const count = writeAt(this.#device.fd, data, region.fdOffset + offset);
    if (count !== data.byteLength) {
      throw new ProtocolError(
        `${this.name} took ${count} of ${data.byteLength} bytes of region ${index} at ${offset}`,
      );
    }
  }

  async #within(index: number, offset: number, length: number): Promise<RegionDetails> {
    const region = await this.regionDetails(index);
    if (!(offset >= 0 && length >= 0 && offset + length <= region.length)) {
      throw new ArgumentError(
        `region ${index} of ${this.name} has ${region.length} bytes: there are no ${length} at ${offset}`,
      );
    }
    return region;
  }

  async mapRegion(index: number, offset: number, length: number): Promise<Mapping> {
    const region = await this.regionDetails(index);
    this.#check();
    const inside = region.areas.some((a) => offset >= a.offset && offset + length <= a.offset + a.length);
    if (!inside) {
      throw new ArgumentError(`region ${index} of ${this.name} cannot be mapped at ${offset} for ${length}`, {
        hint: 'regionInfo lists what can; readRegion and writeRegion reach the rest',
      });
    }
    const access = region.write ? 'read-write' : 'read';
    return Mapping.shared(this.#device.fd, region.fdOffset + offset, length, access);
  }

  async wakeFds(): Promise<WakeFd[]> {
    return [];
  }

  async irqDetails(index: number): Promise<IrqDetails> {
    this.#check();
    return this.#device.irq(index);
  }

  async irqCount(index: number): Promise<number> {
    return (await this.irqDetails(index)).count;
  }

  createInterrupt(): Interrupt {
    return new Interrupt('eventfd');
  }

  async setIrqs(index: number, start: number, eventfds: readonly number[]): Promise<void> {
    const { count, flags } = await this.irqDetails(index);
    // A message is a write to memory.
    if (index === PCI_IRQ.msi || index === PCI_IRQ.msix) await this.#letMaster();
    if (start + eventfds.length > count) {
      throw new ArgumentError(
        `${this.name} has ${count} interrupts of index ${index}, no ${start + eventfds.length}`,
      );
    }
    const known = this.#routes.get(index);
    const isResized = (flags & IRQ_FLAG.noresize) !== 0 && start + eventfds.length > (known?.length ?? 0);
    if (!isResized) {
      this.#device.routeIrqs(index, start, eventfds);
      known?.splice(start, eventfds.length, ...eventfds);
      return;
    }
    const size = Math.max(start + eventfds.length, Math.min(count, FIRST_VECTORS));
    const all = [...(known ?? []), ...new Array<number>(size - (known?.length ?? 0)).fill(-1)];
    all.splice(start, eventfds.length, ...eventfds);
    if (known) this.#device.disableIrqs(index);
    this.#device.routeIrqs(index, 0, all);
    this.#routes.set(index, all);
  }

  async unmaskIrqs(index: number, start: number, count: number): Promise<void> {
    this.#check();
    this.#device.unmaskIrqs(index, start, count);
  }

  reserveIova(length: number): number {
    return this.#space.iovas.reserve(length);
  }

  releaseIova(iova: number): void {
    this.#space.iovas.release(iova);
  }

  async dmaMap(region: LocalDmaRegion): Promise<void> {
    this.#check();
    this.#space.iommu.map(region);
    this.#mappings.add(region);
    await this.#letMaster();
  }

  async dmaUnmap(iova: number, length: number): Promise<void> {
    if (!this.#closed) this.#space.iommu.unmap(iova, length);
    this.#mappings.remove(iova);
  }

  whyUnreachable(iova: number, length: number, access: 'read' | 'write'): DmaError | undefined {
    return this.#mappings.whyUnreachable(iova, length, access);
  }

  async reset(): Promise<void> {
    this.#check();
    if ((this.flags & DEVICE_FLAG.reset) === 0) {
      throw new UnsupportedError(`${this.name} cannot be reset by itself`, {
        hint: 'its driver has to bring it to rest; closing it and opening it again does what the kernel can',
      });
    }
    this.#device.reset();
    if (this.#isPci) await this.#setBusMaster(this.#isMaster);
  }

  /** From the first memory or message on, the device reads and writes memory by itself; never without an IOMMU. */
  async #letMaster(): Promise<void> {
    if (this.#isMaster || !this.#isPci || this.iommu === 'noiommu') return;
    this.#isMaster = true;
    await this.#setBusMaster(true);
  }

  /** Lets the device answer and, with `on`, read and write memory by itself. */
  async #setBusMaster(on: boolean): Promise<void> {
    const config = await this.#readConfig();
    const command = config.readUInt16LE(PCI.offset.command);
    const wanted = PCI_COMMAND.memory | (on ? PCI_COMMAND.busMaster : 0);
    config.writeUInt16LE((command & ~PCI_COMMAND.busMaster) | wanted, PCI.offset.command);
    await this.writeRegion(REGION.config, PCI.offset.command, config.subarray(PCI.offset.command));
  }

  async #readConfig(): Promise<Buffer> {
    const { length } = await this.regionDetails(REGION.config);
    if (length < PCI.offset.command + 2) {
      throw new ProtocolError(`${this.name} has a configuration space of ${length} bytes`);
    }
    const config = await this.readRegion(REGION.config, 0, PCI.offset.command + 2);
    if (config.readUInt16LE(PCI.offset.vendorId) === 0xffff) {
      throw new DeviceLostError(`${this.name} answers all ones: it has been removed, or has lost its power`, {
        device: this.name,
        hint: 'look at the kernel log; a rescan of the bus finds it again: echo 1 > /sys/bus/pci/rescan, as root',
      });
    }
    return config;
  }

  async #watch(index: number, meaning: string): Promise<void> {
    if (index >= this.irqs || this.#device.irq(index).count === 0) return;
    const interrupt = this.createInterrupt();
    this.#watched.push(interrupt);
    interrupt.listen(() =>
      this.#lose(new DeviceLostError(`${this.name}: ${meaning}`, { device: this.name })),
    );
    await this.setIrqs(index, 0, [interrupt.deviceFd]);
  }

  #lose(reason: Error): void {
    if (this.#lost || this.#closed) return;
    this.#lost = reason;
    this.#onLost?.(reason);
  }

  #check(): void {
    if (this.#closed) throw new ClosedError(`${this.name} was closed`);
  }

  #closeInterrupts(): void {
    for (const interrupt of this.#watched) interrupt.close();
  }

  /**
   * Stops the device's DMA, takes all memory from it, and gives it back to the kernel, which resets it. As long as a part of
   * a region is mapped, the kernel keeps the device for this process.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      if (this.#isPci) await this.#setBusMaster(false);
    } catch {
      // It is gone: there is nothing to stop.
    }
    this.#closed = true;
    this.#closeInterrupts();
    closeFd(this.#device.fd);
    const failures: unknown[] = [];
    for (const { iova, length } of this.#mappings) {
      try {
        this.#space.iommu.unmap(iova, length);
      } catch (error) {
        failures.push(error);
      }
    }
    this.#release();
    // Of a device that was unplugged the kernel has taken the memory already.
    if (failures.length > 0 && !this.#lost) throw failures[0];
  }

  onLost(listener: (reason: Error) => void): void {
    this.#onLost = listener;
    if (this.#lost) listener(this.#lost);
  }
}
