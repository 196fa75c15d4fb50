// The first rouse.yaml: whatever the interfaces are, it validates, answers nobody, and names what was found.

import { expect, test } from 'vitest';
import { parseIpv4, parseNetwork } from '../../../formats/ipv4.ts';
import { parseYaml } from '../../../formats/yaml/document.ts';
import { type HostFacts, type HostInterface, renderSetup } from '../../../netboot/host/setup.ts';
import { RouseSchema } from '../../../netboot/site/schema.ts';

const ip = (text: string) => {
  const parsed = parseIpv4(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
};
const card = (name: string, address: string, network: string, isWire = true): HostInterface => {
  const parsed = parseNetwork(network);
  if (parsed === undefined) throw new Error(network);
  return { name, address: ip(address), network: parsed, isWire };
};
const HOST: HostFacts = {
  interfaces: [
    card('eth0', '192.168.1.5', '192.168.1.0/24'),
    card('eth1.7', '10.7.0.1', '10.7.0.0/16'),
    card('docker0', '172.17.0.1', '172.17.0.0/16', false),
  ],
  router: ip('192.168.1.1'),
  dns: [ip('192.168.1.1')],
};

test('every wire becomes a subnet in mode: observe, and the text is a rouse.yaml', () => {
  const result = renderSetup(HOST, []);
  if (!result.ok) throw new Error(result.why);
  const parsed = parseYaml('rouse.yaml', result.text, RouseSchema);
  expect(parsed.ok ? parsed.value.subnets : parsed.problems).toMatchObject([
    {
      name: 'eth0',
      interface: 'eth0',
      mode: 'observe',
      unknown: 'ignore',
      router: '192.168.1.1',
      dns: ['192.168.1.1'],
    },
    { name: 'eth1-7', interface: 'eth1.7', mode: 'observe', network: { prefixLength: 16 } },
  ]);
  expect(parsed.ok && parsed.value.subnets[1]?.router).toBeUndefined();
  // What is a comment is valid too, once it is none.
  const all = result.text
    .replace(/^ {4}# (pools|router)/gm, '    $1')
    .replace(/^# (defaultProfile|pools:| {2}web)/gm, '$1');
  expect(parseYaml('rouse.yaml', all, RouseSchema)).toMatchObject({ ok: true });
});

const ROWS: readonly [string, HostFacts, readonly string[], unknown][] = [
  ['one that is named, though it is no wire', HOST, ['docker0'], ['docker0']],
  [
    'two addresses of one network',
    { ...HOST, interfaces: [...HOST.interfaces.slice(0, 1), card('eth9', '192.168.1.6', '192.168.1.0/24')] },
    [],
    ['eth0'],
  ],
  ['a stranger', HOST, ['eth7'], "no interface 'eth7' with an IPv4 address is here; there are eth0, eth1.7, docker0"],
  [
    'no wire',
    { ...HOST, interfaces: [] },
    [],
    'no interface here leads to a network: give one an IPv4 address, or name it with --interface',
  ],
];
for (const [title, host, only, want] of ROWS) {
  test(title, () => {
    const result = renderSetup(host, only);
    expect(result.ok ? result.interfaces : result.why).toEqual(want);
  });
}
