// images/turns.ts - work that is done a few pieces at a time.
//
// Owns: whose turn it is. Does not own: what the work is. Pure.

/** @param most how many pieces of work are under way at once. @returns what starts a piece of work when its turn comes. */
export function takeTurns(most: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let free = most;
  return async (work) => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => void waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      // Whoever waits takes over the turn; it is never free in between.
      if (next === undefined) free += 1;
      else next();
    }
  };
}
