import { ClosedError, DeadlineError, ProtocolError, SystemError } from '../errors.js';
import { ERRNO } from '../sys/libc.js';
import { connectUnix } from '../sys/unix-socket.js';
import { UNIX_SCHEME } from '../transport/open.js';
import { VFIO_SCHEME } from '../transport/vfio/address.js';
import { openVfio } from '../transport/vfio/open.js';
import { VfioUserTransport } from '../transport/vfio-user/client.js';
import type { Version } from '../transport/vfio-user/version.js';
import { engineTable } from './devices.js';
import { EXIT, Failure } from './failure.js';
import { helpFor } from './help.js';
import { type InspectableTransport, type Inspection, inspect } from './inspection.js';
import { parseOptions } from './options.js';
import { formatTable } from './table.js';

const OPTIONS = {
  'allow-unsafe-noiommu': { type: 'boolean' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** How long a device may take for one answer. */
const ANSWER_MS = 5000;
const MAX_RANGES = 4;

/** Exit codes beside the usual ones: why a device could not be inspected. */
export const INSPECT_EXIT = { noSocket: 3, refused: 4, permission: 5, notVfioUser: 6, noAnswer: 7 } as const;

/** The command `inspect`: what a vfio-user device is, whoever wrote it. */
export async function runInspect(args: string[]): Promise<number> {
  const given = parseOptions(args, OPTIONS);
  const { operands, has } = given;
  if (has('help')) {
    process.stdout.write(helpFor('inspect'));
    return EXIT.ok;
  }
  const [name] = operands;
  const named = 'unix:/path or vfio:0000:00:03.0';
  if (name === undefined || operands.length > 1) throw new Failure(`inspect takes one device: ${named}`);
  const isHardware = name.startsWith(VFIO_SCHEME);
  if (!isHardware && (!name.startsWith(UNIX_SCHEME) || name.length === UNIX_SCHEME.length)) {
    throw new Failure(`${name} is no device to inspect; one is named ${named}`);
  }
  try {
    const inspection = isHardware
      ? await inspectClosing(
          await openVfio(name, { allowUnsafe: has('allow-unsafe-noiommu') ? ['noiommu'] : [] }),
        )
      : await inspectSocket(name);
    process.stdout.write(has('json') ? `${JSON.stringify(inspection, null, 2)}\n` : format(name, inspection));
    return EXIT.ok;
  } catch (error) {
    const failure = explain(error);
    if (!failure) throw error;
    process.stderr.write(`warpdrive: ${printable(name)}: ${failure.message}\n`);
    return failure.exitCode;
  }
}

/** Connects to a device by its name and asks it. */
export async function inspectSocket(name: string): Promise<Inspection> {
  const fd = connectUnix(name.slice(UNIX_SCHEME.length));
  return inspectClosing(await VfioUserTransport.connect(fd, name, () => {}, ANSWER_MS));
}

async function inspectClosing(transport: InspectableTransport): Promise<Inspection> {
  try {
    return await inspect(transport);
  } finally {
    await transport.close();
  }
}

/** What an error means to whoever named the socket, or undefined for one that means nothing of the kind. */
export function explain(error: unknown): Failure | undefined {
  const because = (exitCode: number, message: string): Failure =>
    new Failure(message, { exitCode, cause: error });
  if (error instanceof DeadlineError) {
    return because(INSPECT_EXIT.noAnswer, `no answer within ${ANSWER_MS / 1000} seconds`);
  }
  if (error instanceof ProtocolError) {
    return because(INSPECT_EXIT.notVfioUser, `not a vfio-user device: ${printable(error.message)}`);
  }
  const hungUp = 'hung up: not a vfio-user device, or one that takes no more clients';
  if (error instanceof ClosedError) return because(INSPECT_EXIT.notVfioUser, hungUp);
  if (!(error instanceof SystemError)) return undefined;
  switch (error.errno) {
    case ERRNO.ENOENT:
    case ERRNO.ENOTDIR:
      return because(INSPECT_EXIT.noSocket, 'no such socket');
    case ERRNO.ECONNREFUSED:
      return because(INSPECT_EXIT.refused, 'connection refused: nobody listens there');
    case ERRNO.EACCES:
    case ERRNO.EPERM:
      return because(INSPECT_EXIT.permission, 'permission denied');
    case ERRNO.EAGAIN:
      return because(INSPECT_EXIT.noAnswer, 'too many wait there to be served');
    case ERRNO.EPROTOTYPE:
      return because(INSPECT_EXIT.notVfioUser, 'not a stream socket');
    case ERRNO.ECONNRESET:
    case ERRNO.EPIPE:
      return because(INSPECT_EXIT.notVfioUser, hungUp);
    default:
      return undefined;
  }
}

/** Text of a stranger: nothing in it may drive a terminal. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, '?');
}

const hex = (value: number, digits: number): string => `0x${value.toString(16).padStart(digits, '0')}`;
const orDash = (texts: string[]): string => texts.join(', ') || '-';
const range = ({ offset, length }: { offset: number; length: number }): string =>
  `${hex(offset, 0)}+${hex(length, 0)}`;

/** Ranges as they are listed; a long list is cut. */
function ranges(list: { offset: number; length: number }[]): string {
  const shown = list.slice(0, MAX_RANGES).map(range);
  return orDash(list.length > MAX_RANGES ? [...shown, `${list.length - MAX_RANGES} more`] : shown);
}

function format(name: string, inspection: Inspection): string {
  const { regions, irqs, warpdrive, notes } = inspection;
  const parts = [
    formatTable([{ title: 'device' }, { title: printable(name) }], facts(inspection)),
    formatTable(
      [
        { title: 'region' },
        { title: 'name' },
        { title: 'bytes', align: 'right' },
        { title: 'access' },
        { title: 'mappable' },
        { title: 'descriptor' },
        { title: 'wake' },
        { title: 'capabilities' },
      ],
      regions
        .filter(({ size, notes: own }) => size > 0 || own.length > 0)
        .map((region) => [
          String(region.index),
          region.name,
          String(region.size),
          orDash(region.flags),
          ranges(region.areas),
          region.descriptor ? 'yes' : 'no',
          ranges(region.wake),
          orDash(region.capabilities),
        ]),
    ),
    formatTable(
      [{ title: 'interrupt' }, { title: 'name' }, { title: 'count', align: 'right' }, { title: 'flags' }],
      irqs.map((irq) => [String(irq.index), irq.name, String(irq.count), orDash(irq.flags)]),
    ),
  ];
  if (warpdrive) parts.push(engineTable(warpdrive.description.engines, printable));
  const remarks = [
    ...notes,
    ...regions.flatMap(({ index, notes: own }) => own.map((note) => `region ${index}, ${note}`)),
    ...irqs.flatMap(({ index, notes: own }) => own.map((note) => `interrupt ${index}, ${note}`)),
  ];
  if (remarks.length > 0) parts.push(remarks.map((remark) => `note: ${printable(remark)}\n`).join(''));
  return parts.join('\n');
}

/** What was agreed on with a vfio-user device. */
function agreement({ major, minor, capabilities }: Version): string[][] {
  const said = [
    `max_msg_fds ${capabilities.maxMessageFds}`,
    `max_data_xfer_size ${capabilities.maxTransferBytes}`,
    `max_dma_maps ${capabilities.maxDmaMaps}`,
    `pgsizes ${hex(capabilities.pageSizes, 0)}`,
    ...(capabilities.writeMultiple ? ['write_multiple'] : []),
    ...(capabilities.twinSocket ? ['twin_socket'] : []),
  ];
  return [
    ['protocol', `vfio-user ${major}.${minor}`],
    ['negotiated', said.join(', ')],
  ];
}

function facts({ protocol, iommu, unsafe, flags, pci, warpdrive }: Inspection): string[][] {
  const rows = [
    ...(protocol ? agreement(protocol) : [['protocol', `VFIO of the kernel, ${iommu}`]]),
    ['flags', orDash([...flags, ...unsafe.map((name) => `unsafe-${name}`)])],
  ];
  if (pci) {
    rows.push(
      ['vendor', hex(pci.vendorId, 4)],
      ['device id', `${hex(pci.deviceId, 4)}, revision ${pci.revision}`],
      ['subsystem', `${hex(pci.subsystemVendorId, 4)}, ${hex(pci.subsystemId, 4)}`],
      ['class', `${hex(pci.classCode, 6)}, ${pci.className}`],
      [
        'capabilities',
        orDash(pci.capabilities.map(({ offset, name: what }) => `${what} at ${hex(offset, 0)}`)),
      ],
    );
  }
  if (warpdrive) {
    const { registers, description } = warpdrive;
    rows.push(
      ['accelerator', `WarpDrive ${warpdrive.version}, state ${registers['state']}`],
      [
        'queues',
        `${registers['openQueues']} open of ${registers['maxQueues']}, at most ${registers['maxDepth']} deep`,
      ],
      ['engine threads', `${registers['threads']}, at most ${registers['maxThreads']}`],
      ['request', `at most ${registers['maxTransfer']} bytes, ${registers['maxSessions']} sessions`],
      ...Object.entries(description.algorithms).map(([operation, names]) => [
        operation,
        printable(names.length > 0 ? names.join(', ') : 'yes'),
      ]),
      ['features', orDash(warpdrive.flags)],
    );
  }
  return rows;
}
