/**
 * The reading half of a stream: plain reads go straight to the runtime; reads that can be abandoned
 * go through one kept read of the system and lose nothing.
 */

import { isClosedError } from "./errors.ts";
import type { WaitOptions } from "./types.ts";
import { notBytes, signalOf } from "./_check.ts";
import { giveBuffer, takeBuffer } from "./_buffers.ts";
import { type Lender, Watchers } from "./_readiness.ts";
import {
  closedResource,
  interrupted,
  Keeper,
  type Shared,
  WaitQueue,
  withCode,
} from "./_wait.ts";

/** What is needed below. */
export interface NativeReader {
  read(p: Uint8Array): Promise<number | null>;
  ref(): void;
  unref(): void;
}

/** The largest buffer that a kept read has of its own. */
const MAX_BUFFER = 65536;

/** The smallest and largest buffers of reads that are to show whether there is something. */
const MIN_WATCH = 4096;
const MAX_WATCH = 4_194_304;

/** After how many reads that would have fitted into a quarter it becomes that. */
const PATIENCE = 8;

/** How many connections may have such buffers above a size: a peer that pauses keeps its own occupied. */
const MAX_GROWN = 16;
const GROWN = 262_144;

/** How many have. */
let grown = 0;

/** Where discarded bytes go, for all connections: nobody looks at them. */
let scratch: Uint8Array | undefined;

const NOTHING = new Uint8Array(0);

/** The reading half. */
export class ReadSide implements Lender {
  readonly #native: NativeReader;
  readonly #shared: Shared;
  /** Bytes that have come. */
  bytes = 0;
  #timeout: number | undefined;
  /** Anything that keeps a read off the straight way. */
  #slow = false;
  /** Plain reads that wait in the runtime. */
  #plain = 0;
  #closed = false;
  /** Whether everything before the fatal error has been read. */
  #failed = false;
  /** Whether a read has seen the end of the stream, and nothing is left of it. */
  ended = false;
  #queue: WaitQueue<number | null, Uint8Array> | undefined;
  #keeper: Keeper<number | null> | undefined;
  /** The kept read's buffer, and which part of it waits for a reader. */
  #buffer: Uint8Array<ArrayBuffer> | undefined;
  #from = 0;
  #to = 0;
  /** Where in the buffer the kept read puts what it brings. */
  #at = 0;
  /** How many bytes somebody wants to see kept, without taking any. */
  #wanted = 0;
  #discarding: Promise<boolean> | undefined;
  /** Whether somebody waits for the discarding to end. */
  #held = false;
  #watchers: Watchers | undefined;
  /** The size of such a read's buffer: as large as what comes. */
  #watchSize = MIN_WATCH;
  /** How many of the last would have fitted into a quarter of it. */
  #small = 0;
  #wantsRef = true;
  #hasRef = true;

