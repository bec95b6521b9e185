import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { closeFd } from '../../src/sys/fd.js';
import { bind } from '../../src/sys/libc.js';
import { Broker, until } from './support-broker.js';

const socket = bind<(domain: number, type: number, protocol: number) => number>(
  'int socket(int domain, int type, int protocol)',
);
const bindNative = bind<(fd: number, address: Uint8Array, length: number) => number>(
  'int bind(int fd, void *addr, unsigned int len)',
);
const recv = bind<(fd: number, data: Uint8Array, n: number, flags: number) => number>(
  'int64_t recv(int fd, void *data, uint64_t n, int flags)',
);

/** AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK of <sys/socket.h>. */
const AF_UNIX = 1;
const TYPE = 2 | 0o4000;

/** What a service manager has been told: datagrams to a socket, as sd_notify(3) sends them. */
class Manager {
  readonly #fd: number;

  constructor(t: TestContext, name: Buffer) {
    this.#fd = socket(AF_UNIX, TYPE, 0);
    const address = Buffer.concat([Buffer.from([AF_UNIX, 0]), name]);
    assert.equal(bindNative(this.#fd, address, address.length), 0);
    t.after(() => closeFd(this.#fd));
  }

  async next(): Promise<string> {
    const data = Buffer.alloc(4096);
    let length = -1;
    await until(() => {
      length = recv(this.#fd, data, data.length, 0);
      return length >= 0;
    }, 'the service manager is told something');
    return data.toString('utf8', 0, length);
  }
}

async function life(t: TestContext, manager: Manager, name: string): Promise<void> {
  const broker = await Broker.start(t, [], { config: {}, env: { NOTIFY_SOCKET: name } });
  assert.equal(await manager.next(), 'READY=1\n');
  await broker.reload();
  assert.match(await manager.next(), /^RELOADING=1\nMONOTONIC_USEC=\d+\n$/);
  assert.equal(await manager.next(), 'READY=1\n');
  await broker.stop();
  assert.equal(await manager.next(), 'STOPPING=1\n');
}

describe('a service manager', () => {
  test('is told what the broker is about', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'warpdrive-broker-notify-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, 'notify');
    await life(t, new Manager(t, Buffer.from(`${path}\0`)), path);
  });

  test('may have an abstract socket', async (t) => {
    const name = `warpdrive-test-${process.pid}`;
    await life(t, new Manager(t, Buffer.from(`\0${name}`)), `@${name}`);
  });

  test('that is not there is no reason to stop', async (t) => {
    const broker = await Broker.start(t, [], { env: { NOTIFY_SOCKET: '/nonexistent/notify' } });
    await broker.logged('the service manager was not told');
    await (await broker.connect()).close();
  });
});
