/** Bytes between readers and writers of every sort: our connections, Deno's, files and stdin. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { IncompleteReadError, isTimeoutError, LimitError } from "../errors.ts";
import {
  copy,
  copyBidirectional,
  readAll,
  readExact,
  toReadableStream,
  toWritableStream,
  writeAll,
} from "../io.ts";
import { pair } from "../pair.ts";
import type { Reader } from "../types.ts";
import { pattern, readText, rejection, text, turn, utf8 } from "./_bytes.ts";
import { testEach } from "./_pairs.ts";
import { runDeno, startDeno } from "./_process.ts";
import { takeBuffer } from "../_buffers.ts";
import { Chunks } from "../_chunks.ts";

/** A reader that hands out given pieces. */
function readerOf(...pieces: Uint8Array[]): Reader {
  return {
    read(p) {
      const piece = pieces.shift();
      if (piece === undefined) return Promise.resolve(null);
      p.set(piece.subarray(0, p.length));
      if (piece.length > p.length) pieces.unshift(piece.subarray(p.length));
      return Promise.resolve(Math.min(piece.length, p.length));
    },
  };
}

/** Two ends of a connection of the runtime's own. */
async function rawPair(): Promise<
  { a: Deno.TcpConn; b: Deno.TcpConn } & Disposable
> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [a, b] = await Promise.all([
    Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
    listener.accept(),
  ]);
  return {
    a,
    b,
    [Symbol.dispose]() {
      a[Symbol.dispose]();
      b[Symbol.dispose]();
    },
  };
}

async function tempFile(content: Uint8Array): Promise<string> {
  const path = await Deno.makeTempFile();
  await Deno.writeFile(path, content);
  return path;
}

testEach("readAll() reads everything", async ({ a, b }) => {
  for (const size of [0, 1, 65_535, 65_536, 65_537, 5_000_000]) {
    const data = pattern(size);
    const sending = a.writeAll(data);
    const limited = readExact(b, size);
    await sending;
    assertEquals(await limited, data);
  }
  const data = pattern(9_999_999);
  const sending = a.writeAll(data).then(() => a.closeWrite());
  assertEquals(await readAll(b), data);
  await sending;
});

Deno.test("readAll() of a small stream has a buffer of its own size", async () => {
  const got = await readAll(readerOf(utf8("abc"), utf8("de")));
  assertEquals(text(got), "abcde");
  assertEquals(got.buffer.byteLength, 5);
  assertEquals(got.buffer.resizable, false);
});

Deno.test("readAll() takes the limit exactly, and nothing beyond", async () => {
  for (const limit of [0, 1, 10, 65_536, 100_000]) {
    const data = pattern(limit);
    assertEquals(await readAll(readerOf(data), { limit }), data);
    const error = await assertRejects(
      () => readAll(readerOf(pattern(limit + 1)), { limit }),
      LimitError,
      `limit of ${limit} bytes`,
    );
    assertEquals(error.limit, limit);
    assertEquals(error.partial, pattern(limit + 1));
    assertInstanceOf(error, RangeError);
  }
});

Deno.test("readAll() keeps to 64 MiB unless told otherwise", async () => {
  const chunk = new Uint8Array(1 << 20);
  const endless: Reader = {
    read: (p) => {
      const n = Math.min(p.length, chunk.length);
      return Promise.resolve(n);
    },
  };
  const error = await assertRejects(() => readAll(endless), LimitError);
  assertEquals(error.limit, 64 << 20);
  assertEquals(error.partial.length, (64 << 20) + 1);
});

Deno.test("readAll() without a limit reads beyond it", async () => {
  let left = (64 << 20) + 12_345;
  const reader: Reader = {
    read: (p) => {
      const n = Math.min(p.length, left);
      left -= n;
      return Promise.resolve(n === 0 ? null : n);
    },
  };
  const got = await readAll(reader, { limit: Infinity });
  assertEquals(got.length, (64 << 20) + 12_345);
});

