/**
 * Moving bytes between a reader and a writer: connections of this package, a `Deno.Conn`, files and
 * `Deno.stdin` alike.
 *
 * @example An echo server's handler
 * ```ts
 * import { copy, readAll } from "@berkeley/sockets/io";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals } from "@std/assert";
 *
 * const [client, server] = pair();
 * const echo = copy(server, server).then(() => server.closeWrite());
 * await client.writeAll(new TextEncoder().encode("hello"));
 * await client.closeWrite();
 * assertEquals(new TextDecoder().decode(await readAll(client)), "hello");
 * await echo;
 * client.close();
 * server.close();
 * ```
 *
 * @module
 */

import { IncompleteReadError, LimitError } from "./errors.ts";
import type {
  HalfCloser,
  Reader,
  WaitOptions,
  WholeWriter,
  Writer,
} from "./types.ts";
import {
  checkInteger,
  checkLimit,
  checkOptions,
  checkReader,
  notBytes,
  show,
  signalOf,
} from "./_check.ts";
import { Chunks, unsent } from "./_chunks.ts";
import { AbortableReads, keeps } from "./_abortable_reads.ts";

/** How much {@linkcode readAll} takes unless told otherwise: 64 MiB. */
const DEFAULT_LIMIT = 64 * 1024 * 1024;

/** The chunk that is read at a time: what the kernel's queue can have at once, in most cases. */
const CHUNK = 65536;

/** How far a buffer can grow in place. Only address space is reserved. */
const MAX_RESERVED = 2 ** 32;

/** Results up to this size are copied into a buffer of their own, and the reservation is given back. */
const SMALL = 65536;

/** How {@linkcode readAll} reads. */
export interface ReadAllOptions extends WaitOptions {
  /**
   * How many bytes the stream may have at most; 64 MiB by default. `Infinity` takes everything a
   * peer sends until the memory is full: only for peers that are trusted.
   */
  limit?: number;
}

/** How {@linkcode copy} copies. */
export interface CopyOptions extends WaitOptions {
  /**
   * The largest size of the buffer, in bytes from 1. By default 262,144; with a signal, and for a few
   * connections at a time that bring so much at once, 4,194,304. It is small while little comes.
   */
  bufSize?: number;
  /** Told after each write how many bytes have been copied. What it throws ends the copy. */
  onProgress?: (bytes: number) => void;
}

/** How many bytes went which way: what {@linkcode copyBidirectional} gives. */
export interface BidirectionalCount {
  /** Bytes from `a` to `b`. */
  readonly aToB: number;
  /** Bytes from `b` to `a`. */
  readonly bToA: number;
}

/** What {@linkcode copyBidirectional} copies between: a connection. */
export type Duplex = Reader & Writer & HalfCloser;

/** How {@linkcode toReadableStream} ends. */
export interface ToReadableStreamOptions {
  /**
   * Told when the stream is cancelled. By default the reader is the caller's: a connection of this package
   * keeps the read that is under way for its next reader. With a function of yours that read goes on, and
   * what it brings is dropped.
   */
  cancel?: (reason: unknown) => void | Promise<void>;
}

/** How {@linkcode toWritableStream} ends. */
export interface ToWritableStreamOptions {
  /** Called when the stream is closed; by default `writer.closeWrite()`, where there is one. */
  close?: () => void | Promise<void>;
  /**
   * Told when the stream is aborted, at once, even while a write waits. By default nothing happens: the
   * writer is the caller's.
   */
  abort?: (reason: unknown) => void;
}

/** Checks that something can be written to. */
function checkWriter(writer: unknown): void {
  if (typeof (writer as Writer | undefined)?.write !== "function") {
    throw new TypeError(
      `Invalid writer: expected an object with write(), got ${show(writer)}`,
    );
  }
}

/**
 * Reads until the end of the stream.
 *
 * An abort or a timeout of the connection hands over what had been read: see the errors. The bytes of
 * small results lie in a buffer of their own size; those of large ones at the start of a resizable
 * one that is longer, without taking memory for the rest.
 *
 * @param reader Where the bytes come from.
 * @param options The limit and a signal.
 * @returns All bytes; an empty array if there are none.
 * @throws {LimitError} If the stream is longer than the limit. It has the bytes that were read.
 * @throws {IncompleteReadError} If the wait was ended by the signal or a timeout after some bytes
 * had been read, or on a reader that goes on reading for nobody: `partial` has the bytes, `cause` is
 * the reason. If nothing is lost, the reason itself is thrown.
 * @throws {RangeError} If the limit is negative or not whole.
 * @throws {TypeError} If the reader or an option is of the wrong type.
 *
 * @example
 * ```ts
 * import { readAll } from "@berkeley/sockets/io";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals } from "@std/assert";
 *
 * const [a, b] = pair();
 * await a.writeAll(new Uint8Array([1, 2, 3]));
 * await a.closeWrite();
 * assertEquals(await readAll(b, { limit: 1024 }), new Uint8Array([1, 2, 3]));
 * a.close();
 * b.close();
 * ```
 */
