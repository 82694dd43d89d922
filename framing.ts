/**
 * Framing: bytes into messages, on any reader. Lines, delimiters and length prefixes, all with limits.
 *
 * Nothing is lost between them: what was read and belongs to no message yet is the next call's, also
 * after an abort, a timeout or a limit.
 *
 * @example A line protocol
 * ```ts
 * import { BufferedReader, writeLine } from "@berkeley/sockets/framing";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals } from "@std/assert";
 *
 * const [client, server] = pair();
 * const serving = (async () => {
 *   for await (const line of new BufferedReader(server).lines()) {
 *     await writeLine(server, line.toUpperCase());
 *   }
 *   server.close();
 * })();
 *
 * const answers = new BufferedReader(client);
 * await writeLine(client, "hello");
 * assertEquals(await answers.readLine(), "HELLO");
 * await client.closeWrite();
 * assertEquals(await answers.readLine(), null);
 * await serving;
 * client.close();
 * ```
 *
 * @module
 */

import { IncompleteReadError, LimitError } from "./errors.ts";
import {
  type KeepingReader,
  keepsReads,
  type Reader,
  type WaitOptions,
  type Writer,
} from "./types.ts";
import {
  checkInteger,
  checkLimit,
  checkOptions,
  checkReader,
  checkText,
  notBytes,
  show,
  signalOf,
} from "./_check.ts";
import { AbortableReads, keeps } from "./_abortable_reads.ts";
import { writeAll } from "./io.ts";
import {
  checkFormat,
  encodeLength,
  type FixedFrameFormat,
  type Format,
  type FrameFormat,
  type Header,
  parseHeader,
  type VarintFrameFormat,
} from "./_frame_format.ts";

export type { FixedFrameFormat, FrameFormat, VarintFrameFormat };

/** How a delimiter is searched for. */
export interface ReadUntilOptions extends WaitOptions {
  /** The largest number of bytes before the delimiter; 1 MiB by default, `Infinity` for none. */
  limit?: number;
}

/** How lines are read. */
export interface ReadLineOptions extends WaitOptions {
  /** The largest number of bytes of a line, its end not counted; 1 MiB by default, `Infinity` for none. */
  limit?: number;
  /**
   * What happens to bytes at the end of the stream that no line end follows: `"error"` (the default)
   * throws them as an `IncompleteReadError`, for they may be half a command; `"line"` takes them for a
   * line, as for text that people write.
   */
  unterminated?: "error" | "line";
}

/** How a {@linkcode BufferedReader} reads. */
export interface BufferedReaderOptions {
  /** The size of the buffer in bytes, 16 to 16 MiB; 65,536 by default. Larger messages get more. */
  bufSize?: number;
}

/** How {@linkcode writeLine} ends a line. */
export interface WriteLineOptions extends WaitOptions {
  /** The line's end; `"\n"` by default. */
  end?: "\n" | "\r\n";
}

/** The largest line, and the most bytes before a delimiter, unless another limit is given. */
const DEFAULT_LIMIT = 2 ** 20;

/** The longest delimiter. */
const MAX_DELIMITER = 1024;

const LF = 10;
const CR = 13;

/** Bytes to text. A byte order mark is the peer's affair. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();

/** How many bytes of small frames are copied out together. */
const SLAB = 16384;

/** What is decoded at a time: small enough to stay in the processor's cache. */
const DECODE = 65536;

/**
 * A reader with a buffer, and messages out of it. It is a reader itself: what it has buffered comes
 * first. Calls are served in their order.
 *
 * A wait that is ended by a signal, or by the connection's timeout, loses nothing: what had come stays,
 * and the next call goes on from there. An error of the reader below is thrown as it is, each time.
 */
