// formats/pure.d.ts - the few web globals that are pure functions, declared for the cores.
//
// Cores are compiled without Node's and the browser's types. These classes hold no clock, no randomness, no I/O.
declare class TextEncoder {
  encode(input?: string): Uint8Array<ArrayBuffer>;
}
declare class TextDecoder {
  constructor(label?: 'utf-8' | 'latin1', options?: { fatal?: boolean; ignoreBOM?: boolean });
  decode(input?: Uint8Array): string;
}
