import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { warpdrive } from './support-cli.js';

test('help is there for everything, and names the environment', () => {
  for (const args of [['--help'], ['-h'], ['help']]) {
    const { code, stdout, stderr } = warpdrive(args);
    assert.equal(code, 0);
    assert.equal(stderr, '');
    for (const word of [
      'compress',
      'decompress',
      'devices',
      'inspect',
      'bench',
      'demo',
      'WARPDRIVE_DEVICE',
    ]) {
      assert.ok(stdout.includes(word), word);
    }
  }
  for (const command of ['compress', 'decompress', 'devices', 'inspect', 'bench', 'demo']) {
    const asked = warpdrive(['help', command]);
    assert.equal(asked.code, 0);
    assert.match(asked.stdout.toString(), new RegExp(`^usage: warpdrive ${command}`));
    const same = warpdrive([command, '--help']);
    assert.equal(same.code, 0);
    assert.equal(same.stdout.toString(), asked.stdout.toString());
    for (const line of same.stdout.toString().split('\n')) assert.ok(line.length <= 100, line);
  }
});

test('the version is the package’s', () => {
  assert.match(warpdrive(['--version']).stdout.toString(), /^warpdrive \d+\.\d+\.\d+\n$/);
});

test('wrong command lines name the nearest right one and exit with 1', () => {
  const cases: [string[], RegExp][] = [
    [['comprss'], /unknown command comprss; did you mean "compress"\?/],
    [['dce'], /unknown command dce/],
    [['help', 'devcies'], /unknown command devcies; did you mean "devices"\?/],
    [['--hlep'], /unknown option --hlep; did you mean "--help"\?/],
    [['compress', '--lvel=3'], /unknown option --lvel; did you mean --level\?/],
    [['compress', '-Z'], /unknown option -Z/],
    [['compress', '--level'], /option --level needs a value/],
    [['compress', '--level=13'], /there is no level "13"/],
    [['compress', '--level=x'], /there is no level "x"/],
    [['compress', '--keep=1'], /option --keep takes no value/],
    [['compress', '-a', 'lzma'], /there is no algorithm "lzma"/],
    [['compress', '-o', 'x', 'a', 'b'], /--output takes one input/],
    [['devices', '--jsn'], /unknown option --jsn; did you mean --json\?/],
    [['demo', '--fast'], /unknown option --fast/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr, stdout } = warpdrive(args);
    assert.equal(code, 1, args.join(' '));
    assert.match(stderr, message);
    assert.equal(stderr.split('\n').length, 2);
    assert.equal(stdout.length, 0);
  }
  assert.equal(warpdrive([]).code, 1);
});

test('devices lists what there is, as a table and as JSON', () => {
  const env = { WARPDRIVE_DISABLE_ENGINES: 'libdeflate' };
  const table = warpdrive(['devices'], { env });
  assert.equal(table.code, 0);
  assert.match(table.stdout.toString(), /^device +embedded\n/);
  assert.match(table.stdout.toString(), /\nlibdeflate .*absent: turned off\n/);
  const json = warpdrive(['devices', '--json'], { env });
  assert.equal(json.code, 0);
  const [device] = JSON.parse(json.stdout.toString());
  assert.equal(device.name, 'embedded');
  assert.equal(
    device.engines.find((engine: { name: string }) => engine.name === 'libdeflate').absent,
    'turned off',
  );
});

test('without an accelerator there is one message, however many files there are', () => {
  const { code, stderr } = warpdrive(['compress', '-c', process.execPath, process.execPath], {
    env: { WARPDRIVE_DEVICE: 'nonesuch' },
  });
  assert.equal(code, 1);
  assert.match(stderr, /^warpdrive: there is no device "nonesuch" [^\n]*\n$/);
});

test('engines that are turned off are missed with a clear message', () => {
  const level = warpdrive(['compress', '--level=11'], {
    input: Buffer.from('x'),
    env: { WARPDRIVE_DISABLE_ENGINES: 'libdeflate' },
  });
  assert.equal(level.code, 1);
  assert.match(level.stderr, /^warpdrive: there is no level 11 here; there are 0 to 9 [^\n]*\n$/);
  const streams = warpdrive(['decompress'], {
    input: gzipSync('x'),
    env: { WARPDRIVE_DISABLE_ENGINES: 'isa-l,zlib' },
  });
  assert.equal(streams.code, 1);
  assert.match(streams.stderr, /^warpdrive: stdin: no engine here decompresses streams [^\n]*\n$/);
});

test('demo: every byte is right, and the figures are there', () => {
  const { code, stdout, stderr } = warpdrive(['demo']);
  assert.equal(stderr, '');
  assert.equal(code, 0);
  const text = stdout.toString();
  assert.match(text, /every byte is right: \d+ results/);
  assert.match(text, /warpdrive, polled/);
  assert.match(text, /decompress +\d+ MB\/s/);
  assert.ok(!text.includes('\x1b['), 'no colours into a pipe');
});
