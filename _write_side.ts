/**
 * The writing half of a stream: plain writes go straight to the runtime; everything that has to take
 * its turn, or can be abandoned, goes through a queue of jobs.
 */

import { errorCode, isClosedError } from "./errors.ts";
import type { WaitOptions } from "./types.ts";
import { notBytes, signalOf } from "./_check.ts";
import { unsent } from "./_chunks.ts";
import {
  closedResource,
  interrupted,
  type Shared,
  type Waiter,
  WaitQueue,
  withCode,
} from "./_wait.ts";

/** What is needed below. */
export interface NativeWriter {
  write(p: Uint8Array): Promise<number>;
  closeWrite(): Promise<unknown>;
}

/** Something to be done in its turn. */
interface Job {
  readonly kind: "write" | "writeAll" | "closeWrite";
  /** What is being written, and how much of it has been. */
  data: Uint8Array;
  size: number;
  sent: number;
  /** What comes after it, last piece first. */
  readonly rest: Uint8Array[];
}

/** Up to this size several pieces are put together: one call of the system instead of many. */
const GATHER = 65536;

const NOTHING = new Uint8Array(0);

/** The pieces of a `writeAll`, small ones put together, in their order. */
function gather(pieces: readonly Uint8Array[]): Uint8Array[] {
  const result: Uint8Array[] = [];
  for (let from = 0; from < pieces.length;) {
    let size = pieces[from]!.length;
    let to = from + 1;
    while (to < pieces.length && size + pieces[to]!.length <= GATHER) {
      size += pieces[to++]!.length;
    }
    if (to === from + 1) result.push(pieces[from]!);
    else {
      const whole = new Uint8Array(size);
      let at = 0;
      for (const piece of pieces.slice(from, to)) {
        whole.set(piece, at);
        at += piece.length;
      }
      result.push(whole);
    }
    from = to;
  }
  return result;
}

/** What a write gets that ends before its data does: nothing was taken, or the data has changed. */
function endedEarly(sent: number, size: number): Error {
  return new Deno.errors.WriteZero(
    `Write ended after ${sent} of ${size} bytes: the data was transferred or resized meanwhile, or nothing was taken`,
  );
}

/** The writing half. */
export class WriteSide {
  readonly #native: NativeWriter;
  readonly #shared: Shared;
  /** Bytes that the system has taken. */
  bytes = 0;
  #timeout: number | undefined;
  /** Anything that keeps a write off the straight way. */
  #slow = false;
  /** Plain writes that wait in the runtime. */
  #plain = 0;
  #closed = false;
  /** What every later write gets, if a write was abandoned or cut off. */
  #broken: Error | undefined;
  /** The data of the `writeAll` that has the turn without being a job, and its size at the start. */
  #straight: Uint8Array | undefined;
  #straightSize = 0;
  #queue: WaitQueue<number | undefined, Job> | undefined;
  #running: Waiter<Job> | undefined;
  // Handlers are made once, and only for what is used: a connection that idles has few.
  #onWrite: ((n: number) => number) | undefined;
  #onWriteError: ((error: unknown) => never) | undefined;
  #onAll: ((n: number) => void | Promise<void>) | undefined;
  #onAllError: ((error: unknown) => never) | undefined;
  #onWritten: ((n: number) => void) | undefined;
  #onJobError: ((error: unknown) => void) | undefined;

  /**
   * @param native The runtime's writer.
   * @param shared What the reading half has too.
   */
  constructor(native: NativeWriter, shared: Shared) {
    this.#native = native;
    this.#shared = shared;
  }

  get timeout(): number | undefined {
    return this.#timeout;
  }

  set timeout(timeout: number | undefined) {
    this.#timeout = timeout;
    this.#update();
  }

  /** Whether anything is being written, or an abandoned write still is. */
  get busy(): boolean {
    return this.#plain > 0 || this.#straight !== undefined ||
      this.#queue?.head !== undefined || this.#broken !== undefined;
  }