export class BufferedReader implements KeepingReader {
  /** Always `true`: a read that was abandoned is the next caller's. */
  readonly [keepsReads] = true;
  /** The reader below, if it keeps what nobody waits for. */
  readonly #keeping: KeepingReader | undefined;
  readonly #reads: AbortableReads;
  readonly #size: number;
  /** Where bytes are; what is between `#start` and `#end` has not been given out. */
  #buffer: Uint8Array<ArrayBuffer>;
  #start = 0;
  #end = 0;
  /** Up to here no line end was found. */
  #scanned = 0;
  #isOver = false;
  /** The read under way of a reader that does not keep it. */
  #filling: Promise<boolean> | undefined;
  /** Whoever has the reader; others wait behind. */
  #turn: Promise<void> | undefined;
  /** Complete lines from `#start` on, decoded, and which part of them has been given out. */
  #text = "";
  #at = 0;
  /** How many bytes the rest of them has, whether each is one character, and the limit that held. */
  #textBytes = 0;
  #isSingle = false;
  #textLimit = 0;
  /** Frames from `#start` on that are copied out, where each ends, and how many have been given out. */
  #frames: Uint8Array<ArrayBuffer>[] = [];
  #bounds: number[] = [];
  #frameAt = 0;
  #framesFor: Format | undefined;
  /** The delimiter that was searched for last, and from which distance the search goes on. */
  #sought = "";
  #soughtTo = 0;
  readonly #header: Header = { size: 0, length: 0 };

  /**
   * Makes a reader with a buffer. The reader below should not be read from by others meanwhile.
   *
   * @param reader Where the bytes come from: a connection of this package, a `Deno.Conn`, a file.
   * @param options The buffer's size.
   * @throws {TypeError} If `reader` is none.
   * @throws {RangeError} If the size is out of its range.
   */
  constructor(reader: Reader, options: BufferedReaderOptions = {}) {
    checkReader(reader);
    checkOptions(options, "BufferedReader");
    const { bufSize = 65536 } = options;
    checkInteger(bufSize, "bufSize", 16, 2 ** 24);
    this.#keeping = keeps(reader) ? reader : undefined;
    this.#reads = new AbortableReads(reader, undefined);
    this.#size = bufSize;
    this.#buffer = new Uint8Array(bufSize);
  }

  /** How many bytes have come and are not given out. */
  get buffered(): number {
    return this.#end - this.#start;
  }

  // The buffer

  /** Runs a call when those before it are done. */
  async #inTurn<T>(
    signal: AbortSignal | undefined,
    call: () => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted();
    const before = this.#turn;
    const { promise, resolve } = Promise.withResolvers<void>();
    const turn = before === undefined ? promise : before.then(() => promise);
    this.#turn = turn;
    try {
      if (before !== undefined) {
        await (signal === undefined ? before : abortable(before, signal));
      }
      return await call();
    } finally {
      if (this.#turn === turn) this.#turn = undefined;
      resolve();
    }
  }

