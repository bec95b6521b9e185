/** What the kernel's log says about DMA that the IOMMU stopped, and about itself. */

/** The marks that a test sets around faults that it provokes. */
export const EXPECT_FAULTS = {
  begin: 'warpdrive-test: DMAR faults expected',
  end: 'warpdrive-test: DMAR faults over',
};

/** A DMA (or an interrupt) that the IOMMU stopped. */
export interface DmarFault {
  /** `DMA Write`, `DMA Read`, `INTR-REMAP`. */
  kind: string;
  /** Bus, slot and function: `00:10.0`. */
  device: string;
  /** The address, or for an interrupt its index. */
  address: bigint;
  reason: string;
  line: string;
}

const FAULT =
  /DMAR: \[([A-Z][\w -]*?)(?: NO_PASID| PASID [0-9a-fx]+)?\] Request device \[([\da-f:.]+)\] fault (?:addr|index) (?:0x)?([\da-f]+)(.*)/i;

/** Kernel messages after which nothing that ran can be trusted. */
const DISASTER =
  /\bBUG: |\bOops: |general protection fault|Kernel panic|unable to handle|WARNING: CPU|blocked for more than|soft lockup|Out of memory/;

/** The fault that a line tells of, if it does. */
export function parseFault(line: string): DmarFault | undefined {
  const match = FAULT.exec(line);
  if (!match) return undefined;
  const [, kind, device, address, reason] = match;
  return { kind: kind!, device: device!, address: BigInt(`0x${address}`), reason: reason!.trim(), line };
}

/** The lines of a kernel log that fail a run: faults that no test expected, and disasters. */
export function troubles(log: string): string[] {
  let expected = 0;
  const found: string[] = [];
  for (const line of log.split('\n')) {
    if (line.includes(EXPECT_FAULTS.begin)) expected++;
    else if (line.includes(EXPECT_FAULTS.end)) expected--;
    else if (DISASTER.test(line) || (expected === 0 && parseFault(line))) found.push(line.trim());
  }
  return found;
}
