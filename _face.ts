/** The BSD face: a socket with the calls of the textbooks, over whichever driver. */

import { errno, errorCode } from "./errors.ts";
import {
  checkBoolean,
  checkInteger,
  checkPatience,
  fill,
  notBytes,
  show,
} from "./_check.ts";
import type { Address, Family } from "./_constants.ts";
import type {
  Detached,
  DriverSocket,
  OptionValue,
  Patience,
} from "./_driver.ts";
import {
  type BinaryFile,
  checkMode,
  makeFile,
  type MakefileOptions,
  type TextFile,
} from "./_makefile.ts";
import { checkAddress } from "./_sockaddr.ts";
import { socketError } from "./_socket_error.ts";

/** What `select` looks at. */
export type Sides = Pick<DriverSocket, "reading" | "writing" | "urgent">;

/** What is below a socket: nobody asks but `select`, and what adds calls of one driver's own. */
const belows = new WeakMap<object, (call: string) => DriverSocket>();

/**
 * What is below a socket.
 *
 * @returns `undefined` if it is no socket of these.
 * @throws {Deno.errors.BadResource} With `code` `"EBADF"`, if it is closed.
 */
export function belowOf(
  socket: object,
  call: string,
): DriverSocket | undefined {
  return belows.get(socket)?.(call);
}

/** The longest queue that `listen()` asks for by default. */
const BACKLOG = 128;

/** No call takes more at once. */
const MOST = 2 ** 31 - 1;