  /** Writes what the system takes at once. */
  write(p: Uint8Array, options?: WaitOptions): Promise<number> {
    if (!(p instanceof Uint8Array)) {
      return Promise.reject(notBytes(p, "data"));
    }
    if (this.#slow || options !== undefined) {
      return this.#enqueue<number>("write", p, [], options);
    }
    this.#plain++;
    return this.#native.write(p).then(
      this.#onWrite ??= this.#noteWrite.bind(this),
      this.#onWriteError ??= this.#noteWriteError.bind(this),
    );
  }

  #noteWrite(n: number): number {
    this.#plain--;
    this.bytes += n;
    return n;
  }

  #noteWriteError(error: unknown): never {
    this.#plain--;
    throw this.#latch(error);
  }

  /** Writes everything, in its turn. */
  writeAll(
    data: Uint8Array | readonly Uint8Array[],
    options?: WaitOptions,
  ): Promise<void> {
    if (!(data instanceof Uint8Array)) return this.#writePieces(data, options);
    if (this.#slow || options !== undefined) {
      return this.#enqueue<void>("writeAll", data, [], options);
    }
    this.#slow = true;
    this.#straight = data;
    this.#straightSize = data.length;
    return this.#native.write(data).then(
      this.#onAll ??= this.#noteAll.bind(this),
      this.#onAllError ??= this.#noteAllError.bind(this),
    );
  }

  #noteAll(n: number): void | Promise<void> {
    this.bytes += n;
    if (n === this.#straightSize) this.#endStraight();
    else return this.#goOn(this.#straight!, n, this.#straightSize);
  }

  #noteAllError(error: unknown): never {
    this.#endStraight();
    throw this.#latch(error);
  }

  /** The part of a straight `writeAll` that one write did not take. */
  async #goOn(data: Uint8Array, sent: number, size: number): Promise<void> {
    try {
      for (let n = sent; sent < size; sent += n) {
        if (n === 0 || data.length !== size) throw this.#cut(sent, size);
        n = await this.#native.write(data.subarray(sent));
        this.bytes += n;
      }
    } catch (error) {
      throw this.#latch(error);
    } finally {
      this.#endStraight();
    }
  }

  /** A message is cut off in its middle: what follows it would be taken for its rest. */
  #cut(sent: number, size: number): Error {
    this.#broken = endedEarly(sent, size);
    return this.#broken;
  }

  #endStraight(): void {
    this.#straight = undefined;
    if (this.#queue?.head !== undefined) this.#next();
    else this.#update();
  }

  #writePieces(
    data: unknown,
    options: WaitOptions | undefined,
  ): Promise<void> {
    if (!Array.isArray(data)) return Promise.reject(notBytes(data, "data"));
    const wrong = data.findIndex((piece) => !(piece instanceof Uint8Array));
    if (wrong >= 0) {
      return Promise.reject(notBytes(data[wrong], `data[${wrong}]`));
    }
    const [first = NOTHING, ...rest] = gather(data);
    if (rest.length === 0) return this.writeAll(first, options);
    return this.#enqueue<void>("writeAll", first, rest.reverse(), options);
  }

  /** Closes the sending half, in its turn. */
  closeWrite(): Promise<void> {
    return this.#enqueue<void>("closeWrite", NOTHING, [], undefined);
  }

  /** Puts a job at the end. Its result is a count for `"write"` and nothing for the others. */
  #enqueue<T extends number | void>(
    kind: Job["kind"],
    data: Uint8Array,
    rest: Uint8Array[],
    options: WaitOptions | undefined,
  ): Promise<T> {
    let signal: AbortSignal | undefined;
    try {
      signal = signalOf(options, kind);
    } catch (error) {
      return Promise.reject(error);
    }
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#closed) return Promise.reject(closedResource("Connection"));
    // Where nobody listens any more, closing is still no error.
    const error = this.#broken ??
      (kind === "closeWrite" ? undefined : this.#shared.failure);
    if (error !== undefined) return Promise.reject(error);
    this.#queue ??= new WaitQueue(
      "Write",
      this.#shared.timer,
      (waiter, reason) => this.#abandon(waiter, reason),
    );
    const job = { kind, data, size: data.length, sent: 0, rest };
    const promise = this.#queue.add(job, this.#timeout, signal);
    this.#slow = true;
    if (this.#running === undefined && this.#straight === undefined) {
      this.#next();
    }
    return promise as Promise<T>;
  }

  /** Gives the turn to the next job. */
  #next(): void {
    this.#running = this.#queue!.head;
    if (this.#running === undefined) this.#update();
    else this.#step();
  }

  #step(): void {
    const { kind, data, sent } = this.#running!.payload;
    const onError = this.#onJobError ??= this.#endJobBadly.bind(this);
    if (kind === "closeWrite") {
      this.#native.closeWrite().then(() => this.#endJob(), onError);
    } else {
      this.#native.write(sent === 0 ? data : data.subarray(sent))
        .then(this.#onWritten ??= this.#goOnWithJob.bind(this), onError);
    }
  }

  /** Goes on where a write of a job has ended. */
  #goOnWithJob(n: number): void {
    this.bytes += n;
    const job = this.#running?.payload;
    if (job === undefined) return;
    job.sent += n;
    if (job.kind === "write") this.#endJob(n);
    else if (job.sent < job.size) {
      if (n > 0 && job.data.length === job.size) this.#step();
      else this.#endJobBadly(this.#cut(job.sent, job.size));
    } else if (job.rest.length > 0) {
      job.data = job.rest.pop()!;
      job.size = job.data.length;
      job.sent = 0;
      this.#step();
    } else this.#endJob();
  }

  #endJob(n?: number): void {
    if (this.#running === undefined) return;
    this.#queue!.resolve(n);
    this.#next();
  }

  #endJobBadly(error: unknown): void {
    if (this.#running === undefined) return;
    const reason = this.#latch(error);
    this.#queue!.reject(reason);
    if (this.#broken !== undefined || this.#shared.failure !== undefined) {
      this.#queue!.rejectAll(reason);
    }
    this.#next();
  }

  /** A caller has left. If its bytes are on their way, how many of them arrive is unknown. */
  #abandon(waiter: Waiter<Job>, reason: unknown): void {
    if (waiter !== this.#running) {
      unsent.set(waiter.payload.data, 0);
      return;
    }
    this.#running = undefined;
    const error = new Deno.errors.BrokenPipe(
      "Cannot write: an earlier write was abandoned in its middle, so the position in the stream is unknown; close the connection",
      { cause: reason },
    );
    this.#broken = Object.assign(error, { code: "EPIPE" });
    this.#slow = true;
    this.#queue!.rejectAll(this.#broken);
  }

  /** Keeps the first fatal error and returns what the caller gets. */
  #latch(error: unknown): unknown {
    const known = withCode(error);
    if (
      isClosedError(known) || known instanceof TypeError ||
      known === this.#broken
    ) return known;
    // EPIPE can come of our own closeWrite() and says nothing of what can be read.
    if (errorCode(known) !== "EPIPE") this.#shared.failure ??= known;
    return this.#shared.failure ?? known;
  }

  /** Whoever waits is told that the handle is closed; so is whoever comes. */
  close(): void {
    this.#closed = true;
    this.#slow = true;
    this.#running = undefined;
    this.#queue?.rejectAll(interrupted("Connection"));
  }

  #update(): void {
    this.#slow = this.#closed || this.#broken !== undefined ||
      this.#shared.failure !== undefined || this.#timeout !== undefined ||
      this.#straight !== undefined ||
      this.#queue?.head !== undefined;
  }
}
