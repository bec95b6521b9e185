import { createCipheriv } from 'node:crypto';
import { ALGORITHM } from '../../abi/algorithms.js';
import { OPCODE, SQE_FLAG, STATUS } from '../../abi/queue.js';
import { Completion, type DeviceMemory, Submission } from '../driver.js';
import { CIPHERS, type Cipher } from './ciphers.js';
import type { CryptoQueue } from './crypto-queue.js';

const TEXT_BYTES = 32;
/** Where the parts of a trial lie in its memory. */
const AT = { key: 0, iv: 64, text: 128, output: 256, back: 384 } as const;
export const TRIAL_BYTES = 512;
/** How long one request may take. */
const TRIAL_MS = 1000;

/**
 * The ciphers that a device turns out to have: those that it enciphers and deciphers right. The masks in its
 * configuration are not relied upon.
 * @param memory of TRIAL_BYTES at least
 */
export function tryCiphers(queue: CryptoQueue, memory: DeviceMemory): Cipher[] {
  const { bytes } = memory.mapping;
  for (let i = 0; i < AT.output; i++) bytes[i] = (i * 37 + 11) & 0xff;
  return CIPHERS.filter((cipher) => isRight(queue, memory, cipher));
}

function isRight(queue: CryptoQueue, { mapping, iova }: DeviceMemory, cipher: Cipher): boolean {
  const part = (at: number, length: number): Uint8Array => mapping.bytes.subarray(at, at + length);
  const iv = cipher.ivBytes === 0 ? null : part(AT.iv, cipher.ivBytes);
  const text = part(AT.text, TEXT_BYTES);
  const wanted = createCipheriv(cipher.name, part(AT.key, cipher.keyBytes), iv)
    .setAutoPadding(false)
    .update(text);
  const request = new Submission();
  request.operation = OPCODE.sessionOpen;
  request.algorithm = ALGORITHM[cipher.name];
  request.level = OPCODE.encrypt;
  request.source = iova + AT.key;
  request.sourceLength = cipher.keyBytes;
  const opened = runTrial(queue, request);
  if (opened?.status !== STATUS.ok) return false;
  const session = opened.result;
  const convert = (operation: number, from: number, to: number): boolean => {
    request.operation = operation;
    request.level = 0;
    request.flags = cipher.mode === 'block' ? SQE_FLAG.unpadded : 0;
    request.session = session;
    request.source = iova + from;
    request.destination = iova + to;
    request.sourceLength = request.capacity = TEXT_BYTES;
    request.aux = iova + AT.iv;
    request.auxLength = request.param0 = cipher.ivBytes;
    return runTrial(queue, request)?.status === STATUS.ok;
  };
  const isDone = convert(OPCODE.encrypt, AT.text, AT.output) && convert(OPCODE.decrypt, AT.output, AT.back);
  closeTrial(queue, session);
  return (
    isDone &&
    wanted.equals(part(AT.output, TEXT_BYTES)) &&
    Buffer.compare(text, part(AT.back, TEXT_BYTES)) === 0
  );
}

/** Runs one request while this thread waits; undefined if nothing comes back. */
export function runTrial(queue: CryptoQueue, request: Submission): Completion | undefined {
  if (!queue.submit(request)) return undefined;
  queue.publish();
  const completion = new Completion();
  const until = performance.now() + TRIAL_MS;
  while (!queue.poll(completion)) {
    if (queue.failed || performance.now() > until) return undefined;
  }
  return completion;
}

export function closeTrial(queue: CryptoQueue, session: number): void {
  const close = new Submission();
  close.operation = OPCODE.sessionClose;
  close.session = session;
  runTrial(queue, close);
}
