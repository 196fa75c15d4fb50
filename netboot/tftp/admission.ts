// netboot/tftp/admission.ts - which TFTP transfers run now, and which wait.
//
// Owns: the limits, and the queue of requests that wait for a place. Does not own transfers (transfer.ts).
//
// In a storm the transfers that have begun finish first (the capture effect: sharing a link among all would let all time
// out). A request that waits is not refused: its client repeats it every few seconds, and a repetition keeps its place.
// Pure: the time is an argument.

/** Transfers at once, in all and to one address. A client has one; a NAT or a GRUB with several open files a few. */
export const MOST_TRANSFERS = 100;
export const MOST_PER_CLIENT = 8;
const MOST_WAITING = 2000;
/** A request not repeated for so long has been given up by its client. */
const STALE_AFTER_MS = 10_000;

type Waiting<T> = { readonly client: string; readonly atMs: number; readonly job: T };

/** A gate of the given width; `T` is what the shell needs to begin a transfer later. */
export class Admission<T> {
  readonly #running = new Map<string, string>();
  readonly #waiting = new Map<string, Waiting<T>>();

  /**
   * @param key the transfer's: address and port of the client. @param client its address.
   * @returns begin: it has a place until end(key); wait: it is queued; running: it has one already (a repeated request).
   */
  ask(key: string, client: string, job: T, nowMs: number): 'begin' | 'wait' | 'running' {
    if (this.#running.has(key)) return 'running';
    if (this.#hasPlace(client)) {
      this.#waiting.delete(key);
      this.#running.set(key, client);
      return 'begin';
    }
    // Setting a key that is there keeps its place in the queue.
    if (this.#waiting.size < MOST_WAITING || this.#waiting.has(key))
      this.#waiting.set(key, { client, atMs: nowMs, job });
    return 'wait';
  }

  /** A transfer has ended. @returns the requests that begin now, the longest waiting first. */
  end(key: string, nowMs: number): T[] {
    this.#running.delete(key);
    const begun: T[] = [];
    for (const [waitingKey, { client, atMs, job }] of this.#waiting) {
      if (nowMs - atMs > STALE_AFTER_MS) this.#waiting.delete(waitingKey);
      else if (this.#hasPlace(client)) {
        this.#waiting.delete(waitingKey);
        this.#running.set(waitingKey, client);
        begun.push(job);
      }
    }
    return begun;
  }

  get running(): number {
    return this.#running.size;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  #hasPlace(client: string): boolean {
    if (this.#running.size >= MOST_TRANSFERS) return false;
    let mine = 0;
    for (const other of this.#running.values()) if (other === client) mine += 1;
    return mine < MOST_PER_CLIENT;
  }
}
