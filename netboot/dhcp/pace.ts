// netboot/dhcp/pace.ts - how many messages of one client are looked at.
//
// Owns: the limit per hardware address, and the bound on how many addresses are remembered. Does not own the words for
// it (why.ts, "flood") nor what is done with a message that passes. Pure: the time is an argument.
//
// A boot of firmware, iPXE and a system sends about ten messages in a minute; a client that cannot get further repeats
// itself every few seconds. The limit is far above both and far below what costs anything.

/** Messages at once. */
export const BURST = 40;
/** And this many a second after that. */
export const REFILL_PER_S = 4;
/** Clients remembered; the least recently heard is forgotten first, which only ever favours it. */
const MOST_CLIENTS = 10_000;

type Bucket = { tokens: number; atMs: number; isDry: boolean };

export type Pace = 'pass' | 'drop-first' | 'drop';

/** A token bucket for each client. */
export class Pacer {
  readonly #buckets = new Map<string, Bucket>();
  readonly #burst: number;
  readonly #refillPerS: number;

  constructor({ burst = BURST, refillPerS = REFILL_PER_S }: { burst?: number; refillPerS?: number } = {}) {
    this.#burst = burst;
    this.#refillPerS = refillPerS;
  }

  /** @returns `drop-first` for the first message of a run that is dropped, so that it is told once and not each time. */
  admit(client: string, nowMs: number): Pace {
    const old = this.#buckets.get(client) ?? { tokens: this.#burst, atMs: nowMs, isDry: false };
    const elapsedS = Math.max(0, nowMs - old.atMs) / 1000;
    const tokens = Math.min(this.#burst, old.tokens + elapsedS * this.#refillPerS);
    const passes = tokens >= 1;
    // Taken out and put back: a Map remembers insertion order, so that its first key is the least recently heard.
    this.#buckets.delete(client);
    // A run of drops ends only when a quarter of the burst is back: at the rate limit it would end with every token.
    const isDry = passes ? old.isDry && tokens < this.#burst / 4 : true;
    this.#buckets.set(client, { tokens: passes ? tokens - 1 : tokens, atMs: nowMs, isDry });
    if (this.#buckets.size > MOST_CLIENTS) {
      for (const first of this.#buckets.keys()) {
        this.#buckets.delete(first);
        break;
      }
    }
    if (passes) return 'pass';
    return old.isDry ? 'drop' : 'drop-first';
  }

  get size(): number {
    return this.#buckets.size;
  }
}
