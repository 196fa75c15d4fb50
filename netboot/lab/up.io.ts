// netboot/lab/up.io.ts - `rouse lab up`: from nothing to a node that answers, as a list of named steps.
//
// Owns: the order of the steps. Does not own: how each is done (rack.io.ts, images/), how progress is shown (bin).

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, reasonOf } from '../../formats/errors.ts';
import { buildImage } from '../../images/build.io.ts';
import { describeBuildEvent } from '../../images/event.ts';
import { fetchLoaders } from '../../images/loaders.io.ts';
import type { RuntimeSource } from '../../images/runtime.io.ts';
import { openStore } from '../../images/store.io.ts';
import { askNetboot } from '../api/client.io.ts';
import { chooseAccelerator } from './accel.io.ts';
import { followBoot, nodeFacts } from './follow.io.ts';
import {
  checkHost,
  type LabPlaces,
  livingParts,
  makeRack,
  requireLab,
  requireState,
  startForwarder,
  startNode,
  startSupervise,
  writeNetbootService,
  writeSite,
} from './rack.io.ts';
import { type LabNode, pageAddress } from './rack.ts';

/** Emulated machines take about a minute; a loaded one several. */
const BOOT_TIMEOUT_MS = 600_000;
const BOOT_SERVER_TIMEOUT_MS = 30_000;
const PAGE_TRIES = 60;
const PAGE_TIMEOUT_MS = 5000;

export type LabOptions = {
  /** Node and rouse for images that want them. */
  readonly runtime: RuntimeSource;
  readonly places: LabPlaces & { readonly roleDirs: readonly string[] };
  /** Absolute path of the rouse command, for the services' run scripts. */
  readonly rouse: string;
  /** ROUSE_HOME of everything that is started. */
  readonly home: string;
  readonly nodes: readonly LabNode[];
  /** Port on localhost that leads to the lab's page; another one is taken if it is not free. */
  readonly port: number;
  readonly signal?: AbortSignal;
};

/** One step: `run` reports what it is doing and may end with a line to keep. */
export type LabStep = {
  readonly title: string;
  readonly run: (report: (line: string) => void) => Promise<string | undefined>;
};

