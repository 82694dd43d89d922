/** The port forwarder as it is run, between clients and targets of every kind. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { createConnection, type Socket } from "node:net";
import { once } from "node:events";
import { formatAddr, parseAddr, type ParsedAddr } from "../addr.ts";
import { readAll } from "../io.ts";
import { connectTcp, listenTcp } from "../tcp.ts";
import type { StreamConn, StreamListener, TcpAddr } from "../types.ts";
import { connectUnix, listenUnix } from "../unix.ts";
import { fill, pattern, readText, text, utf8 } from "./_bytes.ts";
import { canListen, hasAbstract, hasUnix, tempPath } from "./_pairs.ts";
import { freePort } from "./_ports.ts";
import { type Ended, Program, startPython } from "./_process.ts";
import {
  assertOneLine,
  commandOf,
  commandsOf,
  ROOT,
  runProgram,
} from "./_programs.ts";

/** A forwarder at work. */
interface Forward extends AsyncDisposable {
  readonly program: Program;
  readonly addr: ParsedAddr;
  /** Connects to it. */
  connect(): Promise<StreamConn>;
}

/** Starts a forwarder, with the grants of its first command, or of another where a folder is given. */
async function forward(
  args: readonly string[],
  listen: string,
  target: string,
  folder?: string,
): Promise<Forward> {
  const flags = commandsOf("port_forward")[folder === undefined ? 0 : 1];
  const [command, ...rest] = commandOf("port_forward", flags);
  const program = new Program(
    command!,
    [...rest, ...args, listen, target],
    folder ?? ROOT,
  );
  const line = await program.line();
  const [, from, to] = /^forwarding (.*) to (.*)$/.exec(line)!;
  assertEquals(to, formatAddr(parseAddr(target)));
  const addr = parseAddr(from!);
  return {
    program,
    addr,
    connect: () =>
      addr.transport === "unix"
        ? connectUnix({
          path: addr.path.startsWith("\0")
            ? addr.path
            : `${folder}/${addr.path}`,
        })
        : connectTcp(addr as TcpAddr),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** A forwarder to a target on loopback. */
async function forwardTo(
  { addr }: StreamListener<StreamConn, TcpAddr>,
  ...args: string[]
): Promise<Forward> {
  return await forward(args, "127.0.0.1:0", formatAddr(addr));
}

/** A client, and what the target has of it. */
async function connectBoth(
  through: Forward,
  target: StreamListener,
): Promise<[client: StreamConn, server: StreamConn] & Disposable> {
  const [client, server] = await Promise.all([
    through.connect(),
    target.accept(),
  ]);
  return Object.assign([client, server] as [StreamConn, StreamConn], {
    [Symbol.dispose]() {
      client.close();
      server.close();
    },
  });
}

/** What a forwarder counts; all 0 by default. */
interface Counts {
  readonly connections: number;
  readonly complete?: number;
  readonly failed?: number;
  readonly broken?: number;
  readonly idle?: number;
  readonly cut?: number;
  readonly there?: number;
  readonly back?: number;
  readonly refused?: number;
  readonly denied?: number;
}

/** A forwarder has ended well, and says just that at its end. */
function assertCounts(
  { code, signal, stdout, stderr }: Ended,
  counts: Counts,
  errors: RegExp = /^$/,
): void {
  const { connections, complete = 0, failed = 0, broken = 0 } = counts;
  const { idle = 0, cut = 0, there = 0, back = 0 } = counts;
  const { refused = 0, denied = 0 } = counts;
  assertMatch(stderr, errors);
  assertEquals({ code, signal }, { code: 0, signal: null });
  assertEquals(
    stdout.replace(/\d+\.\d{3} s$/m, "T s"),
    `${connections} connections: ${complete} complete, ${failed} without a target, ${broken} broken, ${idle} idle, ${cut} cut off
${there} bytes there, ${back} back
${refused} refused, ${denied} denied, T s
`,
  );
}

/** Tells a forwarder to end, and what it says then. */
async function stop(
  { program }: Forward,
  signal: Deno.Signal = "SIGTERM",
): Promise<Ended> {
  program.kill(signal);
  return await program.ended();
}

/** What two arrays have in common that are equal, and in a message is shorter than they are. */
async function checksum(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return `${bytes.length} bytes, ${new Uint8Array(digest).toHex()}`;
}

/** Waits until a stream is over, by its end or by a reset. */
async function isOver(conn: StreamConn): Promise<true> {
  try {
    while (await readText(conn) !== null);
  } catch (error) {
    assert(error instanceof Deno.errors.ConnectionReset, String(error));
  }
  return true;
}

/** A client that can reset its connection. */
async function connectRaw({ addr }: Forward): Promise<Socket> {
  const { hostname, port } = addr as TcpAddr;
  const socket = createConnection(port, hostname);
  await once(socket, "connect");
  return socket;
}

/** A listener that can reset connections: the port, and the next connection. */
async function resetter() {
  const python = await startPython(`
import socket, struct, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1])
while True:
    conn, _ = server.accept()
    print(conn.recv(1).decode())
    sys.stdin.readline()
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()
`);
  return { python, port: Number(await python.line()) };
}

// Ways

interface Way {
  readonly name: string;
  readonly listen: string;
  readonly ignore: boolean;
  /** Listens as a target, in a folder. */
  readonly target: (folder: string) => Promise<[StreamListener, string]>;
}

const tcpTarget = (hostname: string) =>
async (): Promise<
  [StreamListener, string]
> => {
  const listener = await listenTcp({ hostname });
  return [listener, formatAddr(listener.addr)];
};

const ways: readonly Way[] = [
  {
    name: "TCP to TCP",
    listen: "127.0.0.1:0",
    ignore: false,
    target: tcpTarget("127.0.0.1"),
  },
  {
    name: "IPv6 to IPv4",
    listen: "[::1]:0",
    ignore: !canListen("::1"),
    target: tcpTarget("127.0.0.1"),
  },
  {
    name: "Unix to TCP",
    listen: "unix:front.sock",
    ignore: !hasUnix,
    target: tcpTarget("127.0.0.1"),
  },
  {
    name: "TCP to Unix",
    listen: "127.0.0.1:0",
    ignore: !hasUnix,
    target: async (folder) => [
      await listenUnix({ path: `${folder}/back.sock` }),
      "unix:back.sock",
    ],
  },
  {
    name: "abstract Unix to abstract Unix",
    listen: `unix:@${crypto.randomUUID()}`,
    ignore: !hasAbstract,
    target: async () => {
      const name = crypto.randomUUID();
      return [await listenUnix({ path: `\0${name}` }), `unix:@${name}`];
    },
  },
];

for (const { name, listen, ignore, target: targetOf } of ways) {
  Deno.test({
    name: `${name}: 1 MiB each way at once, and half-closes from either side`,
    ignore,
    async fn() {
      await using temp = await tempPath();
      const folder = `${temp.path}.d`;
      await Deno.mkdir(folder);
      const [listener, address] = await targetOf(folder);
      await using target = listener;
      await using through = await forward([], listen, address, folder);
      const [up, down] = [pattern(2 ** 20, 1), pattern(2 ** 20 + 1, 2)];
      {
        using both = await connectBoth(through, target);
        const [got] = await Promise.all([
          Promise.all(both.map((conn) => readAll(conn))),
          Promise.all(both.map(async (conn, i) => {
            await conn.writeAll([up, down][i]!);
            await conn.closeWrite();
          })),
        ]);
        assertEquals(
          await Promise.all(got.map(checksum)),
          await Promise.all([down, up].map(checksum)),
        );
      }
      // Whoever says the last word first still hears the other.
      for (const first of [0, 1]) {
        using both = await connectBoth(through, target);
        const [a, b] = [both[first]!, both[1 - first]!];
        await a.writeAll(utf8("question"));
        await a.closeWrite();
        assertEquals(text(await readAll(b)), "question");
        for (const word of ["one", "two"]) {
          await b.writeAll(utf8(word));
          assertEquals(await readText(a), word);
        }
        await b.closeWrite();
        assertEquals(await readText(a), null);
      }
      assertCounts(await stop(through), {
        connections: 3,
        complete: 3,
        there: 2 ** 20 + 8 + 6,
        back: 2 ** 20 + 1 + 6 + 8,
      });
      // No socket file stays behind.
      assertEquals(
        [...Deno.readDirSync(folder)].map((entry) => entry.name),
        address === "unix:back.sock" ? ["back.sock"] : [],
      );
    },
  });
}

// What goes wrong

Deno.test("a target that is down: the client is closed, a line says it, and the next one is served", async () => {
  const port = freePort();
  await using through = await forward(
    ["-m", "1"],
    "127.0.0.1:0",
    `127.0.0.1:${port}`,
  );
  // Who does not close its own side keeps nobody's place.
  using first = await through.connect();
  assert(await isOver(first));
  using second = await through.connect();
  await second.write(utf8("hello?")).catch(() => {});
  assert(await isOver(second));
  await using target = await listenTcp({ hostname: "127.0.0.1", port });
  {
    using both = await connectBoth(through, target);
    both[0].close();
    assertEquals(await readText(both[1]), null);
  }
  assertCounts(
    await stop(through),
    { connections: 3, complete: 1, failed: 2 },
    new RegExp(
      `^(target failed: Cannot connect to tcp 127\\.0\\.0\\.1:${port}: .*ECONNREFUSED.*\\n){2}$`,
    ),
  );
});

Deno.test({
  name: "a target that never answers: --connect-timeout and --idle-timeout",
  // Elsewhere a full queue is told to the client.
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using python = await startPython(`
import socket, sys, time
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(0)
full = []
# Those beyond the queue's length get no answer.
for _ in range(4):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(server.getsockname())
    full.append(client)
full[0].setblocking(True)
print(server.getsockname()[1])
sys.stdin.readline()
`);
    const target = `127.0.0.1:${await python.line()}`;
    await using through = await forward(
      ["--connect-timeout", "50"],
      "127.0.0.1:0",
      target,
    );
    using client = await through.connect();
    assert(await isOver(client));
    assertCounts(
      await stop(through),
      { connections: 1, failed: 1 },
      /^target failed: .*\n$/,
    );
    // Who is idle meanwhile is closed, and connecting ends, too.
    await using idle = await forward(
      ["-i", "30", "-v", "-t", "600000"],
      "127.0.0.1:0",
      target,
    );
    using other = await idle.connect();
    assert(await isOver(other));
    assertMatch(await idle.program.line(), /: idle, 0 bytes there, 0 back, /);
    assertCounts(await stop(idle), { connections: 1, idle: 1 });
  },
});

Deno.test("--max-connections: what comes beyond is closed, until there is room", async () => {
  await using target = await listenTcp({ hostname: "127.0.0.1" });
  await using through = await forwardTo(target, "-m", "2", "-v");
  {
    using first = await connectBoth(through, target);
    using second = await connectBoth(through, target);
    for (let i = 0; i < 3; i++) {
      using third = await through.connect();
      assert(await isOver(third));
    }
    for (const [client, server] of [first, second]) {
      await client.writeAll(utf8("still here"));
      assertEquals(await readText(server), "still here");
    }
    await Promise.all(first.map((conn) => conn.closeWrite()));
    assertMatch(await through.program.line(), /^#1 .*: complete, 10 bytes/);
    using fourth = await connectBoth(through, target);
    await fourth[1].writeAll(utf8("welcome"));
    assertEquals(await readText(fourth[0]), "welcome");
  }
  for (let i = 0; i < 2; i++) await through.program.line();
  assertCounts(await stop(through), {
    connections: 3,
    complete: 3,
    there: 20,
    back: 7,
    refused: 3,
  });
});

Deno.test("a reset from the client ends the target's side", async () => {
  await using target = await listenTcp({ hostname: "127.0.0.1" });
  await using through = await forwardTo(target, "-v");
  const raw = await connectRaw(through);
  using server = await target.accept();
  raw.write("unfinished");
  assertEquals(await readText(server), "unfinished");
  raw.resetAndDestroy();
  assert(await isOver(server));
  assertMatch(
    await through.program.line(),
    /^#1 tcp:\/\/127\.0\.0\.1:\d+: broken, 10 bytes there, 0 back, \d+\.\d{3} s$/,
  );
});

Deno.test("a reset from the target ends the client's side", async () => {
  const { python, port } = await resetter();
  await using _ = python;
  await using through = await forward([], "127.0.0.1:0", `127.0.0.1:${port}`);
  for (const isSending of [false, true]) {
    using client = await through.connect();
    await client.write(utf8("x"));
    assertEquals(await python.line(), "x");
    const waiting = isSending ? (await fill(client)).waiting : undefined;
    await python.send("reset");
    assert(await isOver(client));
    client.close();
    // What it was sending has been taken or not.
    await waiting?.catch(() => {});
  }
  const { code, stdout, stderr } = await stop(through);
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /^2 connections: 0 complete, 0 without a target, 2 bro/);
});

Deno.test("a client that does not read makes the target wait, and nothing is lost", async () => {
  await using target = await listenTcp({ hostname: "127.0.0.1" });
  await using through = await forwardTo(target);
  let sent: number;
  {
    using both = await connectBoth(through, target);
    const [client, server] = both;
    const { waiting } = await fill(server);
    // The systems' buffers, and one of the program's.
    assert(server.bytesWritten < 2 ** 26, `${server.bytesWritten}`);
    const reading = (async () => {
      let sum = 0;
      const buffer = new Uint8Array(2 ** 20);
      for (let n; (n = await client.read(buffer)) !== null;) sum += n;
      return sum;
    })();
    await waiting;
    await server.closeWrite();
    sent = server.bytesWritten;
    assertEquals(await reading, sent);
    await client.closeWrite();
    assertEquals(await readText(server), null);
  }
  assertCounts(await stop(through), {
    connections: 1,
    complete: 1,
    back: sent,
  });
});

Deno.test("--idle-timeout closes both sides, of none but idle connections", async () => {
  await using target = await listenTcp({ hostname: "127.0.0.1" });
  await using through = await forwardTo(target, "-i", "30", "--verbose");
  for (const word of ["", "hello"]) {
    using both = await connectBoth(through, target);
    await both[0].write(utf8(word));
    assertEquals(await Promise.all(both.map(isOver)), [true, true]);
    assertMatch(
      await through.program.line(),
      new RegExp(`: idle, ${word.length} bytes there, 0 back, `),
    );
  }
  assertCounts(await stop(through), { connections: 2, idle: 2, there: 5 });
});

Deno.test("--allow says who may connect", async () => {
  await using target = await listenTcp({ hostname: "127.0.0.1" });
  {
    await using through = await forwardTo(target, "-a", "10.0.0.0/8,::1");
    using client = await through.connect();
    assert(await isOver(client));
    assertCounts(await stop(through), { connections: 0, denied: 1 });
  }
  await using through = await forwardTo(target, "-a", "::1,127.0.0.0/8");
  {
    using both = await connectBoth(through, target);
    await both[1].write(utf8("you may"));
    assertEquals(await readText(both[0]), "you may");
    await Promise.all(both.map((conn) => conn.closeWrite()));
    assertEquals(await readText(both[0]), null);
  }
  assertCounts(await stop(through), { connections: 1, complete: 1, back: 7 });
});

// The end

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`${signal}: nothing new is taken, and what goes on may end`, async () => {
    await using target = await listenTcp({ hostname: "127.0.0.1" });
    await using through = await forwardTo(target, "-d", "60000");
    using both = await connectBoth(through, target);
    const [client, server] = both;
    // What comes before it hears the signal has a target, too, that says nothing.
    const closing = (async () => {
      for await (const conn of target) conn.close();
    })();
    through.program.kill(signal);
    let early = 0;
    for (;;) {
      try {
        using late = await through.connect();
        await isOver(late);
        early++;
      } catch (error) {
        assert(error instanceof Deno.errors.ConnectionRefused, String(error));
        break;
      }
    }
    const bytes = pattern(100_000);
    await client.writeAll(bytes);
    await client.closeWrite();
    assertEquals(await checksum(await readAll(server)), await checksum(bytes));
    await server.writeAll(utf8("the end"));
    await server.closeWrite();
    assertEquals(text(await readAll(client)), "the end");
    const { code, stdout, stderr } = await through.program.ended();
    assertEquals([code, stderr], [0, ""]);
    const counts =
      /^(\d+) connections: \1 complete, .* 0 cut off\n100000 bytes there, 7 back\n/
        .exec(stdout);
    // The last early one may have been in the system's queue when that was closed.
    assert(counts !== null && Number(counts[1]) <= 1 + early, stdout);
    target.close();
    await closing;
  });
}

