import { bind, ERRNO } from './libc.js';

const getpwnam = bind<Lookup>(
  'int getpwnam_r(const char *name, void *entry, void *buffer, uint64_t length, void *result)',
);
const getgrnam = bind<Lookup>(
  'int getgrnam_r(const char *name, void *entry, void *buffer, uint64_t length, void *result)',
);

type Lookup = (
  name: string,
  entry: Uint8Array,
  buffer: Uint8Array,
  length: number,
  result: BigUint64Array,
) => number;

/** struct passwd and struct group on LP64, glibc and musl: two pointers, then the number. */
const ENTRY_BYTES = 64;
const ID_OFFSET = 16;
const FIRST_BUFFER_BYTES = 4096;
const MAX_BUFFER_BYTES = 1024 * 1024;

/** The number of a user (getpwnam_r(3), so that LDAP and the like count), or undefined when there is none. */
export function userId(name: string): number | undefined {
  return lookUp(getpwnam, name);
}

/** The number of a group, or undefined when there is none. */
export function groupId(name: string): number | undefined {
  return lookUp(getgrnam, name);
}

function lookUp(find: Lookup, name: string): number | undefined {
  if (name.includes('\0')) return undefined;
  const entry = Buffer.alloc(ENTRY_BYTES);
  const result = new BigUint64Array(1);
  for (let length = FIRST_BUFFER_BYTES; length <= MAX_BUFFER_BYTES; length *= 4) {
    const error = find(name, entry, Buffer.alloc(length), length, result);
    if (error === ERRNO.ERANGE) continue;
    return error === 0 && result[0] !== 0n ? entry.readUInt32LE(ID_OFFSET) : undefined;
  }
  return undefined;
}
