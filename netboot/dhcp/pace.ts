// netboot/dhcp/pace.ts - how many messages of one client are looked at.
//
// Owns: the limit per hardware address, and the bound on how many addresses are remembered. Does not own the words for
// it (why.ts, "flood") nor what is done with a message that passes. Pure: the time is an argument.
//
// A hardware address is what the sender says it is, and anybody on the wire may say it. So somebody else's DISCOVERs must not
// use up a node's REQUESTs, and a message that is repeated at a client's pace, in the same exchange, is looked at even when
// others have used up all: a client repeats itself after 1 s or more with its xid, a flood of made up ones does not.
//
// A boot of firmware, iPXE and a system sends about ten messages in a minute; a client that cannot get further repeats
// itself every few seconds. The limit is far above both and far below what costs anything.

/** Messages at once. */
export const BURST = 40;
/** And this many a second after that. */
export const REFILL_PER_S = 4;
/** Clients remembered; those not heard of late are forgotten first, which only ever favours them. */
const MOST_CLIENTS = 10_000;

type Bucket = { tokens: number; atMs: number; isDry: boolean };

export type Pace = 'pass' | 'drop-first' | 'drop';

/**
 * A Map that forgets what was not used of late: the younger half is written, the older half is dropped when that is full.
 * (Taking each key out and putting it back, so that the first is the oldest, costs more than all else that is done here.)
 */
class Recent<T> {
  readonly #most: number;
  #young = new Map<string, T>();
  #old = new Map<string, T>();

  /** @param most how many are remembered; never fewer than half of them. */
  constructor(most: number) {
    this.#most = most;
  }

  get(key: string): T | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old !== undefined) this.set(key, old);
    return old;
  }

  set(key: string, value: T): void {
    if (this.#young.size >= this.#most / 2 && !this.#young.has(key)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }
}

/** A token bucket for each client. */
export class Pacer {
  readonly #buckets = new Recent<Bucket>(MOST_CLIENTS);
  readonly #burst: number;
  readonly #refillPerS: number;

  constructor({ burst = BURST, refillPerS = REFILL_PER_S }: { burst?: number; refillPerS?: number } = {}) {
    this.#burst = burst;
    this.#refillPerS = refillPerS;
  }

  /** @returns `drop-first` for the first message of a run that is dropped, so that it is told once and not each time. */
  admit(client: string, nowMs: number): Pace {
    let bucket = this.#buckets.get(client);
    if (bucket === undefined) {
      bucket = { tokens: this.#burst, atMs: nowMs, isDry: false };
      this.#buckets.set(client, bucket);
    }
    const elapsedS = Math.max(0, nowMs - bucket.atMs) / 1000;
    const tokens = Math.min(this.#burst, bucket.tokens + elapsedS * this.#refillPerS);
    const passes = tokens >= 1;
    const wasDry = bucket.isDry;
    // A run of drops ends only when a quarter of the burst is back: at the rate limit it would end with every token.
    bucket.isDry = passes ? wasDry && tokens < this.#burst / 4 : true;
    bucket.tokens = passes ? tokens - 1 : tokens;
    bucket.atMs = nowMs;
    if (passes) return 'pass';
    return wasDry ? 'drop' : 'drop-first';
  }

  get size(): number {
    return this.#buckets.size;
  }
}

/** A client waits so long, about, before it says the same again; RFC 2131 4.1 has 4 s, iPXE and udhcpc less. */
const REPEAT_MS = 900;
const MOST_EXCHANGES = 10_000;

/** What is looked at of the messages that say to be of one client. */
export class ClientPacer {
  /** By type of message. */
  readonly #first = new Map<string, Pacer>();
  readonly #repeated = new Pacer();
  /** When a dropped exchange was last looked at, or first dropped. */
  readonly #dropped = new Recent<number>(MOST_EXCHANGES);

  /**
   * @param client its hardware address, as it says. @param type of the message: each has a limit of its own.
   * @param xid ties the messages of one exchange together; undefined where the message could not be read.
   */
  admit(client: string, type: string, xid: number | undefined, nowMs: number): Pace {
    let first = this.#first.get(type);
    if (first === undefined) {
      first = new Pacer();
      this.#first.set(type, first);
    }
    const pace = first.admit(client, nowMs);
    if (pace === 'pass' || xid === undefined) return pace;
    const exchange = `${client} ${type} ${xid}`;
    const lastMs = this.#dropped.get(exchange);
    if (lastMs !== undefined && nowMs - lastMs < REPEAT_MS) return pace;
    this.#dropped.set(exchange, nowMs);
    if (lastMs === undefined) return pace;
    return this.#repeated.admit(`${client} ${type}`, nowMs) === 'pass' ? 'pass' : pace;
  }

  /** Clients and exchanges remembered. */
  get size(): number {
    let size = this.#repeated.size + this.#dropped.size;
    for (const pacer of this.#first.values()) size += pacer.size;
    return size;
  }
}