  /** Iterates over messages: over those that are there without a wait of their own. */
  #iterate<T>(
    signal: AbortSignal | undefined,
    ready: () => T | undefined,
    next: () => Promise<T | null>,
  ): AsyncIterableIterator<T> {
    const wait = async (): Promise<IteratorResult<T>> => {
      const value = await this.#inTurn(
        signal,
        async () => ready() ?? await next(),
      );
      return value === null
        ? { done: true, value: undefined }
        : { done: false, value };
    };
    return {
      // Not async: most messages are there already.
      next: () => {
        if (this.#turn !== undefined || signal?.aborted) return wait();
        const value = ready();
        return value === undefined
          ? wait()
          : Promise.resolve({ done: false, value });
      },
      return: () => Promise.resolve({ done: true, value: undefined }),
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  /** Forgets decoded lines, and frames that are copied out: their bytes are still there. */
  #dropCut(): void {
    this.#text = "";
    this.#at = 0;
    if (this.#framesFor !== undefined) this.#dropFrames();
  }

  /** Takes bytes out of the buffer. */
  #consume(count: number): void {
    this.#start += count;
    this.#soughtTo = 0;
    // A read that is under way brings its bytes to where they were expected.
    if (this.#start < this.#end || this.#filling !== undefined) return;
    this.#start = this.#end = this.#scanned = 0;
    // A buffer that a large message made is not kept.
    if (this.#buffer.length !== this.#size) {
      this.#buffer = new Uint8Array(this.#size);
    }
  }

  /** Makes room for a message of `size` bytes from `#start` on, or at least for some more bytes. */
  #makeRoom(size: number): void {
    const length = this.buffered;
    const wanted = Math.max(size, length + 1);
    const { length: total } = this.#buffer;
    // What was given out is more than what is left: moving the rest costs less than small reads.
    const isCheap = this.#start > 0 && length <= this.#start;
    const fits = total - this.#start >= size && this.#end < total;
    if (fits && !isCheap) return;
    if (wanted <= total && (isCheap || total === this.#size)) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
    } else {
      const larger = new Uint8Array(
        size > length ? wanted : Math.max(this.#size, 2 * length),
      );
      larger.set(this.#buffer.subarray(this.#start, this.#end));
      this.#buffer = larger;
    }
    this.#scanned = Math.max(this.#scanned - this.#start, 0);
    this.#start = 0;
    this.#end = length;
  }

  /**
   * Waits for more bytes.
   *
   * @param signal Ends the wait.
   * @param size The length of the message that is waited for, from `#start` on; 0 if it is not known.
   * @returns `false` at the end of the stream.
   */
  #fill(signal: AbortSignal | undefined, size = 0): Promise<boolean> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#isOver) return Promise.resolve(false);
    if (this.#filling === undefined) {
      this.#makeRoom(size);
      const room = this.#buffer.subarray(this.#end);
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
    else this.#end += n;
    return n !== null;
  };

  /** What is left at the end of the stream, taken out: it is no message. */
  #incomplete(expected: number | undefined): IncompleteReadError {
    const partial = this.#buffer.slice(this.#start, this.#end);
    this.#dropCut();
    this.#consume(partial.length);
    return new IncompleteReadError(partial, expected);
  }

  // Bytes

  /**
   * Reads at most `p.length` bytes into `p`, first those that are buffered.
   *
   * @param p Where the bytes go.
   * @param options A signal that ends the wait; nothing is lost by it.
   * @returns How many bytes came, or `null` at the end of the stream; 0 only for an empty `p`.
   * @throws {TypeError} If `p` is not a Uint8Array.
   */
  async read(p: Uint8Array, options?: WaitOptions): Promise<number | null> {
    if (!(p instanceof Uint8Array)) throw notBytes(p, "buffer");
    const signal = signalOf(options, "read");
    return await this.#inTurn(signal, async () => {
      if (p.length === 0) return 0;
      this.#dropCut();
      while (this.buffered === 0) if (!await this.#fill(signal)) return null;
      const n = Math.min(p.length, this.buffered);
      p.set(this.#buffer.subarray(this.#start, this.#start + n));
      this.#consume(n);
      return n;
    });
  }

  /**
   * Looks at the next bytes without taking them.
   *
   * @param n How many bytes, from 0 to 16 MiB.
   * @param options A signal that ends the wait.
   * @returns A copy of them; fewer only at the end of the stream.
   * @throws {RangeError} If `n` is out of its range.
   */
  async peek(n: number, options?: WaitOptions): Promise<Uint8Array> {
    checkInteger(n, "n", 0, 2 ** 24);
    const signal = signalOf(options, "peek");
    return await this.#inTurn(signal, async () => {
      while (this.buffered < n) if (!await this.#fill(signal, n)) break;
      return this.#buffer.slice(
        this.#start,
        Math.min(this.#start + n, this.#end),
      );
    });
  }

  /**
   * Reads a known number of bytes. After an abort or timeout none of them is taken.
   *
   * @param size How many bytes, from 0; or the buffer to fill.
   * @param options A signal that ends the wait.
   * @returns The bytes: a new array, or the buffer that was given.
   * @throws {IncompleteReadError} If the stream ended before; `partial` has the bytes.
   * @throws {RangeError} If the size is negative or not whole.
   */
  async readExact(
    size: number | Uint8Array,
    options?: WaitOptions,
  ): Promise<Uint8Array> {
    const buffer = size instanceof Uint8Array ? size : undefined;
    const length = buffer === undefined ? size as number : buffer.length;
    checkInteger(length, "size", 0, 2 ** 32);
    const signal = signalOf(options, "readExact");
    return await this.#inTurn(signal, async () => {
      this.#dropCut();
      const bytes = await this.#whole(0, length, signal);
      if (buffer === undefined) return bytes;
      buffer.set(bytes);
      return buffer;
    });
  }

  /**
   * Takes `size` bytes, and gives all but the first `skip`. What is larger than the buffer is read to
   * where it stays.
   */
  async #whole(
    skip: number,
    size: number,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array<ArrayBuffer>> {
    while (this.buffered < size) {
      if (!await this.#fill(signal, size)) throw this.#incomplete(size);
    }
    const isOwn = this.#start === 0 && this.#end === size &&
      this.#buffer.length === size && size > 0;
    const bytes = isOwn
      ? this.#buffer.subarray(skip)
      : this.#buffer.slice(this.#start + skip, this.#start + size);
    if (isOwn) {
      this.#buffer = new Uint8Array(this.#size);
      this.#start = this.#end = this.#scanned = 0;
    } else this.#consume(size);
    return bytes;
  }

  /**
   * Reads up to a delimiter.
   *
   * @param delimiter What ends the message: bytes or a text, 1 to 1,024 bytes.
   * @param options The limit and a signal.
   * @returns The bytes, the delimiter included.
   * @throws {LimitError} If more bytes than the limit come before it; none of them is taken.
   * @throws {IncompleteReadError} If the stream ended before it; `partial` has the bytes.
   * @throws {TypeError | RangeError} If the delimiter or an option is wrong.
   */
  async readUntil(
    delimiter: Uint8Array | string,
    options: ReadUntilOptions = {},
  ): Promise<Uint8Array> {
    const bytes = typeof delimiter === "string"
      ? encoder.encode(delimiter)
      : delimiter;
    if (!(bytes instanceof Uint8Array)) throw notBytes(delimiter, "delimiter");
    if (bytes.length === 0 || bytes.length > MAX_DELIMITER) {
      throw new RangeError(
        `Invalid delimiter: expected 1 to ${MAX_DELIMITER} bytes, got ${bytes.length}`,
      );
    }
    const signal = signalOf(options, "readUntil");
    const { limit = DEFAULT_LIMIT } = options;
    checkLimit(limit);
    return await this.#inTurn(signal, async () => {
      this.#dropCut();
      const key = String.fromCharCode(...bytes);
      if (key !== this.#sought) {
        this.#sought = key;
        this.#soughtTo = 0;
      }
      for (;;) {
        const end = this.#find(bytes, this.#start + this.#soughtTo);
        // The last bytes may be the delimiter's first.
        const length = end < 0
          ? Math.max(this.buffered - bytes.length + 1, 0)
          : end - this.#start;
        if (length > limit) throw this.#tooLong(limit, "delimiter");
        if (end >= 0) {
          return await this.#whole(0, length + bytes.length, signal);
        }
        this.#soughtTo = length;
        if (!await this.#fill(signal)) throw this.#incomplete(undefined);
      }
    });
  }

  /** Where a delimiter begins, or -1. */
  #find(delimiter: Uint8Array, from: number): number {
    const data = this.#buffer.subarray(0, this.#end);
    const first = delimiter[0]!;
    for (let at = from;;) {
      at = data.indexOf(first, at);
      if (at < 0 || at + delimiter.length > data.length) return -1;
      let i = 1;
      while (i < delimiter.length && data[at + i] === delimiter[i]) i++;
      if (i === delimiter.length) return at;
      at++;
    }
  }

  #tooLong(limit: number, what: string): LimitError {
    return new LimitError(
      `No ${what} within the limit of ${limit} bytes; pass a larger limit, or skipLine()`,
      limit,
      this.#buffer.slice(this.#start, this.#start + limit),
    );
  }

  // Lines

  /**
   * Reads a line of UTF-8. LF and CRLF end it and are not part of it; bytes that are no UTF-8 become
   * U+FFFD.
   *
   * @param options The limit, what to do with an unterminated rest, and a signal.
   * @returns The line, or `null` at the end of the stream.
   * @throws {LimitError} If the line is longer than the limit. Nothing of it is taken:
   * {@linkcode BufferedReader.skipLine} goes past it.
   * @throws {IncompleteReadError} If the stream ended in a line; `partial` has the bytes.
   * @throws {TypeError | RangeError} If an option is wrong.
   */
  async readLine(options: ReadLineOptions = {}): Promise<string | null> {
    const { signal, limit, unterminated } = checkLines(options, "readLine");
    if (this.#turn === undefined && !signal?.aborted) {
      const line = this.#nextLine(limit);
      if (line !== undefined) return line;
    }
    return await this.#inTurn(signal, async () =>
      this.#nextLine(limit) ??
        (await this.#decode(limit, unterminated, signal)
          ? this.#nextLine(limit)!
          : null));
  }

  /**
   * Iterates over the lines to the end of the stream: see {@linkcode BufferedReader.readLine}. Leaving
   * the loop loses nothing: the next line is the next call's.
   *
   * @param options The limit, what to do with an unterminated rest, and a signal.
   * @returns The lines.
   */
  lines(options: ReadLineOptions = {}): AsyncIterableIterator<string> {
    const { signal, limit, unterminated } = checkLines(options, "lines");
    return this.#iterate(
      signal,
      () => this.#nextLine(limit),
      async () =>
        await this.#decode(limit, unterminated, signal)
          ? this.#nextLine(limit)!
          : null,
    );
  }

  /**
   * Iterates over arrays of the lines that are there: one wait for many lines, where each line needs
   * little work. See {@linkcode BufferedReader.readLine}.
   *
   * @param options The limit, what to do with an unterminated rest, and a signal.
   * @returns Arrays of one line or more.
   */
  async *lineBatches(
    options: ReadLineOptions = {},
  ): AsyncIterableIterator<string[]> {
    const { signal, limit, unterminated } = checkLines(options, "lineBatches");
    for (;;) {
      const batch = await this.#inTurn(signal, async () => {
        if (this.#textLimit > limit) this.#dropCut();
        return this.#text !== "" ||
            await this.#decode(limit, unterminated, signal)
          ? this.#takeBatch()
          : undefined;
      });
      if (batch === undefined) return;
      yield batch;
    }
  }

  /**
   * Goes past the next line end, however far it is, and takes no memory for what lies before it.
   *
   * @param options A signal that ends the wait; what was skipped by then is gone.
   * @returns How many bytes were skipped, the line end included; 0 at the end of the stream.
   */
  async skipLine(options?: WaitOptions): Promise<number> {
    const signal = signalOf(options, "skipLine");
    return await this.#inTurn(signal, async () => {
      this.#dropCut();
      let skipped = 0;
      for (;;) {
        const end = this.#buffer.subarray(0, this.#end)
          .indexOf(LF, this.#start);
        const count = (end < 0 ? this.#end : end + 1) - this.#start;
        // The buffer of a read under way stays.
        if (count > 0) this.#consume(count);
        skipped += count;
        if (end >= 0 || !await this.#fill(signal)) return skipped;
      }
    });
  }

  /** The next line of those that are decoded. */
  #nextLine(limit: number): string | undefined {
    // Decoded under another limit: they are looked at anew.
    if (this.#textLimit > limit) this.#dropCut();
    const text = this.#text;
    const at = this.#at;
    if (text === "") return undefined;
    const end = text.indexOf("\n", at);
    const isCrLf = end > at && text.charCodeAt(end - 1) === CR;
    const line = text.slice(at, isCrLf ? end - 1 : end);
    const bytes = this.#isSingle
      ? end + 1 - at
      : this.#buffer.indexOf(LF, this.#start) + 1 - this.#start;
    this.#textBytes -= bytes;
    this.#at = end + 1;
    if (this.#at === text.length) this.#dropCut();
    this.#consume(bytes);
    return line;
  }

  /** All lines that are decoded. */
  #takeBatch(): string[] {
    const rest = this.#at === 0 ? this.#text : this.#text.slice(this.#at);
    const lines = rest.split("\n");
    lines.pop();
    if (rest.includes("\r\n")) {
      for (const [i, line] of lines.entries()) {
        if (line.endsWith("\r")) lines[i] = line.slice(0, -1);
      }
    }
    this.#dropCut();
    this.#consume(this.#textBytes);
    return lines;
  }

  /** Decodes the complete lines that are there, or waits for one. `false` at the end of the stream. */
  async #decode(
    limit: number,
    unterminated: "error" | "line",
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    for (;;) {
      const end = this.#completeLines(limit);
      if (end > this.#start) {
        this.#decodeTo(end, limit);
        return true;
      }
      if (!await this.#fill(signal)) break;
    }
    if (this.buffered === 0) return false;
    if (unterminated === "error") throw this.#incomplete(undefined);
    // As if it had an end: one is put behind it.
    this.#makeRoom(this.buffered + 1);
    this.#buffer[this.#end++] = LF;
    this.#decodeTo(this.#end, limit);
    return true;
  }

  #decodeTo(end: number, limit: number): void {
    const bytes = this.#buffer.subarray(this.#start, end);
    this.#text = decoder.decode(bytes);
    this.#at = 0;
    this.#textBytes = bytes.length;
    this.#textLimit = limit;
    // No character of a text's takes less than a byte: so each takes one.
    this.#isSingle = this.#text.length === bytes.length;
  }

  /** Where the last of the complete lines ends that are there, at most so many as are decoded at once. */
  #completeLines(limit: number): number {
    const from = Math.max(this.#scanned, this.#start);
    const data = this.#buffer.subarray(0, this.#end);
    const first = data.indexOf(LF, from);
    // A CR before the end may belong to it.
    const length = (first < 0 ? this.#end : first) - this.#start;
    if (length > limit + 1 || length === limit + 1 && !this.#endsInCr(first)) {
      throw this.#tooLong(limit, "line end");
    }
    if (first < 0) {
      this.#scanned = this.#end;
      return this.#start;
    }
    this.#scanned = first;
    const most = Math.min(this.#end, Math.max(first + 1, this.#start + DECODE));
    if (most - this.#start <= limit) {
      return data.lastIndexOf(LF, most - 1) + 1;
    }
    // Lines that may be too long are looked at one by one.
    let end = first + 1;
    for (;;) {
      const next = data.indexOf(LF, end);
      if (next < 0 || next >= most || next - end > limit) return end;
      end = next + 1;
    }
  }

  #endsInCr(lineEnd: number): boolean {
    const at = (lineEnd < 0 ? this.#end : lineEnd) - 1;
    return this.#buffer[at] === CR;
  }

  // Frames

  /**
   * Reads a frame.
   *
   * @param format How frames are told apart.
   * @param options A signal that ends the wait.
   * @returns What the frame holds, without its length field, empty for an empty frame; or `null` at the
   * end of the stream.
   * @throws {LimitError} If the frame is longer than the format's `maxLength`; nothing of it is taken.
   * @throws {Deno.errors.InvalidData} If its length cannot be one; nothing of it is taken.
   * @throws {IncompleteReadError} If the stream ended in a frame; `partial` has the bytes, header
   * included.
   * @throws {TypeError | RangeError} If the format is wrong.
   */
  async readFrame(
    format: FrameFormat,
    options?: WaitOptions,
  ): Promise<Uint8Array | null> {
    const checked = checkFormat(format);
    const signal = signalOf(options, "readFrame");
    return await this.#inTurn(
      signal,
      () => this.#nextFrame(checked, signal),
    );
  }

  /**
   * Iterates over the frames to the end of the stream: see {@linkcode BufferedReader.readFrame}. Leaving
   * the loop loses nothing. Small frames that come together share a buffer of at most 16 KiB: copy one
   * that is kept for long.
   *
   * @param format How frames are told apart.
   * @param options A signal that ends a wait.
   * @returns The frames.
   */
  frames(
    format: FrameFormat,
    options?: WaitOptions,
  ): AsyncIterableIterator<Uint8Array> {
    const checked = checkFormat(format);
    const signal = signalOf(options, "frames");
    return this.#iterate(
      signal,
      () => this.#nextCut(checked),
      () => this.#nextFrame(checked, signal),
    );
  }

  /**
   * Iterates over arrays of the frames that are there: one wait for many frames, where each needs little
   * work. See {@linkcode BufferedReader.frames}.
   *
   * @param format How frames are told apart.
   * @param options A signal that ends a wait.
   * @returns Arrays of one frame or more.
   */
  async *frameBatches(
    format: FrameFormat,
    options?: WaitOptions,
  ): AsyncIterableIterator<Uint8Array[]> {
    const checked = checkFormat(format);
    const signal = signalOf(options, "frameBatches");
    for (;;) {
      const batch = await this.#inTurn(signal, async () => {
        const batch = this.#restCut(checked);
        if (batch !== undefined) return batch;
        const frame = await this.#nextFrame(checked, signal);
        return frame === null ? [] : [frame];
      });
      if (batch.length === 0) return;
      yield batch;
    }
  }

  /** Copies frames out that are there whole, as many together as a slab takes. */
  #cutFrames(format: Format): void {
    const header = this.#header;
    const data = this.#buffer;
    const [start, last] = [this.#start, this.#end];
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
    this.#dropCut();
    this.#frames = frames;
    this.#bounds = bounds;
    this.#frameAt = 0;
    this.#framesFor = format;
  }

  /** Whether frames of a format are copied out, or can be now. */
  #hasCut(format: Format): boolean {
    if (this.#framesFor !== format || this.#frameAt === this.#frames.length) {
      this.#dropFrames();
      this.#cutFrames(format);
    }
    return this.#frames.length > 0;
  }

  /** The next frame of those that are copied out. */
  #nextCut(format: Format): Uint8Array<ArrayBuffer> | undefined {
    if (!this.#hasCut(format)) return undefined;
    const i = this.#frameAt++;
    const from = i === 0 ? 0 : this.#bounds[2 * i - 1]!;
    this.#consume(this.#bounds[2 * i + 1]! - from);
    return this.#frames[i];
  }

  /** All frames that are copied out. */
  #restCut(format: Format): Uint8Array<ArrayBuffer>[] | undefined {
    if (!this.#hasCut(format)) return undefined;
    const i = this.#frameAt;
    const from = i === 0 ? 0 : this.#bounds[2 * i - 1]!;
    const rest = i === 0 ? this.#frames : this.#frames.slice(i);
    this.#consume(this.#bounds.at(-1)! - from);
    this.#dropFrames();
    return rest;
  }

  #dropFrames(): void {
    this.#frames = [];
    this.#frameAt = 0;
    this.#framesFor = undefined;
  }

  async #nextFrame(
    format: Format,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array | null> {
    this.#dropCut();
    const header = this.#header;
    while (!parseHeader(this.#buffer, this.#start, this.#end, format, header)) {
      if (await this.#fill(signal)) continue;
      if (this.buffered === 0) return null;
      throw this.#incomplete(undefined);
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
        this.#buffer.slice(this.#start, this.#start + size),
      );
    }
    const { offset } = format;
    if (offset === 0) {
      return await this.#whole(size, size + length, signal);
    }
    const all = await this.#whole(0, size + length, signal);
    // What stands before the length field moves up to what stands behind it.
    all.copyWithin(size - offset, 0, offset);
    return all.subarray(size - offset);
  }
}

