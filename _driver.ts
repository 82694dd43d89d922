/** What the BSD face asks of a driver: one socket of the system, or what comes as close as can be. */

import type { Readiness } from "./_readiness.ts";
import type { Address } from "./_constants.ts";
import type { SocketAddr, StreamConn, StreamListener } from "./types.ts";
import type { DatagramSocket } from "./types.ts";

/** How long a call may wait: milliseconds, 0 for not at all, `null` for ever. */
export type Patience = number | null;

/** What an option may be set to: a number, a switch, or the structure's bytes. */
export type OptionValue = number | boolean | Uint8Array;

/** What {@linkcode DriverSocket.detach} gives away. */
export type Detached =
  | StreamConn
  | StreamListener
  | DatagramSocket<SocketAddr, SocketAddr>
  | number;

/**
 * A socket. Arguments are checked by the face: addresses have the family's shape, sizes and flags are
 * integers. Every error carries the `code` that the system's call would give; calls in the wrong state
 * are the driver's to tell. After `close()` no call comes but a second `close()`.
 */
export interface DriverSocket {
  bind(address: Address): void;
  listen(backlog: number): void;
  accept(patience: Patience): Promise<[DriverSocket, Address]>;
  /** With patience 0: EINPROGRESS, and the end of it makes the socket writable. */
  connect(address: Address, patience: Patience): Promise<void>;
  /** Empty at the end of a stream. */
  recv(
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<Uint8Array<ArrayBuffer>>;
  /** Receives into the caller's memory, where that saves a copy. */
  recvInto?(
    buffer: Uint8Array,
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<number>;
  recvfrom(
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<[Uint8Array<ArrayBuffer>, Address]>;
  /** As `recvInto`, and tells from whom. */
  recvfromInto?(
    buffer: Uint8Array,
    size: number,
    flags: number,
    patience: Patience,
  ): Promise<[bytes: number, address: Address]>;
  send(data: Uint8Array, flags: number, patience: Patience): Promise<number>;
  /**
   * With `onSent` it tells how many bytes are out so far, where more can be sent after it has failed in its
   * middle.
   */
  sendall(
    data: Uint8Array,
    flags: number,
    patience: Patience,
    onSent?: (sent: number) => void,
  ): Promise<void>;
  sendto(
    data: Uint8Array,
    flags: number,
    address: Address,
    patience: Patience,
  ): Promise<number>;
  shutdown(how: number): Promise<void>;
  close(): void;
  /** Waits, after `close()`, until the address is free. */
  closed(): Promise<void>;
  detach(): Detached;
  fileno(): number;
  getsockname(): Address;
  getpeername(): Address;
  setsockopt(level: number, option: number, value: OptionValue): void;
  /** A number, or the bytes of a structure of at most `size` bytes. */
  getsockopt(
    level: number,
    option: number,
    size: number | undefined,
  ): number | Uint8Array<ArrayBuffer>;
  /** Whether a receive or accept would wait. */
  readonly reading: Readiness;
  /** Whether a send would wait, or a connect is under way. */
  readonly writing: Readiness;
  /** Whether there are urgent data, where the driver can see them. */
  readonly urgent?: Readiness;
}

/** Makes sockets. */
export interface Driver {
  readonly name: "deno" | "libc";
  /** Whether a stream socket that has an address can connect. */
  readonly bindsClients: boolean;
  /** @throws {Error} With `code` `"EAFNOSUPPORT"`, `"ESOCKTNOSUPPORT"` or `"EPROTONOSUPPORT"`. */
  socket(family: number, type: number, proto: number): DriverSocket;
  /** Two connected sockets. */
  socketpair(
    family: number,
    type: number,
    proto: number,
  ): Promise<[DriverSocket, DriverSocket]>;
}
