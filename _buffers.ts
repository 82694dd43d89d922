/** Buffers of our own that are used again: making one of 64 KiB costs more than the read into it. */

/** How many bytes are held of one size, and how many buffers. */
const MAX_HELD = 2 ** 24;
const MAX_BUFFERS = 1024;

/** Free buffers, by the logarithm of their size, for all handles together. */
const free: Uint8Array<ArrayBuffer>[][] = [];

/** A buffer for `size` bytes; its length is a power of two, so it may be larger. */
export function takeBuffer(size: number): Uint8Array<ArrayBuffer> {
  const log = Math.max(6, 32 - Math.clz32(size - 1));
  return free[log]?.pop() ?? new Uint8Array(2 ** log);
}

/** Gives a buffer back that nothing is being read into. */
export function giveBuffer(buffer: Uint8Array<ArrayBuffer>): void {
  const held = free[31 - Math.clz32(buffer.length)] ??= [];
  if (
    held.length < Math.min(MAX_BUFFERS, Math.floor(MAX_HELD / buffer.length))
  ) {
    held.push(buffer);
  }
}
