// The smallest ELF64 files that the readers of images/ can be shown: made here, so that tests need no compiler.

const text = new TextEncoder();

/** A relocatable file with one section of that name and content, and the table of names. */
export function elfWithSection(name: string, content: string): Uint8Array {
  const body = text.encode(content);
  const names = text.encode(`\0${name}\0.shstrtab\0`);
  const tableOffset = 64 + body.length + names.length;
  const octets = new Uint8Array(tableOffset + 3 * 64);
  octets.set(header({ type: 1, sections: { offset: tableOffset, count: 3 } }));
  octets.set(body, 64);
  octets.set(names, 64 + body.length);
  const view = new DataView(octets.buffer);
  const section = (index: number, nameAt: number, offset: number, size: number): void => {
    const at = tableOffset + index * 64;
    view.setUint32(at, nameAt, true);
    view.setBigUint64(at + 24, BigInt(offset), true);
    view.setBigUint64(at + 32, BigInt(size), true);
  };
  section(1, 1, 64, body.length);
  section(2, name.length + 2, 64 + body.length, names.length);
  return octets;
}

/** A dynamic program or library: only what a closure over needs looks at. */
export function elfThatNeeds(needed: readonly string[], { interpreter = '', runpath = '' } = {}): Uint8Array {
  const strings = text.encode(`\0${[...needed, runpath, interpreter].join('\0')}\0`);
  const offsets: number[] = [];
  for (let at = 1, index = 0; index < needed.length + 2; index += 1) {
    offsets.push(at);
    at += text.encode([...needed, runpath, interpreter][index] ?? '').length + 1;
  }
  const entries: [number, number][] = [
    [5, 0x1000 + 64 + 3 * 56],
    [10, strings.length],
    ...needed.map((_, index): [number, number] => [1, offsets[index] ?? 0]),
    ...(runpath === '' ? [] : [[29, offsets[needed.length] ?? 0] as [number, number]]),
    [0, 0],
  ];
  const stringsAt = 64 + 3 * 56;
  const dynamicAt = stringsAt + strings.length;
  const octets = new Uint8Array(dynamicAt + entries.length * 16);
  octets.set(header({ type: 3, segments: 3 }));
  octets.set(strings, stringsAt);
  const view = new DataView(octets.buffer);
  const segment = (index: number, type: number, offset: number, size: number): void => {
    const at = 64 + index * 56;
    view.setUint32(at, type, true);
    view.setBigUint64(at + 8, BigInt(offset), true);
    view.setBigUint64(at + 16, BigInt(0x1000 + offset), true);
    view.setBigUint64(at + 32, BigInt(size), true);
  };
  segment(0, 1, 0, octets.length);
  segment(1, 2, dynamicAt, entries.length * 16);
  const interpreterAt = stringsAt + (offsets[needed.length + 1] ?? 0);
  segment(2, interpreter === '' ? 0 : 3, interpreterAt, text.encode(interpreter).length + 1);
  for (const [index, [tag, value]] of entries.entries()) {
    view.setBigUint64(dynamicAt + index * 16, BigInt(tag), true);
    view.setBigUint64(dynamicAt + index * 16 + 8, BigInt(value), true);
  }
  return octets;
}

function header({
  type,
  sections = { offset: 0, count: 0 },
  segments = 0,
}: {
  type: number;
  sections?: { offset: number; count: number };
  segments?: number;
}): Uint8Array {
  const octets = new Uint8Array(64);
  octets.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  const view = new DataView(octets.buffer);
  view.setUint16(16, type, true);
  view.setUint16(18, 62, true);
  view.setBigUint64(32, 64n, true);
  view.setBigUint64(40, BigInt(sections.offset), true);
  view.setUint16(54, 56, true);
  view.setUint16(56, segments, true);
  view.setUint16(58, 64, true);
  view.setUint16(60, sections.count, true);
  view.setUint16(62, Math.max(0, sections.count - 1), true);
  return octets;
}
