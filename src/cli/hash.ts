import { type DigestAlgorithm, factsOf } from '../abi/algorithms.js';
import { BrokenPipe, EXIT, EXIT_BROKEN_PIPE } from './failure.js';
import { DigestWork, FileDigester } from './file-digester.js';
import { type HashArguments, hashArguments } from './hash-arguments.js';
import { inOrder } from './in-order.js';
import { handleSignals, onSignal } from './interruption.js';
import { Machinery } from './machinery.js';
import { Progress } from './progress.js';
import { Report } from './report.js';
import { Sink, STDOUT_FD } from './sink.js';
import { checkLists, type SumOutcome } from './sum-check.js';
import { byteName, formatSum, type SumKind, shownName } from './sum-list.js';

/** What a BSD-style line calls an algorithm, where that is not its name in capitals. */
const TAGS: Partial<Record<DigestAlgorithm, string>> = { blake2b512: 'BLAKE2b', blake2s256: 'BLAKE2s' };

/** The command `hash`: prints digests of files, or checks lists of them, as sha256sum does. */
export async function runHash(argv: string[]): Promise<number> {
  const args = hashArguments(argv);
  if (args.help) {
    const { helpFor } = await import('./help.js');
    process.stdout.write(helpFor('hash'));
    return EXIT.ok;
  }
  handleSignals();
  const { check } = args;
  const progress = new Progress(!(check?.quiet || check?.status));
  onSignal(() => progress.stop());
  const report = new Report(false, () => progress.stop());
  try {
    return await new Hashing(args, progress, report).run();
  } catch (error) {
    if (error instanceof BrokenPipe) return EXIT_BROKEN_PIPE;
    report.failure(error);
    return EXIT.error;
  }
}

/** One run of the command. */
class Hashing {
  readonly #args: HashArguments;
  readonly #kind: SumKind;
  readonly #progress: Progress;
  readonly #report: Report;
  readonly #sink = new Sink(STDOUT_FD, 'stdout');
  readonly #machinery = new Machinery();
  /** Files whose results are due, in order: the first of them is the one that is waited for. */
  readonly #due: DigestWork[] = [];
  #shown: DigestWork | undefined;

  constructor(args: HashArguments, progress: Progress, report: Report) {
    this.#args = args;
    this.#progress = progress;
    this.#report = report;
    const { algorithm } = args;
    const tag = TAGS[algorithm] ?? algorithm.toUpperCase();
    this.#kind = { tag, digits: 2 * factsOf(algorithm).outputBytes! };
  }

  async run(): Promise<number> {
    const { algorithm, check } = this.#args;
    const accelerator = await this.#machinery.accelerator();
    const digester = await FileDigester.create(accelerator, algorithm);
    const holds = check ? await this.#check(digester) : await this.#print(digester);
    return holds ? this.#report.exitCode : EXIT.error;
  }

  async #print(digester: FileDigester): Promise<boolean> {
    const { files, format } = this.#args;
    const start = async (file: string): Promise<{ name: string; outcome: SumOutcome }> => {
      const name = byteName(file);
      return { name, outcome: await this.#sumOf(digester, name) };
    };
    for await (const { name, outcome } of inOrder(files, digester.lanes, start)) {
      if ('error' in outcome) this.#report.failure(outcome.error, shownName(name));
      else await this.#sink.write([formatSum(this.#kind, { hex: outcome.hex, name }, format)]);
    }
    return true;
  }

  #check(digester: FileDigester): Promise<boolean> {
    const { files, check } = this.#args;
    const maker = {
      kind: this.#kind,
      lanes: digester.lanes,
      sumOf: (name: string) => this.#sumOf(digester, name),
    };
    return checkLists(files, maker, check!, this.#sink, this.#report);
  }

  async #sumOf(digester: FileDigester, name: string): Promise<SumOutcome> {
    const work = new DigestWork(name);
    this.#due.push(work);
    this.#show();
    try {
      return { hex: await digester.digest(work) };
    } catch (error) {
      return { error };
    } finally {
      this.#due.splice(this.#due.indexOf(work), 1);
      this.#show();
    }
  }

  /** Shows how far the file has come that is waited for. */
  #show(): void {
    const [work] = this.#due;
    if (work === this.#shown) return;
    this.#shown = work;
    this.#progress.stop();
    if (!work) return;
    this.#progress.start({
      name: work.name === '-' ? 'stdin' : shownName(work.name),
      done: () => work.done(),
      get total() {
        return work.total;
      },
    });
  }
}
