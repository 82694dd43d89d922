/** Numbers, addresses and names of the BSD face: what python3's own module says, where there is one. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { AddressSyntaxError, errorCode } from "../errors.ts";
import * as bsd from "../socket.ts";

const {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  gai_strerror,
  getaddrinfo,
  gethostbyname,
  getnameinfo,
  getprotobyname,
  getservbyname,
  getservbyport,
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
    typeof value === "number" && name === name.toUpperCase()
  );
  assert(numbers.length > 160, String(numbers.length));
  const theirs = await python(`
names = ${JSON.stringify(numbers.map(([name]) => name))}
print(json.dumps({n: int(getattr(socket, n)) for n in names if hasattr(socket, n)}))`) as Record<
    string,
    number
  >;
  assert(Object.keys(theirs).length > 130);
  for (const [name, value] of numbers) {
    if (name in theirs) assertEquals(value, theirs[name], name);
  }
});

Deno.test("constants that python has no name for are those of the headers", () => {
  assertEquals(bsd.AF_LOCAL, AF_UNIX);
  assertEquals(bsd.IPV6_ADD_MEMBERSHIP, bsd.IPV6_JOIN_GROUP);
  assertEquals(bsd.IPV6_DROP_MEMBERSHIP, bsd.IPV6_LEAVE_GROUP);
  if (Deno.build.os !== "linux") return;
  // By hand from linux/in.h, in6.h and udp.h, asm-generic/socket.h and netinet/in.h.
  assertEquals([bsd.IP_RECVERR, bsd.IPV6_RECVERR], [11, 25]);
  assertEquals([bsd.IP_UNBLOCK_SOURCE, bsd.IP_BLOCK_SOURCE], [37, 38]);
  assertEquals([bsd.UDP_SEGMENT, bsd.UDP_GRO], [103, 104]);
  assertEquals(bsd.SO_TIMESTAMPNS, 35);
  assertEquals([bsd.INET_ADDRSTRLEN, bsd.INET6_ADDRSTRLEN], [16, 46]);
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
    ["2001:DB8:0::FFFF", 80, 0, 1],
    ["fe80::1%1", 80, 0, 1],
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

/** What python makes of each call: its result, or the name of its error's number. */
async function pythons(
  name: string,
  calls: readonly (readonly unknown[])[],
): Promise<unknown[]> {
  return await python(`
names = {getattr(socket, n): n for n in dir(socket) if n.startswith("EAI_")}
def result(args):
    # A sockaddr is a tuple there.
    args = [tuple(a) if isinstance(a, list) else a for a in args]
    try: return socket.${name}(*args)
    except socket.gaierror as e: return names[e.errno]
    except OSError: return "ENOENT"
print(json.dumps([result(args) for args in json.loads('''${
    JSON.stringify(calls)
  }''')]))`) as unknown[];
}

/** What a call of ours gives: its result, or its error's code. */
async function outcome(call: () => unknown): Promise<unknown> {
  try {
    return await call();
  } catch (error) {
    return errorCode(error);
  }
}

Deno.test("getaddrinfo() reads literals as the system does: short forms, and mapped ones in both families", async () => {
  const hosts = [
    "127.1",
    "0x7f.1",
    "017.1",
    "1",
    "0",
    "256",
    "255.255.255.255",
    "1.2.3.4.5",
    "08",
    "127.1 ",
    "1.2.3.4",
    "::1",
    "::ffff:1.2.3.4",
    "::FFFF:102:304",
    "::1.2.3.4",
    "::1%1",
    "fe80::1%1",
  ];
  const { AI_CANONNAME, AI_NUMERICHOST, AI_V4MAPPED } = bsd;
  const calls = hosts.flatMap((host) =>
    [AF_INET, AF_INET6, 0].flatMap((family) =>
      [0, AI_V4MAPPED, AI_CANONNAME].map((flags) =>
        [host, 80, family, 1, 0, flags | AI_NUMERICHOST] as const
      )
    )
  );
  const theirs = await pythons("getaddrinfo", calls);
  for (const [i, call] of calls.entries()) {
    assertEquals(
      await outcome(() => getaddrinfo(...call)),
      theirs[i],
      JSON.stringify(call),
    );
  }
  // They are literals without the flag too, and cost no query.
  const [[, , , , address]] = await getaddrinfo("127.1", 80);
  assertEquals(address, ["127.0.0.1", 80]);
});

Deno.test("getaddrinfo() gives what socket() and connect() take: the loop of the textbooks", async () => {
  using server = bsd.create_server(["127.0.0.1", 0]);
  const [, port] = server.getsockname();
  let client: bsd.Socket | undefined;
  for (
    const [af, type, proto, , sa] of await getaddrinfo(
      "localhost",
      port,
      0,
      bsd.SOCK_STREAM,
    )
  ) {
    // The compiler holds these two lines: a number alone would make this a socket of IPv4.
    const s = bsd.socket(af, type, proto);
    const any: bsd.Socket<bsd.Address> = s;
    try {
      await s.connect(sa);
      client = any;
      break;
    } catch {
      s.close();
    }
  }
  assertEquals(client?.getpeername(), ["127.0.0.1", port]);
  client?.close();
});

