// The console's command framing, against what a real terminal does to it: echo, carriage returns, chunks.

import { expect, test } from 'vitest';
import { readCommand, typeCommand } from '../../../netboot/lab/console.ts';
import {
  labNode,
  namespaceName,
  netbootRunScript,
  qemuArguments,
  rackOf,
  shellWord,
} from '../../../netboot/lab/rack.ts';

const TOKEN = 'ab12';

test('the echo of what was typed is not taken for an answer', () => {
  const echoed = typeCommand('true', TOKEN).replaceAll('\r', '\r\n');
  expect(readCommand(`~ # ${echoed}`, TOKEN)).toBeUndefined();
});

test('output and exit status come back, with carriage returns removed', () => {
  const received = `~ # echo\r\n\r\nBEGIN-${TOKEN}\r\none\r\ntwo\r\n\r\nEND-${TOKEN}-3\r\n~ # `;
  expect(readCommand(received, TOKEN)).toEqual({ output: 'one\ntwo\n', exitCode: 3 });
});

test('an answer to another question is not ours', () => {
  expect(readCommand(`\nBEGIN-${TOKEN}\nx\nEND-ffff-0\n`, TOKEN)).toBeUndefined();
});

test('a shell word survives the shell', () => {
  expect(shellWord('/a/b-c_1.x')).toBe('/a/b-c_1.x');
  expect(shellWord("it's $HOME")).toBe("'it'\\''s $HOME'");
});

test('machines of a lab differ in MAC, address and UUID', () => {
  const nodes = [labNode('web', 1), labNode('web', 2)];
  expect(nodes.map(({ mac, address }) => `${mac} ${address}`)).toEqual([
    '52:54:00:77:00:01 10.77.0.11',
    '52:54:00:77:00:02 10.77.0.12',
  ]);
  expect(() => labNode('web', 81)).toThrow(RangeError);
  expect(labNode('lb', 1)).toMatchObject({ name: 'lb1', mac: '52:54:00:77:00:81', address: '10.77.0.2' });
  const names = (what: string): string[] | undefined => rackOf(what)?.map(({ name }) => name);
  expect(names('1')).toEqual(['web1']);
  expect(names('4')).toEqual(['lb1', 'lb2', 'web1', 'web2']);
  expect(names('lb1,web[2-3]')).toEqual(['lb1', 'web2', 'web3']);
  for (const what of ['0', '17', 'web[1-17]', 'db1', 'web0', 'web81', 'web1,', ''])
    expect(names(what), what).toBe(undefined);
  const paths = { qmp: '/q', console: '/c', consoleLog: '/l' };
  const [first, second] = nodes.map((node, index) => qemuArguments(node, index, 'tcg', paths).join(' '));
  expect(first).toContain('-uuid 77000000-0000-4000-8000-525400770001');
  expect(second).toContain('ifname=tap1');
  expect(first).not.toContain('-netdev user');
});

test('the boot server of a lab keeps two capabilities, and becomes the owner of the clone', () => {
  const facts = { namespace: namespaceName('0123456789abcdef'), rouse: '/c/bin/rouse', home: '/c/.rouse' };
  const asRoot = netbootRunScript({ ...facts, owner: { uid: 0, gid: 0 } });
  expect(asRoot).toContain(
    'ip netns exec rouse-01234567 setpriv --inh-caps -all,+net_bind_service,+net_raw --bounding-set',
  );
  expect(asRoot).not.toContain('--reuid');
  const asUser = netbootRunScript({ ...facts, owner: { uid: 1000, gid: 1000 } });
  expect(asUser).toContain('--reuid 1000 --regid 1000 --clear-groups --ambient-caps -all,+net_bind_service,+net_raw');
});
