// supervise/launch.ts - what stands in front of ./run: the account, the limits, the environment.
//
// Owns: the command line made of settings, the meaning of env/ files, and what a service must not inherit.
// Does not own: the settings' grammar (servicedir.ts, formats/servicefiles.ts), starting (launch.io.ts).
//
// Done by util-linux (prlimit, setpriv), which every Debian has, because Node can do neither in a child: its uid option
// drops supplementary groups (libuv 761), and it has no setrlimit. Each replaces itself, so the pid stays. By their paths:
// the shell of a small image would take busybox's own setpriv, which knows neither --reuid nor --init-groups.
// To add a limit, add its letter to LIMIT_LETTERS of formats/servicefiles.ts and a row to PRLIMIT.
// Sources: softlimit(8), prlimit(1), setpriv(1), envdir(8). Pure.

import type { LimitLetter } from '../formats/servicefiles.ts';
import type { Settings } from './service.ts';

/** softlimit's letters and prlimit's names; both count bytes, seconds or pieces. */
const PRLIMIT = {
  a: 'as',
  c: 'core',
  d: 'data',
  f: 'fsize',
  l: 'memlock',
  o: 'nofile',
  p: 'nproc',
  r: 'rss',
  s: 'stack',
  t: 'cpu',
} as const satisfies Record<LimitLetter, string>;

/** The command line that becomes run. Limits first: an account without privilege keeps them. @param run its path. */
export function runCommand(
  { user, limits }: Pick<Settings, 'user' | 'limits'>,
  account?: Account,
  run = './run',
): string[] {
  const prlimit =
    limits.length === 0
      ? []
      : ['/usr/bin/prlimit', ...limits.map(({ letter, value }) => `--${PRLIMIT[letter]}=${value}:`), '--'];
  const setpriv =
    user === undefined || account === undefined
      ? []
      : ['/usr/bin/setpriv', `--reuid=${account.uid}`, `--regid=${account.gid}`, '--init-groups', '--'];
  return [...prlimit, ...setpriv, run];
}

export type Account = { readonly uid: number; readonly gid: number };

/** The account of that name. @param passwd text of /etc/passwd. */
export function accountOf(passwd: string, name: string): Account | undefined {
  const fields = passwd
    .split('\n')
    .map((line) => line.split(':'))
    .find(([first]) => first === name);
  const [, , uid = '', gid = ''] = fields ?? [];
  return /^\d+$/.test(uid) && /^\d+$/.test(gid) ? { uid: Number(uid), gid: Number(gid) } : undefined;
}

/** What a file of env/ sets its variable to, as envdir: first line, trailing blanks cut, NUL = newline; empty = unset. */
export function envValue(content: string): string | undefined {
  if (content === '') return undefined;
  return (content.split('\n')[0] ?? '').replace(/[ \t]+$/, '').replaceAll('\0', '\n');
}

const O_ACCMODE = 3;
const O_CLOEXEC = 0o2000000;

/**
 * Whether a descriptor was left to us by whoever started us, and would be left to every service.
 *
 * What Node opens has O_CLOEXEC, but for one thing: its threads may be reading a file through stdio just then
 * (NODE_EXTRA_CA_CERTS; seen), and closing that makes the thread close somebody else's descriptor later. So files that
 * can only be read are left alone.
 *
 * @param target what /proc/self/fd/N points to. @param fdinfo text of /proc/self/fdinfo/N.
 */
export function isInherited(target: string, fdinfo: string): boolean {
  const flags = Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(fdinfo)?.[1] ?? '', 8);
  if (Number.isNaN(flags) || (flags & O_CLOEXEC) !== 0) return false;
  return !target.startsWith('/') || (flags & O_ACCMODE) !== 0;
}
