/** Whether a call on a handle would wait, without making it: what select(2) is built on. */

/** Where a handle tells of itself. */
export const readiness: unique symbol = Symbol("readiness");

/** Where a stream shows what it has kept for the next reader. */
export const kept: unique symbol = Symbol("kept");

/** What a handle tells. Nothing is consumed by asking. */
export interface Readiness {
  /** Whether a read, an accept or a receive would not wait: something is there, or the end, or an error. */
  readonly readable: boolean;
  /**
   * Finds out when that is so. Meanwhile the process is kept alive.
   *
   * @param onReadable Called once, then or when the handle is closed; perhaps at once.
   * @returns Ends the watch.
   */
  watch(onReadable: () => void): () => void;
}

/** A handle that tells. */
export interface Watchable {
  readonly [readiness]: Readiness;
}

/** Those who watch a handle. */
export class Watchers {
  readonly #all = new Set<() => void>();

  /** Whether anybody watches. */
  get any(): boolean {
    return this.#all.size > 0;
  }

  add(onReadable: () => void): void {
    this.#all.add(onReadable);
  }

  remove(onReadable: () => void): void {
    this.#all.delete(onReadable);
  }

  /** Tells everybody, whose watches are over by that. */
  notify(): void {
    if (this.#all.size === 0) return;
    const all = [...this.#all];
    this.#all.clear();
    for (const onReadable of all) onReadable();
  }
}
