// test/netboot/boots/plan.ts - one boot plan in each of its kinds, for the tests of what loaders are given.

import type { Ipv4Address } from '../../../formats/ipv4.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import type { BootPlan, PlanTarget } from '../../../netboot/site/plan.ts';

export const A = 'a'.repeat(64);
export const B = 'b'.repeat(64);
export const C = 'c'.repeat(64);
export const K = 'd'.repeat(64);
export const MAC = '52:54:00:77:00:01' as MacAddress;
export const SERVER = { address: '10.77.0.1' as Ipv4Address, port: 8080 };
export const IDENTITY = { bootId: '0123456789abcdef', overlaySha256: C };

export const plan = (target: PlanTarget): BootPlan => ({
  node: { name: 'web1', mac: MAC, address: '10.77.0.11' as Ipv4Address, labels: {}, note: '', known: true },
  profile: { name: 'web', chain: ['web'] },
  target,
  cmdline: ['console=ttyS0'],
  loader: 'auto',
  readyTimeoutS: 120,
  vars: {},
});

export const LINUX: PlanTarget = {
  kind: 'linux',
  image: 'web',
  generation: 3,
  kernel: { sha256: K, bytes: 1 },
  layers: [
    { name: 'base', sha256: A, compression: 'zstd', servedSha256: A, servedBytes: 1 },
    { name: 'role', sha256: B, compression: 'gzip', servedSha256: B, servedBytes: 1 },
  ],
};
