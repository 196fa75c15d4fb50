// netboot/site/inventory.ts - what a machine says of itself: processor, memory, disks, network cards and their neighbours.
//
// Owns: reading the body of POST …/inventory, the limits on it, and the words in which it is shown.
// Does not own: who may send it (http/route.ts), naming machines by it (adopt.ts), collecting it (services/discover).
//
// Whoever boots may say what he likes: nothing here is more than a claim, and every text is printable and short. A server
// reads machines of other versions: an unknown word is skipped. Source: ARCHITECTURE.md, "Node protocol". Pure.

import { type Ipv4Address, parseIpv4 } from '../../formats/ipv4.ts';
import { type MacAddress, parseMac } from '../../formats/mac.ts';
import { printableAscii } from '../../formats/printable.ts';
import { linesOf, no, type Read } from '../fleet/lines.ts';

type InventoryNic = {
  readonly name: string;
  readonly mac: MacAddress;
  readonly driver: string;
  readonly hasLink: boolean;
  /** 0 where the card does not say. */
  readonly speedMbit: number;
  /** Heard by LLDP: the switch's name and its port's. */
  readonly neighbour: { readonly system: string; readonly port: string } | undefined;
};

export type Inventory = {
  readonly vendor: string;
  readonly product: string;
  /** Undefined where the board has none, or one that every board of its kind has. */
  readonly serial: string | undefined;
  readonly uuid: string | undefined;
  readonly cpus: number;
  readonly cpuModel: string;
  readonly memoryKb: number;
  readonly firmware: 'bios' | 'uefi';
  readonly secureBoot: boolean;
  readonly bmc: Ipv4Address | undefined;
  readonly disks: readonly {
    readonly name: string;
    readonly bytes: number;
    readonly isRotating: boolean;
    readonly model: string;
  }[];
  readonly nics: readonly InventoryNic[];
};

/** An inventory with who sent it, as it is stored. */
export type MachineRecord = { readonly mac: MacAddress; readonly atMs: number; readonly inventory: Inventory };

const MOST_NICS = 64;
const MOST_DISKS = 128;
const LINE_LIMIT = 300;
const TEXT_LIMIT = 200;

/** What boards say whose maker left the field as it was. */
const NO_SERIAL =
  /^(to be filled by o\.?e\.?m\.?|default string|not specified|none|n\/a|unknown|system serial number|[0x.\s-]*|0?123456789)$/i;

/**
 * Reads the body of POST …/inventory.
 *
 * @param body any bytes; never throws.
 * @returns what it says, or the reason why not, to be sent back with 400.
 */
export function parseInventory(body: Uint8Array): Read<Inventory> {
  const lines = linesOf(body, (line) => printableAscii(line, LINE_LIMIT));
  if (!lines.ok) return lines;
  const words = new Map<string, string>();
  const disks: Inventory['disks'][number][] = [];
  const nics: InventoryNic[] = [];
  const systems = new Map<string, string>();
  const ports = new Map<string, string>();
  for (const [word, value] of lines.value) {
    switch (word) {
      case 'disk': {
        const found = /^(\S{1,32}) (\d{1,15}) (solid|rotating)(?: (.*))?$/.exec(value);
        if (found === null || disks.length >= MOST_DISKS) return no("expected 'disk NAME BYTES solid|rotating MODEL'");
        const [, name = '', bytes, kind, model = ''] = found;
        disks.push({ name, bytes: Number(bytes), isRotating: kind === 'rotating', model: cut(model) });
        break;
      }
      case 'nic': {
        const found = /^(\S{1,32}) (\S{17}) (\S{0,32}) (up|down) (\d{1,7})$/.exec(value);
        const mac = parseMac(found?.[2] ?? '');
        if (found === null || mac === undefined || nics.length >= MOST_NICS)
          return no("expected 'nic NAME MAC DRIVER up|down MBIT'");
        const [, name = '', , driver = '', link, speed] = found;
        nics.push({ name, mac, driver, hasLink: link === 'up', speedMbit: Number(speed), neighbour: undefined });
        break;
      }
      case 'switch':
      case 'port': {
        const found = /^(\S{1,32}) (.{1,128})$/.exec(value);
        if (found === null) return no(`expected '${word} NIC NAME'`);
        (word === 'switch' ? systems : ports).set(found[1] ?? '', found[2] ?? '');
        break;
      }
      default:
        if (words.has(word)) return no(`the word '${word}' comes twice`);
        words.set(word, cut(value));
    }
  }
  const [, cpus = '0', cpuModel = ''] = /^(\d{1,5})(?: (.*))?$/.exec(words.get('cpu') ?? '0') ?? [];
  const memory = words.get('memoryKb') ?? '0';
  if (!/^\d{1,12}$/.test(memory)) return no("expected a number after 'memoryKb'");
  const firmware = words.get('firmware') ?? 'bios';
  if (firmware !== 'bios' && firmware !== 'uefi') return no("expected 'firmware bios|uefi'");
  if (nics.length === 0) return no("expected at least one line 'nic NAME MAC DRIVER up|down MBIT'");
  const serial = words.get('serial') ?? '';
  return {
    ok: true,
    value: {
      vendor: words.get('vendor') ?? '',
      product: words.get('product') ?? '',
      serial: NO_SERIAL.test(serial) ? undefined : serial,
      uuid: words.get('uuid'),
      cpus: Number(cpus),
      cpuModel,
      memoryKb: Number(memory),
      firmware,
      secureBoot: words.get('secureBoot') === 'on',
      bmc: parseIpv4(words.get('bmc') ?? ''),
      disks,
      nics: nics.map((nic) => {
        const port = ports.get(nic.name);
        return port === undefined ? nic : { ...nic, neighbour: { system: systems.get(nic.name) ?? '', port } };
      }),
    },
  };
}

function cut(text: string): string {
  return text.slice(0, TEXT_LIMIT);
}

/** "2 x QEMU Virtual CPU, 0.5 GiB, 1 disk (20 GB), uefi with Secure Boot". */
export function renderHardware({ cpus, cpuModel, memoryKb, disks, firmware, secureBoot }: Inventory): string {
  const bytes = disks.reduce((sum, disk) => sum + disk.bytes, 0);
  const storage =
    disks.length === 0
      ? 'no disk'
      : `${disks.length} disk${disks.length === 1 ? '' : 's'} (${Math.round(bytes / 1e9)} GB)`;
  return [
    `${cpus} x ${cpuModel === '' ? 'CPU' : cpuModel}`,
    `${(memoryKb / 1_048_576).toFixed(1)} GiB`,
    storage,
    `${firmware}${secureBoot ? ' with Secure Boot' : ''}`,
  ].join(', ');
}
