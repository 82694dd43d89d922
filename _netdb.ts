/** Names of hosts and services: getaddrinfo(3), getservbyname(3). */

import { errorCode } from "./errors.ts";
import { checkInteger, show } from "./_check.ts";
import { ipBytes, ipv4Bytes, mappedIPv4, splitZone } from "./_host.ts";
import { lookUp } from "./_open.ts";
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
  IPPROTO_TCP,
  IPPROTO_UDP,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
} from "./_constants.ts";
import { socketError } from "./_socket_error.ts";

// Services

/** Well-known services of IANA's registry: port, and the protocols if it is not both. */
const SERVICES: Readonly<Record<string, readonly [number, string?]>> = {
  echo: [7],
  discard: [9],
  daytime: [13],
  chargen: [19],
  "ftp-data": [20, "tcp"],
  ftp: [21, "tcp"],
  ssh: [22, "tcp"],
  telnet: [23, "tcp"],
  smtp: [25, "tcp"],
  time: [37],
  whois: [43, "tcp"],
  domain: [53],
  bootps: [67, "udp"],
  bootpc: [68, "udp"],
  tftp: [69, "udp"],
  gopher: [70, "tcp"],
  finger: [79, "tcp"],
  http: [80, "tcp"],
  kerberos: [88],
  pop3: [110, "tcp"],
  sunrpc: [111],
  auth: [113, "tcp"],
  nntp: [119, "tcp"],
  ntp: [123, "udp"],
  imap2: [143, "tcp"],
  imap: [143, "tcp"],
  snmp: [161],
  "snmp-trap": [162],
  ldap: [389],
  https: [443],
  "microsoft-ds": [445],
  submissions: [465, "tcp"],
  syslog: [514, "udp"],
  rtsp: [554],
  submission: [587, "tcp"],
  ldaps: [636],
  "domain-s": [853],
  rsync: [873, "tcp"],
  ftps: [990, "tcp"],
  telnets: [992, "tcp"],
  imaps: [993, "tcp"],
  pop3s: [995, "tcp"],
  socks: [1080, "tcp"],
  "ms-sql-s": [1433, "tcp"],
  mqtt: [1883],
  nfs: [2049],
  mysql: [3306, "tcp"],
  sip: [5060],
  "sip-tls": [5061],
  "xmpp-client": [5222, "tcp"],
  postgresql: [5432, "tcp"],
  amqp: [5672],
  redis: [6379, "tcp"],
  "http-alt": [8080],
};

function portOf(name: string, proto: string | undefined): number | undefined {
  if (!Object.hasOwn(SERVICES, name)) return undefined;
  const [port, only] = SERVICES[name]!;
  return proto === undefined || only === undefined || only === proto
    ? port
    : undefined;
}

/**
 * The port of a well-known service, getservbyname(3): those of about fifty common ones, from a table of
 * this package's; no file is read.
 *
 * @param name Such as `"http"`.
 * @param proto `"tcp"` or `"udp"`; any by default.
 * @returns The port.
 * @throws {Deno.errors.NotFound} With `code` `"ENOENT"`, if the service is not in the table.
 *
 * @example
 * ```ts
 * import { getservbyname } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(getservbyname("http"), 80);
 * assertEquals(getservbyname("ntp", "udp"), 123);
 * ```
 */
export function getservbyname(name: string, proto?: "tcp" | "udp"): number {
  const port = portOf(name, proto);
  if (port !== undefined) return port;
  const over = proto === undefined ? "" : ` over ${show(proto)}`;
  throw socketError(
    "ENOENT",
    "getservbyname",
    `no service ${show(name)}${over}`,
  );
}

// Hosts

/** One way to reach a host: what `socket()` takes, the canonical name, and what `connect()` takes. */
export type AddrInfo = readonly [
  family: number,
  type: number,
  proto: number,
  canonname: string,
  sockaddr: Address,
];

/** The texts of gai_strerror(3). */
const GAI = {
  EAI_BADFLAGS: "Bad value for ai_flags",
  EAI_NONAME: "Name or service not known",
  EAI_AGAIN: "Temporary failure in name resolution",
  EAI_FAIL: "Non-recoverable failure in name resolution",
  EAI_FAMILY: "ai_family not supported",
  EAI_SOCKTYPE: "ai_socktype not supported",
  EAI_SERVICE: "Servname not supported for ai_socktype",
  EAI_ADDRFAMILY: "Address family for hostname not supported",
};

function gaiError(
  code: keyof typeof GAI,
  what: string,
  cause?: unknown,
): Error {
  return Object.assign(
    new Error(`getaddrinfo: ${GAI[code]} (${code}): ${what}`, {
      ...(cause !== undefined && { cause }),
    }),
    { code },
  );
}

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
    throw gaiError("EAI_SOCKTYPE", `type ${type} with protocol ${proto}`);
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
  if (kinds.length === 0) throw gaiError("EAI_SERVICE", show(service));
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
    if (Number(service) > 65535) throw gaiError("EAI_SERVICE", show(service));
    return Number(service);
  }
  if (flags & AI_NUMERICSERV) throw gaiError("EAI_NONAME", show(service));
  return proto === undefined ? undefined : portOf(service, proto);
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
  if (ipBytes(host) !== undefined) {
    const isFour = ipv4Bytes(host) !== undefined;
    if (
      family === AF_INET && !isFour ||
      family === AF_INET6 && isFour && !(flags & AI_V4MAPPED)
    ) {
      throw gaiError("EAI_ADDRFAMILY", show(host));
    }
    return [host];
  }
  if (flags & AI_NUMERICHOST) throw gaiError("EAI_NONAME", show(host));
  try {
    return await lookUp(host);
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOTFOUND") throw gaiError("EAI_NONAME", show(host), error);
    if (code === "EAI_AGAIN") throw gaiError("EAI_AGAIN", show(host), error);
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
function sockaddr(host: string, port: number): [number, Address] {
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
 * A literal costs no query. A name needs a grant for it (`--allow-net`, or that name) and goes to the
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
    throw gaiError("EAI_BADFLAGS", show(flags));
  }
  if (flags & AI_CANONNAME && host === null) {
    throw gaiError("EAI_BADFLAGS", "AI_CANONNAME without a host");
  }
  if (family !== AF_UNSPEC && family !== AF_INET && family !== AF_INET6) {
    throw gaiError("EAI_FAMILY", show(family));
  }
  if (host === null && service === null) {
    throw gaiError("EAI_NONAME", "neither a host nor a service");
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
  if (infos.length === 0) throw gaiError("EAI_NONAME", show(host));
  return infos as [AddrInfo, ...AddrInfo[]];
}
