// Who makes a boot by asking for a script: nobody whose address is only what a datagram says.

import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import { BootDesk } from '../../../netboot/boots/boots.io.ts';
import { Fleet } from '../../../netboot/fleet/fleet.io.ts';
import type { HttpWorld } from '../../../netboot/http/route.ts';
import { site, state } from '../fleet/fleet-site.ts';

const WEB1 = '52:54:00:77:00:01';
const PEER = '10.0.0.11' as Ipv4Address;
const SERVER = '10.0.0.1' as Ipv4Address;

test('a request that anybody may have sent ends no boot, takes no place in the pace, and is asked for once more', async () => {
  const files = site({ 'profiles/web.yaml': 'boot: local\n' });
  const done: string[] = [];
  const commit = (): Promise<void> => {
    done.push('commit');
    return Promise.resolve();
  };
  const facts = { site: () => files, bootById: () => undefined, commit, log: () => undefined };
  const fleet = new Fleet(facts, { nodes: [state('web1', 'web')], orders: [] });
  const nobody = (): never => {
    throw new Error('not asked here');
  };
  const desk = new BootDesk({
    libDir: '',
    site: facts.site,
    images: () => Promise.resolve(new Map()),
    world: () => ({ machineAt: () => WEB1, leasesElsewhere: () => false }) as unknown as HttpWorld,
    serverFor: () => SERVER,
    keep: nobody,
    latestBootOf: nobody,
    commit,
    record: () => {
      done.push('record');
      return Promise.resolve();
    },
    fleet,
    node: nobody,
    tell: () => undefined,
    scriptFetched: () => done.push('script fetched'),
    loaderSent: nobody,
    log: (line) => done.push(line),
  });
  const ask = async (isProven: boolean): Promise<string> => {
    const target = `/grub/${WEB1}.cfg`;
    const request = { method: 'GET', target, peer: PEER, isProven, authorization: undefined, body: new Uint8Array(0) };
    const { parts } = await desk.respond(request);
    return parts.map((part) => (part.kind === 'bytes' ? new TextDecoder().decode(part.bytes) : '')).join('');
  };
  for (let count = 0; count < 40; count += 1) expect(await ask(false)).toContain('it is asked once more');
  expect(done).toEqual([]);
  expect(fleet.state('web1').boot?.id).toBe('web1-1');

  expect(await ask(true)).toContain('web1 boots as web from its own disk');
  expect(fleet.state('web1').boot).toBeUndefined();
  expect(done).toContain('script fetched');
  fleet.close();
});
