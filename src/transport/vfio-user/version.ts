import {
  DEFAULT_MAX_DMA_MAPS,
  DEFAULT_MAX_MSG_FDS,
  DEFAULT_PAGE_SIZES,
  MAX_TRANSFER_BYTES,
  MAX_VERSION_BYTES,
  VERSION_FIXED,
} from '../../abi/vfio-user.js';
import { ProtocolError } from '../../errors.js';

/** What one side of a connection says of itself in its VERSION message; what it leaves out has the text's default. */
export interface Capabilities {
  /** The most descriptors that it takes in one message. */
  maxMessageFds: number;
  /** The most bytes that one read or write may move. */
  maxTransferBytes: number;
  maxDmaMaps: number;
  /** Page sizes that DMA regions may have, or'ed together. */
  pageSizes: number;
  /** Whether it sends WRITE_MULTI, or takes it. */
  writeMultiple: boolean;
  /** Whether commands to the client go over a socket of their own. */
  twinSocket: boolean;
  /** Which descriptor of the message the twin socket is. */
  twinSocketIndex: number | undefined;
}

export interface Version {
  major: number;
  minor: number;
  capabilities: Capabilities;
}

/** Names on the wire. */
const NAME = {
  maxMessageFds: 'max_msg_fds',
  maxTransferBytes: 'max_data_xfer_size',
  maxDmaMaps: 'max_dma_maps',
  pageSizes: 'pgsizes',
  writeMultiple: 'write_multiple',
  twinSocket: 'twin_socket',
} as const;

/** The body of a VERSION message. Of the capabilities only what is given is said. */
export function encodeVersion(major: number, minor: number, capabilities: Partial<Capabilities>): Buffer {
  const fixed = Buffer.alloc(VERSION_FIXED.bytes);
  fixed.writeUInt16LE(major, VERSION_FIXED.offset.major);
  fixed.writeUInt16LE(minor, VERSION_FIXED.offset.minor);
  const { twinSocket, twinSocketIndex, ...plain } = capabilities;
  const said: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(plain)) said[NAME[name as keyof typeof plain]] = value;
  if (twinSocket !== undefined) {
    said[NAME.twinSocket] = {
      supported: twinSocket,
      ...(twinSocketIndex === undefined ? {} : { fd_index: twinSocketIndex }),
    };
  }
  return Buffer.concat([fixed, Buffer.from(`${JSON.stringify({ capabilities: said })}\0`)]);
}

/**
 * Takes the body of a VERSION message apart. The other end is not trusted: the text is bounded, keys that nobody knows
 * are ignored, and known ones have the right type or nothing is agreed on.
 * @throws ProtocolError with the reason.
 */
export function decodeVersion(body: Buffer): Version {
  if (body.length < VERSION_FIXED.bytes) throw new ProtocolError('the version is too short');
  const said = capabilitiesOf(body.subarray(VERSION_FIXED.bytes));
  const twin = said[NAME.twinSocket] === undefined ? {} : record(said[NAME.twinSocket], NAME.twinSocket);
  return {
    major: body.readUInt16LE(VERSION_FIXED.offset.major),
    minor: body.readUInt16LE(VERSION_FIXED.offset.minor),
    capabilities: {
      maxMessageFds: count(said, NAME.maxMessageFds, DEFAULT_MAX_MSG_FDS),
      maxTransferBytes: count(said, NAME.maxTransferBytes, MAX_TRANSFER_BYTES),
      maxDmaMaps: count(said, NAME.maxDmaMaps, DEFAULT_MAX_DMA_MAPS),
      pageSizes: count(said, NAME.pageSizes, DEFAULT_PAGE_SIZES),
      writeMultiple: flag(said, NAME.writeMultiple),
      twinSocket: flag(twin, 'supported'),
      twinSocketIndex: twin['fd_index'] === undefined ? undefined : count(twin, 'fd_index', 0),
    },
  };
}

function capabilitiesOf(data: Buffer): Record<string, unknown> {
  if (data.length === 0) return {};
  if (data.length > MAX_VERSION_BYTES) throw new ProtocolError(`${data.length} bytes of version data`);
  const end = data.indexOf(0);
  if (end !== data.length - 1) throw new ProtocolError('the version data does not end with its first NUL');
  let parsed: unknown;
  try {
    parsed = JSON.parse(data.toString('utf8', 0, end));
  } catch (cause) {
    throw new ProtocolError('the version data is not JSON', { cause });
  }
  const { capabilities } = record(parsed, 'version data');
  return capabilities === undefined ? {} : record(capabilities, 'capabilities');
}

function record(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ProtocolError(`${name} is not an object`);
  }
  return value as Record<string, unknown>;
}

function count(said: Record<string, unknown>, name: string, otherwise: number): number {
  const value = said[name] ?? otherwise;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new ProtocolError(`${name} is not a count`);
  }
  return value;
}

function flag(said: Record<string, unknown>, name: string): boolean {
  const value = said[name] ?? false;
  if (typeof value !== 'boolean') throw new ProtocolError(`${name} is neither true nor false`);
  return value;
}
