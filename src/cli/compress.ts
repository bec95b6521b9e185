import { compressArguments } from './arguments.js';
import { eachFile } from './each-file.js';
import { handleSignals, onSignal } from './interruption.js';
import { Machinery } from './machinery.js';
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
  return eachFile(args.files, report, (file) => runTask(file, context));
}
