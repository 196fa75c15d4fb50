// netboot/http/answers.ts - answers of the boot port that are a few lines of text.
//
// Owns: their headers. Does not own who gets which (route.ts), sending (server.io.ts). Pure.

const utf8 = new TextEncoder();

/** A body in memory with its status; fits HttpResponse. */
export type TextAnswer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly parts: readonly [{ readonly kind: 'bytes'; readonly bytes: Uint8Array }];
};

export function text(status: number, body: string, headers: Readonly<Record<string, string>> = {}): TextAnswer {
  return {
    status,
    headers: { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store', ...headers },
    parts: [{ kind: 'bytes', bytes: utf8.encode(body) }],
  };
}

/** The reason as one line. */
export function refusal(status: number, why: string, allow?: string): TextAnswer {
  return text(status, `${why}\n`, allow === undefined ? {} : { Allow: allow });
}
