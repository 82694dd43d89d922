/** Receiving, by every call there is for it. */

import {
  type Address,
  AF_UNIX,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_WAITALL,
  SOCK_RAW,
} from "../_constants.ts";
import type { Patience } from "../_driver.ts";
import { unnamed } from "../_sockaddr.ts";
import * as arena from "./_arena.ts";
import { receiveBatch } from "./_batch.ts";
import { Endpoint, wait, writtenName } from "./_endpoint.ts";
import { CHUNK, join, lengthOf, room, roomIn, viewOf } from "./_memory.ts";
import { type ReceivedMessage, receiveMessage } from "./_message.ts";
import { demandAllNet } from "./_permissions.ts";
import { AGAIN, type Again, given, poll, POLLIN, POLLRDHUP } from "./_side.ts";
import { calls } from "./_symbols.ts";

/** How large a packet is at most that is received: no system sends larger ones. */
export const MAX_PACKET = 2 ** 26;

const NOTHING = new Uint8Array(0);

/** A socket's receiving half. */
export class Receiver extends Endpoint {
  /**
   * Whether it hears what is meant for others, and nobody has granted that: a raw socket does, unless it has
   * a peer, who was granted when it was connected.
   */
  #mayOverhear: boolean = this.type === SOCK_RAW;
  /** An error that came behind something that could still be given. */
  #late: unknown;
  /** Whether the receiving half is shut: of datagrams the kernel says so only to calls that wait in it. */
  isDeaf = false;

