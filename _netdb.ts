/** Addresses of names, and names of addresses: getaddrinfo(3), getnameinfo(3), gethostbyname(3). */

import { AddressSyntaxError, errorCode } from "./errors.ts";
import { checkInteger, checkText, show } from "./_check.ts";
import {
  ipBytes,
  ipv4Bytes,
  isIPv6Text,
  mappedIPv4,
  splitZone,
} from "./_host.ts";
import { joinHostPort } from "./addr.ts";
import { demandNet, lookUp } from "./_open.ts";
import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  AI_ADDRCONFIG,
  AI_ALL,
  AI_CANONNAME,
  AI_NUMERICHOST,
  AI_NUMERICSERV,
  AI_PASSIVE,
  AI_V4MAPPED,
  type Family,
  type Inet6Address,
  type InetAddress,
  IPPROTO_TCP,
  IPPROTO_UDP,
  NI_DGRAM,
  NI_NAMEREQD,
  NI_NOFQDN,
  NI_NUMERICHOST,
  NI_NUMERICSERV,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
} from "./_constants.ts";
import { inet_aton, inet_ntoa, inet_ntop, inet_pton } from "./_inet.ts";
import { gaiError, portOf, serviceAt } from "./_services.ts";

/** One way to reach a host: what `socket()` takes, the canonical name, and what `connect()` takes. */
export type AddrInfo = readonly [
  family: Family,
  type: number,
  proto: number,
  canonname: string,
  sockaddr: Address,
];

/** Types of sockets, their protocols, and those protocols' names. */
const KINDS = [
  [SOCK_STREAM, IPPROTO_TCP, "tcp"],
  [SOCK_DGRAM, IPPROTO_UDP, "udp"],
  [SOCK_RAW, 0, undefined],
] as const;

/** A type and protocol that were asked for, and what they make of the service. */
interface Kind {
  readonly type: number;
  readonly proto: number;
  readonly port: number;
}

/** The types and protocols that fit what was asked for, with the service's port. */
function kindsOf(
  service: string | number | null,
  type: number,
  proto: number,
  flags: number,
): Kind[] {
  const fitting = KINDS.filter(([known, own]) =>
    (type === 0 || type === known) &&
    (proto === 0 || proto === own || known === SOCK_RAW)
  );
  if (fitting.length === 0) {
    throw gaiError(
      "getaddrinfo",
      "EAI_SOCKTYPE",
      `type ${type} with protocol ${proto}`,
    );
  }
  const kinds: Kind[] = [];
  for (const [known, own, name] of fitting) {
    const port = servicePort(service, name, flags);
    if (port === undefined) continue;
    // Any protocol is one for raw sockets; they come last, and with a type of their own.
    if (known === SOCK_RAW && type === 0 && proto !== 0 && kinds.length > 0) {
      continue;
    }
    kinds.push({ type: known, proto: known === SOCK_RAW ? proto : own, port });
  }
  if (kinds.length === 0) {
    throw gaiError("getaddrinfo", "EAI_SERVICE", show(service));
  }
  return kinds;
}

/** The port of a service over a protocol; `undefined` if it has none there. */
function servicePort(
  service: string | number | null,
  proto: string | undefined,
  flags: number,
): number | undefined {
  if (service === null || service === "") return 0;
  if (typeof service === "number") {
    checkInteger(service, "port", 0, 65535);
    return service;
  }
  if (typeof service !== "string") {
    throw new TypeError(
      `Invalid service: expected a name, a number or null, got ${
        show(service)
      }`,
    );
  }
  if (/^\d+$/.test(service)) {
    if (Number(service) > 65535) {
      throw gaiError("getaddrinfo", "EAI_SERVICE", show(service));
    }
    return Number(service);
  }
  if (flags & AI_NUMERICSERV) {
    throw gaiError("getaddrinfo", "EAI_NONAME", show(service));
  }
  return proto === undefined ? undefined : portOf(service, proto);
}

/**
 * A literal as the system writes it; `undefined` for what is none. Those of IPv4 are read as inet_aton(3)
 * reads them, as getaddrinfo(3) does: "127.1" is one.
 */
function literal(host: string): string | undefined {
  if (isIPv6Text(host)) {
    const [address, zone] = splitZone(host);
    const text = inet_ntop(AF_INET6, inet_pton(AF_INET6, address));
    return zone === undefined ? text : `${text}%${zone}`;
  }
  try {
    return inet_ntoa(inet_aton(host));
  } catch (error) {
    if (error instanceof AddressSyntaxError) return undefined;
    throw error;
  }
}

