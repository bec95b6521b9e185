import crypto from 'node:crypto';
import zlib from 'node:zlib';
import { ArgumentError } from '../../errors.js';
import ownCrypto from '../crypto/index.js';
import { cryptoSummary } from '../crypto/summary.js';
import { webSummary } from '../web/summary.js';
import ownZlib from '../zlib/index.js';
import { zlibSummary } from '../zlib/summary.js';
import { replaceModule } from './replace-module.js';
import { replaceWeb } from './replace-web.js';

/** Something that can be replaced for a whole program. */
interface Part {
  replace: () => void;
  /** What was done where, as a line for people. */
  summary: () => string;
}

export const PARTS = {
  zlib: { replace: () => replaceModule(zlib, ownZlib), summary: zlibSummary },
  crypto: { replace: () => replaceModule(crypto, ownCrypto), summary: cryptoSummary },
  web: { replace: replaceWeb, summary: webSummary },
} satisfies Record<string, Part>;

export type PartName = keyof typeof PARTS;

const DEFAULT_PARTS = 'zlib';

/** What WARPDRIVE_REGISTER asks for: names with commas. */
export function wantedParts(list: string | undefined): PartName[] {
  const names = (list || DEFAULT_PARTS).split(',').map((name) => name.trim());
  for (const name of names) {
    if (Object.hasOwn(PARTS, name)) continue;
    throw new ArgumentError(`WARPDRIVE_REGISTER asks for '${name}', which cannot be replaced`, {
      hint: `known are ${Object.keys(PARTS).join(', ')}, with commas between them`,
    });
  }
  return names as PartName[];
}
