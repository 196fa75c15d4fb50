// netboot/site/newnodes.ts - nodes that are to be made by a command: what is said of each, and the text of its file.
//
// Owns: the shape of a node to be made, and its file's first text. Does not own where they come from (adopt.ts, import.ts),
// writing them (write.io.ts), what makes a valid site (site.ts). Pure.

import { Document, isSeq } from 'yaml';
import { z } from 'zod';
import { cards, labels as nodeLabels, line, macText, NODE_NAME, slug } from './schema.ts';

export const NewNodeSchema = z.strictObject({
  name: z.string().regex(NODE_NAME, 'expected a host name: lower-case letters, digits and -, at most 63'),
  macs: cards(macText),
  profile: slug,
  address: z.string().optional(),
  labels: nodeLabels.optional(),
  note: line.optional(),
});

export type NewNode = z.infer<typeof NewNodeSchema>;

/** @param comment one line that says where the node came from. */
export function renderNodeFile({ macs, profile, address, labels, note }: NewNode, comment: string | undefined): string {
  const settings = {
    macs,
    profile,
    ...(address === undefined ? {} : { address }),
    ...(labels === undefined || Object.keys(labels).length === 0 ? {} : { labels }),
    ...(note === undefined || note === '' ? {} : { note }),
  };
  const head = comment === undefined ? '' : `# ${comment.replace(/\p{C}/gu, '?').slice(0, 200)}\n`;
  const document = new Document(settings);
  const list = document.get('macs');
  // On one line, as people write it.
  if (isSeq(list)) list.flow = true;
  return `${head}${document.toString({ lineWidth: 0, flowCollectionPadding: false })}`;
}
