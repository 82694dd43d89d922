/**
 * Unix domain sockets: connections, listeners and datagram sockets on paths and abstract names.
 *
 * Datagrams need `--unstable-net`. All need `--allow-read` and `--allow-write` for the path and `--allow-net=unix:/ABSOLUTE/PATH`, or
 * `--allow-net`. Abstract names need `--allow-net` only. See unix(7).
 *
 * @example A server on a path, and its client
 * ```ts
 * import { connectUnix, listenUnix } from "@berkeley/sockets/unix";
 * import { assertEquals } from "@std/assert";
 *
 * const path = `${await Deno.makeTempDir()}/example.sock`;
 * await using listener = await listenUnix({ path, mode: 0o600 });
 * using client = await connectUnix({ path });
 * using server = await listener.accept();
 * await client.writeAll(new TextEncoder().encode("hello"));
 * const buffer = new Uint8Array(100);
 * assertEquals(await server.read(buffer), 5);
 * ```
 *
 * @module
 */

import type { StreamListener, UnixAddr, UnixDatagramAddr } from "./types.ts";
import {
  checkInteger,
  checkOptions,
  checkSignal,
  checkTimeout,
  show,
} from "./_check.ts";
import { sleep } from "./_wait.ts";
import { checkUnixPath, isAbstract } from "./_unix_path.ts";
import {
  bounded,
  connectTo,
  hasUnstableNet,
  notSupported,
  openingError,
} from "./_open.ts";
import {
  bindFile,
  bindTwice,
  type Bound,
  removeIfThere,
  type Unlink,
} from "./_socket_file.ts";
import { type UnixConn, UnixSocketConn } from "./_unix_conn.ts";
import { Listener } from "./_listener.ts";
import { bindUnnamed, drain } from "./_unix_datagram.ts";
import {
  bindAbstract,
  bindDatagrams,
  type Opened,
  UnixDatagramConn,
  type UnixDatagramDestination,
  type UnixDatagramSocket,
} from "./_unix_datagram_conn.ts";

export type { UnixConn, UnixDatagramDestination, UnixDatagramSocket };

// Options

/** How {@linkcode connectUnix} connects. */
export interface ConnectUnixOptions {
  /** The path, as a string or a file URL, at most 107 bytes (103 on Darwin); or `"\0name"`. */
  path: string | URL;
  /** How long connecting may take while the server's queue is full: milliseconds above 0. */
  timeout?: number | undefined;
  /** Ends connecting with `signal.reason`. */
  signal?: AbortSignal | undefined;
}

/** How {@linkcode listenUnix} listens. */
export interface ListenUnixOptions {
  /**
   * The path, as a string or a file URL, at most 107 bytes (103 on Darwin); or an abstract name,
   * `"\0name"` (Linux only). A relative path is resolved when it is bound.
   */
  path: string | URL;
  /**
   * The permission bits of the socket's file, such as `0o600`; what the umask leaves by default. On
   * Linux a client needs the write bit. They are set before anybody can connect.
   */
  mode?: number;
  /**
   * What happens to a socket that is at the path: `"stale"` (the default) removes it if nobody
   * listens on it, which a connect finds out; `"always"` removes it; `"never"` removes nothing. A
   * file that is no socket is never removed.
   */
  unlink?: "stale" | "always" | "never";
}

/** How {@linkcode bindUnixDatagram} binds. */
export interface BindUnixDatagramOptions {
  /**
   * The path, as a string or a file URL, at most 107 bytes (103 on Darwin); or an abstract name,
   * `"\0name"` (Linux only). A relative path is resolved when it is bound. Without a path the socket has
   * no name: it can send, and nobody can answer it.
   */
  path?: string | URL | undefined;
  /**
   * The permission bits of the socket's file, such as `0o600`; what the umask leaves by default. On
   * Linux a sender needs the write bit. They are set a moment after the path is there: where that
   * moment matters, bind in a folder that is closed to others.
   */
  mode?: number;
  /** What happens to a socket that is at the path: as for {@linkcode ListenUnixOptions.unlink}. */
  unlink?: "stale" | "always" | "never";
  /**
   * The largest datagram that is received whole, in bytes from 1 to 2^28; 262,143 by default. Linux lets a
   * sender have 212,960 unless its send buffer was enlarged (net.core.wmem_default).
   */
  maxDatagramSize?: number;
}

// Open functions

