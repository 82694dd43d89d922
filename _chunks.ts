/** What a copy reads: chunk after chunk, as large as what comes, without a copy of its own if it can be. */

import type { Reader } from "./types.ts";
import { AbortableReads } from "./_abortable_reads.ts";
import { type Lender, lenderOf } from "./_readiness.ts";

/**
 * Of data that were given to a `writeAll()` which ended before all of them went out: how many did. Only where
 * that is known, and the writer goes on with others'.
 */
export const unsent: WeakMap<Uint8Array, number> = new WeakMap();

/** How large a buffer is at first: most connections never have more at once. */
const FIRST = 4096;

/** How large one of ours becomes: fewer and larger reads and writes, where the peer is fast. */
const MOST = 262_144;

/**
 * Chunks of a stream. Where a wait may be given up, a connection of ours lends out what it has kept: that
 * needs no listener on the signal for each read, and moves no bytes.
 */
export class Chunks implements Disposable {
  readonly #reader: Reader;
  readonly #most: number;
  readonly #mostLent: number;
  readonly #signal: AbortSignal | undefined;
  readonly #reads: AbortableReads;
  readonly #lender: Lender | undefined;
  /** Our own buffer, where nothing is lent. */
  #buffer: Uint8Array<ArrayBuffer> | undefined;
  #isLent = false;
  /** Ends the wait that is under way. */
  #wake: (() => void) | undefined;
  readonly #onAbort = () => this.#wake?.();

  /**
   * @param reader Where the bytes come from.
   * @param most The size of the largest chunk, if there is a limit.
   * @param signal What ends a wait.
   */
  constructor(
    reader: Reader,
    most: number | undefined,
    signal: AbortSignal | undefined,
  ) {
    this.#reader = reader;
    this.#most = most ?? MOST;
    this.#mostLent = most ?? Infinity;
    this.#signal = signal;
    this.#reads = new AbortableReads(reader, signal);
    this.#lender = signal === undefined ? undefined : lenderOf(reader);
    signal?.addEventListener("abort", this.#onAbort);
  }

  /** The next chunk, until it is given back; `null` at the end of the stream. */
  async next(): Promise<Uint8Array<ArrayBuffer> | null> {
    const lender = this.#lender;
    this.#isLent = false;
    // A wait for it to be readable would know nothing of the connection's own timeout.
    if (
      lender !== undefined &&
      (this.#reader as { timeout?: number }).timeout === undefined
    ) {
      if (!lender.ready) await this.#untilReady(lender);
      const chunk = lender.borrow(this.#mostLent);
      this.#isLent = chunk !== undefined;
      if (chunk !== undefined) return chunk;
    }
    // Nothing is lent here; or it is the end, an error, or somebody else reads too.
    const buffer = this.#buffer ??= new Uint8Array(Math.min(this.#most, FIRST));
    try {
      const n = await this.#reads.read(buffer);
      return n === null ? null : buffer.subarray(0, n);
    } catch (error) {
      throw this.#reads.error(error, buffer.subarray(0, 0), undefined);
    }
  }

  async #untilReady(lender: Lender): Promise<void> {
    const signal = this.#signal!;
    signal.throwIfAborted();
    await new Promise<void>((resolve) => {
      const end = lender.watch(resolve);
      this.#wake = () => {
        end();
        resolve();
      };
    });
    this.#wake = undefined;
    signal.throwIfAborted();
  }

  /** Gives a chunk back that was used. */
  reuse(chunk: Uint8Array<ArrayBuffer>): void {
    if (this.#isLent) {
      this.#lender!.giveBack(chunk, true);
      return;
    }
    const { length } = this.#buffer!;
    // There may be more than there was room for.
    if (chunk.length === length && length < this.#most) {
      this.#buffer = new Uint8Array(Math.min(4 * length, this.#most));
    }
  }

  /**
   * Gives a chunk back that will not be used, or makes the error that hands it over.
   *
   * @param chunk The chunk.
   * @param reason Why: an abort's reason, or a timeout.
   * @param sent How many of its bytes are out.
   */
  abandon(
    chunk: Uint8Array<ArrayBuffer>,
    reason: unknown,
    sent: number,
  ): unknown {
    return sent === 0 && this.#isLent && this.#lender!.giveBack(chunk, false)
      ? reason
      : this.#reads.error(reason, chunk.subarray(sent), undefined);
  }

  /** Waits no more. */
  [Symbol.dispose](): void {
    this.#signal?.removeEventListener("abort", this.#onAbort);
  }
}
