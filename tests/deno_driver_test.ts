/** What Deno's driver of the BSD face can and cannot do: it says so, and what it says is true. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertThrows,
} from "@std/assert";
import { errorCode, IncompleteReadError, isTimeoutError } from "../errors.ts";
import * as bsd from "../socket.ts";
import { select } from "../select.ts";
import { listenTcp } from "../tcp.ts";
import type { StreamConn } from "../types.ts";
import { pattern, rejection, text, turn, utf8 } from "./_bytes.ts";
import { canListen } from "./_pairs.ts";
import { freePort } from "./_ports.ts";
import { runDeno, startDeno, unstable } from "./_process.ts";
import { withCode } from "../_wait.ts";

const {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  socket,
} = bsd;

/** Asserts that a call throws an error with a code, and with words in its message. */
function refuses(call: () => unknown, code: string, words = /./): void {
  const error = assertThrows(call, Error);
  assertEquals(errorCode(error), code, String(error));
  assertMatch(error.message, words);
}

const LIBC = /@berkeley\/sockets\/libc/;

async function connected(): Promise<[bsd.Socket, bsd.Socket]> {
  using server = bsd.create_server(["127.0.0.1", 0]);
  const client = socket();
  await client.connect(server.getsockname());
  const [conn] = await server.accept();
  return [client as bsd.Socket, conn as bsd.Socket];
}

Deno.test("types that Deno has no sockets for name the other import", async () => {
  for (const type of [bsd.SOCK_RAW, bsd.SOCK_SEQPACKET, bsd.SOCK_RDM]) {
    refuses(() => socket(AF_INET, type), "ESOCKTNOSUPPORT", LIBC);
  }
  const pairs: [bsd.Family, number][] = [
    [AF_INET, SOCK_STREAM],
    [AF_UNIX, SOCK_DGRAM],
  ];
  for (const [family, type] of pairs) {
    const error = await rejection(bsd.socketpair(family, type));
    assertEquals(errorCode(error), "EOPNOTSUPP");
  }
  if (!unstable) {
    refuses(() => socket(AF_UNIX, SOCK_DGRAM), "EOPNOTSUPP", /--unstable-net/);
  }
});

Deno.test("there are no descriptors, and detach() gives this package's own handles", async () => {
  const [client, conn] = await connected();
  for (const one of [client, socket(AF_INET, SOCK_DGRAM)]) {
    refuses(() => one.fileno(), "EOPNOTSUPP", LIBC);
  }
  refuses(() => socket().detach(), "ENOTCONN");
  refuses(() => socket(AF_INET, SOCK_DGRAM).detach(), "ENOTCONN");
  await conn.sendall(utf8("hello"));
  using below = client.detach() as StreamConn;
  const buffer = new Uint8Array(10);
  assertEquals(await below.read(buffer), 5);
  refuses(() => client.getsockname(), "EBADF");
  client.close();
  await below.writeAll(utf8("still open"));
  assertEquals(text(await conn.recv(100)), "still open");
  conn.close();
  const server = bsd.create_server(["127.0.0.1", 0]);
  const [, port] = server.getsockname();
  const listener = server.detach() as { addr: { port: number }; close(): void };
  assertEquals(listener.addr.port, port);
  listener.close();
  const udp = socket(AF_INET, SOCK_DGRAM);
  udp.bind(["127.0.0.1", 0]);
  await using socketBelow = udp.detach() as unknown as AsyncDisposable & {
    backend: string;
  };
  assertEquals(socketBelow.backend, unstable ? "deno" : "node");
});

Deno.test("a bound stream socket cannot connect", async () => {
  using server = bsd.create_server(["127.0.0.1", 0]);
  using bound = socket();
  bound.bind(["127.0.0.1", 0]);
  const error = await rejection(bound.connect(server.getsockname()));
  assertEquals(errorCode(error), "EOPNOTSUPP");
  assertMatch(String(error), LIBC);
});

Deno.test("listen() without bind() takes a port, and a path has to be there", () => {
  using server = socket();
  server.listen();
  const [, port] = server.getsockname();
  assert(port > 0);
  using local = socket(AF_UNIX);
  refuses(() => local.listen(), "EINVAL");
});

