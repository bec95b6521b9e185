import type { TestContext } from 'node:test';
import type { Account } from '../../src/device/account.js';
import { Device, type SharedOptions } from '../../src/device/device.js';
import type { ClientOptions } from '../../src/device/function.js';
import { Ledger } from '../../src/device/ledger.js';
import { Lifeline } from '../../src/device/lifeline.js';
import { DeviceServer } from '../../src/device/server.js';
import { closeFds } from '../../src/sys/fd.js';
import { createSocketPair } from '../../src/sys/socket.js';
import { VfioUserTransport } from '../../src/transport/vfio-user/client.js';
import { HostileClient } from '../support/hostile-client.js';
import { RemoteClient } from '../support/remote-client.js';

export interface LocalOptions {
  sva?: boolean;
  maxThreads?: number;
  faults?: string[];
  shared?: Partial<SharedOptions>;
  /** What all its clients together may hold. */
  account?: Account;
}

const ACCOUNTS = 32;
const SHARED: SharedOptions = { maxClients: 1, maxQueues: 256, maxSessions: 1024, coolMs: 5 };

/** A device whose control thread is the test's own: several clients, honest or hostile, and its state in reach. */
export class LocalDevice {
  readonly device: Device;
  /** Where accounts lie that engine threads are to count in. */
  readonly ledger: Ledger;
  readonly #client: ClientOptions;
  /** How many clients have gone, with all they had freed. */
  gone = 0;
  #stopped: Promise<void> | undefined;
  readonly #hostile: { close(): void }[] = [];

  private constructor(device: Device, ledger: Ledger, client: ClientOptions) {
    this.device = device;
    this.ledger = ledger;
    this.#client = client;
  }

  /** Starts a device that ends with the test. */
  static async start(t: TestContext, maxClients = 1, options: LocalOptions = {}): Promise<LocalDevice> {
    const ledger = Ledger.create(ACCOUNTS);
    const device = new Device({
      maxThreads: options.maxThreads ?? 1,
      spinMicroseconds: 50,
      disabledEngines: [],
      faults: options.faults ?? [],
      lifeline: new Lifeline(options.maxThreads ?? 1).buffer,
      ledger,
      ...(maxClients > 1 || options.shared ? { shared: { ...SHARED, maxClients, ...options.shared } } : {}),
    });
    await device.start();
    const local = new LocalDevice(device, ledger, {
      sva: options.sva ?? false,
      ...(options.account ? { account: options.account } : {}),
    });
    t.after(() => local.stop());
    return local;
  }

  #serve(client: Partial<ClientOptions> = {}): [number, DeviceServer] {
    const [end, server] = createSocketPair();
    try {
      const served = new DeviceServer(this.device, server, { ...this.#client, ...client }, () => {
        this.gone++;
      });
      return [end, served];
    } catch (error) {
      closeFds([end, server]);
      throw error;
    }
  }

  /** A client that keeps to the protocol. */
  async connect(name = 'local', client: Partial<ClientOptions> = {}): Promise<VfioUserTransport> {
    const [fd, server] = this.#serve(client);
    return VfioUserTransport.connect(fd, name, () => server.receive());
  }

  /** A client that sends what it likes. */
  hostile(): HostileClient {
    const [fd, server] = this.#serve();
    const client = new HostileClient(fd, server);
    this.#hostile.push(client);
    return client;
  }

  /** A client that shares no descriptors. */
  remote(memoryBytes: number): RemoteClient {
    const [fd, server] = this.#serve();
    const client = new RemoteClient(fd, server, memoryBytes);
    this.#hostile.push(client);
    return client;
  }

  /** Stops it now. Calling it again does nothing. */
  stop(): Promise<void> {
    for (const client of this.#hostile.splice(0)) client.close();
    this.#stopped ??= this.device.stop().then(() => this.ledger.close());
    return this.#stopped;
  }
}
