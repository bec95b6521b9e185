import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { VIRTIO_COMMON } from '../../src/abi/virtio.js';
import { CRYPTO_CONFIG, CRYPTO_READY } from '../../src/abi/virtio-crypto.js';
import { virtioCrypto } from '../../src/driver/virtio-crypto/virtio-crypto.js';
import { mappingCount } from '../../src/sys/memory.js';
import type { Transport } from '../../src/transport/transport.js';
import { configSpace, memoryTransport, USUAL } from './support-virtio-pci.js';

const COMMON_AT = USUAL[0]!.offset;
const DEVICE_AT = USUAL[2]!.offset;

/** A device with one data queue, which offers these features besides those that are needed, and serves nothing. */
function idleDevice(queueSize: number, features = 0xffff_ffff): Transport {
  const device = memoryTransport(configSpace(USUAL), 0);
  const { mapRegion } = device;
  device.mapRegion = async (index, offset, length) => {
    const mapping = await mapRegion(index, offset, length);
    const view = Buffer.from(mapping.bytes.buffer, mapping.bytes.byteOffset, mapping.length);
    if (offset === COMMON_AT) {
      view.writeUInt32LE(features, VIRTIO_COMMON.offset.deviceFeature);
      view.writeUInt16LE(2, VIRTIO_COMMON.offset.queues);
      view.writeUInt16LE(queueSize, VIRTIO_COMMON.offset.queueSize);
    } else if (offset === DEVICE_AT) {
      view.writeUInt32LE(CRYPTO_READY, CRYPTO_CONFIG.offset.status);
      view.writeUInt32LE(1, CRYPTO_CONFIG.offset.maxDataQueues);
    }
    return mapping;
  };
  device.dmaMap = async () => {};
  device.dmaUnmap = async () => {};
  return device;
}

const openFiles = (): number => readdirSync('/proc/self/fd').length;

/** Opens a device, and makes sure that nothing of a failure stays. */
async function openAndLeaveNothing(device: Transport): Promise<void> {
  const before = { mappings: mappingCount(), files: openFiles() };
  try {
    await virtioCrypto.open(device);
  } finally {
    // The event loop closes what it has listened to a turn later.
    await new Promise(setImmediate);
    assert.deepEqual({ mappings: mappingCount(), files: openFiles() }, before);
  }
}

describe('a virtio-crypto device that', () => {
  test('is lost while it is tried out, and cannot be closed, leaves nothing behind', async () => {
    const device = idleDevice(16);
    let lose: (reason: Error) => void = () => {};
    let routed = 0;
    device.onLost = (listener) => {
      lose = listener;
    };
    device.setIrqs = async () => {
      // The first is for changes of the configuration, the second for the queue of the trial.
      if (++routed === 2) lose(new Error('it fell off'));
    };
    device.close = async () => {
      throw new Error('it cannot be closed');
    };
    await assert.rejects(openAndLeaveNothing(device), {
      code: 'ERR_WARPDRIVE_DEVICE_LOST',
      message: /failed while it was tried out/,
    });
    assert.equal(routed, 2);
  });

  test('cannot route interrupts leaves nothing behind', async () => {
    await assert.rejects(openAndLeaveNothing(idleDevice(16)), /not in this test/);
  });

  test('has queues of an impossible size, or one too small to be used, is refused', async () => {
    // Both halves of the features read the same: the lowest two bits are those that are needed.
    const needed = 0b11;
    for (const [size, features] of [
      [0, 0xffff_ffff],
      [1, 0xffff_ffff],
      [24, 0xffff_ffff],
      [0xffff, 0xffff_ffff],
      [8, needed],
      [12, needed],
    ] as const) {
      await assert.rejects(openAndLeaveNothing(idleDevice(size, features)), {
        code: 'ERR_WARPDRIVE_PROTOCOL',
        message: /has a queue 0 of \d+ descriptors/,
      });
    }
    // The next larger ones are taken, and something else goes wrong.
    await assert.rejects(openAndLeaveNothing(idleDevice(2)), /not in this test/);
    await assert.rejects(openAndLeaveNothing(idleDevice(16, needed)), /not in this test/);
  });
});
