/** What every kind of stream keeps, one suite for all. Timeouts and streams have files of their own. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { isClosedError } from "../errors.ts";
import { readAll, readExact } from "../io.ts";
import {
  fill,
  pattern,
  readText,
  rejection,
  text,
  turn,
  utf8,
} from "./_bytes.ts";
import { testEach } from "./_pairs.ts";

const MIB = 1 << 20;

testEach("8 MiB go both ways at once in odd chunks", async ({ a, b }) => {
  const [there, back] = [pattern(8 * MIB, 1), pattern(8 * MIB, 2)];
  const send = async (conn: typeof a, data: Uint8Array) => {
    for (let at = 0, size = 1; at < data.length; size = size * 3 % 99991) {
      await conn.writeAll(data.subarray(at, at + size));
      at += size;
    }
    await conn.closeWrite();
  };
  const take = async (conn: typeof a, data: Uint8Array) => {
    const buffer = new Uint8Array(77777);
    let at = 0;
    for (let size = 5;; size = size * 7 % 77773) {
      const n = await conn.read(buffer.subarray(0, size));
      if (n === null) break;
      for (let i = 0; i < n; i++) {
        if (buffer[i] !== data[at + i]) throw new Error(`wrong at ${at + i}`);
      }
      at += n;
    }
    assertEquals(at, data.length);
  };
  await Promise.all([
    send(a, there),
    send(b, back),
    take(a, back),
    take(b, there),
  ]);
  assertEquals(a.bytesWritten, there.length);
  assertEquals(b.bytesRead, there.length);
});

testEach("1000 rounds of ping-pong", async ({ a, b }) => {
  const echo = (async () => {
    const buffer = new Uint8Array(64);
    for (let n; (n = await b.read(buffer)) !== null;) {
      await b.writeAll(buffer.subarray(0, n));
    }
  })();
  for (let i = 0; i < 1000; i++) {
    const ping = pattern(1 + i % 64, i);
    await a.write(ping);
    assertEquals(await readExact(a, ping.length), ping);
  }
  await a.closeWrite();
  await echo;
});

testEach("racing readers are served in their order", async ({ a, b }) => {
  const reads = Array.from({ length: 8 }, () => readText(b, 3));
  await a.writeAll(utf8("aaabbbcccdddeeefffggghhh"));
  assertEquals(
    await Promise.all(reads),
    ["aaa", "bbb", "ccc", "ddd", "eee", "fff", "ggg", "hhh"],
  );
});

testEach("racing writers do not mix", async ({ a, b }) => {
  const size = 700_001;
  const all = Promise.all(
    [..."abcd"].map((letter) => a.writeAll(utf8(letter.repeat(size)))),
  ).then(() => a.closeWrite());
  const got = new TextDecoder().decode(await readAll(b));
  await all;
  assertEquals(
    got.replace(/(.)\1*/g, (run, letter) => `${letter}${run.length} `),
    `a${size} b${size} c${size} d${size} `,
  );
});

testEach("a plain write waits for a writeAll before it", async ({ a, b }) => {
  const size = 5_000_000;
  const first = a.writeAll(utf8("a".repeat(size)));
  const second = a.write(utf8("b".repeat(10)));
  const third = a.closeWrite();
  const got = new TextDecoder().decode(await readAll(b));
  await Promise.all([first, second, third]);
  assertEquals(got, "a".repeat(size) + "b".repeat(10));
});

testEach("writeAll() takes pieces, small and large", async ({ a, b }) => {
  const pieces = [1, 0, 5, 70_000, 65_536, 3, 3, 200_000].map((size, i) =>
    pattern(size, i)
  );
  const writing = a.writeAll(pieces).then(() => a.closeWrite());
  const whole = new Uint8Array(await new Blob(pieces).arrayBuffer());
  assertEquals(await readAll(b), whole);
  await writing;
});

testEach("writeAll() of nothing is done at once", async ({ a }) => {
  await a.writeAll([]);
  await a.writeAll(new Uint8Array(0));
  assertEquals(a.bytesWritten, 0);
});

