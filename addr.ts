/**
 * Addresses as text and as objects: parse, format, compare and match.
 *
 * Nothing here touches the network: a name stays a name.
 *
 * @example From text to an object and back
 * ```ts
 * import { formatAddr, parseAddr } from "@berkeley/sockets/addr";
 * import { assertEquals } from "@std/assert";
 *
 * const addr = parseAddr("tcp://[::1]:8080");
 * assertEquals(addr, { transport: "tcp", hostname: "::1", port: 8080 });
 * assertEquals(formatAddr(addr), "tcp://[::1]:8080");
 * ```
 *
 * @module
 */

import { AddressSyntaxError } from "./errors.ts";
import type {
  SocketAddr,
  TcpAddr,
  TlsAddr,
  UdpAddr,
  UnixAddr,
  UnixDatagramAddr,
} from "./types.ts";
import { checkInteger, checkText, show } from "./_check.ts";
import {
  checkHostname,
  ipBytes,
  ipv4Bytes,
  ipv6Bytes,
  isIPv6Text,
  mappedIPv4,
  parseHost,
  splitZone,
} from "./_host.ts";

export { AddrList } from "./_addr_list.ts";

/** A host and a port. */
export interface HostPort {
  /** A name or an address, without brackets. */
  readonly hostname: string;
  /** The port, 0 to 65535. */
  readonly port: number;
}

/** What {@linkcode parseAddr} gives: an address whose path, if it has one, is known. */
export type ParsedAddr =
  | TcpAddr
  | UdpAddr
  | TlsAddr
  | (UnixAddr & { readonly path: string })
  | (UnixDatagramAddr & { readonly path: string });

/** How {@linkcode parseAddr} reads what the text leaves open. */
export interface ParseAddrOptions {
  /** The transport of a text without one, such as `"127.0.0.1:80"`; `"tcp"` by default. */
  transport?: "tcp" | "udp" | "tls";
}

/** Where an address starts that is written with a scheme. */
const NET_SCHEME = /^(tcp|udp|tls):\/\//;

/** Schemes of Unix sockets and Deno's names of their transports. */
const UNIX_SCHEMES = { unix: "unix", unixgram: "unixpacket" } as const;

/**
 * Reads an address.
 *
 * | text | address |
 * |---|---|
 * | `tcp://127.0.0.1:80`, `udp://[fe80::1%eth0]:53`, `tls://example.com:443` | that transport, host and port |
 * | `127.0.0.1:80`, `[::1]:80`, `localhost:80` | TCP, or what `options.transport` says |
 * | `:80`, `tcp://:80` | the same with host `0.0.0.0`, any address of this machine |
 * | `unix:/run/x.sock`, `unix:x.sock` | a Unix stream socket |
 * | `unixgram:/dev/log` | a Unix datagram socket (transport `"unixpacket"`) |
 * | `unix:@name` | an abstract name, path `"\0name"` |
 * | `unix:///run/x.sock`, `unix://@name` | the path as it stands behind `//`; here `@` is nothing special |
 *
 * `parseAddr(formatAddr(a))` equals `a`.
 *
 * @param text The address.
 * @param options The transport of a text without one.
 * @returns A frozen address; an IPv6 host without brackets, its zone kept.
 * @throws {AddressSyntaxError} If the text is no address.
 * @throws {TypeError} If it is not a string.
 *
 * @example Hosts and paths
 * ```ts
 * import { parseAddr } from "@berkeley/sockets/addr";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseAddr("[::1]:53", { transport: "udp" }), {
 *   transport: "udp",
 *   hostname: "::1",
 *   port: 53,
 * });
 * assertEquals(parseAddr("unix:@cups"), { transport: "unix", path: "\0cups" });
 * ```
 */
export function parseAddr(
  text: string,
  options: ParseAddrOptions = {},
): ParsedAddr {
  checkText(text, "address");
  const { transport = "tcp" } = options;
  if (transport !== "tcp" && transport !== "udp" && transport !== "tls") {
    throw new TypeError(
      `Invalid transport: expected "tcp", "udp" or "tls", got ${
        show(transport)
      }`,
    );
  }
  for (const [scheme, transport] of Object.entries(UNIX_SCHEMES)) {
    if (text.startsWith(`${scheme}:`)) {
      return Object.freeze({
        transport,
        path: parsePath(text, scheme.length + 1),
      });
    }
  }
  const scheme = NET_SCHEME.exec(text)?.[1] as typeof transport | undefined;
  const { hostname, port } = parseHostPort(
    text,
    scheme === undefined ? 0 : scheme.length + 3,
  );
  return Object.freeze({ transport: scheme ?? transport, hostname, port });
}