Deno.test("options that the kernel would not see are never reported as set", async () => {
  const [client, conn] = await connected();
  const refused: [bsd.Socket, number, number, RegExp][] = [
    [client, SOL_SOCKET, bsd.SO_SNDBUF, LIBC],
    [client, SOL_SOCKET, bsd.SO_RCVTIMEO, /settimeout/],
    [client, SOL_SOCKET, bsd.SO_REUSEADDR, /before bind/],
    [client, IPPROTO_TCP, bsd.TCP_KEEPIDLE, LIBC],
    [client, IPPROTO_IP, bsd.IP_TTL, LIBC],
    [client, IPPROTO_IPV6, bsd.IPV6_V6ONLY, LIBC],
  ];
  for (const [one, level, option, words] of refused) {
    refuses(() => one.setsockopt(level, option, 1), "ENOPROTOOPT", words);
  }
  refuses(() => client.getsockopt(SOL_SOCKET, bsd.SO_SNDBUF), "ENOPROTOOPT");
  refuses(() => client.setsockopt(SOL_SOCKET, -1, 1), "ENOPROTOOPT");
  refuses(() => client.getsockopt(SOL_SOCKET, -1), "ENOPROTOOPT");
  refuses(
    () => client.setsockopt(IPPROTO_TCP, bsd.TCP_NODELAY, new Uint8Array(3)),
    "EINVAL",
  );
  using local = socket(AF_UNIX);
  refuses(
    () => local.setsockopt(SOL_SOCKET, bsd.SO_KEEPALIVE, 1),
    "ENOPROTOOPT",
  );
  assertEquals(local.getsockopt(SOL_SOCKET, bsd.SO_PROTOCOL), 0);
  refuses(() => local.getsockopt(SOL_SOCKET, bsd.SO_REUSEADDR), "ENOPROTOOPT");
  // What a listener's connections have.
  assertEquals(conn.getsockopt(SOL_SOCKET, bsd.SO_REUSEADDR), 1);
  using server = socket();
  server.setsockopt(IPPROTO_TCP, bsd.TCP_NODELAY, true);
  server.bind(["127.0.0.1", 0]);
  server.listen();
  using other = socket();
  other.setsockopt(SOL_SOCKET, bsd.SO_REUSEADDR, 1);
  await other.connect(server.getsockname());
  // The kernel's socket was made by the connect, and never had it.
  assertEquals(other.getsockopt(SOL_SOCKET, bsd.SO_REUSEADDR), 0);
  const [accepted] = await server.accept();
  assertEquals(accepted.getsockopt(IPPROTO_TCP, bsd.TCP_NODELAY), 1);
  accepted.close();
  client.close();
  conn.close();
});

Deno.test("SO_REUSEPORT needs its flag, and shares a port with it", () => {
  using one = socket();
  if (!unstable) {
    refuses(
      () => one.setsockopt(SOL_SOCKET, bsd.SO_REUSEPORT, 1),
      "ENOPROTOOPT",
      /--unstable-net/,
    );
    return;
  }
  one.setsockopt(SOL_SOCKET, bsd.SO_REUSEPORT, 1);
  assertEquals(one.getsockopt(SOL_SOCKET, bsd.SO_REUSEPORT), 1);
  one.bind(["127.0.0.1", 0]);
  refuses(() => one.setsockopt(SOL_SOCKET, bsd.SO_REUSEPORT, 0), "ENOPROTOOPT");
  using two = bsd.create_server(one.getsockname(), { reuse_port: true });
  assertEquals(two.getsockname(), one.getsockname());
});

