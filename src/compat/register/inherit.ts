/**
 * Has child processes load this, too. Threads and `fork` inherit Node's own `--import`; any other child process is told by
 * NODE_OPTIONS, with an address that is good in every folder.
 */
export function inherit(): void {
  const address = new URL('./index.js', import.meta.url).href;
  const options = process.env['NODE_OPTIONS'] ?? '';
  if (options.includes(address)) return;
  process.env['NODE_OPTIONS'] = `${options} --import=${address}`.trimStart();
}
