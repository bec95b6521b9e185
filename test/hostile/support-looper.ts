import assert from 'node:assert/strict';
import { writeSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { open } from '../../src/index.js';
import { sampleText } from '../device/support-device.js';

/* An application that compresses and decompresses until it is killed: SOCKET. It says "r" for each round that was right. */

const accelerator = await open(`unix:${process.argv[2]}`);
const text = sampleText(100_000);
for (let round = 0; ; round++) {
  const input = text.subarray(round % 1000, 20_000 + ((round * 977) % 80_000));
  const packed = await accelerator.compress(input, { algorithm: 'gzip', level: 1 + (round % 6) });
  assert.ok(gunzipSync(packed).equals(input));
  assert.ok(Buffer.from(await accelerator.decompress(packed, { algorithm: 'gzip' })).equals(input));
  writeSync(1, 'r');
}
