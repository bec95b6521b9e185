#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { nearest } from '../nearest.js';
import { describe, EXIT } from './failure.js';

/** The command line `warpdrive`: finds the command, and loads nothing that another one needs. */

type Command = (args: string[]) => Promise<number>;

const COMMANDS: Record<string, Command> = {
  compress: async (args) => (await import('./compress.js')).runCompress('compress', args),
  decompress: async (args) => (await import('./compress.js')).runCompress('decompress', args),
  encrypt: async (args) => (await import('./encrypt.js')).runEncrypt('encrypt', args),
  decrypt: async (args) => (await import('./encrypt.js')).runEncrypt('decrypt', args),
  hash: async (args) => (await import('./hash.js')).runHash(args),
  checksum: async (args) => (await import('./checksum.js')).runChecksum(args),
  devices: async (args) => (await import('./devices.js')).runDevices(args),
  inspect: async (args) => (await import('./inspect.js')).runInspect(args),
  vfio: async (args) => (await import('./vfio.js')).runVfio(args),
  doctor: async (args) => (await import('./doctor.js')).runDoctor(args),
  serve: async (args) => (await import('./serve.js')).runServe(args),
  clients: async (args) => (await import('./clients.js')).runClients(args),
  bench: async (args) => (await import('./bench.js')).runBenchCommand(args),
  demo: async (args) => (await import('./demo.js')).runDemo(args),
  help: runHelp,
};

async function runHelp([name]: string[]): Promise<number> {
  const { helpFor, OVERVIEW } = await import('./help.js');
  if (name !== undefined && !Object.hasOwn(COMMANDS, name)) return unknown('command', name);
  process.stdout.write(name === undefined ? OVERVIEW : helpFor(name));
  return EXIT.ok;
}

function unknown(kind: string, word: string): number {
  const candidates = kind === 'command' ? Object.keys(COMMANDS) : ['--help', '--version'];
  const guess = nearest(word, candidates);
  const hint = guess ? `did you mean "${guess}"?` : '"warpdrive --help" lists what there is';
  process.stderr.write(`warpdrive: unknown ${kind} ${word}; ${hint}\n`);
  return EXIT.error;
}

function version(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

async function main([first, ...rest]: string[]): Promise<number> {
  if (first === undefined) {
    process.stderr.write((await import('./help.js')).OVERVIEW);
    return EXIT.error;
  }
  if (first === '--help' || first === '-h') return runHelp(rest);
  if (first === '--version' || first === '-V') {
    process.stdout.write(`warpdrive ${version()}\n`);
    return EXIT.ok;
  }
  if (first.startsWith('-')) return unknown('option', first);
  if (!Object.hasOwn(COMMANDS, first)) return unknown('command', first);
  return COMMANDS[first]!(rest);
}

// Whoever reads our output may stop at any time.
process.stdout.on('error', () => process.exit(EXIT.error));

// Once a command has resolved there is nothing to wait for: leaving at once spares the time to close the device.
main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`warpdrive: ${describe(error)}\n`);
    process.exit(EXIT.error);
  },
);
