// netboot/site/write.io.ts - changing node files by command: checked as a whole, written one by one, audited.
//
// Owns: the order (read, edit, check the whole site with the edit in place, see that nobody wrote meanwhile, write beside,
// rename) and the audit log's lines. Does not own the edit (edit.ts), the checks (site.ts), who may ask (api.io.ts).

import { appendFile, mkdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, reasonOf } from '../../formats/errors.ts';
import { publishNew, replaceFile } from '../../images/files.io.ts';
import { renderProblem } from '../../formats/yaml/document.ts';
import { type Assignment, editNodeText, type FileChange, lineDiff } from './edit.ts';
import type { SitePlaces, SiteReader } from './load.io.ts';
import { missing } from './missing.ts';
import { type NewNode, renderNodeFile } from './newnodes.ts';
import { readRegular } from './read.io.ts';
import type { SiteTexts } from './files.ts';

export type NodeEdit = {
  readonly names: readonly string[];
  readonly assignments: readonly Assignment[];
  /** Who, and by which command; goes into the audit log. */
  readonly who: string;
  readonly what: string;
  /** Shows what would change and writes nothing. */
  readonly isDryRun: boolean;
};

/** What was done, and the text of every file that was written: its edit is told of. */
export type Written = { readonly changes: readonly FileChange[]; readonly texts: ReadonlyMap<string, string> };

/**
 * Sets values on nodes, all of them or none.
 *
 * @param reader whose cache makes this cheap in the daemon.
 * @throws Fault E_NOT_FOUND for an unknown node; E_CONFIG where the site would not validate, with the first problem; E_NO
 *   where a file changed since it was read or cannot be edited in place.
 */
export async function editNodes(places: SitePlaces, reader: SiteReader, edit: NodeEdit): Promise<Written> {
  const texts = await reader.readTexts();
  const nodes = new Map(texts.nodes);
  const changes: { file: string; before: string; after: string }[] = [];
  for (const name of edit.names) {
    const file = nodes.get(name);
    if (file === undefined) throw missing('node', name, nodes.keys());
    if (file.fault !== undefined) throw new Fault('E_NO', { what: `cannot change ${file.path}`, why: file.fault });
    const result = editNodeText(file.text, edit.assignments);
    if (!result.ok) throw new Fault('E_NO', { what: `cannot change ${file.path}`, why: result.why });
    if (result.text === file.text) continue;
    nodes.set(name, { path: file.path, text: result.text });
    changes.push({ file: file.path, before: file.text, after: result.text });
  }
  await mustValidate(reader, { ...texts, nodes });
  const shown = changes.map(({ file, before, after }) => ({ file, diff: lineDiff(before, after) }));
  if (edit.isDryRun || changes.length === 0) return { changes: shown, texts: new Map() };
  for (const { file, before, after } of changes) await replaceIfSame(join(places.configDir, file), before, after);
  await audit(places.libDir, { who: edit.who, what: edit.what, changes: shown });
  return { changes: shown, texts: new Map(changes.map(({ file, after }) => [file, after])) };
}

/** Nodes that are to be made, all of them or none. */
export type NodeCreation = {
  readonly nodes: readonly NewNode[];
  /** Where each came from, as the comment that opens its file; by the node's name. */
  readonly comments: Readonly<Record<string, string>>;
  readonly who: string;
  readonly what: string;
  readonly isDryRun: boolean;
};

/**
 * Writes a file for each new node.
 *
 * @throws Fault E_NO where a node of that name is there already, E_CONFIG where the site would not validate; nothing was
 *   written then.
 */
export async function createNodes(places: SitePlaces, reader: SiteReader, creation: NodeCreation): Promise<Written> {
  const texts = await reader.readTexts();
  const nodes = new Map(texts.nodes);
  const made: { file: string; text: string }[] = [];
  for (const node of creation.nodes) {
    const file = `nodes/${node.name}.yaml`;
    if (nodes.has(node.name)) {
      const todo = `choose another name, or change it with: rouse node set ${node.name} …`;
      throw new Fault('E_NO', { what: `cannot make ${file}`, why: 'there is a node of that name', todo });
    }
    const text = renderNodeFile(node, creation.comments[node.name]);
    nodes.set(node.name, { path: file, text });
    made.push({ file, text });
  }
  await mustValidate(reader, { ...texts, nodes });
  const shown = made.map(({ file, text }) => ({
    file,
    diff: lineDiff('', text.trimEnd()).filter((line) => line !== '-'),
  }));
  if (creation.isDryRun || made.length === 0) return { changes: shown, texts: new Map() };
  const written: string[] = [];
  try {
    await mkdir(join(places.configDir, 'nodes'), { recursive: true });
    for (const { file, text } of made) written.push(await createFile(join(places.configDir, file), text));
  } catch (error) {
    for (const path of written) await unlink(path).catch(() => undefined);
    throw error;
  }
  await audit(places.libDir, { who: creation.who, what: creation.what, changes: shown });
  return { changes: shown, texts: new Map(made.map(({ file, text }) => [file, text])) };
}

/** @throws Fault E_CONFIG with the first problem of a site that would not validate. */
async function mustValidate(reader: SiteReader, texts: SiteTexts): Promise<void> {
  const checked = reader.build(texts, await reader.images.read());
  if (checked.ok) return;
  const [first] = checked.problems;
  throw new Fault('E_CONFIG', {
    what: 'nothing was changed, for then the configuration would not validate',
    why: first === undefined ? undefined : renderProblem(first),
  });
}

/** Whole from the start, and never over another's. @returns the path. */
async function createFile(path: string, text: string): Promise<string> {
  try {
    if (await publishNew(path, text)) return path;
  } catch (error) {
    throw new Fault('E_NO', { what: `cannot make ${path}`, why: reasonOf(error) }, { cause: error });
  }
  throw new Fault('E_NO', { what: `cannot make ${path}`, why: 'somebody else made it meanwhile' });
}

async function replaceIfSame(path: string, before: string, after: string): Promise<void> {
  // An editor that saved between our reading and now would lose its work; the last instant is as good as it gets.
  const isSame = async (): Promise<boolean> => {
    const now = await readRegular(path);
    return now.kind === 'text' && now.text === before;
  };
  if (await replaceFile(path, after, isSame)) return;
  throw new Fault('E_NO', {
    what: `${path} was not changed`,
    why: 'somebody else changed it meanwhile',
    todo: 'try again',
  });
}

/** One line of lib/audit.jsonl: who did what, and when. */
export async function audit(
  libDir: string,
  entry: { readonly who: string; readonly what: string } & Readonly<Record<string, unknown>>,
): Promise<void> {
  await mkdir(libDir, { recursive: true, mode: 0o700 });
  const line = JSON.stringify({ at: new Date().toISOString(), ...entry });
  await appendFile(join(libDir, 'audit.jsonl'), `${line}\n`, { mode: 0o600, flush: true });
}