Deno.test("options of datagram sockets", () => {
  using udp = socket(AF_INET, SOCK_DGRAM);
  const set: [number, number, number][] = [
    [SOL_SOCKET, bsd.SO_REUSEADDR, 1],
    [IPPROTO_IP, bsd.IP_TTL, 9],
    [IPPROTO_IP, bsd.IP_MULTICAST_TTL, 3],
    [IPPROTO_IP, bsd.IP_MULTICAST_LOOP, 0],
    [SOL_SOCKET, bsd.SO_BROADCAST, 0],
  ];
  for (const [level, option, value] of set) {
    udp.setsockopt(level, option, value);
    assertEquals(udp.getsockopt(level, option), value);
  }
  for (const ttl of [0, 256]) {
    refuses(() => udp.setsockopt(IPPROTO_IP, bsd.IP_TTL, ttl), "EINVAL");
  }
  refuses(() => udp.setsockopt(IPPROTO_IP, bsd.IP_MULTICAST_IF, 1), "EINVAL");
  refuses(() => udp.setsockopt(IPPROTO_IP, bsd.IP_TOS, 1), "ENOPROTOOPT", LIBC);
  refuses(() => udp.setsockopt(SOL_SOCKET, bsd.SO_REUSEPORT, 1), "ENOPROTOOPT");
  refuses(() => udp.setsockopt(SOL_SOCKET, -1, 1), "ENOPROTOOPT");
  refuses(() => udp.getsockopt(IPPROTO_IP, bsd.IP_TOS), "ENOPROTOOPT");
  udp.bind(["127.0.0.1", 0]);
  refuses(
    () => udp.setsockopt(IPPROTO_IP, bsd.IP_TTL, 5),
    "ENOPROTOOPT",
    /before bind/,
  );
  refuses(
    () => udp.setsockopt(IPPROTO_IP, bsd.IP_MULTICAST_IF, new Uint8Array(4)),
    "ENOPROTOOPT",
  );
  refuses(
    () => udp.setsockopt(IPPROTO_IP, bsd.IP_ADD_MEMBERSHIP, new Uint8Array(8)),
    "EINVAL",
    /no group/,
  );
});

Deno.test({
  name: "groups of IPv6, and V6ONLY",
  ignore: !canListen("::1"),
  async fn() {
    using six = socket(AF_INET6, SOCK_DGRAM);
    six.setsockopt(IPPROTO_IPV6, bsd.IPV6_V6ONLY, 1);
    assertEquals(six.getsockopt(IPPROTO_IPV6, bsd.IPV6_V6ONLY), 1);
    six.setsockopt(IPPROTO_IPV6, bsd.IPV6_MULTICAST_LOOP, 1);
    assertEquals(six.getsockopt(IPPROTO_IPV6, bsd.IPV6_MULTICAST_LOOP), 1);
    const request = new Uint8Array(20);
    request.set(bsd.inet_pton(AF_INET6, "ff02::77"));
    // Before there is an address: it is joined when there is one.
    six.setsockopt(IPPROTO_IPV6, bsd.IPV6_JOIN_GROUP, request);
    six.bind(["::1", 0]);
    refuses(
      () => six.setsockopt(IPPROTO_IPV6, bsd.IPV6_JOIN_GROUP, request),
      "EADDRINUSE",
    );
    six.setsockopt(IPPROTO_IPV6, bsd.IPV6_LEAVE_GROUP, request);
    await turn();
    refuses(
      () =>
        six.setsockopt(IPPROTO_IPV6, bsd.IPV6_JOIN_GROUP, new Uint8Array(8)),
      "EINVAL",
    );
    // A group on an interface that is none: the system's answer is the next call's.
    new DataView(request.buffer).setInt32(16, 9999, true);
    six.setsockopt(IPPROTO_IPV6, bsd.IPV6_JOIN_GROUP, request);
    let told = 0;
    for (let i = 0; i < 100 && told === 0; i++) {
      await turn();
      told = six.getsockopt(SOL_SOCKET, bsd.SO_ERROR);
    }
    assert(told !== 0);
    assertEquals(six.getsockopt(SOL_SOCKET, bsd.SO_ERROR), 0);
    using server = socket(AF_INET6);
    refuses(
      () => server.setsockopt(IPPROTO_IPV6, bsd.IPV6_V6ONLY, 1),
      "ENOPROTOOPT",
      LIBC,
    );
    server.setsockopt(IPPROTO_IPV6, bsd.IPV6_V6ONLY, 0);
    assertEquals(server.getsockopt(IPPROTO_IPV6, bsd.IPV6_V6ONLY), 0);
    server.bind(["", 0]);
    server.listen(17);
    refuses(
      () => server.setsockopt(IPPROTO_IPV6, bsd.IPV6_V6ONLY, 0),
      "ENOPROTOOPT",
    );
    using client = socket();
    await client.connect(["127.0.0.1", server.getsockname()[1]]);
    const [conn, peer] = await server.accept();
    assertEquals(peer[0], "::ffff:127.0.0.1");
    conn.close();
    // Hosts of the other family.
    using four = socket();
    refuses(() => four.bind(["::1", 0]), "EAFNOSUPPORT");
    const error = await rejection(four.connect(["::1", 1]));
    assertEquals(errorCode(error), "EAFNOSUPPORT");
    const sixError = await rejection(
      socket(AF_INET6).connect(["127.0.0.1", 1]),
    );
    assertEquals(errorCode(sixError), "EAFNOSUPPORT");
  },
});

