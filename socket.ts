/**
 * Berkeley sockets by the names of the textbooks: `socket`, `bind`, `listen`, `accept`, `connect`, `send`,
 * `recv`, `setsockopt` and the rest, so that a program in C or Python is written here line by line, with
 * `await` where a call can wait.
 *
 * Needs `--allow-net` only, and what Unix paths need. It runs on Deno's own sockets, by a driver; what they
 * cannot do is an error that says so. Every error of the system has its name as `code`; wrong arguments are
 * TypeErrors and RangeErrors, and a missing permission is the runtime's own error.
 *
 * Calls behave as their man pages say. **What differs**: timeouts are in **milliseconds**; data are
 * `Uint8Array`s; calls in C that return -1 throw. PORTING.md has each call, and what differs in it.
 *
 * On this driver:
 *
 * - `bind` of a stream socket listens already; `listen` with another backlog than 511 listens anew on the
 *   same port, and a client that came in between is reset. A bound stream socket cannot connect.
 * - A timed or non-blocking `send` takes up to 64 KiB, and so does every `send` of a socket that `select` has
 *   looked at for writing; until they are out, the next one would block. They go out after `close()` too, for
 *   10 seconds at most.
 * - A `recv` that waits holds a buffer of what was asked for, of 64 KiB at most; what it gives is as large as
 *   what came.
 * - `shutdown(SHUT_RD)` throws away what has come and is not read, and wakes no `recv` that waits without a
 *   timeout: `close()` does.
 * - A non-blocking call that finds nothing waits for one turn of the event loop before it says so.
 * - A connected UDP socket is never told that nobody is there (`ECONNREFUSED`), and keeps its wildcard
 *   address.
 * - Unix datagram sockets need `--unstable-net`; a connected one hears others too. The peers of a Unix stream
 *   socket that is bound to a path see another name for it, in the same folder.
 *
 * @example One exchange over TCP
 * ```ts
 * import { AF_INET, SOCK_STREAM, socket } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * using server = socket(AF_INET, SOCK_STREAM);
 * server.bind(["127.0.0.1", 0]);
 * server.listen(5);
 *
 * using client = socket(AF_INET, SOCK_STREAM);
 * await client.connect(server.getsockname());
 * const [conn, peer] = await server.accept();
 * assertEquals(peer, client.getsockname());
 *
 * await client.sendall(new TextEncoder().encode("hello"));
 * assertEquals(new TextDecoder().decode(await conn.recv(1024)), "hello");
 * conn.close();
 * assertEquals((await client.recv(1024)).length, 0);
 * ```
 *
 * @module
 */

import { checkOptions } from "./_check.ts";
import {
  type Address,
  AF_INET,
  AF_UNIX,
  type Family,
  type Inet6Address,
  type InetAddress,
  SOCK_STREAM,
  type UnixAddress,
} from "./_constants.ts";
import { denoDriver } from "./_deno_driver.ts";
import type { Detached, OptionValue } from "./_driver.ts";
import { Socket } from "./_face.ts";
import {
  connectAny,
  type CreateConnectionOptions,
  type CreateServerOptions,
  listenAny,
  makePair,
  makeSocket,
} from "./_making.ts";
import type {
  BinaryFile,
  MakefileOptions,
  SocketFile,
  TextFile,
} from "./_makefile.ts";
import type { AddrInfo } from "./_netdb.ts";

export * from "./_constants.ts";
export {
  htonl,
  htons,
  inet_addr,
  inet_aton,
  inet_ntoa,
  inet_ntop,
  inet_pton,
  ntohl,
  ntohs,
} from "./_inet.ts";
export { getaddrinfo, gethostbyname, getnameinfo } from "./_netdb.ts";
export {
  gai_strerror,
  getprotobyname,
  getservbyname,
  getservbyport,
} from "./_services.ts";
export { errno, errorCode, isTimeoutError, strerror } from "./errors.ts";
export { Socket };
export type {
  AddrInfo,
  BinaryFile,
  CreateConnectionOptions,
  CreateServerOptions,
  Detached,
  MakefileOptions,
  OptionValue,
  SocketFile,
  TextFile,
};

const maker = { driver: denoDriver, Socket };