/** Reads the path behind a scheme. */
function parsePath(text: string, start: number): string {
  const literal = text.startsWith("//", start);
  const abstract = !literal && text[start] === "@";
  const at = start + (literal ? 2 : abstract ? 1 : 0);
  const path = text.slice(at);
  const nul = abstract ? -1 : path.indexOf("\0");
  if (path === "" || nul >= 0) {
    throw new AddressSyntaxError(
      `Invalid path in ${show(text)}: expected a path, or @ and a name, got ${
        path === "" ? "nothing" : "a NUL"
      }`,
      text,
      at + Math.max(nul, 0),
    );
  }
  return abstract ? `\0${path}` : path;
}

/** Reads `host:port` from `start` on. */
function parseHostPort(text: string, start: number): HostPort {
  const bracket = text[start] === "[" ? text.indexOf("]", start) : -1;
  const colon = text.indexOf(":", bracket < 0 ? start : bracket);
  const rest = text.slice(start);
  if (bracket < 0 && isIPv6Text(rest) || colon < 0) {
    const isV6 = bracket < 0 && isIPv6Text(rest);
    throw new AddressSyntaxError(
      `Invalid address ${show(text)}: ${
        isV6
          ? "an IPv6 address with a port is written in brackets, [::1]:80"
          : "expected host:port, found no port"
      }`,
      text,
      isV6 ? start : text.length,
    );
  }
  if (bracket >= 0 && colon !== bracket + 1) {
    throw new AddressSyntaxError(
      `Invalid address ${show(text)}: expected : and a port behind the bracket`,
      text,
      bracket + 1,
    );
  }
  const digits = text.slice(colon + 1);
  if (!/^\d{1,5}$/.test(digits) || Number(digits) > 65535) {
    throw new AddressSyntaxError(
      `Invalid port in ${show(text)}: expected a number from 0 to 65535, got ${
        show(digits)
      }`,
      text,
      colon + 1,
    );
  }
  const hostname = colon === start ? "0.0.0.0" : parseHost(text, start, colon);
  return { hostname, port: Number(digits) };
}

/**
 * Writes an address as text that {@linkcode parseAddr} reads back.
 *
 * @param addr The address; Deno's own address objects will do.
 * @returns The text, such as `tcp://[::1]:80` or `unix:/run/x.sock`. For a Unix socket without a
 * name (path `null`) it is `unix:(unnamed)`, for people only.
 * @throws {TypeError} If it is no address, or a part of it is of the wrong type.
 * @throws {RangeError} If its port is not a whole number from 0 to 65535.
 * @throws {AddressSyntaxError} If its host is neither a name nor an address.
 *
 * @example A path and an abstract name
 * ```ts
 * import { formatAddr } from "@berkeley/sockets/addr";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(formatAddr({ transport: "unix", path: "/run/x.sock" }), "unix:/run/x.sock");
 * assertEquals(formatAddr({ transport: "unix", path: "\0name" }), "unix:@name");
 * ```
 */
export function formatAddr(addr: SocketAddr): string {
  switch (addr?.transport) {
    case "tcp":
    case "udp":
    case "tls":
      return `${addr.transport}://${joinHostPort(addr.hostname, addr.port)}`;
    case "unix":
    case "unixpacket": {
      const scheme = addr.transport === "unix" ? "unix:" : "unixgram:";
      const { path } = addr;
      if (path === null) return `${scheme}(unnamed)`;
      if (typeof path !== "string" || path === "") {
        throw new TypeError(
          `Invalid path: expected a string that is not empty, got ${
            show(path)
          }`,
        );
      }
      if (path === "\0" || path.includes("\0", 1) && path[0] !== "\0") {
        throw new TypeError(
          `Invalid path: NUL can only start an abstract name, got ${
            show(path)
          }`,
        );
      }
      if (path.startsWith("\0")) return `${scheme}@${path.slice(1)}`;
      // Behind //, nothing has a meaning of its own.
      return /^(@|\/\/)/.test(path) ? `${scheme}//${path}` : scheme + path;
    }
    default:
      throw new TypeError(
        `Invalid address: expected transport "tcp", "udp", "tls", "unix" or "unixpacket", got ${
          show((addr as { transport?: unknown } | undefined)?.transport)
        }`,
      );
  }
}

/**
 * Takes `host:port` apart.
 *
 * @param text Such as `"localhost:80"`, `"[::1]:80"` or `":80"`, whose host is `0.0.0.0`.
 * @returns The host, without brackets, and the port.
 * @throws {AddressSyntaxError} If the text is not a host and a port.
 * @throws {TypeError} If it is not a string.
 *
 * @example An IPv6 address with its zone
 * ```ts
 * import { splitHostPort } from "@berkeley/sockets/addr";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(splitHostPort("[fe80::1%eth0]:80"), { hostname: "fe80::1%eth0", port: 80 });
 * ```
 */