Deno.test("flags that Deno has no way to pass on", async () => {
  const [client, conn] = await connected();
  const calls = [
    () => conn.recv(1, bsd.MSG_OOB),
    () => conn.recv(1, bsd.MSG_TRUNC),
    () => client.send(utf8("x"), bsd.MSG_OOB),
    () => client.sendall(utf8("x"), bsd.MSG_MORE),
  ];
  for (const call of calls) {
    const error = await rejection(call());
    assertEquals(errorCode(error), "EOPNOTSUPP");
    assertMatch(String(error), LIBC);
  }
  await client.sendall(utf8("x"), bsd.MSG_NOSIGNAL);
  assertEquals(text(await conn.recv(1)), "x");
  using udp = socket(AF_INET, SOCK_DGRAM);
  udp.bind(["127.0.0.1", 0]);
  assertEquals(
    errorCode(await rejection(udp.recv(1, bsd.MSG_TRUNC))),
    "EOPNOTSUPP",
  );
  using idle = socket(AF_INET, SOCK_DGRAM);
  assertEquals(errorCode(await rejection(idle.recv(1))), "EINVAL");
  client.close();
  conn.close();
});

Deno.test("sendall() in its time, out of it, and ahead of it", async () => {
  const [client, conn] = await connected();
  client.settimeout(5000);
  await client.sendall(utf8("in time"));
  assertEquals(text(await conn.recv(100)), "in time");
  // Taken whole: it is out when the peer has read.
  const data = pattern(8_000_000);
  client.setblocking(false);
  await client.sendall(data);
  assertEquals(errorCode(await rejection(client.sendall(data))), "EAGAIN");
  client.settimeout(10);
  assert(isTimeoutError(await rejection(client.send(data))));
  const got = await conn.recv(data.length, bsd.MSG_WAITALL);
  assertEquals(got, data);
  await select([], [client], []);
  client.settimeout(20);
  const error = await rejection(client.sendall(pattern(50_000_000)));
  assert(isTimeoutError(error));
  assertEquals(errorCode(error), "ETIMEDOUT");
  assertMatch(String(error), /20 ms/);
  client.settimeout(null);
  assertEquals(errorCode(await rejection(client.sendall(utf8("x")))), "EPIPE");
  client.close();
  conn.close();
});

Deno.test("what went wrong with a send that was taken is the next call's error", async () => {
  const [client, conn] = await connected();
  client.setblocking(false);
  assertEquals(await client.send(pattern(200_000)), 65_536);
  const fill = async () => {
    for (;;) await client.send(pattern(65_536));
  };
  assertEquals(errorCode(await rejection(fill())), "EAGAIN");
  conn.close();
  await select([], [client], []);
  const number = client.getsockopt(SOL_SOCKET, bsd.SO_ERROR);
  assert(
    [bsd.errno("ECONNRESET"), bsd.errno("EPIPE")].includes(number),
    `${number}`,
  );
  assertEquals(client.getsockopt(SOL_SOCKET, bsd.SO_ERROR), 0);
  client.close();
});