Deno.test("bad limits, sizes and readers", async () => {
  for (const limit of [-1, 1.5, NaN, -Infinity]) {
    await assertRejects(
      () => readAll(readerOf(), { limit }),
      RangeError,
      `got ${limit}`,
    );
  }
  await assertRejects(
    () => readAll(readerOf(), { limit: "5" as never }),
    TypeError,
    'got "5"',
  );
  for (const size of [-1, 1.5, NaN, Infinity]) {
    await assertRejects(() => readExact(readerOf(), size), RangeError);
  }
  await assertRejects(() => readExact(readerOf(), "5" as never), TypeError);
  for (const bufSize of [0, -1, 1.5, NaN]) {
    await assertRejects(
      () => copy(readerOf(), { write: () => Promise.resolve(1) }, { bufSize }),
      RangeError,
    );
  }
  const [a, b] = pair();
  for (const wrong of [undefined, null, 5, {}, "text"] as never[]) {
    await assertRejects(() => readAll(wrong), TypeError, "with read()");
    await assertRejects(() => readExact(wrong, 1), TypeError, "with read()");
    await assertRejects(() => copy(wrong, a), TypeError, "with read()");
    await assertRejects(() => copy(a, wrong), TypeError, "with write()");
    await assertRejects(
      () => writeAll(wrong, utf8("x")),
      TypeError,
      "with write()",
    );
    await assertRejects(() => copyBidirectional(wrong, a), TypeError);
    assertThrows(() => toReadableStream(wrong), TypeError, "with read()");
    assertThrows(() => toWritableStream(wrong), TypeError, "with write()");
  }
  await assertRejects(
    () => copyBidirectional(a, { read: a.read, write: a.write } as never),
    TypeError,
    "with closeWrite()",
  );
  await assertRejects(
    () => copy(a, b, { onProgress: 1 as never }),
    TypeError,
    "a function",
  );
  await assertRejects(() => readAll(a, 5 as never), TypeError, "an object");
  await assertRejects(
    () => readAll(a, { signal: 5 as never }),
    TypeError,
    "an AbortSignal",
  );
  a.close();
  b.close();
});

Deno.test("copy()'s buffer is as large as what comes asks for", async () => {
  const sizes = async (most: number, bufSize?: number) => {
    const asked: number[] = [];
    let left = 300_000;
    const reader = {
      read(p: Uint8Array) {
        if (left === 0) return Promise.resolve(null);
        asked.push(p.length);
        const n = Math.min(p.length, most, left);
        left -= n;
        return Promise.resolve(n);
      },
    };
    const writer = { write: (p: Uint8Array) => Promise.resolve(p.length) };
    const options = bufSize === undefined ? {} : { bufSize };
    assertEquals(await copy(reader, writer, options), 300_000);
    return asked;
  };
  assertEquals(Math.max(...await sizes(1000)), 4096);
  assertEquals((await sizes(Infinity)).slice(0, 4), [
    4096,
    16384,
    65536,
    262_144,
  ]);
  assertEquals((await sizes(Infinity, 100)).length, 3000);
  assertEquals(Math.max(...await sizes(Infinity, 100_000)), 100_000);
});

Deno.test("readExact() fills the caller's buffer, and reads nothing for 0", async () => {
  const buffer = new Uint8Array(6);
  const got = await readExact(readerOf(utf8("abc"), utf8("defgh")), buffer);
  assertStrictEquals(got, buffer);
  assertEquals(text(got), "abcdef");
  const never: Reader = { read: () => Promise.reject(new Error("read")) };
  assertEquals((await readExact(never, 0)).length, 0);
});

Deno.test("readExact() hands over what an early end leaves", async () => {
  const error = await assertRejects(
    () => readExact(readerOf(utf8("abc")), 10),
    IncompleteReadError,
  );
  assertEquals(text(error.partial), "abc");
  assertEquals(error.expected, 10);
  assertInstanceOf(error, Deno.errors.UnexpectedEof);
});

