/** Stream sockets of the BSD face over the rooms of this package. */

import type { StreamConn } from "./types.ts";
import { isTimeoutError } from "./errors.ts";
import { interrupted, sleep } from "./_wait.ts";
import {
  keeping,
  kept,
  type Readiness,
  readiness,
  receiving,
  type Watchable,
} from "./_readiness.ts";
import type { TcpConn } from "./tcp.ts";
import { connectUnix } from "./unix.ts";
import {
  type Address,
  AF_UNIX,
  MSG_DONTWAIT,
  MSG_EOR,
  MSG_PEEK,
  MSG_WAITALL,
  SHUT_RD,
  SHUT_WR,
} from "./_constants.ts";
import type {
  Detached,
  DriverSocket,
  OptionValue,
  Patience,
} from "./_driver.ts";
import { faceError, socketError } from "./_socket_error.ts";
import { toAddress, toEndpoint, unnamed } from "./_sockaddr.ts";
import {
  bindPath,
  bindPort,
  type Bound,
  connectPort,
} from "./_deno_opening.ts";
import {
  always,
  Gate,
  never,
  patiently,
  sendAhead,
  soon,
  Switch,
  timeoutError,
  untilReady,
} from "./_waiting.ts";
import {
  checkFlags,
  ELSEWHERE,
  noDescriptor,
  nothingYet,
  StreamOptions,
} from "./_deno_options.ts";

/** How many bytes are read at a time, or sent without a wait, however many are asked for. */
const CHUNK = 65536;

/** How long `close()` leaves the connection open for what was taken and is not out yet, in milliseconds. */
const LINGER = 10_000;

/** A connection that shows what it has kept, and reads into new memory. */
type Conn = StreamConn & Watchable & {
  readonly [kept]: Uint8Array;
  [receiving](size: number): Promise<Uint8Array<ArrayBuffer>>;
  [keeping](size: number): void;
};

/** A TCP or Unix stream socket. */
export class DenoStream implements DriverSocket {
  readonly #family: number;
  readonly #options: StreamOptions;
  #bound: Bound | undefined;
  #isListening = false;
  #conn: Conn | undefined;
  #connecting: AbortController | undefined;
  /** The error of a connect or a send that nobody waited for. */
  #error: unknown;
  /** Whether what was sent last has gone out, and no connect is under way. */
  readonly #gate = new Gate(true);
  /** What was taken and is being sent. */
  #sending: Promise<unknown> | undefined;
  readonly #reading = new Switch(always);
  #isShut = false;
  #isClosed = false;
  #closing: Promise<void> | undefined;

  constructor(family: number, options = new StreamOptions(family)) {
    this.#family = family;
    this.#options = options;
  }

  /** A socket for a connection that is there. */
  static of(family: number, conn: StreamConn, options?: StreamOptions) {
    const socket = new DenoStream(family, options);
    socket.#take(conn);
    return socket;
  }

