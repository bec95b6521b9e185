import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { crc32c } from '../support/crc32c.js';
import { noise, temporaryFolder, warpdrive } from './support-cli.js';

const MIB = 1 << 20;

describe('checksum', () => {
  test('prints the published values', () => {
    const input = Buffer.from('123456789');
    for (const [algorithm, expected] of [
      ['crc32', 'cbf43926'],
      ['crc32c', 'e3069283'],
      ['crc64-ecma', '995dc9bbdf1939fa'],
      ['adler32', '091e01de'],
    ] as const) {
      const done = warpdrive(['checksum', '-a', algorithm], { input });
      assert.equal(done.stdout.toString(), `${expected}  -\n`, done.stderr);
      assert.equal(done.code, 0);
    }
    assert.equal(warpdrive(['checksum', '-a', 'adler32']).stdout.toString(), '00000001  -\n', 'of nothing');
    assert.equal(warpdrive(['checksum']).stdout.toString(), '00000000  -\n');
  });

  test('goes on over files larger than a request, and past missing ones', () => {
    const folder = temporaryFolder();
    const path = join(folder, 'large');
    const data = noise(3 * MIB + 17);
    writeFileSync(path, data);
    const missing = join(folder, 'missing');
    const done = warpdrive(['checksum', '-a', 'crc32c', missing, folder, path]);
    assert.equal(done.code, 1);
    assert.equal(done.stdout.toString(), `${crc32c(data).toString(16).padStart(8, '0')}  ${path}\n`);
    assert.match(done.stderr, /missing: no such file or directory\n.*is a directory/);
  });

  test('an Adler-32 that is 0 at the end of a part is gone on from', () => {
    const adler = (...parts: Buffer[]): number => {
      let [a, b] = [1, 0];
      for (const byte of Buffer.concat(parts)) {
        a = (a + byte) % 65521;
        b = (b + a) % 65521;
      }
      return ((b << 16) | a) >>> 0;
    };
    // These bytes add up to 65520 and bring a to 0; each zero before them adds 1 to b, and zeros after them nothing.
    const ramp = Buffer.alloc(257, 255);
    ramp[256] = 240;
    const before = (65521 - (adler(ramp) >>> 16)) % 65521;
    const part = Buffer.alloc(MIB);
    ramp.copy(part, before);
    assert.equal(adler(part), 0);
    const tail = Buffer.from('tail');
    const expected = adler(part, tail).toString(16).padStart(8, '0');
    const done = warpdrive(['checksum', '-a', 'adler32'], { input: Buffer.concat([part, tail]) });
    assert.equal(done.stdout.toString(), `${expected}  -\n`);
  });

  test('checks a list: right, different, missing, and lines that are none', () => {
    const folder = temporaryFolder();
    const names = ['one', 'two words', 'a\nb\\c'];
    for (const name of names) writeFileSync(join(folder, name), name);
    const list = warpdrive(['checksum', '-a', 'crc64-ecma', ...names], { cwd: folder });
    assert.equal(list.code, 0);
    assert.match(list.stdout.toString(), /^\\[0-9a-f]{16} {2}a\\nb\\\\c$/m, 'an escaped name');
    writeFileSync(join(folder, 'list'), list.stdout);
    const check = (...more: string[]) =>
      warpdrive(['checksum', '-a', 'crc64-ecma', '-c', 'list', ...more], { cwd: folder });
    const right = check();
    assert.equal(right.stdout.toString(), 'one: OK\ntwo words: OK\n\\a\\nb\\\\c: OK\n');
    assert.equal(right.code, 0);
    assert.equal(check('-q').stdout.toString(), '');

    writeFileSync(join(folder, 'one'), 'other');
    const different = check();
    assert.equal(different.code, 1);
    assert.match(different.stdout.toString(), /^one: FAILED\ntwo words: OK\n/);
    assert.match(different.stderr, /WARNING: 1 computed checksum did NOT match/);

    writeFileSync(join(folder, 'list'), `${list.stdout}0123456789abcdef  gone\nnonsense\n`);
    const missing = check();
    assert.equal(missing.code, 1);
    assert.match(missing.stdout.toString(), /gone: FAILED open or read\n$/);
    assert.match(missing.stderr, /gone: no such file or directory/);
    assert.match(missing.stderr, /WARNING: 1 line is improperly formatted/);

    writeFileSync(join(folder, 'list'), 'nonsense\n');
    const none = check();
    assert.equal(none.code, 1);
    assert.match(none.stderr, /list: no properly formatted checksum lines found/);
  });

  test('names what there is, and what xxHash cannot', () => {
    const wrong = warpdrive(['checksum', '-a', 'md5']);
    assert.equal(wrong.code, 1);
    assert.match(
      wrong.stderr,
      /there is no checksum "md5"; there are crc32, crc32c, crc64-ecma, adler32, xxh64, xxh3/,
    );
    const small = warpdrive(['checksum', '-a', 'xxh64'], { input: Buffer.from('abc') });
    if (small.code !== 0) {
      assert.match(small.stderr, /no engine here has the checksum xxh64 \(apt-get install libxxhash0\)/);
      return;
    }
    assert.equal(small.stdout.toString(), '44bc2cf5ad770999  -\n');
    const most = warpdrive(['checksum', '-a', 'xxh3'], { input: Buffer.alloc(16 * MIB) });
    assert.equal(most.code, 0, most.stderr);
    const more = warpdrive(['checksum', '-a', 'xxh3'], { input: Buffer.alloc(16 * MIB + 1) });
    assert.equal(more.code, 1);
    assert.match(more.stderr, /too large for xxh3, which takes 16777216 bytes at most/);
    const off = warpdrive(['checksum', '-a', 'xxh3'], { env: { WARPDRIVE_DISABLE_ENGINES: 'xxhash' } });
    assert.equal(off.code, 1);
  });
});
