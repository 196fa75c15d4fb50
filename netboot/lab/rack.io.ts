// netboot/lab/rack.io.ts - a virtual rack on this machine: made, found again, and removed without a trace.
//
// Owns: the network namespace with its bridge and taps, the processes of the lab (supervisor, machines, forwarder), and
// the state file by which any later command finds or removes them, also after a SIGKILL of the one that made them.
// Does not own: what things are called and which arguments they get (rack.ts), images and their building, the boot
// server itself (a service directory under the supervisor).

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { Fault, reasonOf } from '../../formats/errors.ts';
import { endProcess, isAlive, markProcess, signalProcess, waitGone } from './processes.io.ts';
import { qmp } from './qmp.io.ts';
import {
  type Accelerator,
  type LabNode,
  type LabState,
  LOG_RUN_SCRIPT,
  type NodePaths,
  namespaceName,
  netbootRunScript,
  type ProcessMark,
  qemuArguments,
  RACK_INTERFACE,
  RACK_PREFIX_LENGTH,
  RACK_SERVER,
  siteFiles,
  tapName,
} from './rack.ts';

/** sun_path of unix(7) holds 108 bytes with the closing NUL. */
const SOCKET_PATH_BYTES_MAX = 107;

/** Services get this long to stop in order before what is left of them is ended. */
const SUPERVISE_STOP_MS = 15_000;

/** The folders of one lab; ARCHITECTURE.md, "Places". */
export type LabPlaces = {
  readonly configDir: string;
  readonly libDir: string;
  readonly cacheDir: string;
  readonly runDir: string;
};

const stateFile = (runDir: string): string => join(runDir, 'lab.json');

/** The files of one machine. */
export function nodePaths(runDir: string, name: string): NodePaths {
  const folder = join(runDir, 'lab');
  return {
    qmp: join(folder, `${name}.qmp`),
    console: join(folder, `${name}.console`),
    consoleLog: join(folder, `${name}.log`),
  };
}

/**
 * What a lab needs of this machine, asked before anything is touched.
 *
 * @throws Fault E_PRIVILEGE or E_MISSING_TOOL with the command that helps.
 */
export function checkHost(places: LabPlaces): void {
  if (process.getuid?.() !== 0) {
    throw new Fault('E_PRIVILEGE', {
      what: 'a lab makes a network namespace and tap interfaces',
      why: 'only root may',
      todo: 'run it as: sudo npm start',
    });
  }
  for (const [program, debianPackage] of [
    ['qemu-system-x86_64', 'qemu-system-x86'],
    ['ip', 'iproute2'],
    ['setpriv', 'util-linux'],
  ] as const) {
    const folders = (process.env['PATH'] ?? '').split(':');
    if (!folders.some((folder) => existsSync(join(folder, program)))) {
      throw new Fault('E_MISSING_TOOL', {
        what: `${program} is not on this machine`,
        todo: `apt-get install -y ${debianPackage}`,
      });
    }
  }
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
  } catch (error) {
    throw new Fault('E_MISSING_TOOL', {
      what: 'machines are wired up through /dev/net/tun, which cannot be opened',
      why: reasonOf(error),
      todo: 'load it with: modprobe tun (in a container, pass the device in: --device /dev/net/tun)',
    });
  }
  const longest = nodePaths(places.runDir, 'a-node-with-a-long-name').console;
  if (Buffer.byteLength(longest) > SOCKET_PATH_BYTES_MAX) {
    throw new Fault('E_USAGE', {
      what: `the folder ${places.runDir} lies too deep`,
      why: 'the path of a UNIX socket has at most 107 bytes',
      todo: 'move the clone up, or set ROUSE_HOME to a folder with a short name',
    });
  }
}

/** The lab that was started with this run folder, whether or not its processes still live. */
export function readLab(runDir: string): LabState | undefined {
  try {
    return JSON.parse(readFileSync(stateFile(runDir), 'utf8')) as LabState;
  } catch {
    return undefined;
  }
}

