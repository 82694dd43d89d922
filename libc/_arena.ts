/**
 * The memory that the kernel is given structures in: one block for ever, everything at a place of its own.
 * A raw address keeps nothing alive, and here nothing has to be kept.
 *
 * Calls are synchronous, so that no two of them use a place at once. What is waited for beside the program
 * has memory of its own.
 */

import { IOVEC, MMSGHDR, MSGHDR } from "./_layout.ts";
import { SOCKADDR_SIZE } from "./_sockaddr.ts";
import { memory } from "./_symbols.ts";

/** How many buffers one call of sendmsg or recvmsg has at most: more are put together before. */
export const MAX_VECTORS = 64;
/** How many bytes of control messages one call has at most. */
export const MAX_CONTROL = 32_768;
/** How many datagrams one call takes at most, of those that take many. */
export const MAX_BATCH = 64;
/** How large an option's value is at most. */
export const MAX_OPTION = 1024;
/** How many events are taken at a time. */
export const MAX_EVENTS = 256;
const MAX_EVENT_SIZE = 16;

let end = 0;

/** A place of its own, at a multiple of 16. */
function place(size: number): number {
  const at = end;
  end += Math.ceil(size / 16) * 16;
  return at;
}

const NAME = place(SOCKADDR_SIZE);
const LENGTH = place(4);
const OPTION = place(MAX_OPTION);
const PAIR = place(8);
const ERRNO = place(4);
const POLL = place(8);
const EVENT = place(MAX_EVENT_SIZE);
const EVENTS = place(MAX_EVENTS * MAX_EVENT_SIZE);
const MESSAGE = place(MSGHDR.size);
const VECTORS = place(MAX_VECTORS * IOVEC.size);
const CONTROL = place(MAX_CONTROL);
const BATCH = place(MAX_BATCH * MMSGHDR.size);
const BATCH_VECTORS = place(MAX_BATCH * IOVEC.size);
const BATCH_NAMES = place(MAX_BATCH * SOCKADDR_SIZE);

const block = new ArrayBuffer(end);
/** Everything, for structures that refer to each other. */
export const view: DataView<ArrayBuffer> = new DataView(block);

const part = (at: number, size: number) => new Uint8Array(block, at, size);

/** An address, `struct sockaddr_storage`, and its length as the kernel reads and writes it. */
export const name: Uint8Array<ArrayBuffer> = part(NAME, SOCKADDR_SIZE);
export const nameView: DataView<ArrayBuffer> = new DataView(
  block,
  NAME,
  SOCKADDR_SIZE,
);
export const length: Uint32Array<ArrayBuffer> = new Uint32Array(
  block,
  LENGTH,
  1,
);
/** The same length, for calls that take its place. */
export const lengthBytes: Uint8Array<ArrayBuffer> = part(LENGTH, 4);
/** An option's value. */
export const option: Uint8Array<ArrayBuffer> = part(OPTION, MAX_OPTION);
export const optionInt: Int32Array<ArrayBuffer> = new Int32Array(
  block,
  OPTION,
  1,
);
/** Two descriptors. */
export const pair: Int32Array<ArrayBuffer> = new Int32Array(block, PAIR, 2);
/** errno, where it cannot be looked at in its place. */
export const errno: Int32Array<ArrayBuffer> = new Int32Array(block, ERRNO, 1);
/** One `struct pollfd`. */
export const poll: DataView<ArrayBuffer> = new DataView(block, POLL, 8);
/** One `struct epoll_event`, and many. */
export const event: DataView<ArrayBuffer> = new DataView(
  block,
  EVENT,
  MAX_EVENT_SIZE,
);
export const events: DataView<ArrayBuffer> = new DataView(
  block,
  EVENTS,
  MAX_EVENTS * MAX_EVENT_SIZE,
);
/** One `struct msghdr`, its vectors and its control messages. */
export const message: DataView<ArrayBuffer> = new DataView(
  block,
  MESSAGE,
  MSGHDR.size,
);
export const vectors: DataView<ArrayBuffer> = new DataView(
  block,
  VECTORS,
  MAX_VECTORS * IOVEC.size,
);
export const control: Uint8Array<ArrayBuffer> = part(CONTROL, MAX_CONTROL);
/** Many `struct mmsghdr`, each with one vector and one address. */
export const batch: DataView<ArrayBuffer> = new DataView(
  block,
  BATCH,
  MAX_BATCH * MMSGHDR.size,
);
export const batchVectors: DataView<ArrayBuffer> = new DataView(
  block,
  BATCH_VECTORS,
  MAX_BATCH * IOVEC.size,
);
export const batchNames: Uint8Array<ArrayBuffer> = part(
  BATCH_NAMES,
  MAX_BATCH * SOCKADDR_SIZE,
);

let base: bigint | undefined;

/** Where something of the block is, for the kernel. */
export function addressIn({ byteOffset }: ArrayBufferView): bigint {
  base ??= memory().addressOf(part(0, 1), null, 0);
  return base + BigInt(byteOffset);
}
