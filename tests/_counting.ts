/** What is done to bytes, counted: a promise of linear work is kept or not by numbers, not by a clock. */

/** How many bytes were looked at in searches, and how many were moved or copied. */
export interface Counts {
  readonly scanned: number;
  readonly copied: number;
}

/** Counts the bytes that all arrays' own methods look at and copy while something is done. */
export async function counted(what: () => Promise<void>): Promise<Counts> {
  let scanned = 0;
  let copied = 0;
  const proto = Uint8Array.prototype;
  const { indexOf, lastIndexOf, set, slice, copyWithin } = proto;
  Object.assign(proto, {
    indexOf(this: Uint8Array, element: number, from = 0) {
      const at = indexOf.call(this, element, from);
      scanned += (at < 0 ? this.length : at + 1) - from;
      return at;
    },
    lastIndexOf(this: Uint8Array, element: number, from = Infinity) {
      const at = lastIndexOf.call(this, element, from);
      scanned += Math.min(from, this.length - 1) - at;
      return at;
    },
    set(this: Uint8Array, from: ArrayLike<number>, at?: number) {
      copied += from.length;
      set.call(this, from, at);
    },
    slice(this: Uint8Array, start?: number, end?: number) {
      const copy = slice.call(this, start, end);
      copied += copy.length;
      return copy;
    },
    copyWithin(
      this: Uint8Array,
      to: number,
      start: number,
      end = this.length,
    ) {
      copied += end - start;
      return copyWithin.call(this, to, start, end);
    },
  });
  try {
    await what();
  } finally {
    Object.assign(proto, { indexOf, lastIndexOf, set, slice, copyWithin });
  }
  return { scanned, copied };
}

const { set } = Uint8Array.prototype;

/** Fills a buffer from a block that is repeated, `from` being where in the stream; counted by nobody. */
export function fillFrom(
  p: Uint8Array,
  block: Uint8Array,
  from: number,
  most: number,
): number {
  const at = from % block.length;
  const n = Math.min(p.length, most, block.length - at);
  set.call(p, block.subarray(at, at + n));
  return n;
}