  /**
   * @param native The runtime's reader.
   * @param shared What the writing half has too.
   */
  constructor(native: NativeReader, shared: Shared) {
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

  /** Whether a read waits or bytes are kept. */
  get busy(): boolean {
    return this.#plain > 0 || this.#to > this.#from ||
      this.#keeper?.pending === true || this.#discarding !== undefined;
  }

  get ready(): boolean {
    return this.#to > this.#from || this.ended || this.#failed ||
      this.#closed || this.#discarding !== undefined;
  }

  /** What a kept read has brought and nobody has taken: a view, good until the next call. */
  get kept(): Uint8Array {
    return this.#buffer?.subarray(this.#from, this.#to) ?? NOTHING;
  }

  /** Reads on behind what is kept, until so many bytes are, or the stream is over; nobody waits for it. */
  keep(size: number): void {
    if (this.#closed || this.#discarding !== undefined) return;
    this.#wanted = Math.min(size, MAX_BUFFER);
    this.#makeQueue();
    this.#pump();
  }

  watch(onReady: () => void, holds = true): () => void {
    const watchers = this.#watchers ??= new Watchers();
    watchers.add(onReady, holds);
    if (this.ready) watchers.notify();
    else {
      this.#makeQueue();
      this.#pump();
    }
    return () => {
      watchers.remove(onReady);
      this.#updateRef();
    };
  }

  borrow(most: number): Uint8Array<ArrayBuffer> | undefined {
    const size = this.#to - this.#from;
    if (
      size === 0 || size > most || this.#queue?.head !== undefined ||
      this.#keeper?.pending
    ) return;
    const chunk = this.#buffer!.subarray(this.#from, this.#to);
    this.#buffer = undefined;
    this.#from = this.#to = 0;
    this.#update();
    return chunk;
  }

  giveBack(chunk: Uint8Array<ArrayBuffer>, isUsed: boolean): boolean {
    const buffer = new Uint8Array(chunk.buffer);
    if (isUsed) {
      giveBuffer(buffer);
      return true;
    }
    if (
      this.#buffer !== undefined || this.#plain > 0 || this.#closed ||
      this.#discarding !== undefined
    ) return false;
    this.#buffer = buffer;
    this.#from = chunk.byteOffset;
    this.#to = chunk.byteOffset + chunk.length;
    this.#update();
    return true;
  }

  /** Tells those who watch, if there is something to tell. */
  #tell(): void {
    if (this.#watchers?.any && this.ready) this.#watchers.notify();
  }

  /** Reads. */
  read(p: Uint8Array, options?: WaitOptions): Promise<number | null> {
    if (!(p instanceof Uint8Array)) {
      return Promise.reject(notBytes(p, "buffer"));
    }
    if (this.#slow || options !== undefined) return this.#readSlow(p, options);
    this.#plain++;
    return this.#native.read(p).then(this.#onRead, this.#onReadError);
  }

  /**
   * Reads into memory that is the caller's: it is as large as what came, and nothing is in it but that.
   *
   * @param size How many bytes at most.
   * @returns What came; empty at the end.
   */
  receive(size: number): Promise<Uint8Array<ArrayBuffer>> {
    const buffer = takeBuffer(size);
    const room = buffer.length === size ? buffer : buffer.subarray(0, size);
    // Copying costs less than handing a new buffer to the system for each read.
    const cut = (n: number | null): Uint8Array<ArrayBuffer> => {
      const data = buffer.slice(0, n ?? 0);
      giveBuffer(buffer);
      return data;
    };
    if (this.#slow) return this.#readSlow(room, undefined).then(cut);
    this.#plain++;
    return this.#native.read(room).then(
      (n) => cut(this.#onRead(n)),
      this.#onReadError,
    );
  }

  #onRead = (n: number | null): number | null => {
    if (--this.#plain === 0 && this.#slow) this.#updateRef();
    if (n !== null) this.bytes += n;
    // The write side has seen why the stream ends here.
    else if (this.#shared.failure !== undefined) throw this.#fail();
    else this.#end();
    return n;
  };

  #end(): void {
    this.ended = true;
    this.#resizeWatch(MIN_WATCH);
    this.#tell();
  }

  #onReadError = (error: unknown): never => {
    if (--this.#plain === 0 && this.#slow) this.#updateRef();
    throw this.#latch(error);
  };

  /** Keeps the first fatal error and returns what the caller gets. */
  #latch(error: unknown): unknown {
    const known = withCode(error);
    if (isClosedError(known) || known instanceof TypeError) return known;
    this.#shared.failure ??= known;
    return this.#fail();
  }

  /** From here on every read gets the fatal error. */
  #fail(): unknown {
    this.#failed = true;
    this.#resizeWatch(MIN_WATCH);
    this.#update();
    return this.#shared.failure;
  }

  #readSlow(
    p: Uint8Array,
    options: WaitOptions | undefined,
  ): Promise<number | null> {
    let signal: AbortSignal | undefined;
    try {
      signal = signalOf(options, "read");
    } catch (error) {
      return Promise.reject(error);
    }
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (p.length === 0) return Promise.resolve(0);
    if (this.#closed) return Promise.reject(closedResource("Connection"));
    if (this.#discarding !== undefined) return Promise.resolve(null);
    if (this.#failed) return Promise.reject(this.#shared.failure);
    const promise = this.#makeQueue().add(p, this.#timeout, signal);
    this.#pump();
    return promise;
  }

  #makeQueue(): WaitQueue<number | null, Uint8Array> {
    return this.#queue ??= new WaitQueue(
      "Read",
      this.#shared.timer,
      () => this.#update(),
    );
  }

  /** Serves those who wait from the kept read, and starts it where it is missing. */
  #pump(): void {
    const queue = this.#queue!;
    const keeper = this.#keeper ??= new Keeper(
      () => this.#startKept(),
      () => this.#pump(),
    );
    for (;;) {
      if (keeper.settled && this.#canTakeIn(keeper)) {
        this.#takeIn(keeper, queue);
      } else if (this.#from < this.#to) {
        if (queue.head === undefined) {
          if (this.#to - this.#from < this.#wanted) keeper.run();
          break;
        }
        this.#serve(queue.head.payload);
      } else if (queue.head?.payload.length === 0) {
        // Its caller has transferred the buffer away; a read of nothing would end at once, for ever.
        queue.resolve(0);
      } else {
        if (queue.head !== undefined || this.#isWatched) keeper.run();
        break;
      }
    }
    if (!keeper.pending && this.#from === this.#to) this.#dropBuffer();
    this.#update();
  }

  /** The end, or an error, has its time when all before it has been read. */
  #canTakeIn({ outcome }: Keeper<number | null>): boolean {
    return this.#from === this.#to ||
      outcome !== undefined && "value" in outcome && outcome.value !== null;
  }

  /** Whether somebody waits to be told that there is something. */
  get #isWatched(): boolean {
    return this.#watchers?.any === true && !this.ready;
  }

  /** Gives the first who waits what is there, as far as it fits. */
  #serve(p: Uint8Array): void {
    const buffer = this.#buffer!;
    // 0 if the caller has transferred its buffer away: the bytes stay for the next one.
    const n = Math.min(p.length, this.#to - this.#from);
    if (n === buffer.length) p.set(buffer);
    else if (n > 0) p.set(buffer.subarray(this.#from, this.#from + n));
    this.#from += n;
    this.#wanted = 0;
    this.#queue!.resolve(n);
  }

  /** Takes in what the kept read has brought. */
  #takeIn(
    keeper: Keeper<number | null>,
    queue: WaitQueue<number | null, Uint8Array>,
  ): void {
    let n: number | null;
    try {
      n = keeper.take();
    } catch (error) {
      this.#rejectWaiting(this.#latch(error), queue);
      return;
    }
    if (n !== null) {
      this.bytes += n;
      if (this.#discarding !== undefined || this.#closed) return;
      if (this.#from === this.#to) this.#from = this.#at;
      this.#to = this.#at + n;
      if (this.#to - this.#from >= this.#wanted) this.#wanted = 0;
      if (this.#at > 0) return;
      this.#small = 4 * n < this.#watchSize ? this.#small + 1 : 0;
      if (n === this.#watchSize) {
        this.#resizeWatch(Math.min(4 * n, MAX_WATCH));
      } else if (this.#small === PATIENCE) {
        this.#resizeWatch(Math.max(this.#watchSize / 4, MIN_WATCH));
      }
    } else if (this.#shared.failure !== undefined) {
      this.#rejectWaiting(this.#fail(), queue);
    } else {
      this.#end();
      if (queue.head !== undefined) queue.resolve(null);
    }
  }

  /** Has buffers of another size from now on, unless that is large and enough others have such. */
  #resizeWatch(size: number): void {
    const more = Number(size > GROWN) - Number(this.#watchSize > GROWN);
    if (more > 0 && grown === MAX_GROWN) return;
    grown += more;
    this.#watchSize = size;
    this.#small = 0;
  }

  /** An error of the kept read: everybody's if it is fatal, else that of the first who waits. */
  #rejectWaiting(
    error: unknown,
    queue: WaitQueue<number | null, Uint8Array>,
  ): void {
    if (this.#failed) queue.rejectAll(error);
    else if (queue.head !== undefined) queue.reject(error);
  }

  /** Makes room behind what is kept, in a buffer that is large enough for all that is wanted. */
  #startBehind(): Promise<number | null> {
    const before = this.kept;
    const buffer = takeBuffer(this.#wanted);
    buffer.set(before);
    if (this.#buffer !== undefined) giveBuffer(this.#buffer);
    this.#buffer = buffer;
    this.#from = 0;
    this.#at = this.#to = before.length;
    return this.#native.read(buffer.subarray(this.#at, this.#wanted));
  }

  #startKept(): Promise<number | null> {
    if (this.#from < this.#to) return this.#startBehind();
    this.#at = 0;
    const wanted = this.#queue!.head?.payload.length;
    const asked = wanted === undefined
      ? this.#watchSize
      : Math.min(wanted, MAX_BUFFER);
    if (this.#buffer === undefined || this.#buffer.length < asked) {
      this.#dropBuffer();
      this.#buffer = takeBuffer(asked);
    }
    const buffer = this.#buffer;
    return this.#native.read(
      asked === buffer.length ? buffer : buffer.subarray(0, asked),
    );
  }

  #dropBuffer(): void {
    this.#from = this.#to = 0;
    if (this.#buffer === undefined) return;
    giveBuffer(this.#buffer);
    this.#buffer = undefined;
  }

  /**
   * Reads and discards what comes until the stream ends, once for all. Every read from now on says that
   * the stream has ended; so does every one that waits, unless the runtime has it already.
   *
   * @param hold Whether the caller waits for it.
   * @returns Whether the stream ended as it should.
   */
  discard(hold: boolean): Promise<boolean> {
    this.#held ||= hold;
    if (this.#discarding === undefined) {
      this.#discarding = this.#discardAll();
      while (this.#queue?.head !== undefined) this.#queue.resolve(null);
      this.#from = this.#to = 0;
      if (this.#keeper?.pending !== true) this.#dropBuffer();
    }
    this.#update();
    return this.#discarding;
  }

  async #discardAll(): Promise<boolean> {
    if (this.#failed || this.#closed) return false;
    scratch ??= new Uint8Array(MAX_BUFFER);
    try {
      for (;;) {
        const n = await this.#native.read(scratch);
        if (n === null) return this.#shared.failure === undefined;
        this.bytes += n;
      }
    } catch (error) {
      this.#latch(error);
      return false;
    }
  }

  /** Whoever waits is told that the handle is closed; so is whoever comes. */
  close(): void {
    this.#closed = true;
    this.#slow = true;
    this.#resizeWatch(MIN_WATCH);
    this.#queue?.rejectAll(interrupted("Connection"));
    this.#from = this.#to = 0;
    if (this.#keeper?.pending !== true) this.#dropBuffer();
    this.#tell();
  }

  /** What the user wants of the process's life. */
  setRef(wants: boolean): void {
    this.#wantsRef = wants;
    this.#updateRef();
  }

  /** Works out anew what follows from the state. */
  #update(): void {
    this.#slow = this.#closed || this.#failed || this.#timeout !== undefined ||
      this.#discarding !== undefined || this.#to > this.#from ||
      this.#keeper?.pending === true;
    this.#updateRef();
    this.#tell();
  }

  /** A read that nobody waits for does not keep the process alive. */
  #updateRef(): void {
    const idle = this.#discarding !== undefined
      ? !this.#held
      : this.#plain === 0 && this.#queue?.head === undefined &&
        this.#keeper?.pending === true && this.#watchers?.hold !== true;
    const wants = this.#wantsRef && !idle;
    if (wants === this.#hasRef) return;
    this.#hasRef = wants;
    if (wants) this.#native.ref();
    else this.#native.unref();
  }
}
