import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  AddrList,
  formatAddr,
  isIPv4,
  isIPv6,
  joinHostPort,
  parseAddr,
  type ParsedAddr,
  sameAddr,
  splitHostPort,
  unmapIPv4,
} from "../addr.ts";
import { AddressSyntaxError } from "../errors.ts";
import type { SocketAddr } from "../types.ts";

/** A text that is no address, a part of the message, and the position of the fault. */
type Bad = readonly [text: string, message: string, position: number];

/** Asserts class, message, text and position of what a call throws. */
function assertRefused(call: () => unknown, [text, message, position]: Bad) {
  const error = assertThrows(call, AddressSyntaxError, message);
  assertEquals(error.name, "AddressSyntaxError");
  assertEquals(error.input, text);
  assertEquals(error.position, position, `${JSON.stringify(text)}: position`);
}

const LABEL = "a".repeat(63);
/** 253 characters, the most that a name may have. */
const LONG_NAME = `${LABEL}.${LABEL}.${LABEL}.${"a".repeat(61)}`;

/** What is wrong with `host:port`, whether a scheme stands before it or not. */
const BAD_HOST_PORTS: readonly Bad[] = [
  ["", "expected host:port, found no port", 0],
  ["localhost", "expected host:port, found no port", 9],
  ["80", "expected host:port, found no port", 2],
  ["[::1]", "expected host:port, found no port", 5],
  ["[::1]80", "expected host:port, found no port", 7],
  ["[::1]x:80", "expected : and a port behind the bracket", 5],
  ["[::1]]:80", "expected : and a port behind the bracket", 5],
  ["::1", "an IPv6 address with a port is written in brackets, [::1]:80", 0],
  ["::", "an IPv6 address with a port is written in brackets", 0],
  ["::1:80", "an IPv6 address with a port is written in brackets", 0],
  ["fe80::1%eth0", "an IPv6 address with a port is written in brackets", 0],
  ["fe80::1%eth0:80", "an IPv6 address with a port is written in brackets", 0],
  ["localhost:", 'expected a number from 0 to 65535, got ""', 10],
  [":", 'expected a number from 0 to 65535, got ""', 1],
  ["x:65536", 'expected a number from 0 to 65535, got "65536"', 2],
  ["x:99999", "expected a number from 0 to 65535", 2],
  ["x:000080", 'expected a number from 0 to 65535, got "000080"', 2],
  ["x:http", 'expected a number from 0 to 65535, got "http"', 2],
  ["x:-1", 'expected a number from 0 to 65535, got "-1"', 2],
  ["x:+1", "expected a number from 0 to 65535", 2],
  ["x: 80", "expected a number from 0 to 65535", 2],
  ["x:80 ", "expected a number from 0 to 65535", 2],
  ["x:80\n", 'expected a number from 0 to 65535, got "80\\n"', 2],
  ["x:0x50", "expected a number from 0 to 65535", 2],
  ["x:1e3", "expected a number from 0 to 65535", 2],
  ["x:８０", "expected a number from 0 to 65535", 2],
  ["x:80/", "expected a number from 0 to 65535", 2],
  ["x:80:80", "expected a number from 0 to 65535", 2],
  ["[::1:80", "expected a number from 0 to 65535", 2],
  ["[::1]:", 'expected a number from 0 to 65535, got ""', 6],
  ["[::1]:65536", 'expected a number from 0 to 65535, got "65536"', 6],
  ["[x]:80", "no IPv6 address in the brackets", 1],
  ["[]:80", "no IPv6 address in the brackets", 1],
  ["[127.0.0.1]:80", "no IPv6 address in the brackets", 1],
  ["[::1%]:80", "no IPv6 address in the brackets", 1],
  ["[::1%a b]:80", "no IPv6 address in the brackets", 1],
  ["[ ::1]:80", "no IPv6 address in the brackets", 1],
  ["[1::2::3]:80", "no IPv6 address in the brackets", 1],
  ["a b:80", '" " cannot be part of a name', 1],
  [" x:80", '" " cannot be part of a name', 0],
  ["x/y:80", '"/" cannot be part of a name', 1],
  ["user@host:80", '"@" cannot be part of a name', 4],
  ["a\0b:80", '"\\u0000" cannot be part of a name', 1],
  ["x]:80", '"]" cannot be part of a name', 1],
  ["bücher.example:80", "written in its xn-- form", 1],
  ["😀:80", "written in its xn-- form", 0],
  ["a..b:80", "a label is empty", 2],
  [".a:80", "a label is empty", 0],
  [".:80", "a label is empty", 0],
  ["a..:80", "a label is empty", 2],
  [`${LABEL}a:80`, "a label has at most 63 characters", 63],
  [`b.${LABEL}a.c:80`, "a label has at most 63 characters", 65],
  [`${LONG_NAME}a:80`, "a name has at most 253 characters", 253],
  ["127.1:80", "not an IPv4 address", 0],
  ["2130706433:80", "not an IPv4 address", 0],
  ["0x7f000001:80", "not an IPv4 address", 0],
  ["0X7F.1:80", "not an IPv4 address", 0],
  ["a.0x:80", "not an IPv4 address", 0],
  ["256.0.0.1:80", "not an IPv4 address", 0],
  ["010.0.0.1:80", "not an IPv4 address", 0],
  ["1.2.3.4.5:80", "not an IPv4 address", 0],
  ["1.2.3.4.:80", "not an IPv4 address", 0],
  ["example.1:80", "not an IPv4 address", 0],
];

