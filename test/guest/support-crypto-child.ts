import { open } from '../../src/index.js';

/* Keeps the device that it is told full of requests, until it is killed. */

const acc = await open(process.argv[2]!, { inlineBytes: 0 });
const session = acc.cipherSession({ algorithm: 'aes-128-ecb', key: Buffer.alloc(16) });
const data = Buffer.alloc(65_536);
await session.encrypt(data);
process.stdout.write('busy\n');
for (;;) await Promise.all(Array.from({ length: 64 }, () => session.encrypt(data)));
