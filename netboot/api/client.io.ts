// netboot/api/client.io.ts - asking a running `rouse netboot` over netboot.sock.
//
// Owns: one request, one JSON answer, and what its failures mean to people. Does not own: the routes (api.io.ts).

import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { Fault, reasonOf } from '../../formats/errors.ts';
import { makeProof } from './identity.io.ts';
import type { Health } from './routes.ts';

const ANSWER_TIMEOUT_MS = 10_000;
/** A list of thousands of nodes fits; a runaway answer does not fill memory. */
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/** What people are told by the errno of a UNIX socket that does not answer. */
const UNREACHABLE: Readonly<Record<string, string>> = {
  ENOENT: 'it is not running (no such socket)',
  ECONNREFUSED: 'it is not running (the socket is left over)',
  EACCES: 'this user may not use the socket; try as root',
};

/**
 * @param path route and query: "/v1/boots?node=web1". @param content sent as JSON, where there is any.
 * @returns the body of a 200 answer, parsed.
 * @throws Fault E_UNREACHABLE where no boot server answers; E_NOT_FOUND or E_NO with the server's own words otherwise.
 */
export async function askNetboot(
  socketPath: string,
  path: string,
  method: 'GET' | 'POST' | 'DELETE' = 'GET',
  content?: unknown,
): Promise<unknown> {
  const unreachable = (why: string, cause?: unknown): Fault =>
    new Fault(
      'E_UNREACHABLE',
      {
        what: `rouse netboot does not answer on ${socketPath}`,
        why,
        todo: 'start it with: rouse netboot (in a clone: npm start)',
      },
      { cause },
    );
  const proof = method === 'GET' ? undefined : await makeProof(dirname(socketPath));
  const headers = proof === undefined ? {} : { 'Rouse-Who': proof.name };
  const asked = new Promise<{ status: number; text: string }>((resolve, reject) => {
    const asking = request(
      { socketPath, method, path, headers, timeout: ANSWER_TIMEOUT_MS, agent: false },
      (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > ANSWER_BYTES_MAX)
            asking.destroy(new Error(`its answer is longer than ${ANSWER_BYTES_MAX} bytes`));
          chunks.push(chunk);
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }));
      },
    );
    asking.on('timeout', () => asking.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1000} s`)));
    asking.on('error', (error: NodeJS.ErrnoException) =>
      reject(unreachable(UNREACHABLE[error.code ?? ''] ?? error.message, error)),
    );
    if (content === undefined) asking.end();
    else asking.setHeader('Content-Type', 'application/json').end(JSON.stringify(content));
  });
  const { status, text } = await asked.finally(() => {
    void proof?.remove();
  });
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (error) {
    throw unreachable(`it answers something that is not JSON (${reasonOf(error)})`);
  }
  if (status === 200) return body;
  const said = (body as { error?: string }).error ?? `status ${status}`;
  throw new Fault(status === 404 ? 'E_NOT_FOUND' : 'E_NO', { what: said });
}

/** How the boot server of a run folder is, as its table of routes has it. @throws as askNetboot does. */
export async function askHealth(runDir: string): Promise<Health> {
  return (await askNetboot(join(runDir, 'netboot.sock'), '/v1/health')) as Health;
}

/** Whether a request failed because nobody listens: not one that is there and silent, or that we may not ask. */
export function isNotRunning(error: unknown): boolean {
  const { code } = (error instanceof Fault ? (error.cause ?? {}) : {}) as { code?: string };
  return code === 'ENOENT' || code === 'ECONNREFUSED';
}
