/** Unix streams: options, addresses, and the file that is ours or is not touched. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
} from "@std/assert";
import { errorCode } from "../errors.ts";
import { readAll } from "../io.ts";
import { connectUnix, listenUnix } from "../unix.ts";
import { putBack, removeClaimed } from "../_socket_file.ts";
import { type BadCall, readText, rejection, utf8 } from "./_bytes.ts";
import { hasAbstract, hasUnix, tempPath } from "./_pairs.ts";
import { runDeno, startDeno, startPython } from "./_process.ts";

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, ignore: !hasUnix, fn });

const exists = (path: string) =>
  Deno.lstat(path).then(() => true, (error) => {
    assertInstanceOf(error, Deno.errors.NotFound);
    return false;
  });

test("addresses have the requested path, and null for no name", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  await using listener = await listenUnix({ path });
  using client = await connectUnix({ path });
  using server = await listener.accept();
  const named = { transport: "unix", path };
  const unnamed = { transport: "unix", path: null };
  assertEquals<unknown>(listener.addr, named);
  assertEquals<unknown>(client.remoteAddr, named);
  assertEquals<unknown>(server.localAddr, named);
  assertEquals<unknown>(client.localAddr, unnamed);
  assertEquals<unknown>(server.remoteAddr, unnamed);
  for (
    const addr of [
      listener.addr,
      client.localAddr,
      client.remoteAddr,
      server.localAddr,
    ]
  ) assert(Object.isFrozen(addr));
});

test("a file URL will do", async () => {
  await using temp = await tempPath();
  const url = new URL(`file://${temp.path}%20%25`);
  await using listener = await listenUnix({ path: url });
  assertEquals(listener.addr.path, `${temp.path} %`);
  using conn = await connectUnix({ path: url });
  assertEquals(conn.remoteAddr, listener.addr);
  (await listener.accept()).close();
});

test("only the socket's own name is in its folder, and none after close()", async () => {
  await using temp = await tempPath();
  const folder = temp.path.slice(0, -2);
  const names = () => [...Deno.readDirSync(folder)].map(({ name }) => name);
  const listener = await listenUnix({ path: temp.path });
  assertEquals(names(), ["s"]);
  await listener[Symbol.asyncDispose]();
  assertEquals(names(), []);
});

test("the mode is set before anybody can connect", async () => {
  await using temp = await tempPath();
  for (const mode of [0o600, 0o666, 0o000]) {
    await using _ = await listenUnix({ path: temp.path, mode });
    assertEquals((await Deno.lstat(temp.path)).mode! & 0o777, mode);
  }
  const umask = Deno.umask(0o077);
  try {
    await using _ = await listenUnix({ path: temp.path });
    assertEquals((await Deno.lstat(temp.path)).mode! & 0o777, 0o700);
  } finally {
    Deno.umask(umask);
  }
});

test("who listens already is left alone", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  await using listener = await listenUnix({ path });
  const error = await assertRejects(
    () => listenUnix({ path }),
    Deno.errors.AddrInUse,
  );
  assertEquals(
    error.message,
    `Cannot listen on unix ${path}: Somebody listens there (EADDRINUSE)`,
  );
  assertEquals(errorCode(error), "EADDRINUSE");
  assertEquals((error as { address?: unknown }).address, listener.addr);
  // The question whether somebody listens was a connection, and is one no more.
  using question = await listener.accept();
  assertEquals(await readText(question), null);
  using client = await connectUnix({ path });
  using server = await listener.accept();
  await client.writeAll(utf8("alive"));
  assertEquals(await readText(server), "alive");
});

/** Leaves a socket's file behind that nobody listens on. */
async function leaveStale(path: string): Promise<void> {
  await using peer = await startPython(
    `
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
`,
    path,
  );
  assertEquals((await peer.ended()).code, 0);
  assert((await Deno.lstat(path)).isSocket);
}

