import type { DeviceListing } from '../accelerator/device-listing.js';
import type { EngineDescription } from '../device/device.js';
import { helpFor } from './help.js';
import { parseOptions } from './options.js';
import { formatTable } from './table.js';

const OPTIONS = {
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** Where an engine that was not found comes from: its package on Debian and Ubuntu. */
export const ENGINE_PACKAGES: Record<string, string> = {
  'isa-l': 'libisal2',
  libdeflate: 'libdeflate0',
  zstd: 'libzstd1',
  lz4: 'liblz4-1',
  xxhash: 'libxxhash0',
};

/** The command `devices`: what there is, and what each engine can do. */
export async function runDevices(args: string[]): Promise<number> {
  const given = parseOptions(args, OPTIONS);
  const { has } = given;
  if (has('help')) {
    process.stdout.write(helpFor('devices'));
    return 0;
  }
  const { open } = await import('../accelerator/open.js');
  const accelerator = await open();
  const devices = accelerator.devices();
  await accelerator.close();
  process.stdout.write(
    has('json') ? `${JSON.stringify(devices, null, 2)}\n` : devices.map(formatDevice).join('\n'),
  );
  return 0;
}

function formatDevice(device: DeviceListing): string {
  const { queues } = device;
  const algorithms = Object.entries(device.algorithms).map(([name, list]) =>
    list.length === 0 ? name : `${name}: ${list.join(', ')}`,
  );
  const facts = formatTable(
    [{ title: 'device' }, { title: device.name }],
    [
      ['driver', device.driver],
      ['queues', `${queues.open} open of ${queues.max}, ${queues.depth} deep (at most ${queues.maxDepth})`],
      ['engine threads', `at most ${device.maxThreads}`],
      ['algorithms', algorithms.join('; ')],
      ['levels', `${device.levels.min} to ${device.levels.max}`],
      ['flags', device.flags.join(', ') || 'none'],
    ],
  );
  return `${facts}\n${engineTable(device.engines)}`;
}

/** The engines of a device, with their names and versions as `shown` gives them. */
export function engineTable(
  engines: EngineDescription[],
  shown: (text: string) => string = (text) => text,
): string {
  return formatTable(
    [
      { title: 'engine' },
      { title: 'version' },
      { title: 'levels' },
      { title: 'decompress' },
      { title: 'streams' },
      { title: 'library' },
    ],
    engines.map((engine) => engineRow(engine).map((text) => shown(String(text)))),
  );
}

function engineRow(engine: EngineDescription): string[] {
  const { name, absent, version, levels, decompress, streams, library } = engine;
  if (absent !== undefined) {
    const source = ENGINE_PACKAGES[name];
    const hint = absent === 'not found' && source ? ` (apt-get install ${source})` : '';
    return [name, '-', '-', '-', '-', `absent: ${absent}${hint}`];
  }
  return [
    name,
    version ?? '-',
    levels ? `${levels.min}-${levels.max}` : '-',
    decompress ? 'yes' : 'no',
    streams ? 'yes' : 'no',
    library ?? '-',
  ];
}