/**
 * Makes a socket, socket(2).
 *
 * @param family `AF_INET`, the default, `AF_INET6` or `AF_UNIX`.
 * @param type `SOCK_STREAM`, the default, or `SOCK_DGRAM`; `SOCK_NONBLOCK` may be added to it.
 * @param proto 0, the default, or the type's own protocol.
 * @returns The socket. It has an address after `bind` or `connect`.
 * @throws {Error} With `code` `"EAFNOSUPPORT"`, `"ESOCKTNOSUPPORT"` or `"EPROTONOSUPPORT"`, for what this
 * driver has no sockets for; `"EOPNOTSUPP"` for Unix datagram sockets without `--unstable-net`.
 * @throws {TypeError | RangeError} If an argument is no integer.
 *
 * @example Datagrams
 * ```ts
 * import { AF_INET, SOCK_DGRAM, socket } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * using server = socket(AF_INET, SOCK_DGRAM);
 * server.bind(["127.0.0.1", 0]);
 * using client = socket(AF_INET, SOCK_DGRAM);
 * await client.sendto(new Uint8Array([1, 2]), server.getsockname());
 * const [data, address] = await server.recvfrom(1024);
 * await server.sendto(data, address);
 * assertEquals(await client.recv(1024), new Uint8Array([1, 2]));
 * ```
 */
export function socket<A extends Address = InetAddress>(
  family: Family<A> = AF_INET as Family<A>,
  type: number = SOCK_STREAM,
  proto: number = 0,
): Socket<A> {
  return makeSocket(maker, family, type, proto);
}

/**
 * Two connected sockets, socketpair(2). On this driver they are connected in memory: no descriptor is
 * used, and no permission needed.
 *
 * @param family `AF_UNIX`, the default and the only one.
 * @param type `SOCK_STREAM`, the default and the only one.
 * @param proto 0.
 * @returns The two ends.
 * @throws {Error} With `code` `"EOPNOTSUPP"` for anything else.
 *
 * @example
 * ```ts
 * import { socketpair } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * const [a, b] = await socketpair();
 * await a.sendall(new Uint8Array([1, 2, 3]));
 * assertEquals(await b.recv(10), new Uint8Array([1, 2, 3]));
 * a.close();
 * b.close();
 * ```
 */
export async function socketpair<A extends Address = UnixAddress>(
  family: Family<A> = AF_UNIX as Family<A>,
  type: number = SOCK_STREAM,
  proto: number = 0,
): Promise<[Socket<A>, Socket<A>]> {
  return await makePair(maker, family, type, proto);
}

/**
 * Connects to a host over TCP, as Python's call of that name: each address of the name is tried until one
 * takes the connection.
 *
 * @param address The host and the port, or a service's name.
 * @param options A timeout, and our own address.
 * @returns The connected socket.
 * @throws {Error} What the last try failed with, or what `getaddrinfo` did.
 *
 * @example
 * ```ts
 * import { create_connection, create_server } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * using server = create_server(["127.0.0.1", 0]);
 * using client = await create_connection(server.getsockname(), { timeout: 5000 });
 * assertEquals(client.getpeername(), server.getsockname());
 * ```
 */
export async function create_connection(
  address: readonly [host: string, port: number | string],
  options: CreateConnectionOptions = {},
): Promise<Socket<InetAddress | Inet6Address>> {
  checkOptions(options, "create_connection");
  return await connectAny(maker, address, options) as Socket<
    InetAddress | Inet6Address
  >;
}

/**
 * A socket that listens, as Python's call of that name.
 *
 * @param address The address to bind.
 * @param options The family, the backlog, whether the port is shared, and whether an IPv6 server takes
 * connections of IPv4 too.
 * @returns The socket.
 * @throws {Error} As `socket`, `setsockopt`, `bind` and `listen`; with `code` `"EINVAL"` for
 * `dualstack_ipv6` with another family.
 *
 * @example All of IPv4 and IPv6
 * ```ts
 * import { AF_INET6, create_connection, create_server } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * using server = create_server(["", 0], { family: AF_INET6, dualstack_ipv6: true });
 * const [, port] = server.getsockname();
 * using client = await create_connection(["127.0.0.1", port]);
 * const [conn] = await server.accept();
 * assertEquals(client.getsockname()[1], conn.getpeername()[1]);
 * conn.close();
 * ```
 */
export function create_server<A extends Address = InetAddress>(
  address: A,
  options: CreateServerOptions & { family?: Family<A> } = {},
): Socket<A> {
  checkOptions(options, "create_server");
  return listenAny(maker, address, options) as Socket<A>;
}
