/**
 * What UDP and Unix datagram sockets share: who waits for a datagram, one receive of the runtime at a
 * time, and what is kept when a wait is abandoned.
 *
 * A receive without a timeout and a signal goes straight to the runtime. All others, and those behind
 * one that waits, stand in a queue: the runtime completes receives last-in first-out.
 */

import type {
  Datagram,
  DatagramSocket,
  ReceivedInto,
  SocketAddr,
  WaitOptions,
} from "./types.ts";
import {
  kept,
  type Readiness,
  readiness,
  type Watchable,
  Watchers,
} from "./_readiness.ts";
import { giveBuffer, takeBuffer } from "./_buffers.ts";
import { checkTimeout, notBytes, signalOf } from "./_check.ts";
import {
  closedResource,
  DeadlineTimer,
  interrupted,
  Keeper,
  type Waiter,
  WaitQueue,
  withCode,
} from "./_wait.ts";

/** Someone who waits for a send and may leave before its end. */
export interface Caller {
  /** Told when that happens. */
  onLeave?: () => void;
}

/** What is needed below: a `Deno.DatagramConn`, or what looks like one. `R` is its kind of address. */
export interface NativeDatagrams<R> {
  receive(p: Uint8Array): Promise<[Uint8Array, R]>;
  /** Who calls may be told of by those who let sends wait. */
  send(p: Uint8Array, to: R, caller?: Caller): Promise<number>;
  close(): void;
  ref(): void;
  unref(): void;
  /** Resolves when a closed one has given up its name; needed where a receive's end does not say so. */
  closed?(): Promise<void>;
}

/** What the runtime brought. */
type Received<R> = [Uint8Array, R];

/** Where a caller wants the bytes; `undefined` for a buffer of their own. */
type Target = Uint8Array | undefined;

/** A result of either sort of receive. */
type Result<A extends SocketAddr> = Datagram<A> | ReceivedInto<A>;

/** How large datagrams are. */
export interface Sizes {
  /** The largest datagram that is received whole. */
  readonly largest: number;
  /** How long a caller's buffer has to be, so that nothing can be cut off unseen. */
  readonly direct: number;
  /** How long our own buffer is: longer than the largest datagram. */
  readonly own: number;
}

