/** Frames out of a buffer: small ones that have come together are copied out together. */

import { LimitError } from "./errors.ts";
import { type Format, type Header, parseHeader } from "./_frame_format.ts";
import type { ReadBuffer } from "./_read_buffer.ts";

/** How many bytes of small frames are copied out together. */
const SLAB = 65536;

/** Cuts frames out of a buffer. */
export class FrameCutter {
  readonly #from: ReadBuffer;
  readonly #header: Header = { size: 0, length: 0 };
  /** A copy of frames that are there whole, from the buffer's start on. */
  #slab: ArrayBuffer | undefined;
  /** Where in it each one's body begins and ends. */
  readonly #bounds: number[] = [];
  /** How many bounds there are, and of how many the frames have been given out. */
  #count = 0;
  #at = 0;
  #format: Format | undefined;
  /** Where in the stream the rest of them begins: others may have read since. */
  #next = 0;

  constructor(from: ReadBuffer) {
    this.#from = from;
  }

  /** Copies frames out that are there whole, as many together as a slab takes. */
  #cut(format: Format): void {
    const header = this.#header;
    const { data, start, end: last } = this.#from;
    const { maxLength, offset } = format;
    const most = start + SLAB;
    const bounds = this.#bounds;
    let count = 0;
    let at = start;
    while (
      parseHeader(data, at, last, format, header) && header.length >= 0 &&
      header.length <= maxLength
    ) {
      const body = at + header.size;
      const end = body + header.length;
      if (end > last || end > most && at > start) break;
      bounds[count++] = body - start;
      bounds[count++] = end - start;
      at = end;
    }
    this.#at = 0;
    this.#count = count;
    this.#slab = undefined;
    if (count === 0) return;
    const slab = data.slice(start, at);
    // What stands before a length field moves up to what stands behind it.
    for (let i = 0, before = 0; offset > 0 && i < count; i += 2) {
      slab.copyWithin(bounds[i]! - offset, before, before + offset);
      bounds[i]! -= offset;
      before = bounds[i + 1]!;
    }
    this.#slab = slab.buffer;
    this.#format = format;
    this.#next = this.#from.position;
  }

  /** Whether frames of a format are copied out, or can be now. */
  #has(format: Format): boolean {
    if (
      this.#at === this.#count || this.#format !== format ||
      this.#next !== this.#from.position
    ) {
      this.#cut(format);
    }
    return this.#count > 0;
  }

  /** Takes frames out of the buffer up to a bound. */
  #take(bound: number): void {
    const before = this.#at === 0 ? 0 : this.#bounds[this.#at - 1]!;
    this.#from.consume(this.#bounds[bound - 1]! - before);
    this.#next = this.#from.position;
    this.#at = bound;
    if (bound === this.#count) this.#slab = undefined;
  }

  /** The next frame of those that are copied out. */
  next(format: Format): Uint8Array<ArrayBuffer> | undefined {
    if (!this.#has(format)) return undefined;
    const at = this.#at;
    const body = this.#bounds[at]!;
    // Twice as fast as subarray().
    const frame = new Uint8Array(
      this.#slab!,
      body,
      this.#bounds[at + 1]! - body,
    );
    this.#take(at + 2);
    return frame;
  }

  /** All frames that are copied out. */
  rest(format: Format): Uint8Array<ArrayBuffer>[] | undefined {
    if (!this.#has(format)) return undefined;
    const bounds = this.#bounds;
    const slab = this.#slab!;
    const frames: Uint8Array<ArrayBuffer>[] = [];
    for (let i = this.#at; i < this.#count; i += 2) {
      const body = bounds[i]!;
      frames.push(new Uint8Array(slab, body, bounds[i + 1]! - body));
    }
    this.#take(this.#count);
    return frames;
  }

  /** Waits for a frame; `null` at the end of the stream. */
  async read(
    format: Format,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array | null> {
    const header = this.#header;
    while (
      !parseHeader(
        this.#from.data,
        this.#from.start,
        this.#from.end,
        format,
        header,
      )
    ) {
      if (await this.#from.fill(signal)) continue;
      if (this.#from.length === 0) return null;
      throw this.#from.incomplete(undefined);
    }
    const { size, length } = header;
    if (length < 0) {
      throw new Deno.errors.InvalidData(
        "Invalid frame: its length is no length in this format",
      );
    }
    if (length > format.maxLength) {
      throw new LimitError(
        `Frame of ${length} bytes is longer than the limit of ${format.maxLength}; pass a larger maxLength`,
        format.maxLength,
        this.#from.data.slice(this.#from.start, this.#from.start + size),
      );
    }
    const { offset } = format;
    if (offset === 0) {
      return await this.#from.whole(size, size + length, signal);
    }
    const all = await this.#from.whole(0, size + length, signal);
    // What stands before the length field moves up to what stands behind it.
    all.copyWithin(size - offset, 0, offset);
    return all.subarray(size - offset);
  }
}
