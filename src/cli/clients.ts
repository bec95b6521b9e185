import { connect } from 'node:net';
import type { ClientReport } from '../broker/client.js';
import type { BrokerReport } from '../broker/info.js';
import { brokerInfoSocket, defaultBrokerSocket } from '../transport/broker-socket.js';
import { EXIT, Failure, systemMessage } from './failure.js';
import { helpFor } from './help.js';
import { parseOptions } from './options.js';
import { formatTable } from './table.js';

const OPTIONS = {
  socket: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** How long a broker may say nothing, and the most that it may say. */
const PATIENCE_MS = 5000;
const MAX_BYTES = 64 * 1024 * 1024;

/** The command `clients`: who holds what of a broker's device. */
export async function runClients(args: string[]): Promise<number> {
  const given = parseOptions(args, OPTIONS);
  const { operands, has } = given;
  if (has('help')) {
    process.stdout.write(helpFor('clients'));
    return EXIT.ok;
  }
  if (operands.length > 0) throw new Failure(`clients takes options alone, and ${operands[0]} is none`);
  const socket = given.last('socket') ?? defaultBrokerSocket();
  const text = await ask(socket);
  const report = parse(socket, text);
  process.stdout.write(has('json') ? `${JSON.stringify(report, null, 2)}\n` : format(report));
  return EXIT.ok;
}

/** All that a broker says. @throws Failure when there is none, or it does not answer */
function ask(socket: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string, cause?: unknown): void => {
      connection.destroy();
      reject(new Failure(`the broker at ${socket} ${reason}`, { cause }));
    };
    const chunks: Buffer[] = [];
    let bytes = 0;
    const connection = connect(brokerInfoSocket(socket));
    connection.setTimeout(PATIENCE_MS, () => fail(`has said nothing for ${PATIENCE_MS / 1000} seconds`));
    connection.on('error', (error) => fail(`cannot be asked: ${systemMessage(error)}`, error));
    connection.on('data', (chunk) => {
      bytes += chunk.length;
      if (bytes > MAX_BYTES) fail('says more than can be true');
      else chunks.push(chunk);
    });
    connection.on('end', () => resolve(Buffer.concat(chunks).toString()));
  });
}

function parse(socket: string, text: string): BrokerReport {
  if (text === '') throw new Failure(`the broker at ${socket} does not tell this user`);
  try {
    return JSON.parse(text) as BrokerReport;
  } catch (cause) {
    throw new Failure(`the broker at ${socket} was interrupted while it answered`, { cause });
  }
}

function format(report: BrokerReport): string {
  const { pid, state, uptimeSeconds, device, clientCount, clients } = report;
  const facts = formatTable(
    [{ title: 'broker' }, { title: `process ${pid}` }],
    [
      ['state', state],
      ['up', `${uptimeSeconds} s`],
      ['engine threads', `${device.threads} of at most ${device.maxThreads}`],
      ['clients', `${clientCount} of at most ${device.maxClients}`],
    ],
  );
  if (clients.length === 0) return facts;
  const columns = [
    'client',
    'process',
    'user',
    'queues',
    'MiB mapped',
    'requests',
    'MB in',
    'MB out',
    'busy s',
    'refused',
  ];
  const table = formatTable(
    [...columns.map((title) => ({ title, align: 'right' as const })), { title: 'share' }, { title: 'since' }],
    clients.map(row),
  );
  const hidden = clientCount - clients.length;
  return `${facts}\n${table}${hidden > 0 ? `${hidden} more of other users\n` : ''}`;
}

function row({ id, pid, uid, held, total, weight, lowLatency, since }: ClientReport): string[] {
  const refused = total.refused + total.staleSlots + total.wrongRings;
  return [
    ...[id, pid, uid, held.queues, Math.ceil(held.mappedBytes / 1024 / 1024), total.completed].map(String),
    ...[total.bytesIn, total.bytesOut, total.microseconds].map((amount) => (amount / 1e6).toFixed(1)),
    String(refused),
    `${weight}${lowLatency ? ' low-latency' : ''}`,
    since,
  ];
}
