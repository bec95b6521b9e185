import { syncBuiltinESMExports } from 'node:module';

/**
 * Gives a built-in module the properties of another object. There is one such object in a thread, which `require`,
 * `import` and Node itself hand out; names that ES modules have imported follow it.
 */
export function replaceModule(stock: object, own: object): void {
  for (const name of Reflect.ownKeys(own)) {
    const descriptor = Object.getOwnPropertyDescriptor(stock, name);
    // Constants cannot be redefined, and are the same.
    if (descriptor?.configurable === false) continue;
    Object.defineProperty(stock, name, Object.getOwnPropertyDescriptor(own, name)!);
  }
  syncBuiltinESMExports();
}
