/** How sockets of the BSD face are made, on whichever driver. */

import { checkBoolean, checkInteger, checkPatience } from "./_check.ts";
import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  type Family,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from "./_constants.ts";
import type { Driver, DriverSocket } from "./_driver.ts";
import type { Socket } from "./_face.ts";
import { getaddrinfo } from "./_netdb.ts";
import { socketError } from "./_socket_error.ts";

/** What may be added to a type; 0 where the system has no such flags. */
const FLAGS = SOCK_NONBLOCK | SOCK_CLOEXEC;

function checkSocket(family: number, type: number, proto: number): void {
  checkInteger(family, "family", 0, 2 ** 31 - 1);
  checkInteger(type, "type", 0, 2 ** 31 - 1);
  checkInteger(proto, "proto", 0, 2 ** 31 - 1);
}

/** A driver, and the class of its sockets. */
export interface Maker {
  readonly driver: Driver;
  readonly Socket: typeof Socket;
}

/** The face of a driver's socket. */
function face<A extends Address>(
  below: DriverSocket,
  { driver, Socket }: Maker,
  family: Family<A>,
  type: number,
  proto: number,
): Socket<A> {
  const socket = new Socket(below, driver.name, family, type & ~FLAGS, proto);
  if (type & SOCK_NONBLOCK) socket.setblocking(false);
  return socket;
}

/** Makes a socket of a driver. */
export function makeSocket<A extends Address>(
  maker: Maker,
  family: Family<A>,
  type: number,
  proto: number,
): Socket<A> {
  checkSocket(family, type, proto);
  const below = maker.driver.socket(family, type & ~FLAGS, proto);
  return face(below, maker, family, type, proto);
}

/** Two connected sockets of a driver. */
export async function makePair<A extends Address>(
  maker: Maker,
  family: Family<A>,
  type: number,
  proto: number,
): Promise<[Socket<A>, Socket<A>]> {
  checkSocket(family, type, proto);
  const { driver } = maker;
  const [a, b] = await driver.socketpair(family, type & ~FLAGS, proto);
  return [
    face(a, maker, family, type, proto),
    face(b, maker, family, type, proto),
  ];
}

/** How {@linkcode connectAny} connects. */
export interface CreateConnectionOptions {
  /** How long each try may take, in milliseconds, and the socket's timeout from then on; `null` by default. */
  timeout?: number | null;
  /** Our own address; an error on Deno's driver, which cannot choose it. */
  source_address?: Address;
}

/** Connects to the first address of a name that takes the connection. */
export async function connectAny(
  maker: Maker,
  [host, port]: readonly [string, number | string],
  { timeout = null, source_address }: CreateConnectionOptions,
): Promise<Socket> {
  checkPatience(timeout);
  if (source_address !== undefined && !maker.driver.bindsClients) {
    throw socketError(
      "EOPNOTSUPP",
      "create_connection",
      "Deno cannot choose our own address; the sockets of @berkeley/sockets/libc can",
    );
  }
  let last: unknown;
  const infos = await getaddrinfo(host, port, AF_UNSPEC, SOCK_STREAM);
  for (const [family, type, proto, , address] of infos) {
    let socket: Socket | undefined;
    try {
      socket = makeSocket(maker, family, type, proto);
      socket.settimeout(timeout);
      if (source_address !== undefined) socket.bind(source_address);
      await socket.connect(address);
      return socket;
    } catch (error) {
      last = error;
      socket?.close();
    }
  }
  throw last;
}

/** How {@linkcode listenAny} listens. */
export interface CreateServerOptions {
  /** `AF_INET`, the default, `AF_INET6` or `AF_UNIX`. */
  family?: number;
  /** How many connections wait for their accept. */
  backlog?: number;
  /** Whether other sockets may listen on the same port. */
  reuse_port?: boolean;
  /**
   * Whether a server of `AF_INET6` takes connections of IPv4 too. **On Deno's driver, on `"::"`, it does by
   * default**, and `false` is an error.
   */
  dualstack_ipv6?: boolean;
}

/** A socket that listens. */
export function listenAny(
  maker: Maker,
  address: Address,
  { family = AF_INET, backlog, reuse_port, dualstack_ipv6 }:
    CreateServerOptions,
): Socket {
  checkBoolean(reuse_port, "reuse_port");
  checkBoolean(dualstack_ipv6, "dualstack_ipv6");
  if (dualstack_ipv6 && family !== AF_INET6) {
    throw socketError(
      "EINVAL",
      "create_server",
      "dualstack_ipv6 is for AF_INET6",
    );
  }
  const socket = makeSocket(maker, family, SOCK_STREAM, 0);
  try {
    if (typeof address !== "string") {
      socket.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
      if (reuse_port) socket.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1);
      if (family === AF_INET6 && dualstack_ipv6 !== undefined) {
        socket.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, !dualstack_ipv6);
      }
    }
    socket.bind(address);
    socket.listen(backlog);
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}
