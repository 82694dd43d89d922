/** The driver of the BSD face on the system's C library: every call is the system's own. */

import type { Address } from "../_constants.ts";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_NOSIGNAL,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_WAITALL,
  SHUT_WR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOCK_STREAM,
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
import { closedResource, interrupted } from "../_wait.ts";
import { timeoutError } from "../_waiting.ts";
import * as arena from "./_arena.ts";
import {
  checked,
  EAGAIN,
  EINPROGRESS,
  EINTR,
  errno,
  systemError,
} from "./_errno.ts";
import { type ControlMessage, encodeControl } from "./_layout.ts";
import { prepare } from "./_ready.ts";
import { isInet, type Packed, resolve, resolveNow } from "./_names.ts";
import { demandAddress, demandAllNet } from "./_permissions.ts";
import {
  AGAIN,
  type Again,
  given,
  poll,
  Polled,
  POLLIN,
  POLLOUT,
  POLLRDHUP,
} from "./_reactor.ts";
import {
  checkSize,
  CHUNK,
  join,
  lengthOf,
  room,
  roomIn,
  viewOf,
} from "./_memory.ts";
import { type Outgoing, receiveBatch, sendBatch } from "./_batch.ts";
import {
  type ReceivedMessage,
  receiveMessage,
  sendMessage,
} from "./_message.ts";
import { decodeAddress } from "./_sockaddr.ts";
import { calls, seldom } from "./_symbols.ts";

/** No call of the system takes more at once. */
const MOST = 0x7ffff000;
/** How large a packet is at most that is received: no system sends larger ones. */
export const MAX_PACKET = 2 ** 26;

const EDGES = SOCK_NONBLOCK | SOCK_CLOEXEC;
const EALREADY = 114;
const EISCONN = 106;
const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;

/** How long a connect to a Unix socket waits whose queue is full, before it tries again, in milliseconds. */
const LAST_PAUSE = 16;

const lengthBytes = new Uint8Array(
  arena.length.buffer,
  arena.length.byteOffset,
  4,
);
const pairBytes = new Uint8Array(arena.pair.buffer, arena.pair.byteOffset, 8);

const NOTHING = new Uint8Array(0);

