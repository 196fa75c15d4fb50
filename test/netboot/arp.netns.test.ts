// Asking a wire that somebody floods: answers to what was asked are heard, the rest is not, and it ends.

import { execFileSync, spawn } from 'node:child_process';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { fileURLToPath } from 'node:url';

const needsRoot = test.skipIf(process.getuid?.() !== 0);
const SERVER = `rouse-arp-s${process.pid}`;
const CLIENT = `rouse-arp-c${process.pid}`;
const MAC = '52:54:00:77:00:fe';
const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });

beforeEach(() => {
  if (process.getuid?.() !== 0) return;
  for (const namespace of [SERVER, CLIENT]) ip('netns', 'add', namespace);
  ip('-n', SERVER, 'link', 'add', 'wire', 'type', 'veth', 'peer', 'name', 'wire', 'netns', CLIENT);
  ip('-n', SERVER, 'link', 'set', 'wire', 'address', MAC);
  ip('-n', CLIENT, 'link', 'set', 'wire', 'address', '52:54:00:77:00:81');
  ip('-n', SERVER, 'address', 'add', '10.77.0.1/24', 'dev', 'wire');
  ip('-n', CLIENT, 'address', 'add', '10.77.0.200/24', 'dev', 'wire');
  for (const namespace of [SERVER, CLIENT]) ip('-n', namespace, 'link', 'set', 'wire', 'up');
});

afterEach(() => {
  if (process.getuid?.() !== 0) return;
  for (const namespace of [SERVER, CLIENT]) ip('netns', 'del', namespace);
});

/** Answers that nobody asked for, to us and without end, each of another hardware address: every second one of an address that is asked for. */
const FLOOD = String.raw`
use strict;
open my $f, '<', '/sys/class/net/wire/ifindex' or die; my $index = <$f> + 0;
my $arp = unpack('S', pack('n', 0x0806));
socket(my $s, 17, 3, $arp) or die; bind($s, pack('S S i x12', 17, $arp, $index)) or die;
my $own = pack('H*', '5254007700fe');
$| = 1; print "flooding\n";
for (my $n = 0; ; $n++) {
  my $mac = pack('nN', 0x5254, $n);
  my $from = pack('C4', 10, 77, 0, $n % 2 ? 201 : 99);
  syswrite($s, $own . $mac . pack('H*', '08060001080006040002') . $mac . $from . $own . pack('C4', 10, 77, 0, 1));
}
`;

needsRoot('answers to what was asked are heard beside a flood, which is cut off', async () => {
  const module = fileURLToPath(new URL('../../netboot/arp.io.ts', import.meta.url));
  const ask = (targets: readonly string[]): Record<string, string[]> => {
    const program = `
      import { askWire } from ${JSON.stringify(module)};
      const own = { name: 'wire', address: '10.77.0.1', mac: ${JSON.stringify(MAC)} };
      const heard = await askWire(own, ${JSON.stringify(targets)});
      console.log(JSON.stringify(heard.kind === 'heard' ? Object.fromEntries(heard.macs) : heard));`;
    const args = ['netns', 'exec', SERVER, process.execPath, '--input-type=module', '-e', program];
    return JSON.parse(execFileSync('ip', args, { encoding: 'utf8' })) as Record<string, string[]>;
  };
  const flood = spawn('ip', ['netns', 'exec', CLIENT, 'perl', '-e', FLOOD], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await new Promise((resolve) => flood.stdout.once('data', resolve));
    // The flood is of other addresses, as far as this question goes.
    expect(ask(['10.77.0.200'])).toEqual({ '10.77.0.200': ['52:54:00:77:00:81'] });
    expect(ask(['10.77.0.201'])['10.77.0.201']?.length).toBeLessThanOrEqual(300);
  } finally {
    flood.kill('SIGKILL');
  }
});
