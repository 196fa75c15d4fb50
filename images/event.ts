// images/event.ts - what a build says while it runs, for whoever shows progress.
//
// Owns: the events' vocabulary. Does not own: how they look (bin/commands/image.ts). Pure.

/** The steps of a build in the order in which they happen; a step that finds its result cached is not told. */
const BUILD_STEPS = {
  lists: 'reading the package lists',
  resolve: 'choosing packages',
  download: 'downloading packages',
  kernel: 'unpacking the kernel',
  unpack: 'unpacking packages',
  compress: 'compressing layers',
  publish: 'publishing',
} as const satisfies Record<string, string>;

type BuildStep = keyof typeof BUILD_STEPS;

/** `done` and `total` are bytes where the step counts them. */
export type BuildEvent =
  | {
      readonly kind: 'step';
      readonly step: BuildStep;
      readonly detail?: string;
      readonly doneBytes?: number;
      readonly totalBytes?: number;
    }
  | { readonly kind: 'note'; readonly text: string };

export type OnBuildEvent = (event: BuildEvent) => void;

/** The same line all the while: "downloading packages: 14.5 MB". Where lines stay, as in a file, it is written once. */
export function withoutCount(line: string): string {
  return line.replace(/: [\d.]+ of /, ': ');
}

/** One line for people: "downloading packages: 3.2 of 14.5 MB". */
export function describeBuildEvent(event: BuildEvent): string {
  if (event.kind === 'note') return event.text;
  const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
  const detail = event.detail === undefined ? '' : ` ${event.detail}`;
  const { doneBytes, totalBytes } = event;
  const counted = totalBytes === undefined ? '' : `: ${megabytes(doneBytes ?? 0)} of ${megabytes(totalBytes)} MB`;
  return `${BUILD_STEPS[event.step]}${detail}${counted}`;
}
