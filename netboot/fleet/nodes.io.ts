// netboot/fleet/nodes.io.ts - the node protocol's answers: who speaks is checked, then what is said goes to the fleet.
//
// Owns: the token check, reading bodies, the bytes that go back. Does not own the paths (http/route.ts), the bodies' form
// (stages.ts, reports.ts), what follows from them (fleet.io.ts, changes.io.ts).

import { createHash } from 'node:crypto';
import { gzip } from 'node:zlib';
import { promisify } from 'node:util';
import { Fault } from '../../formats/errors.ts';
import type { Ipv4Address } from '../../formats/ipv4.ts';
import { refusal, text } from '../http/answers.ts';
import type { NodeAsk } from '../http/route.ts';
import type { HttpRequest, HttpResponse } from '../http/server.io.ts';
import type { Fleet } from './fleet.io.ts';
import type { BootEvent } from '../journal/journal.ts';
import { renderOrders } from './orders.ts';
import { parseStageReport } from './stages.ts';
import type { StoredBoot, StoreRecord } from '../store/records.ts';
import { parseAcks, parseReport } from './reports.ts';
import { type BootServer, switchText } from '../boots/script.ts';
import { type MachineRecord, parseInventory } from '../site/inventory.ts';

export type NodeDeskOptions = {
  readonly fleet: Fleet;
  readonly bootById: (id: string) => StoredBoot | undefined;
  readonly keep: (boot: StoredBoot) => void;
  readonly commit: (records: readonly StoreRecord[]) => Promise<void>;
  readonly record: (event: BootEvent) => Promise<void>;
  /** Takes into the journal what is on disk already. */
  readonly tell: (event: BootEvent) => void;
  readonly serverFor: (peer: Ipv4Address) => BootServer | undefined;
  /** Takes in what a machine is; called before it is on disk. */
  readonly learn: (machine: MachineRecord) => void;
};

const compress = promisify(gzip);
const sha256 = (octets: Uint8Array | string): string => createHash('sha256').update(octets).digest('hex');
const DONE: HttpResponse = { status: 204, parts: [] };

/** What a booted node asks and tells. */
export class NodeDesk {
  readonly #options: NodeDeskOptions;

  constructor(options: NodeDeskOptions) {
    this.#options = options;
  }

  async answer(ask: NodeAsk, boot: StoredBoot, request: HttpRequest): Promise<HttpResponse> {
    const token = /^Bearer ([0-9a-f]{32})$/.exec(request.authorization ?? '')?.[1];
    // Hashes are compared, so how long the comparison takes says nothing about the token.
    if (token === undefined || sha256(token) !== boot.tokenSha256) return refusal(403, 'wrong token');
    try {
      return await this.#carryOut(ask, boot, request);
    } catch (error) {
      // The node keeps what it has to say and says it again; an answer that is not on disk would be forgotten.
      if (error instanceof Fault && error.code === 'E_STORE') {
        return refusal(503, 'the boot server cannot write to its disk now: say it again later');
      }
      throw error;
    }
  }

  async #carryOut(ask: NodeAsk, boot: StoredBoot, request: HttpRequest): Promise<HttpResponse> {
    switch (ask.kind) {
      case 'stage':
        return this.#stage(boot, request.body);
      case 'report': {
        const report = parseReport(request.body);
        if (!report.ok) return refusal(400, report.why);
        await this.#options.fleet.report(boot, report.value, Date.now());
        return DONE;
      }
      case 'acks': {
        const acks = parseAcks(request.body);
        if (!acks.ok) return refusal(400, acks.why);
        await this.#acks(boot, acks.value);
        return DONE;
      }
      case 'inventory': {
        const inventory = parseInventory(request.body);
        if (!inventory.ok) return refusal(400, inventory.why);
        const machine = { mac: boot.mac, atMs: Date.now(), inventory: inventory.value };
        this.#options.learn(machine);
        await this.#options.commit([{ kind: 'machine', machine }]);
        return DONE;
      }
      case 'orders': {
        const orders = await this.#options.fleet.waitForOrders(boot.id, ask.after);
        return orders.length === 0 ? DONE : text(200, renderOrders(orders));
      }
      case 'files':
        return this.#files(boot, ask.revision);
      case 'switch':
        return this.#switch(boot, ask.bootId, request.peer);
    }
  }

  async #stage(boot: StoredBoot, body: Uint8Array): Promise<HttpResponse> {
    const { fleet, keep, commit, tell } = this.#options;
    const result = parseStageReport(body);
    if (!result.ok) return refusal(400, result.why);
    const event = { kind: 'stage', atMs: Date.now(), mac: boot.mac, bootId: boot.id, ...result.value } as const;
    const spent = { kind: 'overlay-spent', bootId: boot.id } as const;
    const records: StoreRecord[] = [{ kind: 'event', event }];
    // On disk first: what memory alone knows to be spent is handed out again after a restart.
    await commit(boot.overlay === undefined ? records : [spent, ...records]);
    if (boot.overlay !== undefined) keep({ ...boot, overlay: undefined });
    tell(event);
    await fleet.heard(boot);
    if (result.value.stage === 'ready') await fleet.isReady(boot);
    return DONE;
  }

  async #acks(boot: StoredBoot, acks: Parameters<Fleet['acknowledge']>[1]): Promise<void> {
    const { fleet, bootById, record } = this.#options;
    const atMs = Date.now();
    for (const { verb, argument, outcome } of await fleet.acknowledge(boot, acks, atMs)) {
      if (verb !== 'switch') continue;
      const next = bootById(argument);
      if (next === undefined) continue;
      const event = { atMs, mac: next.mac, bootId: next.id } as const;
      if (outcome.kind === 'done') {
        await record({ kind: 'kexec', ...event });
        await fleet.begin(next, true);
      } else if (outcome.kind === 'failed') {
        await record({ kind: 'stage', ...event, stage: 'failed', uptimeMs: 0, detail: outcome.detail });
      }
    }
  }

  async #files(boot: StoredBoot, revision: string): Promise<HttpResponse> {
    const archive = this.#options.fleet.archive(boot, revision);
    if (archive === undefined) return refusal(404, `revision ${revision} is superseded: take the next order`);
    return {
      status: 200,
      headers: { 'Content-Type': 'application/octet-stream', 'Cache-Control': 'no-store' },
      etag: `"${revision}"`,
      parts: [{ kind: 'bytes', bytes: await compress(archive, { level: 6 }) }],
    };
  }

  #switch(boot: StoredBoot, bootId: string, peer: Ipv4Address): HttpResponse {
    const next = this.#options.bootById(bootId);
    const isOrdered = this.#options.fleet.orders
      .of(boot.id)
      .some(({ verb, argument }) => verb === 'switch' && argument === bootId);
    if (next?.overlay === undefined || !isOrdered) return refusal(404, `no switch to ${bootId} is ordered`);
    const server = this.#options.serverFor(peer);
    if (server === undefined) return refusal(403, `${peer} is behind none of the served interfaces`);
    const overlay = {
      sha256: next.overlaySha256,
      servedSha256: sha256(next.overlay),
      servedBytes: next.overlay.length,
    };
    return text(200, switchText(next.plan, server, next.id, overlay));
  }
}
