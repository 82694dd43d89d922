/** Services and clients that speak protocols of their own: memcached, curl, logger, and those who notify a service manager. */

import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import { IncompleteReadError } from "../../errors.ts";
import { BufferedReader, writeLine } from "../../framing.ts";
import * as libc from "../../libc/mod.ts";
import { serve, type Server } from "../../serve.ts";
import { connectTcp, listenTcp } from "../../tcp.ts";
import type { StreamConn, StreamListener } from "../../types.ts";
import { listenUnix } from "../../unix.ts";
import { pattern, text, utf8 } from "../_bytes.ts";
import { hasAbstract, hasLibc, hasUnix, tempPath } from "../_pairs.ts";
import { assertSame, concat } from "./_checksum.ts";
import {
  type DatagramEnd,
  type DatagramPlace,
  udpFaces,
  unixDatagramFaces,
} from "./_faces.ts";
import { commandPath, type Service, startService } from "./_peers.ts";
import { Tool } from "./_tool.ts";

const hostname = "127.0.0.1";

Deno.test("a command that is missing is an error with its package", async () => {
  await using temp = await tempPath();
  const packages = [
    ["curl", "curl"],
    ["dnsmasq", "dnsmasq-base"],
    ["logger", "bsdutils"],
    ["memcached", "memcached"],
    ["nc.openbsd", "netcat-openbsd"],
    ["ncat", "ncat"],
    ["nginx", "nginx-light"],
    ["python3", "python3"],
    ["redis-benchmark", "redis-tools"],
    ["redis-server", "redis-server"],
    ["sha256sum", "coreutils"],
    ["socat", "socat"],
  ] as const;
  for (const [command, package_] of packages) {
    assertThrows(
      () => commandPath(command, [temp.path]),
      Error,
      `${command} is missing: apt-get install ${package_}`,
    );
  }
  assertThrows(
    () => commandPath("no-such-command"),
    Error,
    "no-such-command is missing, and no package of it is known",
  );
  assertThrows(() => new Tool("no-such-command", []), Error, "is missing");
});

Deno.test("a command is an executable file", async () => {
  await using temp = await tempPath();
  const folder = `${temp.path}.d`;
  await Deno.mkdir(`${folder}/logger`, { recursive: true });
  await Deno.writeTextFile(`${folder}/curl`, "", { mode: 0o644 });
  await Deno.writeTextFile(`${folder}/socat`, "", { mode: 0o755 });
  for (const command of ["logger", "curl"]) {
    assertThrows(() => commandPath(command, [folder]), Error, "is missing");
  }
  assertEquals(commandPath("socat", [folder]), `${folder}/socat`);
});

// memcached's protocol over UDP: a header of 8 bytes, then what goes over TCP

/** No item is larger than 1 MiB (-I), and no answer's datagram than 1,400 bytes; a request has but one. */
const startMemcached = (): Promise<Service> =>
  startService(
    "memcached",
    // Without -U it has no UDP at all. Only root may, and must, say who else it is to be.
    (port) => [
      ...["-l", hostname, "-p", `${port}`, "-U", `${port}`],
      ...["-u", "nobody", "-t", "1"],
    ],
    async (port) => (await connectTcp({ hostname, port })).close(),
  );

/** A request's datagram. */
function request(id: number, command: string): Uint8Array {
  const header = new Uint8Array(8);
  const view = new DataView(header.buffer);
  view.setUint16(0, id);
  view.setUint16(4, 1);
  return concat([header, utf8(`${command}\r\n`)]);
}

/** An answer, and of how many datagrams it is. */
interface Answer {
  readonly body: Uint8Array;
  readonly datagrams: number;
}

