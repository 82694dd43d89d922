/** The DNS client: its messages byte by byte, and the program against servers that mean it well or ill. */

import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import * as fc from "fast-check";
import { BufferedReader, encodeFrame, writeFrame } from "../framing.ts";
import { listenTcp, type TcpConn } from "../tcp.ts";
import { bindUdp, type UdpSocket } from "../udp.ts";
import {
  decodeMessage,
  DnsError,
  encodeName,
  encodeQuery,
  isAnswer,
  type Message,
  rcodeText,
  recordText,
  reverseName,
  typeName,
  TYPES,
} from "../examples/_dns.ts";
import { utf8 } from "./_bytes.ts";
import { canListen } from "./_pairs.ts";
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

// Messages made by hand

const [A, CNAME, SOA, PTR, MX, TXT, AAAA, SRV] = [1, 5, 6, 12, 15, 16, 28, 33];

/** Numbers and texts as bytes. */
function join(...parts: (number | string | Uint8Array | number[])[]) {
  return Uint8Array.from(
    parts.flatMap((part) =>
      typeof part === "number"
        ? [part]
        : [...(typeof part === "string" ? utf8(part) : part)]
    ),
  );
}

const u16 = (value: number) => [value >> 8, value & 255];
const u32 = (value: number) => [...u16(value >>> 16), ...u16(value & 0xffff)];

/** Labels with their lengths; no dot, no end. */
const labels = (...texts: string[]) =>
  join(...texts.map((text) => join(text.length, text)));

/** A name in full. */
const name = (text: string) => join(labels(...text.split(".")), 0);

/** The question's name, which always stands behind the header. */
const ASKED = [0xc0, 12];

/** A record. */
const record = (
  owner: Uint8Array | number[],
  type: number,
  data: Uint8Array | number[],
  { ttl = 60, size = data.length, class: kind = 1 } = {},
) => join(owner, u16(type), u16(kind), u32(ttl), u16(size), data);

interface Head {
  readonly id?: number;
  readonly flags?: number;
  readonly counts?: readonly [number, number, number, number];
}

/** A message about `host.test`, if no other question is given. */
function message(
  records: readonly Uint8Array[] = [],
  { id = 7, flags = 0x8180, counts = [1, records.length, 0, 0] }: Head = {},
  question: Uint8Array = join(name("host.test"), u16(A), u16(1)),
) {
  return join(u16(id), u16(flags), ...counts.map(u16), question, ...records);
}

/** An answer to a query that has come. */
const answer = (
  query: Uint8Array,
  records: readonly Uint8Array[] = [],
  head: Head = {},
) =>
  message(
    records,
    { id: query[0]! << 8 | query[1]!, ...head },
    query.slice(12),
  );

const host = record(ASKED, A, [192, 0, 2, 1]);

/** What is asked in a query: its name, as labels, and its type. */
function askedIn(query: Uint8Array): [string, number] {
  const end = query.indexOf(0, 12);
  return [
    String.fromCharCode(...query.subarray(12, end)),
    query[end + 1]! << 8 | query[end + 2]!,
  ];
}

/** The one record of a message, as a line. */
function lineOf(type: number, data: Uint8Array | number[]): string {
  const { answers } = decodeMessage(message([record(ASKED, type, data)]));
  assertEquals(answers.length, 1);
  return recordText(answers[0]!);
}

// The codec

