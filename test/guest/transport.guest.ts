import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, readFileSync } from 'node:fs';
import { before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PCI_COMMAND, PCI_IRQ } from '../../src/abi/pci.js';
import { PCI, REGION } from '../../src/abi/registers.js';
import { Edu } from '../../src/driver/edu/edu.js';
import { DeviceLostError, DmaError } from '../../src/errors.js';
import { ERRNO } from '../../src/sys/libc.js';
import { createMemfd } from '../../src/sys/memfd.js';
import { Mapping } from '../../src/sys/memory.js';
import { Registers } from '../../src/sys/registers.js';
import { DmaBuffer } from '../../src/transport/dma-buffer.js';
import type { VfioTransport } from '../../src/transport/vfio/client.js';
import { openVfio } from '../../src/transport/vfio/open.js';
import { GUEST_DEVICE } from './harness/devices.js';
import { bind, groupOf, unbind } from './support-devices.js';
import { expectDmarFaults } from './support-kernel.js';

const CHILD = fileURLToPath(new URL('./support-vfio-child.js', import.meta.url));
const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const NOBODY = 65534;
const PAGE = 4096;
/** What edu is asked to copy: it has not quite a page. */
const SIZE = 2048;
/** Where the IOMMU stops it: each word is a fault, of which the kernel tells a few in five seconds. */
const FEW = 4;
const { edu: EDU, secondEdu: SECOND, sharedEdu, sharedRng, hotplugCrypto } = GUEST_DEVICE;

/** What another process says that opens a device; `limit` is its limit on locked memory, in KiB. */
function elsewhere(what: string, address: string, user?: { limit: number }): string {
  const command = `${user ? `ulimit -l ${user.limit}; ` : ''}exec ${process.execPath} ${CHILD} ${what} ${address}`;
  const options = user ? { uid: NOBODY, gid: NOBODY } : {};
  const { stdout, stderr } = spawnSync('sh', ['-c', command], { encoding: 'utf8', ...options });
  return stdout + stderr;
}

function commandRegister(address: string): number {
  return readFileSync(`/sys/bus/pci/devices/${address}/config`).readUInt16LE(PCI.offset.command);
}

/** Runs work with an open device, and closes it. */
async function using(address: string, work: (transport: VfioTransport) => Promise<void>): Promise<void> {
  const transport = await openVfio(address);
  try {
    await work(transport);
  } finally {
    await transport.close();
  }
}

async function usingEdu(work: (edu: Edu, transport: VfioTransport) => Promise<void>): Promise<void> {
  const transport = await openVfio(EDU);
  const edu = await Edu.open(transport);
  try {
    await work(edu, transport);
  } finally {
    await edu.close();
  }
}

describe('what cannot be opened, and why', () => {
  test('a name that is none, and a device that is not there', async () => {
    await assert.rejects(openVfio('vfio:3.0'), { code: 'ERR_WARPDRIVE_ARGUMENT' });
    await assert.rejects(openVfio('0000:00:1f.7'), { message: /no PCI function 0000:00:1f\.7.*vfio list/ });
    const uuid = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
    await assert.rejects(openVfio(uuid), { message: /no mediated device/ });
  });

  test('a device that nobody has, or that is another driver’s', async () => {
    unbind(SECOND);
    await assert.rejects(openVfio(SECOND), { message: /no driver has 0000:00:11\.0.*vfio bind/ });
    bind(sharedRng, 'virtio-pci');
    await assert.rejects(openVfio(sharedRng), { message: /the driver virtio-pci has/ });
  });

  test('a group that another driver has a part of', async () => {
    bind(sharedRng, 'virtio-pci');
    bind(sharedEdu, 'vfio-pci');
    await assert.rejects(openVfio(sharedEdu), {
      message: /0000:00:15\.1 \(virtio-pci\).*vfio bind 0000:00:15\.1/,
    });
  });

  test('a device that this user may not open, with too little memory to lock, or that another process has', async () => {
    bind(EDU, 'vfio-pci');
    const group = `/dev/vfio/${groupOf(EDU)}`;
    chmodSync(group, 0o600);
    assert.match(elsewhere('open', EDU, { limit: 64 }), /ERR_WARPDRIVE_SYSTEM: .*may not open.*udev/);
    chmodSync(group, 0o666);
    assert.match(
      elsewhere('allocate', EDU, { limit: 64 }),
      /ERR_WARPDRIVE_MEMORY: .*is 65536 bytes.*1048576 more.*at least 1024 KiB/,
    );
    assert.match(elsewhere('allocate', EDU, { limit: 2048 }), /^done/);
    await using(EDU, async () => {
      assert.match(elsewhere('open', EDU), /EBUSY|another process has a device of IOMMU group/);
      await assert.rejects(openVfio(`vfio:${EDU}`), /this process has 0000:00:10.0 already/);
    });
    assert.match(elsewhere('open', EDU), /^done/);
  });
});

