// netboot/boots/boots.io.ts - the boot port's answers: making boots, and their files.
//
// Owns: random IDs and tokens, compressing the overlay, writing a boot before its script leaves.
// Does not own: who may have what (http/route.ts), what is booted (site/plan.ts), the script (script.ts), what nodes say and
// the check of their tokens (fleet/nodes.io.ts), sending.

import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { gzip } from 'node:zlib';
import { promisify } from 'node:util';
import { reasonOf } from '../../formats/errors.ts';
import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { paddingBytes } from '../../images/layers.ts';
import { layerFile } from '../../images/manifest.ts';
import { SealedFiles } from '../../images/sealed.io.ts';
import { Pacer } from '../dhcp/pace.ts';
import { refusal, text } from '../http/answers.ts';
import type { BodyPart, HttpRequest, HttpResponse, Sent } from '../http/server.io.ts';
import { type HttpAnswer, type HttpWorld, type NamedFile, type NodeAsk, route } from '../http/route.ts';
import type { Fleet } from '../fleet/fleet.io.ts';
import { inputsFor } from '../fleet/inputs.ts';
import type { BootEvent } from '../journal/journal.ts';
import { liveFiles, liveTemplates, revisionFile } from '../fleet/live.ts';
import { type BootImage, closed, leftUs, loaded } from '../fleet/nodestate.ts';
import { asWanted, type ChoiceFacts, chosenBoot, wantedBoot } from './choice.ts';
import { buildOverlay } from './overlay.ts';
import type { StoredBoot, StoreRecord } from '../store/records.ts';
import { type ScriptFormat, SCRIPTS } from './formats.ts';
import type { BootServer } from './script.ts';
import type { BootPlan } from '../site/plan.ts';
import type { Images, Site } from '../site/site.ts';
import { renderTemplateProblems, renderTemplates, valuesOf } from './templates.ts';
import { kernelNamed, layerNamed, subnetAt } from '../world.ts';

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
  /** Takes an event into the journal in memory alone. */
  readonly tell: (event: BootEvent) => void;
  /** Takes an event into the journal at once; resolves when it is on disk, never rejects. */
  readonly record: (event: BootEvent) => Promise<void>;
  readonly fleet: Fleet;
  readonly node: (ask: NodeAsk, boot: StoredBoot, request: HttpRequest) => Promise<HttpResponse>;
  readonly scriptFetched: (mac: MacAddress) => void;
  /** A loader was sent by HTTP (UEFI HTTP boot), or broken off. */
  readonly loaderSent: (peer: Ipv4Address, file: string, sent: Sent) => void;
  readonly log: (line: string) => void;
};

const compress = promisify(gzip);
const sha256 = (octets: Uint8Array | string): string => createHash('sha256').update(octets).digest('hex');

/** The same refusal of the same machine is journalled once in this time, though it asks every 10 s. */
const REFUSAL_QUIET_MS = 300_000;
/** Scripts of one machine: so many at once, then one every 5 s. A loader that fails starts again every 10 s or so. */
const SCRIPTS_PACE = { burst: 30, refillPerS: 0.2 } as const;

const UNPROVEN = 'nothing came from this address before: it is asked once more';

const EXTENSION_TYPES: Readonly<Record<string, string>> = { efi: 'application/efi' };

/** The answer to every request of the boot port. */
export class BootDesk {
  readonly #options: BootDeskOptions;
  /** As they were when last looked at. */
  #images: Images | undefined;
  /** Each script makes a boot, which is rendered, compressed and stored. */
  readonly #scripts = new Pacer(SCRIPTS_PACE);
  /** No octet of an image leaves that its signed manifest does not name. */
  readonly #sealed = new SealedFiles();
  readonly #refusals = new Map<MacAddress, { readonly why: string; readonly atMs: number }>();

  constructor(options: BootDeskOptions) {
    this.#options = options;
  }