Deno.test("a question is a header, a name, a type and a class", () => {
  assertEquals(
    encodeQuery(0x1234, "a.host.test", AAAA),
    join(
      [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
      name("a.host.test"),
      [0, 28, 0, 1],
    ),
  );
  assertEquals(encodeName("."), join(0));
  assertEquals(encodeName("a.test."), encodeName("a.test"));
  assertEquals(
    encodeName("a\\.b\\\\\\001\\255.T"),
    join(6, "a.b\\", 1, 255, 1, "T", 0),
  );
  assertEquals(encodeName("a\\."), join(2, "a.", 0));
  assertEquals(encodeName("a\\\\."), join(2, "a\\", 0));
});

Deno.test("names are as long as they may be, and no longer", () => {
  const long = "x".repeat(63);
  assertEquals(encodeName(`${long}.test`).length, 64 + 5 + 1);
  const longest = `${long}.${long}.${long}.${"x".repeat(61)}`;
  assertEquals(encodeName(longest).length, 255);
  for (
    const [text, what] of [
      ["", "it is empty"],
      ["..", "a label is empty"],
      [".a", "a label is empty"],
      ["a..b", "a label is empty"],
      ["a..", "a label is empty"],
      [`${long}x`, "a label has over 63 bytes"],
      [`${longest}x`, "it has over 255 bytes"],
      ["a b", "expected printable ASCII; other letters need their xn-- form"],
      [
        "b\u00fccher.test",
        "expected printable ASCII; other letters need their xn-- form",
      ],
      ["a\x1b", "expected printable ASCII; other letters need their xn-- form"],
      ["a\\256", "\\256 is no byte"],
      ["a\\1b", "a backslash is left alone"],
      ["a\\", "a backslash is left alone"],
    ] as const
  ) {
    assertThrows(
      () => encodeName(text),
      DnsError,
      `Invalid name ${text}: ${what}`,
    );
  }
});

Deno.test("an address has a name of its own", () => {
  assertEquals(reverseName("192.0.2.10"), "10.2.0.192.in-addr.arpa.");
  assertEquals(
    reverseName("2001:db8::1"),
    `1.${"0.".repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa.`,
  );
  for (const text of ["192.0.2", "host.test", "fe80::1%lo", ""]) {
    assertEquals(reverseName(text), undefined);
  }
});

Deno.test("each type of record has its text", () => {
  const mail = join(labels("mail"), ASKED);
  for (
    const [type, data, expected] of [
      [A, [192, 0, 2, 1], "A 192.0.2.1"],
      [
        AAAA,
        [0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1],
        "AAAA 2001:db8:0:1::1",
      ],
      [AAAA, new Uint8Array(16), "AAAA ::"],
      [CNAME, mail, "CNAME mail.host.test."],
      [2, [0], "NS ."],
      [PTR, name("a.b"), "PTR a.b."],
      [MX, join(u16(300), mail), "MX 300 mail.host.test."],
      [
        SRV,
        join(u16(1), u16(2), u16(443), mail),
        "SRV 1 2 443 mail.host.test.",
      ],
      [
        SOA,
        join(ASKED, mail, ...[1, 2, 3, 4, 0xffffffff].map(u32)),
        "SOA host.test. mail.host.test. 1 2 3 4 4294967295",
      ],
      [TXT, join(5, "hello", 0, 3, 'a"\\'), 'TXT "hello" "" "a\\"\\\\"'],
      [65, [1, 2, 0xff], "TYPE65 \\# 3 0102ff"],
      [65, [], "TYPE65 \\# 0"],
    ] as const
  ) {
    assertEquals(
      lineOf(type, data as Uint8Array),
      `host.test. 60 IN ${expected}`,
    );
  }
});

Deno.test("a record's class and its time to live are told as they are", () => {
  const { answers } = decodeMessage(message([
    record(ASKED, TXT, join(1, "a"), { ttl: 2 ** 31 - 1 }),
    // Its highest bit makes it zero (RFC 2181).
    record(ASKED, TXT, join(1, "a"), { ttl: 2 ** 31 }),
    record(ASKED, TXT, join(1, "a"), { class: 3 }),
  ]));
  assertEquals(answers.map(recordText), [
    'host.test. 2147483647 IN TXT "a"',
    'host.test. 0 IN TXT "a"',
    "host.test. 60 CLASS3 TXT \\# 2 0161",
  ]);
});

Deno.test("nothing that a terminal obeys is left in a text", () => {
  assertEquals(
    lineOf(TXT, join(10, "\x1b[31m\n\x07\x7f", [0xc3, 0x9b])),
    'host.test. 60 IN TXT "\\027[31m\\010\\007\\127\\195\\155"',
  );
  assertEquals(
    lineOf(PTR, join(8, '\x1b.\\ ";@$', 2, "()", 0)),
    'host.test. 60 IN PTR \\027\\.\\\\\\032\\"\\;\\@\\$.\\(\\).',
  );
});

Deno.test("what is asked tells an answer from everything else", () => {
  const [query] = decodeMessage(encodeQuery(7, "Host.Test", A)).questions;
  const is = (bytes: Uint8Array) => isAnswer(decodeMessage(bytes), 7, query!);
  const question = join(name("host.test"), u16(A), u16(1));
  assert(is(message()));
  assert(is(message([host])));
  assert(!is(message([], { id: 8 })));
  assert(!is(message([], { flags: 0x0180 })));
  assert(!is(message([], { counts: [0, 0, 0, 0] })));
  assert(!is(message([], { counts: [2, 0, 0, 0] }, join(question, question))));
  for (
    const other of [
      join(name("hos.test"), u16(A), u16(1)),
      join(name("host.test"), u16(AAAA), u16(1)),
      join(name("host.test"), u16(A), u16(3)),
      // One label with a dot in it is not two.
      join(9, "host.test", 0, u16(A), u16(1)),
    ]
  ) assert(!is(message([], {}, other)));
});

Deno.test("a truncated message has no records, wherever it was cut", () => {
  const whole = message([host, host], { flags: 0x8380 });
  for (let length = whole.length; length >= 27; length--) {
    const cut = decodeMessage(whole.subarray(0, length));
    assertEquals([cut.isTruncated, cut.questions.length], [true, 1]);
    assertEquals(cut.answers, []);
  }
  assertThrows(() => decodeMessage(whole.subarray(0, 26)), DnsError);
});

Deno.test("the sections of a message are told apart, and what follows them is not read", () => {
  const bytes = message([
    host,
    record(ASKED, 2, name("ns")),
    record(name("ns"), A, [1, 2, 3, 4]),
  ], { counts: [1, 1, 1, 1], flags: 0x8183 });
  const decoded = decodeMessage(join(bytes, 1, 2, 3));
  assertEquals(decoded.rcode, 3);
  assertEquals(
    [decoded.answers, decoded.authorities, decoded.additionals].map((records) =>
      records.map(recordText)
    ),
    [
      ["host.test. 60 IN A 192.0.2.1"],
      ["host.test. 60 IN NS ns."],
      ["ns. 60 IN A 1.2.3.4"],
    ],
  );
  // It may be a part of something larger.
  assertEquals(decodeMessage(join(9, bytes).subarray(1)), decodeMessage(bytes));
});

Deno.test("pointers go back, to the start of a name or into one", () => {
  // 12: host.test, 27: www + pointer to 17 (test), 33: pointer to 27, from behind it.
  const { answers } = decodeMessage(message([
    record(join(labels("www"), [0xc0, 17]), CNAME, [0xc0, 27]),
    record([0xc0, 27], CNAME, join(labels("a"), [0xc0, 43])),
  ]));
  assertEquals(answers.map(recordText), [
    "www.test. 60 IN CNAME www.test.",
    "www.test. 60 IN CNAME a.www.test.",
  ]);
});

/** Bytes that are no message, and why. */
const bad: [string, Uint8Array, string][] = [
  ["nothing", join(), "it ends too early"],
  ["half a header", message().subarray(0, 11), "it ends too early"],
  ["half a question", message().subarray(0, 20), "it ends too early"],
  ["no class", message().subarray(0, 26), "it ends too early"],
  [
    "more records than there are",
    message([host], { counts: [1, 65535, 0, 0] }),
    "it ends too early",
  ],
  [
    "more questions than there are",
    message([], { counts: [65535, 0, 0, 0] }),
    "it ends too early",
  ],
  [
    "more authorities than there are",
    message([], { counts: [1, 0, 1, 0] }),
    "it ends too early",
  ],
  [
    "more of the rest than there is",
    message([], { counts: [1, 0, 0, 1] }),
    "it ends too early",
  ],
  [
    "data that is not there",
    message([record(ASKED, A, [1, 2, 3, 4], { size: 5 })]),
    "it ends too early",
  ],
  [
    "a pointer to itself",
    message([record([0xc0, 27], A, [1, 2, 3, 4])]),
    "a name goes in a circle",
  ],
  [
    "a pointer to its own label",
    message([record(join(labels("a"), [0xc0, 27]), A, [1, 2, 3, 4])]),
    "a name goes in a circle",
  ],
  [
    "a pointer forwards",
    message([record([0xc0, 50], A, [1, 2, 3, 4])]),
    "a name goes in a circle",
  ],
  ["half a pointer", message([join(0xc0)]), "it ends too early"],
  [
    "two that point at each other",
    message([record([0xc0, 39], CNAME, [0xc0, 27])]),
    "a name goes in a circle",
  ],
  [
    "a label of a kind that is none",
    message([record([0x40], A, [1, 2, 3, 4])]),
    "no such kind of label",
  ],
  [
    "another one",
    message([record([0x80], A, [1, 2, 3, 4])]),
    "no such kind of label",
  ],
  [
    "a label longer than the message",
    message([join(63, "abc")]),
    "it ends too early",
  ],
];
for (
  const [type, short, long] of [
    [A, 3, 5],
    [AAAA, 15, 17],
    [MX, 1, 4],
    [SRV, 5, 8],
    [SOA, 21, 23],
    [CNAME, 0, 2],
    [TXT, 0, undefined],
  ] as const
) {
  const cut = "it ends too early";
  const data = (size: number) => record(ASKED, type, new Uint8Array(size));
  const next = record(ASKED, TXT, new Uint8Array(30));
  bad.push([`a short ${typeName(type)}`, message([data(short), next]), cut]);
  if (long !== undefined) {
    const line = `a ${typeName(type)} record is too long`;
    bad.push([`a long ${typeName(type)}`, message([data(long), next]), line]);
  }
}
bad.push(
  [
    "a text that goes on behind its record",
    message([record(ASKED, TXT, join(9, "abc")), host]),
    "it ends too early",
  ],
  [
    "a name that goes on behind its record",
    message([record(ASKED, CNAME, join(9, "abc")), host]),
    "it ends too early",
  ],
);
for (const [what, bytes, line] of bad) {
  Deno.test(`no message: ${what}`, () => {
    assertThrows(
      () => decodeMessage(bytes),
      DnsError,
      `Invalid DNS message: ${line}`,
    );
  });
}

Deno.test("a name is at most 255 bytes long, however it is put together", () => {
  // Each record's name is the one before with 50 bytes more.
  const records: Uint8Array[] = [];
  let at = 27;
  let before = 12;
  for (let i = 0; i < 5; i++) {
    const owner = join(labels("x".repeat(49)), [
      0xc0 | before >> 8,
      before & 255,
    ]);
    records.push(record(owner, A, [1, 2, 3, 4]));
    before = at;
    at += records.at(-1)!.length;
  }
  // 11 bytes of host.test and 4 times 50 are fine.
  const { answers } = decodeMessage(message(records.slice(0, 4)));
  assertEquals(answers.at(-1)!.name.length, 4 * 50 + 10);
  assertThrows(
    () => decodeMessage(message(records)),
    DnsError,
    "a name has over 255 bytes",
  );
  const full = join(...Array(3).fill(labels("x".repeat(63))));
  const longest = record(join(full, labels("x".repeat(61)), 0), TXT, [0]);
  const tooLong = record(join(full, labels("x".repeat(62)), 0), TXT, [0]);
  assertEquals(decodeMessage(message([longest])).answers.length, 1);
  assertThrows(() => decodeMessage(message([tooLong])), DnsError, "255 bytes");
});

Deno.test("a chain of pointers has as many as a name has labels", () => {
  // Data full of pointers, each to the one before; the first to the question.
  const chain = (count: number) => {
    const start = 27 + 12;
    const pointers = Array.from({ length: count }, (_, i) => {
      const target = i === 0 ? 12 : start + 2 * (i - 1);
      return [0xc0 | target >> 8, target & 255];
    });
    return message([
      record(ASKED, 65, join(...pointers)),
      record(pointers.at(-1)!.map((byte, i) => i === 1 ? byte + 2 : byte), A, [
        1,
        2,
        3,
        4,
      ]),
    ]);
  };
  assertEquals(decodeMessage(chain(60)).answers[1]!.name, "host.test.");
  assertEquals(decodeMessage(chain(100)).answers[1]!.name, "host.test.");
  assertThrows(() => decodeMessage(chain(127)), DnsError, "in a circle");
});

/** Whether a message's texts are bounded by what names and records can be. */
function assertBounded(decoded: Message, bytes: Uint8Array): void {
  const { questions, answers, authorities, additionals } = decoded;
  const all = [...answers, ...authorities, ...additionals];
  assert(questions.length * 5 + all.length * 11 <= bytes.length);
  for (const { name } of [...questions, ...all]) {
    assert(name.length <= 4 * 255, "a name is bounded");
    assertMatch(name, /^[\x21-\x7e]+$/);
  }
  for (const { data } of all) {
    assert(data.length <= 4 * bytes.length + 3 * 4 * 255);
    assertMatch(data, /^[\x20-\x7e]+$/);
  }
}

/** Decodes bytes: to a bounded message, or to the one error. */
function decodeAny(bytes: Uint8Array): Message | undefined {
  try {
    const decoded = decodeMessage(bytes);
    assertBounded(decoded, bytes);
    return decoded;
  } catch (error) {
    assert(error instanceof DnsError, String(error));
    return undefined;
  }
}

Deno.test("any bytes are a message or the one error", () => {
  const byte = fc.oneof(
    fc.constantFrom(0, 1, 12, 0xc0, 0xc1, 0xff, 63, 5),
    fc.nat(255),
  );
  fc.assert(fc.property(
    fc.array(byte, { maxLength: 600 }),
    (bytes) => void decodeAny(Uint8Array.from(bytes)),
  ));
  const whole = message([
    record(join(labels("www"), [0xc0, 17]), CNAME, [0xc0, 27]),
    record(ASKED, SOA, join(ASKED, labels("a"), ASKED, new Uint8Array(20))),
    record(ASKED, TXT, join(3, "abc", 2, "de")),
    record(ASKED, SRV, join(new Uint8Array(6), labels("b"), [0xc0, 27])),
  ]);
  assertEquals(decodeAny(whole)!.answers.length, 4);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(whole.length - 1), byte), { maxLength: 4 }),
      fc.nat(whole.length),
      (changes, length) => {
        const bytes = whole.slice(0, length);
        for (const [at, value] of changes) {
          if (at < length) bytes[at] = value;
        }
        decodeAny(bytes);
      },
    ),
    { numRuns: 1000 },
  );
});