Deno.test("parseAddr() reads a host and a port with and without a transport", () => {
  const hosts: readonly (readonly [string, string])[] = [
    ["127.0.0.1", "127.0.0.1"],
    ["0.0.0.0", "0.0.0.0"],
    ["255.255.255.255", "255.255.255.255"],
    ["[::1]", "::1"],
    ["[::]", "::"],
    ["[::ffff:127.0.0.1]", "::ffff:127.0.0.1"],
    ["[2001:DB8::A]", "2001:DB8::A"],
    ["localhost", "localhost"],
    ["LOCALHOST", "LOCALHOST"],
    ["example.com", "example.com"],
    ["example.com.", "example.com."],
    ["xn--bcher-kva.example", "xn--bcher-kva.example"],
    ["my_host", "my_host"],
    ["1and1.com", "1and1.com"],
    ["0x7g", "0x7g"],
    [LABEL, LABEL],
    [LONG_NAME, LONG_NAME],
    [`${LONG_NAME}.`, `${LONG_NAME}.`],
    ["", "0.0.0.0"],
  ];
  for (const [host, hostname] of hosts) {
    assertEquals(parseAddr(`${host}:80`), {
      transport: "tcp",
      hostname,
      port: 80,
    });
    for (const transport of ["tcp", "udp", "tls"] as const) {
      assertEquals(parseAddr(`${transport}://${host}:80`), {
        transport,
        hostname,
        port: 80,
      });
      assertEquals(parseAddr(`${host}:80`, { transport }), {
        transport,
        hostname,
        port: 80,
      });
    }
  }
});

Deno.test("parseAddr() keeps the zone", () => {
  for (const zone of ["eth0", "1", "eth0.100", "eth0:1", "br-lan_2", "ü"]) {
    assertEquals(parseAddr(`udp://[fe80::1%${zone}]:53`), {
      transport: "udp",
      hostname: `fe80::1%${zone}`,
      port: 53,
    });
  }
});

Deno.test("parseAddr() takes ports from 0 to 65535", () => {
  for (const port of [0, 1, 80, 65535]) {
    const addr = parseAddr(`x:${port}`);
    assert(addr.transport === "tcp");
    assertEquals(addr.port, port);
  }
  const padded = parseAddr("x:00080");
  assert(padded.transport === "tcp");
  assertEquals(padded.port, 80);
});

Deno.test("parseAddr() prefers the text's transport to the option", () => {
  assertEquals(parseAddr("tcp://x:1", { transport: "udp" }).transport, "tcp");
  assertEquals(parseAddr("unix:x", { transport: "udp" }).transport, "unix");
});

Deno.test("parseAddr() reads paths as they stand", () => {
  const paths: readonly (readonly [string, string])[] = [
    ["/run/x.sock", "/run/x.sock"],
    ["x.sock", "x.sock"],
    ["./x", "./x"],
    ["///run/x.sock", "/run/x.sock"],
    ["//run/x.sock", "run/x.sock"],
    ["////x", "//x"],
    ["//@name", "@name"],
    ["//@", "@"],
    ["a@b", "a@b"],
    ["@name", "\0name"],
    ["@/run/x", "\0/run/x"],
    ["@//x", "\0//x"],
    ["@@", "\0@"],
    ["@a\0b", "\0a\0b"],
    ["/a b:c%20d?e#f", "/a b:c%20d?e#f"],
    ["/ünï/😀", "/ünï/😀"],
    ["(unnamed)", "(unnamed)"],
    [" ", " "],
    ["unix:x", "unix:x"],
    ["tcp://x:80", "tcp://x:80"],
  ];
  for (const [text, path] of paths) {
    assertEquals(parseAddr(`unix:${text}`), { transport: "unix", path });
    assertEquals(parseAddr(`unixgram:${text}`), {
      transport: "unixpacket",
      path,
    });
  }
});

