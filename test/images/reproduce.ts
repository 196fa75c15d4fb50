// One build in a process of its own, for reproducible.fault.test.ts: in another folder, by another user.
//
// Usage: node reproduce.ts ROLES ROLE LIB CACHE NODE
//   NODE   a stand-in for Node, as quick to compress as it is small
// Prints JSON: what the manifest says of layers and kernel, and the SHA-256 of the layer that this Node itself makes.

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { runtimeSource } from '../../bin/runtime.ts';
import { buildImage } from '../../images/build.io.ts';
import { writeLayer } from '../../images/layers.io.ts';
import { readRuntime } from '../../images/runtime.io.ts';

const [roles = '', role = '', libDir = '', cacheDir = '', nodePath = ''] = process.argv.slice(2);
const source = await runtimeSource(cacheDir);
const runtime = { ...source, nodePath };
const { manifest } = await buildImage({ roleDirs: [roles], role, libDir, cacheDir, runtime });
const { node } = await readRuntime(source, process.arch === 'arm64' ? 'arm64' : 'amd64', role);
const { layer, staged } = await writeLayer(join(libDir, 'node'), 'node', [node], { effort: 'quick' });
rmSync(staged);
process.stdout.write(JSON.stringify({ layers: manifest.layers, kernel: manifest.kernel, node: layer }));
