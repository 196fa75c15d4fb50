// supervise/spawner.ts - the words between the supervisor and its spawner, spawner.pl.
//
// Owns: the arguments of the program, the octets of an order, the reading of a report and of a wait status.
// Does not own: the program (spawner.pl), running it (spawner.io.ts), when one is started or given up (spawnerlife.ts).
//
// A start by Node is a fork of a large process and costs it more than a millisecond, during which nothing else is done;
// by a perl of two megabytes it costs Node a tenth of that (perl-base is on every Debian). The same process sees deaths: of
// its children by waitpid, of processes that it did not start (adopted ones) by pidfd and epoll, so that nothing polls.
//
// It may be killed at any moment, as the supervisor may. What it started runs on. A child is at its gate until the order
// `go`, and leaves when the spawner, which alone holds the other end of the gate, is gone: so no process ever runs of
// which the supervisor has not put the record on disk. The spawner leaves when its orders end, that is with the supervisor.
//
// To add a word of a start, add it to `encodeStart` here and to `become` there.
// Sources: pidfd_open(2), epoll(7), signalfd(2) on blocked signals, fcntl(2), Linux 6.15 PIDFD_GET_INFO. Pure.

type Call =
  | 'pidfd_open'
  | 'epoll_create1'
  | 'epoll_ctl'
  | 'epoll_pwait'
  | 'rt_sigprocmask'
  | 'setsid'
  | 'prlimit64'
  | 'dup3';

type Machine = {
  /** Numbers of the system calls that perl has no function for. */
  readonly calls: Readonly<Record<Call, number>>;
  /** struct epoll_event as perl's `pack` writes it: packed on x86-64 alone. */
  readonly epollEvent: string;
};

/** The machines that it runs on, as Node calls them. */
const MACHINES: Partial<Record<string, Machine>> = {
  x64: {
    calls: {
      pidfd_open: 434,
      epoll_create1: 291,
      epoll_ctl: 233,
      epoll_pwait: 281,
      rt_sigprocmask: 14,
      setsid: 112,
      prlimit64: 302,
      dup3: 292,
    },
    epollEvent: 'L L L',
  },
  arm64: {
    calls: {
      pidfd_open: 434,
      epoll_create1: 20,
      epoll_ctl: 21,
      epoll_pwait: 22,
      rt_sigprocmask: 135,
      setsid: 157,
      prlimit64: 261,
      dup3: 24,
    },
    epollEvent: 'L x4 L L',
  },
};

/**
 * The arguments of spawner.pl.
 *
 * @param machine as Node calls it.
 * @param isQuiet whether it was started with a PERL_BADLANG that its children shall not see.
 * @returns undefined for a machine that it does not run on.
 */
export function programWords(machine: string, isQuiet: boolean): string[] | undefined {
  const known = Object.hasOwn(MACHINES, machine) ? MACHINES[machine] : undefined;
  if (known === undefined) return undefined;
  const calls = Object.entries(known.calls).map(([name, number]) => `${name}=${number}`);
  return [...(isQuiet ? ['quiet=1'] : []), ...calls, known.epollEvent];
}

/** What a login gives, the kernel's own default: Node raises it for itself and its children (libuv issue 3181). */
export const OPEN_FILES_SOFT = 1024;

/** What the process is to be: the words of the order `start`. Paths mean the same to the spawner as to us. */
export type StartWords = {
  readonly directory: string;
  readonly argv: readonly string[];
  /** Changes of the spawner's own environment, which is ours; undefined removes. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly fds: readonly FdWord[];
  /** Folder of the cgroup v2 tree to enter. */
  readonly cgroup: string | undefined;
};

/** A descriptor of the process: one of ours below 3 (`same`), or a file opened anew. */
export type FdWord =
  | { readonly kind: 'same'; readonly asFd: number; readonly fd: number }
  | { readonly kind: 'open'; readonly asFd: number; readonly path: string; readonly access: 'read' | 'both' };

/** open(2), on both machines. */
const ACCESS = { read: 0, both: 2 } as const satisfies Record<string, number>;

export function encodeStart(number: number, { directory, argv, env, fds, cgroup }: StartWords): Uint8Array {
  return encodeOrder([
    'start',
    String(number),
    `directory=${directory}`,
    `files=${OPEN_FILES_SOFT}`,
    ...(cgroup === undefined ? [] : [`cgroup=${cgroup}`]),
    ...fds.map((fd) =>
      fd.kind === 'same' ? `fd=${fd.asFd} same ${fd.fd}` : `fd=${fd.asFd} ${ACCESS[fd.access]} ${fd.path}`,
    ),
    ...Object.entries(env).map(([name, value]) => (value === undefined ? `unset=${name}` : `set=${name}=${value}`)),
    ...argv.map((word) => `arg=${word}`),
  ]);
}

/** @param startTime as /proc gives it; a process with the same pid and another start time counts as dead. */
export function encodeWatch(number: number, pid: number, startTime: string): Uint8Array {
  return encodeOrder(['watch', String(number), String(pid), startTime]);
}

/** Lets a process pass its gate, or ends it there. */
export function encodeGate(number: number, verb: 'go' | 'leave'): Uint8Array {
  return encodeOrder([verb, String(number)]);
}

/** Answered with `pong`, whatever else it is at. */
export function encodePing(): Uint8Array {
  return encodeOrder(['ping', '0']);
}

/** No word holds a NUL: none of paths, arguments and environment can. */
function encodeOrder(words: readonly string[]): Uint8Array {
  const body = new TextEncoder().encode(words.join('\0'));
  const order = new Uint8Array(4 + body.length);
  new DataView(order.buffer).setUint32(0, body.length);
  order.set(body, 4);
  return order;
}

export type Report =
  | { readonly kind: 'ready' }
  | { readonly kind: 'pong' }
  /** The process stands at its gate. */
  | { readonly kind: 'started'; readonly number: number; readonly pid: number; readonly startTime: string }
  | { readonly kind: 'failed'; readonly number: number; readonly why: string }
  /** wait(2)'s status; undefined where the kernel did not tell, or the process could not be watched. */
  | { readonly kind: 'died'; readonly number: number; readonly waitStatus: number | undefined };

/** @returns undefined for what no spawner says. */
export function decodeReport(line: string): Report | undefined {
  const [kind = '', number = '', ...words] = line.split(' ');
  if (kind === 'ready') return { kind };
  if (kind === 'pong') return { kind };
  if (!/^\d+$/.test(number)) return undefined;
  const [first = '', second = ''] = words;
  switch (kind) {
    case 'started':
      if (!/^\d+$/.test(first) || !/^\d+$/.test(second)) return undefined;
      return { kind, number: Number(number), pid: Number(first), startTime: second };
    case 'failed':
      return { kind, number: Number(number), why: words.join(' ') };
    case 'died':
      return { kind, number: Number(number), waitStatus: /^\d+$/.test(first) ? Number(first) : undefined };
    default:
      return undefined;
  }
}

/**
 * wait(2): the low seven bits are the signal, 0 = exited with the code in the next octet.
 *
 * @param signals the numbers of this machine's signals by their names: "SIGTERM".
 * @returns the exit code, or the signal's name; "signal 34" where it has none.
 */
export function readWaitStatus(
  status: number,
  signals: Readonly<Record<string, number>>,
): [exitCode: number | undefined, signal: string | undefined] {
  const signalNumber = status & 0x7f;
  if (signalNumber === 0) return [(status >> 8) & 0xff, undefined];
  const name = Object.entries(signals).find(([, number]) => number === signalNumber)?.[0];
  return [undefined, name ?? `signal ${signalNumber}`];
}
