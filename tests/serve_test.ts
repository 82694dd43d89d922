/** Servers: limits, handlers of all sorts, and the way to the end. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { AddrList } from "../addr.ts";
import { isClosedError, isTimeoutError } from "../errors.ts";
import { BufferedReader, writeLine } from "../framing.ts";
import { copy, readAll, readExact } from "../io.ts";
import {
  type Handler,
  serve,
  serveDatagrams,
  type ServeOptions,
  type Server,
} from "../serve.ts";
import { connectTcp, listenTcp, type TcpConn } from "../tcp.ts";
import type { TcpAddr } from "../types.ts";
import { bindUdp, connectUdp } from "../udp.ts";
import { listenUnix } from "../unix.ts";
import { type BadCall, rejection, text, turn, utf8 } from "./_bytes.ts";
import { testEachDatagram } from "./_datagrams.ts";
import { canListen } from "./_pairs.ts";
import { untilRefused, whenFree } from "./_ports.ts";
import { runDeno } from "./_process.ts";

const echo: Handler<TcpConn> = async (conn) => void await copy(conn, conn);

/** A server on a free port, which takes an error for a failure. */
async function start(
  handler: Handler<TcpConn>,
  options: ServeOptions<TcpConn> = {},
): Promise<Server<TcpAddr>> {
  return serve(await listenTcp({ hostname: "127.0.0.1" }), handler, options);
}

/** Sends a text, and gives the answer. */
async function ask(addr: TcpAddr, said: string): Promise<string> {
  using conn = await connectTcp(addr);
  await conn.writeAll(utf8(said));
  await conn.closeWrite();
  return text(await readAll(conn));
}

/** Sees to it that a port is free. */
async function assertFree(addr: TcpAddr): Promise<void> {
  await (await whenFree(() => listenTcp(addr)))[Symbol.asyncDispose]();
}

Deno.test("serve() gives each connection to a handler, and closes it gracefully", async () => {
  const errors: unknown[] = [];
  await using server = await start(echo, {
    onError: (error) => errors.push(error),
  });
  const answers = await Promise.all(
    Array.from(
      { length: 50 },
      (_, i) => ask(server.addr, `hello ${i}`.repeat(1000)),
    ),
  );
  assertEquals(
    answers,
    Array.from({ length: 50 }, (_, i) => `hello ${i}`.repeat(1000)),
  );
  while (server.connections > 0) await turn();
  assertEquals(errors, []);
});

Deno.test("the answer arrives though the handler left input unread", async () => {
  const answer = "go away".repeat(100_000);
  await using server = await start(async (conn) => {
    await conn.writeAll(utf8(answer));
  });
  using conn = await connectTcp(server.addr);
  await conn.writeAll(new Uint8Array(10_000));
  for (let i = 0; i < 20; i++) await turn();
  assertEquals(text(await readExact(conn, answer.length)), answer);
});

Deno.test("a handler that throws, in any way, ends its connection only", async () => {
  const errors: [unknown, unknown][] = [];
  let calls = 0;
  await using server = await start((conn) => {
    switch (calls++) {
      case 0:
        throw new Error("at once");
      case 1:
        return Promise.reject("later");
      case 2:
        conn.close();
        return;
      case 3:
        conn.detach().close();
        return;
      default:
        return echo(conn, undefined as never);
    }
  }, {
    onError: (error, conn) => {
      errors.push([error, conn]);
      throw new Error("nobody hears it");
    },
  });
  for (let i = 0; i < 4; i++) {
    using conn = await connectTcp(server.addr);
    assertEquals(await conn.read(new Uint8Array(1)), null);
  }
  assertEquals(await ask(server.addr, "still here"), "still here");
  assertEquals(errors.map(([error]) => String(error)), [
    "Error: at once",
    "later",
  ]);
  assert(
    errors.every(([, conn]) => typeof (conn as TcpConn).read === "function"),
  );
});

Deno.test("maxConnections waits, and no connection is lost", async () => {
  let most = 0;
  await using server = await start(async (conn) => {
    most = Math.max(most, server.connections);
    await copy(conn, conn);
  }, { maxConnections: 3 });
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) => ask(server.addr, `${i}`)),
  );
  assertEquals(answers, Array.from({ length: 20 }, (_, i) => `${i}`));
  assertEquals(most, 3);
  assertEquals(server.refused, 0);
});

Deno.test("maxConnections refuses, if it is told so", async () => {
  await using server = await start(echo, {
    maxConnections: 1,
    whenFull: "refuse",
  });
  using first = await connectTcp(server.addr);
  await first.writeAll(utf8("a"));
  await readExact(first, 1);
  for (let i = 1; i <= 3; i++) {
    using conn = await connectTcp(server.addr);
    assertEquals(await conn.read(new Uint8Array(1)).catch(() => null), null);
    assertEquals(server.refused, i);
  }
  await first.closeWrite();
  await readAll(first);
  while (server.connections > 0) await turn();
  assertEquals(await ask(server.addr, "room again"), "room again");
});

