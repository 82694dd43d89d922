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

import type { DatagramSocket, UdpAddr, WaitOptions } from "./types.ts";
import {
  type HostPort,
  isIPv4,
  isIPv6,
  joinHostPort,
  sameAddr,
  unmapIPv4,
} from "./addr.ts";
import {
  checkInteger,
  checkOptions,
  checkSignal,
  checkTimeout,
} from "./_check.ts";
import { checkHostname, ipBytes, splitZone, withZone } from "./_host.ts";
import { closedResource } from "./_wait.ts";
import {
  bounded,
  connectTo,
  netGranted,
  openFirst,
  openingError,
  resolveHost,
  systemError,
} from "./_open.ts";
import { Datagrams, type NativeDatagrams } from "./_datagram.ts";
import {
  checkDestination,
  Destinations,
  findPeer,
  LARGEST,
  type Peer,
  udpAddr,
} from "./_destinations.ts";
import {
  checkInterface,
  checkJoin,
  checkTtl,
  type Join,
  type JoinMulticastOptions,
  joinNative,
  type Leave,
} from "./_multicast.ts";
import { loadNode, NodeUdp } from "./_node_udp.ts";
import {
  checkUdpOptions,
  type Settings,
  type UdpOptions,
} from "./_udp_options.ts";

export type { JoinMulticastOptions, UdpOptions };

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

/** The family of an address; a name that must not be looked up counts as IPv4. */
function familyOf(hostname: string): 4 | 6 {
  return hostname.includes(":") ? 6 : 4;
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
  const { backend, ttl, multicastTtl, multicastInterface } = settings;
  const createSocket = backend === "node" ? await loadNode() : undefined;
  return openFirst(hostnames, (hostname) => {
    const family = familyOf(hostname);
    checkTtl(ttl, "ttl", family);
    checkTtl(multicastTtl, "multicastTtl", family);
    checkInterface(multicastInterface, family);
    const zone = splitZone(hostname)[1];
    if (createSocket === undefined) {
      const { reuseAddress, multicastLoopback } = settings;
      const native = Deno.listenDatagram({
        transport: "udp",
        hostname,
        port,
        reuseAddress,
        loopback: multicastLoopback,
      });
      return new UdpDatagrams(
        native as Deno.DatagramConn & NativeUdp,
        native.addr as Deno.NetAddr,
        zone,
        (join, family) => joinNative(native, join, family),
      );
    }
    const native = NodeUdp.bind(createSocket, hostname, port, {
      ...settings,
      family,
    });
    return new UdpDatagrams(
      native,
      native.addr,
      zone,
      (join, family) => native.join(join, family),
    );
  });
}

// Socket

/** Where a UDP datagram goes. An address of this package will do. */
export interface UdpDestination {
  /** A name, an IPv4 or an IPv6 address. A name is looked up once for each socket. */
  readonly hostname: string;
  /** The port, 1 to 65535. */
  readonly port: number;
}

/** That a socket is a member of a group. Leaving its block leaves the group. */
export interface MulticastMembership extends AsyncDisposable {
  /** The group's address. */
  readonly group: string;
  /** Leaves the group. More than one call does no harm, nor does one after the socket was closed. */
  leave(): Promise<void>;
}

