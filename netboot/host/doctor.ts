// netboot/host/doctor.ts - is this machine fit to be a boot server? What is found, judged line by line.
//
// Owns: the list of findings, which are bad, and what to do about each. Does not own finding out (host.io.ts).
// To look at one more thing: a fact in DoctorFacts, a row in CHECKS. Pure.

import { type Ipv4Address, rangeSize } from '../../formats/ipv4.ts';
import type { Site } from '../site/site.ts';

/** Undefined or 'unknown': it could not be found out, which is said and is not bad. */
export type DoctorFacts = {
  /** The first problem of the configuration, if it has one, and its warnings. */
  readonly config: { readonly problem: string | undefined; readonly warnings: readonly string[] };
  /** Whether a boot server answers on its socket, and what it says of itself. */
  readonly server:
    | { readonly isRunning: false; readonly why: string }
    | {
        readonly isRunning: true;
        readonly store: string;
        readonly config: 'good' | 'last-good';
        readonly waiting: readonly string[];
      };
  /** Ports that the boot server needs and others have. */
  readonly takenPorts: readonly { readonly port: string; readonly why: string; readonly todo: string }[];
  /** Interfaces of rouse.yaml that are not there or have no address. */
  readonly missingInterfaces: readonly string[];
  readonly firewall:
    | { readonly kind: 'none' }
    | { readonly kind: 'open' }
    /** What comes in is dropped unless a rule lets it pass, and none is seen for these ports; `todo` is the command that adds it. */
    | { readonly kind: 'closed'; readonly ports: readonly string[]; readonly by: string; readonly todo: string }
    | { readonly kind: 'unknown'; readonly why: string };
  /** By subnet: the DHCP servers that answered there, this one left out; or why nobody asked. */
  readonly segments: readonly {
    readonly subnet: string;
    readonly mode: 'dhcp' | 'proxy' | 'observe';
    readonly interfaceName: string;
    readonly answerBesideOthers: boolean;
    readonly servers: readonly Ipv4Address[] | { readonly why: string };
  }[];
  readonly disks: readonly { readonly path: string; readonly freeBytes: number; readonly isWritable: boolean }[];
  readonly clock: {
    readonly nowMs: number;
    readonly newestFileMs: number;
    readonly isSynchronized: boolean | 'unknown';
  };
  readonly archive: { readonly isReachable: boolean; readonly why: string } | undefined;
  readonly loaders: readonly string[];
  /** The kernel's table of neighbours (arp(7)); undefined where it is not to be seen. */
  readonly neighbours:
    | {
        /** gc_thresh3: entries for the whole machine, whatever its network namespaces. */
        readonly most: number;
        /** How often it was full since the machine started. */
        readonly overflows: number;
        /** Machines that may ask at once: nodes, and where unknown machines boot the addresses of the pools. */
        readonly machines: number;
      }
    | undefined;
  /** Permission bits of the key that signs images; undefined where there is none. */
  readonly keyMode: number | undefined;
};

export type Finding = {
  readonly name: string;
  readonly state: 'ok' | 'bad' | 'unknown';
  /** What was found. */
  readonly says: string;
  /** What to do; undefined where it is well. */
  readonly todo: string | undefined;
};

const ok = (name: string, says: string): Finding => ({ name, state: 'ok', says, todo: undefined });
const bad = (name: string, says: string, todo: string): Finding => ({ name, state: 'bad', says, todo });
const unknown = (name: string, says: string, todo?: string): Finding => ({ name, state: 'unknown', says, todo });

/** An image with its packages takes some hundred megabytes; the journal and the store as much. */
const LEAST_FREE_BYTES = 2e9;
/** Routers, switches, operators, other services of the host. */
const OTHER_NEIGHBOURS = 100;
/** Clocks of a machine and of what wrote a file on it differ by no more. */
const CLOCK_SLACK_MS = 300_000;