export async function readAll(
  reader: Reader,
  options: ReadAllOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  checkReader(reader);
  const signal = signalOf(options, "readAll");
  const { limit = DEFAULT_LIMIT } = options;
  checkLimit(limit);
  const reads = new AbortableReads(reader, signal);
  // One byte more than the limit shows that the limit is exceeded.
  const most = limit + 1;
  let reserved = Math.min(most, MAX_RESERVED);
  let buffer = new ArrayBuffer(Math.min(reserved, CHUNK), {
    maxByteLength: reserved,
  });
  let length = 0;
  for (;;) {
    if (length === buffer.byteLength) {
      if (length === reserved) {
        reserved = Math.min(most, reserved * 2);
        const larger = new ArrayBuffer(length, { maxByteLength: reserved });
        new Uint8Array(larger).set(new Uint8Array(buffer));
        buffer = larger;
      }
      // Steps of the size so far, but not more: pages that are never written cost nothing.
      buffer.resize(Math.min(reserved, length + Math.max(CHUNK, length)));
    }
    let n: number | null;
    try {
      // A view of fixed length: one that follows the buffer would be refused by some readers.
      const room = buffer.byteLength - length;
      n = await reads.read(new Uint8Array(buffer, length, room));
    } catch (error) {
      throw reads.error(error, new Uint8Array(buffer, 0, length), undefined);
    }
    if (n === null) break;
    length += n;
    if (length > limit) {
      throw new LimitError(
        `Stream is longer than the limit of ${limit} bytes; pass a larger limit, or Infinity for a peer that is trusted`,
        limit,
        new Uint8Array(buffer, 0, length),
      );
    }
  }
  // A large buffer is not cut to size: V8 would write zeros into pages that were never touched.
  const all = new Uint8Array(buffer, 0, length);
  return length <= SMALL ? all.slice() : all;
}

/**
 * Reads a known number of bytes.
 *
 * An abort or a timeout of the connection hands over what had been read: see the errors.
 *
 * @param reader Where the bytes come from.
 * @param size How many bytes, from 0; or the buffer to fill.
 * @param options A signal.
 * @returns The bytes: a new array, or the buffer that was given.
 * @throws {IncompleteReadError} If the stream ended before; or if the wait was ended by the signal or
 * a timeout after some bytes had been read, or on a reader that goes on reading for nobody (then
 * `cause` is the reason). `partial` has the bytes.
 * @throws {RangeError} If the size is negative or not whole.
 * @throws {TypeError} If the reader, the size or an option is of the wrong type.
 *
 * @example A header of four bytes
 * ```ts
 * import { readExact } from "@berkeley/sockets/io";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals } from "@std/assert";
 *
 * const [a, b] = pair();
 * await a.writeAll(new Uint8Array([0, 0, 1, 2, 99]));
 * assertEquals(await readExact(b, 4), new Uint8Array([0, 0, 1, 2]));
 * a.close();
 * b.close();
 * ```
 */
export async function readExact(
  reader: Reader,
  size: number | Uint8Array,
  options: WaitOptions = {},
): Promise<Uint8Array> {
  checkReader(reader);
  const signal = signalOf(options, "readExact");
  if (!(size instanceof Uint8Array)) {
    checkInteger(size, "size", 0, Number.MAX_SAFE_INTEGER);
  }
  const reads = new AbortableReads(reader, signal);
  const buffer = size instanceof Uint8Array ? size : new Uint8Array(size);
  let length = 0;
  while (length < buffer.length) {
    let n: number | null;
    try {
      n = await reads.read(length === 0 ? buffer : buffer.subarray(length));
    } catch (error) {
      throw reads.error(error, buffer.subarray(0, length), buffer.length);
    }
    if (n === null) {
      throw new IncompleteReadError(buffer.subarray(0, length), buffer.length);
    }
    length += n;
  }
  return buffer;
}

/**
 * Writes all bytes.
 *
 * On a connection of this package callers take turns, and an abort or timeout in mid-write leaves it
 * broken for writing (see `StreamConn.writeAll`). On any other writer, concurrent calls mix, and an
 * abort ends the call between two writes.
 *
 * @param writer Where the bytes go.
 * @param data The bytes, or several pieces of them in their order.
 * @param options A signal.
 * @throws {TypeError} If the writer or the data is of the wrong type.
 * @throws {Deno.errors.WriteZero} If the writer takes nothing.
 *
 * @example
 * ```ts
 * import { readExact, writeAll } from "@berkeley/sockets/io";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals } from "@std/assert";
 *
 * const [a, b] = pair();
 * await writeAll(a, [new Uint8Array([1]), new Uint8Array([2, 3])]);
 * assertEquals(await readExact(b, 3), new Uint8Array([1, 2, 3]));
 * a.close();
 * b.close();
 * ```
 */
