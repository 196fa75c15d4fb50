// supervise/directory.io.ts - reading service directories and the folder that holds them.
//
// Owns: file reads, bounded and never blocking (a FIFO in the place of a setting is refused, not waited for).
// Does not own: what the files mean (servicedir.ts), what to do about them (scan.ts, machine.ts).
//
// A directory is reached through /proc/PID/fd/N, its open descriptor: it stays the same one when its name changes.

import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { reasonOf } from '../formats/errors.ts';
import { withReserve } from './descriptors.io.ts';
import { accountOf, envValue } from './launch.ts';
import type { Account } from './launch.ts';
import {
  editionOf,
  interpreterOf,
  parseSettings,
  SETTING_BYTES_MAX,
  SETTING_FILE_NAMES,
  STARTED_FILE_NAMES,
} from './servicedir.ts';
import type { ScriptFacts, SettingFile, SettingsResult } from './servicedir.ts';
import type { Entry, FoundLog } from './scan.ts';
import { instanceOf } from './template.ts';
import type { Instance } from './template.ts';

/** As long as a line of the environment may be on Linux (MAX_ARG_STRLEN). */
const ENV_BYTES_MAX = 131_072;

/** Path of an open directory that other processes and chdir understand too. */
export function pathOfFd(fd: number): string {
  return `/proc/${process.pid}/fd/${fd}`;
}

/** "ENOENT" and the like; undefined for what is no system error. */
export function errorCode(thrown: unknown): string | undefined {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : undefined;
}

/** The scanned folder, links followed. Throws where the folder itself cannot be read. */
export function listServices(folder: string): Entry[] {
  return withReserve(() => readdirSync(folder)).map((name): Entry => {
    const path = `${folder}/${name}`;
    try {
      const stat = statSync(path, { bigint: true });
      if (!stat.isDirectory()) return { kind: 'other', name };
      return { kind: 'directory', name, id: `${stat.dev}:${stat.ino}`, ...findLog(path) };
    } catch (thrown) {
      return { kind: 'unreadable', name, why: whyUnreadable(path, thrown) };
    }
  });
}

/** @param path of a service directory, by the name that it has in the scanned folder. */
export function findLog(path: string): FoundLog {
  // By that name alone: a thousand directories are looked at every five seconds.
  const isInstance = instanceOf(path) !== undefined;
  let logId = idIfThere(`${path}/log`);
  if (logId === '' && isInstance && makeInstanceLog(path)) logId = idIfThere(`${path}/log`);
  if (logId === '') return { log: 'none', logId };
  const has = (name: string): boolean => exists(isInstance ? fileOf(`${path}/log`, name) : `${path}/log/${name}`);
  if (has('multilog')) return { log: 'writer', logId };
  return { log: has('run') ? 'program' : 'unmade', logId };
}

/** "device:inode"; empty where the name cannot be followed to anything. */
function idIfThere(path: string): string {
  try {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stat === undefined ? '' : `${stat.dev}:${stat.ino}`;
  } catch {
    return '';
  }
}

/** @returns whether the instance of a template with a log has one now. */
function makeInstanceLog(path: string): boolean {
  const instance = instanceAt(path);
  if (instance === undefined || !exists(`${path}/${instance.template}/log`)) return false;
  try {
    mkdirSync(`${path}/log`);
    return true;
  } catch {
    // A read-only folder: the service runs without its log, as one whose log was added later.
    return false;
  }
}

function instanceAt(base: string): Instance | undefined {
  try {
    // Of the directory itself: base may be a descriptor's path, or a link with a name of its own.
    const instance = instanceOf(realpathSync.native(base));
    return instance !== undefined && exists(`${base}/${instance.template}`) ? instance : undefined;
  } catch {
    // Deleted: its name is gone, and with it the template.
    return undefined;
  }
}

/** Path of a file that a start reads: the directory's own, else its template's. */
export function fileOf(base: string, name: string): string {
  return `${base}/${programOf(base, name)}`;
}

