// Which boot program or script each kind of client is pointed at, and how iPXE's loop is broken.

import { expect, test } from 'vitest';
import { type Client, clientOf, describeClient, FIRMWARES } from '../../../netboot/dhcp/clients.ts';
import {
  chooseBoot,
  LOADER_MEMORY_S,
  LOADER_SETTINGS,
  loaderFiles,
  loaderOfFile,
  LoaderMemory,
  type LoaderSetting,
  rungOfLoader,
} from '../../../netboot/dhcp/loaders.ts';
import { text } from '../../../netboot/dhcp/values.ts';
import { CLIENTS, message, WEB1 } from './messages.ts';

const httpBase = 'http://10.77.1.1:8080';
const SCRIPT = `${httpBase}/ipxe/${WEB1.replaceAll(':', '-')}`;
const client = (name: keyof typeof CLIENTS): Client => clientOf(message('discover', { options: CLIENTS[name] }));

type Row = {
  who: keyof typeof CLIENTS;
  loader: LoaderSetting;
  fetched?: boolean;
  rung?: number;
  want: string | undefined;
};
const ROWS: Row[] = [
  { who: 'bios', loader: 'auto', want: 'undionly.kpxe' },
  { who: 'efi', loader: 'auto', want: 'snponly.efi' },
  { who: 'efi9', loader: 'auto', want: 'snponly.efi' },
  { who: 'arm64', loader: 'auto', want: 'snponly-arm64.efi' },
  { who: 'http', loader: 'auto', want: `${httpBase}/loader/snponly.efi` },
  { who: 'system', loader: 'auto', want: undefined },
  { who: 'bios', loader: 'undionly', want: 'undionly.kpxe' },
  { who: 'bios', loader: 'ipxe', want: 'ipxe.pxe' },
  { who: 'bios', loader: 'lpxelinux', want: 'lpxelinux.0' },
  { who: 'efi', loader: 'shim', want: 'shimx64.efi' },
  { who: 'efi', loader: 'ipxe', want: 'ipxe.efi' },
  // A loader that does not exist for the firmware: the ladder's first.
  { who: 'efi', loader: 'undionly', want: 'snponly.efi' },
  { who: 'bios', loader: 'shim', want: 'undionly.kpxe' },
  // The ladder; past its end it begins anew.
  { who: 'efi', loader: 'auto', rung: 1, want: 'ipxe.efi' },
  { who: 'efi', loader: 'auto', rung: 2, want: 'shimx64.efi' },
  { who: 'efi', loader: 'auto', rung: 3, want: 'snponly.efi' },
  { who: 'efi', loader: 'auto', rung: 10, want: 'ipxe.efi' },
  { who: 'bios', loader: 'auto', rung: 2, want: 'lpxelinux.0' },
  { who: 'efi', loader: 'snponly', rung: 2, want: 'snponly.efi' },
  // iPXE. A capable ROM needs no loader; QEMU's is one.
  { who: 'ipxeBios', loader: 'auto', want: SCRIPT },
  { who: 'ipxeEfi', loader: 'auto', want: SCRIPT },
  { who: 'ipxeOld', loader: 'auto', want: 'undionly.kpxe' },
  { who: 'ipxeOld', loader: 'auto', fetched: true, want: SCRIPT },
  // `loader: undionly` makes the ROM fetch it, once.
  { who: 'ipxeBios', loader: 'undionly', want: 'undionly.kpxe' },
  { who: 'ipxeBios', loader: 'undionly', fetched: true, want: SCRIPT },
  { who: 'ipxeEfi', loader: 'snponly', want: 'snponly.efi' },
  { who: 'ipxeEfi', loader: 'snponly', fetched: true, want: SCRIPT },
  // PXELINUX and shim are not iPXE: an iPXE that comes back is the ROM, after a reset.
  { who: 'ipxeBios', loader: 'lpxelinux', fetched: true, want: 'lpxelinux.0' },
];
for (const { who, loader, fetched = false, rung = 0, want } of ROWS) {
  test(`loader: ${loader}, rung ${rung}: ${who}${fetched ? ' that fetched its loader' : ''} gets ${want}`, () => {
    const answer = chooseBoot({ kind: 'boot', loader, httpBase, rung }, client(who), WEB1, fetched);
    expect(answer.kind === 'tftp' ? answer.file : answer.kind === 'nothing' ? undefined : answer.url).toBe(want);
    expect(answer.why).not.toBe('');
  });
}

