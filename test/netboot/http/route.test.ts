// The boot port's table: who asks for what, and what they get. No sockets.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import { type HttpAnswer, type HttpWorld, peerAddress, route } from '../../../netboot/http/route.ts';
import type { StoredBoot } from '../../../netboot/store/records.ts';

const WEB1 = '52:54:00:77:00:01' as MacAddress;
const AT_WEB1 = '10.0.0.11' as Ipv4Address;
const ELSEWHERE = '10.0.0.99' as Ipv4Address;
const PROXIED = '10.9.0.5' as Ipv4Address;
const SHA = 'a'.repeat(64);
const ID = '0123456789abcdef';
const DONE = 'fedcba9876543210';

const boot = (id: string, overlay: Uint8Array | undefined): StoredBoot =>
  ({
    id,
    mac: WEB1,
    address: AT_WEB1,
    overlay,
    tokenSha256: '',
    startedAtMs: 0,
    overlaySha256: SHA,
  }) as unknown as StoredBoot;
const FILE = { path: 'x', sizeBytes: 1, sha256: SHA };

const world: HttpWorld = {
  machineAt: (address) => (address === AT_WEB1 ? WEB1 : undefined),
  leasesElsewhere: (address) => address === PROXIED,
  bootById: (id) => (id === ID ? boot(ID, new Uint8Array(1)) : id === DONE ? boot(DONE, undefined) : undefined),
  kernel: (file) => (file === SHA ? FILE : undefined),
  layer: (file) => (file === `${SHA}.zst` || file === `${SHA}.cpio` ? FILE : undefined),
  loader: (file) => (file === 'snponly.efi' ? FILE : file === 'ipxe.efi' ? 'missing' : undefined),
};

