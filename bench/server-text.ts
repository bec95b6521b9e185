import { slices } from './text.js';

/** As many different documents as are sent in turn. */
const TEXTS = 32;
/** The text in each record. */
const RECORD_BYTES = 160;

/** JSON documents of about so many bytes, as a server sends them: records with names, numbers and some text. */
export function jsonTexts(bytes: number): string[] {
  return slices(TEXTS, bytes).map((text, which) => {
    const records: object[] = [];
    for (let at = 0, length = 0; length < bytes; at += RECORD_BYTES) {
      const id = which * 1_000_000 + at;
      const record = {
        id,
        title: `Record ${id}`,
        updated: new Date(1.7e12 + id * 997).toISOString(),
        score: (id % 997) / 10,
        tags: ['json', id % 2 === 0 ? 'even' : 'odd'],
        text: text.toString('utf8', at, at + RECORD_BYTES),
      };
      records.push(record);
      length += JSON.stringify(record).length + 1;
    }
    return JSON.stringify(records);
  });
}
