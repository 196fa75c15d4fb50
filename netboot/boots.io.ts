// netboot/boots.io.ts - the boot port's answers: making boots, their files, and what nodes report.
//
// Owns: random IDs and tokens, compressing the overlay, writing a boot before its script leaves, checking tokens.
// Does not own: who may have what (http/route.ts), what is booted (site/plan.ts), the script (script.ts), sending.

import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { gzip } from 'node:zlib';
import { promisify } from 'node:util';
import { reasonOf } from '../formats/errors.ts';
import type { Ipv4Address } from '../formats/ipv4.ts';
import type { MacAddress } from '../formats/mac.ts';
import { paddingBytes } from '../images/layers.ts';
import type { BodyPart, HttpRequest, HttpResponse } from './http/server.io.ts';
import { type HttpAnswer, type HttpWorld, type NamedFile, route } from './http/route.ts';
import type { BootEvent } from './journal.ts';
import { buildOverlay } from './overlay.ts';
import { parseStageReport } from './protocol.ts';
import type { StoredBoot, StoreRecord } from './records.ts';
import { bootScript, type BootServer, layerFile, refusalScript } from './script.ts';
import { type BootPlan, resolve } from './site/plan.ts';
import type { Images, Site } from './site/site.ts';
import { renderTemplateProblems, renderTemplates, valuesOf } from './templates.ts';
import type { Template } from '../images/manifest.ts';
import { layerNamed, subnetAt } from './world.ts';

export type BootDeskOptions = {
  readonly libDir: string;
  readonly site: () => Site | undefined;
  /** What is built now. */
  readonly images: () => Promise<Images>;
  readonly world: (site: Site, images: Images) => HttpWorld;
  /** Our address on the interface that the peer is behind. */
  readonly serverFor: (peer: Ipv4Address) => Ipv4Address | undefined;
  /** Puts a boot into memory; called before it is committed. */
  readonly keep: (boot: StoredBoot) => void;
  /** The boot for which a machine fetches files that all boots share. */
  readonly latestBootOf: (peer: Ipv4Address) => StoredBoot | undefined;
  readonly commit: (records: readonly StoreRecord[]) => Promise<void>;
  /** Takes an event into the journal at once; resolves when it is on disk, never rejects. */
  readonly record: (event: BootEvent) => Promise<void>;
  readonly scriptFetched: (mac: MacAddress) => void;
  readonly log: (line: string) => void;
};

const compress = promisify(gzip);
const sha256 = (octets: Uint8Array | string): string => createHash('sha256').update(octets).digest('hex');
const utf8 = new TextEncoder();

/** The same refusal of the same machine is journalled once in this time, though it asks every 10 s. */
const REFUSAL_QUIET_MS = 300_000;

const EXTENSION_TYPES: Readonly<Record<string, string>> = { efi: 'application/efi' };

/** The answer to every request of the boot port. */
export class BootDesk {
  readonly #options: BootDeskOptions;
  readonly #refusals = new Map<MacAddress, { readonly why: string; readonly atMs: number }>();

  constructor(options: BootDeskOptions) {
    this.#options = options;
  }

  readonly respond = async (request: HttpRequest): Promise<HttpResponse> => {
    const site = this.#options.site();
    if (site === undefined) return refusal(404, 'no configuration is in force on this boot server');
    const images = await this.#options.images();
    const world = this.#options.world(site, images);
    const answer = route(world, request);
    return this.#carryOut(answer, request, site, images);
  };

