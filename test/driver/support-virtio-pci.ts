import { UnsupportedError } from '../../src/errors.js';
import { Interrupt } from '../../src/sys/interrupt.js';
import { Mapping } from '../../src/sys/memory.js';
import type { Transport } from '../../src/transport/transport.js';

/** One capability of a virtio device. */
export interface TestCapability {
  id?: number;
  length?: number;
  type: number;
  bar?: number;
  offset: number;
  bytes: number;
  multiplier?: number;
}

/** What QEMU's devices have. */
export const USUAL: TestCapability[] = [
  { type: 1, offset: 0, bytes: 4096 },
  { type: 3, offset: 4096, bytes: 4096 },
  { type: 4, offset: 8192, bytes: 4096 },
  { type: 2, offset: 12_288, bytes: 4096, length: 20, multiplier: 4 },
];
export const BAR_BYTES = 16_384;

/** A configuration space with these capabilities, one behind the other from 0x40 on, and MSI-X with three vectors. */
export function configSpace(capabilities: readonly TestCapability[]): Buffer {
  const config = Buffer.alloc(256);
  config.writeUInt16LE(0x1af4, 0);
  config.writeUInt16LE(0x1054, 2);
  config.writeUInt16LE(0x10, 6);
  config[0x34] = 0x40;
  config.set([17, 0x50], 0x40);
  config.writeUInt16LE(2, 0x42);
  capabilities.forEach((each, index) => {
    const at = 0x50 + index * 0x18;
    const next = index === capabilities.length - 1 ? 0 : at + 0x18;
    config.set([each.id ?? 9, next, each.length ?? 16, each.type, each.bar ?? 4, 0], at);
    config.writeUInt32LE(each.offset, at + 8);
    config.writeUInt32LE(each.bytes, at + 12);
    config.writeUInt32LE(each.multiplier ?? 0, at + 16);
  });
  return config;
}

/**
 * A function whose registers are memory: what is written there is what is read, and nothing else happens. That is
 * enough for all that a driver must find out before it trusts a device.
 */
export function memoryTransport(config: Buffer, fill: number): Transport {
  const refuse = async (): Promise<never> => {
    throw new UnsupportedError('not in this test');
  };
  return {
    name: 'a test device',
    unsafe: [],
    regions: 9,
    irqs: 5,
    regionInfo: async (index) => ({ index, length: BAR_BYTES, read: true, write: true, areas: [] }),
    readRegion: async (_, offset, length) => config.subarray(offset, offset + length),
    writeRegion: refuse,
    mapRegion: async (_index, _offset, length) => {
      const mapping = Mapping.anonymous(length);
      mapping.bytes.fill(fill);
      return mapping;
    },
    wakeFds: async () => [],
    createInterrupt: () => new Interrupt(),
    setIrqs: refuse,
    irqCount: refuse,
    unmaskIrqs: refuse,
    reserveIova: () => 0,
    releaseIova: () => {},
    dmaMap: refuse,
    dmaUnmap: refuse,
    whyUnreachable: () => undefined,
    reset: refuse,
    close: async () => {},
    onLost: () => {},
  };
}
