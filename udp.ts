/**
 * UDP: datagram sockets over IPv4 and IPv6, with no flag.
 *
 * Needs `--allow-net`; grants for the hosts and ports in use are enough, the socket's own end among them
 * (a client's is `0.0.0.0:0`, unless it says otherwise). With `--unstable-net` the
 * sockets are the runtime's own, without it those of `node:dgram`: {@linkcode UdpSocket.backend} says
 * which. See udp(7), RFC 768.
 *
 * @example An echo server and its client
 * ```ts
 * import { bindUdp, connectUdp } from "@berkeley/sockets/udp";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = await bindUdp({ hostname: "127.0.0.1", port: 0 });
 * const serving = (async () => {
 *   for await (const { data, addr } of server) await server.send(data, addr);
 * })();
 *
 * await using client = await connectUdp(server.addr);
 * client.timeout = 5000;
 * await client.send(new TextEncoder().encode("hello"));
 * const { data } = await client.receive();
 * assertEquals(new TextDecoder().decode(data), "hello");
 * server.close();
 * await serving;
 * ```
 *
 * @module
 */

import type { UdpAddr } from "./types.ts";
import { isIPv4, isIPv6, joinHostPort, unmapIPv4 } from "./addr.ts";
import {
  checkInteger,
  checkOptions,
  checkSignal,
  checkTimeout,
} from "./_check.ts";
import { checkHostname } from "./_host.ts";
import {
  bounded,
  connectTo,
  netGranted,
  openFirst,
  openingError,
  resolveHost,
  systemError,
} from "./_open.ts";
import { findPeer, type Peer, udpAddr } from "./_destinations.ts";
import type { JoinMulticastOptions } from "./_multicast.ts";
import { loadNode } from "./_node_udp.ts";
import {
  checkUdpOptions,
  type Settings,
  type UdpOptions,
} from "./_udp_options.ts";
import {
  familyOf,
  type MulticastMembership,
  openUdp,
  type UdpDatagrams,
  type UdpDestination,
  type UdpSocket,
} from "./_udp_socket.ts";

export type {
  JoinMulticastOptions,
  MulticastMembership,
  UdpDestination,
  UdpOptions,
  UdpSocket,
};

// Options

/** How {@linkcode bindUdp} binds. */
export interface BindUdpOptions extends UdpOptions {
  /** The port, 0 to 65535; 0, the default, takes a free one, which `addr.port` tells. */
  port?: number;
  /**
   * An address of this machine, a name that stands for one, `"0.0.0.0"` (the default: all of IPv4) or
   * `"::"` (all of IPv6, and on most systems of IPv4 too, whose addresses look like `::ffff:127.0.0.1`).
   */
  hostname?: string;
}

/** How {@linkcode connectUdp} connects. */
export interface ConnectUdpOptions extends UdpOptions {
  /** The peer's port, 1 to 65535. */
  port: number;
  /** The peer: a name, an IPv4 or an IPv6 address; `"127.0.0.1"` by default. */
  hostname?: string;
  /** Our own port, 0 to 65535; 0, the default, takes a free one. */
  localPort?: number;
  /** Our own address, of the peer's family; any by default. */
  localHostname?: string;
  /** How long the lookup of the name may take: milliseconds above 0. */
  timeout?: number | undefined;
  /** Ends the lookup with `signal.reason`. */
  signal?: AbortSignal | undefined;
}

// Open functions

/**
 * Binds a UDP socket.
 *
 * Needs `--allow-net`, or a grant for the host and port as they are written, and for each destination
 * of a `send`. A name is looked up without blocking the event loop where the grants allow it; where
 * only the name, or name and port, is granted, it is left to Deno, which blocks.
 *
 * @param options Where, and how.
 * @returns The socket.
 * @throws {Deno.errors.AddrInUse} If the port is taken. Errors of opening name the address; `code`,
 * `address` and `cause` tell the rest.
 * @throws {Deno.errors.AddrNotAvailable} If the address is not one of this machine.
 * @throws {Deno.errors.PermissionDenied} If the port is below 1024 and the system says no.
 * @throws {Deno.errors.NotCapable} If the permission is missing.
 * @throws {Deno.errors.NotSupported} If the backend cannot do what an option asks for.
 * @throws {TypeError | RangeError | AddressSyntaxError} If an option is wrong.
 *
 * @example A datagram from one socket to another
 * ```ts
 * import { bindUdp } from "@berkeley/sockets/udp";
 * import { assertEquals } from "@std/assert";
 *
 * await using a = await bindUdp({ hostname: "127.0.0.1" });
 * await using b = await bindUdp({ hostname: "127.0.0.1" });
 * await a.send(new Uint8Array([1, 2, 3]), b.addr);
 * const { data, addr } = await b.receive();
 * assertEquals(data, new Uint8Array([1, 2, 3]));
 * assertEquals(addr, a.addr);
 * ```
 */
export async function bindUdp(
  options: BindUdpOptions = {},
): Promise<UdpSocket> {
  checkOptions(options, "bindUdp");
  const { port = 0, hostname = "0.0.0.0" } = options;
  checkInteger(port, "port", 0, 65535);
  const host = checkHostname(hostname);
  const settings = checkUdpOptions(options);
  const addr = udpAddr({ hostname: host, port });
  try {
    return await open(await resolveHost(host, port), port, settings);
  } catch (error) {
    throw openingError("bind", addr, error);
  }
}

