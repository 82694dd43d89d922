/**
 * The interfaces that the rest of the package is written against: what can be read, written and
 * accepted, and what addresses look like. They are structural: a `Deno.Conn`, a `Deno.FsFile` and
 * `Deno.stdin` are {@linkcode Reader}s as they are.
 *
 * @example A function for every kind of stream
 * ```ts
 * import { readAll, writeAll } from "@berkeley/sockets/io";
 * import { pair } from "@berkeley/sockets/pair";
 * import type { Reader, Writer } from "@berkeley/sockets/types";
 * import { assertEquals } from "@std/assert";
 *
 * async function shout(from: Reader, to: Writer): Promise<void> {
 *   const text = new TextDecoder().decode(await readAll(from));
 *   await writeAll(to, new TextEncoder().encode(text.toUpperCase()));
 * }
 *
 * const [a, b] = pair();
 * await a.writeAll(new TextEncoder().encode("hello"));
 * await a.closeWrite();
 * await shout(b, b);
 * b.close();
 * assertEquals(new TextDecoder().decode(await readAll(a)), "HELLO");
 * a.close();
 * ```
 *
 * @module
 */

/** What a wait can be given besides its data. */
export interface WaitOptions {
  /**
   * Ends the wait with `signal.reason`. Aborted before the call: nothing is done at all. Listeners
   * are removed when the wait ends.
   */
  signal?: AbortSignal | undefined;
}

/** Something that bytes can be read from. */
export interface Reader {
  /**
   * Reads at most `p.length` bytes into `p`.
   *
   * @param p Where the bytes go.
   * @returns How many bytes came, or `null` at the end of the stream; 0 only for an empty `p`.
   */
  read(p: Uint8Array): Promise<number | null>;
}

/** Something that bytes can be written to. */
export interface Writer {
  /**
   * Writes bytes of `p`, from its start, and perhaps not all of them.
   *
   * @param p The bytes.
   * @returns How many bytes were written.
   */
  write(p: Uint8Array): Promise<number>;
}

/** A writer that knows how to write everything, without others writing in between. */
export interface WholeWriter extends Writer {
  /**
   * Writes all bytes.
   *
   * @param data The bytes, or several pieces of them in their order.
   * @param options A signal.
   */
  writeAll(
    data: Uint8Array | readonly Uint8Array[],
    options?: WaitOptions,
  ): Promise<void>;
}

/** Something whose sending half can be closed while the other half goes on. */
export interface HalfCloser {
  /** Says "no more bytes from here" to the other side. */
  closeWrite(): Promise<void>;
}

/**
 * The key under which a {@linkcode KeepingReader} says that it is one.
 *
 * @example Asking a reader
 * ```ts
 * import { pair } from "@berkeley/sockets/pair";
 * import { keepsReads } from "@berkeley/sockets/types";
 * import { assert } from "@std/assert";
 *
 * const [a, b] = pair();
 * assert(a[keepsReads]);
 * a.close();
 * b.close();
 * ```
 */
export const keepsReads: unique symbol = Symbol.for(
  "@berkeley/sockets.keepsReads",
) as never;

/**
 * A reader whose waits can be abandoned without loss: bytes that come after an abort go to the next
 * read. Every connection of this package is one; a `Deno.Conn` is not.
 */
export interface KeepingReader extends Reader {
  /** Always `true`. */
  readonly [keepsReads]: true;
  /**
   * Reads at most `p.length` bytes into `p`.
   *
   * @param p Where the bytes go.
   * @param options A signal that ends the wait.
   * @returns How many bytes came, or `null` at the end of the stream; 0 only for an empty `p`.
   */
  read(p: Uint8Array, options?: WaitOptions): Promise<number | null>;
}

/** The address of a TCP socket. Frozen in results of this package. */
export interface TcpAddr {
  /** The transport. */
  readonly transport: "tcp";
  /** An IPv4 or IPv6 address, an IPv6 zone behind `%`, or a name where one was asked for. */
  readonly hostname: string;
  /** The port, 0 to 65535. */
  readonly port: number;
}

