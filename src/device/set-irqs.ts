import { IRQ_SET, IRQ_SET_FLAG } from '../abi/vfio-user.js';
import { SystemError } from '../errors.js';
import { ERRNO } from '../sys/libc.js';
import type { InterruptRoutes } from './interrupt-routes.js';

/** SET_IRQS: what data and which action, as <linux/vfio.h> has them. Descriptors that are routed are taken from `fds`. */
export function setIrqs(interrupts: InterruptRoutes, request: Buffer, fds: number[]): void {
  const flags = request.readUInt32LE(IRQ_SET.offset.flags);
  const index = request.readUInt32LE(IRQ_SET.offset.index);
  const start = request.readUInt32LE(IRQ_SET.offset.start);
  const count = request.readUInt32LE(IRQ_SET.offset.count);
  const data = flags & (IRQ_SET_FLAG.none | IRQ_SET_FLAG.bool | IRQ_SET_FLAG.eventfd);
  if (data !== IRQ_SET_FLAG.eventfd && fds.length > 0) throw failure(ERRNO.EINVAL, 'descriptors for nothing');
  switch (flags & ~data) {
    case IRQ_SET_FLAG.trigger:
      break;
    case IRQ_SET_FLAG.mask:
    case IRQ_SET_FLAG.unmask:
      if (data === 0) throw failure(ERRNO.EINVAL, 'what to mask is not said');
      throw failure(ERRNO.EOPNOTSUPP, 'interrupts cannot be masked');
    default:
      throw failure(ERRNO.EINVAL, 'no such action on interrupts');
  }
  const total = interrupts.count(index);
  if (start + count > total) throw failure(ERRNO.EINVAL, 'interrupts out of range');
  const all = Array.from({ length: count }, (_, i) => start + i);
  switch (data) {
    case IRQ_SET_FLAG.eventfd:
      // None at all takes the routes away.
      if (fds.length !== count && fds.length !== 0) throw failure(ERRNO.EINVAL, 'one eventfd per interrupt');
      interrupts.route(index, start, count, fds);
      break;
    case IRQ_SET_FLAG.none:
      if (start === 0 && count === 0) interrupts.route(index, 0, total, []);
      else interrupts.trigger(index, all);
      break;
    case IRQ_SET_FLAG.bool: {
      if (request.length < IRQ_SET.bytes + count) throw failure(ERRNO.EINVAL, 'one byte per interrupt');
      const bools = request.subarray(IRQ_SET.bytes);
      interrupts.trigger(
        index,
        all.filter((_, i) => bools[i] !== 0),
      );
      break;
    }
    default:
      throw failure(ERRNO.EINVAL, 'one kind of data at a time');
  }
}

function failure(errno: number, message: string): SystemError {
  return new SystemError('SET_IRQS', errno, message);
}
