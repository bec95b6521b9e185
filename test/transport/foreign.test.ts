import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LIMITS, STATUS } from '../../src/abi/queue.js';
import { PCI } from '../../src/abi/registers.js';
import { MAX_FDS } from '../../src/sys/socket.js';
import { listeningDevice } from '../support/listening-device.js';
import { requirement } from '../support/requirement.js';

const CLIENT = fileURLToPath(new URL('../../../test/fixtures/foreign-client.py', import.meta.url));
const hasPython = spawnSync('python3', ['--version']).status === 0;

function socketPath(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'warpdrive-foreign-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'socket');
}

describe('a client that others wrote, in a process of its own', () => {
  for (const [socket, replyBytes] of [
    ['twin', 12],
    ['single', 12],
    ['twin', 16],
    ['single', 16],
  ] as const) {
    test(`${socket} socket, ${replyBytes}-byte answers to DMA_WRITE`, async (t) => {
      if (!requirement(t, hasPython, 'python3')) return;
      const path = socketPath(t);
      await listeningDevice(t, path);
      const child = spawn('python3', [CLIENT, path, socket, String(replyBytes)]);
      let stdout = '';
      let stderr = '';
      child.stdout.on('data', (data) => {
        stdout += data;
      });
      child.stderr.on('data', (data) => {
        stderr += data;
      });
      const code = await new Promise((resolve) => child.once('close', resolve));
      assert.equal(code, 0, stderr);
      const seen = JSON.parse(stdout);
      const { noop, compress, decompress, right, same, nowhere } = seen;
      assert.deepEqual(
        { noop, compress, decompress, right, same, nowhere },
        {
          noop: STATUS.ok,
          compress: STATUS.ok,
          decompress: STATUS.ok,
          right: true,
          same: true,
          nowhere: STATUS.badAddress,
        },
      );
      assert.equal(seen.vendor, PCI.vendorId);
      assert.equal(seen.minor, 1);
      assert.ok(seen.largest <= 30_000 && seen.reads > 0 && seen.writes > 0);
      assert.deepEqual(seen.said, {
        max_msg_fds: MAX_FDS,
        max_data_xfer_size: 1 << 20,
        max_dma_maps: LIMITS.maxRegions,
        pgsizes: 4096,
        write_multiple: true,
        ...(socket === 'twin' ? { twin_socket: { supported: true, fd_index: 0 } } : {}),
      });
    });
  }
});
