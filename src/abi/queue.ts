import { layout } from './layout.js';

/*
 * The rings, as both ends see them (docs/device-spec.md, "Queues"). All indexes run freely through 32 bits and are
 * reduced to a slot with `index & (depth - 1)`; differences are taken modulo 2^32, so wrapping needs no care.
 */

/** Submission queue entry. Little endian; an address is two 32-bit words, low first. */
export const SQE = layout({
  sequence: 'u32',
  opcode: 'u8',
  algorithm: 'u8',
  level: 'u8',
  flags: 'u8',
  requestId: 'u32',
  session: 'u32',
  sourceLow: 'u32',
  sourceHigh: 'u32',
  sourceLength: 'u32',
  destinationCapacity: 'u32',
  destinationLow: 'u32',
  destinationHigh: 'u32',
  /** A third range: parameters, or a second source or destination. */
  auxLow: 'u32',
  auxHigh: 'u32',
  auxLength: 'u32',
  param0: 'u32',
  param1: 'u32',
  param2: 'u32',
});

/** Completion queue entry. `phase` is written last and makes the entry visible. */
export const CQE = layout({
  requestId: 'u32',
  status: 'u8',
  engine: 'u8',
  thread: 'u8',
  flags: 'u8',
  produced: 'u32',
  consumed: 'u32',
  result: 'u32',
  nanoseconds: 'u32',
  sqHead: 'u32',
  phase: 'u32',
});

/** log2 of an entry's size in 32-bit words: `slot << SHIFT` is its first word. */
export const SQE_WORD_SHIFT = 4;
export const CQE_WORD_SHIFT = 3;

/** The one page a queue's owner writes and the device reads. Words lie on cache lines of their own. */
export const DOORBELL = {
  pageBytes: 4096,
  /** (SQ tail + token) mod 2^32: how far the owner has published, and proof that it was the owner. */
  tailWord: 0,
  /** CQ head: how far the owner has consumed. */
  cqHeadWord: 16,
  /** The CQ tail at which the owner, now asleep, wants its interrupt. */
  armWord: 32,
  /** Written by the device: 0 while it polls this doorbell not, and has to be woken. */
  polledWord: 48,
} as const;

/** The page the device writes and every client may read (docs/device-spec.md, "Status page"). */
export const STATUS_PAGE = {
  pageBytes: 4096,
  stateWord: 0,
  /** Engine threads polling doorbells right now; at zero, a doorbell must be followed by the wake eventfd. */
  pollersWord: 16,
  /** Engine threads awake, polling or working: what a client weighs before it spins beside them. */
  awakeWord: 32,
} as const;

/** While it is stopping, a device still completes what it was given; failed or stopped, it completes nothing more. */
export const DEVICE_STATE = { starting: 0, ready: 1, failed: 2, stopping: 3, stopped: 4 } as const;

/** What a request asks for. docs/device-spec.md, "Operations", says what the fields mean for each. */
export const OPCODE = {
  noop: 0,
  compress: 1,
  decompress: 2,
  sessionOpen: 3,
  sessionClose: 4,
  digest: 5,
  mac: 6,
  encrypt: 7,
  decrypt: 8,
  checksum: 9,
  copy: 10,
  fill: 11,
  compare: 12,
  dualCopy: 13,
  derive: 14,
  sign: 15,
  verify: 16,
  agree: 17,
  chain: 18,
} as const;

export type OperationName = keyof typeof OPCODE;

const OPERATION_NAMES = Object.keys(OPCODE) as OperationName[];

/** The name of an opcode, or undefined. */
export function operationName(opcode: number): OperationName | undefined {
  return OPERATION_NAMES[opcode];
}

/** Flags of a submission. */
export const SQE_FLAG = {
  /** Not the last part of something: of a raw deflate stream, or of what a session digests. */
  piece: 1,
  /** Return a checksum of the uncompressed bytes in `result`: CRC-32 (ISO 3309) or Adler-32 (RFC 1950), not both. */
  crc32: 2,
  adler32: 4,
  /** Return the engine's time in `nanoseconds`. */
  timed: 8,
  /** Copies: return the CRC-32C of the bytes that moved in `result`. */
  crc32c: 16,
  /** Block ciphers: whole blocks come in, and nothing is padded. */
  unpadded: 32,
} as const;
export const SQE_FLAGS_DEFINED = 63;

/** In place of an engine's number: the hardware itself. */
export const HARDWARE_ENGINE = 255;

/** Flags of a completion. */
export const CQE_FLAG = {
  /** The compressed stream has ended; `consumed` says where. */
  streamEnd: 1,
} as const;

/** How a request ended. Values below 16 blame the request, 16 to 31 the data, 32 and up the device. */
export const STATUS = {
  ok: 0,
  badOpcode: 1,
  badField: 2,
  staleSlot: 3,
  badAddress: 4,
  badLength: 5,
  unsupported: 6,
  badSession: 7,
  /** Key material that is none for this algorithm. */
  badKey: 8,
  noSpace: 16,
  corrupt: 17,
  truncated: 18,
  /** A tag, a padding or a wrapped key that does not fit: which of them is not told. */
  notAuthentic: 19,
  engineFailed: 32,
  noResources: 33,
} as const;

export type Status = (typeof STATUS)[keyof typeof STATUS];

/** The name of a status code, for messages. */
export function statusName(status: number): string {
  return Object.entries(STATUS).find(([, value]) => value === status)?.[0] ?? `status ${status}`;
}

export const LIMITS = {
  minDepth: 2,
  maxDepth: 32768,
  maxQueues: 64,
  /** Bytes of source, and of destination, that one request may name. */
  maxTransfer: 16 * 1024 * 1024,
  maxSessions: 1024,
  /** Bytes of parameters (IV, associated data, salt, stages of a chain) of one request. */
  maxAux: 64 * 1024,
  /** Bytes of key material of one session. */
  maxKey: 4096,
  /** Stages of a chain. */
  maxStages: 4,
  /** Regions of memory that one client may map. */
  maxRegions: 256,
  /** After this many wrong rings in a row a queue is isolated until it is set up again. */
  wrongRings: 16,
  /** User addresses lie below this on x64 and arm64 (47 bits). */
  addressEnd: 2 ** 47,
} as const;
