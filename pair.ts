/**
 * Connections in memory: two ends that behave like the two ends of a socket, without one. For tests,
 * and for protocols that run inside one process.
 *
 * @example Testing a handler without a network
 * ```ts
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals } from "@std/assert";
 *
 * const [client, server] = pair();
 * await client.writeAll(new Uint8Array([1, 2, 3]));
 * const buffer = new Uint8Array(10);
 * assertEquals(await server.read(buffer), 3);
 * client.close();
 * assertEquals(await server.read(buffer), null);
 * server.close();
 * ```
 *
 * @module
 */

import type { StreamConn, UnixAddr } from "./types.ts";
import { checkInteger, checkOptions } from "./_check.ts";
import { Shared } from "./_wait.ts";
import { type NativeStream, Stream } from "./_stream.ts";

/** How {@linkcode pair} makes its ends. */
export interface PairOptions {
  /**
   * How many bytes each direction holds before a write waits, from 1 to 2^30; 65,536 by default.
   * The memory is taken when the first byte is written.
   */
  capacity?: number;
}

/** One end of a {@linkcode pair}. Like a socketpair(2)'s, its addresses are Unix ones without a name. */
export type PairConn = StreamConn<UnixAddr>;

/** An operation that waits for the other end. */
interface Pending<T> {
  readonly p: Uint8Array;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: Error) => void;
}

function error(
  Class: new (message: string) => Error,
  message: string,
  code: string,
): Error {
  return Object.assign(new Class(message), { code });
}

const closed = () => error(Deno.errors.BadResource, "Bad resource ID", "EBADF");
const canceled = () =>
  error(Deno.errors.Interrupted, "operation canceled", "EINTR");
const broken = () => error(Deno.errors.BrokenPipe, "Broken pipe", "EPIPE");

/** How many operations go on, on all pipes together, before the event loop has its turn. */
const MOVES_A_TURN = 1000;
let moves = 0;
let turn: Promise<void> | undefined;

