/** Unix datagram sockets: their files, senders without a name, and queues that are full. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { errorCode, isTimeoutError } from "../errors.ts";
import { bindUnixDatagram, type UnixDatagramSocket } from "../unix.ts";
import { type BadCall, pattern, rejection, text, utf8 } from "./_bytes.ts";
import { hasAbstract, hasUnix, tempPath } from "./_pairs.ts";
import { untilRefused } from "./_ports.ts";
import { runDeno, startDeno, startPython, unstable } from "./_process.ts";

const has = hasUnix && unstable;

const test = (name: string, fn: (path: string) => Promise<void>) =>
  Deno.test({
    name: `unixgram: ${name}`,
    ignore: !has,
    async fn() {
      await using temp = await tempPath();
      await fn(temp.path);
    },
  });

const exists = (path: string): boolean => {
  try {
    return Deno.lstatSync(path).isSocket === true;
  } catch {
    return false;
  }
};

/** Sends until the receiver's queue is full; the last one did not go. */
async function fillQueue(
  from: UnixDatagramSocket,
  to: UnixDatagramSocket,
): Promise<number> {
  from.timeout = 20;
  for (let sent = 0;; sent++) {
    try {
      await from.send(utf8(`${sent}`), to.addr);
    } catch (error) {
      assert(isTimeoutError(error), String(error));
      from.timeout = undefined;
      return sent;
    }
  }
}

Deno.test({
  name: "unixgram: without the flag it is an error that names it",
  ignore: unstable,
  async fn() {
    const error = await assertRejects(
      () => bindUnixDatagram({ path: "x" }),
      Deno.errors.NotSupported,
      "run the program again with the --unstable-net flag",
    );
    assertEquals(errorCode(error), "EOPNOTSUPP");
  },
});

Deno.test("unixgram: bad options are told before anything is made", async () => {
  const bad: BadCall[] = [
    [null, TypeError, "Invalid options of bindUnixDatagram"],
    [{ path: "" }, TypeError, "Invalid path"],
    [{ path: 5 }, TypeError, "Invalid path"],
    [{ path: null }, TypeError, "Invalid path"],
    [{ path: "a\0b" }, TypeError, "NUL can only be its first"],
    [{ path: "x".repeat(200) }, RangeError, "expected at most"],
    [{ path: "x", mode: -1 }, RangeError, "Invalid mode"],
    [{ path: "x", mode: "600" }, TypeError, "Invalid mode"],
    [{ path: "x", unlink: true }, TypeError, "Invalid unlink"],
    [{ path: "x", maxDatagramSize: 0 }, RangeError, "Invalid maxDatagramSize"],
    [
      { path: "x", maxDatagramSize: 2 ** 31 },
      RangeError,
      "Invalid maxDatagramSize",
    ],
  ];
  for (const [options, Class, message] of bad) {
    await assertRejects(
      () => bindUnixDatagram(options as never),
      Class,
      message,
    );
  }
  assert(!exists("x"));
});

test("the file has its mode, and goes with the socket", async (path) => {
  const socket = await bindUnixDatagram({ path, mode: 0o600 });
  assertEquals(Deno.lstatSync(path).mode! & 0o777, 0o600);
  assertEquals(socket.addr, { transport: "unixpacket", path });
  socket.close();
  assert(!exists(path));
  await socket[Symbol.asyncDispose]();
});

test("a file URL, and a path that is spelled differently", async (path) => {
  await using a = await bindUnixDatagram({ path: new URL(`file://${path}`) });
  await using b = await bindUnixDatagram();
  assertEquals(a.addr.path, path);
  await b.send(utf8("1"), { path: new URL(`file://${path}`) });
  await b.send(utf8("2"), { path });
  assertEquals(text((await a.receive()).data), "1");
  assertEquals(text((await a.receive()).data), "2");
});

test("who is bound there stays", async (path) => {
  await using socket = await bindUnixDatagram({ path });
  for (const unlink of ["stale", "never"] as const) {
    const error = await rejection(bindUnixDatagram({ path, unlink }));
    assertInstanceOf(error, Deno.errors.AddrInUse);
    assertEquals(errorCode(error), "EADDRINUSE");
    assertStringIncludes(error.message, `Cannot bind unixgram ${path}: `);
  }
  await using sender = await bindUnixDatagram();
  await sender.send(utf8("still here"), socket.addr);
  assertEquals(text((await socket.receive()).data), "still here");
});

