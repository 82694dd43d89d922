/** What `bind`, `listen` and `connect` of the BSD face's stream sockets ask the runtime for. */

import type { StreamListener, TcpAddr } from "./types.ts";
import type { Watchable } from "./_readiness.ts";
import { toAddr, wrap } from "./_tcp_conn.ts";
import { UnixSocketConn } from "./_unix_conn.ts";
import { openingError, resolveHost } from "./_open.ts";
import { bindStaying } from "./_socket_file.ts";
import { Listener } from "./_listener.ts";
import { checkUnixPath } from "./_unix_path.ts";
import { listenOnBoth } from "./_dual_stack.ts";
import { ipv4Bytes, splitZone } from "./_host.ts";
import { connectTcp, type ConnectTcpOptions, type TcpConn } from "./tcp.ts";
import { AF_INET, AF_INET6 } from "./_constants.ts";
import { faceError, socketError } from "./_socket_error.ts";
import type { Endpoint } from "./_sockaddr.ts";
import type { StreamOptions } from "./_deno_options.ts";

/** How long a port is waited for that has just been given back, in milliseconds. */
const PATIENCE = 100;

/** A socket with an address: the runtime lets it listen at once. */
export interface Bound {
  listener: StreamListener & Watchable;
  /** Makes the listener anew with another backlog. Paths have the runtime's own. */
  readonly relisten?: (backlog: number) => void;
}

/** Binds a port of one family. */
export function bindPort(
  family: number,
  { hostname, port }: Endpoint,
  options: StreamOptions,
): Bound {
  const { reusePort, dualStack } = options;
  const listen = (port: number, backlog?: number): Deno.TcpListener[] => {
    const one = (hostname: string, port: number) =>
      Deno.listen({
        hostname,
        port,
        ...(backlog !== undefined && { tcpBacklog: backlog }),
        ...(reusePort && { reusePort }),
      });
    return dualStack && hostname === "::"
      ? listenOnBoth(port, one)
      : [one(hostname, port)];
  };
  let natives: Deno.TcpListener[];
  try {
    natives = listen(port);
  } catch (error) {
    const address: TcpAddr = { transport: "tcp", hostname, port };
    throw faceError(openingError("bind", address, error));
  }
  const close = () => natives.forEach((native) => native.close());
  const bound = natives[0]!.addr;
  const isSix = bound.hostname.includes(":");
  if (isSix !== (family === AF_INET6) && !dualStack) {
    close();
    throw otherFamily("bind", hostname);
  }
  const zone = splitZone(hostname)[1];
  const make = () =>
    new Listener({
      natives,
      addr: toAddr(bound, zone),
      wrap: (conn: Deno.TcpConn) => wrap(conn, options.settings, zone),
    });
  const result = {
    listener: make(),
    relisten(backlog: number) {
      // Closed it stays, and can be closed again, if the other one fails.
      result.listener.close();
      natives = again(() => listen(bound.port, backlog));
      result.listener = make();
    },
  };
  return result;
}

/**
 * Listens where a listener has just been closed. A process that a worker is just starting has copies of all
 * descriptors until it runs its program, also of that one: it is waited for, but not for long.
 */
function again<L>(listen: () => L): L {
  const end = performance.now() + PATIENCE;
  for (;;) {
    try {
      return listen();
    } catch (error) {
      const isOver = performance.now() > end;
      if (isOver || !(error instanceof Deno.errors.AddrInUse)) {
        throw faceError(error);
      }
    }
  }
}

/** Binds a path, which stays. */
export function bindPath(path: string): Bound {
  checkUnixPath(path);
  const addr = { transport: "unix", path } as const;
  try {
    const native = bindStaying(
      path,
      (path) => Deno.listen({ transport: "unix", path }),
    );
    return {
      listener: new Listener({
        natives: [native],
        addr,
        wrap: (conn: Deno.UnixConn) =>
          new UnixSocketConn(conn, addr, undefined),
      }),
    };
  } catch (error) {
    throw faceError(openingError("bind", addr, error));
  }
}

/** Connects to a port at the first address of a host that is of the family. */
export async function connectPort(
  family: number,
  { hostname, port }: Endpoint,
  options: Omit<ConnectTcpOptions, "hostname" | "port">,
): Promise<TcpConn> {
  // As the system has it: nobody can listen there.
  if (port === 0) throw socketError("ECONNREFUSED", "connect", "port 0");
  const isFour = family === AF_INET;
  // A name that must not be looked up here is left to the runtime.
  const first = (await resolveHost(hostname, port)).find((address) =>
    address.includes(":") ? !isFour : isFour || ipv4Bytes(address) === undefined
  );
  if (first === undefined) throw otherFamily("connect", hostname);
  const conn = await connectTcp({ ...options, hostname: first, port });
  if (conn.remoteAddr.hostname.includes(":") === isFour) {
    conn.close();
    throw otherFamily("connect", hostname);
  }
  return conn;
}

function otherFamily(call: string, hostname: string): Error {
  return socketError(
    "EAFNOSUPPORT",
    call,
    `${hostname} has no address of this family`,
  );
}
