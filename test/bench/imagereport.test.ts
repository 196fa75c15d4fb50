// The table of `npm run bench images`: the middle of builds, the least of boots, ratios to rouse, and what could not be measured.

import { expect, test } from 'vitest';
import { type BuilderResult, renderImageReport } from '../../bench/imagereport.ts';

const boot = (cpuMs: number) => ({ cpuMs, wallMs: cpuMs + 100 });
const rouse: BuilderResult = {
  name: 'rouse',
  text: 'layers',
  copies: false,
  coldMs: 20_000,
  warmMs: [1000, 3000, 2000],
  editMs: [500],
  compressedBytes: 4_000_000,
  scriptBoots: [boot(2500), boot(2400), boot(2600)],
  ownBoots: [boot(3000)],
};
const nothing = { coldMs: Number.NaN, warmMs: [], editMs: [], compressedBytes: Number.NaN };

test('each builder has its row, with how many times those of rouse its figures are, and its sentence', () => {
  const lines = renderImageReport([
    rouse,
    { ...rouse, name: 'packer', text: 'no init', warmMs: [6000], ownBoots: [] },
    { ...rouse, ...nothing, name: 'late', text: 'none', copies: true, scriptBoots: [], ownBoots: [], why: 'no disk' },
  ]).map((line) => line.replaceAll(/ {2,}/g, ' | '));
  expect(lines).toEqual([
    'BUILDER | COLD s | WARM s | ONE FILE s | MB | SCRIPT CPU s | OWN INIT CPU s | OWN INIT s',
    'rouse | 20.0 | 2.0 | 0.50 | 4.00 | 2.40 | 3.00 | 3.10',
    'packer | 20.0 (1.0) | 6.0 (3.0) | 0.50 (1.0) | 4.00 (1.0) | 2.40 (1.0) | - | -',
    'late | - | - | - | - | - | - | -',
    'late: no disk',
    '',
    'CPU s: of QEMU, power-on to the first answer, least of the boots; SCRIPT: started by one script of ten lines, for all',
    'rouse: layers',
    'packer: no init',
    'late: none',
    'copying from an installed system, which only their COLD has the time of making: late',
  ]);
});
