import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DOORBELL, LIMITS, STATUS_PAGE } from '../../src/abi/queue.js';
import { DEVICE_MAGIC, IRQ, IRQ_COUNT, PCI, REGION, REGION_COUNT } from '../../src/abi/registers.js';
import { COMMAND, IRQ_FLAG, IRQ_INFO, REGION_INFO } from '../../src/abi/vfio-user.js';
import { closeFd, closeFds, createEventfd, createPipe } from '../../src/sys/fd.js';
import { bind, ERRNO } from '../../src/sys/libc.js';
import { addSeals, createMemfd, SEAL } from '../../src/sys/memfd.js';
import { createSocketPair } from '../../src/sys/socket.js';
import { VfioUserTransport } from '../../src/transport/vfio-user/client.js';
import { LocalDevice } from '../device/support-local-device.js';
import { rings, setUp } from '../device/support-setup.js';
import { words } from '../support/hostile-client.js';

const openFds = (): number => readdirSync('/proc/self/fd').length;
const memfdCreate = bind<(name: string, flags: number) => number>(
  'int memfd_create(const char *name, unsigned int flags)',
);

describe('a vfio-user conversation', () => {
  test('what the device is and offers', async (t) => {
    const local = await LocalDevice.start(t);
    const transport = await local.connect('here');
    assert.equal(transport.name, 'here');
    assert.equal(transport.regions, REGION_COUNT);
    assert.equal(transport.irqs, IRQ_COUNT);
    const expected = [
      [REGION.registers, 4096, true, true, false],
      [REGION.doorbells, LIMITS.maxQueues * DOORBELL.pageBytes, true, true, true],
      [REGION.status, STATUS_PAGE.pageBytes, true, false, true],
      [REGION.config, PCI.configBytes, true, true, false],
      [1, 0, false, false, false],
      [3, 0, false, false, false],
      [6, 0, false, false, false],
      [8, 0, false, false, false],
    ] as const;
    for (const [index, length, read, write, mappable] of expected) {
      assert.deepEqual(await transport.regionInfo(index), {
        index,
        length,
        read,
        write,
        areas: mappable ? [{ offset: 0, length }] : [],
      });
    }
    for (const index of [9, 10, 0xffffffff]) {
      await assert.rejects(transport.regionInfo(index), {
        errno: ERRNO.EINVAL,
        syscall: 'vfio-user getRegionInfo',
      });
    }
    const config = await transport.readRegion(REGION.config, 0, PCI.configBytes);
    assert.equal(config.readUInt16LE(PCI.offset.vendorId), PCI.vendorId);
    assert.equal(config.readUInt16LE(PCI.offset.deviceId), PCI.deviceId);
    assert.equal(config.readUIntLE(PCI.offset.classCode, 3), PCI.classCode);
    const { length } = await transport.regionInfo(REGION.description);
    const description = JSON.parse((await transport.readRegion(REGION.description, 0, length)).toString());
    assert.ok(description.engines.length > 0);
    assert.equal((await transport.readRegion(REGION.registers, 0, 4)).readUInt32LE(0), DEVICE_MAGIC);
    await transport.close();
    await transport.close();
    await assert.rejects(transport.reset(), { code: 'ERR_WARPDRIVE_CLOSED' });
  });

  test('interrupt information, and a region whose capabilities need room', async (t) => {
    const local = await LocalDevice.start(t);
    const client = local.hostile();
    await client.negotiate();
    for (const [index, count] of [
      [0, 0],
      [1, 0],
      [IRQ.msix, LIMITS.maxQueues],
      [IRQ.error, 1],
      [4, 0],
    ] as const) {
      const reply = await client.ask(COMMAND.getIrqInfo, words(16, 0, index, 0));
      assert.equal(reply!.error, 0);
      assert.equal(reply!.body.readUInt32LE(IRQ_INFO.offset.count), count);
      assert.equal(reply!.body.readUInt32LE(IRQ_INFO.offset.index), index);
      assert.ok(reply!.body.readUInt32LE(IRQ_INFO.offset.flags) & IRQ_FLAG.eventfd);
    }
    assert.equal((await client.ask(COMMAND.getIrqInfo, words(16, 0, IRQ_COUNT, 0)))!.error, ERRNO.EINVAL);
    const small = await client.ask(
      COMMAND.getRegionInfo,
      words(REGION_INFO.bytes, 0, REGION.doorbells, 0, 0, 0, 0, 0),
    );
    assert.equal(small!.body.length, REGION_INFO.bytes);
    assert.equal(small!.fdCount, 0, 'no descriptor without room for the capabilities');
    const needed = small!.body.readUInt32LE(0);
    assert.ok(needed > REGION_INFO.bytes);
    const whole = await client.ask(COMMAND.getRegionInfo, words(needed, 0, REGION.doorbells, 0, 0, 0, 0, 0));
    assert.equal(whole!.body.length, needed);
    assert.equal(whole!.fdCount, 1);
    const tooSmall = await client.ask(COMMAND.getRegionInfo, words(8, 0, 0, 0, 0, 0, 0, 0));
    assert.equal(tooSmall!.error, ERRNO.EINVAL);
    client.close();
  });

  test('regions are mapped within their areas only, and read-only ones for reading', async (t) => {
    const local = await LocalDevice.start(t);
    const transport = await local.connect();
    const doorbells = await transport.mapRegion(REGION.doorbells, 4096, 8192);
    doorbells.bytes[4] = 77;
    assert.equal((await transport.readRegion(REGION.doorbells, 4100, 1))[0], 77);
    await transport.writeRegion(REGION.doorbells, 4101, Buffer.from([1, 2, 3]));
    assert.deepEqual([...doorbells.bytes.subarray(5, 8)], [1, 2, 3]);
    const whole = LIMITS.maxQueues * DOORBELL.pageBytes;
    for (const [region, offset, length] of [
      [REGION.doorbells, 0, whole + 1],
      [REGION.doorbells, whole, 4096],
      [REGION.doorbells, -4096, 4096],
      [REGION.registers, 0, 4096],
      [REGION.config, 0, 256],
      [1, 0, 1],
    ] as const) {
      await assert.rejects(transport.mapRegion(region, offset, length), { code: 'ERR_WARPDRIVE_ARGUMENT' });
    }
    const status = await transport.mapRegion(REGION.status, 0, 4096);
    assert.equal(status.words[STATUS_PAGE.stateWord], 1);
    doorbells.unmap();
    status.unmap();
    await transport.close();
  });

  test('wake descriptors: one for the doorbells, none for others', async (t) => {
    const local = await LocalDevice.start(t);
    const transport = await local.connect();
    const before = openFds();
    const wake = await transport.wakeFds(REGION.doorbells);
    assert.deepEqual(
      wake.map(({ offset, length }) => [offset, length]),
      [[0, LIMITS.maxQueues * DOORBELL.pageBytes]],
    );
    closeFds(wake.map(({ fd }) => fd));
    assert.deepEqual(await transport.wakeFds(REGION.registers), []);
    await assert.rejects(transport.wakeFds(99), { errno: ERRNO.EINVAL });
    assert.equal(openFds(), before);
    await transport.close();
  });

  test('more interrupts at once than a message may carry are refused, and the connection goes on', async (t) => {
    const local = await LocalDevice.start(t);
    const transport = await local.connect();
    const irq = createEventfd();
    await transport.setIrqs(IRQ.msix, 0, new Array(16).fill(irq));
    await assert.rejects(transport.setIrqs(IRQ.msix, 0, new Array(17).fill(irq)));
    await transport.setIrqs(IRQ.msix, 16, new Array(16).fill(irq));
    closeFd(irq);
    await transport.close();
  });

  test('a client that leaves takes all its descriptors with it', async (t) => {
    const local = await LocalDevice.start(t);
    const before = openFds();
    const transport = await local.connect();
    const irq = createEventfd();
    await transport.setIrqs(IRQ.msix, 0, new Array(16).fill(irq));
    await transport.setIrqs(IRQ.msix, 8, new Array(16).fill(irq));
    await transport.setIrqs(IRQ.error, 0, [irq]);
    await transport.setIrqs(IRQ.error, 0, [irq]);
    await transport.regionInfo(REGION.doorbells);
    closeFd(irq);
    await transport.close();
    while (local.gone === 0) await new Promise((resolve) => setImmediate(resolve));
    // The doorbell memfd that was made for it is closed, too.
    assert.equal(openFds(), before);
  });

  test('a device that hangs up rejects what waits and leaves no descriptor', async () => {
    const before = openFds();
    const [fd, peer] = createSocketPair();
    const connecting = VfioUserTransport.connect(fd, 'gone');
    closeFd(peer);
    // ECONNRESET where the request was still unread.
    await assert.rejects(connecting, { code: /^ERR_WARPDRIVE_(CLOSED|SYSTEM)$/ });
    assert.equal(openFds(), before);
  });
});