test("a stale socket is removed, unless it is not wanted", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  await leaveStale(path);
  const error = await assertRejects(
    () => listenUnix({ path, unlink: "never" }),
    Deno.errors.AddrInUse,
    'unlink is "never"',
  );
  assertEquals(errorCode(error), "EADDRINUSE");
  const refused = await assertRejects(
    () => connectUnix({ path }),
    Deno.errors.ConnectionRefused,
  );
  assertEquals(
    refused.message,
    `Cannot connect to unix ${path}: Connection refused (ECONNREFUSED)`,
  );
  await using listener = await listenUnix({ path });
  using conn = await connectUnix({ path });
  assertEquals(conn.remoteAddr, listener.addr);
  (await listener.accept()).close();
});

test("a relative path is removed after the folder has changed", async () => {
  await using temp = await tempPath();
  const before = Deno.cwd();
  Deno.chdir(temp.path.slice(0, -2));
  try {
    const listener = await listenUnix({ path: "s" });
    assertEquals(listener.addr.path, "s");
    Deno.chdir(before);
    assert(await exists(temp.path));
    listener.close();
    assert(!await exists(temp.path));
  } finally {
    Deno.chdir(before);
  }
});

test('unlink "always" takes the path from who listens there', async () => {
  await using temp = await tempPath();
  const { path } = temp;
  const first = await listenUnix({ path });
  const second = await listenUnix({ path, unlink: "always" });
  using client = await connectUnix({ path });
  using server = await second.accept();
  // The first one's end leaves its successor's file alone.
  await first[Symbol.asyncDispose]();
  assert(await exists(path));
  using again = await connectUnix({ path });
  (await second.accept()).close();
  await client.writeAll(utf8("x"));
  assertEquals(await readText(server), "x");
  assertEquals(again.remoteAddr.path, path);
  await second[Symbol.asyncDispose]();
  assert(!await exists(path));
});

test("a file that is no socket is never touched", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  await Deno.writeTextFile(path, "precious");
  for (const unlink of ["stale", "always", "never"] as const) {
    await assertRejects(
      () => listenUnix({ path, unlink }),
      Deno.errors.AddrInUse,
      "no socket is there",
    );
  }
  assertEquals(await Deno.readTextFile(path), "precious");
});

test("a file that came to our path is not touched by close()", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  const listener = await listenUnix({ path });
  await Deno.remove(path);
  await Deno.writeTextFile(path, "precious");
  await listener[Symbol.asyncDispose]();
  assertEquals(await Deno.readTextFile(path), "precious");
});

test("our file is ours whatever its age says", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  const listener = await listenUnix({ path });
  Deno.utimeSync(path, 1, 1);
  listener.close();
  assert(!await exists(path));
});

test("a foreign successor on our path survives our close()", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  const listener = await listenUnix({ path });
  await Deno.remove(path);
  await using successor = await startPython(
    `
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
print("ready")
c, _ = s.accept()
c.sendall(b"successor")
c.close()
sys.stdin.readline()
`,
    path,
  );
  await successor.line();
  await listener[Symbol.asyncDispose]();
  using conn = await connectUnix({ path });
  assertEquals(new TextDecoder().decode(await readAll(conn)), "successor");
});

test("two starters at once on one stale path: one gets it", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  for (let round = 0; round < 10; round++) {
    await leaveStaleBy(path);
    const results = await Promise.allSettled(
      Array.from({ length: 4 }, () => listenUnix({ path })),
    );
    const won = results.filter((result) => result.status === "fulfilled");
    const lost = results.filter((result) => result.status === "rejected");
    assertEquals(won.length, 1);
    for (const { reason } of lost) {
      assertInstanceOf(reason, Deno.errors.AddrInUse);
    }
    await using winner = won[0]!.value;
    using conn = await connectUnix({ path });
    assertEquals(conn.remoteAddr, winner.addr);
  }
});

/** A stale file without a program of its own: the socket's second name outlives its close. */
async function leaveStaleBy(path: string): Promise<void> {
  using native = Deno.listen({ transport: "unix", path: `${path}1` });
  await Deno.link(`${path}1`, path);
  assertEquals(native.addr.path, `${path}1`);
}

