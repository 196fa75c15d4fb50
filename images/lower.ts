// images/lower.ts - service directories for nodes whose supervisor is Debian's svscan: rouse's settings in daemontools' words.
//
// Owns: what each setting file becomes, and which of them svscan has nothing for. Does not own: what the files mean under
// rouse (supervise/servicedir.ts, logwriter/script.ts), the grammar of those that both read (formats/servicefiles.ts), or where a
// service lies on the node (role.ts).
//
//   log/multilog               → log/run, which starts multilog with the same words
//   user, env/, limits, fghack → run, which starts what was run through softlimit, envdir, setuidgid and fghack
//   down, check, log/run       stay: svscan knows the first and the last, the agent runs check
//
// What cannot be said is refused with file and line: a setting that has no effect on the node would be believed to have one.
// To add a setting file, add a row to SETTINGS. Sources: daemontools 0.76 multilog(8), softlimit(8), setuidgid(8). Pure.

import { parseFghack, parseLimits, parseUser, readMultilog } from '../formats/servicefiles.ts';
import type { RoleFile } from './role.ts';

type Row =
  | { readonly kind: 'keep' }
  /** Words of a command that goes in front of run, from the text of the file; a text is what is wrong with it. */
  | { readonly kind: 'chain'; readonly order: number; readonly words: (text: string) => string[] | string }
  | { readonly kind: 'refuse'; readonly why: string };

const refuse = (why: string): Row => ({ kind: 'refuse', why });

/** Every setting file of supervise/servicedir.ts, and what else a start reads. */
export const SETTINGS: Readonly<Record<string, Row>> = {
  run: { kind: 'keep' },
  down: { kind: 'keep' },
  check: { kind: 'keep' },
  // Limits first: raising one may need root. The files of env/ may be root's alone.
  limits: { kind: 'chain', order: 1, words: limitWords },
  env: { kind: 'chain', order: 2, words: () => ['/usr/bin/envdir', './env'] },
  user: { kind: 'chain', order: 3, words: userWords },
  fghack: { kind: 'chain', order: 4, words: fghackWords },
  finish: refuse('svscan runs no finish'),
  depends: refuse('svscan starts services in no order'),
  health: refuse('svscan checks no health'),
  backoff: refuse('svscan always waits one second'),
  'notification-fd': refuse('svscan listens to no notification'),
  cgroup: refuse('svscan makes no cgroups'),
  'max-death-tally': refuse('svscan runs no finish'),
  'timeout-kill': refuse('svscan waits for ever'),
  'timeout-finish': refuse('svscan runs no finish'),
  'down-signal': refuse('svscan always sends TERM'),
  'reload-signal': refuse('svc -h always sends HUP'),
};

function limitWords(text: string): string[] | string {
  const parsed = parseLimits(text);
  if ('problem' in parsed) return parsed.problem;
  return ['/usr/bin/softlimit', ...parsed.limits.flatMap(({ letter, value }) => [`-${letter}`, String(value)])];
}

function userWords(text: string): string[] | string {
  const parsed = parseUser(text);
  return 'problem' in parsed ? parsed.problem : ['/usr/bin/setuidgid', parsed.user];
}

function fghackWords(text: string): string[] | string {
  const parsed = parseFghack(text);
  return 'problem' in parsed ? parsed.problem : ['/usr/bin/fghack'];
}

export type Lowered = { readonly files: readonly RoleFile[]; readonly problems: readonly string[] };

const OWN_RUN = 'run.own';
const utf8 = new TextEncoder();

/**
 * One service directory as svscan and multilog need it.
 *
 * @param service its name. @param files those of the role's folder that are below it, with their paths `SERVICE/…`.
 * @param place of a file in messages, by its path.
 */
export function lowerService(service: string, files: readonly RoleFile[], place: (path: string) => string): Lowered {
  const problems: string[] = [];
  const chain: { order: number; words: string[] }[] = [];
  const below = (file: RoleFile): string => file.path.slice(service.length + 1);
  const settings = new Set(files.map((file) => below(file).split('/')[0] ?? ''));
  for (const name of settings) {
    const row = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined;
    const path = `${service}/${name}`;
    if (row?.kind === 'refuse')
      problems.push(`${place(path)}:1:1 ${row.why}; remove ${name}, or say supervisor: rouse`);
    if (row?.kind !== 'chain') continue;
    const words = row.words(textOf(files.find((file) => file.path === path)));
    if (typeof words === 'string') problems.push(`${place(path)}:1:1 ${words}`);
    else chain.push({ order: row.order, words });
  }
  const lowered = files.flatMap((file): RoleFile[] => {
    if (below(file) === 'run' && chain.length > 0) {
      const words = chain.toSorted((a, b) => a.order - b.order).flatMap((one) => one.words);
      return [
        { ...file, path: `${service}/${OWN_RUN}` },
        script(
          `${service}/run`,
          `# Made from ${[...settings].filter(isChained).join(', ')}: svscan does not read them.`,
          [...words, `./${OWN_RUN}`],
        ),
      ];
    }
    if (below(file) !== 'log/multilog' || files.some(({ path }) => path === `${service}/log/run`)) return [file];
    const made = multilogRun(file, place(file.path));
    if (typeof made !== 'string') return [made];
    problems.push(made);
    return [];
  });
  return { files: lowered, problems };
}

function isChained(name: string): boolean {
  return Object.hasOwn(SETTINGS, name) && SETTINGS[name]?.kind === 'chain';
}

function script(path: string, comment: string, words: readonly string[]): RoleFile {
  const quoted = words.map((word) =>
    /^[\w./=+:@%-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`,
  );
  return {
    kind: 'file',
    path,
    executable: true,
    data: utf8.encode(`#!/bin/sh\n${comment}\nexec ${quoted.join(' ')}\n`),
  };
}

function textOf(file: RoleFile | undefined): string {
  return file?.kind === 'file' ? new TextDecoder('utf-8').decode(file.data) : '';
}

/** multilog passes over words that it does not know, and with no folder it writes nowhere. */
const MULTILOG_WORD = /^(?:[-+].*|e|=.+|[sn]\d{1,12}|!.*|[./].*)$/s;

function multilogRun(file: RoleFile, place: string): RoleFile | string {
  const read = readMultilog(textOf(file));
  if ('problem' in read) return `${place}:${read.line}:1 ${read.problem}`;
  const { words, onFull, onFullLine } = read;
  if (onFull === 'drop') {
    return `${place}:${onFullLine}:1 multilog can only wait while the disk is full; remove onFull, or say supervisor: rouse`;
  }
  const unknown = (words[0] === 't' ? words.slice(1) : words).find((word) => !MULTILOG_WORD.test(word));
  if (unknown !== undefined) return `${place}:1:1 unknown word ${JSON.stringify(unknown)}`;
  if (!words.some((word) => /^[./]/.test(word))) return `${place}:1:1 it writes nowhere; name a folder: t ./main`;
  return script(
    file.path.replace(/multilog$/, 'run'),
    '# Made from log/multilog: svscan has no log writer of its own.',
    ['/usr/bin/multilog', ...words],
  );
}