  async #carryOut(answer: HttpAnswer, request: HttpRequest, site: Site, images: Images): Promise<HttpResponse> {
    switch (answer.kind) {
      case 'refuse':
        return refusal(answer.status, answer.why, answer.allow);
      case 'script':
        return this.#script(answer.mac, request.peer, site, images);
      case 'file':
        return this.#file(answer.part, answer.name, answer.file, request.peer);
      case 'overlay':
        return this.#overlay(answer.boot);
      case 'initrd':
        return this.#initrd(answer.boot);
      case 'stage':
        return this.#stage(answer.boot, request);
    }
  }

  async #script(mac: MacAddress, peer: Ipv4Address, site: Site, images: Images): Promise<HttpResponse> {
    const address = this.#options.serverFor(peer);
    if (address === undefined) return refusal(403, `${peer} is behind none of the served interfaces`);
    const server = { address, port: site.rouse.http.port };
    const resolution = resolve(site, mac, { images, subnet: subnetAt(site, peer) });
    this.#options.scriptFetched(mac);
    if (resolution.kind === 'ignore') return refusal(404, resolution.why);
    const name = resolution.kind === 'refuse' ? resolution.match.node.name : resolution.plan.node.name;
    if (resolution.kind === 'refuse') return this.#refuse(mac, name, resolution.why, server);
    const { plan, templates } = resolution;
    try {
      const made = await this.#make(plan, templates, peer);
      if (made.kind === 'refused') return this.#refuse(mac, name, made.why, server);
      return text(200, bootScript(plan, server, made));
    } catch (error) {
      return this.#refuse(mac, name, reasonOf(error), server);
    }
  }

  /** A boot exists on disk before anyone hears of it. */
  async #make(
    plan: BootPlan,
    templates: readonly Template[],
    peer: Ipv4Address,
  ): Promise<{ kind: 'made'; bootId: string; overlaySha256: string } | { kind: 'refused'; why: string }> {
    const id = randomBytes(8).toString('hex');
    const token = randomBytes(16).toString('hex');
    const startedAtMs = Date.now();
    const { mac, name } = plan.node;
    const files = plan.target.kind === 'linux' ? plan.target.layers.length + 1 : 0;
    const event: BootEvent = {
      kind: 'script',
      atMs: startedAtMs,
      mac,
      bootId: id,
      node: name,
      profile: plan.profile.name,
      target: plan.target.kind,
      readyTimeoutS: plan.readyTimeoutS,
      files,
    };
    if (plan.target.kind !== 'linux') {
      await this.#options.record(event);
      return { kind: 'made', bootId: id, overlaySha256: '' };
    }
    const rendered = renderTemplates(templates, valuesOf(plan, peer, id, startedAtMs));
    if (!rendered.ok) return { kind: 'refused', why: renderTemplateProblems(rendered.problems) };
    const { sha256: overlaySha256, archive } = buildOverlay(
      { plan, token, address: peer, files: rendered.files },
      sha256,
    );
    const packed = await compress(archive, { level: 6 });
    const overlay = new Uint8Array(packed.length + paddingBytes(packed.length));
    overlay.set(packed);
    const boot: StoredBoot = {
      id,
      tokenSha256: sha256(token),
      mac,
      address: peer,
      startedAtMs,
      plan,
      overlaySha256,
      overlay,
    };
    await this.#options.commit([{ kind: 'boot', boot }]);
    this.#options.keep(boot);
    await this.#options.record(event);
    return { kind: 'made', bootId: id, overlaySha256 };
  }

  #refuse(mac: MacAddress, node: string, why: string, server: BootServer): HttpResponse {
    const nowMs = Date.now();
    const last = this.#refusals.get(mac);
    if (last?.why !== why || nowMs - last.atMs > REFUSAL_QUIET_MS) {
      this.#refusals.set(mac, { why, atMs: nowMs });
      this.#options.log(`boot of ${node} refused: ${why}`);
      void this.#options.record({ kind: 'refused', atMs: nowMs, mac, node, why });
    }
    return text(200, refusalScript(why, server, mac));
  }

  #file(part: 'kernel' | 'layer' | 'loader', name: string, file: NamedFile, peer: Ipv4Address): HttpResponse {
    const boot = this.#options.latestBootOf(peer);
    const type = EXTENSION_TYPES[name.split('.').at(-1) ?? ''] ?? 'application/octet-stream';
    const response: HttpResponse = {
      status: 200,
      headers: { 'Content-Type': type, ...(file.sha256 === undefined ? {} : IMMUTABLE) },
      etag: file.sha256 === undefined ? undefined : `"${file.sha256}"`,
      parts: [{ kind: 'file', path: join(this.#options.libDir, file.path), sizeBytes: file.sizeBytes }],
    };
    if (boot === undefined || part === 'loader') return response;
    return { ...response, onSent: this.#tellSent(boot, part === 'kernel' ? 'kernel' : 'initrd', name) };
  }

  #overlay(boot: StoredBoot): HttpResponse {
    return {
      status: 200,
      headers: { 'Content-Type': 'application/octet-stream', 'Cache-Control': 'no-store' },
      etag: `"${boot.overlaySha256}"`,
      parts: [{ kind: 'bytes', bytes: boot.overlay ?? new Uint8Array(0) }],
      onSent: this.#tellSent(boot, 'initrd', 'overlay'),
    };
  }

  /** All layers and the overlay in one stream, for loaders that take one file. */
  #initrd(boot: StoredBoot): HttpResponse {
    const { target } = boot.plan;
    const layers = target.kind === 'linux' ? target.layers : [];
    const parts: BodyPart[] = layers.map((layer) => {
      const { path, sizeBytes } = layerNamed(layer);
      return { kind: 'file', path: join(this.#options.libDir, path), sizeBytes };
    });
    return {
      status: 200,
      headers: { 'Content-Type': 'application/octet-stream', 'Cache-Control': 'no-store' },
      etag: `"${sha256([...layers.map(layerFile), boot.overlaySha256].join(','))}"`,
      parts: [...parts, { kind: 'bytes', bytes: boot.overlay ?? new Uint8Array(0) }],
      onSent: this.#tellSent(boot, 'initrd', 'initrd'),
    };
  }

  #tellSent(boot: StoredBoot, part: 'kernel' | 'initrd', name: string): NonNullable<HttpResponse['onSent']> {
    return ({ bytes, durationMs, complete }) => {
      const outcome = complete ? 'done' : 'aborted';
      const shown = name.replace(/^([0-9a-f]{12})[0-9a-f]{52}/, '$1…');
      void this.#options.record({
        kind: 'file',
        atMs: Date.now(),
        mac: boot.mac,
        bootId: boot.id,
        part,
        name: shown,
        bytes,
        durationMs: Math.round(durationMs),
        outcome,
      });
    };
  }

  async #stage(boot: StoredBoot, request: HttpRequest): Promise<HttpResponse> {
    const token = /^Bearer ([0-9a-f]{32})$/.exec(request.authorization ?? '')?.[1];
    // Hashes are compared, so how long the comparison takes says nothing about the token.
    if (token === undefined || sha256(token) !== boot.tokenSha256) return refusal(403, 'wrong token');
    const result = parseStageReport(request.body);
    if (!result.ok) return refusal(400, result.why);
    const { stage, uptimeMs, detail } = result.report;
    const event: BootEvent = {
      kind: 'stage',
      atMs: Date.now(),
      mac: boot.mac,
      bootId: boot.id,
      stage,
      uptimeMs,
      detail,
    };
    if (boot.overlay !== undefined) {
      this.#options.keep({ ...boot, overlay: undefined });
      await this.#options.commit([{ kind: 'overlay-spent', bootId: boot.id }]);
    }
    await this.#options.record(event);
    return { status: 204, parts: [] };
  }
}

/** Files named by their hash may be held by any cache for ever. */
const IMMUTABLE = { 'Cache-Control': 'public, max-age=31536000, immutable' } as const;

function text(status: number, body: string, headers: Readonly<Record<string, string>> = {}): HttpResponse {
  return {
    status,
    headers: { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store', ...headers },
    parts: [{ kind: 'bytes', bytes: utf8.encode(body) }],
  };
}

function refusal(status: number, why: string, allow?: string): HttpResponse {
  return text(status, `${why}\n`, allow === undefined ? {} : { Allow: allow });
}
