import {
  configureSync,
  getJsonLinesFormatter,
  getLogger,
  getThrottlingFilter,
  type Logger,
  type LogRecord,
  resetSync,
} from '@logtape/logtape';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warning', 'error', 'fatal'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** What one user can make the broker say: so many lines of a kind in so long. */
const LINES_PER_WINDOW = 50;
const WINDOW_MS = 10_000;

/** The logger of one module of the broker. */
export function moduleLogger(module: string): Logger {
  return getLogger(['warpdrive', 'broker', module]);
}

/** Sends all records from `level` on to the standard error, as JSON lines. Calling it again changes the level. */
export function configureLog(level: LogLevel): void {
  const format = getJsonLinesFormatter({ properties: 'flatten' });
  resetSync();
  configureSync({
    sinks: { stderr: (record: LogRecord) => void process.stderr.write(format(record)) },
    filters: { flood: floodFilter() },
    loggers: [
      { category: 'warpdrive', lowestLevel: level, sinks: ['stderr'], filters: ['flood'] },
      { category: ['logtape', 'meta'], lowestLevel: 'error', sinks: ['stderr'] },
    ],
  });
}

/**
 * Records that name a user (`uid`) are caused by its clients, and could be caused without end: beyond so many of a kind
 * they are only counted.
 */
function floodFilter(): (record: LogRecord) => boolean {
  const logger = moduleLogger('log');
  const throttle = getThrottlingFilter({
    limit: LINES_PER_WINDOW,
    windowMs: WINDOW_MS,
    key: (record) => `${record.properties['uid']} ${String(record.rawMessage)}`,
    summary: {
      logger: {
        warning: (_text, { key, suppressed }) => logger.warning('messages left out', { of: key, suppressed }),
      },
    },
  });
  return (record) => record.properties['uid'] === undefined || throttle(record);
}