testEach("close() wakes everyone who waits", async ({ a, b }) => {
  const { waiting } = await fill(a);
  const errors = [
    rejection(waiting),
    rejection(a.writeAll(new Uint8Array(10))),
    rejection(a.writeAll(new Uint8Array(10))),
    rejection(a.write(new Uint8Array(10))),
    rejection(a.closeWrite()),
    rejection(a.read(new Uint8Array(10))),
    rejection(a.read(new Uint8Array(10))),
    rejection(
      a.read(new Uint8Array(10), { signal: new AbortController().signal }),
    ),
  ];
  await turn();
  a.close();
  for (const error of await Promise.all(errors)) {
    assert(isClosedError(error), String(error));
  }
  b.close();
});

testEach("after close() every call says so", async ({ a }) => {
  a.close();
  a.close();
  a[Symbol.dispose]();
  for (
    const call of [
      () => a.read(new Uint8Array(1)),
      () => a.write(new Uint8Array(1)),
      () => a.writeAll(new Uint8Array(1)),
      () => a.writeAll([new Uint8Array(1)]),
      () => a.closeWrite(),
      () => a.read(new Uint8Array(1), {}),
    ]
  ) {
    await assertRejects(call, Deno.errors.BadResource);
  }
  assertEquals(await a.closeGracefully(), false);
});

testEach("reading into nothing gives 0 at all times", async ({ a, b }) => {
  const nothing = new Uint8Array(0);
  assertEquals(await b.read(nothing), 0);
  b.timeout = 1000;
  assertEquals(await b.read(nothing), 0);
  b.timeout = undefined;
  a.close();
  assertEquals(await b.read(new Uint8Array(1)), null);
  assertEquals(await b.read(nothing), 0);
  b.close();
  assertEquals(await b.read(nothing), 0);
});

testEach("half-close: the other way goes on", async ({ a, b }) => {
  await a.writeAll(utf8("question"));
  await a.closeWrite();
  await a.closeWrite();
  assertEquals(await readText(b), "question");
  assertEquals(await readText(b), null);
  assertEquals(await readText(b), null);
  await b.writeAll(utf8("answer"));
  assertEquals(await readText(a), "answer");
  await b.closeWrite();
  assertEquals(await readText(a), null);
  const error = await assertRejects(
    () => a.writeAll(utf8("more")),
    Deno.errors.BrokenPipe,
  );
  assertEquals((error as { code?: string }).code, "EPIPE");
});

testEach("an abort before a call leaves no trace", async ({ a, b }) => {
  const signal = AbortSignal.abort("a reason of any kind");
  for (
    const call of [
      () => a.read(new Uint8Array(1), { signal }),
      () => a.write(utf8("lost"), { signal }),
      () => a.writeAll(utf8("lost"), { signal }),
    ]
  ) {
    assertStrictEquals(await rejection(call()), "a reason of any kind");
  }
  await a.writeAll(utf8("kept"));
  assertEquals(await readText(b), "kept");
});

testEach("an abort during a read loses no byte", async ({ a, b }) => {
  for (let i = 0; i < 50; i++) {
    const abort = new AbortController();
    const reason = new Error("enough");
    const buffer = new Uint8Array(100);
    const reading = rejection(b.read(buffer, { signal: abort.signal }));
    if (i % 2) await turn();
    abort.abort(reason);
    assertStrictEquals(await reading, reason);
    await a.writeAll(utf8(`message ${i}`));
    assertEquals(await readText(b), `message ${i}`);
    assertEquals(buffer, new Uint8Array(100), "not a byte in the caller's");
  }
});

testEach(
  "reads of all sorts keep their order around a kept one",
  async ({ a, b }) => {
    const abort = new AbortController();
    const plain = readText(b, 2);
    const left = rejection(
      b.read(new Uint8Array(4), { signal: abort.signal }),
    );
    const timed = b.read(new Uint8Array(4), {
      signal: new AbortController().signal,
    });
    const last = readText(b, 2);
    abort.abort();
    await left;
    await a.writeAll(utf8("aabbbbcc"));
    assertEquals(await plain, "aa");
    assertEquals(await timed, 4);
    assertEquals(await last, "cc");
  },
);

