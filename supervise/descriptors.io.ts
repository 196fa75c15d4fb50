// supervise/descriptors.io.ts - descriptors kept for the day on which there are no others.
//
// Owns: the reserve, and lending it to what must not fail for want of a descriptor: looking at processes, reading and
// writing a service's state, starting a process. Does not own: what is done with them.
// A supervisor that cannot look at /proc would take living processes for dead ones. Only for what is done and closed
// again within the call: a descriptor that stays open is one that the reserve does not get back.

import { closeSync, openSync } from 'node:fs';

/** A spawn needs six at a time: two ends of the gate, two of libuv's own pipe, and what it duplicates. */
const RESERVE = 8;
const reserve: number[] = [];
const SHORTAGES: ReadonlySet<unknown> = new Set(['EMFILE', 'ENFILE', 'ENOMEM']);

/** Fills the reserve as far as that goes. */
export function holdReserve(): void {
  try {
    while (reserve.length < RESERVE) reserve.push(openSync('/dev/null', 'r'));
  } catch {
    // None to be had now: the next return of the reserve tries again.
  }
}

/** Whether an error says only that nothing could be looked at just now. */
export function isShortage(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && SHORTAGES.has(thrown.code);
}

/** Runs it with the reserve let go. */
export function lendReserve<T>(action: () => T): T {
  for (const fd of reserve.splice(0)) closeSync(fd);
  try {
    return action();
  } finally {
    holdReserve();
  }
}

/** Runs it, and once more with the reserve let go where there was no descriptor: it must bear being begun twice. */
export function withReserve<T>(action: () => T): T {
  try {
    return action();
  } catch (thrown) {
    if (!isShortage(thrown) || reserve.length === 0) throw thrown;
  }
  return lendReserve(action);
}
