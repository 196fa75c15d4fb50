// A boot server for one guest: real HTTP, the boot server's own codecs, and orders given by the test.
//
// Serves the protocol of ARCHITECTURE.md ("Node protocol, version 1") with the functions that netboot serves it with; what is
// left out is deciding. The guest reaches it as 10.0.2.2, QEMU's name of the host.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { parseIpv4 } from '../../formats/ipv4.ts';
import { parseMac } from '../../formats/mac.ts';
import type { CpioEntry } from '../../images/cpio.ts';
import { packLayer } from '../../images/layers.io.ts';
import type { Manifest } from '../../images/manifest.ts';
import type { Store } from '../../images/store.io.ts';
import { liveFiles, type LiveFiles, liveTemplates, revisionFile } from '../../netboot/fleet/live.ts';
import { type Order, OrderBook, renderOrders, type Verb } from '../../netboot/fleet/orders.ts';
import { parseStageReport } from '../../netboot/fleet/stages.ts';
import { type NodeReport, parseAcks, parseReport } from '../../netboot/fleet/reports.ts';
import { kernelCommandLine, switchText } from '../../netboot/boots/script.ts';
import type { BootPlan } from '../../netboot/site/plan.ts';
import { renderTemplates, type RenderedFile, type TemplateValues } from '../../netboot/boots/templates.ts';

const MAC = '52:54:00:77:00:01';

/** One boot as the server knows it. */
export type Boot = {
  readonly id: string;
  readonly token: string;
  readonly plan: BootPlan;
  readonly manifest: Manifest;
  readonly overlay: Awaited<ReturnType<typeof packLayer>>;
  readonly live: LiveFiles;
};

export type BootServer = {
  readonly port: number;
  /** Makes a boot of an image; the first one is what the guest is started with. */
  readonly boot: (manifest: Manifest, id: string, values: TemplateValues) => Promise<Boot>;
  /** The words of the kernel's command line. */
  readonly cmdlineOf: (boot: Boot) => readonly string[];
  /** Gives an order. @returns what the node acknowledged. */
  readonly order: (bootId: string, verb: Verb, argument?: string) => Promise<{ isDone: boolean; detail: string }>;
  /** Renders the live files anew and orders them; `mangle` may break one. */
  readonly files: (
    boot: Boot,
    values: TemplateValues,
    mangle?: (file: RenderedFile) => RenderedFile,
  ) => Promise<{ isDone: boolean; detail: string; revision: string }>;
  readonly stages: { readonly bootId: string; readonly stage: string; readonly detail: string }[];
  /** The latest report of a boot. */
  readonly report: (bootId: string) => NodeReport | undefined;
  /** Everything that a node said and that could not be read. */
  readonly refused: readonly string[];
  /** What the next request for a boot file is answered with in place of the file; for damage on the way. */
  damageNext: Buffer | undefined;
  /** While it is away, every connection is cut. */
  readonly setAway: (isAway: boolean) => void;
  readonly close: () => Promise<void>;
};

const sha256 = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex');

