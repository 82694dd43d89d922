/** The Redis client: its protocol byte by byte, and the program against servers that mean it well or ill. */

import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import * as fc from "fast-check";
import { BufferedReader } from "../framing.ts";
import { isTimeoutError } from "../errors.ts";
import { listenTcp } from "../tcp.ts";
import type { Reader, StreamConn } from "../types.ts";
import { listenUnix } from "../unix.ts";
import {
  encodeCommand,
  formatReply,
  hasError,
  rawReply,
  readReply,
  type Reply,
  type ReplyLimits,
  RespError,
  showText,
  splitWords,
} from "../examples/_resp.ts";
import { pattern, text, utf8 } from "./_bytes.ts";
import { hasUnix, tempPath } from "./_pairs.ts";
import { freePort } from "./_ports.ts";
import { Program } from "./_process.ts";
import {
  assertOneLine,
  commandOf,
  commandsOf,
  linesOf,
  runProgram,
  startProgram,
} from "./_programs.ts";

// Commands

Deno.test("a command is an array of texts with their lengths", () => {
  assertEquals(
    text(encodeCommand([utf8("SET"), utf8("k\r\n"), utf8("")])),
    "*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\n",
  );
  assertEquals(
    encodeCommand([Uint8Array.of(0, 255)]),
    Uint8Array.of(...utf8("*1\r\n$2\r\n"), 0, 255, 13, 10),
  );
});

/** The words of a line as texts, a character for each byte. */
const wordsOf = (line: string) =>
  splitWords(Uint8Array.from(line, (char) => char.charCodeAt(0))).map((word) =>
    String.fromCharCode(...word)
  );

Deno.test("a line's words are separated by spaces, or quoted", () => {
  for (
    const [line, words] of [
      ["", []],
      [" \t\r\n", []],
      ["PING", ["PING"]],
      [" SET  a\tb\r\n", ["SET", "a", "b"]],
      ['SET "a b" ""', ["SET", "a b", ""]],
      ["SET 'a b' ''", ["SET", "a b", ""]],
      [String.raw`"\n\r\t\b\a\\\"\'\q"`, ["\n\r\t\b\x07\\\"'q"]],
      [String.raw`"\x00\xfF\x41"`, ["\x00\xffA"]],
      [String.raw`"\x4" "\xg1" "\x"`, ["x4", "xg1", "x"]],
      [String.raw`'\'\n\\"'`, [`'\\n\\\\"`]],
      [String.raw`a\n \x41`, ["a\\n", "\\x41"]],
      [`a"b c"`, ["ab c"]],
      [`a'b c' d`, ["ab c", "d"]],
      [`"it's" 'say "x"'`, ["it's", 'say "x"']],
      ["\xff\x00\x80", ["\xff\x00\x80"]],
    ] as const
  ) assertEquals(wordsOf(line), [...words], line);
});

Deno.test("a line whose quotes are wrong is no command", () => {
  for (const line of ['"', "'", 'GET "a', "GET 'a", '"a\\', '"a\\"', "'a\\'"]) {
    assertThrows(
      () => wordsOf(line),
      RespError,
      "Invalid line: a quote is open",
    );
  }
  for (const line of ['"a"b', "'a'b", '"a""b"', `'a'"b"`]) {
    assertThrows(
      () => wordsOf(line),
      RespError,
      "Invalid line: a word goes on behind its quote",
    );
  }
});

Deno.test("any words are the same after they have been quoted, and any line ends in words or the one error", () => {
  const word = fc.uint8Array({ maxLength: 20 });
  fc.assert(fc.property(fc.array(word), (words) => {
    const line = words.map((word) =>
      `"${
        [...word].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`)
          .join("")
      }"`
    ).join(" ");
    assertEquals(splitWords(utf8(line)), words);
    // What is shown can be typed.
    const shown = words.map((bytes) =>
      [...formatReply({ is: "text", bytes })].join("")
    );
    assertEquals(splitWords(utf8(shown.join(" "))), words);
  }));
  const char = fc.constantFrom(...`"'\\ xa0\n`);
  fc.assert(fc.property(fc.array(char, { maxLength: 20 }), (chars) => {
    const line = chars.join("");
    try {
      assert(wordsOf(line).join("").length <= line.length);
    } catch (error) {
      assert(error instanceof RespError, String(error));
    }
  }));
});

// Answers

/** A reader of some bytes, cut where the numbers say; `atEnd` is asked for more. */
function source(
  data: Uint8Array,
  cuts: readonly number[] = [],
  atEnd: () => Promise<null> = () => Promise.resolve(null),
): Reader {
  let at = 0;
  let i = 0;
  return {
    read(p) {
      if (at === data.length) return atEnd();
      const most = 1 + (cuts[i++ % Math.max(cuts.length, 1)] ?? 1000);
      const n = Math.min(p.length, most, data.length - at);
      p.set(data.subarray(at, at + n));
      at += n;
      return Promise.resolve(n);
    },
  };
}