testEach(
  "what a kept read has brought is handed out in pieces",
  async ({ a, b }) => {
    const abort = new AbortController();
    const left = rejection(
      b.read(new Uint8Array(100), { signal: abort.signal }),
    );
    abort.abort();
    await left;
    await a.writeAll(utf8("abcdefgh"));
    assertEquals(await readText(b, 3), "abc");
    assertEquals(await readText(b, 3), "def");
    assertEquals(await readText(b, 3), "gh");
    // And the straight way is open again.
    await a.writeAll(utf8("ijk"));
    assertEquals(await readText(b, 3), "ijk");
  },
);

testEach("the end of the stream reaches a kept read", async ({ a, b }) => {
  const abort = new AbortController();
  const left = rejection(b.read(new Uint8Array(9), { signal: abort.signal }));
  abort.abort();
  await left;
  await a.closeWrite();
  assertEquals(await readText(b), null);
  assertEquals(await readText(b), null);
});

testEach(
  "an abort in mid-write breaks the writing half only",
  async ({ a, b }) => {
    await fill(a).then(({ waiting }) => void waiting.catch(() => {}));
    const abort = new AbortController();
    const queued = new AbortController();
    const first = rejection(
      a.writeAll(new Uint8Array(10), { signal: abort.signal }),
    );
    const second = rejection(
      a.writeAll(new Uint8Array(10), { signal: queued.signal }),
    );
    const third = rejection(a.writeAll(new Uint8Array(10)));
    queued.abort("only queued");
    assertStrictEquals(await second, "only queued");
    abort.abort("in the middle");
    assertStrictEquals(await first, "in the middle");
    const broken = await third;
    assertInstanceOf(broken, Deno.errors.BrokenPipe);
    assertStrictEquals(broken.cause, "in the middle");
    await assertRejects(
      () => a.writeAll(new Uint8Array(1)),
      Deno.errors.BrokenPipe,
      "abandoned",
    );
    await assertRejects(() => a.closeWrite(), Deno.errors.BrokenPipe);
    await b.writeAll(utf8("still heard"));
    assertEquals(await readText(a), "still heard");
    assertEquals(await a.closeGracefully(), false);
  },
);

testEach(
  "an abort while only queued leaves the stream whole",
  async ({ a, b }) => {
    const big = pattern(6_000_000);
    const first = a.writeAll(big);
    const abort = new AbortController();
    const second = rejection(
      a.writeAll(utf8("never sent"), { signal: abort.signal }),
    );
    const third = a.writeAll(utf8("the end"));
    abort.abort();
    await second;
    const reading = readAll(b);
    await Promise.all([first, third]);
    await a.closeWrite();
    const got = await reading;
    assertEquals(got.length, big.length + 7);
    assertEquals(new TextDecoder().decode(got.subarray(-7)), "the end");
  },
);

testEach("bytes that are none are refused at once", async ({ a, b }) => {
  const wrong = [
    "text",
    undefined,
    null,
    5,
    {},
    [1, 2],
    new ArrayBuffer(4),
    new DataView(new ArrayBuffer(4)),
    new Uint16Array(2),
  ];
  for (const value of wrong as unknown as Uint8Array[]) {
    for (
      const call of [
        () => a.read(value),
        () => a.write(value),
        () => a.writeAll(value),
        () => a.writeAll([utf8("first"), value]),
      ]
    ) {
      await assertRejects(call, TypeError, "expected a Uint8Array, got");
    }
  }
  await assertRejects(
    () => a.read(new Uint8Array(1), { signal: {} as AbortSignal }),
    TypeError,
    "expected an AbortSignal",
  );
  assertEquals(a.bytesWritten, 0);
  await a.writeAll(utf8("fine"));
  assertEquals(await readText(b), "fine");
});

testEach(
  "closeGracefully() lets an answer arrive that comes before the question was read",
  async ({ a, b }) => {
    const answer = pattern(3_000_000);
    const asking = a.writeAll(new Uint8Array(2_000_000)).then(() =>
      a.closeWrite()
    );
    const answering = b.writeAll(answer).then(() => b.closeGracefully());
    const got = await readAll(a);
    await asking;
    a.close();
    assertEquals(got, answer);
    assertEquals(await answering, true);
  },
);