const CHECKS: readonly ((facts: DoctorFacts) => readonly Finding[])[] = [
  ({ config }) => [
    config.problem === undefined
      ? ok('configuration', 'it validates')
      : bad('configuration', config.problem, 'mend it; all problems: rouse check'),
    ...config.warnings.map((warning) => bad('configuration', warning, 'do what it says, or take it out')),
  ],
  ({ server }) => {
    if (!server.isRunning)
      return [unknown('boot server', server.why, 'start it with: systemctl start rouse, or rouse netboot')];
    return [
      server.config === 'good'
        ? ok('boot server', 'it runs, and what the files say is in force')
        : bad(
            'boot server',
            'it runs with the last good configuration, not with what the files say',
            'mend them: rouse check',
          ),
      ...(server.store === 'good'
        ? []
        : [bad('store', server.store, 'free space on its disk, or restore a copy: rouse restore')]),
    ];
  },
  ({ missingInterfaces }) =>
    missingInterfaces.length === 0
      ? [ok('interfaces', 'all of rouse.yaml are here with an address')]
      : missingInterfaces.map((why) =>
          bad('interfaces', why, 'give it an address, or correct interface: in rouse.yaml'),
        ),
  ({ takenPorts }) =>
    takenPorts.length === 0
      ? [ok('ports', 'UDP 67, 69 and 4011 and the HTTP port are free, or the boot server has them')]
      : takenPorts.map(({ port, why, todo }) => bad('ports', `${port}: ${why}`, todo)),
  ({ firewall }) => {
    switch (firewall.kind) {
      case 'none':
        return [ok('firewall', 'there is none')];
      case 'open':
        return [ok('firewall', 'nothing in it keeps machines from the boot server')];
      case 'closed':
        return [
          bad(
            'firewall',
            `${firewall.by} drops what comes in unless a rule lets it pass, and none is seen for ${firewall.ports.join(', ')}`,
            `let them pass: ${firewall.todo}; to last, write it where those rules are kept`,
          ),
        ];
      case 'unknown':
        return [unknown('firewall', firewall.why)];
    }
  },
  ({ segments }) =>
    segments.map(({ subnet, mode, interfaceName, answerBesideOthers, servers }) => {
      const name = 'other DHCP';
      const where = `subnet ${subnet} on ${interfaceName}`;
      if ('why' in servers) return unknown(name, `${where}: ${servers.why}`);
      const list = servers.join(', ');
      if (mode === 'dhcp' && servers.length > 0) {
        if (answerBesideOthers)
          return ok(name, `${where}: ${list} gives addresses too, as answerBesideOthers: true has it`);
        return bad(name, `${where}: ${list} gives addresses too`, 'stop that one, or set mode: proxy in rouse.yaml');
      }
      if (mode === 'proxy' && servers.length === 0) {
        return bad(
          name,
          `${where}: nobody gives addresses there, and mode: proxy gives none`,
          'start the DHCP server, or set mode: dhcp in rouse.yaml',
        );
      }
      return ok(
        name,
        `${where}: ${servers.length === 0 ? 'none answers' : `${list} answers`}, as mode: ${mode} has it`,
      );
    }),
  ({ disks }) =>
    disks.map(({ path, freeBytes, isWritable }) => {
      if (!isWritable)
        return bad('disk', `${path} cannot be written`, `make it the boot server's: chown -R rouse: ${path}`);
      const free = `${path} has ${(freeBytes / 1e9).toFixed(1)} GB free`;
      return freeBytes < LEAST_FREE_BYTES
        ? bad('disk', free, 'free some: old generations of images, package caches')
        : ok('disk', free);
    }),
  ({ clock: { nowMs, newestFileMs, isSynchronized } }) => {
    const now = new Date(nowMs).toISOString().slice(0, 19);
    if (newestFileMs - nowMs > CLOCK_SLACK_MS) {
      return [
        bad(
          'clock',
          `it says ${now}, and files here are of ${new Date(newestFileMs).toISOString().slice(0, 19)}`,
          'set it: leases end by it',
        ),
      ];
    }
    if (isSynchronized === false)
      return [bad('clock', `it says ${now} and nothing keeps it right`, 'apt-get install systemd-timesyncd')];
    return [
      isSynchronized === true
        ? ok('clock', `${now}, kept right`)
        : unknown('clock', `it says ${now}; what keeps it right is not known`),
    ];
  },
  ({ archive }) => {
    if (archive === undefined) return [unknown('archive', 'not looked at')];
    return [
      archive.isReachable
        ? ok('archive', archive.why)
        : bad(
            'archive',
            `Debian's packages cannot be fetched: ${archive.why}`,
            'see /etc/apt/sources.list* and the proxy; only building images needs it',
          ),
    ];
  },
  ({ keyMode }) => {
    if (keyMode === undefined) return [];
    return [
      (keyMode & 0o077) === 0
        ? ok('signing key', 'its owner alone may read it')
        : bad(
            'signing key',
            `lib/keys/images.key is of mode ${keyMode.toString(8)}: others may read it, and sign what nodes boot`,
            'chmod 600 it',
          ),
    ];
  },
  ({ neighbours }) => {
    if (neighbours === undefined) return [unknown('neighbours', 'the limit of the table is not to be seen from here')];
    const { most, overflows, machines } = neighbours;
    // Every machine of the other networks of this host has an entry as well.
    const needed = machines + OTHER_NEIGHBOURS;
    const remedy = 2 ** Math.ceil(Math.log2(Math.max(needed, most + 1) * 2));
    const todo =
      `sysctl -w net.ipv4.neigh.default.gc_thresh2=${remedy / 2} net.ipv4.neigh.default.gc_thresh3=${remedy}; ` +
      'to last, the same lines in /etc/sysctl.d/rouse.conf';
    const table = `the kernel remembers ${most} neighbours (gc_thresh3)`;
    if (overflows > 0) {
      return [
        bad('neighbours', `${table}, and was full ${overflows} times: what it had to send to others was dropped`, todo),
      ];
    }
    return [
      needed > most
        ? bad(
            'neighbours',
            `${table}, and ${machines} machines may boot at once: answers to some would be dropped`,
            todo,
          )
        : ok('neighbours', `${table}, enough for ${machines} machines`),
    ];
  },
  ({ loaders }) => [
    loaders.length === 0
      ? bad('loaders', 'no boot program is in lib/loaders', 'fetch them with: rouse image loaders')
      : ok('loaders', loaders.join(', ')),
  ],
];

