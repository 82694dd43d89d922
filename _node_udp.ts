/**
 * UDP over `node:dgram`, which needs no flag, behind the face of the runtime's own socket.
 *
 * What comes is taken at once, because `node:dgram` knows no pause; so there is a queue, and it has a
 * bound. Options that it has in name only (buffer sizes, `reusePort`, hop limits of IPv6) are not used.
 */

import type { Socket, SocketOptions } from "node:dgram";
import { errorCode } from "./errors.ts";
import type { UdpAddr } from "./types.ts";
import { type HostPort, joinHostPort } from "./addr.ts";
import { closedResource, interrupted, MAX_DELAY } from "./_wait.ts";
import { demandNet, openingError } from "./_open.ts";
import type { NativeDatagrams } from "./_datagram.ts";
import {
  hasAddress,
  hasInterface,
  type Join,
  type Leave,
  noInterface,
} from "./_multicast.ts";

/** What can be set before anything is sent. */
export interface NodeUdpOptions {
  readonly family: 4 | 6;
  readonly reuseAddress: boolean;
  readonly ipv6Only: boolean;
  readonly broadcast: boolean;
  readonly multicastLoopback: boolean;
  readonly ttl: number | undefined;
  readonly multicastTtl: number | undefined;
  readonly multicastInterface: string | undefined;
  readonly maxQueuedBytes: number;
}

/** Makes a socket of `node:dgram`, which is loaded when it is needed. */
export type CreateSocket = (options: SocketOptions) => Socket;

export async function loadNode(): Promise<CreateSocket> {
  const [{ createSocket }] = await Promise.all([
    import("node:dgram"),
    // Without it nobody runs what is put off to the next tick, such as the end of a close.
    import("node:process"),
  ]);
  return createSocket;
}

/** The same without a wait, for who cannot wait. */
export function loadNodeNow(): CreateSocket {
  const { process } = globalThis as unknown as {
    process: {
      getBuiltinModule(name: "node:dgram"): { createSocket: CreateSocket };
    };
  };
  return process.getBuiltinModule("node:dgram").createSocket;
}

/** What a datagram in the queue takes besides its bytes, so that empty ones are bounded too. */
const OVERHEAD = 256;

type Received = [Uint8Array, HostPort];

/** Someone who waits for a datagram. */
interface Wanted {
  readonly p: Uint8Array;
  readonly resolve: (received: Received) => void;
  readonly reject: (error: unknown) => void;
}

/** A UDP socket of `node:dgram`. */
export class NodeUdp implements NativeDatagrams<HostPort> {
  readonly #socket: Socket;
  readonly #broadcast: boolean;
  readonly #maxQueued: number;
  /** What has come and nobody has wanted yet. */
  #queue: Received[] = [];
  /** How many of its first places are empty: shifting an array moves all the others. */
  #start = 0;
  #queued = 0;
  /** How many datagrams had no room in the queue. */
  dropped = 0;
  #wanted: Wanted | undefined;
  #failure: unknown;
  #closing: Promise<void> | undefined;
  /** `node:dgram`'s own `ref()` comes too late for a receive under way: this timer stands in for it. */
  #hold: ReturnType<typeof setInterval> | undefined;
  #wantsRef = true;

