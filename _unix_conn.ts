/** Unix stream connections over the runtime's. */

import type { StreamConn, UnixAddr } from "./types.ts";
import { Stream } from "./_stream.ts";

/**
 * A Unix stream connection. It has every member of `Deno.UnixConn`; the path in its addresses is
 * `null` for a socket without a name, as most clients are.
 */
export interface UnixConn extends StreamConn<UnixAddr> {
  /**
   * Gives the runtime's connection away. This handle counts as closed from then on.
   *
   * @returns The `Deno.UnixConn` below.
   * @throws {Deno.errors.Busy} While a read or write waits, or bytes are kept for the next read.
   * @throws {Deno.errors.BadResource} If the connection is closed.
   */
  detach(): Deno.UnixConn;
}

/** A frozen address of the runtime's. */
function toAddr(addr: Deno.UnixAddr): UnixAddr {
  return Object.freeze({ transport: "unix", path: addr.path });
}

/** A connection over the runtime's. */
export class UnixSocketConn extends Stream<Deno.UnixConn, UnixAddr>
  implements UnixConn {
  #localAddr: UnixAddr | undefined;
  #remoteAddr: UnixAddr | undefined;

  /** The end that has the server's path is told, for the runtime knows the bound name only. */
  constructor(
    native: Deno.UnixConn,
    localAddr: UnixAddr | undefined,
    remoteAddr: UnixAddr | undefined,
  ) {
    super(native);
    this.#localAddr = localAddr;
    this.#remoteAddr = remoteAddr;
  }

  override get localAddr(): UnixAddr {
    return this.#localAddr ??= toAddr(this.native.localAddr);
  }

  override get remoteAddr(): UnixAddr {
    return this.#remoteAddr ??= toAddr(this.native.remoteAddr);
  }

  override detach(): Deno.UnixConn {
    return this.release();
  }
}