export async function startBootServer(store: Store): Promise<BootServer> {
  const boots = new Map<string, Boot>();
  const book = new OrderBook();
  const reports = new Map<string, NodeReport>();
  const archives = new Map<string, Uint8Array>();
  const refused: string[] = [];
  let away = false;
  const watchers = new Set<() => void>();
  const wake = (): void => {
    for (const watcher of watchers) watcher();
  };
  const until = async <T>(look: () => T | undefined, limitMs: number): Promise<T | undefined> => {
    const found = look();
    if (found !== undefined) return found;
    return new Promise((resolve) => {
      const finish = (value: T | undefined): void => {
        clearTimeout(timer);
        watchers.delete(watcher);
        resolve(value);
      };
      const watcher = (): void => {
        const value = look();
        if (value !== undefined) finish(value);
      };
      const timer = setTimeout(() => finish(undefined), limitMs);
      watchers.add(watcher);
    });
  };
  const give = (bootId: string, verb: Verb, argument: string): Order => {
    const made = book.made(bootId, verb, argument, Date.now());
    for (const order of made) book.put(order);
    wake();
    const order = made.at(-1);
    if (order === undefined) throw new Error('an order');
    return order;
  };

  const answer = async (request: IncomingMessage, body: Buffer, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://x');
    const say = (status: number, content: Uint8Array | string = ''): void => {
      response.writeHead(status, { 'Content-Length': Buffer.byteLength(content) }).end(content);
    };
    const no = (status: number, why: string): void => {
      refused.push(`${request.method} ${url.pathname}: ${why}`);
      say(status, why);
    };
    const [, top = '', name = ''] = url.pathname.split('/');
    if (top === 'kernel' || top === 'layer' || top === 'boot') {
      if (self.damageNext !== undefined) {
        const damaged = self.damageNext;
        self.damageNext = undefined;
        return say(200, damaged);
      }
      if (top === 'kernel') return say(200, readFileSync(store.kernelPath(name)));
      if (top === 'boot') return say(200, boots.get(name)?.overlay.octets ?? '');
      const layers = [...boots.values()].flatMap(({ manifest }) => manifest.layers);
      const layer = layers.find(({ sha256: own }) => name.startsWith(own));
      return layer === undefined ? no(404, 'no such layer') : say(200, readFileSync(store.layerPath(layer)));
    }
    const [, , , , bootId = '', what, argument = ''] = url.pathname.split('/');
    const boot = boots.get(bootId);
    if (boot === undefined) return no(404, 'unknown boot');
    if (request.headers.authorization !== `Bearer ${boot.token}`) return no(403, 'wrong token');
    switch (what) {
      case 'stage': {
        const parsed = parseStageReport(body);
        if (!parsed.ok) return no(400, parsed.why);
        self.stages.push({ bootId, ...parsed.value });
        break;
      }
      case 'report': {
        const parsed = parseReport(body);
        if (!parsed.ok) return no(400, `${parsed.why}: ${body.toString()}`);
        reports.set(bootId, parsed.value);
        break;
      }
      case 'acks': {
        const parsed = parseAcks(body);
        if (!parsed.ok) return no(400, parsed.why);
        for (const { number, isDone, detail } of parsed.value) {
          const order = book.acknowledged(bootId, number, isDone, detail, Date.now());
          if (order !== undefined) book.put(order);
        }
        break;
      }
      case 'orders': {
        const after = Number(url.searchParams.get('after'));
        const waiting = (): readonly Order[] | undefined => {
          const orders = book.waiting(bootId, after);
          return orders.length === 0 ? undefined : orders;
        };
        const orders = await until(waiting, 25_000);
        if (orders !== undefined) return say(200, renderOrders(orders));
        break;
      }
      case 'files': {
        const archive = archives.get(argument);
        return archive === undefined ? no(404, 'superseded') : say(200, gzipSync(archive));
      }
      case 'switch': {
        const next = boots.get(argument);
        if (next === undefined) return no(404, 'no switch');
        return say(
          200,
          switchText(next.plan, plansServer(), next.id, {
            sha256: next.overlay.layer.sha256,
            servedSha256: sha256(next.overlay.octets),
            servedBytes: next.overlay.octets.length,
          }),
        );
      }
      default:
        return no(404, 'no such route');
    }
    wake();
    say(204);
  };
  const server = createServer((request, response) => {
    if (away) {
      request.socket.destroy();
      return;
    }
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      answer(request, Buffer.concat(chunks), response).catch((error: unknown) => {
        refused.push(String(error));
        response.destroy();
      });
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as { port: number };
  const address = parseIpv4('10.0.2.2');
  const mac = parseMac(MAC);
  if (address === undefined || mac === undefined) throw new Error('the test is wrong');
  const plansServer = () => ({ address, port });

  const self: BootServer = {
    port,
    stages: [],
    refused,
    damageNext: undefined,
    setAway(isAway) {
      away = isAway;
      if (isAway) server.closeAllConnections();
    },
    report: (bootId) => reports.get(bootId),
    async boot(manifest, id, values) {
      const rendered = renderTemplates(manifest.templates, values);
      if (!rendered.ok) throw new Error(JSON.stringify(rendered.problems));
      const live = liveOf(manifest, values);
      const token = sha256(Buffer.from(id)).slice(0, 32);
      const entry = ({ path, mode, content }: RenderedFile): CpioEntry => ({
        kind: 'file',
        path: path.slice(1),
        mode,
        uid: 0,
        gid: 0,
        data: content,
      });
      const text = (path: string, mode: number, content: string): CpioEntry =>
        entry({ path, mode, content: new TextEncoder().encode(content) });
      const overlay = await packLayer(
        'overlay',
        [
          text('/etc/hostname', 0o644, `${values.node.name}\n`),
          text('/etc/rouse/boot', 0o600, `token ${token}\nnode ${values.node.name}\nprofile ${values.profile.name}\n`),
          ...[...rendered.files, ...revisionFile(live)].map(entry),
        ],
        'gzip',
        'quick',
      );
      const plan: unknown = {
        node: { name: values.node.name, mac, labels: {}, note: '' },
        profile: { name: values.profile.name },
        vars: {},
        readyTimeoutS: 300,
        cmdline: ['console=ttyS0', 'quiet', 'panic=5', 'rouse.console=shell'],
        target: {
          kind: 'linux',
          image: manifest.image,
          generation: manifest.generation,
          kernel: manifest.kernel,
          layers: manifest.layers,
        },
      };
      const boot: Boot = { id, token, plan: plan as BootPlan, manifest, overlay, live };
      boots.set(id, boot);
      return boot;
    },
    cmdlineOf: ({ plan, id, overlay }) =>
      kernelCommandLine(plan, plansServer(), { bootId: id, overlaySha256: overlay.layer.sha256 }),
    async order(bootId, verb, argument = '') {
      const { number } = give(bootId, verb, argument);
      const outcome = await until(() => {
        const found = book.of(bootId).find((one) => one.number === number)?.outcome;
        return found?.kind === 'done' || found?.kind === 'failed' ? found : undefined;
      }, 240_000);
      if (outcome === undefined)
        throw new Error(`no acknowledgement of ${verb} ${argument}; refused: ${refused.join(', ')}`);
      return { isDone: outcome.kind === 'done', detail: outcome.detail };
    },
    async files({ id, manifest }, values, mangle = (file) => file) {
      const { archive, revision } = liveFiles(liveOf(manifest, values).files.map(mangle), sha256);
      archives.set(revision, archive);
      return { ...(await self.order(id, 'files', revision)), revision };
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
  return self;
}

function liveOf({ templates }: Manifest, values: TemplateValues): LiveFiles {
  const rendered = renderTemplates(liveTemplates(templates), values);
  if (!rendered.ok) throw new Error(JSON.stringify(rendered.problems));
  return liveFiles(rendered.files, sha256);
}
