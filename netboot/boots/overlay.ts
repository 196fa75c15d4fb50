// netboot/boots/overlay.ts - the last layer of a node: what only this node and this boot have.
//
// Owns: the files of an overlay (who it is, its token, its rendered templates) and their archive with its marker.
// Does not own: rendering (templates.ts), the archive format (images/cpio.ts, images/layers.ts), compression (boots.io.ts).
//
// The token is in no other place: /etc/rouse/boot is readable by root alone and never part of a URL or command line.
// To give every node another file, add it to overlayFiles. Source: ARCHITECTURE.md, "Node protocol". Pure.

import { concat, type CpioEntry } from '../../images/cpio.ts';
import { layerChunks, markerChunks } from '../../images/layers.ts';
import type { BootPlan } from '../site/plan.ts';
import type { RenderedFile } from './templates.ts';

export type OverlayFacts = {
  readonly plan: BootPlan;
  /** 32 hexadecimal digits. */
  readonly token: string;
  /** The address that the node booted with. */
  readonly address: string;
  /** Rendered templates; one that bears the name of a file of rouse's own replaces it, /etc/rouse/boot excepted. */
  readonly files: readonly RenderedFile[];
};

export type Overlay = {
  /** The overlay's name: SHA-256 of its entries before the marker. */
  readonly sha256: string;
  /** Uncompressed, with marker and trailer. */
  readonly archive: Uint8Array;
};

const text = (content: string): Uint8Array => new TextEncoder().encode(content);

/** @param sha256 of the octets, as 64 lower-case hexadecimal digits. */
export function buildOverlay(facts: OverlayFacts, sha256: (octets: Uint8Array) => string): Overlay {
  const entries: CpioEntry[] = overlayFiles(facts).map(({ path, mode, content }) => ({
    kind: 'file',
    path: path.slice(1),
    mode,
    uid: 0,
    gid: 0,
    data: content,
  }));
  const before = concat(layerChunks(entries));
  const name = sha256(before);
  return { sha256: name, archive: concat([before, ...markerChunks(name)]) };
}

function overlayFiles({ plan, token, address, files }: OverlayFacts): RenderedFile[] {
  const { name } = plan.node;
  const own: RenderedFile[] = [
    { path: '/etc/hostname', mode: 0o644, content: text(`${name}\n`) },
    { path: '/etc/hosts', mode: 0o644, content: text(`127.0.0.1 localhost\n${address} ${name}\n`) },
  ];
  const identity: RenderedFile = {
    path: '/etc/rouse/boot',
    mode: 0o600,
    content: text(`token ${token}\nnode ${name}\nprofile ${plan.profile.name}\n`),
  };
  const byPath = new Map([...own, ...files, identity].map((file) => [file.path, file]));
  return [...byPath.values()];
}
