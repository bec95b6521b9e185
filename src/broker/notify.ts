import { sendDatagram } from '../sys/unix-socket.js';
import { moduleLogger } from './log.js';

const logger = moduleLogger('notify');

export type ServiceState = 'ready' | 'reloading' | 'stopping';

/**
 * Tells the service manager that started this process, if one did (sd_notify(3)). Nobody depends on its being told: what
 * goes wrong is logged.
 */
export function notifyServiceManager(state: ServiceState): void {
  const path = process.env['NOTIFY_SOCKET'];
  if (!path) return;
  let text = `${state.toUpperCase()}=1\n`;
  // The manager orders a reload and the "ready" that ends it by this clock.
  if (state === 'reloading') text += `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}\n`;
  try {
    sendDatagram(path, Buffer.from(text));
  } catch (error) {
    logger.warning('the service manager was not told', { state, reason: (error as Error).message });
  }
}
