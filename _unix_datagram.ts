/**
 * The runtime's Unix datagram sockets, made full-duplex.
 *
 * Such a socket does one thing at a time: while a receive waits, every send is refused, and while a
 * send waits for room, every receive. So a socket with a path is two below, which were bound to that
 * path one after the other: both have the name, and what is sent to it reaches the second. An abstract
 * name is there once only. There a receive that is in a send's way is taken back: a datagram that only
 * we can know is sent to our own name, which ends it, and it is begun again when the sends are done.
 */

import type { UnixDatagramAddr } from "./types.ts";
import { interrupted, sleep } from "./_wait.ts";
import { notSupported, openingError } from "./_open.ts";
import { begin, type Operation } from "./_operation.ts";
import type { Caller, NativeDatagrams } from "./_datagram.ts";

type Received = [Uint8Array, Deno.UnixAddr];

/** How long a send may take from its look at the path on, in milliseconds: much longer than most. */
const IN_FLIGHT = 5;

/** A send that waits for its turn, or has it. */
interface Send {
  readonly data: Uint8Array;
  readonly to: Deno.UnixAddr;
  readonly resolve: (bytes: number) => void;
  readonly reject: (error: unknown) => void;
  hasLeft: boolean;
}

/** Someone who waits for a datagram. */
interface Wanted {
  readonly p: Uint8Array;
  readonly resolve: (received: Received) => void;
  readonly reject: (error: unknown) => void;
}

/** What ends a receive of ours, once one had to be ended. No socket of this process hands it out. */
let token: Uint8Array<ArrayBuffer> | undefined;

/** Whether a datagram is our own that ends a receive. */
function isToken([data, { path }]: Received): boolean {
  return path === null && data.length === token?.length &&
    data.every((byte, i) => byte === token![i]);
}

/** Sends the token to a name. It keeps nothing alive: somebody waits for what it ends. */
async function sendToken(path: string): Promise<void> {
  const data = token ??= crypto.getRandomValues(new Uint8Array(32));
  const sender = bindUnnamed();
  try {
    const operation = begin(() =>
      sender.send(data, { transport: "unixpacket", path })
    );
    operation.setRef(false);
    await operation.promise;
  } finally {
    sender.close();
  }
}

/** A socket without a name of its own: it can send, and nobody can answer. It needs no permission. */
export function bindUnnamed(): Deno.DatagramConn {
  return Deno.listenDatagram({
    transport: "unixpacket",
    path: undefined as unknown as string,
  });
}

/**
 * What has come to a socket whose name is another one's by now. Nothing else can come. It is closed if
 * it cannot be found out.
 *
 * @param native The socket.
 * @param path A name by which it can still be reached.
 * @param size The length of the largest datagram, and one.
 */
export async function drain(
  native: Deno.DatagramConn,
  path: string,
  size: number,
): Promise<Received[]> {
  const came = await drainOnce(native, path, size);
  // Whoever found it by its own name may have been in the middle of the send.
  await sleep(IN_FLIGHT);
  return came.concat(await drainOnce(native, path, size));
}

async function drainOnce(
  native: Deno.DatagramConn,
  path: string,
  size: number,
): Promise<Received[]> {
  const came: Received[] = [];
  const buffer = new Uint8Array(size);
  const sending = sendToken(path);
  // Where it cannot be sent, the receive below would have no end.
  sending.catch(() => native.close());
  for (;;) {
    try {
      const received = await native.receive(buffer) as Received;
      if (isToken(received)) break;
      came.push([received[0].slice(), received[1]]);
    } catch (error) {
      // A sender whose path is no text.
      if (!(error instanceof Deno.errors.InvalidData)) break;
    }
  }
  await sending;
  return came;
}

/** What a Unix datagram socket is made of. */
export interface UnixDatagramParts {
  readonly sender: Deno.DatagramConn;
  /** The sender itself, where there is one socket only; `undefined` for one without a name. */
  readonly receiver: Deno.DatagramConn | undefined;
  /** What came before the receiver was there. */
  readonly early: Received[];
}

/** A Unix datagram socket over one or two of the runtime's. */
export class UnixDatagrams implements NativeDatagrams<Deno.UnixAddr> {
  readonly #sender: Deno.DatagramConn;
  readonly #receiver: Deno.DatagramConn | undefined;
  readonly #early: Received[];
  readonly #isShared: boolean;
  #sends: Send[] = [];
  #sending: { send: Send; operation: Operation<number> } | undefined;
  #wanted: Wanted | undefined;
  #receiving: Operation<Received> | undefined;
  #takingBack: Promise<void> | undefined;
  #isClosed = false;
  #wantsRef = true;