Deno.test("parseAddr() gives frozen addresses", () => {
  for (const text of ["x:1", "udp://[::1]:1", "unix:x", "unixgram:@x"]) {
    assert(Object.isFrozen(parseAddr(text)), text);
  }
});

Deno.test("parseAddr() says where a host and a port are wrong", () => {
  for (const bad of BAD_HOST_PORTS) {
    assertRefused(() => parseAddr(bad[0]), bad);
  }
});

Deno.test("parseAddr() counts the position from the start of the scheme", () => {
  for (const [text, message, position] of BAD_HOST_PORTS) {
    for (const scheme of ["tcp://", "udp://", "tls://"]) {
      const whole = scheme + text;
      assertRefused(
        () => parseAddr(whole),
        [whole, message, scheme.length + position],
      );
    }
  }
});

Deno.test("parseAddr() says where a path is wrong", () => {
  const cases: readonly Bad[] = [
    ["unix:", "expected a path, or @ and a name, got nothing", 5],
    ["unix:@", "expected a path, or @ and a name, got nothing", 6],
    ["unix://", "expected a path, or @ and a name, got nothing", 7],
    ["unixgram:", "expected a path, or @ and a name, got nothing", 9],
    ["unixgram:@", "expected a path, or @ and a name, got nothing", 10],
    ["unix:\0name", "expected a path, or @ and a name, got a NUL", 5],
    ["unix:a\0b", "expected a path, or @ and a name, got a NUL", 6],
    ["unix://a\0", "expected a path, or @ and a name, got a NUL", 8],
    ["unixgram:/dev/log\0", "got a NUL", 17],
  ];
  for (const bad of cases) assertRefused(() => parseAddr(bad[0]), bad);
});

Deno.test("parseAddr() does not take an unknown scheme for a host", () => {
  const cases: readonly Bad[] = [
    ["http://x:80", "Invalid port", 5],
    ["TCP://x:80", "Invalid port", 4],
    ["tcp:x:80", "Invalid port", 4],
    ["tcp:/x:80", "Invalid port", 4],
    ["unixpacket:/x", "Invalid port", 11],
    ["UNIX:/x", "Invalid port", 5],
    ["/run/x.sock", "found no port", 11],
    [" tcp://x:80", "Invalid port", 5],
  ];
  for (const bad of cases) assertRefused(() => parseAddr(bad[0]), bad);
});

Deno.test("parseAddr() cuts a long text in its message, not in the error's input", () => {
  const text = "x".repeat(10_000);
  const error = assertThrows(() => parseAddr(text), AddressSyntaxError);
  assertEquals(error.input, text);
  assert(error.message.length < 200, error.message);
});

Deno.test("parseAddr() refuses what is no string", () => {
  for (const value of [undefined, null, 80, {}, ["x:80"], new URL("tcp://x")]) {
    assertThrows(
      () => parseAddr(value as never),
      TypeError,
      "Invalid address: expected a string, got ",
    );
  }
});

Deno.test("parseAddr() refuses another transport", () => {
  for (const transport of ["unix", "TCP", "", null, 6]) {
    assertThrows(
      () => parseAddr("x:80", { transport: transport as never }),
      TypeError,
      'Invalid transport: expected "tcp", "udp" or "tls", got ',
    );
  }
});

Deno.test("formatAddr() writes a host and a port", () => {
  const cases: readonly (readonly [SocketAddr, string])[] = [
    [
      { transport: "tcp", hostname: "127.0.0.1", port: 80 },
      "tcp://127.0.0.1:80",
    ],
    [{ transport: "udp", hostname: "::1", port: 0 }, "udp://[::1]:0"],
    [
      { transport: "tls", hostname: "example.com", port: 443 },
      "tls://example.com:443",
    ],
    [
      { transport: "udp", hostname: "fe80::1%eth0", port: 65535 },
      "udp://[fe80::1%eth0]:65535",
    ],
    [{ transport: "tcp", hostname: "[::1]", port: 1 }, "tcp://[::1]:1"],
  ];
  for (const [addr, text] of cases) assertEquals(formatAddr(addr), text);
});

