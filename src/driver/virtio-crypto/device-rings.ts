import { LIMITS } from '../../abi/queue.js';
import { VIRTIO_NO_VECTOR } from '../../abi/virtio.js';
import { ProtocolError } from '../../errors.js';
import { DmaBuffer } from '../../transport/dma-buffer.js';
import type { Transport } from '../../transport/transport.js';
import type { VirtioPci } from '../virtio/virtio-pci.js';
import { Virtqueue, type VirtqueueShape, virtqueueParts, virtqueueSlots } from '../virtio/virtqueue.js';
import { CONTROL_BYTES, CONTROL_CHAIN, ControlQueue } from './control-queue.js';
import { RequestTable } from './request-table.js';
import { DATA_CHAIN, type QueueRings } from './requests.js';

/** Descriptors of a data queue, at most: as many requests in flight, where each has a table of its own. */
const MAX_SIZE = 1024;
const CONTROL_SIZE = 8;
const ALIGNMENT = 4096;

/** Which interrupt a queue has; none where the device has too few. */
export type VectorOf = (queue: number) => number | undefined;

/** A queue's place in the memory of the rings. */
interface Place {
  shape: VirtqueueShape;
  offset: number;
  /** Of what lies behind the rings: the table of requests, or the control request. */
  extra: number;
  extraBytes: number;
}

/** What the queues of a device consist of, in one piece of memory: laid out once, and set up again after each reset. */
export class DeviceRings {
  readonly dataQueues: number;
  /** Requests that a data queue has room for. */
  readonly slots: number;
  readonly #pci: VirtioPci;
  readonly #memory: DmaBuffer;
  readonly #data: Place[];
  readonly #control: Place;

  private constructor(pci: VirtioPci, memory: DmaBuffer, data: Place[], control: Place) {
    this.#pci = pci;
    this.#memory = memory;
    this.#data = data;
    this.#control = control;
    this.dataQueues = data.length;
    this.slots = Math.min(...data.map((place) => virtqueueSlots(place.shape)));
  }

  /**
   * @param controlQueue its number: the data queues come before it
   * @throws ProtocolError where a queue cannot be what the device says it is
   */
  static async allocate(
    pci: VirtioPci,
    transport: Transport,
    dataQueues: number,
    controlQueue: number,
  ): Promise<DeviceRings> {
    const indirect = pci.has('indirectDescriptors');
    let offset = 0;
    const place = (
      queue: number,
      maxSize: number,
      chain: number,
      minSlots: number,
      extra: (slots: number) => number,
    ): Place => {
      const shape = {
        size: Math.min(maxSize, checkedSize(pci, queue, indirect ? minSlots : minSlots * chain)),
        chain,
        indirect,
        eventIndex: pci.has('eventIndex'),
      };
      const made = { shape, offset, extra: 0, extraBytes: 0 };
      made.extra = align(offset + virtqueueParts(shape).bytes, 64);
      made.extraBytes = extra(virtqueueSlots(shape));
      offset = align(made.extra + made.extraBytes, ALIGNMENT);
      return made;
    };
    const data = Array.from({ length: dataQueues }, (_, queue) =>
      place(queue, MAX_SIZE, DATA_CHAIN, LIMITS.minDepth, RequestTable.bytes),
    );
    const control = place(controlQueue, CONTROL_SIZE, CONTROL_CHAIN, 1, () => CONTROL_BYTES);
    return new DeviceRings(pci, await DmaBuffer.allocate(transport, offset), data, control);
  }

  /** Sets up all queues of a device whose features are settled. */
  attach(controlQueue: number, vectorOf: VectorOf): { data: QueueRings[]; control: ControlQueue } {
    this.#memory.mapping.bytes.fill(0);
    const data = this.#data.map((place, queue) => {
      const { virtqueue, ring } = this.#attach(place, queue, vectorOf(queue));
      const { bytes, iova, address } = this.#extra(place);
      return { virtqueue, ring, table: new RequestTable(bytes, iova, address) };
    });
    const { virtqueue, ring } = this.#attach(this.#control, controlQueue, undefined);
    const { bytes, iova } = this.#extra(this.#control);
    return { data, control: new ControlQueue(virtqueue, bytes, iova, ring) };
  }

  #attach({ shape, offset }: Place, queue: number, vector = VIRTIO_NO_VECTOR) {
    const pci = this.#pci;
    const iova = this.#memory.iova + offset;
    const parts = virtqueueParts(shape);
    const memory = this.#memory.mapping.bytes.subarray(offset, offset + parts.bytes);
    const addresses = {
      size: shape.size,
      descriptors: iova,
      available: iova + parts.available,
      used: iova + parts.used,
    };
    const doorbell = pci.setQueue(queue, addresses, vector);
    return { virtqueue: new Virtqueue(memory, iova, shape), ring: () => pci.ring(doorbell, queue) };
  }

  #extra({ extra, extraBytes }: Place): { bytes: Uint8Array; iova: number; address: number } {
    const { mapping, iova } = this.#memory;
    return {
      bytes: mapping.bytes.subarray(extra, extra + extraBytes),
      iova: iova + extra,
      address: mapping.address + extra,
    };
  }

  free(): Promise<void> {
    return this.#memory.free();
  }
}

/** How many descriptors a queue can have at most. */
function checkedSize(pci: VirtioPci, queue: number, least: number): number {
  const size = pci.queueSize(queue);
  if (size >= least && (size & (size - 1)) === 0) return size;
  throw new ProtocolError(
    `${pci.name} has a queue ${queue} of ${size} descriptors, where its driver needs a power of two and at least ${least}`,
    { device: pci.name },
  );
}

const align = (value: number, to: number): number => Math.ceil(value / to) * to;