describe('DMA mapping', () => {
  const IOVA = 0x12_0000_0000;
  const PAGE = 4096;

  test('overlaps, wrong unmaps, misalignment and overflow', async (t) => {
    const local = await LocalDevice.start(t);
    const transport = await local.connect();
    const fd = createMemfd('dma', 64 * PAGE);
    const map = (iova: number, length: number, offset = 0): Promise<void> =>
      transport.dmaMap({ fd, offset, iova, length, writable: true });
    await map(IOVA, 8 * PAGE);
    for (const [iova, length] of [
      [IOVA, 8 * PAGE],
      [IOVA, PAGE],
      [IOVA + 7 * PAGE, PAGE],
      [IOVA - PAGE, 2 * PAGE],
      [IOVA - PAGE, 16 * PAGE],
      [IOVA + PAGE, 20 * PAGE],
    ] as const) {
      await assert.rejects(map(iova, length), { errno: ERRNO.EEXIST }, `${iova} ${length}`);
    }
    for (const [iova, length, offset] of [
      [IOVA + 16 * PAGE + 1, PAGE, 0],
      [IOVA + 16 * PAGE, PAGE + 1, 0],
      [IOVA + 16 * PAGE, PAGE, 1],
      [IOVA + 16 * PAGE, 0, 0],
      [IOVA + 16 * PAGE, 65 * PAGE, 0],
      [IOVA + 16 * PAGE, PAGE, 64 * PAGE],
      [IOVA + 16 * PAGE, 2 * PAGE, 63 * PAGE],
      [2 ** 47, PAGE, 0],
      [2 ** 47 - PAGE, 2 * PAGE, 0],
      [2 ** 53 - PAGE, PAGE, 0],
      [IOVA + 16 * PAGE, PAGE, 2 ** 53 - PAGE],
    ] as const) {
      await assert.rejects(map(iova, length, offset), { errno: ERRNO.EINVAL }, `${iova} ${length} ${offset}`);
    }
    await map(2 ** 47 - PAGE, PAGE);
    await map(IOVA + 8 * PAGE, PAGE);
    for (const [iova, length] of [
      [IOVA, 9 * PAGE],
      [IOVA, PAGE],
      [IOVA + PAGE, 7 * PAGE],
      [IOVA - PAGE, 8 * PAGE],
      [0, 0],
      [IOVA, 0],
    ] as const) {
      await assert.rejects(transport.dmaUnmap(iova, length), { errno: ERRNO.ENOENT });
    }
    await transport.dmaUnmap(IOVA, 8 * PAGE);
    await assert.rejects(transport.dmaUnmap(IOVA, 8 * PAGE), { errno: ERRNO.ENOENT });
    await map(IOVA, 8 * PAGE);
    closeFd(fd);
    await transport.close();
  });

  test('a region that holds a ring is busy until its queue is disabled', async (t) => {
    const local = await LocalDevice.start(t);
    const transport = await local.connect();
    const fd = createMemfd('rings', 2 * PAGE);
    await transport.dmaMap({ fd, offset: 0, iova: IOVA, length: PAGE, writable: true });
    await transport.dmaMap({ fd, offset: PAGE, iova: IOVA + PAGE, length: PAGE, writable: true });
    closeFd(fd);
    assert.equal((await setUp(transport, { depth: 8, ...rings(IOVA, IOVA + PAGE) })).outcome, 0);
    for (const iova of [IOVA, IOVA + PAGE]) {
      await assert.rejects(transport.dmaUnmap(iova, PAGE), { errno: ERRNO.EBUSY });
    }
    await setUp(transport, { command: 2 });
    for (const iova of [IOVA, IOVA + PAGE]) await transport.dmaUnmap(iova, PAGE);
    await transport.close();
  });

  test('descriptors that could end the device are refused, and all are closed', async (t) => {
    const local = await LocalDevice.start(t);
    const transport = await local.connect();
    const before = openFds();
    const unsealed = memfdCreate('unsealed', 3);
    const growSealed = memfdCreate('grow', 3);
    addSeals(growSealed, SEAL.grow);
    const small = createMemfd('small', PAGE);
    const writeSealed = createMemfd('write-sealed', 2 * PAGE);
    addSeals(writeSealed, SEAL.write);
    const fds = [unsealed, growSealed, small, ...createPipe(), ...createSocketPair(), createEventfd()];
    for (const fd of fds) {
      await assert.rejects(
        transport.dmaMap({ fd, offset: 0, iova: IOVA, length: 2 * PAGE, writable: true }),
        {
          errno: ERRNO.EINVAL,
        },
      );
    }
    await assert.rejects(
      transport.dmaMap({ fd: writeSealed, offset: 0, iova: IOVA, length: 2 * PAGE, writable: true }),
      { errno: ERRNO.EPERM },
    );
    await transport.dmaMap({ fd: writeSealed, offset: 0, iova: IOVA, length: 2 * PAGE, writable: false });
    await transport.dmaUnmap(IOVA, 2 * PAGE);
    closeFds([...fds, writeSealed]);
    assert.equal(openFds(), before);
    await transport.close();
  });

  test('regions run out, and come back', async (t) => {
    const local = await LocalDevice.start(t);
    const transport = await local.connect();
    const fd = createMemfd('many', PAGE);
    const map = (i: number): Promise<void> =>
      transport.dmaMap({ fd, offset: 0, iova: IOVA + i * PAGE, length: PAGE, writable: true });
    for (let i = 0; i < LIMITS.maxRegions; i++) await map(i);
    await assert.rejects(map(LIMITS.maxRegions), { errno: ERRNO.ENOSPC });
    await transport.dmaUnmap(IOVA + 5 * PAGE, PAGE);
    await map(LIMITS.maxRegions);
    await assert.rejects(map(LIMITS.maxRegions + 1), { errno: ERRNO.ENOSPC });
    closeFd(fd);
    await transport.close();
  });

  for (const power of [31, 32, 33, 34, 36, 40, 44, 46]) {
    test(`a region of 2^${power} bytes ends nobody: it is mapped or refused`, async () => {
      // In a process of its own, for what it might do to this one.
      const child = spawn(process.execPath, [
        fileURLToPath(new URL('../support/hostile-vast-region.js', import.meta.url)),
        String(power),
      ]);
      let output = '';
      for (const stream of [child.stdout, child.stderr]) {
        stream.on('data', (data) => {
          output += data;
        });
      }
      const [code, signal] = await once(child, 'close');
      assert.equal(signal, null, output.split('\n')[0]);
      assert.equal(code, 0, output);
      assert.match(output, /still answers/);
    });
  }

  test('under SVA nothing is to be mapped', async (t) => {
    const local = await LocalDevice.start(t, 1, { sva: true });
    const transport = await local.connect();
    const fd = createMemfd('dma', PAGE);
    await assert.rejects(transport.dmaMap({ fd, offset: 0, iova: IOVA, length: PAGE, writable: true }), {
      errno: ERRNO.EOPNOTSUPP,
    });
    closeFd(fd);
    await transport.close();
  });
});