Deno.test("--drain-timeout: what does not end is cut off, and counted", async () => {
  await using target = await listenTcp({ hostname: "127.0.0.1" });
  await using through = await forwardTo(target, "-d", "30");
  using both = await connectBoth(through, target);
  await both[0].write(utf8("12345"));
  assertEquals(await readText(both[1]), "12345");
  using blocked = await connectBoth(through, target);
  const { waiting } = await fill(blocked[1]);
  const ended = await stop(through);
  assertEquals(await Promise.all(both.map(isOver)), [true, true]);
  blocked[1].close();
  // What it was sending has been taken or not.
  await waiting.catch(() => {});
  assertMatch(ended.stdout, / 0 broken, 0 idle, 2 cut off\n5 bytes there, /);
  assertEquals([ended.code, ended.stderr], [0, ""]);
});

Deno.test("--help says how, and what is wrong is one clear line", async () => {
  assertEquals(commandsOf("port_forward"), [
    ["--allow-net"],
    ["--allow-net", "--allow-read=.", "--allow-write=."],
    ["--allow-net", "--allow-read=.", "--allow-write=."],
  ]);
  const { code, stdout, stderr } = await runProgram("port_forward", "--help");
  assertEquals([code, stderr], [0, ""]);
  assertMatch(
    stdout,
    /\n\nUsage: port_forward\.ts \[OPTIONS\] LISTEN TARGET\n/,
  );
  await using taken = await listenTcp({ hostname: "127.0.0.1" });
  const number = "expected an integer from 1 to \\d+$";
  const [a, b] = ["127.0.0.1:0", "127.0.0.1:1"];
  for (
    const [args, line] of [
      [[], "LISTEN and TARGET, please; see --help$"],
      [[a], "LISTEN and TARGET, please; see --help$"],
      [[a, b, b], "LISTEN and TARGET, please; see --help$"],
      [["--loud", a, b], "unknown option --loud; see --help$"],
      [["127.0.0.1", b], "Invalid address .* found no port$"],
      [[a, "unixgram:x"], "unixgram:x is no address of a stream"],
      [[a, a], "port 0 is nobody's"],
      [["-m", "0", a, b], `invalid --max-connections 0: ${number}`],
      [["-t", "x", a, b], `invalid --connect-timeout x: ${number}`],
      [["-i", "0", a, b], `invalid --idle-timeout 0: ${number}`],
      [["-d", "1.5", a, b], `invalid --drain-timeout 1.5: ${number}`],
      [["-a", "everybody", a, b], ".*everybody"],
      [["--allow=", a, b], "--allow needs a value; see --help$"],
      [["-a", "127.0.0.1,", a, b], 'Invalid entry ""'],
      [["-m", "1", "-m", "2", a, b], "--max-connections once, please$"],
      [["-a", "::1", "unix:@x", b], "--allow is for HOST:PORT"],
      [[formatAddr(taken.addr), b], "Cannot listen .*EADDRINUSE"],
      [["unix:nobody/x.sock", b], ".*Requires .* access"],
    ] as const
  ) {
    assertOneLine(
      await runProgram("port_forward", ...args),
      new RegExp(`^error: ${line}`, "m"),
    );
  }
  const [command, ...rest] = commandOf("port_forward", ["--allow-read"]);
  await using program = new Program(command!, [...rest, a, b]);
  assertOneLine(
    await program.ended(),
    /^error: .*Requires net access.* --allow-net/,
  );
});
