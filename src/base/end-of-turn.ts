/** Work that arrives in one turn of the event loop, begun together. */

let turn: Promise<void> | undefined;

/**
 * Resolves when the turn's input has been read, for everybody who asked in it at once. What they do next then goes
 * step by step for all of them, since promises settle in order: each step's code and data are in the processor's
 * caches for the next one's. Requests that each ran to their end before the next was read took half as long again.
 */
export function endOfTurn(): Promise<void> {
  turn ??= new Promise((resolve) => {
    setImmediate(() => {
      turn = undefined;
      resolve();
    });
  });
  return turn;
}