/** Waits for a promise until a signal ends the wait. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort);
    promise.then(resolve, reject).finally(() =>
      signal.removeEventListener("abort", onAbort)
    );
  });
}

/** Checks how lines are read. */
function checkLines(options: ReadLineOptions, what: string): {
  signal: AbortSignal | undefined;
  limit: number;
  unterminated: "error" | "line";
} {
  const signal = signalOf(options, what);
  const { limit = DEFAULT_LIMIT, unterminated = "error" } = options;
  checkLimit(limit);
  if (unterminated !== "error" && unterminated !== "line") {
    throw new TypeError(
      `Invalid unterminated: expected "error" or "line", got ${
        show(unterminated)
      }`,
    );
  }
  return { signal, limit, unterminated };
}

/**
 * Makes a frame: the length field, and the data behind it (or around it: the first `offset` bytes stand
 * before the field).
 *
 * @param data What the frame holds.
 * @param format How frames are told apart.
 * @returns The frame's bytes.
 * @throws {RangeError} If the data is too long, or too short, for the format.
 * @throws {TypeError} If the data is not a Uint8Array, or the format is wrong.
 *
 * @example Two bytes of length
 * ```ts
 * import { encodeFrame } from "@berkeley/sockets/framing";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(
 *   encodeFrame(new Uint8Array([7, 8, 9]), { bytes: 2 }),
 *   new Uint8Array([0, 3, 7, 8, 9]),
 * );
 * ```
 */
