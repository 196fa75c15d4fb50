// netboot/tftp/event.ts - what the journal is told of TFTP: a transfer that ended, a request that was refused, a crowd.
//
// Owns: TftpEvent. Does not own telling it (server.io.ts), nor what of it is worth a line (journal/worth.ts). Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { Outcome } from './transfer.ts';

export type TftpPeer = { readonly address: Ipv4Address; readonly port: number };

export type TftpEvent =
  | {
      readonly kind: 'ended';
      readonly interfaceName: string;
      /** The cleaned name. */
      readonly file: string;
      readonly peer: TftpPeer;
      readonly outcome: Outcome;
      /** Whether the client acknowledged anything: without that anybody may have made the request up. */
      readonly isProven: boolean;
      readonly fileBytes: number;
      /** Content octets sent, repeated ones included; the journal's figure. */
      readonly bytesSent: number;
      readonly repeatedBlocks: number;
      readonly blockBytes: number;
      readonly windowBlocks: number;
      readonly durationMs: number;
      /** The client's own words when it ended the transfer. */
      readonly detail?: string | undefined;
    }
  | {
      readonly kind: 'refused';
      readonly interfaceName: string;
      /** As asked for, cut and made printable where it could not be cleaned. */
      readonly file: string;
      readonly peer: TftpPeer;
      readonly why: string;
    }
  /** More requests wait than are remembered: told once until it is better. */
  | { readonly kind: 'crowded'; readonly interfaceName: string; readonly waiting: number };