describe('regions', () => {
  before(() => bind(EDU, 'vfio-pci'));

  test('are read, written and mapped within their bounds', async () => {
    await using(EDU, async (transport) => {
      const bar = await transport.regionInfo(0);
      assert.deepEqual(bar, {
        index: 0,
        length: 1 << 20,
        read: true,
        write: true,
        areas: [{ offset: 0, length: 1 << 20 }],
      });
      assert.equal((await transport.readRegion(0, 0, 4)).readUInt32LE(), 0x010000ed);
      await transport.writeRegion(0, 4, Buffer.from([0xf0, 0xf0, 0xf0, 0xf0]));
      assert.equal((await transport.readRegion(0, 4, 4)).readUInt32LE(), 0x0f0f0f0f);
      const config = await transport.readRegion(REGION.config, 0, 64);
      assert.equal(config.readUInt16LE(PCI.offset.vendorId), 0x1234);
      await assert.rejects(transport.readRegion(0, (1 << 20) - 2, 4), { code: 'ERR_WARPDRIVE_ARGUMENT' });
      await assert.rejects(transport.writeRegion(0, -4, Buffer.alloc(4)), { code: 'ERR_WARPDRIVE_ARGUMENT' });
      for (const [index, offset, length] of [
        [REGION.config, 0, PAGE],
        [0, 1 << 20, PAGE],
        [0, PAGE, 1 << 20],
        [1, 0, PAGE],
      ] as const) {
        await assert.rejects(transport.mapRegion(index, offset, length), {
          message: /cannot be mapped.*readRegion/,
        });
      }
      await assert.rejects(transport.regionInfo(99), { errno: ERRNO.EINVAL });
    });
  });

  test('the device does DMA from its first memory to close, and survives a reset where there is one', async () => {
    await using(EDU, async (transport) => {
      assert.equal(commandRegister(EDU) & PCI_COMMAND.busMaster, 0);
      await DmaBuffer.allocate(transport, PAGE);
      assert.ok(commandRegister(EDU) & PCI_COMMAND.busMaster);
      await assert.rejects(transport.reset(), { code: 'ERR_WARPDRIVE_UNSUPPORTED' });
    });
    assert.equal(commandRegister(EDU) & PCI_COMMAND.busMaster, 0);
    bind(hotplugCrypto, 'vfio-pci');
    await using(hotplugCrypto, async (transport) => {
      await DmaBuffer.allocate(transport, PAGE);
      await transport.reset();
      assert.ok(commandRegister(hotplugCrypto) & PCI_COMMAND.busMaster);
    });
  });

  test('a closed transport says so', async () => {
    const transport = await openVfio(EDU);
    await transport.close();
    await transport.close();
    await assert.rejects(transport.readRegion(0, 0, 4), { code: 'ERR_WARPDRIVE_CLOSED' });
    await assert.rejects(transport.reset(), { code: 'ERR_WARPDRIVE_CLOSED' });
  });
});

describe('interrupts', () => {
  const RAISE = 0x60;
  const ACKNOWLEDGE = 0x64;

  test('INTx is masked when it comes, until it is unmasked', async () => {
    await using(EDU, async (transport) => {
      const bar = await transport.mapRegion(0, 0, PAGE);
      const registers = new Registers(bar);
      const interrupt = transport.createInterrupt();
      await transport.setIrqs(PCI_IRQ.intx, 0, [interrupt.deviceFd]);
      for (let i = 0; i < 3; i++) {
        registers.write32(RAISE, 1);
        assert.ok(interrupt.waitSync(5000));
        registers.write32(ACKNOWLEDGE, 1);
        await transport.unmaskIrqs(PCI_IRQ.intx, 0, 1);
        assert.equal(interrupt.waitSync(50), false);
      }
      interrupt.close();
      bar.unmap();
    });
  });

  test('MSI-X vectors can be added while others are in use', async () => {
    bind(GUEST_DEVICE.secondCrypto, 'vfio-pci');
    await using(GUEST_DEVICE.secondCrypto, async (transport) => {
      const count = await transport.irqCount(PCI_IRQ.msix);
      assert.ok(count >= 2);
      const interrupts = Array.from({ length: count }, () => transport.createInterrupt());
      for (let i = 0; i < count; i++) await transport.setIrqs(PCI_IRQ.msix, i, [interrupts[i]!.deviceFd]);
      await assert.rejects(transport.setIrqs(PCI_IRQ.msix, count, [interrupts[0]!.deviceFd]), {
        code: 'ERR_WARPDRIVE_ARGUMENT',
      });
      for (const interrupt of interrupts) interrupt.close();
    });
  });
});

