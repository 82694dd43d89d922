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

import {
  type KeepingReader,
  keepsReads,
  type Reader,
  type WaitOptions,
  type Writer,
} from "./types.ts";
import {
  checkBoolean,
  checkInteger,
  checkLimit,
  checkOptions,
  checkReader,
  checkText,
  fill,
  notBytes,
  show,
  signalOf,
} from "./_check.ts";
import { writeAll } from "./io.ts";
import {
  checkFormat,
  encodeLength,
  type FixedFrameFormat,
  type Format,
  type FrameFormat,
  type VarintFrameFormat,
} from "./_frame_format.ts";
import { abortable, ReadBuffer } from "./_read_buffer.ts";
import { FrameCutter } from "./_frame_cutter.ts";
import { LineCutter, type LineRules } from "./_line_cutter.ts";

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
  /**
   * The largest size of the buffer in bytes, 16 to 16 MiB; 65,536 by default. It is smaller while little
   * comes at once; larger messages get more.
   */
  bufSize?: number;
}

/** How frames are iterated over. */
export interface FramesOptions extends WaitOptions {
  /**
   * Whether the reader uses the memory of frames again, which saves it most of its work where frames are
   * small; `false` by default. A frame is good until the next one, or the next array of them, is asked
   * for: what is kept must be copied.
   */
  reuse?: boolean;
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

const encoder = new TextEncoder();

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
  readonly #buffer: ReadBuffer;
  readonly #lines: LineCutter;
  readonly #frames: FrameCutter;
  /** Whoever has the reader; others wait behind. */
  #turn: Promise<void> | undefined;
  /** The delimiter that was searched for last, and up to where in the stream it does not begin. */
  #sought = "";
  #soughtTo = 0;

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
    this.#buffer = new ReadBuffer(reader, bufSize);
    this.#lines = new LineCutter(this.#buffer);
    this.#frames = new FrameCutter(this.#buffer);
  }

  /** How many bytes have come and are not given out. */
  get buffered(): number {
    return this.#buffer.length;
  }

  // Turns

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
      const from = this.#buffer;
      while (from.length === 0) if (!await from.fill(signal)) return null;
      const n = Math.min(p.length, from.length);
      p.set(from.data.subarray(from.start, from.start + n));
      from.consume(n);
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
  async peek(
    n: number,
    options?: WaitOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    checkInteger(n, "n", 0, 2 ** 24);
    const signal = signalOf(options, "peek");
    return await this.#inTurn(signal, async () => {
      const from = this.#buffer;
      while (from.length < n) if (!await from.fill(signal, n)) break;
      const { data, start, end } = from;
      return data.slice(start, Math.min(start + n, end));
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
      const bytes = await this.#buffer.whole(0, length, signal);
      if (buffer === undefined) return bytes;
      fill(buffer, bytes);
      return buffer;
    });
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
  ): Promise<Uint8Array<ArrayBuffer>> {
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
      const key = String.fromCharCode(...bytes);
      if (key !== this.#sought) {
        this.#sought = key;
        this.#soughtTo = 0;
      }
      const from = this.#buffer;
      for (;;) {
        const { start, position } = from;
        const end = this.#find(
          bytes,
          start + Math.max(this.#soughtTo - position, 0),
        );
        // The last bytes may be the delimiter's first.
        const length = end < 0
          ? Math.max(from.length - bytes.length + 1, 0)
          : end - start;
        if (length > limit) throw from.tooLong(limit, "delimiter");
        if (end >= 0) {
          return await from.whole(0, length + bytes.length, signal);
        }
        this.#soughtTo = position + length;
        if (!await from.fill(signal)) throw from.incomplete(undefined);
      }
    });
  }

  /** Where a delimiter begins, or -1. */
  #find(delimiter: Uint8Array, from: number): number {
    const data = this.#buffer.data.subarray(0, this.#buffer.end);
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
    const [rules, signal] = checkLines(options, "readLine");
    const { limit } = rules;
    if (this.#turn === undefined && !signal?.aborted) {
      const line = this.#lines.next(limit);
      if (line !== undefined) return line;
    }
    return await this.#inTurn(
      signal,
      async () =>
        this.#lines.next(limit) ?? await this.#nextLine(rules, signal),
    );
  }

  /** Waits for a line; `null` at the end of the stream. */
  async #nextLine(
    rules: LineRules,
    signal: AbortSignal | undefined,
  ): Promise<string | null> {
    return await this.#lines.decode(rules, signal)
      ? this.#lines.next(rules.limit)!
      : null;
  }

  /**
   * Iterates over the lines to the end of the stream: see {@linkcode BufferedReader.readLine}. Leaving
   * the loop loses nothing: the next line is the next call's.
   *
   * @param options The limit, what to do with an unterminated rest, and a signal.
   * @returns The lines.
   */
  lines(options: ReadLineOptions = {}): AsyncIterableIterator<string> {
    const [rules, signal] = checkLines(options, "lines");
    return this.#iterate(
      signal,
      () => this.#lines.next(rules.limit),
      () => this.#nextLine(rules, signal),
    );
  }

  /**
   * Iterates over arrays of the lines that are there: one wait for many lines, where each line needs
   * little work. See {@linkcode BufferedReader.readLine}.
   *
   * @param options The limit, what to do with an unterminated rest, and a signal.
   * @returns Arrays of one line or more.
   */
  lineBatches(
    options: ReadLineOptions = {},
  ): AsyncIterableIterator<string[]> {
    const [rules, signal] = checkLines(options, "lineBatches");
    const { limit } = rules;
    return this.#iterate(
      signal,
      () => this.#lines.rest(limit),
      async () =>
        await this.#lines.decode(rules, signal)
          ? this.#lines.rest(limit)!
          : null,
    );
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
      let skipped = 0;
      const from = this.#buffer;
      for (;;) {
        const { data, start } = from;
        const end = data.subarray(0, from.end).indexOf(LF, start);
        const count = (end < 0 ? from.end : end + 1) - start;
        from.consume(count);
        skipped += count;
        if (end >= 0 || !await from.fill(signal)) return skipped;
      }
    });
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
  ): Promise<Uint8Array<ArrayBuffer> | null> {
    const checked = checkFormat(format);
    const signal = signalOf(options, "readFrame");
    return await this.#inTurn(
      signal,
      () => this.#frames.read(checked, signal),
    );
  }

  /**
   * Iterates over the frames to the end of the stream: see {@linkcode BufferedReader.readFrame}. Leaving
   * the loop loses nothing. Frames that come together are views of one buffer, of `bufSize` bytes at most
   * if they are smaller: copy one (`slice()`) that is kept for long, or whose buffer is transferred.
   *
   * @param format How frames are told apart.
   * @param options Whether the buffer is used again, and a signal that ends a wait.
   * @returns The frames.
   * @throws {TypeError} If the format or an option is wrong.
   */
  frames(
    format: FrameFormat,
    options?: FramesOptions,
  ): AsyncIterableIterator<Uint8Array<ArrayBuffer>> {
    const [checked, reuse, signal] = checkFrames(format, options, "frames");
    const frames = this.#frames;
    return this.#iterate(
      signal,
      () => frames.next(checked, reuse),
      async () =>
        await frames.wait(checked, signal)
          ? frames.next(checked, reuse)!
          : null,
    );
  }

  /**
   * Iterates over arrays of the frames that are there, at most 128: one wait for many frames, where each
   * needs little work. See {@linkcode BufferedReader.frames}.
   *
   * @param format How frames are told apart.
   * @param options Whether the buffer is used again, and a signal that ends a wait.
   * @returns Arrays of one frame or more.
   * @throws {TypeError} If the format or an option is wrong.
   */
  frameBatches(
    format: FrameFormat,
    options?: FramesOptions,
  ): AsyncIterableIterator<Uint8Array<ArrayBuffer>[]> {
    const [checked, reuse, signal] = checkFrames(
      format,
      options,
      "frameBatches",
    );
    const frames = this.#frames;
    return this.#iterate(
      signal,
      () => frames.rest(checked, reuse),
      async () =>
        await frames.wait(checked, signal)
          ? frames.rest(checked, reuse)!
          : null,
    );
  }
}

/** Checks how frames are read. */
function checkFrames(
  format: FrameFormat,
  options: FramesOptions | undefined,
  what: string,
): [Format, reuse: boolean, AbortSignal | undefined] {
  const checked = checkFormat(format);
  const signal = signalOf(options, what);
  const { reuse = false } = options ?? {};
  checkBoolean(reuse, "reuse");
  return [checked, reuse, signal];
}

/** Checks how lines are read. */
function checkLines(
  options: ReadLineOptions,
  what: string,
): [LineRules, AbortSignal | undefined] {
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
  return [{ limit, unterminated }, signal];
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
