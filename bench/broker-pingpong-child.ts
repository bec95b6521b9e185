import { readSync } from 'node:fs';
import { Mapping } from '../src/sys/memory.js';
import { answer, PINGPONG } from './pingpong-worker.js';

/*
 * The other end of the raw ping-pong between two processes, in memory shared by descriptor 3. Each byte on standard input
 * is a round; between rounds this process sleeps. It ends with its input.
 */

const MEMORY_FD = 3;
const { words } = Mapping.shared(MEMORY_FD, 0, PINGPONG.bytes, 'read-write');
const byte = new Uint8Array(1);
while (readSync(0, byte) > 0) answer(words);