  private constructor(
    socket: Socket,
    { broadcast, maxQueuedBytes }: NodeUdpOptions,
  ) {
    this.#socket = socket;
    this.#broadcast = broadcast;
    this.#maxQueued = maxQueuedBytes;
    socket.on("message", (data, from) => this.#onMessage(data, from));
    socket.on("error", (error) => this.#onError(error));
  }

  /** Binds a socket to an address; names are looked up before. */
  static bind(
    createSocket: CreateSocket,
    hostname: string,
    port: number,
    options: NodeUdpOptions,
  ): NodeUdp {
    const { family, reuseAddress, ipv6Only } = options;
    // Asked before: a refusal that `node:dgram` meets in a later tick ends the process.
    demandNet(joinHostPort(hostname, port));
    const socket = createSocket({
      type: family === 4 ? "udp4" : "udp6",
      reuseAddr: reuseAddress,
      ipv6Only,
      // With it, binding is done when the call returns. Names that come here are left to the runtime.
      lookup: (name, _options, callback) => callback(null, name, family),
    });
    // Before the first receive, or it would keep the process alive.
    socket.unref();
    let failure: unknown;
    const onError = (error: unknown) => failure = error;
    socket.on("error", onError);
    socket.bind({ address: hostname, port });
    if (failure !== undefined) throw failure;
    socket.off("error", onError);
    try {
      set(socket, options);
    } catch (error) {
      socket.close();
      throw error;
    }
    return new NodeUdp(socket, options);
  }

  /** Where the socket is bound. */
  get addr(): UdpAddr {
    const { address, port } = this.#socket.address();
    return { transport: "udp", hostname: address, port };
  }

  // Receiving

  #onMessage(
    data: Uint8Array,
    { address, port }: { address: string; port: number },
  ): void {
    if (this.#closing !== undefined) return;
    const from: HostPort = { hostname: address, port };
    const wanted = this.#wanted;
    if (wanted !== undefined) {
      this.#wanted = undefined;
      this.#updateHold();
      wanted.resolve(copyInto(wanted.p, data, from));
      return;
    }
    const size = data.length + OVERHEAD;
    if (this.#queued + size > this.#maxQueued) {
      this.dropped++;
      return;
    }
    this.#queued += size;
    // Its own buffer has 64 KiB, however little is in it.
    this.#queue.push([new Uint8Array(data), from]);
  }

  #onError(error: unknown): void {
    const wanted = this.#wanted;
    if (wanted === undefined) {
      this.#failure ??= error;
      return;
    }
    this.#wanted = undefined;
    this.#updateHold();
    wanted.reject(error);
  }

  receive(p: Uint8Array): Promise<Received> {
    if (this.#closing !== undefined) {
      return Promise.reject(closedResource("Socket"));
    }
    const first = this.#shift();
    if (first !== undefined) {
      return Promise.resolve(copyInto(p, ...first));
    }
    if (this.#failure !== undefined) {
      const failure = this.#failure;
      this.#failure = undefined;
      return Promise.reject(failure);
    }
    return new Promise((resolve, reject) => {
      this.#wanted = { p, resolve, reject };
      this.#updateHold();
    });
  }

  #shift(): Received | undefined {
    const first = this.#queue[this.#start];
    if (first === undefined) return undefined;
    this.#queue[this.#start] = undefined!;
    this.#queued -= first[0].length + OVERHEAD;
    if (++this.#start > 1024 || this.#start === this.#queue.length) {
      this.#queue = this.#queue.slice(this.#start);
      this.#start = 0;
    }
    return first;
  }

  // Sending

