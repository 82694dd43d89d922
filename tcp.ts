/**
 * TCP: connections and listeners over IPv4 and IPv6.
 *
 * Needs `--allow-net`; a grant for the host and port in use is enough. See tcp(7), RFC 9293.
 *
 * @example An echo server and its client
 * ```ts
 * import { copy, readExact } from "@berkeley/sockets/io";
 * import { connectTcp, listenTcp } from "@berkeley/sockets/tcp";
 * import { assertEquals } from "@std/assert";
 *
 * await using listener = await listenTcp({ hostname: "127.0.0.1", port: 0 });
 * const serving = (async () => {
 *   for await (const conn of listener) {
 *     await copy(conn, conn);
 *     await conn.closeGracefully();
 *   }
 * })();
 *
 * const conn = await connectTcp(listener.addr);
 * await conn.writeAll(new TextEncoder().encode("hello"));
 * assertEquals(new TextDecoder().decode(await readExact(conn, 5)), "hello");
 * await conn.closeGracefully();
 * listener.close();
 * await serving;
 * ```
 *
 * @module
 */

import type { StreamListener, TcpAddr } from "./types.ts";
import {
  checkBoolean,
  checkInteger,
  checkOptions,
  checkSignal,
  checkTimeout,
  show,
} from "./_check.ts";
import { checkHostname, splitZone } from "./_host.ts";
import type { AddrList } from "./addr.ts";
import { type Access, checkAccess } from "./_addr_list.ts";
import { type Settings, type TcpConn, toAddr, wrap } from "./_tcp_conn.ts";
import {
  bounded,
  connectTo,
  hasUnstableNet,
  notSupported,
  openFirst,
  openingError,
  resolveHost,
} from "./_open.ts";
import { listenOnBoth } from "./_dual_stack.ts";
import { Listener, type NativeListener } from "./_listener.ts";

export type { TcpConn };

// Options

/** What can be set on every TCP connection. */
export interface TcpConnOptions {
  /**
   * Whether small writes go out at once (TCP_NODELAY); `true` by default. Without it, a write that
   * follows a write and precedes a read costs about 40 ms (Nagle's algorithm, RFC 896).
   */
  noDelay?: boolean;
  /** Whether the kernel probes a silent peer (SO_KEEPALIVE), after two hours on most systems. */
  keepAlive?: boolean;
}

/** How {@linkcode connectTcp} connects. */
export interface ConnectTcpOptions extends TcpConnOptions {
  /** The port, 1 to 65535. */
  port: number;
  /**
   * A name, an IPv4 address, or an IPv6 address, with a zone where it is link-local
   * (`"fe80::1%eth0"`); `"127.0.0.1"` by default.
   */
  hostname?: string;
  /** How long connecting may take, name lookup included: milliseconds above 0. */
  timeout?: number | undefined;
  /** Ends connecting with `signal.reason`. */
  signal?: AbortSignal | undefined;
  /** Whether addresses of both families are tried for a name (RFC 8305); `true` by default. */
  autoSelectFamily?: boolean;
  /** How long one address is tried before the next one is too, in milliseconds; 250 by default. */
  autoSelectFamilyAttemptDelay?: number;
}

/** How {@linkcode listenTcp} listens. */
export interface ListenTcpOptions extends TcpConnOptions {
  /** The port, 0 to 65535; 0, the default, takes a free one, which `addr.port` tells. */
  port?: number;
  /**
   * The address to listen on: an address of this machine, a name that stands for one, `"0.0.0.0"`
   * (the default: all of IPv4) or `"::"` (all of IPv6, and on most systems of IPv4 too).
   */
  hostname?: string;
  /**
   * How many connections wait for their accept, from 0; the kernel has a bound of its own (4096 on
   * Linux). 511 by default.
   */
  backlog?: number;
  /**
   * Whether other sockets may listen on the same port (SO_REUSEPORT): connections are shared among
   * them. Needs `--unstable-net`.
   */
  reusePort?: boolean;
  /**
   * Whether one listener serves all addresses of IPv4 and IPv6, also where `"::"` alone does not.
   * `hostname` is then `"::"`, `"0.0.0.0"` or left out. Where there is no IPv6 it serves IPv4.
   */
  dualStack?: boolean;
  /** Who may connect; everybody by default. Others are closed before they are accepted. */
  allow?: AddrList | Iterable<string>;
  /** Who may not connect, whatever `allow` says. */
  deny?: AddrList | Iterable<string>;
}

