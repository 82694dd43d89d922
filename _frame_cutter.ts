/** Frames out of a buffer: small ones that have come together are copied out together. */

import { LimitError } from "./errors.ts";
import { type Format, type Header, parseHeader } from "./_frame_format.ts";
import type { ReadBuffer } from "./_read_buffer.ts";

/** How many bytes of small frames are copied out together. */
const SLAB = 16384;

/** Cuts frames out of a buffer. */
export class FrameCutter {
  readonly #from: ReadBuffer;
  readonly #header: Header = { size: 0, length: 0 };
  /** Frames from the buffer's start on that are copied out, where each ends, and how many have been given out. */
  #frames: Uint8Array<ArrayBuffer>[] = [];
  #bounds: number[] = [];
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
    const data = this.#from.data;
    const [start, last] = [this.#from.start, this.#from.end];
    const most = start + SLAB;
    const bounds: number[] = [];
    let at = start;
    while (
      parseHeader(data, at, last, format, header) && header.length >= 0 &&
      header.length <= format.maxLength
    ) {
      const body = at + header.size;
      const end = body + header.length;
      if (end > last || end > most && at > start) break;
      bounds.push(body - start, end - start);
      at = end;
    }
    if (at === start) return;
    const slab = data.slice(start, at);
    const { buffer } = slab;
    const { offset } = format;
    const frames: Uint8Array<ArrayBuffer>[] = [];
    for (let i = 0; i < bounds.length; i += 2) {
      const body = bounds[i]!;
      if (offset > 0) {
        // What stands before the length field moves up to what stands behind it.
        const before = i === 0 ? 0 : bounds[i - 1]!;
        slab.copyWithin(body - offset, before, before + offset);
      }
      const from = body - offset;
      // Twice as fast as subarray().
      frames.push(new Uint8Array(buffer, from, bounds[i + 1]! - from));
    }
    this.#frames = frames;
    this.#bounds = bounds;
    this.#at = 0;
    this.#format = format;
    this.#next = this.#from.position;
  }

  /** Whether frames of a format are copied out, or can be now. */
  #has(format: Format): boolean {
    if (
      this.#format !== format || this.#at === this.#frames.length ||
      this.#next !== this.#from.position
    ) {
      this.#frames = [];
      this.#at = 0;
      this.#cut(format);
    }
    return this.#frames.length > 0;
  }

  /** The next frame of those that are copied out. */
  next(format: Format): Uint8Array<ArrayBuffer> | undefined {
    if (!this.#has(format)) return undefined;
    const i = this.#at++;
    const from = i === 0 ? 0 : this.#bounds[2 * i - 1]!;
    this.#from.consume(this.#bounds[2 * i + 1]! - from);
    this.#next = this.#from.position;
    return this.#frames[i];
  }

  /** All frames that are copied out. */
  rest(format: Format): Uint8Array<ArrayBuffer>[] | undefined {
    if (!this.#has(format)) return undefined;
    const i = this.#at;
    const from = i === 0 ? 0 : this.#bounds[2 * i - 1]!;
    const rest = i === 0 ? this.#frames : this.#frames.slice(i);
    this.#from.consume(this.#bounds.at(-1)! - from);
    this.#frames = [];
    this.#at = 0;
    return rest;
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
