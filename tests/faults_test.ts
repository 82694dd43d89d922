/** What goes wrong on a real network, made with real means: peers that reset, stall and vanish. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { errorCode, isClosedError } from "../errors.ts";
import { readAll, readExact } from "../io.ts";
import { connectTcp, listenTcp } from "../tcp.ts";
import { fill, pattern, readText, rejection, turn, utf8 } from "./_bytes.ts";
import { runDenoUnder, startPython } from "./_process.ts";

const linux = Deno.build.os === "linux";

/**
 * A foreign peer. It connects, then does what the lines of its input say; `reset` closes with
 * SO_LINGER 0, which sends RST.
 */
const PEER = `
import socket, struct, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("connected")
for line in sys.stdin:
    word, _, rest = line.strip().partition(" ")
    if word == "send": s.sendall(rest.encode())
    elif word == "shut": s.shutdown(socket.SHUT_WR)
    elif word == "recv": print(s.recv(int(rest)).decode())
    elif word == "reset":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    elif word == "close": s.close()
    print("done")
`;

async function connected() {
  const listener = await listenTcp({ hostname: "127.0.0.1" });
  const peer = await startPython(PEER, String(listener.addr.port));
  const conn = await listener.accept();
  await peer.line();
  return {
    conn,
    peer,
    say: async (line: string) => {
      await peer.send(line);
      while (await peer.line() !== "done");
    },
    async [Symbol.asyncDispose]() {
      conn.close();
      await peer[Symbol.asyncDispose]();
      await listener[Symbol.asyncDispose]();
    },
  };
}

Deno.test("a reset in mid-read comes once more at every later call", async () => {
  await using ends = await connected();
  const { conn, say } = ends;
  const reading = rejection(conn.read(new Uint8Array(10)));
  await say("reset");
  const error = await reading;
  assertInstanceOf(error, Deno.errors.ConnectionReset);
  for (
    const call of [
      () => conn.read(new Uint8Array(10)),
      () => conn.read(new Uint8Array(10)),
      () => conn.write(utf8("x")),
      () => conn.writeAll(utf8("x")),
    ]
  ) assertStrictEquals(await rejection(call()), error);
  conn.timeout = 1000;
  assertStrictEquals(await rejection(conn.read(new Uint8Array(1))), error);
});

Deno.test("a reset reaches reads with a timeout, and all who wait", async () => {
  await using ends = await connected();
  const { conn, say } = ends;
  conn.timeout = 60_000;
  const reads = [1, 2, 3].map(() => rejection(conn.read(new Uint8Array(10))));
  await say("reset");
  for (const error of await Promise.all(reads)) {
    assertInstanceOf(error, Deno.errors.ConnectionReset);
  }
});

Deno.test("data that came before a reset is read, then the reset", async () => {
  await using ends = await connected();
  const { conn, say } = ends;
  await say("send data");
  await say("reset");
  assertEquals(await readText(conn), "data");
  for (let i = 0; i < 3; i++) {
    assertInstanceOf(
      await rejection(conn.read(new Uint8Array(10))),
      Deno.errors.ConnectionReset,
    );
  }
});

Deno.test("a reset that a write sees first replaces the end of the stream", async () => {
  await using ends = await connected();
  const { conn, peer, say } = ends;
  await say("send data");
  const { waiting } = await fill(conn);
  const writing = rejection(waiting);
  await say("reset");
  const error = await writing;
  assertInstanceOf(error, Deno.errors.ConnectionReset);
  assertStrictEquals(await rejection(conn.write(utf8("x"))), error);
  // Linux drops the queue at a reset; elsewhere the data comes first.
  let last: unknown;
  for (let i = 0; i < 3; i++) {
    try {
      assertEquals(await readText(conn), "data");
    } catch (error) {
      last = error;
    }
  }
  assertStrictEquals(last, error);
  await peer.endInput();
});

