/** Framing: lines, delimiters and frames, however the bytes come in. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { IncompleteReadError, isTimeoutError, LimitError } from "../errors.ts";
import {
  BufferedReader,
  encodeFrame,
  type FrameFormat,
  writeFrame,
  writeLine,
} from "../framing.ts";
import { pair } from "../pair.ts";
import type { Reader } from "../types.ts";
import {
  type BadCall,
  pattern,
  rejection,
  text,
  turn,
  utf8,
} from "./_bytes.ts";
import { counted, fillFrom } from "./_counting.ts";

/** A reader of given pieces, each of which one read brings at most. It keeps no read. */
function source(...pieces: (string | Uint8Array)[]): Reader & { left: number } {
  const rest = pieces.map((piece) =>
    typeof piece === "string" ? utf8(piece) : piece
  );
  return {
    get left() {
      return rest.length;
    },
    read(p) {
      const piece = rest.shift();
      if (piece === undefined) return Promise.resolve(null);
      const n = Math.min(p.length, piece.length);
      p.set(piece.subarray(0, n));
      if (n < piece.length) rest.unshift(piece.subarray(n));
      return Promise.resolve(n);
    },
  };
}

/** The bytes of a text or of bytes, cut into pieces of a size. */
function cut(data: string | Uint8Array, size: number): Uint8Array[] {
  const bytes = typeof data === "string" ? utf8(data) : data;
  const pieces: Uint8Array[] = [];
  for (let i = 0; i < bytes.length; i += size) {
    pieces.push(bytes.subarray(i, i + size));
  }
  return pieces;
}

async function collect<T>(iterable: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of iterable) all.push(one);
  return all;
}

const TEXT = "one\r\ntwo\n\n\r\nä€😀 ünï\n\r\r\nlone\rcr\n" +
  "x".repeat(300) + "\r\n" + "é".repeat(200) + "\nend\n";
const LINES = TEXT.split("\n").slice(0, -1).map((line) =>
  line.replace(/\r$/, "")
);

Deno.test("lines come whole, however the bytes are cut", async () => {
  for (const size of [1, 2, 3, 5, 16, 17, 64, 10_000]) {
    for (const bufSize of [16, 31, 65536]) {
      const make = () =>
        new BufferedReader(source(...cut(TEXT, size)), { bufSize });
      assertEquals(await collect(make().lines()), LINES);
      assertEquals((await collect(make().lineBatches())).flat(), LINES);
      const reader = make();
      const lines: string[] = [];
      for (let line; (line = await reader.readLine()) !== null;) {
        lines.push(line);
      }
      assertEquals(lines, LINES);
      assertEquals(await reader.readLine(), null);
    }
  }
});

Deno.test("bytes that are no UTF-8 are one line all the same", async () => {
  const data = new Uint8Array([
    0xff,
    0x41,
    10,
    0xe2,
    0x82,
    10,
    0xc3,
    0xa9,
    0xff,
    13,
    10,
    0xef,
    0xbb,
    0xbf,
    0x41,
    10,
  ]);
  for (const size of [1, 3, 100]) {
    const make = () => new BufferedReader(source(...cut(data, size)));
    const wanted = ["\ufffdA", "\ufffd", "é\ufffd", "\ufeffA"];
    assertEquals(await collect(make().lines()), wanted);
    assertEquals((await collect(make().lineBatches())).flat(), wanted);
  }
});

Deno.test("an unterminated end is an error, or a line", async () => {
  const make = () => new BufferedReader(source("one\ntwo"));
  const reader = make();
  assertEquals(await reader.readLine(), "one");
  const error = await rejection(reader.readLine());
  assertInstanceOf(error, IncompleteReadError);
  assertEquals(text(error.partial), "two");
  assertEquals(await reader.readLine(), null);
  await assertRejects(() => collect(make().lines()), IncompleteReadError);
  await assertRejects(() => collect(make().lineBatches()), IncompleteReadError);
  assertEquals(await collect(make().lines({ unterminated: "line" })), [
    "one",
    "two",
  ]);
  assertEquals(await collect(make().lineBatches({ unterminated: "line" })), [[
    "one",
  ], ["two"]]);
  const full = new BufferedReader(source("0123456789abcdef"), { bufSize: 16 });
  assertEquals(
    await full.readLine({ unterminated: "line" }),
    "0123456789abcdef",
  );
  const cr = new BufferedReader(source("a\r"));
  assertEquals(await cr.readLine({ unterminated: "line" }), "a");
});

