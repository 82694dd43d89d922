/** Timeouts on every kind of stream: they end the wait and lose nothing. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { errorCode, isTimeoutError } from "../errors.ts";
import { readAll, readExact } from "../io.ts";
import { fill, pattern, readText, rejection, turn, utf8 } from "./_bytes.ts";
import { testEach } from "./_pairs.ts";

testEach("a read timeout loses no byte", async ({ a, b }) => {
  b.timeout = 1;
  for (let i = 0; i < 20; i++) {
    const error = await rejection(b.read(new Uint8Array(10)));
    assert(isTimeoutError(error));
    assertInstanceOf(error, DOMException);
    assertEquals(error.name, "TimeoutError");
    assertStringIncludes(error.message, "Read timed out after 1 ms");
    assertEquals(errorCode(error), "ETIMEDOUT");
  }
  b.timeout = undefined;
  await a.writeAll(utf8("all of it"));
  assertEquals(await readText(b), "all of it");
});

testEach("a timeout that does not run out changes nothing", async (ends) => {
  const { a, b } = ends;
  a.timeout = b.timeout = 60_000;
  const data = pattern(3_000_000);
  const sending = a.writeAll(data).then(() => a.closeWrite());
  assertEquals(await readAll(b), data);
  await sending;
  assertEquals(b.bytesRead, data.length);
  assertEquals(a.bytesWritten, data.length);
});

testEach(
  "timeouts that run out just as data comes lose no byte",
  async ({ a, b }) => {
    const data = pattern(300);
    b.timeout = 1;
    const got: number[] = [];
    const sending = (async () => {
      for (const byte of data) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        await a.writeAll(new Uint8Array([byte]));
      }
      await a.closeWrite();
    })();
    const buffer = new Uint8Array(5);
    for (;;) {
      try {
        const n = await b.read(buffer);
        if (n === null) break;
        got.push(...buffer.subarray(0, n));
      } catch (error) {
        assert(isTimeoutError(error), String(error));
      }
    }
    await sending;
    assertEquals(new Uint8Array(got), data);
  },
);

testEach(
  "setting a timeout leaves those alone who wait already",
  async ({ a, b }) => {
    const early = readText(b, 1);
    b.timeout = 2;
    const timed = rejection(b.read(new Uint8Array(1)));
    b.timeout = undefined;
    const late = readText(b, 1);
    assert(isTimeoutError(await timed));
    await a.writeAll(utf8("xy"));
    assertEquals(await early, "x");
    assertEquals(await late, "y");
  },
);

testEach(
  "a later wait with a shorter timeout ends first",
  async ({ a, b }) => {
    const ended: string[] = [];
    b.timeout = 60_000;
    const long = readText(b, 1).then((text) => ended.push(`long ${text}`));
    b.timeout = 1;
    const short = rejection(b.read(new Uint8Array(1))).then(() =>
      ended.push("short")
    );
    await short;
    await a.writeAll(utf8("x"));
    await long;
    assertEquals(ended, ["short", "long x"]);
  },
);

testEach("a write timeout breaks the writing half", async ({ a, b }) => {
  a.timeout = 5;
  const error = await rejection((async () => {
    for (;;) await a.writeAll(new Uint8Array(1 << 20));
  })());
  assert(isTimeoutError(error), String(error));
  assertStringIncludes(String(error), "Write timed out after 5 ms");
  for (
    const call of [
      () => a.write(new Uint8Array(1)),
      () => a.writeAll(new Uint8Array(1)),
      () => a.closeWrite(),
    ]
  ) {
    const broken = await assertRejects(call, Deno.errors.BrokenPipe);
    assertEquals(broken.cause, error);
    assertEquals(errorCode(broken), "EPIPE");
  }
  a.timeout = undefined;
  await b.writeAll(utf8("still heard"));
  assertEquals(await readText(a), "still heard");
});

testEach(
  "a timeout bounds a writeAll as a whole, its turn included",
  async ({ a, b }) => {
    const { waiting } = await fill(a);
    a.timeout = 5;
    assert(isTimeoutError(await rejection(a.writeAll(new Uint8Array(1)))));
    a.timeout = undefined;
    a.close();
    await rejection(waiting);
    b.close();
  },
);

testEach(
  "a write that was only queued times out without harm",
  async ({ a, b }) => {
    const big = pattern(6_000_000);
    const first = a.writeAll(big);
    a.timeout = 2;
    const queued = await rejection(a.writeAll(utf8("never sent")));
    assert(isTimeoutError(queued));
    a.timeout = undefined;
    const got = readExact(b, big.length);
    await first;
    assertEquals(await got, big);
    await a.writeAll(utf8("whole"));
    assertEquals(await readText(b), "whole");
  },
);

testEach("the timeout's bad values", async ({ a }) => {
  for (const timeout of [0, -1, NaN, -Infinity]) {
    assertThrows(() => a.timeout = timeout, RangeError, "above 0");
  }
  for (const timeout of ["5", null, {}]) {
    assertThrows(
      () => a.timeout = timeout as unknown as number,
      TypeError,
      "expected milliseconds",
    );
  }
  assertEquals(a.timeout, undefined);
  for (const timeout of [0.5, 2 ** 40, Infinity]) {
    a.timeout = timeout;
    assertEquals(a.timeout, timeout);
  }
  await turn();
});

testEach(
  "a timeout of weeks does not run out at once",
  async ({ a, b }) => {
    b.timeout = 2 ** 40;
    const reading = readText(b);
    await turn();
    await turn();
    await a.writeAll(utf8("in time"));
    assertEquals(await reading, "in time");
  },
);

testEach(
  "a signal and a timeout: the first one ends the wait",
  async ({ b }) => {
    b.timeout = 60_000;
    const abort = new AbortController();
    const reading = rejection(
      b.read(new Uint8Array(1), { signal: abort.signal }),
    );
    abort.abort("first");
    assertEquals(await reading, "first");
    b.timeout = 1;
    assert(
      isTimeoutError(
        await rejection(
          b.read(new Uint8Array(1), {
            signal: new AbortController().signal,
          }),
        ),
      ),
    );
  },
);

testEach("reads into large buffers with a timeout", async ({ a, b }) => {
  b.timeout = 60_000;
  const data = pattern(1_000_000);
  const sending = a.writeAll(data);
  const got = new Uint8Array(data.length);
  for (let at = 0; at < got.length;) {
    const n = await b.read(got.subarray(at));
    assert(n !== null && n <= 65536);
    at += n;
  }
  await sending;
  assertEquals(got, data);
});