  /** Is connected from now on. */
  #take(conn: StreamConn): void {
    this.#conn = conn as Conn;
    this.#reading.set(this.#conn[readiness]);
  }

  // Listening

  bind(address: Address): void {
    if (
      this.#bound !== undefined || this.#conn !== undefined ||
      this.#connecting !== undefined
    ) {
      throw socketError("EINVAL", "bind", "the socket has an address already");
    }
    this.#bound = this.#family === AF_UNIX
      ? bindPath(address as string)
      : bindPort(
        this.#family,
        toEndpoint(this.#family, address),
        this.#options,
      );
  }

  listen(backlog: number): void {
    if (this.#conn !== undefined || this.#connecting !== undefined) {
      throw socketError("EINVAL", "listen", "the socket is connected");
    }
    // As the system does it: an address of its choice.
    if (this.#bound === undefined) {
      if (this.#family === AF_UNIX) throw socketError("EINVAL", "listen");
      this.bind(["", 0]);
    }
    const bound = this.#bound!;
    // A bound socket listens already, with the runtime's own number; only the first number counts.
    if (!this.#isListening && backlog !== DEFAULT_BACKLOG) {
      bound.relisten?.(backlog);
    }
    this.#isListening = true;
    this.#options.isListening = true;
    this.#reading.set(bound.listener[readiness]);
  }

  async accept(patience: Patience): Promise<[DriverSocket, Address]> {
    const listener = this.#bound?.listener;
    if (listener === undefined || !this.#isListening) {
      throw socketError("EINVAL", "accept", "the socket does not listen");
    }
    const conn = await patiently(
      listener,
      listener[readiness],
      patience,
      "accept",
      () => listener.accept(),
    );
    return [
      DenoStream.of(this.#family, conn, this.#options.inherit()),
      toAddress(this.#family, conn.remoteAddr),
    ];
  }

  // Connecting

  async connect(address: Address, patience: Patience): Promise<void> {
    if (this.#conn !== undefined) throw socketError("EISCONN", "connect");
    if (this.#connecting !== undefined) {
      throw socketError("EALREADY", "connect");
    }
    if (this.#bound !== undefined) {
      throw socketError(
        "EOPNOTSUPP",
        "connect",
        `Deno cannot connect a bound stream socket; ${ELSEWHERE}`,
      );
    }
    // That of a connect before it, which did not wait.
    this.#tellError();
    const controller = this.#connecting = new AbortController();
    this.#reading.set(never);
    this.#gate.set(false);
    const connecting = this.#open(address, patience || undefined, controller);
    // Whoever waits for it finds out how it went.
    connecting.catch((error) => {
      if (patience === 0) this.#error = error;
    }).then(() => this.#gate.set(true));
    if (patience !== 0) return await connecting;
    // On this machine it is often done at once, as it is in the system.
    await soon(() => this.#gate.ready);
    if (this.#conn !== undefined) return;
    throw socketError("EINPROGRESS", "connect");
  }

  async #open(
    address: Address,
    timeout: number | undefined,
    controller: AbortController,
  ): Promise<void> {
    const options = {
      timeout: timeout === Infinity ? undefined : timeout,
      signal: controller.signal,
    };
    try {
      const conn = this.#family === AF_UNIX
        ? await connectUnix({ path: address as string, ...options })
        : await connectPort(
          this.#family,
          toEndpoint(this.#family, address),
          { ...this.#options.settings, ...options },
        );
      // It may have been closed in the very turn in which it was connected.
      if (this.#isClosed) {
        conn.close();
        throw interrupted("Socket");
      }
      this.#options.connected();
      this.#take(conn);
    } catch (error) {
      if (isTimeoutError(error)) throw timeoutError("connect", timeout!);
      throw faceError(error);
    } finally {
      this.#connecting = undefined;
      // What went wrong is the next call's.
      if (this.#conn === undefined) this.#reading.set(always);
    }
  }

  /** The connection, or the error that says why there is none. */
  #connected(call: string): Conn {
    if (this.#conn !== undefined) return this.#conn;
    this.#tellError();
    throw socketError("ENOTCONN", call);
  }

  /** The connection, when a connect that is under way is over. */
  async #whenConnected(call: string, wait: Patience): Promise<Conn> {
    if (this.#connecting !== undefined) {
      await untilReady(this.#gate, wait, call);
    }
    return this.#connected(call);
  }

  /** Tells what has gone wrong during a wait, once. */
  #tellError(): void {
    if (this.#isClosed) throw interrupted("Socket");
    const error = this.#error;
    this.#error = undefined;
    if (error !== undefined) throw error;
  }

  // Receiving

  recv(
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<Uint8Array<ArrayBuffer>> {
    if (
      flags === 0 && patience === null && size > 0 && this.#conn !== undefined
    ) {
      return this.#conn[receiving](Math.min(size, CHUNK));
    }
    return this.#recvSlowly(size, flags, patience);
  }

  async #recvSlowly(
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<Uint8Array<ArrayBuffer>> {
    checkFlags(flags, MSG_PEEK | MSG_WAITALL, "recv");
    if (flags & MSG_PEEK && flags & MSG_WAITALL) {
      throw socketError(
        "EOPNOTSUPP",
        "recv",
        `a look at all that is to come cannot be waited for; ${ELSEWHERE}`,
      );
    }
    const wait = flags & MSG_DONTWAIT ? 0 : patience;
    const conn = await this.#whenConnected("recv", wait);
    if (size === 0) return new Uint8Array(0);
    if (flags & MSG_PEEK) return await this.#peek(conn, size, wait);
    const first = await this.#readPatiently(conn, size, wait);
    if (!(flags & MSG_WAITALL) || first.length === size || first.length === 0) {
      return first;
    }
    return await this.#waitAll(conn, size, first, wait);
  }

  async #peek(
    conn: Conn,
    size: number,
    wait: Patience,
  ): Promise<Uint8Array<ArrayBuffer>> {
    await untilReady(conn[readiness], wait, "recv");
    if (this.#isClosed) throw interrupted("Socket");
    const { length } = conn[kept];
    // The end, or an error: a read says which.
    if (length === 0) return await this.#readPatiently(conn, size, wait);
    if (length < Math.min(size, CHUNK)) {
      // More may have come since.
      conn[keeping](size);
      await soon(() => conn[kept].length >= size);
    }
    // Somebody else may have taken it meanwhile.
    if (conn[kept].length === 0) return await this.#peek(conn, size, wait);
    return new Uint8Array(conn[kept].subarray(0, size));
  }

  #readPatiently(
    conn: Conn,
    size: number,
    wait: Patience,
  ): Promise<Uint8Array<ArrayBuffer>> {
    return patiently(
      conn,
      conn[readiness],
      wait,
      "recv",
      () => conn[receiving](Math.min(size, CHUNK)),
    );
  }

  /** Reads until all is there, or the stream or the time ends: then what there is. */
  async #waitAll(
    conn: Conn,
    size: number,
    first: Uint8Array<ArrayBuffer>,
    wait: Patience,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const pieces = [first];
    let length = first.length;
    const end = wait === null ? Infinity : performance.now() + wait;
    while (length < size) {
      let piece: Uint8Array<ArrayBuffer>;
      try {
        const left = end === Infinity
          ? null
          : Math.max(end - performance.now(), 0);
        piece = await this.#readPatiently(conn, size - length, left);
      } catch {
        // The next call says why. What has come is the caller's.
        break;
      }
      if (piece.length === 0) break;
      pieces.push(piece);
      length += piece.length;
    }
    const all = new Uint8Array(length);
    let at = 0;
    for (const piece of pieces) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }

  async recvfrom(
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<[Uint8Array<ArrayBuffer>, Address]> {
    const data = await this.recv(size, flags, patience);
    return [
      data,
      toAddress(this.#family, this.#connected("recvfrom").remoteAddr),
    ];
  }

  // Sending

  async send(
    data: Uint8Array,
    flags: number,
    patience: Patience,
  ): Promise<number> {
    checkFlags(flags, MSG_EOR, "send");
    const wait = flags & MSG_DONTWAIT ? 0 : patience;
    const conn = await this.#sendable("send", wait);
    // Who waits for room in select() does not want to wait in send().
    if (wait === null && !this.#gate.wasWatched) return await conn.write(data);
    return await this.#sendAhead(conn, data.subarray(0, CHUNK), wait);
  }

  sendall(
    data: Uint8Array,
    flags: number,
    patience: Patience,
  ): Promise<void> {
    if (
      flags === 0 && patience === null && this.#conn !== undefined &&
      this.#error === undefined
    ) {
      return this.#conn.writeAll(data);
    }
    return this.#sendAllSlowly(data, flags, patience);
  }

  async #sendAllSlowly(
    data: Uint8Array,
    flags: number,
    patience: Patience,
  ): Promise<void> {
    checkFlags(flags, MSG_EOR, "sendall");
    const wait = flags & MSG_DONTWAIT ? 0 : patience;
    const conn = await this.#sendable("sendall", wait);
    if (wait === 0) return void await this.#sendAhead(conn, data, wait);
    await patiently(
      conn,
      this.#gate,
      wait,
      "sendall",
      () => conn.writeAll(data),
    );
  }

  /** The connection, if nothing has gone wrong with what was sent before. */
  async #sendable(call: string, wait: Patience): Promise<Conn> {
    const conn = this.#conn ?? await this.#whenConnected(call, wait);
    this.#tellError();
    return conn;
  }

  /** Takes a message whole and writes it by and by. Until it is out the socket is not writable. */
  async #sendAhead(
    conn: Conn,
    data: Uint8Array,
    wait: Patience,
  ): Promise<number> {
    const own = data.slice();
    await sendAhead(
      this.#gate,
      wait,
      () => {
        this.#tellError();
        return this.#sending = conn.writeAll(own);
      },
      (error) => this.#error = error,
    );
    this.#tellError();
    return data.length;
  }

  /** A connection has one peer: the address is left out of account, as Linux does it. */
  sendto(
    data: Uint8Array,
    flags: number,
    _address: Address,
    patience: Patience,
  ): Promise<number> {
    return this.send(data, flags, patience);
  }

  // The end

  async shutdown(how: number): Promise<void> {
    const conn = this.#connected("shutdown");
    if (how !== SHUT_WR && !this.#isShut) {
      this.#isShut = true;
      await conn.readable.cancel();
    }
    if (how === SHUT_RD) return;
    try {
      await conn.closeWrite();
    } catch (error) {
      throw faceError(error);
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#connecting?.abort(interrupted("Socket"));
    this.#bound?.listener.close();
    if (this.#conn !== undefined) this.#closing = this.#closeConn(this.#conn);
    this.#gate.set(true);
    this.#reading.set(always);
  }

  /** What was taken goes out, as the system does it after its close(2), but not for ever. */
  async #closeConn(conn: Conn): Promise<void> {
    // Without anything taken the gate is shut for a moment too: where a connect is just done.
    if (!this.#gate.ready && this.#sending !== undefined) {
      const over = new AbortController();
      const out = this.#sending.catch(() => {}).then(() => over.abort());
      await Promise.race([out, sleep(LINGER, over.signal)]);
    }
    conn.close();
  }

  async closed(): Promise<void> {
    await this.#bound?.listener[Symbol.asyncDispose]();
    await this.#closing;
  }

  detach(): Detached {
    const handle = this.#conn ?? this.#bound?.listener;
    if (handle !== undefined) return handle;
    throw nothingYet();
  }

  fileno(): number {
    throw noDescriptor();
  }

  // What there is to know

  getsockname(): Address {
    const addr = this.#conn?.localAddr ?? this.#bound?.listener.addr;
    if (addr !== undefined) return toAddress(this.#family, addr);
    return unnamed(this.#family);
  }

  getpeername(): Address {
    return toAddress(this.#family, this.#connected("getpeername").remoteAddr);
  }

  setsockopt(level: number, option: number, value: OptionValue): void {
    const state = this.#bound !== undefined
      ? "bound"
      : this.#conn !== undefined
      ? "connected"
      : "new";
    this.#options.set(
      level,
      option,
      value,
      state,
      this.#conn as unknown as TcpConn,
    );
  }

  getsockopt(
    level: number,
    option: number,
    size: number | undefined,
  ): number | Uint8Array<ArrayBuffer> {
    const error = this.#error;
    return this.#options.get(level, option, size, () => {
      this.#error = undefined;
      return error;
    }, this.#bound !== undefined);
  }

  get reading(): Readiness {
    return this.#reading;
  }

  get writing(): Readiness {
    return this.#gate;
  }
}

/** The backlog that the runtime listens with. */
const DEFAULT_BACKLOG = 511;