Deno.test("idle connections are closed, busy ones are not", async () => {
  const errors: unknown[] = [];
  const reasons: unknown[] = [];
  await using server = await start(async (conn, { signal }) => {
    await copy(conn, conn).catch((error) => {
      assert(isClosedError(error));
      reasons.push(signal.reason);
      throw error;
    });
  }, { idleTimeout: 60, onError: (error) => errors.push(error) });
  using idle = await connectTcp(server.addr);
  using busy = await connectTcp(server.addr);
  const ended = idle.read(new Uint8Array(1));
  let isOver = false;
  ended.finally(() => isOver = true);
  // As long as the idle one lives, the busy one talks.
  while (!isOver) {
    await busy.writeAll(utf8("x"));
    await readExact(busy, 1);
    await turn();
  }
  assertEquals(await ended, null);
  await busy.writeAll(utf8("y"));
  assertEquals(text(await readExact(busy, 1)), "y");
  while (reasons.length === 0) await turn();
  assert(isTimeoutError(reasons[0]));
  for (let i = 0; i < 5; i++) await turn();
  assertEquals(errors, []);
});

Deno.test("a slow-loris lives no longer than maxLifetime", async () => {
  const errors: unknown[] = [];
  let aborted = false;
  await using server = await start(async (conn, { signal }) => {
    signal.addEventListener(
      "abort",
      () => aborted = isTimeoutError(signal.reason),
    );
    await new BufferedReader(conn).readLine();
  }, {
    maxLifetime: 60,
    idleTimeout: 10_000,
    onError: (error) => errors.push(error),
  });
  using conn = await connectTcp(server.addr);
  let isOver = false;
  conn.read(new Uint8Array(1)).catch(() => null).finally(() => isOver = true);
  while (!isOver) {
    await conn.writeAll(utf8("x")).catch(() => {});
    await turn();
  }
  assert(aborted);
  assertEquals(server.connections, 0);
  for (let i = 0; i < 5; i++) await turn();
  assertEquals(errors, []);
});

Deno.test("shutdown() lets handlers end, and takes nothing new", async () => {
  let ended = 0;
  const server = await start(async (conn, { draining }) => {
    const reader = new BufferedReader(conn);
    for await (const line of reader.lines()) {
      await writeLine(conn, line);
      if (draining.aborted) break;
    }
    ended++;
  });
  const conns = await Promise.all(
    Array.from({ length: 10 }, () => connectTcp(server.addr)),
  );
  const readers = conns.map((conn) => new BufferedReader(conn));
  for (const conn of conns) await writeLine(conn, "first");
  for (const reader of readers) assertEquals(await reader.readLine(), "first");
  const finished = server.shutdown();
  assert(finished === server.shutdown() && finished === server.finished);
  // The accept that waited ends a turn later.
  for (let i = 0; i < 5; i++) await turn();
  await untilRefused(() => connectTcp(server.addr));
  await assertRejects(
    () => connectTcp(server.addr),
    Deno.errors.ConnectionRefused,
  );
  for (const conn of conns) await writeLine(conn, "last");
  for (const [i, reader] of readers.entries()) {
    assertEquals(await reader.readLine(), "last");
    assertEquals(await reader.readLine(), null);
    conns[i]!.close();
  }
  await finished;
  assertEquals([ended, server.connections], [10, 0]);
  await assertFree(server.addr);
});

Deno.test("shutdown() waits no longer than drainTimeout, also for those who hear nothing", async () => {
  const errors: unknown[] = [];
  const reasons: unknown[] = [];
  const server = await start((conn, { signal }) => {
    signal.addEventListener("abort", () => reasons.push(signal.reason));
    if (server.connections === 1) return new Promise(() => {});
    return echo(conn, undefined as never);
  }, { drainTimeout: 20, onError: (error) => errors.push(error) });
  using deaf = await connectTcp(server.addr);
  while (server.connections < 1) await turn();
  using other = await connectTcp(server.addr);
  while (server.connections < 2) await turn();
  await server.shutdown();
  assertEquals(server.connections, 0);
  assertEquals(reasons.length, 2);
  assert(reasons.every(isTimeoutError));
  for (const conn of [deaf, other]) {
    assertEquals(await conn.read(new Uint8Array(1)).catch(() => null), null);
  }
});

