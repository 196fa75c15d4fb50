// How much memory an image needs, beside what kernels in real guests gave their root (stat -f / at its first prompt).

import { expect, test } from 'vitest';
import { leastMemoryMb, memoryProblem } from '../../images/memory.ts';

/** Memory of the guest in MiB, the limit of its root in pages, with an initrd of 4 394 496 bytes. */
const GUESTS = [
  [96, 6145],
  [128, 10_241],
  [512, 58_553],
  [1024, 122_969],
] as const;
const holding = (unpackedBytes: number) => [{ servedBytes: 4_394_496, unpackedBytes, files: 0 }];

for (const [memoryMb, pages] of GUESTS) {
  test(`a guest of ${memoryMb} MiB: never more than its root held, and not much less`, () => {
    expect(memoryProblem(holding(pages * 4096 + 4096), memoryMb)).toBeDefined();
    expect(memoryProblem(holding(pages * 4096 - 2.5 * 2 ** 20), memoryMb)).toBeUndefined();
  });
}

test('every file takes whole pages, and the sentence says what is needed', () => {
  const layers = [{ servedBytes: 2 ** 20, unpackedBytes: 10 * 2 ** 20, files: 2560 }];
  expect(leastMemoryMb(layers)).toBe(87);
  expect(memoryProblem(layers, 64)).toBe(
    'unpacked the image takes 20.0 MiB, and a root may take half of what the kernel leaves free: it needs nodes of 87 MiB',
  );
});
