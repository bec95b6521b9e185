import { eachFile } from './each-file.js';
import { handleSignals, onSignal } from './interruption.js';
import { Machinery } from './machinery.js';
import { Progress } from './progress.js';
import { Report } from './report.js';
import { sealedArguments } from './sealed-arguments.js';
import { runSealedTask } from './sealed-task.js';
import { Secrets } from './secret.js';

/** The commands `encrypt` and `decrypt`: files one after the other. Resolves with the exit code. */
export async function runEncrypt(command: 'encrypt' | 'decrypt', argv: string[]): Promise<number> {
  const args = sealedArguments(argv, command === 'decrypt');
  if (args.help) {
    const { helpFor } = await import('./help.js');
    process.stdout.write(helpFor(command));
    return 0;
  }
  handleSignals();
  const progress = new Progress(!args.quiet);
  onSignal(() => progress.stop());
  const report = new Report(args.quiet, () => progress.stop());
  // The variable is taken out of the environment before there are threads that would copy it.
  const secrets = new Secrets(args.secret, !args.decrypt);
  onSignal(() => secrets.wipe());
  const machinery = new Machinery();
  const sealing = sealerOf(machinery, secrets);
  // Whoever first wants it meets the error.
  sealing.catch(() => {});
  const context = { args, sealer: () => sealing, progress, report };
  try {
    return await eachFile(args.files, report, (file) => runSealedTask(file, context));
  } finally {
    secrets.wipe();
  }
}

async function sealerOf(machinery: Machinery, secrets: Secrets) {
  const [{ FileSealer }, accelerator] = await Promise.all([
    import('./file-sealer.js'),
    machinery.accelerator(),
  ]);
  return new FileSealer(accelerator, secrets);
}
