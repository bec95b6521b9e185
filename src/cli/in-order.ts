/**
 * Starts work on items ahead of whoever takes the results, which come in the items' order.
 * @param ahead the most that is under way at once
 * @param start must not reject: what goes wrong is part of the result
 */
export async function* inOrder<I, O>(
  items: AsyncIterable<I> | Iterable<I>,
  ahead: number,
  start: (item: I) => Promise<O>,
): AsyncGenerator<O, void, undefined> {
  const running: Promise<O>[] = [];
  for await (const item of items) {
    running.push(start(item));
    if (running.length >= ahead) yield await running.shift()!;
  }
  while (running.length > 0) yield await running.shift()!;
}
