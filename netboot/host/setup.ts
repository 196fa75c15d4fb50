// netboot/host/setup.ts - the first rouse.yaml of a boot server, written from what its interfaces say.
//
// Owns: which interfaces are worth serving, and the commented text: mode: observe, so that the first start answers nobody; the
// service directory under which an installed boot server runs.
// Does not own the schema (site/schema.ts), looking at the machine (host.io.ts), who may write the files (setup.io.ts). Pure.

import { type Ipv4Address, networkContains, type Ipv4Network, renderNetwork } from '../../formats/ipv4.ts';

export type HostInterface = {
  readonly name: string;
  readonly address: Ipv4Address;
  readonly network: Ipv4Network;
  /** Whether it leads to a wire: not a bridge of containers, a tunnel, a virtual pair. */
  readonly isWire: boolean;
};

export type HostFacts = {
  readonly interfaces: readonly HostInterface[];
  /** Where packets to elsewhere go. */
  readonly router: Ipv4Address | undefined;
  readonly dns: readonly Ipv4Address[];
};

export type SetupResult =
  | { readonly ok: true; readonly text: string; readonly interfaces: readonly string[] }
  | { readonly ok: false; readonly why: string };

/** @param only interfaces named by the operator; without any, every one that leads to a wire. */
export function renderSetup(facts: HostFacts, only: readonly string[]): SetupResult {
  const known = facts.interfaces.map(({ name }) => name);
  const stranger = only.find((name) => !known.includes(name));
  if (stranger !== undefined) {
    return {
      ok: false,
      why: `no interface '${stranger}' with an IPv4 address is here; there are ${known.join(', ') || 'none'}`,
    };
  }
  const wired = facts.interfaces.filter(({ name, isWire }) => (only.length === 0 ? isWire : only.includes(name)));
  const chosen = wired.filter(
    ({ network }, index) => wired.findIndex((one) => overlap(one.network, network)) === index,
  );
  if (chosen.length === 0) {
    return {
      ok: false,
      why: `no interface here leads to a network: give one an IPv4 address, or name it with --interface`,
    };
  }
  const lines = [
    '# The site of this boot server, begun by `rouse setup` from what its interfaces say. It is read again whenever it changes.',
    '#   rouse check                  says what is wrong in it, with line and column',
    '#   rouse check --schema rouse   is the JSON Schema of it, for editors',
    '# mode: observe answers nobody and writes down what it would have answered: rouse node ls --new, rouse explain MAC --seen.',
    '# Then: mode: proxy beside a DHCP server that is there already, mode: dhcp where rouse is to give the addresses.',
    'version: 1',
    'subnets:',
    ...chosen.flatMap((one) => subnetLines(one, facts)),
    '# defaultProfile: rescue     # what `unknown: default` boots',
    '# pools:                     # queries over node files, for load balancers',
    '#   web: {match: {profile: web}, minimum: 1}',
  ];
  return { ok: true, text: `${lines.join('\n')}\n`, interfaces: chosen.map(({ name }) => name) };
}

function overlap(a: Ipv4Network, b: Ipv4Network): boolean {
  return networkContains(a, b.address) || networkContains(b, a.address);
}

function subnetLines({ name, network }: HostInterface, { router, dns }: HostFacts): string[] {
  const base = network.address.split('.').slice(0, 3).join('.');
  const isHere = router !== undefined && networkContains(network, router);
  const subnet =
    name
      .toLowerCase()
      .replace(/[^a-z0-9_-]/g, '-')
      .replace(/^[^a-z0-9]+/, '') || 'subnet';
  return [
    `  - name: ${subnet}`,
    `    interface: ${name}`,
    `    network: ${renderNetwork(network)}`,
    '    mode: observe            # observe | proxy | dhcp',
    `    # pools: [${base}.100-${base}.199]   # of mode: dhcp: addresses for machines that have none of their own`,
    isHere ? `    router: ${router}` : `    # router: ${base}.1`,
    dns.length === 0 ? `    # dns: [${base}.1]` : `    dns: [${dns.join(', ')}]`,
    '    leaseTimeS: 3600',
    '    unknown: ignore          # ignore | discover (boot an inventory: rouse image build discover) | default',
  ];
}

/**
 * The service directory of an installed boot server, by file: what `rouse supervise` keeps running.
 *
 * The supervisor is root and the boot server is not: it becomes the user of the package, with the two capabilities that open
 * port 67 and a packet socket. /run/rouse is sticky, so that it makes its socket there and cannot touch the supervisor's.
 *
 * @param rouse absolute path of the command.
 */
export function netbootService(rouse: string): ReadonlyMap<string, string> {
  const capabilities = '+net_bind_service,+net_raw';
  return new Map([
    // Before run: with that the supervisor starts it.
    ['log/multilog', 't s1000000 n10 ./main\n'],
    [
      'run',
      `#!/bin/sh
# The boot server: not as root, with the two capabilities that it needs and no other.
exec 2>&1
mkdir -p /run/rouse
chgrp rouse /run/rouse
chmod 1775 /run/rouse
exec setpriv --reuid rouse --regid rouse --init-groups --ambient-caps -all,${capabilities} \\
  --inh-caps -all,${capabilities} --bounding-set -all,${capabilities} --no-new-privs ${rouse} netboot
`,
    ],
  ]);
}
