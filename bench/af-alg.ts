import { SystemError } from '../src/errors.js';
import { closeFd } from '../src/sys/fd.js';
import { bind, systemError } from '../src/sys/libc.js';
import { Mapping } from '../src/sys/memory.js';

/*
 * The kernel's ciphers as a program reaches them: AF_ALG, <linux/if_alg.h>, for one request in flight (sendmsg, read) or
 * for many (sendmsg each, then all reads by one io_submit, and io_getevents). x64 only, as the guest is.
 */

const socket = bind<(domain: number, type: number, protocol: number) => number>(
  'int socket(int domain, int type, int protocol)',
);
const bindSocket = bind<(fd: number, address: Uint8Array, n: number) => number>(
  'int bind(int fd, const void *addr, uint32_t n)',
);
const setSocketOption = bind<
  (fd: number, level: number, name: number, value: Uint8Array, n: number) => number
>('int setsockopt(int fd, int level, int name, const void *value, uint32_t n)');
const acceptSocket = bind<(fd: number, address: number, n: number) => number>(
  'int accept(int fd, uint64_t addr, uint64_t n)',
);
const sendMessage = bind<(fd: number, message: number, flags: number) => number>(
  'int64_t sendmsg(int fd, uint64_t message, int flags)',
);
const read = bind<(fd: number, buffer: number, n: number) => number>(
  'int64_t read(int fd, uint64_t buffer, uint64_t n)',
);
const call = bind<(number: number, a: number, b: number, c: number, d: number, e: number) => number>(
  'int64_t syscall(int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)',
);

const AF_ALG = 38;
const SOCK_SEQPACKET = 5;
const SOL_ALG = 279;
const ALG = { setKey: 1, setIv: 2, setOperation: 3 } as const;
const ENCRYPT = 1;
/** struct sockaddr_alg. */
const ADDRESS = { bytes: 88, type: 2, name: 24 } as const;
const CALL = { ioSetup: 206, ioDestroy: 207, ioGetEvents: 208, ioSubmit: 209 } as const;
/** A request's structures: struct msghdr, struct iovec, two control messages, struct iocb; then its IV. */
const AT = { message: 0, vector: 56, operation: 72, iv: 96, iocb: 136, bytes: 256 } as const;
const CONTROL_BYTES = AT.iocb - AT.operation;
const OPERATION_LENGTH = 20;
const IV_LENGTH = 36;
const IV_BYTES = 16;
const EVENT_BYTES = 32;

/** As many requests of a cipher of the kernel's at once, each of so many bytes, all with one key. */
export class KernelCipher {
  readonly width: number;
  readonly bytes: number;
  readonly #fds: number[] = [];
  readonly #memory: Mapping;
  readonly #data: Mapping;
  readonly #pointers: number;
  readonly #events: number;
  readonly #context: number;

  /** @param driver the kernel's name of the implementation, as in /proc/crypto */
  constructor(driver: string, key: Uint8Array, iv: Uint8Array, bytes: number, width: number) {
    this.width = width;
    this.bytes = bytes;
    const parent = open(driver, key);
    for (let i = 0; i < width; i++) {
      const fd = acceptSocket(parent, 0, 0);
      if (fd < 0) throw systemError('accept');
      this.#fds.push(fd);
    }
    closeFd(parent);
    this.#memory = Mapping.anonymous(width * (AT.bytes + 8 + EVENT_BYTES) + 8);
    this.#data = Mapping.anonymous(width * bytes * 2);
    this.#pointers = this.#memory.address + width * AT.bytes;
    this.#events = this.#pointers + width * 8;
    for (let i = 0; i < width; i++) this.#prepare(i, iv);
    this.#context = this.#setUp();
  }