// Open functions

/**
 * Connects to a TCP server.
 *
 * Needs `--allow-net`, or a grant for the host and port.
 *
 * @param options Where to, and how; an address of this package will do.
 * @returns The connection.
 * @throws {Deno.errors.ConnectionRefused} If nobody listens there. Errors of opening name the
 * address; `code`, `address` and `cause` tell the rest.
 * @throws {Deno.errors.NetworkUnreachable} If there is no way to the network.
 * @throws {Error} With `code` `"ENOTFOUND"` or `"EAI_AGAIN"`, if the name is not found;
 * `"EHOSTUNREACH"`, if the host is not reached.
 * @throws {Deno.errors.NotCapable} If the permission is missing.
 * @throws {DOMException} Named `"TimeoutError"`, if the timeout ran out. Nothing stays open.
 * @throws {TypeError | RangeError | AddressSyntaxError} If an option is wrong.
 *
 * @example With a timeout
 * ```ts
 * import { connectTcp, listenTcp } from "@berkeley/sockets/tcp";
 * import { assertEquals } from "@std/assert";
 *
 * await using listener = await listenTcp({ hostname: "::1" });
 * using conn = await connectTcp({ ...listener.addr, timeout: 5000 });
 * assertEquals(conn.remoteAddr, listener.addr);
 * ```
 */
export async function connectTcp(
  options: ConnectTcpOptions,
): Promise<TcpConn> {
  checkOptions(options, "connectTcp");
  const {
    port,
    hostname = "127.0.0.1",
    timeout,
    signal,
    autoSelectFamily,
    autoSelectFamilyAttemptDelay,
  } = options;
  checkInteger(port, "port", 1, 65535);
  const host = checkHostname(hostname);
  const settings = checkConnOptions(options);
  checkTimeout(timeout);
  checkSignal(signal);
  checkBoolean(autoSelectFamily, "autoSelectFamily");
  if (autoSelectFamilyAttemptDelay !== undefined) {
    checkInteger(
      autoSelectFamilyAttemptDelay,
      "autoSelectFamilyAttemptDelay",
      0,
      2 ** 31 - 1,
    );
  }
  const address: TcpAddr = Object.freeze({
    transport: "tcp",
    hostname: host,
    port,
  });
  const native = await bounded(
    connectTo(address),
    { timeout, signal },
    async (signal) => {
      try {
        return await Deno.connect({
          hostname: host,
          port,
          ...(signal && { signal }),
          ...(autoSelectFamily !== undefined && { autoSelectFamily }),
          ...(autoSelectFamilyAttemptDelay !== undefined &&
            { autoSelectFamilyAttemptDelay }),
        });
      } catch (error) {
        throw openingError("connect to", address, error);
      }
    },
  );
  return wrap(native, settings, splitZone(host)[1]);
}

