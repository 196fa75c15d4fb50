// images/lower.ts - service directories for nodes whose supervisor is Debian's svscan: rouse's settings in daemontools' words.
//
// Owns: what each setting file becomes, and which of them svscan has nothing for. Does not own: what the files mean under
// rouse (supervise/servicedir.ts, logwriter/script.ts), or where a service lies on the node (role.ts).
//
//   log/multilog               → log/run, which starts multilog with the same words
//   user, env/, limits, fghack → run, which starts what was run through softlimit, envdir, setuidgid and fghack
//   down, check, log/run       stay: svscan knows the first and the last, the agent runs check
//
// What cannot be said is refused with file and line: a setting that has no effect on the node would be believed to have one.
// To add a setting file, add a row to SETTINGS. Sources: daemontools 0.76 multilog(8), softlimit(8), setuidgid(8). Pure.

import { splitWords } from '../formats/words.ts';
import type { RoleFile } from './role.ts';

type Row =
  | { readonly kind: 'keep' }
  /** Words of a command that goes in front of run, from the lines of the file; a text is what is wrong with them. */
  | { readonly kind: 'chain'; readonly order: number; readonly words: (lines: readonly string[]) => string[] | string }
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
  fghack: {
    kind: 'chain',
    order: 4,
    words: (lines) => (lines.length === 0 ? ['/usr/bin/fghack'] : 'expected an empty file: its being there says it'),
  },
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

/** The letters that both softlimit and file limits know. */
const LIMIT = /^-?([acdfloprst])\s+(\d{1,15})$/;

function limitWords(lines: readonly string[]): string[] | string {
  const words = ['/usr/bin/softlimit'];
  for (const line of lines) {
    const [, letter = '', value = ''] = LIMIT.exec(line) ?? [];
    if (letter === '') return `expected a letter of softlimit and a number, got ${JSON.stringify(line)}`;
    words.push(`-${letter}`, value);
  }
  return words;
}

function userWords([user = '', ...more]: readonly string[]): string[] | string {
  if (more.length > 0 || !/^[a-z_][a-z0-9_.-]{0,31}$/i.test(user)) return 'expected one name of an account';
  return ['/usr/bin/setuidgid', user];
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
    const words = row.words(linesOf(files.find((file) => file.path === path)));
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

/** Lines that say something: comments (#) and blank ones left out. */
function linesOf(file: RoleFile | undefined): string[] {
  return textOf(file)
    .split('\n')
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .filter((line) => line !== '');
}

/** multilog passes over words that it does not know, and with no folder it writes nowhere. */
const MULTILOG_WORD = /^(?:[-+].*|e|=.+|[sn]\d{1,12}|!.*|[./].*)$/s;

function multilogRun(file: RoleFile, place: string): RoleFile | string {
  const kept: string[] = [];
  for (const [index, line] of textOf(file).split('\n').entries()) {
    const option = /^\s*onFull(?:\s+(.*?))?\s*$/.exec(line)?.[1];
    if (/^\s*onFull\b/.test(line) && option !== 'block') {
      return `${place}:${index + 1}:1 multilog can only wait while the disk is full; remove onFull, or say supervisor: rouse`;
    }
    if (!/^\s*#/.test(line) && option === undefined) kept.push(line);
  }
  const words = splitWords(kept.join('\n'));
  if (words === undefined) return `${place}:1:1 a quotation mark is not closed`;
  const unknown = (words[0] === 't' ? words.slice(1) : words).find((word) => !MULTILOG_WORD.test(word));
  if (unknown !== undefined) return `${place}:1:1 unknown word ${JSON.stringify(unknown)}`;
  if (!words.some((word) => /^[./]/.test(word))) return `${place}:1:1 it writes nowhere; name a folder: t ./main`;
  return script(
    file.path.replace(/multilog$/, 'run'),
    '# Made from log/multilog: svscan has no log writer of its own.',
    ['/usr/bin/multilog', ...words],
  );
}
