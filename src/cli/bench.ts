import { helpFor } from './help.js';

/** The command `bench`: the suites live beside the library, and print for themselves. */
export async function runBenchCommand(args: string[]): Promise<number> {
  if (args.length === 0 || args.includes('--help') || args.includes('-h')) {
    (args.length === 0 ? process.stderr : process.stdout).write(helpFor('bench'));
    return args.length === 0 ? 1 : 0;
  }
  const { runBench } = await import('../../bench/run.js');
  // The bench says 2 for a wrong command line; here that number means a warning.
  return Math.min(1, await runBench(args));
}
