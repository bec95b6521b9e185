import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { EngineDescription } from '../device/device.js';
import { WarpDriveError } from '../errors.js';
import { defaultBrokerSocket } from '../transport/broker-socket.js';
import { parseVfioAddress, VFIO_SCHEME } from '../transport/vfio/address.js';
import { listFolder } from '../transport/vfio/sysfs.js';
import { ENGINE_PACKAGES } from './devices.js';
import { advice, blocking, type Diagnosis, type Finding, formatDiagnoses } from './diagnosis.js';
import { diagnoseVfio, diagnoseVfioDevice } from './doctor-vfio.js';
import { describe, EXIT, Failure } from './failure.js';
import { helpFor } from './help.js';
import { parseOptions } from './options.js';

const OPTIONS = {
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

const ROOT = '/';
const EMBEDDED = 'embedded';
const UNIX = 'unix:';

/** What an engine gives that the others do not. */
const GAIN: Record<string, string> = {
  'isa-l': 'gzip and deflate of levels 1 to 3, 4 to 8 times as fast',
  libdeflate: 'gzip and deflate of levels 4 to 12, 1.5 times as fast, and decompression',
  zstd: 'zstd, where Node has none',
  lz4: 'LZ4: fast, and levels 2 to 12',
  xxhash: 'the checksums xxh64 and xxh3',
  'ipsec-mb': 'AES-GCM, up to 4 times as fast',
};

/** The command `doctor`: what works here, and what to do about what does not. */
export async function runDoctor(args: string[]): Promise<number> {
  const given = parseOptions(args, OPTIONS);
  const { operands, has } = given;
  if (has('help')) {
    process.stdout.write(helpFor('doctor'));
    return EXIT.ok;
  }
  if (operands.length > 1) throw new Failure('doctor takes one device, or none');
  const wanted = operands[0] ?? (process.env['WARPDRIVE_DEVICE'] || undefined);
  const diagnoses = wanted !== undefined ? [await diagnose(wanted)] : await diagnoseAll();
  // What open() takes: the broker if there is one, else the device in the process.
  const works = diagnoses.some(
    ({ name, state }) =>
      state === 'works' && (wanted !== undefined || name === EMBEDDED || name === 'broker'),
  );
  process.stdout.write(
    has('json') ? `${JSON.stringify({ works, diagnoses }, null, 2)}\n` : formatDiagnoses(diagnoses),
  );
  return works ? EXIT.ok : EXIT.error;
}

async function diagnoseAll(): Promise<Diagnosis[]> {
  return [
    await diagnoseAccelerator(EMBEDDED),
    await diagnoseBroker(),
    diagnoseVfio(ROOT),
    diagnoseUacce(ROOT),
  ];
}

/** One device, by the name that open() takes. */
async function diagnose(name: string): Promise<Diagnosis> {
  if (name.startsWith(VFIO_SCHEME)) return diagnoseVfioFully(name);
  if (name === EMBEDDED || (name.startsWith(UNIX) && name.length > UNIX.length))
    return diagnoseAccelerator(name);
  throw new Failure(`${name} is no device; there are embedded, unix:/path and vfio:0000:00:03.0`);
}

/** What /sys tells, and if nothing is wrong there, whether the device can be opened. */
async function diagnoseVfioFully(name: string): Promise<Diagnosis> {
  const address = parseVfioAddress(name);
  const told: Diagnosis =
    address.kind === 'pci'
      ? diagnoseVfioDevice(address.name, ROOT)
      : { name, state: 'works', summary: 'a mediated device', findings: [] };
  if (told.state !== 'works') return told;
  const { openVfio } = await import('../transport/vfio/open.js');
  try {
    await (await openVfio(name)).close();
    return told;
  } catch (error) {
    return {
      ...told,
      state: 'fails',
      summary: 'it cannot be opened',
      findings: [...told.findings, said(error)],
    };
  }
}

/** Opens an accelerator and has it compress something. */
async function diagnoseAccelerator(name: string): Promise<Diagnosis> {
  const { open } = await import('../accelerator/open.js');
  try {
    await using accelerator = await open(name);
    const sample = Buffer.from('all work and no play '.repeat(200));
    const { data, info } = await accelerator.compress(sample, { level: 1, info: true });
    if (!gunzipSync(data).equals(sample)) throw new Failure(`${info.engine} compresses wrongly`);
    const engines = accelerator.devices().flatMap((device) => device.engines);
    return {
      name,
      state: 'works',
      summary: `compresses with ${info.engine}`,
      findings: engineFindings(engines),
    };
  } catch (error) {
    return { name, state: 'fails', summary: 'it does not open, or does not work', findings: [said(error)] };
  }
}

/** An error of ours in its own words: what was tried, and the next step apart. */
function said(error: unknown): Finding {
  const hint = error instanceof WarpDriveError ? error.hint : undefined;
  const text = describe(error);
  return blocking(hint ? text.replace(` (${hint})`, '') : text, hint ?? 'none is known');
}

function engineFindings(engines: EngineDescription[]): Finding[] {
  return engines
    .filter(({ name, absent }) => absent !== undefined && Object.hasOwn(GAIN, name))
    .map(({ name, absent }) => {
      const source = ENGINE_PACKAGES[name];
      const fix = source && absent === 'not found' ? `apt-get install ${source}` : 'nothing has to be done';
      return advice(`the engine ${name} is absent (${absent}); it gives ${GAIN[name]}`, fix);
    });
}

async function diagnoseBroker(): Promise<Diagnosis> {
  const path = defaultBrokerSocket();
  const name = 'broker';
  if (!existsSync(path)) {
    const findings = [
      advice('every program uses a device of its own', 'to share one between processes: warpdrive serve'),
    ];
    return { name, state: 'absent', summary: `none at ${path}`, findings };
  }
  const found = await diagnoseAccelerator(`${UNIX}${path}`);
  return { ...found, name, summary: `${found.summary} (${path})` };
}

function diagnoseUacce(root: string): Diagnosis {
  const devices = listFolder(join(root, 'sys/class/uacce'));
  const summary =
    devices.length === 0 ? 'this machine has no such device' : `${devices.join(', ')}: no driver here yet`;
  return { name: 'uacce', state: 'absent', summary, findings: [] };
}