Deno.test("formatAddr() writes a path so that nothing in it has a meaning", () => {
  const paths: readonly (readonly [string | null, string])[] = [
    ["/run/x.sock", "/run/x.sock"],
    ["x.sock", "x.sock"],
    ["@name", "//@name"],
    ["//x", "////x"],
    ["///x", "/////x"],
    ["\0name", "@name"],
    ["\0@", "@@"],
    ["\0//x", "@//x"],
    ["a b:c%20", "a b:c%20"],
    [null, "(unnamed)"],
  ];
  for (const [path, text] of paths) {
    assertEquals(formatAddr({ transport: "unix", path }), `unix:${text}`);
    assertEquals(
      formatAddr({ transport: "unixpacket", path }),
      `unixgram:${text}`,
    );
  }
});

Deno.test("formatAddr() refuses a path that cannot be one", () => {
  for (const path of ["", undefined, 1, {}]) {
    assertThrows(
      () => formatAddr({ transport: "unix", path: path as never }),
      TypeError,
      "Invalid path: expected a string that is not empty, got ",
    );
  }
});

Deno.test("formatAddr() writes no path that parseAddr() refuses", () => {
  for (const path of ["\0", "a\0b", "/run/x.sock\0"]) {
    assertThrows(
      () => formatAddr({ transport: "unix", path }),
      TypeError,
      "Invalid path",
    );
  }
});

Deno.test("formatAddr() refuses what is no address", () => {
  for (
    const value of [
      undefined,
      null,
      {},
      "tcp://x:80",
      { transport: "TCP", hostname: "x", port: 80 },
      { hostname: "x", port: 80 },
    ]
  ) {
    assertThrows(
      () => formatAddr(value as never),
      TypeError,
      'Invalid address: expected transport "tcp", "udp", "tls", "unix" or "unixpacket", got ',
    );
  }
});

Deno.test("formatAddr() refuses a host and a port that cannot be one", () => {
  const of = (hostname: unknown, port: unknown) => () =>
    formatAddr({ transport: "tcp", hostname, port } as never);
  assertThrows(of("x", "80"), TypeError, "Invalid port");
  assertThrows(of("x", undefined), TypeError, "Invalid port");
  assertThrows(of(undefined, 80), TypeError, "Invalid hostname");
  assertThrows(of("x", 65536), RangeError, "Invalid port");
  assertThrows(of("a b", 80), AddressSyntaxError, "Invalid host");
});

Deno.test("splitHostPort() takes host and port apart", () => {
  assertEquals(splitHostPort("localhost:80"), {
    hostname: "localhost",
    port: 80,
  });
  assertEquals(splitHostPort("127.0.0.1:0"), {
    hostname: "127.0.0.1",
    port: 0,
  });
  assertEquals(splitHostPort("[::1]:80"), { hostname: "::1", port: 80 });
  assertEquals(splitHostPort("[fe80::1%eth0]:80"), {
    hostname: "fe80::1%eth0",
    port: 80,
  });
  assertEquals(splitHostPort(":80"), { hostname: "0.0.0.0", port: 80 });
});

Deno.test("splitHostPort() says what is wrong and where", () => {
  for (const bad of BAD_HOST_PORTS) {
    assertRefused(() => splitHostPort(bad[0]), bad);
  }
  // A scheme has no place here.
  assertRefused(
    () => splitHostPort("tcp://x:80"),
    ["tcp://x:80", "Invalid port", 4],
  );
});

Deno.test("splitHostPort() refuses what is no string", () => {
  for (const value of [undefined, null, 80, {}]) {
    assertThrows(
      () => splitHostPort(value as never),
      TypeError,
      "Invalid host and port: expected a string, got ",
    );
  }
});

Deno.test("joinHostPort() puts an IPv6 address in brackets, once", () => {
  assertEquals(joinHostPort("localhost", 80), "localhost:80");
  assertEquals(joinHostPort("127.0.0.1", 0), "127.0.0.1:0");
  assertEquals(joinHostPort("::1", 80), "[::1]:80");
  assertEquals(joinHostPort("[::1]", 80), "[::1]:80");
  assertEquals(joinHostPort("fe80::1%eth0", 65535), "[fe80::1%eth0]:65535");
});

