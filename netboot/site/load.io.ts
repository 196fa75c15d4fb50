// netboot/site/load.io.ts - the configuration folder: read, watched, and only ever replaced by what validates.
//
// Owns: finding the files, rereading those that changed, the debounced watch, the last good state in force while files are
// broken. Does not own parsing and checks (files.ts, site.ts), which of the two is in force (inforce.ts), the copy that outlives
// a restart (lastgood.io.ts).
//
// A watch event is only a wake-up: the folder is then read as it is, so that lost, doubled and half-written events end
// the same. A slow scan is the net under it. Measured: chokidar misses the atomic replacement of symbolic links.

import { watch } from 'chokidar';
import { stat } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { reasonOf } from '../../formats/errors.ts';
import type { Problem } from '../../formats/yaml/document.ts';
import { type ParseCache, parseSite, type SiteText, type SiteTexts } from './files.ts';
import { ImageReader } from './images.io.ts';
import { listFolder, readRegular } from './read.io.ts';
import { editedByHand, textsByPath } from './byhand.ts';
import type { FileChange } from './edit.ts';
import { inForce, type SiteState } from './inforce.ts';
import { encodeTexts, readLastGood, saveLastGood } from './lastgood.io.ts';
import { audit, createNodes, editNodes, type NodeCreation, type NodeEdit, type Written } from './write.io.ts';
import { buildSite, type Images, type SiteResult } from './site.ts';

export type SitePlaces = {
  readonly configDir: string;
  readonly libDir: string;
  /** Searched in order for ROLE/profile.yaml. */
  readonly roleDirs: readonly string[];
};

/** Reads a site folder again and again, parsing only what changed. */
export class SiteReader {
  readonly #places: SitePlaces;
  readonly #files = new Map<string, { readonly stamp: string; readonly text: string }>();
  readonly #cache: ParseCache = new Map();
  #filesInForce = { profiles: 0, nodes: 0 };
  readonly images: ImageReader;

  constructor(places: SitePlaces) {
    this.#places = places;
    this.images = new ImageReader(places.libDir);
  }

