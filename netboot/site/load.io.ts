// netboot/site/load.io.ts - the configuration folder: read, watched, and only ever replaced by what validates.
//
// Owns: opening the files, rereading those that changed, and that one reading follows the other. Does not own which names are the
// site's, parsing and checks (files.ts, site.ts), which state is in force (inforce.ts), the copy that outlives a restart (lastgood.io.ts), when there is
// something to read (watch.io.ts).

import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { reasonOf } from '../../formats/errors.ts';
import type { Problem } from '../../formats/yaml/document.ts';
import { folderFault, judgeEntry, type ParseCache, parseSite, type SiteText, type SiteTexts } from './files.ts';
import { ImageReader } from './images.io.ts';
import { listFolder, readRegular } from './read.io.ts';
import { editedByHand, textsByPath } from './byhand.ts';
import type { FileChange } from './edit.ts';
import { inForce, type SiteState } from './inforce.ts';
import { encodeTexts, type LastGood, readLastGood, saveLastGood } from './lastgood.io.ts';
import { watchFolders } from './watch.io.ts';
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

  /** Tells what is in force now: whether a folder that is gone is a fault depends on it. */
  tookEffect({ profiles, nodes }: Pick<SiteTexts, 'profiles' | 'nodes'>): void {
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
    const fault = folderFault(name, listing, this.#filesInForce[name]);
    if (fault !== undefined) faults.push(fault);
    if (listing.kind !== 'names') return found;
    for (const file of listing.names) {
      const entry = judgeEntry(name, file);
      if (entry.kind === 'stray') strays.push(entry.problem);
      if (entry.kind !== 'file') continue;
      const text = await this.#read(join(folder, file), `${name}/${file}`, seen);
      if (text !== undefined) found.set(entry.name, text);
    }
    return found;
  }

  async #readRoles(roleDirs: readonly string[], seen: Set<string>, faults: Problem[]): Promise<Map<string, SiteText>> {
    const roles = new Map<string, SiteText>();
    for (const roleDir of roleDirs) {
      const listing = await listFolder(roleDir);
      const fault = folderFault(roleDir, listing);
      if (fault !== undefined) faults.push(fault);
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

/** Reads a site once: what `rouse check` and a command without a boot server do. */
export async function readSite(places: SitePlaces): Promise<SiteResult & { readonly images: Images }> {
  const reader = new SiteReader(places);
  const images = await reader.images.read();
  return { ...reader.build(await reader.readTexts(), images), images };
}

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
  const keeper = new SiteKeeper(places, await readLastGood(places.libDir), onChange);
  await keeper.reload();
  const watching = watchFolders(places, {
    read: () => keeper.reload(),
    trouble: (line) => onChange(keeper.state, line),
  });
  return {
    state: () => keeper.state,
    images: () => keeper.reader.images.read(),
    reload: () => keeper.reload(),
    edit: (edit) => keeper.changed(() => editNodes(places, keeper.reader, edit)),
    create: (creation) => keeper.changed(() => createNodes(places, keeper.reader, creation)),
    close: async () => {
      await watching.close();
      await keeper.settled();
    },
  };
}

/** Reads the site again and again, one reading at a time, and tells what each came to. */
class SiteKeeper {
  readonly reader: SiteReader;
  state: SiteState = { site: undefined, isGood: false, problems: [], warnings: [], sinceMs: Date.now() };
  readonly #libDir: string;
  readonly #remembered: LastGood | undefined;
  readonly #onChange: (state: SiteState, line: string) => void;
  #fingerprint = '';
  #reading: Promise<unknown> = Promise.resolve();
  /** What was in force last, by path; and what commands wrote since, which they have told of. */
  #before: ReadonlyMap<string, string> | undefined;
  readonly #told = new Map<string, string>();

  /** @param remembered what was in force before this start. */
  constructor(
    places: SitePlaces,
    remembered: LastGood | undefined,
    onChange: (state: SiteState, line: string) => void,
  ) {
    this.reader = new SiteReader(places);
    this.#libDir = places.libDir;
    this.#remembered = remembered;
    this.#onChange = onChange;
    if (remembered === undefined) return;
    this.reader.tookEffect(remembered.texts);
    // What was edited while no boot server ran is told when it starts, but for what a command told of itself.
    this.#before = textsByPath(remembered.texts);
    for (const [path, text] of remembered.told) this.#told.set(path, text);
  }

  /** One reading at a time, each after the one before. */
  reload(): Promise<SiteState> {
    return this.#next(() => this.#load());
  }

  /** Writes between two readings; in force when it resolves. */
  async changed(change: () => Promise<Written>): Promise<readonly FileChange[]> {
    const { changes, texts } = await this.#next(change);
    for (const [path, text] of texts) this.#told.set(path, text);
    await this.reload();
    return changes;
  }

  /** Resolves when nothing is being read or written. */
  async settled(): Promise<void> {
    await this.#reading;
  }

  #next<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#reading.then(work);
    this.#reading = next.catch(() => undefined);
    return next;
  }

  async #load(): Promise<SiteState> {
    const { reader } = this;
    const texts = await reader.readTexts();
    const images = await reader.images.read();
    const built = Array.from(images, ([name, image]) =>
      image.kind === 'built' ? [name, image.manifest.generation] : [name, image.kind],
    );
    const fingerprint = JSON.stringify([encodeTexts(texts), texts.strays, built]);
    if (fingerprint === this.#fingerprint) return this.state;
    this.#fingerprint = fingerprint;
    const result = reader.build(texts, images);
    const remembered = this.#remembered;
    const recall = () => remembered && { result: reader.build(remembered.texts, images), sinceMs: remembered.sinceMs };
    const { state, line } = inForce(this.state, result, recall, Date.now());
    this.state = state;
    if (result.ok) {
      reader.tookEffect(texts);
      await this.#tellByHand(texts);
      await saveLastGood(this.#libDir, texts).catch((error: unknown) =>
        this.#onChange(state, `cannot keep a copy of the configuration in ${this.#libDir}: ${reasonOf(error)}`),
      );
    }
    this.#onChange(state, line);
    return state;
  }

  /** Edits by hand are in the audit log like those by command: when they come into force, with their diff. */
  async #tellByHand(texts: SiteTexts): Promise<void> {
    const now = textsByPath(texts);
    const changes = this.#before === undefined ? [] : editedByHand(this.#before, now, this.#told);
    this.#before = now;
    this.#told.clear();
    if (changes.length === 0) return;
    this.#onChange(this.state, `edited by hand: ${changes.map(({ file }) => file).join(', ')}`);
    await audit(this.#libDir, { who: 'by hand', what: 'edit', changes }).catch((error: unknown) =>
      this.#onChange(this.state, `cannot write the audit log: ${reasonOf(error)}`),
    );
  }
}