Deno.test("joinHostPort() says what is wrong with the host and where", () => {
  const cases: readonly Bad[] = [
    ["", "it is empty", 0],
    ["x:80", "a port does not belong here", 1],
    ["a:b:c", "not an IPv6 address", 1],
    ["[::1", "a bracket is not closed", 0],
    ["[::1]:80", "a bracket is not closed", 0],
    ["[x]", "no IPv6 address in the brackets", 1],
    ["::1%", "not an IPv6 address", 0],
    ["a b", '" " cannot be part of a name', 1],
    ["127.1", "not an IPv4 address", 0],
    ["127.0.0.1%eth0", '"%" cannot be part of a name', 9],
  ];
  for (const bad of cases) assertRefused(() => joinHostPort(bad[0], 80), bad);
});

Deno.test("joinHostPort() names what would be accepted", () => {
  assertThrows(
    () => joinHostPort("a b", 80),
    AddressSyntaxError,
    'Invalid host "a b": " " cannot be part of a name; ' +
      'expected a name such as "localhost" or an address such as "127.0.0.1" or "::1"',
  );
});

Deno.test("joinHostPort() refuses a port that is none", () => {
  for (const port of [-1, 65536, 0.5, NaN, Infinity]) {
    assertThrows(
      () => joinHostPort("x", port),
      RangeError,
      `Invalid port: expected an integer from 0 to 65535, got ${port}`,
    );
  }
  for (const port of ["80", undefined, null, 80n]) {
    assertThrows(
      () => joinHostPort("x", port as never),
      TypeError,
      "Invalid port: expected an integer from 0 to 65535, got ",
    );
  }
});

Deno.test("joinHostPort() refuses a host that is no string", () => {
  for (const hostname of [undefined, null, 1, {}]) {
    assertThrows(
      () => joinHostPort(hostname as never, 80),
      TypeError,
      "Invalid hostname: expected a name",
    );
  }
});

Deno.test("isIPv4() takes four numbers from 0 to 255", () => {
  for (
    const text of ["0.0.0.0", "127.0.0.1", "255.255.255.255", "1.20.3.100"]
  ) {
    assert(isIPv4(text), text);
    assert(!isIPv6(text), text);
  }
});

Deno.test("isIPv4() refuses other spellings", () => {
  for (
    const text of [
      "",
      ".",
      "...",
      "127.1",
      "1.2.3",
      "1.2.3.",
      ".1.2.3",
      "1.2.3.4.",
      "1.2.3.4.5",
      "1..2.3",
      "010.0.0.1",
      "00.0.0.0",
      "1.2.3.04",
      "256.0.0.1",
      "1.2.3.1000",
      "-1.2.3.4",
      "+1.2.3.4",
      "0x7f.0.0.1",
      "1e1.2.3.4",
      " 1.2.3.4",
      "1.2.3.4 ",
      "1.2.3.4\n",
      "1.2.3.4%eth0",
      "1,2,3,4",
      "１.2.3.4",
      "2130706433",
      "localhost",
      "::1",
    ]
  ) {
    assert(!isIPv4(text), JSON.stringify(text));
  }
});

Deno.test("isIPv6() takes every spelling of RFC 4291", () => {
  for (
    const text of [
      "::",
      "::1",
      "1::",
      "1::8",
      "1:2:3:4:5:6:7:8",
      "1:2:3:4:5:6:7::",
      "::2:3:4:5:6:7:8",
      "1:2:3::5:6:7:8",
      "0001:0002:0003:0004:0005:0006:0007:0008",
      "ABCD:ef01::",
      "::1.2.3.4",
      "::ffff:255.255.255.255",
      "64:ff9b::192.0.2.33",
      "1:2:3:4:5:6:1.2.3.4",
      "1::6:1.2.3.4",
      "fe80::1%eth0",
      "::%1",
      "::1.2.3.4%x",
    ]
  ) {
    assert(isIPv6(text), text);
    assert(!isIPv4(text), text);
  }
});

Deno.test("isIPv6() refuses everything else", () => {
  for (
    const text of [
      "",
      ":",
      ":::",
      "1:2:3:4:5:6:7",
      "1:2:3:4:5:6:7:8:9",
      "1:2:3:4:5:6:7:8::",
      "::1:2:3:4:5:6:7:8",
      "1:2:3:4::5:6:7:8",
      "1::2::3",
      ":1",
      "1:",
      ":1::",
      "::1:",
      "1:::2",
      "12345::",
      "00001::",
      "g::",
      "-1::",
      "0x1::",
      "[::1]",
      "::1 ",
      " ::1",
      "::1\n",
      "::1/64",
      "::1.2.3",
      "::1.2.3.4.5",
      "::01.2.3.4",
      "::256.2.3.4",
      "1.2.3.4::",
      "::1.2.3.4:5",
      ":1.2.3.4",
      "1:1.2.3.4",
      "1:2:3:4:5:6:7:1.2.3.4",
      "1:2:3:4:5:6::1.2.3.4",
      "1.2.3.4",
      "%eth0",
      "::1%",
      "::1%a b",
      "::1%a%b",
      "::1%a/b",
      "::1%a]",
      "::1%a\0",
      "localhost",
    ]
  ) {
    assert(!isIPv6(text), JSON.stringify(text));
  }
});

