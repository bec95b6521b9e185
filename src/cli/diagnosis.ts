/** Something that a user can do something about. */
export interface Finding {
  /** Whether nothing works before it is dealt with. */
  blocks: boolean;
  problem: string;
  fix: string;
}

/** What is known about one way to reach an accelerator. */
export interface Diagnosis {
  /** `embedded`, `broker`, `vfio`, `uacce`, or the name of a device. */
  name: string;
  /** `absent`: there is nothing to use, and nothing is wrong. */
  state: 'works' | 'fails' | 'absent';
  summary: string;
  findings: Finding[];
}

export function blocking(problem: string, fix: string): Finding {
  return { blocks: true, problem, fix };
}

export function advice(problem: string, fix: string): Finding {
  return { blocks: false, problem, fix };
}

const STATE_WORDS = { works: 'works', fails: 'does not work here', absent: 'nothing to use' } as const;

/** Diagnoses as text: what works, and below it each problem with its fix. */
export function formatDiagnoses(diagnoses: Diagnosis[]): string {
  const width = Math.max(...diagnoses.map(({ name }) => name.length)) + 2;
  const indent = ' '.repeat(width);
  return diagnoses
    .map(({ name, state, summary, findings }) => {
      const head = `${name.padEnd(width)}${STATE_WORDS[state]}: ${summary}\n`;
      const rest = findings.map(
        ({ blocks, problem, fix }) => `${indent}${blocks ? '!' : '-'} ${problem}\n${indent}  fix: ${fix}\n`,
      );
      return head + rest.join('');
    })
    .join('');
}
