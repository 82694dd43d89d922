/** What TCP, Unix and in-memory connections share: the two halves and what needs both. */

import {
  type CloseGracefullyOptions,
  keepsReads,
  type SocketAddr,
  type StreamConn,
  type WaitOptions,
} from "./types.ts";
import { checkOptions, checkTimeout } from "./_check.ts";
import { closedResource, Shared, sleep } from "./_wait.ts";
import { toReadableStream, toWritableStream } from "./io.ts";
import {
  keeping,
  kept,
  type Lender,
  lending,
  type Readiness,
  readiness,
  receiving,
} from "./_readiness.ts";
import { type NativeReader, ReadSide } from "./_read_side.ts";
import { type NativeWriter, WriteSide } from "./_write_side.ts";

/** What is needed below: a `Deno.Conn`, or something that behaves like one. */
export interface NativeStream extends NativeReader, NativeWriter {
  close(): void;
}

/** How long `closeGracefully` waits by default, in milliseconds. */
const GRACE = 10_000;

/** A connection over the runtime's one. */
export abstract class Stream<N extends NativeStream, A extends SocketAddr>
  implements StreamConn<A> {
  protected readonly native: N;
  readonly #shared: Shared;
  readonly #in: ReadSide;
  readonly #out: WriteSide;
  #closed = false;
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  #writable: WritableStream<Uint8Array<ArrayBufferLike>> | undefined;

  constructor(native: N, shared: Shared = new Shared()) {
    this.native = native;
    this.#shared = shared;
    this.#in = new ReadSide(native, shared);
    this.#out = new WriteSide(native, shared);
  }

  get [readiness](): Readiness {
    return this.#in;
  }

  get [lending](): Lender {
    return this.#in;
  }

  /** What has come and nobody has taken, as far as it is here: a view, good until the next call. */
  get [kept](): Uint8Array {
    return this.#in.kept;
  }

  [keeping](size: number): void {
    this.#in.keep(size);
  }

  abstract get localAddr(): A;
  abstract get remoteAddr(): A;
  abstract detach(): Deno.Conn;

  get [keepsReads](): true {
    return true;
  }

  get timeout(): number | undefined {
    return this.#in.timeout;
  }

  set timeout(timeout: number | undefined) {
    checkTimeout(timeout);
    this.#in.timeout = timeout;
    this.#out.timeout = timeout;
  }

  get bytesRead(): number {
    return this.#in.bytes;
  }

  get bytesWritten(): number {
    return this.#out.bytes;
  }

  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#readable ??= toReadableStream(this, {
      cancel: () => void this.#in.discard(false),
    });
  }

  get writable(): WritableStream<Uint8Array<ArrayBufferLike>> {
    return this.#writable ??= toWritableStream(this, {
      abort: () => this.close(),
    });
  }

  read(p: Uint8Array, options?: WaitOptions): Promise<number | null> {
    return this.#in.read(p, options);
  }

  [receiving](size: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#in.receive(size);
  }

  write(p: Uint8Array, options?: WaitOptions): Promise<number> {
    return this.#out.write(p, options);
  }

  writeAll(
    data: Uint8Array | readonly Uint8Array[],
    options?: WaitOptions,
  ): Promise<void> {
    return this.#out.writeAll(data, options);
  }

  closeWrite(): Promise<void> {
    return this.#out.closeWrite();
  }

  close(): void {
    if (this.#closed) return;
    this.#end();
    this.native.close();
  }

  /** Everything that closing means above the runtime. */
  #end(): void {
    this.#closed = true;
    this.#shared.stop();
    this.#in.close();
    this.#out.close();
  }

  async closeGracefully(
    options: CloseGracefullyOptions = {},
  ): Promise<boolean> {
    checkOptions(options, "closeGracefully");
    const { timeout = GRACE } = options;
    checkTimeout(timeout);
    if (this.#closed) return false;
    // Nothing is under way in either direction: the last bytes cannot be cut off.
    if (
      this.#in.ended && !this.#in.busy && !this.#out.busy &&
      this.#shared.failure === undefined
    ) {
      this.close();
      return true;
    }
    const over = new AbortController();
    // No timeout of the connection's own may come in between: the bound is for the whole.
    this.#out.timeout = undefined;
    const ended = this.#out.closeWrite().then(() => this.#in.discard(true))
      .catch(() => false);
    const bound = timeout === Infinity
      ? ended
      : sleep(timeout, over.signal).then(() => false);
    try {
      return await Promise.race([ended, bound]);
    } finally {
      over.abort();
      this.close();
    }
  }

  protected checkOpen(): void {
    if (this.#closed) throw closedResource("Connection");
  }

  /** Gives the runtime's connection away, if nothing is under way. */
  protected release(): N {
    this.checkOpen();
    if (this.#in.busy || this.#out.busy) {
      throw new Deno.errors.Busy(
        "Cannot detach: a read or write waits, or bytes are kept for the next read",
      );
    }
    this.#end();
    return this.native;
  }

  ref(): void {
    this.setRef(true);
  }

  unref(): void {
    this.setRef(false);
  }

  protected setRef(wants: boolean): void {
    this.#in.setRef(wants);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