const LIMITS: ReplyLimits = { maxBytes: 1000, maxItems: 100, maxDepth: 5 };

/** A character for each byte. */
const bytesOf = (data: string) =>
  Uint8Array.from(data, (char) => char.charCodeAt(0));

/** All answers in some bytes. */
async function decode(
  data: Uint8Array | string,
  cuts: readonly number[] = [],
  limits = LIMITS,
): Promise<Reply[]> {
  const bytes = typeof data === "string" ? bytesOf(data) : data;
  const reader = new BufferedReader(source(bytes, cuts), { bufSize: 16 });
  const replies: Reply[] = [];
  for (;;) {
    const reply = await readReply(reader, limits);
    if (reply === null) return replies;
    replies.push(reply);
  }
}

/** An answer for people. */
const format = (reply: Reply) => [...formatReply(reply)].join("");

/** An answer for programs. */
const raw = (reply: Reply) =>
  [...rawReply(reply)].map((piece) =>
    typeof piece === "string" ? piece : String.fromCharCode(...piece)
  ).join("");

Deno.test("each kind of answer is read, shown and printed raw", async () => {
  for (
    const [data, shown, plain] of [
      ["+OK\r\n", "OK", "OK"],
      ["+\r\n", "", ""],
      ["-ERR no\r\n", "(error) ERR no", "ERR no"],
      [":0\r\n", "(integer) 0", "0"],
      [
        ":-9223372036854775808\r\n",
        "(integer) -9223372036854775808",
        "-9223372036854775808",
      ],
      [":+1\r\n", "(integer) +1", "+1"],
      ["$0\r\n\r\n", '""', ""],
      ["$4\r\n\r\n\0\xff\r\n", '"\\r\\n\\x00\\xff"', "\r\n\0\xff"],
      ["$-1\r\n", "(nil)", ""],
      ["*-1\r\n", "(nil)", ""],
      ["*0\r\n", "(empty array)", ""],
      ["*2\r\n$1\r\na\r\n:1\r\n", '1) "a"\n2) (integer) 1', "a\n1"],
      [
        "*2\r\n*2\r\n+a\r\n*1\r\n+b\r\n*1\r\n+c\r\n",
        "1) 1) a\n   2) 1) b\n2) 1) c",
        "a\nb\nc",
      ],
      ["_\r\n", "(nil)", ""],
      ["#t\r\n", "(true)", "true"],
      ["#f\r\n", "(false)", "false"],
      [",1.5\r\n", "(double) 1.5", "1.5"],
      [",-1e-7\r\n", "(double) -1e-7", "-1e-7"],
      [",10\r\n", "(double) 10", "10"],
      [",inf\r\n", "(double) inf", "inf"],
      [",-inf\r\n", "(double) -inf", "-inf"],
      [",nan\r\n", "(double) nan", "nan"],
      [
        "(-123456789012345678901234567890\r\n",
        "(big number) -123456789012345678901234567890",
        "-123456789012345678901234567890",
      ],
      ["!8\r\nERR a\r\nb\r\n", "(error) ERR a\\r\\nb", "ERR a\r\nb"],
      ["=8\r\ntxt:some\r\n", '"some"', "some"],
      ["=4\r\nmkd:\r\n", '""', ""],
      ["~2\r\n+a\r\n+b\r\n", "1~ a\n2~ b", "a\nb"],
      ["~0\r\n", "(empty set)", ""],
      [">2\r\n+message\r\n+x\r\n", "1> message\n2> x", "message\nx"],
      [
        "%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n:2\r\n:3\r\n",
        "1# a => (integer) 1\n2# b => 1) (integer) 2\n   2) (integer) 3",
        "a\n1\nb\n2\n3",
      ],
      ["%0\r\n", "(empty map)", ""],
      // What is said about an answer is not a part of it.
      ["|1\r\n+ttl\r\n:3\r\n+OK\r\n", "OK", "OK"],
      ["*1\r\n|0\r\n|1\r\n+a\r\n*1\r\n+b\r\n:1\r\n", "1) (integer) 1", "1"],
    ] as const
  ) {
    // Whole, byte by byte, and with another one behind.
    for (const cuts of [[], [0]]) {
      const replies = await decode(`${data}+OK\r\n`, cuts);
      assertEquals(replies.length, 2, data);
      assertEquals([format(replies[0]!), raw(replies[0]!)], [shown, plain]);
    }
  }
});

Deno.test("numbers of elements have the same width", () => {
  const items = Array.from({ length: 10 }, (_, i): Reply => (
    { is: "integer", text: String(i) }
  ));
  const shown = format({ is: "array", items: [{ is: "array", items }] });
  assertEquals(shown.split("\n").slice(0, 2), [
    "1)  1) (integer) 0",
    "    2) (integer) 1",
  ]);
  assertEquals(shown.split("\n")[9], "   10) (integer) 9");
});