/** The same from the directory itself: "./run", "../web@/run". */
export function programOf(base: string, name: string): string {
  if (isNamed(`${base}/${name}`)) return `./${name}`;
  return inheritedOf(base, name, instanceAt(base)) ?? `./${name}`;
}

function inheritedOf(base: string, name: string, instance: Instance | undefined): string | undefined {
  if (instance === undefined) return undefined;
  const path = `${instance.template}/${name}`;
  return isNamed(`${base}/${path}`) ? path : undefined;
}

/** Whether there is such a name, be it that of a link to nothing. */
function isNamed(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** What tells an instance's programs which one they are. */
export function instanceEnv(base: string): Record<string, string> {
  const instance = instanceAt(base);
  return instance === undefined ? {} : { INSTANCE: instance.name };
}

/** Names in the directory and in its template. Throws where its own cannot be listed. */
function namesOf(base: string): ReadonlySet<string> {
  const instance = instanceAt(base);
  const inherited = instance === undefined ? [] : listNames(`${base}/${instance.template}`);
  return new Set([...withReserve(() => readdirSync(base)), ...inherited]);
}

function whyUnreadable(path: string, thrown: unknown): string {
  const code = errorCode(thrown);
  if (code === 'ENOENT' && lstatSync(path, { throwIfNoEntry: false }) !== undefined) return 'it is a link to nothing';
  if (code === 'ELOOP') return 'it is a link in a circle';
  return reasonOf(thrown);
}

/** Whether the name can be followed to anything. */
export function exists(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false;
  }
}

/** Settings of the directory. */
export function readSettings(base: string): SettingsResult {
  const files: Partial<Record<SettingFile, string>> = {};
  let present: ReadonlySet<string>;
  try {
    present = namesOf(base);
  } catch (thrown) {
    return { ok: false, problems: [`the directory cannot be read: ${reasonOf(thrown)}`] };
  }
  const problems: string[] = [];
  for (const name of SETTING_FILE_NAMES) {
    if (!present.has(name)) continue;
    const read = readSmallFile(fileOf(base, name));
    if (read.kind === 'refused') problems.push(`file ${name}: ${read.why}`);
    if (read.kind === 'text') files[name] = read.text;
  }
  const read = parseSettings(files, { hasFinish: present.has('finish'), hasCheck: present.has('check') });
  if (!read.ok) return { ok: false, problems: [...problems, ...read.problems] };
  if (problems.length > 0) return { ok: false, problems };
  return { ok: true, settings: { ...read.settings, edition: readEdition(base) } };
}

/** Which edition of the files a start would read now (editionOf); files of env/ count one by one. */
export function readEdition(base: string): string {
  const instance = instanceAt(base);
  const own = [...STARTED_FILE_NAMES, ...listNames(`${base}/env`).map((name) => `env/${name}`)];
  const inherited =
    instance === undefined
      ? []
      : [...STARTED_FILE_NAMES, ...listNames(`${base}/${instance.template}/env`).map((name) => `env/${name}`)].map(
          (name) => `${instance.template}/${name}`,
        );
  return editionOf(
    [...own, ...inherited].flatMap((name) => {
      try {
        const stat = statSync(`${base}/${name}`, { throwIfNoEntry: false });
        return stat === undefined ? [] : [`${name} ${stat.ino} ${stat.size} ${stat.ctimeMs}`];
      } catch (thrown) {
        return [`${name} ${reasonOf(thrown)}`];
      }
    }),
  );
}

/** The template's first, so that the directory's own have the last word. */
function envFolders(base: string): string[] {
  const instance = instanceAt(base);
  return [...(instance === undefined ? [] : [`${base}/${instance.template}/env`]), `${base}/env`];
}

function listNames(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

type SmallFile =
  | { readonly kind: 'absent' }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'refused'; readonly why: string };

