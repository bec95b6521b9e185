import { lstatSync, openSync, statSync, unlinkSync } from 'node:fs';
import { basename } from 'node:path';
import type { GzipHeader } from '../algorithms/framing.js';
import type { CompressArguments } from './arguments.js';
import { askYesNo } from './ask.js';
import { checkTerminals, fromInput } from './each-file.js';
import { EXIT, Failure } from './failure.js';
import type { Trailing } from './file-decompressor.js';
import { type Input, openInput, openStdin } from './input.js';
import type { Machinery } from './machinery.js';
import { formatByName, SUFFIX, withoutSuffix } from './names.js';
import { alreadyExists, isSpecial, OutputFile } from './output.js';
import type { Progress } from './progress.js';
import type { Report } from './report.js';
import { Sink, STDOUT_FD } from './sink.js';

const MAX_HEADER_TIME = 0xffffffff;

/** What all files of one command share. */
export interface TaskContext {
  args: CompressArguments;
  machinery: Machinery;
  progress: Progress;
  report: Report;
}

/** Where the result goes. */
export interface Target {
  sink: Sink;
  /** A file that has to be committed or discarded. */
  file: OutputFile | undefined;
  name: string;
}

/**
 * Compresses, decompresses or tests one file, as the arguments say; `-` is the standard input. Rejects with what went
 * wrong, and leaves no part of an output behind then.
 */
export async function runTask(name: string, context: TaskContext): Promise<void> {
  const { args, machinery } = context;
  checkTerminals(name, 'compressed', args.decompress, args);
  const outputPath = name === '-' ? args.output : chooseOutput(name, args);
  const input = name === '-' ? openStdin() : open(name, args);
  await fromInput(
    input,
    () => openTarget(input, outputPath, args),
    async (target) => {
      const trailing = await transform(input, target.sink, context);
      target.file?.commit(input.stats.isFile() ? input.stats : undefined);
      finish(input, target, trailing, context);
    },
    () => machinery.discard(),
  );
}

/** The name of the output; undefined for the standard output, and where there is none. */
function chooseOutput(name: string, args: CompressArguments): string | undefined {
  const { suffix, algorithm, decompress } = args;
  if (args.stdout || args.test) return undefined;
  if (args.output !== undefined) return args.output;
  const plain = withoutSuffix(name, suffix, algorithm);
  if (!decompress) {
    if (!name.endsWith(suffix) || args.force) return name + suffix;
    throw new Failure(`already has the suffix ${suffix} -- unchanged`, {
      subject: name,
      exitCode: EXIT.warning,
    });
  }
  if (plain !== undefined) return plain;
  // `decompress x` finds `x.gz`; whether that exists is seen when it is opened.
  if (!exists(name) && suffixesOf(args).some((each) => exists(name + each))) return name;
  if (!exists(name)) return undefined;
  throw new Failure('unknown suffix -- ignored (-c or -o takes it)', {
    subject: name,
    exitCode: EXIT.warning,
  });
}

/** What may follow a name that does not exist: the suffix, and that of every format where any will do. */
function suffixesOf({ suffix, algorithm }: CompressArguments): string[] {
  return algorithm === undefined ? [suffix, ...Object.values(SUFFIX)] : [suffix];
}

export function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

function open(name: string, args: CompressArguments): Input {
  return openInput(name, {
    follow: args.force || args.stdout || args.test,
    allowLinks: args.force || args.stdout || args.test || args.keep,
    suffixes: args.decompress ? suffixesOf(args) : [],
  });
}

/**
 * Opens where the result goes.
 * @throws Failure where that is the input, or a file that may not be overwritten
 */
export function openTarget(
  input: Input,
  path: string | undefined,
  args: Pick<CompressArguments, 'test' | 'force'>,
): Target {
  if (args.test) return { sink: new Sink(undefined, 'nothing'), file: undefined, name: 'nothing' };
  if (path === undefined) {
    return { sink: new Sink(STDOUT_FD, 'stdout'), file: undefined, name: 'stdout' };
  }
  if (isSpecial(path)) {
    return { sink: new Sink(openSync(path, 'w'), path), file: undefined, name: path };
  }
  const known = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (known && known.dev === input.stats.dev && known.ino === input.stats.ino) {
    throw new Failure('is the input as well as the output', { subject: path });
  }
  if (known?.isDirectory()) throw new Failure('is a directory', { subject: path });
  const replace = args.force || (exists(path) && mayOverwrite(path));
  const file = new OutputFile(path, replace);
  return { sink: file.sink, file, name: path };
}

function mayOverwrite(path: string): boolean {
  if (askYesNo(`warpdrive: ${path} already exists; overwrite it`)) return true;
  throw alreadyExists(path);
}

/** The work itself. */
async function transform(input: Input, sink: Sink, context: TaskContext): Promise<Trailing> {
  const { args, machinery, progress } = context;
  const { source, stats } = input;
  const { algorithm, level } = args;
  progress.start({
    name: input.name,
    done: () => source.count,
    total: stats.isFile() ? Number(stats.size) : 0,
  });
  try {
    if (args.decompress) {
      const decompressor = await machinery.decompressor();
      const passThrough = args.force && args.stdout && !args.test;
      const byName = input.path === undefined ? undefined : formatByName(input.path);
      return await decompressor.run(source, sink, { algorithm, byName, passThrough });
    }
    const compression = { algorithm: algorithm!, level, header: header(input, args) };
    const compressor = await machinery.compressor(compression);
    await compressor.run(source, sink, compression);
    return 'nothing';
  } finally {
    progress.stop();
  }
}

/** What gzip stores: the name's bytes as they are, and the time where there is one that fits. */
function header({ path, stats }: Input, { storeName }: CompressArguments): GzipHeader {
  if (!storeName) return {};
  const seconds = Number(stats.mtimeNs / 1_000_000_000n);
  const hasTime = stats.isFile() && seconds > 0 && seconds <= MAX_HEADER_TIME;
  return {
    ...(path === undefined ? {} : { name: Buffer.from(basename(path)).toString('latin1') }),
    ...(hasTime ? { mtime: seconds } : {}),
  };
}

/** Removes the source if it is to be replaced, and tells. */
function finish(input: Input, target: Target, trailing: Trailing, { args, report }: TaskContext): void {
  const inPlace = target.file !== undefined && input.path !== undefined && input.stats.isFile();
  let kept = args.keep || !inPlace;
  if (trailing === 'garbage') {
    report.warning(`${input.name}: decompression OK, trailing garbage ignored${kept ? '' : ', file kept'}`);
    kept = true;
  }
  if (!kept) unlinkSync(input.path!);
  if (args.verbose) report.line(`${input.name}:\t${summary(input, target, kept, args)}`);
}

function summary(input: Input, target: Target, kept: boolean, args: CompressArguments): string {
  if (args.test) return ' OK';
  const read = input.source.count;
  const written = target.sink.count;
  const [plain, packed] = args.decompress ? [written, read] : [read, written];
  const saved = plain === 0 ? 0 : (100 * (plain - packed)) / plain;
  const verb = target.file === undefined ? 'written to' : kept ? 'created' : 'replaced with';
  return `${saved.toFixed(1).padStart(5)}% -- ${verb} ${target.name}`;
}
