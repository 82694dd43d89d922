/**
 * Servers: a handler for each connection, or for each datagram, with limits, and an end that drains.
 *
 * @example An echo server
 * ```ts
 * import { copy, readAll, writeAll } from "@berkeley/sockets/io";
 * import { serve } from "@berkeley/sockets/serve";
 * import { connectTcp, listenTcp } from "@berkeley/sockets/tcp";
 * import { assertEquals } from "@std/assert";
 *
 * const listener = await listenTcp({ hostname: "127.0.0.1" });
 * await using server = serve(listener, async (conn) => {
 *   await copy(conn, conn);
 * });
 *
 * using conn = await connectTcp(server.addr);
 * await writeAll(conn, new TextEncoder().encode("hello"));
 * await conn.closeWrite();
 * assertEquals(new TextDecoder().decode(await readAll(conn)), "hello");
 * ```
 *
 * @module
 */

import { isClosedError } from "./errors.ts";
import type {
  Datagram,
  DatagramSocket,
  SocketAddr,
  StreamConn,
  StreamListener,
} from "./types.ts";
import { checkOptions, checkTimeout, show } from "./_check.ts";
import { timedOut } from "./_wait.ts";
import {
  Base,
  checkCount,
  checkHandler,
  checkServer,
  DRAIN_TIMEOUT,
  type HandlerInfo,
  type ServerOptions,
  tell,
  type Work,
} from "./_server.ts";

export type { HandlerInfo, ServerOptions };

// Options

/** How {@linkcode serve} serves. */
export interface ServeOptions<C> extends ServerOptions {
  /** How many connections are served at once, from 1; `Infinity` by default. */
  maxConnections?: number;
  /**
   * What happens beyond: `"wait"` (the default) leaves further connections in the listener's queue (of
   * several listeners each may accept one that waits), `"refuse"` closes them at once.
   */
  whenFull?: "wait" | "refuse";
  /**
   * How long a connection may stay without a byte in either direction, in milliseconds above 0; for
   * ever by default. A peer that sends a byte now and then is never idle: see
   * {@linkcode ServeOptions.maxLifetime}.
   */
  idleTimeout?: number | undefined;
  /** How long a connection may live, in milliseconds above 0; for ever by default. */
  maxLifetime?: number | undefined;
  /**
   * Told of what a handler threw, with its connection, and of an error that ended a listener. By default
   * `console.error`. What it throws, or its promise rejects with, is thrown nowhere.
   */
  onError?: (error: unknown, conn?: C) => void;
}

/** How {@linkcode serveDatagrams} serves. */
export interface ServeDatagramsOptions<A extends SocketAddr>
  extends ServerOptions {
  /** How many handlers are at work at once, from 1; 1,000 by default. Datagrams beyond are dropped. */
  maxHandlers?: number;
  /**
   * Told of what a handler threw, with its datagram, and of an error that ended the socket. By default
   * `console.error`. What it throws, or its promise rejects with, is thrown nowhere.
   */
  onError?: (error: unknown, datagram?: Datagram<A>) => void;
}

/**
 * Serves one connection. The connection is the handler's until its promise settles; then the server
 * closes it gracefully, unless the handler has closed or detached it.
 */
export type Handler<C> = (conn: C, info: HandlerInfo) => void | Promise<void>;

/** Serves one datagram. */
export type DatagramHandler<A extends SocketAddr> = (
  datagram: Datagram<A>,
  info: HandlerInfo,
) => void | Promise<void>;

// Servers

/** What is being served. Leaving its block shuts it down. */
export interface Server<A extends SocketAddr = SocketAddr>
  extends AsyncDisposable {
  /** The address that is listened on: the first listener's. */
  readonly addr: A;
  /** The addresses of all listeners. */
  readonly addrs: readonly A[];
  /** How many connections are being served. */
  readonly connections: number;
  /** How many connections were closed at once, because there were too many. */
  readonly refused: number;
  /** How many connections the server's `allow` and `deny` have turned away, without a handler. */
  readonly denied: number;
  /** Resolves when nothing is listened on and no connection is left. It never rejects. */
  readonly finished: Promise<void>;
  /**
   * Stops accepting, lets handlers end, and closes what is left after
   * `drainTimeout`. More than one call does no harm.
   *
   * @returns {@linkcode Server.finished}.
   */
  shutdown(): Promise<void>;
}