test("a file that is no socket is left alone", async (path) => {
  await Deno.writeTextFile(path, "precious");
  for (const unlink of ["stale", "always", "never"] as const) {
    await assertRejects(
      () => bindUnixDatagram({ path, unlink }),
      Deno.errors.AddrInUse,
    );
  }
  assertEquals(await Deno.readTextFile(path), "precious");
});

test("a stale file is replaced, and kept with unlink never", async (path) => {
  await using program = await startDeno(
    ["-A"],
    `await sockets.bindUnixDatagram({ path: ${JSON.stringify(path)} });
console.log("bound");
setInterval(() => {}, 1e6);`,
  );
  assertEquals(await program.line(), "bound");
  program.kill("SIGKILL");
  await program.ended();
  assert(exists(path));
  await assertRejects(
    () => bindUnixDatagram({ path, unlink: "never" }),
    Deno.errors.AddrInUse,
  );
  await using socket = await bindUnixDatagram({ path });
  assertEquals(socket.addr.path, path);
});

test("unlink always takes a path over, and the old owner leaves it alone", async (path) => {
  const old = await bindUnixDatagram({ path });
  await using successor = await bindUnixDatagram({ path, unlink: "always" });
  const waiting = rejection(old.receive());
  await old.send(utf8("from the old one"), successor.addr);
  const { data, addr } = await successor.receive();
  assertEquals([text(data), addr], ["from the old one", old.addr]);
  old.close();
  await waiting;
  assert(exists(path));
  await using sender = await bindUnixDatagram();
  await sender.send(utf8("for the successor"), { path });
  assertEquals(text((await successor.receive()).data), "for the successor");
  assertEquals(successor.datagramsReceived, 2);
});

test("a program that ends takes its file with it", async (path) => {
  for (const end of ["", "Deno.exit(0);"]) {
    const { code, stderr } = await runDeno(
      ["-A"],
      `await sockets.bindUnixDatagram({ path: ${
        JSON.stringify(path)
      } });${end}`,
    );
    assertEquals([code, stderr], [0, ""]);
    assert(!exists(path));
  }
});

test("a sender without a name cannot be answered, and cannot receive", async (path) => {
  await using socket = await bindUnixDatagram({ path });
  await using sender = await bindUnixDatagram();
  assertEquals(sender.addr, { transport: "unixpacket", path: null });
  await sender.send(utf8("hello"), socket.addr);
  const { addr } = await socket.receive();
  assertEquals(addr, { transport: "unixpacket", path: null });
  const error = await rejection(socket.send(utf8("who are you?"), addr));
  assertInstanceOf(error, TypeError);
  assertEquals(errorCode(error), "EDESTADDRREQ");
  for (
    const call of [
      () => sender.receive(),
      () => sender.receiveInto(new Uint8Array(9)),
      () => sender.receive({ signal: new AbortController().signal }),
      () => sender[Symbol.asyncIterator]().next(),
    ]
  ) {
    await assertRejects(call, Deno.errors.NotSupported, "without a name");
  }
  await sender.send(utf8("again"), socket.addr);
  assertEquals(text((await socket.receive()).data), "again");
});

test("destinations that are not there", async (path) => {
  await using sender = await bindUnixDatagram();
  const gone = await bindUnixDatagram({ path });
  await Deno.link(path, `${path}.dead`);
  await gone[Symbol.asyncDispose]();
  await untilRefused(() => sender.send(utf8("x"), { path: `${path}.dead` }));
  using _ = Deno.listen({ transport: "unix", path: `${path}.stream` });
  for (
    const [to, Class, code] of [
      [`${path}.none`, Deno.errors.NotFound, "ENOENT"],
      [`${path}.dead`, Deno.errors.ConnectionRefused, "ECONNREFUSED"],
      [`${path}.stream`, Error, "EPROTOTYPE"],
    ] as const
  ) {
    const error = await rejection(sender.send(utf8("x"), { path: to }));
    assertInstanceOf(error, Class);
    assertEquals(errorCode(error), code);
    assertStringIncludes(error.message, `Cannot send to unixgram ${to}: `);
    assertEquals((error as { address?: unknown }).address, {
      transport: "unixpacket",
      path: to,
    });
  }
  await Deno.remove(`${path}.dead`);
});