testEach(
  "an abort of readExact() and readAll() loses no byte",
  async (ends) => {
    const { a, b } = ends;
    for (
      const read of [
        (signal: AbortSignal) => readExact(b, 10, { signal }),
        (signal: AbortSignal) => readAll(b, { signal }),
      ]
    ) {
      const abort = new AbortController();
      const nothingYet = rejection(read(abort.signal));
      await turn();
      abort.abort("enough");
      assertEquals(await nothingYet, "enough");

      const again = new AbortController();
      const some = rejection(read(again.signal));
      await a.writeAll(utf8("abc"));
      while (b.bytesRead % 6 < 3) await turn();
      again.abort("enough");
      const error = await some;
      assertInstanceOf(error, IncompleteReadError);
      assertEquals(text(error.partial), "abc");
      assertEquals(error.cause, "enough");
      assert(!error.message.includes("swallow"));
      await a.writeAll(utf8("def"));
      assertEquals(await readText(b), "def");
      assertEquals(
        await rejection(read(AbortSignal.abort("before"))),
        "before",
      );
    }
  },
);

testEach("a connection's timeout in mid-readExact", async ({ a, b }) => {
  b.timeout = 5;
  await a.writeAll(utf8("abc"));
  const error = await rejection(readExact(b, 10));
  assertInstanceOf(error, IncompleteReadError);
  assert(isTimeoutError(error));
  assertEquals(text(error.partial), "abc");
  assertEquals(error.message, "Read was abandoned after 3 of 10 bytes");
});

Deno.test("an abort on a reader that keeps nothing says what is lost", async () => {
  using raw = await rawPair();
  const abort = new AbortController();
  const reading = rejection(readExact(raw.b, 10, { signal: abort.signal }));
  await raw.a.write(utf8("abc"));
  for (let i = 0; i < 10; i++) await turn();
  abort.abort("enough");
  const error = await reading;
  assertInstanceOf(error, IncompleteReadError);
  assertEquals(text(error.partial), "abc");
  assertStringIncludes(error.message, "may swallow up to 7 bytes more");
  assertEquals(error.cause, "enough");
  const copying = new AbortController();
  const [a, b] = pair();
  const aborted = rejection(
    copy(raw.a, a, { signal: copying.signal, bufSize: 100 }),
  );
  copying.abort("enough");
  assertStringIncludes(String(await aborted), "swallow up to 100 bytes more");
  a.close();
  b.close();
});

Deno.test("a connection of the runtime's own", async () => {
  using raw = await rawPair();
  const data = pattern(5_000_000);
  const sending = writeAll(raw.a, data).then(() => raw.a.closeWrite());
  assertEquals(
    await readAll(raw.b, { signal: AbortSignal.timeout(60_000) }),
    data,
  );
  await sending;
  await writeAll(raw.b, [utf8("ab"), utf8("cd")]);
  assertEquals(text(await readExact(raw.a, 4)), "abcd");
});

Deno.test("files on both sides", async () => {
  const data = pattern(1_000_000);
  const from = await tempFile(data);
  const to = await tempFile(new Uint8Array(0));
  const seen: number[] = [];
  {
    using source = await Deno.open(from);
    using sink = await Deno.open(to, { write: true });
    const bytes = await copy(source, sink, {
      bufSize: 300_000,
      onProgress: (n) => seen.push(n),
    });
    assertEquals(bytes, data.length);
  }
  assertEquals(seen.at(-1), data.length);
  assertEquals(await Deno.readFile(to), data);
  {
    using file = await Deno.open(to);
    assertEquals(await readAll(file), data);
  }
  {
    using source = await Deno.open(from);
    using sink = await Deno.open(to, { write: true, truncate: true });
    await toReadableStream(source).pipeTo(toWritableStream(sink));
    // The file is still ours to use.
    await sink.write(utf8("!"));
  }
  assertEquals((await Deno.readFile(to)).length, data.length + 1);
});

Deno.test("standard input", async () => {
  await using program = await startDeno(
    [],
    `
const first = await sockets.readExact(Deno.stdin, 4);
const rest = await sockets.readAll(Deno.stdin);
await sockets.writeAll(Deno.stdout, [first, new TextEncoder().encode("|"), rest]);
`,
  );
  await program.send("hello world");
  await program.endInput();
  assertEquals(await program.line(), "hell|o world");
});