Deno.test("unmapIPv4() finds the IPv4 address in every spelling", () => {
  for (
    const text of [
      "::ffff:127.0.0.1",
      "::FFFF:127.0.0.1",
      "::ffff:7f00:1",
      "::ffff:7f00:0001",
      "0:0:0:0:0:ffff:127.0.0.1",
      "0:0:0:0:0:FFFF:7F00:1",
    ]
  ) {
    assertEquals(unmapIPv4(text), "127.0.0.1", text);
  }
  assertEquals(unmapIPv4("::ffff:0:0"), "0.0.0.0");
});

Deno.test("unmapIPv4() leaves every other host as it is", () => {
  for (
    const text of [
      "127.0.0.1",
      "::1",
      "::",
      // IPv4-compatible and IPv4-translated addresses are no mapped ones.
      "::127.0.0.1",
      "::ffff:0:127.0.0.1",
      "64:ff9b::127.0.0.1",
      "1::ffff:127.0.0.1",
      "::fffe:127.0.0.1",
      "[::ffff:127.0.0.1]",
      "localhost",
      "",
    ]
  ) {
    assertEquals(unmapIPv4(text), text);
  }
});

/** A TCP address on port 80. */
function tcp(hostname: string): SocketAddr {
  return { transport: "tcp", hostname, port: 80 };
}

Deno.test("sameAddr() compares hosts by what they stand for", () => {
  const same: readonly (readonly [string, string])[] = [
    ["127.0.0.1", "127.0.0.1"],
    ["::1", "0:0:0:0:0:0:0:1"],
    ["2001:DB8::A", "2001:db8:0::000a"],
    ["::ffff:127.0.0.1", "127.0.0.1"],
    ["::ffff:7f00:1", "127.0.0.1"],
    ["::102:304", "::1.2.3.4"],
    ["Example.COM", "example.com"],
    ["FE80::1%eth0", "fe80:0::1%eth0"],
  ];
  for (const [a, b] of same) {
    assert(sameAddr(tcp(a), tcp(b)), `${a} ${b}`);
    assert(sameAddr(tcp(b), tcp(a)), `${b} ${a}`);
  }
});

Deno.test("sameAddr() keeps different hosts apart", () => {
  const different: readonly (readonly [string, string])[] = [
    ["127.0.0.1", "127.0.0.2"],
    ["::1", "127.0.0.1"],
    ["::127.0.0.1", "127.0.0.1"],
    ["localhost", "127.0.0.1"],
    ["example.com", "example.org"],
    ["fe80::1%eth0", "fe80::1%eth1"],
    ["fe80::1%eth0", "fe80::1%ETH0"],
    ["fe80::1%eth0", "fe80::1"],
  ];
  for (const [a, b] of different) {
    assert(!sameAddr(tcp(a), tcp(b)), `${a} ${b}`);
    assert(!sameAddr(tcp(b), tcp(a)), `${b} ${a}`);
  }
});

Deno.test("sameAddr() compares transport and port", () => {
  const addr = { transport: "tcp", hostname: "x", port: 80 } as const;
  assert(sameAddr(addr, { ...addr }));
  assert(!sameAddr(addr, { ...addr, port: 81 }));
  assert(!sameAddr(addr, { ...addr, transport: "udp" }));
  assert(!sameAddr(addr, { ...addr, transport: "tls" }));
  assert(!sameAddr(addr, { transport: "unix", path: "x" }));
});

Deno.test("sameAddr() compares paths exactly", () => {
  const unix = (path: string | null): SocketAddr => ({
    transport: "unix",
    path,
  });
  assert(sameAddr(unix("/run/x"), unix("/run/x")));
  assert(sameAddr(unix("\0x"), unix("\0x")));
  assert(!sameAddr(unix("/run/x"), unix("/run/X")));
  assert(!sameAddr(unix("/run/x"), unix("/run//x")));
  assert(!sameAddr(unix("\0x"), unix("@x")));
  assert(!sameAddr(unix("/x"), { transport: "unixpacket", path: "/x" }));
});

