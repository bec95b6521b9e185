import type { DeviceDescription } from '../device/device.js';
import type { Interrupt } from '../sys/interrupt.js';
import type { Mapping } from '../sys/memory.js';
import type { Transport } from '../transport/transport.js';

/** One request, in the terms of the accelerator: what every driver can turn into its hardware's descriptor. */
export class Submission {
  /** OPCODE of abi/queue.ts. */
  operation = 0;
  algorithm = 0;
  level = 0;
  /** SQE_FLAG of abi/queue.ts. */
  flags = 0;
  session = 0;
  /** Comes back in the completion. */
  requestId = 0;
  /** Addresses as the device sees them, lengths in bytes. */
  source = 0;
  sourceLength = 0;
  destination = 0;
  capacity = 0;
  /** A third range: parameters, or a second source or destination. */
  aux = 0;
  auxLength = 0;
  param0 = 0;
  param1 = 0;
  param2 = 0;
}

/** How one request ended. */
export class Completion {
  requestId = 0;
  /** STATUS of abi/queue.ts. */
  status = 0;
  engine = 0;
  thread = 0;
  /** CQE_FLAG of abi/queue.ts. */
  flags = 0;
  /** Bytes written to the destination, and read from the source. */
  produced = 0;
  consumed = 0;
  /** A checksum or a session's number. */
  result = 0;
  /** Time in the engine, where it was asked for. */
  nanoseconds = 0;
}

/** A queue of a device, owned by this process. Submitting and polling allocate nothing and make no system call. */
export interface DeviceQueue {
  readonly id: number;
  readonly depth: number;
  readonly inFlight: number;
  /** Signalled by the device when an armed queue has completions. */
  readonly interrupt: Interrupt;
  readonly enginesAwake: number;
  /** True once the device has failed: nothing more will complete. */
  readonly failed: boolean;
  /** Writes a request into the next slot; false when the queue is full. The device sees it after `publish`. */
  submit(submission: Submission): boolean;
  /** Rings the doorbell. */
  publish(): void;
  /** Whether a completion is there to be taken. */
  readonly ready: boolean;
  /** Takes the next completion; false when there is none. */
  poll(completion: Completion): boolean;
  /** Asks for an interrupt after `count` more completions; false if they are there already. */
  arm(count: number): boolean;
  /** Gives the queue back to the device and frees its memory. */
  release(): Promise<void>;
}

export interface QueueOptions {
  /** Slots; a power of two. */
  depth: number;
  /** Where the rings' indexes start; by default 0. */
  startIndex?: number;
}

/** What a queue has been through, as its device counted it. */
export interface QueueCounters {
  completed: number;
  wrongRings: number;
  staleSlots: number;
  refused: number;
  isolated: boolean;
}

/** Memory that the device can reach. */
export interface DeviceMemory {
  readonly mapping: Mapping;
  /** Address of its first byte, as the device sees it. */
  readonly iova: number;
  /** Takes it from the device, and unmaps it. */
  free(): Promise<void>;
  /** Leaves it to its views: what this returns frees it later, and keeps none of them alive. */
  surrender(): KeptMemory;
}

/** Memory whose views are the application's. */
export interface KeptMemory {
  free(): Promise<void>;
  /** Lets another device reach it, under the same address, instead of one that is gone. */
  moveTo(device: MemoryOwner): Promise<void>;
}

/** What memory needs of the device that reaches it. */
export interface MemoryOwner {
  /** Lets the device reach the memory of a sealed memfd, under this address. */
  mapMemory(fd: number, iova: number, length: number): Promise<void>;
  /** Takes it away again; resolves once the device has let go of it. */
  unmapMemory(iova: number, length: number): Promise<void>;
}

/** A device as its driver presents it. */
export interface DriverDevice extends MemoryOwner {
  readonly name: string;
  /** The name of its driver. */
  readonly driver: string;
  readonly description: DeviceDescription;
  /** Whether the device takes any address of this process. */
  readonly sva: boolean;
  readonly maxQueues: number;
  readonly maxDepth: number;
  /** Bytes of source or destination in one request. */
  readonly maxTransfer: number;
  readonly maxThreads: number;
  createQueue(options: QueueOptions): Promise<DeviceQueue>;
  counters(queue: number): Promise<QueueCounters>;
  allocate(length: number): Promise<DeviceMemory>;
  /** Called once if the device fails or goes away. */
  onLost(listener: (reason: string) => void): void;
  close(): Promise<void>;
}

/** A driver: one folder per hardware. */
export interface Driver {
  readonly name: string;
  /** Whether this driver serves a device with these PCI numbers. */
  matches(vendorId: number, deviceId: number): boolean;
  open(transport: Transport): Promise<DriverDevice>;
}
