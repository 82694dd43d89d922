/** TCP connections over the runtime's. */

import type { StreamConn, TcpAddr } from "./types.ts";
import { checkBoolean } from "./_check.ts";
import { withZone } from "./_host.ts";
import { Stream } from "./_stream.ts";

/** A TCP connection. It has every member of `Deno.TcpConn`. */
export interface TcpConn extends StreamConn<TcpAddr> {
  /**
   * Says whether small writes go out at once (TCP_NODELAY). It is on unless it was switched off when
   * the connection was opened.
   *
   * @param noDelay `true` by default.
   * @throws {Deno.errors.Busy} While a write waits.
   * @throws {Deno.errors.BadResource} If the connection is closed.
   * @throws {TypeError} If it is not a boolean.
   */
  setNoDelay(noDelay?: boolean): void;
  /**
   * Says whether the kernel probes a silent peer (SO_KEEPALIVE).
   *
   * @param keepAlive `true` by default.
   * @throws {Deno.errors.Busy} While a write waits.
   * @throws {Deno.errors.BadResource} If the connection is closed.
   * @throws {TypeError} If it is not a boolean.
   */
  setKeepAlive(keepAlive?: boolean): void;
  /**
   * Gives the runtime's connection away. This handle counts as closed from then on.
   *
   * @returns The `Deno.TcpConn` below.
   * @throws {Deno.errors.Busy} While a read or write waits, or bytes are kept for the next read.
   * @throws {Deno.errors.BadResource} If the connection is closed.
   */
  detach(): Deno.TcpConn;
}

/** The settings of a connection, checked. */
export interface Settings {
  readonly noDelay: boolean;
  readonly keepAlive: boolean;
}

/** A frozen address, with the zone that the runtime drops. */
export function toAddr(addr: Deno.NetAddr, zone: string | undefined): TcpAddr {
  const { hostname, port } = addr;
  return Object.freeze({
    transport: "tcp",
    hostname: withZone(hostname, zone),
    port,
  });
}

class TcpSocketConn extends Stream<Deno.TcpConn, TcpAddr> implements TcpConn {
  readonly #zone: string | undefined;
  #localAddr: TcpAddr | undefined;
  #remoteAddr: TcpAddr | undefined;

  constructor(native: Deno.TcpConn, zone: string | undefined) {
    super(native);
    this.#zone = zone;
  }

  override get localAddr(): TcpAddr {
    return this.#localAddr ??= toAddr(this.native.localAddr, this.#zone);
  }

  override get remoteAddr(): TcpAddr {
    return this.#remoteAddr ??= toAddr(this.native.remoteAddr, this.#zone);
  }

  setNoDelay(noDelay: boolean = true): void {
    checkBoolean(noDelay, "noDelay");
    this.#set("noDelay", () => this.native.setNoDelay(noDelay));
  }

  setKeepAlive(keepAlive: boolean = true): void {
    checkBoolean(keepAlive, "keepAlive");
    this.#set("keepAlive", () => this.native.setKeepAlive(keepAlive));
  }

  #set(name: string, set: () => void): void {
    this.checkOpen();
    try {
      set();
    } catch (error) {
      // The runtime cannot reach the socket while a write has it, and says so in no class.
      if (error instanceof Deno.errors.BadResource) throw error;
      throw Object.assign(
        new Deno.errors.Busy(`Cannot set ${name} while a write waits`, {
          cause: error,
        }),
        { code: "EBUSY" },
      );
    }
  }

  override detach(): Deno.TcpConn {
    return this.release();
  }
}

/** Makes a connection of the runtime's. */
export function wrap(
  native: Deno.TcpConn,
  { noDelay, keepAlive }: Settings,
  zone: string | undefined,
): TcpConn {
  try {
    if (noDelay) native.setNoDelay(true);
    if (keepAlive) native.setKeepAlive(true);
  } catch {
    // Some systems (Darwin: EINVAL) set no option on a socket that the peer has reset meanwhile. The
    // next read says what has happened.
  }
  return new TcpSocketConn(native, zone);
}