/** The address of a UDP socket. */
export interface UdpAddr {
  /** The transport. */
  readonly transport: "udp";
  /** An IPv4 or IPv6 address, an IPv6 zone behind `%`, or a name where one was asked for. */
  readonly hostname: string;
  /** The port, 0 to 65535. */
  readonly port: number;
}

/** The address of a TLS server. */
export interface TlsAddr {
  /** The transport. */
  readonly transport: "tls";
  /** A name, or an IPv4 or IPv6 address. */
  readonly hostname: string;
  /** The port, 0 to 65535. */
  readonly port: number;
}

/** The address of a Unix stream socket. Frozen in results of this package. */
export interface UnixAddr {
  /** The transport. */
  readonly transport: "unix";
  /** The path; `"\0name"` for an abstract name; `null` for a socket without a name. */
  readonly path: string | null;
}

/** The address of a Unix datagram socket. */
export interface UnixDatagramAddr {
  /** The transport, under Deno's name for it: the socket's type is SOCK_DGRAM. */
  readonly transport: "unixpacket";
  /** The path; `"\0name"` for an abstract name; `null` for a socket without a name. */
  readonly path: string | null;
}

/** The address of any socket. */
export type SocketAddr =
  | TcpAddr
  | UdpAddr
  | TlsAddr
  | UnixAddr
  | UnixDatagramAddr;

/** How {@linkcode StreamConn.closeGracefully} ends. */
export interface CloseGracefullyOptions {
  /** The bound of the whole call, in milliseconds above 0; 10,000 by default. */
  timeout?: number | undefined;
}

/**
 * A connected byte stream: what TCP, Unix and in-memory connections have in common. It has every
 * member of `Deno.Conn`.
 *
 * Reads and writes without a timeout and a signal are one call of the runtime, and its errors come
 * through untouched. After the peer's reset, every later read and write says so again.
 */
