import { VFIO } from '../../abi/vfio.js';
import { DEVICE_INFO, IRQ_INFO, IRQ_SET, IRQ_SET_FLAG, REGION_INFO } from '../../abi/vfio-user.js';
import { SystemError } from '../../errors.js';
import { ioctl } from '../../sys/ioctl.js';
import { ERRNO } from '../../sys/libc.js';
import type { IrqDetails, RegionDetails } from '../details.js';
import { parseRegion } from '../vfio-user/regions.js';

/** The requests that a VFIO device takes, whichever way it was opened: its descriptor is the caller's. */
export class VfioDevice {
  readonly fd: number;
  readonly regions: number;
  readonly irqs: number;
  /** DEVICE_FLAG. */
  readonly flags: number;

  constructor(fd: number) {
    this.fd = fd;
    const info = request(DEVICE_INFO.bytes);
    ioctl(fd, 'VFIO_DEVICE_GET_INFO', VFIO.deviceGetInfo, info);
    this.flags = info.readUInt32LE(DEVICE_INFO.offset.flags);
    this.regions = info.readUInt32LE(DEVICE_INFO.offset.numRegions);
    this.irqs = info.readUInt32LE(DEVICE_INFO.offset.numIrqs);
  }

  /** What the kernel says of a region; twice where the first answer had no room for all. */
  region(index: number): RegionDetails {
    let info = this.#regionInfo(index, REGION_INFO.bytes);
    const needed = info.readUInt32LE(REGION_INFO.offset.argsz);
    if (needed > info.length) info = this.#regionInfo(index, needed);
    return parseRegion(index, info, this.fd);
  }

  #regionInfo(index: number, bytes: number): Buffer {
    const info = request(bytes);
    info.writeUInt32LE(index, REGION_INFO.offset.index);
    ioctl(this.fd, 'VFIO_DEVICE_GET_REGION_INFO', VFIO.deviceGetRegionInfo, info);
    return info;
  }

  irq(index: number): IrqDetails {
    const info = request(IRQ_INFO.bytes);
    info.writeUInt32LE(index, IRQ_INFO.offset.index);
    try {
      ioctl(this.fd, 'VFIO_DEVICE_GET_IRQ_INFO', VFIO.deviceGetIrqInfo, info);
    } catch (error) {
      // The kernel has indexes for errors and requests that it refuses where a device has none.
      if (!(error instanceof SystemError) || error.errno !== ERRNO.EINVAL || index >= this.irqs) throw error;
      return { flags: 0, count: 0 };
    }
    return {
      flags: info.readUInt32LE(IRQ_INFO.offset.flags),
      count: info.readUInt32LE(IRQ_INFO.offset.count),
    };
  }

  /** Routes interrupts, from `start` on, to eventfds; -1 is none. */
  routeIrqs(index: number, start: number, eventfds: readonly number[]): void {
    const body = irqSet(IRQ_SET_FLAG.eventfd | IRQ_SET_FLAG.trigger, index, start, eventfds.length, 4);
    eventfds.forEach((fd, i) => {
      body.writeInt32LE(fd, IRQ_SET.bytes + 4 * i);
    });
    this.#setIrqs(body);
  }

  /** Turns all interrupts of an index off. */
  disableIrqs(index: number): void {
    this.#setIrqs(irqSet(IRQ_SET_FLAG.none | IRQ_SET_FLAG.trigger, index, 0, 0));
  }

  /** Lets interrupts come that the kernel has masked because they came. */
  unmaskIrqs(index: number, start: number, count: number): void {
    this.#setIrqs(irqSet(IRQ_SET_FLAG.none | IRQ_SET_FLAG.unmask, index, start, count));
  }

  #setIrqs(body: Buffer): void {
    const fewer = ioctl(this.fd, 'VFIO_DEVICE_SET_IRQS', VFIO.deviceSetIrqs, body);
    if (fewer > 0) {
      throw new SystemError('VFIO_DEVICE_SET_IRQS', ERRNO.ENOSPC, `only ${fewer} interrupts can be had`, {
        hint: 'use fewer queues',
      });
    }
  }

  reset(): void {
    ioctl(this.fd, 'VFIO_DEVICE_RESET', VFIO.deviceReset);
  }
}

/** A structure of this many bytes, which it begins with. */
function request(bytes: number): Buffer {
  const body = Buffer.alloc(bytes);
  body.writeUInt32LE(bytes);
  return body;
}

function irqSet(flags: number, index: number, start: number, count: number, dataBytes = 0): Buffer {
  const body = request(IRQ_SET.bytes + count * dataBytes);
  body.writeUInt32LE(flags, IRQ_SET.offset.flags);
  body.writeUInt32LE(index, IRQ_SET.offset.index);
  body.writeUInt32LE(start, IRQ_SET.offset.start);
  body.writeUInt32LE(count, IRQ_SET.offset.count);
  return body;
}
