/** Socket options as what they are, by their constants: socket(7), tcp(7), ip(7), ipv6(7), unix(7). */

import { checkBoolean, checkInteger, checkText, show } from "../_check.ts";
import * as C from "../_constants.ts";
import { inet_ntop, inet_pton } from "../_inet.ts";
import { readTcpInfo, TCP_INFO_SIZE, type TcpInfo } from "./_tcp_info.ts";
import { seldom } from "./_symbols.ts";

/** An option of `getoption()` and `setoption()`, with the type of its value. */
export interface Option<T> {
  /** Whose it is, such as `SOL_SOCKET`. */
  readonly level: number;
  /** Its number there. */
  readonly name: number;
  /** How many bytes its value has at most. */
  readonly size: number;
  /** What the bytes mean. */
  decode(bytes: Uint8Array): T;
  /** The bytes of a value; missing where it can only be read. */
  encode?(value: T): Uint8Array<ArrayBuffer>;
}

/** What a close does with bytes that are not sent yet, SO_LINGER. */
export interface Linger {
  /** Whether it waits for them. */
  readonly on: boolean;
  /** For how many seconds, 0 to 65,535; with 0 they are thrown away, and the peer gets a reset. */
  readonly seconds: number;
}

/** Who a Unix peer is, SO_PEERCRED: the program, its user and its group when it connected. */
export interface Credentials {
  /** The number of its process. */
  readonly pid: number;
  /** The number of its user. */
  readonly uid: number;
  /** The number of its group. */
  readonly gid: number;
}

/** A group to join or leave. */
export interface GroupMembership {
  /** The group's address. */
  readonly group: string;
  /** The interface by its name or its number, or for IPv4 its address; the system's choice by default. */
  readonly interface?: string | number;
  /** The only sender to be heard, for the options of one source. */
  readonly source?: string;
}

type Kind<T> = (level: number, name: number) => Option<T>;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Bytes of a structure. */
function struct(
  size: number,
  fill: (view: DataView) => void,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  fill(viewOf(bytes));
  return bytes;
}

const toInt = (bytes: Uint8Array): number =>
  // Some have one byte, where one was asked for.
  bytes.length < 4 ? bytes[0] ?? 0 : viewOf(bytes).getInt32(0, true);

/** An integer of 32 bits; more than 2^31 - 1 for those that have no sign. */
const integer: Kind<number> = (level, name) => ({
  level,
  name,
  size: 4,
  decode: toInt,
  encode(value) {
    checkInteger(value, "value", -(2 ** 31), 2 ** 32 - 1);
    return struct(4, (view) => view.setInt32(0, value | 0, true));
  },
});

const boolean: Kind<boolean> = (level, name) => ({
  level,
  name,
  size: 4,
  decode: (bytes) => toInt(bytes) !== 0,
  encode(value) {
    checkBoolean(value ?? null, "value");
    return struct(4, (view) => view.setInt32(0, Number(value), true));
  },
});

/** `struct timeval`, in milliseconds; 0 for no bound. */
const timeval: Kind<number> = (level, name) => ({
  level,
  name,
  size: 16,
  decode(bytes) {
    const view = viewOf(bytes);
    return Number(view.getBigInt64(0, true)) * 1000 +
      Number(view.getBigInt64(8, true)) / 1000;
  },
  encode(ms) {
    checkInteger(ms, "milliseconds", 0, 2 ** 31 - 1);
    return struct(16, (view) => {
      view.setBigInt64(0, BigInt(Math.floor(ms / 1000)), true);
      view.setBigInt64(8, BigInt(ms % 1000 * 1000), true);
    });
  },
});

const linger: Kind<Linger> = (level, name) => ({
  level,
  name,
  size: 8,
  decode(bytes) {
    const view = viewOf(bytes);
    return {
      on: view.getInt32(0, true) !== 0,
      seconds: view.getInt32(4, true),
    };
  },
  encode(value) {
    checkObject(value, "{ on, seconds }");
    checkBoolean(value.on ?? null, "on");
    checkInteger(value.seconds, "seconds", 0, 65_535);
    return struct(8, (view) => {
      view.setInt32(0, Number(value.on), true);
      view.setInt32(4, value.seconds, true);
    });
  },
});