  constructor({ sender, receiver, early }: UnixDatagramParts) {
    this.#sender = sender;
    this.#receiver = receiver;
    this.#early = early;
    this.#isShared = sender === receiver;
  }

  receive(p: Uint8Array): Promise<Received> {
    if (this.#receiver === undefined) {
      return Promise.reject(notSupported(
        "Cannot receive on a socket without a name: nobody can send to it; bind it to a path",
      ));
    }
    const early = this.#early.shift();
    if (early !== undefined) return Promise.resolve(early);
    return new Promise((resolve, reject) => {
      this.#wanted = { p, resolve, reject };
      this.#step();
    });
  }

  send(
    data: Uint8Array,
    to: Deno.UnixAddr,
    caller?: Caller,
  ): Promise<number> {
    return new Promise((resolve, reject) => {
      const send: Send = { data, to, resolve, reject, hasLeft: false };
      if (caller !== undefined) caller.onLeave = () => this.#leave(send);
      this.#sends.push(send);
      this.#step();
      this.#updateSendRef();
    });
  }

  /** A send that nobody waits for any more is not begun, and keeps nothing alive. */
  #leave(send: Send): void {
    send.hasLeft = true;
    this.#sends = this.#sends.filter((other) => other !== send);
    this.#updateSendRef();
  }

  /** A send under way keeps the process alive for its caller, and for those behind it. */
  #updateSendRef(): void {
    this.#sending?.operation.setRef(
      !this.#isClosed &&
        (!this.#sending.send.hasLeft || this.#sends.length > 0),
    );
  }

  /** Starts what can be started. */
  #step(): void {
    if (this.#isClosed) return;
    if (this.#sending === undefined && this.#sends.length > 0) {
      if (this.#isShared && this.#receiving !== undefined) {
        // Somebody waits for the send, and the send waits for this.
        this.#receiving.setRef(true);
        this.#takingBack ??= this.#takeBack();
        return;
      }
      this.#startSend(this.#sends.shift()!);
    }
    if (this.#isShared && this.#sending !== undefined) return;
    if (this.#wanted !== undefined && this.#receiving === undefined) {
      this.#startReceive(this.#wanted);
    }
  }

  #startReceive(wanted: Wanted): void {
    const operation = begin(() =>
      this.#receiver!.receive(wanted.p) as Promise<Received>
    );
    this.#receiving = operation;
    operation.setRef(this.#wantsRef);
    operation.promise.then((received) => {
      this.#receiving = undefined;
      if (!isToken(received)) {
        this.#wanted = undefined;
        wanted.resolve(received);
      } else if (this.#isClosed) wanted.reject(interrupted("Socket"));
      this.#step();
    }, (error) => {
      this.#receiving = undefined;
      this.#wanted = undefined;
      wanted.reject(error);
      this.#step();
    });
  }

  #startSend(send: Send): void {
    const operation = begin(() => this.#sender.send(send.data, send.to));
    this.#sending = { send, operation };
    operation.promise.then((bytes) => {
      this.#sending = undefined;
      send.resolve(bytes);
      this.#step();
    }, (error) => {
      this.#sending = undefined;
      const addr: UnixDatagramAddr = Object.freeze({
        transport: "unixpacket",
        path: send.to.path,
      });
      send.reject(openingError("send to", addr, error));
      this.#step();
    });
  }

  /** Ends the receive under way, for a send. */
  async #takeBack(): Promise<void> {
    try {
      await sendToken((this.#sender.addr as Deno.UnixAddr).path);
    } catch (cause) {
      this.#rejectSends(cause);
    } finally {
      this.#takingBack = undefined;
    }
    this.#step();
  }

  /** Sends that cannot have their turn, for a receive is in their way. */
  #rejectSends(cause: unknown): void {
    if (this.#receiving === undefined) return;
    this.#receiving.setRef(this.#wantsRef);
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

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#sender.close();
    if (!this.#isShared) this.#receiver?.close();
    // The runtime does not cancel the one under way.
    this.#updateSendRef();
    const error = interrupted("Socket");
    this.#sending?.send.reject(error);
    for (const { reject } of this.#sends.splice(0)) reject(error);
    // A receive under way is rejected by the runtime, when it has let go of the buffer.
    if (this.#receiving !== undefined) return;
    this.#wanted?.reject(error);
    this.#wanted = undefined;
  }

  async closed(): Promise<void> {
    await this.#receiving?.promise.catch(() => {});
    await this.#takingBack;
  }

  ref(): void {
    this.#setRef(true);
  }

  unref(): void {
    this.#setRef(false);
  }

  #setRef(wants: boolean): void {
    this.#wantsRef = wants;
    this.#receiving?.setRef(wants);
  }
}
