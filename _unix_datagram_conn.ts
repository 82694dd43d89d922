/** Unix datagram sockets over those of the runtime. */

import type { DatagramSocket, UnixDatagramAddr } from "./types.ts";
import { show } from "./_check.ts";
import { checkUnixPath } from "./_unix_path.ts";
import { Datagrams } from "./_datagram.ts";
import { type UnixDatagramParts, UnixDatagrams } from "./_unix_datagram.ts";

/** What a datagram socket is made of, and how its file is removed. */
export interface Opened extends UnixDatagramParts {
  readonly release?: () => void;
}

/** One of the runtime's sockets. */
export const bindDatagrams = (path: string): Deno.DatagramConn =>
  Deno.listenDatagram({ transport: "unixpacket", path });

/** A single socket of the runtime's for both directions. */
export function bindAbstract(path: string): Opened {
  const native = bindDatagrams(path);
  return { sender: native, receiver: native, early: [] };
}

/** Where a Unix datagram goes. An address of this package will do. */
export interface UnixDatagramDestination {
  /** The path, as a string or a file URL, or `"\0name"`. A sender without a name has `null`: no way back. */
  readonly path: string | URL | null;
}

/**
 * A Unix datagram socket (SOCK_DGRAM, which Deno calls unixpacket).
 *
 * While its peer's queue is full, a send waits, and those behind it wait too, whoever they are for. Deno
 * cannot end such a send: an abort, a timeout or `close()` end the wait, but the datagram may still
 * arrive, and the sends behind it go on only when it did or the peer is gone. So one peer that does not
 * read can stop a socket's sends: serve peers that you do not trust with sockets of their own, or without
 * answers. On a path receives go on meanwhile; on an abstract name, where Deno's socket does one thing at
 * a time, they wait too, and two sockets that fill each other's queues at once wait for ever. Such a send
 * keeps its descriptor and its abstract name until it ends, but never the process.
 */
export type UnixDatagramSocket = DatagramSocket<
  UnixDatagramAddr,
  UnixDatagramDestination
>;

/** A socket over the runtime's. */
export class UnixDatagramConn
  extends Datagrams<Deno.UnixAddr, UnixDatagramAddr, UnixDatagramDestination>
  implements UnixDatagramSocket {
  readonly #release: (() => void) | undefined;
  /** The last destination, which most sends have in common. */
  #last: Deno.UnixAddr | undefined;

  constructor(opened: Opened, addr: UnixDatagramAddr, largest: number) {
    const room = largest + 1;
    super(
      new UnixDatagrams(opened),
      addr,
      { largest, direct: room, own: room },
    );
    this.#release = opened.release;
  }

  protected override toAddr({ path }: Deno.UnixAddr): UnixDatagramAddr {
    return { transport: "unixpacket", path };
  }

  protected override destination(
    addr: UnixDatagramDestination | undefined,
  ): Deno.UnixAddr {
    if (typeof addr !== "object" || addr === null) {
      throw new TypeError(
        `Invalid address: expected a path, got ${show(addr)}`,
      );
    }
    const { path } = addr;
    if (path === null) {
      throw Object.assign(
        new TypeError(
          "Invalid path: expected one, got null: a sender without a name cannot be answered",
        ),
        { code: "EDESTADDRREQ" },
      );
    }
    if (this.#last === undefined || this.#last.path !== path) {
      this.#last = { transport: "unixpacket", path: checkUnixPath(path) };
    }
    return this.#last;
  }

  override close(): void {
    if (!this.isClosed) this.#release?.();
    super.close();
  }
}
