/** The buffer of a reader: bytes that have come and belong to no message yet, and the waits for more. */

import { IncompleteReadError, LimitError } from "./errors.ts";
import type { KeepingReader, Reader } from "./types.ts";
import { AbortableReads, keeps } from "./_abortable_reads.ts";

/** Waits for a promise until a signal ends the wait. */
export function abortable<T>(
  promise: Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort);
    promise.then(resolve, reject).finally(() =>
      signal.removeEventListener("abort", onAbort)
    );
  });
}

/** How large a buffer is at first: most connections never have more at once. */
const FIRST = 4096;

/** Bytes between a reader and whoever cuts messages out of them. */
export class ReadBuffer {
  /** The reader below, if it keeps what nobody waits for. */
  readonly #keeping: KeepingReader | undefined;
  readonly #reads: AbortableReads;
  readonly #most: number;
  /** How large a new buffer is: it grows up to the most while reads fill what they are given. */
  #size: number;
  #isOver = false;
  /** The read under way of a reader that does not keep it. */
  #filling: Promise<boolean> | undefined;
  /** Whether views of what stands before `start` have been given out: nothing is written there again. */
  #isLent = false;
  /** Where bytes are; what is between `start` and `end` has not been given out. */
  data: Uint8Array<ArrayBuffer>;
  start = 0;
  end = 0;
  /** How many bytes have been given out: where `start` is in the stream, however the buffer moves. */
  position = 0;

  /**
   * @param reader Where the bytes come from.
   * @param most The largest size of the buffer; larger messages get more.
   */
  constructor(reader: Reader, most: number) {
    this.#keeping = keeps(reader) ? reader : undefined;
    this.#reads = new AbortableReads(reader, undefined);
    this.#most = most;
    this.#size = Math.min(most, FIRST);
    this.data = new Uint8Array(this.#size);
  }

  /** How many bytes there are. */
  get length(): number {
    return this.end - this.start;
  }

  /** Takes bytes out of the buffer. */
  consume(count: number): void {
    this.start += count;
    this.position += count;
    // A read that is under way brings its bytes to where they were expected.
    if (this.start < this.end || this.#filling !== undefined) return;
    // A buffer that a large message made is not kept.
    if (this.data.length > this.#most) this.#renew();
    else if (!this.#isLent) this.start = this.end = 0;
  }

  /** Takes bytes out of the buffer of which the caller has views: the buffer does not use them again. */
  lend(count: number): void {
    this.#isLent = true;
    this.consume(count);
  }

  /** Throws if a caller has transferred the buffer, which a view of a frame has too, to somebody else. */
  checkThere(): void {
    if (this.data.length === 0 && this.length > 0) {
      throw new TypeError(
        "The reader's buffer is gone with the bytes in it: one of its frames was transferred; copy it before",
      );
    }
  }

  /** Starts with a new buffer and nothing in it. */
  #renew(): void {
    this.data = new Uint8Array(this.#size);
    this.start = this.end = 0;
    this.#isLent = false;
  }

  /** Makes room for a message of `size` bytes from `start` on, or at least for some more bytes. */
  makeRoom(size: number): void {
    const { length, start, end } = this;
    const { length: total } = this.data;
    if (total === 0) {
      this.checkThere();
      return this.#renew();
    }
    const fits = total - start >= size && end < total;
    // What was given out is more than what is left: moving the rest costs less than small reads. Where
    // it cannot be overwritten a new buffer is needed for that, and only little room is a reason for one.
    const isCheap = length <= start &&
      (!this.#isLent || 4 * (total - end) < total);
    const isSmall = total < this.#size;
    if (fits && !isCheap && !isSmall) return;
    const wanted = Math.max(size, length + 1);
    if (
      wanted <= total && !isSmall && !this.#isLent &&
      (isCheap || total <= this.#most)
    ) {
      if (start > 0) this.data.copyWithin(0, start, end);
    } else {
      const larger = new Uint8Array(
        Math.max(this.#size, size > length ? wanted : 2 * length),
      );
      larger.set(this.data.subarray(start, end));
      this.data = larger;
      this.#isLent = false;
    }
    this.start = 0;
    this.end = length;
  }

  /**
   * Waits for more bytes.
   *
   * @param signal Ends the wait.
   * @param size The length of the message that is waited for, from `start` on; 0 if it is not known.
   * @returns `false` at the end of the stream.
   */
  fill(signal: AbortSignal | undefined, size = 0): Promise<boolean> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#isOver) return Promise.resolve(false);
    if (this.#filling === undefined) {
      this.makeRoom(size);
      const room = this.data.subarray(this.end);
      if (this.#keeping !== undefined && signal !== undefined) {
        return this.#keeping.read(room, { signal }).then(this.#take);
      }
      const filling = this.#reads.read(room).then(this.#take);
      if (this.#keeping !== undefined) return filling;
      this.#filling = filling.finally(() => this.#filling = undefined);
    }
    return signal === undefined
      ? this.#filling
      : abortable(this.#filling, signal);
  }

  #take = (n: number | null): boolean => {
    if (n === null) this.#isOver = true;
    else {
      this.end += n;
      // There may be more than there was room for. (One message's own buffer is always filled.)
      const { length } = this.data;
      if (this.end === length && length <= this.#size) {
        this.#size = Math.min(4 * this.#size, this.#most);
      }
    }
    return n !== null;
  };

  /** What is left at the end of the stream, taken out: it is no message. */
  incomplete(expected: number | undefined): IncompleteReadError {
    const partial = this.data.slice(this.start, this.end);
    this.consume(partial.length);
    return new IncompleteReadError(partial, expected);
  }

  /** Waits until `size` bytes are there, which a message is known to have. */
  async need(size: number, signal: AbortSignal | undefined): Promise<void> {
    while (this.length < size) {
      if (!await this.fill(signal, size)) throw this.incomplete(size);
    }
  }

  /**
   * Takes `size` bytes, and gives all but the first `skip`. What is larger than the buffer is read to
   * where it stays.
   */
  async whole(
    skip: number,
    size: number,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array<ArrayBuffer>> {
    await this.need(size, signal);
    const isOwn = this.start === 0 && this.end === size &&
      this.data.length === size && size > 0;
    const bytes = isOwn
      ? this.data.subarray(skip)
      : this.data.slice(this.start + skip, this.start + size);
    if (isOwn) {
      this.position += size;
      this.#renew();
    } else this.consume(size);
    return bytes;
  }

  /** What is there is longer than a limit; it stays. */
  tooLong(limit: number, what: string): LimitError {
    return new LimitError(
      `No ${what} within the limit of ${limit} bytes; pass a larger limit, or skipLine()`,
      limit,
      this.data.slice(this.start, this.start + limit),
    );
  }
}
