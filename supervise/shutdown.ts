// supervise/shutdown.ts - dependencies between services: who may start, and in which order all are stopped.
//
// Owns: both orders. Does not own: carrying them out (supervisor.io.ts), a service's own life (machine.ts).
// A service starts when all it depends on are ready, and is stopped before any of them is. A logger ends after its
// service, by the end of its input, so that no line is lost. Pure.

/** One slot (a service and its log) as far as order matters. */
export type Ordered = {
  readonly name: string;
  readonly depends: readonly string[];
  readonly main: 'open' | 'stopping' | 'closed';
  readonly log: 'open' | 'stopping' | 'closed';
};

export type StopStep =
  | { readonly kind: 'stop'; readonly name: string }
  /** Close the supervisor's end of the log's FIFO and let the logger exit at the end of its input. */
  | { readonly kind: 'end-log'; readonly name: string };

/** What to do next so that everything ends; empty while waiting, and when all is closed. */
export function stopSteps(slots: readonly Ordered[]): StopStep[] {
  const live = slots.filter(({ main }) => main !== 'closed');
  const isNeeded = (name: string): boolean => live.some((slot) => slot.name !== name && slot.depends.includes(name));
  const open = live.filter(({ main }) => main === 'open');
  const free = open.filter(({ name }) => !isNeeded(name));
  // Only a circle of dependencies can leave open services none of which is free while nothing is on its way down.
  const stuck = free.length === 0 && live.every(({ main }) => main === 'open');
  return [
    ...(stuck ? open : free).map(({ name }): StopStep => ({ kind: 'stop', name })),
    ...slots
      .filter(({ main, log }) => main === 'closed' && log === 'open')
      .map(({ name }): StopStep => ({ kind: 'end-log', name })),
  ];
}

/** Dependencies that are not ready, each with why where that helps: "db", "db (no such service)". */
export function missingOf(
  depends: readonly string[],
  isReady: ReadonlyMap<string, boolean>,
  cycle: string | undefined,
): string[] {
  if (cycle !== undefined) return [`itself (a circle of depends: ${cycle})`];
  return depends.flatMap((name) => {
    const ready = isReady.get(name);
    if (ready === undefined) return [`${name} (no such service)`];
    return ready ? [] : [name];
  });
}

/** The way in which a service depends on itself, "a, b, a"; undefined where it does not. */
export function cycleOf(name: string, dependsOf: ReadonlyMap<string, readonly string[]>): string | undefined {
  const seen = new Set<string>();
  const search = (at: string, path: readonly string[]): string | undefined => {
    for (const next of dependsOf.get(at) ?? []) {
      if (next === name) return [...path, next].join(', ');
      if (seen.has(next)) continue;
      seen.add(next);
      const found = search(next, [...path, next]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return search(name, [name]);
}
