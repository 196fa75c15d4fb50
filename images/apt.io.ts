// images/apt.io.ts - Debian packages, fetched and verified by apt in folders of its own.
//
// Owns: running apt-get and apt-cache under a private configuration, the cache of solutions and of .deb files. Does not own: what
// apt's words mean (apt.ts), what is in a .deb (deb.io.ts).
//
// The host's /etc/apt (sources, keys, credentials, proxy) is read and nothing of the host is changed; no root is needed. A
// solution is kept by what was asked, so that an unchanged recipe asks neither apt nor the network. apt verifies
// signatures of lists; the hash of every .deb is compared with the signed list again before it is used.
//
// Layout of the folder: apt.conf status lists/ cache/ archives/NAME_VERSION_ARCH.deb solutions/KEY.json

import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import {
  type ArchivePackage,
  archiveFileName,
  absentComponent,
  aptReason,
  type Candidate,
  parseSimulation,
  parseStanzas,
  renderAptConfig,
  UNREADABLE_LISTS,
} from './apt.ts';
import { readSources } from './archive.io.ts';
import type { PlacedArchive } from './archive.ts';
import type { OnBuildEvent } from './event.ts';
import { publishFile, readCached, sha256Of } from './files.io.ts';
import { NOT_THE_FILE, SealedFiles } from './sealed.io.ts';
import { takeTurns } from './turns.ts';
import { isSolution, unanswered } from './versions.ts';

/** Archives of recipes' own whose lists and packages are kept in the cache, besides those of the host's sources. */
const MOST_ARCHIVES = 4;

/** Lists older than this are read again before a new solution is made from them. */
const LISTS_FRESH_MS = 24 * 3600 * 1000;

export type Apt = {
  /**
   * Versions of the named packages and of all they depend on.
   *
   * @param refresh read the lists again, and forget an earlier solution.
   * @throws Fault E_ARCHIVE with apt's reason.
   */
  readonly solve: (names: readonly string[], refresh: boolean) => Promise<readonly ArchivePackage[]>;
  /** Reads the package lists again. @throws Fault E_ARCHIVE. */
  readonly update: () => Promise<void>;
  /** What apt would choose by the lists that it has. Nothing is kept of it. @throws Fault E_ARCHIVE. */
  readonly candidates: (names: readonly string[]) => Promise<Candidate[]>;
  /** SHA-256 of the sources that are in force. */
  readonly sources: () => Promise<string>;
  /** Brings .deb files into the cache; those that are there already cost nothing. @throws Fault E_ARCHIVE. */
  readonly fetch: (packages: readonly ArchivePackage[]) => Promise<void>;
  /** The .deb in the cache, its hash checked. @throws Fault E_ARCHIVE. */
  readonly file: (one: ArchivePackage) => Promise<string>;
};

/** Each architecture has lists and a choice of its own: to apt the others are foreign, and none is the machine's. */
export function aptFolder(cacheDir: string, architecture: string): string {
  return join(cacheDir, architecture === 'amd64' ? 'apt' : `apt-${architecture}`);
}

/**
 * @param base made where it is missing; an archive of the recipes' own has another folder beside it.
 * @param kept where else a package may lie, by its SHA-256: those of kept generations need no archive.
 * @param placed what is asked in place of the host's sources. @throws Fault E_CONFIG where there is no such archive.
 */