/** Receives the answers to requests, whose datagrams come in any order. */
async function answers(
  socket: DatagramEnd,
  peer: DatagramPlace,
  ids: readonly number[],
): Promise<Map<number, Answer>> {
  const parts = new Map(ids.map((id) => [id, [] as Uint8Array[]]));
  const done = new Map<number, Answer>();
  while (done.size < ids.length) {
    const { data, from } = await socket.receive();
    assertEquals(from, peer);
    assert(data.length > 8 && data.length <= 1400, `${data.length}`);
    const view = new DataView(data.buffer, data.byteOffset);
    const [id, sequence, total, reserved] = [0, 2, 4, 6].map((at) =>
      view.getUint16(at)
    ) as [number, number, number, number];
    const pieces = parts.get(id)!;
    assertEquals([reserved, pieces[sequence]], [0, undefined]);
    assert(sequence < total);
    pieces[sequence] = data.slice(8);
    // Holes of an array are not counted.
    if (Object.keys(pieces).length < total) continue;
    done.set(id, { body: concat(pieces), datagrams: total });
  }
  return done;
}

/** Keeps a value, over TCP. */
async function set(
  { port }: Service,
  key: string,
  value: Uint8Array,
): Promise<string | null> {
  using conn = await connectTcp({ hostname, port });
  const reader = new BufferedReader(conn);
  await conn.writeAll([
    utf8(`set ${key} 0 0 ${value.length}\r\n`),
    value,
    utf8("\r\n"),
  ]);
  return await reader.readLine();
}

/** What memcached says to a `get`. */
const valueOf = (key: string, value: Uint8Array): Uint8Array =>
  concat([
    utf8(`VALUE ${key} 0 ${value.length}\r\n`),
    value,
    utf8("\r\nEND\r\n"),
  ]);

for (const face of udpFaces) {
  const test = (
    name: string,
    fn: (
      memcached: Service,
      socket: DatagramEnd,
      peer: DatagramPlace,
    ) => Promise<void>,
  ) =>
    Deno.test({
      name: `${face.name}: memcached ${name}`,
      ignore: face.ignore,
      sanitizeOps: face.sanitizeOps,
      async fn() {
        await using memcached = await startMemcached();
        const { port } = memcached;
        const peer: DatagramPlace = { transport: "udp", hostname, port };
        using socket = await face.talk(peer);
        await fn(memcached, socket, peer);
      },
    });

  test(
    "gives over UDP what was set over TCP",
    async (memcached, socket, peer) => {
      const get = async (id: number, key: string) => {
        await socket.send(request(id, `get ${key}`));
        return (await answers(socket, peer, [id])).get(id)!;
      };
      assertEquals(await set(memcached, "short", utf8("word")), "STORED");
      assertEquals(await get(0xfffe, "short"), {
        body: valueOf("short", utf8("word")),
        datagrams: 1,
      });
      assertEquals(await get(0, "nobody"), {
        body: utf8("END\r\n"),
        datagrams: 1,
      });
      // The largest answer that one datagram has, and the smallest of two.
      for (const [rest, datagrams] of [[0, 1], [1, 2]] as const) {
        const room = 1392 - valueOf("edge", new Uint8Array(1000)).length + 1000;
        const value = pattern(room + rest);
        assertEquals(await set(memcached, "edge", value), "STORED");
        assertEquals(await get(7, "edge"), {
          body: valueOf("edge", value),
          datagrams,
        });
      }
    },
  );

  test(
    "answers with as many datagrams as a value needs",
    async (memcached, socket, peer) => {
      const value = pattern(100 * 1024, 7);
      assertEquals(await set(memcached, "long", value), "STORED");
      const body = valueOf("long", value);
      for (const id of [1, 0x1234]) {
        await socket.send(request(id, "get long"));
        const answer = (await answers(socket, peer, [id])).get(id)!;
        assertEquals(answer.datagrams, Math.ceil(body.length / 1392));
        await assertSame(answer.body, body, "the value");
      }
    },
  );

  test(
    "answers requests that are all on their way",
    async (memcached, socket, peer) => {
      const ids = [5, 4, 0xffff, 256, 1];
      for (const id of ids) {
        const value = pattern(1000 + id % 5000, id);
        assertEquals(await set(memcached, `key-${id}`, value), "STORED");
      }
      for (const id of ids) await socket.send(request(id, `get key-${id}`));
      const all = await answers(socket, peer, ids);
      for (const id of ids) {
        const value = pattern(1000 + id % 5000, id);
        assertEquals(all.get(id)!.body, valueOf(`key-${id}`, value));
      }
      // What was set over UDP is there for TCP.
      await socket.send(request(9, "set udp 5 0 3\r\nabc"));
      const [stored] = [...(await answers(socket, peer, [9])).values()];
      assertEquals(text(stored!.body), "STORED\r\n");
      using conn = await connectTcp({ hostname, port: memcached.port });
      await writeLine(conn, "get udp", { end: "\r\n" });
      const reader = new BufferedReader(conn);
      for (const line of ["VALUE udp 5 3", "abc", "END"]) {
        assertEquals(await reader.readLine(), line);
      }
    },
  );
}

