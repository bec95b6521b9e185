/* What the bench asks of its servers and of the process that loads them, and what they answer. */

export type Side = 'warpdrive' | 'node';

export interface ServerSettings {
  side: Side;
  /** Of gzip. */
  level: number;
  /** What @fastify/compress is given; undefined for what it chooses. */
  syncThreshold: number | undefined;
  /** Documents, which are sent in turn. */
  texts: string[];
}

export type ServerTask =
  /** Resolves with the port. */
  | ({ kind: 'listen' } & ServerSettings)
  /** Resolves with the figures since this was asked last. */
  | { kind: 'figures' };

export interface ServerFigures {
  /** Delay of the event loop, p99; timers are no more exact than a millisecond, which is part of it. */
  loopDelayMs: number;
  residentBytes: number;
  /** Calls and streams that the accelerator, or its engines in the server's thread, have done so far. */
  accelerated: number;
}

export interface LoadTask {
  port: number;
  seconds: number;
  /** Requests a second; undefined for as many as there can be. */
  rate: number | undefined;
}

export interface LoadFigures {
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
}
