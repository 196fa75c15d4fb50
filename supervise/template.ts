// supervise/template.ts - instances: several services with the files of one template directory.
//
// Owns: the names. Does not own: reading files (directory.io.ts), scanning (scan.ts).
//
// A directory whose name ends with @ is a template, and no service. A directory web@8080 beside web@ is an instance of it:
// each file that a start reads and that it does not have itself is the template's, `down` excepted. Its programs run in the
// instance's directory with INSTANCE=8080. The log has its own directory in the instance, made where the template has one.
// A deviation from svscan 0.76, to which web@ would be a service. Pure.

export type Instance = {
  /** Of the template's directory, from the instance's own: "../web@". */
  readonly template: string;
  /** "8080". */
  readonly name: string;
};

const INSTANCE = /(?:^|\/)([^/@]+@)([^/]*[^/@])(\/log)?$/;

/** Whether a name of the scanned folder is a template's. */
export function isTemplate(name: string): boolean {
  return name.endsWith('@');
}

/** @param path of a service directory, or of its log. @returns undefined where it is no instance by its name. */
export function instanceOf(path: string): Instance | undefined {
  const [, template, name, log] = INSTANCE.exec(path) ?? [];
  if (template === undefined || name === undefined) return undefined;
  return { template: log === undefined ? `../${template}` : `../../${template}/log`, name };
}
