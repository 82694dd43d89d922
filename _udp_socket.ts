/** UDP sockets of both backends. */

import type { DatagramSocket, UdpAddr, WaitOptions } from "./types.ts";
import { type HostPort, isIPv4, sameAddr } from "./addr.ts";
import { ipBytes, splitZone, withZone } from "./_host.ts";
import { closedResource } from "./_wait.ts";
import { openingError, systemError } from "./_open.ts";
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
import { type CreateSocket, NodeUdp } from "./_node_udp.ts";
import type { Settings } from "./_udp_options.ts";

/** The family of an address; a name that must not be looked up counts as IPv4. */
export function familyOf(hostname: string): 4 | 6 {
  return hostname.includes(":") ? 6 : 4;
}

/**
 * Binds a socket to an address.
 *
 * @param hostname An address of this machine, or a name that the runtime is to look up.
 * @param createSocket What makes sockets of `node:dgram`, if they are used.
 */
export function openUdp(
  hostname: string,
  port: number,
  settings: Settings,
  createSocket: CreateSocket | undefined,
): UdpDatagrams {
  const { ttl, multicastTtl, multicastInterface } = settings;
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
}

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

/** One of the runtime's, or one over `node:dgram`. */
type NativeUdp = NativeDatagrams<HostPort>;

/** A socket of either backend. */
export class UdpDatagrams extends Datagrams<HostPort, UdpAddr, UdpDestination>
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
