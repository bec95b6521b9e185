import { writeFileSync } from 'node:fs';

/** Not a suite: ends the guest's kernel, to see that the host notices. */
writeFileSync('/proc/sysrq-trigger', 'c');
