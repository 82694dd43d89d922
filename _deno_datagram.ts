/** Datagram sockets of the BSD face over the rooms of this package. */

import type {
  Datagram,
  DatagramSocket,
  SocketAddr,
  UdpAddr,
  UnixDatagramAddr,
} from "./types.ts";
import {
  kept,
  type Readiness,
  readiness,
  type Watchable,
} from "./_readiness.ts";
import { hasUnstableNet, openingError } from "./_open.ts";
import { checkUnixPath } from "./_unix_path.ts";
import { loadNodeNow } from "./_node_udp.ts";
import { checkUdpOptions } from "./_udp_options.ts";
import { openUdp, type UdpDatagrams } from "./_udp_socket.ts";
import { bindUnnamed } from "./_unix_datagram.ts";
import {
  bindAbstract as bindOnce,
  UnixDatagramConn,
} from "./_unix_datagram_conn.ts";
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
import {
  checkFlags,
  DatagramOptions,
  ELSEWHERE,
  type Membership,
  noDescriptor,
  nothingYet,
} from "./_deno_options.ts";
import { faceError, socketError } from "./_socket_error.ts";
import { interrupted } from "./_wait.ts";
import { toAddress, toEndpoint, unnamed } from "./_sockaddr.ts";
import {
  always,
  Gate,
  never,
  patiently,
  sendAhead,
  Switch,
  untilReady,
} from "./_waiting.ts";

/** A socket below that shows what it has kept. */
type Below = DatagramSocket<SocketAddr, unknown> & Watchable & {
  readonly [kept]: Datagram<SocketAddr> | undefined;
};

/** A UDP or Unix datagram socket. */
export abstract class DenoDatagrams implements DriverSocket {
  protected readonly family: number;
  protected abstract readonly options: DatagramOptions;
  protected abstract readonly below: Below | undefined;
  /** The error of something that nobody waited for. */
  protected error: unknown;
  /** Before there is a socket below nothing can come. */
  protected readonly incoming = new Switch(never);
  #isDeaf = false;
  #isMute = false;
  #isClosed = false;

  constructor(family: number) {
    this.family = family;
  }

  abstract bind(address: Address): void;
  abstract connect(address: Address, patience: Patience): Promise<void>;
  abstract getpeername(): Address;
  /** Sends, to the peer by default. */
  protected abstract sendBelow(
    data: Uint8Array,
    address: Address | undefined,
    patience: Patience,
  ): Promise<unknown>;

  listen(_backlog: number): never {
    throw socketError("EOPNOTSUPP", "listen");
  }

  accept(_patience: Patience): Promise<never> {
    return Promise.reject(socketError("EOPNOTSUPP", "accept"));
  }

  /** Tells what went wrong since the last call. */
  protected takeError(): unknown {
    const { error } = this;
    this.error = undefined;
    return error;
  }

  protected tellError(): void {
    const error = this.takeError();
    if (error !== undefined) throw error;
  }

  // Receiving

