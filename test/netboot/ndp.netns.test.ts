// The raw socket against a real kernel: a solicitation over a virtual wire is answered to its sender alone, with the hop
// limit that RFC 4861 demands; a machine that is not loading hears nothing.

import { execFileSync, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';

const needsRoot = test.skipIf(process.getuid?.() !== 0);
const SERVER = `rouse-ndp-s${process.pid}`;
const CLIENT = `rouse-ndp-c${process.pid}`;
const MAC = '52:54:00:77:00:31';

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });

beforeEach(() => {
  if (process.getuid?.() !== 0) return;
  ip('netns', 'add', SERVER);
  ip('netns', 'add', CLIENT);
  ip('-n', SERVER, 'link', 'add', 'wire', 'type', 'veth', 'peer', 'name', 'wire', 'netns', CLIENT);
  ip('-n', CLIENT, 'link', 'set', 'wire', 'address', MAC);
  for (const namespace of [SERVER, CLIENT]) {
    // Without duplicate address detection the link-local addresses can be used at once.
    execFileSync('ip', [
      'netns',
      'exec',
      namespace,
      'sh',
      '-c',
      'echo 0 >/proc/sys/net/ipv6/conf/wire/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/wire/router_solicitations',
    ]);
    ip('-n', namespace, 'link', 'set', 'wire', 'up');
  }
});

afterEach(() => {
  if (process.getuid?.() !== 0) return;
  for (const namespace of [SERVER, CLIENT]) ip('netns', 'del', namespace);
});

/** Sends a solicitation as iPXE does and prints each advertisement that comes back within two seconds. */
const ASK = String.raw`
use strict; use Socket qw(inet_pton AF_INET6 pack_sockaddr_in6);
open my $f, '<', '/sys/class/net/wire/ifindex' or die; my $index = <$f> + 0;
socket(my $s, AF_INET6, 3, 58) or die; setsockopt($s, 41, 18, pack('i', 255)) or die; setsockopt($s, 41, 51, pack('i', 1)) or die;
my $to = pack_sockaddr_in6(0, inet_pton(AF_INET6, 'ff02::2'), $index);
# Until the link-local address is there, nothing can be sent.
for my $try (1 .. 20) {
  send($s, pack('CCnNCC', 133, 0, 0, 0, 1, 1) . pack('H*', $ARGV[0]), 0, $to) or do { select(undef, undef, undef, 0.2); next };
  my $want = ''; vec($want, fileno($s), 1) = 1;
  while (select(my $have = $want, undef, undef, 0.5)) { recv($s, my $m, 1500, 0); print unpack('H*', $m), "\n" if ord($m) == 134; }
  last if $try > 4;
}
`;

async function answers(loading: string): Promise<string[]> {
  const program = `
    import { serveNdp } from ${JSON.stringify(fileURLToPath(new URL('../../netboot/ndp.io.ts', import.meta.url)))};
    const server = serveNdp({ interfaces: ['wire'], loading: (mac) => mac === ${JSON.stringify(loading)}, log: (line) => console.log(line) });
    process.stdin.on('end', () => server.close().then(() => process.exit(0))).resume();
    console.log('serving');
  `;
  const server = spawn(
    'ip',
    [
      'netns',
      'exec',
      SERVER,
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      '--input-type=module',
      '-e',
      program,
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  let said = '';
  server.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  await expect.poll(() => said).toContain('serving');
  const heard = execFileSync('ip', ['netns', 'exec', CLIENT, 'perl', '-e', ASK, MAC.replaceAll(':', '')], {
    encoding: 'utf8',
  });
  const ended = new Promise((resolve) => server.once('close', resolve));
  server.stdin.end();
  expect(await ended, said).toBe(0);
  expect(said).not.toContain('not answered');
  return heard.split('\n').filter(Boolean);
}

needsRoot('a machine that is loading is told that there is no router', async () => {
  const heard = await answers(MAC);
  expect(heard.length).toBeGreaterThan(0);
  // Behind type, code and the sum that the kernel made, everything is 0.
  for (const message of heard) expect(message).toMatch(/^8600[0-9a-f]{4}0{24}$/);
});

needsRoot('any other machine is told nothing', async () => {
  expect(await answers('52:54:00:00:00:99')).toEqual([]);
});