export async function openApt(
  base: string,
  architecture: string,
  onEvent: OnBuildEvent,
  kept: (sha256: string) => string | undefined = () => undefined,
  placed?: PlacedArchive,
): Promise<Apt> {
  const own = placed === undefined ? undefined : await readSources(placed);
  const folder = own === undefined ? base : `${base}-${sha256Of(own.text).slice(0, 12)}`;
  const archives = join(folder, 'archives');
  const sealed = new SealedFiles();
  const config = join(folder, 'apt.conf');
  const lists = join(folder, 'lists');
  for (const path of [join(lists, 'partial'), join(folder, 'cache', 'archives', 'partial'), archives]) {
    await mkdir(path, { recursive: true });
  }
  await writeFile(config, renderAptConfig(folder, architecture, await own?.write(folder)));
  await writeFile(join(folder, 'status'), '', { flag: 'a' });

  const call = async (what: string, program: 'apt-get' | 'apt-cache', args: readonly string[]) => {
    // Only now: a build from the cache runs no program, and this library takes a quarter of its time.
    const { execa } = await import('execa');
    const result = await execa(program, ['-c', config, '-q', ...args], {
      env: { LC_ALL: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive' },
      stdin: 'ignore',
      reject: false,
      maxBuffer: 256 * 1024 * 1024,
    });
    if (result.code === 'ENOENT') {
      throw new Fault('E_MISSING_TOOL', {
        what,
        why: `${program} is not on this machine`,
        todo: 'build images on Debian',
      });
    }
    if (result.failed) throw new Fault('E_ARCHIVE', { what, why: aptReason(`${result.stdout}\n${result.stderr}`) });
    return result;
  };
  const run = async (what: string, program: 'apt-get' | 'apt-cache', args: readonly string[]): Promise<string> =>
    (await call(what, program, args)).stdout;

  const update: Apt['update'] = async () => {
    onEvent({ kind: 'step', step: 'lists' });
    // Without Error-Mode=any apt-get ends well although a list could not be read.
    const said = await call(UNREADABLE_LISTS, 'apt-get', ['-o', 'APT::Update::Error-Mode=any', 'update']);
    const lacking = placed === undefined ? undefined : absentComponent(said.stderr);
    if (lacking !== undefined) throw new Fault('E_ARCHIVE', { what: UNREADABLE_LISTS, why: lacking });
    await writeFile(join(folder, 'updated'), '');
    if (own !== undefined) await forgetArchives(base);
  };
  const listsAreFresh = async (): Promise<boolean> => {
    const stamp = await stat(join(folder, 'updated')).catch(() => undefined);
    return stamp !== undefined && Date.now() - stamp.mtimeMs < LISTS_FRESH_MS;
  };
  const haveLists = async (): Promise<boolean> => (await readdir(lists)).some((name) => name.includes('_Packages'));

  const ensureLists = async (): Promise<void> => {
    if (await listsAreFresh()) return;
    const old = await haveLists();
    try {
      await update();
    } catch (error) {
      if (!old) throw error;
      onEvent({ kind: 'note', text: `${reasonOf(error)}; going on with the lists of before` });
    }
  };

  const asText = async (): Promise<string> => `${own?.text ?? ''}${await hostText(own === undefined)}`;
  const sources: Apt['sources'] = async () => sha256Of(await asText());

  const solutionPath = async (names: readonly string[]): Promise<string> => {
    const asked = [architecture, ...[...new Set(names)].sort()].join('\n');
    return join(folder, 'solutions', `${sha256Of(asked, await asText()).slice(0, 32)}.json`);
  };

  const candidates: Apt['candidates'] = async (names) => {
    const what = `cannot choose versions of ${names.join(', ')}`;
    return parseSimulation(await run(what, 'apt-get', ['-s', 'install', '--', ...names]));
  };

  const solve: Apt['solve'] = async (names, refresh) => {
    const path = await solutionPath(names);
    const before = refresh ? undefined : await readCached(path, isSolution);
    if (before !== undefined && unanswered({ packages: before }, names).length === 0) return before;
    if (refresh) await update();
    else await ensureLists();
    onEvent({ kind: 'step', step: 'resolve' });
    const what = `cannot choose versions of ${names.join(', ')}`;
    const chosen = await candidates(names);
    const wanted = chosen.map(({ name, version }) => `${name}=${version}`);
    const shown = parseStanzas(await run(what, 'apt-cache', ['show', '--', ...wanted]));
    const solution = chosen.map(({ name, version }) => {
      const found = shown.find((one) => one.name === name.split(':')[0] && one.version === version);
      if (found !== undefined) return found;
      throw new Fault('E_ARCHIVE', { what, why: `the lists do not describe ${name} ${version}` });
    });
    const [unknown] = unanswered({ packages: solution }, names);
    if (unknown !== undefined) throw new Fault('E_ARCHIVE', { what, why: `Unable to locate package ${unknown}` });
    await publishFile(path, JSON.stringify(solution));
    return solution;
  };

  /** Where a package lies already. Among those of the host's sources one of that name may be another. */
  const placeOf = async (one: ArchivePackage): Promise<string | undefined> => {
    for (const path of [
      join(archives, archiveFileName(one)),
      kept(one.sha256),
      join(base, 'archives', archiveFileName(one)),
    ]) {
      if (path !== undefined && (await sealed.problem(path, one.sha256)) === undefined) return path;
    }
    return undefined;
  };

  /** A damaged file would fail every build from now on. @returns whether there was one. */
  const forgetDamaged = async (one: ArchivePackage): Promise<boolean> => {
    let found = false;
    for (const path of [join(archives, archiveFileName(one)), kept(one.sha256)]) {
      if (path === undefined || (await sealed.problem(path, one.sha256)) !== NOT_THE_FILE) continue;
      found = true;
      await rm(path, { force: true });
    }
    return found;
  };

  const download = async (packages: readonly ArchivePackage[]): Promise<void> => {
    const missing: ArchivePackage[] = [];
    // One after the other: each is hashed, and they are large.
    for (const one of packages) if ((await placeOf(one)) === undefined) missing.push(one);
    if (missing.length === 0) return;
    for (const one of missing) {
      if (!(await forgetDamaged(one))) continue;
      onEvent({
        kind: 'note',
        text: `the package ${one.name} ${one.version} in the cache is not what the signed list says; it is fetched anew`,
      });
    }
    if (!(await haveLists())) await update();
    const totalBytes = missing.reduce((sum, { bytes }) => sum + bytes, 0);
    const incoming = join(folder, `incoming-${process.pid}`);
    await rm(incoming, { recursive: true, force: true });
    await mkdir(incoming);
    onEvent({ kind: 'step', step: 'download', doneBytes: 0, totalBytes });
    try {
      const { execa } = await import('execa');
      const running = execa(
        'apt-get',
        [
          '-c',
          config,
          '-q',
          '-o',
          'APT::Status-Fd=3',
          'download',
          '--',
          ...missing.map((one) => `${one.name}=${one.version}`),
        ],
        { cwd: incoming, env: { LC_ALL: 'C.UTF-8' }, stdio: ['ignore', 'pipe', 'pipe', 'pipe'], reject: false },
      );
      for await (const line of running.iterable({ from: 'fd3' })) {
        const percent = Number(/^dlstatus:\d+:([\d.]+):/.exec(line)?.[1]);
        if (!Number.isFinite(percent)) continue;
        onEvent({ kind: 'step', step: 'download', doneBytes: Math.round((totalBytes * percent) / 100), totalBytes });
      }
      const result = await running;
      if (result.failed) {
        const why = aptReason(`${result.stdout}\n${result.stderr}`);
        throw new Fault('E_ARCHIVE', { what: `cannot download ${missing.length} packages`, why });
      }
      for (const one of missing) {
        const name = archiveFileName(one);
        await verify(sealed, join(incoming, name), one);
        await rename(join(incoming, name), join(archives, name));
      }
    } finally {
      await rm(incoming, { recursive: true, force: true });
    }
  };

  const inTurn = takeTurns(1);
  const fetch: Apt['fetch'] = (packages) => inTurn(() => download(packages));

  const file: Apt['file'] = async (one) => {
    const place = await placeOf(one);
    if (place !== undefined) return place;
    const path = join(archives, archiveFileName(one));
    await verify(sealed, path, one);
    return path;
  };
  return { solve, update, candidates, sources, fetch, file };
}

/** Lists and packages of archives that no recipe may name any more: those that were read last stay. */
async function forgetArchives(base: string): Promise<void> {
  const names = (await readdir(dirname(base))).filter(
    (name) => name.startsWith(`${basename(base)}-`) && /^-[0-9a-f]{12}$/.test(name.slice(basename(base).length)),
  );
  const read = await Promise.all(
    names.map(async (name) => {
      const folder = join(dirname(base), name);
      return { folder, atMs: (await stat(join(folder, 'updated')).catch(() => undefined))?.mtimeMs ?? 0 };
    }),
  );
  const old = read.sort((a, b) => b.atMs - a.atMs).slice(MOST_ARCHIVES);
  await Promise.all(old.map(({ folder }) => rm(folder, { recursive: true, force: true })));
}

async function verify(sealed: SealedFiles, path: string, one: ArchivePackage): Promise<void> {
  const problem = await sealed.problem(path, one.sha256);
  if (problem === undefined) return;
  const what = `the package ${one.name} ${one.version} is not what the signed list says`;
  if (problem !== NOT_THE_FILE) {
    throw new Fault('E_ARCHIVE', { what: `cannot read the package ${one.name} ${one.version}`, why: `it ${problem}` });
  }
  throw new Fault('E_ARCHIVE', { what, why: 'its SHA-256 differs', todo: 'build again: it is fetched anew' });
}

/** The host's preferences and, where they are asked, its sources: another archive must give another solution. */
async function hostText(withSources: boolean): Promise<string> {
  const parts: string[] = [];
  for (const folder of ['/etc/apt', '/etc/apt/sources.list.d', '/etc/apt/preferences.d']) {
    const names = (await readdir(folder).catch((): string[] => [])).sort();
    for (const name of names) {
      const isPreference = name === 'preferences' || folder.endsWith('preferences.d');
      if (!isPreference && !(withSources && /\.(?:list|sources)$/.test(name))) continue;
      parts.push(name, await readFile(join(folder, name), 'utf8').catch(() => ''));
    }
  }
  return parts.join('\n');
}
