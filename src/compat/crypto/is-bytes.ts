import { types } from 'node:util';

const byteLength = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype) as object,
  'byteLength',
)!.get as (this: Uint8Array) => number;

/** Whether a value really is bytes, as node:crypto sees it: a Proxy, or what only inherits from Uint8Array, is not. */
export function isBytes(value: unknown): value is Uint8Array {
  return types.isUint8Array(value);
}

/** How many there are, whatever a property of that name says. */
export function lengthOf(bytes: Uint8Array): number {
  return byteLength.call(bytes);
}