/**
 * Connects to a Unix stream socket. While the server's queue is full, it waits.
 *
 * Needs read and write permission for the path and net permission for `unix:` and the absolute path.
 *
 * @param options Where to, and how.
 * @returns The connection. Its `remoteAddr` has the path as it was given.
 * @throws {Deno.errors.NotFound} If there is no such file. Errors of opening name the path; `code`,
 * `address` and `cause` tell the rest.
 * @throws {Deno.errors.ConnectionRefused} If nobody listens on it.
 * @throws {Deno.errors.PermissionDenied} If the file's mode says no.
 * @throws {Error} With `code` `"EPROTOTYPE"`, if it is a datagram socket.
 * @throws {Deno.errors.NotCapable} If a permission is missing.
 * @throws {DOMException} Named `"TimeoutError"`, if the timeout ran out. Nothing stays open.
 * @throws {TypeError | RangeError} If an option is wrong, or the path too long.
 *
 * @example An abstract name
 * ```ts
 * import { connectUnix, listenUnix } from "@berkeley/sockets/unix";
 * import { assertEquals } from "@std/assert";
 *
 * if (Deno.build.os === "linux") {
 *   const path = `\0example-${crypto.randomUUID()}`;
 *   await using listener = await listenUnix({ path });
 *   using conn = await connectUnix({ path, timeout: 5000 });
 *   assertEquals(conn.remoteAddr, listener.addr);
 * }
 * ```
 */
export async function connectUnix(
  options: ConnectUnixOptions,
): Promise<UnixConn> {
  checkOptions(options, "connectUnix");
  const { timeout, signal } = options;
  const path = checkUnixPath(options.path);
  checkTimeout(timeout);
  checkSignal(signal);
  const remoteAddr: UnixAddr = Object.freeze({ transport: "unix", path });
  const native = await bounded(
    connectTo(remoteAddr),
    { timeout, signal },
    async (signal) => {
      try {
        return await connectWaiting(path, signal);
      } catch (error) {
        throw openingError("connect to", remoteAddr, error);
      }
    },
  );
  return new UnixSocketConn(native, undefined, remoteAddr);
}

/** The pauses between two tries at a full queue, in milliseconds: the first and the longest. */
const FIRST_PAUSE = 1;
const LAST_PAUSE = 50;

/**
 * Connects, and waits where connect(2) would: the runtime's socket is non-blocking and says EAGAIN
 * at once when the server's queue is full.
 */
async function connectWaiting(
  path: string,
  signal: AbortSignal | undefined,
): Promise<Deno.UnixConn> {
  for (let pause = FIRST_PAUSE;; pause = Math.min(pause * 2, LAST_PAUSE)) {
    try {
      return await Deno.connect({ transport: "unix", path });
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      await sleep(pause, signal);
      if (signal?.aborted) throw error;
    }
  }
}

/**
 * Listens on a Unix stream socket.
 *
 * The file at the path is ours or it is not touched. On `close()`, and when the program ends by
 * `Deno.exit`, it is removed if it is still the one that was made; after a crash it stays, and the
 * next listener removes it as stale. To be sure of that a second name beside the path is bound and
 * linked to it; peers on other libraries see that name as the server's address. Where the grants do
 * not cover the second name, or it would be too long, the path is bound directly, and then Deno
 * deletes on close whatever is at the path by that time.
 *
 * Needs read and write permission for the path, and net permission for `unix:` and the absolute path.
 * The second name needs them for the folder, and all of net: `--allow-net` has no form for a folder.
 *
 * @param options Where, and how.
 * @returns The listener. Its `addr` has the path as it was given.
 * @throws {Deno.errors.AddrInUse} If somebody listens there, or something is there that is not to be
 * removed. Errors of opening name the path; `code`, `address` and `cause` tell the rest.
 * @throws {Deno.errors.NotFound} If the folder does not exist.
 * @throws {Deno.errors.PermissionDenied} If the folder's mode says no.
 * @throws {Deno.errors.NotCapable} If a permission is missing.
 * @throws {TypeError | RangeError} If an option is wrong, or the path too long.
 *
 * @example A path that survives nothing
 * ```ts
 * import { listenUnix } from "@berkeley/sockets/unix";
 * import { assertRejects } from "@std/assert";
 *
 * const path = `${await Deno.makeTempDir()}/example.sock`;
 * const listener = await listenUnix({ path });
 * await assertRejects(() => listenUnix({ path }), Deno.errors.AddrInUse);
 * listener.close();
 * await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
 * ```
 */
export async function listenUnix(
  options: ListenUnixOptions,
): Promise<UnixListener> {
  checkOptions(options, "listenUnix");
  const path = checkUnixPath(options.path);
  const file = checkFile(options);
  const addr: UnixAddr = Object.freeze({ transport: "unix", path });
  let bound: Bound<Deno.UnixListener>;
  try {
    bound = await bindFile(
      path,
      file,
      (path) => Deno.listen({ transport: "unix", path }),
    );
  } catch (error) {
    throw openingError("listen on", addr, error);
  }
  return new Listener({
    natives: [bound.native],
    addr,
    wrap: (native: Deno.UnixConn) =>
      new UnixSocketConn(native, addr, undefined),
    beforeClose: bound.release,
  });
}