Deno.test("sameAddr() takes two unnamed sockets to be two", () => {
  const unnamed: SocketAddr = { transport: "unix", path: null };
  assert(!sameAddr(unnamed, { transport: "unix", path: null }));
  assert(!sameAddr(unnamed, unnamed));
  assert(!sameAddr(unnamed, { transport: "unix", path: "x" }));
});

Deno.test("AddrList is empty by default", () => {
  const list = new AddrList();
  assertEquals(list.size, 0);
  assert(!list.has("127.0.0.1"));
  assert(!list.has("::1"));
});

Deno.test("AddrList takes any iterable and counts its entries", () => {
  assertEquals(new AddrList(["127.0.0.1", "::1"]).size, 2);
  assertEquals(new AddrList(new Set(["10.0.0.0/8"])).size, 1);
  const list = new AddrList();
  assert(list.add("10.0.0.0/8").add("10.0.0.0/8") === list);
  assertEquals(list.size, 2);
});

Deno.test("AddrList.has() matches single addresses by their bytes", () => {
  const list = new AddrList(["192.0.2.1", "2001:db8::1"]);
  for (
    const addr of [
      "192.0.2.1",
      "::ffff:192.0.2.1",
      "::ffff:c000:201",
      "2001:db8::1",
      "2001:DB8:0:0::0001",
      "2001:db8::1%eth0",
    ]
  ) {
    assert(list.has(addr), addr);
    assert(list.has({ hostname: addr }), addr);
  }
  for (const addr of ["192.0.2.2", "2001:db8::2", "::192.0.2.1", "::"]) {
    assert(!list.has(addr), addr);
  }
});

Deno.test("AddrList.has() matches blocks at any bit", () => {
  const cases: readonly (readonly [string, string[], string[]])[] = [
    ["10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], [
      "9.255.255.255",
      "11.0.0.0",
    ]],
    ["192.0.2.128/25", ["192.0.2.128", "192.0.2.255"], ["192.0.2.127"]],
    ["172.16.0.0/12", ["172.16.0.1", "172.31.255.255"], [
      "172.15.0.0",
      "172.32.0.0",
    ]],
    ["192.0.2.4/31", ["192.0.2.4", "192.0.2.5"], ["192.0.2.3", "192.0.2.6"]],
    ["192.0.2.4/32", ["192.0.2.4"], ["192.0.2.5"]],
    ["0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::1", "::"]],
    ["128.0.0.0/1", ["128.0.0.0", "255.0.0.0"], ["127.255.255.255"]],
    ["::/0", ["::", "::1", "ffff::"], ["127.0.0.1"]],
    ["fe80::/10", ["fe80::1", "febf::1", "fe80::1%eth0"], ["fec0::", "fe7f::"]],
    ["2001:db8::/33", ["2001:db8:7fff::"], ["2001:db8:8000::"]],
    ["2001:db8::4/127", ["2001:db8::5"], ["2001:db8::6"]],
    ["2001:db8::4/128", ["2001:db8::4"], ["2001:db8::5"]],
  ];
  for (const [entry, inside, outside] of cases) {
    const list = new AddrList([entry]);
    for (const addr of inside) assert(list.has(addr), `${addr} in ${entry}`);
    for (const addr of outside) assert(!list.has(addr), `${addr} in ${entry}`);
  }
});

Deno.test("AddrList ignores the bits behind the prefix", () => {
  assert(new AddrList(["10.1.2.3/8"]).has("10.200.0.1"));
  assert(new AddrList(["2001:db8::5/32"]).has("2001:db8:ffff::"));
});

Deno.test("AddrList.has() matches mapped addresses with IPv4 entries", () => {
  const list = new AddrList(["10.0.0.0/8"]);
  assert(list.has("::ffff:10.1.2.3"));
  assert(list.has({ hostname: "::ffff:a01:203" }));
  assert(!list.has("::ffff:11.0.0.0"));
  assert(!list.has("::10.1.2.3"));
});

Deno.test("AddrList takes a mapped block for a block of IPv4", () => {
  for (const entry of ["::ffff:10.0.0.0/104", "::ffff:a00:0/104"]) {
    const list = new AddrList([entry]);
    assert(list.has("10.1.2.3"), entry);
    assert(list.has("::ffff:10.1.2.3"), entry);
    assert(!list.has("11.0.0.0"), entry);
  }
  const all = new AddrList(["::ffff:0:0/96"]);
  assert(all.has("203.0.113.9"));
  assert(!all.has("::1"));
  const one = new AddrList(["::ffff:127.0.0.1"]);
  assert(one.has("127.0.0.1"));
  assert(!one.has("127.0.0.2"));
});