Deno.test("a limit leaves the position where it was", async () => {
  const long = "x".repeat(50);
  for (const size of [1, 7, 100]) {
    const make = () =>
      new BufferedReader(source(...cut(`ok\n${long}\r\nnext\n`, size)), {
        bufSize: 16,
      });
    for (const limit of [10, 49]) {
      const reader = make();
      assertEquals(await reader.readLine({ limit }), "ok");
      for (let i = 0; i < 2; i++) {
        const error = await rejection(reader.readLine({ limit }));
        assertInstanceOf(error, LimitError);
        assertEquals([error.limit, text(error.partial)], [
          limit,
          "x".repeat(limit),
        ]);
      }
      assertEquals(await reader.skipLine(), 52);
      assertEquals(await reader.readLine({ limit }), "next");
      assertEquals(await reader.skipLine(), 0);
    }
    const reader = make();
    assertEquals(await collect(reader.lines({ limit: 50 })), [
      "ok",
      long,
      "next",
    ]);
    const batches = make();
    const seen: string[] = [];
    const error = await rejection((async () => {
      for await (const batch of batches.lineBatches({ limit: 10 })) {
        seen.push(...batch);
      }
    })());
    assertInstanceOf(error, LimitError);
    assertEquals(seen, ["ok"]);
    assertEquals(await batches.readLine({ limit: 50 }), long);
    const until = make();
    assertEquals(text(await until.readUntil("\n")), "ok\n");
    assertInstanceOf(
      await rejection(until.readUntil("\r\n", { limit: 49 })),
      LimitError,
    );
    assertEquals(
      text(await until.readUntil("\r\n", { limit: 50 })),
      `${long}\r\n`,
    );
  }
});

Deno.test("a long line behind short ones in one buffer", async () => {
  const data = `ok\n\n${"x".repeat(50)}\nnext\n`;
  const reader = new BufferedReader(source(data));
  assertEquals(await reader.readLine({ limit: 10 }), "ok");
  assertEquals(await reader.readLine({ limit: 10 }), "");
  await assertRejects(() => reader.readLine({ limit: 10 }), LimitError);
  assertEquals(await reader.skipLine(), 51);
  assertEquals(await reader.readLine({ limit: 10 }), "next");
  const batches = new BufferedReader(source(data)).lineBatches({ limit: 10 });
  assertEquals(await batches.next(), { done: false, value: ["ok", ""] });
  await assertRejects(() => batches.next(), LimitError);
});

Deno.test("the end of the stream is asked for once", async () => {
  let reads = 0;
  const reader = new BufferedReader({
    read: () => Promise.resolve(reads++ === 0 ? null : 1),
  });
  assertEquals(await reader.readLine(), null);
  assertEquals(await reader.read(new Uint8Array(1)), null);
  assertEquals(await reader.readFrame({ bytes: 1 }), null);
  assertEquals(reads, 1);
});

Deno.test("an iterator goes on where other reads have ended", async () => {
  const reader = new BufferedReader(
    source(new Uint8Array([1, 10, 1, 11, 1, 99, 1, 12, 1, 13, 1, 14])),
  );
  const frames = reader.frames({ bytes: 1 });
  const next = async () => (await frames.next()).value?.[0];
  assertEquals([await next(), await next()], [10, 11]);
  assertEquals(await reader.readExact(2), new Uint8Array([1, 99]));
  assertEquals([await next(), await next()], [12, 13]);
  assertEquals([await next(), await next()], [14, undefined]);
  const text = new BufferedReader(source("a\nb\nskipped\nc\n"));
  const lines = text.lines();
  assertEquals((await lines.next()).value, "a");
  assertEquals((await lines.next()).value, "b");
  await text.skipLine();
  assertEquals((await lines.next()).value, "c");
});

Deno.test("what was cut out ahead is dropped when others have read", async () => {
  // Frames that are lines, too: [1, LF] is a frame of one byte, and ends a line.
  const reader = new BufferedReader(
    source(new Uint8Array([1, 65, 1, 66, 1, 10, 1, 67, 1, 10, 1, 68])),
  );
  const frames = reader.frames({ bytes: 1 });
  const next = async () => (await frames.next()).value?.[0];
  assertEquals([await next(), await next()], [65, 66]);
  assertEquals(await reader.readLine(), "\u0001");
  assertEquals([await next(), await next()], [67, 10]);
  assertEquals(await reader.readLine({ unterminated: "line" }), "\u0001D");
  const lines = new BufferedReader(source("a\nb\nc\nd\n"));
  assertEquals(await lines.readLine(), "a");
  assertEquals(text(await lines.readExact(2)), "b\n");
  assertEquals(await lines.readLine(), "c");
});

Deno.test("who comes when one is done stands behind those who wait", async () => {
  const [a, b] = pair();
  const reader = new BufferedReader(b);
  const order: string[] = [];
  const read = (name: string) =>
    reader.readExact(1).then((byte) => void order.push(name + text(byte)));
  const first = read("1");
  const second = read("2");
  await a.writeAll(utf8("a"));
  await first;
  const third = read("3");
  await turn();
  await a.writeAll(utf8("bc"));
  await Promise.all([second, third]);
  assertEquals(order, ["1a", "2b", "3c"]);
  a.close();
  b.close();
});

