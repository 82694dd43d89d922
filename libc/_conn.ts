/** Sockets of the C library behind the connections and listeners of the other rooms. */

import type {
  SocketAddr,
  StreamConn,
  StreamListener,
  TcpAddr,
  UnixAddr,
} from "../types.ts";
import { show } from "../_check.ts";
import {
  type Address,
  AF_UNIX,
  SHUT_WR,
  SO_ACCEPTCONN,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../_constants.ts";
import { Listener } from "../_listener.ts";
import { socketError } from "../_socket_error.ts";
import { type NativeStream, Stream } from "../_stream.ts";
import { adopt, type LibcSocket } from "./_driver.ts";
import { libcOf, type Socket } from "./_socket.ts";

/** An address as the other rooms have it. */
function toAddr(family: number, address: Address): SocketAddr {
  if (family === AF_UNIX) {
    const path = address as string;
    return Object.freeze<UnixAddr>({
      transport: "unix",
      path: path === "" ? null : path,
    });
  }
  const [hostname, port, , scope] = address as [string, number, 0?, number?];
  return Object.freeze<TcpAddr>({
    transport: "tcp",
    hostname: scope ? `${hostname}%${scope}` : hostname,
    port,
  });
}

/** A socket as what a connection needs below. */
class Native implements NativeStream {
  readonly socket: LibcSocket;

  constructor(socket: LibcSocket) {
    this.socket = socket;
  }

  read(p: Uint8Array): Promise<number | null> {
    return this.socket.read(p);
  }

  write(p: Uint8Array): Promise<number> {
    return this.socket.write(p);
  }

  closeWrite(): Promise<void> {
    return this.socket.shutdown(SHUT_WR);
  }

  close(): void {
    this.socket.close();
  }

  ref(): void {
    this.socket.polled.reading.setRef(true);
  }

  unref(): void {
    this.socket.polled.reading.setRef(false);
  }
}

class LibcConn extends Stream<Native, SocketAddr> {
  override readonly localAddr: SocketAddr;
  override readonly remoteAddr: SocketAddr;

  constructor(socket: LibcSocket) {
    super(new Native(socket));
    this.localAddr = toAddr(socket.family, socket.getsockname());
    this.remoteAddr = toAddr(socket.family, socket.getpeername());
  }

  override detach(): Deno.Conn {
    throw Object.assign(
      new Deno.errors.NotSupported(
        "Cannot detach: a socket of the C library has no connection of the runtime below it",
      ),
      { code: "EOPNOTSUPP" },
    );
  }
}

/** Takes what is below out of a stream socket. */
function take(socket: Socket, call: string): LibcSocket {
  const below = Object(socket) === socket ? libcOf(socket, call) : undefined;
  if (below === undefined || socket.driver !== "libc") {
    throw new TypeError(
      `Invalid socket: expected one of the C library's, got ${show(socket)}`,
    );
  }
  const { family, type, proto } = below;
  if (type !== SOCK_STREAM) {
    throw socketError("EOPNOTSUPP", call, "it is no stream socket");
  }
  // Told before anything is taken.
  if (call === "toConn") below.getpeername();
  else if (!below.getsockopt(SOL_SOCKET, SO_ACCEPTCONN, undefined)) {
    throw socketError("EINVAL", call, "it does not listen");
  }
  return adopt(socket.detach() as number, family, type, proto);
}

/**
 * Makes a connection of a connected stream socket, with everything that connections of this package have:
 * streams, timeouts, framing, `serve`. The socket counts as closed from then on.
 *
 * @param socket The socket.
 * @returns The connection.
 * @throws {Error} With `code` `"ENOTCONN"`, `"EOPNOTSUPP"` if it is no stream socket, `"EBUSY"` while a
 * call waits, `"EBADF"` if it is closed.
 * @throws {TypeError} If it is no socket of the C library.
 */
// deno-lint-ignore no-explicit-any
export function toConn(socket: Socket<any>): StreamConn {
  return new LibcConn(take(socket, "toConn"));
}

/**
 * Makes a listener of a stream socket that listens, for `serve` and for loops. The socket counts as closed
 * from then on.
 *
 * @param socket The socket.
 * @returns The listener.
 * @throws {Error} With `code` `"EINVAL"` if it does not listen, `"EOPNOTSUPP"` if it is no stream socket,
 * `"EBUSY"` while a call waits, `"EBADF"` if it is closed.
 * @throws {TypeError} If it is no socket of the C library.
 */
// deno-lint-ignore no-explicit-any
export function toListener(socket: Socket<any>): StreamListener {
  const below = take(socket, "toListener");
  const native = {
    accept: async () => (await below.accept(null))[0],
    close: () => below.close(),
    ref: () => below.polled.reading.setRef(true),
    unref: () => below.polled.reading.setRef(false),
  };
  return new Listener({
    natives: [native],
    addr: toAddr(below.family, below.getsockname()),
    wrap: (socket: LibcSocket) => {
      try {
        return new LibcConn(socket);
      } catch {
        // It is gone already.
        socket.close();
        return undefined;
      }
    },
  });
}