  /** From now on it has a peer, and hears nobody else. */
  hearPeerAlone(): void {
    this.#mayOverhear = false;
  }

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
      Receiver.#tryRecv,
      buffer,
      size,
      flags,
      undefined,
    );
  }

  static #tryRecv(
    self: Receiver,
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
      Receiver.#tryRead,
      buffer,
      lengthOf(buffer),
      0,
      undefined,
    );
  }

  static #tryRead(
    self: Receiver,
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
    return size > CHUNK && poll(this.fileno(), POLLIN) === 0;
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
      calls().recv(this.fileno(), buffer, most, flags | MSG_DONTWAIT),
      "recv",
    );
    return n === AGAIN && this.isDeaf ? 0 : n;
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

  /** MSG_WAITALL: all, or what there is when the stream or the time ends. */
  #recvAll(
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<Uint8Array<ArrayBuffer>> {
    if (flags & MSG_PEEK) return this.#lookAtAll(size, flags, patience);
    const one = flags & ~MSG_WAITALL;
    let all = new Uint8Array(Math.min(size, CHUNK));
    const isAll = (got: number) => got === size;
    return this.#gather("recv", wait(flags, patience), isAll, (got) => {
      if (got === all.length) {
        const larger = new Uint8Array(Math.min(size, 4 * got));
        larger.set(all);
        all = larger;
      }
      return this.#receive(all.subarray(got), all.length - got, one);
    }, (got) => all.slice(0, got));
  }

  /** The same into the caller's memory. */
  #recvAllInto(
    buffer: Uint8Array,
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<number> {
    if (flags & MSG_PEEK) {
      return this.#lookAtAll(size, flags, patience).then((data) => {
        roomIn(buffer, data.length, "recv_into");
        buffer.set(data);
        return data.length;
      });
    }
    const one = flags & ~MSG_WAITALL;
    const isAll = (got: number) => got === size;
    return this.#gather("recv_into", wait(flags, patience), isAll, (got) => {
      // Transferred away, or shrunk to less than there is in it: the rest stays for the next call.
      if (lengthOf(buffer) <= got) roomIn(buffer, size, "recv_into");
      return this.#receive(viewOf(buffer, got), size - got, one);
    }, (got) => got);
  }

  /** The same, and all of it stays there. */
  #lookAtAll(
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const one = flags & ~MSG_WAITALL;
    let most = Math.min(size, CHUNK);
    const look = (isLast: boolean) => {
      for (;;) {
        const buffer = room(most);
        const n = this.#receive(buffer, most, one);
        if (n === AGAIN) return n;
        const isAll = n === size || isLast ||
          poll(this.fileno(), POLLRDHUP) !== 0;
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

  /**
   * Receives piece by piece, until all is there, or the stream or the time ends; then what has come.
   *
   * @param call The call's name.
   * @param patience How long to wait.
   * @param isAll Whether so many bytes are all.
   * @param next Receives what follows so many bytes, and gives how many they were: 0 at the end.
   * @param soFar What so many bytes are to the caller.
   */
  #gather<T>(
    call: string,
    patience: Patience,
    isAll: (got: number) => boolean,
    next: (got: number) => number | Again,
    soFar: (got: number) => T,
  ): Promise<T> {
    let got = 0;
    return this.polled.reading.do(call, patience, () => {
      try {
        while (!isAll(got)) {
          const n = next(got);
          if (n === AGAIN) return n;
          if (n === 0) break;
          got += n;
        }
      } catch (error) {
        if (got === 0) throw error;
        // The next call says why. What has come is the caller's.
        this.#late = error;
      }
      return soFar(got);
    }, () => got > 0 ? soFar(got) : AGAIN);
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
      Receiver.#tryRecvfrom,
      buffer,
      size,
      flags,
      undefined,
    );
  }

  static #tryRecvfrom(
    self: Receiver,
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
        this.fileno(),
        buffer,
        most,
        flags | MSG_DONTWAIT,
        arena.name,
        arena.lengthBytes,
      ),
      "recvfrom",
    );
    if (n !== AGAIN || !this.isDeaf) return n;
    arena.length[0] = 0;
    return 0;
  }

  /** Who sent what has just come: on a connection the peer, which the kernel does not repeat. */
  #sender(): Address {
    const address = writtenName();
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
    const patient = wait(flags, patience);
    // One look at most: each would open the descriptors in the message once more.
    const isWhole = flags & MSG_WAITALL && !(flags & MSG_PEEK);
    if (!isWhole || !this.isStream || size === 0) {
      return reading.do("recvmsg", patient, receive);
    }
    const pieces: ReceivedMessage[] = [];
    // What comes with bytes of a Unix socket ends the call, as in the kernel: unix(7) calls it a barrier.
    let isBarrier = false;
    const isAll = (got: number) => got === size || isBarrier;
    return this.#gather("recvmsg", patient, isAll, (got) => {
      const most = Math.min(size - got, CHUNK);
      const piece = this.#receiveMessage(most, controlSize, flags);
      if (piece === AGAIN) return piece;
      pieces.push(piece);
      isBarrier = this.family === AF_UNIX &&
        (piece.control.length > 0 || (piece.flags & MSG_CTRUNC) !== 0);
      return piece.data.length;
    }, () => ({
      ...pieces.at(-1)!,
      data: join(pieces.map(({ data }) => data)),
      control: pieces.flatMap(({ control }) => control),
    }));
  }

  /** One recvmsg(2). */
  #receiveMessage(
    most: number,
    controlSize: number,
    flags: number,
  ): ReceivedMessage | Again {
    this.#beforeReceive();
    const buffer = this.#room(most, flags).subarray(0, most);
    const message = receiveMessage(this.fileno(), buffer, controlSize, flags);
    if (message !== AGAIN || !this.isDeaf) return message;
    return { data: NOTHING, control: [], flags: 0, address: undefined };
  }

  /** Receives many datagrams at once, recvmmsg(2). */
  recvmmsg(
    buffer: Uint8Array,
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<[number, Address][]> {
    this.demandDatagrams("recvmmsg");
    return this.polled.reading.do("recvmmsg", wait(flags, patience), () => {
      this.#beforeReceive();
      // It may have shrunk during a wait.
      if (lengthOf(buffer) < size) roomIn(NOTHING, size, "recvmmsg");
      const got = receiveBatch(this.fileno(), this.family, buffer, size, flags);
      return got === AGAIN && this.isDeaf
        ? [[0, unnamed(this.family)]] as [number, Address][]
        : got;
    });
  }
}