test("bad destinations", async (path) => {
  await using socket = await bindUnixDatagram({ path });
  const bad: BadCall[] = [
    [undefined, TypeError, "Invalid address: expected a path, got undefined"],
    [{}, TypeError, "Invalid path"],
    [{ path: "" }, TypeError, "Invalid path"],
    [{ path: 5 }, TypeError, "Invalid path"],
    [{ path: "x".repeat(200) }, RangeError, "expected at most"],
    [
      { path: new URL("https://example.com/x") },
      TypeError,
      "expected a file URL",
    ],
  ];
  for (const [addr, Class, message] of bad) {
    await assertRejects(
      () => socket.send(utf8("x"), addr as never),
      Class,
      message,
    );
  }
  const error = await rejection(
    socket.send(new Uint8Array(1 << 22), socket.addr),
  );
  assertEquals(errorCode(error), "EMSGSIZE");
  await socket.send(utf8("fine"), socket.addr);
  assertEquals(text((await socket.receive()).data), "fine");
});

test("truncation is seen, at the very byte", async (path) => {
  await using socket = await bindUnixDatagram({ path, maxDatagramSize: 100 });
  await using sender = await bindUnixDatagram();
  for (const size of [99, 100, 101, 5000]) {
    const data = pattern(size);
    await sender.send(data, socket.addr);
    const datagram = await socket.receive();
    assertEquals(datagram.truncated, size > 100);
    assertEquals(datagram.data, data.subarray(0, 100));
    const buffer = new Uint8Array(100);
    await sender.send(data, socket.addr);
    const into = await socket.receiveInto(buffer);
    assertEquals([into.bytes, into.truncated], [
      Math.min(size, 100),
      size > 100,
    ]);
    // The limit is the socket's, whatever the buffer.
    await sender.send(data, socket.addr);
    const large = await socket.receiveInto(new Uint8Array(2000));
    assertEquals(large, { ...into, bytes: Math.min(size, 100) });
  }
});

test("a full queue makes the sender wait; a timeout there loses nothing of others", async (path) => {
  await using slow = await bindUnixDatagram({ path });
  await using sender = await bindUnixDatagram();
  const sent = await fillQueue(sender, slow);
  // The one that timed out is still on its way; the next ones wait behind it.
  const later = sender.send(utf8("later"), slow.addr);
  const abort = new AbortController();
  const aborted = rejection(
    sender.send(utf8("never"), slow.addr, { signal: abort.signal }),
  );
  abort.abort("enough");
  assertEquals(await aborted, "enough");
  const said: string[] = [];
  while (said.at(-1) !== "later") {
    said.push(text((await slow.receive()).data));
  }
  await later;
  assertEquals(
    said.slice(0, sent),
    Array.from({ length: sent }, (_, i) => `${i}`),
  );
  assertEquals(said.slice(sent), [`${sent}`, "later"]);
});

test("two sockets that fill each other's queues at once", async (path) => {
  await using a = await bindUnixDatagram({ path: `${path}a` });
  await using b = await bindUnixDatagram({ path: `${path}b` });
  const COUNT = 200;
  const flood = (from: UnixDatagramSocket, to: UnixDatagramSocket) =>
    Array.from(
      { length: COUNT },
      (_, i) => from.send(pattern(50_000, i), to.addr),
    );
  const sends = [...flood(a, b), ...flood(b, a)];
  const hear = async (at: UnixDatagramSocket, from: UnixDatagramSocket) => {
    for (let i = 0; i < COUNT; i++) {
      const { data, addr } = await at.receive();
      assertEquals(data, pattern(50_000, i));
      assertEquals(addr, from.addr);
    }
  };
  await Promise.all([...sends, hear(a, b), hear(b, a)]);
});

test("a peer that does not read does not stop receives", async (path) => {
  await using server = await bindUnixDatagram({ path: `${path}s` });
  await using deaf = await bindUnixDatagram({ path: `${path}d` });
  await using client = await bindUnixDatagram({ path: `${path}c` });
  await fillQueue(server, deaf);
  const stuck = server.send(utf8("stuck"), deaf.addr);
  for (let i = 0; i < 5; i++) {
    await client.send(utf8(`${i}`), server.addr);
    assertEquals(text((await server.receive()).data), `${i}`);
  }
  // When it reads after all, everything goes on.
  const answer = server.send(utf8("answer"), client.addr);
  for await (const { data } of deaf) if (text(data) === "stuck") break;
  await Promise.all([stuck, answer]);
  assertEquals(text((await client.receive()).data), "answer");
});

