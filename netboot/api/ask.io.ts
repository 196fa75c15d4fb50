// netboot/api/ask.io.ts - questions of the command line: asked of the boot server, and without one of the files.
//
// Owns: which of the two answers, and saying so. Does not own the answers (view.ts, nodeview.ts, explain.ts).
// Without a boot server nothing is known of leases and boots, and which addresses would be served is this machine's guess.

import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Fault } from '../../formats/errors.ts';
import { parseMac } from '../../formats/mac.ts';
import { renderProblem } from '../../formats/yaml/document.ts';
import { askNetboot } from './client.io.ts';
import { explain, type Explanation } from './explain.ts';
import type { MachineRow } from './machines.ts';
import { ARCH_NAMES, archOf } from './explaindhcp.ts';
import type { ChangeView } from './fleethandlers.io.ts';
import type { Order } from '../fleet/orders.ts';
import { LeaseBook } from '../store/leases.ts';
import { hostAddresses } from '../listen.io.ts';
import { type FileChange, readNodeEdit } from '../site/edit.ts';
import { noteTold } from '../site/lastgood.io.ts';
import { readSite, type SitePlaces, SiteReader } from '../site/load.io.ts';
import { missing } from '../site/missing.ts';
import { editNodes } from '../site/write.io.ts';
import { type NodeRow, nodeRow, type NodeView, nodeView, type ViewFacts } from './nodeview.ts';
import { type ProfileView, profileView } from './view.ts';
import { servedInterfaces } from '../world.ts';

export type AskPlaces = SitePlaces & { readonly runDir: string };

/** `note` says that the files answered, not the boot server. */
export type Answered<T> = { readonly answer: T; readonly note: string | undefined };

async function ask<T>(places: AskPlaces, path: string, fromFiles: (facts: ViewFacts) => T): Promise<Answered<T>> {
  try {
    return { answer: (await askNetboot(join(places.runDir, 'netboot.sock'), path)) as T, note: undefined };
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== 'E_UNREACHABLE') throw error;
    const facts = await readFacts(places);
    return {
      answer: fromFiles(facts),
      note: `no boot server answers here, so this is what the files of ${places.configDir} say; leases and boots are not known`,
    };
  }
}

async function readFacts(places: SitePlaces): Promise<ViewFacts> {
  const result = await readSite(places);
  if (!result.ok) {
    const [first] = result.problems;
    throw new Fault('E_CONFIG', {
      what: `${places.configDir} does not validate`,
      why: first === undefined ? undefined : renderProblem(first),
      todo: 'see all problems with: rouse check',
    });
  }
  const { site, images } = result;
  const nothing = {
    leases: new LeaseBook(),
    journal: undefined,
    states: new Map(),
    sightings: [],
    listeningSinceMs: 0,
    ordersOf: () => [],
  };
  return { site, images, ...nothing, nowMs: Date.now() };
}

export async function askNodes(places: AskPlaces): Promise<Answered<readonly NodeRow[]>> {
  const { answer, note } = await ask(places, '/v1/nodes', (facts) => ({
    nodes: Array.from(facts.site.nodes.values(), (node) => nodeRow(facts, node)),
  }));
  return { answer: answer.nodes, note };
}

export function askNode(places: AskPlaces, name: string): Promise<Answered<NodeView>> {
  return ask(places, `/v1/nodes/${encodeURIComponent(name)}`, (facts) => {
    const node = facts.site.nodes.get(name);
    if (node === undefined) throw missing('node', name, facts.site.nodes.keys());
    return nodeView(facts, node);
  });
}

export async function askProfiles(places: AskPlaces): Promise<Answered<readonly ProfileView[]>> {
  const { answer, note } = await ask(places, '/v1/profiles', ({ site }) => ({
    profiles: Array.from(site.profiles.values(), (profile) => profileView(site, profile)),
  }));
  return { answer: answer.profiles, note };
}