/**
 * Listens for TCP connections.
 *
 * Needs `--allow-net`, or a grant for the host and port as they are written. A name is looked up
 * without blocking the event loop where all of the net is granted, or the name and the addresses it
 * stands for; where only the name, or name and port, is granted, it is left to Deno, which blocks.
 *
 * @param options Where, and how.
 * @returns The listener.
 * @throws {Deno.errors.AddrInUse} If somebody listens there. Errors of opening name the address;
 * `code`, `address` and `cause` tell the rest.
 * @throws {Deno.errors.AddrNotAvailable} If the address is not one of this machine.
 * @throws {Deno.errors.PermissionDenied} If the port is below 1024 and the system says no.
 * @throws {Deno.errors.NotCapable} If the permission is missing.
 * @throws {Deno.errors.NotSupported} If `reusePort` is set without `--unstable-net`.
 * @throws {TypeError | RangeError | AddressSyntaxError} If an option is wrong.
 *
 * @example On a free port, for this machine only
 * ```ts
 * import { listenTcp } from "@berkeley/sockets/tcp";
 * import { assert } from "@std/assert";
 *
 * await using listener = await listenTcp({ hostname: "127.0.0.1", port: 0 });
 * assert(listener.addr.port > 0);
 * ```
 */
export async function listenTcp(
  options: ListenTcpOptions = {},
): Promise<TcpListener> {
  checkOptions(options, "listenTcp");
  const {
    port = 0,
    hostname = options.dualStack === true ? "::" : "0.0.0.0",
    backlog,
    reusePort,
    dualStack,
    allow,
    deny,
  } = options;
  checkInteger(port, "port", 0, 65535);
  const host = checkHostname(hostname);
  const settings = checkConnOptions(options);
  if (backlog !== undefined) checkInteger(backlog, "backlog", 0, 2 ** 31 - 1);
  checkBoolean(reusePort, "reusePort");
  checkBoolean(dualStack, "dualStack");
  if (dualStack && host !== "::" && host !== "0.0.0.0") {
    throw new TypeError(
      `Invalid hostname: expected "::" or "0.0.0.0" with dualStack, got ${
        show(hostname)
      }`,
    );
  }
  const admits = checkAccess({ allow, deny });
  if (reusePort) checkReusePort();
  const listen = (hostname: string, port: number): Deno.TcpListener =>
    Deno.listen({
      hostname,
      port,
      ...(backlog !== undefined && { tcpBacklog: backlog }),
      ...(reusePort && { reusePort }),
    });
  const address: TcpAddr = { transport: "tcp", hostname: host, port };
  let natives: Deno.TcpListener[];
  try {
    natives = dualStack ? listenOnBoth(port, listen) : [
      openFirst(
        await resolveHost(host, port),
        (hostname) => listen(hostname, port),
      ),
    ];
  } catch (error) {
    throw openingError("listen on", address, error);
  }
  const zone = splitZone(host)[1];
  return new TcpSocketListener(
    natives,
    toAddr(natives[0]!.addr, zone),
    (native) => wrap(native, settings, zone),
    admits,
  );
}

function checkConnOptions(options: TcpConnOptions): Settings {
  const { noDelay = true, keepAlive = false } = options;
  checkBoolean(noDelay, "noDelay");
  checkBoolean(keepAlive, "keepAlive");
  return { noDelay, keepAlive };
}

/** `reusePort` without its flag would end the process: Deno's check cannot be caught. */
function checkReusePort(): void {
  if (hasUnstableNet()) return;
  throw notSupported(
    "Cannot set reusePort: run the program again with the --unstable-net flag",
  );
}

// Listener

/** A TCP listener. It has every member of `Deno.TcpListener`. */
export interface TcpListener extends StreamListener<TcpConn, TcpAddr> {
  /** How many connections the `allow` and `deny` lists have turned away. */
  readonly denied: number;
}

class TcpSocketListener extends Listener<Deno.TcpConn, TcpConn, TcpAddr>
  implements TcpListener {
  #denied = 0;

  constructor(
    natives: readonly NativeListener<Deno.TcpConn>[],
    addr: TcpAddr,
    wrap: (native: Deno.TcpConn) => TcpConn,
    admits: Access | undefined,
  ) {
    super({
      natives,
      addr,
      wrap: (native) => {
        if (admits?.(native.remoteAddr) === false) {
          this.#denied++;
          return undefined;
        }
        return wrap(native);
      },
    });
  }

  get denied(): number {
    return this.#denied;
  }
}