export function encodeFrame(
  data: Uint8Array,
  format: FrameFormat,
): Uint8Array<ArrayBuffer> {
  const [before, field, behind] = pieces(data, format);
  const frame = new Uint8Array(before.length + field.length + behind.length);
  frame.set(before);
  frame.set(field, before.length);
  frame.set(behind, before.length + field.length);
  return frame;
}

/** The parts of a frame in their order. */
function pieces(
  data: Uint8Array,
  format: FrameFormat,
): [before: Uint8Array, field: Uint8Array, behind: Uint8Array] {
  const checked = checkFormat(format);
  if (!(data instanceof Uint8Array)) throw notBytes(data, "data");
  const { offset } = checked;
  if (data.length < offset) {
    throw new RangeError(
      `Invalid frame: expected at least ${offset} bytes before the length, got ${data.length}`,
    );
  }
  return [
    data.subarray(0, offset),
    encodeLength(data.length - offset, checked),
    data.subarray(offset),
  ];
}

/**
 * Writes a frame, whole: on a connection of this package frames of concurrent callers do not mix.
 *
 * @param writer Where it goes.
 * @param data What the frame holds.
 * @param format How frames are told apart.
 * @param options A signal; see `writeAll` for what an abort leaves behind.
 * @throws {RangeError} If the data is too long, or too short, for the format; nothing is written.
 * @throws {TypeError} If the data is not a Uint8Array, or the format is wrong.
 *
 * @example Frames there and back
 * ```ts
 * import { BufferedReader, writeFrame } from "@berkeley/sockets/framing";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals } from "@std/assert";
 *
 * const [a, b] = pair();
 * const format = { varint: "leb128" } as const;
 * await writeFrame(a, new Uint8Array([1, 2, 3]), format);
 * await writeFrame(a, new Uint8Array(0), format);
 * a.close();
 * const reader = new BufferedReader(b);
 * assertEquals(await reader.readFrame(format), new Uint8Array([1, 2, 3]));
 * assertEquals(await reader.readFrame(format), new Uint8Array(0));
 * assertEquals(await reader.readFrame(format), null);
 * b.close();
 * ```
 */
