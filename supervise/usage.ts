// supervise/usage.ts - what each service uses: the sums over its processes.
//
// Owns: which processes are a service's. Does not own: reading /proc (procfs.io.ts), showing it (view.ts, metrics.ts).
//
// A service is started in a session of its own, so its processes are those of that session, and the descendants of its
// main process where they have begun sessions of their own. Memory that processes share is counted for each. Pure.

/** Of all processes of a service. */
export type Usage = {
  /** With that of children that have ended and were waited for. */
  readonly cpuMs: number;
  readonly residentBytes: number;
};

export type ProcessUsage = Usage & { readonly pid: number; readonly parentPid: number; readonly sessionId: number };

/** @param mains main processes of services. @returns by main process; none for one that is not there any more. */
export function usageByMain(mains: readonly number[], processes: readonly ProcessUsage[]): Map<number, Usage> {
  const wanted = new Set(mains);
  const byPid = new Map(processes.map((each) => [each.pid, each]));
  const sums = new Map<number, Usage>();
  const mainOf = (start: ProcessUsage): number | undefined => {
    // Bounded: /proc is read process by process, and what was read of a reused pid may point in a circle.
    let at: ProcessUsage | undefined = start;
    for (let steps = 0; at !== undefined && steps < processes.length; steps += 1) {
      if (wanted.has(at.pid)) return at.pid;
      if (wanted.has(at.sessionId)) return at.sessionId;
      at = byPid.get(at.parentPid);
    }
    return undefined;
  };
  for (const each of processes) {
    const main = mainOf(each);
    if (main === undefined) continue;
    const sum = sums.get(main) ?? { cpuMs: 0, residentBytes: 0 };
    sums.set(main, { cpuMs: sum.cpuMs + each.cpuMs, residentBytes: sum.residentBytes + each.residentBytes });
  }
  return sums;
}
