// supervise/view.ts - what a service looks like to those who ask: supervise.sock's JSON and `rouse status`.
//
// Owns: the JSON shape of a service and the table for people.
// Does not own: the socket (server.io.ts), the status file (status.ts).
//
// To show another field, add it to ServiceView, viewOf and, if people should see it, COLUMNS. Pure.

import { wallTimeToMs } from '../formats/tai64n.ts';
import { renderDeath } from './machine.ts';
import { printable } from '../formats/printable.ts';
import type { Death, Phase, Service, Want } from './service.ts';
import type { Usage } from './usage.ts';

/** One service in `GET /v1/services`. */
export type ServiceView = {
  /** "web", "web/log". */
  readonly name: string;
  /** `blocked`: the directory itself cannot be supervised; `why` says what is wrong. */
  readonly phase: Phase | 'blocked';
  readonly pid: number;
  readonly want: Want;
  readonly ready: boolean;
  readonly paused: boolean;
  /** Started by an earlier supervisor and taken over. */
  readonly adopted: boolean;
  /** Wall clock of the last start or death, milliseconds since 1970. */
  readonly changedAtMs: number;
  /** How often it was started since this boot. */
  readonly starts: number;
  readonly lastDeath: Death | undefined;
  /** Why it is not running, or what is wrong with it. */
  readonly why: string | undefined;
  /** What waits for its next start. */
  readonly pending?: string | undefined;
  /** The folder has no name for it any more: it runs on and is not opened again. */
  readonly removed: boolean;
  /** The service directory (of "web/log": that of "web"); absolute. */
  readonly directory: string;
  /** Only where it was asked for (`?usage`), and there is a process. */
  readonly usage?: Usage | undefined;
};

export type ServiceList = { readonly services: readonly ServiceView[] };

/** @param isPresent whether the scanned folder still has a name for it. */
export function viewOf(name: string, service: Service, isPresent: boolean, directory: string): ServiceView {
  return {
    name,
    phase: service.phase,
    pid: service.pid,
    want: service.want,
    ready: service.ready,
    paused: service.paused,
    adopted: service.adopted,
    changedAtMs: Math.round(wallTimeToMs(service.changedAt)),
    starts: service.starts,
    lastDeath: service.lastDeath,
    why: service.trouble,
    removed: !isPresent,
    directory,
  };
}

/** A directory that could not be opened. */
export function blockedView(name: string, why: string, atMs: number, directory: string): ServiceView {
  return {
    name,
    phase: 'blocked',
    pid: 0,
    want: 'up',
    ready: false,
    paused: false,
    adopted: false,
    changedAtMs: atMs,
    starts: 0,
    lastDeath: undefined,
    why,
    removed: false,
    directory,
  };
}

/** One or two words for the STATE column. */
function stateWord(view: ServiceView): string {
  if (view.paused) return 'paused';
  if (view.phase === 'up' && view.want === 'down') return 'stopping';
  if (view.phase === 'up' && !view.ready) return 'up, not ready';
  return view.phase;
}

/** "12 s", "5 min", "3 h", "2 d". Negative ages (the clock was set back) are 0 s. */
export function renderAge(ageMs: number): string {
  const ageS = Math.max(0, Math.floor(ageMs / 1000));
  if (ageS < 120) return `${ageS} s`;
  if (ageS < 7200) return `${Math.floor(ageS / 60)} min`;
  if (ageS < 172_800) return `${Math.floor(ageS / 3600)} h`;
  return `${Math.floor(ageS / 86_400)} d`;
}

const COLUMNS: readonly { readonly title: string; readonly cell: (view: ServiceView, nowMs: number) => string }[] = [
  { title: 'SERVICE', cell: ({ name }) => name },
  { title: 'STATE', cell: stateWord },
  { title: 'PID', cell: ({ pid }) => (pid === 0 ? '-' : String(pid)) },
  { title: 'SINCE', cell: ({ changedAtMs }, nowMs) => renderAge(nowMs - changedAtMs) },
  { title: 'RESTARTS', cell: ({ starts }) => String(Math.max(0, starts - 1)) },
  { title: 'READY', cell: ({ ready }) => (ready ? 'yes' : 'no') },
  { title: 'CPU', cell: ({ usage }) => (usage === undefined ? '-' : `${(usage.cpuMs / 1000).toFixed(1)} s`) },
  {
    title: 'MEMORY',
    cell: ({ usage }) => (usage === undefined ? '-' : `${(usage.residentBytes / 2 ** 20).toFixed(1)} MB`),
  },
  { title: 'NOTES', cell: notes },
];

function notes(view: ServiceView): string {
  const death = view.lastDeath;
  return [
    view.why,
    view.pending,
    view.phase === 'down' && view.want === 'up' ? 'want up' : undefined,
    death === undefined || (view.phase === 'up' && view.ready) ? undefined : lastRun(death, view.why),
    view.adopted ? 'adopted' : undefined,
    view.removed ? 'removed from the folder' : undefined,
  ]
    .filter((part) => part !== undefined)
    .join('; ');
}

/** @param said why it is not running: the reason stands there already until it is started again. */
function lastRun(death: Death, said: string | undefined): string {
  const because = death.why === undefined || death.why === said ? '' : ` (${death.why})`;
  return `last run ${renderDeath(death)}${because}`;
}

/** The table of `rouse status`, one string per line. */
export function renderTable(views: readonly ServiceView[], nowMs: number): string[] {
  if (views.length === 0) return ['no services'];
  const rows = [
    COLUMNS.map(({ title }) => title),
    ...views.map((view) => COLUMNS.map(({ cell }) => printable(cell(view, nowMs)))),
  ];
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows.map((row) =>
    row
      .map((text, column) => text.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
