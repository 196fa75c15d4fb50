// formats/nearest.ts - a word that nothing is called, and the one that was probably meant.
//
// Owns: which known word is near, and the sentence. Does not own which words are known. Pure.

/** The word of the list that is at most two edits away (one for short words), the nearest first. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const limit = word.length <= 3 ? 1 : 2;
  const ranked = known
    .map((candidate) => ({ candidate, distance: editDistance(word.toLowerCase(), candidate.toLowerCase()) }))
    .filter(({ distance }) => distance <= limit)
    .sort((a, b) => a.distance - b.distance);
  return ranked[0]?.candidate;
}

/** "did you mean 'web'?", or the words that there are. @param none where there is no word at all. */
export function expectedOf(word: string, known: readonly string[], none: string): string {
  const near = nearest(word, known);
  if (near !== undefined) return `did you mean '${near}'?`;
  return known.length === 0 ? none : `expected ${known.join(', ')}`;
}

/** "unknown profile 'wbe', did you mean 'web'?" */
export function unknownName(kind: string, name: string, known: readonly string[]): string {
  return `unknown ${kind} '${name}', ${expectedOf(name, known, `expected a ${kind} that exists`)}`;
}

/** How many letters to add, drop, change or swap with their neighbour (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substitution = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swap = isSwap ? (beforeLast[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY;
      row.push(Math.min(substitution, swap, (last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
