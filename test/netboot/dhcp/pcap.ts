// test/netboot/dhcp/pcap.ts - reads UDP packets out of a capture file (classic pcap, Ethernet, IPv4 without fragments).
//
// Source: the pcap-savefile(5) man page. Only for captures of our own: it throws on anything else.

import { readFileSync } from 'node:fs';

export type UdpPacket = {
  readonly atMs: number;
  readonly from: string;
  readonly fromPort: number;
  readonly to: string;
  readonly toPort: number;
  readonly payload: Uint8Array;
};

const ETHERNET_BYTES = 14;
const UDP = 17;

export function readUdp(file: string): UdpPacket[] {
  const octets = readFileSync(file);
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  const littleEndian = view.getUint32(0, true) === 0xa1b2c3d4;
  if (!littleEndian && view.getUint32(0) !== 0xa1b2c3d4) throw new Error(`${file} is no pcap file`);
  if (view.getUint32(20, littleEndian) !== 1) throw new Error(`${file} is not of Ethernet`);
  const packets: UdpPacket[] = [];
  for (let at = 24; at + 16 <= octets.length; ) {
    const atMs = view.getUint32(at, littleEndian) * 1000 + view.getUint32(at + 4, littleEndian) / 1000;
    const length = view.getUint32(at + 8, littleEndian);
    const packet = udpOf(octets.subarray(at + 16, at + 16 + length));
    if (packet !== undefined) packets.push({ atMs, ...packet });
    at += 16 + length;
  }
  return packets;
}

function udpOf(frame: Uint8Array): Omit<UdpPacket, 'atMs'> | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < ETHERNET_BYTES + 28 || view.getUint16(12) !== 0x0800) return undefined;
  const ip = ETHERNET_BYTES;
  if (view.getUint8(ip + 9) !== UDP) return undefined;
  const udp = ip + (view.getUint8(ip) & 15) * 4;
  const udpLength = view.getUint16(udp + 4);
  return {
    from: [...frame.subarray(ip + 12, ip + 16)].join('.'),
    to: [...frame.subarray(ip + 16, ip + 20)].join('.'),
    fromPort: view.getUint16(udp),
    toPort: view.getUint16(udp + 2),
    payload: frame.slice(udp + 8, udp + udpLength),
  };
}