Deno.test("lines that are decoded already keep a smaller limit", async () => {
  const reader = new BufferedReader(source("a\nlong line\nb\n"));
  assertEquals(await reader.readLine(), "a");
  await assertRejects(() => reader.readLine({ limit: 4 }), LimitError);
  assertEquals(await reader.readLine({ limit: 9 }), "long line");
  assertEquals(await collect(reader.lineBatches({ limit: 4 })), [["b"]]);
});

Deno.test("all sorts of reads share one position", async () => {
  const data = utf8("GET /é HTTP/1.1\r\nHost: x\r\n\r\n");
  for (const size of [1, 4, 100]) {
    const reader = new BufferedReader(
      source(
        ...cut(data, size),
        ...cut(encodeFrame(pattern(300), { bytes: 2 }), size),
        ...cut("tail\nlast", size),
      ),
      { bufSize: 32 },
    );
    assertEquals(text(await reader.peek(3)), "GET");
    assertEquals(await reader.readLine(), "GET /é HTTP/1.1");
    assertEquals(text(await reader.peek(5)), "Host:");
    for await (const line of reader.lines()) {
      assertEquals(line, "Host: x");
      break;
    }
    assertEquals(
      text(await reader.readUntil(new Uint8Array([13, 10]))),
      "\r\n",
    );
    assertEquals(await reader.readFrame({ bytes: 2 }), pattern(300));
    assertEquals(text(await reader.readExact(2)), "ta");
    const buffer = new Uint8Array(3);
    assertEquals(await reader.readExact(buffer), buffer);
    assertEquals(text(buffer), "il\n");
    const some = new Uint8Array(2);
    let rest = "";
    for (let n; (n = await reader.read(some)) !== null;) {
      rest += text(some.subarray(0, n));
    }
    assertEquals(rest, "last");
    assertEquals(await reader.read(some), null);
    assertEquals(await reader.read(new Uint8Array(0)), 0);
    assertEquals(await reader.peek(5), new Uint8Array(0));
    assertEquals(reader.buffered, 0);
  }
});

Deno.test("readUntil() finds delimiters across all borders", async () => {
  for (const delimiter of ["--", "aab", "\r\n\r\n", "ab"]) {
    const data = `aaaab-\r\n\r-aa${delimiter}x${delimiter}${delimiter}rest`;
    for (const size of [1, 2, 3, 100]) {
      const reader = new BufferedReader(source(...cut(data, size)), {
        bufSize: 16,
      });
      let at = 0;
      for (;;) {
        const end = data.indexOf(delimiter, at);
        if (end < 0) break;
        assertEquals(
          text(await reader.readUntil(delimiter)),
          data.slice(at, end + delimiter.length),
        );
        at = end + delimiter.length;
      }
      const error = await rejection(reader.readUntil(delimiter));
      assertInstanceOf(error, IncompleteReadError);
      assertEquals(text(error.partial), data.slice(at));
      assertEquals(
        (await rejection(reader.readUntil("x")) as IncompleteReadError).partial
          .length,
        0,
      );
    }
  }
});

Deno.test("an early end hands over the bytes", async () => {
  const exact = await rejection(new BufferedReader(source("abc")).readExact(5));
  assertInstanceOf(exact, IncompleteReadError);
  assertEquals([text(exact.partial), exact.expected], ["abc", 5]);
  const frame = encodeFrame(pattern(100), { bytes: 4 });
  for (const end of [1, 3, 4, 50, 103]) {
    const reader = new BufferedReader(source(frame.subarray(0, end)), {
      bufSize: 32,
    });
    const error = await rejection(reader.readFrame({ bytes: 4 }));
    assertInstanceOf(error, IncompleteReadError);
    assertEquals(error.partial, frame.subarray(0, end));
    assertEquals(await reader.readFrame({ bytes: 4 }), null);
  }
});

const FORMATS: readonly FrameFormat[] = [
  { bytes: 1 },
  { bytes: 2 },
  { bytes: 2, littleEndian: true },
  { bytes: 3 },
  { bytes: 4, littleEndian: true },
  { bytes: 4, adjustment: -4 },
  { bytes: 4, offset: 1, adjustment: -4 },
  { bytes: 2, offset: 3, adjustment: 2 },
  { bytes: 8 },
  { bytes: 8, littleEndian: true },
  { varint: "leb128" },
  { varint: "quic" },
];