function checkObject(value: unknown, shape: string): void {
  if (Object(value) !== value) {
    throw new TypeError(`Invalid value: expected ${shape}, got ${show(value)}`);
  }
}

/** A text that ends with a NUL: the name of an interface or of an algorithm. */
const text: Kind<string> = (level, name) => ({
  level,
  name,
  size: 64,
  decode(bytes) {
    const end = bytes.indexOf(0);
    return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
  },
  encode(value) {
    checkText(value, "value");
    if (value.includes("\0") || value.length > 63) {
      throw new RangeError(
        `Invalid value: expected up to 63 characters without a NUL, got ${
          show(value)
        }`,
      );
    }
    return new TextEncoder().encode(`${value}\0`);
  },
});

/** What can only be read. */
function readOnly<T>({ level, name, size, decode }: Option<T>): Option<T> {
  return { level, name, size, decode };
}

const credentials: Kind<Credentials> = (level, name) => ({
  level,
  name,
  size: 12,
  decode(bytes) {
    const view = viewOf(bytes);
    return {
      pid: view.getInt32(0, true),
      uid: view.getUint32(4, true),
      gid: view.getUint32(8, true),
    };
  },
});

const tcpInfo: Kind<TcpInfo> = (level, name) => ({
  level,
  name,
  size: TCP_INFO_SIZE,
  decode: readTcpInfo,
});

/** The number of an interface by its name or number; 0 for the system's choice. */
function indexOf(on: string | number | undefined): number {
  if (on === undefined || on === "") return 0;
  if (typeof on === "number") {
    checkInteger(on, "interface", 0, 2 ** 31 - 1);
    return on;
  }
  checkText(on, "interface");
  const index = seldom().if_nametoindex(new TextEncoder().encode(`${on}\0`));
  if (index !== 0) return index;
  throw Object.assign(
    new Deno.errors.NotFound(`Invalid interface: there is no ${show(on)}`),
    { code: "ENODEV" },
  );
}

const isIPv4 = (on: unknown): on is string =>
  typeof on === "string" && /^\d+\.\d+\.\d+\.\d+$/.test(on);

const writeOnly = (call: string) => (): never => {
  throw new TypeError(`${call} can only be set`);
};

/** `struct ip_mreqn`. */
const group4: Kind<GroupMembership> = (level, name) => ({
  level,
  name,
  size: 12,
  decode: writeOnly("A membership"),
  encode(value) {
    checkObject(value, "{ group, interface }");
    const { group, interface: on } = value;
    const bytes = new Uint8Array(12);
    bytes.set(inet_pton(C.AF_INET, group));
    if (isIPv4(on)) bytes.set(inet_pton(C.AF_INET, on), 4);
    else viewOf(bytes).setInt32(8, indexOf(on), true);
    return bytes;
  },
});

/** `struct ip_mreq_source`. */
const source4: Kind<GroupMembership> = (level, name) => ({
  level,
  name,
  size: 12,
  decode: writeOnly("A membership"),
  encode(value) {
    checkObject(value, "{ group, source, interface }");
    const { group, source, interface: on = "0.0.0.0" } = value;
    if (!isIPv4(on)) {
      throw new TypeError(
        `Invalid interface: expected its IPv4 address, got ${show(on)}`,
      );
    }
    const bytes = new Uint8Array(12);
    bytes.set(inet_pton(C.AF_INET, group));
    bytes.set(inet_pton(C.AF_INET, on), 4);
    bytes.set(inet_pton(C.AF_INET, source!), 8);
    return bytes;
  },
});

/** `struct ipv6_mreq`. */
const group6: Kind<GroupMembership> = (level, name) => ({
  level,
  name,
  size: 20,
  decode: writeOnly("A membership"),
  encode(value) {
    checkObject(value, "{ group, interface }");
    const bytes = new Uint8Array(20);
    bytes.set(inet_pton(C.AF_INET6, value.group));
    viewOf(bytes).setInt32(16, indexOf(value.interface), true);
    return bytes;
  },
});

/** The interface for multicast, by its address. */
const interface4: Kind<string> = (level, name) => ({
  level,
  name,
  size: 4,
  decode: (bytes) => inet_ntop(C.AF_INET, bytes.subarray(0, 4)),
  encode: (value) => inet_pton(C.AF_INET, value),
});

