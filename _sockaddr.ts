/** Addresses of the BSD face: their shapes, and what they are in the rooms below. */

import type { SocketAddr } from "./types.ts";
import { checkInteger, checkText, show } from "./_check.ts";
import { checkHostname, splitZone } from "./_host.ts";
import { checkUnixPath } from "./_unix_path.ts";
import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  type Inet6Address,
} from "./_constants.ts";
import { faceError } from "./_socket_error.ts";

/** What an address of a family looks like. */
const SHAPES = new Map<number, string>([
  [AF_INET, "[host, port]"],
  [
    AF_INET6,
    "[host, port], [host, port, flowinfo] or [host, port, flowinfo, scopeid]",
  ],
  [AF_UNIX, "a path"],
]);

/** Checks an address of a family. */
export function checkAddress(family: number, address: unknown): void {
  // The usual one, told quickly.
  if (family === AF_INET && Array.isArray(address) && address.length === 2) {
    const port: unknown = address[1];
    if (
      typeof address[0] === "string" && typeof port === "number" &&
      (port & 0xffff) === port
    ) return;
  }
  const shape = SHAPES.get(family)!;
  const wrong = () =>
    new TypeError(`Invalid address: expected ${shape}, got ${show(address)}`);
  if (family === AF_UNIX) {
    if (typeof address !== "string") throw wrong();
    // Without a name: what that means is the driver's.
    if (address !== "") checkUnixPath(address);
    return;
  }
  if (
    !Array.isArray(address) || address.length < 2 ||
    address.length > (family === AF_INET ? 2 : 4)
  ) throw wrong();
  const [host, port, flowinfo = 0, scopeid = 0] = address;
  checkText(host, "host");
  checkInteger(port, "port", 0, 65535);
  checkInteger(flowinfo, "flowinfo", 0, 2 ** 20 - 1);
  checkInteger(scopeid, "scopeid", 0, 2 ** 32 - 1);
}

/** A host and port as the rooms below take them. */
export interface Endpoint {
  readonly hostname: string;
  readonly port: number;
}

/**
 * What an address of `AF_INET` or `AF_INET6` means: `""` is any address, `"localhost"` the family's
 * loopback, `"<broadcast>"` everybody.
 */
export function toEndpoint(family: number, address: Address): Endpoint {
  const [host, port, , scopeid = 0] = address as Inet6Address;
  const isFour = family === AF_INET;
  if (host === "") return { hostname: isFour ? "0.0.0.0" : "::", port };
  if (host === "<broadcast>" && isFour) {
    return { hostname: "255.255.255.255", port };
  }
  let hostname: string;
  try {
    hostname = checkHostname(
      host === "localhost" ? isFour ? "127.0.0.1" : "::1" : host,
    );
  } catch (error) {
    throw faceError(error);
  }
  const hasZone = hostname.includes("%") || scopeid === 0;
  return { hostname: hasZone ? hostname : `${hostname}%${scopeid}`, port };
}

/** An address of the rooms below as the face gives it. */
export function toAddress(family: number, addr: SocketAddr): Address {
  if ("path" in addr) return addr.path ?? "";
  const { hostname, port } = addr;
  if (family === AF_INET) return [hostname, port];
  const [address, zone] = splitZone(hostname);
  return zone !== undefined && /^\d+$/.test(zone)
    ? [address, port, 0, Number(zone)]
    : [hostname, port, 0, 0];
}

/** The address of a socket that has none. */
export function unnamed(family: number): Address {
  if (family === AF_UNIX) return "";
  return family === AF_INET ? ["0.0.0.0", 0] : ["::", 0, 0, 0];
}
