// netboot/tftp/admission.ts - which TFTP transfers run now, and which wait.
//
// Owns: the limits, and the queue of requests that wait for a place. Does not own transfers (transfer.ts).
//
// In a storm the transfers that have begun finish first (the capture effect: sharing a link among all would let all time
// out). A request that waits is not refused: its client repeats it every few seconds, and a repetition keeps its place.
//
// A request is one datagram with a sender that anybody can make up. So a transfer that nobody has acknowledged yet holds a
// place of another kind, for as long only as an answer takes; and who has a lease or a node file goes before who has not.
// Pure: the time is an argument.

/** Transfers at once, in all. */
export const MOST_TRANSFERS = 100;
/** To one address. A client has one; a NAT or a GRUB with several open files a few. */
export const MOST_PER_CLIENT = 8;
/** Of all transfers those that nobody has acknowledged yet, and of those the ones of unknown machines. */
export const MOST_UNPROVEN = 50;
export const MOST_UNPROVEN_STRANGERS = 25;
/** While others wait, an unproven transfer keeps its place no longer: an acknowledgement takes milliseconds. */
export const UNPROVEN_MS = 2000;
const MOST_WAITING = 2000;
/** A request not repeated for so long has been given up by its client. */
const STALE_AFTER_MS = 10_000;

type Client = { readonly client: string; readonly isKnown: boolean };
type Running = Client & { readonly atMs: number; readonly isProven: boolean };
type Waiting<T> = Client & { readonly atMs: number; readonly job: T };

/** begin: it has a place until end(key); wait: it is queued; running: it has one already (a repeated request). */
export type Place = 'begin' | 'wait' | 'running' | 'full-first' | 'full';

/** A gate of the given width; `T` is what the shell needs to begin a transfer later. */
export class Admission<T> {
  readonly #running = new Map<string, Running>();
  readonly #waiting = new Map<string, Waiting<T>>();
  readonly #counts = { unproven: 0, strangers: 0 };
  readonly #perClient = new Map<string, number>();
  #isFullTold = false;

  /**
   * @param key the transfer's: address and port of the client. @param client its address.
   * @param isKnown whether the address has a lease or a node file.
   * @returns also: full-first where the queue is full and this was not told since it was empty again; full: told already.
   */
  ask(key: string, client: string, job: T, nowMs: number, isKnown = true): Place {
    if (this.#running.has(key)) return 'running';
    const waiting = { client, isKnown, atMs: nowMs, job };
    if (this.#hasPlace(waiting)) {
      this.#waiting.delete(key);
      this.#begin(key, waiting, nowMs);
      return 'begin';
    }
    // Setting a key that is there keeps its place in the queue.
    if (this.#waiting.size >= MOST_WAITING && !this.#waiting.has(key) && !(isKnown && this.#dropStranger())) {
      if (this.#isFullTold) return 'full';
      this.#isFullTold = true;
      return 'full-first';
    }
    this.#waiting.set(key, waiting);
    return 'wait';
  }

  /** The client has acknowledged something, so it is there. @returns the requests that begin now. */
  prove(key: string, nowMs: number): T[] {
    const transfer = this.#running.get(key);
    if (transfer === undefined || transfer.isProven) return [];
    this.#count(transfer, -1);
    const proven = { ...transfer, isProven: true };
    this.#running.set(key, proven);
    this.#count(proven, 1);
    return this.#fill(nowMs);
  }

  /** A transfer has ended. @returns the requests that begin now, those of known machines first, then the longest waiting. */
  end(key: string, nowMs: number): T[] {
    const transfer = this.#running.get(key);
    if (transfer !== undefined) {
      this.#running.delete(key);
      this.#count(transfer, -1);
      const own = (this.#perClient.get(transfer.client) ?? 0) - 1;
      if (own <= 0) this.#perClient.delete(transfer.client);
      else this.#perClient.set(transfer.client, own);
    }
    return this.#fill(nowMs);
  }

  /** Unproven transfers that have had their time while others wait, the oldest first: to be stopped, then end(key). */
  overdue(nowMs: number): string[] {
    const keys: string[] = [];
    if (this.#waiting.size === 0) return keys;
    for (const [key, { isProven, atMs }] of this.#running) {
      if (!isProven && nowMs - atMs >= UNPROVEN_MS) keys.push(key);
    }
    return keys.slice(0, this.#waiting.size);
  }

  get running(): number {
    return this.#running.size;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  #begin(key: string, { client, isKnown }: Client, nowMs: number): void {
    const transfer = { client, isKnown, atMs: nowMs, isProven: false };
    this.#running.set(key, transfer);
    this.#count(transfer, 1);
    this.#perClient.set(client, (this.#perClient.get(client) ?? 0) + 1);
  }

  #count({ isProven, isKnown }: Running, change: 1 | -1): void {
    if (isProven) return;
    this.#counts.unproven += change;
    if (!isKnown) this.#counts.strangers += change;
  }

  #fill(nowMs: number): T[] {
    const begun: T[] = [];
    for (const known of [true, false]) {
      for (const [key, waiting] of this.#waiting) {
        if (!this.#isRoom(known)) break;
        if (waiting.isKnown !== known) continue;
        if (nowMs - waiting.atMs > STALE_AFTER_MS) this.#waiting.delete(key);
        else if (this.#hasPlace(waiting)) {
          this.#waiting.delete(key);
          this.#begin(key, waiting, nowMs);
          begun.push(waiting.job);
        }
      }
    }
    if (this.#waiting.size < MOST_WAITING / 2) this.#isFullTold = false;
    return begun;
  }

  /** Makes room in the queue for a known machine. */
  #dropStranger(): boolean {
    for (const [key, { isKnown }] of this.#waiting) if (!isKnown) return this.#waiting.delete(key);
    return false;
  }

  #isRoom(isKnown: boolean): boolean {
    const { unproven, strangers } = this.#counts;
    return (
      this.#running.size < MOST_TRANSFERS &&
      unproven < MOST_UNPROVEN &&
      (isKnown || strangers < MOST_UNPROVEN_STRANGERS)
    );
  }

  #hasPlace({ client, isKnown }: Client): boolean {
    return this.#isRoom(isKnown) && (this.#perClient.get(client) ?? 0) < MOST_PER_CLIENT;
  }
}
