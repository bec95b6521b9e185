/**
 * `warpdrive/crypto`: the interface of the running Node's node:crypto, by the accelerator or on a shorter way where that is
 * faster. The default export is for `require`, too, and has just what node:crypto has; beside it there is `stats`.
 */

import crypto from 'node:crypto';
import { named } from '../zlib/calls.js';
import { createCipheriv as ownCreateCipheriv, createDecipheriv as ownCreateDecipheriv } from './cipher.js';
import { cryptoStats } from './counters.js';
import { hkdf as ownHkdf, pbkdf2 as ownPbkdf2, scrypt as ownScrypt } from './derive.js';
import { createHash as ownCreateHash, hash as ownHash } from './hash.js';
import { createHmac as ownCreateHmac } from './hmac.js';
import { passedOn } from './passed-on.js';
import { type Loose, stock } from './stock.js';
import { verify as ownVerify } from './verify.js';

export type { CryptoReason, CryptoStats } from './counters.js';

/** What was done where, since this thread loaded the module. */
export const stats = cryptoStats;

type Module = typeof crypto;

/** How the default export, and a program that replaces node:crypto with it, finds `stats`. */
const STATS = Symbol.for('warpdrive.crypto');

const OWN: Record<string, Loose> = {
  createHash: ownCreateHash,
  hash: ownHash,
  createHmac: ownCreateHmac,
  createCipheriv: ownCreateCipheriv,
  createDecipheriv: ownCreateDecipheriv,
  pbkdf2: ownPbkdf2,
  scrypt: ownScrypt,
  hkdf: ownHkdf,
  verify: ownVerify,
  ...passedOn,
};

/** Node:crypto's own properties, as they are, with ours in the place of some. */
function makeModule(): Module {
  const descriptors = Object.getOwnPropertyDescriptors(crypto) as Record<string, PropertyDescriptor>;
  for (const [name, own] of Object.entries(OWN)) {
    descriptors[name] = { ...descriptors[name], value: named(own, stock[name]!) };
  }
  const made = Object.create(Object.getPrototypeOf(crypto), descriptors) as Module;
  Object.defineProperty(made, STATS, { value: cryptoStats });
  return made;
}

const made = makeModule();

// All that the running Node has; what is named below goes before it.
export * from 'node:crypto';
export { made as default, made as 'module.exports' };

/** In newer versions of Node, and not in the published types of the oldest. */
type Hash = (
  algorithm: string,
  data: string | NodeJS.ArrayBufferView,
  outputEncoding?: string,
) => string | Buffer;

export const {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createSign,
  createVerify,
  hash,
  hkdf,
  hkdfSync,
  pbkdf2,
  pbkdf2Sync,
  scrypt,
  scryptSync,
  sign,
  verify,
} = made as Omit<Module, 'hash'> & { hash: Hash };
