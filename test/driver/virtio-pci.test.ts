import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { findStructures } from '../../src/driver/virtio/pci-structures.js';
import { VirtioPci } from '../../src/driver/virtio/virtio-pci.js';
import { virtioCrypto } from '../../src/driver/virtio-crypto/virtio-crypto.js';
import { WarpDriveError } from '../../src/errors.js';
import { mappingCount } from '../../src/sys/memory.js';
import { configSpace, memoryTransport, type TestCapability, USUAL } from './support-virtio-pci.js';

const find = (capabilities: readonly TestCapability[]) => findStructures(configSpace(capabilities), 'it');
const without = (type: number): TestCapability[] => USUAL.filter((each) => each.type !== type);
const changed = (type: number, change: Partial<TestCapability>): TestCapability[] =>
  USUAL.map((each) => (each.type === type ? { ...each, ...change } : each));

describe('where the structures of a virtio device lie', () => {
  test('is what its capabilities say', () => {
    assert.deepEqual(find(USUAL), {
      common: { bar: 4, offset: 0, length: 4096 },
      notify: { bar: 4, offset: 12_288, length: 4096 },
      notifyMultiplier: 4,
      device: { bar: 4, offset: 8192, length: 4096 },
      vectors: 3,
    });
  });

  test('of two of a kind the first is meant, and unknown ones are passed over', () => {
    const found = find([
      { type: 1, bar: 6, offset: 64, bytes: 4096 },
      ...USUAL,
      { type: 1, offset: 128, bytes: 4096 },
      { type: 9, offset: 3, bytes: 1 },
    ]);
    assert.equal(found.common.offset, 0);
  });

  const REFUSED: [what: string, config: Buffer, message: RegExp][] = [
    ['a space that is cut short', configSpace(USUAL).subarray(0, 64), /has 64 bytes instead of 256/],
    ['no capabilities', Buffer.alloc(256), /has no capabilities/],
    ['no common structure', configSpace(without(1)), /has no common configuration structure/],
    ['no doorbells', configSpace(without(2)), /has no notification structure/],
    [
      'a common structure that is too short',
      configSpace(changed(1, { bytes: 55 })),
      /of 55 bytes at 0 is none/,
    ],
    ['one at an odd place', configSpace(changed(1, { offset: 2 })), /at 2 is none/],
    [
      'a capability without its end',
      configSpace(changed(2, { length: 19 })),
      /has no notification structure/,
    ],
    ['doorbells on odd addresses', configSpace(changed(2, { multiplier: 3 })), /doorbells are 3 bytes apart/],
  ];
  for (const [what, config, message] of REFUSED) {
    test(`${what} is refused`, () => {
      assert.throws(() => findStructures(config, 'it'), { code: 'ERR_WARPDRIVE_PROTOCOL', message });
    });
  }

  test('a list in a circle has an end', () => {
    const config = configSpace(USUAL);
    config[0x51] = 0x40;
    assert.throws(() => findStructures(config, 'it'), /no end/);
    config[0x51] = 0x3c;
    assert.throws(() => findStructures(config, 'it'), /within the header/);
  });

  test('any configuration space is read, or refused', () => {
    const byte = fc.record({ at: fc.nat({ max: 255 }), value: fc.nat({ max: 255 }) });
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 30 }), (bytes) => {
        const config = configSpace(USUAL);
        for (const { at, value } of bytes) config[at] = value;
        try {
          const { common, notify } = findStructures(config, 'it');
          assert.ok(common.length >= 56 && common.bar < 6 && notify.length >= 2);
        } catch (error) {
          assert.ok(error instanceof WarpDriveError);
        }
      }),
    );
  });
});

describe('a virtio device that', () => {
  const features = { required: ['version1', 'accessPlatform'], optional: [] } as const;
  /** Opens a device whose registers are all the same, and makes sure that nothing of a failure stays mapped. */
  const openWith = async (capabilities: TestCapability[], fill: number): Promise<unknown> => {
    const before = mappingCount();
    try {
      return await VirtioPci.open(memoryTransport(configSpace(capabilities), fill), features);
    } finally {
      assert.deepEqual(mappingCount(), before);
    }
  };

  test('answers all ones is gone', async () => {
    await assert.rejects(openWith(USUAL, 0xff), { code: 'ERR_WARPDRIVE_DEVICE_LOST', message: /all ones/ });
    await assert.rejects(virtioCrypto.open(memoryTransport(configSpace(USUAL), 0xff)), /all ones/);
  });

  test('offers fewer features than are needed is refused, with what to do', async () => {
    await assert.rejects(openWith(USUAL, 0), {
      code: 'ERR_WARPDRIVE_UNSUPPORTED',
      message:
        /does not offer what its driver needs: version1, accessPlatform .*disable-legacy=on.*iommu_platform=on/,
    });
  });

  test('has a structure beyond its BAR is refused', async () => {
    await assert.rejects(openWith(changed(2, { offset: 16_384 }), 0), {
      code: 'ERR_WARPDRIVE_PROTOCOL',
      message: /4096 bytes at 16384 of BAR 4, which has 16384/,
    });
  });
});
