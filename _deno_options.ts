/** Socket options that the runtime has a call for, and honest answers for all the others. */

import { errno, errorCode } from "./errors.ts";
import { inet_ntop } from "./_inet.ts";
import { hasUnstableNet } from "./_open.ts";
import type { TcpConn } from "./tcp.ts";
import * as C from "./_constants.ts";
import type { OptionValue } from "./_driver.ts";
import { socketError } from "./_socket_error.ts";

/** What is said of what only the other driver can do. */
export const ELSEWHERE = "the sockets of @berkeley/sockets/libc can";

/** An option that the kernel would not see is never reported as set. */
function noOption(call: string, hint: string): Error {
  return socketError("ENOPROTOOPT", call, hint);
}

const unknown = (call: string): Error =>
  noOption(call, `Deno has no call for this option; ${ELSEWHERE}`);

/** An integer, a switch, or the bytes of an integer in the host's order. */
function toInt(value: OptionValue): number {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return Number(value);
  if (value.length === 1) return value[0]!;
  if (value.length !== 4) {
    throw socketError(
      "EINVAL",
      "setsockopt",
      "expected an integer of 4 bytes, or of 1",
    );
  }
  const { buffer, byteOffset } = value;
  return new Int32Array(buffer.slice(byteOffset, byteOffset + 4))[0]!;
}

/** An integer as a number, or as bytes where the caller asks for them. */
function fromInt(
  value: number,
  size: number | undefined,
): number | Uint8Array<ArrayBuffer> {
  if (size === undefined) return value;
  return new Uint8Array(new Int32Array([value]).buffer).slice(0, size);
}

/** The number of an error that nobody waited for; 0 for none. */
function pending(error: unknown): number {
  return error === undefined ? 0 : errno(errorCode(error) ?? "") ?? 0;
}

/** The system's own timeouts would end no call of the runtime's. */
function refuseTimeouts(level: number, option: number): void {
  if (
    level === C.SOL_SOCKET && option !== -1 &&
    (option === C.SO_RCVTIMEO || option === C.SO_SNDTIMEO)
  ) throw noOption("setsockopt", "settimeout() is what bounds a call here");
}

/** Where a socket is in its life. */
export type State = "new" | "bound" | "connected";

/** What can be asked of every socket. */
function common(
  option: number,
  family: number,
  type: number,
  proto: number,
  takeError: () => unknown,
  isListening: boolean,
): number | undefined {
  // Numbers that the system does not have are all -1.
  if (option === -1) return undefined;
  switch (option) {
    case C.SO_TYPE:
      return type;
    case C.SO_DOMAIN:
      return family;
    case C.SO_PROTOCOL:
      return proto;
    case C.SO_ERROR:
      return pending(takeError());
    case C.SO_ACCEPTCONN:
      return Number(isListening);
  }
  return undefined;
}

/** Options of a stream socket. */
export class StreamOptions {
  readonly #family: number;
  #noDelay = false;
  #keepAlive = false;
  #reuseAddress = false;
  /** Whether several listeners share the port. */
  reusePort = false;
  /** Whether `"::"` takes connections of IPv4 too, whatever the system's own setting is. */
  dualStack = false;
  isListening = false;

  constructor(family: number) {
    this.#family = family;
  }

