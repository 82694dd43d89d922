/** The driver of the BSD face on the system's C library: every call is the system's own. */

import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  SHUT_RD,
  SHUT_WR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
} from "../_constants.ts";
import type {
  Driver,
  DriverSocket,
  OptionValue,
  Patience,
} from "../_driver.ts";
import type { Readiness } from "../_readiness.ts";
import { unnamed } from "../_sockaddr.ts";
import { socketError } from "../_socket_error.ts";
import * as arena from "./_arena.ts";
import { writtenName } from "./_endpoint.ts";
import {
  checked,
  EAGAIN,
  EINPROGRESS,
  EINTR,
  errno,
  systemError,
} from "./_errno.ts";
import { lengthOf, viewOf } from "./_memory.ts";
import { isInet, resolve, resolveNow } from "./_names.ts";
import { demandAddress } from "./_permissions.ts";
import { AGAIN, given, poll, POLLOUT } from "./_side.ts";
import { prepare } from "./_ready.ts";
import { Transceiver } from "./_sending.ts";
import { calls, seldom } from "./_symbols.ts";

const EDGES = SOCK_NONBLOCK | SOCK_CLOEXEC;
const EALREADY = 114;
const EISCONN = 106;
const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;

const pairBytes = new Uint8Array(arena.pair.buffer, arena.pair.byteOffset, 8);

/** A socket of the system. */
export class LibcSocket extends Transceiver implements DriverSocket {
  bind(address: Address): void {
    const packed = resolveNow(this.family, address, "bind");
    checked(calls().bind(this.fileno(), packed, packed.length), "bind");
  }

  // Connections

  listen(backlog: number): void {
    // A socket without an address gets one.
    if (isInet(this.family) && this.getsockname()[1] === 0) {
      demandAddress(this.family, unnamed(this.family) as [string, number]);
    }
    checked(calls().listen(this.fileno(), backlog), "listen");
  }

  accept(patience: Patience): Promise<[LibcSocket, Address]> {
    return this.polled.reading.do("accept", patience, () => {
      arena.length[0] = arena.name.length;
      const result = given(
        calls().accept4(this.fileno(), arena.name, arena.lengthBytes, EDGES),
        "accept",
      );
      if (result === AGAIN) return AGAIN;
      const address = writtenName() ?? unnamed(this.family);
      return [this.#sibling(result), address];
    });
  }

  #sibling(descriptor: number): LibcSocket {
    return new LibcSocket(descriptor, this.family, this.type, this.proto);
  }

  async connect(address: Address, patience: Patience): Promise<void> {
    const packed = resolve(this.family, address, "connect");
    const name = packed instanceof Uint8Array ? packed : await packed;
    // The queue of a Unix socket may be full, and nobody tells when it is not.
    const number = await this.retry("connect", patience, () => {
      if (calls().connect(this.fileno(), name, name.length) === 0) return 0;
      const number = errno();
      return number === EAGAIN ? AGAIN : number;
    });
    if (number === 0) {
      this.hearPeerAlone();
      return;
    }
    if (number === AGAIN) throw systemError(EAGAIN, "connect");
    if (number !== EINPROGRESS && number !== EINTR) {
      throw systemError(number, "connect");
    }
    if (patience === 0) throw systemError(EINPROGRESS, "connect");
    await this.polled.writing.do("connect", patience, () => {
      if (poll(this.fileno(), POLLOUT) === 0) return AGAIN;
      // Once more: this one says how it went, and that it is over.
      if (calls().connect(this.fileno(), name, name.length) === 0) {
        return undefined;
      }
      const number = errno();
      if (number === EISCONN) return undefined;
      if (number === EALREADY || number === EINTR) return AGAIN;
      throw systemError(number, "connect");
    });
  }

  shutdown(how: number): Promise<void> {
    const { reading, writing } = this.polled;
    const shut = () => {
      checked(calls().shutdown(this.fileno(), how), "shutdown");
      this.isDeaf ||= how !== SHUT_WR;
      // Those who wait are told.
      reading.pump();
    };
    // What waits to be sent goes first.
    return how === SHUT_RD
      ? reading.now("shutdown", shut)
      : writing.do("shutdown", null, shut);
  }

