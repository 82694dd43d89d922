/** Memory that callers bring, and memory that everything is received in first. */

import { socketError } from "../_socket_error.ts";

/** How many bytes are received of a stream at a time, however many are asked for. */
export const CHUNK = 262_144;

/** Where everything is received first, and copied out of: no buffer is taken for what may not come. */
let scratch = new Uint8Array(65_536);

/** Memory for at least so many bytes, good until the next call. What is in it is of others. */
export function room(size: number): Uint8Array<ArrayBuffer> {
  if (size <= scratch.length) return scratch;
  const larger = new Uint8Array(size);
  if (size <= CHUNK) scratch = larger;
  return larger;
}

/** What typed arrays say of themselves, whatever one of them has been given of its own. */
function getter(name: keyof Uint8Array): () => unknown {
  const typedArray = Object.getPrototypeOf(Uint8Array.prototype);
  return Object.getOwnPropertyDescriptor(typedArray, name)!.get!;
}

const getLength = getter("length") as () => number;
const getOffset = getter("byteOffset") as () => number;
const getBuffer = getter("buffer") as () => ArrayBuffer;
const { apply } = Reflect;

/** How long a buffer is, whatever it says of itself: what is wrong here is memory of others. */
export function lengthOf(buffer: Uint8Array): number {
  return apply(getLength, buffer, []);
}

/** Where a buffer begins in its memory. */
export function offsetOf(buffer: Uint8Array): number {
  return apply(getOffset, buffer, []);
}

/** A buffer's memory. */
export function memoryOf(buffer: Uint8Array): ArrayBuffer {
  return apply(getBuffer, buffer, []);
}

/** What is behind a place in a buffer, as a view that nobody else has made. */
export function viewOf(buffer: Uint8Array, from: number): Uint8Array {
  return new Uint8Array(
    buffer.buffer,
    buffer.byteOffset + from,
    lengthOf(buffer) - from,
  );
}

/** Data that were transferred away or resized during a wait are not what was to be sent. */
export function checkSize(data: Uint8Array, size: number, call: string): void {
  if (lengthOf(data) === size) return;
  throw socketError("EFAULT", call, "the data were transferred or resized");
}

/**
 * How much room a buffer has now, which may have shrunk during a wait. In one that was transferred away there
 * is none: what has come stays for the next call.
 */
export function roomIn(buffer: Uint8Array, size: number, call: string): number {
  const room = lengthOf(buffer);
  if (room >= size) return size;
  if (room > 0) return room;
  throw socketError("EFAULT", call, "the buffer was transferred or resized");
}

/** Pieces put together. */
export function join(buffers: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(
    buffers.reduce((sum, { length }) => sum + length, 0),
  );
  let at = 0;
  for (const buffer of buffers) {
    all.set(buffer, at);
    at += buffer.length;
  }
  return all;
}
