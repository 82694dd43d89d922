/** Bytes of two places, compared by their number and their checksum: a megabyte tells nobody anything. */

import { assertEquals } from "@std/assert";

/** The pieces as one. */
export function concat(
  pieces: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(
    pieces.reduce((sum, { length }) => sum + length, 0),
  );
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** How many bytes there are, and their SHA-256 in hexadecimal. */
export async function checksum(bytes: Uint8Array): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", concat([bytes]));
  const hex = Array.from(
    new Uint8Array(hash),
    (byte) => byte.toString(16).padStart(2, "0"),
  );
  return `${bytes.length} ${hex.join("")}`;
}

/** Asserts that bytes are those that were sent. */
export async function assertSame(
  actual: Uint8Array,
  expected: Uint8Array,
  what: string,
): Promise<void> {
  assertEquals(await checksum(actual), await checksum(expected), what);
}
