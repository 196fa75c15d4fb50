// netboot/fleet/fleet.io.ts - the nodes as the boot server knows them: their states, their orders, their live files.
//
// Owns: the states and orders in memory and in the store, long polls, rendering live files again when an input changes.
// Does not own: what a state becomes (nodestate.ts), who is in a pool (pools.ts), what is rendered (live.ts, templates.ts),
// changes (changes.io.ts), HTTP (nodes.io.ts).

import { createHash } from 'node:crypto';
import { reasonOf } from '../../formats/errors.ts';
import { type LiveFiles, type LiveRendering, renderLive } from './live.ts';
import type { LiveFacts } from './livediff.ts';
import { type BegunBoot, began, freshState, hasBegun, type NodeState, ready, reported } from './nodestate.ts';
import { type Order, OrderBook, type Verb } from './orders.ts';
import { poolNews, type PoolView, poolsOf, type States } from './pools.ts';
import type { StoreContent, StoredBoot, StoreRecord } from '../store/records.ts';
import { type Acknowledgement, lastingPart, type NodeReport } from './reports.ts';
import type { Site } from '../site/site.ts';
import { adoptedMachines, strangersToForget } from './strangers.ts';
import { type VipView, vipsOf } from './vips.ts';

export type FleetOptions = {
  readonly site: () => Site | undefined;
  readonly bootById: (id: string) => StoredBoot | undefined;
  readonly commit: (records: readonly StoreRecord[]) => Promise<void>;
  readonly log: (line: string) => void;
};

const DEBOUNCE_MS = 200;
/** A proxy or a firewall forgets a connection on which nothing is said for longer. */
const LONG_POLL_MS = 25_000;
const POLLS_PER_BOOT = 2;
/** Renderings of one boot that `rouse node diff` can still show. */
const KEPT_RENDERINGS = 4;

const sha256 = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex');

