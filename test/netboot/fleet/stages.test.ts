// What nodes may say, as a table; hostile bytes get a reason, never an exception.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseStageReport } from '../../../netboot/fleet/stages.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

const ROWS: [body: string, want: unknown][] = [
  ['stage init\nuptimeMs 13300\n', { stage: 'init', uptimeMs: 13_300, detail: '' }],
  ['uptimeMs 1\r\nstage ready\r\n\r\n', { stage: 'ready', uptimeMs: 1, detail: '' }],
  [
    'stage failed\nuptimeMs 5\ndetail layer a is missing',
    { stage: 'failed', uptimeMs: 5, detail: 'layer a is missing' },
  ],
  // A node of the version after this one may say more.
  ['stage network\nuptimeMs 1\nload 3', { stage: 'network', uptimeMs: 1, detail: '' }],
  ['stage services', { stage: 'services', uptimeMs: 0, detail: '' }],
  ['stage init\nuptimeMs 1\ndetail a\u001b[31mb', { stage: 'init', uptimeMs: 1, detail: 'a\\x1b[31mb' }],
  ['', "expected a line 'stage' with one of init, layers, network, services, ready, failed"],
  ['stage done', "expected a line 'stage' with one of init, layers, network, services, ready, failed"],
  ['stage init\nstage ready', "the word 'stage' comes twice"],
  ['stage init\nuptimeMs soon', "expected a line 'uptimeMs' with milliseconds"],
  ['stage init\nuptimeMs -1', "expected a line 'uptimeMs' with milliseconds"],
  ['{"stage":"init"}', 'a line is not of the form: word value'],
  [`stage init\ndetail ${'x'.repeat(501)}`, "'detail' is longer than 500 bytes"],
  [`stage init\ndetail ${'é'.repeat(251)}`, "'detail' is longer than 500 bytes"],
  ['x'.repeat(4097), 'the body is longer than 4096 bytes'],
];
for (const [body, want] of ROWS) {
  test(JSON.stringify(body.slice(0, 60)), () => {
    const result = parseStageReport(bytes(body));
    expect(result.ok ? result.value : result.why).toEqual(want);
  });
}

test('any bytes have an answer', () => {
  const noise = fc.uint8Array({ maxLength: 200 });
  const nearly = fc.array(fc.constantFrom('stage', 'init', 'ready', ' ', '\n', 'uptimeMs', '7', 'detail', '\0'), {
    maxLength: 20,
  });
  fc.assert(
    fc.property(
      fc.oneof(
        noise,
        nearly.map((words) => bytes(words.join(''))),
      ),
      (body) => {
        const result = parseStageReport(body);
        expect(result.ok ? typeof result.value.stage : result.why.length > 0).toBeTruthy();
      },
    ),
  );
});