Deno.test("a signal shuts the server down, also one that was aborted before", async () => {
  const abort = new AbortController();
  const server = await start(echo, { signal: abort.signal });
  assertEquals(await ask(server.addr, "x"), "x");
  abort.abort();
  await server.finished;
  const never = await start(echo, { signal: AbortSignal.abort() });
  await never.finished;
  await assertFree(never.addr);
});

Deno.test("a listener that is closed from outside ends the server", async () => {
  const listener = await listenTcp({ hostname: "127.0.0.1" });
  const server = serve(listener, echo);
  listener.close();
  await server.finished;
});

Deno.test({
  name: "allow and deny keep peers from the handler, mapped addresses too",
  ignore: !canListen("::1"),
  async fn() {
    const lists: [ServeOptions<TcpConn>, denied: string, served: string][] = [
      [{ deny: ["127.0.0.0/8"] }, "127.0.0.1", "::1"],
      [{ allow: new AddrList(["127.0.0.1"]) }, "::1", "127.0.0.1"],
      [
        { allow: ["0.0.0.0/0", "::/0"], deny: ["::1/128"] },
        "::1",
        "127.0.0.1",
      ],
    ];
    for (const [options, bad, good] of lists) {
      let handled = 0;
      const handler: Handler<TcpConn> = async (conn, info) => {
        handled++;
        await echo(conn, info);
      };
      const listener = await listenTcp({ hostname: "::", dualStack: true });
      // Who is turned away takes no place.
      await using server = serve(listener, handler, {
        maxConnections: 1,
        ...options,
      });
      const { port } = server.addr;
      for (let i = 1; i <= 3; i++) {
        using conn = await connectTcp({ hostname: bad, port });
        assertEquals(await conn.read(new Uint8Array(1)), null);
        assertEquals([server.denied, handled], [i, 0]);
      }
      assertEquals(
        await ask({ ...server.addr, hostname: good }, "hello"),
        "hello",
      );
      assertEquals([server.denied, server.refused, handled], [3, 0, 1]);
    }
  },
});

Deno.test({
  name: "several listeners are one server",
  ignore: !canListen("::1"),
  async fn() {
    const listeners = [
      await listenTcp({ hostname: "127.0.0.1" }),
      await listenTcp({ hostname: "::1" }),
    ];
    const server = serve(listeners, echo, { maxConnections: 1 });
    assertEquals(server.addrs, listeners.map(({ addr }) => addr));
    assertEquals(server.addr, listeners[0]!.addr);
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, i) => ask(server.addrs[i % 2]!, `${i}`)),
    );
    assertEquals(answers, Array.from({ length: 10 }, (_, i) => `${i}`));
    // One that ends is no end of the other.
    listeners[0]!.close();
    assertEquals(await ask(server.addrs[1]!, "x"), "x");
    await server.shutdown();
  },
});

Deno.test({
  name: "shutdown() ends all listeners that wait for a place",
  ignore: !canListen("::1"),
  async fn() {
    const listeners = [
      await listenTcp({ hostname: "127.0.0.1" }),
      await listenTcp({ hostname: "127.0.0.1" }),
      await listenTcp({ hostname: "::1" }),
    ];
    const gate = Promise.withResolvers<void>();
    const server = serve(listeners, () => gate.promise, { maxConnections: 1 });
    const conns = [];
    // One is served, and each of the others has one that waits.
    for (const addr of server.addrs) conns.push(await connectTcp(addr));
    while (server.connections < 1) await turn();
    for (let i = 0; i < 20; i++) await turn();
    assertEquals(server.connections, 1);
    const finished = server.shutdown();
    gate.resolve();
    for (const conn of conns) {
      assertEquals(await conn.read(new Uint8Array(1)), null);
      conn.close();
    }
    await finished;
  },
});

Deno.test("bad arguments are told before anything is accepted", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  const bad: BadCall[] = [
    [null, TypeError, "Invalid options of serve"],
    [{ maxConnections: 0 }, RangeError, "Invalid maxConnections"],
    [{ maxConnections: "1" }, TypeError, "Invalid maxConnections"],
    [{ whenFull: "drop" }, TypeError, "Invalid whenFull"],
    [{ idleTimeout: 0 }, RangeError, "Invalid timeout"],
    [{ maxLifetime: -1 }, RangeError, "Invalid timeout"],
    [{ drainTimeout: NaN }, RangeError, "Invalid timeout"],
    [{ signal: 1 }, TypeError, "Invalid signal"],
    [{ onError: 1 }, TypeError, "Invalid onError"],
    [{ allow: "127.0.0.1" }, TypeError, "Invalid allow"],
    [{ allow: ["127.0.0.1/33"] }, SyntaxError, "Invalid prefix length"],
    [{ deny: ["localhost"] }, SyntaxError, "Invalid entry"],
  ];
  for (const [options, Class, message] of bad) {
    assertThrows(() => serve(listener, echo, options as never), Class, message);
  }
  assertThrows(() => serve([], echo), TypeError, "Invalid listeners");
  assertThrows(() => serve([{}] as never, echo), TypeError, "Invalid listener");
  assertThrows(
    () => serve(listener, null as never),
    TypeError,
    "Invalid handler",
  );
  assertThrows(
    () => serveDatagrams({} as never, () => {}),
    TypeError,
    "Invalid socket",
  );
  const path = `\0${crypto.randomUUID()}`;
  await using local = await listenUnix({ path });
  assertThrows(
    () => serve(local, () => {}, { deny: [] }),
    TypeError,
    "whose peers have no IP address",
  );
  const accepting = listener.accept();
  using conn = await connectTcp(listener.addr);
  (await accepting).close();
  assertEquals(await conn.read(new Uint8Array(1)), null);
});