export async function writeAll(
  writer: Writer,
  data: Uint8Array | readonly Uint8Array[],
  options: WaitOptions = {},
): Promise<void> {
  checkWriter(writer);
  const signal = signalOf(options, "writeAll");
  const whole = writer as Partial<WholeWriter>;
  if (typeof whole.writeAll === "function") {
    return await whole.writeAll(data, options);
  }
  const pieces = data instanceof Uint8Array ? [data] : data;
  if (!Array.isArray(pieces)) throw notBytes(data, "data");
  for (const [i, piece] of pieces.entries()) {
    if (!(piece instanceof Uint8Array)) throw notBytes(piece, `data[${i}]`);
  }
  for (const piece of pieces) {
    for (let sent = 0; sent < piece.length;) {
      if (signal?.aborted) {
        unsent.set(piece, sent);
        throw signal.reason;
      }
      const n = await writer.write(sent === 0 ? piece : piece.subarray(sent));
      if (!(n > 0 && n <= piece.length - sent)) {
        throw new Deno.errors.WriteZero(
          `Writer took ${show(n)} of ${piece.length - sent} bytes`,
        );
      }
      sent += n;
    }
  }
}

/**
 * Copies until the end of the stream. Neither side is closed.
 *
 * An abort while it waits for bytes loses none on a connection of this package; on any other reader
 * the read that waits may swallow a buffer full. An abort in mid-write leaves a connection broken for
 * writing.
 *
 * @param reader Where the bytes come from.
 * @param writer Where the bytes go.
 * @param options The buffer's size, a signal, who is told of the progress.
 * @returns How many bytes were copied.
 * @throws {IncompleteReadError} If the signal came, or the writer's timeout ran out, between a read and
 * its write: `partial` has the bytes that were read and not written, `cause` is the reason. If nothing is
 * lost, the reason itself is thrown.
 * @throws {RangeError} If the buffer's size is not a whole number from 1.
 * @throws {TypeError} If the reader, the writer or an option is of the wrong type.
 *
 * @example With progress
 * ```ts
 * import { copy } from "@berkeley/sockets/io";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals } from "@std/assert";
 *
 * const [a, b] = pair();
 * const [c, d] = pair();
 * await a.writeAll(new Uint8Array(1000));
 * a.close();
 * let seen = 0;
 * assertEquals(await copy(b, c, { onProgress: (n) => seen = n }), 1000);
 * assertEquals(seen, 1000);
 * for (const conn of [b, c, d]) conn.close();
 * ```
 */
export async function copy(
  reader: Reader,
  writer: Writer,
  options: CopyOptions = {},
): Promise<number> {
  checkReader(reader);
  checkWriter(writer);
  const signal = signalOf(options, "copy");
  const { bufSize, onProgress } = options;
  if (bufSize !== undefined) checkInteger(bufSize, "bufSize", 1, 2 ** 31);
  if (onProgress !== undefined && typeof onProgress !== "function") {
    throw new TypeError(
      `Invalid onProgress: expected a function, got ${show(onProgress)}`,
    );
  }
  using chunks = new Chunks(reader, bufSize, signal);
  const writing = signal === undefined ? undefined : { signal };
  let bytes = 0;
  for (;;) {
    const chunk = await chunks.next();
    if (chunk === null) return bytes;
    // Between its read and its write a chunk is nobody's but ours.
    if (signal?.aborted) throw chunks.abandon(chunk, signal.reason, 0);
    try {
      await writeAll(writer, chunk, writing);
    } catch (error) {
      const sent = unsent.get(chunk);
      throw sent === undefined ? error : chunks.abandon(chunk, error, sent);
    }
    chunks.reuse(chunk);
    bytes += chunk.length;
    onProgress?.(bytes);
  }
}

/**
 * Copies both ways between two connections until both have ended: a proxy's core. The end of one
 * stream is passed on as a half-close; the other way goes on.
 *
 * When one way fails, the other is ended too, and the first error is thrown. Neither connection is
 * closed: that is the caller's.
 *
 * @param a A connection.
 * @param b A connection.
 * @param options A signal.
 * @returns How many bytes went which way.
 * @throws {TypeError} If one of them is no connection, or an option is of the wrong type.
 *
 * @example
 * ```ts
 * import { copyBidirectional, readAll } from "@berkeley/sockets/io";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals } from "@std/assert";
 *
 * const [client, a] = pair();
 * const [b, server] = pair();
 * const proxy = copyBidirectional(a, b);
 * await client.writeAll(new Uint8Array(10));
 * await client.closeWrite();
 * assertEquals((await readAll(server)).length, 10);
 * await server.writeAll(new Uint8Array(20));
 * await server.closeWrite();
 * assertEquals((await readAll(client)).length, 20);
 * assertEquals(await proxy, { aToB: 10, bToA: 20 });
 * for (const conn of [client, a, b, server]) conn.close();
 * ```
 */
