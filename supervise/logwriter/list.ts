// supervise/logwriter/list.ts - which logs the log writer writes: the file by which the supervisor tells it.
//
// Owns: the file's form. Does not own: when it is written (logs.io.ts of the room) or read (main.io.ts).
// The file is replaced as a whole. It is there before the writer starts, and stays when the supervisor dies, so each of
// them may be the one that comes back. Pure.

export type LogEntry = {
  /** "device:inode" of the service directory: a log keeps its writer when its directory is renamed. */
  readonly id: string;
  /** Name of the service, for messages. */
  readonly name: string;
  /** The service directory. */
  readonly directory: string;
  /** "device:inode" of its log/: where that is another, the log begins anew there. Not in the lists of 0.1's first days. */
  readonly logId?: string;
  /** Text of log/multilog. */
  readonly script: string;
};

const VERSION = 1;

export function encodeList(logs: readonly LogEntry[]): string {
  return `${JSON.stringify({ version: VERSION, logs })}\n`;
}

/** @returns undefined for anything that is not a list of this version. Never throws. */
export function decodeList(text: string): LogEntry[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { version, logs } = value as { version?: unknown; logs?: unknown };
  if (version !== VERSION || !Array.isArray(logs)) return undefined;
  return logs.every(isEntry) ? logs : undefined;
}

function isEntry(value: unknown): value is LogEntry {
  if (typeof value !== 'object' || value === null) return false;
  const { id, name, directory, logId = '', script } = value as Partial<Record<string, unknown>>;
  return [id, name, directory, logId, script].every((field) => typeof field === 'string');
}
