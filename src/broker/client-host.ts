import { Account } from '../device/account.js';
import { Ledger } from '../device/ledger.js';
import { closeFd } from '../sys/fd.js';
import { dieWithParent } from '../sys/process.js';
import { receiveBytes } from '../sys/socket.js';
import type { BrokerClient } from './client.js';
import { type FromHost, HOST_FD, type HostServe, type HostStart, type ToHost } from './host-messages.js';
import { HostedDevice } from './hosted-device.js';

/*
 * The process of one client: a device with its engine threads, and nothing else. It is started before there is a client,
 * serves one, and ends with it. A crash here ends this client's device alone.
 */

/** Between two looks at what is in flight while the broker drains. */
const DRAIN_LOOK_MS = 5;

let ledger: Ledger | undefined;
let hosted: HostedDevice | undefined;
let client: BrokerClient | undefined;

// The broker decides when this process ends: a terminal, or a service manager, signals all of them.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
// Nothing outlives the broker. What this process has is the kernel's to free, whatever its threads are doing. A broker
// that ended before the first line was read is noticed by the second.
dieWithParent();
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
process.once('exit', () => hosted?.abandon());

function say(message: FromHost, then?: () => void): void {
  process.send!(message, undefined, {}, () => then?.());
}

async function start({ settings, accounts }: HostStart): Promise<void> {
  ledger = Ledger.attach(HOST_FD.ledger, accounts);
  hosted = await HostedDevice.start(settings, 1, ledger, {
    onThreadDeath: (reason, thread) => say({ type: 'thread-died', reason, thread }),
    onFailure: (reason) => {
      say({ type: 'failed', reason });
      client?.close('the device failed');
    },
  });
  say({ type: 'ready', threads: hosted.threads });
}

function serve({ id, peer, account, handshakeSeconds }: HostServe): void {
  const fds: number[] = [];
  receiveBytes(HOST_FD.passing, new Uint8Array(1), fds);
  closeFd(HOST_FD.passing);
  client = hosted!.connect(fds[0]!, {
    id,
    peer,
    account: Account.attach(ledger!, account),
    share: { weight: 1, lowLatency: false },
    handshakeSeconds,
    onGone: (gone) => {
      void hosted!.stop().then(() => say({ type: 'gone', reason: gone.closedFor }, () => process.exit()));
    },
  });
  say({ type: 'serving' });
}

function drain(): void {
  hosted!.announceStop();
  let idle = false;
  setInterval(() => {
    if (client!.idle === idle) return;
    idle = !idle;
    say({ type: 'idle', idle });
  }, DRAIN_LOOK_MS);
}

process.on('message', (message: ToHost) => {
  switch (message.type) {
    case 'start':
      // An error that ends this process is in its log, and the broker sees the end.
      void start(message);
      break;
    case 'serve':
      serve(message);
      break;
    case 'ask':
      say({ type: 'report', report: client!.report(), threads: hosted!.threads });
      break;
    case 'stopping':
      drain();
      break;
    case 'close':
      client!.close(message.reason);
      break;
  }
});