export class Fleet {
  readonly states = new Map<string, NodeState>();
  readonly orders = new OrderBook();
  readonly #options: FleetOptions;
  readonly #listeningSinceMs = Date.now();
  readonly #polls = new Map<string, Set<() => void>>();
  readonly #rendered = new Map<string, LiveFiles[]>();
  readonly #said = new Map<string, string>();
  readonly #watchers = new Set<() => void>();
  /** Nodes whose state in memory the disk refused: written again with their next update, whatever that one is. */
  readonly #unsaved = new Set<string>();
  readonly #unwritten = new WeakSet<Order>();
  #pools: readonly PoolView[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(options: FleetOptions, content: Pick<StoreContent, 'nodes' | 'orders'>) {
    this.#options = options;
    for (const state of content.nodes) this.states.set(state.node, state);
    for (const order of content.orders) this.orders.put(order);
    this.#pools = this.pools();
    this.touch();
  }

  state(node: string): NodeState {
    return this.states.get(node) ?? freshState(node);
  }

  pools(): PoolView[] {
    const site = this.#options.site();
    return site === undefined ? [] : poolsOf(site, this.states);
  }

  vips(): VipView[] {
    const site = this.#options.site();
    return site === undefined ? [] : vipsOf(site, this.states);
  }

  /** What is heard of nodes at this moment. */
  hearing(): { readonly states: States; readonly nowMs: number; readonly listeningSinceMs: number } {
    return { states: this.states, nowMs: Date.now(), listeningSinceMs: this.#listeningSinceMs };
  }

  /** Told after each change of a state or an order. */
  onChange(watcher: () => void): void {
    this.#watchers.add(watcher);
  }

  /** Whether what changed has been rendered and ordered. */
  isSettled(): boolean {
    return this.#timer === undefined;
  }

  /** In memory at once; resolves when it is on disk, rejects where the disk refuses. */
  async update(node: string, next: (state: NodeState) => NodeState, isLasting = true): Promise<void> {
    const before = this.state(node);
    const state = next(before);
    if (state === before && !this.#unsaved.has(node)) return;
    this.#take(before, state);
    if (isLasting || this.#unsaved.has(node)) await this.#commit(state, []);
  }

  #take(before: NodeState, state: NodeState): void {
    this.states.set(state.node, state);
    // Reports of a whole rack come all the time; only these are inputs of other nodes' files.
    if (state.boot !== before.boot || state.draining !== before.draining) this.touch();
    for (const watcher of this.#watchers) watcher();
  }

  /** All of it or nothing is on disk. */
  async #commit(state: NodeState, others: readonly StoreRecord[]): Promise<void> {
    try {
      await this.#options.commit([...others, { kind: 'node', state }]);
      this.#unsaved.delete(state.node);
    } catch (error) {
      this.#unsaved.add(state.node);
      throw error;
    }
  }

  /** A machine was given its script, or a prepared boot spoke. */
  async begin(stored: StoredBoot, isLoaded: boolean): Promise<void> {
    const { id, address, startedAtMs, plan, image, insteadOf } = stored;
    const boot: BegunBoot = { id, address, startedAtMs, plan, image, insteadOf, isLoaded, isReady: false };
    await this.update(plan.node.name, (state) => began(state, boot));
  }

  /** A boot that speaks has begun, whatever was heard of it before. */
  async heard(stored: StoredBoot): Promise<void> {
    if (hasBegun(this.state(stored.plan.node.name), stored)) await this.begin(stored, true);
  }

  async isReady(stored: StoredBoot): Promise<void> {
    const { name } = stored.plan.node;
    const wasReady = this.state(name).boot?.isReady;
    await this.update(name, (state) => ready(state, stored.id));
    // What an operator drained stays drained, whatever it boots.
    const state = this.state(name);
    if (wasReady !== true && state.boot?.isReady === true && state.draining === 'operator')
      await this.order(name, 'drain', '');
  }

  async report(stored: StoredBoot, report: NodeReport, atMs: number): Promise<void> {
    await this.heard(stored);
    const { name } = stored.plan.node;
    const before = this.state(name).report?.report;
    if (report.isReady) await this.isReady(stored);
    const isLasting = before === undefined || lastingPart(before) !== lastingPart(report);
    await this.update(name, (state) => reported(state, stored.id, report, atMs), isLasting);
    for (const { path, detail } of report.refused) {
      this.#sayOnce(`refused ${stored.id} ${path}`, `${name} refused ${path} and keeps the old one: ${detail}`);
    }
    for (const { vip, alarm } of this.vips()) {
      // How long is in the list; the log says it once.
      this.#sayOnce(`vip ${vip}`, alarm === undefined ? '' : `ALARM: ${alarm.replace(/ for \d+ s/, '')}`);
    }
  }

  /**
   * Orders something of the boot that a node runs; a node that runs none gets the new state alone.
   *
   * @param also what the order makes of the node's state. Both go to disk as one: a boot server that is killed between them
   *   would order it again, or wait for what is done already.
   * @returns the order's number; undefined where the node runs nothing.
   */
  async order(
    node: string,
    verb: Verb,
    argument: string,
    also?: (state: NodeState, number: number | undefined) => NodeState,
  ): Promise<number | undefined> {
    const before = this.state(node);
    const bootId = before.boot?.id;
    const made = bootId === undefined ? [] : this.orders.made(bootId, verb, argument, Date.now());
    const number = made.at(-1)?.number;
    const state = also === undefined ? before : also(before, number);
    // Not handed out before it is on disk: what a node does must be known after any restart.
    for (const order of made) {
      this.#unwritten.add(order);
      this.orders.put(order);
    }
    if (state !== before) this.#take(before, state);
    const records = made.map((order): StoreRecord => ({ kind: 'order', order }));
    await (state === before ? this.#options.commit(records) : this.#commit(state, records));
    for (const order of made) this.#unwritten.delete(order);
    if (bootId !== undefined) this.#wake(bootId);
    return number;
  }

  async acknowledge(stored: StoredBoot, acks: readonly Acknowledgement[], atMs: number): Promise<readonly Order[]> {
    await this.heard(stored);
    const { name } = stored.plan.node;
    const taken = acks.flatMap(({ number, isDone, detail }) => {
      const order = this.orders.acknowledged(stored.id, number, isDone, detail, atMs);
      if (order !== undefined) this.orders.put(order);
      return order ?? [];
    });
    for (const { verb, argument, outcome } of taken) {
      if (outcome.kind === 'failed') this.#options.log(`${name} could not ${verb} ${argument}: ${outcome.detail}`);
      else this.#options.log(`${name}: ${verb} ${argument} done`.replace('  ', ' '));
    }
    if (taken.length > 0) {
      await this.#options.commit(taken.map((order): StoreRecord => ({ kind: 'order', order })));
      for (const watcher of this.#watchers) watcher();
    }
    return taken;
  }

  /** The orders of a boot above `after`: at once where there are any, else after at most LONG_POLL_MS. */
  async waitForOrders(bootId: string, after: number): Promise<readonly Order[]> {
    const written = (): Order[] => this.orders.waiting(bootId, after).filter((order) => !this.#unwritten.has(order));
    const now = written();
    if (now.length > 0) return now;
    await new Promise<void>((resolve) => {
      const polls = this.#polls.get(bootId) ?? new Set<() => void>();
      const timer = setTimeout(() => done(), LONG_POLL_MS);
      const done = (): void => {
        clearTimeout(timer);
        polls.delete(done);
        if (polls.size === 0) this.#polls.delete(bootId);
        resolve();
      };
      polls.add(done);
      this.#polls.set(bootId, polls);
      // A node that lost its connection asks again while the old one still stands.
      const [oldest] = polls;
      if (polls.size > POLLS_PER_BOOT) oldest?.();
    });
    return written();
  }

  #wake(bootId: string): void {
    for (const done of this.#polls.get(bootId) ?? []) done();
  }

  /** The archive of a revision that the boot should have now or had lately. */
  archive({ id, plan }: Pick<StoredBoot, 'id' | 'plan'>, revision: string): Uint8Array | undefined {
    const known = this.#rendered.get(id)?.find((live) => live.revision === revision);
    if (known !== undefined) return known.archive;
    // After a restart the order is older than what is in memory; the same inputs make the same bytes.
    const { boot } = this.state(plan.node.name);
    const rendered = boot?.id === id ? this.#render(plan.node.name, boot) : undefined;
    return rendered?.kind === 'live' && rendered.live.revision === revision ? rendered.live.archive : undefined;
  }

  /** Live files of a node as they should be now against what it says to have. */
  live(node: string): LiveFacts {
    const { boot, report } = this.state(node);
    const appliedRevision = report?.report.filesRevision;
    const applied = this.#rendered.get(boot?.id ?? '')?.find(({ revision }) => revision === appliedRevision);
    const rendered = boot === undefined ? undefined : this.#render(node, boot);
    return {
      now: rendered?.kind === 'live' ? rendered.live : undefined,
      problem: rendered?.kind === 'problem' ? rendered.why : undefined,
      appliedRevision,
      applied,
    };
  }

  /** An input of live files may have changed. */
  touch(): void {
    this.#timer ??= setTimeout(() => {
      this.#renderAll()
        .catch((error: unknown) => this.#options.log(`live files: ${reasonOf(error)}`))
        .finally(() => {
          this.#timer = undefined;
          for (const watcher of this.#watchers) watcher();
        });
    }, DEBOUNCE_MS);
  }

  async #renderAll(): Promise<void> {
    const pools = this.pools();
    for (const line of poolNews(this.#pools, pools)) this.#options.log(line);
    this.#pools = pools;
    for (const [node, { boot }] of this.states) {
      if (boot === undefined) continue;
      const rendered = this.#render(node, boot, this.#pools);
      if (rendered === undefined) continue;
      this.#sayOnce(
        `live ${boot.id}`,
        rendered.kind === 'problem' ? `live files of ${node} stay as they are: ${rendered.why}` : '',
      );
      if (rendered.kind === 'problem') continue;
      const { revision } = rendered.live;
      this.#remember(boot.id, rendered.live);
      const last = this.orders.of(boot.id).findLast(({ verb }) => verb === 'files');
      const target = last?.argument ?? this.#options.bootById(boot.id)?.filesRevision;
      if (target !== revision) await this.order(node, 'files', revision);
    }
    await this.#rebootAdopted();
    this.#forgetGone();
    await this.#forgetStrangers();
  }

  /** Machines under another DHCP server's lease, which became nodes: nobody else tells them to boot as that. */
  async #rebootAdopted(): Promise<void> {
    const site = this.#options.site();
    for (const { stranger, bootId, node } of site === undefined ? [] : adoptedMachines(site, this.states)) {
      if (this.orders.of(bootId).some(({ verb }) => verb === 'reboot')) continue;
      await this.order(stranger, 'reboot', '');
      this.#options.log(`${stranger} has become ${node}: it is told to boot as that`);
    }
  }

  async #forgetStrangers(): Promise<void> {
    const gone = strangersToForget(this.states);
    if (gone.length === 0) return;
    for (const node of gone) {
      this.states.delete(node);
      this.#unsaved.delete(node);
    }
    await this.#options.commit(gone.map((node): StoreRecord => ({ kind: 'node-forgotten', node })));
  }

  /** What was made for boots that left the shelf: nobody can fetch it any more. */
  #forgetGone(): void {
    const { bootById } = this.#options;
    for (const id of this.#rendered.keys()) if (bootById(id) === undefined) this.#rendered.delete(id);
    // Numbers go on for as long as a node may ask above the last one, and a change looks at the orders of the boot it left.
    const needed = new Set([...this.states.values()].flatMap(({ boot, change }) => [boot?.id, change?.fromBootId]));
    this.orders.keepOnly((id) => bootById(id) !== undefined || needed.has(id));
  }

  #remember(bootId: string, live: LiveFiles): void {
    const known = this.#rendered.get(bootId) ?? [];
    const others = known.filter(({ revision }) => revision !== live.revision);
    this.#rendered.set(bootId, [...others, live].slice(-KEPT_RENDERINGS));
  }

  #render(node: string, boot: BegunBoot, pools: readonly PoolView[] = this.pools()): LiveRendering | undefined {
    const site = this.#options.site();
    return site === undefined ? undefined : renderLive({ site, states: this.states, pools }, node, boot, sha256);
  }

  /** Says a line when it differs from the last one under this key; an empty one ends the matter. */
  #sayOnce(key: string, line: string): void {
    if ((this.#said.get(key) ?? '') === line) return;
    if (this.#said.size > 10_000) this.#said.clear();
    this.#said.set(key, line);
    if (line !== '') this.#options.log(line);
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const bootId of this.#polls.keys()) this.#wake(bootId);
  }
}