  readonly respond = async (request: HttpRequest): Promise<HttpResponse> => {
    const site = this.#options.site();
    if (site === undefined) return refusal(404, 'no configuration is in force on this boot server');
    // Files are named by their hashes: what was built a moment ago names them as well as what is built now.
    const before = this.#images;
    const known = before === undefined ? undefined : route(this.#options.world(site, before), request);
    if (before !== undefined && known !== undefined && known.kind !== 'script' && known.kind !== 'refuse') {
      return this.#carryOut(known, request, site, before);
    }
    const images = await this.#options.images();
    this.#images = images;
    return this.#carryOut(route(this.#options.world(site, images), request), request, site, images);
  };

  async #carryOut(answer: HttpAnswer, request: HttpRequest, site: Site, images: Images): Promise<HttpResponse> {
    switch (answer.kind) {
      case 'refuse':
        return refusal(answer.status, answer.why, answer.allow);
      case 'script':
        return this.#script(answer, request, site, images);
      case 'text':
        return text(200, answer.text);
      case 'file':
        return this.#file(answer.part, answer.name, answer.file, request.peer);
      case 'overlay':
        return this.#overlay(answer.boot);
      case 'initrd':
        return this.#initrd(answer.boot);
      case 'node':
        return this.#options.node(answer.ask, answer.boot, request);
    }
  }