Deno.test("frames of every format, however the bytes are cut", async () => {
  for (const format of FORMATS) {
    const least = "offset" in format
      ? (format.offset ?? 0) + Math.max(format.adjustment ?? 0, 0)
      : 0;
    const frames = [0, 1, 63, 64, 127, 128, 200].map((size) =>
      pattern(Math.max(size, least), size + 1)
    );
    const wire = new Uint8Array(
      await new Blob(frames.map((frame) => encodeFrame(frame, format)))
        .arrayBuffer(),
    );
    for (const size of [1, 3, 16, 100_000]) {
      for (const bufSize of [16, 65536]) {
        const make = () =>
          new BufferedReader(source(...cut(wire, size)), { bufSize });
        assertEquals(await collect(make().frames(format)), frames);
        assertEquals(
          (await collect(make().frameBatches(format))).flat(),
          frames,
        );
        const reader = make();
        for (const frame of frames) {
          assertEquals(await reader.readFrame(format), frame);
        }
        assertEquals(await reader.readFrame(format), null);
      }
    }
  }
});

Deno.test("frames on the wire look as their formats say", () => {
  const data = new Uint8Array([7, 8]);
  for (
    const [format, wire] of [
      [{ bytes: 1 }, [2, 7, 8]],
      [{ bytes: 3 }, [0, 0, 2, 7, 8]],
      [{ bytes: 4, littleEndian: true }, [2, 0, 0, 0, 7, 8]],
      [{ bytes: 4, adjustment: -4 }, [0, 0, 0, 6, 7, 8]],
      [{ bytes: 4, offset: 1, adjustment: -4 }, [7, 0, 0, 0, 5, 8]],
      [{ bytes: 8 }, [0, 0, 0, 0, 0, 0, 0, 2, 7, 8]],
      [{ varint: "leb128" }, [2, 7, 8]],
      [{ varint: "quic" }, [2, 7, 8]],
    ] as const
  ) {
    assertEquals(encodeFrame(data, format), new Uint8Array(wire));
  }
  const long = new Uint8Array(300);
  assertEquals(
    encodeFrame(long, { varint: "leb128" }).subarray(0, 2),
    new Uint8Array([0xac, 2]),
  );
  assertEquals(
    encodeFrame(long, { varint: "quic" }).subarray(0, 2),
    new Uint8Array([0x41, 0x2c]),
  );
  // RFC 9000, A.1: 494,878,333 and 15,293.
  assertEquals(
    encodeFrame(new Uint8Array(15293), { varint: "quic" }).subarray(0, 2),
    new Uint8Array([0x7b, 0xbd]),
  );
});

Deno.test("lengths that are none, or too large, leave the position where it was", async () => {
  for (
    const [format, wire, Class] of [
      [{ bytes: 4, adjustment: -4 }, [0, 0, 0, 3, 1], Deno.errors.InvalidData],
      [{ varint: "leb128" }, Array(11).fill(0xff), Deno.errors.InvalidData],
      [{ bytes: 4 }, [255, 255, 255, 255, 1], LimitError],
      [{ bytes: 8 }, Array(9).fill(255), LimitError],
      [{ bytes: 2, maxLength: 9 }, [0, 10, 1], LimitError],
      [{ varint: "quic" }, Array(9).fill(255), LimitError],
    ] as const
  ) {
    const reader = new BufferedReader(source(new Uint8Array(wire)));
    for (let i = 0; i < 2; i++) {
      assertInstanceOf(await rejection(reader.readFrame(format)), Class);
      assertInstanceOf(await rejection(collect(reader.frames(format))), Class);
      assertInstanceOf(
        await rejection(collect(reader.frameBatches(format))),
        Class,
      );
    }
    assertEquals(await reader.readExact(wire.length), new Uint8Array(wire));
  }
});