/** The running lab of this folder. @throws Fault E_UNREACHABLE if there is none. */
export function requireLab(runDir: string): LabState {
  const state = readLab(runDir);
  const supervise = state?.processes['supervise'];
  if (state === undefined || supervise === undefined || !isAlive(supervise)) {
    throw new Fault('E_UNREACHABLE', { what: 'no lab is running here', todo: 'start one with: npm start' });
  }
  return state;
}

function writeState(runDir: string, state: LabState): void {
  const file = stateFile(runDir);
  writeFileSync(`${file}.new`, `${JSON.stringify(state, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

function remember(runDir: string, part: string, pid: number | undefined): ProcessMark {
  const mark = pid === undefined ? undefined : markProcess(pid);
  if (mark === undefined) throw new Fault('E_COMMAND', { what: `${part} of the lab ended as soon as it was started` });
  const state = readLab(runDir);
  if (state !== undefined) writeState(runDir, { ...state, processes: { ...state.processes, [part]: mark } });
  return mark;
}

async function ip(...args: string[]): Promise<void> {
  const done = await execa('ip', args, { reject: false, stdin: 'ignore' });
  if (done.failed)
    throw new Fault('E_COMMAND', { what: `ip ${args.join(' ')} failed`, why: done.stderr || done.shortMessage });
}

/** Puts the site's first files where none are; an operator's files are left as they are. */
export function writeSite(configDir: string, nodes: readonly LabNode[]): void {
  for (const [name, text] of siteFiles(nodes)) {
    const file = join(configDir, name);
    if (existsSync(file)) continue;
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
}

/**
 * Makes namespace, bridge and taps, and takes hold of the lab: from here on `stopRack` removes everything.
 *
 * @throws Fault E_LOCKED if another process already runs this lab.
 */
export async function makeRack(
  places: LabPlaces,
  nodes: readonly LabNode[],
  accelerator: Accelerator,
): Promise<LabState> {
  const { runDir } = places;
  mkdirSync(join(runDir, 'lab'), { recursive: true });
  const before = readLab(runDir);
  const up = before?.processes['up'];
  if (up !== undefined && up.pid !== process.pid && isAlive(up)) {
    throw new Fault('E_LOCKED', {
      what: `this lab is already up (pid ${up.pid})`,
      todo: 'stop it with ctrl-C there, or: rouse lab down',
    });
  }
  // Whatever a SIGKILL left behind.
  await stopRack(places);
  const namespace = namespaceName(createHash('sha256').update(runDir).digest('hex'));
  const mark = markProcess(process.pid);
  writeState(runDir, { version: 1, namespace, nodes, accelerator, processes: mark === undefined ? {} : { up: mark } });
  await ip('netns', 'add', namespace);
  await ip('-n', namespace, 'link', 'set', 'lo', 'up');
  await ip('-n', namespace, 'link', 'add', RACK_INTERFACE, 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0');
  await ip('-n', namespace, 'addr', 'add', `${RACK_SERVER}/${RACK_PREFIX_LENGTH}`, 'dev', RACK_INTERFACE);
  await ip('-n', namespace, 'link', 'set', RACK_INTERFACE, 'up');
  for (const index of nodes.keys()) {
    await ip('-n', namespace, 'tuntap', 'add', tapName(index), 'mode', 'tap');
    await ip('-n', namespace, 'link', 'set', tapName(index), 'master', RACK_INTERFACE, 'up');
  }
  return requireState(runDir);
}

/** What was written of the lab, living or not. @throws Fault E_STORE if there is nothing. */
export function requireState(runDir: string): LabState {
  const state = readLab(runDir);
  if (state === undefined) throw new Fault('E_STORE', { what: `${stateFile(runDir)} cannot be read back` });
  return state;
}

/** Writes the boot server's service directory; a changed script takes effect at the service's next start. */
export function writeNetbootService(
  places: LabPlaces,
  facts: { namespace: string; rouse: string; home: string },
): string {
  const services = join(places.configDir, 'services');
  const owner = statSync(dirname(dirname(facts.rouse)));
  const files: Readonly<Record<string, string>> = {
    'netboot/run': netbootRunScript({ ...facts, owner: { uid: owner.uid, gid: owner.gid } }),
    'netboot/log/run': LOG_RUN_SCRIPT,
  };
  for (const [name, text] of Object.entries(files)) {
    const file = join(services, name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(`${file}.new`, text);
    chmodSync(`${file}.new`, 0o755);
    renameSync(`${file}.new`, file);
  }
  if (owner.uid !== 0) for (const folder of [places.libDir, places.runDir, places.cacheDir]) giveTo(folder, owner);
  return services;
}

/** The boot server of a user's clone runs as that user and must be able to write what root made for it. */
function giveTo(path: string, owner: { uid: number; gid: number }): void {
  mkdirSync(path, { recursive: true });
  const pending = [path];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const entry = lstatSync(next);
    if (entry.isSymbolicLink()) continue;
    chownSync(next, owner.uid, owner.gid);
    if (entry.isDirectory()) pending.push(...readdirSync(next).map((name) => join(next ?? '', name)));
  }
}

/** Starts `rouse supervise` in a session of its own, so that a ctrl-C of the terminal reaches only the lab command. */
export function startSupervise(places: LabPlaces, rouse: string, services: string, home: string): void {
  const log = openSync(join(places.runDir, 'supervise.log'), 'a', 0o600);
  const child = spawn(rouse, ['supervise', services], {
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...process.env, ROUSE_HOME: home },
  });
  closeSync(log);
  child.on('error', () => undefined);
  child.unref();
  remember(places.runDir, 'supervise', child.pid);
}

/**
 * Powers a machine on. Its console goes to a socket and to a log file, which begins anew.
 *
 * @throws Fault E_NO if it is on already.
 */
export function startNode(places: LabPlaces, state: LabState, node: LabNode): void {
  const before = state.processes[`node:${node.name}`];
  if (before !== undefined && isAlive(before)) {
    throw new Fault('E_NO', {
      what: `${node.name} is on already (pid ${before.pid})`,
      todo: `rouse lab reboot ${node.name}`,
    });
  }
  const paths = nodePaths(places.runDir, node.name);
  for (const socket of [paths.qmp, paths.console]) rmSync(socket, { force: true });
  const index = state.nodes.findIndex(({ name }) => name === node.name);
  const log = openSync(join(places.runDir, 'lab', `${node.name}.qemu.log`), 'w', 0o600);
  const child = spawn(
    'ip',
    ['netns', 'exec', state.namespace, 'qemu-system-x86_64', ...qemuArguments(node, index, state.accelerator, paths)],
    { detached: true, stdio: ['ignore', log, log] },
  );
  closeSync(log);
  child.on('error', () => undefined);
  child.unref();
  remember(places.runDir, `node:${node.name}`, child.pid);
}

/** @throws Fault E_UNREACHABLE if no lab runs here, E_NOT_FOUND if it has no such machine. */
export function requireNode(runDir: string, name: string): LabNode {
  const { nodes } = requireLab(runDir);
  const node = nodes.find((candidate) => candidate.name === name);
  if (node !== undefined) return node;
  throw new Fault('E_NOT_FOUND', {
    what: `no machine of this lab is called '${name}'`,
    todo: `there are: ${nodes.map((candidate) => candidate.name).join(', ')}`,
  });
}

/** A machine of the lab that has power. @throws Fault as requireNode, and E_NO if it is off. */
export function requirePowered(runDir: string, name: string): LabNode {
  const node = requireNode(runDir, name);
  const mark = requireLab(runDir).processes[`node:${node.name}`];
  if (mark !== undefined && isAlive(mark)) return node;
  throw new Fault('E_NO', { what: `${node.name} is off`, todo: `power it on with: rouse lab on ${node.name}` });
}

/** The machine's reset button. @throws Fault as requirePowered, and E_UNREACHABLE if it does not answer. */
export async function resetNode(places: LabPlaces, name: string): Promise<void> {
  const { name: known } = requirePowered(places.runDir, name);
  await qmp(nodePaths(places.runDir, known).qmp, 'system_reset');
}

/** Ends a machine as a pulled plug does. @throws Fault as requireNode. */
export async function cutPower(places: LabPlaces, name: string): Promise<void> {
  requireNode(places.runDir, name);
  const mark = requireLab(places.runDir).processes[`node:${name}`];
  if (mark !== undefined) await endProcess(mark, 'SIGKILL', 5000);
}

/**
 * Opens a port on localhost that leads to port 80 of an address in the rack.
 *
 * @param wantedPort taken if it is free, otherwise any other.
 * @returns the URL.
 */
export async function startForwarder(
  places: LabPlaces,
  state: LabState,
  target: string,
  wantedPort: number,
): Promise<string> {
  const server = (await listen(wantedPort)) ?? (await listen(0));
  const fd = (server as unknown as { _handle?: { fd: number } } | undefined)?._handle?.fd;
  const address = server?.address();
  if (server === undefined || fd === undefined || typeof address !== 'object' || address === null) {
    throw new Fault('E_PORT_TAKEN', { what: 'no port on localhost could be opened' });
  }
  const program = fileURLToPath(new URL('./forward.io.ts', import.meta.url));
  const child = spawn(
    'ip',
    [
      'netns',
      'exec',
      state.namespace,
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      program,
      target,
      '80',
    ],
    {
      detached: true,
      stdio: ['ignore', 'ignore', 'ignore', fd],
    },
  );
  child.on('error', () => undefined);
  child.unref();
  remember(places.runDir, 'forward', child.pid);
  // The child holds its own copy of the socket.
  server.close();
  const url = `http://localhost:${address.port}/`;
  writeState(places.runDir, { ...requireState(places.runDir), url });
  return url;
}

async function listen(port: number): Promise<Server | undefined> {
  const server = createServer();
  return await new Promise((resolve) => {
    server.once('error', () => resolve(undefined));
    server.listen({ host: '127.0.0.1', port }, () => resolve(server));
  });
}

/** What of the lab lives: for `rouse lab status`. */
export function livingParts(state: LabState): Readonly<Record<string, boolean>> {
  return Object.fromEntries(Object.entries(state.processes).map(([part, mark]) => [part, isAlive(mark)]));
}

/**
 * Ends every process of the lab and removes its namespace, with what lies in it. Safe to call at any time and twice.
 *
 * Machines go first (power off), then the supervisor is told to stop its services in order (HUP), then whatever still
 * lives inside the namespace is ended: it is the lab's own, nothing else is ever in there.
 */
export async function stopRack(places: LabPlaces): Promise<void> {
  const state = readLab(places.runDir);
  if (state === undefined) return;
  const parts = Object.entries(state.processes);
  await Promise.all(
    parts
      .filter(([part]) => part.startsWith('node:') || part === 'forward')
      .map(([, mark]) => endProcess(mark, 'SIGTERM', 3000)),
  );
  const supervise = state.processes['supervise'];
  if (
    supervise !== undefined &&
    signalProcess(supervise, 'SIGHUP') &&
    !(await waitGone(supervise, SUPERVISE_STOP_MS))
  ) {
    await endProcess(supervise, 'SIGTERM', 2000);
  }
  await emptyNamespace(state.namespace);
  for (const socket of readdirSync(places.runDir).filter((name) => name.endsWith('.sock')))
    rmSync(join(places.runDir, socket), { force: true });
  rmSync(stateFile(places.runDir), { force: true });
}

async function emptyNamespace(namespace: string): Promise<void> {
  if (!existsSync(`/run/netns/${namespace}`)) return;
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const { stdout } = await execa('ip', ['netns', 'pids', namespace], { reject: false, stdin: 'ignore' });
    const marks = stdout
      .split('\n')
      .filter(Boolean)
      .map(Number)
      .map(markProcess)
      .filter((mark) => mark !== undefined);
    await Promise.all(
      marks.map(async (mark) => {
        signalProcess(mark, signal);
        await waitGone(mark, 3000);
      }),
    );
  }
  await ip('netns', 'del', namespace);
}