describe('the address space', () => {
  test('leaves out what the IOMMU keeps for itself, and refuses it', async () => {
    await using(EDU, async (transport) => {
      const fd = createMemfd('test', PAGE);
      const memory = Mapping.shared(fd, 0, PAGE, 'read-write');
      const region = { fd, offset: 0, address: memory.address, length: PAGE, writable: true };
      for (const iova of [0xfee00000, 2 ** 50]) {
        await assert.rejects(transport.dmaMap({ ...region, iova }), {
          errno: ERRNO.EINVAL,
          message: /reserveIova/,
        });
      }
      assert.equal(transport.reserveIova(0xfed00000), PAGE);
      assert.ok(transport.reserveIova(0x200000) > 0xfeefffff);
      await transport.dmaMap({ ...region, iova: PAGE });
      await assert.rejects(transport.dmaMap({ ...region, iova: PAGE }), { errno: ERRNO.EEXIST });
      await transport.dmaUnmap(PAGE, PAGE);
      memory.unmap();
    });
  });

  test('is one for all devices of a group', async () => {
    bind(sharedEdu, 'vfio-pci');
    bind(sharedRng, 'vfio-pci');
    const first = await openVfio(sharedEdu);
    const second = await openVfio(sharedRng);
    assert.notEqual(first.reserveIova(1), second.reserveIova(1));
    await first.close();
    await using(sharedEdu, async (again) => assert.notEqual(again.reserveIova(1), second.reserveIova(1)));
    await second.close();
    await using(sharedEdu, async (transport) => assert.equal(transport.reserveIova(1), PAGE));
  });
});

describe('the IOMMU holds', () => {
  /** Runs a DMA that must not arrive, and returns what the driver said of it; the device does the next one right. */
  async function stopped(edu: Edu, transport: VfioTransport, run: () => Promise<void>): Promise<DmaError> {
    let error: unknown;
    const attempt = async (): Promise<void> => {
      error = await run().catch((reason: unknown) => reason);
    };
    // Once more where the kernel kept it to itself, having told of others just before.
    const faults = await expectDmarFaults(attempt).catch(() => expectDmarFaults(attempt));
    assert.ok(error instanceof DmaError, String(error));
    const page = error.address - (error.address % PAGE);
    assert.ok(
      faults.some(({ address, device }) => Number(address) === page && device === '00:10.0'),
      `${error.message}; the kernel: ${faults.map(({ line }) => line).join('; ')}`,
    );
    const good = await DmaBuffer.allocate(transport, PAGE);
    await edu.dma('write', good.iova, SIZE);
    await good.free();
    return error;
  }

  /** Fills the device's own memory. */
  async function fill(edu: Edu, transport: VfioTransport, value: number): Promise<void> {
    const source = await DmaBuffer.allocate(transport, PAGE);
    source.mapping.bytes.fill(value);
    await edu.dma('read', source.iova, SIZE);
    await source.free();
  }

  test('against an address that was never mapped', async () => {
    await usingEdu(async (edu, transport) => {
      for (const run of [() => edu.dma('write', 0x12340000, FEW), () => edu.dma('read', 0x12340000, FEW)]) {
        const error = await stopped(edu, transport, run);
        assert.equal(error.address, 0x12340000);
        assert.match(error.message, /0x12340000 is not mapped/);
      }
    });
  });

  test('against writes to what is mapped for reading only', async () => {
    await usingEdu(async (edu, transport) => {
      await fill(edu, transport, 0xcd);
      const readOnly = await DmaBuffer.allocate(transport, PAGE, { writable: false });
      readOnly.mapping.bytes.fill(0x11);
      const error = await stopped(edu, transport, () => edu.dma('write', readOnly.iova, FEW));
      assert.equal(error.address, readOnly.iova);
      assert.match(error.message, /reading only/);
      assert.ok(readOnly.mapping.bytes.every((byte) => byte === 0x11));
      await readOnly.free();
    });
  });

  test('past the end, where the next buffer does not begin', async () => {
    await usingEdu(async (edu, transport) => {
      await fill(edu, transport, 0xcd);
      const short = await DmaBuffer.allocate(transport, PAGE);
      const next = await DmaBuffer.allocate(transport, PAGE);
      const error = await stopped(edu, transport, () => edu.dma('write', short.iova + PAGE - 2, FEW));
      assert.equal(error.address, short.iova + PAGE);
      assert.ok(next.mapping.bytes.every((byte) => byte === 0));
      assert.ok(short.mapping.bytes.subarray(0, PAGE - 2).every((byte) => byte === 0));
      await short.free();
      await next.free();
    });
  });

  test('after memory was unmapped', async () => {
    await usingEdu(async (edu, transport) => {
      await fill(edu, transport, 0xcd);
      const fd = createMemfd('test', PAGE);
      const memory = Mapping.shared(fd, 0, PAGE, 'read-write');
      const iova = transport.reserveIova(PAGE);
      await transport.dmaMap({ fd, offset: 0, address: memory.address, iova, length: PAGE, writable: true });
      await edu.dma('write', iova, SIZE);
      assert.ok(memory.bytes.subarray(0, SIZE).every((byte) => byte === 0xcd));
      memory.bytes.fill(0);
      await transport.dmaUnmap(iova, PAGE);
      const error = await stopped(edu, transport, () => edu.dma('write', iova, FEW));
      assert.equal(error.address, iova);
      assert.ok(memory.bytes.every((byte) => byte === 0));
      memory.unmap();
    });
  });

  test('against a process that was killed with DMA in flight', async () => {
    for (let round = 0; round < 3; round++) {
      const child = spawn(process.execPath, [CHILD, 'storm', EDU], { stdio: ['ignore', 'pipe', 'inherit'] });
      const [said] = (await once(child.stdout, 'data')) as [Buffer];
      const iova = Number(said.toString());
      assert.ok(iova > 0, said.toString());
      await sleep(40 + 30 * round);
      child.kill('SIGKILL');
      await once(child, 'exit');
      await usingEdu(async (edu, transport) => {
        const buffer = await DmaBuffer.allocate(transport, PAGE);
        assert.equal(buffer.iova, iova);
        // The device takes a tenth of a second for a DMA: one that was in flight would arrive now.
        await sleep(300);
        assert.ok(buffer.mapping.bytes.every((byte) => byte === 0));
        assert.equal(await edu.factorial(5), 120);
        await buffer.free();
      });
    }
  });
});

