/** What TCP and Unix listeners share: who waits for a connection, and the loop that a peer cannot end. */

import { errorCode } from "./errors.ts";
import type {
  SocketAddr,
  StreamConn,
  StreamListener,
  WaitOptions,
} from "./types.ts";
import { checkTimeout, signalOf } from "./_check.ts";
import {
  closedResource,
  DeadlineTimer,
  interrupted,
  Keeper,
  sleep,
  WaitQueue,
} from "./_wait.ts";

import {
  type Readiness,
  readiness,
  type Watchable,
  Watchers,
} from "./_readiness.ts";

/** What is needed below: a `Deno.Listener`. */
export interface NativeListener<N> {
  accept(): Promise<N>;
  close(): void;
  ref(): void;
  unref(): void;
}

/**
 * What has happened to a connection before it was accepted, and is no fault of the listener: it ended,
 * or the network did (accept(2) hands errors of the network on).
 */
const SKIPPED = new Set([
  "ENOTCONN",
  "ECONNABORTED",
  "ECONNRESET",
  "ENETDOWN",
  "EPROTO",
  "ENOPROTOOPT",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "EOPNOTSUPP",
  "ENETUNREACH",
]);

/** The system is out of something, and may have it again soon. */
const EXHAUSTED = new Set(["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]);

/** How long an exhausted loop waits at first and at most, in milliseconds. */
const FIRST_PAUSE = 5;
const LAST_PAUSE = 1000;

/** What a listener is made of. */
export interface ListenerParts<N, C, A> {
  /** The runtime's listeners; two for a dual-stack one. */
  readonly natives: readonly NativeListener<N>[];
  /** The address that is reported. */
  readonly addr: A;
  /** Makes a connection of the runtime's, or says by `undefined` that it is not wanted. */
  readonly wrap: (native: N) => C | undefined;
  /** Called before the runtime's listeners are closed. */
  readonly beforeClose?: () => void;
}

/** One of the runtime's listeners and its kept accept. */
interface Source<N> {
  readonly native: NativeListener<N>;
  readonly keeper: Keeper<N>;
  hasRef: boolean;
}

/** A listener over the runtime's. */
export class Listener<
  N extends { close(): void },
  C extends StreamConn,
  A extends SocketAddr,
> implements StreamListener<C, A>, Watchable {
  readonly addr: A;
  readonly #wrap: (native: N) => C | undefined;
  readonly #beforeClose: (() => void) | undefined;
  readonly #sources: readonly Source<N>[];
  readonly #timer = new DeadlineTimer();
  readonly #queue: WaitQueue<C, void>;
  readonly #closing = new AbortController();
  /** What came while somebody watched, for the next who accepts. */
  readonly #early: (() => C)[] = [];
  readonly #watchers = new Watchers();
  #timeout: number | undefined;
  #wantsRef = true;

  constructor({ natives, addr, wrap, beforeClose }: ListenerParts<N, C, A>) {
    this.addr = addr;
    this.#wrap = wrap;
    this.#beforeClose = beforeClose;
    this.#queue = new WaitQueue("Accept", this.#timer, () => this.#updateRef());
    this.#sources = natives.map((native) => ({
      native,
      keeper: new Keeper(() => native.accept(), () => this.#pump()),
      hasRef: true,
    }));
  }

  get timeout(): number | undefined {
    return this.#timeout;
  }

  set timeout(timeout: number | undefined) {
    checkTimeout(timeout);
    this.#timeout = timeout;
  }

  accept(options?: WaitOptions): Promise<C> {
    return this.#accept(this.#timeout, options);
  }

  // Not async, and yet it never throws: what is wrong comes with the promise.
  #accept(timeout: number | undefined, options?: WaitOptions): Promise<C> {
    let signal: AbortSignal | undefined;
    try {
      signal = signalOf(options, "accept");
      signal?.throwIfAborted();
      if (this.#closed) throw closedResource("Listener");
    } catch (error) {
      return Promise.reject(error);
    }
    const early = this.#early.shift();
    if (early !== undefined) return Promise.try(early);
    const accepted = this.#queue.add(undefined, timeout, signal);
    this.#pump();
    return accepted;
  }

  get [readiness](): Readiness {
    const isReady = () => this.#closed || this.#early.length > 0;
    return {
      get ready() {
        return isReady();
      },
      watch: (onReady, holds = true) => {
        this.#watchers.add(onReady, holds);
        if (isReady()) this.#watchers.notify();
        else this.#pump();
        return () => {
          this.#watchers.remove(onReady);
          this.#updateRef();
        };
      },
    };
  }

  /** Whether somebody waits to be told that there is something. */
  get #isWatched(): boolean {
    return this.#watchers.any && this.#early.length === 0;
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Serves those who wait with what has come, and waits for more where somebody still does. */
  #pump(): void {
    for (const { keeper } of this.#sources) {
      while (
        keeper.settled &&
        (this.#closed || this.#queue.head || this.#isWatched)
      ) this.#takeIn(keeper);
    }
    if (this.#closed) return;
    if (this.#queue.head !== undefined || this.#isWatched) {
      for (const { keeper } of this.#sources) keeper.run();
    }
    if (this.#early.length > 0) this.#watchers.notify();
    this.#updateRef();
  }

  /** Takes in what a kept accept has brought. */
  #takeIn(keeper: Keeper<N>): void {
    let native: N;
    try {
      native = keeper.take();
    } catch (error) {
      if (this.#closed || isSkipped(error)) return;
      if (this.#queue.head !== undefined) this.#queue.reject(error);
      else {
        this.#early.push(() => {
          throw error;
        });
      }
      return;
    }
    if (this.#closed) native.close();
    else this.#hand(native);
  }

  /** Gives a connection to the first who waits, unless it is not wanted. */
  #hand(native: N): void {
    const conn = this.#wrap(native);
    if (conn === undefined) native.close();
    else if (this.#queue.head !== undefined) this.#queue.resolve(conn);
    else this.#early.push(() => conn);
  }

  async *[Symbol.asyncIterator](): AsyncIterableIterator<C> {
    let pause = 0;
    while (!this.#closed) {
      let conn: C;
      try {
        conn = await this.#accept(undefined);
      } catch (error) {
        if (this.#closed) return;
        if (!EXHAUSTED.has(errorCode(error) ?? "")) throw error;
        pause = Math.min(pause === 0 ? FIRST_PAUSE : pause * 2, LAST_PAUSE);
        await sleep(pause, this.#closing.signal);
        continue;
      }
      pause = 0;
      yield conn;
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closing.abort();
    this.#timer.stop();
    this.#beforeClose?.();
    for (const { native } of this.#sources) native.close();
    this.#queue.rejectAll(interrupted("Listener"));
    for (const early of this.#early.splice(0)) closeEarly(early);
    this.#watchers.notify();
    this.#pump();
  }

  ref(): void {
    this.#wantsRef = true;
    this.#updateRef();
  }

  unref(): void {
    this.#wantsRef = false;
    this.#updateRef();
  }

  /** An accept that nobody waits for does not keep the process alive. */
  #updateRef(): void {
    const waited = this.#queue.head !== undefined || this.#watchers.hold;
    for (const source of this.#sources) {
      const wants = this.#wantsRef && (waited || !source.keeper.pending);
      if (wants === source.hasRef) continue;
      source.hasRef = wants;
      if (wants) source.native.ref();
      else source.native.unref();
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Who waits for the end waits for a kept accept as well.
    for (const { native } of this.#sources) native.ref();
    this.close();
    await Promise.all(this.#sources.map(({ keeper }) => keeper.idle()));
  }
}

/** Closes a connection that nobody will accept any more. */
function closeEarly(early: () => { close(): void }): void {
  try {
    early().close();
  } catch {
    // It was an error that nobody will hear of.
  }
}

/** Whether an accept failed because of the peer. */
function isSkipped(error: unknown): boolean {
  return error instanceof Deno.errors.InvalidData ||
    SKIPPED.has(errorCode(error) ?? "");
}