Deno.test("a text is shown without anything that a terminal obeys, in pieces", () => {
  const all = Uint8Array.from({ length: 256 }, (_, i) => i);
  for (const is of ["text", "status", "error"] as const) {
    assertMatch(format({ is, bytes: all }), /^[\x20-\x7e]+$/);
  }
  assertEquals(
    showText(utf8('\x1b[2J"\\\x7f\n\u00e9')),
    '\\x1b[2J"\\\\\\x7f\\n\\xc3\\xa9',
  );
  const long = new Uint8Array(100_000).fill(34);
  const pieces = [...formatReply({ is: "text", bytes: long })];
  assert(pieces.every((piece) => piece.length <= 65_536));
  assert(pieces.join("") === `"${'\\"'.repeat(100_000)}"`);
});

Deno.test("an error is found however deep it is", async () => {
  for (
    const [data, expected] of [
      ["-x\r\n", true],
      ["!1\r\nx\r\n", true],
      ["*2\r\n+x\r\n*1\r\n-x\r\n", true],
      ["%1\r\n+x\r\n-x\r\n", true],
      ["+x\r\n", false],
      ["*2\r\n+-\r\n$1\r\n-\r\n", false],
    ] as const
  ) assertEquals((await decode(data)).map(hasError), [expected], data);
});

/** An answer as bytes: what a server does. */
function encodeReply(reply: Reply): string {
  const latin = (bytes: Uint8Array) => String.fromCharCode(...bytes);
  switch (reply.is) {
    case "status":
      return `+${latin(reply.bytes)}\r\n`;
    case "error":
      return `!${reply.bytes.length}\r\n${latin(reply.bytes)}\r\n`;
    case "text":
      return `$${reply.bytes.length}\r\n${latin(reply.bytes)}\r\n`;
    case "integer":
      return `:${reply.text}\r\n`;
    case "big number":
      return `(${reply.text}\r\n`;
    case "double":
      return `,${reply.text}\r\n`;
    case "boolean":
      return reply.value ? "#t\r\n" : "#f\r\n";
    case "nil":
      return "_\r\n";
  }
  const { is, items } = reply;
  const mark = { array: "*", set: "~", push: ">", map: "%" }[is];
  const count = is === "map" ? items.length / 2 : items.length;
  return `${mark}${count}\r\n${items.map(encodeReply).join("")}`;
}

const { reply } = fc.letrec<{ reply: Reply }>((tie) => {
  const bytes = fc.uint8Array({ maxLength: 20 });
  const number = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
  const items = fc.array(tie("reply"), { maxLength: 4 });
  return {
    reply: fc.oneof(
      { maxDepth: 4 },
      fc.record({
        is: fc.constant("status" as const),
        bytes: fc.stringMatching(/^[^\r\n]{0,9}$/).map(utf8),
      }),
      fc.record({
        is: fc.constantFrom("text" as const, "error" as const),
        bytes,
      }),
      fc.record({
        is: fc.constantFrom("integer" as const, "big number" as const),
        text: number.map(String),
      }),
      fc.record({
        is: fc.constant("double" as const),
        text: fc.double({ noDefaultInfinity: true, noNaN: true }).map(String),
      }),
      fc.record({ is: fc.constant("boolean" as const), value: fc.boolean() }),
      fc.record({ is: fc.constant("nil" as const) }),
      fc.record({
        is: fc.constantFrom("array" as const, "set" as const, "push" as const),
        items,
      }),
      fc.record({
        is: fc.constant("map" as const),
        items: items.map((items) => items.slice(items.length % 2)),
      }),
    ),
  };
});

const cuts = fc.array(fc.nat(10), { maxLength: 10 });

Deno.test("any answers are the same after they have been bytes, however these are cut", async () => {
  const limits = { maxBytes: 10_000, maxItems: 1000, maxDepth: 6 };
  await fc.assert(fc.asyncProperty(
    fc.array(reply, { maxLength: 4 }),
    cuts,
    async (replies, cuts) => {
      const data = replies.map(encodeReply).join("");
      assertEquals(await decode(data, cuts, limits), replies);
    },
  ));
});