Deno.test("a plain read that waits when a write sees the reset", async () => {
  await using ends = await connected();
  const { conn, say } = ends;
  const { waiting } = await fill(conn);
  const writing = rejection(waiting);
  const reading = rejection(conn.read(new Uint8Array(10)));
  const second = rejection(conn.read(new Uint8Array(10)));
  await say("reset");
  assertInstanceOf(await writing, Error);
  assertInstanceOf(await reading, Deno.errors.ConnectionReset);
  assertInstanceOf(await second, Deno.errors.ConnectionReset);
});

Deno.test("a reset in mid-writeAll rejects those who wait behind it", async () => {
  await using ends = await connected();
  const { conn, say } = ends;
  const errors = [1, 2, 3].map(() =>
    rejection(conn.writeAll(new Uint8Array(20_000_000)))
  );
  await turn();
  await say("reset");
  for (const error of await Promise.all(errors)) {
    assert(
      error instanceof Deno.errors.ConnectionReset ||
        error instanceof Deno.errors.BrokenPipe,
      String(error),
    );
  }
});

Deno.test("closeGracefully() on a reset connection says false", async () => {
  await using ends = await connected();
  const { conn, say } = ends;
  await say("reset");
  await rejection(conn.read(new Uint8Array(1)));
  assertEquals(await conn.closeGracefully(), false);
});

Deno.test("a peer that closes in mid-message", async () => {
  await using ends = await connected();
  const { conn, say } = ends;
  await say("send abc");
  await say("close");
  const error = await assertRejects(
    () => readExact(conn, 10),
    Deno.errors.UnexpectedEof,
  );
  assertEquals(error.message, "Stream ended after 3 of 10 bytes");
});

Deno.test("a foreign peer half-closes and still gets its answer", async () => {
  await using ends = await connected();
  const { conn, peer, say } = ends;
  await say("send question");
  await say("shut");
  assertEquals(new TextDecoder().decode(await readAll(conn)), "question");
  await conn.writeAll(utf8("answer"));
  await peer.send("recv 100");
  assertEquals(await peer.line(), "answer");
});

Deno.test("200 clients that reset before their accept do not end accept()", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  await using peer = await startPython(
    `
import socket, struct, sys
for i in range(200):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"alive")
print("done")
sys.stdin.readline()
`,
    String(listener.addr.port),
  );
  assertEquals(await peer.line(), "done");
  const texts: (string | null)[] = [];
  // A reset that arrives a moment later shows in the connection instead; the loop goes on.
  while (texts.at(-1) !== "alive") {
    using conn = await listener.accept();
    texts.push(await readText(conn).catch(() => "reset"));
  }
  assertEquals(texts.filter((text) => text === "alive"), ["alive"]);
});

Deno.test("resets before the accept do not end the iteration", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  const served: (string | null)[] = [];
  const serving = (async () => {
    for await (const conn of listener) {
      served.push(await readText(conn).catch(() => "reset"));
      conn.close();
      if (served.at(-1) === "end") break;
    }
  })();
  await using _peer = await startPython(
    `
import socket, struct, sys
for i in range(100):
    socks = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(2)]
    for s in socks:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"end")
sys.stdin.readline()
`,
    String(listener.addr.port),
  );
  await serving;
  assertEquals(served.at(-1), "end");
  // Leaving the loop has left the listener open.
  const [conn, accepted] = await Promise.all([
    connectTcp(listener.addr),
    listener.accept(),
  ]);
  conn.close();
  accepted.close();
});

