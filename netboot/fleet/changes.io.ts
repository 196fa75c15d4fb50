// netboot/fleet/changes.io.ts - nodes drained and changed on command: asked beforehand, carried out step by step, told in the journal.
//
// Owns: the clock that looks at running changes, their orders and events.
// Does not own: the steps (change.ts), what refuses (planview.ts), when a node is drained (outofservice.ts), making boots (boots.io.ts), orders (fleet.io.ts).

import { Fault, reasonOf } from '../../formats/errors.ts';
import type { BootDesk } from '../boots/boots.io.ts';
import { type Change, type ChangeFacts, renderSteps, stepChange } from './change.ts';
import type { Fleet } from './fleet.io.ts';
import type { Journal } from '../journal/attempts.ts';
import type { BootEvent } from '../journal/journal.ts';
import { type BegunBoot, forgiven, type NodeState } from './nodestate.ts';
import { isOutOfService } from './outofservice.ts';
import { nextHolder, type PlanFacts, type Refusal, refusalsOf, renderTarget, wantedOf } from './planview.ts';
import { missing } from '../site/missing.ts';
import type { Images, Profile, Site, SiteNode } from '../site/site.ts';
import { vipsHeldBy } from './vips.ts';

export type ChangesOptions = {
  readonly fleet: Fleet;
  readonly desk: Pick<BootDesk, 'prepare'>;
  readonly journal: Journal;
  readonly site: () => Site | undefined;
  readonly images: () => Promise<Images>;
  readonly record: (event: BootEvent) => Promise<void>;
  readonly log: (line: string) => void;
};

export type BootRequest = {
  readonly who: string;
  /** Without it only `once` is remembered. */
  readonly isNow: boolean;
  readonly isCold: boolean;
  readonly isForced: boolean;
  /** For the next boot only. */
  readonly once: string | undefined;
  readonly drainTimeoutS: number;
};

const LOOK_EVERY_MS = 500;

export class Changes {
  readonly #options: ChangesOptions;
  readonly #timer: NodeJS.Timeout;
  #looking: Promise<void> = Promise.resolve();
  #isWoken = false;

  constructor(options: ChangesOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#wake(), LOOK_EVERY_MS);
    options.fleet.onChange(() => this.#wake());
  }

  /** Drains a node until it is undrained. @throws Fault E_NO where a pool would fall below its minimum and it is not forced. */
  async drain(name: string, isForced: boolean): Promise<void> {
    const { fleet } = this.#options;
    const { site } = this.#node(name);
    refuse(name, refusalsOf({ site, ...fleet.hearing() }, name, { kind: 'drain', isForced }));
    await fleet.order(name, 'drain', '', (state) => ({ ...state, draining: 'operator' }));
  }

  async undrain(name: string): Promise<void> {
    const { fleet } = this.#options;
    this.#node(name);
    if (fleet.state(name).change?.outcome.kind === 'running') {
      throw new Fault('E_NO', { what: `${name} is being changed`, todo: 'wait for its end, or see rouse node show' });
    }
    await fleet.order(name, 'undrain', '', (state) => ({ ...state, draining: 'no' }));
  }

  /**
   * Begins to make a node what its files want, or remembers a profile for its next boot.
   *
   * @returns the change that began; undefined where it only was remembered.
   * @throws Fault E_NO or E_NOT_FOUND with the reason; then nothing was touched.
   */
  async boot(name: string, request: BootRequest): Promise<Change | undefined> {
    const { fleet } = this.#options;
    const { site, node } = this.#node(name);
    const once = request.once === undefined ? undefined : this.#profile(site, request.once);
    const facts: PlanFacts = { site, images: await this.#options.images(), ...fleet.hearing() };
    const wanted = wantedOf(facts, node, once);
    if (wanted.kind !== 'boot') throw new Fault('E_NO', { what: `${name} was not touched`, why: wanted.why });
    if (!request.isNow) {
      if (once === undefined) {
        throw new Fault('E_USAGE', {
          what: `${name} boots ${renderTarget(wanted.plan)} whenever it boots next`,
          todo: 'to do it at once: --now; for one boot only: --once PROFILE',
        });
      }
      await fleet.update(name, (state) => ({ ...forgiven(state), once: once.name }));
      return undefined;
    }
    const { boot } = fleet.state(name);
    const { isCold, isForced } = request;
    refuse(name, refusalsOf(facts, name, { kind: 'boot', plan: wanted.plan, isCold, isForced }));
    if (boot === undefined) return undefined;
    const vips = vipsHeldBy(site, fleet.states, name).filter(
      () => nextHolder(facts, boot.plan.profile.name, name) !== undefined,
    );
    const change: Change = {
      who: request.who,
      mode: request.isCold ? 'cold' : 'kexec',
      profile: wanted.plan.profile.name,
      fromBootId: boot.id,
      toBootId: undefined,
      drainTimeoutS: request.drainTimeoutS,
      readyTimeoutS: wanted.plan.readyTimeoutS,
      drainOrder: 0,
      goOrder: undefined,
      vips,
      steps: [{ name: 'drain', startedAtMs: Date.now(), endedAtMs: undefined }],
      outcome: { kind: 'running' },
    };
    await fleet.order(name, 'drain', '', (before, number) => ({
      ...forgiven(before),
      once: once?.name,
      draining: before.draining === 'operator' ? 'operator' : 'change',
      change: { ...change, drainOrder: number ?? 0 },
    }));
    this.#options.log(
      `${request.who} boots ${name} now: from ${renderTarget(boot.plan)} to ${renderTarget(wanted.plan)}`,
    );
    return change;
  }

  #node(name: string): { site: Site; node: SiteNode } {
    const site = this.#options.site();
    const node = site?.nodes.get(name);
    if (site === undefined || node === undefined) throw missing('node', name, site?.nodes.keys() ?? []);
    return { site, node };
  }

