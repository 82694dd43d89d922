/** Sending, by every call there is for it. */

import {
  type Address,
  AF_UNIX,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
} from "../_constants.ts";
import type { Patience } from "../_driver.ts";
import { socketError } from "../_socket_error.ts";
import * as arena from "./_arena.ts";
import { type Outgoing, sendBatch } from "./_batch.ts";
import { wait } from "./_endpoint.ts";
import { type ControlMessage, encodeControl } from "./_layout.ts";
import { checkSize, join, lengthOf, viewOf } from "./_memory.ts";
import { sendMessage } from "./_message.ts";
import { type Packed, resolve } from "./_names.ts";
import { AGAIN, type Again, given } from "./_side.ts";
import { Receiver } from "./_receiving.ts";
import { calls } from "./_symbols.ts";

/** No call of the system takes more at once. */
const MOST = 0x7ffff000;

/** A socket's both halves. */
export class Transceiver extends Receiver {
  /** As the connections of the other rooms write: of memory that was transferred away, nothing. */
  write(data: Uint8Array): Promise<number> {
    return this.polled.writing.run(
      "write",
      null,
      this,
      Transceiver.#tryWrite,
      data,
      undefined,
      undefined,
      undefined,
    );
  }

  static #tryWrite(self: Transceiver, data: Uint8Array): number | Again {
    const size = lengthOf(data);
    return size === 0 ? 0 : Transceiver.#trySend(self, data, size, 0);
  }

  send(data: Uint8Array, flags: number, patience: Patience): Promise<number> {
    return this.polled.writing.run(
      "send",
      wait(flags, patience),
      this,
      Transceiver.#trySend,
      data,
      lengthOf(data),
      flags,
      undefined,
    );
  }

  static #trySend(
    self: Transceiver,
    data: Uint8Array,
    size: number,
    flags: number,
  ): number | Again {
    checkSize(data, size, "send");
    return given(
      calls().send(
        self.fileno(),
        data as Uint8Array<ArrayBuffer>,
        Math.min(size, MOST),
        flags | MSG_DONTWAIT | MSG_NOSIGNAL,
      ),
      "send",
    );
  }

  sendall(
    data: Uint8Array,
    flags: number,
    patience: Patience,
    onSent?: (sent: number) => void,
  ): Promise<void> {
    const size = lengthOf(data);
    let sent = 0;
    return this.polled.writing.do("sendall", wait(flags, patience), () => {
      do {
        checkSize(data, size, "sendall");
        const rest = sent === 0 ? data : viewOf(data, sent);
        const n = Transceiver.#trySend(this, rest, size - sent, flags);
        if (n === AGAIN) return n;
        sent += n;
        onSent?.(sent);
      } while (sent < size);
      return undefined;
    });
  }

  sendto(
    data: Uint8Array,
    flags: number,
    address: Address,
    patience: Patience,
  ): Promise<number> {
    let packed: Packed | Promise<Packed>;
    try {
      packed = resolve(this.family, address, "sendto");
    } catch (error) {
      return Promise.reject(error);
    }
    if (!(packed instanceof Uint8Array)) {
      return packed.then((name) => this.#sendTo(data, flags, name, patience));
    }
    return this.#sendTo(data, flags, packed, patience);
  }

  #sendTo(
    data: Uint8Array,
    flags: number,
    name: Packed,
    patience: Patience,
  ): Promise<number> {
    const size = lengthOf(data);
    if (this.#isUnixDatagram) {
      const send = () => Transceiver.#trySendto(this, data, size, flags, name);
      return this.#sendToUnix("sendto", wait(flags, patience), send);
    }
    return this.polled.writing.run(
      "sendto",
      wait(flags, patience),
      this,
      Transceiver.#trySendto,
      data,
      size,
      flags,
      name,
    );
  }

  static #trySendto(
    self: Transceiver,
    data: Uint8Array,
    size: number,
    flags: number,
    name: Packed,
  ): number | Again {
    checkSize(data, size, "sendto");
    return given(
      calls().sendto(
        self.fileno(),
        data as Uint8Array<ArrayBuffer>,
        Math.min(size, MOST),
        flags | MSG_DONTWAIT | MSG_NOSIGNAL,
        name,
        name.length,
      ),
      "sendto",
    );
  }

  /** Sends pieces of memory as one, with control messages, sendmsg(2). */
  async sendmsg(
    buffers: readonly Uint8Array[],
    control: readonly ControlMessage[],
    flags: number,
    address: Address | undefined,
    patience: Patience,
  ): Promise<number> {
    const pieces = buffers.length <= arena.MAX_VECTORS
      ? buffers
      : [join(buffers)];
    const own = encodeControl(control);
    if (own.length > arena.MAX_CONTROL) {
      throw socketError("ENOBUFS", "sendmsg", "too many control messages");
    }
    const name = address === undefined
      ? undefined
      : await resolve(this.family, address, "sendmsg");
    const sizes = pieces.map(lengthOf);
    const send = () => {
      for (const [i, size] of sizes.entries()) {
        checkSize(pieces[i]!, size, "sendmsg");
      }
      return sendMessage(this.fileno(), pieces, own, flags, name);
    };
    const patient = wait(flags, patience);
    return name !== undefined && this.#isUnixDatagram
      ? await this.#sendToUnix("sendmsg", patient, send)
      : await this.polled.writing.do("sendmsg", patient, send);
  }

  /** Sends many datagrams at once, sendmmsg(2); how many of them. */
  async sendmmsg(
    messages: readonly (readonly [data: Uint8Array, address?: Address])[],
    flags: number,
    patience: Patience,
  ): Promise<number> {
    this.demandDatagrams("sendmmsg");
    if (messages.length === 0) return 0;
    const resolved = messages.slice(0, arena.MAX_BATCH).map(
      ([, address]) =>
        address === undefined
          ? undefined
          : resolve(this.family, address, "sendmmsg"),
    );
    const names = resolved.some((name) => name instanceof Promise)
      ? await Promise.all(resolved)
      : resolved as (Packed | undefined)[];
    const datagrams = names.map((name, i): Outgoing => {
      const [data] = messages[i]!;
      return { data, size: lengthOf(data), name };
    });
    const send = () => {
      for (const { data, size } of datagrams) checkSize(data, size, "sendmmsg");
      return sendBatch(this.fileno(), datagrams, flags);
    };
    const patient = wait(flags, patience);
    return this.#isUnixDatagram
      ? await this.#sendToUnix("sendmmsg", patient, send)
      : await this.polled.writing.do("sendmmsg", patient, send);
  }

  get #isUnixDatagram(): boolean {
    return this.family === AF_UNIX && !this.isStream;
  }

  /**
   * Sends to a Unix socket by its name. When that one's queue is full, nobody tells when it is not: the
   * sender itself has room, and so the kernel calls it writable.
   */
  async #sendToUnix(
    call: string,
    patience: Patience,
    attempt: () => number | Again,
  ): Promise<number> {
    const n = await this.retry(call, patience, attempt);
    // Counted as every call is, so that the event loop has its turn.
    return await this.polled.writing.now(call, () => n);
  }
}