  /** The texts of all files as they are now. What is there and cannot be read is in it with its fault. */
  async readTexts(): Promise<SiteTexts> {
    const { configDir, roleDirs } = this.#places;
    const seen = new Set<string>();
    const faults: Problem[] = [];
    const strays: Problem[] = [];
    const rouse = await this.#read(join(configDir, 'rouse.yaml'), 'rouse.yaml', seen);
    const texts = {
      rouse,
      profiles: await this.#readFolder('profiles', seen, faults, strays),
      nodes: await this.#readFolder('nodes', seen, faults, strays),
      roles: await this.#readRoles(roleDirs, seen, faults),
      faults,
      strays,
    };
    for (const file of this.#files.keys()) if (!seen.has(file)) this.#files.delete(file);
    return texts;
  }

  /** @param images what is built, as images.read() says. */
  build(texts: SiteTexts, images: Images): SiteResult {
    if (texts.faults !== undefined && texts.faults.length > 0) return { ok: false, problems: texts.faults };
    const result = buildSite(parseSite(texts, this.#cache), images);
    return result.ok ? { ...result, warnings: [...result.warnings, ...(texts.strays ?? [])] } : result;
  }

  /** Tells what is in force: a folder that held some of it and is gone is a fault, not an empty folder. */
  inForce({ profiles, nodes }: Pick<SiteTexts, 'profiles' | 'nodes'>): void {
    this.#filesInForce = { profiles: profiles.size, nodes: nodes.size };
  }

  async #readFolder(
    name: 'profiles' | 'nodes',
    seen: Set<string>,
    faults: Problem[],
    strays: Problem[],
  ): Promise<Map<string, SiteText>> {
    const folder = join(this.#places.configDir, name);
    const found = new Map<string, SiteText>();
    const listing = await listFolder(folder);
    if (listing.kind === 'unreadable') faults.push(problemOf(name, `cannot be read: ${listing.why}`));
    const known = this.#filesInForce[name];
    if (listing.kind === 'absent' && known > 0) {
      faults.push(problemOf(name, `is gone, and ${known} ${name} of it are in force; to have none, make it empty`));
    }
    if (listing.kind !== 'names') return found;
    // Editors leave .web1.yaml.swp and web1.yaml~ beside the file; a hidden file is never a node.
    for (const file of listing.names.filter((one) => !/^\.|~$/.test(one))) {
      if (!file.endsWith('.yaml')) {
        strays.push(problemOf(`${name}/${file}`, `is not read: expected a name that ends in .yaml`));
        continue;
      }
      const text = await this.#read(join(folder, file), `${name}/${file}`, seen);
      if (text !== undefined) found.set(basename(file, '.yaml'), text);
    }
    return found;
  }

  async #readRoles(roleDirs: readonly string[], seen: Set<string>, faults: Problem[]): Promise<Map<string, SiteText>> {
    const roles = new Map<string, SiteText>();
    for (const roleDir of roleDirs) {
      const listing = await listFolder(roleDir);
      if (listing.kind === 'unreadable') faults.push(problemOf(roleDir, `cannot be read: ${listing.why}`));
      if (listing.kind !== 'names') continue;
      for (const role of listing.names) {
        if (roles.has(role)) continue;
        // A README beside the roles is no role.
        const isFolder = await stat(join(roleDir, role)).then(
          (one) => one.isDirectory(),
          () => true,
        );
        if (!isFolder) continue;
        const path = `${basename(roleDir)}/${role}/profile.yaml`;
        const text = await this.#read(join(roleDir, role, 'profile.yaml'), path, seen);
        if (text !== undefined) roles.set(role, text);
      }
    }
    return roles;
  }

  async #read(file: string, path: string, seen: Set<string>): Promise<SiteText | undefined> {
    const known = this.#files.get(file);
    if (known !== undefined) {
      const stamp = await stat(file, { bigint: true }).then(
        ({ mtimeNs, ctimeNs, ino, size }) => `${mtimeNs} ${ctimeNs} ${ino} ${size}`,
        () => undefined,
      );
      if (stamp === known.stamp) {
        seen.add(file);
        return { path, text: known.text };
      }
    }
    const reading = await readRegular(file);
    if (reading.kind === 'absent') return undefined;
    if (reading.kind === 'unreadable') return { path, text: '', fault: reading.why };
    seen.add(file);
    this.#files.set(file, { stamp: reading.stamp, text: reading.text });
    return { path, text: reading.text };
  }
}

function problemOf(file: string, message: string): Problem {
  return { file, line: 1, column: 1, message };
}

/** Reads a site once: what `rouse check` and a command without a boot server do. */
export async function readSite(places: SitePlaces): Promise<SiteResult & { readonly images: Images }> {
  const reader = new SiteReader(places);
  const images = await reader.images.read();
  return { ...reader.build(await reader.readTexts(), images), images };
}

const DEBOUNCE_MS = 100;
/** A steady stream of edits is read at least this often. */
const DEBOUNCE_LIMIT_MS = 1000;
const SCAN_MS = 10_000;
const WATCHED = /^(rouse\.yaml|(profiles|nodes)(\/[^/]+\.yaml)?|[^/]+(\/profile\.yaml)?)?$/;

export type LiveSite = {
  readonly state: () => SiteState;
  /** What is built now. */
  readonly images: () => Promise<Images>;
  /** Reads the files now, without waiting for the watch. */
  readonly reload: () => Promise<SiteState>;
  /** Changes node files and has the change in force before it resolves. @throws as editNodes does. */
  readonly edit: (edit: NodeEdit) => Promise<readonly FileChange[]>;
  /** Makes node files, and has them in force before it resolves. @throws as createNodes does. */
  readonly create: (creation: NodeCreation) => Promise<readonly FileChange[]>;
  readonly close: () => Promise<void>;
};

/**
 * Keeps a site in force: the files' state whenever they validate, else the last one that did.
 *
 * @param onChange told after each change of the state, with one line for the log.
 */
export async function watchSite(
  places: SitePlaces,
  onChange: (state: SiteState, line: string) => void,
): Promise<LiveSite> {
  const reader = new SiteReader(places);
  let fingerprint = '';
  let state: SiteState = { site: undefined, isGood: false, problems: [], warnings: [], sinceMs: Date.now() };
  let reading: Promise<unknown> = Promise.resolve();

  /** What was in force last, by path; and what commands wrote since, which they have told of. */
  let before: ReadonlyMap<string, string> | undefined;
  const told = new Map<string, string>();
  /** Edits by hand are in the audit log like those by command: when they come into force, with their diff. */
  const tellByHand = async (texts: SiteTexts): Promise<void> => {
    const now = textsByPath(texts);
    const changes = before === undefined ? [] : editedByHand(before, now, told);
    before = now;
    told.clear();
    if (changes.length === 0) return;
    onChange(state, `edited by hand: ${changes.map(({ file }) => file).join(', ')}`);
    await audit(places.libDir, { who: 'by hand', what: 'edit', changes }).catch((error: unknown) =>
      onChange(state, `cannot write the audit log: ${reasonOf(error)}`),
    );
  };

  const load = async (): Promise<SiteState> => {
    const texts = await reader.readTexts();
    const images = await reader.images.read();
    const built = Array.from(images, ([name, image]) =>
      image.kind === 'built' ? [name, image.manifest.generation] : [name, image.kind],
    );
    const next = JSON.stringify([encodeTexts(texts), texts.strays, built]);
    if (next === fingerprint) return state;
    fingerprint = next;
    const result = reader.build(texts, images);
    const recall = () => remembered && { result: reader.build(remembered.texts, images), sinceMs: remembered.sinceMs };
    const now = inForce(state, result, recall, Date.now());
    ({ state } = now);
    if (result.ok) {
      reader.inForce(texts);
      await tellByHand(texts);
      await saveLastGood(places.libDir, texts).catch((error: unknown) =>
        onChange(state, `cannot keep a copy of the configuration in ${places.libDir}: ${reasonOf(error)}`),
      );
    }
    onChange(state, now.line);
    return state;
  };
  /** One reading at a time, each after the one before. */
  const reload = (): Promise<SiteState> => {
    const next = reading.then(load);
    reading = next.catch(() => undefined);
    return next;
  };

  const remembered = await readLastGood(places.libDir);
  if (remembered !== undefined) {
    reader.inForce(remembered.texts);
    // What was edited while no boot server ran is told when it starts, but for what a command told of itself.
    before = textsByPath(remembered.texts);
    for (const [path, text] of remembered.told) told.set(path, text);
  }
  await reload();
  let timer: NodeJS.Timeout | undefined;
  let firstEventAtMs = 0;
  const background = (): void => {
    reload().catch((error: unknown) => onChange(state, `cannot read the configuration: ${reasonOf(error)}`));
  };
  const wake = (): void => {
    const nowMs = performance.now();
    if (timer === undefined) firstEventAtMs = nowMs;
    clearTimeout(timer);
    const delayMs = Math.max(0, Math.min(DEBOUNCE_MS, firstEventAtMs + DEBOUNCE_LIMIT_MS - nowMs));
    timer = setTimeout(() => {
      timer = undefined;
      background();
    }, delayMs);
  };
  const roots = [places.configDir, ...places.roleDirs];
  const watcher = watch(roots, {
    depth: 1,
    ignoreInitial: true,
    atomic: false,
    // A configuration folder holds services/ too, whose FIFOs and logs are none of ours.
    ignored: (path) => roots.every((root) => !isWatched(relative(root, path), root === places.configDir)),
    ignorePermissionErrors: true,
  });
  watcher.on('all', wake);
  // What changed while the watch was being set up was told to nobody.
  watcher.on('ready', wake);
  watcher.on('error', (error) =>
    onChange(state, `watching the configuration failed, it is read every ${SCAN_MS / 1000} s: ${reasonOf(error)}`),
  );
  const scan = setInterval(background, SCAN_MS);
  /** Between two readings, and in force when it resolves. */
  const changed = async (change: () => Promise<Written>): Promise<readonly FileChange[]> => {
    const next = reading.then(change);
    reading = next.catch(() => undefined);
    const { changes, texts } = await next;
    for (const [path, text] of texts) told.set(path, text);
    await reload();
    return changes;
  };
  return {
    state: () => state,
    images: () => reader.images.read(),
    reload,
    edit: (edit) => changed(() => editNodes(places, reader, edit)),
    create: (creation) => changed(() => createNodes(places, reader, creation)),
    close: async () => {
      clearTimeout(timer);
      clearInterval(scan);
      await watcher.close();
      await reading;
    },
  };
}

function isWatched(path: string, isConfig: boolean): boolean {
  if (path.startsWith('..')) return false;
  return WATCHED.test(path) && !(isConfig && /^(services|roles)(\/|$)/.test(path));
}
