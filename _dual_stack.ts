/** Listening on all addresses of IPv4 and IPv6 at once. */

import { isMissingAddress, netGranted } from "./_open.ts";

/** How many free ports are tried until one is free for both families. */
const PORT_TRIES = 16;

/** Listens on all addresses of both families: with one socket where that is both, else with two. */
export function listenOnBoth(
  port: number,
  listen: (hostname: string, port: number) => Deno.TcpListener,
): Deno.TcpListener[] {
  for (let i = 1;; i++) {
    let six: Deno.TcpListener;
    try {
      six = listen("::", port);
    } catch (error) {
      if (isMissingAddress(error)) return [listen("0.0.0.0", port)];
      throw error;
    }
    try {
      return [six, listen("0.0.0.0", six.addr.port)];
    } catch (error) {
      // Taken: by our own socket, if "::" is both; else by somebody else.
      const taken = error instanceof Deno.errors.AddrInUse;
      if (taken && coversIPv4(port)) return [six];
      six.close();
      if (!taken || port !== 0 || i === PORT_TRIES) throw error;
    }
  }
}

/**
 * Whether a socket on "::" takes connections of IPv4 too (IPV6_V6ONLY off; net.ipv6.bindv6only): then
 * nobody can have IPv4's share of a port that is ours.
 *
 * Where the grants are for one port only, no other can be tried, and Linux's default is taken for true.
 */
function coversIPv4(port: number): boolean {
  if (port !== 0 && (!netGranted("[::]:0") || !netGranted("0.0.0.0"))) {
    return true;
  }
  try {
    using six = Deno.listen({ hostname: "::", port: 0 });
    Deno.listen({ hostname: "0.0.0.0", port: six.addr.port }).close();
    return false;
  } catch (error) {
    return error instanceof Deno.errors.AddrInUse;
  }
}
