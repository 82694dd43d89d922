/** File objects over sockets, as Python's `makefile()` gives them. */

import { checkInteger, notBytes, show } from "./_check.ts";
import { socketError } from "./_socket_error.ts";

/** What a file needs of its socket. */
export interface FileSocket {
  recv(bufsize: number): Promise<Uint8Array<ArrayBuffer>>;
  send(data: Uint8Array): Promise<number>;
  /** `onSent` is told how many bytes are out so far, where more can be sent after a failure. */
  sendall(data: Uint8Array, onSent: (sent: number) => void): Promise<void>;
  /** The file is closed. */
  release(): void;
}

/** How a file is made. */
export interface MakefileOptions {
  /**
   * How many bytes are collected before they are sent: -1, the default, for 8,192; 0 for none, in binary
   * modes; 1 for whole lines, in text modes.
   */
  buffering?: number;
  /** The encoding of text that is read, a label of the Encoding Standard; what is written is UTF-8. */
  encoding?: string;
  /**
   * What ends a line of text: `null`, the default, takes `"\n"`, `"\r\n"` and `"\r"` for one and gives
   * `"\n"`; `""` takes all three and gives them as they are; `"\n"` and `"\r\n"` take only that one, and
   * the latter is what `"\n"` is written as.
   */
  newline?: null | "" | "\n" | "\r\n";
}

const DEFAULT_BUFFERING = 8192;

/** What a mode says. */
export interface Mode {
  readonly reads: boolean;
  readonly writes: boolean;
  readonly isBinary: boolean;
}

/** Checks a mode: r, w or both, and b for bytes. */
export function checkMode(mode: string): Mode {
  if (!/^(?=.*[rw])(?:([rwb])(?!.*\1))+$/.test(String(mode))) {
    throw new TypeError(
      `Invalid mode: expected "r", "w" or "rw", with "b" for bytes, got ${
        show(mode)
      }`,
    );
  }
  return {
    reads: mode.includes("r"),
    writes: mode.includes("w"),
    isBinary: mode.includes("b"),
  };
}

/**
 * A file object over a socket, of text or of bytes: buffered, with lines that keep their `"\n"`.
 *
 * Calls are made in their order, so none need wait for the one before it. A read that times out, or would
 * block, rejects and loses nothing. A write or flush that timed out in its middle goes on with the next one
 * on the C library's sockets; on Deno's the socket takes no more. Closing it sends what is buffered, and
 * leaves the socket open.
 */
export interface SocketFile<
  T extends string | Uint8Array,
  W extends string | Uint8Array = T,
> extends AsyncDisposable {
  /** Whether the file is closed. */
  readonly closed: boolean;
  /** Whether it can be read from. */
  readable(): boolean;
  /** Whether it can be written to. */
  writable(): boolean;
  /**
   * Reads.
   *
   * @param size How many bytes or UTF-16 units; -1, the default, for all to the end of the stream.
   * @returns Fewer only at the end of the stream, where it is empty, or without a buffer.
   * @throws {Error} As `recv`; with `code` `"EBADF"` if the file is closed, or not for reading.
   */
  read(size?: number): Promise<T>;
  /**
   * Reads a line.
   *
   * @param size The most bytes or UTF-16 units; -1, the default, for no bound.
   * @returns The line with its end; without one only at the end of the stream, or at the bound. Empty at
   * the end of the stream.
   * @throws {Error} As `recv`; with `code` `"EBADF"` if the file is closed, or not for reading.
   */
  readline(size?: number): Promise<T>;
  /** Reads all lines to the end of the stream. */
  readlines(): Promise<T[]>;
  /** Iterates over the lines to the end of the stream. */
  [Symbol.asyncIterator](): AsyncIterableIterator<T>;
  /**
   * Writes, into the buffer first.
   *
   * @param data Text in text modes, bytes in binary ones.
   * @returns How much was taken: all, unless the file is unbuffered.
   * @throws {TypeError} If it is of the other kind.
   * @throws {Error} As `sendall`; with `code` `"EBADF"` if the file is closed, or not for writing.
   */
  write(data: W): Promise<number>;
  /** Writes one after the other. No ends are added. */
  writelines(lines: Iterable<W>): Promise<void>;
  /** Sends what is buffered. */
  flush(): Promise<void>;
  /** Sends what is buffered and closes the file; the socket stays open. More than one call does no harm. */
  close(): Promise<void>;
}

/** A file of bytes. */
export type BinaryFile = SocketFile<Uint8Array<ArrayBuffer>, Uint8Array>;

/** A file of text. */
export type TextFile = SocketFile<string>;

/** Calls that have to be made one after the other, in the order in which they came. */
class Turns {
  #last: Promise<unknown> = Promise.resolve();

  take<T>(call: () => Promise<T>): Promise<T> {
    const result = this.#last.then(call);
    this.#last = result.catch(() => {});
    return result;
  }
}

/** What files of text and of bytes have in common. */
abstract class Base<
  T extends string | Uint8Array,
  W extends string | Uint8Array = T,
