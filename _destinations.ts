/** Where UDP datagrams go: destinations are checked once, and names are looked up once. */

import type { UdpAddr } from "./types.ts";
import { type HostPort, isIPv4, isIPv6, unmapIPv4 } from "./addr.ts";
import { checkInteger, show } from "./_check.ts";
import { checkHostname } from "./_host.ts";
import {
  lookUp,
  netGranted,
  openingError,
  resolveHost,
  systemError,
} from "./_open.ts";

/** The largest payload: 65,535 less the headers (RFC 768; IPv4's 20 bytes count there too, RFC 791). */
export const LARGEST = { 4: 65507, 6: 65527 } as const;

/** How many addresses, and how many names, a socket remembers. */
const MAX_KNOWN = 1024;

/** Makes room for one more entry: the oldest goes. */
function bound(known: Map<string, unknown>): void {
  if (known.size < MAX_KNOWN) return;
  for (const oldest of known.keys()) {
    known.delete(oldest);
    return;
  }
}

/** The address of a message and of an error. */
export function udpAddr({ hostname, port }: HostPort): UdpAddr {
  return Object.freeze({ transport: "udp", hostname, port });
}

/** A TypeError for what should have been an address. */
function noAddress(addr: unknown): TypeError {
  return new TypeError(
    `Invalid address: expected a hostname and a port, got ${show(addr)}`,
  );
}

/** Checks a destination and gives it with its host out of brackets. */
export function checkDestination(addr: unknown): HostPort {
  if (typeof addr !== "object" || addr === null) throw noAddress(addr);
  const { hostname, port } = addr as HostPort;
  checkInteger(port, "port", 1, 65535);
  return { hostname: checkHostname(hostname), port };
}

/** Whether a text is an address of the family, by which the kernel can be sent to. */
function isOf(family: 4 | 6, text: string): boolean {
  return isIPv4(text) || family === 6 && isIPv6(text);
}

/** The destinations of a socket of one family. */
export class Destinations {
  readonly #family: 4 | 6;
  /** Addresses as they were given, checked, and what the runtime is told. */
  readonly #literals = new Map<string, string>();
  /** What names stand for, or the lookup that will tell. */
  readonly #names = new Map<string, string | Promise<string>>();

  constructor(family: 4 | 6) {
    this.#family = family;
  }

  /** Checks a destination and gives what the runtime takes, or a promise of it. May throw. */
  find(addr: HostPort, length: number): HostPort | Promise<HostPort> {
    if (typeof addr !== "object" || addr === null) throw noAddress(addr);
    // Read once: what is checked is what is used.
    const { hostname, port } = addr;
    const known = this.#literals.get(hostname);
    if (
      known === undefined || length > LARGEST[4] ||
      !(Number.isInteger(port) && port > 0 && port < 65536)
    ) return this.#findAnew(hostname, port, length);
    return { hostname: known, port };
  }

  #findAnew(
    hostname: string,
    port: number,
    length: number,
  ): HostPort | Promise<HostPort> {
    const to = checkDestination({ hostname, port });
    if (isIPv4(to.hostname) || isIPv6(to.hostname)) {
      const literal = this.#family === 4 ? unmapIPv4(to.hostname) : to.hostname;
      if (!isOf(this.#family, literal)) {
        throw systemError("send to", udpAddr(to), "EAFNOSUPPORT");
      }
      checkLength(to, literal, length);
      bound(this.#literals);
      this.#literals.set(hostname, literal);
      return { hostname: literal, port: to.port };
    }
    const name = this.#look(to.hostname, to.port);
    const check = (target: string): HostPort => {
      checkLength(to, target, length);
      return { hostname: target, port: to.port };
    };
    return typeof name === "string" ? check(name) : name.then(check);
  }

  /** What a name stands for. */
  #look(name: string, port: number): string | Promise<string> {
    // Grants for single ports decide anew for each port whether the name or its address is passed on.
    const key = netGranted() ? name : `${name}:${port}`;
    const known = this.#names.get(key);
    if (known !== undefined) return known;
    const looking = pick(this.#family, name, port);
    bound(this.#names);
    this.#names.set(key, looking);
    // Another lookup may have taken its place meanwhile. After a failure the next one tries anew.
    const settle = (found?: string) => {
      if (this.#names.get(key) !== looking) return;
      if (found === undefined) this.#names.delete(key);
      else this.#names.set(key, found);
    };
    looking.then(settle, () => settle());
    return looking;
  }
}

/** The runtime knows a large datagram by its error only; the limit is told here. */
function checkLength(
  addr: HostPort,
  target: string,
  length: number,
): void {
  const family = isIPv6(unmapIPv4(target)) ? 6 : 4;
  if (length <= LARGEST[family]) return;
  throw systemError(
    `send ${length} bytes to`,
    udpAddr(addr),
    "EMSGSIZE",
    `; a datagram over IPv${family} holds at most ${LARGEST[family]} bytes`,
  );
}

/** The address of a family that a name stands for, IPv6 before IPv4; or the name, where only that is granted. */
async function pick(
  family: 4 | 6,
  name: string,
  port: number,
): Promise<string> {
  const addr = udpAddr({ hostname: name, port });
  let found: string[];
  try {
    found = await resolveHost(name, port);
  } catch (error) {
    throw openingError("send to", addr, error);
  }
  const target = family === 6 && found.find(isIPv6) ||
    found.find((text) => isIPv4(text) || text === name);
  if (target === undefined) {
    throw systemError("send to", addr, "EAFNOSUPPORT");
  }
  return target;
}

/** Whom a socket is connected to. */
export interface Peer {
  /** What the runtime is told. */
  readonly target: HostPort;
  /** The address by which answers are known. */
  readonly addr: UdpAddr;
}

/** Finds out whom a socket of a family, or of either, is to be connected to. */
export async function findPeer(
  addr: HostPort,
  family: 4 | 6 | undefined,
): Promise<Peer> {
  const { port } = addr;
  const hostname = family === 4 ? unmapIPv4(addr.hostname) : addr.hostname;
  const fits = (text: string) => family === undefined || isOf(family, text);
  const whole = udpAddr(addr);
  try {
    const target = (await resolveHost(hostname, port)).find((text) =>
      text === hostname || fits(text)
    );
    // Where only the name is granted it is sent to by name; answers come from an address all the same.
    const literal = target === undefined || isIPv4(target) || isIPv6(target)
      ? target
      : (await lookUp(hostname)).find(fits);
    if (target === undefined || literal === undefined || !fits(literal)) {
      throw systemError("connect to", whole, "EAFNOSUPPORT");
    }
    return {
      target: { hostname: target, port },
      addr: udpAddr({ hostname: anyToLoopback(literal), port }),
    };
  } catch (error) {
    throw (error as { address?: unknown })?.address === undefined
      ? openingError("connect to", whole, error)
      : error;
  }
}

/** To send to "any address" is to send to oneself (ip(7)); answers come from there. */
function anyToLoopback(literal: string): string {
  return literal === "0.0.0.0"
    ? "127.0.0.1"
    : literal === "::"
    ? "::1"
    : literal;
}