Deno.test("a connect that takes too long, and one that is closed", async () => {
  const { code, stdout, stderr } = await runDeno(
    ["-A"],
    `
const { socket, errno } = sockets;
// A listener whose queue is full answers nobody.
const server = socket();
server.bind(["127.0.0.1", 0]);
server.listen(0);
const fill = [];
for (let i = 0; i < 4; i++) {
  const one = socket();
  one.setblocking(false);
  await one.connect_ex(server.getsockname());
  fill.push(one);
}
const late = socket();
late.settimeout(50);
const error = await late.connect(server.getsockname()).catch((error) => error);
console.log(error.name, error.code, /50 ms/.test(error.message));
const one = socket();
one.setblocking(false);
console.log(await one.connect_ex(server.getsockname()) === errno("EINPROGRESS"));
console.log(await one.connect_ex(server.getsockname()) === errno("EALREADY"));
one.close();
Deno.exit(0);
`,
  );
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "TimeoutError ETIMEDOUT true\ntrue\ntrue\n",
    stderr: "",
  });
});

Deno.test({
  name: "Unix datagram sockets: names, peers and their ends",
  ignore: !unstable,
  async fn() {
    const name = () => `\0${crypto.randomUUID()}`;
    using server = socket(AF_UNIX, SOCK_DGRAM);
    server.bind(name());
    refuses(() => server.bind(name()), "EINVAL");
    using client = socket(AF_UNIX, SOCK_DGRAM);
    refuses(() => client.getpeername(), "ENOTCONN");
    assertEquals(
      errorCode(await rejection(client.send(utf8("x")))),
      "ENOTCONN",
    );
    assertEquals(errorCode(await rejection(client.recv(1))), "EINVAL");
    await client.connect(server.getsockname());
    assertEquals(client.getpeername(), server.getsockname());
    await client.send(utf8("x"));
    assertEquals(await server.recvfrom(10), [utf8("x"), ""]);
    client.bind(name());
    await client.sendall(utf8("named"));
    assertEquals((await server.recvfrom(10))[1], client.getsockname());
    server.settimeout(10);
    assert(isTimeoutError(await rejection(server.recv(1))));
    assertEquals(client.getsockopt(SOL_SOCKET, bsd.SO_PROTOCOL), 0);
    refuses(
      () => client.setsockopt(SOL_SOCKET, bsd.SO_BROADCAST, 1),
      "ENOPROTOOPT",
    );
    await client.shutdown(bsd.SHUT_RDWR);
    assertEquals((await client.recv(1)).length, 0);
    refuses(() => server.bind("/no/such/folder/x"), "EINVAL");
    using lost = socket(AF_UNIX, SOCK_DGRAM);
    refuses(() => lost.bind("/no/such/folder/x"), "ENOENT");
  },
});

Deno.test("only --allow-net is needed", async () => {
  const { code, stdout, stderr } = await runDeno(
    ["--allow-net"],
    `
const { AF_INET, SOCK_DGRAM, create_connection, create_server, socket, socketpair } = sockets;
const server = create_server(["127.0.0.1", 0]);
const client = await create_connection(server.getsockname());
const [conn] = await server.accept();
await conn.sendall(new Uint8Array([1]));
console.log((await client.recv(1))[0]);
const udp = socket(AF_INET, SOCK_DGRAM);
udp.bind(["127.0.0.1", 0]);
await udp.sendto(new Uint8Array([2]), udp.getsockname());
console.log((await udp.recv(1))[0]);
const [a, b] = await socketpair();
await a.sendall(new Uint8Array([3]));
console.log((await b.recv(1))[0]);
for (const one of [server, client, conn, udp, a, b]) one.close();
`,
  );
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "1\n2\n3\n",
    stderr: "",
  });
});

Deno.test("select() and Poller keep a program alive while somebody waits, and no longer", async () => {
  const { code, stdout, stderr } = await runDeno(
    ["-A"],
    `
const { Poller, POLLIN, create_connection, create_server, select } = sockets;
const server = create_server(["127.0.0.1", 0]);
const client = await create_connection(server.getsockname());
const [conn] = await server.accept();
console.log((await select([server, client], [], [], 20))[0].length);
const poller = new Poller();
for (const socket of [server, client]) poller.register(socket, POLLIN);
console.log((await poller.poll(20)).length);
// Only this wait keeps the program here, until something comes.
Deno.unrefTimer(setTimeout(() => conn.sendall(new Uint8Array(1)), 20));
console.log((await poller.poll()).length);
`,
  );
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "0\n0\n1\n",
    stderr: "",
  });
});