testEach(
  "closeGracefully() after the peer's end waits for what is being written, and for nothing else",
  async ({ a, b }) => {
    await b.closeWrite();
    assertEquals(await a.read(new Uint8Array(1)), null);
    const data = pattern(3_000_000);
    const writing = a.writeAll(data);
    // The end of the stream is b's; a still has something to say.
    const closing = a.closeGracefully();
    const got = await readAll(b);
    assertEquals(got, data);
    await writing;
    assertEquals(await closing, true);
    await assertRejects(() => a.write(data), Deno.errors.BadResource);
    b.close();
  },
);

testEach(
  "closeGracefully() is done at once where both directions are",
  async ({ a, b }) => {
    await b.writeAll(utf8("last"));
    await b.closeWrite();
    assertEquals(text(await readAll(a)), "last");
    await a.writeAll(utf8("answer"));
    let isDone = false;
    const closing = a.closeGracefully({ timeout: Infinity }).then((whole) => {
      isDone = true;
      return whole;
    });
    // No system call that could take a turn.
    await Promise.resolve();
    await Promise.resolve();
    assert(isDone);
    assertEquals(await closing, true);
    assertEquals(text(await readAll(b)), "answer");
    assertEquals(await a.closeGracefully(), false);
    b.close();
  },
);

testEach(
  "closeGracefully() ends at its bound, and at a close by someone else",
  async ({ a, b }) => {
    assertEquals(await a.closeGracefully({ timeout: 20 }), false);
    await assertRejects(
      () => a.read(new Uint8Array(1)),
      Deno.errors.BadResource,
    );
    const closing = b.closeGracefully({ timeout: Infinity });
    b.close();
    assertEquals(typeof await closing, "boolean");
  },
);

testEach(
  "closeGracefully() checks its bound and leaves the connection open",
  async ({ a, b }) => {
    for (const timeout of [0, -1, NaN]) {
      await assertRejects(() => a.closeGracefully({ timeout }), RangeError);
    }
    await assertRejects(
      () => a.closeGracefully({ timeout: "1" as unknown as number }),
      TypeError,
    );
    await a.writeAll(utf8("open"));
    assertEquals(await readText(b), "open");
  },
);

testEach("detach() gives the runtime's connection", async ({ a, b }, kind) => {
  if (!kind.native) {
    assertThrows(() => a.detach(), Deno.errors.NotSupported);
    return;
  }
  const abort = new AbortController();
  const reading = rejection(
    a.read(new Uint8Array(4), { signal: abort.signal }),
  );
  const busy = (why: string) =>
    assertThrows(() => a.detach(), Deno.errors.Busy, "Cannot detach", why);
  busy("a read waits");
  abort.abort();
  await reading;
  busy("a kept read waits");
  await b.writeAll(utf8("abcd"));
  assertEquals(await readText(a, 2), "ab");
  busy("bytes are kept");
  assertEquals(await readText(a, 2), "cd");

  using raw = a.detach();
  await assertRejects(() => a.read(new Uint8Array(1)), Deno.errors.BadResource);
  a.close();
  await raw.write(utf8("raw"));
  assertEquals(await readText(b), "raw");
  assertThrows(() => a.detach(), Deno.errors.BadResource);
});

testEach("a waiting reader whose buffer is transferred away", async (ends) => {
  const { a, b } = ends;
  const { signal } = new AbortController();
  const first = b.read(new Uint8Array(1), { signal });
  const away = new Uint8Array(10);
  const second = b.read(away, { signal });
  const third = b.read(new Uint8Array(1), { signal });
  away.buffer.transfer();
  await a.writeAll(utf8("xy"));
  assertEquals(await Promise.all([first, second, third]), [1, 0, 1]);
});

testEach("data that is transferred away in mid-write", async ({ a, b }) => {
  const data = new Uint8Array(20_000_000);
  const writing = rejection(a.writeAll(data));
  await turn();
  data.buffer.transfer();
  const drained = (async () => {
    const buffer = new Uint8Array(65536);
    while (await b.read(buffer).catch(() => null) !== null);
  })();
  const error = await writing;
  assertInstanceOf(error, Deno.errors.WriteZero);
  assertStrictEquals(await rejection(a.writeAll(utf8("more"))), error);
  // Only the writing half is broken.
  await b.writeAll(utf8("answer"));
  assertEquals(await readText(a), "answer");
  a.close();
  await drained;
});