/** A literal in a family: mapped ones are of both. */
function literalOf(text: string, family: number, flags: number): string {
  const isFour = ipv4Bytes(text) !== undefined;
  const four = isFour ? undefined : mappedIPv4(ipBytes(text)!);
  if (family === AF_INET && four !== undefined) return four.join(".");
  if (
    family === AF_INET && !isFour ||
    family === AF_INET6 && isFour && !(flags & AI_V4MAPPED)
  ) {
    throw gaiError("getaddrinfo", "EAI_ADDRFAMILY", show(text));
  }
  return text;
}

/** The addresses of a host, without a query where it is a literal or missing. */
async function addressesOf(
  host: string | null,
  family: number,
  flags: number,
): Promise<string[]> {
  if (host === null || host === "") {
    // The wildcard of IPv4 comes first, as programs that bind the first one expect it.
    return flags & AI_PASSIVE ? ["0.0.0.0", "::"] : ["::1", "127.0.0.1"];
  }
  if (typeof host !== "string") {
    throw new TypeError(
      `Invalid host: expected a string or null, got ${show(host)}`,
    );
  }
  const text = literal(host);
  if (text !== undefined) return [literalOf(text, family, flags)];
  if (flags & AI_NUMERICHOST) {
    throw gaiError("getaddrinfo", "EAI_NONAME", show(host));
  }
  try {
    return await lookUp(host);
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOTFOUND") {
      throw gaiError("getaddrinfo", "EAI_NONAME", show(host), error);
    }
    if (code === "EAI_AGAIN") {
      throw gaiError("getaddrinfo", "EAI_AGAIN", show(host), error);
    }
    throw error;
  }
}

/** The addresses that fit a family, mapped ones where that was asked for. */
function fitting(
  addresses: readonly string[],
  family: number,
  flags: number,
): string[] {
  if (family === AF_UNSPEC) return [...addresses];
  const four = addresses.filter((address) => ipv4Bytes(address) !== undefined);
  if (family === AF_INET) return four;
  const six = addresses.filter((address) => ipv4Bytes(address) === undefined);
  const mapped = flags & AI_V4MAPPED && (six.length === 0 || flags & AI_ALL)
    ? four.map((address) => `::ffff:${address}`)
    : [];
  return [...six, ...mapped];
}

/** Whether this machine has an address of a family beside loopback; `true` where it is not known. */
function hasFamily(isSix: boolean): boolean {
  const { state } = Deno.permissions.querySync({
    name: "sys",
    kind: "networkInterfaces",
  });
  if (state !== "granted") return true;
  return Deno.networkInterfaces().some(({ family, address }) =>
    (family === "IPv6") === isSix && address !== "::1" &&
    !address.startsWith("127.")
  );
}

/** A host and port as the face's address of its family. */
function sockaddr(host: string, port: number): [Family, Address] {
  if (ipv4Bytes(host) !== undefined) return [AF_INET, [host, port]];
  const [address, zone] = splitZone(host);
  const isIndex = zone !== undefined && /^\d+$/.test(zone);
  return [
    AF_INET6,
    isIndex ? [address, port, 0, Number(zone)] : [host, port, 0, 0],
  ];
}

/**
 * The addresses of a host and service, getaddrinfo(3).
 *
 * A literal costs no query; short forms such as `"127.1"` are read as {@linkcode inet_aton} reads them, and
 * an IPv4-mapped one is an address of `AF_INET` too. A name needs a grant for it (`--allow-net`, or that name) and goes to the
 * system's resolver: the hosts file, then DNS. The canonical name is the host as it was given.
 * `AI_ADDRCONFIG` needs `--allow-sys=networkInterfaces`, and is without effect otherwise.
 *
 * @param host A name, a literal, or `null` for this machine: the wildcard with `AI_PASSIVE`, else
 * loopback.
 * @param service A name such as `"http"`, a port, or `null` for port 0.
 * @param family `AF_INET`, `AF_INET6`, or `AF_UNSPEC` for both.
 * @param type `SOCK_STREAM`, `SOCK_DGRAM`, `SOCK_RAW`, or 0 for all of them.
 * @param proto A protocol, or 0 for the type's own.
 * @param flags `AI_*`.
 * @returns Five-tuples as Python's, in the resolver's order: family, type, protocol, canonical name
 * (`""` without `AI_CANONNAME`), address. At least one.
 * @throws {Error} With `code` `"EAI_NONAME"`, `"EAI_AGAIN"`, `"EAI_SERVICE"`, `"EAI_FAMILY"`,
 * `"EAI_SOCKTYPE"`, `"EAI_ADDRFAMILY"` or `"EAI_BADFLAGS"`.
 * @throws {Deno.errors.NotCapable} If the permission for the name is missing.
 * @throws {TypeError | RangeError} If an argument is of the wrong type, or a port out of range.
 *
 * @example
 * ```ts
 * import { AF_INET, getaddrinfo, SOCK_STREAM } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * const [[family, , , , address]] = await getaddrinfo("127.0.0.1", "http", 0, SOCK_STREAM);
 * assertEquals(family, AF_INET);
 * assertEquals(address, ["127.0.0.1", 80]);
 * ```
 *
 * @example The loop of the textbooks
 * ```ts
 * import { create_server, getaddrinfo, SOCK_STREAM, socket } from "@berkeley/sockets/socket";
 *
 * using server = create_server(["127.0.0.1", 0]);
 * const [, port] = server.getsockname();
 * for (const [af, type, proto, , sa] of await getaddrinfo("localhost", port, 0, SOCK_STREAM)) {
 *   using client = socket(af, type, proto);
 *   if (await client.connect_ex(sa) === 0) break;
 * }
 * ```
 */
