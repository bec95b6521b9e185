import type { AddressInfo } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { promisify } from 'node:util';
import node from 'node:zlib';
import compress from '@fastify/compress';
import fastify from 'fastify';
import warpdrive, { stats } from '../src/compat/zlib/index.js';
import { answerTasks } from './server-process.js';
import type { ServerFigures, ServerSettings, ServerTask } from './server-task.js';

/* A fastify server whose every answer is compressed by the zlib of one side. */

const delay = monitorEventLoopDelay({ resolution: 1 });

async function listen({ side, level, syncThreshold, texts }: ServerSettings): Promise<number> {
  // Opening takes a tenth of a second once, and is no part of what is measured.
  while (side === 'warpdrive' && stats().accelerated.calls === 0) await promisify(warpdrive.gzip)('text');
  const server = fastify();
  await server.register(compress, {
    encodings: ['gzip'],
    zlib: side === 'warpdrive' ? warpdrive : node,
    zlibOptions: { level },
    ...(syncThreshold === undefined ? {} : { syncThreshold }),
  });
  let next = 0;
  server.get('/', (_, reply) => {
    reply.type('application/json').send(texts[next++ % texts.length]);
  });
  await server.listen({ host: '127.0.0.1', port: 0 });
  delay.enable();
  return (server.server.address() as AddressInfo).port;
}

function figures(): ServerFigures {
  const { accelerated, caller } = stats();
  const loopDelayMs = delay.percentile(99) / 1e6;
  delay.reset();
  return {
    loopDelayMs,
    residentBytes: process.memoryUsage.rss(),
    accelerated: accelerated.calls + accelerated.streams + caller.calls,
  };
}

answerTasks(async (task: ServerTask) => (task.kind === 'listen' ? listen(task) : figures()));