for (
  const wait of [
    "select([sockets.socket(2, 2)], [], [])",
    "select((await sockets.socketpair()).slice(1), [], [])",
    "select([], [], [])",
    "new sockets.Poller().poll()",
  ]
) {
  Deno.test(`nothing but the wait keeps a program alive: ${wait}`, async () => {
    await using program = await startDeno(
      ["--allow-net"],
      `
const { select } = sockets;
console.log("waiting");
await ${wait};
`,
    );
    assertEquals(await program.line(), "waiting");
    // It would have ended by then.
    await new Promise((resolve) => setTimeout(resolve, 100));
    program.kill("SIGTERM");
    const { signal, stderr } = await program.ended();
    assertEquals({ signal, stderr }, { signal: "SIGTERM", stderr: "" });
  });
}

Deno.test("an address is free as soon as its socket is disposed of, whatever has waited", async () => {
  // In a process that starts no others: one that is just being started holds all descriptors for a moment.
  const { code, stdout, stderr } = await runDeno(
    ["-A"],
    `
const { AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_STREAM, select, socket } = sockets;
const name = "\\0" + crypto.randomUUID();
const places = [[AF_INET, ["127.0.0.1", ${freePort()}]]];
if (Deno.build.os === "linux") places.push([AF_UNIX, name]);
for (const [family, place] of places) {
  for (const type of [SOCK_STREAM, SOCK_DGRAM]) {
    // Unix datagrams are behind a flag.
    if (family === AF_UNIX && type === SOCK_DGRAM) continue;
    let address = place;
    for (let i = 0; i < 100; i++) {
      const server = socket(family, type);
      server.bind(address);
      address = server.getsockname();
      if (type === SOCK_STREAM) server.listen();
      if (i % 3 !== 0) await select([server], [], [], 1);
      if (i % 3 === 2) {
        server.setblocking(false);
        await (type === SOCK_STREAM ? server.accept() : server.recv(1)).catch(() => {});
      }
      await server[Symbol.asyncDispose]();
    }
  }
}
console.log("free");
`,
  );
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "free\n",
    stderr: "",
  });
});

Deno.test({
  name:
    "listen() with a number gets its port again, also while a worker starts processes",
  ignore: Deno.build.os === "windows",
  async fn() {
    const { code, stdout, stderr } = await runDeno(
      ["-A"],
      `
const starting = "for (;;) await new Deno.Command('true').output();";
const url = "data:application/javascript," + encodeURIComponent(starting);
const workers = [1, 2].map(() => new Worker(url, { type: "module" }));
// A port that the system gives to nobody else in between; what was closed a moment ago may still be there.
function bind(server) {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    try {
      server.bind(["127.0.0.1", port]);
      return port;
    } catch (error) {
      if (sockets.errorCode(error) !== "EADDRINUSE") throw error;
    }
  }
}
const end = performance.now() + 1500;
while (performance.now() < end) {
  await using server = sockets.socket();
  const port = bind(server);
  server.listen(17);
  if (server.getsockname()[1] !== port) throw new Error("another port");
}
for (const worker of workers) worker.terminate();
console.log("listened");
Deno.exit();
`,
    );
    assertEquals({ code, stdout, stderr }, {
      code: 0,
      stdout: "listened\n",
      stderr: "",
    });
  },
});

Deno.test("a socket whose listen() fails can be closed", async () => {
  const { code, stdout, stderr } = await runDeno(
    ["-A"],
    `
const server = sockets.socket();
server.bind(["127.0.0.1", 0]);
// As if somebody else were faster.
Deno.listen = () => { throw new Deno.errors.AddrInUse("Address already in use (os error 98)"); };
try {
  server.listen(17);
} catch (error) {
  console.log(sockets.errorCode(error));
}
server.close();
await server[Symbol.asyncDispose]();
console.log("closed");
`,
  );
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "EADDRINUSE\nclosed\n",
    stderr: "",
  });
});

