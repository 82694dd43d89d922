/** Frames out of a buffer: views of it, many at once, or a copy. */

import { LimitError } from "./errors.ts";
import {
  type Format,
  type Header,
  parseHeader,
  readInteger,
} from "./_frame_format.ts";
import type { ReadBuffer } from "./_read_buffer.ts";

/** How many frames are given out together at most: what stays in the processor's cache. */
const MOST = 128;

/** Cuts frames out of a buffer. */
export class FrameCutter {
  readonly #from: ReadBuffer;
  readonly #header: Header = { size: 0, length: 0 };

  constructor(from: ReadBuffer) {
    this.#from = from;
  }

  /** Takes frames of which there are views out of the buffer. */
  #take(count: number, reuse: boolean): void {
    if (reuse) this.#from.consume(count);
    else this.#from.lend(count);
  }

  /** The next frame, if it is there whole, as a view: for good, or until the buffer is used again. */
  next(format: Format, reuse: boolean): Uint8Array<ArrayBuffer> | undefined {
    const header = this.#header;
    const { data, start, end: last } = this.#from;
    if (!parseHeader(data, start, last, format, header)) return undefined;
    const { size, length } = header;
    const end = start + size + length;
    if (!(length >= 0 && length <= format.maxLength && end <= last)) {
      return undefined;
    }
    const { offset } = format;
    const body = start + size - offset;
    // What stands before the length field moves up to what stands behind it.
    if (offset > 0) data.copyWithin(body, start, start + offset);
    this.#take(end - start, reuse);
    // Twice as fast as subarray().
    return new Uint8Array(data.buffer, body, end - body);
  }

  /** The frames that are there whole, at most so many, as such views; `undefined` if there are none. */
  rest(
    format: Format,
    reuse: boolean,
  ): Uint8Array<ArrayBuffer>[] | undefined {
    const from = this.#from;
    const { data, start, end: last } = from;
    const { buffer } = data;
    const { bytes, offset, littleEndian, adjustment, maxLength, varint } =
      format;
    const frames: Uint8Array<ArrayBuffer>[] = [];
    // As next() does it, with everything at hand: half the work where frames are small.
    let at = start;
    let size = offset + bytes;
    let length: number;
    while (frames.length < MOST) {
      if (varint !== undefined) {
        if (!parseHeader(data, at, last, format, this.#header)) break;
        ({ size, length } = this.#header);
      } else if (last - at < size) break;
      else {
        length = adjustment +
          readInteger(data, at + offset, bytes, littleEndian);
      }
      const end = at + size + length;
      if (!(length >= 0 && length <= maxLength && end <= last)) break;
      const body = at + size - offset;
      if (offset > 0) data.copyWithin(body, at, at + offset);
      frames.push(new Uint8Array(buffer, body, end - body));
      at = end;
    }
    if (at === start) return undefined;
    this.#take(at - start, reuse);
    return frames;
  }

  /** Waits until the next frame is there whole. `false` at the end of the stream. */
  async wait(
    format: Format,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    if (!await this.#parse(format, signal)) return false;
    const { size, length } = this.#header;
    await this.#from.need(size + length, signal);
    return true;
  }

  /** Waits for a frame and copies it; `null` at the end of the stream. */
  async read(
    format: Format,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array<ArrayBuffer> | null> {
    if (!await this.#parse(format, signal)) return null;
    const { size, length } = this.#header;
    const { offset } = format;
    const frame = await this.#from.whole(
      offset === 0 ? size : 0,
      size + length,
      signal,
    );
    if (offset === 0) return frame;
    frame.copyWithin(size - offset, 0, offset);
    return frame.subarray(size - offset);
  }

  /** Waits for a header and checks it. `false` at the end of the stream. */
  async #parse(
    format: Format,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const from = this.#from;
    from.checkThere();
    const header = this.#header;
    while (!parseHeader(from.data, from.start, from.end, format, header)) {
      if (await from.fill(signal)) continue;
      if (from.length === 0) return false;
      throw from.incomplete(undefined);
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
        from.data.slice(from.start, from.start + size),
      );
    }
    return true;
  }
}
