// supervise/changes.ts - telling listeners which services have changed.
//
// Owns: what was told last. Does not own: when to look (supervisor.io.ts), sending (server.io.ts). Pure.
// Nobody listens, most of the time: then nothing is listed, compared or kept.

import type { ServiceView } from './view.ts';

type Listener = (view: ServiceView) => void;

export class Changes {
  readonly #list: () => readonly ServiceView[];
  readonly #listeners = new Set<Listener>();
  readonly #told = new Map<string, string>();

  constructor(list: () => readonly ServiceView[]) {
    this.#list = list;
  }

  /** Calls back with each service that is not as it is now, or as it was told last. @returns how to stop. */
  listen(listener: Listener): () => void {
    if (this.#listeners.size === 0) for (const view of this.#list()) this.#told.set(view.name, comparable(view));
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#told.clear();
    };
  }

  tell(): void {
    if (this.#listeners.size === 0) return;
    for (const view of this.#list()) {
      const text = comparable(view);
      if (this.#told.get(view.name) === text) continue;
      this.#told.set(view.name, text);
      for (const listener of this.#listeners) listener(view);
    }
  }
}

/** A blocked directory has no time of its own. */
function comparable(view: ServiceView): string {
  return JSON.stringify(view.phase === 'blocked' ? { ...view, changedAtMs: 0 } : view);
}
