/** Long random lives of streams: whatever is done to them, every byte arrives once and in its order. */

import { assert, assertEquals } from "@std/assert";
import { IncompleteReadError, isTimeoutError } from "../../errors.ts";
import { copy, readExact } from "../../io.ts";
import type { StreamConn } from "../../types.ts";
import { pattern } from "../_bytes.ts";
import { testEach } from "../_pairs.ts";

/** A generator of numbers below `n`, the same for the same seed. */
function numbers(seed: number): (n: number) => number {
  let x = seed >>> 0 || 1;
  return (n) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % n;
  };
}

const turns = async (n: number) => {
  for (let i = 0; i < n; i++) await new Promise((r) => setTimeout(r, 0));
};

/** Writes all of `data` in ways that change at random, several at a time. */
async function writeAtRandom(
  conn: StreamConn,
  data: Uint8Array,
  below: (n: number) => number,
): Promise<void> {
  for (let at = 0; at < data.length;) {
    const pending: Promise<unknown>[] = [];
    for (let i = below(4); i >= 0 && at < data.length; i--) {
      const piece = data.subarray(
        at,
        at + 1 + below(below(10) ? 3000 : 90_000),
      );
      at += piece.length;
      const half = below(piece.length);
      if (below(5) === 0) conn.timeout = below(2) ? 60_000 : undefined;
      pending.push(
        below(3) === 0
          ? conn.writeAll([piece.subarray(0, half), piece.subarray(half)])
          : below(3) === 0
          ? conn.writeAll(piece, { signal: new AbortController().signal })
          : conn.writeAll(piece),
      );
    }
    if (below(3)) await Promise.all(pending);
    else await Promise.allSettled(pending);
    if (below(20) === 0) await turns(1 + below(2));
  }
  await conn.closeWrite();
}

/** Reads to the end in ways that change at random, and gives up many a wait in its middle. */
async function readAtRandom(
  conn: StreamConn,
  expected: Uint8Array,
  below: (n: number) => number,
): Promise<void> {
  let at = 0;
  const take = (bytes: Uint8Array) => {
    for (const byte of bytes) {
      if (byte !== expected[at++]) throw new Error(`wrong byte at ${at - 1}`);
    }
  };
  for (;;) {
    const buffer = new Uint8Array(1 + below(below(8) ? 2000 : 100_000));
    const way = below(6);
    if (way === 0) {
      // Several at once: they are served in their order.
      const buffers = [buffer, new Uint8Array(1 + below(500)), buffer.slice()];
      const counts = await Promise.all(buffers.map((p) => conn.read(p)));
      for (const [i, n] of counts.entries()) {
        if (n !== null) take(buffers[i]!.subarray(0, n));
      }
      if (counts.includes(null)) break;
    } else if (way === 1) {
      const abort = new AbortController();
      const reading = conn.read(buffer, { signal: abort.signal });
      if (below(2)) await turns(below(2));
      abort.abort("enough");
      const n = await reading.catch((reason) => {
        assertEquals(reason, "enough");
        return 0;
      });
      if (n === null) break;
      take(buffer.subarray(0, n));
    } else if (way === 2) {
      // Only this call: the writer has the same connection.
      conn.timeout = 0.01 + below(2);
      const reading = conn.read(buffer);
      conn.timeout = undefined;
      const n = await reading.catch((error) => {
        assert(isTimeoutError(error), String(error));
        return 0;
      });
      if (n === null) break;
      take(buffer.subarray(0, n));
    } else if (way === 3) {
      const abort = new AbortController();
      const reading = readExact(conn, buffer, { signal: abort.signal });
      const timer = below(2)
        ? setTimeout(() => abort.abort("enough"), below(2))
        : undefined;
      try {
        take(await reading);
      } catch (error) {
        if (error !== "enough") {
          assert(error instanceof IncompleteReadError, String(error));
          take(error.partial);
          if (error.cause === undefined) break;
        }
      } finally {
        clearTimeout(timer);
      }
    } else {
      const n = await conn.read(buffer);
      if (n === null) break;
      take(buffer.subarray(0, n));
    }
  }
  assertEquals(at, expected.length);
  assertEquals(conn.bytesRead, expected.length);
}

for (let seed = 1; seed <= 5; seed++) {
  testEach(`a random life, seed ${seed}`, async ({ a, b }) => {
    const below = numbers(seed * 7919);
    const [there, back] = [pattern(4_000_000, seed), pattern(3_000_000, -seed)];
    await Promise.all([
      writeAtRandom(a, there, below),
      writeAtRandom(b, back, below),
      readAtRandom(a, back, below),
      readAtRandom(b, there, below),
    ]);
  });
}

testEach("20,000 abandoned reads leave nothing behind", async ({ a, b }) => {
  const buffer = new Uint8Array(100);
  for (let i = 0; i < 20_000; i++) {
    const abort = new AbortController();
    const reading = b.read(buffer, { signal: abort.signal });
    abort.abort("enough");
    await reading.catch(() => {});
  }
  await a.writeAll(pattern(64));
  assertEquals(await readExact(b, 64), pattern(64));
});

testEach("1 GiB through an echo", async ({ a, b }) => {
  const chunk = pattern(1 << 20);
  const total = 1024;
  const echo = copy(b, b).then(() => b.closeWrite());
  const sending = (async () => {
    for (let i = 0; i < total; i++) await a.writeAll(chunk);
    await a.closeWrite();
  })();
  const buffer = new Uint8Array(chunk.length);
  for (let i = 0; i < total; i++) {
    await readExact(a, buffer);
    // All of them would take longer than moving them does.
    if (i % 64 === 0) assertEquals(buffer, chunk);
    else assertEquals(buffer[i], chunk[i]);
  }
  await Promise.all([echo, sending]);
  assertEquals(await a.read(buffer), null);
});
