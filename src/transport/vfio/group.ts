import { existsSync } from 'node:fs';
import { GROUP_STATUS, GROUP_VIABLE, IOMMU_TYPE, VFIO, VFIO_API_VERSION } from '../../abi/vfio.js';
import { DeviceLostError, PlatformError, SystemError, UnsupportedError } from '../../errors.js';
import { closeFd, closeFds } from '../../sys/fd.js';
import { ioctl } from '../../sys/ioctl.js';
import { ERRNO } from '../../sys/libc.js';
import { IovaAllocator } from '../iova-allocator.js';
import { ContainerIommu, setIommu } from './container.js';
import type { Iommu } from './iommu.js';
import { openVfioFile } from './open-file.js';
import { groupMembers, holdsUpGroup } from './sysfs-device.js';

const CONTAINER = '/dev/vfio/vfio';

/** What several devices of one address space share. */
export interface AddressSpace {
  readonly iommu: Iommu;
  readonly iovas: IovaAllocator;
}

/** Groups that this thread has open: the kernel gives each to one opener, who may have several devices of it. */
const open = new Map<string, VfioGroup>();

/** An IOMMU group in a container of its own: what the IOMMU can tell apart, and what is therefore opened as a whole. */
export class VfioGroup implements AddressSpace {
  readonly iommu: Iommu;
  readonly iovas: IovaAllocator;
  readonly #number: string;
  readonly #fd: number;
  readonly #container: number;
  /** The devices of it that are open, by their names in /sys. */
  readonly #devices = new Set<string>();

  private constructor(number: string, fd: number, container: number, iommu: Iommu) {
    this.#number = number;
    this.#fd = fd;
    this.#container = container;
    this.iommu = iommu;
    this.iovas = new IovaAllocator(iommu.usable);
  }

  /** Opens a group, or joins the devices that this thread has of it. */
  static open(number: string): VfioGroup {
    const known = open.get(number);
    if (known) return known;
    const fds: number[] = [];
    try {
      const container = openContainer();
      fds.push(container);
      const path = groupPath(number);
      const isUnsafe = path.includes('noiommu-');
      const fd = openVfioFile(path, `a device of IOMMU group ${number}`);
      fds.push(fd);
      checkViable(fd, number);
      const pointer = Buffer.alloc(4);
      pointer.writeInt32LE(container);
      ioctl(fd, 'VFIO_GROUP_SET_CONTAINER', VFIO.groupSetContainer, pointer);
      const group = new VfioGroup(number, fd, container, isUnsafe ? noIommu(container) : type1(container));
      open.set(number, group);
      return group;
    } catch (error) {
      closeFds(fds);
      throw error;
    }
  }

  /**
   * A device of the group, by its name in /sys. The caller closes it, and then calls `release`.
   * @throws SystemError with EBUSY if this thread has it: two drivers would be in each other's way
   */
  openDevice(name: string): number {
    if (this.#devices.has(name)) {
      throw new SystemError('open', ERRNO.EBUSY, `this process has ${name} already`, {
        hint: 'close what has it first, or use that',
      });
    }
    try {
      const fd = ioctl(this.#fd, 'VFIO_GROUP_GET_DEVICE_FD', VFIO.groupGetDeviceFd, Buffer.from(`${name}\0`));
      this.#devices.add(name);
      return fd;
    } catch (error) {
      if (this.#devices.size === 0) this.#close();
      throw error;
    }
  }

  /** A device of it is closed; with the last one the group is. */
  release(name: string): void {
    this.#devices.delete(name);
    if (this.#devices.size === 0) this.#close();
  }

  #close(): void {
    open.delete(this.#number);
    closeFd(this.#fd);
    closeFd(this.#container);
  }
}

function groupPath(number: string): string {
  const unsafe = `/dev/vfio/noiommu-${number}`;
  return existsSync(unsafe) ? unsafe : `/dev/vfio/${number}`;
}

function openContainer(): number {
  let fd: number;
  try {
    fd = openVfioFile(CONTAINER, 'VFIO');
  } catch (cause) {
    if (!(cause instanceof SystemError) || (cause.errno !== ERRNO.ENOENT && cause.errno !== ERRNO.ENODEV))
      throw cause;
    throw new PlatformError('this kernel has no VFIO running', { hint: 'modprobe vfio-pci, as root', cause });
  }
  const version = ioctl(fd, 'VFIO_GET_API_VERSION', VFIO.getApiVersion);
  if (version === VFIO_API_VERSION) return fd;
  closeFd(fd);
  throw new UnsupportedError(
    `the kernel has version ${version} of VFIO, and ${VFIO_API_VERSION} is known here`,
  );
}

function checkViable(fd: number, number: string): void {
  const status = Buffer.alloc(GROUP_STATUS.bytes);
  status.writeUInt32LE(status.length, GROUP_STATUS.offset.argsz);
  ioctl(fd, 'VFIO_GROUP_GET_STATUS', VFIO.groupGetStatus, status);
  if ((status.readUInt32LE(GROUP_STATUS.offset.flags) & GROUP_VIABLE) !== 0) return;
  throw notViable(number);
}

/** The IOMMU cannot tell the devices of a group apart, so none of them may be another driver's. */
function notViable(number: string): DeviceLostError {
  const others = groupMembers(number).filter(holdsUpGroup);
  const list = others.map(({ name, driver }) => `${name} (${driver})`).join(', ');
  return new DeviceLostError(`IOMMU group ${number} is not VFIO's as a whole: other drivers have ${list}`, {
    hint: `bind them to vfio-pci, too, or to no driver: ${others.map(({ name }) => `warpdrive vfio bind ${name}`).join('; ')}`,
  });
}

function type1(container: number): Iommu {
  if (ioctl(container, 'VFIO_CHECK_EXTENSION', VFIO.checkExtension, IOMMU_TYPE.type1v2) === 0) {
    throw new PlatformError('this kernel has no VFIO for its IOMMU (type1v2)', {
      hint: 'modprobe vfio_iommu_type1, as root',
    });
  }
  try {
    setIommu(container, 'type1v2');
  } catch (cause) {
    if (!(cause instanceof SystemError) || cause.errno !== ERRNO.EPERM) throw cause;
    throw new PlatformError('the kernel does not trust this IOMMU: it does not remap interrupts', {
      hint: 'turn interrupt remapping on in the firmware, or for QEMU with intel-iommu,intremap=on',
      cause,
    });
  }
  return new ContainerIommu(container);
}

/** No IOMMU: registers and interrupts, but no DMA, which could reach the memory of everybody. */
function noIommu(container: number): Iommu {
  setIommu(container, 'noiommu');
  const refuse = (): never => {
    throw new UnsupportedError('without an IOMMU no memory can be given to a device', {
      hint: 'turn the IOMMU on: intel_iommu=on or amd_iommu=on on the kernel command line, VT-d in the firmware',
    });
  };
  return { kind: 'noiommu', usable: [], map: refuse, unmap: refuse };
}
