/** The programs that newcomers run first, as they run them. */

import { assertEquals, assertMatch } from "@std/assert";
import { readAll } from "../io.ts";
import { listenTcp } from "../tcp.ts";
import { bindUdp } from "../udp.ts";
import { text, utf8 } from "./_bytes.ts";
import { canListen, hasAbstract, hasUnix, tempPath } from "./_pairs.ts";
import { type Ended, Program, startPython, unstable } from "./_process.ts";
import { assertOneLine, ROOT } from "./_programs.ts";

function start(flags: string[], name: string, ...args: string[]): Program {
  return new Program(Deno.execPath(), [
    "run",
    "--no-prompt",
    "--quiet",
    ...(unstable ? ["--unstable-net"] : []),
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

const kinds = [
  { transport: "tcp", address: "127.0.0.1:0", has: true },
  { transport: "tcp6", address: "[::1]:0", has: canListen("::1") },
  { transport: "udp", address: "127.0.0.1:0", has: true },
  { transport: "udp6", address: "[::1]:0", has: canListen("::1") },
  { transport: "unix", address: undefined, has: hasUnix },
  {
    transport: "unix",
    address: `@${crypto.randomUUID()}`,
    has: hasAbstract,
  },
  {
    transport: "unixgram",
    address: `@${crypto.randomUUID()}`,
    has: hasAbstract && unstable,
  },
  { transport: "unixgram", address: undefined, has: hasUnix && unstable },
];

for (const { transport, address, has } of kinds) {
  Deno.test({
    name: `echo over ${transport} ${address ?? "on a path"}`,
    ignore: !has,
    async fn() {
      await using temp = await tempPath();
      const isFile = transport.startsWith("unix") && address === undefined;
      const flags = isFile
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
        if (isFile) {
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
      for (const transport of ["tcp", "udp6", "unixgram"]) {
        assertMatch(stdout, new RegExp(transport));
      }
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
      [["udp", "tcp://[::1]:80"], /^error: Invalid address: .* not one of UDP/],
      [["udp6", "127.0.0.1:80"], /^error: Invalid address: .* not one of IPv6/],
      [["unixgram", "@"], /^error: Invalid path/],
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
    await run(net, "echo_server", "tcp", "127.0.0.1:0", "more"),
    /^error: one ADDRESS, please$/m,
  );
  assertOneLine(
    await run([], "echo_server"),
    /^error: Cannot listen on tcp .*: Requires net access/,
  );
  assertOneLine(
    await run(net, "echo_client", "tcp", "127.0.0.1:0"),
    /^error: Invalid port: expected an integer from 1/,
  );
});

/** What the demo must show: the transports, and an address of each. */
function assertDemo({ code, stdout, stderr }: Ended, unix: RegExp): void {
  assertEquals([code, stderr], [0, ""]);
  const rows = stdout.trimEnd().split("\n");
  const head = rows.findIndex((row) => row.startsWith("transport"));
  assertMatch(rows[head]!, /^transport +address +bytes +round trip$/);
  const shown = rows.slice(head + 1).map((row) => row.split(/ {2,}/));
  for (const [transport, address, bytes, trip] of shown) {
    assertMatch(
      address!,
      transport!.startsWith("unix")
        ? unix
        : /^(tcp|udp):\/\/(127\.0\.0\.1|\[::1\]):\d+$/,
    );
    assertEquals(bytes, "8,401,408");
    assertMatch(trip!, /^[1-9]\d* µs$/);
  }
  const six = canListen("::1");
  assertEquals(shown.map(([transport]) => transport), [
    "tcp",
    ...(six ? ["tcp6"] : []),
    "unix",
    "udp",
    ...(six ? ["udp6"] : []),
    ...(unstable ? ["unixgram"] : []),
  ]);
  assertEquals(
    rows.slice(0, head).some((row) => row.includes("--unstable-net")),
    !unstable,
  );
}

Deno.test({
  name: "the demo shows every transport, with the grants of its task",
  ignore: !hasUnix,
  async fn() {
    await using temp = await tempPath();
    const paths = `${temp.path},${temp.path}.client`;
    assertDemo(
      await run(
        ["--allow-net", `--allow-read=${paths}`, `--allow-write=${paths}`],
        "demo",
        temp.path,
      ),
      /^unix(gram)?:\/.+$/,
    );
  },
});

Deno.test({
  name: "the demo shows every transport with --allow-net alone",
  ignore: !hasAbstract,
  async fn() {
    assertDemo(await run(["--allow-net"], "demo"), /^unix(gram)?:@demo-.+$/);
  },
});

Deno.test("the demo says how, and what is wrong is one clear line", async () => {
  const { code, stdout, stderr } = await run([], "demo", "--help");
  assertMatch(stdout, /^Demo: .*\n\nUsage: demo\.ts \[PATH\]\n/);
  assertEquals([code, stderr], [0, ""]);
  for (
    const [args, line] of [
      [["a", "b"], /^error: one PATH, please$/m],
      [["--loud"], /^error: unknown option --loud/],
      [[], /^error: Cannot listen on tcp 127\.0\.0\.1:0: Requires net access/],
    ] as const
  ) assertOneLine(await run([], "demo", ...args), line);
});

Deno.test("an echo of a stream that does not come, or in part, is one clear line", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  for (const part of ["", "hel"]) {
    const running = run(
      ["--allow-net"],
      "echo_client",
      "tcp",
      `127.0.0.1:${listener.addr.port}`,
      "hello",
    );
    const conn = await listener.accept();
    await readAll(conn);
    await conn.writeAll(utf8(part));
    await conn.closeGracefully();
    const { code, stdout, stderr } = await running;
    assertEquals(
      { code, stdout, stderr },
      {
        code: 1,
        stdout: part,
        stderr: `error: ${part.length} of 6 bytes came back\n`,
      },
    );
  }
});

Deno.test("an echo that does not come is one clear line", async () => {
  await using silent = await bindUdp({ hostname: "127.0.0.1" });
  assertOneLine(
    await run(
      ["--allow-net"],
      "echo_client",
      "udp",
      `127.0.0.1:${silent.addr.port}`,
      "hello",
    ),
    /^error: no echo after 3 tries$/m,
  );
  assertEquals(text((await silent.receive()).data), "hello\n");
});

Deno.test({
  name: "unixgram without the flag is one clear line",
  ignore: unstable,
  async fn() {
    for (const name of ["echo_server", "echo_client"]) {
      assertOneLine(
        await run(["--allow-net"], name, "unixgram", "@x"),
        /^error: .*--unstable-net/,
      );
    }
  },
});
