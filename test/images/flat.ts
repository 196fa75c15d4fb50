// One build of an image in a process of its own, which says how much memory it took at most. For flat.fault.test.ts.
//
// Usage: node flat.ts role ROLES LIB CACHE     the image `bulk`, whose role carries much content
//        node flat.ts package DEB FOLDER       the layer of one package, unpacked and laid out
//        node flat.ts look LIB                 what is published, verified and compared with itself
// Prints the peak of its resident memory in KiB (VmHWM, proc_pid_status(5)).

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildImage } from '../../images/build.io.ts';
import { diffImages } from '../../images/compare.io.ts';
import { peekAt } from '../../images/content.io.ts';
import { readDeb } from '../../images/deb.io.ts';
import { layoutPackages } from '../../images/layout.ts';
import { openStore } from '../../images/store.io.ts';
import { verifyImage } from '../../images/verify.io.ts';

const [what = '', from = '', to = '', cacheDir = ''] = process.argv.slice(2);
if (what === 'role') await buildImage({ roleDirs: [from], role: 'bulk', libDir: to, cacheDir });
else if (what === 'look') {
  const store = openStore(from);
  const manifest = await store.manifest('bulk');
  const problems = await verifyImage(store, 'bulk');
  const { files } = await diffImages(store, manifest, manifest);
  if (problems.length + files.length > 0) throw new Error(`${problems.join()} ${files.length}`);
} else {
  const packages = [{ name: 'bulk', entries: await readDeb(from, 'bulk', join(to, 'unpacked')) }];
  const { files } = layoutPackages({
    packages,
    below: [],
    provided: new Set(),
    keep: [],
    leaveOut: [],
    peek: peekAt,
  });
  await openStore(to).makeLayer(
    'bulk',
    files.map(({ entry }) => entry),
  );
}
process.stdout.write(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '');
