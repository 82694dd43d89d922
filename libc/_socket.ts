/** The BSD face's socket with the calls that only the C library has. */

import { checkInteger, notBytes, show } from "../_check.ts";
import type { Address } from "../_constants.ts";
import { belowOf, Socket as Base } from "../_face.ts";
import { checkAddress } from "../_sockaddr.ts";
import { socketError } from "../_socket_error.ts";
import * as arena from "./_arena.ts";
import type { LibcSocket } from "./_driver.ts";
import type { ControlMessage } from "./_layout.ts";
import { lengthOf } from "./_memory.ts";
import type { Option } from "./_options.ts";
import { MAX_PACKET } from "./_receiving.ts";

/** What is below a socket of this driver. */
export function libcOf(socket: object, call: string): LibcSocket {
  return belowOf(socket, call) as LibcSocket;
}

function checkOption(option: unknown): void {
  const { decode } = Object(option);
  if (typeof decode === "function") return;
  throw new TypeError(
    `Invalid option: expected one of Options, got ${show(option)}`,
  );
}

function checkControl(messages: unknown): asserts messages is ControlMessage[] {
  const isRight = Array.isArray(messages) &&
    messages.every((message) =>
      Object(message) === message && message.data instanceof Uint8Array
    );
  if (!isRight) {
    throw new TypeError(
      `Invalid control messages: expected { level, type, data }, got ${
        show(messages)
      }`,
    );
  }
  for (const { level, type } of messages) {
    checkInteger(level, "level", -(2 ** 31), 2 ** 31 - 1);
    checkInteger(type, "type", -(2 ** 31), 2 ** 31 - 1);
  }
}

/**
 * A socket of the system's C library, by the names of socket(2) and the calls around it. It is made by
 * `socket()`. It has every call of the other driver's sockets, and those that Deno has nothing for.
 */
export class Socket<A extends Address = Address> extends Base<A> {
  /**
   * Takes the next connection, accept(2), as a socket of this driver.
   *
   * @returns The connection's socket and the peer's address.
   * @throws {Error} As on the other driver.
   */
  override accept(): Promise<[socket: Socket<A>, address: A]> {
    return super.accept() as Promise<[Socket<A>, A]>;
  }

  /**
   * Receives a message with its control messages, recvmsg(2). With `MSG_WAITALL` it waits for all of
   * `bufsize`, or the end; on a Unix socket what comes beside the bytes, such as descriptors, ends it too.
   *
   * @param bufsize How many bytes of data at most.
   * @param ancbufsize How many bytes of control messages at most, 0 to 32,768: `controlSpace()` tells what
   * some need; 0 by default.
   * @param flags As for `recv`.
   * @returns The data, the control messages, the flags of the message (`MSG_TRUNC`, `MSG_CTRUNC`,
   * `MSG_EOR`, ...), and the sender's address, if it has one.
   * @throws {Error} As `recv`.
   */
  async recvmsg(
    bufsize: number,
    ancbufsize: number = 0,
    flags: number = 0,
  ): Promise<
    [
      data: Uint8Array<ArrayBuffer>,
      ancdata: ControlMessage[],
      msg_flags: number,
      address: A | undefined,
    ]
  > {
    const below = libcOf(this, "recvmsg");
    checkInteger(bufsize, "bufsize", 0, MAX_PACKET);
    checkInteger(ancbufsize, "ancbufsize", 0, arena.MAX_CONTROL);
    checkInteger(flags, "flags", 0, 2 ** 31 - 1);
    const message = await below.recvmsg(
      bufsize,
      ancbufsize,
      flags,
      this.gettimeout(),
    );
    const { data, control, address } = message;
    return [data, control, message.flags, address as A | undefined];
  }

  /**
   * Sends pieces of memory as one message, with control messages, sendmsg(2).
   *
   * @param buffers The pieces.
   * @param ancdata The control messages; descriptors in them (`SCM_RIGHTS`) are copied to the receiver.
   * @param flags As for `send`.
   * @param address Where to; the peer by default.
   * @returns How many bytes were sent; of a stream perhaps fewer than there are.
   * @throws {Error} As `send`.
   */
  async sendmsg(
    buffers: readonly Uint8Array[],
    ancdata: readonly ControlMessage[] = [],
    flags: number = 0,
    address?: A,
  ): Promise<number> {
    const below = libcOf(this, "sendmsg");
    if (!Array.isArray(buffers)) throw notBytes(buffers, "buffers");
    const wrong = buffers.findIndex((data) => !(data instanceof Uint8Array));
    if (wrong >= 0) throw notBytes(buffers[wrong], `buffers[${wrong}]`);
    checkControl(ancdata);
    checkInteger(flags, "flags", 0, 2 ** 31 - 1);
    if (address !== undefined) checkAddress(this.family, address);
    return await below.sendmsg(
      buffers,
      ancdata,
      flags,
      address,
      this.gettimeout(),
    );
  }