export async function writeFrame(
  writer: Writer,
  data: Uint8Array,
  format: FrameFormat,
  options?: WaitOptions,
): Promise<void> {
  const [before, field, behind] = pieces(data, format);
  await writeAll(
    writer,
    before.length === 0 ? [field, behind] : [before, field, behind],
    options,
  );
}

/**
 * Writes a line of UTF-8 and its end, whole.
 *
 * @param writer Where it goes.
 * @param line The line, without an end: a LF or CR in it would make two of it, and is refused.
 * @param options The line's end and a signal.
 * @throws {TypeError} If the line is not a string, or has a line end in it; nothing is written.
 *
 * @example
 * ```ts
 * import { BufferedReader, writeLine } from "@berkeley/sockets/framing";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals } from "@std/assert";
 *
 * const [a, b] = pair();
 * await writeLine(a, "HELO example.org", { end: "\r\n" });
 * assertEquals(await new BufferedReader(b).readLine(), "HELO example.org");
 * a.close();
 * b.close();
 * ```
 */
export async function writeLine(
  writer: Writer,
  line: string,
  options: WriteLineOptions = {},
): Promise<void> {
  checkText(line, "line");
  checkOptions(options, "writeLine");
  const { end = "\n" } = options;
  if (end !== "\n" && end !== "\r\n") {
    throw new TypeError(
      `Invalid end: expected "\\n" or "\\r\\n", got ${show(end)}`,
    );
  }
  if (/[\r\n]/.test(line)) {
    throw new TypeError(
      `Invalid line: expected none with a line end in it, got ${show(line)}`,
    );
  }
  await writeAll(writer, encoder.encode(line + end), options);
}
