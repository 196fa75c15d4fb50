// netboot/store/records.ts - what the boot server writes to its store, and the interface that a store has.
//
// Owns: the records (leases, boots, journal events, node states, orders) and the Store type, so that the pure rooms can speak of a store
// without having one. Does not own SQL (store.worker.io.ts) or threads (store.io.ts). Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import type { BootEvent } from '../journal/journal.ts';
import type { Lease } from './leases.ts';
import type { BootImage, NodeState } from '../fleet/nodestate.ts';
import type { Order } from '../fleet/orders.ts';
import type { MachineRecord } from '../site/inventory.ts';
import type { BootPlan } from '../site/plan.ts';

/** One boot of a linux plan as it is kept: made when its script is rendered. */
export type StoredBoot = {
  /** 16 hexadecimal digits. */
  readonly id: string;
  /** SHA-256 of the token in hexadecimal: who reads the store learns no token, once the overlay is spent. */
  readonly tokenSha256: string;
  readonly mac: MacAddress;
  /** Who may fetch the overlay: the address that was given the script. */
  readonly address: Ipv4Address;
  /** Milliseconds since 1970. */
  readonly startedAtMs: number;
  readonly plan: BootPlan;
  /** The overlay's name: SHA-256 of its uncompressed entries before the marker. */
  readonly overlaySha256: string;
  /** The overlay as served; undefined once the node has reported, for it holds the token. */
  readonly overlay: Uint8Array | undefined;
  /** What renders its live files again. */
  readonly image: BootImage;
  /** The revision of the live files in its overlay; undefined where its image has none. */
  readonly filesRevision: string | undefined;
  /** Why it is not what the files want; undefined where it is. */
  readonly insteadOf: string | undefined;
};

export type StoreRecord =
  | { readonly kind: 'lease'; readonly lease: Lease }
  | { readonly kind: 'lease-forgotten'; readonly address: Ipv4Address }
  | { readonly kind: 'boot'; readonly boot: StoredBoot }
  /** The node has its overlay: its bytes, and the token in them, are erased. */
  | { readonly kind: 'overlay-spent'; readonly bootId: string }
  | { readonly kind: 'event'; readonly event: BootEvent }
  | { readonly kind: 'node'; readonly state: NodeState }
  | { readonly kind: 'node-forgotten'; readonly node: string }
  | { readonly kind: 'order'; readonly order: Order }
  /** What a machine says that it is; the latest counts. */
  | { readonly kind: 'machine'; readonly machine: MachineRecord };

/** What a store holds when it is opened. */
export type StoreContent = {
  readonly leases: readonly Lease[];
  /** The latest boots of each machine, the oldest first. */
  readonly boots: readonly StoredBoot[];
  /** The latest events, the oldest first. */
  readonly events: readonly BootEvent[];
  readonly nodes: readonly NodeState[];
  /** Of the boots above, by number. */
  readonly orders: readonly Order[];
  readonly machines: readonly MachineRecord[];
  /** Leases whose checksum does not fit: left out, in words. */
  readonly damaged: readonly string[];
};

export type Store = {
  readonly content: StoreContent;
  /**
   * Makes the records durable, all of them or none; those of several callers share one commit.
   * @throws Fault E_STORE (rejects) where the disk refuses; nothing of the records is kept then.
   */
  readonly commit: (records: readonly StoreRecord[]) => Promise<void>;
  /** Why what is committed now would not last: the last commit failed, the file is gone. Undefined where all is well. */
  readonly trouble: () => Promise<string | undefined>;
  /** Copies the store as of one moment to a new file, for its owner alone, while commits go on. @throws Fault E_STORE. */
  readonly copy: (file: string) => Promise<void>;
  /** Waits for what was handed over, then closes the file. */
  readonly close: () => Promise<void>;
};