export function askProfile(places: AskPlaces, name: string): Promise<Answered<ProfileView>> {
  return ask(places, `/v1/profiles/${encodeURIComponent(name)}`, ({ site }) => {
    const profile = site.profiles.get(name);
    if (profile === undefined) throw missing('profile', name, site.profiles.keys());
    return profileView(site, profile);
  });
}

/** Who types, as his session says: behind sudo the kernel knows root alone. */
function whoAsks(): { readonly who?: string } {
  const who = process.env['SUDO_USER'] ?? process.env['USER'];
  return who === undefined ? {} : { who };
}

/** Asks the running boot server; there is no answer without one. */
export async function askFleet<T>(
  places: AskPlaces,
  path: string,
  query: Readonly<Record<string, string>> = {},
  method: 'GET' | 'POST' = 'GET',
  content?: unknown,
): Promise<T> {
  const asked = new URLSearchParams(method === 'POST' ? { ...whoAsks(), ...query } : query).toString();
  const socket = join(places.runDir, 'netboot.sock');
  return (await askNetboot(socket, `${path}${asked === '' ? '' : `?${asked}`}`, method, content)) as T;
}

/** Follows the change of a node until it ends. @param tell told the steps whenever they differ. */
export async function followChange(
  places: AskPlaces,
  node: string,
  tell: (steps: string) => void,
): Promise<ChangeView> {
  let names = '';
  for (;;) {
    const view = await askFleet<ChangeView>(places, `/v1/nodes/${node}/boot`).catch((error: unknown) => {
      // The boot server may be restarted meanwhile: the change goes on, and so does the waiting.
      if (error instanceof Fault && error.code === 'E_UNREACHABLE') return undefined;
      throw error;
    });
    const now = view?.change?.steps.map(({ name }) => name).join(' ') ?? names;
    if (view !== undefined && now !== names) tell(view.steps);
    names = now;
    if (view !== undefined && view.change?.outcome.kind !== 'running') return view;
    await delay(FOLLOW_EVERY_MS);
  }
}

const FOLLOW_EVERY_MS = 500;
/** A node hears of an order at once, and carries out those before it first. */
const ACKNOWLEDGED_WITHIN_MS = 30_000;

/** Orders something of a node's service and waits for its word. @throws Fault with what it said, or that it said nothing. */
export async function orderService(places: AskPlaces, node: string, service: string, verb: string): Promise<void> {
  const path = `/v1/nodes/${encodeURIComponent(node)}`;
  const { number } = await askFleet<{ number: number }>(places, `${path}/service`, { service, verb }, 'POST');
  for (let waitedMs = 0; waitedMs < ACKNOWLEDGED_WITHIN_MS; waitedMs += FOLLOW_EVERY_MS) {
    const { orders } = await askFleet<{ orders: readonly Order[] }>(places, `${path}/orders`);
    const outcome = orders.find((order) => order.number === number)?.outcome;
    if (outcome?.kind === 'done') return;
    if (outcome?.kind === 'failed') {
      throw new Fault('E_NO', { what: `${node} could not carry out ${service} ${verb}`, why: outcome.detail });
    }
    await delay(FOLLOW_EVERY_MS);
  }
  throw new Fault('E_TIMEOUT', {
    what: `${node} has not said that ${service} got its ${verb}`,
    why: `nothing was heard for ${ACKNOWLEDGED_WITHIN_MS / 1000} s; the order stands until the node takes it or boots anew`,
    todo: 'see: rouse node ls',
  });
}

export type SetRequest = {
  readonly range: string;
  /** KEY=VALUE, one each. */
  readonly words: readonly string[];
  readonly isDryRun: boolean;
  /** Edits the files without a boot server; refused while one answers, for it would not be the one that writes. */
  readonly isOffline: boolean;
};