export interface StreamConn<A extends SocketAddr = SocketAddr>
  extends KeepingReader, WholeWriter, HalfCloser, Disposable {
  /** Our end's address. */
  readonly localAddr: A;
  /** The peer's address. */
  readonly remoteAddr: A;
  /**
   * How long one call may wait, in milliseconds above 0, or `undefined` (the default) for ever. It
   * bounds each `read`, `write`, `writeAll` and `closeWrite` that starts after it was set, as a
   * whole; operations that wait already are left alone. The wait ends with a `TimeoutError`.
   *
   * @throws {RangeError} If set to 0, a negative number or NaN.
   * @throws {TypeError} If set to something that is not a number.
   */
  timeout: number | undefined;
  /** How many bytes have come from the peer. */
  readonly bytesRead: number;
  /** How many bytes the system has taken for the peer. */
  readonly bytesWritten: number;
  /**
   * The incoming bytes as a stream (a byte stream, chunks of at most 64 KiB, nothing read ahead). A
   * {@linkcode StreamConn.timeout} bounds each of its reads; one that runs out errors the stream for
   * good, and `read()` still gets every byte. Its end leaves the connection open for writing. Cancelling it, also by `break` in `for await`,
   * discards what comes from then on, as `shutdown(fd, SHUT_RD)` does, and leaves writing alone.
   */
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  /**
   * The outgoing bytes as a stream; each chunk is written whole. Closing it is
   * {@linkcode StreamConn.closeWrite}; aborting it closes the connection at once, because its position is
   * unknown then. (A `pipeTo()` that is aborted waits for the write under way before it aborts the
   * stream: give the connection a timeout where the peer may not read.)
   */
  readonly writable: WritableStream<Uint8Array<ArrayBufferLike>>;
  /**
   * Reads at most `p.length` bytes into `p`.
   *
   * Reads that wait are served in their order. An abort or timeout loses nothing: the read of the
   * system goes on into a buffer of the connection's own, and what comes is the next caller's. A
   * `close()` by someone else rejects it with a closed error (`isClosedError`).
   *
   * @param p Where the bytes go; an empty one resolves to 0 at once.
   * @param options A signal that ends the wait.
   * @returns How many bytes came, or `null` at the end of the stream.
   * @throws {TypeError} If `p` is not a Uint8Array.
   * @throws {DOMException} Named `"TimeoutError"`, if {@linkcode StreamConn.timeout} ran out.
   * @throws {Deno.errors.ConnectionReset} If the peer reset the connection.
   * @throws {Deno.errors.BadResource} If the connection is closed.
   */
  read(p: Uint8Array, options?: WaitOptions): Promise<number | null>;
  /**
   * Writes bytes of `p`, perhaps not all of them: see {@linkcode StreamConn.writeAll}.
   *
   * An abort or timeout in mid-write leaves the connection broken for writing, because it is unknown
   * how much has been sent: later writes reject, and `p` stays in use until `close()`. Close the
   * connection then: a write that was abandoned keeps the process alive. A `close()` by someone else
   * rejects the write with a closed error.
   *
   * @param p The bytes.
   * @param options A signal that ends the wait.
   * @returns How many bytes the system took.
   * @throws {TypeError} If `p` is not a Uint8Array.
   * @throws {DOMException} Named `"TimeoutError"`, if {@linkcode StreamConn.timeout} ran out.
   * @throws {Deno.errors.BrokenPipe} If the peer is gone, or the sending half is closed or broken.
   * @throws {Deno.errors.ConnectionReset} If the peer reset the connection.
   * @throws {Deno.errors.BadResource} If the connection is closed.
   */
  write(p: Uint8Array, options?: WaitOptions): Promise<number>;
  /**
   * Writes all bytes, as Python's `sendall` does. Callers take turns: what one call writes is never
   * mixed with what another does. Several small pieces go out as one.
   *
   * An abort or timeout before the first byte leaves the connection as it was; in mid-write it leaves
   * it broken for writing, as described at {@linkcode StreamConn.write}. A `close()` by someone else
   * rejects it with a closed error.
   *
   * @param data The bytes, or several pieces of them in their order. They must not change meanwhile.
   * @param options A signal that ends the wait.
   * @throws {TypeError} If `data` is neither a Uint8Array nor an array of them.
   * @throws {DOMException} Named `"TimeoutError"`, if {@linkcode StreamConn.timeout} ran out.
   * @throws {Deno.errors.BrokenPipe} If the peer is gone, or the sending half is closed or broken.
   * @throws {Deno.errors.ConnectionReset} If the peer reset the connection.
   * @throws {Deno.errors.BadResource} If the connection is closed.
   */
  writeAll(
    data: Uint8Array | readonly Uint8Array[],
    options?: WaitOptions,
  ): Promise<void>;
  /**
   * Closes the sending half, after the writes before it; reading goes on. The peer reads the end of
   * the stream. More than one call does no harm.
   *
   * @throws {Deno.errors.BrokenPipe} If a write was abandoned in its middle.
   * @throws {Deno.errors.BadResource} If the connection is closed.
   */
  closeWrite(): Promise<void>;
  /**
   * Closes the connection. Whoever waits on it gets a closed error; more than one call does no harm.
   * Closing while unread bytes are there makes the kernel reset the connection, which can cost the
   * peer the last bytes that were sent: see {@linkcode StreamConn.closeGracefully}.
   */
  close(): void;
  /**
   * Closes the connection so that the last bytes arrive: waits for writes, closes the sending half,
   * discards what still comes until the peer closes too or the bound is reached, then closes.
   *
   * @param options The bound.
   * @returns `true` if the peer closed its half in time; `false` if the bound was reached or the
   * connection was broken: what the peer got is unknown then.
   * @throws {RangeError} If the timeout is 0, negative or NaN.
   */
  closeGracefully(options?: CloseGracefullyOptions): Promise<boolean>;
  /**
   * Gives the runtime's connection away. This handle counts as closed from then on.
   *
   * @returns The `Deno.Conn` below.
   * @throws {Deno.errors.Busy} While a read or write waits, or bytes are kept for the next read.
   * @throws {Deno.errors.NotSupported} For an end of `pair()`, which has none.
   * @throws {Deno.errors.BadResource} If the connection is closed.
   */
  detach(): Deno.Conn;
  /** Lets waits on this connection keep the process alive (the default). */
  ref(): void;
  /** Lets the process end while something waits on this connection. Waiting writes keep it alive. */
  unref(): void;
}