/** A file of at most SETTING_BYTES_MAX octets. Never blocks, never throws. */
export function readSmallFile(path: string, bytesMax = SETTING_BYTES_MAX): SmallFile {
  let fd: number;
  try {
    fd = withReserve(() => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
  } catch (thrown) {
    return errorCode(thrown) === 'ENOENT' ? { kind: 'absent' } : { kind: 'refused', why: reasonOf(thrown) };
  }
  try {
    if (!fstatSync(fd).isFile()) return { kind: 'refused', why: 'it is not a regular file' };
    const buffer = Buffer.alloc(bytesMax + 1);
    const length = readSync(fd, buffer, 0, buffer.length, 0);
    if (length > bytesMax) return { kind: 'refused', why: `it is longer than ${bytesMax} bytes` };
    return { kind: 'text', text: buffer.toString('utf8', 0, length) };
  } catch (thrown) {
    return { kind: 'refused', why: reasonOf(thrown) };
  } finally {
    closeSync(fd);
  }
}

/** What stands in the place of a script. Never throws. */
export function scriptFacts(base: string, name: string): ScriptFacts {
  const path = fileOf(base, name);
  try {
    const stat = statSync(path);
    if (stat.isDirectory()) return { kind: 'directory' };
    if (!stat.isFile()) return { kind: 'special' };
  } catch (thrown) {
    const code = errorCode(thrown);
    if (code === 'ELOOP') return { kind: 'loop' };
    if (code !== 'ENOENT') return { kind: 'unreadable', why: reasonOf(thrown) };
    return { kind: lstatSync(path, { throwIfNoEntry: false }) === undefined ? 'missing' : 'dangling' };
  }
  const head = headOf(path);
  const interpreter = interpreterOf(head);
  return {
    kind: 'file',
    isExecutable: isExecutable(path),
    head,
    interpreterExists:
      interpreter === undefined
        ? undefined
        : exists(interpreter.startsWith('/') ? interpreter : `${base}/${interpreter}`),
  };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function headOf(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    // Executable without being readable is legal for programs that are no scripts.
    return '';
  }
  try {
    const buffer = Buffer.alloc(256);
    return buffer.toString('latin1', 0, readSync(fd, buffer, 0, buffer.length, 0));
  } catch {
    return '';
  } finally {
    closeSync(fd);
  }
}

const PROBLEMS_SHOWN_MAX = 10;

/** A folder may hold any number of them. */
function someOf(problems: readonly string[]): string {
  const more = problems.length - PROBLEMS_SHOWN_MAX;
  return [...problems.slice(0, PROBLEMS_SHOWN_MAX), ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
}

/** Variables that env/ sets (undefined: removes). Throws with the reason where a file cannot be read. */
export function readEnv(base: string): Record<string, string | undefined> {
  const variables: Record<string, string | undefined> = instanceEnv(base);
  const problems: string[] = [];
  for (const folder of envFolders(base)) {
    let names: string[];
    try {
      names = readdirSync(folder);
    } catch (thrown) {
      if (errorCode(thrown) === 'ENOENT') continue;
      throw new Error(`env: ${reasonOf(thrown)}`, { cause: thrown });
    }
    for (const name of names) {
      if (name.startsWith('.')) continue;
      const read = readSmallFile(`${folder}/${name}`, ENV_BYTES_MAX);
      if (read.kind === 'refused') problems.push(`file env/${name}: ${read.why}`);
      if (read.kind === 'text') variables[name] = envValue(read.text);
    }
  }
  if (problems.length > 0) throw new Error(someOf(problems));
  return variables;
}

/** The account that run is to be started as; undefined = ours. Throws with the reason where it cannot be. */
export function readAccount(name: string | undefined): Account | undefined {
  if (name === undefined) return undefined;
  const account = accountOf(readFileSync('/etc/passwd', 'utf8'), name);
  if (account === undefined) throw new Error(`file user: there is no '${name}' in /etc/passwd`);
  const own = process.getuid?.();
  if (own !== 0 && own !== account.uid) throw new Error(`file user: only root can start a service as ${name}`);
  return own === account.uid && own !== 0 ? undefined : account;
}