export async function getaddrinfo(
  host: string | null,
  service: string | number | null,
  family: number = 0,
  type: number = 0,
  proto: number = 0,
  flags: number = 0,
): Promise<[AddrInfo, ...AddrInfo[]]> {
  const known = AI_PASSIVE | AI_CANONNAME | AI_NUMERICHOST | AI_NUMERICSERV |
    AI_V4MAPPED | AI_ALL | AI_ADDRCONFIG;
  for (const [value, name] of [[type, "type"], [proto, "proto"]] as const) {
    checkInteger(value, name, 0, 2 ** 31 - 1);
  }
  if (!Number.isInteger(flags) || (flags & ~known) !== 0) {
    throw gaiError("getaddrinfo", "EAI_BADFLAGS", show(flags));
  }
  if (flags & AI_CANONNAME && host === null) {
    throw gaiError(
      "getaddrinfo",
      "EAI_BADFLAGS",
      "AI_CANONNAME without a host",
    );
  }
  if (family !== AF_UNSPEC && family !== AF_INET && family !== AF_INET6) {
    throw gaiError("getaddrinfo", "EAI_FAMILY", show(family));
  }
  if (host === null && service === null) {
    throw gaiError("getaddrinfo", "EAI_NONAME", "neither a host nor a service");
  }
  const kinds = kindsOf(service, type, proto, flags);
  let hosts = fitting(await addressesOf(host, family, flags), family, flags);
  if (flags & AI_ADDRCONFIG) {
    hosts = hosts.filter((host) => {
      const bytes = ipBytes(host)!;
      return hasFamily(bytes.length === 16 && mappedIPv4(bytes) === undefined);
    });
  }
  const canonname = flags & AI_CANONNAME ? host! : "";
  const infos = hosts.flatMap((host, i) =>
    kinds.map(({ type, proto, port }, j): AddrInfo => {
      const [family, address] = sockaddr(host, port);
      return [family, type, proto, i + j === 0 ? canonname : "", address];
    })
  );
  if (infos.length === 0) {
    throw gaiError("getaddrinfo", "EAI_NONAME", show(host));
  }
  return infos as [AddrInfo, ...AddrInfo[]];
}

/**
 * The first IPv4 address of a host, gethostbyname(3), as Python's call of that name gives it.
 *
 * It is {@linkcode getaddrinfo} with `AF_INET`, and needs the same permission.
 *
 * @param name A name or a literal; `""` is `"0.0.0.0"`, and `"<broadcast>"` is `"255.255.255.255"`.
 * @returns The address in dotted decimal.
 * @throws {Error} With a `code` as `getaddrinfo` has it: `"EAI_NONAME"` for a name without such an address,
 * `"EAI_ADDRFAMILY"` for a literal of IPv6.
 * @throws {Deno.errors.NotCapable} If the permission for the name is missing.
 * @throws {TypeError} If the name is not a string.
 *
 * @example
 * ```ts
 * import { gethostbyname } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(await gethostbyname("localhost"), "127.0.0.1");
 * ```
 */
export async function gethostbyname(name: string): Promise<string> {
  checkText(name, "name");
  if (name === "") return "0.0.0.0";
  if (name === "<broadcast>") return "255.255.255.255";
  const [[, , , , address]] = await getaddrinfo(name, 0, AF_INET, SOCK_STREAM);
  return (address as InetAddress)[0];
}

