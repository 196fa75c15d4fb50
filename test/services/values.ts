// What templates of the roles are rendered from, in tests: whole, so that strict rendering finds what a role asks for in vain.

import type { PlainValue } from '../../images/manifest.ts';
import type { TemplateValues } from '../../netboot/boots/templates.ts';

export type Vars = Record<string, PlainValue>;

export const WEB_VARS: Vars = { greeting: 'hello', gateway: '', upstreamPool: '', upstreamPort: 80 };

export const LB_VARS: Vars = {
  gateway: '',
  virtualServices: [],
  interface: 'eth0',
  insideVip: '',
  insideInterface: '',
  advertIntervalS: 1,
  vrid: 51,
  insideVrid: 52,
};

const CHECK: Vars = {
  ...{ kind: 'tcp', path: '/healthz', host: null, port: null, command: '' },
  ...{ intervalS: 1, timeoutS: 3, retries: 1 },
};

/** A virtual service as it comes out of the recipe's fields, with the keys of `given` instead of the defaults. */
export function virtualService({ check = {}, ...given }: Vars & { check?: Vars }): Vars {
  return {
    ...{ vip: '10.77.0.200', port: 80, protocol: 'tcp', scheduler: 'wrr', mode: 'dr', pool: 'web' },
    ...{ realPort: null, persistenceS: 0, sorryServer: null, sorryPort: null },
    ...given,
    check: { ...CHECK, ...check },
  };
}

/** A member of a pool. */
export function member(name: string, address: string, weight = 1): Record<string, string | number> {
  return { name, address, weight, state: weight === 0 ? 'draining' : 'ready' };
}

/** Values for one node; what is not given is a lone node of an empty site. */
export function valuesFor(
  node: { readonly name: string; readonly address: string },
  profile: string,
  given: Record<string, unknown>,
): TemplateValues {
  const all: unknown = {
    node: {
      ...{ name: node.name, hostname: node.name, mac: '52:54:00:77:00:01', address: node.address },
      ...{ labels: {}, note: '', index: 0 },
    },
    profile: { name: profile },
    boot: { id: '0123456789abcdef', startedAt: '2026-01-02T03:04:05.000Z' },
    vars: {},
    pools: {},
    peers: [{ name: node.name, address: node.address, index: 0, priority: 200 }],
    subnet: { name: 'rack1', network: '10.77.0.0/24', prefixLength: 24, netmask: '255.255.255.0', router: null },
    directVips: [],
    ...given,
  };
  return all as TemplateValues;
}