/** Options that are an integer. */
export type IntegerOption =
  | "SO_BUSY_POLL"
  | "SO_DOMAIN"
  | "SO_ERROR"
  | "SO_INCOMING_CPU"
  | "SO_MARK"
  | "SO_PRIORITY"
  | "SO_PROTOCOL"
  | "SO_RCVBUF"
  | "SO_RCVLOWAT"
  | "SO_SNDBUF"
  | "SO_TYPE"
  | "TCP_DEFER_ACCEPT"
  | "TCP_FASTOPEN"
  | "TCP_KEEPCNT"
  | "TCP_KEEPIDLE"
  | "TCP_KEEPINTVL"
  | "TCP_LINGER2"
  | "TCP_MAXSEG"
  | "TCP_SYNCNT"
  | "TCP_USER_TIMEOUT"
  | "TCP_WINDOW_CLAMP"
  | "IP_MTU"
  | "IP_MTU_DISCOVER"
  | "IP_MULTICAST_TTL"
  | "IP_TOS"
  | "IP_TTL"
  | "IPV6_MULTICAST_HOPS"
  | "IPV6_MULTICAST_IF"
  | "IPV6_TCLASS"
  | "IPV6_UNICAST_HOPS";

/** Options that are a switch. */
export type BooleanOption =
  | "SO_ACCEPTCONN"
  | "SO_BROADCAST"
  | "SO_DEBUG"
  | "SO_DONTROUTE"
  | "SO_KEEPALIVE"
  | "SO_OOBINLINE"
  | "SO_PASSCRED"
  | "SO_REUSEADDR"
  | "SO_REUSEPORT"
  | "SO_TIMESTAMP"
  | "SO_TIMESTAMPNS"
  | "TCP_CORK"
  | "TCP_NODELAY"
  | "TCP_QUICKACK"
  | "IP_BIND_ADDRESS_NO_PORT"
  | "IP_FREEBIND"
  | "IP_HDRINCL"
  | "IP_MULTICAST_LOOP"
  | "IP_PKTINFO"
  | "IP_RECVERR"
  | "IP_RECVTOS"
  | "IP_RECVTTL"
  | "IP_TRANSPARENT"
  | "IPV6_MULTICAST_LOOP"
  | "IPV6_RECVERR"
  | "IPV6_RECVHOPLIMIT"
  | "IPV6_RECVPKTINFO"
  | "IPV6_RECVTCLASS"
  | "IPV6_V6ONLY";

/** Options that are a text: the name of an interface or of an algorithm, or an address. */
export type TextOption =
  | "SO_BINDTODEVICE"
  | "TCP_CONGESTION"
  | "IP_MULTICAST_IF";

/** Options that are a time in milliseconds. */
export type TimeOption =
  | "SO_RCVTIMEO"
  | "SO_SNDTIMEO";

/** Options that are a group to join or leave. */
export type GroupOption =
  | "IP_ADD_MEMBERSHIP"
  | "IP_DROP_MEMBERSHIP"
  | "IP_ADD_SOURCE_MEMBERSHIP"
  | "IP_DROP_SOURCE_MEMBERSHIP"
  | "IPV6_JOIN_GROUP"
  | "IPV6_LEAVE_GROUP";

/** The options of {@linkcode Options}, by their constants. */
export type OptionTable =
  & Readonly<Record<IntegerOption, Option<number>>>
  & Readonly<Record<BooleanOption, Option<boolean>>>
  & Readonly<Record<TextOption, Option<string>>>
  & Readonly<Record<TimeOption, Option<number>>>
  & Readonly<Record<GroupOption, Option<GroupMembership>>>
  & {
    readonly SO_LINGER: Option<Linger>;
    readonly SO_PEERCRED: Option<Credentials>;
    readonly TCP_INFO: Option<TcpInfo>;
  };

/**
 * Options by their constants, each with the type of its value, for `getoption()` and `setoption()`. Those
 * that are not here can be set by `setsockopt()`, as an integer or as bytes.
 */
