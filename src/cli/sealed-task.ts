import { readFileSync, unlinkSync } from 'node:fs';
import { checkTerminals, fromInput } from './each-file.js';
import { EXIT, Failure } from './failure.js';
import type { FileSealer } from './file-sealer.js';
import { type Input, openInput, openStdin } from './input.js';
import type { Progress } from './progress.js';
import type { Report } from './report.js';
import type { SealedArguments } from './sealed-arguments.js';
import { SEALED_SUFFIX } from './sealed-format.js';
import { Sink } from './sink.js';
import { Source } from './source.js';
import { exists, openTarget, type Target } from './task.js';

/** Of scrypt, beside its cost: what its author recommends. */
const BLOCK_SIZE = 8;
const PARALLELIZATION = 1;

/** What all files of one command share. */
export interface SealedContext {
  args: SealedArguments;
  sealer: () => Promise<FileSealer>;
  progress: Progress;
  report: Report;
}

/**
 * Encrypts, decrypts or tests one file, as the arguments say; `-` is the standard input. Rejects with what went wrong, and
 * leaves no part of an output file behind then.
 */
export async function runSealedTask(name: string, context: SealedContext): Promise<void> {
  const { args } = context;
  checkTerminals(name, 'encrypted', args.decrypt, args);
  const outputPath = name === '-' ? args.output : chooseOutput(name, args);
  const input = name === '-' ? openStdin() : open(name, args);
  await fromInput(
    input,
    () => openTarget(input, outputPath, args),
    async (target) => {
      await transform(input, target, context);
      target.file?.commit(input.stats.isFile() ? input.stats : undefined, { confidential: true });
      finish(input, target, context);
    },
  );
}

/** The name of the output; undefined for the standard output, and where there is none. */
function chooseOutput(name: string, args: SealedArguments): string | undefined {
  if (args.stdout || args.test) return undefined;
  if (args.output !== undefined) return args.output;
  const isSealed = name.endsWith(SEALED_SUFFIX);
  const warn = (text: string): Failure => new Failure(text, { subject: name, exitCode: EXIT.warning });
  if (!args.decrypt) {
    if (!isSealed || args.force) return name + SEALED_SUFFIX;
    throw warn(`already has the suffix ${SEALED_SUFFIX} -- unchanged`);
  }
  // A name that is nothing but the suffix has no other name to go back to.
  const plain = name.slice(0, -SEALED_SUFFIX.length);
  if (isSealed && plain !== '' && !plain.endsWith('/')) return plain;
  // `decrypt x` finds `x.wdx`; where neither exists, opening it says so.
  if (!exists(name)) return exists(name + SEALED_SUFFIX) ? name : undefined;
  throw warn('unknown suffix -- ignored (-c or -o takes it)');
}

function open(name: string, args: SealedArguments): Input {
  const reads = args.force || args.stdout || args.test;
  return openInput(name, {
    follow: reads,
    allowLinks: reads || args.keep,
    suffixes: args.decrypt ? [SEALED_SUFFIX] : [],
  });
}

/** The work itself. */
async function transform(input: Input, target: Target, context: SealedContext): Promise<void> {
  const { args, progress } = context;
  const sealer = await context.sealer();
  const show = (source: Source): void => {
    progress.stop();
    const total = input.stats.isFile() ? Number(input.stats.size) : 0;
    progress.start({ name: input.name, done: () => source.count, total });
  };
  show(input.source);
  try {
    if (!args.decrypt) {
      const scrypt = { log2Cost: args.log2Cost, r: BLOCK_SIZE, p: PARALLELIZATION };
      await sealer.seal(input.source, target.sink, { algorithm: args.algorithm, scrypt });
      return;
    }
    await sealer.open(input.source, target.sink, () => {
      // What has been written to anything but a file of our own cannot be taken back: it is all verified first.
      if (target.file || args.test || !input.stats.isFile()) return undefined;
      const source = new Source(input.source.fd, false, offsetOf(input.source.fd));
      show(source);
      return { source, sink: new Sink(undefined, 'nothing') };
    });
  } finally {
    progress.stop();
  }
}

/** Where the next read of a descriptor begins. The standard input need not begin at the start of its file. */
function offsetOf(fd: number): number {
  return Number(/^pos:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]);
}

/** Removes the source if it is replaced, and tells. */
function finish(input: Input, target: Target, { args, report }: SealedContext): void {
  const inPlace = target.file !== undefined && input.path !== undefined && input.stats.isFile();
  const kept = args.keep || !inPlace;
  if (!kept) unlinkSync(input.path!);
  if (!args.verbose) return;
  const verb = target.file === undefined ? 'written to' : kept ? 'created' : 'replaced with';
  report.line(`${input.name}:\t${args.test ? 'OK' : `${verb} ${target.name}`}`);
}