Deno.test("a missing permission is the runtime's own error, of every call", async () => {
  const { code, stdout, stderr } = await runDeno(
    [],
    `
const { socket, AF_INET, SOCK_DGRAM } = sockets;
const told = async (call) => {
  try { await call(); } catch (error) { console.log(error.name); }
};
const address = ["127.0.0.1", 9];
await told(() => socket().connect(address));
await told(() => socket().connect_ex(address));
await told(() => socket().bind(address));
await told(() => socket(AF_INET, SOCK_DGRAM).bind(address));
await told(() => socket(AF_INET, SOCK_DGRAM).sendto(new Uint8Array(1), address));
`,
  );
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "NotCapable\n".repeat(5),
    stderr: "",
  });
});

Deno.test("what this driver has no way to do is told before anything is done", async () => {
  for (
    const [call, code] of [
      [
        bsd.create_connection(["127.0.0.1", 9], {
          source_address: ["127.0.0.1", 0],
        }),
        "EOPNOTSUPP",
      ],
      [socket(AF_INET, SOCK_DGRAM).recv(1), "EINVAL"],
    ] as const
  ) assertEquals(errorCode(await rejection(call)), code);
  const timed = socket(AF_INET, SOCK_DGRAM);
  timed.settimeout(5);
  assert(isTimeoutError(await rejection(timed.recv(1))));
  timed.setblocking(false);
  assertEquals(errorCode(await rejection(timed.recv(1))), "EAGAIN");
  // It is heard on the address that it gets during the wait.
  timed.settimeout(60_000);
  const receiving = timed.recv(10);
  timed.bind(["127.0.0.1", 0]);
  await timed.sendto(utf8("me"), timed.getsockname());
  assertEquals(text(await receiving), "me");
  timed.close();
  refuses(() => timed.settimeout(1), "EBADF");
  refuses(() => timed.setblocking(true), "EBADF");
  assertThrows(
    () => new (bsd.Socket as unknown as { new (): unknown })(),
    TypeError,
    "socket()",
  );
  const [a, b] = await bsd.socketpair(
    AF_UNIX,
    SOCK_STREAM | bsd.SOCK_NONBLOCK | bsd.SOCK_CLOEXEC,
  );
  assertEquals([a.type, a.gettimeout()], [
    SOCK_STREAM,
    bsd.SOCK_NONBLOCK === 0 ? null : 0,
  ]);
  const both = bsd.MSG_PEEK | bsd.MSG_WAITALL;
  assertEquals(errorCode(await rejection(a.recv(4, both))), "EOPNOTSUPP");
  a.close();
  b.close();
});

Deno.test("options in the forms that textbooks give them", () => {
  using udp = socket(AF_INET, SOCK_DGRAM);
  const { IP_MULTICAST_TTL, IP_MULTICAST_LOOP } = bsd;
  udp.setsockopt(IPPROTO_IP, IP_MULTICAST_TTL, new Uint8Array([3]));
  assertEquals(udp.getsockopt(IPPROTO_IP, IP_MULTICAST_TTL), 3);
  udp.setsockopt(IPPROTO_IP, IP_MULTICAST_LOOP, new Uint8Array([0]));
  assertEquals(udp.getsockopt(IPPROTO_IP, IP_MULTICAST_LOOP), 0);
  refuses(
    () => udp.setsockopt(IPPROTO_IP, IP_MULTICAST_TTL, 0),
    "ENOPROTOOPT",
    LIBC,
  );
  using tcp = socket();
  using unix = socket(AF_UNIX);
  for (const socket of [udp, tcp, unix] as bsd.Socket[]) {
    for (const option of [bsd.SO_RCVTIMEO, bsd.SO_SNDTIMEO]) {
      refuses(
        () => socket.setsockopt(SOL_SOCKET, option, new Uint8Array(16)),
        "ENOPROTOOPT",
        /settimeout/,
      );
    }
  }
  refuses(
    () => unix.setsockopt(SOL_SOCKET, bsd.SO_REUSEADDR, 1),
    "ENOPROTOOPT",
    /leave it out/,
  );
  tcp.bind(["127.0.0.1", 0]);
  tcp.setsockopt(SOL_SOCKET, bsd.SO_REUSEADDR, 1);
  refuses(
    () => tcp.setsockopt(SOL_SOCKET, bsd.SO_REUSEADDR, 0),
    "ENOPROTOOPT",
  );
});

