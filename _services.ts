/** What netdb(3) answers without a query: services, protocols, and the words for failed lookups. */

import { checkInteger, checkText, show } from "./_check.ts";
import {
  EAI_ADDRFAMILY,
  EAI_AGAIN,
  EAI_BADFLAGS,
  EAI_FAIL,
  EAI_FAMILY,
  EAI_MEMORY,
  EAI_NODATA,
  EAI_NONAME,
  EAI_OVERFLOW,
  EAI_SERVICE,
  EAI_SOCKTYPE,
  EAI_SYSTEM,
} from "./_constants.ts";
import { socketError } from "./_socket_error.ts";

// Services

/** Well-known services of IANA's registry: port, and the protocol if it is not both. */
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
  exec: [512, "tcp"],
  login: [513, "tcp"],
  who: [513, "udp"],
  shell: [514, "tcp"],
  syslog: [514, "udp"],
  printer: [515, "tcp"],
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

/** The port of a service; `undefined` if it is not in the table, or not over that protocol. */
export function portOf(
  name: string,
  proto: string | undefined,
): number | undefined {
  if (!Object.hasOwn(SERVICES, name)) return undefined;
  const [port, only] = SERVICES[name]!;
  return isOver(only, proto) ? port : undefined;
}

/** The service of a port; `undefined` if the table has none, or not over that protocol. */
export function serviceAt(
  port: number,
  proto: string | undefined,
): string | undefined {
  return Object.keys(SERVICES).find((name) => {
    const [known, only] = SERVICES[name]!;
    return known === port && isOver(only, proto);
  });
}

/** Whether a service of the table is there over a protocol, or over any. */
function isOver(only: string | undefined, proto: string | undefined): boolean {
  return proto === undefined ||
    (only === undefined ? proto === "tcp" || proto === "udp" : proto === only);
}

/** What is said of a service that is not in the table. */
function noService(
  call: string,
  what: string,
  proto: string | undefined,
): Error {
  const over = proto === undefined ? "" : ` over ${show(proto)}`;
  return socketError("ENOENT", call, `no service ${what}${over}`);
}

/**
 * The port of a well-known service, getservbyname(3): those of about sixty common ones, from a table of
 * this package's; no file is read.
 *
 * @param name Such as `"http"`.
 * @param proto `"tcp"` or `"udp"`; any by default.
 * @returns The port, in the host's byte order.
 * @throws {Deno.errors.NotFound} With `code` `"ENOENT"`, if the service is not in the table.
 * @throws {TypeError} If the name is not a string.
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
  checkText(name, "name");
  const port = portOf(name, proto);
  if (port === undefined) throw noService("getservbyname", show(name), proto);
  return port;
}

/**
 * The well-known service of a port, getservbyport(3), from the table of {@linkcode getservbyname}.
 *
 * @param port The port, in the host's byte order, as in Python (C has it in the network's).
 * @param proto `"tcp"` or `"udp"`; any by default.
 * @returns The service's name.
 * @throws {Deno.errors.NotFound} With `code` `"ENOENT"`, if no service of the table has the port, as none
 * has port 0.
 * @throws {TypeError | RangeError} If the port is no integer from 0 to 65535.
 *
 * @example
 * ```ts
 * import { getservbyport } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(getservbyport(80), "http");
 * assertEquals(getservbyport(514, "udp"), "syslog");
 * assertEquals(getservbyport(514, "tcp"), "shell");
 * ```
 */
export function getservbyport(port: number, proto?: "tcp" | "udp"): string {
  checkInteger(port, "port", 0, 65535);
  const name = serviceAt(port, proto);
  if (name === undefined) {
    throw noService("getservbyport", `at port ${port}`, proto);
  }
  return name;
}

// Protocols

/** Common protocols of IANA's registry, by the names that protocols(5) has for them. */
const PROTOCOLS: Readonly<Record<string, number>> = {
  ip: 0,
  hopopt: 0,
  icmp: 1,
  igmp: 2,
  ipencap: 4,
  tcp: 6,
  egp: 8,
  igp: 9,
  udp: 17,
  dccp: 33,
  ipv6: 41,
  "ipv6-route": 43,
  "ipv6-frag": 44,
  rsvp: 46,
  gre: 47,
  esp: 50,
  ah: 51,
  "ipv6-icmp": 58,
  "ipv6-nonxt": 59,
  "ipv6-opts": 60,
  eigrp: 88,
  ospf: 89,
  ipip: 94,
  etherip: 97,
  pim: 103,
  ipcomp: 108,
  vrrp: 112,
  l2tp: 115,
  isis: 124,
  sctp: 132,
  udplite: 136,
};