/** How many machines of a site may ask for something at once. */
export function mostMachines({ nodes, subnets }: Pick<Site, 'nodes' | 'subnets'>): number {
  const open = subnets.filter(({ unknown: policy }) => policy !== 'ignore');
  return nodes.size + open.flatMap(({ pools }) => pools).reduce((sum, pool) => sum + rangeSize(pool), 0);
}

/** How often the kernel's table of neighbours was full. @param table /proc/net/stat/arp_cache: hexadecimal, a row for each processor. */
export function overflowsIn(table: string): number {
  const [head = '', ...rows] = table.trim().split('\n');
  const column = head.trim().split(/\s+/).indexOf('table_fulls');
  return column < 0
    ? 0
    : rows.reduce((sum, row) => sum + Number.parseInt(row.trim().split(/\s+/)[column] ?? '0', 16), 0);
}

/** Every finding, in the order in which a boot server needs the things. */
export function judge(facts: DoctorFacts): Finding[] {
  return CHECKS.flatMap((check) => check(facts));
}

type Port = { readonly protocol: 'udp' | 'tcp'; readonly port: number };

/** What is asked of a firewall: the ports, and the interfaces on which machines come to them; none: whichever they are. */
export type Asked = { readonly ports: readonly Port[]; readonly interfaces: readonly string[] };

