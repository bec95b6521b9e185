import { PCI } from '../abi/registers.js';

/** The configuration space of a function: who made it and what it is. It has no capabilities, and takes no writes. */
export function pciConfig(): Buffer {
  const config = Buffer.alloc(PCI.configBytes);
  config.writeUInt16LE(PCI.vendorId, PCI.offset.vendorId);
  config.writeUInt16LE(PCI.deviceId, PCI.offset.deviceId);
  config.writeUInt8(PCI.revision, PCI.offset.revision);
  config.writeUIntLE(PCI.classCode, PCI.offset.classCode, 3);
  return config;
}
