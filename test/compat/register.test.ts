import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';

/* Whole programs under `node --import warpdrive/register`, in processes of their own. */

const REGISTER = new URL('../../src/compat/register/index.js', import.meta.url).href;

/** Says `ours` or `stock` of node:zlib as a program sees it. */
const OWNER = `(zlib) => (zlib[Symbol.for('warpdrive.zlib')] ? 'ours' : 'stock')`;
const PROGRAMS = {
  'module.mjs': `
    import zlib, { createGzip, gzipSync } from 'node:zlib'
    import * as all from 'zlib'
    import { createRequire } from 'node:module'
    const required = createRequire(import.meta.url)('zlib')
    const same = required === zlib && all.createGzip === createGzip && zlib.gzipSync === gzipSync
    console.log((${OWNER})(required), same, String(zlib.gunzipSync(gzipSync('text'))))`,
  'common.cjs': `
    const zlib = require('zlib')
    const same = process.getBuiltinModule('zlib') === zlib && require('node:zlib') === zlib
    console.log((${OWNER})(zlib), same, String(zlib.gunzipSync(zlib.gzipSync('text'))))`,
  'worker.mjs': `
    import { Worker } from 'node:worker_threads'
    new Worker(new URL('module.mjs', import.meta.url))`,
  'worker-environment.mjs': `
    import { Worker } from 'node:worker_threads'
    new Worker(new URL('common.cjs', import.meta.url), { env: { ...process.env }, execArgv: [] })`,
  'fork.mjs': `
    import { fork } from 'node:child_process'
    fork(new URL('module.mjs', import.meta.url), { cwd: '/' })`,
  'spawn.mjs': `
    import { spawnSync } from 'node:child_process'
    import { fileURLToPath } from 'node:url'
    const file = fileURLToPath(new URL('common.cjs', import.meta.url))
    spawnSync(process.execPath, [file], { cwd: '/', stdio: 'inherit' })`,
  'cluster.mjs': `
    import cluster from 'node:cluster'
    if (cluster.isPrimary) cluster.fork()
    else await import('./module.mjs').then(() => process.disconnect())`,
  'streams.mjs': `
    import { promisify } from 'node:util'
    import zlib from 'node:zlib'
    const bytes = Buffer.alloc(100_000, 'some text, ')
    while (zlib[Symbol.for('warpdrive.zlib')]().accelerated.calls === 0) await promisify(zlib.gzip)(bytes)
    const packed = new Blob([bytes]).stream().pipeThrough(new CompressionStream('gzip'))
    const text = await new Response(packed.pipeThrough(new DecompressionStream('gzip'))).text()
    console.log(text === String(bytes), zlib[Symbol.for('warpdrive.zlib')]().accelerated.streams)`,
  'web.mjs': `
    import crypto, { subtle, webcrypto } from 'node:crypto'
    import { CompressionStream as Imported } from 'node:stream/web'
    const all = [crypto.subtle, webcrypto.subtle, globalThis.crypto.subtle]
    const bytes = Buffer.from('text')
    for (let i = 0; i < 2000; i++) {
      await subtle.digest('SHA-256', bytes)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    console.log(all.every((each) => each === subtle), Imported === CompressionStream)`,
  'crypto.mjs': `
    import crypto, { createHash } from 'node:crypto'
    import { createRequire } from 'node:module'
    import { promisify } from 'node:util'
    const required = createRequire(import.meta.url)('crypto')
    const stats = crypto[Symbol.for('warpdrive.crypto')]
    while (!stats().accelerated.hkdf) await promisify(crypto.hkdf)('sha256', 'key', '', '', 16)
    for (let i = 0; i < 10_100; i++) crypto.createHmac('sha256', 'key').update('x').digest()
    console.log(required.createHash === createHash, createHash('md5').update('x').digest('hex').length, Object.keys(stats().caller))`,
  'server.mjs': `
    import { once } from 'node:events'
    import { createServer } from 'node:http'
    import { promisify } from 'node:util'
    import zlib from 'node:zlib'
    while (zlib[Symbol.for('warpdrive.zlib')]().accelerated.calls === 0) await promisify(zlib.gzip)('x')
    const server = createServer((request, response) => {
      response.setHeader('content-encoding', 'gzip')
      const gzip = zlib.createGzip({ level: 1 })
      gzip.pipe(response)
      gzip.end('text '.repeat(10_000))
    }).listen(0)
    await once(server, 'listening')
    const response = await fetch('http://127.0.0.1:' + server.address().port)
    console.log((await response.text()).length, zlib[Symbol.for('warpdrive.zlib')]().accelerated.streams)
    server.close()`,
};