/** A datagram socket over the runtime's. */
export abstract class Datagrams<R, A extends SocketAddr, D>
  implements DatagramSocket<A, D>, Watchable {
  readonly addr: A;
  protected readonly native: NativeDatagrams<R>;
  readonly #sizes: Sizes;
  readonly #timer = new DeadlineTimer();
  #timeout: number | undefined;
  #closed = false;
  #received = 0;
  #bytesReceived = 0;
  #sent = 0;
  #bytesSent = 0;
  /** Anything that keeps a receive off the straight way. */
  #slow = false;
  /** Whether a straight receive is under way, and where its caller wants the bytes. */
  #straight = false;
  #target: Target;
  readonly #receives: WaitQueue<Result<A>, Target>;
  readonly #keeper: Keeper<Received<R>>;
  /** Our own buffer, while a receive needs one. */
  #buffer: Uint8Array<ArrayBuffer> | undefined;
  #sends: WaitQueue<number, Caller> | undefined;
  #idle: PromiseWithResolvers<void> | undefined;
  readonly #watchers = new Watchers();
  #wantsRef = true;
  #hasRef = true;

  constructor(native: NativeDatagrams<R>, addr: A, sizes: Sizes) {
    this.native = native;
    this.addr = addr;
    this.#sizes = sizes;
    this.#receives = new WaitQueue(
      "Receive",
      this.#timer,
      () => this.#update(),
    );
    this.#keeper = new Keeper(
      () => this.native.receive(this.#ownBuffer()),
      () => this.#pump(),
    );
  }

  /** Makes an address of the runtime's. */
  protected abstract toAddr(from: R): A;

  /** Whether a datagram is wanted, by its sender. */
  protected admits(_from: R): boolean {
    return true;
  }

  /** Checks a destination and gives what the runtime takes, or a promise of it. May throw. */
  protected abstract destination(
    addr: D | undefined,
    length: number,
  ): R | Promise<R>;

  /** Whether the socket is closed. */
  protected get isClosed(): boolean {
    return this.#closed;
  }

  get timeout(): number | undefined {
    return this.#timeout;
  }

  set timeout(timeout: number | undefined) {
    checkTimeout(timeout);
    this.#timeout = timeout;
    this.#update();
  }

  get datagramsReceived(): number {
    return this.#received;
  }

  get datagramsSent(): number {
    return this.#sent;
  }

  get bytesReceived(): number {
    return this.#bytesReceived;
  }

  get bytesSent(): number {
    return this.#bytesSent;
  }

  // Receiving

  receive(options?: WaitOptions): Promise<Datagram<A>> {
    return (this.#slow || options !== undefined
      ? this.#wait(undefined, this.#timeout, options)
      : this.#receiveStraight(undefined)) as Promise<Datagram<A>>;
  }

  receiveInto(
    buffer: Uint8Array,
    options?: WaitOptions,
  ): Promise<ReceivedInto<A>> {
    if (!(buffer instanceof Uint8Array)) {
      return Promise.reject(notBytes(buffer, "buffer"));
    }
    return (this.#slow || options !== undefined
      ? this.#wait(buffer, this.#timeout, options)
      : this.#receiveStraight(buffer)) as Promise<ReceivedInto<A>>;
  }

  #receiveStraight(target: Target): Promise<Result<A>> {
    const buffer = this.#bufferFor(target);
    this.#slow = true;
    this.#straight = true;
    this.#target = target;
    return this.native.receive(buffer)
      .then(this.#onReceived, this.#onReceiveError);
  }

  /** The caller's buffer, if nothing can be cut off unseen there, or ours. */
  #bufferFor(target: Target): Uint8Array {
    const { direct, own } = this.#sizes;
    if (target === undefined || target.length < direct) {
      return this.#ownBuffer();
    }
    return target.length > own ? target.subarray(0, own) : target;
  }

  #onReceived = (received: Received<R>): Result<A> | Promise<Result<A>> => {
    if (!this.admits(received[1])) return this.#receiveAgain();
    const result = this.#deliver(received, this.#target);
    this.#endStraight();
    return result;
  };

  #onReceiveError = (error: unknown): Promise<Result<A>> => {
    if (isNoise(error) && !this.#closed) return this.#receiveAgain();
    this.#endStraight();
    throw error;
  };

  /**
   * What came was nobody's. The caller waits in the queue from now on, as its first: a chain of promises
   * would grow with each datagram that is none.
   */
  #receiveAgain(): Promise<Result<A>> {
    if (this.#closed) {
      this.#endStraight();
      throw interrupted("Socket");
    }
    const received = this.#receives.addFirst(this.#target);
    this.#endStraight();
    return received;
  }

  /** A straight receive is over: those behind it are next. */
  #endStraight(): void {
    this.#straight = false;
    this.#target = undefined;
    if (this.#closed) this.#idle?.resolve();
    if (this.#receives.head !== undefined || this.#watchers.any) this.#pump();
    else {
      this.#dropBuffer();
      this.#slow = this.#timeout !== undefined || this.#closed;
    }
  }

  /** Makes a caller's result of what has come. */
  #deliver([view, from]: Received<R>, target: Target): Result<A> {
    const addr = this.toAddr(from);
    const n = view.length;
    const { largest } = this.#sizes;
    this.#received++;
    if (target === undefined) {
      const truncated = n > largest;
      const data = view.slice(0, largest) as Uint8Array<ArrayBuffer>;
      this.#bytesReceived += data.length;
      return { data, addr, truncated };
    }
    // None if the caller has transferred its buffer away.
    const bytes = Math.min(n, target.length, largest);
    if (view.buffer !== target.buffer && bytes > 0) {
      target.set(bytes === n ? view : view.subarray(0, bytes));
    }
    this.#bytesReceived += bytes;
    return { bytes, addr, truncated: bytes < n };
  }

  // Not async, and yet it never throws: what is wrong comes with the promise.
  #wait(
    target: Target,
    timeout: number | undefined,
    options: WaitOptions | undefined,
  ): Promise<Result<A>> {
    let signal: AbortSignal | undefined;
    try {
      signal = signalOf(options, "receive");
      signal?.throwIfAborted();
      if (this.#closed) throw closedResource("Socket");
    } catch (error) {
      return Promise.reject(error);
    }
    const received = this.#receives.add(target, timeout, signal);
    this.#pump();
    return received;
  }

  /** Serves those who wait with what has come, and waits for more where somebody still does. */
  #pump(): void {
    const keeper = this.#keeper;
    while (keeper.settled && (this.#closed || this.#receives.head)) {
      this.#takeIn();
    }
    // What nobody wants is no reason to tell anybody.
    while (this.#watchers.any && keeper.settled && !this.#hasWanted) {
      this.#drop();
    }
    const isWanted = this.#receives.head !== undefined || this.#watchers.any;
    if (isWanted && !this.#straight) keeper.run();
    this.#update();
    if (keeper.settled) this.#watchers.notify();
  }

  /** Whether a receive would bring something, or fail. */
  get #hasWanted(): boolean {
    const outcome = this.#keeper.outcome;
    if (outcome === undefined) return false;
    return "value" in outcome
      ? this.admits(outcome.value[1])
      : !isNoise(outcome.error);
  }

  /** Drops what a kept receive has brought. */
  #drop(): void {
    try {
      this.#keeper.take();
    } catch {
      // Noise.
    }
  }

  get [readiness](): Readiness {
    const isReady = () => this.#closed || this.#hasWanted;
    return {
      get ready() {
        return isReady();
      },
      watch: (onReady, holds = true) => {
        this.#watchers.add(onReady, holds);
        if (this.#closed) this.#watchers.notify();
        else this.#pump();
        return () => {
          this.#watchers.remove(onReady);
          this.#updateRef();
        };
      },
    };
  }

  /** The datagram that the next receive brings, as far as it is here: a view, good until then. */
  get [kept](): Datagram<A> | undefined {
    const outcome = this.#keeper.outcome;
    if (outcome === undefined || "error" in outcome) return undefined;
    const [view, from] = outcome.value;
    if (!this.admits(from)) return undefined;
    const { largest } = this.#sizes;
    return {
      data: view.subarray(0, largest) as Uint8Array<ArrayBuffer>,
      addr: this.toAddr(from),
      truncated: view.length > largest,
    };
  }

  /** Takes in what a kept receive has brought. */
  #takeIn(): void {
    let received: Received<R>;
    try {
      received = this.#keeper.take();
    } catch (error) {
      if (!this.#closed && !isNoise(error)) this.#receives.reject(error);
      return;
    }
    if (this.#closed || !this.admits(received[1])) return;
    const target = this.#receives.head!.payload;
    this.#receives.resolve(this.#deliver(received, target));
  }

  #ownBuffer(): Uint8Array<ArrayBuffer> {
    const { own } = this.#sizes;
    this.#buffer ??= takeBuffer(own);
    return this.#buffer.length === own
      ? this.#buffer
      : this.#buffer.subarray(0, own);
  }

  #dropBuffer(): void {
    if (this.#buffer === undefined) return;
    giveBuffer(this.#buffer);
    this.#buffer = undefined;
  }

  async *[Symbol.asyncIterator](): AsyncIterableIterator<Datagram<A>> {
    while (!this.#closed) {
      let datagram: Datagram<A>;
      try {
        datagram = await (this.#slow
          ? this.#wait(undefined, undefined, undefined)
          : this.#receiveStraight(undefined)) as Datagram<A>;
      } catch (error) {
        if (this.#closed) return;
        throw error;
      }
      yield datagram;
    }
  }

  // Sending

  send(data: Uint8Array, addr?: D, options?: WaitOptions): Promise<number> {
    let signal: AbortSignal | undefined;
    let to: R | Promise<R>;
    try {
      if (!(data instanceof Uint8Array)) throw notBytes(data, "data");
      if (options !== undefined) {
        signal = signalOf(options, "send");
        signal?.throwIfAborted();
      }
      if (this.#closed) throw closedResource("Socket");
      to = this.destination(addr, data.length);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#timeout === undefined && signal === undefined &&
        !(to instanceof Promise)
      ? this.native.send(data, to).then(this.#onSent, rethrow)
      : this.#sendWaiting(data, to, signal);
  }

  #onSent = (n: number): number => {
    this.#sent++;
    this.#bytesSent += n;
    return n;
  };

  /** Sends what may have to wait for a name, or may be abandoned. */
  #sendWaiting(
    data: Uint8Array,
    to: R | Promise<R>,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    const sends = this.#sends ??= new WaitQueue(
      "Send",
      this.#timer,
      ({ payload }) => payload.onLeave?.(),
    );
    const sent = sends.add({}, this.#timeout, signal);
    this.#sendFor(sends, sends.tail!, data, to);
    return sent;
  }

  async #sendFor(
    sends: WaitQueue<number, Caller>,
    waiter: Waiter<Caller>,
    data: Uint8Array,
    to: R | Promise<R>,
  ): Promise<void> {
    try {
      const native = to instanceof Promise ? await to : to;
      // Whoever has left, or been told that the socket is closed, sends nothing any more.
      if (!sends.has(waiter)) return;
      const sent = await this.native.send(data, native, waiter.payload);
      sends.resolve(this.#onSent(sent), waiter);
    } catch (error) {
      sends.reject(withCode(error), waiter);
    }
  }

  // The end

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer.stop();
    this.native.close();
    this.#receives.rejectAll(interrupted("Socket"));
    this.#sends?.rejectAll(interrupted("Socket"));
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

  /** Works out anew what follows from the state. */
  #update(): void {
    const { pending, settled } = this.#keeper;
    this.#slow = this.#closed || this.#straight || pending || settled ||
      this.#timeout !== undefined || this.#receives.head !== undefined;
    if (!pending && !settled && !this.#straight) this.#dropBuffer();
    this.#updateRef();
  }

  /** A receive that nobody waits for does not keep the process alive. */
  #updateRef(): void {
    const idle = !this.#straight && this.#receives.head === undefined &&
      this.#keeper.pending && !this.#watchers.hold;
    const wants = this.#wantsRef && !idle;
    if (wants === this.#hasRef) return;
    this.#hasRef = wants;
    if (wants) this.native.ref();
    else this.native.unref();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    // Who waits for the end waits for a kept receive as well.
    this.native.ref();
    if (this.#straight) {
      this.#idle ??= Promise.withResolvers<void>();
      await this.#idle.promise;
    }
    await this.#keeper.idle();
    await this.native.closed?.();
  }
}

/** A send's error, with its code where the runtime leaves it out. */
function rethrow(error: unknown): never {
  throw withCode(error);
}

/**
 * Whether a receive failed because of a sender: one whose path is no text, or (on Windows) one that is
 * gone and was sent to before.
 */
function isNoise(error: unknown): boolean {
  return error instanceof Deno.errors.InvalidData ||
    error instanceof Deno.errors.ConnectionReset;
}
