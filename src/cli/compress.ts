import { compressArguments } from './arguments.js';
import { BrokenPipe, EXIT_BROKEN_PIPE } from './failure.js';
import { handleSignals, onSignal } from './interruption.js';
import { Machinery, Unavailable } from './machinery.js';
import { Progress } from './progress.js';
import { Report } from './report.js';
import { runTask } from './task.js';

/** The commands `compress` and `decompress`: files one after the other. Resolves with the exit code. */
export async function runCompress(command: string, argv: string[]): Promise<number> {
  const args = compressArguments(argv, command === 'decompress');
  if (args.help) {
    const { helpFor } = await import('./help.js');
    process.stdout.write(helpFor(command));
    return 0;
  }
  handleSignals();
  const progress = new Progress(!args.quiet);
  onSignal(() => progress.stop());
  const report = new Report(args.quiet, () => progress.stop());
  const context = { args, machinery: new Machinery(), progress, report };
  for (const file of args.files) {
    try {
      await runTask(file, context);
    } catch (error) {
      if (error instanceof BrokenPipe) return EXIT_BROKEN_PIPE;
      const fatal = error instanceof Unavailable;
      report.failure(error, fatal ? undefined : file === '-' ? 'stdin' : file);
      if (fatal) break;
    }
  }
  return report.exitCode;
}
