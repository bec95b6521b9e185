import zlib from 'node:zlib';
import { named } from './calls.js';
import { planStream } from './choice.js';
import { countNode } from './counters.js';
import { DeflateHandle } from './deflate-handle.js';
import { CLASSES, type ClassName } from './formats.js';
import { InflateHandle } from './inflate-handle.js';
import { type NodeStream, stepCallback } from './node-handle.js';

/** A class of node:zlib, which may be called without `new`, too. */
export type StreamClass<S> = (new (options?: zlib.ZlibOptions) => S) & ((options?: zlib.ZlibOptions) => S);

/**
 * A class of node:zlib whose instances have the accelerator below them. They are instances of node:zlib's class, too,
 * which checks their options; and as there, the class may be called without `new` and by functions that inherit from it.
 */
export function makeClass<S>(name: ClassName): StreamClass<S> {
  const node = zlib[name as 'Gzip'] as unknown as StreamClass<S>;
  const own = function (this: unknown, options?: zlib.ZlibOptions): unknown {
    if (!(this instanceof own)) {
      // For the warning that newer versions of Node give here.
      (Reflect.apply(node, undefined, [options]) as zlib.Gzip).close();
      return new own(options);
    }
    Reflect.apply(node, this, [options]);
    useAccelerator(name, this as unknown as NodeStream, options);
    return this;
  } as unknown as StreamClass<S>;
  Object.setPrototypeOf(own, node);
  own.prototype = Object.create(node.prototype, {
    constructor: { value: own, writable: true, configurable: true },
  });
  return named(own, node);
}

function useAccelerator(name: ClassName, stream: NodeStream, options: unknown): void {
  const format = CLASSES[name];
  const plan = planStream(format, options);
  if (typeof plan === 'string') countNode('streams', plan);
  else if (!stepCallback) countNode('streams', 'this version of Node');
  else if (!format.compresses) {
    const isStrict = Boolean(
      (options as { rejectGarbageAfterEnd?: boolean } | undefined)?.rejectGarbageAfterEnd,
    );
    stream._handle = new InflateHandle(stream, format.algorithm, isStrict);
  } else stream._handle = new DeflateHandle(stream, format.algorithm!, plan.level);
}

/** A function like createGzip. */
export function makeCreate<S>(
  own: StreamClass<S>,
  node: (options?: zlib.ZlibOptions) => S,
): (options?: zlib.ZlibOptions) => S {
  // biome-ignore lint/complexity/useArrowFunction: as in node:zlib it has a prototype
  return named(function (options?: zlib.ZlibOptions): S {
    return new own(options);
  }, node);
}