/** A UDP socket. */
export interface UdpSocket extends DatagramSocket<UdpAddr, UdpDestination> {
  /** Whose sockets are used: the runtime's own, or those of `node:dgram`. */
  readonly backend: "deno" | "node";
  /** The peer, if the socket is connected. */
  readonly remoteAddr: UdpAddr | undefined;
  /** How many datagrams were dropped because they came from somebody other than the peer. */
  readonly strays: number;
  /**
   * How many datagrams were dropped because nobody received them in time; always 0 on backend
   * `"deno"`, where the system drops them and does not tell.
   */
  readonly dropped: number;
  /**
   * Sends a datagram, whole or not at all. That the system took it does not say that it arrives, and
   * those of calls that are not awaited may go out in another order.
   *
   * Needs a grant for the destination. A name is looked up once for each socket, and kept with the
   * last 1,024 others; where only the name is granted, Deno looks it up for each datagram.
   *
   * After an abort or timeout it is unknown whether it went out, and `data` stays in use until the
   * system has taken it or the socket is closed. A `close()` by someone else rejects it with a closed
   * error.
   *
   * @param data The bytes, at most 65,507 over IPv4 and 65,527 over IPv6; none is a datagram, too. They
   * must not change meanwhile.
   * @param addr Where to; the peer by default.
   * @param options A signal that ends the wait.
   * @returns How many bytes were sent: all.
   * @throws {TypeError} If `data` is not a Uint8Array, or there is no address and no peer.
   * @throws {RangeError | AddressSyntaxError} If the port or the host is wrong.
   * @throws {Error} With `code` `"EMSGSIZE"`, if it is too large; `"EAFNOSUPPORT"`, if the socket is one
   * of IPv4 and the destination is not; `"ENOTFOUND"` or `"EAI_AGAIN"`, if the name is not found. On
   * backend `"node"` the system's other reasons are not known, and `code` is `"UNKNOWN"`.
   * @throws {DOMException} Named `"TimeoutError"`, if {@linkcode DatagramSocket.timeout} ran out.
   * @throws {Deno.errors.NotCapable} If the permission for the destination is missing.
   * @throws {Deno.errors.BadResource} If the socket is closed.
   */
  send(
    data: Uint8Array,
    addr?: UdpDestination,
    options?: WaitOptions,
  ): Promise<number>;
  /**
   * Connects the socket to a peer: datagrams go there by default, and those of others are dropped from
   * now on and counted. Nothing is sent. Errors that the network reports (ICMP) are not seen: Deno has
   * no call for a connected socket, so the filter is here.
   *
   * @param addr The peer; a name is looked up.
   * @throws {Error} With `code` `"ENOTFOUND"` or `"EAI_AGAIN"`, if the name is not found;
   * `"EAFNOSUPPORT"`, if the socket is one of IPv4 and the peer is not.
   * @throws {TypeError | RangeError | AddressSyntaxError} If the address is wrong.
   * @throws {Deno.errors.BadResource} If the socket is closed.
   */
  connect(addr: UdpDestination): Promise<void>;
  /** Takes the peer away: everybody is heard again. More than one call does no harm. */
  disconnect(): void;
  /**
   * Joins a multicast group (RFC 1112, RFC 4291): what is sent to it and to the socket's port comes
   * here, if the socket is bound to any address or to the group.
   *
   * @param group The group's address, of the socket's family; a zone behind `%` is the interface.
   * @param options The interface, and what holds for datagrams that this socket sends to groups.
   * @returns The membership. It ends with the socket, too.
   * @throws {AddressSyntaxError | RangeError | TypeError} If the group or an option is wrong.
   * @throws {Deno.errors.AddrInUse} If the socket is a member already.
   * @throws {Error} With `code` `"ENODEV"`, if there is no such interface.
   * @throws {Deno.errors.NotSupported} If the backend cannot do it.
   * @throws {Deno.errors.NotCapable} If the index of an interface may not be looked up.
   * @throws {Deno.errors.BadResource} If the socket is closed.
   *
   * @example Hearing what is sent to a group
   * ```ts
   * import { bindUdp } from "@berkeley/sockets/udp";
   * import { assertEquals } from "@std/assert";
   *
   * await using socket = await bindUdp({ hostname: "0.0.0.0" });
   * await using _ = await socket.joinMulticast("239.7.7.7", { interface: "127.0.0.1" });
   * await using sender = await bindUdp({ multicastInterface: "127.0.0.1" });
   * await sender.send(new Uint8Array([7]), { hostname: "239.7.7.7", port: socket.addr.port });
   * const { data } = await socket.receive();
   * assertEquals(data, new Uint8Array([7]));
   * ```
   */
  joinMulticast(
    group: string,
    options?: JoinMulticastOptions,
  ): Promise<MulticastMembership>;
}

/** A socket of either backend. */
type NativeUdp = NativeDatagrams<HostPort>;

