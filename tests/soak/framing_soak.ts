/** Framing at length: the longest line in the smallest pieces. */

import { assert, assertEquals } from "@std/assert";
import { BufferedReader } from "../../framing.ts";
import type { Reader } from "../../types.ts";
import { counted } from "../_counting.ts";

Deno.test("a line of 64 MiB that comes byte by byte is looked at and moved a bounded number of times", async () => {
  const SIZE = 2 ** 26;
  let left = SIZE;
  const one = Promise.resolve(1);
  const drip: Reader = {
    read(p) {
      p[0] = left-- === 0 ? 10 : 120;
      return one;
    },
  };
  const { scanned, copied } = await counted(async () => {
    const reader = new BufferedReader(drip);
    const line = await reader.readLine({ limit: SIZE });
    assertEquals(line!.length, SIZE);
    assertEquals(reader.buffered, 0);
  });
  console.log(
    `${SIZE} bytes: ${scanned} looked at, ${copied} moved`,
  );
  assert(scanned < 3 * SIZE, `${scanned} bytes looked at`);
  assert(copied < 3 * SIZE, `${copied} bytes moved`);
});
