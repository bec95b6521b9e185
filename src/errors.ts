/** What happened, where, and what the reader can do: the context every WarpDrive error may carry. */
export interface ErrorContext {
  /** What to do about it, as one sentence. */
  hint?: string;
  /** The device that reported it. */
  device?: string;
  /** The queue that carried the request. */
  queue?: number;
  /** The engine that ran the request. */
  engine?: string;
  cause?: unknown;
}

/** The base of all errors thrown here. `code` is stable and starts with `ERR_WARPDRIVE_`. */
export class WarpDriveError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  readonly device: string | undefined;
  readonly queue: number | undefined;
  readonly engine: string | undefined;

  constructor(code: string, message: string, context: ErrorContext = {}) {
    super(context.hint ? `${message} (${context.hint})` : message, { cause: context.cause });
    this.name = new.target.name;
    this.code = `ERR_WARPDRIVE_${code}`;
    this.hint = context.hint;
    this.device = context.device;
    this.queue = context.queue;
    this.engine = context.engine;
  }
}

/** This operating system, processor or build of Node cannot run WarpDrive. */
export class PlatformError extends WarpDriveError {
  constructor(message: string, context?: ErrorContext) {
    super('PLATFORM', message, context);
  }
}

/** A system call failed; `errno` is the kernel's number, `syscall` the call's name. */
export class SystemError extends WarpDriveError {
  readonly errno: number;
  readonly syscall: string;

  constructor(syscall: string, errno: number, message: string, context?: ErrorContext) {
    super('SYSTEM', `${syscall}: ${message}`, context);
    this.errno = errno;
    this.syscall = syscall;
  }
}

/** An argument has the wrong type or is out of range. */
export class ArgumentError extends WarpDriveError {
  constructor(message: string, context?: ErrorContext) {
    super('ARGUMENT', message, context);
  }
}

/** The buffer was detached (transferred away) before the device had taken it. */
export class DetachedError extends WarpDriveError {
  constructor(message = 'the buffer is detached', context?: ErrorContext) {
    super('DETACHED', message, context);
  }
}

/** No such algorithm, level or device here; the message lists what there is. */
export class UnsupportedError extends WarpDriveError {
  constructor(message: string, context?: ErrorContext) {
    super('UNSUPPORTED', message, context);
  }
}

/** The compressed data is damaged. */
export class CorruptDataError extends WarpDriveError {
  constructor(message: string, context?: ErrorContext) {
    super('CORRUPT', message, context);
  }
}

/** The compressed data ends too early. */
export class TruncatedDataError extends WarpDriveError {
  constructor(message: string, context?: ErrorContext) {
    super('TRUNCATED', message, context);
  }
}

/**
 * What was to be decrypted is not what was encrypted, or the key is another one. Nothing tells which: no plaintext, no
 * other message.
 */
export class AuthenticationError extends WarpDriveError {
  constructor(message: string, context?: ErrorContext) {
    super('AUTHENTICATION', message, context);
  }
}

/** The stream is complete and more bytes follow; `consumed` is where it ended. */
export class TrailingDataError extends WarpDriveError {
  readonly consumed: number;

  constructor(message: string, consumed: number, context?: ErrorContext) {
    super('TRAILING_DATA', message, context);
    this.consumed = consumed;
  }
}

/** The result would be larger than `maxOutputLength`. */
export class OutputLimitError extends WarpDriveError {
  constructor(message: string, context?: ErrorContext) {
    super('OUTPUT_LIMIT', message, context);
  }
}

/** The accelerator, queue, session or buffer was closed. */
export class ClosedError extends WarpDriveError {
  constructor(message: string, context?: ErrorContext) {
    super('CLOSED', message, context);
  }
}

/** The device died; whatever was in flight failed with this. A new `open()` starts afresh. */
export class DeviceLostError extends WarpDriveError {
  constructor(message: string, context?: ErrorContext) {
    super('DEVICE_LOST', message, context);
  }
}

/** The device refused a request as malformed, or reported that an engine failed. */
export class DeviceError extends WarpDriveError {
  /** Status code of the completion (docs/device-spec.md, "Status"). */
  readonly status: number;

  constructor(message: string, status: number, context?: ErrorContext) {
    super('DEVICE', message, context);
    this.status = status;
  }
}

/** The other end broke the vfio-user protocol. */
export class ProtocolError extends WarpDriveError {
  constructor(message: string, context?: ErrorContext) {
    super('PROTOCOL', message, context);
  }
}

/** The request was not done within its deadline. */
export class DeadlineError extends WarpDriveError {
  constructor(message: string, context?: ErrorContext) {
    super('DEADLINE', message, context);
  }
}

/** A device was told to use memory that it cannot reach, and so nothing arrived. */
export class DmaError extends WarpDriveError {
  /** The first address that it could not reach, as the device knows it. */
  readonly address: number;

  constructor(message: string, address: number, context?: ErrorContext) {
    super('DMA', message, context);
    this.address = address;
  }
}

/** No memory could be had for queues or buffers. */
export class MemoryError extends WarpDriveError {
  constructor(message: string, context?: ErrorContext) {
    super('MEMORY', message, context);
  }
}
