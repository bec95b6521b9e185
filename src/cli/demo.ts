import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Accelerator } from '../accelerator/accelerator.js';
import { Checker, Mismatch } from './demo-check.js';
import { type FileResult, measureFiles } from './demo-files.js';
import {
  measureRequests,
  REQUEST_BYTES,
  REQUEST_LEVEL,
  requestWays,
  type WayResult,
} from './demo-requests.js';
import { canTrace, countSyscalls, type SyscallCounts } from './demo-syscalls.js';
import { gatherText } from './demo-text.js';
import { ENGINE_PACKAGES } from './devices.js';
import { helpFor } from './help.js';
import { handleSignals, onSignal } from './interruption.js';
import { parseOptions } from './options.js';
import { styled } from './style.js';
import { formatTable } from './table.js';

const OPTIONS = { help: { type: 'boolean', short: 'h' } } as const;

/** The command `demo`: what the accelerator does on this machine, beside node:zlib, with every byte checked. */
export async function runDemo(args: string[]): Promise<number> {
  if (parseOptions(args, OPTIONS).options.length > 0) {
    print(helpFor('demo'));
    return 0;
  }
  handleSignals();
  const folder = mkdtempSync(join(tmpdir(), 'warpdrive-demo-'));
  const removeFolder = (): void => rmSync(folder, { recursive: true, force: true });
  onSignal(removeFolder);
  try {
    await show(folder);
    return 0;
  } catch (error) {
    if (!(error instanceof Mismatch)) throw error;
    process.stderr.write(`warpdrive: WRONG DATA: ${error.message}\nwarpdrive: please report this\n`);
    return 1;
  } finally {
    removeFolder();
  }
}

async function show(folder: string): Promise<void> {
  const { open } = await import('../accelerator/open.js');
  const accelerator = await open();
  const text = gatherText();
  const checker = new Checker();
  print(`${await describeEngines(accelerator, text)}\n\n`);

  const mib = (text.length / 2 ** 20).toFixed(1);
  title(`${mib} MiB of text in requests of ${REQUEST_BYTES / 1024} KiB, gzip level ${REQUEST_LEVEL}`);
  const requests = await measureRequests(text, requestWays(accelerator), checker);
  const traced = canTrace();
  const syscalls = traced ? await countSyscalls() : { polled: undefined, zlib: undefined };
  print(requestTable(requests, syscalls));
  if (!traced) print('system calls: not measured (strace is not installed, or may not trace)\n');
  print('\n');

  title(`the same ${mib} MiB as a file, as "warpdrive compress" does it`);
  print(fileTable(await measureFiles(text, folder, accelerator, checker)));
  await accelerator.close();

  const also = checker.gzip ? ` and ${checker.gzip}` : ' (there is no gzip here to ask, too)';
  const megabytes = (checker.bytes / 1e6).toFixed(0);
  print(
    `\n${styled('green', 'every byte is right:')} ${checker.results} results, ${megabytes} MB, checked with node:zlib${also}\n`,
  );
}

/** One line: what device and engines run this, and what would be faster. */
async function describeEngines(accelerator: Accelerator, text: Buffer): Promise<string> {
  const input = text.subarray(0, REQUEST_BYTES);
  const small = await accelerator.compress(input, { level: REQUEST_LEVEL, info: true });
  const six = await accelerator.compress(input, { level: 6, info: true });
  const device = accelerator.devices()[0]!;
  const missing = device.engines
    .filter(({ name, absent }) => absent !== undefined && name in ENGINE_PACKAGES)
    .map(({ name, absent }) =>
      absent === 'not found' ? `${name} (apt-get install ${ENGINE_PACKAGES[name]})` : `${name} (${absent})`,
    );
  const faster =
    missing.length > 0 ? `faster engines missing: ${missing.join(', ')}` : 'no faster engine is missing';
  return `device ${device.name}: level 1 on ${small.info.engine}, level 6 on ${six.info.engine}; ${faster}`;
}

function requestTable(results: WayResult[], syscalls: SyscallCounts): string {
  const rows = results.map(({ way, requests, requestsPerSecond, p50Us, p99Us }) => {
    const peer = results.find((other) => !other.way.against && other.way.inFlight === way.inFlight)!;
    const calls = way.against ? (way.name.endsWith('polled') ? syscalls.polled : undefined) : syscalls.zlib;
    return [
      way.name,
      String(way.inFlight),
      String(requests),
      requestsPerSecond.toFixed(0),
      p50Us.toFixed(0),
      p99Us.toFixed(0),
      calls === undefined || way.inFlight > 1 ? '-' : calls.toFixed(2),
      way.against ? `${(requestsPerSecond / peer.requestsPerSecond).toFixed(1)}x` : '1x',
    ];
  });
  const titles = [
    '',
    'in flight',
    'requests',
    'requests/s',
    'p50 us',
    'p99 us',
    'system calls/request',
    'speed',
  ];
  return formatTable(columns(titles), rows, bold);
}

function fileTable(results: FileResult[]): string {
  const percent = (share: number | undefined): string =>
    share === undefined ? '-' : `${(share * 100).toFixed(1)}%`;
  const rows = results.map((result) => [
    result.work,
    `${result.warpdrive.toFixed(0)} MB/s`,
    `${result.zlib.toFixed(0)} MB/s`,
    percent(result.shareWarpdrive),
    percent(result.shareZlib),
    `${(result.warpdrive / result.zlib).toFixed(1)}x`,
  ]);
  const titles = ['', 'warpdrive', 'node:zlib', 'size', "node:zlib's size", 'speed'];
  return formatTable(columns(titles), rows, bold);
}

function columns(titles: string[]): { title: string; align: 'left' | 'right' }[] {
  return titles.map((text, index) => ({ title: text, align: index === 0 ? 'left' : 'right' }));
}

const bold = (text: string): string => styled('bold', text);

function title(text: string): void {
  print(`${styled('cyan', text)}\n`);
}

function print(text: string): void {
  process.stdout.write(text);
}