  get #isTcp(): boolean {
    return this.#family !== C.AF_UNIX;
  }

  /** What is set on connections from their start. */
  get settings(): { noDelay: boolean; keepAlive: boolean } {
    return { noDelay: this.#noDelay, keepAlive: this.#keepAlive };
  }

  /** What was to be set before bind() was never seen by the kernel: the socket connects without one. */
  connected(): void {
    this.#reuseAddress = this.reusePort = false;
  }

  /** Those of a connection that a listener with these has accepted. */
  inherit(): StreamOptions {
    const options = new StreamOptions(this.#family);
    options.#noDelay = this.#noDelay;
    options.#keepAlive = this.#keepAlive;
    options.#reuseAddress = true;
    options.reusePort = this.reusePort;
    return options;
  }

  set(
    level: number,
    option: number,
    value: OptionValue,
    state: State,
    conn: TcpConn | undefined,
  ): void {
    const call = "setsockopt";
    refuseTimeouts(level, option);
    if (
      !this.#isTcp && level === C.SOL_SOCKET && option === C.SO_REUSEADDR
    ) throw noOption(call, "it means nothing to Unix sockets: leave it out");
    if (!this.#isTcp || option === -1) throw unknown(call);
    if (level === C.SOL_SOCKET && option === C.SO_REUSEADDR) {
      // Every listener has it.
      if (state === "bound" && toInt(value) !== 0) return;
      if (state !== "new") {
        throw noOption(call, "Deno can set it before bind() only");
      }
      this.#reuseAddress = toInt(value) !== 0;
    } else if (level === C.SOL_SOCKET && option === C.SO_REUSEPORT) {
      if (!hasUnstableNet()) {
        throw noOption(call, "run the program again with --unstable-net");
      }
      if (state !== "new") {
        throw noOption(call, "Deno can set it before bind() only");
      }
      this.reusePort = toInt(value) !== 0;
    } else if (level === C.SOL_SOCKET && option === C.SO_KEEPALIVE) {
      const on = toInt(value) !== 0;
      conn?.setKeepAlive(on);
      this.#keepAlive = on;
    } else if (level === C.IPPROTO_TCP && option === C.TCP_NODELAY) {
      const on = toInt(value) !== 0;
      conn?.setNoDelay(on);
      this.#noDelay = on;
    } else if (
      level === C.IPPROTO_IPV6 && option === C.IPV6_V6ONLY &&
      this.#family === C.AF_INET6
    ) {
      if (state !== "new") {
        throw noOption(call, "Deno can set it before bind() only");
      }
      if (toInt(value) !== 0) {
        throw noOption(
          call,
          `Deno has no TCP listener of IPv6 alone; ${ELSEWHERE}`,
        );
      }
      this.dualStack = true;
    } else throw unknown(call);
  }

  get(
    level: number,
    option: number,
    size: number | undefined,
    takeError: () => unknown,
    isBound: boolean,
  ): number | Uint8Array<ArrayBuffer> {
    let value: number | undefined;
    if (level === C.SOL_SOCKET) {
      value = common(
        option,
        this.#family,
        C.SOCK_STREAM,
        this.#isTcp ? C.IPPROTO_TCP : 0,
        takeError,
        this.isListening,
      );
      if (value === undefined && this.#isTcp && option !== -1) {
        // Deno sets it on every listener, and on nothing else.
        if (option === C.SO_REUSEADDR) {
          value = Number(isBound || this.#reuseAddress);
        } else if (option === C.SO_REUSEPORT) value = Number(this.reusePort);
        else if (option === C.SO_KEEPALIVE) value = Number(this.#keepAlive);
      }
    } else if (
      level === C.IPPROTO_TCP && option === C.TCP_NODELAY && this.#isTcp
    ) value = Number(this.#noDelay);
    else if (
      level === C.IPPROTO_IPV6 && option === C.IPV6_V6ONLY && this.dualStack
    ) value = 0;
    if (value === undefined) throw unknown("getsockopt");
    return fromInt(value, size);
  }
}

/** A group to join or leave. */
export interface Membership {
  readonly group: string;
  /** The interface: its address for IPv4, its index for IPv6; `undefined` for the system's choice. */
  readonly on: string | undefined;
}

/** The group in the bytes of `struct ip_mreq`, `ip_mreqn` (ip(7)) or `ipv6_mreq` (ipv6(7)). */
function toMembership(value: OptionValue, isFour: boolean): Membership {
  const length = isFour ? [8, 12] : [20];
  if (!(value instanceof Uint8Array) || !length.includes(value.length)) {
    throw socketError(
      "EINVAL",
      "setsockopt",
      `expected a structure of ${length.join(" or ")} bytes`,
    );
  }
  if (isFour) {
    const on = inet_ntop(C.AF_INET, value.subarray(4, 8));
    return {
      group: inet_ntop(C.AF_INET, value.subarray(0, 4)),
      on: on === "0.0.0.0" ? undefined : on,
    };
  }
  const index = toInt(value.subarray(16));
  return {
    group: inet_ntop(C.AF_INET6, value.subarray(0, 16)),
    on: index === 0 ? undefined : String(index),
  };
}

/** Options of a datagram socket, as `bindUdp` takes them. */
export class DatagramOptions {
  readonly #family: number;
  readonly #join: (membership: Membership, isJoin: boolean) => void;
  reuseAddress = false;
  ipv6Only = false;
  broadcast = true;
  ttl: number | undefined;
  multicastTtl: number | undefined;
  multicastLoopback = true;
  multicastInterface: string | undefined;

  /** @param join Joins or leaves a group. */
  constructor(
    family: number,
    join: (membership: Membership, isJoin: boolean) => void,
  ) {
    this.#family = family;
    this.#join = join;
  }

  set(
    level: number,
    option: number,
    value: OptionValue,
    isBound: boolean,
  ): void {
    const call = "setsockopt";
    const { AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, SOL_SOCKET } = C;
    const isFour = this.#family === AF_INET;
    const before = (set: (n: number) => void): void => {
      if (isBound) throw noOption(call, "Deno can set it before bind() only");
      set(toInt(value));
    };
    const hops = (n: number): number => {
      if (n >= 1 && n <= 255) return n;
      throw socketError("EINVAL", call, "expected 1 to 255");
    };
    if (option === -1) throw unknown(call);
    refuseTimeouts(level, option);
    if (level === SOL_SOCKET && this.#family !== C.AF_UNIX) {
      if (option === C.SO_REUSEADDR) {
        return before((n) => this.reuseAddress = n !== 0);
      }
      if (option === C.SO_BROADCAST) {
        // Deno's sockets have it on from the start.
        if (this.broadcast === (toInt(value) !== 0)) return;
        return before((n) => this.broadcast = n !== 0);
      }
    } else if (level === IPPROTO_IP && isFour) {
      switch (option) {
        case C.IP_TTL:
          return before((n) => this.ttl = hops(n));
        case C.IP_MULTICAST_TTL:
          if (toInt(value) === 0) {
            throw noOption(call, `Deno takes 1 to 255; ${ELSEWHERE}`);
          }
          return before((n) => this.multicastTtl = hops(n));
        case C.IP_MULTICAST_LOOP:
          return before((n) => this.multicastLoopback = n !== 0);
        case C.IP_MULTICAST_IF: {
          if (isBound || !(value instanceof Uint8Array) || value.length < 4) {
            throw isBound
              ? noOption(call, "Deno can set it before bind() only")
              : socketError("EINVAL", call, "expected an address of 4 bytes");
          }
          this.multicastInterface = inet_ntop(AF_INET, value.subarray(0, 4));
          return;
        }
        case C.IP_ADD_MEMBERSHIP:
          return this.#join(toMembership(value, true), true);
        case C.IP_DROP_MEMBERSHIP:
          return this.#join(toMembership(value, true), false);
      }
    } else if (level === IPPROTO_IPV6 && this.#family === AF_INET6) {
      switch (option) {
        case C.IPV6_V6ONLY:
          return before((n) => this.ipv6Only = n !== 0);
        case C.IPV6_MULTICAST_LOOP:
          return before((n) => this.multicastLoopback = n !== 0);
        case C.IPV6_JOIN_GROUP:
          return this.#join(toMembership(value, false), true);
        case C.IPV6_LEAVE_GROUP:
          return this.#join(toMembership(value, false), false);
      }
    }
    throw unknown(call);
  }

  get(
    level: number,
    option: number,
    size: number | undefined,
    takeError: () => unknown,
  ): number | Uint8Array<ArrayBuffer> {
    let value: number | undefined;
    const isUnix = this.#family === C.AF_UNIX;
    if (level === C.SOL_SOCKET) {
      value = common(
        option,
        this.#family,
        C.SOCK_DGRAM,
        isUnix ? 0 : C.IPPROTO_UDP,
        takeError,
        false,
      );
      if (value === undefined && !isUnix && option !== -1) {
        if (option === C.SO_REUSEADDR) value = Number(this.reuseAddress);
        else if (option === C.SO_BROADCAST) value = Number(this.broadcast);
      }
    } else if (level === C.IPPROTO_IP && this.#family === C.AF_INET) {
      if (option === C.IP_TTL) value = this.ttl;
      else if (option === C.IP_MULTICAST_TTL) value = this.multicastTtl ?? 1;
      else if (option === C.IP_MULTICAST_LOOP) {
        value = Number(this.multicastLoopback);
      }
    } else if (level === C.IPPROTO_IPV6 && this.#family === C.AF_INET6) {
      if (option === C.IPV6_MULTICAST_LOOP) {
        value = Number(this.multicastLoopback);
      } else if (option === C.IPV6_V6ONLY && this.ipv6Only) value = 1;
    }
    if (value === undefined) throw unknown("getsockopt");
    return fromInt(value, size);
  }
}

/** Refuses flags that the runtime has no way to pass on. */
export function checkFlags(flags: number, known: number, call: string): void {
  const others = flags & ~(known | C.MSG_DONTWAIT | C.MSG_NOSIGNAL);
  if (others !== 0) {
    throw socketError(
      "EOPNOTSUPP",
      call,
      `Deno has no such flags (0x${others.toString(16)}); ${ELSEWHERE}`,
    );
  }
}

/** What is said where a descriptor is asked for. */
export function noDescriptor(): Error {
  return socketError(
    "EOPNOTSUPP",
    "fileno",
    `Deno tells no descriptors; ${ELSEWHERE}`,
  );
}

/** What is said where there is nothing below yet. */
export function nothingYet(): Error {
  return socketError("ENOTCONN", "detach", "there is nothing to give away yet");
}