class UdpDatagrams extends Datagrams<HostPort, UdpAddr, UdpDestination>
  implements UdpSocket {
  readonly #family: 4 | 6;
  readonly #join: (join: Join, family: 4 | 6) => Leave | Promise<Leave>;
  readonly #destinations: Destinations;
  /** The groups that the socket is a member of. */
  readonly #groups = new Set<string>();
  #peer: Peer | undefined;
  /** The peer's address as the runtime writes it. */
  #peerText: string | undefined;
  /** Our own zone, and the one that counts while there is a peer. */
  readonly #ownZone: string | undefined;
  #zone: string | undefined;
  #strays = 0;
  /** How often the peer has been changed. */
  #turn = 0;

  constructor(
    native: NativeUdp,
    { hostname, port }: HostPort,
    zone: string | undefined,
    join: (join: Join, family: 4 | 6) => Leave | Promise<Leave>,
  ) {
    const family = isIPv4(hostname) ? 4 : 6;
    const largest = LARGEST[family];
    super(
      native,
      udpAddr({ hostname: withZone(hostname, zone), port }),
      // Nothing larger exists, so a buffer of that length shows everything.
      { largest, direct: largest, own: 65536 },
    );
    this.#family = family;
    this.#join = join;
    this.#ownZone = this.#zone = zone;
    this.#destinations = new Destinations(family);
  }

  get backend(): "deno" | "node" {
    return this.native instanceof NodeUdp ? "node" : "deno";
  }

  get remoteAddr(): UdpAddr | undefined {
    return this.#peer?.addr;
  }

  get strays(): number {
    return this.#strays;
  }

  get dropped(): number {
    return this.native instanceof NodeUdp ? this.native.dropped : 0;
  }

  protected override toAddr({ hostname, port }: HostPort): UdpAddr {
    return {
      transport: "udp",
      hostname: this.#zone === undefined
        ? hostname
        : withZone(hostname, this.#zone),
      port,
    };
  }

  protected override admits(from: HostPort): boolean {
    if (this.#peer === undefined || this.#isPeer(from, this.#peer)) return true;
    this.#strays++;
    return false;
  }

  #isPeer({ hostname, port }: HostPort, { addr }: Peer): boolean {
    if (port !== addr.port) return false;
    if (hostname === this.#peerText) return true;
    const [known] = splitZone(addr.hostname);
    const isPeer = sameAddr(
      { ...addr, hostname: known },
      { ...addr, hostname },
    );
    if (isPeer) this.#peerText = hostname;
    return isPeer;
  }

  protected override destination(
    addr: UdpDestination | undefined,
    length: number,
  ): HostPort | Promise<HostPort> {
    const to = addr ?? this.#peer?.target;
    if (to === undefined) {
      throw Object.assign(
        new TypeError(
          "Invalid address: expected one, because the socket is not connected",
        ),
        { code: "EDESTADDRREQ" },
      );
    }
    return this.#destinations.find(to, length);
  }

  async connect(addr: UdpDestination): Promise<void> {
    const to = checkDestination(addr);
    this.#checkOpen();
    const turn = ++this.#turn;
    const peer = await findPeer(to, this.#family);
    this.#checkOpen();
    // Whoever was asked for later is the peer, whichever lookup took longer.
    if (turn === this.#turn) this.connectTo(peer);
  }

  /** Takes a peer that has been found. */
  connectTo(peer: Peer): void {
    this.#peer = peer;
    this.#peerText = undefined;
    this.#zone = this.#ownZone ?? splitZone(peer.addr.hostname)[1];
  }

  disconnect(): void {
    this.#turn++;
    this.#peer = undefined;
    this.#zone = this.#ownZone;
  }

  async joinMulticast(
    group: string,
    options: JoinMulticastOptions = {},
  ): Promise<MulticastMembership> {
    const join = checkJoin(group, this.addr.port, options, this.#family);
    this.#checkOpen();
    const key = `${ipBytes(join.group)} ${join.on} ${join.source}`;
    if (this.#groups.has(key)) {
      throw systemError("join", join.addr, "EADDRINUSE");
    }
    this.#groups.add(key);
    let leave: Leave;
    try {
      leave = await this.#join(join, this.#family);
    } catch (error) {
      this.#groups.delete(key);
      throw (error as { address?: unknown }).address === undefined
        ? openingError("join", join.addr, error)
        : error;
    }
    let isOver = false;
    const leaveOnce = async () => {
      if (isOver || this.isClosed) return;
      isOver = true;
      this.#groups.delete(key);
      await leave();
    };
    return {
      group: join.group,
      leave: leaveOnce,
      [Symbol.asyncDispose]: leaveOnce,
    };
  }

  #checkOpen(): void {
    if (this.isClosed) throw closedResource("Socket");
  }
}