/**
 * A socket that accepts connections. It has every member of `Deno.Listener`.
 *
 * A peer cannot end it: connections that were reset before they were accepted are skipped.
 */
export interface StreamListener<
  C extends StreamConn = StreamConn,
  A extends SocketAddr = SocketAddr,
> extends AsyncIterable<C>, Disposable, AsyncDisposable {
  /** The address that is listened on, with the real port where port 0 was asked for. */
  readonly addr: A;
  /**
   * How long one {@linkcode StreamListener.accept} may wait, in milliseconds above 0, or `undefined`
   * (the default) for ever. Iteration is not bounded by it.
   *
   * @throws {RangeError} If set to 0, a negative number or NaN.
   * @throws {TypeError} If set to something that is not a number.
   */
  timeout: number | undefined;
  /**
   * Waits for the next connection. Callers are served in their order. An abort or timeout loses
   * nothing: a connection that comes later is the next caller's. A `close()` by someone else rejects
   * it with a closed error.
   *
   * @param options A signal that ends the wait.
   * @returns The connection; closing it is the caller's.
   * @throws {DOMException} Named `"TimeoutError"`, if {@linkcode StreamListener.timeout} ran out.
   * @throws {Error} With `code` EMFILE, ENFILE, ENOBUFS or ENOMEM, if the system is out of
   * descriptors or memory; the listener stays usable.
   * @throws {Deno.errors.BadResource} If the listener is closed.
   */
  accept(options?: WaitOptions): Promise<C>;
  /**
   * Iterates over the connections until the listener is closed. When the system is out of
   * descriptors it waits, 5 ms at first and 1 s at most, and goes on. Leaving the loop leaves the
   * listener open.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<C>;
  /**
   * Stops listening. Whoever waits gets a closed error; more than one call does no harm. The port may
   * stay taken for a moment if an accept was waiting: `await using` or
   * `await listener[Symbol.asyncDispose]()` returns when it is free.
   */
  close(): void;
  /** Lets a waiting accept keep the process alive (the default). */
  ref(): void;
  /** Lets the process end while an accept waits. */
  unref(): void;
}

/** A datagram that has come. */
export interface Datagram<A extends SocketAddr = SocketAddr> {
  /** Its bytes, in a buffer of their own; empty for an empty datagram. */
  readonly data: Uint8Array<ArrayBuffer>;
  /** Who sent it. */
  readonly addr: A;
  /** Whether its end was cut off, because it was larger than the socket's largest datagram. */
  readonly truncated: boolean;
}

/** A datagram whose bytes are in the caller's buffer. */
export interface ReceivedInto<A extends SocketAddr = SocketAddr> {
  /** How many bytes of the buffer it fills; 0 for an empty datagram. */
  readonly bytes: number;
  /** Who sent it. */
  readonly addr: A;
  /** Whether its end was cut off, because it was larger than the buffer or the socket's largest datagram. */
  readonly truncated: boolean;
}

/**
 * A socket that sends and receives datagrams: what UDP and Unix datagram sockets have in common.
 *
 * Each datagram arrives whole or not at all, and what the system does with those that nobody receives
 * in time depends on the transport: UDP drops them, a Unix socket makes the sender wait.
 *
 * A receive and a send without a timeout and a signal are one call of the runtime, where it has a socket
 * of the kind that can do both at once; its errors come through untouched then.
 */
export interface DatagramSocket<
  A extends SocketAddr = SocketAddr,
  D = A,
