import { ArgumentError } from '../errors.js';
import { connectUnix } from '../sys/unix-socket.js';
import type { Transport } from './transport.js';
import { VFIO_SCHEME } from './vfio/address.js';
import { openVfio, type VfioOptions } from './vfio/open.js';
import { VfioUserTransport } from './vfio-user/client.js';

export const UNIX_SCHEME = 'unix:';

/**
 * Reaches a device by name, for its driver: `vfio:0000:00:03.0` is a PCI function, `vfio:UUID` a mediated device,
 * `unix:/path` a vfio-user device. Close the transport when you are done.
 * @throws ArgumentError for any other name, and what `openVfio` and `VfioUserTransport.connect` throw
 */
export async function openTransport(name: string, options: VfioOptions = {}): Promise<Transport> {
  if (name.startsWith(VFIO_SCHEME)) return openVfio(name, options);
  if (!name.startsWith(UNIX_SCHEME) || name.length === UNIX_SCHEME.length) {
    throw new ArgumentError(`${JSON.stringify(name)} names no device`, {
      hint: 'one is named vfio:0000:00:03.0, vfio:UUID or unix:/path',
    });
  }
  return VfioUserTransport.connect(connectUnix(name.slice(UNIX_SCHEME.length)), name);
}
