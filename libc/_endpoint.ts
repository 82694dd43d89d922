/** A descriptor and its addresses: what all calls of a socket rest on. */

import { type Address, MSG_DONTWAIT, SOCK_STREAM } from "../_constants.ts";
import type { Patience } from "../_driver.ts";
import { unnamed } from "../_sockaddr.ts";
import { socketError } from "../_socket_error.ts";
import { closedResource, interrupted } from "../_wait.ts";
import { timeoutError } from "../_waiting.ts";
import * as arena from "./_arena.ts";
import { checked } from "./_errno.ts";
import { Polled } from "./_reactor.ts";
import { AGAIN, type Again } from "./_side.ts";
import { decodeAddress } from "./_sockaddr.ts";
import { calls } from "./_symbols.ts";

/** The longest pause between two tries, in milliseconds. */
const LAST_PAUSE = 16;

/** One end of a connection, or of none. */
export class Endpoint {
  readonly polled: Polled;
  readonly family: number;
  readonly type: number;
  readonly proto: number;

  constructor(
    descriptor: number,
    family: number,
    type: number,
    proto: number,
  ) {
    this.polled = new Polled(descriptor);
    this.family = family;
    this.type = type;
    this.proto = proto;
  }

  get isStream(): boolean {
    return this.type === SOCK_STREAM;
  }

  /** Refuses a call that streams have nothing for. */
  demandDatagrams(call: string): void {
    if (!this.isStream) return;
    throw socketError("EOPNOTSUPP", call, "a stream has no messages");
  }

  fileno(): number {
    const { descriptor } = this.polled;
    if (descriptor < 0) throw closedResource("Socket");
    return descriptor;
  }

  /**
   * Tries something until it goes on, of which nobody tells when it may: in pauses that grow.
   *
   * @returns What the attempt gave, or AGAIN if the call must not wait.
   */
  async retry<T>(
    call: string,
    patience: Patience,
    attempt: () => T | Again,
  ): Promise<T | Again> {
    const end = patience === null ? Infinity : performance.now() + patience;
    for (let pause = 1;; pause = Math.min(pause * 2, LAST_PAUSE)) {
      // It may have been closed in a wait, here or before.
      if (this.polled.descriptor < 0) throw interrupted("Socket");
      const result = attempt();
      if (result !== AGAIN || patience === 0) return result;
      const left = end - performance.now();
      if (left <= 0) throw timeoutError(call, patience!);
      await this.polled.writing.pause(Math.min(pause, left));
    }
  }

  getsockname(): Address {
    return this.#nameBy("getsockname");
  }

  getpeername(): Address {
    return this.#nameBy("getpeername");
  }

  #nameBy(call: "getsockname" | "getpeername"): Address {
    const { length, lengthBytes, name } = arena;
    length[0] = name.length;
    checked(calls()[call](this.fileno(), name, lengthBytes), call);
    return writtenName() ?? unnamed(this.family);
  }
}

/** The address that the kernel has just written. */
export function writtenName(): Address | undefined {
  return decodeAddress(
    arena.nameView,
    Math.min(arena.length[0]!, arena.name.length),
  );
}

/** How long a call with some flags may wait. */
export function wait(flags: number, patience: Patience): Patience {
  return flags & MSG_DONTWAIT ? 0 : patience;
}