Deno.test("any bytes are answers or end in the one error, in which no answer is lost", async () => {
  const line = fc.tuple(
    fc.constantFrom(..."+-:$*_#,(!=~>%|x"),
    fc.oneof(
      fc.integer({ min: -2, max: 5 }).map(String),
      fc.constantFrom("", "t", "inf", "1.5", "abc", "99999999999", "\r", "\n"),
    ),
    fc.constantFrom("\r\n", "\r\n", "\r\n", "\n", "abc\r\n", ""),
  ).map((parts) => parts.join(""));
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.array(line, { maxLength: 12 }).map((lines) =>
          bytesOf(lines.join(""))
        ),
        fc.uint8Array({ maxLength: 50 }),
      ),
      cuts,
      async (data, cuts) => {
        const read = async (cuts: readonly number[]) => {
          const reader = new BufferedReader(source(data, cuts), {
            bufSize: 16,
          });
          const shown: string[] = [];
          try {
            for (;;) {
              const reply = await readReply(reader, LIMITS);
              if (reply === null) return shown;
              shown.push(format(reply));
            }
          } catch (error) {
            assert(error instanceof RespError, String(error));
            return [...shown, error.message];
          }
        };
        assertEquals(await read(cuts), await read([]));
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("an answer that is cut off anywhere is none", async () => {
  const whole =
    "%2\r\n+a\r\n*2\r\n$2\r\n\r\n\r\n:12\r\n=5\r\ntxt:x\r\n|1\r\n,1.5\r\n#t\r\n!1\r\nx\r\n";
  assertEquals((await decode(whole)).length, 1);
  assertEquals(await decode(""), []);
  for (let length = 1; length < whole.length; length++) {
    await assertRejects(
      () => decode(whole.slice(0, length)),
      RespError,
      "Invalid answer: the connection ended in it",
    );
  }
});

Deno.test("what is no answer is refused at its first line, without a wait for more", async () => {
  const huge = "9".repeat(15);
  for (
    const [data, message] of [
      ["\r\n", 'expected an answer, got "\\x00"'],
      ["hello\r\n", 'expected an answer, got "hello"'],
      ["\x1b[2J\r\n", 'expected an answer, got "\\x1b[2J"'],
      [
        "HTTP/1.1 400 Bad Request with a long text\r\n",
        'expected an answer, got "HTTP/1.1 400 Bad Request with a long tex"',
      ],
      ["+a\rb\r\n", "a line end in a line"],
      ["-a\nb\r\n", "a line end in a line"],
      [":\r\n", 'expected a number, got ""'],
      [":1.5\r\n", 'expected a number, got "1.5"'],
      [":0x1\r\n", 'expected a number, got "0x1"'],
      [`:${"1".repeat(20)}\r\n`, `expected a number, got "${"1".repeat(20)}"`],
      [": 1\r\n", 'expected a number, got " 1"'],
      ["(1.5\r\n", 'expected a number, got "1.5"'],
      [",1,5\r\n", 'expected a number, got "1,5"'],
      [",infinity\r\n", 'expected a number, got "infinity"'],
      ["#true\r\n", 'expected a boolean, got "true"'],
      ["_x\r\n", 'expected a nil, got "x"'],
      ["$\r\n", 'expected a length, got ""'],
      ["$-2\r\n", 'expected a length, got "-2"'],
      ["$+1\r\n", 'expected a length, got "+1"'],
      ["$?\r\n", 'expected a length, got "?"'],
      ["$1e3\r\n", 'expected a length, got "1e3"'],
      [`$${huge}9\r\n`, `expected a length, got "${huge}9"`],
      [`$${huge}\r\n`, "it has more than 1000 bytes of text"],
      ["$1001\r\n", "it has more than 1000 bytes of text"],
      ["!1001\r\n", "it has more than 1000 bytes of text"],
      ["=1001\r\n", "it has more than 1000 bytes of text"],
      [`*${huge}\r\n`, "it has more than 100 elements"],
      ["*101\r\n", "it has more than 100 elements"],
      ["~101\r\n", "it has more than 100 elements"],
      [">101\r\n", "it has more than 100 elements"],
      ["%51\r\n", "it has more than 100 elements"],
      ["|51\r\n", "it has more than 100 elements"],
      ["*60\r\n*41\r\n", "it has more than 100 elements"],
      [
        "*2\r\n$600\r\n" + "x".repeat(600) + "\r\n$401\r\n",
        "it has more than 1000 bytes of text",
      ],
      // Texts and numbers in lines count, too.
      ["+" + "x".repeat(1001) + "\r\n", "it has more than 1000 bytes of text"],
      ["(" + "9".repeat(1001) + "\r\n", "it has more than 1000 bytes of text"],
      ["," + "9".repeat(1001) + "\r\n", "it has more than 1000 bytes of text"],
      [
        "*2\r\n-" + "x".repeat(600) + "\r\n$401\r\n",
        "it has more than 1000 bytes of text",
      ],
      // What says something about an answer that does not come.
      ["|0\r\n".repeat(101), "it has more than 100 elements"],
      ["*50\r\n" + "|0\r\n".repeat(51), "it has more than 100 elements"],
      ["*1\r\n".repeat(6), "it is over 5 levels deep"],
      ["%1\r\n".repeat(6), "it is over 5 levels deep"],
      ["|1\r\n".repeat(6), "it is over 5 levels deep"],
      ["!-1\r\n", 'expected an answer, got "!-1"'],
      ["~-1\r\n", 'expected an answer, got "~-1"'],
      ["%-1\r\n", 'expected an answer, got "%-1"'],
      ["$2\r\nabc\r", "a text is longer than it should be"],
      ["$2\r\nab\n\r", "a text is longer than it should be"],
      ["=3\r\ntxt\r\n", 'expected a kind of text, got "none"'],
      ["=4\r\ntext\r\n", 'expected a kind of text, got "none"'],
      ["\xef\xbb\xbf+OK\r\n", "expected an answer, got"],
      ["#\xef\xbb\xbft\r\n", "expected a boolean, got"],
      ["+".padEnd(65_538, "x"), "a line has over 65536 bytes"],
      ["(".padEnd(70_000, "1"), "a line has over 65536 bytes"],
    ] as const
  ) {
    // Nothing follows, and nothing is waited for: the server may keep the line open.
    const reader = new BufferedReader(
      source(bytesOf(data), [], () => {
        throw new Error(`a wait behind ${JSON.stringify(data.slice(0, 50))}`);
      }),
    );
    await assertRejects(
      () => readReply(reader, LIMITS),
      RespError,
      `Invalid answer: ${message}`,
    );
  }
});

Deno.test("what is within the limits is read", async () => {
  const long = "x".repeat(65_535);
  const much = { ...LIMITS, maxBytes: long.length };
  assertEquals((await decode(`+${long}\r\n`, [], much)).length, 1);
  assertEquals((await decode(`$1000\r\n${"x".repeat(1000)}\r\n`)).length, 1);
  assertEquals(
    (await decode(
      `*2\r\n$600\r\n${"x".repeat(600)}\r\n$400\r\n${"x".repeat(400)}\r\n`,
    )).length,
    1,
  );
  assertEquals((await decode(`*100\r\n${":1\r\n".repeat(100)}`)).length, 1);
  assertEquals((await decode(`%50\r\n${":1\r\n".repeat(100)}`)).length, 1);
  assertEquals((await decode(`${"*1\r\n".repeat(5)}:1\r\n`)).length, 1);
  assertEquals((await decode(`${"|0\r\n".repeat(100)}:1\r\n`)).length, 1);
  // Each answer has all of it.
  assertEquals(
    (await decode(`$1000\r\n${"x".repeat(1000)}\r\n`.repeat(3))).length,
    3,
  );
});

// The program

/** How long a busy machine may take; who waits for what does not come fails at last. */
const PATIENCE = 60_000;

/** A Redis that a test is, with one client. */
class Server implements AsyncDisposable {
  readonly #listener;
  readonly address: string;
  #conn: StreamConn | undefined;
  #reader: BufferedReader | undefined;

  constructor(listener: Awaited<ReturnType<typeof listenTcp>>) {
    this.#listener = listener;
    this.address = `127.0.0.1:${listener.addr.port}`;
  }

  static async open(): Promise<Server> {
    return new Server(await listenTcp({ hostname: "127.0.0.1" }));
  }

  start(...args: string[]): Program {
    return startProgram("redis_client", ["--server", this.address, ...args]);
  }

  async accept(): Promise<void> {
    const signal = AbortSignal.timeout(PATIENCE);
    this.#conn = await this.#listener.accept({ signal });
    this.#conn.timeout = PATIENCE;
    this.#reader = new BufferedReader(this.#conn);
  }

  get conn(): StreamConn {
    return this.#conn!;
  }

  /** The next command, a character for each byte; `undefined` at the end. */
  async command(): Promise<string[] | undefined> {
    if (this.#conn === undefined) await this.accept();
    return await readCommand(this.#reader!);
  }

  async say(data: string | Uint8Array): Promise<void> {
    await this.conn.writeAll(typeof data === "string" ? bytesOf(data) : data);
  }

  /** Whether nothing comes for a while. */
  async isQuiet(): Promise<boolean> {
    const signal = AbortSignal.timeout(100);
    try {
      await this.#reader!.peek(1, { signal });
      return false;
    } catch (error) {
      assert(isTimeoutError(error));
      return true;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#conn?.close();
    await this.#listener[Symbol.asyncDispose]();
  }
}

async function readCommand(
  reader: BufferedReader,
): Promise<string[] | undefined> {
  if ((await reader.peek(1)).length === 0) return undefined;
  const number = async (mark: string) => {
    const line = text(await reader.readUntil("\r\n"));
    assertMatch(line, /^[*$]\d+\r\n$/);
    assertEquals(line[0], mark);
    return Number(line.slice(1, -2));
  };
  const words: string[] = [];
  for (let left = await number("*"); left > 0; left--) {
    const bytes = await reader.readExact(await number("$") + 2);
    assertEquals([...bytes.subarray(-2)], [13, 10]);
    let word = "";
    for (const byte of bytes.subarray(0, -2)) word += String.fromCharCode(byte);
    words.push(word);
  }
  return words;
}

Deno.test("redis_client says its grants: the net, and the path of a Unix socket", () => {
  assertEquals(commandsOf("redis_client"), [
    ["--allow-net"],
    ["--allow-net"],
    ["--allow-net"],
    ["--allow-net", "--allow-read=redis.sock", "--allow-write=redis.sock"],
  ]);
});

Deno.test("redis_client --help says how, and what is wrong is one clear line", async () => {
  const { code, stdout, stderr } = await runProgram("redis_client", "--help");
  assertEquals([code, stderr], [0, ""]);
  assertMatch(
    stdout,
    /\n\nUsage: redis_client\.ts \[OPTIONS\] \[COMMAND /,
  );
  for (const option of ["server", "resp3", "raw", "max-bulk", "help"]) {
    assert(stdout.includes(` --${option} `), option);
  }
  const port = freePort();
  for (
    const [args, line] of [
      [["--loud"], "unknown option --loud; see --help"],
      [["--server", "127.0.0.1", "PING"], "Invalid address .* no port.*"],
      [
        ["--server", "udp://127.0.0.1:1", "PING"],
        ".* is no address of a stream; .*",
      ],
      [
        ["--max-bulk", "0", "PING"],
        "invalid --max-bulk 0: expected an integer from 1 to 4294967294",
      ],
      [
        ["-s", `127.0.0.1:${port}`, "PING"],
        `Cannot connect to tcp 127\\.0\\.0\\.1:${port}: Connection refused .*`,
      ],
      [
        ["-s", "unix:/nowhere/x.sock", "PING"],
        "Cannot connect to unix /nowhere/x.sock: Requires read access .*",
      ],
    ] as const
  ) {
    assertOneLine(
      await runProgram("redis_client", ...args),
      new RegExp(`^error: ${line}$`, "m"),
    );
  }
});

Deno.test("redis_client sends the command that it is given, and prints the answer", async () => {
  await using server = await Server.open();
  await using program = server.start("SET", "k", "a b\n\u00e9", "-1", "");
  assertEquals(await server.command(), ["SET", "k", "a b\n\xc3\xa9", "-1", ""]);
  await server.say('*2\r\n$3\r\n\x00\x1b"\r\n$-1\r\n');
  assertEquals(linesOf(await program.ended()), [
    '1) "\\x00\\x1b\\""',
    "2) (nil)",
  ]);
  assertEquals(await server.command(), undefined);
});

Deno.test({
  name: "redis_client speaks over a Unix socket, with the grants that it says",
  ignore: !hasUnix,
  async fn() {
    await using temp = await tempPath();
    const folder = temp.path.slice(0, -2);
    await using listener = await listenUnix({ path: `${folder}/redis.sock` });
    const [command, ...args] = commandOf(
      "redis_client",
      commandsOf("redis_client")[3],
    );
    await using program = new Program(command!, [
      ...args,
      "--server",
      "unix:redis.sock",
      "PING",
    ], folder);
    using conn = await listener.accept();
    assertEquals(await readCommand(new BufferedReader(conn)), ["PING"]);
    await conn.writeAll(utf8("+PONG\r\n"));
    assertEquals(linesOf(await program.ended()), ["PONG"]);
  },
});

Deno.test("redis_client sends all lines that are there before the first is answered", async () => {
  await using server = await Server.open();
  await using program = server.start();
  const lines = Array.from({ length: 800 }, (_, i) => `GET key${i}`);
  await program.send(lines.join("\n"));
  for (const line of lines) {
    assertEquals(await server.command(), line.split(" "));
  }
  await server.say(lines.map((_, i) => `:${i}\r\n`).join(""));
  assertEquals(
    linesOf(await program.ended()),
    lines.map((_, i) => `(integer) ${i}`),
  );
});

Deno.test("redis_client waits for an answer when a thousand are due", async () => {
  await using server = await Server.open();
  await using program = server.start();
  const lines = Array.from({ length: 1500 }, (_, i) => `GET ${i}`);
  await program.send(lines.join("\n"));
  for (let i = 0; i < 1000; i++) {
    assertEquals(await server.command(), ["GET", String(i)]);
  }
  assert(await server.isQuiet());
  for (let i = 1000; i < 1003; i++) {
    await server.say("+OK\r\n");
    assertEquals(await server.command(), ["GET", String(i)]);
  }
  assert(await server.isQuiet());
  await server.say("+OK\r\n".repeat(997));
  for (let i = 1003; i < 1500; i++) {
    assertEquals(await server.command(), ["GET", String(i)]);
  }
  await server.say("+OK\r\n".repeat(500));
  assertEquals(linesOf(await program.ended()), lines.map(() => "OK"));
});

Deno.test("redis_client answers one line after the other, for people who type them", async () => {
  await using server = await Server.open();
  await using program = server.start();
  await server.accept();
  for (const word of ["one", "two", ""]) {
    await program.send(`\n  ECHO "${word}"\r`);
    assertEquals(await server.command(), ["ECHO", word]);
    await server.say(`$${word.length}\r\n${word}\r\n`);
    assertEquals(await program.line(), `"${word}"`);
  }
  const { code, stdout, stderr } = await program.ended();
  assertEquals({ code, stdout, stderr }, { code: 0, stdout: "", stderr: "" });
});

/** Runs the program with bytes as its input, and gives the bytes that it prints. */
async function runBytes(server: Server, input: Uint8Array, ...args: string[]) {
  const [command, ...rest] = commandOf("redis_client");
  const child = new Deno.Command(command!, {
    args: [...rest, "--server", server.address, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(input);
  await writer.close();
  return child;
}

Deno.test("redis_client leaves every byte as it is, both ways", async () => {
  const all = pattern(100_000);
  const latin = (bytes: Uint8Array) =>
    Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  // Bytes that a line cannot have as they are.
  const line = latin(all).replace(
    /["\\\n]/g,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
  for (const end of ["\n", ""]) {
    await using server = await Server.open();
    const child = await runBytes(
      server,
      bytesOf(`SET k "${line}"${end}`),
      "-r",
    );
    assertEquals(await server.command(), ["SET", "k", latin(all)]);
    await server.say(
      bytesOf(`*2\r\n$${all.length}\r\n${latin(all)}\r\n$-1\r\n`),
    );
    const { code, stdout, stderr } = await child.output();
    assertEquals([code, text(stderr)], [0, ""]);
    assertEquals(stdout, Uint8Array.of(...all, 10, 10));
  }
});

Deno.test("redis_client goes on after an error, and ends with 1", async () => {
  await using server = await Server.open();
  await using program = server.start();
  await program.send("FOO\nPING");
  assertEquals(await server.command(), ["FOO"]);
  await server.say('-ERR \x1b[2J no "FOO"\r\n+PONG\r\n');
  assertEquals(await program.ended(), {
    code: 1,
    signal: null,
    stdout: '(error) ERR \\x1b[2J no "FOO"\nPONG\n',
    stderr: "",
  });
  await using other = await Server.open();
  await using exec = other.start("EXEC");
  assertEquals(await other.command(), ["EXEC"]);
  await other.say("*2\r\n+OK\r\n-ERR no\r\n");
  const { code, stdout } = await exec.ended();
  assertEquals([code, stdout], [1, "1) OK\n2) (error) ERR no\n"]);
});

Deno.test("redis_client prints the answers that are due before it complains of a line", async () => {
  await using server = await Server.open();
  await using program = server.start();
  await program.send("PING\nPING\nGET 'a\nPING");
  assertEquals(await server.command(), ["PING"]);
  assertEquals(await server.command(), ["PING"]);
  await server.say("+one\r\n");
  assertEquals(await program.line(), "one");
  await server.say("+two\r\n");
  assertEquals(await program.ended(), {
    code: 1,
    signal: null,
    stdout: "two\n",
    stderr: "error: Invalid line: a quote is open\n",
  });
  assertEquals(await server.command(), undefined);
});

Deno.test("redis_client says what is wrong with an answer in one line", async () => {
  for (
    const [data, line, ...args] of [
      ["", "tcp://127\\.0\\.0\\.1:\\d+ closed the connection"],
      [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        'Invalid answer: expected an answer, got "HTTP/1\\.1 400 Bad Request"',
      ],
      ["$5\r\nhel", "Invalid answer: the connection ended in it"],
      ["*1048577\r\n", "Invalid answer: it has more than 1048576 elements"],
      ["*1\r\n".repeat(33), "Invalid answer: it is over 32 levels deep"],
      [
        "$536870913\r\n",
        "Invalid answer: it has more than 536870912 bytes of text",
      ],
      [
        "$10\r\n",
        "Invalid answer: it has more than 9 bytes of text",
        "-m",
        "9",
      ],
    ] as const
  ) {
    await using server = await Server.open();
    // Its input stays open: that is no reason to wait.
    await using program = server.start(...args);
    await program.send("GET k");
    assertEquals(await server.command(), ["GET", "k"]);
    await server.say(data);
    if (!data.endsWith("\r\n") || data === "") await server.conn.closeWrite();
    assertOneLine(await program.ended(), new RegExp(`^error: ${line}$`, "m"));
  }
});

Deno.test("redis_client ends when the server does, although its input goes on", async () => {
  await using server = await Server.open();
  await using program = server.start();
  await server.accept();
  await program.send("PING");
  assertEquals(await server.command(), ["PING"]);
  await server.say("+PONG\r\n");
  assertEquals(await program.line(), "PONG");
  server.conn.close();
  assertOneLine(
    await endedByItself(program),
    /^error: .* closed the connection$/m,
  );
});

/** How a program ends whose input stays open. */
async function endedByItself(program: Program) {
  // Its output ends with it.
  await program.line().then(
    (line) => {
      throw new Error(`another line: ${line}`);
    },
    () => {},
  );
  return await program.ended();
}

Deno.test("redis_client does not wait for the messages of a command that was refused", async () => {
  for (const commands of [["SUBSCRIBE"], ["SUBSCRIBE", "GET k", "MONITOR"]]) {
    await using server = await Server.open();
    await using program = server.start();
    await server.accept();
    for (const command of commands) {
      await program.send(command);
      await server.command();
    }
    await program.endInput();
    for (const command of commands) {
      await server.say(command === "GET k" ? ":1\r\n" : "-ERR no\r\n");
    }
    const { code, stdout, stderr } = await program.ended();
    const lines = commands.map((command) =>
      command === "GET k" ? "(integer) 1\n" : "(error) ERR no\n"
    );
    assertEquals({ code, stdout, stderr }, {
      code: 1,
      stdout: lines.join(""),
      stderr: "",
    });
  }
});

Deno.test("redis_client ends with QUIT, although its input goes on", async () => {
  for (const hasSubscribed of [false, true]) {
    await using server = await Server.open();
    await using program = server.start();
    await server.accept();
    if (hasSubscribed) {
      await program.send("SUBSCRIBE a");
      assertEquals(await server.command(), ["SUBSCRIBE", "a"]);
      await server.say("+subscribed\r\n+message\r\n");
      assertEquals(await program.line(), "subscribed");
      assertEquals(await program.line(), "message");
    }
    await program.send("quit\nPING");
    assertEquals(await server.command(), ["quit"]);
    await server.say("+OK\r\n");
    await server.conn.closeWrite();
    assertEquals(await program.line(), "OK");
    const { code, stderr } = await endedByItself(program);
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    assertEquals(await server.command(), undefined);
  }
});

Deno.test("redis_client --resp3 greets the server, and what it pushes answers nothing", async () => {
  for (const flag of ["--resp3", "-3"]) {
    await using server = await Server.open();
    await using program = server.start(flag, "CONFIG", "GET", "x");
    assertEquals(await server.command(), ["HELLO", "3"]);
    await server.say("%1\r\n+server\r\n+test\r\n");
    assertEquals(await server.command(), ["CONFIG", "GET", "x"]);
    await server.say(">2\r\n+invalidate\r\n+k\r\n%1\r\n+x\r\n#t\r\n");
    assertEquals(linesOf(await program.ended()), [
      "1> invalidate",
      "2> k",
      "1# x => (true)",
    ]);
  }
});

Deno.test("redis_client --resp3 says it when a server speaks RESP2 only", async () => {
  for (
    const [data, line] of [
      ["-ERR unknown \x1bcommand\r\n", "ERR unknown \\\\x1bcommand"],
      ["+OK\r\n", "no greeting"],
    ] as const
  ) {
    await using server = await Server.open();
    await using program = server.start("--resp3", "PING");
    assertEquals(await server.command(), ["HELLO", "3"]);
    await server.say(data);
    assertOneLine(
      await program.ended(),
      new RegExp(
        `^error: tcp://127\\.0\\.0\\.1:\\d+ does not speak RESP3: ${line}$`,
        "m",
      ),
    );
  }
});

Deno.test({
  name:
    "redis_client prints messages until it is stopped, whatever it waits for",
  ignore: Deno.build.os === "windows",
  async fn() {
    for (const isResp3 of [false, true]) {
      await using server = await Server.open();
      await using program = server.start(
        ...(isResp3 ? ["-3"] : []),
        "SUBSCRIBE",
        "a",
      );
      if (isResp3) {
        assertEquals(await server.command(), ["HELLO", "3"]);
        await server.say("%0\r\n");
      }
      assertEquals(await server.command(), ["SUBSCRIBE", "a"]);
      const mark = isResp3 ? ">" : "*";
      for (const word of ["subscribe", "message", "message"]) {
        await server.say(`${mark}1\r\n+${word}\r\n`);
        assertEquals(await program.line(), `1${isResp3 ? ">" : ")"} ${word}`);
      }
      program.kill(isResp3 ? "SIGTERM" : "SIGINT");
      const { code, stdout, stderr } = await endedByItself(program);
      assertEquals({ code, stdout, stderr }, {
        code: 0,
        stdout: "",
        stderr: "",
      });
    }
    // An answer that does not come, and output that nobody takes.
    for (const isLong of [false, true]) {
      await using server = await Server.open();
      await using program = server.start("--raw", "GET", "k");
      assertEquals(await server.command(), ["GET", "k"]);
      if (isLong) {
        await server.say(`$${2 ** 24}\r\n`);
        await server.say(new Uint8Array(2 ** 24).fill(10));
        await server.say("\r\n");
        // It has begun to print, and cannot end that.
        assertEquals(await program.line(), "");
      }
      program.kill("SIGINT");
      const { code, stderr } = await program.ended();
      assertEquals({ code, stderr }, { code: 0, stderr: "" });
    }
  },
});