Deno.test("bad arguments are told before anything is read or written", async () => {
  const from = source("a\n");
  const reader = new BufferedReader(from);
  assertThrows(
    () => new BufferedReader(null as never),
    TypeError,
    "Invalid reader",
  );
  assertThrows(
    () => new BufferedReader(from, { bufSize: 8 }),
    RangeError,
    "Invalid bufSize",
  );
  const calls:
    readonly (readonly [() => Promise<unknown>, BadCall[1], string])[] = [
      [() => reader.read("x" as never), TypeError, "Invalid buffer"],
      [() => reader.peek(-1), RangeError, "Invalid n"],
      [() => reader.readExact(1.5), RangeError, "Invalid size"],
      [() => reader.readExact("x" as never), TypeError, "Invalid size"],
      [() => reader.readUntil(""), RangeError, "Invalid delimiter"],
      [
        () => reader.readUntil(new Uint8Array(2000)),
        RangeError,
        "Invalid delimiter",
      ],
      [() => reader.readUntil(5 as never), TypeError, "Invalid delimiter"],
      [
        () => reader.readUntil("\n", { limit: -1 }),
        RangeError,
        "Invalid limit",
      ],
      [
        () => reader.readLine({ limit: "1" as never }),
        TypeError,
        "Invalid limit",
      ],
      [
        () => reader.readLine({ unterminated: "no" as never }),
        TypeError,
        "Invalid unterminated",
      ],
      [
        () => reader.readLine({ signal: 1 as never }),
        TypeError,
        "Invalid signal",
      ],
      [
        () => reader.readLine(null as never),
        TypeError,
        "Invalid options of readLine",
      ],
      [
        () => reader.skipLine(5 as never),
        TypeError,
        "Invalid options of skipLine",
      ],
      [
        () => reader.readFrame({ bytes: 5 } as never),
        TypeError,
        "Invalid bytes",
      ],
      [() => reader.readFrame({} as never), TypeError, "Invalid bytes"],
      [
        () => reader.readFrame(null as never),
        TypeError,
        "Invalid options of the frame format",
      ],
      [
        () => reader.readFrame({ varint: "x" } as never),
        TypeError,
        "Invalid varint",
      ],
      [
        () => reader.readFrame({ varint: "quic", bytes: 1 } as never),
        TypeError,
        "got both",
      ],
      [
        () => reader.readFrame({ bytes: 1, offset: -1 }),
        RangeError,
        "Invalid offset",
      ],
      [
        () => reader.readFrame({ bytes: 1, maxLength: Infinity }),
        RangeError,
        "Invalid maxLength",
      ],
      [
        () => reader.readFrame({ bytes: 1, littleEndian: 1 } as never),
        TypeError,
        "Invalid littleEndian",
      ],
    ];
  // Not at the first message: where the iterator is asked for.
  for (const way of ["lines", "lineBatches"] as const) {
    assertThrows(() => reader[way]({ limit: -1 }), RangeError, "limit");
  }
  for (const way of ["frames", "frameBatches"] as const) {
    assertThrows(() => reader[way]({} as never), TypeError, "bytes");
    assertThrows(
      () => reader[way]({ bytes: 1 }, { reuse: 1 as never }),
      TypeError,
      "Invalid reuse",
    );
  }
  for (const [call, Class, message] of calls) {
    await assertRejects(call, Class, message);
  }
  assertEquals(from.left, 1);
  assertThrows(
    () => encodeFrame("x" as never, { bytes: 1 }),
    TypeError,
    "Invalid data",
  );
  assertThrows(
    () => encodeFrame(new Uint8Array(256), { bytes: 1 }),
    RangeError,
    "expected 0 to 255 bytes",
  );
  assertThrows(
    () => encodeFrame(new Uint8Array(2), { bytes: 2, offset: 3 }),
    RangeError,
    "at least 3",
  );
  assertThrows(
    () => encodeFrame(new Uint8Array(9), { bytes: 2, maxLength: 8 }),
    RangeError,
    "expected 0 to 8",
  );
  assertThrows(
    () => encodeFrame(new Uint8Array(1), { bytes: 2, adjustment: 2 }),
    RangeError,
    "expected 2 to",
  );
  const [a, b] = pair();
  for (const line of ["a\nb", "a\r", "\n"]) {
    await assertRejects(
      () => writeLine(a, line),
      TypeError,
      "a line end in it",
    );
  }
  await assertRejects(
    () => writeLine(a, 5 as never),
    TypeError,
    "Invalid line",
  );
  await assertRejects(
    () => writeLine(a, "x", { end: "\r" as never }),
    TypeError,
    "Invalid end",
  );
  await assertRejects(
    () => writeFrame(a, new Uint8Array(256), { bytes: 1 }),
    RangeError,
  );
  assertEquals(a.bytesWritten, 0);
  a.close();
  b.close();
});

Deno.test("an abort or a timeout in mid-message keeps what was read", async () => {
  const [a, b] = pair();
  const reader = new BufferedReader(b, { bufSize: 16 });
  const abort = async (call: (signal: AbortSignal) => Promise<unknown>) => {
    const controller = new AbortController();
    const waiting = rejection(call(controller.signal));
    await turn();
    controller.abort("enough");
    assertEquals(await waiting, "enough");
    b.timeout = 1;
    assert(isTimeoutError(await rejection(call(new AbortController().signal))));
    b.timeout = undefined;
  };
  await a.writeAll(utf8("half a li"));
  await abort((signal) => reader.readLine({ signal }));
  await a.writeAll(utf8("ne of many bytes"));
  await abort((signal) => collect(reader.lines({ signal })));
  await abort((signal) =>
    reader.skipLine({ signal }).then((n) => n, (e) => {
      throw e;
    }).catch((e) => {
      throw e;
    })
  ).catch(() => {});
  a.close();
  b.close();

  const [c, d] = pair();
  const frames = new BufferedReader(d, { bufSize: 16 });
  const data = pattern(1000);
  const wire = encodeFrame(data, { bytes: 4 });
  for (let at = 0; at < wire.length; at += 100) {
    d.timeout = 1;
    assert(isTimeoutError(await rejection(frames.readFrame({ bytes: 4 }))));
    d.timeout = undefined;
    await c.writeAll(wire.subarray(at, at + 100));
  }
  assertEquals(await frames.readFrame({ bytes: 4 }), data);
  await c.writeAll(utf8("ab"));
  d.timeout = 1;
  assert(isTimeoutError(await rejection(frames.readExact(5))));
  assert(isTimeoutError(await rejection(frames.readUntil("--"))));
  assert(isTimeoutError(await rejection(frames.peek(3))));
  d.timeout = undefined;
  await c.writeAll(utf8("-"));
  const until = frames.readUntil("--");
  await c.writeAll(utf8("-cd"));
  assertEquals(text(await until), "ab--");
  assertEquals(text(await frames.readExact(2)), "cd");
  c.close();
  d.close();
});

