import assert from 'node:assert/strict';
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { closeFd, closeFds, createEventfd, createPipe } from '../../src/sys/fd.js';
import { bind } from '../../src/sys/libc.js';
import { addSeals, checkMappable, createMemfd, getSeals, SEAL } from '../../src/sys/memfd.js';
import { Mapping } from '../../src/sys/memory.js';
import { createSocketPair } from '../../src/sys/socket.js';

const memfdCreate = bind<(name: string, flags: number) => number>(
  'int memfd_create(const char *name, unsigned int flags)',
);
const ARGUMENT = { code: 'ERR_WARPDRIVE_ARGUMENT' };

describe('memfd', () => {
  test('cannot shrink or grow, and says so in its seals', () => {
    const fd = createMemfd('test', 8192);
    assert.equal(fstatSync(fd).size, 8192);
    assert.equal(getSeals(fd), SEAL.shrink | SEAL.grow);
    for (const size of [0, 4096, 8191, 8193, 65536]) {
      assert.throws(() => ftruncateSync(fd, size), { code: 'EPERM' });
    }
    assert.equal(fstatSync(fd).size, 8192);
    ftruncateSync(fd, 8192);
    closeFd(fd);
  });

  test('sealed against future writing it can be mapped for reading only, and sealed for good', () => {
    const fd = createMemfd('test', 4096);
    const writable = Mapping.shared(fd, 0, 4096, 'read-write');
    addSeals(fd, SEAL.futureWrite | SEAL.seal);
    assert.throws(() => Mapping.shared(fd, 0, 4096, 'read-write'), { syscall: 'mmap' });
    const readable = Mapping.shared(fd, 0, 4096, 'read');
    writable.bytes[5] = 6;
    assert.equal(readable.bytes[5], 6);
    assert.throws(() => addSeals(fd, SEAL.write), { syscall: 'fcntl(F_ADD_SEALS)' });
    writable.unmap();
    readable.unmap();
    closeFd(fd);
  });
});

describe('checkMappable', () => {
  test('refuses huge pages, in which a hole kills whoever has them mapped', () => {
    const MFD_ALLOW_SEALING = 2;
    const MFD_HUGETLB = 4;
    const fd = memfdCreate('huge', MFD_ALLOW_SEALING | MFD_HUGETLB);
    // A kernel without huge pages cannot be attacked with them.
    if (fd < 0) return;
    ftruncateSync(fd, 2 << 20);
    addSeals(fd, SEAL.shrink);
    assert.throws(() => checkMappable(fd, 0, 4096), ARGUMENT);
    closeFd(fd);
  });

  test('accepts a sealed memfd, up to its last byte', () => {
    const fd = createMemfd('test', 8192);
    checkMappable(fd, 0, 8192);
    checkMappable(fd, 4096, 4096);
    checkMappable(fd, 8191, 1);
    closeFd(fd);
  });

  test('refuses what does not lie within it', () => {
    const fd = createMemfd('test', 8192);
    for (const [offset, length] of [
      [0, 8193],
      [4096, 4097],
      [8192, 1],
      [-1, 100],
      [0, 0],
      [0, -1],
      [Number.NaN, 1],
      [0, Number.NaN],
      [0, Number.POSITIVE_INFINITY],
      [2 ** 53, 1],
    ] as const) {
      assert.throws(() => checkMappable(fd, offset, length), ARGUMENT, `${offset} + ${length}`);
    }
    closeFd(fd);
  });

  test('refuses memory that can shrink: without seals, sealed otherwise, and memory that forbids seals', () => {
    const unsealed = memfdCreate('test', 3);
    ftruncateSync(unsealed, 8192);
    assert.throws(() => checkMappable(unsealed, 0, 4096), ARGUMENT);
    addSeals(unsealed, SEAL.grow);
    assert.throws(() => checkMappable(unsealed, 0, 4096), ARGUMENT);
    addSeals(unsealed, SEAL.shrink);
    checkMappable(unsealed, 0, 4096);
    closeFd(unsealed);
    const closedToSeals = memfdCreate('test', 1);
    ftruncateSync(closedToSeals, 8192);
    assert.throws(() => checkMappable(closedToSeals, 0, 4096), ARGUMENT);
    closeFd(closedToSeals);
  });

  test('refuses everything that is not a memfd', () => {
    const folder = mkdtempSync(join(tmpdir(), 'warpdrive-'));
    writeFileSync(join(folder, 'file'), Buffer.alloc(8192));
    const files = [
      openSync(join(folder, 'file'), constants.O_RDWR),
      openSync(folder, constants.O_RDONLY),
      openSync('/dev/zero', constants.O_RDWR),
      openSync('/dev/null', constants.O_RDWR),
      openSync('/proc/self/maps', constants.O_RDONLY),
    ];
    const others = [...createPipe(), ...createSocketPair(), createEventfd()];
    for (const fd of [...files, ...others, -1, 99999]) {
      assert.throws(() => checkMappable(fd, 0, 4096), ARGUMENT);
    }
    for (const fd of files) closeSync(fd);
    closeFds(others);
    rmSync(folder, { recursive: true });
  });
});