export function splitHostPort(text: string): HostPort {
  checkText(text, "host and port");
  return parseHostPort(text, 0);
}

/**
 * Puts a host and a port together, an IPv6 address in brackets.
 *
 * @param hostname A name or an address.
 * @param port The port, 0 to 65535.
 * @returns Such as `"localhost:80"` or `"[::1]:80"`.
 * @throws {AddressSyntaxError} If the host is neither a name nor an address.
 * @throws {RangeError} If the port is not a whole number from 0 to 65535.
 * @throws {TypeError} If the host is not a string or the port not a number.
 *
 * @example
 * ```ts
 * import { joinHostPort } from "@berkeley/sockets/addr";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(joinHostPort("::1", 80), "[::1]:80");
 * ```
 */
export function joinHostPort(hostname: string, port: number): string {
  const host = checkHostname(hostname);
  checkInteger(port, "port", 0, 65535);
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Whether a text is an IPv4 address in dotted decimal: four numbers from 0 to 255 without leading
 * zeros.
 *
 * @param text The text.
 * @returns `true` for `"127.0.0.1"`; `false` for `"127.1"`, `"010.0.0.1"` and everything else.
 *
 * @example
 * ```ts
 * import { isIPv4 } from "@berkeley/sockets/addr";
 * import { assert } from "@std/assert";
 *
 * assert(isIPv4("127.0.0.1"));
 * assert(!isIPv4("::1"));
 * ```
 */
export function isIPv4(text: string): boolean {
  return typeof text === "string" && ipv4Bytes(text) !== undefined;
}

/**
 * Whether a text is an IPv6 address (RFC 4291, 2.2), with or without a zone, without brackets.
 *
 * @param text The text.
 * @returns `true` for `"::1"`, `"::ffff:127.0.0.1"` and `"fe80::1%eth0"`.
 *
 * @example
 * ```ts
 * import { isIPv6 } from "@berkeley/sockets/addr";
 * import { assert } from "@std/assert";
 *
 * assert(isIPv6("fe80::1%eth0"));
 * assert(!isIPv6("[::1]"));
 * ```
 */
export function isIPv6(text: string): boolean {
  return typeof text === "string" && isIPv6Text(text);
}

/**
 * The IPv4 address inside an IPv4-mapped IPv6 address: what a client of a dual-stack server is known
 * by everywhere else.
 *
 * @param hostname Any host.
 * @returns `"127.0.0.1"` for `"::ffff:127.0.0.1"`; every other host as it is.
 * @throws {TypeError} If it is not a string.
 *
 * @example
 * ```ts
 * import { unmapIPv4 } from "@berkeley/sockets/addr";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(unmapIPv4("::ffff:127.0.0.1"), "127.0.0.1");
 * assertEquals(unmapIPv4("::1"), "::1");
 * ```
 */
export function unmapIPv4(hostname: string): string {
  checkText(hostname, "hostname");
  const bytes = ipv6Bytes(hostname);
  const v4 = bytes && mappedIPv4(bytes);
  return v4 === undefined ? hostname : v4.join(".");
}

/**
 * Whether two addresses are the same socket's: the same transport, port and host or path. Addresses
 * are compared by their bytes (`"::1"` is `"0:0:0:0:0:0:0:1"`, a mapped address its IPv4 one), zones
 * exactly, names without regard to case. Names are not looked up.
 *
 * @param a An address.
 * @param b An address.
 * @returns `true` if they are the same. Two sockets without a name (path `null`) are not.
 *
 * @example A mapped address
 * ```ts
 * import { sameAddr } from "@berkeley/sockets/addr";
 * import { assert } from "@std/assert";
 *
 * assert(sameAddr(
 *   { transport: "udp", hostname: "::ffff:127.0.0.1", port: 53 },
 *   { transport: "udp", hostname: "127.0.0.1", port: 53 },
 * ));
 * ```
 */
export function sameAddr(a: SocketAddr, b: SocketAddr): boolean {
  if (a.transport !== b.transport) return false;
  if ("path" in a || "path" in b) {
    return "path" in a && "path" in b && a.path !== null && a.path === b.path;
  }
  return a.port === b.port && hostKey(a.hostname) === hostKey(b.hostname);
}

/** One text for all spellings of a host. */
function hostKey(hostname: string): string {
  const bytes = ipBytes(hostname);
  if (bytes === undefined) return hostname.toLowerCase();
  const zone = splitZone(hostname)[1];
  const key = (mappedIPv4(bytes) ?? bytes).join(".");
  return zone === undefined ? key : `${key}%${zone}`;
}