Deno.test("the largest message of the worst kind is a bounded work", () => {
  // A long name, and as many records as fit that point at it; then as many long chains.
  const long = join(
    ...Array(3).fill(labels("\x01".repeat(63))),
    labels("\x01".repeat(61)),
    0,
  );
  const question = join(long, u16(A), u16(1));
  const records = Array(3800).fill(record(ASKED, CNAME, ASKED));
  const bytes = message(records, {}, question);
  assert(bytes.length < 65536);
  const { answers } = decodeAny(bytes)!;
  assertEquals(answers.length, 3800);
  assertEquals(answers[0]!.data.length, 4 * 250 + 4);
  // One record whose data is a chain, and thousands of names at its end.
  const start = 27 + 12;
  const chain = join(...Array.from({ length: 8000 }, (_, i) => {
    const target = i === 0 ? 12 : start + 2 * (i - 1);
    return [0xc0 | target >> 8, target & 255];
  }));
  const end = start + chain.length - 2;
  assert(end < 0x4000);
  assertEquals(
    decodeAny(message([
      record(ASKED, 65, chain),
      ...Array(3000).fill(
        record([0xc0 | end >> 8, end & 255], A, [1, 2, 3, 4]),
      ),
    ])),
    undefined,
  );
});

Deno.test("names are the same after they have been bytes", () => {
  const label = fc.uint8Array({ minLength: 1, maxLength: 63 });
  fc.assert(fc.property(fc.array(label, { maxLength: 5 }), (parts) => {
    const bytes = join(...parts.map((part) => join(part.length, part)), 0);
    fc.pre(bytes.length <= 255);
    const [question] =
      decodeMessage(message([], {}, join(bytes, u16(A), u16(1)))).questions;
    assertEquals(encodeName(question!.name), bytes);
    assertEquals(encodeQuery(1, question!.name, A).slice(12, -4), bytes);
  }));
});

