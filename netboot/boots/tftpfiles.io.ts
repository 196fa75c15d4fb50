// netboot/boots/tftpfiles.io.ts - what TFTP serves: loaders by their names, and the boot port's files for GRUB and PXELINUX.
//
// Owns: which paths of the boot port are reached by TFTP. A transfer has its file in memory, which all who read it share.
// Does not own who may have what (http/route.ts through `respond`), the memory (http/bodies.io.ts), the transfers (tftp/),
// loaders (loaders.io.ts).

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { Bodies } from '../http/bodies.io.ts';
import type { BodyPart, HttpRequest, HttpResponse } from '../http/server.io.ts';
import { ProvenAddresses } from '../tftp/proven.ts';
import type { FileAnswer } from '../tftp/server.io.ts';
import type { LoaderShelf } from './loaders.io.ts';

/** The files that a GRUB or a PXELINUX that came by TFTP asks for, as on the boot port. */
const PATHS = /^(?:grub|pxelinux\.cfg|kernel|layer|boot)\//;

/** Made for one boot, as large as all its layers: no GRUB or PXELINUX asks for it, and here it would lie in memory for each who does. */
const INITRD = /^boot\/[^/]*\/initrd$/;
const EMPTY = new Uint8Array(0);

export class TftpShelf {
  readonly #loaders: LoaderShelf;
  readonly #respond: (request: HttpRequest) => Promise<HttpResponse>;
  readonly #bodies: Bodies;
  readonly #proven = new ProvenAddresses();

  constructor(loaders: LoaderShelf, respond: (request: HttpRequest) => Promise<HttpResponse>, bodies: Bodies) {
    this.#loaders = loaders;
    this.#respond = respond;
    this.#bodies = bodies;
  }

  /** @param name cleaned, without a leading slash. @throws Error where the disk fails. */
  async read(name: string, peer: Ipv4Address): Promise<FileAnswer> {
    const answer = PATHS.test(name) ? await this.#fromBootPort(name, peer) : await this.#loaders.read(name);
    if (answer.kind === 'refuse') return answer;
    const onProven = (): void => {
      this.#proven.prove(peer, performance.now());
      answer.onProven?.();
    };
    return { ...answer, onProven };
  }

  async #fromBootPort(name: string, peer: Ipv4Address): Promise<FileAnswer> {
    if (INITRD.test(name)) return { kind: 'refuse', why: 'an initrd in one piece goes by HTTP only' };
    const isProven = this.#proven.has(peer, performance.now());
    const request = { method: 'GET', target: `/${name}`, peer, isProven, authorization: undefined, body: EMPTY };
    const { status, parts, onBegun, onSent } = await this.#respond(request);
    if (status !== 200) return { kind: 'refuse', why: firstLine(parts) };
    const held: string[] = [];
    const onEnd = (): void => {
      for (const path of held.splice(0)) this.#bodies.leave(path);
    };
    try {
      const [part] = parts;
      const content = part === undefined ? EMPTY : await this.#content(part, held);
      return { kind: 'file', content, onProven: () => onBegun?.(content.length), onSent, onEnd };
    } catch (error) {
      onEnd();
      throw error;
    }
  }

  async #content(part: BodyPart, held: string[]): Promise<Uint8Array> {
    if (part.kind === 'bytes') return part.bytes;
    const { mostBytes } = this.#bodies;
    if (part.sizeBytes > mostBytes) {
      throw new Error(`${part.sizeBytes} bytes are too much for TFTP here (${mostBytes}): it goes by HTTP only`);
    }
    const body = this.#bodies.enter(part.path, part.sizeBytes);
    if (body === undefined) throw new Error('the memory for boot files is full: try again');
    held.push(part.path);
    await body.upTo(part.sizeBytes);
    return body.bytes;
  }
}

function firstLine([part]: readonly BodyPart[]): string {
  const [line = ''] = part?.kind === 'bytes' ? new TextDecoder().decode(part.bytes).split('\n') : [];
  return line === '' ? 'there is no such file here' : line;
}