Deno.test("writeAll() on a writer that takes little, and nothing", async () => {
  const got: number[] = [];
  await writeAll({
    write: (p) => {
      got.push(...p.subarray(0, 3));
      return Promise.resolve(Math.min(3, p.length));
    },
  }, utf8("abcdefgh"));
  assertEquals(text(new Uint8Array(got)), "abcdefgh");
  for (const n of [0, -1, NaN, 100]) {
    await assertRejects(
      () => writeAll({ write: () => Promise.resolve(n) }, utf8("abc")),
      Deno.errors.WriteZero,
      `Writer took ${n} of 3 bytes`,
    );
  }
  const writer = { write: () => Promise.reject(new Error("written")) };
  for (const data of ["abc", 5, undefined, [utf8("a"), "b"]] as never[]) {
    await assertRejects(() => writeAll(writer, data), TypeError, "Uint8Array");
  }
  assertEquals(
    await rejection(
      writeAll(writer, utf8("a"), { signal: AbortSignal.abort("no") }),
    ),
    "no",
  );
});

testEach(
  "copy() copies until the end, and closes nothing",
  async ({ a, b }) => {
    const [c, d] = pair();
    const data = pattern(3_000_000);
    const sending = a.writeAll(data).then(() => a.closeWrite());
    const reading = readExact(d, data.length);
    assertEquals(await copy(b, c, { bufSize: 12_345 }), data.length);
    assertEquals(await reading, data);
    await sending;
    await b.writeAll(utf8("open"));
    assertEquals(await readText(a), "open");
    await c.writeAll(utf8("open"));
    assertEquals(await readText(d), "open");
    c.close();
    d.close();
  },
);

testEach("an aborted copy() loses no byte", async ({ a, b }) => {
  const [c, d] = pair();
  const abort = new AbortController();
  const copying = rejection(copy(b, c, { signal: abort.signal }));
  await a.writeAll(utf8("copied"));
  assertEquals(await readText(d), "copied");
  abort.abort("enough");
  assertEquals(await copying, "enough");
  await a.writeAll(utf8("kept"));
  assertEquals(await readText(b), "kept");
  c.close();
  d.close();
});

Deno.test("what onProgress throws ends the copy", async () => {
  const [a, b] = pair();
  await assertRejects(
    () =>
      copy(readerOf(utf8("abc")), a, {
        onProgress: () => {
          throw new Error("on purpose");
        },
      }),
    Error,
    "on purpose",
  );
  a.close();
  b.close();
});

testEach("copyBidirectional() passes half-closes on", async ({ a, b }) => {
  const [c, d] = pair();
  const proxy = copyBidirectional(b, c);
  await a.writeAll(utf8("question"));
  await a.closeWrite();
  assertEquals(text(await readAll(d)), "question");
  await d.writeAll(utf8("the answer"));
  await d.closeWrite();
  assertEquals(text(await readAll(a)), "the answer");
  assertEquals(await proxy, { aToB: 8, bToA: 10 });
  c.close();
  d.close();
});

testEach("copyBidirectional() ends both ways when one fails", async (ends) => {
  const { a, b } = ends;
  const [c, d] = pair();
  const proxy = rejection(copyBidirectional(b, c));
  d.close();
  await a.writeAll(utf8("nobody listens"));
  assertInstanceOf(await proxy, Deno.errors.BrokenPipe);
  await a.writeAll(utf8("kept"));
  assertEquals(await readText(b), "kept");
  c.close();
});

testEach("copyBidirectional() ends at its signal", async ({ a, b }) => {
  const [c, d] = pair();
  const abort = new AbortController();
  const proxy = rejection(copyBidirectional(b, c, { signal: abort.signal }));
  await turn();
  abort.abort("enough");
  assertEquals(await proxy, "enough");
  await a.writeAll(utf8("kept"));
  assertEquals(await readText(b), "kept");
  assertEquals(
    await rejection(
      copyBidirectional(b, c, { signal: AbortSignal.abort("before") }),
    ),
    "before",
  );
  c.close();
  d.close();
});

