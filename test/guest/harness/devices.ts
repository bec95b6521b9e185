/** The devices of the guest. QEMU puts them where this table says; the suites find them there. */
export const GUEST_DEVICE = {
  /** QEMU's educational device, 1234:11e8. */
  edu: '0000:00:10.0',
  secondEdu: '0000:00:11.0',
  /** virtio-crypto, 1af4:1054. QEMU's own back end of it has one data queue, and no more. */
  crypto: '0000:00:12.0',
  secondCrypto: '0000:00:13.0',
  /** virtio-crypto that the kernel's own driver may have. */
  kernelCrypto: '0000:00:14.0',
  /** An edu that shares its IOMMU group with a virtio-rng. */
  sharedEdu: '0000:00:15.0',
  sharedRng: '0000:00:15.1',
  /** virtio-crypto behind a port of its own, to be unplugged: `unplug(HOTPLUG_ID)`. */
  hotplugCrypto: '0000:01:00.0',
} as const;

/** QEMU's name of the device that can be unplugged. */
export const HOTPLUG_ID = 'hotplug-crypto';

export const VENDOR_DEVICE = { edu: '1234:11e8', virtioCrypto: '1af4:1054', virtioRng: '1af4:1044' } as const;

/** `addr=` of QEMU for an address on its first bus. */
function at(address: string): string {
  return `addr=${address.slice('0000:00:'.length)}`;
}

/** Modern only, and through the IOMMU as a device of real hardware. */
const VIRTIO = 'iommu_platform=on,disable-legacy=on';

/**
 * Where Linux lays out a used ring, an element lies across two pages, and QEMU 7.2 writes half of it to another address
 * when an IOMMU translates for the device: after some thousand requests the kernel's driver hangs.
 */
const PAST_IOMMU = 'disable-legacy=on';

/** QEMU's options for all of them. */
export function deviceArguments(): string[] {
  const edu = (address: string): string => `edu,dma_mask=0xffffffffffffffff,${at(address)}`;
  const backend = (id: string): string[] => ['-object', `cryptodev-backend-builtin,id=${id}`];
  const crypto = (backendId: string, where: string, options = VIRTIO): string =>
    `virtio-crypto-pci,cryptodev=${backendId},${options},${where}`;
  return [
    ...['-device', edu(GUEST_DEVICE.edu)],
    ...['-device', edu(GUEST_DEVICE.secondEdu)],
    ...backend('backend0'),
    ...['-device', crypto('backend0', at(GUEST_DEVICE.crypto))],
    ...backend('backend1'),
    ...['-device', crypto('backend1', at(GUEST_DEVICE.secondCrypto))],
    ...backend('backend2'),
    ...['-device', crypto('backend2', at(GUEST_DEVICE.kernelCrypto), PAST_IOMMU)],
    ...['-device', `${edu(GUEST_DEVICE.sharedEdu)},multifunction=on`],
    ...['-device', `virtio-rng-pci,${VIRTIO},${at(GUEST_DEVICE.sharedRng)}`],
    ...['-device', 'pcie-root-port,id=hotplug-port,chassis=1,addr=1c.0'],
    ...backend('backend3'),
    ...['-device', crypto('backend3', `id=${HOTPLUG_ID},bus=hotplug-port`)],
  ];
}