test("sends that were abandoned in the queue are not sent, nor kept", async (path) => {
  await using slow = await bindUnixDatagram({ path: `${path}s` });
  await using sender = await bindUnixDatagram({ path: `${path}c` });
  const sent = await fillQueue(sender, slow);
  sender.timeout = 5;
  const errors = await Promise.all(
    Array.from(
      { length: 20 },
      () => rejection(sender.send(utf8("never"), slow.addr)),
    ),
  );
  assert(errors.every(isTimeoutError));
  sender.timeout = undefined;
  const last = sender.send(utf8("last"), slow.addr);
  const said: string[] = [];
  while (said.at(-1) !== "last") said.push(text((await slow.receive()).data));
  await last;
  // The one that was under way when its caller left has arrived; the twenty behind it have not.
  assertEquals(said, [
    ...Array.from({ length: sent + 1 }, (_, i) => `${i}`),
    "last",
  ]);
});

test("who is quick enough to send while the path is bound is heard", async (path) => {
  const ROUNDS = 50;
  // Tries all the time, so that it often meets the moment between two binds.
  await using peer = await startPython(
    `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
print("ready")
for i in range(int(sys.argv[2])):
    while True:
        try:
            s.sendto(b"%d" % i, sys.argv[1])
            break
        except (FileNotFoundError, ConnectionRefusedError): pass
    print("sent")
    sys.stdin.readline()
`,
    path,
    `${ROUNDS}`,
  );
  assertEquals(await peer.line(), "ready");
  for (let i = 0; i < ROUNDS; i++) {
    await using socket = await bindUnixDatagram({ path });
    // What is lost is a failure, not a standstill.
    socket.timeout = 20_000;
    assertEquals(text((await socket.receive()).data), `${i}`);
    assertEquals(await peer.line(), "sent");
    socket.close();
    // Nothing is left there.
    const folder = path.slice(0, path.lastIndexOf("/"));
    assertEquals([...Deno.readDirSync(folder)], []);
    await peer.send("next");
  }
});

test("a question is asked again after a timeout", async (path) => {
  await using server = await bindUnixDatagram({ path: `${path}s` });
  await using client = await bindUnixDatagram({ path: `${path}c` });
  client.timeout = 5;
  for (let i = 0; i < 3; i++) {
    await client.send(utf8(`try ${i}`), server.addr);
    assert(isTimeoutError(await rejection(client.receive())));
  }
  client.timeout = undefined;
  await client.send(utf8("last"), server.addr);
  for (const word of ["try 0", "try 1", "try 2", "last"]) {
    const { data, addr } = await server.receive();
    assertEquals(text(data), word);
    await server.send(data, addr);
  }
  for (const word of ["try 0", "try 1", "try 2", "last"]) {
    assertEquals(text((await client.receive()).data), word);
  }
});

test("datagrams that look like what ends a receive are the caller's", async (path) => {
  await using socket = await bindUnixDatagram({ path });
  await using sender = await bindUnixDatagram();
  const data = crypto.getRandomValues(new Uint8Array(32));
  const waiting = socket.receive();
  await sender.send(data, socket.addr);
  assertEquals((await waiting).data, data);
  // Sends in the way of a receive leave nothing behind that somebody would receive.
  for (let i = 0; i < 20; i++) {
    const waiting = socket.receive();
    await socket.send(utf8(`${i}`), socket.addr);
    assertEquals(text((await waiting).data), `${i}`);
  }
  socket.timeout = 5;
  assert(isTimeoutError(await rejection(socket.receive())));
});

Deno.test({
  name: "unixgram: an abstract name leaves no file",
  ignore: !has || !hasAbstract,
  async fn() {
    const path = `\0${crypto.randomUUID()}`;
    await using a = await bindUnixDatagram({ path });
    await using b = await bindUnixDatagram({ path: `${path}b` });
    assertEquals(a.addr.path, path);
    await b.send(utf8("x"), a.addr);
    assertEquals((await a.receive()).addr, b.addr);
    const error = await rejection(bindUnixDatagram({ path }));
    assertInstanceOf(error, Deno.errors.AddrInUse);
    assertStringIncludes(
      error.message,
      `Cannot bind unixgram @${path.slice(1)}: `,
    );
  },
});