/** A socket of the system. */
export class LibcSocket implements DriverSocket {
  readonly polled: Polled;
  readonly family: number;
  readonly type: number;
  readonly proto: number;
  /**
   * Whether it hears what is meant for others, and nobody has granted that: a raw socket does, unless it has
   * a peer, who was granted when it was connected.
   */
  #mayOverhear: boolean;
  /** An error that came behind something that could still be given. */
  #late: unknown;
  /** Whether the receiving half is shut: of datagrams the kernel says so only to calls that wait in it. */
  #isDeaf = false;

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
    this.#mayOverhear = type === SOCK_RAW;
  }

  get #fd(): number {
    const { descriptor } = this.polled;
    if (descriptor < 0) throw closedResource("Socket");
    return descriptor;
  }

  get isStream(): boolean {
    return this.type === SOCK_STREAM;
  }

  // Addresses

  bind(address: Address): void {
    const packed = resolveNow(this.family, address, "bind");
    checked(calls().bind(this.#fd, packed, packed.length), "bind");
  }

  getsockname(): Address {
    arena.length[0] = arena.name.length;
    checked(
      calls().getsockname(this.#fd, arena.name, lengthBytes),
      "getsockname",
    );
    return this.#name() ?? unnamed(this.family);
  }

  getpeername(): Address {
    arena.length[0] = arena.name.length;
    checked(
      calls().getpeername(this.#fd, arena.name, lengthBytes),
      "getpeername",
    );
    return this.#name() ?? unnamed(this.family);
  }

  /** The address that the kernel has just written. */
  #name(): Address | undefined {
    return decodeAddress(
      arena.nameView,
      Math.min(arena.length[0]!, arena.name.length),
    );
  }

  // Connections

  listen(backlog: number): void {
    // A socket without an address gets one.
    if (isInet(this.family) && this.getsockname()[1] === 0) {
      demandAddress(this.family, unnamed(this.family) as [string, number]);
    }
    checked(calls().listen(this.#fd, backlog), "listen");
  }

  accept(patience: Patience): Promise<[LibcSocket, Address]> {
    return this.polled.reading.do("accept", patience, () => {
      arena.length[0] = arena.name.length;
      const result = given(
        calls().accept4(this.#fd, arena.name, lengthBytes, EDGES),
        "accept",
      );
      if (result === AGAIN) return AGAIN;
      const address = this.#name() ?? unnamed(this.family);
      return [this.#sibling(result), address];
    });
  }

  #sibling(descriptor: number): LibcSocket {
    return new LibcSocket(descriptor, this.family, this.type, this.proto);
  }

  async connect(address: Address, patience: Patience): Promise<void> {
    const packed = resolve(this.family, address, "connect");
    const name = packed instanceof Uint8Array ? packed : await packed;
    const end = patience === null ? Infinity : performance.now() + patience;
    for (let pause = 1;; pause = Math.min(pause * 2, LAST_PAUSE)) {
      if (calls().connect(this.#open(), name, name.length) === 0) {
        this.#mayOverhear = false;
        return;
      }
      const number = errno();
      if (number === EINPROGRESS || number === EINTR) break;
      // The queue of a Unix socket is full, and nobody tells when it is not.
      if (number !== EAGAIN || patience === 0) {
        throw systemError(number, "connect");
      }
      if (performance.now() + pause > end) {
        throw timeoutError("connect", patience!);
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    if (patience === 0) throw systemError(EINPROGRESS, "connect");
    await this.polled.writing.do("connect", patience, () => {
      if (poll(this.#fd, POLLOUT) === 0) return AGAIN;
      // Once more: this one says how it went, and that it is over.
      if (calls().connect(this.#fd, name, name.length) === 0) return undefined;
      const number = errno();
      if (number === EISCONN) return undefined;
      if (number === EALREADY || number === EINTR) return AGAIN;
      throw systemError(number, "connect");
    });
  }

  /** The descriptor, after a wait in which the socket may have been closed. */
  #open(): number {
    const { descriptor } = this.polled;
    if (descriptor < 0) throw interrupted("Socket");
    return descriptor;
  }

  shutdown(how: number): Promise<void> {
    try {
      checked(calls().shutdown(this.#fd, how), "shutdown");
      this.#isDeaf ||= how !== SHUT_WR;
      // Those who wait are told.
      this.polled.reading.pump();
      return Promise.resolve();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  // Receiving

  recv(
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<Uint8Array<ArrayBuffer>> {
    if (flags & MSG_WAITALL && this.isStream && size > 0) {
      return this.#recvAll(size, flags, patience);
    }
    const most = this.#most(size);
    return this.polled.reading.do("recv", wait(flags, patience), () => {
      if (this.#isEmpty(most)) return AGAIN;
      const buffer = this.#room(most, flags);
      const n = this.#receive(buffer, most, flags);
      return n === AGAIN ? n : buffer.slice(0, Math.min(n, most));
    });
  }

  /** Receives into memory that is the caller's, when there is something. */
  recvInto(
    buffer: Uint8Array,
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<number> {
    if (flags & MSG_WAITALL && this.isStream && size > 0) {
      return this.#recvAllInto(buffer, size, flags, patience);
    }
    return this.polled.reading.run(
      "recv",
      wait(flags, patience),
      this,
      LibcSocket.#tryRecv,
      buffer,
      size,
      flags,
      undefined,
    );
  }

  static #tryRecv(
    self: LibcSocket,
    buffer: Uint8Array,
    size: number,
    flags: number,
  ): number | Again {
    return self.#receive(buffer, size, flags);
  }

  /** As the connections of the other rooms read: `null` at the end of the stream. */
  read(buffer: Uint8Array): Promise<number | null> {
    // The kernel would wait for something to come.
    if (buffer.length === 0) return Promise.resolve(0);
    return this.polled.reading.run(
      "read",
      null,
      this,
      LibcSocket.#tryRead,
      buffer,
      lengthOf(buffer),
      0,
      undefined,
    );
  }

  static #tryRead(
    self: LibcSocket,
    buffer: Uint8Array,
    size: number,
    flags: number,
  ): number | null | Again {
    const n = self.#receive(buffer, size, flags);
    return n === 0 ? null : n;
  }

  /** Packets come whole or are cut off; a stream comes in pieces. */
  #most(size: number): number {
    return this.isStream ? Math.min(size, CHUNK) : Math.min(size, MAX_PACKET);
  }

  /** Whether nothing is there, asked before memory is taken for something large. */
  #isEmpty(size: number): boolean {
    return size > CHUNK && poll(this.#fd, POLLIN) === 0;
  }

  /** One recv(2); the count may be larger than the buffer with MSG_TRUNC. */
  #receive(
    buffer: Uint8Array,
    size: number,
    flags: number,
  ): number | Again {
    this.#beforeReceive();
    const most = roomIn(buffer, size, "recv");
    const n = given(
      calls().recv(this.#fd, buffer, most, flags | MSG_DONTWAIT),
      "recv",
    );
    return n === AGAIN && this.#isDeaf ? 0 : n;
  }

  /**
   * Where to receive first. With MSG_TRUNC a stream's bytes are counted and thrown away: what others have
   * received is not shown instead.
   */
  #room(size: number, flags: number): Uint8Array<ArrayBuffer> {
    const buffer = room(size);
    if (flags & MSG_TRUNC && this.isStream) buffer.fill(0, 0, size);
    return buffer;
  }

  /** What has to be told, or to be granted, before anything is received. */
  #beforeReceive(): void {
    if (this.#mayOverhear) {
      demandAllNet();
      this.#mayOverhear = false;
    }
    const late = this.#late;
    if (late === undefined) return;
    this.#late = undefined;
    throw late;
  }

  /** MSG_WAITALL: until all is there, or the stream or the time ends; then what there is. */
  #recvAll(
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const one = flags & ~MSG_WAITALL;
    if (flags & MSG_PEEK) {
      let most = Math.min(size, CHUNK);
      const look = (isLast: boolean) => {
        for (;;) {
          const buffer = room(most);
          const n = this.#receive(buffer, most, one);
          if (n === AGAIN) return n;
          const isAll = n === size || isLast ||
            poll(this.#fd, POLLRDHUP) !== 0;
          if (n === most && most < size) most = Math.min(size, 4 * most);
          else return isAll ? buffer.slice(0, n) : AGAIN;
        }
      };
      return this.polled.reading.do(
        "recv",
        wait(flags, patience),
        () => look(false),
        () => look(true),
      );
    }
    let all = new Uint8Array(Math.min(size, CHUNK));
    let got = 0;
    const part = () => all.slice(0, got);
    return this.polled.reading.do("recv", wait(flags, patience), () => {
      try {
        while (got < size) {
          if (got === all.length) {
            const larger = new Uint8Array(Math.min(size, 4 * got));
            larger.set(all);
            all = larger;
          }
          const n = this.#receive(all.subarray(got), all.length - got, one);
          if (n === AGAIN) return n;
          if (n === 0) break;
          got += n;
        }
      } catch (error) {
        if (got === 0) throw error;
        // The next call says why. What has come is the caller's.
        this.#late = error;
      }
      return part();
    }, () => got > 0 ? part() : AGAIN);
  }

  /** The same into the caller's memory. */
  #recvAllInto(
    buffer: Uint8Array,
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<number> {
    const one = flags & ~MSG_WAITALL;
    if (flags & MSG_PEEK) {
      return this.#recvAll(size, flags, patience).then((data) => {
        roomIn(buffer, data.length, "recv_into");
        buffer.set(data);
        return data.length;
      });
    }
    let got = 0;
    return this.polled.reading.do("recv_into", wait(flags, patience), () => {
      try {
        while (got < size) {
          // Transferred away, or shrunk to less than there is in it: the rest stays for the next call.
          if (lengthOf(buffer) <= got) roomIn(buffer, size, "recv_into");
          const n = this.#receive(viewOf(buffer, got), size - got, one);
          if (n === AGAIN) return n;
          if (n === 0) break;
          got += n;
        }
      } catch (error) {
        if (got === 0) throw error;
        this.#late = error;
      }
      return got;
    }, () => got > 0 ? got : AGAIN);
  }

  recvfrom(
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<[Uint8Array<ArrayBuffer>, Address]> {
    if (flags & MSG_WAITALL && this.isStream && size > 0) {
      return this.#recvAll(size, flags, patience)
        .then((data) => [data, this.#peer()]);
    }
    const most = this.#most(size);
    return this.polled.reading.do("recvfrom", wait(flags, patience), () => {
      if (this.#isEmpty(most)) return AGAIN;
      const buffer = this.#room(most, flags);
      const n = this.#receiveFrom(buffer, most, flags);
      if (n === AGAIN) return n;
      return [buffer.slice(0, Math.min(n, most)), this.#sender()];
    });
  }

  recvfromInto(
    buffer: Uint8Array,
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<[number, Address]> {
    if (flags & MSG_WAITALL && this.isStream && size > 0) {
      return this.#recvAllInto(buffer, size, flags, patience)
        .then((n) => [n, this.#peer()]);
    }
    return this.polled.reading.run(
      "recvfrom",
      wait(flags, patience),
      this,
      LibcSocket.#tryRecvfrom,
      buffer,
      size,
      flags,
      undefined,
    );
  }

  static #tryRecvfrom(
    self: LibcSocket,
    buffer: Uint8Array,
    size: number,
    flags: number,
  ): [number, Address] | Again {
    const n = self.#receiveFrom(buffer, size, flags);
    return n === AGAIN ? n : [n, self.#sender()];
  }

  #receiveFrom(
    buffer: Uint8Array,
    size: number,
    flags: number,
  ): number | Again {
    this.#beforeReceive();
    const most = roomIn(buffer, size, "recvfrom");
    arena.length[0] = arena.name.length;
    const n = given(
      calls().recvfrom(
        this.#fd,
        buffer,
        most,
        flags | MSG_DONTWAIT,
        arena.name,
        lengthBytes,
      ),
      "recvfrom",
    );
    if (n !== AGAIN || !this.#isDeaf) return n;
    arena.length[0] = 0;
    return 0;
  }

  /** Who sent what has just come: on a connection the peer, which the kernel does not repeat. */
  #sender(): Address {
    const address = this.#name();
    if (address !== undefined) return address;
    return this.isStream ? this.#peer() : unnamed(this.family);
  }

  #peer(): Address {
    try {
      return this.getpeername();
    } catch {
      return unnamed(this.family);
    }
  }

  /** Receives, with control messages, recvmsg(2). */
  recvmsg(
    size: number,
    controlSize: number,
    flags: number,
    patience: Patience,
  ): Promise<ReceivedMessage> {
    const most = this.#most(size);
    const receive = () => this.#receiveMessage(most, controlSize, flags);
    const { reading } = this.polled;
    // What is in the queue of errors is there, or is not.
    if (flags & MSG_ERRQUEUE) return reading.now("recvmsg", receive);
    if (!(flags & MSG_WAITALL) || !this.isStream || size === 0) {
      return reading.do("recvmsg", wait(flags, patience), receive);
    }
    // Piece by piece: what one has brought stays if the next one has to wait.
    const pieces: ReceivedMessage[] = [];
    let missing = size;
    const whole = (): ReceivedMessage => ({
      ...pieces.at(-1)!,
      data: join(pieces.map(({ data }) => data)),
      control: pieces.flatMap(({ control }) => control),
    });
    return reading.do("recvmsg", wait(flags, patience), () => {
      while (missing > 0) {
        const piece = this.#receiveMessage(
          Math.min(missing, CHUNK),
          controlSize,
          flags,
        );
        if (piece === AGAIN) return piece;
        pieces.push(piece);
        missing -= piece.data.length;
        if (piece.data.length === 0 || flags & MSG_PEEK) break;
      }
      return whole();
    }, () => pieces.length > 0 ? whole() : AGAIN);
  }

  /** One recvmsg(2). */
  #receiveMessage(
    most: number,
    controlSize: number,
    flags: number,
  ): ReceivedMessage | Again {
    this.#beforeReceive();
    const buffer = this.#room(most, flags).subarray(0, most);
    const message = receiveMessage(this.#fd, buffer, controlSize, flags);
    if (message !== AGAIN || !this.#isDeaf) return message;
    return { data: NOTHING, control: [], flags: 0, address: undefined };
  }

  /** Receives many datagrams at once, recvmmsg(2). */
  recvmmsg(
    buffer: Uint8Array,
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<[number, Address][]> {
    this.#demandDatagrams("recvmmsg");
    return this.polled.reading.do("recvmmsg", wait(flags, patience), () => {
      this.#beforeReceive();
      // It may have shrunk during a wait.
      if (lengthOf(buffer) < size) roomIn(NOTHING, size, "recvmmsg");
      const got = receiveBatch(this.#fd, this.family, buffer, size, flags);
      return got === AGAIN && this.#isDeaf
        ? [[0, unnamed(this.family)]] as [number, Address][]
        : got;
    });
  }

  #demandDatagrams(call: string): void {
    if (!this.isStream) return;
    throw socketError("EOPNOTSUPP", call, "a stream has no messages");
  }

  // Sending

  /** As the connections of the other rooms write: of memory that was transferred away, nothing. */
  write(data: Uint8Array): Promise<number> {
    return this.polled.writing.run(
      "write",
      null,
      this,
      LibcSocket.#tryWrite,
      data,
      undefined,
      undefined,
      undefined,
    );
  }

  static #tryWrite(self: LibcSocket, data: Uint8Array): number | Again {
    const size = lengthOf(data);
    return size === 0 ? 0 : LibcSocket.#trySend(self, data, size, 0);
  }

  send(data: Uint8Array, flags: number, patience: Patience): Promise<number> {
    return this.polled.writing.run(
      "send",
      wait(flags, patience),
      this,
      LibcSocket.#trySend,
      data,
      lengthOf(data),
      flags,
      undefined,
    );
  }

  static #trySend(
    self: LibcSocket,
    data: Uint8Array,
    size: number,
    flags: number,
  ): number | Again {
    checkSize(data, size, "send");
    return given(
      calls().send(
        self.#fd,
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
  ): Promise<void> {
    const size = lengthOf(data);
    let sent = 0;
    return this.polled.writing.do("sendall", wait(flags, patience), () => {
      do {
        checkSize(data, size, "sendall");
        const rest = sent === 0 ? data : viewOf(data, sent);
        const n = LibcSocket.#trySend(this, rest, size - sent, flags);
        if (n === AGAIN) return n;
        sent += n;
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
      const send = () => LibcSocket.#trySendto(this, data, size, flags, name);
      return this.#sendToUnix("sendto", wait(flags, patience), send);
    }
    return this.polled.writing.run(
      "sendto",
      wait(flags, patience),
      this,
      LibcSocket.#trySendto,
      data,
      size,
      flags,
      name,
    );
  }

  static #trySendto(
    self: LibcSocket,
    data: Uint8Array,
    size: number,
    flags: number,
    name: Packed,
  ): number | Again {
    checkSize(data, size, "sendto");
    return given(
      calls().sendto(
        self.#fd,
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
      return sendMessage(this.#fd, pieces, own, flags, name);
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
    this.#demandDatagrams("sendmmsg");
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
      return sendBatch(this.#fd, datagrams, flags);
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
    const end = patience === null ? Infinity : performance.now() + patience;
    for (let pause = 1;; pause = Math.min(pause * 2, LAST_PAUSE)) {
      this.#open();
      const n = attempt();
      if (n !== AGAIN || patience === 0) {
        // Counted as every call is, so that the event loop has its turn.
        return await this.polled.writing.now(call, () => n);
      }
      const left = end - performance.now();
      if (left <= 0) throw timeoutError(call, patience!);
      await new Promise((resolve) =>
        setTimeout(resolve, Math.min(pause, left))
      );
    }
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
      calls().setsockopt(this.#fd, level, option, arena.option, size),
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
      calls().getsockopt(this.#fd, level, option, arena.option, lengthBytes),
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
    const fd = this.#fd;
    if (this.polled.reading.busy || this.polled.writing.busy) {
      throw socketError("EBUSY", "detach", "a call waits");
    }
    this.polled.release();
    return fd;
  }

  fileno(): number {
    return this.#fd;
  }

  /** Another descriptor of the same socket, dup(2). */
  dup(): LibcSocket {
    const copy = this.#sibling(
      checked(seldom().fcntl(this.#fd, F_DUPFD_CLOEXEC, 0), "dup"),
    );
    copy.#isDeaf = this.#isDeaf;
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

/** How long a call with some flags may wait. */
function wait(flags: number, patience: Patience): Patience {
  return flags & MSG_DONTWAIT ? 0 : patience;
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