describe('removal', () => {
  for (const way of ['unbound', 'removed'] as const) {
    test(`a device that is being ${way} is asked for, and goes once it is closed`, async () => {
      bind(SECOND, 'vfio-pci');
      const transport = await openVfio(SECOND);
      const edu = await Edu.open(transport);
      const lost = new Promise<Error>((resolve) => {
        transport.onLost(resolve);
      });
      const path = `/sys/bus/pci/devices/${SECOND}`;
      const [text, file] = way === 'unbound' ? [SECOND, `${path}/driver/unbind`] : ['1', `${path}/remove`];
      const removal = spawn('sh', ['-c', `echo ${text} > ${file}`]);
      const gone = once(removal, 'exit');
      const alive = setInterval(() => {}, 1000);
      assert.ok((await lost) instanceof DeviceLostError);
      clearInterval(alive);
      await edu.close();
      await gone;
      if (way === 'removed') {
        await assert.rejects(openVfio(SECOND), { message: /no PCI function/ });
        spawnSync('sh', ['-c', 'echo 1 > /sys/bus/pci/rescan']);
      }
      bind(SECOND, 'vfio-pci');
      await using(SECOND, async (again) => assert.equal((await again.readRegion(0, 0, 1)).length, 1));
    });
  }
});

describe('inspect', () => {
  test('tells what a device of VFIO is', () => {
    bind(EDU, 'vfio-pci');
    const run = (...args: string[]): ReturnType<typeof spawnSync> =>
      spawnSync(process.execPath, [MAIN, 'inspect', `vfio:${EDU}`, ...args], { encoding: 'utf8' });
    const { stdout, status } = run();
    assert.equal(status, 0);
    for (const line of [
      /VFIO of the kernel, type1v2/,
      /vendor +0x1234/,
      /0 +BAR 0 +1048576 +read, write, mmap/,
      /1 +MSI +1 /,
    ]) {
      assert.match(String(stdout), line);
    }
    const inspection = JSON.parse(String(run('--json').stdout));
    assert.equal(inspection.iommu, 'type1v2');
    assert.equal(inspection.pci.deviceId, 0x11e8);
  });
});
