import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { REGION } from '../../src/abi/registers.js';
import { startEmbedded } from '../../src/device/embedded.js';
import type { DriverDevice } from '../../src/driver/driver.js';
import { wva } from '../../src/driver/wva/wva.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import { closeFds, createPipe } from '../../src/sys/fd.js';
import { bind, loadLibrary } from '../../src/sys/libc.js';
import { addressOf } from '../../src/sys/memory.js';
import { connectUnix } from '../../src/sys/unix-socket.js';
import { VfioUserTransport } from '../../src/transport/vfio-user/client.js';
import { gzip, noop } from '../broker/support-broker.js';

/** What a process that uses an accelerator, and forks, finds out. Printed as JSON. */
export interface ForkReport {
  /** Mappings of memory shared with a device; and those of them that a forked child would have. */
  shared: number;
  inherited: string[];
  /** Bits of the mappings that the forked child could read, by their place in `names`. */
  readable: number;
  names: string[];
  /** Descriptors that a program which is started would have, beyond the first three: here, and in one that was. */
  notClosedOnExec: string[];
  seenBySpawned: string[];
  /** The queue that was open across all this still works. */
  works: boolean;
}

const O_CLOEXEC = 0o2000000;

/** Forks; the child ends at once, with a bit for each address that it could read. */
function readableInChild(library: string, addresses: readonly number[]): number {
  const probe = bind<(pipe: number, addresses: BigUint64Array, count: number) => number>(
    'int probe(int pipe, void *addresses, int count)',
    loadLibrary(library),
  );
  const [readEnd, pipe] = createPipe();
  const status = probe(pipe, BigUint64Array.from(addresses, BigInt), addresses.length);
  closeFds([readEnd, pipe]);
  assert.equal(status & 0x7f, 0, 'the child ended by itself');
  return status >> 8;
}

/** Shared mappings of the device, and which of them lack the flag `dc` (do not copy on fork). */
function sharedMappings(addresses: readonly number[]): { shared: number; inherited: string[] } {
  let shared = 0;
  const inherited: string[] = [];
  for (const entry of readFileSync('/proc/self/smaps', 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(entry)!;
    const inside = addresses.some((a) => a >= Number.parseInt(from!, 16) && a < Number.parseInt(to!, 16));
    if (!inside && !entry.includes('/memfd:warpdrive-')) continue;
    shared++;
    if (!/^VmFlags:.* dc( |$)/m.exec(entry)) inherited.push(entry.split('\n')[0]!);
  }
  return { shared, inherited };
}

function notClosedOnExec(): string[] {
  const left: string[] = [];
  for (const fd of readdirSync('/proc/self/fd').map(Number)) {
    if (fd <= 2) continue;
    let info: string;
    try {
      info = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
    } catch {
      // The one that listed them.
      continue;
    }
    const flags = Number.parseInt(/^flags:\s+(\d+)/m.exec(info)![1]!, 8);
    if ((flags & O_CLOEXEC) === 0) left.push(`${fd}: ${info}`);
  }
  return left;
}

/** What a started program has beyond its standard descriptors; the folder that it lists is its own. */
function seenBySpawned(): string[] {
  const lines = execFileSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' }).split('\n');
  const seen = lines.map((line) => / (\d+ -> .*)$/.exec(line)?.[1] ?? '');
  return seen.filter((each) => Number.parseInt(each, 10) > 2 && !/-> \/proc\/\d+\/fd$/.test(each));
}

const inheritedFds = notClosedOnExec();
const inheritedBySpawned = seenBySpawned();
const [kind, library] = process.argv.slice(2);
let transport: VfioUserTransport;
let end = async (): Promise<void> => {};
if (kind === 'embedded' || kind === 'sva') {
  const options = { maxThreads: 2, spinMicroseconds: 100, disabledEngines: [], faults: [] };
  const embedded = await startEmbedded({ ...options, sva: kind === 'sva' });
  transport = await VfioUserTransport.connect(embedded.socket, kind, embedded.nudge);
  end = embedded.end;
} else {
  transport = await VfioUserTransport.connect(connectUnix(kind!), 'broker');
}
const device: DriverDevice = await wva.open(transport);
const queue = (await device.createQueue({ depth: 16 })) as WvaQueue;
const memory = await device.allocate(1 << 16);
const doorbells = await transport.mapRegion(REGION.doorbells, 0, 1 << 18);
const status = await transport.mapRegion(REGION.status, 0, 4096);
const own = Buffer.from('memory of this process alone');
const places = {
  SQ: addressOf(queue.pair.sq),
  CQ: addressOf(queue.pair.cq),
  DMA: memory.mapping.address,
  doorbells: doorbells.address,
  status: status.address,
};
const addresses = Object.values(places);
await noop(device);
const report: ForkReport = {
  ...sharedMappings(addresses),
  readable: readableInChild(library!, [...addresses, addressOf(own)]),
  names: [...Object.keys(places), 'own'],
  // What this process was itself started with is no doing of its own.
  notClosedOnExec: notClosedOnExec().filter((each) => !inheritedFds.includes(each)),
  seenBySpawned: seenBySpawned().filter((each) => !inheritedBySpawned.includes(each)),
  works: false,
};
await noop(device);
const input = Buffer.alloc(10_000, 'after the fork ');
const packed = await gzip(device, input);
report.works = gunzipSync(packed).equals(input);
await queue.release();
await memory.free();
doorbells.unmap();
status.unmap();
await device.close();
await end();
console.log(JSON.stringify(report));