Deno.test("toReadableStream() tells of a cancel, and ends", async () => {
  const told: unknown[] = [];
  const stream = toReadableStream(readerOf(utf8("abc"), utf8("def")), {
    cancel: (reason) => void told.push(reason),
  });
  for await (const chunk of stream) {
    assertEquals(text(chunk), "abc");
    break;
  }
  assertEquals(told.length, 1);
  assertEquals(
    await new Response(toReadableStream(readerOf(utf8("xyz")))).text(),
    "xyz",
  );
  const failing = toReadableStream({
    read: () => Promise.reject(new Error("on purpose")),
  });
  await assertRejects(() => new Response(failing).text(), Error, "on purpose");
});

Deno.test("toWritableStream() half-closes, or does what it is told", async () => {
  const [a, b] = pair();
  const stream = toWritableStream(a);
  const writer = stream.getWriter();
  await writer.write(utf8("hello"));
  await writer.close();
  assertEquals(text(await readAll(b)), "hello");
  await b.writeAll(utf8("still open"));
  assertEquals(await readText(a), "still open");
  const told: unknown[] = [];
  const other = toWritableStream(b, {
    close: () => void told.push("closed"),
    abort: (reason) => void told.push(reason),
  });
  await other.abort("enough");
  await toWritableStream(b, { close: () => void told.push("closed") }).close();
  assertEquals(told, ["enough", "closed"]);
  a.close();
  b.close();
});

testEach(
  "an abort between copy()'s read and its write loses no byte",
  async (ends) => {
    const { a, b } = ends;
    const [c, d] = pair();
    const keep = async () => {
      const kept = new AbortController();
      const left = rejection(
        b.read(new Uint8Array(9), { signal: kept.signal }),
      );
      const { bytesRead } = b;
      kept.abort();
      await left;
      await a.writeAll(utf8("bytes"));
      while (b.bytesRead < bytesRead + 5) await turn();
    };
    // The bytes are read already, and the abort comes before they are written.
    const abandon = async (options: { bufSize?: number }) => {
      const abort = new AbortController();
      const copying = rejection(
        copy(b, c, { ...options, signal: abort.signal }),
      );
      abort.abort("enough");
      return await copying;
    };
    await keep();
    assertEquals(await readText(b, 2), "by");
    assertEquals(await abandon({}), "enough");
    assertEquals(await readText(b), "tes");
    // Where the copy has a buffer of its own, they are in it.
    await keep();
    const error = await abandon({ bufSize: 4 });
    assertInstanceOf(error, IncompleteReadError);
    assertEquals(text(error.partial), "byte");
    assertEquals(error.cause, "enough");
    assertEquals(await readText(b), "s");
    b.timeout = 60_000;
    await keep();
    const late = await abandon({});
    assertInstanceOf(late, IncompleteReadError);
    assertEquals(text(late.partial), "bytes");
    c.close();
    d.close();
  },
);

Deno.test("a copy that was given up keeps no program alive", async () => {
  const { code, stdout, stderr } = await runDeno(
    ["-A"],
    `
const listener = await sockets.listenTcp({ hostname: "127.0.0.1" });
const conn = await sockets.connectTcp(listener.addr);
globalThis.peer = await listener.accept();
const abort = new AbortController();
const copying = sockets.copy(conn, conn, { signal: abort.signal });
// Nothing but the copy's wait is under way when it is given up.
setTimeout(() => abort.abort("enough"), 0);
console.log(await copying.catch((reason) => reason));
`,
  );
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "enough\n",
    stderr: "",
  });
});

testEach(
  "a copy's own buffer stays its own, also where chunks were lent before",
  async ({ a, b }) => {
    const { signal } = new AbortController();
    using chunks = new Chunks(b, 65536, signal);
    const take = async (said: string) => {
      await a.writeAll(utf8(said));
      const chunk = (await chunks.next())!;
      assertEquals(text(chunk), said);
      chunks.reuse(chunk);
      return chunk.buffer;
    };
    await take("lent");
    // With a timeout nothing is lent: the buffer is the copy's, and nobody else's.
    b.timeout = 60_000;
    const own = await take("own");
    for (let i = 0; i < 100; i++) assert(takeBuffer(4096).buffer !== own);
    assertEquals(await take("still own"), own);
  },
);