export async function copyBidirectional(
  a: Duplex,
  b: Duplex,
  options: WaitOptions = {},
): Promise<BidirectionalCount> {
  for (const end of [a, b]) {
    checkReader(end);
    checkWriter(end);
    if (typeof end.closeWrite !== "function") {
      throw new TypeError(
        `Invalid connection: expected an object with closeWrite(), got ${
          show(end)
        }`,
      );
    }
  }
  const signal = signalOf(options, "copyBidirectional");
  const failed = new AbortController();
  const both = signal === undefined
    ? failed.signal
    : AbortSignal.any([signal, failed.signal]);
  const oneWay = async (from: Duplex, to: Duplex): Promise<number> => {
    try {
      const bytes = await copy(from, to, { signal: both });
      await to.closeWrite();
      return bytes;
    } catch (error) {
      failed.abort(error);
      throw error;
    }
  };
  const ways = await Promise.allSettled([oneWay(a, b), oneWay(b, a)]);
  signal?.throwIfAborted();
  if (failed.signal.aborted) throw failed.signal.reason;
  const [aToB, bToA] = ways.map((way) =>
    (way as PromiseFulfilledResult<number>).value
  );
  return { aToB: aToB!, bToA: bToA! };
}

/**
 * Makes a stream of a reader: a byte stream that reads when it is asked to, at most 64 KiB at a time,
 * or into the buffer of a "byob" reader. The reader stays the caller's: it is not closed.
 *
 * @param reader Where the bytes come from.
 * @param options What a cancel does.
 * @returns The stream.
 * @throws {TypeError} If the reader or an option is of the wrong type.
 *
 * @example
 * ```ts
 * import { toReadableStream } from "@berkeley/sockets/io";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals } from "@std/assert";
 *
 * const [a, b] = pair();
 * await a.writeAll(new TextEncoder().encode("hello"));
 * a.close();
 * assertEquals(await new Response(toReadableStream(b)).text(), "hello");
 * b.close();
 * ```
 */
export function toReadableStream(
  reader: Reader,
  options: ToReadableStreamOptions = {},
): ReadableStream<Uint8Array<ArrayBuffer>> {
  checkReader(reader);
  checkOptions(options, "toReadableStream");
  const { cancel } = options;
  // By default a cancel ends the read that is under way, if the reader keeps it for the next one.
  const stop = cancel === undefined && keeps(reader)
    ? new AbortController()
    : undefined;
  const reads = new AbortableReads(reader, stop?.signal);
  return new ReadableStream({
    type: "bytes",
    autoAllocateChunkSize: CHUNK,
    async pull(controller) {
      const request = controller.byobRequest!;
      const n = await reads.read(request.view as Uint8Array<ArrayBuffer>);
      // Nobody is there any more if the stream was cancelled meanwhile.
      if (controller.byobRequest !== request) return;
      if (n === null) controller.close();
      request.respond(n ?? 0);
    },
    cancel: cancel ?? (() => stop?.abort()),
  }, { highWaterMark: 0 });
}

/**
 * Makes a stream of a writer; each chunk is written whole. The writer stays the caller's: closing the
 * stream closes its sending half, if it has one, and nothing else.
 *
 * @param writer Where the bytes go.
 * @param options What a close and an abort do.
 * @returns The stream.
 * @throws {TypeError} If the writer or an option is of the wrong type.
 *
 * @example
 * ```ts
 * import { readAll, toWritableStream } from "@berkeley/sockets/io";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals } from "@std/assert";
 *
 * const [a, b] = pair();
 * const source = new Response("hello").body!;
 * await source.pipeTo(toWritableStream(a));
 * assertEquals(new TextDecoder().decode(await readAll(b)), "hello");
 * a.close();
 * b.close();
 * ```
 */
export function toWritableStream(
  writer: Writer & Partial<HalfCloser>,
  options: ToWritableStreamOptions = {},
): WritableStream<Uint8Array<ArrayBufferLike>> {
  checkWriter(writer);
  checkOptions(options, "toWritableStream");
  const { close = () => writer.closeWrite?.(), abort } = options;
  return new WritableStream({
    start: ({ signal }) => {
      // Told at once: the stream itself waits with its abort until the write under way has ended.
      if (abort === undefined) return;
      signal.addEventListener("abort", () => void abort(signal.reason));
    },
    write: (chunk) => writeAll(writer, chunk),
    close,
  });
}
