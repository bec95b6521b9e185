import { QUEUE_COMMAND, QUEUE_SETUP, QUEUE_SETUP_OFFSET, REGION } from '../../src/abi/registers.js';
import type { Transport } from '../../src/transport/transport.js';

export type SetupField = keyof typeof QUEUE_SETUP.offset;

/** Writes the queue set-up registers as given, and reads them back: by default the command is `enable`. */
export async function setUp(
  transport: Transport,
  fields: Partial<Record<SetupField, number>>,
): Promise<Record<SetupField, number>> {
  const setup = Buffer.alloc(QUEUE_SETUP.bytes);
  for (const [name, value] of Object.entries({ command: QUEUE_COMMAND.enable, ...fields })) {
    setup.writeUInt32LE(value >>> 0, QUEUE_SETUP.offset[name as SetupField]);
  }
  await transport.writeRegion(REGION.registers, QUEUE_SETUP_OFFSET, setup);
  const result = await transport.readRegion(REGION.registers, QUEUE_SETUP_OFFSET, QUEUE_SETUP.bytes);
  const read = {} as Record<SetupField, number>;
  for (const name of Object.keys(QUEUE_SETUP.offset) as SetupField[]) {
    read[name] = result.readUInt32LE(QUEUE_SETUP.offset[name]);
  }
  return read;
}

/** The two halves of a ring's address. */
export function rings(sq: number, cq: number): Partial<Record<SetupField, number>> {
  return {
    sqLow: sq % 4294967296,
    sqHigh: Math.floor(sq / 4294967296),
    cqLow: cq % 4294967296,
    cqHigh: Math.floor(cq / 4294967296),
  };
}
