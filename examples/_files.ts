/**
 * What the sender and the receiver of files share: the protocol, checksums, and progress.
 *
 * Messages are JSON in frames of 4 bytes of length. The sender sends a header; the receiver answers with
 * `at`, how many bytes it has already, or `have`, or `refused`. After `at` the sender sends the rest of the
 * content as it is and an empty frame, and the receiver answers `done` or `refused`. In the place of a
 * message, an empty frame says that the other side is still busy with a checksum.
 */

import { createHash, type Hash } from "node:crypto";
import {
  type BufferedReader,
  errorCode,
  IncompleteReadError,
  isTimeoutError,
  LimitError,
  type Reader,
  type StreamConn,
  strerror,
  writeFrame,
} from "@berkeley/sockets";
import { printable } from "./_args.ts";

/** Where the receiver listens unless it is told. */
export const ADDRESS = "127.0.0.1:7020";

/** How long a side may be silent, in milliseconds, unless another bound is given. */
export const TIMEOUT = 60_000;

/** How much is read, sent and written at a time. */
export const CHUNK = 2 ** 20;

/** The longest message: the longest path, with each of its characters escaped, fits. */
const MOST = 32_768;

const FRAME = { bytes: 4, maxLength: MOST } as const;

/** How often a side that is busy says so, in milliseconds. */
const BUSY = 100;

const NOTHING = new Uint8Array(0);

/** What comes next. */
export interface Header {
  readonly kind: "file" | "folder";
  /** The path, with slashes, from the target folder on. */
  readonly name: string;
  readonly size: number;
  /** In hexadecimal digits; without it nothing is verified but the size. */
  readonly sha256?: string;
  /** The permissions of Unix. */
  readonly mode?: number;
  /** Whether the sender goes on with what is there already. */
  readonly resume?: boolean;
}

/** What the receiver says of it. */
export interface Answer {
  readonly at?: number;
  readonly have?: true;
  readonly done?: true;
  readonly refused?: string;
}

/** What ends a conversation, or keeps one file from its place: one line for people. */
export class Failure extends Error {}

/** A text of somebody else's, of which there may be much. */
export function show(text: string): string {
  return printable(text.slice(0, MOST));
}

/** How the runtime ends what the system says, also where it is about files and has no name here. */
const SYSTEM = /^(.*) \(os error \d+\)/s;

/** Whether an error is one of the system's or of a peer's, and no bug of ours. */
export function isExpected(error: unknown): error is Error {
  return error instanceof Error &&
    (error instanceof Failure || errorCode(error) !== undefined ||
      SYSTEM.test(error.message));
}

/** The line that says what went wrong; of the system's errors without the path, which is nobody else's. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof Failure || error instanceof Deno.errors.NotCapable) {
    return error.message;
  }
  if (isTimeoutError(error)) return "the other side is silent for too long";
  const code = errorCode(error);
  return code === undefined
    ? SYSTEM.exec(error.message)?.[1] ?? error.message
    : `${strerror(code)} (${code})`;
}

/** Sends a message. */
export function send(
  conn: StreamConn,
  message: Header | Answer,
): Promise<void> {
  const bytes = new TextEncoder().encode(JSON.stringify(message));
  if (bytes.length > MOST) throw new Failure("the name is too long");
  return writeFrame(conn, bytes, FRAME);
}

/** Sends the empty frame behind a content. */
export function sendEnd(conn: StreamConn): Promise<void> {
  return writeFrame(conn, NOTHING, FRAME);
}

/** Waits for the next message; `null` at the end of the stream. */
export async function receive(
  reader: BufferedReader,
): Promise<Record<string, unknown> | null> {
  try {
    for (;;) {
      const frame = await reader.readFrame(FRAME);
      if (frame === null) return null;
      if (frame.length === 0) continue;
      const text = new TextDecoder("utf-8", { fatal: true }).decode(frame);
      const message: unknown = JSON.parse(text);
      if (message instanceof Object && !Array.isArray(message)) {
        return message as Record<string, unknown>;
      }
      throw new SyntaxError();
    }
  } catch (error) {
    if (error instanceof LimitError) {
      throw new Failure(`a message is longer than ${MOST} bytes`);
    }
    if (error instanceof SyntaxError || error instanceof TypeError) {
      throw new Failure("a message is not a JSON object");
    }
    if (error instanceof IncompleteReadError && error.cause === undefined) {
      throw new Failure("the stream ends in a message");
    }
    throw error;
  }
}

