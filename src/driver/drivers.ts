import { PCI, REGION } from '../abi/registers.js';
import { DeviceLostError, ProtocolError, UnsupportedError } from '../errors.js';
import type { Transport } from '../transport/transport.js';
import type { Driver, DriverDevice } from './driver.js';
import { virtioCrypto } from './virtio-crypto/virtio-crypto.js';
import { wva } from './wva/wva.js';

/** Every driver of an accelerator, in the order in which they are asked. */
const DRIVERS: readonly Driver[] = [wva, virtioCrypto];

/** What is read to find a driver: the part of the configuration space that every PCI function has. */
const IDENTITY_BYTES = 64;

/**
 * Opens the device behind a transport with the driver that its PCI numbers call for.
 * @throws UnsupportedError where there is none, DeviceLostError for a device that answers all ones, ProtocolError for one
 * whose configuration space is cut short
 */
export async function openDriver(transport: Transport): Promise<DriverDevice> {
  const config = await transport.readRegion(REGION.config, 0, IDENTITY_BYTES);
  if (config.length < IDENTITY_BYTES) {
    throw new ProtocolError(`${transport.name} has a configuration space of ${config.length} bytes`);
  }
  const vendorId = config.readUInt16LE(PCI.offset.vendorId);
  const deviceId = config.readUInt16LE(PCI.offset.deviceId);
  if (vendorId === 0xffff) {
    throw new DeviceLostError(`${transport.name} answers all ones: it is gone, or has lost its power`);
  }
  const driver = DRIVERS.find((each) => each.matches(vendorId, deviceId));
  if (driver) return driver.open(transport);
  const ids = [vendorId, deviceId].map((id) => id.toString(16).padStart(4, '0')).join(':');
  throw new UnsupportedError(`no driver of an accelerator matches the device ${transport.name}, ${ids}`, {
    hint: `there are ${DRIVERS.map(({ name }) => name).join(', ')}; docs/drivers.md tells how to write one, and to open a device without`,
  });
}