  // Options

  setsockopt(level: number, option: number, value: OptionValue): void {
    let size = 4;
    if (value instanceof Uint8Array) {
      size = lengthOf(value);
      if (size > arena.MAX_OPTION) {
        throw socketError(
          "EINVAL",
          "setsockopt",
          `more than ${arena.MAX_OPTION} bytes`,
        );
      }
      arena.option.set(viewOf(value, 0));
    } else arena.optionInt[0] = Number(value);
    checked(
      calls().setsockopt(this.fileno(), level, option, arena.option, size),
      "setsockopt",
    );
  }

  getsockopt(
    level: number,
    option: number,
    size: number | undefined,
  ): number | Uint8Array<ArrayBuffer> {
    arena.optionInt[0] = 0;
    arena.length[0] = Math.min(size ?? 4, arena.MAX_OPTION);
    checked(
      calls().getsockopt(
        this.fileno(),
        level,
        option,
        arena.option,
        arena.lengthBytes,
      ),
      "getsockopt",
    );
    if (size === undefined) return arena.optionInt[0]!;
    return arena.option.slice(0, Math.min(arena.length[0]!, size));
  }

  // The end

  close(): void {
    this.polled.close();
  }

  closed(): Promise<void> {
    return Promise.resolve();
  }

  detach(): number {
    const fd = this.fileno();
    if (this.polled.reading.busy || this.polled.writing.busy) {
      throw socketError("EBUSY", "detach", "a call waits");
    }
    this.polled.release();
    return fd;
  }

  /** Another descriptor of the same socket, dup(2). */
  dup(): LibcSocket {
    const copy = this.#sibling(
      checked(seldom().fcntl(this.fileno(), F_DUPFD_CLOEXEC, 0), "dup"),
    );
    copy.isDeaf = this.isDeaf;
    return copy;
  }

  get reading(): Readiness {
    return this.polled.reading;
  }

  get writing(): Readiness {
    return this.polled.writing;
  }

  get urgent(): Readiness {
    return this.polled.urgent;
  }
}

/** Families whose addresses this driver knows. */
function checkFamily(family: number, call: string): void {
  if (family !== AF_INET && family !== AF_INET6 && family !== AF_UNIX) {
    throw socketError("EAFNOSUPPORT", call);
  }
}

/** A socket for a descriptor of this driver's own. */
export function adopt(
  descriptor: number,
  family: number,
  type: number,
  proto: number,
): LibcSocket {
  return new LibcSocket(descriptor, family, type, proto);
}

/**
 * A socket for a descriptor that comes from elsewhere. It does not block from then on, and neither do its
 * copies in other processes: a call that waits in the kernel would hold up everything here.
 */
export function adoptForeign(
  descriptor: number,
  family: number,
  type: number,
  proto: number,
): LibcSocket {
  checkFamily(family, "fromfd");
  prepare();
  const socket = adopt(descriptor, family, type, proto);
  // Told before anything is changed.
  socket.getsockname();
  const { fcntl } = seldom();
  const flags = checked(fcntl(descriptor, F_GETFL, 0), "fcntl");
  checked(fcntl(descriptor, F_SETFL, flags | SOCK_NONBLOCK), "fcntl");
  return socket;
}

/** Sockets of the system. */
export const libcDriver: Driver = {
  name: "libc",
  bindsClients: true,
  socket(family, type, proto) {
    checkFamily(family, "socket");
    prepare();
    const { socket } = calls();
    return adopt(
      checked(socket(family, type | EDGES, proto), "socket"),
      family,
      type,
      proto,
    );
  },
  socketpair(family, type, proto) {
    try {
      checkFamily(family, "socketpair");
      prepare();
      const { socketpair } = seldom();
      checked(socketpair(family, type | EDGES, proto, pairBytes), "socketpair");
      const [a, b] = arena.pair;
      return Promise.resolve([
        adopt(a!, family, type, proto),
        adopt(b!, family, type, proto),
      ]);
    } catch (error) {
      return Promise.reject(error);
    }
  },
};
