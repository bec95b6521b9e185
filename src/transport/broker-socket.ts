import { isAbsolute, join } from 'node:path';

/** Where the system's broker listens. */
export const SYSTEM_BROKER_SOCKET = '/run/warpdrive/warpdrive.sock';

/** Where a broker listens, and where its clients look for it, when neither is told: the user's own, or the system's. */
export function defaultBrokerSocket(): string {
  const runtime = process.env['XDG_RUNTIME_DIR'];
  // The XDG base directory specification: a relative path is to be ignored.
  return runtime && isAbsolute(runtime) ? join(runtime, 'warpdrive.sock') : SYSTEM_BROKER_SOCKET;
}

/** Where the broker of a socket tells about itself. */
export function brokerInfoSocket(socket: string): string {
  return `${socket}.info`;
}
