import { availableParallelism } from 'node:os';
import type { Limits } from '../device/account.js';
import { ENGINE_NAMES } from '../device/engines/engine.js';
import { ArgumentError } from '../errors.js';
import { groupId, userId } from '../sys/user-database.js';
import { defaultBrokerSocket } from '../transport/broker-socket.js';
import { LOG_LEVELS, type LogLevel } from './log.js';
import { CLIENT_DEFAULTS, clientLimits, describeLimits, USER_DEFAULTS, userLimits } from './quotas.js';
import { boolean, type Check, list, map, mode, object, oneOf, text, wholeNumber, wrong } from './validate.js';

/** What the broker goes by: defaults, then the file, then the command line. Users and groups are numbers here. */
export interface BrokerConfig {
  socket: string;
  /** Permissions of the socket, and of the one beside it. */
  mode: number;
  /** Who may have a device; undefined for everybody whom the socket's permissions let in. */
  allow: Allow | undefined;
  /** The most engine threads. */
  engines: number;
  disableEngines: string[];
  spinMicroseconds: number;
  maxClients: number;
  limits: { client: Limits; user: Limits; users: Map<number, OwnLimits> };
  shares: Map<number, Share>;
  /** How long a client may take to agree on a version. */
  handshakeSeconds: number;
  /** How long stopping waits for what is in flight. */
  drainSeconds: number;
  logLevel: LogLevel;
  /** Map memory that can still shrink: a client that shrinks it ends the broker. */
  allowUnsafeUnsealedMemory: boolean;
  /** Serve each client in a process of its own. */
  isolate: boolean;
  /** Faults to inject (device/inject.ts); from the environment alone. */
  faults: string[];
}

export interface Allow {
  users: number[];
  groups: number[];
}

/** Limits of one user, and of each of its clients. */
export interface OwnLimits {
  client: Limits;
  user: Limits;
}

/** How a user's clients are served beside others. */
export interface Share {
  weight: number;
  lowLatency: boolean;
}

export const DEFAULT_SHARE: Readonly<Share> = { weight: 1, lowLatency: false };

const MAX_ENGINES = 64;
const MAX_WEIGHT = 1000;
const MAX_ID = 2 ** 32 - 2;

function principal(kind: string, find: (name: string) => number | undefined): Check<number> {
  return (value, path) => {
    if (typeof value === 'number') return wholeNumber(0, MAX_ID)(value, path);
    if (typeof value !== 'string' || value === '') throw wrong(path, `the name or the number of a ${kind}`);
    if (/^\d+$/.test(value)) return wholeNumber(0, MAX_ID)(Number(value), path);
    const id = find(value);
    if (id === undefined) throw new ArgumentError(`${path}: there is no ${kind} ${JSON.stringify(value)}`);
    return id;
  };
}

const user = principal('user', userId);
const group = principal('group', groupId);

export const engines = wholeNumber(1, MAX_ENGINES);
export const maxClients = wholeNumber(1, 4096);
export const drainSeconds = wholeNumber(0, 3600);
export const logLevel = oneOf(LOG_LEVELS);

const file = object({
  socket: text,
  mode,
  allow: object({ users: list(user), groups: list(group) }),
  engines,
  disableEngines: list(oneOf(ENGINE_NAMES)),
  spinMicroseconds: wholeNumber(0, 1_000_000),
  maxClients,
  limits: object({
    client: clientLimits,
    user: userLimits,
    users: map(user, object({ client: clientLimits, user: userLimits })),
  }),
  shares: map(user, object({ weight: wholeNumber(1, MAX_WEIGHT), lowLatency: boolean })),
  handshakeSeconds: wholeNumber(1, 3600),
  drainSeconds,
  logLevel,
  allowUnsafeUnsealedMemory: boolean,
  isolate: boolean,
});

/** What the command line says; it goes before the file. */
export interface Overrides {
  socket?: string;
  mode?: number;
  engines?: number;
  maxClients?: number;
  drainSeconds?: number;
  logLevel?: LogLevel;
  allowUnsafeUnsealedMemory?: boolean;
  isolate?: boolean;
  faults?: string[];
}

/**
 * The configuration that follows from a file's text (undefined where there is no file) and the command line.
 * @throws ArgumentError naming the field that is wrong
 */
export function configure(json: string | undefined, overrides: Overrides): BrokerConfig {
  const given = json === undefined ? {} : file(parse(json), '');
  const { limits, allow, shares, ...plain } = given;
  const client = { ...CLIENT_DEFAULTS, ...limits?.client };
  const forUser = { ...USER_DEFAULTS, ...limits?.user };
  const own = [...(limits?.users ?? [])].map(([uid, each]): [number, OwnLimits] => [
    uid,
    { client: { ...client, ...each.client }, user: { ...forUser, ...each.user } },
  ]);
  return {
    socket: defaultBrokerSocket(),
    mode: 0o660,
    engines: Math.min(availableParallelism(), MAX_ENGINES),
    disableEngines: [],
    spinMicroseconds: 100,
    maxClients: 256,
    handshakeSeconds: 10,
    drainSeconds: 10,
    logLevel: 'info',
    allowUnsafeUnsealedMemory: false,
    isolate: false,
    faults: [],
    ...plain,
    ...overrides,
    allow: allow && { users: allow.users ?? [], groups: allow.groups ?? [] },
    limits: { client, user: forUser, users: new Map(own) },
    shares: new Map([...(shares ?? [])].map(([uid, share]) => [uid, { ...DEFAULT_SHARE, ...share }])),
  };
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw new ArgumentError(`this is not JSON: ${(cause as Error).message}`, { cause });
  }
}

/** The configuration in the form of a file. */
export function describeConfig(config: BrokerConfig): Record<string, unknown> {
  const { mode: permissions, allow, limits, shares, faults: _faults, ...plain } = config;
  return {
    ...plain,
    mode: permissions.toString(8).padStart(4, '0'),
    ...(allow && { allow }),
    limits: {
      client: describeLimits(limits.client, 'client'),
      user: describeLimits(limits.user, 'user'),
      users: Object.fromEntries(
        [...limits.users].map(([uid, own]) => [
          uid,
          { client: describeLimits(own.client, 'client'), user: describeLimits(own.user, 'user') },
        ]),
      ),
    },
    shares: Object.fromEntries(shares),
  };
}