/** Waits for the empty frame behind a content; `null` at the end of the stream, `false` if it is anything else. */
export async function receiveEnd(
  reader: BufferedReader,
): Promise<boolean | null> {
  try {
    return await reader.readFrame({ bytes: 4, maxLength: 0 }) && true;
  } catch (error) {
    if (error instanceof LimitError) return false;
    if (error instanceof IncompleteReadError) return null;
    // Who is killed is gone, however the system puts it.
    if (errorCode(error) === "ECONNRESET") return null;
    throw error;
  }
}

/** A known number of bytes of a reader. */
export class Exactly implements Reader {
  readonly #reader: Reader;
  readonly #early: (left: number) => Error;
  #left: number;

  /**
   * @param reader Where the bytes come from.
   * @param size How many they are.
   * @param early Makes the error for a stream that ends before.
   */
  constructor(reader: Reader, size: number, early: (left: number) => Error) {
    this.#reader = reader;
    this.#left = size;
    this.#early = early;
  }

  async read(p: Uint8Array): Promise<number | null> {
    if (this.#left === 0) return null;
    const n = await this.#reader.read(
      p.length > this.#left ? p.subarray(0, this.#left) : p,
    );
    if (n === null) throw this.#early(this.#left);
    this.#left -= n;
    return n;
  }
}

/** The buffers of the next checksum: those of the one before, unless that is still at work. */
let buffers: [Uint8Array, Uint8Array] | undefined;

/**
 * Takes a file from its position to its end into a checksum. The next chunk is read meanwhile.
 *
 * @param onChunk Told how many bytes it is by now.
 * @returns How many bytes it was.
 */
export async function digest(
  hash: Hash,
  file: Reader,
  onChunk: (bytes: number) => Promise<void>,
): Promise<number> {
  const pair: typeof buffers = buffers ??
    [new Uint8Array(CHUNK), new Uint8Array(CHUNK)];
  buffers = undefined;
  let [chunk, spare] = pair;
  let bytes = 0;
  let n = await file.read(chunk);
  while (n !== null) {
    const next = file.read(spare);
    hash.update(chunk.subarray(0, n));
    bytes += n;
    // Together: a rejection of the one must not leave the other alone.
    [n] = await Promise.all([next, onChunk(bytes)]);
    [chunk, spare] = [spare, chunk];
  }
  buffers = pair;
  return bytes;
}

/** A SHA-256 that grows. */
export function sha256(): Hash {
  return createHash("sha256");
}

/** Tells the other side now and then that this one is still there. */
export function keepTelling(conn: StreamConn): () => Promise<void> {
  let next = performance.now() + BUSY;
  return async () => {
    if (performance.now() < next) return;
    next = performance.now() + BUSY;
    try {
      await sendEnd(conn);
    } catch (error) {
      throw new Failure(reasonOf(error));
    }
  };
}

/** A number of bytes for people. */
export function bytesText(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
  let i = 0;
  for (; bytes >= 999.95 && i < units.length - 1; i++) bytes /= 1000;
  return i === 0 && bytes === 1
    ? "1 byte"
    : `${bytes.toFixed(i === 0 ? 0 : 1)} ${units[i]}`;
}

/** So many of something. */
export function count(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? "" : "s"}`;
}

/** Lines; on a terminal, below them, how far it is, ten times a second at most. */
export class Progress {
  readonly #isTerminal = Deno.stdout.isTerminal();
  readonly #encoder = new TextEncoder();
  #next = 0;
  #isDrawn = false;

  /** Prints a line: what was done, or to stderr what was not. */
  line(text: string, isError = false): void {
    if (this.#isDrawn) this.#write("\r\x1b[K");
    this.#isDrawn = false;
    if (isError) console.error(`error: ${text}`);
    else console.log(text);
  }

  /**
   * Begins with something that takes time.
   *
   * @returns What is to be told how far it is.
   */
  start(what: string, from: number, size: number): (bytes: number) => void {
    const start = performance.now();
    return (bytes) => {
      const now = performance.now();
      if (!this.#isTerminal || now < this.#next) return;
      this.#next = now + 100;
      const rate = (bytes - from) / ((now - start) / 1000) || 0;
      const left = Math.ceil((size - bytes) / rate);
      const clock = Number.isFinite(left)
        ? `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`
        : "-:--";
      const part = Math.floor(bytes / Math.max(size, 1) * 100);
      // Without wraps a long name cannot make two lines of it.
      this.#write(
        `\r\x1b[?7l${String(part).padStart(3)} %  ${
          bytesText(rate)
        }/s  ${clock} left  ${what}\x1b[K\x1b[?7h`,
      );
      this.#isDrawn = true;
    };
  }

  #write(text: string): void {
    Deno.stdout.writeSync(this.#encoder.encode(text));
  }
}