test("starters in processes of their own: one gets the stale path", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  await leaveStaleBy(path);
  const starters = await Promise.all([1, 2, 3].map(() =>
    startDeno(
      ["-A"],
      `
console.log("ready");
await Deno.stdin.read(new Uint8Array(1));
try {
  const listener = await sockets.listenUnix({ path: ${JSON.stringify(path)} });
  console.log("won");
  await Deno.stdin.read(new Uint8Array(100));
  listener.close();
} catch (error) { console.log(error.code); }
`,
    )
  ));
  try {
    for (const starter of starters) await starter.line();
    await Promise.all(starters.map((starter) => starter.send("")));
    const said = await Promise.all(starters.map((starter) => starter.line()));
    assertEquals(said.sort(), ["EADDRINUSE", "EADDRINUSE", "won"]);
    using _ = await connectUnix({ path });
  } finally {
    for (const starter of starters) await starter[Symbol.asyncDispose]();
  }
});

test("a file that was moved aside gets its name back, unless it is taken", async () => {
  await using temp = await tempPath();
  const aside = `${temp.path}.aside`;
  await Deno.writeTextFile(aside, "first");
  putBack(aside, temp.path);
  assertEquals(await Deno.readTextFile(temp.path), "first");
  await Deno.writeTextFile(aside, "second");
  putBack(aside, temp.path);
  assertEquals(await Deno.readTextFile(temp.path), "first");
  assert(!await exists(aside));
});

for (
  const [how, end, left] of [
    ["Deno.exit", "Deno.exit(0)", false],
    ["its natural end", "listener.unref()", false],
    ["close()", "listener.close()", false],
    // Deno has no event for these; the next listener finds a stale socket.
    ["a throw", "throw new Error('on purpose')", true],
    [
      "SIGKILL",
      "Deno.kill(Deno.pid, 'SIGKILL'); await new Promise(() => setTimeout(() => {}, 1e6))",
      true,
    ],
  ] as const
) {
  test(`a program that ended by ${how} is no obstacle to the next`, async () => {
    await using temp = await tempPath();
    const { path } = temp;
    await runDeno(
      ["-A"],
      `const listener = await sockets.listenUnix({ path: ${
        JSON.stringify(path)
      } });\n${end};`,
    );
    assertEquals(await exists(path), left);
    await using listener = await listenUnix({ path });
    using conn = await connectUnix({ path });
    assertEquals(conn.remoteAddr, listener.addr);
  });
}

test("a peer whose name is no text does not end the loop", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  await using listener = await listenUnix({ path });
  const serving = (async () => {
    for await (const conn of listener) {
      const text = await readText(conn);
      conn.close();
      if (text === "end") return;
    }
  })();
  await using peer = await startPython(
    `
import os, socket, sys
path = sys.argv[1]
for i in range(5):
    s = socket.socket(socket.AF_UNIX)
    s.bind(os.fsencode(path) + b"\\xff%d" % i)
    s.connect(path)
    # The connection may have been dropped already: its name is no text.
    try: s.sendall(b"strange")
    except BrokenPipeError: pass
    s.close()
s = socket.socket(socket.AF_UNIX)
s.connect(path)
s.sendall(b"end")
sys.stdin.readline()
`,
    path,
  );
  await serving;
  await peer.endInput();
});

test("a full queue: connecting waits, in its bounds", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  await using server = await startPython(
    `
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(0)
print("ready")
sys.stdin.readline()
for _ in range(2): s.accept()[0].sendall(b"hello")
sys.stdin.readline()
`,
    path,
  );
  await server.line();
  using first = await connectUnix({ path });
  const error = await rejection(connectUnix({ path, timeout: 20 }));
  assertInstanceOf(error, DOMException);
  assertEquals(error.name, "TimeoutError");
  assertMatch(error.message, /^Connect to unix .* timed out after 20 ms$/);
  const abort = new AbortController();
  const aborted = rejection(connectUnix({ path, signal: abort.signal }));
  abort.abort("enough");
  assertEquals(await aborted, "enough");

  const waiting = connectUnix({ path });
  await server.send("accept");
  using second = await waiting;
  assertEquals(await readText(first), "hello");
  assertEquals(await readText(second), "hello");
});

