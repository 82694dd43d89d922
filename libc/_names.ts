/** Hosts as the kernel needs them: as literals of a family, with zones as numbers. */

import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  type Inet6Address,
} from "../_constants.ts";
import { splitZone } from "../_host.ts";
import { isIPv4, isIPv6 } from "../addr.ts";
import { resolveHost } from "../_open.ts";
import { toEndpoint } from "../_sockaddr.ts";
import { faceError, socketError } from "../_socket_error.ts";
import * as arena from "./_arena.ts";
import { ADDRINFO } from "./_layout.ts";
import {
  clearOnRevocation,
  demandAddress,
  demandHost,
  mayRemember,
} from "./_permissions.ts";
import { decodeAddress, encodeAddress, type Literal } from "./_sockaddr.ts";
import { memory, names, seldom } from "./_symbols.ts";

/** The number of an interface, if_nametoindex(3). */
function indexOf(zone: string): number {
  if (/^\d+$/.test(zone)) return Number(zone);
  const index = seldom().if_nametoindex(new TextEncoder().encode(`${zone}\0`));
  if (index === 0) throw socketError("ENODEV", "if_nametoindex", zone);
  return index;
}

function otherFamily(call: string, hostname: string): Error {
  return socketError(
    "EAFNOSUPPORT",
    call,
    `${hostname} has no address of this family`,
  );
}

/** A literal host with the rest of its address. */
function literal(hostname: string, address: Address): Literal {
  const [, port, flowinfo = 0, scopeid = 0] = address as Inet6Address;
  const [host, zone] = splitZone(hostname);
  return [host, port, flowinfo, zone === undefined ? scopeid : indexOf(zone)];
}

/** What an address is for the kernel, if its host need not be looked up. Its permission is asked for. */
function ready(family: number, address: Address): Literal | undefined {
  if (family === AF_UNIX) {
    demandAddress(family, address as string);
    return address as string;
  }
  const { hostname, port } = toEndpoint(family, address);
  if (family === AF_INET ? !isIPv4(hostname) : !isIPv6(hostname)) {
    return undefined;
  }
  demandHost(hostname, port);
  return literal(hostname, address);
}

/** Puts an address where the kernel reads it; how long it is. */
function put(family: number, address: Literal, call: string): number {
  const length = encodeAddress(arena.nameView, family, address);
  if (length !== undefined) return length;
  if (family === AF_UNIX) {
    throw socketError("EINVAL", call, "the path is longer than 108 bytes");
  }
  throw otherFamily(call, address[0] as string);
}

/** An address as bytes, for a call that comes later. */
export type Packed = Uint8Array<ArrayBuffer>;

function pack(family: number, address: Literal, call: string): Packed {
  return arena.name.slice(0, put(family, address, call));
}

interface Recent {
  readonly host: string;
  readonly port: number;
  readonly packed: Packed;
}

/** Addresses of literals that were used a moment ago, each in its place: making one costs more than sending. */
const recent: (Recent | undefined)[] = new Array(4096).fill(undefined);
clearOnRevocation({ clear: () => recent.fill(undefined) });

/** The place of an address. Hosts mostly differ at their ends. */
function place(host: string, port: number): number {
  const last = host.length - 1;
  return port + 1021 * host.charCodeAt(last) + 61 * host.charCodeAt(last - 1) &
    4095;
}

/**
 * What an address is for the kernel.
 *
 * @returns At once, if its host is a literal; a promise, if it is looked up.
 * @throws {Error} With `code` `"EAFNOSUPPORT"` for a host of the other family, `"EAI_NONAME"` for none.
 */
export function resolve(
  family: number,
  address: Address,
  call: string,
): Packed | Promise<Packed> {
  const isPlain = family !== AF_UNIX &&
    (address.length === 2 || !address[2] && !address[3]);
  if (isPlain) {
    const host = address[0]!;
    const port = address[1] as number;
    const known = recent[place(host, port)];
    // Its first two bytes are the family.
    if (
      known !== undefined && known.port === port && known.host === host &&
      known.packed[0] === family
    ) return known.packed;
  }
  const known = ready(family, address);
  if (known === undefined) return lookUp(family, address, call);
  const packed = pack(family, known, call);
  if (isPlain && mayRemember()) {
    const [host, port] = address as Inet6Address;
    recent[place(host, port)] = { host, port, packed };
  }
  return packed;
}

async function lookUp(
  family: number,
  address: Address,
  call: string,
): Promise<Packed> {
  const { hostname, port } = toEndpoint(family, address);
  const isLiteral = isIPv4(hostname) || isIPv6(hostname);
  if (isLiteral) throw otherFamily(call, hostname);
  demandHost(hostname, port);
  let found: string[];
  try {
    found = await resolveHost(hostname, port);
  } catch (error) {
    throw faceError(error);
  }
  const host = found.find((text) =>
    family === AF_INET ? isIPv4(text) : isIPv6(text)
  );
  // A grant for the name alone gives no addresses: the C library knows them.
  if (host === undefined) return resolveNow(family, address, call);
  return pack(family, literal(host, address), call);
}

/** `struct addrinfo`'s answers of getaddrinfo(3), by their number. */
const NO_NAME = new Map([[-2, "EAI_NONAME"], [-3, "EAI_AGAIN"], [
  -5,
  "EAI_NONAME",
], [-9, "EAI_NONAME"]]);

/** What an address is for the kernel; a name is looked up while the program stands still. */
export function resolveNow(
  family: number,
  address: Address,
  call: string,
): Packed {
  const known = ready(family, address);
  if (known !== undefined) return pack(family, known, call);
  const { hostname, port } = toEndpoint(family, address);
  if (isIPv4(hostname) || isIPv6(hostname)) throw otherFamily(call, hostname);
  demandHost(hostname, port);
  const hints = new DataView(new ArrayBuffer(ADDRINFO.size));
  hints.setInt32(ADDRINFO.family, family, true);
  const list = new BigUint64Array(1);
  const status = names().getaddrinfo(
    new TextEncoder().encode(`${hostname}\0`),
    null,
    new Uint8Array(hints.buffer),
    new Uint8Array(list.buffer),
  );
  if (status !== 0) {
    throw Object.assign(new Error(`${call}: ${hostname} is no host here`), {
      code: NO_NAME.get(status) ?? "EAI_FAIL",
    });
  }
  try {
    const { copyFrom } = memory();
    const first = new DataView(new ArrayBuffer(ADDRINFO.size));
    copyFrom(new Uint8Array(first.buffer), list[0]!, BigInt(ADDRINFO.size));
    const length = first.getUint32(ADDRINFO.addressLength, true);
    copyFrom(
      arena.name,
      first.getBigUint64(ADDRINFO.address, true),
      BigInt(Math.min(length, arena.name.length)),
    );
    const [host] = decodeAddress(arena.nameView, length) as Inet6Address;
    return pack(family, literal(host, address), call);
  } finally {
    names().freeaddrinfo(list[0]!);
  }
}

/** Whether a family has ports. */
export function isInet(family: number): boolean {
  return family === AF_INET || family === AF_INET6;
}
