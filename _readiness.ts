/** Whether a call on a handle would wait, without making it: what select(2) is built on. */

/** Where a handle tells of itself. */
export const readiness: unique symbol = Symbol("readiness");

/** Where a stream shows what it has kept for the next reader. */
export const kept: unique symbol = Symbol("kept");

/** Where a stream lends out what it has kept, so that it need not be copied. */
export const lending: unique symbol = Symbol("lending");

/** Where a stream reads into memory that is the caller's from then on. */
export const receiving: unique symbol = Symbol("receiving");

/** Where a stream is told to keep more than it does, for those who look at it without taking it. */
export const keeping: unique symbol = Symbol("keeping");

/** Lends out what has come. */
export interface Lender extends Readiness {
  /**
   * What has come, in a buffer that is the caller's until it is given back; `undefined` if there is
   * nothing, more than `most` bytes, or somebody who waits for it in a read.
   */
  borrow(most: number): Uint8Array<ArrayBuffer> | undefined;
  /**
   * Gives back what was borrowed last.
   *
   * @param chunk What was borrowed.
   * @param isUsed Whether it was used; else it is the next reader's, as it was.
   * @returns `false` if others have read on meanwhile, so that it cannot be put back.
   */
  giveBack(chunk: Uint8Array<ArrayBuffer>, isUsed: boolean): boolean;
}

/** The lender of a stream of ours. */
export function lenderOf(reader: object): Lender | undefined {
  return (reader as { [lending]?: Lender })[lending];
}

/** What a handle tells. Nothing is consumed by asking. */
export interface Readiness {
  /** Whether a call would not wait: something is there, or the end, or an error. */
  readonly ready: boolean;
  /**
   * Finds out when that is so.
   *
   * @param onReady Called once, then or when the handle is closed; perhaps at once.
   * @param holds Whether the process is kept alive meanwhile; `true` by default.
   * @returns Ends the watch.
   */
  watch(onReady: () => void, holds?: boolean): () => void;
}

/** A handle that tells. */
export interface Watchable {
  readonly [readiness]: Readiness;
}

/** Those who watch a handle. */
export class Watchers {
  /** Everybody, and whether they keep the process alive. */
  readonly #all = new Map<() => void, boolean>();
  #holding = 0;

  /** Whether anybody watches. */
  get any(): boolean {
    return this.#all.size > 0;
  }

  /** Whether anybody watches who keeps the process alive. */
  get hold(): boolean {
    return this.#holding > 0;
  }

  add(onReady: () => void, holds: boolean): void {
    this.#all.set(onReady, holds);
    if (holds) this.#holding++;
  }

  remove(onReady: () => void): void {
    if (this.#all.get(onReady)) this.#holding--;
    this.#all.delete(onReady);
  }

  /** Tells everybody, whose watches are over by that. */
  notify(): void {
    if (this.#all.size === 0) return;
    const all = [...this.#all.keys()];
    this.#all.clear();
    this.#holding = 0;
    for (const onReady of all) onReady();
  }
}