> extends AsyncIterable<Datagram<A>>, Disposable, AsyncDisposable {
  /** The socket's own address, with the real port where port 0 was asked for. */
  readonly addr: A;
  /**
   * How long one call may wait, in milliseconds above 0, or `undefined` (the default) for ever. It
   * bounds each `receive`, `receiveInto` and `send` that starts after it was set; iteration is not
   * bounded by it. The wait ends with a `TimeoutError`.
   *
   * @throws {RangeError} If set to 0, a negative number or NaN.
   * @throws {TypeError} If set to something that is not a number.
   */
  timeout: number | undefined;
  /** How many datagrams have been received by callers. */
  readonly datagramsReceived: number;
  /** How many datagrams the system has taken. */
  readonly datagramsSent: number;
  /** How many bytes have been received by callers, without what was cut off. */
  readonly bytesReceived: number;
  /** How many bytes the system has taken. */
  readonly bytesSent: number;
  /**
   * Receives a datagram. Callers are served in their order. An abort or timeout loses nothing: a
   * datagram that comes later is the next caller's. A `close()` by someone else rejects it with a
   * closed error (`isClosedError`).
   *
   * @param options A signal that ends the wait.
   * @returns The datagram, its bytes copied out.
   * @throws {DOMException} Named `"TimeoutError"`, if {@linkcode DatagramSocket.timeout} ran out.
   * @throws {Deno.errors.BadResource} If the socket is closed.
   */
  receive(options?: WaitOptions): Promise<Datagram<A>>;
  /**
   * Receives a datagram into a buffer. It waits and ends as {@linkcode DatagramSocket.receive} does;
   * a wait that was abandoned leaves the buffer alone.
   *
   * @param buffer Where the bytes go. What does not fit is cut off, and the result says so; an empty
   * one takes a datagram nevertheless. One that can hold the largest datagram is filled without a copy,
   * unless the wait can be abandoned.
   * @param options A signal that ends the wait.
   * @returns How many bytes came, and from whom.
   * @throws {TypeError} If `buffer` is not a Uint8Array.
   * @throws {DOMException} Named `"TimeoutError"`, if {@linkcode DatagramSocket.timeout} ran out.
   * @throws {Deno.errors.BadResource} If the socket is closed.
   */
  receiveInto(
    buffer: Uint8Array,
    options?: WaitOptions,
  ): Promise<ReceivedInto<A>>;
  /**
   * Sends a datagram: whole or not at all. That the system took it does not say that it arrives.
   *
   * After an abort or timeout it is unknown whether it went out, and `data` stays in use until the
   * system has taken it or the socket is closed. A `close()` by someone else rejects it with a closed
   * error.
   *
   * @param data The bytes; none is a datagram, too. They must not change meanwhile.
   * @param addr Where to.
   * @param options A signal that ends the wait.
   * @returns How many bytes were sent: all.
   * @throws {TypeError} If `data` is not a Uint8Array, or `addr` no address.
   * @throws {Error} With `code` `"EMSGSIZE"`, if it is larger than the system takes.
   * @throws {DOMException} Named `"TimeoutError"`, if {@linkcode DatagramSocket.timeout} ran out.
   * @throws {Deno.errors.NotCapable} If the permission for the destination is missing.
   * @throws {Deno.errors.BadResource} If the socket is closed.
   */
  send(data: Uint8Array, addr: D, options?: WaitOptions): Promise<number>;
  /**
   * Iterates over the datagrams until the socket is closed. Leaving the loop leaves the socket open,
   * and loses nothing.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Datagram<A>>;
  /**
   * Closes the socket. Whoever waits gets a closed error; more than one call does no harm. The port or
   * path may stay taken for a moment if a receive was waiting: `await using` or
   * `await socket[Symbol.asyncDispose]()` returns when it is free.
   */
  close(): void;
  /** Lets a waiting receive keep the process alive (the default). */
  ref(): void;
  /** Lets the process end while a receive waits. */
  unref(): void;
}