// HTTP by hand, and curl

/** A request as it came. */
interface Request {
  readonly start: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
}

/** Reads a request; `null` where none begins any more. */
async function readRequest(
  conn: StreamConn,
  reader: BufferedReader,
): Promise<Request | null> {
  const start = await reader.readLine({ limit: 1000 });
  if (start === null) return null;
  const headers = new Map<string, string>();
  for await (const line of reader.lines({ limit: 1000 })) {
    if (line === "") break;
    const [name, value] = line.split(": ", 2);
    headers.set(name!.toLowerCase(), value!);
  }
  if (headers.get("expect") === "100-continue") {
    await conn.writeAll(utf8("HTTP/1.1 100 Continue\r\n\r\n"));
  }
  const length = Number(headers.get("content-length") ?? 0);
  return { start, headers, body: await reader.readExact(length) };
}

const BODY = pattern(2 ** 20, 8);

/** What a request is answered with: a body that the connection's end ends, or its own, with its length. */
async function answer(
  conn: StreamConn,
  { start, body }: Request,
): Promise<"more" | "last"> {
  if (start.startsWith("GET /big ")) {
    await conn.writeAll([utf8("HTTP/1.0 200 OK\r\n\r\n"), BODY]);
    return "last";
  }
  const reply = start.startsWith("POST ") ? body : utf8(start);
  await conn.writeAll([
    utf8(`HTTP/1.1 200 OK\r\nContent-Length: ${reply.length}\r\n\r\n`),
    reply,
  ]);
  return "more";
}

/** A way to serve curl on a Unix socket. */
interface HttpKind {
  readonly name: string;
  readonly ignore: boolean;
  readonly sanitizeOps: boolean;
  readonly isAbstract: boolean;
  readonly listen: (path: string) => Promise<StreamListener>;
}

const httpKinds: readonly HttpKind[] = [
  ...[false, true].map((isAbstract): HttpKind => ({
    name: `core unix ${isAbstract ? "abstract" : "path"}`,
    ignore: isAbstract ? !hasAbstract : !hasUnix,
    sanitizeOps: true,
    isAbstract,
    listen: (path) => listenUnix({ path }),
  })),
  {
    name: "libc toListener() unix path",
    ignore: !hasLibc,
    sanitizeOps: false,
    isAbstract: false,
    listen: (path) => {
      const server = libc.create_server(path, { family: libc.AF_UNIX });
      return Promise.resolve(libc.toListener(server));
    },
  },
];

/** What a test of curl has: the requests that came, by their connections, and curl itself. */
interface Http {
  readonly requests: Request[][];
  readonly curl: (...args: string[]) => Tool;
}

