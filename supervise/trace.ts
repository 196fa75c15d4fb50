// supervise/trace.ts - fghack: which of the processes that a service left behind is the service.
//
// Owns: choosing the main process, the meaning of /proc/self/cgroup and mountinfo. Does not own: looking (trace.io.ts),
// when to look (machine.ts). Source: cgroups(7), proc(5). Pure.

/** A process that belongs to a service. */
export type Member = {
  readonly pid: number;
  readonly parentPid: number;
  /** Field 22 of /proc/PID/stat. */
  readonly startTime: string;
};

/** The daemon itself: the oldest member whose parent is none; its workers are its children. @returns undefined without members. */
export function mainOf(members: readonly Member[]): Member | undefined {
  const pids = new Set(members.map(({ pid }) => pid));
  const heads = members.filter(({ parentPid }) => !pids.has(parentPid));
  const [oldest] = [...(heads.length > 0 ? heads : members)].sort(
    (a, b) => Number(a.startTime) - Number(b.startTime) || a.pid - b.pid,
  );
  return oldest;
}

/**
 * Our own folder in the cgroup v2 tree; undefined where that is not mounted.
 *
 * @param mountinfo text of /proc/self/mountinfo. @param cgroup text of /proc/self/cgroup.
 */
export function ownCgroup(mountinfo: string, cgroup: string): string | undefined {
  const mount = mountinfo.split('\n').find((line) => line.includes(' - cgroup2 '));
  const [, , , root = '/', point] = mount?.split(' ') ?? [];
  const path = /^0::(\/.*)$/m.exec(cgroup)?.[1];
  if (point === undefined || path === undefined) return undefined;
  const below = root !== '/' && path.startsWith(root) ? path.slice(root.length) : path;
  return `${point}${below}`.replace(/\/+$/, '');
}