Deno.test("gethostbyname() is python's", async () => {
  const names = [
    "localhost",
    "127.0.0.1",
    "127.1",
    "0",
    "",
    "<broadcast>",
    "::1",
    "::ffff:1.2.3.4",
  ];
  const theirs = await pythons("gethostbyname", names.map((name) => [name]));
  for (const [i, name] of names.entries()) {
    assertEquals(await outcome(() => gethostbyname(name)), theirs[i], name);
  }
  await assertRejects(() => gethostbyname(null as never), TypeError);
});

Deno.test("getnameinfo() is python's", async () => {
  const {
    NI_DGRAM,
    NI_NAMEREQD,
    NI_NUMERICHOST: HOST,
    NI_NUMERICSERV: SERV,
  } = bsd;
  const calls: Parameters<typeof getnameinfo>[] = [
    [["127.0.0.1", 80], 0],
    [["127.0.0.1", 80], NI_NAMEREQD],
    [["127.0.0.1", 0], SERV],
    [["127.1", 22], SERV],
    [["::1", 443], 0],
    [["127.0.0.1", 80], HOST],
    [["127.0.0.1", 80], HOST | SERV],
    [["127.1", 80], HOST | SERV],
    [["127.0.0.1", 123], HOST],
    [["127.0.0.1", 123], HOST | NI_DGRAM],
    [["127.0.0.1", 514], HOST],
    [["127.0.0.1", 514], HOST | NI_DGRAM],
    [["127.0.0.1", 0], HOST],
    [["127.0.0.1", 54321], HOST],
    [["127.0.0.1", 80], HOST | NI_NAMEREQD],
    [["::1", 80], HOST],
    [["::1", 80, 0, 0], HOST],
    [["2001:DB8:0::1", 80, 0, 0], HOST],
    [["::1", 80, 0, 7], HOST],
    [["::ffff:102:304", 80], HOST],
    [["localhost", 80], HOST],
    [["localhost", 80], 0],
    [["", 80], HOST],
    [["127.0.0.1", 80], 1 << 20],
  ];
  const theirs = await pythons("getnameinfo", calls);
  for (const [i, call] of calls.entries()) {
    assertEquals(
      await outcome(() => getnameinfo(...call)),
      theirs[i],
      JSON.stringify(call),
    );
  }
  assertEquals(await getnameinfo(["fe80::1", 80, 0, 3], HOST), [
    "fe80::1%3",
    "http",
  ]);
  assertEquals(await getnameinfo(["fe80::1%nope", 1], HOST | SERV), [
    "fe80::1%nope",
    "1",
  ]);
});

Deno.test("getnameinfo() refuses what is no address", async () => {
  for (
    const bad of [
      "path",
      null,
      ["127.0.0.1"],
      ["127.0.0.1", 80, 0, 0],
      ["::1", 80, 0, 0, 0],
      [5, 80],
      ["127.0.0.1", "80"],
    ]
  ) {
    await assertRejects(
      () => getnameinfo(bad as never, bsd.NI_NUMERICHOST),
      TypeError,
    );
  }
  for (
    const bad of [["::1", 65536], ["::1", 80, -1], ["::1", 80, 0, 2 ** 32]]
  ) {
    await assertRejects(
      () => getnameinfo(bad as never, bsd.NI_NUMERICHOST),
      RangeError,
    );
  }
  for (const flags of [0.5, -1, "1"]) {
    const call = () => getnameinfo(["::1", 80], flags as never);
    assertEquals(await outcome(call), "EAI_BADFLAGS");
  }
});

Deno.test("getnameinfo() needs a grant for the address, and none for its literal", async () => {
  const script = `
    import * as bsd from ${JSON.stringify(import.meta.resolve("../socket.ts"))};
    const calls = [
      () => bsd.getnameinfo(["127.0.0.1", 80], bsd.NI_NUMERICHOST),
      () => bsd.getnameinfo(["127.0.0.1", 80]),
      () => bsd.getnameinfo(["127.0.0.1", 0]),
      () => bsd.getnameinfo(["::1", 0]),
    ];
    const said = [];
    for (const call of calls) {
      said.push(await call().then(([, service]) => service, (error) => error.constructor.name));
    }
    console.log(JSON.stringify(said));`;
  const NONE = "NotCapable";
  const cases: [string[], string[]][] = [
    [[], ["http", NONE, NONE, NONE]],
    [["--allow-net"], ["http", "http", "0", "0"]],
    [["--allow-net=127.0.0.1"], ["http", "http", "0", NONE]],
    [["--allow-net=127.0.0.1:80"], ["http", "http", NONE, NONE]],
    [["--allow-net=[::1]"], ["http", NONE, NONE, "0"]],
  ];
  for (const [flags, wanted] of cases) {
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-prompt",
        "--no-lock",
        ...flags,
        `data:application/typescript,${encodeURIComponent(script)}`,
      ],
    }).output();
    const text = new TextDecoder().decode(stdout);
    assert(text !== "", new TextDecoder().decode(stderr));
    assertEquals(JSON.parse(text), wanted, flags.join(" "));
  }
});