  /**
   * Receives many datagrams in one call, recvmmsg(2): it waits for the first one, and takes with it what else
   * is there. A fast stream of small datagrams costs much less so.
   *
   * @param buffer Where they go: the first one to its beginning, each other one `bufsize` bytes behind the
   * one before.
   * @param bufsize How many bytes of each at most, from 1. As many are received as the buffer has room for, at
   * most 64.
   * @param flags As for `recv`.
   * @returns How many bytes each has, and the sender's address, in the order in which they came.
   * @throws {Error} As `recv`; with `code` `"EOPNOTSUPP"` on a stream.
   * @throws {RangeError} If the buffer has no room for one.
   *
   * @example An echo
   * ```ts ignore
   * import { AF_INET, SOCK_DGRAM, socket } from "@berkeley/sockets/libc";
   *
   * using server = socket(AF_INET, SOCK_DGRAM);
   * server.bind(["127.0.0.1", 0]);
   * using client = socket(AF_INET, SOCK_DGRAM);
   * await client.connect(server.getsockname());
   * const texts = ["one", "two", "three"];
   * await client.sendmmsg(texts.map((text) => [new TextEncoder().encode(text)]));
   *
   * const buffer = new Uint8Array(64 * 1500);
   * for (let echoed = 0; echoed < 3;) {
   *   const received = await server.recvmmsg_into(buffer, 1500);
   *   let answers = received.map(([bytes, from], i) =>
   *     [buffer.subarray(i * 1500, i * 1500 + bytes), from] as const
   *   );
   *   echoed += answers.length;
   *   while (answers.length > 0) {
   *     answers = answers.slice(await server.sendmmsg(answers));
   *   }
   * }
   * console.log((await client.recv(1500)).length); // 3
   * ```
   */
  recvmmsg_into(
    buffer: Uint8Array,
    bufsize: number,
    flags: number = 0,
  ): Promise<[bytes: number, address: A][]> {
    try {
      const below = libcOf(this, "recvmmsg_into");
      if (!(buffer instanceof Uint8Array)) throw notBytes(buffer, "buffer");
      checkInteger(bufsize, "bufsize", 1, lengthOf(buffer));
      checkInteger(flags, "flags", 0, 2 ** 31 - 1);
      return below.recvmmsg(
        buffer,
        bufsize,
        flags,
        this.gettimeout(),
      ) as Promise<[number, A][]>;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Sends many datagrams in one call, sendmmsg(2).
   *
   * @param messages The data of each, and where it goes to; the peer by default. The data must not change
   * meanwhile.
   * @param flags As for `send`.
   * @returns How many were sent: the first ones, at most 64, fewer where there is no room for more, or where
   * one that is not the first fails.
   * @throws {Error} As `sendto`, of the first one; with `code` `"EOPNOTSUPP"` on a stream.
   * @throws {TypeError | RangeError} If one of them is none. Nothing is sent then.
   */
  async sendmmsg(
    messages: readonly (readonly [data: Uint8Array, address?: A])[],
    flags: number = 0,
  ): Promise<number> {
    const below = libcOf(this, "sendmmsg");
    const wrong = (value: unknown) =>
      new TypeError(
        `Invalid messages: expected an array of [data, address], got ${
          show(value)
        }`,
      );
    if (!Array.isArray(messages)) throw wrong(messages);
    for (const message of messages) {
      if (!Array.isArray(message)) throw wrong(message);
      const [data, address] = message;
      if (!(data instanceof Uint8Array)) throw notBytes(data, "data");
      if (address !== undefined) checkAddress(this.family, address);
    }
    checkInteger(flags, "flags", 0, 2 ** 31 - 1);
    return await below.sendmmsg(messages, flags, this.gettimeout());
  }

  /**
   * An option's value as what it is: see `Options`.
   *
   * @param option One of `Options`.
   * @throws {Error} With `code` `"ENOPROTOOPT"`, or another of getsockopt(2).
   */
  getoption<T>(option: Option<T>): T {
    checkOption(option);
    const { level, name, size } = option;
    return option.decode(this.getsockopt(level, name, size));
  }

  /**
   * Sets an option to what it is: see `Options`.
   *
   * @param option One of `Options`.
   * @param value Its value.
   * @throws {TypeError | RangeError} If it is none for the option.
   * @throws {Error} With `code` `"ENOPROTOOPT"`, `"EPERM"`, or another of setsockopt(2).
   */
  setoption<T>(option: Option<T>, value: T): void {
    checkOption(option);
    const { level, name } = option;
    if (option.encode === undefined) {
      throw socketError("ENOPROTOOPT", "setsockopt", "it can only be read");
    }
    this.setsockopt(level, name, option.encode(value));
  }

  /**
   * Another descriptor of the same socket, dup(2). What happens to the one happens to the other; each is
   * closed by itself.
   *
   * @returns The socket, a blocking one.
   * @throws {Error} With `code` `"EMFILE"`, or `"EBADF"` if the socket is closed.
   */
  dup(): Socket<A> {
    return new Socket<A>(
      libcOf(this, "dup").dup(),
      this.driver,
      this.family,
      this.type,
      this.proto,
    );
  }

  /** Lets calls that wait keep the program alive, which they do unless `unref()` was called. */
  ref(): void {
    libcOf(this, "ref").polled.setRef(true);
  }

  /** Lets the program end though calls wait. */
  unref(): void {
    libcOf(this, "unref").polled.setRef(false);
  }
}
