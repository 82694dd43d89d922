/**
 * The sockets of the system's C library: everything of the BSD face, by the same names, and what Deno has no
 * call for: raw and sequenced-packet sockets, every option, control messages, descriptors.
 *
 * **A grant for the C library (`--allow-ffi`) is as strong as `-A`**: whoever may call it may do everything
 * that the user may. These calls ask for the `net` permission all the same (and for `read` and `write`, of
 * Unix paths), so that `--allow-ffi` alone opens no network here; they do not keep other code from it.
 *
 * Linux on x86_64 and aarch64; elsewhere the first call throws `NotSupported`. Importing it costs nothing:
 * the library is opened by the first call. A smaller grant does, such as
 * `--allow-ffi=/lib/x86_64-linux-gnu/libc.so.6`.
 *
 * What a Worker has open stays open until the process ends, if the Worker is terminated: close its sockets
 * before.
 *
 * A program changes its import line and is exact from then on: `bind` does not listen, a bound socket can
 * connect, `listen` honours its number, `send` takes what fits, and every error is the system's own.
 *
 * @example A packet at a time, over a connection
 * ```ts ignore
 * import { AF_UNIX, SOCK_SEQPACKET, socketpair } from "@berkeley/sockets/libc";
 * import { assertEquals } from "@std/assert";
 *
 * const [a, b] = await socketpair(AF_UNIX, SOCK_SEQPACKET);
 * await a.send(new TextEncoder().encode("one"));
 * await a.send(new TextEncoder().encode("two"));
 * assertEquals(new TextDecoder().decode(await b.recv(100)), "one");
 * assertEquals(new TextDecoder().decode(await b.recv(100)), "two");
 * a.close();
 * b.close();
 * ```
 *
 * @module
 */

import { checkInteger, checkOptions } from "../_check.ts";
import {
  type Address,
  AF_INET,
  AF_UNIX,
  type Family,
  type Inet6Address,
  type InetAddress,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  type UnixAddress,
} from "../_constants.ts";
import {
  connectAny,
  type CreateConnectionOptions,
  type CreateServerOptions,
  listenAny,
  makePair,
  makeSocket,
} from "../_making.ts";
import { adoptForeign, libcDriver } from "./_driver.ts";
import { type ControlMessage, controlSpace } from "./_layout.ts";
import { Socket } from "./_socket.ts";

export * from "../_constants.ts";
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
} from "../_inet.ts";
export { getaddrinfo, gethostbyname, getnameinfo } from "../_netdb.ts";
export {
  gai_strerror,
  getprotobyname,
  getservbyname,
  getservbyport,
} from "../_services.ts";
export { errno, errorCode, isTimeoutError, strerror } from "../errors.ts";
export { toConn, toListener } from "./_conn.ts";
export { Options } from "./_options.ts";
export type {
  BooleanOption,
  Credentials,
  GroupMembership,
  GroupOption,
  IntegerOption,
  Linger,
  Option,
  OptionTable,
  TextOption,
  TimeOption,
} from "./_options.ts";
export type { TcpInfo } from "./_tcp_info.ts";
export { useWake, type WakeKind } from "./_reactor.ts";
export { controlSpace, Socket };
export type { ControlMessage, CreateConnectionOptions, CreateServerOptions };
export type { AddrInfo } from "../_netdb.ts";
export type { Detached, OptionValue } from "../_driver.ts";
export type {
  BinaryFile,
  MakefileOptions,
  SocketFile,
  TextFile,
} from "../_makefile.ts";

const maker = { driver: libcDriver, Socket };

