/** The programs that newcomers run first, as they run them. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { canListen, hasAbstract, hasUnix, tempPath } from "./_pairs.ts";
import { type Ended, Program, startPython } from "./_process.ts";

const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname);

function start(flags: string[], name: string, ...args: string[]): Program {
  return new Program(Deno.execPath(), [
    "run",
    "--no-prompt",
    "--quiet",
    ...flags,
    `${ROOT}examples/${name}.ts`,
    ...args,
  ], ROOT);
}

async function run(
  flags: string[],
  name: string,
  ...args: string[]
): Promise<Ended> {
  await using program = start(flags, name, ...args);
  return await program.ended();
}

/** A server on a free port or a path, and where it listens. */
async function serve(flags: string[], ...args: string[]) {
  const server = start(flags, "echo_server", ...args);
  const line = await server.line();
  assertMatch(line, /^listening on /);
  return { server, address: line.slice("listening on ".length) };
}

/** One clear line, exit code 1, no stack. */
function assertOneLine({ code, stdout, stderr }: Ended, line: RegExp): void {
  assertEquals(stdout, "");
  assertMatch(stderr, line);
  assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
  assertEquals(code, 1);
}

const kinds = [
  { transport: "tcp", address: "127.0.0.1:0", has: true },
  { transport: "tcp6", address: "[::1]:0", has: canListen("::1") },
  { transport: "unix", address: undefined, has: hasUnix },
  {
    transport: "unix",
    address: `@${crypto.randomUUID()}`,
    has: hasAbstract,
  },
];

for (const { transport, address, has } of kinds) {
  Deno.test({
    name: `echo over ${transport} ${address ?? "on a path"}`,
    ignore: !has,
    async fn() {
      await using temp = await tempPath();
      const flags = transport === "unix" && address === undefined
        ? [
          "--allow-net",
          `--allow-read=${temp.path}`,
          `--allow-write=${temp.path}`,
        ]
        : ["--allow-net"];
      const { server, address: real } = await serve(
        flags,
        transport,
        address ?? temp.path,
      );
      await using _ = server;
      const words = await run(
        flags,
        "echo_client",
        transport,
        real,
        "hello",
        "hello again",
      );
      assertEquals(words, {
        code: 0,
        signal: null,
        stdout: "hello\nhello again\n",
        stderr: "",
      });
      await using client = start(flags, "echo_client", transport, real);
      await client.send("a line");
      assertEquals(await client.line(), "a line");
      await client.send("another line");
      assertEquals(await client.line(), "another line");
      const { code } = await client.ended();
      assertEquals(code, 0);
      if (Deno.build.os !== "windows") {
        server.kill("SIGTERM");
        assertEquals((await server.ended()).code, 0);
        if (transport === "unix" && address === undefined) {
          assertEquals(
            [...Deno.readDirSync(temp.path.slice(0, -2))],
            [],
            "the socket's file is gone",
          );
        }
      }
    },
  });
}

Deno.test("a foreign client gets its echo, and every byte of it", async () => {
  const { server, address } = await serve(
    ["--allow-net"],
    "tcp",
    "127.0.0.1:0",
  );
  await using _ = server;
  await using peer = await startPython(
    `
import socket, sys, threading
data = bytes(range(256)) * 20000
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def send():
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
got = b""
while chunk := s.recv(65536): got += chunk
print(got == data)
`,
    address.slice(address.lastIndexOf(":") + 1),
  );
  assertEquals(await peer.line(), "True");
});

Deno.test("--help says how, for everybody", async () => {
  for (const name of ["echo_server", "echo_client"]) {
    for (const flag of ["--help", "-h"]) {
      const { code, stdout, stderr } = await run([], name, flag);
      assertMatch(stdout, /^Echo .*\n\nUsage: echo_/);
      assertEquals([code, stderr], [0, ""]);
    }
  }
});

Deno.test("what goes wrong is one clear line", async () => {
  const net = ["--allow-net"];
  const { server, address } = await serve(net, "tcp", "127.0.0.1:0");
  await using _ = server;
  const used = address.replace("tcp://", "");
  assertOneLine(
    await run(net, "echo_server", "tcp", used),
    /^error: Cannot listen on tcp 127\.0\.0\.1:\d+: Address already in use \(EADDRINUSE\)$/m,
  );
  server.kill("SIGKILL");
  await server.ended();
  assertOneLine(
    await run(net, "echo_client", "tcp", used, "hello"),
    /^error: Cannot connect to tcp 127\.0\.0\.1:\d+: Connection refused \(ECONNREFUSED\)$/m,
  );
  for (
    const [args, line] of [
      [["tcp", "127.0.0.1:http"], /^error: Invalid port in/],
      [["tcp", "127.0.0.1"], /^error: Invalid address .* no port/],
      [["tcp", "a b:80"], /^error: Invalid host/],
      [["tcp", "unix:x"], /^error: Invalid address: .* not one of TCP/],
      [["tcp6", "127.0.0.1:80"], /^error: Invalid address: .* not one of IPv6/],
      [["unix", "@"], /^error: Invalid path/],
      [["unix", "x".repeat(200)], /^error: Invalid path: expected at most/],
      [["udp9"], /^error: unknown transport udp9/],
      [["--loud"], /^error: unknown option --loud/],
    ] as const
  ) {
    for (const name of ["echo_server", "echo_client"]) {
      assertOneLine(await run(net, name, ...args), line);
    }
  }
  assertOneLine(
    await run([], "echo_server"),
    /^error: Cannot listen on tcp .*: Requires net access/,
  );
  assertOneLine(
    await run(net, "echo_client", "tcp", "127.0.0.1:0"),
    /^error: Invalid port: expected an integer from 1/,
  );
});

Deno.test({
  name: "the demo shows every transport, with the grants of its task",
  ignore: !hasUnix,
  async fn() {
    await using temp = await tempPath();
    const { code, stdout, stderr } = await run(
      [
        "--allow-net",
        `--allow-read=${temp.path}`,
        `--allow-write=${temp.path}`,
      ],
      "demo",
      temp.path,
    );
    assertEquals([code, stderr], [0, ""]);
    const rows = stdout.trimEnd().split("\n");
    assertMatch(rows[0]!, /^transport +address +bytes +round trip$/);
    const shown = rows.slice(1).map((row) => row.split(/ {2,}/));
    for (const [, address, bytes, trip] of shown) {
      assertMatch(address!, /^(tcp:\/\/(127\.0\.0\.1|\[::1\]):\d+|unix:\/.+)$/);
      assertEquals(bytes, "8,401,408");
      assertMatch(trip!, /^[1-9]\d* µs$/);
    }
    const transports = shown.map(([transport]) => transport);
    assert(transports.includes("tcp") && transports.includes("unix"));
    assertEquals(transports.includes("tcp6"), canListen("::1"));
  },
});