/**
 * Binds a UDP socket of the peer's family and connects it to the peer: datagrams go there by default,
 * and those of others are dropped.
 *
 * Needs `--allow-net`, or grants for the peer and for our own end, which is `0.0.0.0:0` or `[::]:0`, or
 * for a peer on this machine the peer's own address with port 0, unless told otherwise. No datagram is
 * sent, so it is not known whether anybody is there.
 *
 * @param options Who the peer is; an address of this package will do.
 * @returns The socket.
 * @throws {Error} With `code` `"ENOTFOUND"` or `"EAI_AGAIN"`, if the name is not found. Errors of
 * opening name the address; `code`, `address` and `cause` tell the rest.
 * @throws {Deno.errors.NotCapable} If a permission is missing.
 * @throws {Deno.errors.NotSupported} If the backend cannot do what an option asks for.
 * @throws {DOMException} Named `"TimeoutError"`, if the timeout ran out. Nothing stays open.
 * @throws {TypeError | RangeError | AddressSyntaxError} If an option is wrong.
 *
 * @example A question that is asked again when no answer comes
 * ```ts
 * import { isTimeoutError } from "@berkeley/sockets/errors";
 * import { bindUdp, connectUdp } from "@berkeley/sockets/udp";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = await bindUdp({ hostname: "127.0.0.1" });
 * await using client = await connectUdp(server.addr);
 * client.timeout = 20;
 * let tries = 0;
 * for (let done = false; !done && tries < 5;) {
 *   tries++;
 *   await client.send(new TextEncoder().encode("time?"));
 *   // The first question gets lost.
 *   const { addr } = await server.receive();
 *   if (tries > 1) await server.send(new TextEncoder().encode("now"), addr);
 *   done = await client.receive().then(() => true, (error) => {
 *     if (!isTimeoutError(error)) throw error;
 *     return false;
 *   });
 * }
 * assertEquals(tries, 2);
 * ```
 */
export async function connectUdp(
  options: ConnectUdpOptions,
): Promise<UdpSocket> {
  checkOptions(options, "connectUdp");
  const {
    port,
    hostname = "127.0.0.1",
    localPort = 0,
    localHostname,
    timeout,
    signal,
  } = options;
  checkInteger(port, "port", 1, 65535);
  const host = checkHostname(hostname);
  checkInteger(localPort, "localPort", 0, 65535);
  const local = localHostname === undefined
    ? undefined
    : checkHostname(localHostname);
  checkTimeout(timeout);
  checkSignal(signal);
  const settings = checkUdpOptions(options);
  const addr = udpAddr({ hostname: host, port });
  return await bounded(
    connectTo(addr),
    { timeout, signal },
    (signal) =>
      abandonable(signal, () => openTo(addr, local, localPort, settings)),
  );
}

/** Finds out who the peer is, binds a socket of its family, and connects it. */
async function openTo(
  addr: UdpAddr,
  local: string | undefined,
  localPort: number,
  settings: Settings,
): Promise<UdpDatagrams> {
  const own = local && await ownAddresses(local, localPort);
  const peer = await findPeer(addr, own ? familyOf(own[0]!) : undefined);
  const hostnames = own || [anyFor(peer, localPort)];
  const bound = udpAddr({ hostname: hostnames[0]!, port: localPort });
  if (!canReach(bound.hostname, peer.addr.hostname)) {
    throw systemError("connect to", addr, "EAFNOSUPPORT");
  }
  try {
    const socket = await open(hostnames, localPort, settings);
    socket.connectTo(peer);
    return socket;
  } catch (error) {
    throw openingError("bind", bound, error);
  }
}

/** The addresses that our own end may have: all of the first one's family. */
async function ownAddresses(
  hostname: string,
  port: number,
): Promise<string[]> {
  try {
    const found = await resolveHost(hostname, port);
    return found.filter((text) => familyOf(text) === familyOf(found[0]!));
  } catch (error) {
    throw openingError("bind", udpAddr({ hostname, port }), error);
  }
}

/** Whether a socket on an address can have a peer at another: only "::" has both families. */
function canReach(local: string, peer: string): boolean {
  return local === "::" || !isIPv4(peer) || isIPv4(unmapIPv4(local)) ||
    !isIPv6(local);
}

/** Runs an opening that knows no signal, and goes on after an abort: what it opens then is closed. */
function abandonable<T extends { close(): void }>(
  signal: AbortSignal | undefined,
  open: () => Promise<T>,
): Promise<T> {
  if (signal === undefined) return open();
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
    open().then((opened) => {
      if (signal.aborted) opened.close();
      else resolve(opened);
    }, reject);
  });
}

/** Our own end for a peer: any address, or the peer's own where only that is granted. */
function anyFor({ addr: { hostname } }: Peer, port: number): string {
  const any = isIPv4(hostname) ? "0.0.0.0" : "::";
  const isHere = hostname === "::1" || /^127\./.test(hostname);
  return isHere && !netGranted(joinHostPort(any, port)) &&
      netGranted(joinHostPort(hostname, port))
    ? hostname
    : any;
}

/** Binds a socket to the first address that this machine has. */
async function open(
  hostnames: readonly string[],
  port: number,
  settings: Settings,
): Promise<UdpDatagrams> {
  const createSocket = settings.backend === "node"
    ? await loadNode()
    : undefined;
  return openFirst(
    hostnames,
    (hostname) => openUdp(hostname, port, settings, createSocket),
  );
}