/**
 * Makes a socket, socket(2).
 *
 * @param family `AF_INET`, the default, `AF_INET6` or `AF_UNIX`.
 * @param type `SOCK_STREAM`, the default, `SOCK_DGRAM`, `SOCK_SEQPACKET` or `SOCK_RAW`; `SOCK_NONBLOCK` may
 * be added to it.
 * @param proto 0, the default, or a protocol such as `IPPROTO_ICMP`.
 * @returns The socket. No program that is executed inherits it.
 * @throws {Error} With `code` `"EAFNOSUPPORT"`, `"EPROTONOSUPPORT"`, `"EPERM"` (raw sockets need a
 * capability), `"EMFILE"`, or another of socket(2).
 * @throws {Deno.errors.NotSupported} Elsewhere than on Linux.
 * @throws {Deno.errors.NotCapable} Without `--allow-ffi`.
 * @throws {TypeError | RangeError} If an argument is no integer.
 *
 * @example Probes of a silent peer
 * ```ts ignore
 * import { AF_INET, IPPROTO_TCP, socket, TCP_KEEPIDLE } from "@berkeley/sockets/libc";
 * import { assertEquals } from "@std/assert";
 *
 * using client = socket(AF_INET);
 * client.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, 30);
 * assertEquals(client.getsockopt(IPPROTO_TCP, TCP_KEEPIDLE), 30);
 * ```
 */
export function socket<A extends Address = InetAddress>(
  family: Family<A> = AF_INET as Family<A>,
  type: number = SOCK_STREAM,
  proto: number = 0,
): Socket<A> {
  return makeSocket(maker, family, type, proto) as Socket<A>;
}

/**
 * Two connected sockets, socketpair(2).
 *
 * @param family `AF_UNIX`, the default.
 * @param type `SOCK_STREAM`, the default, `SOCK_DGRAM` or `SOCK_SEQPACKET`.
 * @param proto 0.
 * @returns The two ends.
 * @throws {Error} With `code` `"EOPNOTSUPP"` for another family, or another of socketpair(2).
 */
export async function socketpair<A extends Address = UnixAddress>(
  family: Family<A> = AF_UNIX as Family<A>,
  type: number = SOCK_STREAM,
  proto: number = 0,
): Promise<[Socket<A>, Socket<A>]> {
  return await makePair(maker, family, type, proto) as [Socket<A>, Socket<A>];
}

/**
 * Connects to a host over TCP: each address of the name is tried until one takes the connection.
 *
 * @param address The host and the port, or a service's name.
 * @param options A timeout, and our own address.
 * @returns The connected socket.
 * @throws {Error} What the last try failed with, or what `getaddrinfo` did.
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
 * A socket that listens.
 *
 * @param address The address to bind.
 * @param options The family, the backlog, whether the port is shared, and whether an IPv6 server takes
 * connections of IPv4 too; `false` and the default here are a server of IPv6 alone.
 * @returns The socket.
 * @throws {Error} As `socket`, `setsockopt`, `bind` and `listen`.
 */
export function create_server<A extends Address = InetAddress>(
  address: A,
  options: CreateServerOptions & { family?: Family<A> } = {},
): Socket<A> {
  checkOptions(options, "create_server");
  const { dualstack_ipv6 = false } = options;
  return listenAny(maker, address, { ...options, dualstack_ipv6 }) as Socket<A>;
}

/**
 * A socket for a descriptor that this program has: one that was received, inherited, or detached. The
 * socket owns it from then on, and it does not block any more, nor do its copies in other processes.
 *
 * @param descriptor The number.
 * @param family Its family.
 * @param type Its type; `SOCK_NONBLOCK` may be added.
 * @param proto Its protocol.
 * @returns The socket, one whose calls wait.
 * @throws {Error} With `code` `"EBADF"` if there is none, `"ENOTSOCK"` if it is no socket.
 */
export function fromfd<A extends Address = InetAddress>(
  descriptor: number,
  family: Family<A> = AF_INET as Family<A>,
  type: number = SOCK_STREAM,
  proto: number = 0,
): Socket<A> {
  checkInteger(descriptor, "descriptor", 0, 2 ** 31 - 1);
  for (const [name, value] of Object.entries({ family, type, proto })) {
    checkInteger(value, name, 0, 2 ** 31 - 1);
  }
  const plain = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
  const below = adoptForeign(descriptor, family, plain, proto);
  const socket = new Socket<A>(below, "libc", family, plain, proto);
  if (type & SOCK_NONBLOCK) socket.setblocking(false);
  return socket;
}
