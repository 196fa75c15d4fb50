// netboot/tftp/netascii.ts - a text file as netascii: LF becomes CR LF, a bare CR becomes CR NUL.
//
// Source: RFC 764 as RFC 1350 section 1 uses it. Pure.

const CR = 13;
const LF = 10;

export function toNetascii(content: Uint8Array): Uint8Array {
  const extra = content.reduce((sum, octet) => sum + (octet === LF || octet === CR ? 1 : 0), 0);
  const result = new Uint8Array(content.length + extra);
  let at = 0;
  for (const octet of content) {
    if (octet === LF) {
      result[at] = CR;
      result[at + 1] = LF;
      at += 2;
    } else if (octet === CR) {
      result[at] = CR;
      result[at + 1] = 0;
      at += 2;
    } else {
      result[at] = octet;
      at += 1;
    }
  }
  return result;
}