Deno.test("every error has its code, also where the room below had none", () => {
  const error = withCode(new Deno.errors.BadResource("Bad resource ID"));
  assertEquals((error as { code?: unknown }).code, "EBADF");
  const timeout = withCode(new DOMException("late", "TimeoutError"));
  assertEquals((timeout as { code?: unknown }).code, "ETIMEDOUT");
  const known = Object.assign(new Error("known"), { code: "EPIPE" });
  assertEquals(withCode(known), known);
  assertEquals(withCode("no error"), "no error");
});

Deno.test("a small recv() costs no large buffer", async () => {
  const [client, conn] = await connected();
  await client.sendall(utf8("small"));
  const data = await conn.recv(1_000_000);
  assertEquals(text(data), "small");
  assertEquals(data.buffer.byteLength, 5);
  // Nor does it show what others have received.
  await client.sendall(utf8("x".repeat(600)));
  assertEquals((await conn.recv(1000)).buffer.byteLength, 600);
  client.close();
  conn.close();
  assertInstanceOf(data, Uint8Array);
});

Deno.test("close() in whatever turn a connect succeeds leaves no connection", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  for (let turns = 0; turns < 12; turns++) {
    const client = socket();
    const { port } = listener.addr;
    const connecting = client.connect(["127.0.0.1", port])
      .then(() => undefined, errorCode);
    using peer = await listener.accept();
    for (let i = 0; i < turns; i++) await undefined;
    client.close();
    const code = await connecting;
    assert(code === undefined || code === "EINTR", code);
    peer.timeout = 60_000;
    assertEquals(await peer.read(new Uint8Array(1)), null);
    await client[Symbol.asyncDispose]();
  }
});

Deno.test("a stranger's datagram is nothing to a socket that has a peer", async () => {
  using server = socket(AF_INET, SOCK_DGRAM);
  using stranger = socket(AF_INET, SOCK_DGRAM);
  using peer = socket(AF_INET, SOCK_DGRAM);
  server.bind(["127.0.0.1", 0]);
  peer.bind(["127.0.0.1", 0]);
  server.setblocking(false);
  // From now on something is received ahead.
  assertEquals(errorCode(await rejection(server.recv(9))), "EAGAIN");
  await stranger.sendto(utf8("stray"), server.getsockname());
  assertEquals(await select([server], [], []), [[server], [], []]);
  await server.connect(peer.getsockname());
  assertEquals(
    errorCode(await rejection(server.recv(9, bsd.MSG_PEEK))),
    "EAGAIN",
  );
  assertEquals(errorCode(await rejection(server.recv(9))), "EAGAIN");
  await peer.sendto(utf8("peer's"), server.getsockname());
  assertEquals(await select([server], [], []), [[server], [], []]);
  assertEquals(text(await server.recv(9, bsd.MSG_PEEK)), "peer's");
  assertEquals(text(await server.recv(9)), "peer's");
});

Deno.test("a buffer that shrinks during the wait: what has come is handed over", async () => {
  const [client, conn] = await connected();
  const calls: ((buffer: Uint8Array) => Promise<unknown>)[] = [
    (buffer) => conn.recv_into(buffer),
    (buffer) => conn.recvfrom_into(buffer),
  ];
  for (const call of calls) {
    const memory = new ArrayBuffer(8, { maxByteLength: 8 });
    const waiting = rejection(call(new Uint8Array(memory)));
    memory.resize(4);
    await client.sendall(utf8("received"));
    const error = await waiting;
    assertInstanceOf(error, IncompleteReadError);
    assertEquals(text(error.partial), "received");
    assertEquals(errorCode(error), "EFAULT");
  }
  client.close();
  conn.close();
});