Deno.test("a reader that keeps no read loses nothing either", async () => {
  const waits: PromiseWithResolvers<string | null>[] = [];
  const reader = new BufferedReader({
    async read(p) {
      const wait = Promise.withResolvers<string | null>();
      waits.push(wait);
      const said = await wait.promise;
      if (said === null) return null;
      p.set(utf8(said));
      return said.length;
    },
  }, { bufSize: 16 });
  const bring = async (said: string | null) => {
    while (waits.length === 0) await turn();
    waits.shift()!.resolve(said);
    await turn();
  };
  const first = reader.readLine();
  await bring("one\ntw");
  assertEquals(await first, "one");
  const abort = new AbortController();
  const second = rejection(reader.readLine({ signal: abort.signal }));
  await turn();
  abort.abort("enough");
  assertEquals(await second, "enough");
  // What is there is taken while the read is under way, and what it brings comes behind it.
  assertEquals(text(await reader.readExact(2)), "tw");
  const third = reader.readLine();
  await bring("o\nthree\n");
  assertEquals(await third, "o");
  assertEquals(await reader.readLine(), "three");
  const last = reader.readLine();
  await bring(null);
  assertEquals(await last, null);
  assertEquals(waits.length, 0);
});

Deno.test("calls are served in their order, and one that leaves ends no other", async () => {
  const [a, b] = pair();
  const reader = new BufferedReader(b);
  const abort = new AbortController();
  const waits = [
    reader.readLine(),
    rejection(reader.readLine({ signal: abort.signal })),
    reader.readExact(3).then(text),
    reader.readFrame({ bytes: 1 }).then((frame) => text(frame!)),
    reader.readLine(),
  ];
  await turn();
  abort.abort("enough");
  await a.writeAll(utf8("one\nabc\u0002hitwo\n"));
  assertEquals(await Promise.all(waits), ["one", "enough", "abc", "hi", "two"]);
  a.close();
  b.close();
});

Deno.test("errors of the reader come through, and a wrong count is one", async () => {
  const [a, b] = pair();
  const reader = new BufferedReader(b);
  await a.writeAll(utf8("buffered\nrest"));
  assertEquals(await reader.readLine(), "buffered");
  b.close();
  for (let i = 0; i < 2; i++) {
    assertInstanceOf(
      await rejection(reader.readLine()),
      Deno.errors.BadResource,
    );
  }
  assertEquals(text(await reader.readExact(4)), "rest");
  a.close();
  for (const n of [-1, 1.5, 1e9, "1"]) {
    const wrong = new BufferedReader({
      read: () => Promise.resolve(n as number),
    });
    await assertRejects(() => wrong.readLine(), TypeError, "Reader brought");
  }
});

Deno.test("a reader that brings nothing does not stop everything else", async () => {
  let ticks = 0;
  const reader = new BufferedReader({
    read: (p) => {
      if (ticks < 3) return Promise.resolve(0);
      p[0] = 10;
      return Promise.resolve(1);
    },
  });
  const reading = reader.readLine();
  for (; ticks < 3; ticks++) await turn();
  assertEquals(await reading, "");
});

Deno.test("searching is linear, however small the pieces and the waits", async () => {
  const SIZE = 50_000;
  const drip = (): Reader => {
    let left = SIZE;
    return {
      read(p) {
        if (left < 0) return Promise.resolve(null);
        p[0] = left-- === 0 ? 10 : 120;
        return Promise.resolve(1);
      },
    };
  };
  const line = await counted(async () => {
    const reader = new BufferedReader(drip());
    assertEquals((await reader.readLine())!.length, SIZE);
  });
  assert(line.scanned < 3 * SIZE, `${line.scanned} bytes of ${SIZE}`);
  const until = await counted(async () => {
    const reader = new BufferedReader(drip());
    assertEquals((await reader.readUntil("x\n")).length, SIZE + 1);
  });
  assert(until.scanned < 3 * SIZE, `${until.scanned} bytes of ${SIZE}`);
  // Each wait ends after a byte, and the next one goes on where it was.
  const [a, b] = pair();
  const timed = await counted(async () => {
    const reader = new BufferedReader(b);
    for (let i = 0; i < 2000; i++) {
      await a.writeAll(utf8("x"));
      const abort = new AbortController();
      const waiting = rejection(
        i % 2
          ? reader.readLine({ signal: abort.signal })
          : reader.readUntil("--", { signal: abort.signal }),
      );
      await turn();
      abort.abort("enough");
      await waiting;
    }
    await a.writeAll(utf8("\n"));
    assertEquals((await reader.readLine())!.length, 2000);
  });
  assert(timed.scanned < 5 * 2000, `${timed.scanned} bytes of 2000`);
  a.close();
  b.close();
});