/**
 * The number of a protocol, getprotobyname(3), from a table of this package's; no file is read.
 *
 * @param name Such as `"tcp"`, in small letters or not, for the system's file has both.
 * @returns The number, as `socket` and `setsockopt` take it.
 * @throws {Deno.errors.NotFound} With `code` `"ENOENT"`, if the protocol is not in the table.
 * @throws {TypeError} If the name is not a string.
 *
 * @example
 * ```ts
 * import { getprotobyname, IPPROTO_ICMPV6, IPPROTO_TCP } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(getprotobyname("tcp"), IPPROTO_TCP);
 * assertEquals(getprotobyname("ipv6-icmp"), IPPROTO_ICMPV6);
 * ```
 */
export function getprotobyname(name: string): number {
  checkText(name, "name");
  const key = name.toLowerCase();
  if (Object.hasOwn(PROTOCOLS, key)) return PROTOCOLS[key]!;
  throw socketError("ENOENT", "getprotobyname", `no protocol ${show(name)}`);
}

// Errors of lookups

/** What getaddrinfo(3) and getnameinfo(3) fail with: the number, and our words for it. */
const LOOKUP_ERRORS = {
  EAI_BADFLAGS: [EAI_BADFLAGS, "Flags not known, or not together"],
  EAI_NONAME: [EAI_NONAME, "No such host or service"],
  EAI_AGAIN: [EAI_AGAIN, "No answer from the resolver for now"],
  EAI_FAIL: [EAI_FAIL, "The resolver failed for good"],
  // On Windows one number with EAI_NONAME, which comes first.
  EAI_NODATA: [EAI_NODATA, "The host has no address"],
  EAI_FAMILY: [EAI_FAMILY, "Family of addresses not supported"],
  EAI_SOCKTYPE: [EAI_SOCKTYPE, "Type of socket not supported"],
  EAI_SERVICE: [EAI_SERVICE, "No such service for this type of socket"],
  EAI_ADDRFAMILY: [EAI_ADDRFAMILY, "The host has no address of this family"],
  EAI_MEMORY: [EAI_MEMORY, "Out of memory"],
  EAI_SYSTEM: [EAI_SYSTEM, "The system failed, and errno says how"],
  EAI_OVERFLOW: [EAI_OVERFLOW, "Too little room for the answer"],
} as const;

/** What a lookup fails with, by name. */
export type LookupErrorCode = keyof typeof LOOKUP_ERRORS;

/** An error of a lookup. */
export function gaiError(
  call: string,
  code: LookupErrorCode,
  what: string,
  cause?: unknown,
): Error {
  return Object.assign(
    new Error(`${call}: ${gai_strerror(code)} (${code}): ${what}`, {
      ...(cause !== undefined && { cause }),
    }),
    { code },
  );
}

/**
 * The text of an error of `getaddrinfo` or `getnameinfo`, gai_strerror(3), in words of this package's own.
 *
 * @param code The name, as errors here have it in `code`, or the running system's number, `EAI_*`.
 * @returns The text; `"Success"` for 0; `Unknown error` and the value where there is none.
 *
 * @example
 * ```ts
 * import { AI_NUMERICHOST, EAI_NONAME, errorCode, gai_strerror, getaddrinfo } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(gai_strerror(EAI_NONAME), "No such host or service");
 * try {
 *   await getaddrinfo("not-a-literal", 80, 0, 0, 0, AI_NUMERICHOST);
 * } catch (error) {
 *   assertEquals(gai_strerror(errorCode(error)!), "No such host or service");
 * }
 * ```
 */
export function gai_strerror(code: number | string): string {
  if (code === 0) return "Success";
  for (const [name, [number, text]] of Object.entries(LOOKUP_ERRORS)) {
    if (code === name || code === number) return text;
  }
  return `Unknown error ${code}`;
}