  #setUp(): number {
    const cell = this.#events + this.width * EVENT_BYTES;
    if (call(CALL.ioSetup, this.width, cell, 0, 0, 0) < 0) throw systemError('io_setup');
    const offset = cell - this.#memory.address;
    return Number(Buffer.from(this.#memory.bytes).readBigUInt64LE(offset));
  }

  /** Lays out a request once: nothing of it changes from one time to the next. */
  #prepare(index: number, iv: Uint8Array): void {
    const base = this.#memory.address + index * AT.bytes;
    const input = this.#data.address + index * 2 * this.bytes;
    const view = new DataView(this.#memory.bytes.buffer, index * AT.bytes, AT.bytes);
    const put = (at: number, value: number): void => view.setBigUint64(at, BigInt(value), true);
    put(AT.message + 16, base + AT.vector);
    put(AT.message + 24, 1);
    put(AT.message + 32, base + AT.operation);
    put(AT.message + 40, CONTROL_BYTES);
    put(AT.vector, input);
    put(AT.vector + 8, this.bytes);
    put(AT.operation, OPERATION_LENGTH);
    view.setUint32(AT.operation + 8, SOL_ALG, true);
    view.setUint32(AT.operation + 12, ALG.setOperation, true);
    view.setUint32(AT.operation + 16, ENCRYPT, true);
    put(AT.iv, IV_LENGTH);
    view.setUint32(AT.iv + 8, SOL_ALG, true);
    view.setUint32(AT.iv + 12, ALG.setIv, true);
    view.setUint32(AT.iv + 16, IV_BYTES, true);
    this.#memory.bytes.set(iv, index * AT.bytes + AT.iv + 20);
    // A read, into the output.
    view.setUint32(AT.iocb + 20, this.#fds[index]!, true);
    put(AT.iocb + 24, input + this.bytes);
    put(AT.iocb + 32, this.bytes);
    const pointers = new DataView(this.#memory.bytes.buffer, this.width * AT.bytes, this.width * 8);
    pointers.setBigUint64(index * 8, BigInt(base + AT.iocb), true);
  }

  /** The input and the output of a request. */
  input(index: number): Uint8Array {
    const at = index * 2 * this.bytes;
    return this.#data.bytes.subarray(at, at + this.bytes);
  }

  output(index: number): Uint8Array {
    const at = (index * 2 + 1) * this.bytes;
    return this.#data.bytes.subarray(at, at + this.bytes);
  }

  /** Runs all requests once. */
  run(): void {
    const { width } = this;
    for (let i = 0; i < width; i++) {
      if (sendMessage(this.#fds[i]!, this.#memory.address + i * AT.bytes, 0) < 0)
        throw systemError('sendmsg');
    }
    if (width === 1) {
      const output = this.#data.address + this.bytes;
      if (read(this.#fds[0]!, output, this.bytes) !== this.bytes) throw systemError('read');
      return;
    }
    for (let sent = 0; sent < width; ) {
      const count = call(CALL.ioSubmit, this.#context, width - sent, this.#pointers + sent * 8, 0, 0);
      if (count < 0) throw systemError('io_submit');
      sent += count;
    }
    for (let done = 0; done < width; ) {
      const count = call(CALL.ioGetEvents, this.#context, width - done, width - done, this.#events, 0);
      if (count < 0) throw systemError('io_getevents');
      done += count;
    }
  }

  close(): void {
    call(CALL.ioDestroy, this.#context, 0, 0, 0, 0);
    for (const fd of this.#fds) closeFd(fd);
    this.#memory.unmap();
    this.#data.unmap();
  }
}

/** A socket for a cipher of the kernel's, with its key. */
function open(driver: string, key: Uint8Array): number {
  const fd = socket(AF_ALG, SOCK_SEQPACKET, 0);
  if (fd < 0) throw systemError('socket', 'modprobe af_alg algif_skcipher');
  const address = Buffer.alloc(ADDRESS.bytes);
  address.writeUInt16LE(AF_ALG);
  address.write('skcipher', ADDRESS.type);
  address.write(driver, ADDRESS.name);
  if (bindSocket(fd, address, address.length) < 0) throw notThere(driver, systemError('bind'));
  if (setSocketOption(fd, SOL_ALG, ALG.setKey, key, key.length) < 0) throw systemError('setsockopt');
  return fd;
}

function notThere(driver: string, cause: SystemError): SystemError {
  const hint = 'modprobe virtio_crypto, and give it the device';
  return new SystemError('bind', cause.errno, `the kernel has no ${driver}`, { cause, hint });
}
