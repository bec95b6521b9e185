import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { PCI } from '../../src/abi/registers.js';
import { COMMAND, DEVICE_INFO, MESSAGE_TYPE } from '../../src/abi/vfio-user.js';
import { open } from '../../src/accelerator/open.js';
import { openDriver } from '../../src/driver/drivers.js';
import { createSocketPair } from '../../src/sys/socket.js';
import { openTransport } from '../../src/transport/open.js';
import { VfioUserTransport } from '../../src/transport/vfio-user/client.js';
import { Connection } from '../../src/transport/vfio-user/connection.js';
import { encodeVersion } from '../../src/transport/vfio-user/version.js';

/** A device that says nothing but what it is: the answer to whoever reads a region is always `config`, however short. */
async function deviceOf(t: TestContext, config: Buffer): Promise<VfioUserTransport> {
  const [end, other] = createSocketPair();
  const server = new Connection(
    other,
    ({ id, command, body }) => {
      const reply = (answer: Buffer): void => server.send(id, command, MESSAGE_TYPE.reply, 0, answer);
      if (command === COMMAND.version)
        reply(encodeVersion(0, 1, { maxMessageFds: 1, maxTransferBytes: 4096 }));
      else if (command === COMMAND.getInfo) reply(Buffer.alloc(DEVICE_INFO.bytes));
      else if (command === COMMAND.regionRead) reply(Buffer.concat([body.subarray(0, 16), config]));
    },
    () => {},
  );
  server.listen();
  const transport = await VfioUserTransport.connect(end, 'a device', undefined, 2000);
  t.after(async () => {
    await transport.close();
    server.close();
  });
  return transport;
}

function identity(vendorId: number, deviceId: number, bytes = 64): Buffer {
  const config = Buffer.alloc(64);
  config.writeUInt16LE(vendorId, PCI.offset.vendorId);
  config.writeUInt16LE(deviceId, PCI.offset.deviceId);
  return config.subarray(0, bytes);
}

describe('the driver of a device', () => {
  test('there is none: the numbers are told, and what to do', async (t) => {
    await assert.rejects(openDriver(await deviceOf(t, identity(0x1234, 0x11e8))), {
      code: 'ERR_WARPDRIVE_UNSUPPORTED',
      message: /a device, 1234:11e8 .*docs\/drivers\.md/,
    });
  });

  test('a device that answers all ones has gone', async (t) => {
    await assert.rejects(openDriver(await deviceOf(t, Buffer.alloc(64, 0xff))), {
      code: 'ERR_WARPDRIVE_DEVICE_LOST',
      message: /all ones/,
    });
  });

  test('a configuration space that is cut short is no device', async (t) => {
    for (const bytes of [0, 1, 63]) {
      await assert.rejects(openDriver(await deviceOf(t, identity(PCI.vendorId, PCI.deviceId, bytes))), {
        code: 'ERR_WARPDRIVE_PROTOCOL',
      });
    }
  });
});

describe('openTransport', () => {
  test('takes names of devices, and no others', async () => {
    for (const name of ['', 'embedded', 'unix:', 'vfio:', 'vfio:x', '/dev/vfio/1', '0000:00:03.0']) {
      await assert.rejects(openTransport(name), { code: 'ERR_WARPDRIVE_ARGUMENT' }, name);
    }
    await assert.rejects(openTransport('unix:/nowhere/at/all'), { code: 'ERR_WARPDRIVE_SYSTEM' });
  });
});

describe('open', () => {
  test('takes hardware by name, and for hardware what is for hardware', async () => {
    await assert.rejects(open('vfio:nonsense'), { code: 'ERR_WARPDRIVE_ARGUMENT', message: /0000:00:03\.0/ });
    await assert.rejects(open('vfio:ffff:ff:1f.7'), { code: 'ERR_WARPDRIVE_DEVICE_LOST' });
    await assert.rejects(open('vfio:00:03.0', { engines: 1 }), { code: 'ERR_WARPDRIVE_ARGUMENT' });
    for (const allowUnsafe of ['noiommu', ['all'], [1], {}]) {
      await assert.rejects(open('vfio:00:03.0', { allowUnsafe: allowUnsafe as never }), {
        code: 'ERR_WARPDRIVE_ARGUMENT',
        message: /noiommu/,
      });
    }
  });

  test('hardware that is not there falls back, where that is wanted', async () => {
    const accelerator = await open('vfio:ffff:ff:1f.7', { fallback: true });
    assert.ok(accelerator.devices()[0]!.flags.includes('fallback-for-vfio:ffff:ff:1f.7'));
    await accelerator.close();
  });
});
