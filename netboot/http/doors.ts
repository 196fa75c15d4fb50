// netboot/http/doors.ts - who may have another connection to the boot port, and who sends his next body.
//
// Owns: the limits on connections and on bodies under way, in all and for each peer. Does not own sockets (server.io.ts).
//
// File descriptors are shared with DHCP, the store and the configuration: a boot port that took all of them would stop
// what has nothing to do with it. A node has at most four connections: its loader's, its agent's long poll and reports.
// Pure.

/** For one address: a node behind a NAT has company. */
export const MOST_PER_PEER = 64;
/** Where three quarters of all are taken, whoever has many waits for those who have few. */
export const MOST_PER_PEER_CROWDED = 8;
/** Files sent to one address at a time, each from two buffers: loaders ask for one after the other. */
export const MOST_BODIES_PER_PEER = 4;
const MOST_CONNECTIONS = 8192;

/** How many connections there may be. A quarter: each may have a file open too, and half is left for all else. */
export function connectionLimit(descriptors: number): number {
  return Math.max(16, Math.min(MOST_CONNECTIONS, Math.floor(descriptors / 4)));
}

/** The soft limit of "Max open files" in /proc/self/limits. */
export function descriptorLimit(limits: string): number {
  const found = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  return found === undefined ? 1024 : Number(found);
}

/** Counts connections. */
export class Doors {
  readonly #most: number;
  readonly #perPeer = new Map<string, number>();
  #open = 0;
  #isTold = false;

  constructor(most: number) {
    this.#most = most;
  }

  get open(): number {
    return this.#open;
  }

  /** @returns `refuse-first` for the first refusal of a run, so that it is told once. A `come` is followed by one leave(). */
  enter(peer: string): 'come' | 'refuse-first' | 'refuse' {
    const own = this.#perPeer.get(peer) ?? 0;
    const isCrowded = this.#open >= (this.#most * 3) / 4;
    if (this.#open >= this.#most || own >= (isCrowded ? MOST_PER_PEER_CROWDED : MOST_PER_PEER)) {
      if (this.#isTold) return 'refuse';
      this.#isTold = true;
      return 'refuse-first';
    }
    this.#open += 1;
    this.#perPeer.set(peer, own + 1);
    return 'come';
  }

  leave(peer: string): void {
    const own = this.#perPeer.get(peer) ?? 0;
    if (own <= 1) this.#perPeer.delete(peer);
    else this.#perPeer.set(peer, own - 1);
    this.#open -= 1;
    if (this.#open < this.#most / 2 && own < MOST_PER_PEER / 2) this.#isTold = false;
  }
}

/** Turns for bodies: at most MOST_BODIES_PER_PEER of one peer at a time, the longest waiting first. */
export class Turns {
  readonly #peers = new Map<string, { under: number; readonly waiting: (() => void)[] }>();

  /** Resolves when it is this one's turn; followed by exactly one done(). */
  take(peer: string): Promise<void> {
    const state = this.#peers.get(peer) ?? { under: 0, waiting: [] };
    this.#peers.set(peer, state);
    if (state.under < MOST_BODIES_PER_PEER) {
      state.under += 1;
      return Promise.resolve();
    }
    return new Promise((resolve) => state.waiting.push(resolve));
  }

  done(peer: string): void {
    const state = this.#peers.get(peer);
    if (state === undefined) return;
    const next = state.waiting.shift();
    if (next !== undefined) return next();
    state.under -= 1;
    if (state.under === 0) this.#peers.delete(peer);
  }
}
