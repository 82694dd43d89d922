/**
 * The writing half of a stream: plain writes go straight to the runtime; everything that has to take
 * its turn, or can be abandoned, goes through a queue of jobs.
 */

import { errorCode, isClosedError } from "./errors.ts";
import type { WaitOptions } from "./types.ts";
import { notBytes, show, signalOf } from "./_check.ts";
import {
  closedResource,
  type DeadlineTimer,
  interrupted,
  type Waiter,
  WaitQueue,
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

/** A count that a write cannot have had as its result. */
function wrongCount(n: number, length: number): Error {
  return new Deno.errors.WriteZero(
    `Write took ${show(n)} of ${length} bytes`,
  );
}

/** The writing half. */
export class WriteSide {
  readonly #native: NativeWriter;
  readonly #timer: DeadlineTimer;
  readonly #onFailure: (error: unknown) => void;
  /** Bytes that the system has taken. */
  bytes = 0;
  #timeout: number | undefined;
  /** Anything that keeps a write off the straight way. */
  #slow = false;
  /** Plain writes that wait in the runtime. */
  #plain = 0;
  #closed = false;
  /** What every later write gets: the peer's failure, or that a write was abandoned. */
  #broken: unknown;
  #abandoned = false;
  /** The data of the `writeAll` that has the turn without being a job. */
  #straight: Uint8Array | undefined;
  #queue: WaitQueue<number | void, Job> | undefined;
  #running: Waiter<Job> | undefined;

  /**
   * @param native The runtime's writer.
   * @param timer The handle's timer.
   * @param onFailure Told of the first fatal error that a write sees.
   */
  constructor(
    native: NativeWriter,
    timer: DeadlineTimer,
    onFailure: (error: unknown) => void,
  ) {
    this.#native = native;
    this.#timer = timer;
    this.#onFailure = onFailure;
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
      this.#queue?.head !== undefined || this.#abandoned;
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
    // The caller gets the runtime's own promise; what is noted here is noted first.
    const writing = this.#native.write(p);
    writing.then(this.#onWrite, this.#onWriteError);
    return writing;
  }

  #onWrite = (n: number): void => {
    this.#plain--;
    this.bytes += n;
  };

  #onWriteError = (error: unknown): void => {
    this.#plain--;
    this.#latch(error);
  };

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
    return this.#native.write(data).then(this.#onAll, this.#onAllError);
  }

  #onAll = (n: number): void | Promise<void> => {
    const data = this.#straight!;
    this.bytes += n;
    if (n === data.length) this.#endStraight();
    else return this.#goOn(data, n);
  };

  #onAllError = (error: unknown): never => {
    this.#endStraight();
    throw this.#latch(error);
  };

  /** The part of a straight `writeAll` that one write did not take. */
  async #goOn(data: Uint8Array, sent: number): Promise<void> {
    try {
      for (let n = sent; sent < data.length; sent += n) {
        if (!(n > 0)) throw wrongCount(n, data.length);
        n = await this.#native.write(data.subarray(sent));
        this.bytes += n;
      }
    } catch (error) {
      throw this.#latch(error);
    } finally {
      this.#endStraight();
    }
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
    if (
      this.#broken !== undefined && (kind !== "closeWrite" || this.#abandoned)
    ) return Promise.reject(this.#broken);
    this.#queue ??= new WaitQueue("Write", this.#timer, this.#onAbandon);
    const job = { kind, data, sent: 0, rest };
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
    if (kind === "closeWrite") {
      this.#native.closeWrite().then(this.#onClosed, this.#onJobError);
    } else {
      this.#native.write(sent === 0 ? data : data.subarray(sent))
        .then(this.#onWritten, this.#onJobError);
    }
  }

  #onWritten = (n: number): void => {
    this.bytes += n;
    const job = this.#running?.payload;
    if (job === undefined) return;
    job.sent += n;
    if (job.kind === "writeAll" && job.sent !== job.data.length) {
      if (n > 0 && job.sent < job.data.length) this.#step();
      else this.#onJobError(wrongCount(n, job.data.length));
      return;
    }
    if (job.rest.length > 0) {
      job.data = job.rest.pop()!;
      job.sent = 0;
      this.#step();
      return;
    }
    this.#queue!.resolve(job.kind === "write" ? n : undefined);
    this.#next();
  };

  #onClosed = (): void => {
    if (this.#running === undefined) return;
    this.#queue!.resolve();
    this.#next();
  };

  #onJobError = (error: unknown): void => {
    if (this.#running === undefined) return;
    this.#queue!.reject(this.#latch(error));
    this.#next();
  };

  /** A caller has left. If its bytes are on their way, how many of them arrive is unknown. */
  #onAbandon = (waiter: Waiter<Job>, reason: unknown): void => {
    if (waiter !== this.#running) return;
    this.#running = undefined;
    this.#abandoned = true;
    const error = new Deno.errors.BrokenPipe(
      "Cannot write: an earlier write was abandoned in its middle, so the position in the stream is unknown; close the connection",
      { cause: reason },
    );
    this.#break(Object.assign(error, { code: "EPIPE" }));
  };

  /** Keeps the first fatal error and returns what the caller gets. */
  #latch(error: unknown): unknown {
    // EPIPE can come of our own closeWrite() and says nothing of what can be read.
    if (
      isClosedError(error) || error instanceof TypeError ||
      errorCode(error) === "EPIPE"
    ) return this.#broken ?? error;
    if (this.#broken === undefined) {
      this.#break(error);
      this.#onFailure(error);
    }
    return this.#broken;
  }

  #break(error: unknown): void {
    this.#broken = error;
    this.#slow = true;
    // Where a job has the turn, it is the one that failed, and who called gives it its error.
    if (this.#running === undefined) this.#queue?.rejectAll(error);
  }

  /** Takes note of an error that a read saw first. */
  peerFailed(error: unknown): void {
    if (this.#broken !== undefined) return;
    this.#broken = error;
    this.#slow = true;
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
      this.#timeout !== undefined || this.#straight !== undefined ||
      this.#queue?.head !== undefined;
  }
}
