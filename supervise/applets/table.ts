// supervise/applets/table.ts - the daemontools commands that `rouse applets DIR` writes: one row each.
//
// Owns: which commands there are, how each is made, and the text of a launcher.
// Does not own: what the perl ones do (scripts/NAME.pl), what the Node ones do (front.io.ts), writing (write.io.ts).
//
// What run scripts chain through, and what people type often, is perl: a start costs 2 to 4 ms where one of Node costs 40,
// and perl-base is on every Debian (Essential). No module is loaded: those outside perl-base are not everywhere, and the
// ones inside cost as much as perl itself. Parts of scripts/ that several commands need are put in front of each.
// To add a command: a row here, and scripts/NAME.pl.
//
// Sources: daemontools 0.76; syscall numbers: Linux arch/x86/entry/syscalls/syscall_64.tbl, asm-generic/unistd.h.
// Pure.

type Part = 'reasons' | 'options' | 'exec';

type Applet =
  /** A perl script; `parts` stand in front of it. */
  | { readonly kind: 'perl'; readonly parts: readonly Part[] }
  /** rouse's own code in Node, behind a launcher. */
  | { readonly kind: 'front' };

export const APPLETS = {
  svscan: { kind: 'front' },
  supervise: { kind: 'front' },
  svc: { kind: 'perl', parts: ['reasons', 'options'] },
  svstat: { kind: 'perl', parts: ['reasons'] },
  svok: { kind: 'perl', parts: ['reasons'] },
  multilog: { kind: 'perl', parts: ['reasons'] },
  tai64n: { kind: 'perl', parts: [] },
  tai64nlocal: { kind: 'perl', parts: [] },
  readproctitle: { kind: 'perl', parts: ['reasons'] },
  fghack: { kind: 'perl', parts: ['reasons', 'exec'] },
  pgrphack: { kind: 'perl', parts: ['reasons', 'exec'] },
  setlock: { kind: 'perl', parts: ['reasons', 'options', 'exec'] },
  envdir: { kind: 'perl', parts: ['reasons', 'exec'] },
  envuidgid: { kind: 'perl', parts: ['reasons', 'exec'] },
  setuidgid: { kind: 'perl', parts: ['reasons', 'exec'] },
  softlimit: { kind: 'perl', parts: ['reasons', 'options', 'exec'] },
} as const satisfies Record<string, Applet>;

export type AppletName = keyof typeof APPLETS;

/** The commands that front.io.ts answers to. */
export type FrontName = {
  [Name in AppletName]: (typeof APPLETS)[Name] extends { kind: 'front' } ? Name : never;
}[AppletName];

const SYSCALLS = {
  x64: {
    dup3: 292,
    execve: 59,
    fsync: 74,
    gettimeofday: 96,
    setgid: 106,
    setgroups: 116,
    setsid: 112,
    setuid: 105,
    prctl: 157,
    prlimit64: 302,
  },
  arm64: {
    dup3: 24,
    execve: 221,
    fsync: 82,
    gettimeofday: 169,
    setgid: 144,
    setgroups: 159,
    setsid: 157,
    setuid: 146,
    prctl: 167,
    prlimit64: 261,
  },
} as const;

export type AppletArch = keyof typeof SYSCALLS;

/** Whether the launchers can be made for this architecture (as process.arch names it). */
export function isAppletArch(arch: string): arch is AppletArch {
  return Object.hasOwn(SYSCALLS, arch);
}

/** The files of scripts/ that make up a command, in order; none for one in Node. */
export function scriptsOf(name: AppletName): readonly string[] {
  const applet: Applet = APPLETS[name];
  return applet.kind === 'perl' ? [...applet.parts, name].map((part) => `${part}.pl`) : [];
}

/**
 * A perl command as one file.
 *
 * The interpreter is named absolutely and the environment is that of the caller. perl complains of a locale that the
 * machine does not have, which is everyday life over ssh. PERL_SKIP_LOCALE_INIT (perllocale) has it not look for one, which
 * is also 0.2 ms sooner, and is taken out again for what the command starts. Of the 2.5 ms of CPU of an svok (Debian's: 0.6)
 * perl itself is 1.7 and env 0.5.
 *
 * @param scripts contents of scriptsOf(name), in that order.
 */
export function perlApplet(name: AppletName, scripts: readonly string[], arch: AppletArch): string {
  const calls = Object.entries(SYSCALLS[arch]).map(([call, number]) => `${call} => ${number}`);
  return [
    '#!/usr/bin/env -S PERL_SKIP_LOCALE_INIT=1 /usr/bin/perl',
    `# ${name} - written by rouse applets; daemontools 0.76 in perl-base.`,
    'delete $ENV{PERL_SKIP_LOCALE_INIT};',
    `my $SELF = '${name}';`,
    `my %CALL = (${calls.join(', ')});`,
    ...scripts.map((script) => script.trimEnd()),
    '',
  ].join('\n');
}

/** A command in Node as one file. @param command its absolute words: interpreter, flags, program. */
export function frontApplet(name: AppletName, command: readonly string[]): string {
  const words = [...command, name].map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`);
  return `#!/bin/sh\n# ${name} - written by rouse applets.\nexec ${words.join(' ')} "$@"\n`;
}
