/** Reads that end with a signal, on any reader, and what is said where that costs bytes. */

import { IncompleteReadError } from "./errors.ts";
import { type KeepingReader, keepsReads, type Reader } from "./types.ts";
import { show } from "./_check.ts";

/** Whether a reader keeps a read that its caller has abandoned. */
export function keeps(reader: Reader): reader is KeepingReader {
  return (reader as Partial<KeepingReader>)[keepsReads] === true;
}

/** Reads whose wait ends with the signal, on any reader. */
export class AbortableReads {
  readonly #reader: Reader;
  readonly #signal: AbortSignal | undefined;
  /** How many bytes an abandoned read may still take from a reader that does not keep it. */
  swallowing = 0;

  constructor(reader: Reader, signal: AbortSignal | undefined) {
    signal?.throwIfAborted();
    this.#reader = reader;
    this.#signal = signal;
  }

  read(p: Uint8Array): Promise<number | null> {
    return this.#signal === undefined && keeps(this.#reader)
      ? this.#reader.read(p)
      : this.#readChecked(p);
  }

  /** Reads, and checks what a foreign reader says; one that brings nothing is asked again. */
  async #readChecked(p: Uint8Array): Promise<number | null> {
    for (;;) {
      const n = await this.#readOnce(p);
      if (n === null) return n;
      if (Number.isInteger(n) && n > 0 && n <= p.length) return n;
      if (n !== 0) throw wrongCount(n, p.length);
      // A reader that always brings nothing must not stop everything else.
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.#signal?.throwIfAborted();
    }
  }

  #readOnce(p: Uint8Array): Promise<number | null> {
    const signal = this.#signal;
    if (signal === undefined) return this.#reader.read(p);
    if (keeps(this.#reader)) return this.#reader.read(p, { signal });
    if (signal.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.swallowing = p.length;
        reject(signal.reason);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      Promise.try(() => this.#reader.read(p)).then(resolve, reject)
        .finally(() => signal.removeEventListener("abort", onAbort));
    });
  }

  /**
   * What a failed read of several bytes is to throw. Where nothing is lost, that is the error as it
   * is; where bytes have been taken by an abort or timeout, one that hands them over.
   */
  error(
    error: unknown,
    partial: Uint8Array,
    expected: number | undefined,
  ): unknown {
    const aborted = this.#signal?.aborted === true &&
        error === this.#signal.reason ||
      error instanceof DOMException && error.name === "TimeoutError";
    if (!aborted || partial.length === 0 && this.swallowing === 0) return error;
    const wanted = expected === undefined ? "" : ` of ${expected}`;
    const lost = this.swallowing === 0
      ? ""
      : `; the read that still waits may swallow up to ${this.swallowing} bytes more`;
    return new IncompleteReadError(partial, expected, {
      message:
        `Read was abandoned after ${partial.length}${wanted} bytes${lost}`,
      cause: error,
    });
  }
}

/** A count that a read cannot have had as its result. */
function wrongCount(n: unknown, length: number): TypeError {
  return new TypeError(
    `Reader brought ${
      show(n)
    } bytes: expected 1 to ${length}, or null at the end`,
  );
}
