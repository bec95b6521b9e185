import { styleText } from 'node:util';

type Format = Parameters<typeof styleText>[0];

const wanted = process.stdout.isTTY === true && !process.env['NO_COLOR'];

/** Text for the standard output, coloured where that is a terminal and nobody objects. */
export function styled(format: Format, text: string): string {
  return wanted ? styleText(format, text) : text;
}
