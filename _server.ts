/** What servers of connections and of datagrams have in common: handlers at work, and the way to the end. */

import type { SocketAddr } from "./types.ts";
import { type Access, type AddrList, checkAccess } from "./_addr_list.ts";
import { checkInteger, checkSignal, checkTimeout, show } from "./_check.ts";
import { MAX_DELAY, timedOut } from "./_wait.ts";

/** What both kinds of servers can be told. */
export interface ServerOptions {
  /**
   * Who is served, by IP addresses and blocks of them; everybody by default. An IPv4 entry is good for
   * IPv4-mapped addresses too.
   */
  allow?: AddrList | Iterable<string>;
  /** Who is not served, whatever `allow` says. */
  deny?: AddrList | Iterable<string>;
  /** Begins `shutdown()` when it is aborted. */
  signal?: AbortSignal | undefined;
  /**
   * How long handlers may go on after `shutdown()` began, in milliseconds above 0; 10,000 by default.
   * Then what is left is closed. It bounds each connection's graceful close, too, at any time.
   */
  drainTimeout?: number;
}

/** What a handler is told besides its connection or datagram. */
export interface HandlerInfo {
  /**
   * Aborted when the connection is closed from outside the handler: it was idle or alive for too long
   * (the reason is a `TimeoutError`), or `shutdown()` waits no longer. Waits on the connection itself end
   * anyway.
   */
  readonly signal: AbortSignal;
  /** Aborted when `shutdown()` begins: a handler may finish what it is at, and take nothing new. */
  readonly draining: AbortSignal;
}

/** How long handlers may go on, in milliseconds, unless another bound is given. */
export const DRAIN_TIMEOUT = 10_000;

/** A handler at work. */
export interface Work {
  readonly controller: AbortController;
}

/** What both kinds of servers have in common: handlers at work, and the way to the end. */
export abstract class Base<W extends Work> {
  protected readonly works = new Set<W>();
  protected readonly draining = new AbortController();
  readonly #admits: Access | undefined;
  #denied = 0;
  readonly #drainTimeout: number;
  readonly #finished = Promise.withResolvers<void>();
  #isFinished = false;
  #drainTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => void this.shutdown();

  /**
   * @param options What the server is told.
   * @param addrs Where it listens.
   */
  constructor(options: ServerOptions, addrs: readonly SocketAddr[]) {
    const { signal, drainTimeout = DRAIN_TIMEOUT } = options;
    this.#admits = checkAccess(options);
    if (this.#admits !== undefined) checkIp(addrs);
    this.#drainTimeout = drainTimeout;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#onAbort);
    // The constructor of the kind has not run yet.
    if (signal?.aborted) queueMicrotask(this.#onAbort);
  }

  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  get denied(): number {
    return this.#denied;
  }

  /** Whether a peer is served. */
  protected admits(peer: SocketAddr): boolean {
    if (this.#admits === undefined) return true;
    const admits = "hostname" in peer && this.#admits(peer);
    if (!admits) this.#denied++;
    return admits;
  }

  /** Stops taking in. */
  protected abstract stop(): void;

  /** Ends a handler's work from outside. */
  protected abstract end(work: W, reason: unknown): void;

  /** Whether nothing comes in any more. */
  protected abstract readonly isStopped: boolean;

  /** Gives up what is left when all is done. */
  protected abstract release(): Promise<void>;

  shutdown(): Promise<void> {
    if (!this.draining.signal.aborted) {
      this.draining.abort();
      this.#signal?.removeEventListener("abort", this.#onAbort);
      this.stop();
      this.#drainTimer = setTimeout(
        () => {
          const reason = timedOut("Drain", this.#drainTimeout);
          for (const work of this.works) this.end(work, reason);
        },
        Math.min(this.#drainTimeout, MAX_DELAY),
      );
      this.check();
    }
    return this.finished;
  }

  /** Finishes, if everything is done. */
  protected check(): void {
    if (this.#isFinished || !this.isStopped || this.works.size > 0) return;
    this.#isFinished = true;
    clearTimeout(this.#drainTimer);
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.release().then(this.#finished.resolve, this.#finished.resolve);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }
}

/** Tells an error to whoever wants to know. */
export function tell<T>(
  onError: (error: unknown, about?: T) => void,
  error: unknown,
  about?: T,
): void {
  // There is nobody left who could be told of its errors, now or later.
  Promise.try(onError, error, about).catch(() => {});
}

/** Only peers with IP addresses can be told apart by them. */
function checkIp(addrs: readonly SocketAddr[]): void {
  for (const addr of addrs) {
    if (!("hostname" in addr)) {
      throw new TypeError(
        `Invalid allow or deny: expected none on ${
          show(addr.transport)
        }, whose peers have no IP address`,
      );
    }
  }
}

export function checkHandler(handler: unknown): void {
  if (typeof handler !== "function") {
    throw new TypeError(
      `Invalid handler: expected a function, got ${show(handler)}`,
    );
  }
}

/** A number of things at once: from 1, or no bound. */
export function checkCount(count: unknown, name: string): void {
  if (count !== Infinity) {
    checkInteger(count, name, 1, Number.MAX_SAFE_INTEGER);
  }
}

/** What both kinds of servers can be told. */
export function checkServer(
  { signal, drainTimeout, onError }: ServerOptions & { onError?: unknown },
): void {
  checkSignal(signal);
  checkTimeout(drainTimeout);
  if (onError !== undefined) {
    if (typeof onError !== "function") {
      throw new TypeError(
        `Invalid onError: expected a function, got ${show(onError)}`,
      );
    }
  }
}