Deno.test({
  name: "out of descriptors: accept() rejects, the loop backs off and goes on",
  ignore: !linux,
  async fn() {
    const { code, stdout, stderr } = await runDenoUnder(
      "ulimit -n 64",
      ["--allow-net"],
      `
const { connectTcp, errorCode, listenTcp, readExact } = sockets;
const listener = await listenTcp({ hostname: "127.0.0.1", backlog: 100 });
const held = [];
const clients = [];
// Clients until this process has no descriptor left.
for (;;) {
  try { clients.push(await connectTcp(listener.addr)); }
  catch (error) { console.log("connect", errorCode(error)); break; }
}
const error = await listener.accept().catch((error) => error);
console.log("accept", error instanceof Error ? errorCode(error) : "accepted");
const ticks = { n: 0 };
const timer = setInterval(() => ticks.n++, 1);
const served = Promise.withResolvers();
(async () => {
  for await (const conn of listener) { held.push(conn); served.resolve(); }
  console.log("loop ended");
})();
// The loop pauses: other work goes on meanwhile.
while (ticks.n < 5) await new Promise((resolve) => setTimeout(resolve, 0));
console.log("served", held.length);
clients.pop().close();
clients.pop().close();
await served.promise;
console.log("served after all");
clearInterval(timer);
await listener[Symbol.asyncDispose]();
for (const conn of [...held, ...clients]) conn.close();
`,
    );
    assertEquals(stderr, "");
    assertEquals(
      stdout,
      "connect EMFILE\naccept EMFILE\nserved 0\nserved after all\nloop ended\n",
    );
    assertEquals(code, 0);
  },
});

Deno.test("a full backlog: connecting waits, and its timeout leaks nothing", async () => {
  await using listener = await listenTcp({
    hostname: "127.0.0.1",
    backlog: 0,
  });
  using first = await connectTcp(listener.addr);
  const error = await rejection(
    connectTcp({ ...listener.addr, timeout: 20 }),
  );
  assertInstanceOf(error, DOMException);
  assertEquals(error.name, "TimeoutError");
  assertEquals(
    error.message,
    `Connect to tcp 127.0.0.1:${listener.addr.port} timed out after 20 ms`,
  );
  const reason = new Error("enough");
  const abort = new AbortController();
  const connecting = rejection(
    connectTcp({ ...listener.addr, signal: abort.signal }),
  );
  await turn();
  abort.abort(reason);
  assertStrictEquals(await connecting, reason);
  first.close();
});

/** A listener whose accept has been abandoned and still waits below. */
async function listenerWithKeptAccept() {
  const listener = await listenTcp({ hostname: "127.0.0.1" });
  const abort = new AbortController();
  const accepting = rejection(listener.accept({ signal: abort.signal }));
  abort.abort();
  await accepting;
  return listener;
}

Deno.test("a kept accept that wins after close() is closed at once", async () => {
  const listener = await listenerWithKeptAccept();
  // The connection is there before the listener is closed; nobody has asked for it.
  using conn = await connectTcp(listener.addr);
  listener.close();
  assert(isClosedError(await rejection(listener.accept())));
  const end = await conn.read(new Uint8Array(1)).catch(errorCode);
  assert(end === null || end === "ECONNRESET", String(end));
  await listener[Symbol.asyncDispose]();
});

Deno.test("a kept accept that won before close() is closed with it", async () => {
  const listener = await listenerWithKeptAccept();
  using conn = await connectTcp(listener.addr);
  await turn();
  await turn();
  await listener[Symbol.asyncDispose]();
  const end = await conn.read(new Uint8Array(1)).catch(errorCode);
  assert(end === null || end === "ECONNRESET", String(end));
});

Deno.test("a peer that never reads stalls only itself", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  using stuck = await connectTcp(listener.addr);
  using first = await listener.accept();
  const { waiting } = await fill(first);
  using client = await connectTcp(listener.addr);
  using second = await listener.accept();
  await second.writeAll(pattern(1000));
  assertEquals(await readExact(client, 1000), pattern(1000));
  first.close();
  assert(isClosedError(await rejection(waiting)));
  stuck.close();
});

Deno.test({
  name: "a peer's process that is killed ends the stream",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using ends = await connected();
    const { conn, peer, say } = ends;
    await say("send last words");
    peer.kill("SIGKILL");
    assertEquals(
      new TextDecoder().decode(await readAll(conn)),
      "last words",
    );
  },
});