testEach("copy() keeps to the connection's own timeout", async ({ a, b }) => {
  const [c, d] = pair();
  b.timeout = 20;
  const { signal } = new AbortController();
  const error = await rejection(copy(b, c, { signal }));
  assert(isTimeoutError(error), String(error));
  b.timeout = undefined;
  // A copy that was given up leaves what comes later to the next one.
  const abort = new AbortController();
  const given = rejection(copy(b, c, { signal: abort.signal }));
  await turn();
  abort.abort("enough");
  assertEquals(await given, "enough");
  const data = pattern(700_000);
  const writing = a.writeAll(data).then(() => a.closeWrite());
  const copying = copy(b, c, { signal }).then((n) => {
    c.close();
    return n;
  });
  assertEquals(await readAll(d), data);
  assertEquals(await copying, data.length);
  await writing;
  d.close();
});

Deno.test("a foreign reader that brings nothing is asked again", async () => {
  const counts = [0, 0, 3, 0, null];
  const reader = (): Reader => {
    const rest = [...counts];
    return { read: () => Promise.resolve(rest.shift() ?? null) };
  };
  assertEquals((await readAll(reader())).length, 3);
  assertEquals((await readExact(reader(), 3)).length, 3);
  assertEquals(
    (await new Response(toReadableStream(reader())).bytes()).length,
    3,
  );
});

Deno.test("a foreign reader that says what cannot be", async () => {
  for (const n of [-1, NaN, 100_000_000]) {
    const reader: Reader = { read: () => Promise.resolve(n) };
    await assertRejects(() => readAll(reader), TypeError, "Reader brought");
  }
  const throwing: Reader = {
    read() {
      throw new Error("on purpose");
    },
  };
  const { signal } = new AbortController();
  await assertRejects(
    () => readAll(throwing, { signal }),
    Error,
    "on purpose",
  );
});

testEach(
  "a cancelled toReadableStream() leaves its bytes to the next reader",
  async ({ a, b }) => {
    const reader = toReadableStream(b).getReader();
    const reading = reader.read();
    await turn();
    await reader.cancel();
    assertEquals((await reading).done, true);
    await a.writeAll(utf8("hello"));
    b.timeout = 60_000;
    assertEquals(await readText(b, 5), "hello");
    await a.writeAll(utf8("again"));
    await a.closeWrite();
    assertEquals(
      await new Response(toReadableStream(b)).text(),
      "again",
    );
  },
);

Deno.test("copy() that is given up before its write begins loses no byte", async () => {
  for (const how of ["signal", "timeout"]) {
    const [source, reader] = pair();
    const [writer, sink] = pair({ capacity: 4 });
    // It has the turn, and nobody reads.
    const first = writer.writeAll(utf8("0123456789"));
    await source.writeAll(utf8("precious"));
    const abort = new AbortController();
    if (how === "timeout") writer.timeout = 20;
    const copying = rejection(
      copy(reader, writer, how === "signal" ? { signal: abort.signal } : {}),
    );
    while (reader.bytesRead < 8) await turn();
    abort.abort("enough");
    const error = await copying;
    writer.timeout = undefined;
    await source.closeWrite();
    if (how === "signal") {
      // They were lent, and are the next reader's.
      assertEquals(error, "enough");
      assertEquals(await readText(reader), "precious");
    } else {
      assertInstanceOf(error, IncompleteReadError);
      assertEquals(text(error.partial), "precious");
      assert(isTimeoutError(error));
      assertEquals(await readText(reader), null);
    }
    // The other's bytes are whole, and the writer goes on.
    const reading = readAll(sink);
    await first;
    await writer.writeAll(utf8("-ok"));
    await writer.closeWrite();
    assertEquals(text(await reading), "0123456789-ok");
    for (const end of [source, reader, writer, sink]) end.close();
  }
});

Deno.test("copy() that is given up in the middle of a chunk hands over its rest", async () => {
  const abort = new AbortController();
  const error = await rejection(copy(
    readerOf(utf8("precious")),
    {
      write() {
        abort.abort("enough");
        return Promise.resolve(3);
      },
    },
    { signal: abort.signal },
  ));
  assertInstanceOf(error, IncompleteReadError);
  assertEquals(text(error.partial), "cious");
  assertEquals(error.cause, "enough");
});