describe('node --import warpdrive/register', () => {
  let folder: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'warpdrive-register-'));
    for (const [name, text] of Object.entries(PROGRAMS)) writeFileSync(join(folder, name), text);
  });
  after(() => rmSync(folder, { recursive: true }));

  function run(file: string, environment: NodeJS.ProcessEnv = {}, options = [`--import=${REGISTER}`]) {
    const { NODE_OPTIONS: _, ...rest } = process.env;
    const env = { ...rest, WARPDRIVE_DEVICE: 'embedded', ...environment };
    const { stdout, stderr, status } = spawnSync(process.execPath, [...options, join(folder, file)], {
      env,
      encoding: 'utf8',
      timeout: 60_000,
    });
    return { stdout, stderr, status };
  }

  const REPLACED = { stdout: 'ours true text\n', stderr: '', status: 0 };

  for (const file of [
    'module.mjs',
    'common.cjs',
    'worker.mjs',
    'worker-environment.mjs',
    'fork.mjs',
    'spawn.mjs',
    'cluster.mjs',
  ]) {
    it(`replaces node:zlib in ${file}`, () => assert.deepEqual(run(file), REPLACED));
  }

  it('is what the package calls register', () => {
    assert.equal(import.meta.resolve('warpdrive/register'), REGISTER);
  });

  it('can be asked for by NODE_OPTIONS', () => {
    assert.deepEqual(run('common.cjs', { NODE_OPTIONS: `--import=${REGISTER}` }, []), REPLACED);
  });

  it('keeps the NODE_OPTIONS that there are', () => {
    const options = '--max-old-space-size=300';
    assert.deepEqual(run('spawn.mjs', { NODE_OPTIONS: options }), REPLACED);
  });

  it('goes without it where nothing was asked for', () => {
    assert.equal(run('common.cjs', {}, []).stdout, 'stock true text\n');
  });

  it('takes the engine of node:zlib itself below, without going round in circles', () => {
    const only = { WARPDRIVE_DISABLE_ENGINES: 'isa-l,libdeflate,zlib,zstd,lz4,brotli,software' };
    assert.deepEqual(run('module.mjs', only), REPLACED);
    assert.deepEqual(run('streams.mjs', only), { stdout: 'true 2\n', stderr: '', status: 0 });
  });

  it("accelerates Node's own Web streams and fetch, which use node:zlib", () => {
    assert.deepEqual(run('streams.mjs'), { stdout: 'true 2\n', stderr: '', status: 0 });
    assert.equal(run('server.mjs').stdout, '50000 2\n');
  });

  it('says at the end what was done where, and of threads only of those of the program', () => {
    const { stderr } = run('streams.mjs', { WARPDRIVE_REPORT: '1' });
    assert.match(
      stderr,
      /^warpdrive \(\d+\): zlib: \d+ calls and 2 streams accelerated; 0 calls by [^\n]*\n$/,
    );
    const threads = run('worker.mjs', { WARPDRIVE_REPORT: '1' }).stderr.trim().split('\n');
    assert.match(
      threads[0]!,
      /^warpdrive \(\d+, thread \d+\): zlib: .* 2 calls by engines of the calling thread/,
    );
    assert.equal(threads.length, 2);
  });

  it('replaces what the Web has, where it is asked to', () => {
    const { stdout, stderr } = run('web.mjs', { WARPDRIVE_REGISTER: 'zlib, web', WARPDRIVE_REPORT: '1' });
    assert.equal(stdout, 'true true\n');
    assert.match(stderr, /: zlib: [^\n]*\n[^\n]*: subtle: accelerated digest \d+; by Node /);
  });

  it('replaces node:crypto, where it is asked to', () => {
    const { stdout, stderr } = run('crypto.mjs', { WARPDRIVE_REGISTER: 'crypto', WARPDRIVE_REPORT: '1' });
    assert.match(stdout, /^true 32 \[ 'createHash', 'createHmac' \]\n$/);
    assert.match(
      stderr,
      /: crypto: accelerated hkdf \d+; in the calling thread createHash \d+, createHmac \d+; by node/,
    );
  });

  it('takes node:crypto itself as engine, without going round in circles', () => {
    const only = { WARPDRIVE_REGISTER: 'crypto', WARPDRIVE_DISABLE_ENGINES: 'openssl,ipsec-mb' };
    assert.match(run('crypto.mjs', only).stdout, /^true 32 \[ 'createHash' \]\n$/);
  });

  it('refuses a part that it does not know', () => {
    const { status, stderr, stdout } = run('module.mjs', { WARPDRIVE_REGISTER: 'zlib,zilb' });
    assert.match(stderr, /WARPDRIVE_REGISTER asks for 'zilb'.*known are zlib, crypto, web/);
    assert.notEqual(status, 0);
    assert.equal(stdout, '');
  });

  it("passes fast-zlib's own tests, which reach below node:zlib's streams", () => {
    const file = join(dirname(createRequire(import.meta.url).resolve('fast-zlib')), 'test.js');
    const { stdout, stderr, status } = spawnSync(process.execPath, [`--import=${REGISTER}`, file], {
      env: { ...process.env, WARPDRIVE_REPORT: '1' },
      encoding: 'utf8',
    });
    assert.match(stdout, /all tests passed/);
    assert.match(stderr, /8 streams by node:zlib \(synchronous stream 8\)/);
    assert.equal(status, 0);
  });
});