/** One direction: a ring of bytes between those who write and those who read. */
class Pipe {
  readonly #capacity: number;
  #ring: Uint8Array | undefined;
  #start = 0;
  #length = 0;
  #readers: Pending<number | null>[] = [];
  #writers: Pending<number>[] = [];
  /** The writer has said that no more will come. */
  #ended = false;
  /** The reader is gone. */
  #deaf = false;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  read(p: Uint8Array): Promise<number | null> {
    return new Promise((resolve, reject) => {
      this.#readers.push({ p, resolve, reject });
      this.#moveFairly();
    });
  }

  write(p: Uint8Array): Promise<number> {
    if (this.#ended || this.#deaf) return Promise.reject(broken());
    return new Promise((resolve, reject) => {
      this.#writers.push({ p, resolve, reject });
      this.#moveFairly();
    });
  }

  /** No more bytes will come; what is there can still be read. */
  end(): void {
    this.#ended = true;
    this.#move();
  }

  /** The reading end has been closed. */
  closeReader(): void {
    this.#deaf = true;
    this.#ring = undefined;
    this.#length = 0;
    for (const { reject } of this.#readers.splice(0)) reject(canceled());
    for (const { reject } of this.#writers.splice(0)) reject(broken());
  }

  /** The writing end has been closed. */
  closeWriter(): void {
    for (const { reject } of this.#writers.splice(0)) reject(canceled());
    this.end();
  }

  /**
   * Moves bytes, but lets the event loop have its turn now and then: two ends that answer each other
   * at once would keep every timer waiting.
   */
  #moveFairly(): void {
    if (++moves < MOVES_A_TURN) this.#move();
    else {
      turn ??= new Promise((resolve) => setTimeout(resolve, 0)).then(() => {
        moves = 0;
        turn = undefined;
      });
      turn.then(() => this.#move());
    }
  }

  /** Moves bytes as far as they go. */
  #move(): void {
    for (let moved = true; moved;) {
      moved = false;
      const writer = this.#writers[0];
      if (writer !== undefined && this.#length < this.#capacity) {
        this.#writers.shift();
        writer.resolve(this.#put(writer.p));
        moved = true;
      }
      const reader = this.#readers[0];
      if (reader !== undefined && (this.#length > 0 || this.#ended)) {
        this.#readers.shift();
        reader.resolve(this.#length > 0 ? this.#get(reader.p) : null);
        moved = true;
      }
    }
  }

  #put(p: Uint8Array): number {
    const ring = this.#ring ??= new Uint8Array(this.#capacity);
    const n = Math.min(p.length, this.#capacity - this.#length);
    // The caller has transferred its buffer away: it can neither be read from nor written to.
    if (n === 0) return 0;
    const at = (this.#start + this.#length) % this.#capacity;
    const first = Math.min(n, this.#capacity - at);
    ring.set(p.subarray(0, first), at);
    ring.set(p.subarray(first, n), 0);
    this.#length += n;
    return n;
  }

  #get(p: Uint8Array): number {
    const ring = this.#ring!;
    const n = Math.min(p.length, this.#length);
    if (n === 0) return 0;
    const first = Math.min(n, this.#capacity - this.#start);
    p.set(ring.subarray(this.#start, this.#start + first));
    p.set(ring.subarray(0, n - first), first);
    this.#start = (this.#start + n) % this.#capacity;
    this.#length -= n;
    return n;
  }
}

/** One end as the runtime would give it. */
class End implements NativeStream {
  readonly #in: Pipe;
  readonly #out: Pipe;
  #closed = false;

  constructor(incoming: Pipe, outgoing: Pipe) {
    this.#in = incoming;
    this.#out = outgoing;
  }

  read(p: Uint8Array): Promise<number | null> {
    if (p.length === 0) return Promise.resolve(0);
    return this.#closed ? Promise.reject(closed()) : this.#in.read(p);
  }

  write(p: Uint8Array): Promise<number> {
    if (this.#closed) return Promise.reject(closed());
    return p.length === 0 ? Promise.resolve(0) : this.#out.write(p);
  }

  closeWrite(): Promise<void> {
    this.#out.end();
    return Promise.resolve();
  }

  close(): void {
    this.#closed = true;
    this.#out.closeWriter();
    this.#in.closeReader();
  }

  // Nothing of the runtime waits below: there is nothing to keep the process alive.
  ref(): void {}
  unref(): void {}
}

const UNNAMED: UnixAddr = Object.freeze({ transport: "unix", path: null });

/** One end as the user has it. */
class MemoryConn extends Stream<End, UnixAddr> {
  readonly #shared: Shared;

  constructor(end: End) {
    const shared = new Shared(true);
    super(end, shared);
    this.#shared = shared;
  }

  protected override setRef(wants: boolean): void {
    this.#shared.hold(wants);
  }

  override get localAddr(): UnixAddr {
    return UNNAMED;
  }

  override get remoteAddr(): UnixAddr {
    return UNNAMED;
  }

  override detach(): Deno.Conn {
    throw Object.assign(
      new Deno.errors.NotSupported(
        "Cannot detach: a connection in memory has no connection of the runtime below it",
      ),
      { code: "EOPNOTSUPP" },
    );
  }
}

/**
 * Makes two connected ends. Bytes written to one are read from the other, in order; a write waits
 * while the other end does not read. They keep what all connections of this package keep: an abort or
 * timeout loses no bytes, half-close, turns. What one end has sent before its `close()` can still be
 * read at the other. They need no permission.
 *
 * A wait on an end does not keep the process alive unless it has a timeout.
 *
 * @param options The capacity.
 * @returns The two ends.
 * @throws {RangeError} If the capacity is out of its range.
 * @throws {TypeError} If it is not a number.
 *
 * @example Backpressure
 * ```ts
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals } from "@std/assert";
 *
 * const [a, b] = pair({ capacity: 4 });
 * assertEquals(await a.write(new Uint8Array(10)), 4);
 * const rest = a.write(new Uint8Array(6));
 * await b.read(new Uint8Array(4));
 * assertEquals(await rest, 4);
 * a.close();
 * b.close();
 * ```
 */
export function pair(options: PairOptions = {}): [PairConn, PairConn] {
  checkOptions(options, "pair");
  const { capacity = 65536 } = options;
  checkInteger(capacity, "capacity", 1, 2 ** 30);
  const there = new Pipe(capacity);
  const back = new Pipe(capacity);
  return [
    new MemoryConn(new End(back, there)),
    new MemoryConn(new End(there, back)),
  ];
}