/** A reader that brings a block over and over, as much as it is asked for; it notes how much that was. */
function repeat(
  block: Uint8Array,
  total: number,
  most = Infinity,
): Reader & { asked: number[] } {
  let at = 0;
  const asked: number[] = [];
  return {
    asked,
    read(p) {
      if (at === total) return Promise.resolve(null);
      asked.push(p.length);
      const n = fillFrom(p, block, at, Math.min(most, total - at));
      at += n;
      return Promise.resolve(n);
    },
  };
}

Deno.test("no message is copied more than once", async () => {
  const MIB = 2 ** 20;
  const small = encodeFrame(pattern(96), { bytes: 4 });
  const large = encodeFrame(pattern(MIB), { bytes: 4 });
  const line = utf8(`${"x".repeat(MIB - 1)}\n`);
  const ways: [Uint8Array, number, (reader: BufferedReader) => unknown][] = [
    // Not at all, but for what is cut by the end of a buffer.
    [small, 0.01, (reader) => collect(reader.frames({ bytes: 4 }))],
    [small, 0.01, (reader) => collect(reader.frameBatches({ bytes: 4 }))],
    // What comes before the length is known moves once; the rest is read to where it stays.
    [large, 0.1, (reader) => collect(reader.frames({ bytes: 4 }))],
    [large, 0.1, (reader) => reader.readExact(4 * large.length)],
    // Nobody knows how long it is: a buffer doubles while it is too small.
    [line, 1, (reader) => collect(reader.lines())],
    [line, 2, async (reader) => {
      for (let i = 0; i < 4; i++) await reader.readUntil("\n");
    }],
  ];
  for (const [message, times, way] of ways) {
    const total = message === small
      ? 40_000 * small.length
      : 4 * message.length;
    const { copied } = await counted(async () => {
      await way(new BufferedReader(repeat(message, total)));
    });
    assert(copied <= times * total, `${copied} bytes copied of ${total}`);
  }
});

Deno.test("the buffer is as large as what comes asks for", async () => {
  const block = encodeFrame(pattern(96), { bytes: 4 });
  const quiet = repeat(block, 1000 * block.length, 500);
  await collect(new BufferedReader(quiet).frames({ bytes: 4 }));
  assert(Math.max(...quiet.asked) <= 4096, String(Math.max(...quiet.asked)));

  const blocks = new Uint8Array(100 * 4096);
  const busy = repeat(blocks, blocks.length);
  await collect(new BufferedReader(busy).frames({ bytes: 4 }));
  assertEquals(busy.asked.slice(0, 4), [4096, 16384, 65536, 65536]);
  assertEquals(Math.max(...busy.asked), 65536);

  const bounded = repeat(blocks, blocks.length);
  await collect(
    new BufferedReader(bounded, { bufSize: 5000 }).frames({ bytes: 4 }),
  );
  assertEquals(Math.max(...bounded.asked), 5000);

  // A message of its own size says nothing about what comes next.
  const frame = encodeFrame(pattern(6000), { bytes: 4 });
  const own = repeat(frame, 3 * frame.length, 1000);
  await collect(new BufferedReader(own).frames({ bytes: 4 }));
  assert(Math.max(...own.asked) <= frame.length, own.asked.join());
});

Deno.test("frames are there for good, or share memory where that is asked for", async () => {
  const format = { bytes: 2, offset: 1 } as const;
  const sent = Array.from({ length: 3000 }, (_, i) => pattern(1 + i % 40, i));
  const wire = new Uint8Array(
    await new Blob(sent.map((frame) => encodeFrame(frame, format)))
      .arrayBuffer(),
  );
  for (const size of [7, 500, 100_000]) {
    const make = () => new BufferedReader(source(...cut(wire, size)));
    assertEquals(await collect(make().frames(format)), sent);
    assertEquals((await collect(make().frameBatches(format))).flat(), sent);

    let i = 0;
    const memories = new Set<ArrayBufferLike>();
    for await (const frame of make().frames(format, { reuse: true })) {
      assertEquals(frame, sent[i++]);
      memories.add(frame.buffer);
    }
    assertEquals(i, sent.length);
    for await (
      const frames of make().frameBatches(format, { reuse: true })
    ) {
      for (const frame of frames) assertEquals(frame, sent[i++ % sent.length]);
    }
    assertEquals(i, 2 * sent.length);
    // It grew to its size, and that was all.
    assert(memories.size <= 3, `${memories.size} buffers`);
  }
});