/**
 * Whether a ruleset of `nft -j list ruleset` lets a boot server be heard.
 *
 * A hook on input whose policy is drop counts as closed for a port that no rule of any chain names: rules are not followed
 * through, so one that names the port is believed.
 */
export function judgeRuleset(ruleset: unknown, { ports, interfaces }: Asked): DoctorFacts['firewall'] {
  const list = (ruleset as { nftables?: unknown } | undefined)?.nftables;
  if (!Array.isArray(list)) return { kind: 'unknown', why: 'nft says something that is no ruleset' };
  const entries = list as readonly Record<string, unknown>[];
  const drops = entries.find((entry) => {
    const chain = entry['chain'] as { family?: unknown; hook?: unknown; policy?: unknown } | undefined;
    return chain?.hook === 'input' && chain.policy === 'drop' && chain.family !== 'ip6';
  });
  if (drops === undefined) return entries.some((entry) => 'chain' in entry) ? { kind: 'open' } : { kind: 'none' };
  const rules = entries.flatMap((entry) => ('rule' in entry ? [JSON.stringify(entry['rule'])] : []));
  const accepting = rules.filter((rule) => rule.includes('"accept"'));
  // Everything from an interface; that of lo says nothing of wires.
  const isWholeInterface = (rule: string): boolean =>
    rule.includes('"iifname"') && !rule.includes('"lo"') && !/"dport"|"ct"|"protocol"/.test(rule);
  const closed = ports.filter(({ protocol, port }) => {
    const named = new RegExp(`"protocol":"${protocol}","field":"dport".*\\b${port}\\b`);
    return !accepting.some((rule) => isWholeInterface(rule) || named.test(rule));
  });
  const { family, table, name } = drops['chain'] as Record<'family' | 'table' | 'name', string>;
  const wires = interfaces.length === 0 ? '' : `iifname { ${interfaces.map((one) => `"${one}"`).join(', ')} } `;
  const rule = ({ protocol, numbers }: Group): string =>
    `nft 'insert rule ${family} ${table} ${name} ${wires}${protocol} dport { ${numbers.join(', ')} } accept'`;
  return closedBy(`chain ${family} ${table} ${name}`, closed, grouped(closed).map(rule));
}

/** The same of iptables, where there is no nft. @param rules what `iptables -S INPUT` prints. */
export function judgeInputRules(rules: string, { ports, interfaces }: Asked): DoctorFacts['firewall'] {
  if (!/^-P INPUT (DROP|REJECT)/m.test(rules)) return { kind: 'open' };
  const closed = ports.filter(
    ({ protocol, port }) => !new RegExp(`-p ${protocol} .*\\b${port}\\b.*ACCEPT`).test(rules),
  );
  const wires = interfaces.length === 0 ? [''] : interfaces.map((one) => ` -i ${one}`);
  const rule = ({ protocol, numbers }: Group): string[] =>
    wires.map((wire) => `iptables -I INPUT${wire} -p ${protocol} -m multiport --dports ${numbers.join(',')} -j ACCEPT`);
  return closedBy('iptables INPUT', closed, grouped(closed).flatMap(rule));
}

type Group = { readonly protocol: Port['protocol']; readonly numbers: readonly number[] };

/** By protocol: one rule lets all ports of one pass. */
function grouped(ports: readonly Port[]): Group[] {
  return [...Map.groupBy(ports, ({ protocol }) => protocol)].map(([protocol, same]) => ({
    protocol,
    numbers: same.map(({ port }) => port),
  }));
}

function closedBy(by: string, closed: readonly Port[], commands: readonly string[]): DoctorFacts['firewall'] {
  if (closed.length === 0) return { kind: 'open' };
  const ports = closed.map(({ protocol, port }) => `${protocol.toUpperCase()} ${port}`);
  return { kind: 'closed', by, ports, todo: commands.join(' && ') };
}
