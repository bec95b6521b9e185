import { setTimeout as sleep } from 'node:timers/promises';
import { PCI_IRQ } from '../../abi/pci.js';
import { ArgumentError, ClosedError, DeadlineError, ProtocolError } from '../../errors.js';
import type { Interrupt } from '../../sys/interrupt.js';
import type { Mapping } from '../../sys/memory.js';
import { Registers } from '../../sys/registers.js';
import type { Transport } from '../../transport/transport.js';

/* QEMU's educational device (docs/specs/edu.rst there): the smallest complete driver, the example of docs/drivers.md. */

/** Registers in region 0, which is BAR 0. */
const REGISTER = {
  identification: 0x00,
  liveness: 0x04,
  factorial: 0x08,
  status: 0x20,
  interruptStatus: 0x24,
  acknowledge: 0x64,
  dmaSource: 0x80,
  dmaDestination: 0x88,
  dmaCount: 0x90,
  dmaCommand: 0x98,
} as const;
const IDENTIFICATION = 0xed;
const INTERRUPT_WHEN_DONE = 0x80;
const DMA = { start: 1, toMemory: 2, interruptWhenDone: 4 } as const;
const BUFFER = { offset: 0x40000, bytes: 4096 } as const;
const ANSWER_MS = 10_000;

/** An open edu device. It does one thing at a time. */
export class Edu {
  readonly #transport: Transport;
  readonly #mapping: Mapping;
  readonly #mapped: Registers;
  readonly #interrupt: Interrupt;
  #settle: { resolve: () => void; reject: (reason: Error) => void } | undefined;
  #lost: Error | undefined;
  interrupts = 0;
  private constructor(transport: Transport, mapping: Mapping, interrupt: Interrupt) {
    this.#transport = transport;
    this.#mapping = mapping;
    this.#mapped = new Registers(mapping);
    this.#interrupt = interrupt;
    interrupt.listen(() => this.#interrupted());
    transport.onLost((reason) => this.#lose(reason));
  }

  #lose(reason: Error): void {
    this.#lost ??= reason;
    this.#settle?.reject(reason);
  }

  get #registers(): Registers {
    if (this.#lost) throw this.#lost;
    return this.#mapped;
  }

  /** Takes over a transport whose other end is an edu device; the caller closes the transport if this fails. */
  static async open(transport: Transport): Promise<Edu> {
    const mapping = await transport.mapRegion(0, 0, 4096);
    const interrupt = transport.createInterrupt();
    try {
      const registers = new Registers(mapping);
      const name = registers.read32(REGISTER.identification) & 0xffff;
      if (name !== IDENTIFICATION) throw new ProtocolError(`${transport.name} is no edu`);
      // It cannot be reset: a DMA of its last owner must have ended before memory is given to it.
      const isBusy = (): boolean => (registers.read32(REGISTER.dmaCommand) & DMA.start) !== 0;
      for (let waits = 0; isBusy() && waits < 100; waits++) await sleep(10);
      await transport.setIrqs(PCI_IRQ.msi, 0, [interrupt.deviceFd]);
      return new Edu(transport, mapping, interrupt);
    } catch (error) {
      interrupt.close();
      mapping.unmap();
      throw error;
    }
  }

  /** The device's revision: major and minor, of an identification 0xRRrr00ed. */
  get revision(): [number, number] {
    const identification = this.#registers.read32(REGISTER.identification);
    return [identification >>> 24, (identification >>> 16) & 0xff];
  }

  /** Whether the device answers: it inverts what it is given. */
  isAlive(value = 0x12345678): boolean {
    this.#registers.write32(REGISTER.liveness, value);
    return this.#registers.read32(REGISTER.liveness) === ~value >>> 0;
  }

  /** n!, modulo 2^32. */
  async factorial(n: number): Promise<number> {
    await this.#run(() => {
      this.#registers.write32(REGISTER.status, INTERRUPT_WHEN_DONE);
      this.#registers.write32(REGISTER.factorial, n);
    });
    return this.#registers.read32(REGISTER.factorial);
  }

  /** Has the device read memory into its own, or write its own to memory, there from `offset` on. */
  async dma(access: 'read' | 'write', iova: number, length: number, offset = 0): Promise<void> {
    // QEMU ends when one reaches beyond, or (7.2) the last byte.
    if (!(length > 0 && offset >= 0 && offset + length < BUFFER.bytes && iova + length <= 2 ** 32)) {
      throw new ArgumentError(`edu has ${BUFFER.bytes - 1} bytes: none for ${length} at ${offset}`);
    }
    const toMemory = access === 'write';
    const command = DMA.start | DMA.interruptWhenDone | (toMemory ? DMA.toMemory : 0);
    await this.#run(() => {
      this.#registers.write32(REGISTER.dmaSource, toMemory ? BUFFER.offset + offset : iova);
      this.#registers.write32(REGISTER.dmaDestination, toMemory ? iova : BUFFER.offset + offset);
      this.#registers.write32(REGISTER.dmaCount, length);
      this.#registers.write32(REGISTER.dmaCommand, command);
    });
    // The device says nothing of a DMA that the IOMMU stopped.
    const unreachable = this.#transport.whyUnreachable(iova, length, access);
    if (unreachable) throw unreachable;
  }

  /** Starts something and waits for its interrupt. */
  async #run(start: () => void): Promise<void> {
    if (this.#settle) throw new ArgumentError('edu does one thing at a time');
    // Its answer, if it still came, would be taken for that of the next request.
    const timer = setTimeout(() => this.#lose(new DeadlineError('edu does not answer')), ANSWER_MS);
    this.#interrupt.ref();
    try {
      await new Promise<void>((resolve, reject) => {
        this.#settle = { resolve, reject };
        start();
      });
    } finally {
      clearTimeout(timer);
      this.#settle = undefined;
      this.#interrupt.unref();
    }
  }

  #interrupted(): void {
    if (this.#lost) return;
    this.interrupts++;
    this.#mapped.write32(REGISTER.acknowledge, this.#mapped.read32(REGISTER.interruptStatus));
    this.#settle?.resolve();
  }

  async close(): Promise<void> {
    this.#lose(new ClosedError('the device is closed'));
    this.#interrupt.close();
    this.#mapping.unmap();
    await this.#transport.close();
  }
}
