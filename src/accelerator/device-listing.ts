import { COMPRESSION_ALGORITHMS, type CompressionAlgorithm } from '../abi/algorithms.js';
import { formatOf } from '../algorithms/options.js';
import type { EngineDescription, FormatDescription } from '../device/device.js';
import type { DriverDevice } from '../driver/driver.js';

/** What `devices()` tells of one device. */
export interface DeviceListing {
  name: string;
  driver: string;
  queues: { open: number; max: number; depth: number; maxDepth: number };
  /** The most engine threads it may have. */
  maxThreads: number;
  engines: EngineDescription[];
  /** Algorithms by class. */
  algorithms: Record<string, string[]>;
  /** Of the deflate family. */
  levels: { min: number; max: number };
  /** What can be done with each compression format. */
  formats: Partial<Record<CompressionAlgorithm, FormatDescription>>;
  flags: string[];
}

export function listDevice(
  device: DriverDevice,
  openQueues: number,
  depth: number,
  insteadOf?: string,
): DeviceListing {
  const { description } = device;
  return {
    name: device.name,
    driver: device.driver,
    queues: { open: openQueues, max: device.maxQueues, depth, maxDepth: device.maxDepth },
    maxThreads: device.maxThreads,
    engines: description.engines,
    algorithms: description.algorithms,
    levels: { min: 0, max: description.maxLevel },
    formats: Object.fromEntries(
      COMPRESSION_ALGORITHMS.map((name) => [name, formatOf(description, name)]).filter(
        ([, format]) => format,
      ),
    ),
    flags: [
      device.sva ? 'sva' : 'mapped-memory',
      ...(description.streams ? ['streams'] : []),
      ...(insteadOf === undefined ? [] : [`fallback-for-${insteadOf}`]),
      ...(description.unsafe ?? []).map((name) => `unsafe-${name}`),
    ],
  };
}