Deno.test("types and codes have their names, and those without have numbers", () => {
  assertEquals([...TYPES.values()].sort((a, b) => a - b), [
    1,
    2,
    5,
    6,
    12,
    15,
    16,
    28,
    33,
  ]);
  assertEquals([typeName(33), typeName(99)], ["SRV", "TYPE99"]);
  assertMatch(rcodeText(3), /^NXDOMAIN: /);
  assertEquals(rcodeText(11), "RCODE11");
});

// The program

Deno.test("dns_query says its grants: the net, and a file that may name the server", () => {
  assertEquals(commandsOf("dns_query"), [
    ["--allow-net"],
    ["--allow-net"],
    ["--allow-net", "--allow-read=/etc/resolv.conf"],
  ]);
});

Deno.test("dns_query --help says how, and what is wrong is one clear line", async () => {
  const { code, stdout, stderr } = await runProgram("dns_query", "--help");
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /\n\nUsage: dns_query\.ts \[OPTIONS\] NAME \[TYPE/);
  for (const option of ["server", "timeout", "retries", "tcp", "help"]) {
    assert(stdout.includes(` --${option} `), option);
  }
  const server = ["--server", "127.0.0.1:9"];
  const long = "x".repeat(64);
  for (
    const [args, line] of [
      [["--loud"], "unknown option --loud; see --help"],
      [[], "one NAME, please; see --help"],
      [
        ["host.test"],
        "who is asked\\? --server HOST:PORT, or --allow-read=/etc/resolv.conf",
      ],
      [
        [...server, "host.test", "WKS"],
        "unknown type WKS; expected one of A,NS,.*",
      ],
      [[...server, long], `Invalid name ${long}: a label has over 63 bytes`],
      [
        [...server, "h\u00f6st.test"],
        "Invalid name h\u00f6st.test: expected printable ASCII; .*",
      ],
      // One line, of which a terminal obeys nothing.
      [
        [...server, "a\n\x1b[31m"],
        "Invalid name a\\\\u\\{a\\}\\\\u\\{1b\\}\\[31m: expected printable ASCII; .*",
      ],
      [["--server", "127.0.0.1", "host.test"], "Invalid address .*no port.*"],
      [["--server", "127.0.0.1:0", "host.test"], "Invalid port: .*"],
      [
        [...server, "--retries", "11", "host.test"],
        "invalid --retries 11: expected an integer from 0 to 10",
      ],
      [[...server, "--timeout", "0", "host.test"], "invalid --timeout 0: .*"],
    ] as const
  ) {
    assertOneLine(
      await runProgram("dns_query", ...args),
      new RegExp(`^error: ${line}$`, "m"),
    );
  }
});

