import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { ALGORITHM } from '../../abi/algorithms.js';
import { OPCODE, STATUS } from '../../abi/queue.js';
import { type DeviceMemory, Submission } from '../driver.js';
import type { CryptoQueue } from './crypto-queue.js';
import { SIGNATURE, SIGNATURE_DIGESTS, type SignatureDigest } from './signatures.js';
import { closeTrial, runTrial } from './trials.js';

/** A key that devices are tried out with: making one takes too long. It is no secret, and is used for nothing else. */
const KEY = Buffer.from(
  [
    'MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC5Q0f2eNASfGG2wJSlEmgmhqxSKbKccoHc5seRyEFpgJitjOHt',
    '3IfcWYGTp/3CfmY8bDQTt/0m4YOmm8yoiW3oglp435Yg80B+8B4SzroYrM9jZaMCSxcC1QBtWLYffgQfJ1C8BNvWE4sI5nmaDtpG',
    'bN9HhpB1xoVEkXUzjuW53SdlicG3dNGJLwXXxd3YgbvyWkC7tK0d+0P7iA5EkjphOyW8oV3VkqNZsJk2PAfI04YHJPWf9O4WypMk',
    'gWc+0nX+F83X2oextQYgF8TY8zyWq8Ly5l9AnGk2Fc5pZaquDRq5/32pmivW2YmlSckbz1yITDXJCkgGV6PYIuCY06x9AgMBAAEC',
    'ggEAS3WyLBxNdBohmtSaNxpmPbsBGX5OeBbT+mwtwZ11t0lf5uDJbZ8z33a9pqz4WW4uqlHQbG+2t02H2CcBl2xSzi+6Nh2sAsPR',
    '82JOfY6ikkZhOrU9TkPTnZ2wzNkjZXRorV/QLKU1/d579SYbRbrjAWh7EaEn2jEAO0ucF2IPBEL0GHY+Zy1WC39+jty7VMo1yqfq',
    'OW2ip4rEkcSyWgIXTgYk6yPzUHoO4AQDQAmLx0sw2x8ydWP+lzi3wK4mp3tDCvYkExELcD76J4EkW4foyrDKpSCp8Hrd2S2Y1unG',
    'afnkTQ02m1tR1ELy/Ck39vw9HQAhOR9gnrbB73KzoKj9qQKBgQDuJc4+kQkYrU+wijRIk9FhJG0KTaRhQEFWuC951fxPDXO2/ia7',
    'vz5XCzMM1jI0KU2hUfoFyxBIRD1h1O6DU1zl83YSDBlWJGQlJ16HFCqMG+YR4QoW8la/h6JR5pG6Dfuaz33W+RY7JDA/yJ3MbPJw',
    'SXsKynjbJb1Wrz6556MjGwKBgQDHJpVzQVBqsOTHpxv8jxzt1SQn5cT+WNm1IuF3//zPJnYPgFh39o2xHiW/bsfKXsLKHuiOxgE+',
    '7W4Izsda3E68k33HmXP8470SPcKo/+BCSGO0qEKZbXiGo3dSgE8zAsR4ATOSPOC5LMGAV7sefvyla3ATLfniR4LgQHUuvB3QRwKB',
    'gQC6D5mCsogb2pRvRpswtSSaM/5pVV3/iVdDLKYTF4eIL+dfalPSzckj8qEQ/2y76iU3y7d+vTdcbsxSWi17Ny9WjY+K7B8DeW0w',
    'xgCJoszXKJjpERxz7yStgYflWzIx3ejc/A3CXlvrGwwDWXdIFzqXViGmvagM+ABk8IgecQa5TwKBgHW2T6X1WCQH9OIx2y/4I2BM',
    'mHdgr4SrXdtcB6sXSwXiNOxKr4AQ4oVrTWKOh1cNldNEW69wR/I7Asv/9QO2rm92OmVNRaqXrfznNnUP8S0cfpqczejENPZYDsJc',
    'BvQe0aQhCauJgkbRtno24OpQouLf0zny9f2SyT/luZ3rITAnAoGAb5WG7IjsWPi8etZz4gFWuE9cFG0JPdx1GyaSPo6hYXQDaI1/',
    'vQ1AbS+copMRUqxhIQo0iiKyMeJ0cT1K3A2wrUA/N9Zc2yyOZ/IIsjaTf9HTEDbAvusNuvUacCW9BdKt0iBkxkIMtJ8zppsrPIzP',
    'J043iTZeloXiPaUHKUd/avo=',
  ].join(''),
  'base64',
);
const TEXT = Buffer.from('a message for a device to sign');
/** Where the parts of a trial lie in its memory. */
const AT = { key: 0, text: 2048, signature: 2112 } as const;
const SIGNATURE_BYTES = 256;
export const SIGNATURE_TRIAL_BYTES = AT.signature + SIGNATURE_BYTES;

