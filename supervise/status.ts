// supervise/status.ts - the 20 bytes of supervise/status.
//
// Owns: packing and unpacking. The layout is runit's, of which the first 18 bytes are daemontools': the original svstat
// (reads 18) and runit's sv (wants exactly 20) both understand it.
//
//   0-11  TAI64N of the last change of pid, big-endian
//   12-15 pid, little-endian, 0 = none
//   16    paused    17 'u', 'd' or 0 (once)    18 got TERM    19 0 down, 1 run, 2 finish
//
// Sources: daemontools 0.76 supervise.c announce(), svstat.c; runit 2.1.2 runsv.c, sv.c. Pure.

import { packTai64n, TAI64N_BYTES, unpackTai64n } from '../formats/tai64n.ts';
import type { WallTime } from '../formats/tai64n.ts';
import type { Phase, Want } from './service.ts';

const STATUS_BYTES = 20;

export type Status = {
  readonly changedAt: WallTime;
  readonly pid: number;
  readonly paused: boolean;
  readonly want: Want;
  readonly gotTerm: boolean;
  readonly activity: 'down' | 'run' | 'finish';
};

const WANT_BYTES = { up: 0x75, down: 0x64, once: 0 } as const satisfies Record<Want, number>;
const ACTIVITY_BYTES = { down: 0, run: 1, finish: 2 } as const satisfies Record<Status['activity'], number>;

/** What a reader of the status file is told in each phase. */
export const ACTIVITIES = {
  down: 'down',
  waiting: 'down',
  starting: 'down',
  up: 'run',
  tracing: 'run',
  clearing: 'down',
  finishing: 'finish',
  closed: 'down',
} as const satisfies Record<Phase, Status['activity']>;

/** The file's content. */
export function packStatus({ changedAt, pid, paused, want, gotTerm, activity }: Status): Uint8Array {
  const octets = new Uint8Array(STATUS_BYTES);
  octets.set(packTai64n(changedAt));
  new DataView(octets.buffer).setUint32(TAI64N_BYTES, pid, true);
  octets[16] = pid !== 0 && paused ? 1 : 0;
  octets[17] = WANT_BYTES[want];
  octets[18] = pid !== 0 && gotTerm ? 1 : 0;
  octets[19] = pid === 0 ? ACTIVITY_BYTES.down : ACTIVITY_BYTES[activity];
  return octets;
}

/** @returns undefined unless the octets are a status file of daemontools (18) or runit (20). Never throws. */
export function unpackStatus(octets: Uint8Array): Status | undefined {
  if (octets.length !== 18 && octets.length !== STATUS_BYTES) return undefined;
  const changedAt = unpackTai64n(octets);
  if (changedAt === undefined) return undefined;
  const pid = new DataView(octets.buffer, octets.byteOffset, octets.byteLength).getUint32(TAI64N_BYTES, true);
  const wantByte = octets[17];
  const activityByte = octets[19] ?? (pid === 0 ? 0 : 1);
  return {
    changedAt,
    pid,
    paused: octets[16] === 1,
    want: wantByte === WANT_BYTES.up ? 'up' : wantByte === WANT_BYTES.down ? 'down' : 'once',
    gotTerm: octets[18] === 1,
    activity: activityByte === 2 ? 'finish' : activityByte === 1 ? 'run' : 'down',
  };
}
