// netboot/boots/tftpfiles.io.ts - what TFTP serves: loaders by their names, and the boot port's files for GRUB and PXELINUX.
//
// Owns: which paths of the boot port are reached by TFTP, and their bodies in memory, once however many read them: a body
// lives as long as some transfer holds it. Does not own who may have what (http/route.ts through `respond`), the
// transfers (tftp/), loaders (loaders.io.ts).

import { readFile } from 'node:fs/promises';
import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { BodyPart, HttpRequest, HttpResponse } from '../http/server.io.ts';
import type { FileAnswer } from '../tftp/server.io.ts';
import type { LoaderShelf } from './loaders.io.ts';

/** The files that a GRUB or a PXELINUX that came by TFTP asks for, as on the boot port. */
const PATHS = /^(?:grub|pxelinux\.cfg|kernel|layer|boot)\//;

export class TftpShelf {
  readonly #loaders: LoaderShelf;
  readonly #respond: (request: HttpRequest) => Promise<HttpResponse>;
  readonly #bodies = new Map<string, WeakRef<Uint8Array>>();
  readonly #reading = new Map<string, Promise<Uint8Array>>();

  constructor(loaders: LoaderShelf, respond: (request: HttpRequest) => Promise<HttpResponse>) {
    this.#loaders = loaders;
    this.#respond = respond;
  }

  /** @param name cleaned, without a leading slash. @throws Error where the disk fails. */
  async read(name: string, peer: Ipv4Address): Promise<FileAnswer> {
    if (!PATHS.test(name)) return this.#loaders.read(name);
    const request = { method: 'GET', target: `/${name}`, peer, authorization: undefined, body: new Uint8Array(0) };
    const { status, parts, onSent } = await this.#respond(request);
    if (status !== 200) return { kind: 'refuse', why: firstLine(parts) };
    const bodies = await Promise.all(parts.map((part) => this.#body(part)));
    const [content] = bodies;
    return {
      kind: 'file',
      content: bodies.length === 1 && content !== undefined ? content : Buffer.concat(bodies),
      onSent,
    };
  }

  async #body(part: BodyPart): Promise<Uint8Array> {
    if (part.kind === 'bytes') return part.bytes;
    const { path } = part;
    const known = this.#bodies.get(path)?.deref();
    if (known !== undefined) return known;
    const reading = this.#reading.get(path) ?? readFile(path);
    this.#reading.set(path, reading);
    try {
      const content = await reading;
      this.#bodies.set(path, new WeakRef(content));
      return content;
    } finally {
      this.#reading.delete(path);
    }
  }
}

function firstLine([part]: readonly BodyPart[]): string {
  const [line = ''] = part?.kind === 'bytes' ? new TextDecoder().decode(part.bytes).split('\n') : [];
  return line === '' ? 'there is no such file here' : line;
}