/** The name of an address; `undefined` if it has none. */
async function nameOf(
  address: string,
  port: number,
): Promise<string | undefined> {
  demandNet(joinHostPort(address, port));
  const { lookupService } = await import("node:dns/promises");
  try {
    return (await lookupService(address, port)).hostname;
  } catch (error) {
    if (errorCode(error) === "ENOTFOUND") return undefined;
    if (errorCode(error) !== "EAI_AGAIN") throw error;
    throw gaiError("getnameinfo", "EAI_AGAIN", show(address), error);
  }
}

/**
 * The names of an address and its port, getnameinfo(3).
 *
 * With `NI_NUMERICHOST` nothing is asked and no permission needed. Without it the address goes to the
 * system's resolver, the hosts file and then DNS, and needs a grant: `--allow-net`, or that address, with
 * or without the port. Names of services are those of {@linkcode getservbyport}. `NI_NOFQDN` is without
 * effect, for the own domain is not known here.
 *
 * @param sockaddr An address of `AF_INET` or `AF_INET6`, its host a literal.
 * @param flags `NI_*`.
 * @returns The host's name, or its literal where it has none; and the service over TCP, with `NI_DGRAM` over
 * UDP, or the port as text where there is none. The zone of a literal is the number of the interface.
 * @throws {Error} With `code` `"EAI_NONAME"` if the host is no literal, or has no name and `NI_NAMEREQD` is
 * given, which together with `NI_NUMERICHOST` is always so; `"EAI_AGAIN"` if the resolver has no answer
 * now; `"EAI_BADFLAGS"` for a flag that does not exist.
 * @throws {Deno.errors.NotCapable} If the permission for the address is missing.
 * @throws {TypeError | RangeError} If the address is not of such a shape, or a number in it out of range.
 *
 * @example
 * ```ts
 * import { getnameinfo, NI_DGRAM, NI_NUMERICHOST, NI_NUMERICSERV } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(await getnameinfo(["127.0.0.1", 80], NI_NUMERICHOST), ["127.0.0.1", "http"]);
 * assertEquals(await getnameinfo(["::1", 123], NI_NUMERICHOST | NI_DGRAM), ["::1", "ntp"]);
 * assertEquals(await getnameinfo(["::1", 80], NI_NUMERICHOST | NI_NUMERICSERV), ["::1", "80"]);
 * ```
 */
export async function getnameinfo(
  sockaddr: InetAddress | Inet6Address,
  flags: number = 0,
): Promise<[host: string, service: string]> {
  const known = NI_NUMERICHOST | NI_NUMERICSERV | NI_NOFQDN | NI_NAMEREQD |
    NI_DGRAM;
  if (!Number.isInteger(flags) || (flags & ~known) !== 0) {
    throw gaiError("getnameinfo", "EAI_BADFLAGS", show(flags));
  }
  const [address, zone, port] = checkSockaddr(sockaddr);
  let host: string | undefined;
  if (!(flags & NI_NUMERICHOST)) host = await nameOf(address, port);
  if (host === undefined && flags & NI_NAMEREQD) {
    throw gaiError("getnameinfo", "EAI_NONAME", `no name of ${show(address)}`);
  }
  const service = flags & NI_NUMERICSERV
    ? undefined
    : serviceAt(port, flags & NI_DGRAM ? "udp" : "tcp");
  return [host ?? address + zone, service ?? `${port}`];
}

/** The literal of an address as the system writes it, its zone with the sign before it, and its port. */
function checkSockaddr(
  sockaddr: InetAddress | Inet6Address,
): [address: string, zone: string, port: number] {
  const wrong = (wanted: string) =>
    new TypeError(`Invalid address: expected ${wanted}, got ${show(sockaddr)}`);
  if (
    !Array.isArray(sockaddr) || sockaddr.length < 2 || sockaddr.length > 4
  ) throw wrong("[host, port] or [host, port, flowinfo, scopeid]");
  const [host, port, flowinfo = 0, scopeid = 0] = sockaddr as Inet6Address;
  checkText(host, "host");
  checkInteger(port, "port", 0, 65535);
  checkInteger(flowinfo, "flowinfo", 0, 2 ** 20 - 1);
  checkInteger(scopeid, "scopeid", 0, 2 ** 32 - 1);
  const text = literal(host);
  if (text === undefined) {
    throw gaiError("getnameinfo", "EAI_NONAME", `${show(host)} is no literal`);
  }
  const [address, zone] = splitZone(text);
  if (ipv4Bytes(address) !== undefined && sockaddr.length > 2) {
    throw wrong("[host, port] of an IPv4 address");
  }
  if (zone !== undefined) return [address, `%${zone}`, port];
  return [address, scopeid === 0 ? "" : `%${scopeid}`, port];
}