/** A socket, by the names of socket(2) and the calls around it. It is made by `socket()`. */
export class Socket<A extends Address = Address>
  implements Disposable, AsyncDisposable {
  /** The family, `AF_INET`, `AF_INET6` or `AF_UNIX`. */
  readonly family: Family<A>;
  /** The type, such as `SOCK_STREAM`. */
  readonly type: number;
  /** The protocol, or 0 for the type's own. */
  readonly proto: number;
  /** Whose sockets are used: `"deno"`, or `"libc"` for those of the other import. */
  readonly driver: "deno" | "libc";
  #below: DriverSocket | undefined;
  #patience: Patience = null;
  /** How many files of `makefile()` are open: the last one closes the socket, if it is to be closed. */
  #files = 0;
  #isClosed = false;

  /**
   * Sockets are made by `socket()`.
   *
   * @throws {TypeError} If it is called by anybody else.
   */
  constructor(
    below: DriverSocket,
    driver: "deno" | "libc",
    family: Family<A>,
    type: number,
    proto: number,
  ) {
    if (below === undefined) {
      throw new TypeError("Illegal constructor: sockets are made by socket()");
    }
    this.#below = below;
    this.driver = driver;
    this.family = family;
    this.type = type;
    this.proto = proto;
    belows.set(this, (call) => this.#open(call));
  }

  /** The driver's socket, or what is said of a closed one. */
  #open(call: string): DriverSocket {
    if (this.#below !== undefined && !this.#isClosed) return this.#below;
    throw socketError("EBADF", call);
  }

  // Addresses

  /**
   * Gives the socket an address, bind(2). A stream socket on Deno's driver listens from then on.
   *
   * `""` is any address of this machine, `"localhost"` the family's loopback. Any other name is looked up
   * while the program stands still. A path must not exist, and stays after `close()`; a stream socket's goes
   * away with it where Deno's driver has grants for the path alone, not for its folder and all of net.
   *
   * @param address The address; port 0 takes a free one, which {@linkcode Socket.getsockname} tells.
   * @throws {Error} With `code` `"EADDRINUSE"`, `"EADDRNOTAVAIL"`, `"EACCES"`, `"EINVAL"` if it has an
   * address already, `"EBADF"` if it is closed, or another of bind(2).
   * @throws {TypeError | RangeError} If the address does not have the family's shape.
   */
  bind(address: A): void {
    const below = this.#open("bind");
    checkAddress(this.family, address);
    below.bind(address);
  }

  /**
   * The socket's address, getsockname(2).
   *
   * @returns `["0.0.0.0", 0]`, `["::", 0, 0, 0]` or `""` for a socket without one.
   * @throws {Deno.errors.BadResource} With `code` `"EBADF"`, if it is closed.
   */
  getsockname(): A {
    return this.#open("getsockname").getsockname() as A;
  }

  /**
   * The peer's address, getpeername(2).
   *
   * @throws {Deno.errors.NotConnected} With `code` `"ENOTCONN"`, if there is no peer.
   * @throws {Deno.errors.BadResource} With `code` `"EBADF"`, if it is closed.
   */
  getpeername(): A {
    return this.#open("getpeername").getpeername() as A;
  }

  // Connections

  /**
   * Lets clients connect, listen(2).
   *
   * @param backlog How many connections wait for their accept; 128 by default. Negative counts as 0.
   * @throws {Error} With `code` `"EINVAL"` if it is connected, `"EOPNOTSUPP"` if it is no stream socket,
   * `"EBADF"` if it is closed.
   */
  listen(backlog: number = BACKLOG): void {
    const below = this.#open("listen");
    checkInteger(backlog, "backlog", -MOST - 1, MOST);
    below.listen(Math.max(backlog, 0));
  }

  /**
   * Takes the next connection, accept(2). The new socket is a blocking one.
   *
   * @returns The connection's socket and the peer's address.
   * @throws {Error} With `code` `"EAGAIN"` if none is there and the socket is non-blocking, `"EINVAL"` if
   * it does not listen, `"EBADF"` if it is closed.
   * @throws {DOMException} Named `"TimeoutError"`, if {@linkcode Socket.settimeout} ran out.
   */
  async accept(): Promise<[socket: Socket<A>, address: A]> {
    const [below, address] = await this.#open("accept").accept(this.#patience);
    // A socket of the same class.
    const Class = this.constructor as typeof Socket<A>;
    return [
      new Class(below, this.driver, this.family, this.type, this.proto),
      address as A,
    ];
  }

  /**
   * Connects to a peer, connect(2). For datagrams, nothing is sent: it is where they go to by default, and
   * with UDP only the peer is heard.
   *
   * @param address The peer.
   * @throws {Error} With `code` `"ECONNREFUSED"`, `"EHOSTUNREACH"`, `"EISCONN"`, `"EINPROGRESS"` if the
   * socket is non-blocking (it is writable when it is done, and `SO_ERROR` or the next call tells how it
   * went), `"EALREADY"` while it is, `"EAI_NONAME"` for a host that is none, `"EBADF"` if the socket is
   * closed, or another of connect(2).
   * @throws {DOMException} Named `"TimeoutError"`, if {@linkcode Socket.settimeout} ran out.
   * @throws {TypeError | RangeError} If the address does not have the family's shape.
   */
  async connect(address: A): Promise<void> {
    const below = this.#open("connect");
    checkAddress(this.family, address);
    await below.connect(address, this.#patience);
  }

  /**
   * As {@linkcode Socket.connect}, with errors of the system as their number.
   *
   * @param address The peer.
   * @returns 0, or the number of errno(3): `errno("ECONNREFUSED")`.
   * @throws {Error} With `code` `"EAI_NONAME"` for a host that is none; a missing permission.
   * @throws {TypeError | RangeError} If the address does not have the family's shape.
   */
  async connect_ex(address: A): Promise<number> {
    try {
      await this.connect(address);
      return 0;
    } catch (error) {
      // A missing permission is no answer of the system's.
      if (error instanceof Deno.errors.NotCapable) throw error;
      const number = errno(errorCode(error) ?? "");
      if (number === undefined) throw error;
      return number;
    }
  }

  /**
   * Shuts one direction or both, shutdown(2). It waits until what was sent before is on its way. On Deno's
   * driver what has come and is not read is lost with the receiving half, and a `recv` that waits without a
   * timeout is not woken.
   *
   * @param how `SHUT_RD`, `SHUT_WR` or `SHUT_RDWR`.
   * @throws {Error} With `code` `"ENOTCONN"` if there is no peer, `"EINVAL"` for another `how`, `"EBADF"`
   * if the socket is closed.
   */
  async shutdown(how: number): Promise<void> {
    const below = this.#open("shutdown");
    if (how !== 0 && how !== 1 && how !== 2) {
      throw socketError("EINVAL", "shutdown", `no such direction: ${how}`);
    }
    await below.shutdown(how);
  }

  // Receiving

  /**
   * Receives, recv(2).
   *
   * @param bufsize How many bytes at most.
   * @param flags `MSG_PEEK`, `MSG_WAITALL`, `MSG_DONTWAIT`; on Deno's driver not the first two together.
   * @returns What came: empty at the end of a stream. Of a datagram the rest is lost.
   * @throws {Error} With `code` `"EAGAIN"` if nothing is there and the call may not wait, `"ENOTCONN"`,
   * `"ECONNRESET"`, `"EOPNOTSUPP"` for other flags, `"EBADF"` if the socket is closed.
   * @throws {DOMException} Named `"TimeoutError"`, if {@linkcode Socket.settimeout} ran out. Nothing is
   * lost by that.
   * @throws {TypeError | RangeError} If an argument is wrong.
   */
  recv(bufsize: number, flags: number = 0): Promise<Uint8Array<ArrayBuffer>> {
    try {
      const below = this.#open("recv");
      checkInteger(bufsize, "bufsize", 0, MOST);
      checkInteger(flags, "flags", 0, MOST);
      return below.recv(bufsize, flags, this.#patience);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Receives into a buffer.
   *
   * @param buffer Where the bytes go.
   * @param nbytes How many at most; 0, the default, for as many as the buffer holds.
   * @param flags As for {@linkcode Socket.recv}.
   * @returns How many came: 0 at the end of a stream.
   * @throws {Error} As {@linkcode Socket.recv}.
   */
  recv_into(
    buffer: Uint8Array,
    nbytes: number = 0,
    flags: number = 0,
  ): Promise<number> {
    try {
      const below = this.#open("recv_into");
      const size = checkInto(buffer, nbytes);
      checkInteger(flags, "flags", 0, MOST);
      if (below.recvInto !== undefined) {
        return below.recvInto(buffer, size, flags, this.#patience);
      }
      return below.recv(size, flags, this.#patience).then((data) => {
        fill(buffer, data);
        return data.length;
      });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Receives, and tells from whom, recvfrom(2).
   *
   * @param bufsize How many bytes at most.
   * @param flags As for {@linkcode Socket.recv}.
   * @returns What came, and the sender's address.
   * @throws {Error} As {@linkcode Socket.recv}.
   */
  recvfrom(
    bufsize: number,
    flags: number = 0,
  ): Promise<[data: Uint8Array<ArrayBuffer>, address: A]> {
    try {
      const below = this.#open("recvfrom");
      checkInteger(bufsize, "bufsize", 0, MOST);
      checkInteger(flags, "flags", 0, MOST);
      return below.recvfrom(bufsize, flags, this.#patience) as Promise<
        [Uint8Array<ArrayBuffer>, A]
      >;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Receives into a buffer, and tells from whom.
   *
   * @param buffer Where the bytes go.
   * @param nbytes How many at most; 0, the default, for as many as the buffer holds.
   * @param flags As for {@linkcode Socket.recv}.
   * @returns How many came, and the sender's address.
   * @throws {Error} As {@linkcode Socket.recv}.
   */
  recvfrom_into(
    buffer: Uint8Array,
    nbytes: number = 0,
    flags: number = 0,
  ): Promise<[bytes: number, address: A]> {
    try {
      const below = this.#open("recvfrom_into");
      const size = checkInto(buffer, nbytes);
      checkInteger(flags, "flags", 0, MOST);
      if (below.recvfromInto !== undefined) {
        return below.recvfromInto(
          buffer,
          size,
          flags,
          this.#patience,
        ) as Promise<[number, A]>;
      }
      return this.recvfrom(size, flags).then(([data, address]) => {
        fill(buffer, data);
        return [data.length, address];
      });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  // Sending

  /**
   * Sends what fits, send(2). On Deno's driver a call that may not wait for ever takes 64 KiB at most, and
   * the next one would wait until they are out.
   *
   * @param data The bytes.
   * @param flags `MSG_DONTWAIT`, `MSG_NOSIGNAL`.
   * @returns How many were taken; perhaps fewer than there are.
   * @throws {Error} With `code` `"EAGAIN"` if there is no room and the call may not wait, `"ENOTCONN"`,
   * `"EDESTADDRREQ"`, `"EPIPE"`, `"ECONNRESET"`, `"EMSGSIZE"`, `"EOPNOTSUPP"` for other flags, `"EBADF"`
   * if the socket is closed.
   * @throws {DOMException} Named `"TimeoutError"`, if {@linkcode Socket.settimeout} ran out.
   * @throws {TypeError} If `data` is not a Uint8Array.
   */
  send(data: Uint8Array, flags: number = 0): Promise<number> {
    try {
      const below = this.#open("send");
      checkSend(data, flags);
      return below.send(data, flags, this.#patience);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Sends everything.
   *
   * @param data The bytes; they must not change meanwhile.
   * @param flags As for {@linkcode Socket.send}.
   * @throws {Error} As {@linkcode Socket.send}. After a timeout it is unknown how much was sent, and on
   * Deno's driver the socket takes no more.
   */
  sendall(data: Uint8Array, flags: number = 0): Promise<void> {
    try {
      const below = this.#open("sendall");
      checkSend(data, flags);
      return below.sendall(data, flags, this.#patience);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Sends a datagram to an address, sendto(2).
   *
   * @param data The bytes.
   * @param address Where to.
   * @returns How many were sent: all.
   * @throws {Error} As {@linkcode Socket.send}.
   * @throws {TypeError | RangeError} If the address does not have the family's shape.
   */
  sendto(data: Uint8Array, address: A): Promise<number>;
  /**
   * The same with flags, in C's and Python's order.
   *
   * @param data The bytes.
   * @param flags As for {@linkcode Socket.send}.
   * @param address Where to.
   * @returns How many were sent: all.
   */
  sendto(data: Uint8Array, flags: number, address: A): Promise<number>;
  sendto(
    data: Uint8Array,
    flagsOrAddress: number | A,
    last?: A,
  ): Promise<number> {
    try {
      const below = this.#open("sendto");
      const hasFlags = last !== undefined || typeof flagsOrAddress === "number";
      const flags = hasFlags ? flagsOrAddress as number : 0;
      const address = hasFlags ? last : flagsOrAddress as A;
      checkSend(data, flags);
      checkAddress(this.family, address);
      return below.sendto(data, flags, address!, this.#patience);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  // Waiting

  /**
   * Says how long each call may wait.
   *
   * @param ms **Milliseconds**; 0 for not at all (non-blocking), `null` for as long as it takes.
   * @throws {TypeError | RangeError} If it is negative or no number.
   * @throws {Deno.errors.BadResource} With `code` `"EBADF"`, if the socket is closed.
   */
  settimeout(ms: number | null): void {
    this.#open("settimeout");
    checkPatience(ms);
    this.#patience = ms;
  }

  /** How long each call may wait: milliseconds, 0, or `null`. */
  gettimeout(): number | null {
    return this.#patience;
  }

  /**
   * As `settimeout(null)` or `settimeout(0)`.
   *
   * @param flag Whether calls wait.
   * @throws {TypeError} If it is not a boolean.
   * @throws {Deno.errors.BadResource} With `code` `"EBADF"`, if the socket is closed.
   */
  setblocking(flag: boolean): void {
    this.#open("setblocking");
    checkBoolean(flag ?? null, "flag");
    this.#patience = flag ? null : 0;
  }

  /** Whether calls wait: everything but `settimeout(0)`. */
  getblocking(): boolean {
    return this.#patience !== 0;
  }

  // Options

  /**
   * Sets an option, setsockopt(2).
   *
   * @param level Such as `SOL_SOCKET`.
   * @param option Such as `SO_REUSEADDR`.
   * @param value An integer, a boolean, or the bytes of the structure.
   * @throws {Error} With `code` `"ENOPROTOOPT"` for an option that the driver cannot set, `"EINVAL"` for a
   * wrong value, `"EBADF"` if the socket is closed.
   * @throws {TypeError | RangeError} If an argument is of the wrong type.
   */
  setsockopt(level: number, option: number, value: OptionValue): void {
    const below = this.#open("setsockopt");
    checkOption(level, option);
    if (typeof value === "number") {
      checkInteger(value, "value", -MOST - 1, 2 ** 32 - 1);
    } else if (typeof value !== "boolean" && !(value instanceof Uint8Array)) {
      throw new TypeError(
        `Invalid value: expected an integer, a boolean or a Uint8Array, got ${
          show(value)
        }`,
      );
    }
    below.setsockopt(level, option, value);
  }

  /**
   * An option's value, getsockopt(2).
   *
   * @param level Such as `SOL_SOCKET`.
   * @param option Such as `SO_TYPE`.
   * @returns An integer.
   * @throws {Error} With `code` `"ENOPROTOOPT"` for an option that the driver does not know, `"EBADF"` if
   * the socket is closed.
   */
  getsockopt(level: number, option: number): number;
  /**
   * The same as bytes.
   *
   * @param level Such as `SOL_SOCKET`.
   * @param option Such as `SO_LINGER`.
   * @param buflen How many bytes at most, 1 to 1,024.
   * @returns The bytes of the structure.
   */
  getsockopt(
    level: number,
    option: number,
    buflen: number,
  ): Uint8Array<ArrayBuffer>;
  getsockopt(
    level: number,
    option: number,
    buflen?: number,
  ): number | Uint8Array<ArrayBuffer> {
    const below = this.#open("getsockopt");
    checkOption(level, option);
    if (buflen !== undefined) checkInteger(buflen, "buflen", 1, 1024);
    return below.getsockopt(level, option, buflen);
  }

  // Files and descriptors

  /**
   * Makes a file object of bytes: see {@linkcode BinaryFile}. The socket is closed by its own `close()`
   * and when the last of its files is closed.
   *
   * @param mode `"rb"`, `"wb"` or `"rwb"`.
   * @param options Buffering.
   * @throws {TypeError | RangeError} If an argument is wrong.
   * @throws {Deno.errors.BadResource} With `code` `"EBADF"`, if the socket is closed.
   */
  makefile(
    mode: "rb" | "br" | "wb" | "bw" | "rwb" | "wrb" | "brw" | "bwr",
    options?: MakefileOptions,
  ): BinaryFile;
  /**
   * Makes a file object of text: see {@linkcode TextFile}.
   *
   * @param mode `"r"`, the default, `"w"` or `"rw"`.
   * @param options Buffering, encoding and line ends.
   */
  makefile(
    mode?: "r" | "w" | "rw" | "wr",
    options?: MakefileOptions,
  ): TextFile;
  makefile(
    mode: string = "r",
    options: MakefileOptions = {},
  ): BinaryFile | TextFile {
    this.#open("makefile");
    const below = () => {
      if (this.#below !== undefined) return this.#below;
      throw socketError("EBADF", "makefile");
    };
    const file = makeFile(
      {
        recv: (size) => below().recv(size, 0, this.#patience),
        send: (data) => below().send(data, 0, this.#patience),
        sendall: (data, onSent) =>
          below().sendall(data, 0, this.#patience, onSent),
        release: () => {
          this.#files--;
          this.#closeUnused();
        },
      },
      checkMode(mode),
      options,
    );
    this.#files++;
    return file;
  }

  /**
   * The number of the descriptor.
   *
   * @returns The number, on the libc driver.
   * @throws {Deno.errors.NotSupported} With `code` `"EOPNOTSUPP"`, on Deno's driver.
   * @throws {Deno.errors.BadResource} With `code` `"EBADF"`, if the socket is closed.
   */
  fileno(): number {
    return this.#open("fileno").fileno();
  }

  /**
   * Gives away what is below, without closing it. The socket counts as closed from then on.
   *
   * @returns On Deno's driver this package's own connection, listener or datagram socket; on the libc
   * driver the descriptor's number.
   * @throws {Error} With `code` `"ENOTCONN"` if there is nothing yet, `"EBADF"` if the socket is closed.
   */
  detach(): Detached {
    const detached = this.#open("detach").detach();
    this.#below = undefined;
    this.#isClosed = true;
    return detached;
  }

  /**
   * Closes the socket, close(2), when its files are closed too. Calls that wait reject with `code`
   * `"EINTR"`. More than one call does no harm.
   *
   * What a timed or non-blocking `send` has taken still goes out, for 10 seconds at most. On Deno's driver an
   * address that something has waited at is free a turn of the event loop later: `await using`, or
   * `await socket[Symbol.asyncDispose]()`, waits for that.
   */
  close(): void {
    this.#isClosed = true;
    this.#closeUnused();
  }

  #closeUnused(): void {
    if (!this.#isClosed || this.#files > 0) return;
    this.#below?.close();
    this.#below = undefined;
  }

  /** {@linkcode Socket.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** {@linkcode Socket.close}; resolves when what was below is gone and the address is free. */
  async [Symbol.asyncDispose](): Promise<void> {
    const below = this.#below;
    this.close();
    if (this.#below === undefined) await below?.closed();
  }
}

function checkInto(buffer: Uint8Array, nbytes: number): number {
  if (!(buffer instanceof Uint8Array)) throw notBytes(buffer, "buffer");
  checkInteger(nbytes, "nbytes", 0, buffer.length);
  return nbytes === 0 ? buffer.length : nbytes;
}

function checkSend(data: Uint8Array, flags: number): void {
  if (!(data instanceof Uint8Array)) throw notBytes(data, "data");
  checkInteger(flags, "flags", 0, MOST);
}

function checkOption(level: number, option: number): void {
  checkInteger(level, "level", -1, MOST);
  checkInteger(option, "option", -1, MOST);
}
