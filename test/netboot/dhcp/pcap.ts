// test/netboot/dhcp/pcap.ts - reads UDP and TCP packets out of a capture file (classic pcap, Ethernet, IPv4 without fragments).
//
// Source: the pcap-savefile(5) man page. Only for captures of our own: it throws on anything else.

import { readFileSync } from 'node:fs';

export type IpPacket = {
  readonly atMs: number;
  readonly from: string;
  readonly fromPort: number;
  readonly to: string;
  readonly toPort: number;
  readonly payload: Uint8Array;
};

export type TcpSegment = IpPacket & { readonly sequence: number };

const ETHERNET_BYTES = 14;
const TCP = 6;
const UDP = 17;
const UDP_HEADER_BYTES = 8;

export function readUdp(file: string): IpPacket[] {
  return readPackets(file, UDP).map((packet) => ({ ...packet, payload: packet.payload.subarray(UDP_HEADER_BYTES) }));
}

/** Whose payload is the segment's; nothing is put in order or together. */
export function readTcp(file: string): TcpSegment[] {
  return readPackets(file, TCP).map((packet) => {
    const { payload: segment } = packet;
    const view = new DataView(segment.buffer, segment.byteOffset, segment.byteLength);
    return { ...packet, sequence: view.getUint32(4), payload: segment.subarray((view.getUint8(12) >> 4) * 4) };
  });
}

/** Their payload is that of IP. */
function readPackets(file: string, protocol: number): IpPacket[] {
  const octets = readFileSync(file);
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  const littleEndian = view.getUint32(0, true) === 0xa1b2c3d4;
  if (!littleEndian && view.getUint32(0) !== 0xa1b2c3d4) throw new Error(`${file} is no pcap file`);
  if (view.getUint32(20, littleEndian) !== 1) throw new Error(`${file} is not of Ethernet`);
  const packets: IpPacket[] = [];
  for (let at = 24; at + 16 <= octets.length; ) {
    const atMs = view.getUint32(at, littleEndian) * 1000 + view.getUint32(at + 4, littleEndian) / 1000;
    const length = view.getUint32(at + 8, littleEndian);
    const packet = packetOf(octets.subarray(at + 16, at + 16 + length), protocol);
    if (packet !== undefined) packets.push({ atMs, ...packet });
    at += 16 + length;
  }
  return packets;
}

function packetOf(frame: Uint8Array, protocol: number): Omit<IpPacket, 'atMs'> | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < ETHERNET_BYTES + 28 || view.getUint16(12) !== 0x0800) return undefined;
  const ip = ETHERNET_BYTES;
  if (view.getUint8(ip + 9) !== protocol) return undefined;
  const inner = ip + (view.getUint8(ip) & 15) * 4;
  return {
    from: [...frame.subarray(ip + 12, ip + 16)].join('.'),
    to: [...frame.subarray(ip + 16, ip + 20)].join('.'),
    fromPort: view.getUint16(inner),
    toPort: view.getUint16(inner + 2),
    // Behind a short packet Ethernet pads the frame.
    payload: frame.slice(inner, ip + view.getUint16(ip + 2)),
  };
}
