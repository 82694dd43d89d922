/** What only connections in memory have; the rest is in the suites for every kind of stream. */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { pair } from "../pair.ts";
import { readText, rejection, turn, utf8 } from "./_bytes.ts";

Deno.test("pair() has the addresses of sockets without a name", () => {
  const [a, b] = pair();
  assertEquals<unknown>(a.localAddr, { transport: "unix", path: null });
  assertEquals(a.remoteAddr, b.localAddr);
  a.close();
  b.close();
});

Deno.test("pair() holds its capacity, and no byte more", async () => {
  for (const capacity of [1, 3, 7]) {
    const [a, b] = pair({ capacity });
    assertEquals(await a.write(utf8("abcdefghij")), capacity);
    let done = false;
    const waiting = a.write(utf8("klm")).then((n) => {
      done = true;
      return n;
    });
    await turn();
    assertEquals(done, false);
    assertEquals(await readText(b), "abcdefghij".slice(0, capacity));
    assertEquals(await waiting, Math.min(capacity, 3));
    a.close();
    b.close();
  }
});

Deno.test("pair() checks its capacity", () => {
  for (const capacity of [0, -1, 1.5, NaN, Infinity, 2 ** 31]) {
    assertThrows(() => pair({ capacity }), RangeError, "from 1 to");
  }
  assertThrows(() => pair({ capacity: "5" as never }), TypeError);
  assertThrows(() => pair(5 as never), TypeError, "expected an object");
});

Deno.test("what was sent before close() can be read at the other end", async () => {
  const [a, b] = pair();
  await a.writeAll(utf8("last words"));
  await b.writeAll(utf8("unheard"));
  a.close();
  assertEquals(await readText(b), "last words");
  assertEquals(await readText(b), null);
  await assertRejects(() => b.write(utf8("x")), Deno.errors.BrokenPipe);
  b.close();
});

Deno.test("a write that waits when the other end closes", async () => {
  const [a, b] = pair({ capacity: 1 });
  const writing = rejection(a.writeAll(utf8("abc")));
  await turn();
  b.close();
  const error = await writing;
  assertEquals(error instanceof Deno.errors.BrokenPipe, true);
  a.close();
});

Deno.test("two busy ends leave timers their turn", async () => {
  const [a, b] = pair();
  let fired = false;
  setTimeout(() => fired = true, 0);
  const echo = (async () => {
    const buffer = new Uint8Array(64);
    for (let n; (n = await b.read(buffer)) !== null;) {
      await b.write(buffer.subarray(0, n));
    }
  })();
  let rounds = 0;
  const buffer = new Uint8Array(64);
  for (; !fired && rounds < 1_000_000; rounds++) {
    await a.write(utf8("ping"));
    await a.read(buffer);
  }
  assertEquals(fired, true);
  await a.closeWrite();
  await echo;
  a.close();
  b.close();
});