/** Sets values on nodes through the boot server, or with `isOffline` in the files. @throws Fault with the reason. */
export async function setNodes(places: AskPlaces, request: SetRequest): Promise<readonly FileChange[]> {
  const { range, words, isDryRun, isOffline } = request;
  const socket = join(places.runDir, 'netboot.sock');
  const { who = `uid ${process.getuid?.() ?? '?'}` } = whoAsks();
  if (!isOffline) {
    const query = new URLSearchParams({ ...whoAsks(), dry: isDryRun ? '1' : '0' });
    for (const word of words) query.append('set', word);
    const path = `/v1/nodes/${encodeURIComponent(range)}/set?${query.toString()}`;
    return ((await askNetboot(socket, path, 'POST')) as { changes: readonly FileChange[] }).changes;
  }
  const isServed = await askNetboot(socket, '/v1/health').then(
    () => true,
    () => false,
  );
  if (isServed)
    throw new Fault('E_USAGE', { what: '--offline', why: 'a boot server answers here', todo: 'leave --offline out' });
  const edit = readNodeEdit(range, words);
  if (!edit.ok) throw new Fault('E_USAGE', { what: edit.why });
  const { changes, texts } = await editNodes(places, new SiteReader(places), {
    ...edit,
    who,
    what: 'node set --offline',
    isDryRun,
  });
  await noteTold(places.libDir, texts);
  return changes;
}

/** Machines that were heard on the wire; those of nodes too. */
export async function askMachines(places: AskPlaces): Promise<readonly MachineRow[]> {
  return (await askFleet<{ machines: MachineRow[] }>(places, '/v1/machines')).machines;
}

/** An explanation for the firmware that a machine was heard with, and what it was told. */
export async function askSeen(
  places: AskPlaces,
  machine: string,
): Promise<{ readonly row: MachineRow; readonly answer: Explanation }> {
  const mac = parseMac(machine);
  const rows = await askMachines(places);
  const row = rows.find(({ macs, node }) => (mac === undefined ? node === machine : macs.includes(mac)));
  if (row === undefined) {
    throw new Fault('E_NOT_FOUND', {
      what: `${machine} was not heard`,
      todo: 'see who was with: rouse explain --seen',
    });
  }
  const { answer } = await askExplanation(places, mac ?? row.mac, archOf(row.architecture, row.clientKind));
  return { row, answer };
}

/**
 * @param machine a MAC address, or the name of a node, of which the first MAC is taken.
 * @param archName one of ARCH_NAMES; bios where undefined.
 */
export async function askExplanation(
  places: AskPlaces,
  machine: string,
  archName: string | undefined,
): Promise<Answered<Explanation>> {
  const arch = archName === undefined ? 'bios' : ARCH_NAMES.find((name) => name === archName);
  if (arch === undefined) {
    throw new Fault('E_USAGE', { what: `--arch ${archName}`, why: `expected one of ${ARCH_NAMES.join(', ')}` });
  }
  const mac = parseMac(machine) ?? (await askNode(places, machine).catch(notAMachine(machine))).answer.macs[0];
  if (mac === undefined) throw notAMachine(machine)(undefined);
  return ask(places, `/v1/explain?mac=${encodeURIComponent(mac)}&arch=${arch}`, ({ site, images, leases, nowMs }) => {
    const { interfaces } = servedInterfaces(site, hostAddresses());
    return explain(
      {
        site,
        images,
        leases,
        interfaces,
        loaders: undefined,
        rung: () => 0,
        states: new Map(),
        held: () => undefined,
        nowMs,
      },
      mac,
      arch,
    );
  });
}

function notAMachine(machine: string): (error: unknown) => never {
  return (error) => {
    if (error instanceof Fault && error.code !== 'E_NOT_FOUND') throw error;
    throw new Fault('E_USAGE', {
      what: `'${machine}' is neither a MAC address nor a node`,
      todo: 'write it like 52:54:00:77:00:01, or see the nodes with: rouse node ls',
    });
  };
}