/** What is being served on a datagram socket. Leaving its block shuts it down. */
export interface DatagramServer<A extends SocketAddr = SocketAddr>
  extends AsyncDisposable {
  /** The socket's address. */
  readonly addr: A;
  /** How many handlers are at work. */
  readonly handlers: number;
  /** How many datagrams were dropped, because too many handlers were at work. */
  readonly dropped: number;
  /** How many datagrams `allow` and `deny` have kept from a handler. */
  readonly denied: number;
  /** Resolves when the socket is closed and no handler is at work. It never rejects. */
  readonly finished: Promise<void>;
  /**
   * Receives no more, lets handlers end, which may still send, and closes the socket when they have, or
   * after `drainTimeout`. More than one call does no harm.
   *
   * @returns {@linkcode DatagramServer.finished}.
   */
  shutdown(): Promise<void>;
}

// Streams

/** A connection at work. */
interface ConnWork<C> extends Work {
  readonly conn: C;
  readonly since: number;
  /** How many bytes had gone over it, and when that was seen to have changed. */
  bytes: number;
  active: number;
}

/** How often connections are looked at: often enough for the bound, and never all the time. */
const MIN_SWEEP = 5;
const MAX_SWEEP = 1000;

/**
 * Serves the connections of one listener, or of several.
 *
 * A handler that throws ends its connection only; `onError` is told. When the system is out of
 * descriptors, accepting pauses and goes on.
 *
 * @param listeners The listener or listeners, which belong to the server from now on.
 * @param handler Called for each connection.
 * @param options The limits, and the end.
 * @returns The server; it is running.
 * @throws {TypeError | RangeError} If an argument is wrong; nothing is accepted.
 *
 * @example One line for each client, and an end
 * ```ts
 * import { BufferedReader, writeLine } from "@berkeley/sockets/framing";
 * import { serve } from "@berkeley/sockets/serve";
 * import { connectTcp, listenTcp } from "@berkeley/sockets/tcp";
 * import { assertEquals } from "@std/assert";
 *
 * const listener = await listenTcp({ hostname: "127.0.0.1" });
 * const server = serve(
 *   listener,
 *   (conn) => writeLine(conn, "welcome"),
 *   { maxConnections: 100, maxLifetime: 60_000 },
 * );
 *
 * {
 *   using conn = await connectTcp(server.addr);
 *   assertEquals(await new BufferedReader(conn).readLine(), "welcome");
 * }
 * await server.shutdown();
 * assertEquals(server.connections, 0);
 * ```
 */
export function serve<C extends StreamConn, A extends SocketAddr>(
  listeners: StreamListener<C, A> | readonly StreamListener<C, A>[],
  handler: Handler<C>,
  options: ServeOptions<C> = {},
): Server<A> {
  const list = Array.isArray(listeners)
    ? listeners as readonly StreamListener<C, A>[]
    : [listeners as StreamListener<C, A>];
  if (list.length === 0) {
    throw new TypeError("Invalid listeners: expected at least one, got none");
  }
  for (const listener of list) {
    if (typeof listener?.accept !== "function") {
      throw new TypeError(
        `Invalid listener: expected an object with accept(), got ${
          show(listener)
        }`,
      );
    }
  }
  checkHandler(handler);
  checkOptions(options, "serve");
  const { maxConnections = Infinity, whenFull = "wait" } = options;
  checkCount(maxConnections, "maxConnections");
  if (whenFull !== "wait" && whenFull !== "refuse") {
    throw new TypeError(
      `Invalid whenFull: expected "wait" or "refuse", got ${show(whenFull)}`,
    );
  }
  checkTimeout(options.idleTimeout);
  checkTimeout(options.maxLifetime);
  checkServer(options);
  return new StreamServer(list, handler, options);
}