Deno.test("AddrList.has() is false for what is no IP address", () => {
  const list = new AddrList(["0.0.0.0/0", "::/0"]);
  for (
    const host of ["", "localhost", "127.1", "010.0.0.1", "[::1]", "1.2.3.4/8"]
  ) {
    assert(!list.has(host), host);
    assert(!list.has({ hostname: host }), host);
  }
});

Deno.test("AddrList.has() is false for a zone that isIPv6() refuses", () => {
  const list = new AddrList(["::1", "127.0.0.1"]);
  for (const host of ["::1%", "::1%a b", "::1%a%b", "::ffff:127.0.0.1%"]) {
    assert(!isIPv6(host), host);
    assert(!list.has(host), host);
  }
});

Deno.test("AddrList.has() takes an address of this package", () => {
  const list = new AddrList(["127.0.0.0/8"]);
  const addr: ParsedAddr = parseAddr("[::ffff:127.0.0.1]:80");
  assert(addr.transport === "tcp");
  assert(list.has(addr));
});

Deno.test("AddrList refuses what is neither an address nor a block", () => {
  const cases: readonly Bad[] = [
    ["", "expected an IP address without a zone, or a block", 0],
    ["localhost", "expected an IP address without a zone, or a block", 0],
    ["localhost/8", "expected an IP address without a zone, or a block", 0],
    ["10/8", "expected an IP address without a zone, or a block", 0],
    ["10.0.0/8", "expected an IP address without a zone, or a block", 0],
    ["010.0.0.0/8", "expected an IP address without a zone, or a block", 0],
    ["[::1]", "expected an IP address without a zone, or a block", 0],
    ["fe80::1%eth0", "expected an IP address without a zone, or a block", 0],
    ["fe80::%eth0/10", "expected an IP address without a zone, or a block", 0],
    ["/8", "expected an IP address without a zone, or a block", 0],
    [" 10.0.0.0/8", "expected an IP address without a zone, or a block", 0],
    ["10.0.0.0/", 'expected a number from 0 to 32, got ""', 9],
    ["10.0.0.0/33", 'expected a number from 0 to 32, got "33"', 9],
    ["10.0.0.0/-1", 'expected a number from 0 to 32, got "-1"', 9],
    ["10.0.0.0/8 ", 'expected a number from 0 to 32, got "8 "', 9],
    ["10.0.0.0/8.0", "expected a number from 0 to 32", 9],
    ["10.0.0.0/255.0.0.0", "expected a number from 0 to 32", 9],
    ["10.0.0.0/8/8", 'expected a number from 0 to 32, got "8/8"', 9],
    ["::/129", 'expected a number from 0 to 128, got "129"', 3],
    ["::/", 'expected a number from 0 to 128, got ""', 3],
    ["::/1e1", "expected a number from 0 to 128", 3],
  ];
  for (const bad of cases) {
    assertRefused(() => new AddrList().add(bad[0]), bad);
    assertRefused(() => new AddrList(["10.0.0.0/8", bad[0]]), bad);
  }
});

Deno.test("AddrList.add() leaves the list as it was when it throws", () => {
  const list = new AddrList(["127.0.0.1"]);
  assertThrows(() => list.add("10.0.0.0/99"), AddressSyntaxError);
  assertThrows(() => list.add(1 as never), TypeError);
  assertEquals(list.size, 1);
});

Deno.test("AddrList refuses entries that are no strings", () => {
  for (const entry of [undefined, null, 1, {}]) {
    assertThrows(
      () => new AddrList([entry as never]),
      TypeError,
      "Invalid entry: expected a string, got ",
    );
  }
});

Deno.test("AddrList refuses one string in place of a list", () => {
  assertThrows(
    () => new AddrList("10.0.0.0/8"),
    TypeError,
    'Invalid entries: expected a list of strings, got "10.0.0.0/8"',
  );
});

Deno.test("AddrList: a wide block of IPv6 has the mapped addresses too", () => {
  const all = new AddrList(["::/0"]);
  assert(all.has("::ffff:192.0.2.1"));
  assert(all.has({ hostname: "::1" }));
  assert(!all.has("192.0.2.1"));
});
