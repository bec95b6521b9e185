import type { EngineDescription } from '../device/device.js';
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
  levels: { min: number; max: number };
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
    driver: 'wva',
    queues: { open: openQueues, max: device.maxQueues, depth, maxDepth: device.maxDepth },
    maxThreads: device.maxThreads,
    engines: description.engines,
    algorithms: description.algorithms,
    levels: { min: 0, max: description.maxLevel },
    flags: [
      device.sva ? 'sva' : 'mapped-memory',
      ...(description.streams ? ['streams'] : []),
      ...(insteadOf === undefined ? [] : [`fallback-for-${insteadOf}`]),
      ...(description.unsafe ?? []).map((name) => `unsafe-${name}`),
    ],
  };
}