export const Options: OptionTable = {
  // socket(7)
  SO_ACCEPTCONN: readOnly(boolean(C.SOL_SOCKET, C.SO_ACCEPTCONN)),
  SO_BINDTODEVICE: text(C.SOL_SOCKET, C.SO_BINDTODEVICE),
  SO_BROADCAST: boolean(C.SOL_SOCKET, C.SO_BROADCAST),
  SO_BUSY_POLL: integer(C.SOL_SOCKET, C.SO_BUSY_POLL),
  SO_DEBUG: boolean(C.SOL_SOCKET, C.SO_DEBUG),
  SO_DOMAIN: readOnly(integer(C.SOL_SOCKET, C.SO_DOMAIN)),
  SO_DONTROUTE: boolean(C.SOL_SOCKET, C.SO_DONTROUTE),
  SO_ERROR: readOnly(integer(C.SOL_SOCKET, C.SO_ERROR)),
  SO_INCOMING_CPU: integer(C.SOL_SOCKET, C.SO_INCOMING_CPU),
  SO_KEEPALIVE: boolean(C.SOL_SOCKET, C.SO_KEEPALIVE),
  SO_LINGER: linger(C.SOL_SOCKET, C.SO_LINGER),
  SO_MARK: integer(C.SOL_SOCKET, C.SO_MARK),
  SO_OOBINLINE: boolean(C.SOL_SOCKET, C.SO_OOBINLINE),
  SO_PASSCRED: boolean(C.SOL_SOCKET, C.SO_PASSCRED),
  SO_PEERCRED: credentials(C.SOL_SOCKET, C.SO_PEERCRED),
  SO_PRIORITY: integer(C.SOL_SOCKET, C.SO_PRIORITY),
  SO_PROTOCOL: readOnly(integer(C.SOL_SOCKET, C.SO_PROTOCOL)),
  SO_RCVBUF: integer(C.SOL_SOCKET, C.SO_RCVBUF),
  SO_RCVLOWAT: integer(C.SOL_SOCKET, C.SO_RCVLOWAT),
  /** In milliseconds. Calls here do not wait in the kernel: `settimeout()` is what bounds them. */
  SO_RCVTIMEO: timeval(C.SOL_SOCKET, C.SO_RCVTIMEO),
  SO_REUSEADDR: boolean(C.SOL_SOCKET, C.SO_REUSEADDR),
  SO_REUSEPORT: boolean(C.SOL_SOCKET, C.SO_REUSEPORT),
  SO_SNDBUF: integer(C.SOL_SOCKET, C.SO_SNDBUF),
  /** As `SO_RCVTIMEO`. */
  SO_SNDTIMEO: timeval(C.SOL_SOCKET, C.SO_SNDTIMEO),
  SO_TIMESTAMP: boolean(C.SOL_SOCKET, C.SO_TIMESTAMP),
  SO_TIMESTAMPNS: boolean(C.SOL_SOCKET, C.SO_TIMESTAMPNS),
  SO_TYPE: readOnly(integer(C.SOL_SOCKET, C.SO_TYPE)),
  // tcp(7)
  TCP_CONGESTION: text(C.IPPROTO_TCP, C.TCP_CONGESTION),
  TCP_CORK: boolean(C.IPPROTO_TCP, C.TCP_CORK),
  TCP_DEFER_ACCEPT: integer(C.IPPROTO_TCP, C.TCP_DEFER_ACCEPT),
  TCP_FASTOPEN: integer(C.IPPROTO_TCP, C.TCP_FASTOPEN),
  TCP_INFO: tcpInfo(C.IPPROTO_TCP, C.TCP_INFO),
  TCP_KEEPCNT: integer(C.IPPROTO_TCP, C.TCP_KEEPCNT),
  /** In seconds. */
  TCP_KEEPIDLE: integer(C.IPPROTO_TCP, C.TCP_KEEPIDLE),
  /** In seconds. */
  TCP_KEEPINTVL: integer(C.IPPROTO_TCP, C.TCP_KEEPINTVL),
  /** In seconds. */
  TCP_LINGER2: integer(C.IPPROTO_TCP, C.TCP_LINGER2),
  TCP_MAXSEG: integer(C.IPPROTO_TCP, C.TCP_MAXSEG),
  TCP_NODELAY: boolean(C.IPPROTO_TCP, C.TCP_NODELAY),
  TCP_QUICKACK: boolean(C.IPPROTO_TCP, C.TCP_QUICKACK),
  TCP_SYNCNT: integer(C.IPPROTO_TCP, C.TCP_SYNCNT),
  /** In milliseconds. */
  TCP_USER_TIMEOUT: integer(C.IPPROTO_TCP, C.TCP_USER_TIMEOUT),
  TCP_WINDOW_CLAMP: integer(C.IPPROTO_TCP, C.TCP_WINDOW_CLAMP),
  // ip(7)
  IP_ADD_MEMBERSHIP: group4(C.IPPROTO_IP, C.IP_ADD_MEMBERSHIP),
  IP_ADD_SOURCE_MEMBERSHIP: source4(C.IPPROTO_IP, C.IP_ADD_SOURCE_MEMBERSHIP),
  IP_BIND_ADDRESS_NO_PORT: boolean(C.IPPROTO_IP, C.IP_BIND_ADDRESS_NO_PORT),
  IP_DROP_MEMBERSHIP: group4(C.IPPROTO_IP, C.IP_DROP_MEMBERSHIP),
  IP_DROP_SOURCE_MEMBERSHIP: source4(
    C.IPPROTO_IP,
    C.IP_DROP_SOURCE_MEMBERSHIP,
  ),
  IP_FREEBIND: boolean(C.IPPROTO_IP, C.IP_FREEBIND),
  IP_HDRINCL: boolean(C.IPPROTO_IP, C.IP_HDRINCL),
  IP_MTU: readOnly(integer(C.IPPROTO_IP, C.IP_MTU)),
  IP_MTU_DISCOVER: integer(C.IPPROTO_IP, C.IP_MTU_DISCOVER),
  IP_MULTICAST_IF: interface4(C.IPPROTO_IP, C.IP_MULTICAST_IF),
  IP_MULTICAST_LOOP: boolean(C.IPPROTO_IP, C.IP_MULTICAST_LOOP),
  IP_MULTICAST_TTL: integer(C.IPPROTO_IP, C.IP_MULTICAST_TTL),
  IP_PKTINFO: boolean(C.IPPROTO_IP, C.IP_PKTINFO),
  IP_RECVERR: boolean(C.IPPROTO_IP, C.IP_RECVERR),
  IP_RECVTOS: boolean(C.IPPROTO_IP, C.IP_RECVTOS),
  IP_RECVTTL: boolean(C.IPPROTO_IP, C.IP_RECVTTL),
  IP_TOS: integer(C.IPPROTO_IP, C.IP_TOS),
  IP_TRANSPARENT: boolean(C.IPPROTO_IP, C.IP_TRANSPARENT),
  IP_TTL: integer(C.IPPROTO_IP, C.IP_TTL),
  // ipv6(7)
  IPV6_JOIN_GROUP: group6(C.IPPROTO_IPV6, C.IPV6_JOIN_GROUP),
  IPV6_LEAVE_GROUP: group6(C.IPPROTO_IPV6, C.IPV6_LEAVE_GROUP),
  IPV6_MULTICAST_HOPS: integer(C.IPPROTO_IPV6, C.IPV6_MULTICAST_HOPS),
  IPV6_MULTICAST_IF: integer(C.IPPROTO_IPV6, C.IPV6_MULTICAST_IF),
  IPV6_MULTICAST_LOOP: boolean(C.IPPROTO_IPV6, C.IPV6_MULTICAST_LOOP),
  IPV6_RECVERR: boolean(C.IPPROTO_IPV6, C.IPV6_RECVERR),
  IPV6_RECVHOPLIMIT: boolean(C.IPPROTO_IPV6, C.IPV6_RECVHOPLIMIT),
  IPV6_RECVPKTINFO: boolean(C.IPPROTO_IPV6, C.IPV6_RECVPKTINFO),
  IPV6_RECVTCLASS: boolean(C.IPPROTO_IPV6, C.IPV6_RECVTCLASS),
  IPV6_TCLASS: integer(C.IPPROTO_IPV6, C.IPV6_TCLASS),
  IPV6_UNICAST_HOPS: integer(C.IPPROTO_IPV6, C.IPV6_UNICAST_HOPS),
  IPV6_V6ONLY: boolean(C.IPPROTO_IPV6, C.IPV6_V6ONLY),
};
