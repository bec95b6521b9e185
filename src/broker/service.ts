import { constants } from 'node:os';
import { Broker } from './broker.js';
import type { BrokerConfig } from './config.js';
import { configureLog, moduleLogger } from './log.js';
import { notifyServiceManager } from './notify.js';

const STOP_SIGNALS = ['SIGTERM', 'SIGINT'] as const;
const FAILED = 1;

const logger = moduleLogger('service');

/** Why the service ends. */
type End = { signal: string } | { failure: string };

/**
 * Runs a broker as a service: SIGTERM or SIGINT stops it once it has drained, a second one at once, and SIGHUP loads the
 * configuration again.
 * @param load reads the configuration anew each time; it throws when something is wrong with it
 * @param onReady is called when clients are taken
 * @returns the exit code, once the broker has stopped
 */
export async function runBroker(
  load: () => BrokerConfig,
  onReady: (broker: Broker) => void,
): Promise<number> {
  const config = load();
  configureLog(config.logLevel);
  exitOnSurprise();
  let broker: Broker | undefined;
  process.on('SIGHUP', () => {
    if (broker) reload(broker, load);
  });
  process.once('exit', () => broker?.abandon());
  const { promise: ended, resolve: end } = withResolvers<End>();
  onStopSignal((signal) => end({ signal }));
  const { socket, engines } = config;
  logger.info('starting', { pid: process.pid, socket, engines, node: process.version });
  broker = await Broker.start(config, (failure) => end({ failure }));
  notifyServiceManager('ready');
  logger.info('ready', { socket, maxClients: broker.maxClients, threads: broker.threads });
  onReady(broker);
  const why = await ended;
  notifyServiceManager('stopping');
  if ('failure' in why) {
    logger.fatal('the broker gives up', { reason: why.failure });
    return FAILED;
  }
  logger.info('stopping', { signal: why.signal });
  await broker.stop();
  return 0;
}

function reload(broker: Broker, load: () => BrokerConfig): void {
  notifyServiceManager('reloading');
  try {
    broker.reload(load());
  } catch (error) {
    logger.error('the configuration was not reloaded', { reason: (error as Error).message });
  }
  notifyServiceManager('ready');
}

/** Calls back for the first signal to stop; at the second one the process exits, as if nobody had caught it. */
function onStopSignal(stop: (signal: string) => void): void {
  let asked = false;
  for (const signal of STOP_SIGNALS) {
    process.on(signal, () => {
      if (asked) process.exit(128 + constants.signals[signal]);
      asked = true;
      stop(signal);
    });
  }
}

/** An error that nobody expected goes to the log before the process ends. */
function exitOnSurprise(): void {
  // A log that nobody reads any more is no reason to end.
  process.stderr.on('error', () => {});
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      logger.fatal('an unexpected error', {
        reason: error instanceof Error ? error.stack : String(error),
      });
      process.exit(FAILED);
    });
  }
}

/** As Promise.withResolvers, which Node 20 does not have. */
function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