Deno.test("dns_query asks whom the system names, where it may read that", async () => {
  // Without a grant for the server nobody is asked.
  const [command, ...flags] = commandOf("dns_query", [
    "--allow-net=0.0.0.0:0,[::]:0",
    "--allow-read=/etc/resolv.conf",
  ]);
  await using program = new Program(command!, [...flags, "host.test"]);
  let conf = "";
  try {
    conf = await Deno.readTextFile("/etc/resolv.conf");
  } catch {
    // This system has no such file.
  }
  const named = /^\s*nameserver\s+(\S+)/m.exec(conf)?.[1];
  assertOneLine(
    await program.ended(),
    named === undefined
      ? /^error: no name server in \/etc\/resolv.conf; /m
      : new RegExp(`^error: .*net access to "\\[?${named}\\]?:53", run`, "m"),
  );
});

/** A name server that a test is: what it gets and sends, over both transports on one port. */
interface Server extends AsyncDisposable {
  readonly udp: UdpSocket;
  readonly accept: () => Promise<TcpConn>;
  readonly port: number;
  readonly start: (...args: string[]) => Program;
}

/** A query may take as long as a busy machine needs; who waits for one that does not come fails at last. */
const PATIENCE = 60_000;
const PATIENT = ["--timeout", String(PATIENCE)];

