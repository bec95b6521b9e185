import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { VIRTIO_NO_VECTOR } from '../../src/abi/virtio.js';
import { CRYPTO_CONFIG, CRYPTO_CREATE_SESSION, CRYPTO_STATUS } from '../../src/abi/virtio-crypto.js';
import { VirtioPci } from '../../src/driver/virtio/virtio-pci.js';
import { Virtqueue, virtqueueParts } from '../../src/driver/virtio/virtqueue.js';
import { DmaBuffer } from '../../src/transport/dma-buffer.js';
import { openVfio } from '../../src/transport/vfio/open.js';
import { GUEST_DEVICE } from './harness/devices.js';
import { bind } from './support-devices.js';
import { loadModule } from './support-kernel.js';

/** Where the request, its key and its answer lie, behind the rings. */
const AT = { request: 4096, key: 4224, answer: 4288 } as const;
const KEY_BYTES = 32;
const ANSWER_BYTES = 16;
const SHAPE = { size: 8, chain: 3, indirect: false, eventIndex: false };

/** Words of a control request behind its header: <linux/virtio_crypto.h>. */
const REFUSED: readonly { what: string; opcode: number; words: readonly number[] }[] = [
  { what: 'hash, SHA-1', opcode: 0x102, words: [2, 20] },
  { what: 'hash, SHA-256', opcode: 0x102, words: [4, 32] },
  { what: 'mac, HMAC with SHA-256', opcode: 0x202, words: [4, 32, KEY_BYTES] },
  { what: 'mac, CMAC with AES', opcode: 0x202, words: [26, 16, KEY_BYTES] },
  { what: 'aead, GCM', opcode: 0x302, words: [1, KEY_BYTES, 16, 0, 1] },
  { what: 'aead, ChaCha20-Poly1305', opcode: 0x302, words: [3, KEY_BYTES, 16, 0, 1] },
];

/* Why there is no driver for hash, MAC and AEAD: when this fails, there is a device to write one with. */
describe('the virtio-crypto device of QEMU', () => {
  before(() => {
    loadModule('vfio-pci');
    bind(GUEST_DEVICE.crypto, 'vfio-pci');
  });

  test('claims hash and MAC, does not claim AEAD, and makes a session for none of them', async (t) => {
    const transport = await openVfio(`vfio:${GUEST_DEVICE.crypto}`);
    const pci = await VirtioPci.open(transport, {
      required: ['version1', 'accessPlatform'],
      optional: [],
    });
    const memory = await DmaBuffer.allocate(transport, 8192);
    t.after(async () => {
      pci.reset();
      pci.close();
      await memory.free();
      await transport.close();
    });
    const services = pci.readDevice(CRYPTO_CONFIG.bytes).readUInt32LE(CRYPTO_CONFIG.offset.services);
    assert.equal(services, 0b10111, 'cipher, hash, mac, not aead, akcipher');

    const { iova } = memory;
    const parts = virtqueueParts(SHAPE);
    const addresses = {
      size: SHAPE.size,
      descriptors: iova,
      available: iova + parts.available,
      used: iova + parts.used,
    };
    const control = 1;
    const doorbell = pci.setQueue(control, addresses, VIRTIO_NO_VECTOR);
    const queue = new Virtqueue(memory.mapping.bytes.subarray(0, parts.bytes), iova, SHAPE);
    pci.start();
    const view = new DataView(memory.mapping.bytes.buffer, memory.mapping.bytes.byteOffset);
    for (const { what, opcode, words } of REFUSED) {
      memory.mapping.bytes.fill(0, AT.request);
      view.setUint32(AT.request, opcode, true);
      view.setUint32(AT.request + 4, words[0]!, true);
      words.forEach((word, index) => {
        view.setUint32(AT.request + 16 + 4 * index, word, true);
      });
      view.setUint32(AT.answer + 8, 0xff, true);
      const slot = queue.take();
      queue.describe(slot, 0, iova + AT.request, CRYPTO_CREATE_SESSION.bytes, false);
      queue.describe(slot, 1, iova + AT.key, KEY_BYTES, false);
      queue.describe(slot, 2, iova + AT.answer, ANSWER_BYTES, true);
      queue.push(slot, 3, ANSWER_BYTES);
      queue.publish();
      pci.ring(doorbell, control);
      while (queue.poll() < 0) assert.equal(queue.failure ?? pci.trouble, undefined, what);
      assert.equal(view.getUint32(AT.answer + 8, true), CRYPTO_STATUS.unsupported, what);
    }
  });
});