  async #script(
    { mac, format }: { mac: MacAddress; format: ScriptFormat },
    { peer, isProven }: HttpRequest,
    site: Site,
    images: Images,
  ): Promise<HttpResponse> {
    const scripts = SCRIPTS[format];
    const address = this.#options.serverFor(peer);
    if (address === undefined) return refusal(403, `${peer} is behind none of the served interfaces`);
    const server = { address, port: site.rouse.http.port };
    // A datagram that anybody sent ends no boot of a node that runs. Nothing is remembered of it: the answer proves the peer.
    if (!isProven) return text(200, scripts.refusal(UNPROVEN, server, mac));
    const { fleet } = this.#options;
    // Whoever asks for a script starts anew: what its boot so far came to is settled before the next is chosen.
    const known = site.byMac.get(mac)?.name;
    if (known !== undefined) await fleet.update(known, closed);
    const asked: ChoiceFacts = { site, images, mac, subnet: subnetAt(site, peer) };
    const resolution = wantedBoot(asked, fleet.states);
    this.#options.scriptFetched(mac);
    if (resolution.kind === 'ignore') return refusal(404, resolution.why);
    const name = resolution.kind === 'refuse' ? resolution.match.node.name : resolution.plan.node.name;
    if (resolution.kind === 'refuse') return this.#refuse(mac, name, resolution.why, server, format);
    const pace = this.#scripts.admit(mac, performance.now());
    if (pace !== 'pass') {
      const why = 'it asks for its script again and again: it is given one every 5 s';
      if (pace === 'drop-first') this.#options.log(`boot of ${name} put off: ${why}`);
      return text(200, scripts.refusal(why, server, mac));
    }
    try {
      const { plan, image, insteadOf } = chosenBoot(
        resolution,
        asked,
        known === undefined ? undefined : fleet.state(known),
      );
      const made = await this.#make(plan, image, insteadOf, peer, site);
      if (made.kind === 'refused') return this.#refuse(mac, name, made.why, server, format);
      const bootId = made.kind === 'linux' ? made.boot.id : made.bootId;
      if (made.kind === 'linux') await this.#options.fleet.begin(made.boot, false);
      else await this.#options.fleet.update(name, leftUs);
      await this.#options.record(scriptEvent(plan, mac, bootId));
      if (insteadOf !== undefined) this.#options.log(`${name} boots as ${plan.profile.name} instead: ${insteadOf}`);
      const overlaySha256 = made.kind === 'linux' ? made.boot.overlaySha256 : '';
      return text(200, scripts.boot(plan, server, { bootId, overlaySha256 }));
    } catch (error) {
      return this.#refuse(mac, name, reasonOf(error), server, format);
    }
  }

  /**
   * Makes the boot that a running node is to switch to; nobody is told of it yet.
   *
   * @returns the boot, or why there is none.
   */
  async prepare(node: string): Promise<{ kind: 'made'; boot: StoredBoot } | { kind: 'refused'; why: string }> {
    const site = this.#options.site();
    const state = this.#options.fleet.state(node);
    const { boot } = state;
    if (site === undefined || boot === undefined) return { kind: 'refused', why: 'nothing is known of it' };
    const { address, plan } = boot;
    const images = await this.#options.images();
    const asked = { site, images, mac: plan.node.mac, subnet: subnetAt(site, address) };
    const wanted = wantedBoot(asked, this.#options.fleet.states);
    if (wanted.kind !== 'boot') return { kind: 'refused', why: wanted.why };
    const { plan: next, image, insteadOf } = asWanted(wanted);
    const made = await this.#make(next, image, insteadOf, address, site);
    if (made.kind === 'linux') return { kind: 'made', boot: made.boot };
    return { kind: 'refused', why: made.kind === 'refused' ? made.why : 'it boots no system of ours: use --cold' };
  }

  /** A boot exists on disk before anyone hears of it. */
  async #make(
    plan: BootPlan,
    image: BootImage,
    insteadOf: string | undefined,
    peer: Ipv4Address,
    site: Site,
  ): Promise<
    { kind: 'linux'; boot: StoredBoot } | { kind: 'other'; bootId: string } | { kind: 'refused'; why: string }
  > {
    const id = randomBytes(8).toString('hex');
    const token = randomBytes(16).toString('hex');
    const startedAtMs = Date.now();
    if (plan.target.kind !== 'linux') return { kind: 'other', bootId: id };
    const { image: imageName, kernel, layers } = plan.target;
    for (const file of [kernelNamed(kernel), ...layers.map(layerNamed)]) {
      const why = await this.#unserved(file);
      if (why !== undefined) {
        return { kind: 'refused', why: `${why}; build it again with: rouse image build ${imageName}` };
      }
    }
    const { name, labels } = plan.node;
    const who = { name, profile: plan.profile.name, labels, address: peer };
    const inputs = inputsFor(site, this.#options.fleet.states, who);
    const values = valuesOf(plan, { address: peer, bootId: id, startedAtMs }, inputs);
    const rendered = renderTemplates(image.templates, values);
    if (!rendered.ok) return { kind: 'refused', why: renderTemplateProblems(rendered.problems) };
    const livePaths = new Set(liveTemplates(image.templates).map(({ path }) => path));
    const liveOnes = rendered.files.filter(({ path }) => livePaths.has(path));
    const live = liveOnes.length === 0 ? undefined : liveFiles(liveOnes, sha256);
    const files = [...rendered.files, ...revisionFile(live)];
    const { sha256: overlaySha256, archive } = buildOverlay({ plan, token, address: peer, files }, sha256);
    const packed = await compress(archive, { level: 6 });
    const overlay = new Uint8Array(packed.length + paddingBytes(packed.length));
    overlay.set(packed);
    const boot: StoredBoot = {
      id,
      tokenSha256: sha256(token),
      mac: plan.node.mac,
      address: peer,
      startedAtMs,
      plan,
      overlaySha256,
      overlay,
      image,
      filesRevision: live?.revision,
      insteadOf,
    };
    await this.#options.commit([{ kind: 'boot', boot }]);
    this.#options.keep(boot);
    return { kind: 'linux', boot };
  }

  #refuse(mac: MacAddress, node: string, why: string, server: BootServer, format: ScriptFormat): HttpResponse {
    const nowMs = Date.now();
    const last = this.#refusals.get(mac);
    if (last?.why !== why || nowMs - last.atMs > REFUSAL_QUIET_MS) {
      this.#refusals.set(mac, { why, atMs: nowMs });
      this.#options.log(`boot of ${node} refused: ${why}`);
      void this.#options.record({ kind: 'refused', atMs: nowMs, mac, node, why });
    }
    return text(200, SCRIPTS[format].refusal(why, server, mac));
  }

  /** Why a file of an image is not served: it is not what was signed. Loaders are the operator's, and carry no hash. */
  async #unserved({ path, sha256: hash }: NamedFile): Promise<string | undefined> {
    if (hash === undefined) return undefined;
    const why = await this.#sealed.problem(join(this.#options.libDir, path), hash);
    return why === undefined ? undefined : `${path} ${why}`;
  }

  async #file(
    part: 'kernel' | 'layer' | 'loader',
    name: string,
    file: NamedFile,
    peer: Ipv4Address,
  ): Promise<HttpResponse> {
    const why = await this.#unserved(file);
    if (why !== undefined) {
      this.#options.log(`http: ${name} is not given to ${peer}: ${why}`);
      return refusal(404, why);
    }
    const boot = this.#options.latestBootOf(peer);
    const type = EXTENSION_TYPES[name.split('.').at(-1) ?? ''] ?? 'application/octet-stream';
    const response: HttpResponse = {
      status: 200,
      headers: { 'Content-Type': type, ...(file.sha256 === undefined ? {} : IMMUTABLE) },
      etag: file.sha256 === undefined ? undefined : `"${file.sha256}"`,
      parts: [
        {
          kind: 'file',
          path: join(this.#options.libDir, file.path),
          sizeBytes: file.sizeBytes,
          isShared: file.sha256 !== undefined,
        },
      ],
    };
    if (part === 'loader') return { ...response, onSent: (sent) => this.#options.loaderSent(peer, name, sent) };
    if (boot === undefined) return response;
    return { ...response, ...this.#telling(boot, part === 'kernel' ? 'kernel' : 'initrd', name) };
  }

  #overlay(boot: StoredBoot): HttpResponse {
    return {
      status: 200,
      headers: { 'Content-Type': 'application/octet-stream', 'Cache-Control': 'no-store' },
      etag: `"${boot.overlaySha256}"`,
      parts: [{ kind: 'bytes', bytes: boot.overlay ?? new Uint8Array(0) }],
      ...this.#telling(boot, 'initrd', 'overlay'),
    };
  }

  /** All layers and the overlay in one stream, for loaders that take one file. */
  async #initrd(boot: StoredBoot): Promise<HttpResponse> {
    const { target } = boot.plan;
    const layers = target.kind === 'linux' ? target.layers : [];
    for (const layer of layers) {
      const why = await this.#unserved(layerNamed(layer));
      if (why === undefined) continue;
      this.#options.log(`http: the initrd of ${boot.id} is not given to ${boot.address}: ${why}`);
      return refusal(404, why);
    }
    const parts: BodyPart[] = layers.map((layer) => {
      const { path, sizeBytes } = layerNamed(layer);
      return { kind: 'file', path: join(this.#options.libDir, path), sizeBytes, isShared: true };
    });
    return {
      status: 200,
      headers: { 'Content-Type': 'application/octet-stream', 'Cache-Control': 'no-store' },
      etag: `"${sha256([...layers.map(layerFile), boot.overlaySha256].join(','))}"`,
      parts: [...parts, { kind: 'bytes', bytes: boot.overlay ?? new Uint8Array(0) }],
      ...this.#telling(boot, 'initrd', 'initrd'),
    };
  }

  /** The journal hears of a file when it begins to leave, and when it has left. */
  #telling(
    boot: StoredBoot,
    part: 'kernel' | 'initrd',
    file: string,
  ): Required<Pick<HttpResponse, 'onBegun' | 'onSent'>> {
    const { mac, id: bootId } = boot;
    const name = file.replace(/^([0-9a-f]{12})[0-9a-f]{52}/, '$1…');
    const onBegun = (bytes: number): void =>
      this.#options.tell({ kind: 'begun', atMs: Date.now(), mac, bootId, part, name, bytes });
    const onSent = ({ bytes, durationMs, complete }: Sent): void => {
      const outcome = complete ? 'done' : 'aborted';
      // The overlay is the last file of a script: from here on the plan itself is being tried.
      if (complete && (file === 'overlay' || file === 'initrd')) {
        this.#options.fleet.update(boot.plan.node.name, (state) => loaded(state, boot.id)).catch(() => undefined);
      }
      void this.#options.record({
        kind: 'file',
        atMs: Date.now(),
        mac,
        bootId,
        part,
        name,
        bytes,
        durationMs: Math.round(durationMs),
        outcome,
      });
    };
    return { onBegun, onSent };
  }
}

function scriptEvent({ node, profile, target, readyTimeoutS }: BootPlan, mac: MacAddress, bootId: string): BootEvent {
  const files = target.kind === 'linux' ? target.layers.length + 1 : 0;
  return {
    kind: 'script',
    atMs: Date.now(),
    mac,
    bootId,
    node: node.name,
    profile: profile.name,
    target: target.kind,
    readyTimeoutS,
    files,
  };
}

/** Files named by their hash may be held by any cache for ever. */
const IMMUTABLE = { 'Cache-Control': 'public, max-age=31536000, immutable' } as const;