test("what cannot be connected to", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  const missing = await assertRejects(
    () => connectUnix({ path }),
    Deno.errors.NotFound,
  );
  assertEquals(
    missing.message,
    `Cannot connect to unix ${path}: No such file or directory (ENOENT)`,
  );
  assertEquals(errorCode(missing), "ENOENT");
  assertInstanceOf(missing.cause, Deno.errors.NotFound);
  await assertRejects(
    () => listenUnix({ path: `${path}/deeper/s` }),
    Deno.errors.NotFound,
    "Cannot listen on unix",
  );
  await using datagram = await startPython(
    `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("ready")
sys.stdin.readline()
`,
    path,
  );
  await datagram.line();
  const wrong = await rejection(connectUnix({ path }));
  assertInstanceOf(wrong, Error);
  assertEquals(errorCode(wrong), "EPROTOTYPE");
  // Somebody has the path, even if it is no stream socket.
  await assertRejects(() => listenUnix({ path }), Deno.errors.AddrInUse);
});

test("bad paths and options, before anything is made", async () => {
  const long = `/tmp/${"x".repeat(103)}`;
  const cases: BadCall[] = [
    [{ path: "" }, TypeError, "got an empty string"],
    [{ path: undefined }, TypeError, "got undefined"],
    [{ path: null }, TypeError, "got null"],
    [{ path: 5 }, TypeError, "got 5"],
    [{ path: {} }, TypeError, "got an object (Object)"],
    [{}, TypeError, "got undefined"],
    [{ path: long }, RangeError, "expected at most"],
    [{ path: `/tmp/${"ü".repeat(60)}` }, RangeError, "got 125"],
    [{ path: "/tmp/a\0b" }, TypeError, "NUL"],
    [{ path: new URL("http://localhost/x") }, TypeError, "a file URL"],
    [undefined, TypeError, "expected an object"],
    ["/tmp/x", TypeError, "expected an object"],
  ];
  const connectOnly: BadCall[] = [
    [{ path: "/tmp/x", timeout: 0 }, RangeError, "above 0"],
    [{ path: "/tmp/x", timeout: -1 }, RangeError, "above 0"],
    [{ path: "/tmp/x", timeout: NaN }, RangeError, "above 0"],
    [{ path: "/tmp/x", signal: 1 }, TypeError, "expected an AbortSignal"],
  ];
  const listenOnly: BadCall[] = [
    [{ path: "/tmp/x", mode: -1 }, RangeError, "from 0 to 511"],
    [{ path: "/tmp/x", mode: 0o1000 }, RangeError, "got 512"],
    [{ path: "/tmp/x", mode: "600" }, TypeError, "an integer"],
    [{ path: "/tmp/x", unlink: "maybe" }, TypeError, '"stale", "always"'],
  ];
  for (const [options, Class, message] of [...cases, ...connectOnly]) {
    await assertRejects(() => connectUnix(options as never), Class, message);
  }
  for (const [options, Class, message] of [...cases, ...listenOnly]) {
    await assertRejects(() => listenUnix(options as never), Class, message);
  }
  for (const path of ["", "undefined", "null", "5", "[object Object]"]) {
    if (path !== "") assert(!await exists(path));
  }
});

test("the longest path that has no room for a second name", async () => {
  const folder = await Deno.makeTempDir();
  const max = Deno.build.os === "linux" ? 107 : 103;
  // A folder so deep that one letter is left for the name.
  const deep = `${folder}/${"d".repeat(max - folder.length - 3)}`;
  await Deno.mkdir(deep);
  const path = `${deep}/s`;
  assertEquals(path.length, max);
  const listener = await listenUnix({ path, mode: 0o600 });
  assertEquals((await Deno.lstat(path)).mode! & 0o777, 0o600);
  using client = await connectUnix({ path });
  using server = await listener.accept();
  await client.writeAll(utf8("deep"));
  assertEquals(await readText(server), "deep");
  assertEquals(server.localAddr.path, path);
  await listener[Symbol.asyncDispose]();
  assert(!await exists(path));
  await leaveStale(path);
  await using again = await listenUnix({ path });
  assertEquals(again.addr.path, path);
  await again[Symbol.asyncDispose]();
  await Deno.remove(folder, { recursive: true });
});