test('the answer is total over clients and settings, and TFTP is only ever told a file of the table', () => {
  const files = loaderFiles();
  const kinds: Exclude<Client, { kind: 'system' }>[] = [undefined, ...FIRMWARES].flatMap((firmware) => [
    { kind: 'pxe', firmware, architecture: 0 },
    { kind: 'http', firmware, architecture: 0 },
    { kind: 'ipxe', firmware, architecture: 0, features: [], version: undefined },
    { kind: 'ipxe', firmware, architecture: 0, features: ['http', 'bzImage'], version: '1.0.0' },
  ]);
  for (const one of kinds) {
    for (const loader of LOADER_SETTINGS) {
      const answer = chooseBoot({ kind: 'boot', loader, httpBase }, one, WEB1, false);
      if (answer.kind === 'tftp') expect(files).toContain(answer.file);
      if (one.firmware === undefined && one.kind !== 'ipxe') expect(answer.kind).toBe('nothing');
    }
  }
});

test('a rung says what led nowhere before it, and what usually causes that', () => {
  const why = (rung: number) =>
    chooseBoot({ kind: 'boot', loader: 'auto', httpBase, rung }, client('efi'), WEB1, false).why;
  expect(why(0)).toBe('snponly is what efi-x64 takes first');
  expect(why(1)).toMatch(
    /^snponly led nowhere on this machine \(the firmware refuses what is not signed.*so ipxe is tried$/,
  );
  expect(why(2)).toMatch(/^ipxe led nowhere on this machine \(iPXE has no driver for this card.*so shim is tried$/);
});

test('every file belongs to a loader, and a loader stands on one rung', () => {
  expect(loaderFiles().filter((file) => loaderOfFile(file) === undefined)).toEqual([]);
  expect(['grubx64.efi', 'ldlinux.c32', 'ipxe-arm64.efi', 'vmlinuz'].map(loaderOfFile)).toEqual([
    'shim',
    'lpxelinux',
    'ipxe',
    undefined,
  ]);
  expect((['undionly', 'snponly', 'ipxe', 'shim', 'lpxelinux'] as const).map(rungOfLoader)).toEqual([0, 0, 1, 2, 2]);
});

test('nothing to boot says why', () => {
  const answer = chooseBoot({ kind: 'none', reason: 'its profile boots from disk' }, client('efi'), WEB1, false);
  expect(answer).toEqual({ kind: 'nothing', why: 'its profile boots from disk' });
});

const DESCRIPTIONS: [keyof typeof CLIENTS, string][] = [
  ['bios', 'bios firmware (architecture 0)'],
  ['efi', 'efi-x64 firmware (architecture 7)'],
  ['http', 'efi-x64 firmware by HTTP boot (architecture 16)'],
  ['ipxeBios', 'iPXE 1.0.0 on bios (architecture 0)'],
  ['system', 'an operating system'],
];
for (const [who, want] of DESCRIPTIONS) {
  test(`${who} is described as "${want}"`, () => expect(describeClient(client(who))).toBe(want));
}

test('iPXE is known by its user class, bare or length-prefixed, and by nothing that only looks like it', () => {
  const kindOf = (userClass: string): string =>
    clientOf(message('discover', { options: { ...CLIENTS.efi, userClass: text.encode(userClass) } })).kind;
  expect(['iPXE', '\x04iPXE', '\x03abc\x04iPXE', 'ipxe', 'iPXE2', '\x05iPXE'].map(kindOf)).toEqual([
    'ipxe',
    'ipxe',
    'ipxe',
    'pxe',
    'pxe',
    'pxe',
  ]);
});

test('of several architectures the first known counts; without option 93 what option 60 says', () => {
  const architecture = (options: Parameters<typeof message>[1]) => {
    const found = clientOf(message('discover', options));
    return found.kind === 'system' ? undefined : found.architecture;
  };
  const vendorClass = 'PXEClient:Arch:00011:UNDI:003000';
  expect(architecture({ options: { vendorClass, clientArchitectures: [999, 7] } })).toBe(7);
  expect(architecture({ options: { vendorClass, clientArchitectures: [999] } })).toBe(999);
  expect(architecture({ options: { vendorClass } })).toBe(11);
  expect(architecture({ options: { vendorClass: 'PXEClient' } })).toBeUndefined();
});

test('the memory of a fetched loader lasts a while, and ends with the script', () => {
  const memory = new LoaderMemory();
  memory.loaderFetched(WEB1, 1000);
  expect(memory.fetchedRecently(WEB1, 1000 + LOADER_MEMORY_S)).toBe(true);
  expect(memory.fetchedRecently(WEB1, 1001 + LOADER_MEMORY_S)).toBe(false);
  memory.loaderFetched(WEB1, 2000);
  memory.scriptFetched(WEB1);
  expect(memory.fetchedRecently(WEB1, 2000)).toBe(false);
});