/** The steps in order; each relies on those before it. After a failure or an abort, `stopRack` removes what was made. */
export function labSteps({ runtime, places, rouse, home, nodes, port, signal }: LabOptions): readonly LabStep[] {
  const netbootSocket = join(places.runDir, 'netboot.sock');
  // A lab profile boots the image of its own name.
  const images = [...new Set(nodes.map(({ profile }) => profile))];
  let kernel = '';
  /** By image: what its root needs to be unpacked, where that is more than a lab's machine has. */
  const memoryMiB = new Map<string, number>();
  const sized = (node: LabNode): LabNode => ({
    ...node,
    memoryMiB: Math.max(node.memoryMiB, memoryMiB.get(node.profile) ?? 0),
  });
  const steps: LabStep[] = [
    {
      title: 'Check this machine',
      run: async () => {
        checkHost(places);
        writeSite(places.configDir, nodes);
        return undefined;
      },
    },
    ...images.map((image) => ({
      title: `Build the image ${image}`,
      run: async (report: (line: string) => void) => {
        const { manifest, built } = await buildImage({
          roleDirs: places.roleDirs,
          role: image,
          libDir: places.libDir,
          cacheDir: places.cacheDir,
          runtime,
          onProgress: (event) => report(describeBuildEvent(event)),
        });
        const store = openStore(places.libDir);
        // A lab is where one looks at what was just built. Elsewhere publishing is an operator's own step.
        if (built) await store.promote(image, manifest.generation);
        kernel = store.kernelPath(manifest.kernel.sha256);
        memoryMiB.set(image, manifest.memoryMb ?? 0);
        const bytes = manifest.layers.reduce((sum, layer) => sum + layer.servedBytes, 0);
        return `generation ${manifest.generation}, ${(bytes / 1e6).toFixed(1)} MB${built ? '' : ', unchanged'}`;
      },
    })),
    {
      title: 'Fetch the loaders',
      run: async (report) => {
        await fetchLoaders({
          libDir: places.libDir,
          cacheDir: places.cacheDir,
          onProgress: (event) => report(describeBuildEvent(event)),
          // Its machines take iPXE: the others are 10 MB more to wait for.
          packages: ['ipxe'],
        });
        return undefined;
      },
    },
    {
      title: 'Wire the rack',
      run: async () => {
        const { accelerator, why } = await chooseAccelerator(kernel, join(places.cacheDir, 'accelerator'));
        const state = await makeRack(places, nodes.map(sized), accelerator);
        return `namespace ${state.namespace}; ${accelerator === 'kvm' ? 'KVM' : 'emulation'}: ${why}`;
      },
    },
    {
      title: 'Start the boot server under rouse supervise',
      run: async () => {
        const { namespace } = requireState(places.runDir);
        startSupervise(places, rouse, writeNetbootService(places, { namespace, rouse, home }), home);
        await waitForBootServer(places, netbootSocket, signal);
        return undefined;
      },
    },
  ];
  for (const node of nodes) {
    steps.push({
      title: `Boot ${node.name} from the network`,
      run: async (report) => {
        const sinceMs = Date.now();
        startNode(places, requireLab(places.runDir), sized(node));
        const attempt = await followBoot({
          socketPath: netbootSocket,
          node: node.name,
          sinceMs,
          timeoutMs: BOOT_TIMEOUT_MS,
          onLine: report,
          ...(signal && { signal }),
        });
        return attempt.outcome.kind === 'ready'
          ? `ready after ${((attempt.outcome.atMs - sinceMs) / 1000).toFixed(0)} s`
          : undefined;
      },
    });
  }
  steps.push({
    title: 'Open the way to the page',
    run: async (report) => {
      const [first] = nodes;
      const booted = first === undefined ? undefined : await nodeFacts(netbootSocket, first.name);
      const url = await startForwarder(places, requireLab(places.runDir), pageAddress(nodes, booted?.address), port);
      // Balancers alone have nobody who could answer yet.
      if (!nodes.some(({ profile }) => profile === 'web')) return `${url}, once there is a web server`;
      report(`asking ${url}`);
      await waitForPage(url, places, signal);
      return url;
    },
  });
  return steps;
}

/** An address that is printed has answered: a balancer takes its virtual address some seconds after it is ready. */
async function waitForPage(url: string, places: LabPlaces, signal: AbortSignal | undefined): Promise<void> {
  let why = '';
  for (let asked = 0; asked < PAGE_TRIES; asked += 1) {
    signal?.throwIfAborted();
    try {
      const answer = await fetch(url, { signal: AbortSignal.timeout(PAGE_TIMEOUT_MS) });
      await answer.body?.cancel();
      if (answer.ok) return;
      why = `it answers with status ${answer.status}`;
    } catch (error) {
      why = reasonOf(error);
    }
    await sleep(1000);
  }
  throw new Fault('E_TIMEOUT', {
    what: `the nodes are ready and ${url} does not answer`,
    why,
    todo: `look at a node's console, logged in ${places.runDir}`,
  });
}

async function waitForBootServer(
  places: LabPlaces,
  socketPath: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let waitedMs = 0; waitedMs < BOOT_SERVER_TIMEOUT_MS; waitedMs += 200) {
    signal?.throwIfAborted();
    if (livingParts(requireState(places.runDir))['supervise'] !== true) {
      throw new Fault('E_COMMAND', {
        what: 'rouse supervise ended as soon as it was started',
        why: `its words are in ${join(places.runDir, 'supervise.log')}`,
      });
    }
    try {
      await askNetboot(socketPath, '/v1/health');
      return;
    } catch (error) {
      if (!(error instanceof Fault) || error.code !== 'E_UNREACHABLE') throw error;
    }
    await sleep(200);
  }
  throw new Fault('E_TIMEOUT', {
    what: `the boot server does not answer after ${BOOT_SERVER_TIMEOUT_MS / 1000} s`,
    why: `its words are in ${join(places.configDir, 'services', 'netboot', 'log', 'main', 'current')}`,
  });
}
