import zlib from 'node:zlib';

/**
 * What node:zlib had when this module was loaded. A program may replace its properties (`warpdrive/register` does), and
 * whoever does its work must not end up in what replaces it.
 */
export const nodeZlib: typeof zlib = Object.create(
  Object.getPrototypeOf(zlib),
  Object.getOwnPropertyDescriptors(zlib),
);