/** Checks what is said about a socket's file. */
function checkFile(
  { mode, unlink = "stale" }: { mode?: number; unlink?: Unlink },
): { mode: number | undefined; unlink: Unlink } {
  if (mode !== undefined) checkInteger(mode, "mode", 0, 0o777);
  if (unlink !== "stale" && unlink !== "always" && unlink !== "never") {
    throw new TypeError(
      `Invalid unlink: expected "stale", "always" or "never", got ${
        show(unlink)
      }`,
    );
  }
  return { mode, unlink };
}

/**
 * Binds a Unix datagram socket, or makes one without a name, which can only send.
 *
 * Datagrams arrive whole and in their order, and none gets lost: where the receiver's queue is full
 * (net.unix.max_dgram_qlen), the sender waits: see {@linkcode UnixDatagramSocket}.
 *
 * The file at the path is ours or it is not touched: on `close()`, and when the program ends by
 * `Deno.exit`, it is removed if it is still the one that was made. Deno's socket does one thing at a
 * time, so two are bound to the path, one after the other, the first to send and the second to receive.
 * What comes to the first in between is received all the same, unless the grants cover the path only. On
 * an abstract name there can be only one: there a send takes a receive that waits back, and has it begun
 * again behind it, which costs a fraction of a millisecond.
 *
 * Needs `--unstable-net`; read and write permission for the path and net permission for `unix:` and the
 * absolute path, or all of net. A socket without a name needs no permission to be made, and each send
 * needs write permission for the destination and net permission for it.
 *
 * @param options Where, and how.
 * @returns The socket. Its `addr` has the path as it was given, or `null`.
 * @throws {Deno.errors.NotSupported} If the program runs without `--unstable-net`.
 * @throws {Deno.errors.AddrInUse} If somebody is bound there, or something is there that is not to be
 * removed. Errors of opening name the path; `code`, `address` and `cause` tell the rest.
 * @throws {Deno.errors.NotFound} If the folder does not exist.
 * @throws {Deno.errors.PermissionDenied} If the folder's mode says no.
 * @throws {Deno.errors.NotCapable} If a permission is missing.
 * @throws {TypeError | RangeError} If an option is wrong, or the path too long.
 *
 * @example A question and its answer
 * ```ts
 * import { bindUnixDatagram } from "@berkeley/sockets/unix";
 * import { assertEquals } from "@std/assert";
 *
 * // Without --unstable-net there are none.
 * if (typeof Deno.listenDatagram === "function") {
 *   const folder = await Deno.makeTempDir();
 *   await using server = await bindUnixDatagram({ path: `${folder}/server` });
 *   await using client = await bindUnixDatagram({ path: `${folder}/client` });
 *   await client.send(new TextEncoder().encode("ping"), server.addr);
 *   const { data, addr } = await server.receive();
 *   assertEquals(new TextDecoder().decode(data), "ping");
 *   await server.send(new TextEncoder().encode("pong"), addr);
 *   assertEquals((await client.receive()).addr, server.addr);
 * }
 * ```
 */
export async function bindUnixDatagram(
  options: BindUnixDatagramOptions = {},
): Promise<UnixDatagramSocket> {
  checkOptions(options, "bindUnixDatagram");
  const { maxDatagramSize = 2 ** 18 - 1 } = options;
  const path = options.path === undefined ? null : checkUnixPath(options.path);
  const file = checkFile(options);
  checkInteger(maxDatagramSize, "maxDatagramSize", 1, 2 ** 28);
  if (!hasUnstableNet()) {
    throw notSupported(
      "Cannot make a Unix datagram socket: run the program again with the --unstable-net flag",
    );
  }
  const addr: UnixDatagramAddr = Object.freeze({
    transport: "unixpacket",
    path,
  });
  try {
    const opened = path === null
      ? { sender: bindUnnamed(), receiver: undefined, early: [] }
      : isAbstract(path)
      ? bindAbstract(path)
      : await bindPath(path, file, maxDatagramSize);
    return new UnixDatagramConn(opened, addr, maxDatagramSize);
  } catch (error) {
    throw openingError("bind", addr, error);
  }
}

async function bindPath(
  path: string,
  file: { mode: number | undefined; unlink: Unlink },
  maxDatagramSize: number,
): Promise<Opened> {
  const { first, second, aside, release } = await bindTwice(
    path,
    file,
    bindDatagrams,
  );
  try {
    // Somebody may have been quick enough to send to the first.
    const early = aside === undefined
      ? []
      : await drain(first, aside, maxDatagramSize + 1);
    return { sender: first, receiver: second, early, release };
  } catch (error) {
    // The first is closed by now.
    release();
    second.close();
    throw error;
  } finally {
    if (aside !== undefined) removeIfThere(aside);
  }
}

// Listener

/** A Unix stream listener. It has every member of `Deno.UnixListener`. */
export type UnixListener = StreamListener<UnixConn, UnixAddr>;
