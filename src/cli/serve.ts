import { readFileSync } from 'node:fs';
import * as config from '../broker/config.js';
import { mode, text } from '../broker/validate.js';
import { parseFaults } from '../device/inject.js';
import { WarpDriveError } from '../errors.js';
import { EXIT, Failure, systemMessage } from './failure.js';
import { helpFor } from './help.js';
import { type GivenOption, parseOptions } from './options.js';

const OPTIONS = {
  socket: { type: 'string' },
  config: { type: 'string' },
  check: { type: 'boolean' },
  engines: { type: 'string' },
  'max-clients': { type: 'string' },
  mode: { type: 'string' },
  'drain-seconds': { type: 'string' },
  'log-level': { type: 'string' },
  'allow-unsafe-unsealed-memory': { type: 'boolean' },
  isolate: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** The command `serve`: the broker, until a signal stops it. */
export async function runServe(args: string[]): Promise<number> {
  const given = parseOptions(args, OPTIONS);
  const { options, operands, has } = given;
  if (has('help')) {
    process.stdout.write(helpFor('serve'));
    return EXIT.ok;
  }
  if (operands.length > 0) throw new Failure(`serve takes options alone, and ${operands[0]} is none`);
  const file = given.last('config');
  const overrides = readOverrides(options);
  const load = (): config.BrokerConfig => loadConfig(file, overrides);
  if (has('check')) {
    process.stdout.write(`${JSON.stringify(config.describeConfig(load()), null, 2)}\n`);
    return EXIT.ok;
  }
  const { runBroker } = await import('../broker/service.js');
  return runBroker(load, ({ socket }) => {
    process.stdout.write(`warpdrive: listening on ${socket}\n`);
  });
}

/** @throws Failure that names the file, for one that cannot be read or says something wrong */
function loadConfig(file: string | undefined, overrides: config.Overrides): config.BrokerConfig {
  if (file === undefined) return config.configure(undefined, overrides);
  try {
    return config.configure(readFileSync(file, 'utf8'), overrides);
  } catch (cause) {
    const reason = cause instanceof WarpDriveError ? cause.message : systemMessage(cause);
    throw new Failure(`${file}: ${reason}`, { cause });
  }
}

function readOverrides(options: GivenOption[]): config.Overrides {
  const found: config.Overrides = {};
  for (const { name, value } of options) {
    const at = `--${name}`;
    const number = (): number => (/^\d+$/.test(value!) ? Number(value) : Number.NaN);
    if (name === 'socket') found.socket = text(value, at);
    else if (name === 'engines') found.engines = config.engines(number(), at);
    else if (name === 'max-clients') found.maxClients = config.maxClients(number(), at);
    else if (name === 'mode') found.mode = mode(value, at);
    else if (name === 'drain-seconds') found.drainSeconds = config.drainSeconds(number(), at);
    else if (name === 'log-level') found.logLevel = config.logLevel(value, at);
    else if (name === 'allow-unsafe-unsealed-memory') found.allowUnsafeUnsealedMemory = true;
    else if (name === 'isolate') found.isolate = true;
  }
  // As in a program that opens an accelerator of its own (docs/architecture.md, "Faults on purpose").
  const faults = (process.env['WARPDRIVE_INJECT'] ?? '').split(',').filter((rule) => rule !== '');
  parseFaults(faults);
  return faults.length > 0 ? { ...found, faults } : found;
}