Deno.test("getservbyname() knows the common ones", () => {
  assertEquals(getservbyname("http"), 80);
  assertEquals(getservbyname("ntp", "udp"), 123);
  assertEquals(getservbyname("domain", "tcp"), 53);
  for (
    const call of [
      () => getservbyname("ntp", "tcp"),
      () => getservbyname("domain", "sctp" as never),
      () => getservbyname("no-such-service"),
      () => getservbyname("constructor"),
    ]
  ) {
    assertEquals(errorCode(assertThrows(call, Deno.errors.NotFound)), "ENOENT");
  }
  assertThrows(() => getservbyname(80 as never), TypeError);
});

Deno.test("getservbyport() knows them by their ports, as the system does", async () => {
  assertEquals(getservbyport(80), "http");
  assertEquals(getservbyport(22, "tcp"), "ssh");
  assertEquals(getservbyport(514), "shell");
  assertEquals(getservbyport(514, "udp"), "syslog");
  const known: [string, number, "tcp" | "udp"][] = [];
  for (let port = 0; port < 10_000; port++) {
    for (const proto of ["tcp", "udp"] as const) {
      try {
        known.push([getservbyport(port, proto), port, proto]);
      } catch (error) {
        assertEquals(errorCode(error), "ENOENT");
      }
    }
  }
  assert(known.length > 75, String(known.length));
  const theirs = await pythons(
    "getservbyname",
    known.map(([name, , proto]) => [name, proto]),
  );
  for (const [i, [name, port, proto]] of known.entries()) {
    assertEquals(getservbyname(name, proto), port);
    // Not every system's file has all of them.
    if (theirs[i] !== "ENOENT") assertEquals(port, theirs[i], name);
  }
  for (
    const call of [
      () => getservbyport(0),
      () => getservbyport(65535),
      () => getservbyport(123, "tcp"),
      () => getservbyport(80, "sctp" as never),
    ]
  ) {
    assertEquals(errorCode(assertThrows(call, Deno.errors.NotFound)), "ENOENT");
  }
  for (const bad of [-1, 65536, 0.5]) {
    assertThrows(() => getservbyport(bad), RangeError);
  }
  assertThrows(() => getservbyport("80" as never), TypeError);
});

Deno.test("getprotobyname() is python's", async () => {
  // A list of our own, of what the table has: names that one system has, others may lack.
  const names = "ip hopopt icmp igmp ipencap tcp egp igp udp dccp ipv6 " +
    "ipv6-route ipv6-frag rsvp gre esp ah ipv6-icmp ipv6-nonxt ipv6-opts " +
    "eigrp ospf ipip etherip pim ipcomp vrrp l2tp isis sctp udplite " +
    "IP TCP UDP ICMP IPv6 IPv6-ICMP SCTP";
  const theirs = await pythons(
    "getprotobyname",
    names.split(" ").map((name) => [name]),
  );
  for (const [i, name] of names.split(" ").entries()) {
    const number = getprotobyname(name);
    if (theirs[i] !== "ENOENT") assertEquals(number, theirs[i], name);
  }
  assert(theirs.filter((number) => number !== "ENOENT").length > 6);
  assertEquals(getprotobyname("tcp"), bsd.IPPROTO_TCP);
  for (const bad of ["nope", "", "6", "toString", "tcp "]) {
    assertEquals(
      errorCode(assertThrows(() => getprotobyname(bad), Deno.errors.NotFound)),
      "ENOENT",
    );
  }
  assertThrows(() => getprotobyname(6 as never), TypeError);
});

Deno.test("gai_strerror() has words for each error, by name and by number", () => {
  const errors = Object.entries(bsd).filter(([name]) =>
    name.startsWith("EAI_")
  ) as [string, number][];
  assertEquals(errors.length, 12);
  const texts = errors.map(([name]) => gai_strerror(name));
  assertEquals(new Set(texts).size, 12);
  for (const [name, number] of errors) {
    assert(!gai_strerror(name).startsWith("Unknown"), name);
    // Windows has no number for some, and one for two of them.
    if (Deno.build.os === "windows") continue;
    assertEquals(gai_strerror(number), gai_strerror(name), name);
  }
  assertEquals(gai_strerror(0), "Success");
  assertEquals(gai_strerror(12345), "Unknown error 12345");
  assertEquals(gai_strerror("EPIPE"), "Unknown error EPIPE");
  assertEquals(gai_strerror("toString"), "Unknown error toString");
});

Deno.test("the face hands on what tells errors apart", async () => {
  const error = await assertRejects(() => getaddrinfo(null, null), Error);
  assertEquals(bsd.errorCode(error), "EAI_NONAME");
  assertEquals(
    error.message,
    "getaddrinfo: No such host or service (EAI_NONAME): neither a host nor a service",
  );
  assert(bsd.isTimeoutError(new DOMException("", "TimeoutError")));
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