  #profile(site: Site, name: string): Profile {
    const profile = site.profiles.get(name);
    if (profile === undefined) throw missing('profile', name, site.profiles.keys());
    return profile;
  }

  /** One look at a time; what happens meanwhile is looked at after it. */
  #wake(): void {
    if (this.#isWoken) return;
    this.#isWoken = true;
    this.#looking = this.#looking.then(async () => {
      this.#isWoken = false;
      for (const [name, state] of this.#options.fleet.states) {
        if (state.change?.outcome.kind !== 'running') continue;
        await this.#look(name, state, state.change).catch((error: unknown) =>
          this.#options.log(`the change of ${name}: ${reasonOf(error)}`),
        );
      }
    });
  }

  async #look(name: string, state: NodeState, before: Change): Promise<void> {
    const { fleet } = this.#options;
    const { boot } = state;
    if (boot === undefined) return;
    const { change, effect } = stepChange(before, this.#factsOf(name, boot, before));
    if (change === before) return;
    switch (effect.kind) {
      case 'switch':
        return this.#switch(name, boot, change);
      case 'reboot':
        await this.#tellSwitch(boot, change, undefined, 0);
        await fleet.order(name, 'reboot', '', (current, goOrder) => ({ ...current, change: { ...change, goOrder } }));
        return;
      case 'undrain':
        return this.#back(name, change);
      case 'nothing':
        await fleet.update(name, (current) => ({ ...current, change }));
        return this.#tellEnd(name, change);
    }
  }

  #tellEnd(name: string, change: Change): void {
    const { outcome, profile } = change;
    const steps = renderSteps(change, Date.now());
    if (outcome.kind === 'done') this.#options.log(`${name} is ${profile}: ${steps}`);
    if (outcome.kind === 'failed') this.#options.log(`${name} is not ${profile}: ${outcome.why} (${steps})`);
  }

  #factsOf(name: string, boot: BegunBoot, change: Change): ChangeFacts {
    const { fleet, journal } = this.#options;
    const outcomeOf = (number: number) =>
      fleet.orders.of(change.fromBootId).find((order) => order.number === number)?.outcome ??
      ({ kind: 'waiting' } as const);
    return {
      nowMs: Date.now(),
      drain: outcomeOf(change.drainOrder),
      isOutOfService: isOutOfService(name, change.vips, {
        ...fleet.hearing(),
        isSettled: fleet.isSettled(),
        ordersOf: (bootId) => fleet.orders.of(bootId),
        vips: fleet.vips(),
      }),
      go: change.goOrder === undefined ? undefined : outcomeOf(change.goOrder),
      boot: {
        id: boot.id,
        isReady: boot.isReady,
        hasSpoken: (journal.byBootId(boot.id)?.reports.length ?? 0) > 0,
        insteadOf: boot.insteadOf,
      },
    };
  }

  async #switch(name: string, boot: BegunBoot, change: Change): Promise<void> {
    const { desk, fleet } = this.#options;
    const made = await desk.prepare(name);
    if (made.kind === 'refused') {
      return this.#back(name, { ...change, outcome: { kind: 'failed', atMs: Date.now(), why: made.why } });
    }
    const { id, plan } = made.boot;
    await this.#tellSwitch(boot, change, id, plan.target.kind === 'linux' ? plan.target.layers.length + 1 : 0);
    await fleet.order(name, 'switch', id, (current, goOrder) => ({
      ...current,
      change: { ...change, toBootId: id, goOrder },
    }));
  }

  async #tellSwitch({ plan }: BegunBoot, change: Change, bootId: string | undefined, files: number): Promise<void> {
    const drainStartedAtMs = change.steps[0]?.startedAtMs ?? Date.now();
    const { profile, readyTimeoutS } = change;
    const { mac, name } = plan.node;
    await this.#options.record({
      kind: 'switch',
      atMs: Date.now(),
      mac,
      bootId,
      node: name,
      profile,
      readyTimeoutS,
      files,
      drainStartedAtMs,
    });
  }

  /** It stays what it is and serves again; whom an operator drained stays drained. */
  async #back(name: string, change: Change): Promise<void> {
    const { fleet } = this.#options;
    if (fleet.state(name).draining !== 'change') await fleet.update(name, (state) => ({ ...state, change }));
    else await fleet.order(name, 'undrain', '', (state) => ({ ...state, draining: 'no', once: undefined, change }));
    this.#tellEnd(name, change);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }
}

/** @throws Fault E_NO with the first of them. */
function refuse(name: string, refusals: readonly Refusal[]): void {
  const [first] = refusals;
  if (first !== undefined)
    throw new Fault('E_NO', { what: `${name} was not touched`, why: first.why, todo: first.todo });
}