  async recv(
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<Uint8Array<ArrayBuffer>> {
    return (await this.recvfrom(size, flags, patience))[0];
  }

  async recvfrom(
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<[Uint8Array<ArrayBuffer>, Address]> {
    checkFlags(flags, MSG_PEEK | MSG_WAITALL, "recvfrom");
    this.tellError();
    if (this.#isDeaf) return [new Uint8Array(0), unnamed(this.family)];
    const wait = flags & MSG_DONTWAIT ? 0 : patience;
    if (this.below === undefined) {
      if (wait === null) {
        throw socketError(
          "EINVAL",
          "recvfrom",
          "the socket has no address that anybody could send to",
        );
      }
      // It may be given one meanwhile.
      await untilReady(this.incoming, wait, "recvfrom");
    }
    const below = this.below!;
    if (this.#isClosed) throw interrupted("Socket");
    if (flags & MSG_PEEK) {
      await untilReady(below[readiness], wait, "recvfrom");
      const peeked = below[kept];
      if (peeked !== undefined) {
        return [peeked.data.slice(0, size), this.#name(peeked)];
      }
    }
    const datagram = await patiently(
      below,
      below[readiness],
      wait,
      "recvfrom",
      () => below.receive(),
    );
    const { data } = datagram;
    return [
      data.length > size ? data.slice(0, size) : data,
      this.#name(datagram),
    ];
  }

  #name({ addr }: Datagram<SocketAddr>): Address {
    return toAddress(this.family, addr);
  }

  // Sending

  async send(
    data: Uint8Array,
    flags: number,
    patience: Patience,
  ): Promise<number> {
    return await this.#send(data, flags, undefined, patience, "send");
  }

  async sendall(
    data: Uint8Array,
    flags: number,
    patience: Patience,
  ): Promise<void> {
    await this.#send(data, flags, undefined, patience, "sendall");
  }

  async sendto(
    data: Uint8Array,
    flags: number,
    address: Address,
    patience: Patience,
  ): Promise<number> {
    return await this.#send(data, flags, address, patience, "sendto");
  }

  async #send(
    data: Uint8Array,
    flags: number,
    address: Address | undefined,
    patience: Patience,
    call: string,
  ): Promise<number> {
    checkFlags(flags, MSG_EOR, call);
    this.tellError();
    if (this.#isMute) throw socketError("EPIPE", call);
    const wait = flags & MSG_DONTWAIT ? 0 : patience;
    try {
      await this.sendBelow(data, address, wait);
    } catch (error) {
      throw faceError(error);
    }
    return data.length;
  }

  // The end

  shutdown(how: number): Promise<void> {
    try {
      this.getpeername();
    } catch {
      return Promise.reject(socketError("ENOTCONN", "shutdown"));
    }
    if (how !== SHUT_WR) {
      this.#isDeaf = true;
      this.incoming.set(always);
    }
    if (how !== SHUT_RD) this.#isMute = true;
    return Promise.resolve();
  }

  close(): void {
    this.#isClosed = true;
    this.below?.close();
    this.incoming.set(always);
  }

  async closed(): Promise<void> {
    await this.below?.[Symbol.asyncDispose]();
  }

  detach(): Detached {
    if (this.below !== undefined) {
      return this.below as DatagramSocket<SocketAddr, SocketAddr>;
    }
    throw nothingYet();
  }

  fileno(): never {
    throw noDescriptor();
  }

  // What there is to know

  getsockname(): Address {
    const { below } = this;
    return below === undefined
      ? unnamed(this.family)
      : toAddress(this.family, below.addr);
  }

  setsockopt(level: number, option: number, value: OptionValue): void {
    this.options.set(level, option, value, this.below !== undefined);
  }

  getsockopt(
    level: number,
    option: number,
    size: number | undefined,
  ): number | Uint8Array<ArrayBuffer> {
    return this.options.get(level, option, size, () => this.takeError());
  }

  get reading(): Readiness {
    return this.incoming;
  }

  abstract readonly writing: Readiness;
}

/** A UDP socket. */
export class DenoUdp extends DenoDatagrams {
  protected override readonly options: DatagramOptions;
  protected override below: (UdpDatagrams & Below) | undefined;
  /** Groups that were joined before there was a socket. */
  readonly #early = new Map<string, Membership>();
  readonly #groups = new Map<string, Promise<{ leave(): Promise<void> }>>();

  constructor(family: number) {
    super(family);
    this.options = new DatagramOptions(
      family,
      (membership, isJoin) => this.#change(membership, isJoin),
    );
  }

  override bind(address: Address): void {
    if (this.below !== undefined) {
      throw socketError("EINVAL", "bind", "the socket has an address already");
    }
    const { hostname, port } = toEndpoint(this.family, address);
    const { options } = this;
    try {
      const settings = checkUdpOptions({
        reuseAddress: options.reuseAddress,
        multicastLoopback: options.multicastLoopback,
        ...(options.ipv6Only && { ipv6Only: true }),
        ...(!options.broadcast && { broadcast: false }),
        ...(options.ttl !== undefined && { ttl: options.ttl }),
        ...(options.multicastTtl !== undefined &&
          { multicastTtl: options.multicastTtl }),
        ...(options.multicastInterface !== undefined &&
          { multicastInterface: options.multicastInterface }),
      });
      this.below = openUdp(
        hostname,
        port,
        settings,
        settings.backend === "node" ? loadNodeNow() : undefined,
      ) as UdpDatagrams & Below;
    } catch (error) {
      const addr: UdpAddr = { transport: "udp", hostname, port };
      throw faceError(openingError("bind", addr, error));
    }
    this.incoming.set(this.below[readiness]);
    for (const membership of this.#early.values()) {
      this.#change(membership, true);
    }
  }

  /** There is always room, or what is sent is lost. */
  override get writing(): Readiness {
    return always;
  }

  /** The socket below, on an address of the system's choice if there is none yet. */
  #bound(): UdpDatagrams {
    if (this.below === undefined) this.bind(["", 0]);
    return this.below!;
  }

  override async connect(address: Address, _patience: Patience): Promise<void> {
    const { hostname, port } = toEndpoint(this.family, address);
    if (port === 0) throw socketError("EINVAL", "connect", "port 0");
    try {
      await this.#bound().connect({ hostname, port });
    } catch (error) {
      throw faceError(error);
    }
  }

  override getpeername(): Address {
    const peer = this.below?.remoteAddr;
    if (peer === undefined) throw socketError("ENOTCONN", "getpeername");
    return toAddress(this.family, peer);
  }

  protected override sendBelow(
    data: Uint8Array,
    address: Address | undefined,
  ): Promise<number> {
    if (address === undefined) {
      if (this.below?.remoteAddr === undefined) {
        throw socketError("EDESTADDRREQ", "send");
      }
      return this.below.send(data);
    }
    const { hostname, port } = toEndpoint(this.family, address);
    if (port === 0) throw socketError("EINVAL", "sendto", "port 0");
    return this.#bound().send(data, { hostname, port });
  }

  /** Joins or leaves a group. What the system says to it later is the next call's error. */
  #change(membership: Membership, isJoin: boolean): void {
    const { group, on } = membership;
    const key = `${group} ${on}`;
    const call = "setsockopt";
    if (!isJoin) {
      if (this.below === undefined && this.#early.delete(key)) return;
      const joined = this.#groups.get(key);
      if (joined === undefined) {
        throw socketError("EADDRNOTAVAIL", call, `no member of ${group}`);
      }
      this.#groups.delete(key);
      joined.then(({ leave }) => leave()).catch((error) => {
        this.error = faceError(error);
      });
      return;
    }
    if (!/^(22[4-9]|23\d)\.|^ff/i.test(group)) {
      throw socketError("EINVAL", call, `${group} is no group`);
    }
    const all = this.below === undefined ? this.#early : this.#groups;
    if (all.has(key)) throw socketError("EADDRINUSE", call);
    if (this.below === undefined) {
      this.#early.set(key, membership);
      return;
    }
    const joining = this.below.joinMulticast(
      group,
      on === undefined ? {} : { interface: on },
    );
    this.#groups.set(key, joining);
    joining.catch((error) => {
      this.#groups.delete(key);
      this.error = faceError(error);
    });
  }
}

/** A Unix datagram socket. */
export class DenoUnixDatagrams extends DenoDatagrams {
  protected override readonly options = new DatagramOptions(AF_UNIX, () => {});
  protected override below: (UnixDatagramConn & Below) | undefined;
  #peer: string | undefined;
  /** Whether what was sent last has been taken. */
  readonly #gate = new Gate(true);

  constructor() {
    super(AF_UNIX);
    if (!hasUnstableNet()) {
      throw socketError(
        "EOPNOTSUPP",
        "socket",
        `Unix datagram sockets need --unstable-net, or ${ELSEWHERE}`,
      );
    }
  }

  override bind(address: Address): void {
    if (this.below !== undefined && this.below.addr.path !== null) {
      throw socketError("EINVAL", "bind", "the socket has an address already");
    }
    const path = checkUnixPath(address as string);
    const addr: UnixDatagramAddr = { transport: "unixpacket", path };
    try {
      const bound = new UnixDatagramConn(bindOnce(path), addr, LARGEST) as
        & UnixDatagramConn
        & Below;
      this.below?.close();
      this.below = bound;
      this.incoming.set(bound[readiness]);
    } catch (error) {
      throw faceError(openingError("bind", addr, error));
    }
  }

  /** Nobody can be asked whether somebody receives there: only whether it could be. */
  override connect(address: Address, _patience: Patience): Promise<void> {
    const path = address as string;
    try {
      checkUnixPath(path);
      if (!path.startsWith("\0") && !Deno.statSync(path).isSocket) {
        throw socketError("ECONNREFUSED", "connect", `${path} is no socket`);
      }
    } catch (error) {
      const addr: UnixDatagramAddr = { transport: "unixpacket", path };
      return Promise.reject(faceError(openingError("connect to", addr, error)));
    }
    this.#peer = path;
    return Promise.resolve();
  }

  override get writing(): Readiness {
    return this.#gate;
  }

  override getpeername(): Address {
    if (this.#peer === undefined) throw socketError("ENOTCONN", "getpeername");
    return this.#peer;
  }

  protected override async sendBelow(
    data: Uint8Array,
    address: Address | undefined,
    patience: Patience,
  ): Promise<void> {
    const path = (address ?? this.#peer) as string | undefined;
    if (path === undefined) throw socketError("ENOTCONN", "send");
    const below = this.below ??= new UnixDatagramConn(
      { sender: bindUnnamed(), receiver: undefined, early: [] },
      { transport: "unixpacket", path: null },
      LARGEST,
    ) as UnixDatagramConn & Below;
    if (patience === null) return void await below.send(data, { path });
    const own = data.slice();
    await sendAhead(
      this.#gate,
      patience,
      () => below.send(own, { path }),
      (error) => this.error = error,
    );
    this.tellError();
  }

  override close(): void {
    super.close();
    this.#gate.set(true);
  }
}

/** The largest datagram that can be received. */
const LARGEST = 2 ** 18 - 1;
