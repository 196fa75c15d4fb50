// supervise/cgroup.ts - the setting file `cgroup`: a cgroup v2 of its own for a service, with limits for its whole tree.
//
// Owns: its words, the kernel's files that they become, where below the supervisor's own cgroup such a cgroup may lie.
// Does not own: making and entering it (trace.io.ts), the limits of single processes (launch.ts).
//
//   memoryMaxBytes 268435456    more is not given: the kernel ends processes of the service (memory.max)
//   pidsMax 100                 processes and threads (pids.max)
//   cpuMaxPercent 150           of one CPU (cpu.max)
//
// An empty file is a cgroup without limits: nothing that the service starts gets out of it, and all of it is ended with it.
// To add a limit, add a row to CGROUP_LIMITS. Source: Linux Documentation/admin-guide/cgroup-v2.rst. Pure.

type CgroupLimit = keyof typeof CGROUP_LIMITS;
export type CgroupLimits = Readonly<Partial<Record<CgroupLimit, number>>>;

type LimitRow = {
  readonly min: number;
  readonly max: number;
  readonly controller: string;
  readonly file: string;
  readonly content: (value: number) => string;
};

/** The kernel's own period of cpu.max. */
const CPU_PERIOD_US = 100_000;

export const CGROUP_LIMITS = {
  memoryMaxBytes: { min: 65_536, max: 2 ** 50, controller: 'memory', file: 'memory.max', content: String },
  pidsMax: { min: 1, max: 4_194_304, controller: 'pids', file: 'pids.max', content: String },
  cpuMaxPercent: {
    min: 1,
    max: 102_400,
    controller: 'cpu',
    file: 'cpu.max',
    content: (percent) => `${(percent * CPU_PERIOD_US) / 100} ${CPU_PERIOD_US}`,
  },
} as const satisfies Record<string, LimitRow>;

const LIMIT_NAMES = Object.keys(CGROUP_LIMITS) as readonly CgroupLimit[];

export type CgroupResult = { readonly cgroup: CgroupLimits } | { readonly problem: string };

/** @param lines of the file, without comments and blank ones. */
export function parseCgroup(lines: readonly string[]): CgroupResult {
  const cgroup: Partial<Record<CgroupLimit, number>> = {};
  for (const line of lines) {
    const [word = '', value = '', ...rest] = line.split(/\s+/);
    const name = LIMIT_NAMES.find((each) => each === word);
    if (name === undefined) {
      return { problem: `unknown word ${JSON.stringify(word.slice(0, 40))}, expected ${LIMIT_NAMES.join(', ')}` };
    }
    const { min, max } = CGROUP_LIMITS[name];
    const number = Number(value);
    if (rest.length > 0 || !/^\d{1,16}$/.test(value) || number < min || number > max) {
      const got = JSON.stringify(line.slice(word.length).trim().slice(0, 40));
      return { problem: `${name} expected a whole number from ${min} to ${max}, got ${got}` };
    }
    cgroup[name] = number;
  }
  return { cgroup };
}

/** What to write into the service's cgroup. A limit that the file no longer names is the kernel's "max" again. */
export function limitFiles(limits: CgroupLimits): readonly {
  readonly controller: string;
  readonly file: string;
  readonly content: string;
  readonly isAsked: boolean;
}[] {
  return LIMIT_NAMES.map((name) => {
    const { controller, file, content } = CGROUP_LIMITS[name];
    const value = limits[name];
    return { controller, file, content: value === undefined ? 'max' : content(value), isAsked: value !== undefined };
  });
}

/**
 * The cgroup below which those of services lie: the supervisor's own, or the one above where its own is called `supervisor`.
 *
 * The kernel gives controllers only to the children of a cgroup that holds no process itself, so whoever wants limits has
 * the supervisor started in a leaf of that name (systemd 254 and newer: DelegateSubgroup=supervisor).
 */
export function servicesCgroup(own: string): string {
  return own.endsWith('/supervisor') ? own.slice(0, -'/supervisor'.length) : own;
}
