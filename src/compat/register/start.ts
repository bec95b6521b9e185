import { inherit } from './inherit.js';
import { PARTS, wantedParts } from './parts.js';
import { reportAtExit } from './report.js';

const wanted = wantedParts(process.env['WARPDRIVE_REGISTER']);
for (const part of wanted) PARTS[part].replace();
inherit();
if (isSet(process.env['WARPDRIVE_REPORT'])) reportAtExit(wanted.map((part) => PARTS[part].summary));

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== '' && value !== '0';
}
