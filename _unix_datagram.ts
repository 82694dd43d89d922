/**
 * The runtime's Unix datagram sockets, made full-duplex.
 *
 * Such a socket does one thing at a time: while a receive waits, every send is refused, and while a
 * send waits for room, every receive. So sends stand in a queue, and a receive in their way is taken
 * back: a datagram that only we can know is sent to our own name, which ends it. It is received again
 * when the sends are done.
 */

import type { UnixDatagramAddr } from "./types.ts";
import { interrupted } from "./_wait.ts";
import { notSupported, openingError } from "./_open.ts";
import { begin, type Operation } from "./_operation.ts";
import type { NativeDatagrams } from "./_datagram.ts";

type Received = [Uint8Array, Deno.UnixAddr];

/** A send that waits for its turn. */
interface Send {
  readonly data: Uint8Array;
  readonly to: Deno.UnixAddr;
  readonly resolve: (bytes: number) => void;
  readonly reject: (error: unknown) => void;
}

/** Someone who waits for a datagram. */
interface Wanted {
  readonly p: Uint8Array;
  readonly resolve: (received: Received) => void;
  readonly reject: (error: unknown) => void;
}

/** An operation that may have been begun without its number being found out. */
type Begun =
  & Pick<Operation<Received>, "promise">
  & Partial<Operation<Received>>;

const TOKEN_LENGTH = 32;

/** A socket without a name of its own: it can send, and nobody can answer. It needs no permission. */
export function bindUnnamed(): Deno.DatagramConn {
  return Deno.listenDatagram({
    transport: "unixpacket",
    path: undefined as unknown as string,
  });
}

/** A Unix datagram socket of the runtime's. */
export class UnixDatagrams implements NativeDatagrams<Deno.UnixAddr> {
  readonly #native: Deno.DatagramConn;
  readonly #isNamed: boolean;
  /** Whether datagrams to our name come here: its file may be gone, or somebody else's. */
  readonly #isOurs: () => boolean;
  readonly #token = crypto.getRandomValues(new Uint8Array(TOKEN_LENGTH));
  readonly #sends: Send[] = [];
  /** The send under way, and who waits for it. */
  #sending:
    | { operation: Operation<number>; reject: Send["reject"] }
    | undefined;
  #wanted: Wanted | undefined;
  /** The receive under way; one that was begun to keep the process alive cannot be let go of. */
  #receiving: Begun | undefined;
  #isTakingBack = false;
  #isClosed = false;
  #wantsRef = true;

  constructor(
    native: Deno.DatagramConn,
    isNamed: boolean,
    isOurs: () => boolean,
  ) {
    this.#native = native;
    this.#isNamed = isNamed;
    this.#isOurs = isOurs;
  }

  receive(p: Uint8Array): Promise<Received> {
    if (!this.#isNamed) {
      return Promise.reject(notSupported(
        "Cannot receive on a socket without a name: nobody can send to it; bind it to a path",
      ));
    }
    return new Promise((resolve, reject) => {
      this.#wanted = { p, resolve, reject };
      this.#step();
    });
  }

  send(data: Uint8Array, to: Deno.UnixAddr): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#sends.push({ data, to, resolve, reject });
      this.#step();
    });
  }

  /** Starts what can be started. */
  #step(): void {
    if (this.#isClosed || this.#sending !== undefined) return;
    if (this.#sends.length > 0) {
      if (this.#receiving === undefined) this.#startSend(this.#sends.shift()!);
      else {
        // Somebody waits for the send, and the send waits for this.
        this.#receiving.setRef?.(true);
        if (!this.#isTakingBack) this.#takeBack();
      }
    } else if (this.#wanted !== undefined && this.#receiving === undefined) {
      this.#startReceive(this.#wanted);
    }
  }

  #startReceive(wanted: Wanted): void {
    const start = () => this.#native.receive(wanted.p) as Promise<Received>;
    // To find out an operation's number costs more than a receive.
    const operation: Begun = this.#wantsRef
      ? { promise: start() }
      : begin(start);
    this.#receiving = operation;
    operation.setRef?.(this.#wantsRef);
    operation.promise.then((received) => {
      this.#receiving = undefined;
      if (!this.#isToken(received)) {
        this.#wanted = undefined;
        wanted.resolve(received);
      }
      this.#step();
    }, (error) => {
      this.#receiving = undefined;
      this.#wanted = undefined;
      wanted.reject(error);
      this.#step();
    });
  }

  #startSend({ data, to, resolve, reject }: Send): void {
    const operation = begin(() => this.#native.send(data, to));
    this.#sending = { operation, reject };
    operation.promise.then((bytes) => {
      this.#sending = undefined;
      resolve(bytes);
      this.#step();
    }, (error) => {
      this.#sending = undefined;
      const addr: UnixDatagramAddr = Object.freeze({
        transport: "unixpacket",
        path: to.path,
      });
      reject(openingError("send to", addr, error));
      this.#step();
    });
  }

  /** Ends the receive under way: for a send, or to begin it anew so that it can be let go of. */
  async #takeBack(): Promise<void> {
    this.#isTakingBack = true;
    try {
      if (!this.#isOurs()) throw new Error("The socket's name is gone");
      const sender = bindUnnamed();
      try {
        const operation = begin(() =>
          sender.send(this.#token, this.#native.addr)
        );
        // If others have filled the queue by now, the receive ends without us.
        operation.setRef(false);
        await operation.promise;
      } finally {
        sender.close();
      }
    } catch (cause) {
      this.#rejectSends(cause);
    } finally {
      this.#isTakingBack = false;
    }
  }

  /** Sends that cannot have their turn, for a receive is in their way. */
  #rejectSends(cause: unknown): void {
    if (this.#receiving === undefined) return;
    this.#receiving.setRef?.(this.#wantsRef);
    for (const { reject } of this.#sends.splice(0)) {
      reject(Object.assign(
        new Deno.errors.Busy(
          "Cannot send while a receive waits: receive and send in turn, or send from a second, unbound socket",
          { cause },
        ),
        { code: "EBUSY" },
      ));
    }
  }

  /** Whether a datagram is our own that ends a receive. */
  #isToken([data, { path }]: Received): boolean {
    return path === null && data.length === TOKEN_LENGTH &&
      data.every((byte, i) => byte === this.#token[i]);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#native.close();
    const error = interrupted("Socket");
    // The runtime does not cancel it.
    this.#sending?.operation.setRef(false);
    this.#sending?.reject(error);
    for (const { reject } of this.#sends.splice(0)) reject(error);
    this.#wanted?.reject(error);
    this.#wanted = undefined;
  }

  async closed(): Promise<void> {
    await this.#receiving?.promise.catch(() => {});
  }

  ref(): void {
    this.#setRef(true);
  }

  unref(): void {
    this.#setRef(false);
  }

  #setRef(wants: boolean): void {
    this.#wantsRef = wants;
    if (this.#receiving === undefined) return;
    if (this.#receiving.setRef !== undefined) this.#receiving.setRef(wants);
    else if (!wants && !this.#isTakingBack) this.#takeBack();
  }
}