  send(p: Uint8Array, { hostname, port }: HostPort): Promise<number> {
    return new Promise((resolve, reject) => {
      const to: UdpAddr = { transport: "udp", hostname, port };
      this.#socket.send(p, port, hostname, (error, bytes) => {
        if (error === null) resolve(bytes);
        else reject(this.#sendError(error, to));
      });
    });
  }

  /** `node:dgram` says UNKNOWN for nearly everything. */
  #sendError(error: Error, to: UdpAddr): unknown {
    if (this.#closing !== undefined) return interrupted("Socket");
    if (errorCode(error) !== "UNKNOWN") {
      return openingError("send to", to, error);
    }
    try {
      demandNet(joinHostPort(to.hostname, to.port));
    } catch (missing) {
      return openingError("send to", to, missing);
    }
    const hint = this.#broadcast
      ? ""
      : "; broadcast is off for this socket, which would be a reason";
    return Object.assign(
      new Error(
        `Cannot send to udp ${
          joinHostPort(to.hostname, to.port)
        }: node:dgram does not say why (UNKNOWN)${hint}`,
        { cause: error },
      ),
      { code: "UNKNOWN", address: to },
    );
  }

  // Groups

  /** Joins a group. */
  join(join: Join, family: 4 | 6): Leave {
    const { group, source, loopback, ttl } = join;
    const on = join.on === undefined
      ? undefined
      : family === 4
      ? join.on
      : zoneOf(join);
    const socket = this.#socket;
    try {
      if (source === undefined) socket.addMembership(group, on);
      else socket.addSourceSpecificMembership(source, group, on);
    } catch (error) {
      throw joinError(join, family, error);
    }
    if (loopback !== undefined) socket.setMulticastLoopback(loopback);
    if (ttl !== undefined) socket.setMulticastTTL(ttl);
    return () => {
      if (source === undefined) socket.dropMembership(group, on);
      else socket.dropSourceSpecificMembership(source, group, on);
    };
  }

  // The end

  close(): void {
    if (this.#closing !== undefined) return;
    this.#closing = new Promise((resolve) => this.#socket.close(resolve));
    this.#queue = [];
    clearInterval(this.#hold);
    this.#hold = undefined;
    this.#wanted?.reject(interrupted("Socket"));
    this.#wanted = undefined;
  }

  async closed(): Promise<void> {
    // Nothing of a socket that closes keeps the process alive.
    const hold = setInterval(() => {}, MAX_DELAY);
    await this.#closing;
    clearInterval(hold);
  }

  ref(): void {
    this.#wantsRef = true;
    this.#updateHold();
  }

  unref(): void {
    this.#wantsRef = false;
    this.#updateHold();
  }

  #updateHold(): void {
    const holds = this.#wantsRef && this.#wanted !== undefined;
    if (holds) {
      if (this.#hold === undefined) {
        this.#hold = setInterval(() => {}, MAX_DELAY);
      } else Deno.refTimer(this.#hold);
    } else if (this.#hold !== undefined) Deno.unrefTimer(this.#hold);
  }
}

/** Sets what was asked for. Only what differs from the system's own way is touched. */
function set(socket: Socket, options: NodeUdpOptions): void {
  const { broadcast, multicastLoopback, ttl, multicastTtl } = options;
  const { family, multicastInterface } = options;
  if (broadcast) socket.setBroadcast(true);
  if (!multicastLoopback) socket.setMulticastLoopback(false);
  if (ttl !== undefined) socket.setTTL(ttl);
  if (multicastTtl !== undefined) socket.setMulticastTTL(multicastTtl);
  if (multicastInterface === undefined) return;
  const on = family === 4 ? multicastInterface : `::%${multicastInterface}`;
  // An unknown name would be taken for "any".
  if (family === 4 || hasInterface(multicastInterface)) {
    try {
      socket.setMulticastInterface(on);
      return;
    } catch {
      // Its EINVAL stands for whatever the system said.
    }
  }
  throw Object.assign(
    new Error(
      `No interface ${JSON.stringify(multicastInterface)} (os error 19)`,
    ),
    { code: "ENODEV" },
  );
}

/** Why a group could not be joined: `node:dgram` says EINVAL for everything. */
function joinError(join: Join, family: 4 | 6, cause: unknown): Error {
  const { addr, on } = join;
  if (family === 4 && on !== undefined && lacks(on)) return noInterface(join);
  return Object.assign(
    new Error(
      `Cannot join udp ${
        joinHostPort(addr.hostname, addr.port)
      }: node:dgram does not say why (EINVAL); the socket may be a member by another name of the interface, or of too many groups`,
      { cause },
    ),
    { code: "EINVAL", address: addr },
  );
}

/** Whether this machine is known to lack an address. */
function lacks(hostname: string): boolean {
  try {
    return !hasAddress(hostname);
  } catch {
    // It may not be tried.
    return false;
  }
}

/** An interface as `node:dgram` takes it. Indexes and unknown names would be taken for "any". */
function zoneOf(join: Join): string {
  const { on } = join;
  if (/^\d+$/.test(on!) || !hasInterface(on!)) throw noInterface(join);
  return `::%${on}`;
}

/** Puts a datagram where it is wanted. A buffer that has been transferred away has no room. */
function copyInto(p: Uint8Array, data: Uint8Array, from: HostPort): Received {
  if (data.length > p.length) return [data, from];
  p.set(data);
  return [p.subarray(0, data.length), from];
}
