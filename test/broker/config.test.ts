import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { configure, describeConfig } from '../../src/broker/config.js';
import { ArgumentError } from '../../src/errors.js';
import { defaultBrokerSocket } from '../../src/transport/broker-socket.js';
import { warpdrive } from '../cli/support-cli.js';

const EXAMPLE = fileURLToPath(new URL('../../../packaging/warpdrive.json', import.meta.url));

const folder = mkdtempSync(join(tmpdir(), 'warpdrive-broker-config-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** `warpdrive serve --check` with a file of this text. */
function check(text: string, args: string[] = []): ReturnType<typeof warpdrive> {
  const file = join(folder, 'config.json');
  writeFileSync(file, text);
  return warpdrive(['serve', '--check', '--config', file, ...args]);
}

/** What is wrong with a file, and where: each kind of mistake once. */
const MISTAKES: [what: string, config: unknown, message: RegExp][] = [
  ['a list', [], /the configuration must be an object/],
  ['an unknown field', { sockets: 'x' }, /sockets is unknown \(did you mean socket\?\)/],
  ['a text for a number', { engines: '2' }, /engines must be a whole number from 1 to 64/],
  ['a number out of range', { engines: 0 }, /engines must be a whole number/],
  ['a fraction', { drainSeconds: 1.5 }, /drainSeconds must be a whole number/],
  ['a mode that is a number', { mode: 660 }, /mode must be permissions in octal, as a text such as "0660"/],
  ['a mode that is none', { mode: '0999' }, /mode must be permissions/],
  ['an empty socket', { socket: '' }, /socket must be a text/],
  ['a level that is none', { logLevel: 'warn' }, /logLevel must be one of .*did you mean warning\?/],
  ['an engine that is none', { disableEngines: ['isal'] }, /disableEngines\[0\] must be one of .*isa-l/],
  ['a user that is none', { allow: { users: ['no such user'] } }, /allow\.users\[0\]: there is no user/],
  [
    'a group that is none',
    { allow: { groups: [0, 'no such group'] } },
    /allow\.groups\[1\]: there is no group/,
  ],
  ['a user that cannot be one', { allow: { users: [-1] } }, /allow\.users\[0\] must be a whole number/],
  ['no list', { allow: { users: 'root' } }, /allow\.users must be a list/],
  ['a misspelt limit', { limits: { client: { queue: 1 } } }, /limits\.client\.queue is unknown .*queues/],
  ['a limit of another kind', { limits: { client: { clients: 1 } } }, /limits\.client\.clients is unknown/],
  ['a limit of nothing', { limits: { user: { queues: 0 } } }, /limits\.user\.queues must be a whole number/],
  [
    'a size that is none',
    { limits: { user: { mappedBytes: '1 GB' } } },
    /mappedBytes must be a number of bytes/,
  ],
  ['no object', { limits: { users: { 0: 7 } } }, /limits\.users\.0 must be an object/],
  ['a weight too large', { shares: { 0: { weight: 1e6 } } }, /shares\.0\.weight must be a whole number/],
  [
    'a text for a truth',
    { shares: { 0: { lowLatency: 'yes' } } },
    /shares\.0\.lowLatency must be true or false/,
  ],
  ['a number for a truth', { isolate: 1 }, /isolate must be true or false/],
];

describe('warpdrive serve --check', () => {
  test('prints what would be in force; the command line goes before the file', () => {
    const done = check(
      '{ "engines": 3, "mode": "0600", "limits": { "client": { "mappedBytes": "2 GiB" } } }',
      ['--engines', '2'],
    );
    assert.equal(done.code, 0, done.stderr);
    const effective = JSON.parse(done.stdout.toString());
    assert.equal(effective.engines, 2);
    assert.equal(effective.isolate, false);
    assert.equal(JSON.parse(check('{}', ['--isolate']).stdout.toString()).isolate, true);
    assert.equal(effective.mode, '0600');
    assert.equal(effective.limits.client.mappedBytes, 2 * 2 ** 30);
    assert.equal(effective.limits.client.queues, 64);
  });

  test('takes the example, and what it has printed itself', () => {
    for (const text of [readFileSync(EXAMPLE, 'utf8'), warpdrive(['serve', '--check']).stdout.toString()]) {
      const once = check(text);
      assert.equal(once.code, 0, once.stderr);
      assert.deepEqual(check(once.stdout.toString()).stdout.toString(), once.stdout.toString());
    }
  });

  test('names the file, and the field', () => {
    const done = check('{ "limits": { "client": { "queues": "many" } } }');
    assert.equal(done.code, 1);
    assert.equal(done.stdout.length, 0);
    assert.match(done.stderr, /config\.json: limits\.client\.queues must be a whole number from 1 on/);
    assert.match(check('{').stderr, /config\.json: this is not JSON/);
    assert.match(
      warpdrive(['serve', '--check', '--config', folder]).stderr,
      /: illegal operation on a directory/,
    );
  });

  for (const [what, config, message] of MISTAKES) {
    test(`refuses ${what}`, () => {
      assert.throws(
        () => configure(JSON.stringify(config), {}),
        (error) => {
          assert.ok(error instanceof ArgumentError);
          assert.match(error.message, message);
          return true;
        },
      );
    });
  }

  test('refuses wrong options', () => {
    const wrong: [string[], RegExp][] = [
      [['--engines', 'two'], /--engines must be a whole number from 1 to 64/],
      [['--engines', '-1'], /--engines/],
      [['--max-clients', '0'], /--max-clients must be a whole number/],
      [['--drain-seconds', '1e9'], /--drain-seconds must be a whole number/],
      [['--mode', 'rw'], /--mode must be permissions in octal/],
      [['--log-level', 'loud'], /--log-level must be one of/],
      [['--sockets', 'x'], /unknown option --sockets; did you mean --socket\?/],
      [['--allow-unsafe-everything'], /unknown option --allow-unsafe-everything/],
      [['extra'], /serve takes options alone, and extra is none/],
      [['--config'], /needs a value/],
    ];
    for (const [args, message] of wrong) {
      const done = warpdrive(['serve', '--check', ...args]);
      assert.equal(done.code, 1, args.join(' '));
      assert.match(done.stderr, message);
    }
  });

  test('prints its help', () => {
    assert.match(warpdrive(['serve', '--help']).stdout.toString(), /^usage: warpdrive serve/);
  });
});

describe('a configuration', () => {
  test('has numbers for users, and limits of a user go before those of all', () => {
    const config = configure(
      JSON.stringify({
        allow: { users: ['root', '7'], groups: ['root'] },
        limits: {
          user: { queues: 10, mappedBytes: 'unlimited' },
          users: { root: { client: { depth: 256 }, user: { queues: 20 } } },
        },
        shares: { root: { weight: 4 } },
      }),
      {},
    );
    assert.deepEqual(config.allow, { users: [0, 7], groups: [0] });
    assert.equal(config.limits.users.get(0)?.user.queues, 20);
    assert.equal(config.limits.users.get(0)?.user.mappedBytes, Number.POSITIVE_INFINITY);
    assert.equal(config.limits.users.get(0)?.client.depth, 256);
    assert.deepEqual(config.shares.get(0), { weight: 4, lowLatency: false });
    assert.deepEqual(configure(JSON.stringify(describeConfig(config)), {}), config);
  });

  test('has a socket where clients look for it', (t) => {
    const before = process.env['XDG_RUNTIME_DIR'];
    t.after(() => {
      if (before === undefined) delete process.env['XDG_RUNTIME_DIR'];
      else process.env['XDG_RUNTIME_DIR'] = before;
    });
    process.env['XDG_RUNTIME_DIR'] = '/run/user/7';
    assert.equal(defaultBrokerSocket(), '/run/user/7/warpdrive.sock');
    process.env['XDG_RUNTIME_DIR'] = 'relative';
    assert.equal(defaultBrokerSocket(), '/run/warpdrive/warpdrive.sock');
    delete process.env['XDG_RUNTIME_DIR'];
    assert.equal(configure(undefined, {}).socket, '/run/warpdrive/warpdrive.sock');
  });
});
