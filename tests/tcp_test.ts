/** TCP: options, addresses, opening errors, listeners. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { AddrList } from "../addr.ts";
import { AddressSyntaxError, errorCode, isClosedError } from "../errors.ts";
import { readAll, readExact } from "../io.ts";
import { connectTcp, listenTcp } from "../tcp.ts";
import {
  type BadCall,
  fill,
  readText,
  rejection,
  turn,
  utf8,
} from "./_bytes.ts";
import { canListen } from "./_pairs.ts";
import { freePort, untilRefused } from "./_ports.ts";
import { runDeno, unstable } from "./_process.ts";

const linux = Deno.build.os === "linux";
const hasIPv6 = canListen("::1");

Deno.test("addresses are plain, frozen and the same on both ends", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  using client = await connectTcp(listener.addr);
  using server = await listener.accept();
  assertEquals(listener.addr.transport, "tcp");
  assertEquals(client.remoteAddr, listener.addr);
  assertEquals(client.remoteAddr, server.localAddr);
  assertEquals(client.localAddr, server.remoteAddr);
  assertStrictEquals(client.localAddr, client.localAddr);
  for (const addr of [listener.addr, client.localAddr, server.remoteAddr]) {
    assert(Object.isFrozen(addr));
    assertEquals(Object.getPrototypeOf(addr), Object.prototype);
  }
});

Deno.test("connections and listeners satisfy Deno's own types", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  const asListener: Deno.TcpListener = listener;
  using client: Deno.TcpConn = await connectTcp(listener.addr);
  using server: Deno.TcpConn = await asListener.accept();
  await client.write(utf8("hello"));
  assertEquals(await readText(server), "hello");
});

Deno.test({
  name: "an IPv6 zone is kept, and leads back",
  ignore: !linux,
  async fn() {
    // A link-local address of this machine, if it has one that can be listened on.
    const found = Deno.networkInterfaces().find((face) =>
      face.family === "IPv6" && face.address.startsWith("fe80") &&
      canListen(`${face.address}%${face.name}`)
    );
    if (found === undefined) return;
    const hostname = `${found.address}%${found.name}`;
    await using listener = await listenTcp({ hostname });
    assertEquals(listener.addr.hostname, hostname);
    using client = await connectTcp(listener.addr);
    using server = await listener.accept();
    assertEquals(client.remoteAddr, listener.addr);
    assertEquals(client.localAddr.hostname, hostname);
    assertEquals(server.remoteAddr, client.localAddr);
  },
});

Deno.test("a refused connection says what was refused", async () => {
  const listener = await listenTcp({ hostname: "127.0.0.1" });
  const { addr } = listener;
  await listener[Symbol.asyncDispose]();
  await untilRefused(() => Deno.connect(addr));
  const error = await assertRejects(
    () => connectTcp(addr),
    Deno.errors.ConnectionRefused,
  );
  assertEquals(
    error.message,
    `Cannot connect to tcp 127.0.0.1:${addr.port}: Connection refused (ECONNREFUSED)`,
  );
  assertEquals(errorCode(error), "ECONNREFUSED");
  assertEquals((error as { address?: unknown }).address, addr);
  assertInstanceOf(error.cause, Deno.errors.ConnectionRefused);
});

Deno.test("a port in use says so, and an address that is not ours", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  const { addr } = listener;
  const inUse = await assertRejects(
    () => listenTcp(addr),
    Deno.errors.AddrInUse,
  );
  assertEquals(
    inUse.message,
    `Cannot listen on tcp 127.0.0.1:${addr.port}: Address already in use (EADDRINUSE)`,
  );
  const foreign = await assertRejects(
    () => listenTcp({ hostname: "192.0.2.1" }),
    Deno.errors.AddrNotAvailable,
  );
  assertEquals(errorCode(foreign), "EADDRNOTAVAIL");
});

Deno.test("a name that does not exist", async () => {
  for (
    const open of [
      () => connectTcp({ hostname: "nowhere.invalid", port: 80 }),
      () => listenTcp({ hostname: "nowhere.invalid" }),
    ]
  ) {
    const error = await rejection(open());
    assertInstanceOf(error, Error);
    assert(
      ["ENOTFOUND", "EAI_AGAIN"].includes(errorCode(error)!),
      `${errorCode(error)}: ${error.message}`,
    );
    assertStringIncludes(error.message, "tcp nowhere.invalid:");
  }
});

Deno.test("names: localhost is looked up without blocking", async () => {
  await using listener = await listenTcp({ hostname: "localhost" });
  assert(["127.0.0.1", "::1"].includes(listener.addr.hostname));
  using client = await connectTcp({
    hostname: "localhost",
    port: listener.addr.port,
  });
  (await listener.accept()).close();
  assertEquals(client.remoteAddr.port, listener.addr.port);
});

Deno.test("bad options, before anything is opened", async () => {
  const label = "x".repeat(64);
  const both: BadCall[] = [
    [{ port: 65536 }, RangeError, "got 65536"],
    [{ port: -1 }, RangeError, "got -1"],
    [{ port: 1.5 }, RangeError, "got 1.5"],
    [{ port: NaN }, RangeError, "got NaN"],
    [{ port: "80" }, TypeError, 'got "80"'],
    [{ port: null }, TypeError, "got null"],
    [{ port: 80, hostname: "" }, SyntaxError, "it is empty"],
    [{ port: 80, hostname: "*" }, SyntaxError, "cannot be part of a name"],
    [{ port: 80, hostname: "127.0.0.1:80" }, SyntaxError, "a port does not"],
    [{ port: 80, hostname: label }, SyntaxError, "at most 63 characters"],
    [{ port: 80, hostname: "a b" }, SyntaxError, "cannot be part"],
    [{ port: 80, hostname: "[::1" }, SyntaxError, "not closed"],
    [{ port: 80, hostname: "300.1.1.1" }, SyntaxError, "not an IPv4"],
    [{ port: 80, hostname: 127 }, TypeError, "got 127"],
    [{ port: 80, hostname: null }, TypeError, "got null"],
    [{ port: 80, noDelay: 1 }, TypeError, "expected a boolean"],
    [{ port: 80, keepAlive: "yes" }, TypeError, "expected a boolean"],
    [null, TypeError, "expected an object"],
    [80, TypeError, "expected an object"],
  ];
  const connect: BadCall[] = [
    [{ port: 0 }, RangeError, "from 1 to 65535"],
    [{}, TypeError, "got undefined"],
    [{ port: 80, timeout: 0 }, RangeError, "got 0"],
    [{ port: 80, timeout: -1 }, RangeError, "got -1"],
    [{ port: 80, timeout: NaN }, RangeError, "got NaN"],
    [{ port: 80, timeout: "1" }, TypeError, 'got "1"'],
    [{ port: 80, signal: {} }, TypeError, "expected an AbortSignal"],
    [{ port: 80, autoSelectFamily: 1 }, TypeError, "expected a boolean"],
    [
      { port: 80, autoSelectFamilyAttemptDelay: -1 },
      RangeError,
      "from 0 to",
    ],
  ];
  const listen: BadCall[] = [
    [{ backlog: -1 }, RangeError, "got -1"],
    [{ backlog: 1.5 }, RangeError, "got 1.5"],
    [{ backlog: "5" }, TypeError, 'got "5"'],
    [{ reusePort: 1 }, TypeError, "expected a boolean"],
    [{ dualStack: 1 }, TypeError, "expected a boolean"],
    [{ dualStack: true, hostname: "127.0.0.1" }, TypeError, "with dualStack"],
    [{ allow: "127.0.0.1" }, TypeError, "expected an AddrList"],
    [{ allow: 5 }, TypeError, "expected an AddrList"],
    [{ deny: ["localhost"] }, SyntaxError, "expected an IP address"],
  ];
  for (const [options, Class, message] of [...both, ...connect]) {
    await assertRejects(() => connectTcp(options as never), Class, message);
  }
  for (const [options, Class, message] of [...both, ...listen]) {
    await assertRejects(() => listenTcp(options as never), Class, message);
  }
  const error = await assertRejects(
    () => connectTcp({ port: 80, hostname: "a:b" }),
    AddressSyntaxError,
  );
  assertEquals([error.input, error.position], ["a:b", 1]);
});

Deno.test("an aborted signal opens nothing", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  assertEquals(
    await rejection(
      connectTcp({ ...listener.addr, signal: AbortSignal.abort("no") }),
    ),
    "no",
  );
  using conn = await connectTcp({
    ...listener.addr,
    signal: AbortSignal.timeout(60_000),
    timeout: 60_000,
  });
  using accepted = await listener.accept();
  assertEquals(accepted.remoteAddr, conn.localAddr);
});

Deno.test("a signal that is aborted after connecting changes nothing", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  const abort = new AbortController();
  using conn = await connectTcp({ ...listener.addr, signal: abort.signal });
  using server = await listener.accept();
  abort.abort();
  await conn.writeAll(utf8("still here"));
  assertEquals(await readText(server), "still here");
});

Deno.test("setNoDelay() and setKeepAlive(), also while busy and closed", async () => {
  await using listener = await listenTcp({
    hostname: "127.0.0.1",
    keepAlive: true,
    noDelay: false,
  });
  using client = await connectTcp({ ...listener.addr, keepAlive: true });
  using server = await listener.accept();
  client.setNoDelay();
  client.setNoDelay(false);
  client.setKeepAlive();
  client.setKeepAlive(false);
  assertThrows(() => client.setNoDelay(1 as never), TypeError, "a boolean");
  const { waiting } = await fill(client);
  const busy = assertThrows(() => client.setNoDelay(), Deno.errors.Busy);
  assertEquals(errorCode(busy), "EBUSY");
  assertThrows(() => client.setKeepAlive(), Deno.errors.Busy);
  client.close();
  await rejection(waiting);
  assertThrows(() => client.setNoDelay(), Deno.errors.BadResource);
  server.close();
});

Deno.test({
  name: "write-write-read does not wait for a delayed acknowledgement",
  ignore: !linux,
  async fn() {
    // With Nagle's algorithm each round takes some 40 ms. Rounds are compared, not timed.
    await using listener = await listenTcp({ hostname: "127.0.0.1" });
    const rounds = async (noDelay: boolean) => {
      using client = await connectTcp({ ...listener.addr, noDelay });
      using server = await listener.accept();
      const echo = (async () => {
        for (let i = 0; i < 5; i++) {
          await server.writeAll(await readExact(server, 2));
        }
      })();
      const start = performance.now();
      for (let i = 0; i < 5; i++) {
        await client.write(utf8("a"));
        await client.write(utf8("b"));
        await readExact(client, 2);
      }
      await echo;
      return performance.now() - start;
    };
    const withNagle = await rounds(false);
    const without = Math.min(await rounds(true), await rounds(true));
    assert(without * 2 < withNagle, `${without} ms against ${withNagle} ms`);
  },
});

Deno.test("a listener's port is free when its block is left", async () => {
  // In a process that starts no others: one that is just being started holds all descriptors for a moment.
  const { code, stdout, stderr } = await runDeno(
    ["-A"],
    `
let addr = { hostname: "127.0.0.1", port: ${freePort()} };
for (let i = 0; i < 200; i++) {
  await using listener = await sockets.listenTcp(addr);
  addr = listener.addr;
  const accepting = listener.accept().catch((error) => error);
  listener.close();
  if (!sockets.isClosedError(await accepting)) throw new Error("accepted");
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

Deno.test("close() wakes everyone who waits for a connection", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  const waits = [
    rejection(listener.accept()),
    rejection(listener.accept()),
    rejection(listener.accept({ signal: new AbortController().signal })),
  ];
  const iterating = (async () => {
    for await (const conn of listener) conn.close();
  })();
  await turn();
  listener.close();
  listener.close();
  listener[Symbol.dispose]();
  for (const error of await Promise.all(waits)) assert(isClosedError(error));
  await iterating;
  assertInstanceOf(
    await rejection(listener.accept()),
    Deno.errors.BadResource,
  );
  for await (const _ of listener) throw new Error("closed and yet accepting");
});

Deno.test("accepts wait in their order, and lose no connection", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  const abort = new AbortController();
  const left = rejection(listener.accept({ signal: abort.signal }));
  const accepts = [listener.accept(), listener.accept(), listener.accept()];
  abort.abort("left");
  assertEquals(await left, "left");
  const ports: number[] = [];
  for (let i = 0; i < 3; i++) {
    using conn = await connectTcp(listener.addr);
    ports.push(conn.localAddr.port);
    using accepted = await accepts[i]!;
    assertEquals(accepted.remoteAddr.port, ports[i]);
  }
});

Deno.test("an accept's timeout loses no connection", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  for (const timeout of [0, -1, NaN]) {
    assertThrows(() => listener.timeout = timeout, RangeError);
  }
  listener.timeout = 5;
  assertEquals(listener.timeout, 5);
  const error = await rejection(listener.accept());
  assertInstanceOf(error, DOMException);
  assertEquals(error.name, "TimeoutError");
  assertEquals(error.message, "Accept timed out after 5 ms");
  listener.timeout = undefined;
  using conn = await connectTcp(listener.addr);
  using accepted = await listener.accept();
  assertEquals(accepted.remoteAddr, conn.localAddr);
  assertEquals(
    await rejection(listener.accept({ signal: AbortSignal.abort("before") })),
    "before",
  );
  await assertRejects(
    () => listener.accept({ signal: 1 as never }),
    TypeError,
  );
});

Deno.test("iteration is not bounded by the timeout", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  listener.timeout = 1;
  const serving = (async () => {
    for await (const conn of listener) {
      conn.close();
      return "served";
    }
    return "ended";
  })();
  assert((await rejection(listener.accept())) instanceof DOMException);
  using _ = await connectTcp(listener.addr);
  assertEquals(await serving, "served");
});

Deno.test("allow and deny lists turn peers away before the accept", async () => {
  await using listener = await listenTcp({
    hostname: "127.0.0.1",
    allow: ["127.0.0.0/8"],
    deny: new AddrList(["127.0.0.2"]),
  });
  assertEquals(listener.denied, 0);
  using good = await connectTcp(listener.addr);
  using accepted = await listener.accept();
  assertEquals(accepted.remoteAddr, good.localAddr);

  await using closed = await listenTcp({
    hostname: "127.0.0.1",
    deny: ["127.0.0.1"],
  });
  const accepting = rejection(closed.accept());
  using turnedAway = await connectTcp(closed.addr);
  assertEquals(await turnedAway.read(new Uint8Array(1)), null);
  assertEquals(closed.denied, 1);
  await using strict = await listenTcp({
    hostname: "127.0.0.1",
    allow: ["10.0.0.0/8"],
  });
  const strictly = rejection(strict.accept());
  using other = await connectTcp(strict.addr);
  assertEquals(await other.read(new Uint8Array(1)), null);
  assertEquals(strict.denied, 1);
  closed.close();
  strict.close();
  await Promise.all([accepting, strictly]);
});

Deno.test({
  name: "dualStack serves both families under one port",
  ignore: !hasIPv6,
  async fn() {
    for (const hostname of [undefined, "::", "0.0.0.0"]) {
      await using listener = await listenTcp({
        dualStack: true,
        ...(hostname !== undefined && { hostname }),
      });
      const { port } = listener.addr;
      for (const hostname of ["127.0.0.1", "::1", "127.0.0.1"]) {
        using client = await connectTcp({ hostname, port });
        using server = await listener.accept();
        await client.writeAll(utf8(hostname));
        await client.closeWrite();
        assertEquals(
          new TextDecoder().decode(await readAll(server)),
          hostname,
        );
      }
    }
  },
});

Deno.test({
  name: "dualStack on a port that IPv4 has already",
  ignore: !hasIPv6,
  async fn() {
    await using four = await listenTcp({ hostname: "0.0.0.0" });
    const { port } = four.addr;
    await assertRejects(
      () => listenTcp({ dualStack: true, port }),
      Deno.errors.AddrInUse,
    );
  },
});

Deno.test("reusePort without its flag is an error, not the process's end", async () => {
  const options = { hostname: "127.0.0.1", reusePort: true } as const;
  if (!unstable) {
    const error = await assertRejects(
      () => listenTcp(options),
      Deno.errors.NotSupported,
      "--unstable-net",
    );
    assertEquals(errorCode(error), "EOPNOTSUPP");
    return;
  }
  await using first = await listenTcp(options);
  await using second = await listenTcp({ ...options, port: first.addr.port });
  assertEquals(second.addr.port, first.addr.port);
});

Deno.test("a backlog that is set is the kernel's", async () => {
  // With 0, one connection waits; the next one is not answered.
  await using listener = await listenTcp({
    hostname: "127.0.0.1",
    backlog: 0,
  });
  using _ = await connectTcp(listener.addr);
  if (!linux) return;
  assert(
    (await rejection(connectTcp({ ...listener.addr, timeout: 20 }))) instanceof
      DOMException,
  );
});