/**
 * The digests with which a device turns out to sign and verify right.
 * @param memory of SIGNATURE_TRIAL_BYTES at least
 */
export function trySignatures(queue: CryptoQueue, memory: DeviceMemory): SignatureDigest[] {
  const privateKey = createPrivateKey({ key: KEY, format: 'der', type: 'pkcs8' });
  const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  return SIGNATURE_DIGESTS.filter(
    (digest) => signs(queue, memory, digest, privateKey) && verifies(queue, memory, digest, publicKey),
  );
}

/** Signs the text as node:crypto does; the signature lies in the memory afterwards. */
function signs(queue: CryptoQueue, memory: DeviceMemory, digest: SignatureDigest, key: KeyObject): boolean {
  const { bytes } = memory.mapping;
  const request = openSession(queue, memory, digest, OPCODE.sign, KEY);
  if (!request) return false;
  request.destination = memory.iova + AT.signature;
  request.capacity = SIGNATURE_BYTES;
  const done = runTrial(queue, request);
  closeTrial(queue, request.session);
  if (done?.status !== STATUS.ok) return false;
  return sign(digest.name, TEXT, key).equals(bytes.subarray(AT.signature, SIGNATURE_TRIAL_BYTES));
}

/** Verifies what `signs` has left in the memory, and finds what was altered. */
function verifies(queue: CryptoQueue, memory: DeviceMemory, digest: SignatureDigest, key: Buffer): boolean {
  const { bytes } = memory.mapping;
  const request = openSession(queue, memory, digest, OPCODE.verify, key);
  if (!request) return false;
  request.aux = memory.iova + AT.signature;
  request.auxLength = SIGNATURE_BYTES;
  const verdict = (): number | undefined => {
    const done = runTrial(queue, request);
    return done?.status === STATUS.ok ? done.result : undefined;
  };
  const right = verdict();
  bytes[AT.text]! ^= 1;
  const otherText = verdict();
  bytes[AT.text]! ^= 1;
  bytes[AT.signature + SIGNATURE_BYTES - 1]! ^= 1;
  const otherSignature = verdict();
  closeTrial(queue, request.session);
  return right === 1 && otherText === 0 && otherSignature === 0;
}

/** The request that a session is used with; undefined where the device makes none. */
function openSession(
  queue: CryptoQueue,
  { mapping, iova }: DeviceMemory,
  digest: SignatureDigest,
  operation: number,
  key: Buffer,
): Submission | undefined {
  mapping.bytes.set(key, AT.key);
  mapping.bytes.set(TEXT, AT.text);
  const open = new Submission();
  open.operation = OPCODE.sessionOpen;
  open.algorithm = ALGORITHM[SIGNATURE];
  open.level = operation;
  open.param0 = ALGORITHM[digest.name];
  open.source = iova + AT.key;
  open.sourceLength = key.length;
  const opened = runTrial(queue, open);
  if (opened?.status !== STATUS.ok) return undefined;
  const request = new Submission();
  request.operation = operation;
  request.algorithm = ALGORITHM[SIGNATURE];
  request.session = opened.result;
  request.source = iova + AT.text;
  request.sourceLength = TEXT.length;
  return request;
}