Deno.test({
  name: "an abstract name is no file, and free after close()",
  ignore: !hasAbstract,
  async fn() {
    const path = `\0${crypto.randomUUID()}`;
    for (let i = 0; i < 2; i++) {
      const listener = await listenUnix({ path });
      const accepting = rejection(listener.accept());
      const error = await assertRejects(
        () => listenUnix({ path }),
        Deno.errors.AddrInUse,
      );
      assertEquals(
        error.message,
        `Cannot listen on unix @${
          path.slice(1)
        }: Address already in use (EADDRINUSE)`,
      );
      await listener[Symbol.asyncDispose]();
      await accepting;
    }
  },
});

test("a foreign client, and its name", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  await using listener = await listenUnix({ path });
  await using peer = await startPython(
    `
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1] + ".client")
s.connect(sys.argv[1])
s.sendall(b"hello")
s.shutdown(socket.SHUT_WR)
print(s.recv(100).decode())
`,
    path,
  );
  using conn = await listener.accept();
  assertEquals(new TextDecoder().decode(await readAll(conn)), "hello");
  assertEquals(conn.remoteAddr.path, `${path}.client`);
  await conn.writeAll(utf8("welcome"));
  assertEquals(await peer.line(), "welcome");
});

test("the claim of a starter that died does not last", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  await leaveStaleBy(path);
  const { dev, ino } = await Deno.lstat(path);
  const claim = `${path.slice(0, -1)}.${dev.toString(36)}-${ino!.toString(36)}`;
  await Deno.link(path, claim);
  await using listener = await listenUnix({ path });
  using _ = await connectUnix({ path });
  (await listener.accept()).close();
  assert(!await exists(claim));
});

test("a slow starter does not take away what a fast one has put there", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  await leaveStaleBy(path);
  const stale = await Deno.lstat(path);
  await using listener = await listenUnix({ path });
  const inode = (await Deno.lstat(path)).ino;
  for (const taken of [true, false]) {
    const [claim, aside] = [`${path}.claim`, `${path}.aside`];
    const error = (() => {
      const { linkSync } = Deno;
      // The second time as where a foreign user's socket cannot be linked.
      if (!taken) {
        Deno.linkSync = (from, to) => {
          if (to !== claim) return linkSync(from, to);
          throw Object.assign(new Deno.errors.PermissionDenied("no"), {
            code: "EPERM",
          });
        };
      }
      try {
        return removeClaimed(path, stale, claim, aside);
      } catch (error) {
        return error;
      } finally {
        Deno.linkSync = linkSync;
      }
    })();
    assertInstanceOf(error, Deno.errors.AddrInUse);
    assertEquals((await Deno.lstat(path)).ino, inode);
    assert(!await exists(claim) && !await exists(aside));
  }
  using _ = await connectUnix({ path });
  (await listener.accept()).close();
});

test("a file system without links: the path itself is bound", async () => {
  await using temp = await tempPath();
  const { path } = temp;
  const { linkSync } = Deno;
  Deno.linkSync = () => {
    throw Object.assign(new Deno.errors.PermissionDenied("no links"), {
      code: "EPERM",
    });
  };
  try {
    const listener = await listenUnix({ path, mode: 0o600 });
    assertEquals((await Deno.lstat(path)).mode! & 0o777, 0o600);
    using _ = await connectUnix({ path });
    (await listener.accept()).close();
    const error = await assertRejects(
      () => listenUnix({ path }),
      Deno.errors.AddrInUse,
    );
    assertEquals(errorCode(error), "EADDRINUSE");
    (await listener.accept()).close();
    await listener[Symbol.asyncDispose]();
    assert(!await exists(path));
  } finally {
    Deno.linkSync = linkSync;
  }
});