for (const kind of httpKinds) {
  const test = (name: string, fn: (http: Http) => Promise<void>) =>
    Deno.test({
      name: `${kind.name}: curl ${name}`,
      ignore: kind.ignore,
      sanitizeOps: kind.sanitizeOps,
      async fn() {
        await using temp = await tempPath();
        const requests: Request[][] = [];
        const errors: unknown[] = [];
        const path = kind.isAbstract ? `\0${temp.path}` : temp.path;
        const listener = await kind.listen(path);
        await using server: Server = serve(listener, async (conn) => {
          const reader = new BufferedReader(conn);
          const mine: Request[] = [];
          requests.push(mine);
          for (;;) {
            const request = await readRequest(conn, reader);
            if (request === null) return;
            mine.push(request);
            if (await answer(conn, request) === "last") return;
          }
        }, { onError: (error) => errors.push(error) });
        const option = kind.isAbstract
          ? "--abstract-unix-socket"
          : "--unix-socket";
        await fn({
          requests,
          curl: (...args) =>
            new Tool("curl", [
              // The first of them: no settings of the user's.
              ...["-q", "--silent", "--show-error", "--fail"],
              ...["--noproxy", "*", option, temp.path, ...args],
            ]),
        });
        await server.shutdown();
        assertEquals(errors, []);
      },
    });

  test("gets a body that the end ends", async ({ requests, curl }) => {
    await using tool = curl("--http1.0", "http://host.test/big");
    await assertSame(await tool.rest(), BODY, "what curl got");
    await tool.endsWell();
    const [[request]] = requests as [[Request]];
    assertEquals(request.start, "GET /big HTTP/1.0");
    assertEquals(request.headers.get("host"), "host.test");
    assertEquals([requests.length, requests[0]!.length], [1, 1]);
  });

  test("posts a body of its length, and gets it back", async ({ requests, curl }) => {
    for (const expect of ["Expect:", "Expect: 100-continue"]) {
      await using tool = curl(
        ...["--header", expect, "--data-binary", "@-"],
        "http://host.test/echo",
      );
      await tool.write(BODY);
      await tool.end();
      await assertSame(await tool.rest(), BODY, "what curl got back");
      await tool.endsWell();
    }
    for (const [i, [request]] of requests.entries()) {
      await assertSame(request!.body, BODY, "what came");
      const { headers } = request!;
      assertEquals(headers.get("content-length"), `${BODY.length}`);
      assertEquals(headers.has("expect"), i === 1);
    }
    assertEquals(requests.length, 2);
  });

  // Abstract names are not among those for which curl keeps connections.
  if (kind.isAbstract) continue;

  test("asks again over the same connection", async ({ requests, curl }) => {
    const url = "http://host.test/page[1-5]";
    await using tool = curl("--write-out", " %{num_connects}\n", url);
    assertEquals(
      text(await tool.rest()),
      [1, 2, 3, 4, 5].map((i) => `GET /page${i} HTTP/1.1 ${i === 1 ? 1 : 0}\n`)
        .join(""),
    );
    await tool.endsWell();
    assertEquals(requests.map(({ length }) => length), [5]);
  });
}

// logger's messages

/** A priority, as number: facility daemon (3), severity warning (4). */
const PRIORITY = `<${3 * 8 + 4}>`;
const FLAGS = ["-p", "daemon.warning", "-t", "tagged", "--id=42"];

/** Formats of syslog: the flags, and what the message `hello wörld` is by them. */
const FORMATS: readonly [name: string, flags: string[], message: RegExp][] = [
  [
    "of glibc",
    [],
    /^<28>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d tagged\[42\]: hello wörld$/,
  ],
  [
    "of RFC 3164",
    ["--rfc3164"],
    /^<28>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [^\s:]+ tagged\[42\]: hello wörld$/,
  ],
  [
    "of RFC 5424",
    [
      ...["--rfc5424=notq", "--msgid", "ID47"],
      ...["--sd-id", "example@32473", "--sd-param", 'key="value"'],
    ],
    /^<28>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d) \S+ tagged 42 ID47 \[example@32473 key="value"\] hello wörld$/,
  ],
];

