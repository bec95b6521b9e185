/** WarpDrive: user-space accelerator queues for Node.js. */

export { ALGORITHM, type CompressionAlgorithm, type DeflateAlgorithm } from './abi/algorithms.js';
export { CQE_FLAG, OPCODE, SQE_FLAG, STATUS } from './abi/queue.js';
export { Accelerator } from './accelerator/accelerator.js';
export type { InfoOption, WithInfo } from './accelerator/compression-calls.js';
export type { DeviceListing } from './accelerator/device-listing.js';
export type { DmaBuffer } from './accelerator/dma-memory.js';
export type { OperationInfo } from './accelerator/job.js';
export { type OpenOptions, open } from './accelerator/open.js';
export { AcceleratorQueue } from './accelerator/raw-queue.js';
export { CompressSession, type CompressSessionOptions } from './accelerator/session.js';
export type { GzipHeader } from './algorithms/framing.js';
export type { Bytes, CompressOptions, DecompressOptions, RequestOptions } from './algorithms/options.js';
export type { EngineDescription } from './device/device.js';
export { Completion, type QueueCounters, Submission } from './driver/driver.js';
export * from './errors.js';
