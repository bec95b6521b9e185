/** The class of node:crypto that an object is an instance of, without its constructor being run. */
export function baseOf<T extends object>(prototype: T): new () => T {
  const Base = function Base() {} as unknown as new () => T;
  Base.prototype = prototype;
  return Base;
}

/**
 * Has an object that stands for one of node:crypto's show what makes up such an object, as soon as anything looks for it:
 * be it node:crypto's own methods, streams, or a program. So whatever is not known here happens as it always does.
 * @param prototype of the objects that stand for others
 * @param sample one of node:crypto's
 * @param become the object of node:crypto that one stands for, as it should be by now
 */
export function showOnDemand<T extends object>(
  prototype: T,
  sample: object,
  become: (from: T) => object,
): void {
  for (const name of Reflect.ownKeys(sample)) {
    Object.defineProperty(prototype, name, {
      configurable: true,
      get(this: T): unknown {
        return Reflect.get(become(this), name);
      },
      set(this: T, value: unknown) {
        Reflect.set(become(this), name, value);
      },
    });
  }
  // What programs see of the class is node:crypto's.
  Reflect.deleteProperty(prototype, 'constructor');
}
