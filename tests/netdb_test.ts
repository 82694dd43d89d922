/** Numbers, addresses and names of the BSD face: what python3's own module says, where there is one. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { AddressSyntaxError, errorCode } from "../errors.ts";
import * as bsd from "../socket.ts";

const {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  getaddrinfo,
  getservbyname,
  inet_addr,
  inet_aton,
  inet_ntoa,
  inet_ntop,
  inet_pton,
} = bsd;

/** What a line of python prints, as JSON. */
async function python(code: string): Promise<unknown> {
  const { stdout, success, stderr } = await new Deno.Command("python3", {
    args: ["-c", `import json, socket\n${code}`],
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

const hex = (bytes: Uint8Array) =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

const unhex = (text: string) =>
  new Uint8Array((text.match(/../g) ?? []).map((byte) => parseInt(byte, 16)));

Deno.test("constants are those of the system", async () => {
  const numbers = Object.entries(bsd).filter(([name, value]) =>
    /^(AF|SOCK|SOL|IPPROTO|SO|TCP|IP|IPV6|SHUT|MSG|INADDR|AI)_/.test(name) &&
    typeof value === "number"
  );
  assert(numbers.length > 120, String(numbers.length));
  const theirs = await python(`
names = ${JSON.stringify(numbers.map(([name]) => name))}
print(json.dumps({n: int(getattr(socket, n)) for n in names if hasattr(socket, n)}))`) as Record<
    string,
    number
  >;
  assert(Object.keys(theirs).length > 100);
  for (const [name, value] of numbers) {
    if (name in theirs) assertEquals(value, theirs[name], name);
  }
});

Deno.test("byte orders", () => {
  for (const n of [0, 1, 8080, 0xfffe, 0xffff]) {
    assertEquals(bsd.ntohs(bsd.htons(n)), n);
  }
  for (const n of [0, 1, 0x01020304, 0xffffffff]) {
    assertEquals(bsd.ntohl(bsd.htonl(n)), n);
  }
  const isLittle = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
  assertEquals(bsd.htons(0x0102), isLittle ? 0x0201 : 0x0102);
  assertEquals(bsd.htonl(0x01020304), isLittle ? 0x04030201 : 0x01020304);
  assertEquals(bsd.htonl(bsd.INADDR_LOOPBACK), inet_addr("127.0.0.1"));
  for (const bad of [-1, 65536, 1.5, NaN]) {
    assertThrows(() => bsd.htons(bad), RangeError);
    assertThrows(() => bsd.ntohs(bad), RangeError);
  }
  for (const bad of [-1, 2 ** 32, 0.5]) {
    assertThrows(() => bsd.htonl(bad), RangeError);
    assertThrows(() => bsd.ntohl(bad), RangeError);
  }
});

Deno.test("inet_aton() and inet_addr() read what C reads", async () => {
  const texts = [
    "1.2.3.4",
    "127.1",
    "1.2.3",
    "1",
    "0",
    "0x7f.1",
    "017.1",
    "08",
    "256",
    "1.256",
    "1.65536",
    "1.2.65536",
    "1.2.65535",
    "4294967295",
    "4294967296",
    "",
    "1.",
    "1..2",
    ".1",
    "1.2.3.4.5",
    "a",
    "0x",
    "0x7f000001",
    "-1",
    "00.0.0.0",
    "1.2.3.0x10",
    "+1",
  ];
  const theirs = await python(`
def aton(text):
    try: return socket.inet_aton(text).hex()
    except OSError: return None
print(json.dumps([aton(t) for t in ${JSON.stringify(texts)}]))`) as (
    | string
    | null
  )[];
  for (const [i, text] of texts.entries()) {
    const wanted = theirs[i] ?? null;
    if (wanted === null) {
      assertThrows(() => inet_aton(text), AddressSyntaxError, undefined, text);
      assertEquals(inet_addr(text), bsd.INADDR_NONE, text);
    } else {
      assertEquals(hex(inet_aton(text)), wanted, text);
      const [number] = new Uint32Array(inet_aton(text).buffer);
      assertEquals(inet_addr(text), number, text);
      assertEquals(hex(inet_aton(inet_ntoa(inet_aton(text)))), wanted);
    }
  }
  assertThrows(() => inet_aton(5 as never), TypeError);
  assertThrows(() => inet_ntoa(new Uint8Array(5)), RangeError);
  assertThrows(() => inet_ntoa("1" as never), TypeError);
});

Deno.test("inet_ntop() and inet_pton() are each other's opposite, as the system writes it", async () => {
  const pairs = await python(`
import random
random.seed(7)
out = []
for i in range(500):
    b = bytearray(16)
    for g in range(8):
        if random.random() < 0.5: continue
        v = random.choice([1, 0xffff, random.randrange(65536), random.randrange(256)])
        b[2*g:2*g+2] = v.to_bytes(2, "big")
    out.append([bytes(b).hex(), socket.inet_ntop(socket.AF_INET6, bytes(b))])
print(json.dumps(out))`) as [string, string][];
  for (const [bytes, text] of pairs) {
    assertEquals(inet_ntop(AF_INET6, unhex(bytes)), text);
    assertEquals(hex(inet_pton(AF_INET6, text)), bytes);
  }
  assertEquals(
    inet_ntop(AF_INET, inet_pton(AF_INET, "192.0.2.1")),
    "192.0.2.1",
  );
  for (const text of ["1.2.3", "127.1", "::1", "", "01.2.3.4"]) {
    assertThrows(() => inet_pton(AF_INET, text), AddressSyntaxError);
  }
  for (const text of ["1.2.3.4", ":::", "fe80::1%1", "1:2"]) {
    assertThrows(() => inet_pton(AF_INET6, text), AddressSyntaxError);
  }
  for (
    const call of [
      () => inet_pton(AF_UNIX, "x"),
      () => inet_ntop(AF_UNIX, new Uint8Array(4)),
    ]
  ) {
    const error = assertThrows(call, Error);
    assertEquals(errorCode(error), "EAFNOSUPPORT");
  }
  assertThrows(() => inet_ntop(AF_INET6, new Uint8Array(4)), RangeError);
});

Deno.test("getaddrinfo() of literals, loopback and the wildcard is the system's", async () => {
  const calls = [
    [null, 80],
    ["127.0.0.1", 80],
    ["::1", "http"],
    ["127.0.0.1", "http"],
    ["127.0.0.1", "ntp"],
    [null, 80, 0, 1, 0, bsd.AI_PASSIVE],
    ["127.0.0.1", 80, AF_INET6, 1, 0, bsd.AI_V4MAPPED],
    ["127.0.0.1", null, 0, 3],
    ["127.0.0.1", "8080", 0, 2],
    ["127.0.0.1", 80, 0, 1, 0, bsd.AI_CANONNAME | bsd.AI_NUMERICHOST],
    ["localhost", 80, AF_INET, 1],
  ] as const;
  const theirs = await python(`
calls = json.loads('''${JSON.stringify(calls)}''')
print(json.dumps([[[int(f), int(t), p, c, list(a)] for f, t, p, c, a in socket.getaddrinfo(*call)] for call in calls]))`);
  const ours = [];
  for (const [host, service, ...rest] of calls) {
    ours.push(await getaddrinfo(host, service, ...rest));
  }
  assertEquals(ours as unknown, theirs);
});

Deno.test("getaddrinfo() says what is wrong", async () => {
  const bad: [Parameters<typeof getaddrinfo>, string][] = [
    [["no-such-host.invalid", 80, 0, 0, 0, bsd.AI_NUMERICHOST], "EAI_NONAME"],
    [["127.0.0.1", "http", 0, 0, 0, bsd.AI_NUMERICSERV], "EAI_NONAME"],
    [[null, null], "EAI_NONAME"],
    [["127.0.0.1", "no-such-service"], "EAI_SERVICE"],
    [["127.0.0.1", "ntp", 0, bsd.SOCK_STREAM], "EAI_SERVICE"],
    [["127.0.0.1", "70000"], "EAI_SERVICE"],
    [["127.0.0.1", 80, AF_UNIX], "EAI_FAMILY"],
    [["127.0.0.1", 80, 0, bsd.SOCK_SEQPACKET], "EAI_SOCKTYPE"],
    [["127.0.0.1", 80, 0, bsd.SOCK_STREAM, bsd.IPPROTO_UDP], "EAI_SOCKTYPE"],
    [["127.0.0.1", 80, AF_INET6], "EAI_ADDRFAMILY"],
    [["::1", 80, AF_INET], "EAI_ADDRFAMILY"],
    [["127.0.0.1", 80, 0, 0, 0, 1 << 20], "EAI_BADFLAGS"],
    [[null, 80, 0, 0, 0, bsd.AI_CANONNAME], "EAI_BADFLAGS"],
  ];
  for (const [args, code] of bad) {
    const error = await assertRejects(() => getaddrinfo(...args), Error);
    assertEquals(errorCode(error), code, JSON.stringify(args));
  }
  await assertRejects(() => getaddrinfo("127.0.0.1", 70000), RangeError);
  await assertRejects(() => getaddrinfo(5 as never, 1), TypeError);
  await assertRejects(() => getaddrinfo("::1", true as never), TypeError);
});

Deno.test("getservbyname() knows the common ones", () => {
  assertEquals(getservbyname("http"), 80);
  assertEquals(getservbyname("ntp", "udp"), 123);
  assertEquals(getservbyname("domain", "tcp"), 53);
  for (
    const call of [
      () => getservbyname("ntp", "tcp"),
      () => getservbyname("no-such-service"),
      () => getservbyname("constructor"),
    ]
  ) {
    assertEquals(errorCode(assertThrows(call, Deno.errors.NotFound)), "ENOENT");
  }
});

Deno.test("every error's number is the system's", async () => {
  const theirs = await python(`
import errno
print(json.dumps({name: number for number, name in errno.errorcode.items()}))`) as Record<
    string,
    number
  >;
  for (
    const name of [
      "EBADF",
      "EINVAL",
      "EISCONN",
      "ENOTCONN",
      "EINPROGRESS",
      "EALREADY",
      "ECONNREFUSED",
      "EAGAIN",
      "ENOPROTOOPT",
    ]
  ) assertEquals(bsd.errno(name), theirs[name], name);
});