testEachDatagram(
  "serveDatagrams() answers, drops what is too much, and drains",
  async ({ a, b }) => {
    const errors: unknown[] = [];
    const gates: (() => void)[] = [];
    const server = serveDatagrams(b, async ({ data, addr }) => {
      const said = text(data);
      if (said === "fail") throw new Error("fail");
      if (said === "wait") {
        await new Promise<void>((resolve) => gates.push(resolve));
      }
      await b.send(data, addr);
    }, { maxHandlers: 2, onError: (error) => errors.push(error) });
    assertEquals(server.addr, b.addr);
    await a.send(utf8("hello"), b.addr);
    assertEquals(text((await a.receive()).data), "hello");
    await a.send(utf8("fail"), b.addr);
    while (errors.length === 0) await turn();
    for (let i = 0; i < 4; i++) await a.send(utf8("wait"), b.addr);
    while (server.handlers < 2 || server.dropped < 2) await turn();
    const finished = server.shutdown();
    for (let i = 0; i < 5; i++) await turn();
    // They may still answer.
    for (const open of gates) open();
    for (let i = 0; i < 2; i++) {
      assertEquals(
        text((await a.receive()).data),
        "wait",
      );
    }
    await finished;
    assertEquals([server.handlers, server.dropped, errors.length], [0, 2, 1]);
    assertInstanceOf(await rejection(b.receive()), Deno.errors.BadResource);
  },
);

testEachDatagram(
  "serveDatagrams() waits no longer than drainTimeout, and ends with its socket",
  async ({ a, b }) => {
    let aborted = false;
    const server = serveDatagrams(b, (_, { signal }) => {
      signal.addEventListener(
        "abort",
        () => aborted = isTimeoutError(signal.reason),
      );
      return new Promise(() => {});
    }, { drainTimeout: 10 });
    await a.send(utf8("x"), b.addr);
    while (server.handlers === 0) await turn();
    await server.shutdown();
    assert(aborted);
    const errors: unknown[] = [];
    const other = serveDatagrams(a, () => {}, {
      onError: (error) => errors.push(error),
    });
    await turn();
    a.close();
    await other.finished;
    assertEquals(errors, []);
  },
);

Deno.test("serveDatagrams() keeps those from its handler who may not come", async () => {
  await using socket = await bindUdp({ hostname: "127.0.0.1" });
  await using client = await connectUdp(socket.addr);
  let handled = 0;
  const server = serveDatagrams(socket, () => void handled++, {
    deny: ["127.0.0.0/8"],
    maxHandlers: 1,
  });
  for (let i = 0; i < 3; i++) await client.send(utf8("x"));
  while (server.denied < 3) await turn();
  await server.shutdown();
  assertEquals([handled, server.denied, server.dropped], [0, 3, 0]);
});

Deno.test("finished means that the port is free", async () => {
  // In a process that starts no others: one that is just being started holds all descriptors for a moment.
  const { code, stdout, stderr } = await runDeno(
    ["-A"],
    `
let addr = { hostname: "127.0.0.1", port: 0 };
for (let i = 0; i < 100; i++) {
  const server = sockets.serve(await sockets.listenTcp(addr), (conn) => sockets.copy(conn, conn));
  addr = server.addr;
  await new Promise((resolve) => setTimeout(resolve, 0));
  await server.shutdown();
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

Deno.test("what onError throws is thrown nowhere, nor what its promise rejects with", async () => {
  let told = 0;
  await using server = await start(() => {
    throw new Error("on purpose");
  }, {
    // deno-lint-ignore require-await
    onError: async () => {
      told++;
      throw new Error("on purpose, too");
    },
  });
  for (let i = 0; i < 3; i++) assertEquals(await ask(server.addr, ""), "");
  while (told < 3) await turn();
});