async function listen(hostname = "127.0.0.1"): Promise<Server> {
  for (;;) {
    const port = freePort();
    try {
      const tcp = await listenTcp({ hostname, port });
      try {
        const udp = await bindUdp({ hostname, port });
        const at = hostname.includes(":") ? `[${hostname}]` : hostname;
        udp.timeout = PATIENCE;
        return {
          udp,
          accept: () => tcp.accept({ signal: AbortSignal.timeout(PATIENCE) }),
          port,
          start: (...args) =>
            startProgram("dns_query", ["--server", `${at}:${port}`, ...args]),
          async [Symbol.asyncDispose]() {
            await udp[Symbol.asyncDispose]();
            await tcp[Symbol.asyncDispose]();
          },
        };
      } catch (error) {
        tcp.close();
        throw error;
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}

Deno.test("dns_query prints addresses of both kinds, and the way to them once", async () => {
  await using server = await listen();
  await using program = server.start(...PATIENT, "www.test");
  const alias = record(ASKED, CNAME, name("host.test"), { ttl: 300 });
  const first = await server.udp.receive();
  assertEquals(first.data.slice(2), encodeQuery(0, "www.test", A).slice(2));
  await server.udp.send(
    answer(first.data, [alias, record(name("host.test"), A, [192, 0, 2, 1])]),
    first.addr,
  );
  const second = await server.udp.receive();
  assertEquals(askedIn(second.data), ["\x03www\x04test", AAAA]);
  await server.udp.send(
    answer(second.data, [
      record(ASKED, CNAME, name("host.test"), { ttl: 299 }),
      record(name("host.test"), AAAA, [
        0x20,
        1,
        0xd,
        0xb8,
        ...Array(12).fill(1),
      ]),
    ]),
    second.addr,
  );
  assertEquals(linesOf(await program.ended()), [
    "www.test. 300 IN CNAME host.test.",
    "host.test. 60 IN A 192.0.2.1",
    "host.test. 60 IN AAAA 2001:db8:101:101:101:101:101:101",
  ]);
});

Deno.test({
  name: "dns_query asks a server of IPv6 for each type once, in their order",
  ignore: !canListen("::1"),
  async fn() {
    await using server = await listen("::1");
    await using program = server.start(...PATIENT, "x.test", "mx", "TXT", "MX");
    const mx = await server.udp.receive();
    assertEquals(askedIn(mx.data), ["\x01x\x04test", MX]);
    await server.udp.send(
      answer(mx.data, [record(ASKED, MX, join(u16(5), labels("m"), ASKED))]),
      mx.addr,
    );
    const txt = await server.udp.receive();
    assertEquals(askedIn(txt.data), ["\x01x\x04test", TXT]);
    await server.udp.send(
      answer(txt.data, [record(ASKED, TXT, join(4, "\x1b[2J"))]),
      txt.addr,
    );
    assertEquals(linesOf(await program.ended()), [
      "x.test. 60 IN MX 5 m.x.test.",
      'x.test. 60 IN TXT "\\027[2J"',
    ]);
  },
});

Deno.test("dns_query asks for the name of an address", async () => {
  await using server = await listen();
  await using program = server.start(...PATIENT, "192.0.2.9");
  const { data, addr } = await server.udp.receive();
  assertEquals(askedIn(data), [
    "\x019\x012\x010\x03192\x07in-addr\x04arpa",
    PTR,
  ]);
  await server.udp.send(
    answer(data, [record(ASKED, PTR, join(labels("\x1b]0;x\x07", "test"), 0))]),
    addr,
  );
  assertEquals(linesOf(await program.ended()), [
    "9.2.0.192.in-addr.arpa. 60 IN PTR \\027]0\\;x\\007.test.",
  ]);
});

Deno.test("dns_query hears the answer only, whatever comes before it", async () => {
  await using server = await listen();
  await using other = await bindUdp({ hostname: "127.0.0.1" });
  await using program = server.start(...PATIENT, "host.test", "A");
  const { data, addr } = await server.udp.receive();
  const wrong = record(ASKED, A, [6, 6, 6, 6]);
  const id = data[0]! << 8 | data[1]!;
  // Everything is right with it, but who sends it.
  await other.send(answer(data, [wrong]), addr);
  for (
    const bytes of [
      join(),
      data,
      answer(data, [wrong], { id: id ^ 1 }),
      answer(data, [wrong], { id: id ^ 0x8000 }),
      answer(data, [wrong], { flags: 0x0180 }),
      answer(data, [wrong], { counts: [1, 2, 0, 0] }),
      answer(data, [wrong]).subarray(0, -1),
      message([wrong], { id }, join(name("evil.test"), u16(A), u16(1))),
      message([wrong], { id }, join(name("host.test"), u16(TXT), u16(1))),
      message([wrong], { id, counts: [0, 1, 0, 0] }, join()),
      join(u16(id), crypto.getRandomValues(new Uint8Array(8)), 0, 0),
    ]
  ) await server.udp.send(bytes, addr);
  await server.udp.send(answer(data, [host]), addr);
  assertEquals(linesOf(await program.ended()), [
    "host.test. 60 IN A 192.0.2.1",
  ]);
});

Deno.test("dns_query asks again where no answer comes, with the same question", async () => {
  await using server = await listen();
  await using program = server.start("-t", "300", "-r", "10", "host.test", "A");
  const first = await server.udp.receive();
  const second = await server.udp.receive();
  assertEquals(second, first);
  // Late answers count, so one to the first question is enough.
  await server.udp.send(answer(first.data, [host]), first.addr);
  assertEquals(linesOf(await program.ended()), [
    "host.test. 60 IN A 192.0.2.1",
  ]);
});

Deno.test("dns_query gives up after the retries that it was allowed", async () => {
  for (const [retries, count] of [["0", 1], ["2", 3]] as const) {
    await using server = await listen();
    await using program = server.start("-t", "20", "-r", retries, "host.test");
    assertOneLine(
      await program.ended(),
      new RegExp(
        `^error: no answer from 127\\.0\\.0\\.1:${server.port} in ${count} x 20 ms$`,
        "m",
      ),
    );
    // What is behind them all has been sent after them all.
    await using marker = await bindUdp({ hostname: "127.0.0.1" });
    await marker.send(join("end"), server.udp.addr);
    for (let i = 0; i < count; i++) {
      assertEquals(askedIn((await server.udp.receive()).data)[1], A);
    }
    assertEquals((await server.udp.receive()).data, join("end"));
  }
});

Deno.test("dns_query waits no longer because wrong answers keep coming", async () => {
  await using server = await listen();
  await using program = server.start("-t", "400", "-r", "0", "host.test");
  const { data, addr } = await server.udp.receive();
  let isOver = false;
  const ended = program.ended().finally(() => isOver = true);
  const guard = setTimeout(() => program.kill("SIGKILL"), PATIENCE);
  // Without an end: only the program's own timeout ends this.
  while (!isOver) {
    await server.udp.send(answer(data, [host], { id: ~data[0]! & 255 }), addr);
  }
  clearTimeout(guard);
  assertOneLine(
    await ended,
    /^error: no answer from 127\.0\.0\.1:\d+ in 1 x 400 ms, but [1-9]\d* datagrams of other kinds$/m,
  );
});

Deno.test("dns_query asks over TCP what is too long for a datagram", async () => {
  await using server = await listen();
  await using program = server.start(...PATIENT, "host.test", "TXT");
  const texts = Array.from(
    { length: 250 },
    (_, i) => record(ASKED, TXT, join(240, `${i} `.padEnd(240, "x"))),
  );
  const { data, addr } = await server.udp.receive();
  const whole = answer(data, texts, { flags: 0x8380 });
  await server.udp.send(whole.subarray(0, 500), addr);
  using conn = await server.accept();
  const query = await new BufferedReader(conn).readFrame({ bytes: 2 });
  assertEquals(query!.slice(2), data.slice(2));
  assertNotEquals(texts.length, 0);
  // The length comes in two pieces, and the message in many.
  const frame = encodeFrame(answer(query!, texts), { bytes: 2 });
  for (let at = 0; at < frame.length; at += at < 4 ? 1 : 9999) {
    await conn.writeAll(frame.subarray(at, at + (at < 4 ? 1 : 9999)));
  }
  const lines = linesOf(await program.ended());
  assertEquals(lines.length, 250);
  assertEquals(
    lines[249],
    `host.test. 60 IN TXT "${"249 ".padEnd(240, "x")}"`,
  );
});

/** What comes of what a server does over TCP. */
async function overTcp(
  reply: (query: Uint8Array) => Uint8Array,
  ...args: string[]
) {
  await using server = await listen();
  await using program = server.start("--tcp", ...args, "host.test", "A");
  const conn = await server.accept();
  const query = await new BufferedReader(conn).readFrame({ bytes: 2 });
  await conn.writeAll(reply(query!));
  // Nobody has been asked over UDP before.
  await using marker = await bindUdp({ hostname: "127.0.0.1" });
  await marker.send(join("end"), server.udp.addr);
  assertEquals((await server.udp.receive()).data, join("end"));
  if (args.length === 0) await conn.closeGracefully();
  const ended = await program.ended();
  conn.close();
  return ended;
}

Deno.test("dns_query --tcp asks over TCP at once", async () => {
  const good = (query: Uint8Array) =>
    encodeFrame(answer(query, [host]), { bytes: 2 });
  const expected = ["host.test. 60 IN A 192.0.2.1"];
  assertEquals(linesOf(await overTcp(good)), expected);
  // The connection need not end for that.
  assertEquals(linesOf(await overTcp(good, ...PATIENT)), expected);
});

Deno.test("dns_query says what is wrong with an answer over TCP", async () => {
  const frame = (bytes: Uint8Array) => encodeFrame(bytes, { bytes: 2 });
  const other = "did not answer what it was asked over TCP";
  const half = "closed in the middle of its answer";
  for (
    const [reply, line] of [
      [() => join(), "127\\.0\\.0\\.1:\\d+ closed without an answer"],
      [() => join(0, 0), "Invalid DNS message: it ends too early"],
      [() => join(0, 12, "half of it"), `127\\.0\\.0\\.1:\\d+ ${half}`],
      [() => join(0), `127\\.0\\.0\\.1:\\d+ ${half}`],
      [
        (query) => frame(answer(query, [host], { counts: [1, 9, 0, 0] })),
        "Invalid DNS message: it ends too early",
      ],
      [
        (query) => frame(answer(query, [host], { id: ~query[0]! & 255 })),
        `127\\.0\\.0\\.1:\\d+ ${other}`,
      ],
      [(query) => frame(query), `127\\.0\\.0\\.1:\\d+ ${other}`],
      [
        (query) => frame(answer(query, [host], { flags: 0x8380 })),
        `127\\.0\\.0\\.1:\\d+ ${other}`,
      ],
    ] as [(query: Uint8Array) => Uint8Array, string][]
  ) assertOneLine(await overTcp(reply), new RegExp(`^error: ${line}$`, "m"));
});

Deno.test("dns_query waits over TCP as long as it is told", async () => {
  await using server = await listen();
  // Nobody accepts it, which the system does not tell.
  await using program = server.start("-T", "-t", "50", "host.test");
  assertOneLine(
    await program.ended(),
    /^error: no answer from 127\.0\.0\.1:\d+ over TCP in 50 ms$/m,
  );
  assertOneLine(
    await runProgram(
      "dns_query",
      "--tcp",
      "-s",
      `127.0.0.1:${freePort()}`,
      "x",
    ),
    /^error: Cannot connect to tcp 127\.0\.0\.1:\d+: Connection refused/m,
  );
});

Deno.test("dns_query says what a server says, behind the records that came with it", async () => {
  for (
    const [rcode, line] of [
      [1, "FORMERR: it does not understand the question"],
      [2, "SERVFAIL: it cannot find the answer"],
      [3, "NXDOMAIN: there is no such name"],
      [4, "NOTIMP: it does not know such questions"],
      [5, "REFUSED: it does not want to answer"],
      [11, "RCODE11"],
    ] as const
  ) {
    await using server = await listen();
    await using program = server.start(...PATIENT, "www.test");
    const { data, addr } = await server.udp.receive();
    const records = rcode === 3 ? [record(ASKED, CNAME, name("no.test"))] : [];
    const flags = 0x8180 | rcode;
    await server.udp.send(answer(data, records, { flags }), addr);
    assertEquals(await program.ended(), {
      code: 1,
      signal: null,
      stdout: rcode === 3 ? "www.test. 60 IN CNAME no.test.\n" : "",
      stderr: `error: www.test A: 127.0.0.1:${server.port} says ${line}\n`,
    });
  }
});

Deno.test("dns_query tells which records a name does not have", async () => {
  for (
    const [[a, aaaa], code, lines] of [
      [[[host], []], 0, [
        "host.test. 60 IN A 192.0.2.1",
        "host.test has no AAAA record",
      ]],
      [[[], []], 1, [
        "host.test has no A record",
        "host.test has no AAAA record",
      ]],
      [[[record(ASKED, CNAME, name("x"))], []], 1, [
        "host.test. 60 IN CNAME x.",
        "host.test has no A record",
        "host.test has no AAAA record",
      ]],
    ] as [[Uint8Array[], Uint8Array[]], number, string[]][]
  ) {
    await using server = await listen();
    await using program = server.start(...PATIENT, "host.test");
    for (const records of [a, aaaa]) {
      const { data, addr } = await server.udp.receive();
      await server.udp.send(answer(data, records), addr);
    }
    assertEquals(await program.ended(), {
      code,
      signal: null,
      stdout: `${lines.join("\n")}\n`,
      stderr: "",
    });
  }
});

Deno.test({
  name: "dns_query ends cleanly when it is stopped, over both transports",
  ignore: Deno.build.os === "windows",
  async fn() {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      for (const isTcp of [false, true]) {
        await using server = await listen();
        await using program = server.start(
          ...PATIENT,
          ...(isTcp ? ["--tcp"] : []),
          "host.test",
        );
        using conn = isTcp ? await server.accept() : undefined;
        if (conn) await new BufferedReader(conn).readFrame({ bytes: 2 });
        else await server.udp.receive();
        program.kill(signal);
        const { code, stdout, stderr } = await program.ended();
        assertEquals({ code, stdout, stderr }, {
          code: 1,
          stdout: "",
          stderr: "",
        });
      }
    }
  },
});

Deno.test("dns_query asks with an id that is another one each time", async () => {
  const ids = new Set<number>();
  for (let i = 0; i < 4; i++) {
    await using server = await listen();
    await using program = server.start("--tcp", ...PATIENT, "host.test", "A");
    using conn = await server.accept();
    const query = (await new BufferedReader(conn).readFrame({ bytes: 2 }))!;
    ids.add(query[0]! << 8 | query[1]!);
    await writeFrame(conn, answer(query, [host]), { bytes: 2 });
    linesOf(await program.ended());
  }
  // Four of 65,536: all the same once in 10^14 runs.
  assert(ids.size > 1);
});
