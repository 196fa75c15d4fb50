import { defineConfig } from 'vitest/config';

// Five stages; test/run.ts runs all but the last one after the other, cheapest first. A name says where a test goes:
//   x.test.ts        unit: pure, no root, milliseconds
//   x.netns.test.ts  real servers and clients in network namespaces (root)
//   x.fault.test.ts  kills, full disks, damage (some root)
//   x.boot.test.ts   real firmware and kernels in QEMU (root)
//   x.rack.test.ts   longer ones, `npm run test:rack` only
const stage = (name: string, testTimeout: number) => ({
  test: {
    name,
    include: [`test/**/*.${name}.test.ts`],
    maxWorkers: 1,
    fileParallelism: false,
    testTimeout,
    hookTimeout: testTimeout,
  },
});

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['**/*.{netns,fault,boot,rack}.test.ts', 'node_modules'],
          isolate: false,
          testTimeout: 60_000,
        },
      },
      stage('netns', 120_000),
      stage('fault', 300_000),
      stage('boot', 600_000),
      stage('rack', 3_600_000),
    ],
  },
});