> implements SocketFile<T, W> {
  readonly #socket: FileSocket;
  readonly #mode: Mode;
  readonly #buffering: number;
  /** What has come and has not been read, in the pieces in which it came. */
  #parts: T[] = [];
  #length = 0;
  #isOver = false;
  readonly #reads = new Turns();
  readonly #writes = new Turns();
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #closing: Promise<void> | undefined;
  #isClosed = false;

  constructor(socket: FileSocket, mode: Mode, buffering: number) {
    this.#socket = socket;
    this.#mode = mode;
    this.#buffering = buffering;
  }

  /** Nothing. */
  protected abstract readonly nothing: T;
  /** Makes of bytes what is read; `undefined` is the end of the stream. */
  protected abstract decode(bytes: Uint8Array<ArrayBuffer> | undefined): T;
  protected abstract encode(data: W): Uint8Array;
  /** Where the first line ends in a piece, behind its end; -1 if it does not. */
  protected abstract lineEnd(piece: T): number;
  protected abstract join(pieces: T[]): T;
  /** Whether what is written is sent at once. */
  protected abstract flushesAfter(data: W): boolean;

  get closed(): boolean {
    return this.#isClosed;
  }

  readable(): boolean {
    return this.#mode.reads;
  }

  writable(): boolean {
    return this.#mode.writes;
  }

  #check(can: boolean, call: string): void {
    if (this.#closing !== undefined) {
      throw socketError("EBADF", call, "the file is closed");
    }
    if (!can) {
      throw socketError("EBADF", call, "the file's mode does not allow it");
    }
  }

  // Reading

  /** Waits for more; `false` at the end of the stream. */
  async #fill(): Promise<boolean> {
    if (this.#isOver) return false;
    const bytes = await this.#socket.recv(
      Math.max(this.#buffering, DEFAULT_BUFFERING),
    );
    this.#isOver = bytes.length === 0;
    const piece = this.decode(this.#isOver ? undefined : bytes);
    if (piece.length > 0) {
      this.#parts.push(piece);
      this.#length += piece.length;
    }
    return !this.#isOver;
  }

  /** Takes the first `n` units of what has come. */
  #take(n: number): T {
    const taken: T[] = [];
    let missing = n;
    while (missing > 0) {
      const part = this.#parts[0]!;
      if (part.length <= missing) {
        taken.push(part);
        this.#parts.shift();
      } else {
        taken.push(part.slice(0, missing) as T);
        this.#parts[0] = part.slice(missing) as T;
      }
      missing -= Math.min(part.length, missing);
    }
    this.#length -= n;
    return taken.length === 0
      ? this.nothing
      : taken.length === 1
      ? taken[0]!
      : this.join(taken);
  }

  async read(size: number = -1): Promise<T> {
    this.#check(this.#mode.reads, "read");
    checkInteger(size, "size", -1, 2 ** 31 - 1);
    return await this.#reads.take(() =>
      this.#buffering === 0 ? this.#readOnce(size) : this.#read(size)
    );
  }

  async #read(size: number): Promise<T> {
    const wanted = size < 0 ? Infinity : size;
    while (this.#length < wanted && await this.#fill());
    return this.#take(Math.min(this.#length, wanted));
  }

  /** Without a buffer: one receive, or all of them. */
  async #readOnce(size: number): Promise<T> {
    if (size < 0) {
      while (await this.#fill());
      return this.#take(this.#length);
    }
    if (this.#length > 0) return this.#take(Math.min(size, this.#length));
    if (size === 0) return this.nothing;
    return this.decode(await this.#socket.recv(size));
  }

  async readline(size: number = -1): Promise<T> {
    this.#check(this.#mode.reads, "readline");
    checkInteger(size, "size", -1, 2 ** 31 - 1);
    return await this.#reads.take(() => this.#readline(size));
  }

  async #readline(size: number): Promise<T> {
    const most = size < 0 ? Infinity : size;
    let looked = 0;
    let before = 0;
    for (;;) {
      for (; looked < this.#parts.length && before < most; looked++) {
        const part = this.#parts[looked]!;
        const end = this.lineEnd(part);
        if (end >= 0) return this.#take(Math.min(before + end, most));
        before += part.length;
      }
      if (before >= most || !await this.#fill()) {
        if (looked < this.#parts.length && before < most) continue;
        return this.#take(Math.min(this.#length, most));
      }
    }
  }

  async readlines(): Promise<T[]> {
    const lines: T[] = [];
    for await (const line of this) lines.push(line);
    return lines;
  }

  async *[Symbol.asyncIterator](): AsyncIterableIterator<T> {
    for (let line; (line = await this.readline()).length > 0;) yield line;
  }

  // Writing

  async write(data: W): Promise<number> {
    this.#check(this.#mode.writes, "write");
    const bytes = this.encode(data);
    if (this.#buffering === 0) {
      return await this.#writes.take(() => this.#socket.send(bytes));
    }
    // The caller may change its buffer.
    this.#pending.push(bytes.slice());
    this.#pendingBytes += bytes.length;
    if (this.#pendingBytes >= this.#buffering || this.flushesAfter(data)) {
      await this.#flush();
    }
    return data.length;
  }

  async writelines(lines: Iterable<W>): Promise<void> {
    for (const line of lines) await this.write(line);
  }

  async flush(): Promise<void> {
    this.#check(true, "flush");
    await this.#flush();
  }

  #flush(): Promise<void> {
    return this.#writes.take(async () => {
      while (this.#pending.length > 0) {
        const first = this.#pending[0]!;
        let out = 0;
        try {
          await this.#socket.sendall(first, (sent) => out = sent);
          out = first.length;
        } finally {
          // What is not out stays where it is: a call that would block loses nothing.
          if (out === first.length) this.#pending.shift();
          else this.#pending[0] = first.subarray(out);
          this.#pendingBytes -= out;
        }
      }
    });
  }

  close(): Promise<void> {
    return this.#closing ??= this.#flush().finally(() => {
      this.#isClosed = true;
      this.#socket.release();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

class Bytes extends Base<Uint8Array<ArrayBuffer>, Uint8Array> {
  protected override readonly nothing = new Uint8Array(0);

  protected override decode(
    bytes: Uint8Array<ArrayBuffer> | undefined,
  ): Uint8Array<ArrayBuffer> {
    return bytes ?? this.nothing;
  }

  protected override encode(data: Uint8Array): Uint8Array {
    if (!(data instanceof Uint8Array)) throw notBytes(data, "data");
    return data;
  }

  protected override lineEnd(piece: Uint8Array): number {
    const at = piece.indexOf(10);
    return at < 0 ? at : at + 1;
  }

  protected override join(
    pieces: Uint8Array<ArrayBuffer>[],
  ): Uint8Array<ArrayBuffer> {
    let length = 0;
    for (const piece of pieces) length += piece.length;
    const all = new Uint8Array(length);
    length = 0;
    for (const piece of pieces) {
      all.set(piece, length);
      length += piece.length;
    }
    return all;
  }

  protected override flushesAfter(_data: Uint8Array): boolean {
    return false;
  }
}

const encoder = new TextEncoder();

class Text extends Base<string> {
  protected override readonly nothing = "";
  readonly #decoder: TextDecoder;
  readonly #newline: null | "" | "\n" | "\r\n";
  readonly #flushesLines: boolean;
  /** A CR at the end of what has come: an LF behind it would belong to it. */
  #held = "";

  constructor(
    socket: FileSocket,
    mode: Mode,
    buffering: number,
    { encoding = "utf-8", newline = null }: MakefileOptions,
  ) {
    super(socket, mode, buffering === 1 ? DEFAULT_BUFFERING : buffering);
    this.#decoder = new TextDecoder(encoding, { ignoreBOM: true });
    this.#newline = newline;
    this.#flushesLines = buffering === 1;
  }

  protected override decode(
    bytes: Uint8Array<ArrayBuffer> | undefined,
  ): string {
    const text = this.#held +
      (bytes === undefined
        ? this.#decoder.decode()
        : this.#decoder.decode(bytes, { stream: true }));
    this.#held = "";
    if (this.#newline === "\n") return text;
    let end = text.length;
    if (bytes !== undefined && text.endsWith("\r")) {
      this.#held = "\r";
      end--;
    }
    const whole = text.slice(0, end);
    return this.#newline === null ? whole.replace(/\r\n?/g, "\n") : whole;
  }

  protected override encode(data: string): Uint8Array {
    if (typeof data !== "string") {
      throw new TypeError(
        `Invalid data: expected a string in a text mode, got ${show(data)}`,
      );
    }
    return encoder.encode(
      this.#newline === "\r\n" ? data.replaceAll("\n", "\r\n") : data,
    );
  }

  protected override lineEnd(piece: string): number {
    if (this.#newline === "") {
      const match = /\r\n|\r|\n/.exec(piece);
      return match === null ? -1 : match.index + match[0].length;
    }
    const end = this.#newline ?? "\n";
    const at = piece.indexOf(end);
    return at < 0 ? at : at + end.length;
  }

  protected override join(pieces: string[]): string {
    return pieces.join("");
  }

  protected override flushesAfter(data: string): boolean {
    return this.#flushesLines && /[\r\n]/.test(data);
  }
}

/** Makes a file. */
export function makeFile(
  socket: FileSocket,
  mode: Mode,
  options: MakefileOptions,
): BinaryFile | TextFile {
  const { buffering = -1, newline } = options;
  checkInteger(buffering, "buffering", -1, 2 ** 31 - 1);
  if (newline !== undefined && ![null, "", "\n", "\r\n"].includes(newline)) {
    throw new TypeError(
      `Invalid newline: expected null, "", "\\n" or "\\r\\n", got ${
        show(newline)
      }`,
    );
  }
  const size = buffering < 0 ? DEFAULT_BUFFERING : buffering;
  if (mode.isBinary) {
    return new Bytes(socket, mode, size === 1 ? DEFAULT_BUFFERING : size);
  }
  if (size === 0) {
    throw new RangeError(
      'Invalid buffering: expected more than 0 for text; 0 is for modes with "b"',
    );
  }
  return new Text(socket, mode, size, options);
}
