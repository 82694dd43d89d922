/** recvmmsg(2) and sendmmsg(2): many datagrams in one call of the system. */

import { type Address, MSG_DONTWAIT, MSG_NOSIGNAL } from "../_constants.ts";
import { unnamed } from "../_sockaddr.ts";
import * as arena from "./_arena.ts";
import { IOVEC, MMSGHDR, MSGHDR } from "./_layout.ts";
import { lengthOf, memoryOf, offsetOf } from "./_memory.ts";
import { AGAIN, type Again, given, spend } from "./_side.ts";
import { decodeAddress, SOCKADDR_SIZE } from "./_sockaddr.ts";
import { memory, messages } from "./_symbols.ts";

const { MAX_BATCH } = arena;

const bytes = new Uint8Array(
  arena.batch.buffer,
  arena.batch.byteOffset,
  arena.batch.byteLength,
);

/** Each datagram's address. */
let names: DataView[] | undefined;

/** Says once where each datagram's address and its one vector are. */
function prepare(): DataView[] {
  if (names !== undefined) return names;
  const { batch, batchNames, batchVectors } = arena;
  names = Array.from({ length: MAX_BATCH }, (_, i) => {
    const at = i * MMSGHDR.size;
    const vector = arena.addressIn(batchVectors) + BigInt(i * IOVEC.size);
    batch.setBigUint64(at + MSGHDR.vectors, vector, true);
    batch.setBigUint64(at + MSGHDR.vectorCount, 1n, true);
    return new DataView(
      batchNames.buffer,
      batchNames.byteOffset + i * SOCKADDR_SIZE,
      SOCKADDR_SIZE,
    );
  });
  return names;
}

/** Writes an address of memory, or a size, which are exact as numbers. */
function setWord(view: DataView, at: number, value: number): void {
  view.setUint32(at, value, true);
  view.setUint32(at + 4, value / 2 ** 32, true);
}

/** Writes where a datagram's data are. */
function setVector(i: number, address: number, size: number): void {
  const at = i * IOVEC.size;
  setWord(arena.batchVectors, at + IOVEC.base, address);
  setWord(arena.batchVectors, at + IOVEC.length, size);
}

/** Writes how long a datagram's address is; 0 for none. */
function setName(i: number, length: number): void {
  const at = i * MMSGHDR.size;
  const { batch, batchNames } = arena;
  const name = length === 0
    ? 0n
    : arena.addressIn(batchNames) + BigInt(i * SOCKADDR_SIZE);
  batch.setBigUint64(at + MSGHDR.name, name, true);
  batch.setUint32(at + MSGHDR.nameLength, length, true);
}

/** Where memory begins, for the kernel. It does not move: its buffer has been asked for. */
function startOf(memoryBlock: ArrayBuffer): number {
  return Number(memory().addressOf(new Uint8Array(memoryBlock), null, 0));
}

/**
 * Receives datagrams, as many as there are and have room.
 *
 * @param descriptor Of whom.
 * @param family Its family.
 * @param buffer Where the data go: the first datagram's at 0, the next one's `size` behind it.
 * @param size How many bytes of each.
 * @param flags As for recvmmsg(2); it never waits.
 */
export function receiveBatch(
  descriptor: number,
  family: number,
  buffer: Uint8Array,
  size: number,
  flags: number,
): [number, Address][] | Again {
  const names = prepare();
  const count = Math.min(Math.floor(lengthOf(buffer) / size), MAX_BATCH);
  const start = startOf(memoryOf(buffer)) + offsetOf(buffer);
  for (let i = 0; i < count; i++) {
    setVector(i, start + i * size, size);
    setName(i, SOCKADDR_SIZE);
  }
  const n = given(
    messages().recvmmsg(descriptor, bytes, count, flags | MSG_DONTWAIT, null),
    "recvmmsg",
  );
  if (n === AGAIN) return n;
  spend(n - 1, false);
  const received: [number, Address][] = [];
  for (let i = 0; i < n; i++) {
    const at = i * MMSGHDR.size;
    const length = arena.batch.getUint32(at + MSGHDR.nameLength, true);
    received.push([
      arena.batch.getUint32(at + MMSGHDR.length, true),
      decodeAddress(names[i]!, Math.min(length, SOCKADDR_SIZE)) ??
        unnamed(family),
    ]);
  }
  return received;
}

/** A datagram, and where it goes to, if not to the peer. */
export interface Outgoing {
  readonly data: Uint8Array;
  /** How many bytes it has. */
  readonly size: number;
  readonly name: Uint8Array | undefined;
}

/**
 * Sends datagrams, as many as there is room for; how many.
 *
 * @param descriptor By whom.
 * @param datagrams At most `MAX_BATCH`.
 * @param flags As for sendmmsg(2); it never waits.
 */
export function sendBatch(
  descriptor: number,
  datagrams: readonly Outgoing[],
  flags: number,
): number | Again {
  prepare();
  // Often all are parts of one buffer.
  let last: ArrayBuffer | undefined;
  let start = 0;
  for (const [i, { data, size, name }] of datagrams.entries()) {
    const memoryBlock = memoryOf(data);
    if (memoryBlock !== last) start = startOf(last = memoryBlock);
    setVector(i, start + offsetOf(data), size);
    setName(i, name?.length ?? 0);
    if (name !== undefined) arena.batchNames.set(name, i * SOCKADDR_SIZE);
  }
  const n = given(
    messages().sendmmsg(
      descriptor,
      bytes,
      datagrams.length,
      flags | MSG_DONTWAIT | MSG_NOSIGNAL,
    ),
    "sendmmsg",
  );
  if (n !== AGAIN) spend(n - 1, true);
  return n;
}
