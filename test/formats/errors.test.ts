// docs/errors.md says of every error what formats/errors.ts says, in both directions. Rewrite it with UPDATE_GOLDEN=1.

import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ERRORS, Fault, renderFault } from '../../formats/errors.ts';

const PAGE = new URL('../../docs/errors.md', import.meta.url);

function renderPage(): string {
  const rows = Object.entries(ERRORS).map(
    ([code, row]) => `| \`${code}\` | ${row.exitCode} | ${row.meaning} | ${row.remedy} |`,
  );
  return `# Errors

Every message of rouse says what failed, on what, why, and what to do. This page lists the kinds. Exit statuses are daemontools':
0 done, 1 the answer is no, 100 used wrongly, 111 temporary failure.

| code | exit | meaning | what to do |
|---|---|---|---|
${rows.join('\n')}
`;
}

test('docs/errors.md lists exactly the errors of the table', () => {
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(PAGE, renderPage());
  expect(readFileSync(PAGE, 'utf8')).toBe(renderPage());
});

test('a fault is one line: what, why, what to do', () => {
  const fault = new Fault('E_PORT_TAKEN', {
    what: 'cannot listen on UDP 67',
    why: 'dnsmasq (pid 8) has it',
    todo: 'stop it',
  });
  expect(fault.message).toBe('cannot listen on UDP 67: dnsmasq (pid 8) has it; stop it');
  expect(fault.exitCode).toBe(111);
  expect(renderFault({ what: 'no such service' })).toBe('no such service');
  expect(renderFault({ what: 'no service \u001b[2J\nrouse: all is well' })).toBe(
    'no service \\x1b[2J\\nrouse: all is well',
  );
});