for (const face of unixDatagramFaces) {
  for (const [format, flags, message] of FORMATS) {
    Deno.test({
      name: `${face.name} unix datagrams: logger in the format ${format}`,
      ignore: face.ignore,
      sanitizeOps: face.sanitizeOps,
      async fn() {
        await using temp = await tempPath();
        using socket = await face.bind({
          transport: "unixpacket",
          path: temp.path,
        });
        const args = ["--socket", temp.path, ...FLAGS, ...flags];
        await using tool = new Tool("logger", [...args, "hello wörld"]);
        const { data, from } = await socket.receive();
        assertMatch(text(data), message);
        assertEquals(from, { transport: "unixpacket", path: null });
        await tool.endsWell();
        // Lines of its input are messages of their own, in their order.
        await using lines = new Tool("logger", args);
        for (let i = 0; i < 50; i++) {
          await lines.write(utf8(`line ${i} ${"x".repeat(i * 10)}\n`));
        }
        await lines.end();
        for (let i = 0; i < 50; i++) {
          const { data } = await socket.receive();
          assertEquals(text(data.subarray(0, 4)), PRIORITY);
          assert(text(data).endsWith(` line ${i} ${"x".repeat(i * 10)}`));
        }
        await lines.endsWell();
      },
    });
  }
}

for (const face of udpFaces) {
  Deno.test({
    name: `${face.name}: logger over UDP`,
    ignore: face.ignore,
    sanitizeOps: face.sanitizeOps,
    async fn() {
      using socket = await face.bind({ transport: "udp", hostname, port: 0 });
      const { port } = socket.addr as { port: number };
      for (const [, flags, message] of FORMATS.slice(1)) {
        await using tool = new Tool("logger", [
          ...["--server", hostname, "--port", `${port}`, "--udp"],
          ...[...FLAGS, ...flags, "hello wörld"],
        ]);
        const { data, from } = await socket.receive();
        assertMatch(text(data), message);
        assertEquals((from as { hostname: string }).hostname, hostname);
        assertNotEquals((from as { port: number }).port, port);
        await tool.endsWell();
      }
    },
  });
}

/** Where logger writes streams to. */
const streamKinds: readonly [
  name: string,
  ignore: boolean,
  sanitizeOps: boolean,
  listen: (path: string) => Promise<StreamListener>,
  flags: (listener: StreamListener) => string[],
][] = [
  [
    "core tcp",
    false,
    true,
    () => listenTcp({ hostname }),
    ({ addr }) => [
      ...["--server", hostname, "--port"],
      `${(addr as { port: number }).port}`,
    ],
  ],
  [
    "core unix path",
    !hasUnix,
    true,
    (path) => listenUnix({ path }),
    ({ addr }) => ["--socket", (addr as { path: string }).path],
  ],
  [
    "libc toListener() unix path",
    !hasLibc,
    false,
    (path) =>
      Promise.resolve(
        libc.toListener(libc.create_server(path, { family: libc.AF_UNIX })),
      ),
    ({ addr }) => ["--socket", (addr as { path: string }).path],
  ],
];

/** Messages by their length in decimal digits, or by the ends of their lines. */
async function messagesOf(
  conn: StreamConn,
  isCounted: boolean,
): Promise<string[]> {
  const reader = new BufferedReader(conn);
  const messages: string[] = [];
  if (!isCounted) {
    for await (const line of reader.lines()) messages.push(line);
    return messages;
  }
  for (;;) {
    try {
      const digits = await reader.readUntil(" ", { limit: 10 });
      const length = Number(text(digits));
      messages.push(text(await reader.readExact(length)));
    } catch (error) {
      if (!(error instanceof IncompleteReadError)) throw error;
      assertEquals(error.partial.length, 0, "half a message");
      return messages;
    }
  }
}