Deno.test("a buffer that is transferred with one of its frames is missed only if bytes were in it", async () => {
  const wire = encodeFrame(pattern(100), { bytes: 2 });
  for (const rest of [0, 50]) {
    const reader = new BufferedReader(
      source(
        new Uint8Array([...wire, ...wire.subarray(0, rest)]),
        wire.subarray(rest),
      ),
    );
    for await (const frame of reader.frames({ bytes: 2 })) {
      structuredClone(frame, { transfer: [frame.buffer] });
      break;
    }
    const next = reader.readFrame({ bytes: 2 });
    if (rest === 0) assertEquals(await next, pattern(100));
    else {
      await assertRejects(() => next, TypeError, "buffer is gone");
      const more = reader.readExact(102);
      await assertRejects(() => more, TypeError, "buffer is gone");
    }
  }
});

Deno.test("a frame that is too long is none, also when it is there already", async () => {
  const format = { bytes: 1, maxLength: 10 } as const;
  for (const way of ["frames", "frameBatches"] as const) {
    const reader = new BufferedReader(source(
      new Uint8Array([1, 7, 11, ...pattern(11), 1, 8]),
    ));
    const got: Uint8Array[] = [];
    await assertRejects(async () => {
      for await (const one of reader[way](format)) got.push(...[one].flat());
    }, LimitError);
    assertEquals(got, [new Uint8Array([7])]);
    assertEquals(reader.buffered, 14);
  }
});

Deno.test("memory is bounded by what is there, not by how it came", async () => {
  // Frames that come one by one share buffers too.
  const block = encodeFrame(pattern(96), { bytes: 4 });
  const slow = new BufferedReader(
    repeat(block, 1000 * block.length, block.length),
  );
  const buffers = new Set<ArrayBufferLike>();
  for await (const frame of slow.frames({ bytes: 4 })) {
    buffers.add(frame.buffer);
  }
  assert(buffers.size < 40, `${buffers.size} buffers of 4 KiB`);

  // Lending once does not forbid the use of later buffers.
  const reader = new BufferedReader(repeat(block, 8000 * block.length));
  for await (const _ of reader.frames({ bytes: 4 })) break;
  buffers.clear();
  for await (const frame of reader.frames({ bytes: 4 }, { reuse: true })) {
    buffers.add(frame.buffer);
  }
  assert(buffers.size <= 4, `${buffers.size} buffers`);

  // A large message's buffer is not the next one's.
  const line = utf8(`${"x".repeat(2 ** 20)}\n`);
  const asks = repeat(line, 4 * line.length);
  const lines = new BufferedReader(asks);
  assertEquals((await lines.readLine({ limit: 2 ** 20 }))!.length, 2 ** 20);
  await lines.skipLine();
  asks.asked.length = 0;
  await lines.skipLine();
  assert(Math.max(...asks.asked) <= 65536, asks.asked.join());
});

Deno.test("writers' frames and lines do not mix", async () => {
  const [a, b] = pair({ capacity: 16 });
  const reader = new BufferedReader(b);
  const writing = Promise.all([
    ...Array.from(
      { length: 20 },
      (_, i) => writeLine(a, `line ${i} `.repeat(20), { end: "\r\n" }),
    ),
  ]);
  const lines: string[] = [];
  for (let i = 0; i < 20; i++) lines.push((await reader.readLine())!);
  await writing;
  assertEquals(
    lines,
    Array.from({ length: 20 }, (_, i) => `line ${i} `.repeat(20)),
  );
  const framing = Promise.all(
    Array.from(
      { length: 20 },
      (_, i) => writeFrame(a, pattern(100, i), { bytes: 2 }),
    ),
  );
  for (let i = 0; i < 20; i++) {
    assertEquals(await reader.readFrame({ bytes: 2 }), pattern(100, i));
  }
  await framing;
  a.close();
  b.close();
});

Deno.test("readExact() into a buffer that shrinks meanwhile hands over what has come", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const late = source("received");
  const reader = new BufferedReader({
    async read(p) {
      await promise;
      return await late.read(p);
    },
  });
  const memory = new ArrayBuffer(8, { maxByteLength: 8 });
  const reading = rejection(reader.readExact(new Uint8Array(memory)));
  memory.resize(4);
  resolve();
  const error = await reading;
  assertInstanceOf(error, IncompleteReadError);
  assertEquals(text(error.partial), "received");
});
