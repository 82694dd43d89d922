/** Multicast groups: what is one, which interface is meant, and joining with the runtime's own calls. */

import { AddressSyntaxError } from "./errors.ts";
import type { UdpAddr } from "./types.ts";
import { checkBoolean, checkInteger, checkOptions, show } from "./_check.ts";
import { ipBytes, ipv4Bytes, splitZone } from "./_host.ts";
import { notSupported, systemError } from "./_open.ts";

/** How `UdpSocket.joinMulticast` joins. */
export interface JoinMulticastOptions {
  /**
   * By which interface: for IPv4 its address, for IPv6 its name or, on backend `"deno"`, its index in
   * digits; the one of the route by default. A name on backend `"deno"` needs `--allow-read` for
   * `/sys/class/net/NAME/ifindex` or `--allow-sys=networkInterfaces`.
   */
  interface?: string;
  /** The one sender to hear (IP_ADD_SOURCE_MEMBERSHIP, RFC 4607). IPv4 and backend `"node"` only. */
  source?: string;
  /** Whether what this socket sends to groups comes to this machine's own members too. */
  loopback?: boolean;
  /** Over how many routers what this socket sends to groups goes, 1 to 255. IPv4 only. */
  ttl?: number;
}

/** A group to join, checked. */
export interface Join {
  /** The address that errors tell. */
  readonly addr: UdpAddr;
  /** The group's address, without a zone. */
  readonly group: string;
  /** IPv4: an interface's address. IPv6: its name, or its index in digits. */
  readonly on: string | undefined;
  readonly source: string | undefined;
  readonly loopback: boolean | undefined;
  readonly ttl: number | undefined;
}

/** Leaves a group. */
export type Leave = () => void | Promise<void>;

/** A multicast address of the family. */
function checkGroup(group: unknown, family: 4 | 6): string {
  const range = family === 4
    ? "224.0.0.0 to 239.255.255.255"
    : "ff00:: to ffff:…";
  const wanted = `expected an IPv${family} address from ${range}`;
  if (typeof group !== "string") {
    throw new TypeError(`Invalid group: ${wanted}, got ${show(group)}`);
  }
  const bytes = ipBytes(group);
  if (bytes === undefined) {
    throw new AddressSyntaxError(
      `Invalid group ${show(group)}: ${wanted}`,
      group,
      0,
    );
  }
  const isGroup = family === 4
    ? bytes.length === 4 && bytes[0]! >> 4 === 0xe
    : bytes.length === 16 && bytes[0] === 0xff;
  if (!isGroup) {
    throw new RangeError(`Invalid group: ${wanted}, got ${show(group)}`);
  }
  return group;
}

/** What names an interface: its IPv4 address, or for IPv6 its name. */
export function checkInterface(name: unknown, family: 4 | 6): void {
  if (name === undefined) return;
  const wanted = family === 4
    ? "expected the interface's IPv4 address"
    : 'expected the interface\'s name, such as "eth0", or its index in digits';
  if (typeof name !== "string") {
    throw new TypeError(`Invalid interface: ${wanted}, got ${show(name)}`);
  }
  const fits = family === 4
    ? ipv4Bytes(name) !== undefined
    : /^[^\s%/:[\]\0]+$/.test(name);
  if (!fits) {
    throw new AddressSyntaxError(
      `Invalid interface ${show(name)}: ${wanted}`,
      name,
      0,
    );
  }
}

/** A time to live, IPv4's name of it. */
export function checkTtl(ttl: unknown, name: string, family: 4 | 6): void {
  if (ttl === undefined) return;
  checkInteger(ttl, name, 1, 255);
  if (family === 6) {
    throw notSupported(
      `Cannot set ${name}: Deno has no call for the hop limit of IPv6`,
    );
  }
}

/** Checks what is to be joined. */
export function checkJoin(
  group: unknown,
  port: number,
  options: JoinMulticastOptions,
  family: 4 | 6,
): Join {
  checkOptions(options, "joinMulticast");
  const { interface: on, source, loopback, ttl } = options;
  const [address, zone] = splitZone(checkGroup(group, family));
  checkInterface(on, family);
  checkBoolean(loopback, "loopback");
  checkTtl(ttl, "ttl", family);
  if (source !== undefined) {
    if (typeof source !== "string" || ipBytes(source) === undefined) {
      throw new TypeError(
        `Invalid source: expected an IP address, got ${show(source)}`,
      );
    }
    if (family === 6) {
      throw notSupported(
        "Cannot join for one source: Deno has no call for it on IPv6",
      );
    }
    if (ipv4Bytes(source) === undefined) {
      throw new RangeError(
        `Invalid source: expected an IPv4 address, got ${show(source)}`,
      );
    }
  }
  const addr: UdpAddr = { transport: "udp", hostname: address, port };
  return { addr, group: address, on: on ?? zone, source, loopback, ttl };
}

/** An error for an interface that is not there. */
export function noInterface({ addr, on }: Join): Error {
  const hint = on === undefined ? "" : `: no interface ${show(on)}`;
  return systemError("join", addr, "ENODEV", hint);
}

/** Whether this machine has an address. Needs a net grant for it. */
export function hasAddress(hostname: string): boolean {
  try {
    Deno.listen({ hostname, port: 0 }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrNotAvailable) return false;
    throw error;
  }
}

/** Whether there is an interface of a name. Needs a net grant for `fe80::1` there. */
export function hasInterface(name: string): boolean {
  try {
    hasAddress(`fe80::1%${name}`);
    // Whoever has this address, the interface is looked for first.
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false;
  }
}

/** The index of an interface, by which the runtime takes it. */
function indexOf(name: string): number | undefined {
  if (/^\d+$/.test(name)) {
    // The runtime would cut a larger one off, and take 0 for any.
    const index = Number(name);
    return index > 0 && index < 2 ** 31 ? index : undefined;
  }
  const sys = { name: "sys", kind: "networkInterfaces" } as const;
  if (Deno.permissions.querySync(sys).state === "granted") {
    // Loopback addresses tell no index, and others only where they are link-local.
    const known = Deno.networkInterfaces()
      .find((known) => known.name === name && known.scopeid);
    if (known !== undefined) return known.scopeid!;
  }
  try {
    return Number(Deno.readTextFileSync(`/sys/class/net/${name}/ifindex`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Joins with a socket of the runtime's own. */
export async function joinNative(
  native: Deno.DatagramConn,
  join: Join,
  family: 4 | 6,
): Promise<Leave> {
  const { group, on, source, loopback, ttl } = join;
  if (source !== undefined) {
    throw notSupported(
      'Cannot join for one source on this backend: bind with backend: "node"',
    );
  }
  try {
    if (family === 4) {
      const membership = await native.joinMulticastV4(group, on ?? "0.0.0.0");
      if (ttl !== undefined) await membership.setTTL(ttl);
      return await settle(membership, loopback);
    }
    const index = on === undefined ? 0 : indexOf(on);
    if (index === undefined) throw noInterface(join);
    return await settle(await native.joinMulticastV6(group, index), loopback);
  } catch (error) {
    throw /\(os error 19\)$/.test((error as Error).message)
      ? noInterface(join)
      : error;
  }
}

/** Sets the last of what was asked for. */
async function settle(
  membership: Deno.MulticastV6Membership,
  loopback: boolean | undefined,
): Promise<Leave> {
  if (loopback !== undefined) await membership.setLoopback(loopback);
  return () => membership.leave();
}
