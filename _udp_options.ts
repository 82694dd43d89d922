/** Options of every UDP socket: what they are, and which backend can do what they ask for. */

import { checkBoolean, checkInteger, show } from "./_check.ts";
import { hasUnstableNet, notSupported } from "./_open.ts";
import { checkTtl } from "./_multicast.ts";
import type { NodeUdpOptions } from "./_node_udp.ts";

/** What can be set on every UDP socket. */
export interface UdpOptions {
  /**
   * Which sockets are used: `"deno"`, the runtime's own, which need `--unstable-net`, or `"node"`, those
   * of `node:dgram`, which need no flag, can do more, and take about twice the time a datagram. By
   * default the runtime's, unless the flag is missing or another option is for `"node"` only.
   */
  backend?: "deno" | "node";
  /** Whether other sockets that say so too may be bound to the same port (SO_REUSEADDR). */
  reuseAddress?: boolean;
  /** Whether a socket on an IPv6 address leaves IPv4 alone (IPV6_V6ONLY). Backend `"node"` only. */
  ipv6Only?: boolean;
  /**
   * Whether datagrams may go to broadcast addresses (SO_BROADCAST); `true` by default. `false` is for
   * backend `"node"` only.
   */
  broadcast?: boolean;
  /**
   * Over how many routers what is sent goes (IP_TTL), 1 to 255; 64 on most systems. IPv4 and backend
   * `"node"` only.
   */
  ttl?: number;
  /**
   * The same for what is sent to groups (IP_MULTICAST_TTL), 1 to 255; 1, this network, by default.
   * IPv4 and backend `"node"` only; `joinMulticast` sets it on both.
   */
  multicastTtl?: number;
  /**
   * Whether what is sent to a group comes to this machine's own members too (IP_MULTICAST_LOOP);
   * `true` by default.
   */
  multicastLoopback?: boolean;
  /**
   * The interface by which datagrams go to groups (IP_MULTICAST_IF): for IPv4 its address, for IPv6 its
   * name; the one of the route by default. Backend `"node"` only.
   */
  multicastInterface?: string;
  /**
   * How many bytes wait on backend `"node"` for somebody to receive them, 256 for each datagram
   * included; 1 MiB by default. What comes beyond is dropped and counted. On backend `"deno"` it waits
   * in the system's own buffer (SO_RCVBUF, 208 KiB on most Linux systems).
   */
  maxQueuedBytes?: number;
}

/** Options, checked. */
export interface Settings extends Omit<NodeUdpOptions, "family"> {
  readonly backend: "deno" | "node";
}

/** Checks what can be checked before the family is known, and chooses the backend. */
export function checkUdpOptions(options: UdpOptions): Settings {
  const {
    backend,
    reuseAddress = false,
    ipv6Only = false,
    broadcast = true,
    multicastLoopback = true,
    ttl,
    multicastTtl,
    multicastInterface,
    maxQueuedBytes = 2 ** 20,
  } = options;
  if (backend !== undefined && backend !== "deno" && backend !== "node") {
    throw new TypeError(
      `Invalid backend: expected "deno" or "node", got ${show(backend)}`,
    );
  }
  checkBoolean(reuseAddress, "reuseAddress");
  checkBoolean(ipv6Only, "ipv6Only");
  checkBoolean(broadcast, "broadcast");
  checkBoolean(multicastLoopback, "multicastLoopback");
  checkTtl(ttl, "ttl", 4);
  checkTtl(multicastTtl, "multicastTtl", 4);
  checkInteger(maxQueuedBytes, "maxQueuedBytes", 0, 2 ** 31 - 1);
  const { reusePort } = options as { reusePort?: unknown };
  if (reusePort) {
    throw notSupported(
      "Cannot set reusePort: Deno has no SO_REUSEPORT for UDP; see reuseAddress",
    );
  }
  const nodeOnly = [
    ipv6Only && "ipv6Only",
    !broadcast && "broadcast: false",
    ttl !== undefined && "ttl",
    multicastTtl !== undefined && "multicastTtl",
    multicastInterface !== undefined && "multicastInterface",
  ].find((name) => name !== false);
  if (backend === "deno" && nodeOnly !== undefined) {
    throw notSupported(
      `Cannot set ${nodeOnly} on this backend: bind with backend: "node"`,
    );
  }
  if (backend === "deno" && !hasUnstableNet()) {
    throw notSupported(
      'Cannot use backend "deno": run the program again with the --unstable-net flag',
    );
  }
  return {
    backend: backend ??
      (nodeOnly === undefined && hasUnstableNet() ? "deno" : "node"),
    reuseAddress,
    ipv6Only,
    broadcast,
    multicastLoopback,
    ttl,
    multicastTtl,
    multicastInterface,
    maxQueuedBytes,
  };
}