class StreamServer<C extends StreamConn, A extends SocketAddr>
  extends Base<ConnWork<C>>
  implements Server<A> {
  readonly addrs: readonly A[];
  readonly #listeners: readonly StreamListener<C, A>[];
  readonly #handler: Handler<C>;
  readonly #max: number;
  readonly #refuses: boolean;
  readonly #idleTimeout: number;
  readonly #maxLifetime: number;
  readonly #graceful: number;
  readonly #onError: (error: unknown, conn?: C) => void;
  #accepting: number;
  #refused = 0;
  /** Those who wait until a connection ends. */
  #slots: (() => void)[] = [];
  #sweeper: ReturnType<typeof setInterval> | undefined;

  constructor(
    listeners: readonly StreamListener<C, A>[],
    handler: Handler<C>,
    options: ServeOptions<C>,
  ) {
    const addrs = Object.freeze(listeners.map(({ addr }) => addr));
    super(options, addrs);
    this.addrs = addrs;
    this.#listeners = listeners;
    this.#handler = handler;
    this.#max = options.maxConnections ?? Infinity;
    this.#refuses = options.whenFull === "refuse";
    this.#idleTimeout = options.idleTimeout ?? Infinity;
    this.#maxLifetime = options.maxLifetime ?? Infinity;
    this.#graceful = options.drainTimeout ?? DRAIN_TIMEOUT;
    this.#onError = options.onError ?? ((error) => console.error(error));
    this.#accepting = listeners.length;
    for (const listener of listeners) this.#acceptAll(listener);
  }

  get addr(): A {
    return this.addrs[0]!;
  }

  get connections(): number {
    return this.works.size;
  }

  get refused(): number {
    return this.#refused;
  }

  protected override get isStopped(): boolean {
    return this.#accepting === 0;
  }

  async #acceptAll(listener: StreamListener<C, A>): Promise<void> {
    try {
      for await (const conn of listener) {
        if (!this.admits(conn.remoteAddr)) {
          conn.close();
          continue;
        }
        if (this.#refuses && this.works.size >= this.#max) {
          this.#refused++;
          conn.close();
          continue;
        }
        // Another listener may have taken the last place meanwhile.
        await this.#place();
        this.#serveOne(conn);
        await this.#place();
      }
    } catch (error) {
      tell(this.#onError, error);
    }
    listener.close();
    this.#accepting--;
    if (this.#accepting === 0) this.shutdown();
    this.check();
  }

  /** Waits until a connection more can be served; those that were accepted already are, in any case. */
  async #place(): Promise<void> {
    if (this.#refuses) return;
    while (this.works.size >= this.#max && !this.draining.signal.aborted) {
      await new Promise<void>((resolve) => this.#slots.push(resolve));
    }
  }

  async #serveOne(conn: C): Promise<void> {
    const now = performance.now();
    const work: ConnWork<C> = {
      conn,
      controller: new AbortController(),
      since: now,
      bytes: 0,
      active: now,
    };
    this.works.add(work);
    this.#updateSweeper();
    const { signal } = work.controller;
    try {
      await this.#handler(conn, { signal, draining: this.draining.signal });
      await conn.closeGracefully({ timeout: this.#graceful });
    } catch (error) {
      // Closed from outside, it could not but fail.
      if (!signal.aborted) tell(this.#onError, error, conn);
    }
    conn.close();
    this.#leave(work);
  }

  /** A connection is gone: there is room for another. */
  #leave(work: ConnWork<C>): void {
    if (!this.works.delete(work)) return;
    this.#updateSweeper();
    this.#slots.shift()?.();
    this.check();
  }

  protected override stop(): void {
    for (const listener of this.#listeners) listener.close();
    for (const resolve of this.#slots.splice(0)) resolve();
  }

  protected override end(work: ConnWork<C>, reason: unknown): void {
    work.controller.abort(reason);
    work.conn.close();
    // A handler that hears nothing of it cannot hold the server.
    this.#leave(work);
  }

  protected override async release(): Promise<void> {
    for (const listener of this.#listeners) {
      await listener[Symbol.asyncDispose]();
    }
  }

  /** One timer looks at all connections, while there are any. */
  #updateSweeper(): void {
    const bound = Math.min(this.#idleTimeout, this.#maxLifetime);
    if (bound === Infinity) return;
    if (this.works.size === 0) {
      clearInterval(this.#sweeper);
      this.#sweeper = undefined;
    } else if (this.#sweeper === undefined) {
      const pause = Math.max(MIN_SWEEP, Math.min(bound / 4, MAX_SWEEP));
      this.#sweeper = setInterval(() => this.#sweep(), pause);
      Deno.unrefTimer(this.#sweeper);
    }
  }

  #sweep(): void {
    const now = performance.now();
    for (const work of this.works) {
      const bytes = work.conn.bytesRead + work.conn.bytesWritten;
      if (bytes !== work.bytes) {
        work.bytes = bytes;
        work.active = now;
      }
      if (now - work.active >= this.#idleTimeout) {
        this.end(work, timedOut("Idle connection", this.#idleTimeout));
      } else if (now - work.since >= this.#maxLifetime) {
        this.end(work, timedOut("Connection", this.#maxLifetime));
      }
    }
  }
}

// Datagrams

/**
 * Serves the datagrams of a socket, each by a handler of its own; they may be at work side by side. An
 * answer is a `send` on the socket.
 *
 * @param socket The socket, which belongs to the server from now on.
 * @param handler Called for each datagram.
 * @param options The bound, and the end.
 * @returns The server; it is running.
 * @throws {TypeError | RangeError} If an argument is wrong; nothing is received.
 *
 * @example Answers in capitals
 * ```ts
 * import { serveDatagrams } from "@berkeley/sockets/serve";
 * import { bindUdp, connectUdp } from "@berkeley/sockets/udp";
 * import { assertEquals } from "@std/assert";
 *
 * const socket = await bindUdp({ hostname: "127.0.0.1" });
 * await using server = serveDatagrams(socket, async ({ data, addr }) => {
 *   const text = new TextDecoder().decode(data).toUpperCase();
 *   await socket.send(new TextEncoder().encode(text), addr);
 * });
 *
 * await using client = await connectUdp(server.addr);
 * await client.send(new TextEncoder().encode("hello"));
 * const { data } = await client.receive();
 * assertEquals(new TextDecoder().decode(data), "HELLO");
 * ```
 */
export function serveDatagrams<A extends SocketAddr, D>(
  socket: DatagramSocket<A, D>,
  handler: DatagramHandler<A>,
  options: ServeDatagramsOptions<A> = {},
): DatagramServer<A> {
  if (typeof socket?.receive !== "function") {
    throw new TypeError(
      `Invalid socket: expected an object with receive(), got ${show(socket)}`,
    );
  }
  checkHandler(handler);
  checkOptions(options, "serveDatagrams");
  checkCount(options.maxHandlers ?? 1, "maxHandlers");
  checkServer(options);
  return new SocketServer(socket, handler, options);
}

class SocketServer<A extends SocketAddr, D> extends Base<Work>
  implements DatagramServer<A> {
  readonly addr: A;
  readonly #socket: DatagramSocket<A, D>;
  readonly #handler: DatagramHandler<A>;
  readonly #max: number;
  readonly #onError: (error: unknown, datagram?: Datagram<A>) => void;
  readonly #receiving = new AbortController();
  #dropped = 0;
  #isStopped = false;

  constructor(
    socket: DatagramSocket<A, D>,
    handler: DatagramHandler<A>,
    options: ServeDatagramsOptions<A>,
  ) {
    super(options, [socket.addr]);
    this.#socket = socket;
    this.addr = socket.addr;
    this.#handler = handler;
    this.#max = options.maxHandlers ?? 1000;
    this.#onError = options.onError ?? ((error) => console.error(error));
    this.#receiveAll();
  }

  get handlers(): number {
    return this.works.size;
  }

  get dropped(): number {
    return this.#dropped;
  }

  protected override get isStopped(): boolean {
    return this.#isStopped;
  }

  async #receiveAll(): Promise<void> {
    const { signal } = this.#receiving;
    try {
      while (!signal.aborted) {
        const datagram = await this.#socket.receive({ signal });
        if (!this.admits(datagram.addr)) continue;
        if (this.works.size >= this.#max) this.#dropped++;
        else this.#serveOne(datagram);
      }
    } catch (error) {
      // A socket that is closed from outside is an end like any other.
      if (!signal.aborted && !isClosedError(error)) tell(this.#onError, error);
    }
    this.#isStopped = true;
    this.shutdown();
    this.check();
  }

  async #serveOne(datagram: Datagram<A>): Promise<void> {
    const work: Work = { controller: new AbortController() };
    this.works.add(work);
    const { signal } = work.controller;
    try {
      await this.#handler(datagram, { signal, draining: this.draining.signal });
    } catch (error) {
      if (!signal.aborted) tell(this.#onError, error, datagram);
    }
    this.works.delete(work);
    this.check();
  }

  protected override stop(): void {
    this.#receiving.abort();
  }

  protected override end(work: Work, reason: unknown): void {
    work.controller.abort(reason);
    // A handler that hears nothing of it cannot hold the server.
    this.works.delete(work);
    this.check();
  }

  protected override async release(): Promise<void> {
    await this.#socket[Symbol.asyncDispose]();
  }
}