for (const [kind, ignore, sanitizeOps, listen, where] of streamKinds) {
  for (const isCounted of [false, true]) {
    const framing = isCounted ? "counted" : "in lines";
    Deno.test({
      name: `${kind}: logger's stream of messages, ${framing}`,
      ignore,
      sanitizeOps,
      async fn() {
        await using temp = await tempPath();
        for (const [, flags, message] of FORMATS.slice(1)) {
          await using listener = await listen(`${temp.path}${flags.length}`);
          await using tool = new Tool("logger", [
            ...[...where(listener), "--tcp", ...FLAGS, ...flags],
            ...(isCounted ? ["--octet-count"] : []),
          ]);
          await tool.write(utf8("hello wörld\n".repeat(100)));
          await tool.end();
          using conn = await tool.awaits(listener.accept());
          const messages = await messagesOf(conn, isCounted);
          assertEquals(messages.length, 100);
          for (const each of messages) assertMatch(each, message);
          await tool.endsWell();
        }
      },
    });
  }
}

// The notify protocol: datagrams of lines `NAME=value`, to the socket that NOTIFY_SOCKET names

/** As services do it that link to no library: by the name from the environment, @ for an abstract one. */
const NOTIFY = `
import os, socket
name = os.environ["NOTIFY_SOCKET"]
if name.startswith("@"):
    name = "\\0" + name[1:]
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
    sock.connect(name)
    sock.sendall(b"READY=1\\nSTATUS=ready, \\xc3\\xbcber alles\\nMAINPID=%d" % os.getpid())
    sock.sendall(b"WATCHDOG=1")
    sock.sendall(b"STOPPING=1\\n")
`;

/** The assignments of a message. */
const assignments = (data: Uint8Array): Record<string, string> =>
  Object.fromEntries(
    text(data).split("\n").filter((line) => line !== "").map((line) => {
      const at = line.indexOf("=");
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );

for (const face of unixDatagramFaces) {
  for (const isAbstract of [false, true]) {
    const name = `${face.name} unix datagrams, ${
      isAbstract ? "abstract" : "path"
    }`;
    const rest = {
      ignore: face.ignore || isAbstract && !hasAbstract,
      sanitizeOps: face.sanitizeOps,
    };
    const bind = (path: string) =>
      face.bind({
        transport: "unixpacket",
        path: isAbstract ? `\0${path}` : path,
      });
    Deno.test({
      ...rest,
      name: `${name}: a service notifies that it is ready`,
      async fn() {
        await using temp = await tempPath();
        using socket = await bind(temp.path);
        await using tool = new Tool("python3", ["-c", NOTIFY], {
          env: { NOTIFY_SOCKET: `${isAbstract ? "@" : ""}${temp.path}` },
        });
        for (
          const expected of [
            {
              READY: "1",
              STATUS: "ready, über alles",
              MAINPID: `${tool.pid}`,
            },
            { WATCHDOG: "1" },
            { STOPPING: "1" },
          ]
        ) {
          const { data, from } = await socket.receive();
          assertEquals(assignments(data), expected);
          assertEquals(from, { transport: "unixpacket", path: null });
        }
        await tool.endsWell();
      },
    });
    Deno.test({
      ...rest,
      name: `${name}: socat notifies for a script`,
      async fn() {
        await using temp = await tempPath();
        using socket = await bind(temp.path);
        const kind = isAbstract ? "ABSTRACT" : "UNIX";
        for (const message of ["READY=1", "STATUS=50 % done\nX_OWN="]) {
          await using tool = new Tool("socat", [
            ...["-u", "STDIN"],
            `${kind}-SENDTO:${temp.path}`,
          ]);
          await tool.write(utf8(message));
          await tool.end();
          const { data } = await socket.receive();
          assertEquals(text(data), message);
          await tool.endsWell();
        }
      },
    });
  }
}