const ROWS: { method?: string; target: string; peer?: Ipv4Address; want: string }[] = [
  { target: `/ipxe/${WEB1}`, want: 'script ipxe' },
  { target: '/ipxe/52-54-00-77-00-01', want: 'script ipxe' },
  // iPXE itself writes the colons of a path so.
  { target: '/ipxe/52%3A54%3A00%3A77%3A00%3A01', want: 'script ipxe' },
  { target: `/ipxe/${WEB1}?buildarch=x86_64`, want: 'script ipxe' },
  { target: `/ipxe/${WEB1}`, peer: PROXIED, want: 'script ipxe' },
  { target: '/grub/grub.cfg', peer: ELSEWHERE, want: 'text' },
  { target: `/grub/${WEB1}.cfg`, want: 'script grub' },
  {
    target: `/grub/${WEB1}.cfg`,
    peer: ELSEWHERE,
    want: '403 the script of 52:54:00:77:00:01 goes only to its own address, and 10.0.0.99 is no lease',
  },
  { target: '/grub/x86_64-efi/command.lst', want: '404 there is no such path here' },
  { target: '/pxelinux.cfg/01-52-54-00-77-00-01', want: 'script pxelinux' },
  {
    target: '/pxelinux.cfg/01-52-54-00-77-00-02',
    want: '403 the script of 52:54:00:77:00:02 goes only to its own address, and 10.0.0.11 is the address of 52:54:00:77:00:01',
  },
  { target: '/pxelinux.cfg/default', want: '404 there is no such path here' },
  {
    target: `/ipxe/${WEB1}`,
    peer: ELSEWHERE,
    want: '403 the script of 52:54:00:77:00:01 goes only to its own address, and 10.0.0.99 is no lease',
  },
  {
    target: '/ipxe/52:54:00:77:00:02',
    want: '403 the script of 52:54:00:77:00:02 goes only to its own address, and 10.0.0.11 is the address of 52:54:00:77:00:01',
  },
  { target: '/ipxe/01:00:5e:00:00:01', want: '400 expected a MAC address such as 52:54:00:77:00:01' },
  { method: 'HEAD', target: `/ipxe/${WEB1}`, want: '405 GET only' },
  { target: `/kernel/${SHA}`, want: 'file kernel' },
  { method: 'HEAD', target: `/kernel/${SHA}`, peer: ELSEWHERE, want: 'file kernel' },
  { target: `/kernel/${'b'.repeat(64)}`, want: '404 no boot plan names this kernel' },
  { target: `/layer/${SHA}.zst`, want: 'file layer' },
  { target: `/layer/${SHA}.cpio`, want: 'file layer' },
  { target: `/layer/${SHA}.gz`, want: '404 no boot plan names this layer' },
  { target: `/layer/${SHA}`, want: '404 there is no such path here' },
  { target: `/layer/${SHA}.zst/../../x`, want: '404 there is no such path here' },
  { target: '/loader/snponly.efi', want: 'file loader' },
  { target: '/loader/ipxe.efi', want: '404 loader ipxe.efi is not in lib/loaders of this boot server' },
  { target: '/loader/passwd', want: '404 this is no loader that rouse knows' },
  { target: `/boot/${ID}/overlay`, want: 'overlay' },
  { target: `/boot/${ID}/initrd`, want: 'initrd' },
  { target: `/boot/${ID}/overlay`, peer: ELSEWHERE, want: `403 boot ${ID} belongs to 10.0.0.11` },
  { target: `/boot/${DONE}/overlay`, want: `404 boot ${DONE} is over: its node has its overlay` },
  { target: '/boot/0000000000000000/overlay', want: '404 boot 0000000000000000 is not known here' },
  { method: 'POST', target: `/node/v1/boots/${ID}/stage`, want: 'node stage' },
  { method: 'POST', target: `/node/v1/boots/${ID}/report`, want: 'node report' },
  { method: 'POST', target: `/node/v1/boots/${DONE}/acks`, want: 'node acks' },
  { target: `/node/v1/boots/${ID}/orders?after=12`, want: 'node orders 12' },
  { target: `/node/v1/boots/${ID}/orders`, want: '400 expected orders?after=NUMBER' },
  { target: `/node/v1/boots/${ID}/orders?after=-1`, want: '400 expected orders?after=NUMBER' },
  { target: `/node/v1/boots/${ID}/files/${DONE}`, want: `node files ${DONE}` },
  { target: `/node/v1/boots/${ID}/files/../secret`, want: '404 there is no such path here' },
  { target: `/node/v1/boots/${ID}/switch/${DONE}`, want: `node switch ${DONE}` },
  {
    target: `/node/v1/boots/0000000000000000/switch/${DONE}`,
    want: '404 boot 0000000000000000 is not known here',
  },
  { target: `/node/v1/boots/${ID}/stage`, want: '405 POST only' },
  {
    method: 'POST',
    target: '/node/v1/boots/0000000000000000/stage',
    want: '404 boot 0000000000000000 is not known here',
  },
  { target: '/', want: '404 there is no such path here' },
  { target: '/../etc/passwd', want: '404 there is no such path here' },
  { method: 'DELETE', target: `/kernel/${SHA}`, want: '405 GET or HEAD only' },
];

function show(answer: HttpAnswer): string {
  if (answer.kind === 'refuse') return `${answer.status} ${answer.why}`;
  if (answer.kind === 'node') return ['node', ...Object.values(answer.ask)].join(' ');
  if (answer.kind === 'script') return `script ${answer.format}`;
  return answer.kind === 'file' ? `file ${answer.part}` : answer.kind;
}

for (const { method = 'GET', target, peer = AT_WEB1, want } of ROWS) {
  test(`${method} ${target} from ${peer}`, () => expect(show(route(world, { method, target, peer }))).toBe(want));
}

test('every request has an answer, and no path of a client’s making names a file', () => {
  const step = fc.oneof(
    fc.constantFrom('ipxe', 'kernel', 'layer', 'boot', 'loader', 'node', '..', '%2e%2e', ID, SHA),
    fc.string(),
  );
  const target = fc.array(step, { maxLength: 6 }).map((steps) => `/${steps.join('/')}`);
  fc.assert(
    fc.property(fc.constantFrom('GET', 'HEAD', 'POST', 'BREW'), target, (method, path) => {
      const answer = route(world, { method, target: path, peer: AT_WEB1 });
      if (answer.kind === 'file') expect(answer.file).toBe(FILE);
    }),
  );
});

test('a peer is IPv4, mapped or plain', () => {
  expect(['10.0.0.1', '::ffff:10.0.0.1', '::1', undefined].map(peerAddress)).toEqual([
    '10.0.0.1',
    '10.0.0.1',
    undefined,
    undefined,
  ]);
});
