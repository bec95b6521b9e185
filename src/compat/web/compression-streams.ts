import {
  CompressionStream as NodeCompressionStream,
  DecompressionStream as NodeDecompressionStream,
} from 'node:stream/web';
import zlib from 'node:zlib';
import ownZlib from '../zlib/index.js';

/** A format of the running Node: `gzip`, `deflate`, `deflate-raw`; in newer versions `brotli`, too. */
export type CompressionFormat = ConstructorParameters<typeof NodeCompressionStream>[0];

/** The functions that Node's own Web streams make their stream of node:zlib with. */
const CREATE = Object.keys(zlib).filter((name) => name.startsWith('create'));

/**
 * Has Node's class make its stream, which it makes while it is constructed, of our zlib; until what is returned is called.
 * So all that programs see, back-pressure and errors among it, is Node's own. Where built-ins are frozen, it
 * makes node:zlib's.
 */
function lendOwnZlib(): () => void {
  const stock = CREATE.map((name) => Object.getOwnPropertyDescriptor(zlib, name)!);
  if (!stock.every(({ configurable }) => configurable)) return () => {};
  for (const name of CREATE) {
    Object.defineProperty(zlib, name, Object.getOwnPropertyDescriptor(ownZlib, name)!);
  }
  return () => {
    CREATE.forEach((name, i) => {
      Object.defineProperty(zlib, name, stock[i]!);
    });
  };
}

/** Compresses what is written to it. */
export class CompressionStream extends NodeCompressionStream {
  constructor(format: CompressionFormat) {
    const giveBack = lendOwnZlib();
    try {
      super(format);
    } finally {
      giveBack();
    }
  }
}

/** Decompresses what is written to it. */
export class DecompressionStream extends NodeDecompressionStream {
  constructor(format: CompressionFormat) {
    const giveBack = lendOwnZlib();
    try {
      super(format);
    } finally {
      giveBack();
    }
  }
}
