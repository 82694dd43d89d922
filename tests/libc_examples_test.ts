/** The programs that use the system's C library, as they are run: with the grants that they say. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { listenTcp } from "../tcp.ts";
import { canListen, tempPath } from "./_pairs.ts";
import { type Ended, Program, startPython } from "./_process.ts";
import {
  assertOneLine,
  commandOf,
  commandsOf,
  linesOf,
  ROOT,
  runProgram as run,
  startProgram as start,
} from "./_programs.ts";

const isLinux = Deno.build.os === "linux";

const NAMES = ["ping", "seqpacket_rpc", "tcp_info_monitor"] as const;

/** A reply may take as long as a busy machine needs. */
const PATIENT = ["--timeout", "60000"];

Deno.test("each program says its grants: the net, the C library, its paths", () => {
  for (const name of NAMES) {
    const commands = commandsOf(name);
    assert(commands.length >= 2, name);
    for (const flags of commands) {
      assertEquals(flags.slice(0, 2), ["--allow-net", "--allow-ffi"], name);
    }
  }
  for (const name of ["ping", "tcp_info_monitor"] as const) {
    assert(commandsOf(name).every((flags) => flags.length === 2), name);
  }
  assertEquals(commandsOf("seqpacket_rpc").map((flags) => flags.slice(2)), [
    ["--allow-read=rpc.sock", "--allow-write=rpc.sock"],
    ["--allow-read=rpc.sock", "--allow-write=rpc.sock"],
    [],
    [],
  ]);
});

Deno.test({
  name: "--help says how, and what is wrong is one clear line",
  ignore: !isLinux,
  async fn() {
    for (const name of NAMES) {
      const { code, stdout, stderr } = await run(name, "--help");
      assertEquals([code, stderr], [0, ""]);
      assertMatch(stdout, new RegExp(`\\n\\nUsage: ${name}\\.ts `));
      assertOneLine(
        await run(name, "--loud"),
        /^error: unknown option --loud; see --help$/m,
      );
    }
    const number = "expected an integer from \\d+ to \\d+$";
    for (
      const [name, args, line] of [
        ["ping", [], "one HOST, please"],
        ["ping", ["a", "b"], "one HOST, please"],
        ["ping", ["--count", "0", "::1"], `invalid --count 0: ${number}`],
        ["ping", ["-i", "0", "::1"], `invalid --interval 0: ${number}`],
        ["ping", ["-s", "65508", "::1"], `invalid --size 65508: ${number}`],
        ["ping", ["--timeout", "x", "::1"], `invalid --timeout x: ${number}`],
        ["tcp_info_monitor", ["-c", "1.5"], `invalid --count 1.5: ${number}`],
        ["tcp_info_monitor", ["--rate=-1"], `invalid --rate -1: ${number}`],
        ["tcp_info_monitor", ["127.0.0.1"], "Invalid address .* no port"],
        ["tcp_info_monitor", ["unix:x"], ".* is not TCP"],
        ["tcp_info_monitor", ["a:1", "b:1"], "one HOST:PORT, please"],
        ["seqpacket_rpc", [], "expected serve PATH, or call PATH"],
        ["seqpacket_rpc", ["listen", "@x"], "expected serve PATH, or call"],
        ["seqpacket_rpc", ["serve"], "expected serve PATH, or call PATH"],
        ["seqpacket_rpc", ["serve", "@x", "y"], "expected serve PATH, or"],
        ["seqpacket_rpc", ["call", "@x", "a", "b", "c"], "expected serve PATH"],
      ] as const
    ) {
      assertOneLine(
        await run(name, ...args),
        new RegExp(`^error: ${line}`, "m"),
      );
    }
  },
});

Deno.test({
  name: "without one of the grants each program says which one",
  ignore: !isLinux,
  async fn() {
    const args = {
      ping: ["127.0.0.1"],
      seqpacket_rpc: ["serve", "@x"],
      tcp_info_monitor: [],
    };
    for (const name of NAMES) {
      for (const kind of ["net", "ffi"]) {
        const [command, ...rest] = commandOf(name, [
          `--allow-${kind === "net" ? "ffi" : "net"}`,
        ]);
        await using program = new Program(command!, [...rest, ...args[name]]);
        assertOneLine(
          await program.ended(),
          new RegExp(
            `^error: Requires ${kind} access.* --allow-${kind}`,
            "m",
          ),
        );
      }
    }
  },
});

// Ping

/** The lines of each reply, and the statistics, of `count` probes that were all answered. */
function assertReplies(
  lines: readonly string[],
  address: string,
  count: number,
  bytes = 64,
): void {
  for (let i = 0; i < count; i++) {
    const expected = `${bytes} bytes from ${address}: icmp_seq=${
      i + 1
    } ttl=64 `;
    assertEquals(lines[i]!.slice(0, expected.length), expected);
    assertMatch(lines[i]!.slice(expected.length), /^time=\d+\.\d{3} ms$/);
  }
  assertEquals(
    [...lines.slice(count, count + 1), ...lines.slice(count + 2, count + 3)],
    ["", `${count} sent, ${count} received, 0% lost`],
  );
  assertMatch(lines[count + 1]!, /^--- .* ---$/);
  const figures = /^round trip min\/avg\/max = ([\d.]+)\/([\d.]+)\/([\d.]+) ms$/
    .exec(
      lines[count + 3]!,
    );
  assert(figures !== null, lines[count + 3]);
  const [min, avg, max] = figures.slice(1).map(Number);
  assert(min! <= avg! && avg! <= max!, figures[0]);
  assertEquals(lines.length, count + 4);
}

/** Whether python3 is given one of the two kinds of sockets: then this machine lets us ping. */
async function canPing(): Promise<boolean> {
  await using python = await startPython(`
import socket
def can(kind):
    try: socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP)
    except OSError: return False
    return True
print(can(socket.SOCK_DGRAM) or can(socket.SOCK_RAW))
`);
  return await python.line() === "True";
}

/** Runs a program in a network of its own, in which it is root; `setUp` is shell. */
function startAlone(setUp: string, command: readonly string[]): Program {
  return new Program("unshare", [
    "--user",
    "--map-root-user",
    "--net",
    "sh",
    "-ec",
    `ip link set lo up\n${setUp}\nexec "$@"`,
    "sh",
    ...command,
  ], ROOT);
}

async function runAlone(
  setUp: string,
  command: readonly string[],
): Promise<Ended> {
  await using program = startAlone(setUp, command);
  return await program.ended();
}

/** Lets everybody have ICMP datagram sockets. */
const OPEN_RANGE = "echo 0 0 > /proc/sys/net/ipv4/ping_group_range";

/** Whether there is such a thing as a set-up on this machine. */
async function canBeAlone(setUp: string): Promise<boolean> {
  try {
    return (await runAlone(setUp, ["true"])).code === 0;
  } catch (error) {
    // There is no unshare.
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** A router behind which nothing is. */
const ROUTER = `
mkfifo "$FOLDER/up"
unshare --net sh -c 'echo $$ > "$FOLDER/up"; exec sleep 600' >&- 2>&- &
router=$!
trap 'kill $router' EXIT
read inside < "$FOLDER/up"
ip link add left type veth peer name right
ip link set right netns $inside
ip addr add 10.0.0.1/24 dev left
ip link set left up
nsenter --target $inside --net sh -ec '
  ip addr add 10.0.0.2/24 dev right
  ip link set right up
  echo 1 > /proc/sys/net/ipv4/ip_forward
  ip route add unreachable 203.0.113.0/24
'
ip route add default via 10.0.0.2
# Not exec: the router ends with it.
"$@" && code=0 || code=$?
exit $code
`;

const hasICMP = isLinux && await canPing();
const hasAlone = isLinux && await canBeAlone(OPEN_RANGE);

for (
  const [host, address] of [
    ["127.0.0.1", "127.0.0.1"],
    ["127.1", "127.0.0.1"],
    ["::1", "::1"],
  ] as const
) {
  Deno.test({
    name: `ping ${host} prints round trips, and ends after --count`,
    ignore: !hasICMP || address === "::1" && !canListen("::1"),
    async fn() {
      const [head, ...lines] = linesOf(
        await run("ping", ...PATIENT, "--count", "3", "--interval", "20", host),
      );
      assertMatch(head!, /: 56 bytes of data over a (raw|datagram) socket$/);
      assert(head!.startsWith(`PING ${host} (${address}): `));
      assertReplies(lines, address, 3);
    },
  });
}

Deno.test({
  name: "ping sends as many bytes as it is told",
  ignore: !hasICMP,
  async fn() {
    for (const size of [0, 1, 4001, 65_507]) {
      const [, ...lines] = linesOf(
        await run(
          "ping",
          ...PATIENT,
          "-c",
          "2",
          "-i",
          "1",
          "-s",
          `${size}`,
          "127.0.0.1",
        ),
      );
      assertReplies(lines, "127.0.0.1", 2, size + 8);
    }
  },
});

Deno.test({
  name: "two pings at once hear each their own replies",
  ignore: !hasICMP,
  async fn() {
    const args = [...PATIENT, "-c", "50", "-i", "2", "127.0.0.1"];
    const both = await Promise.all([
      run("ping", ...args),
      run("ping", ...args),
    ]);
    for (const ended of both) {
      assertReplies(linesOf(ended).slice(1), "127.0.0.1", 50);
    }
  },
});

Deno.test({
  name: "Ctrl+C ends ping with its statistics",
  ignore: !hasICMP,
  async fn() {
    await using program = start("ping", [...PATIENT, "-i", "10", "127.0.0.1"]);
    for (let i = 0; i < 4; i++) await program.line();
    program.kill("SIGINT");
    const lines = linesOf(await program.ended());
    assertEquals(lines.at(-3), "--- 127.0.0.1 ---");
    const [, sent, received] = /^(\d+) sent, (\d+) received, 0% lost$/.exec(
      lines.at(-2)!,
    )!;
    assert(Number(sent) >= 3);
    assertEquals(sent, received);
    assertMatch(lines.at(-1)!, /^round trip min\/avg\/max = /);
  },
});

Deno.test({
  name: "ping works with the grants for one host and the C library's file",
  ignore: !hasICMP || !canOpen(libraryPath()),
  async fn() {
    const [command, ...rest] = commandOf("ping", [
      "--allow-net=127.0.0.1",
      `--allow-ffi=${libraryPath()}`,
    ]);
    const args = [...rest, ...PATIENT, "-c", "2", "-i", "20"];
    await using one = new Program(command!, [...args, "127.0.0.1"]);
    assertReplies(linesOf(await one.ended()).slice(1), "127.0.0.1", 2);
    await using other = new Program(command!, [...args, "127.0.0.2"]);
    assertOneLine(
      await other.ended(),
      /^error: Requires net access to "127\.0\.0\.2/,
    );
  },
});

/** Where Debian and its kin have the C library. */
function libraryPath(): string {
  return `/lib/${Deno.build.arch}-linux-gnu/libc.so.6`;
}

function canOpen(path: string): boolean {
  try {
    Deno.openSync(path).close();
    return true;
  } catch {
    return false;
  }
}

Deno.test({
  name: "ping says when there is no such host",
  ignore: !isLinux,
  async fn() {
    // No name has a part of 64 letters, so that nobody is asked.
    assertOneLine(
      await run("ping", "x".repeat(64)),
      /^error: unknown host x{64} \(EAI_NONAME\)$/m,
    );
  },
});

for (const host of ["127.0.0.1", "::1"]) {
  Deno.test({
    name:
      `ping ${host} over a datagram socket where it may, else over a raw one`,
    ignore: !hasAlone || host === "::1" && !canListen("::1"),
    async fn() {
      const command = [
        ...commandOf("ping"),
        ...PATIENT,
        "-c",
        "3",
        "-i",
        "20",
        host,
      ];
      for (const kind of ["datagram", "raw"]) {
        const setUp = kind === "datagram" ? OPEN_RANGE : "";
        const [head, ...lines] = linesOf(await runAlone(setUp, command));
        assertEquals(
          head,
          `PING ${host} (${host}): 56 bytes of data over a ${kind} socket`,
        );
        assertReplies(lines, host, 3);
      }
    },
  });
}

Deno.test({
  name: "ping says when it may have neither socket",
  ignore: !hasAlone,
  async fn() {
    // A network that lets nobody have the one, and a user without the capability for the other.
    await using program = new Program("unshare", [
      "--user",
      "--net",
      ...commandOf("ping"),
      "127.0.0.1",
    ]);
    assertOneLine(await program.ended(), /^error: no permission for ICMP: /);
  },
});

Deno.test({
  name: "ping tells what is not answered, and ends with 1",
  ignore: !hasAlone,
  async fn() {
    for (const range of ["", OPEN_RANGE]) {
      const { code, stdout, stderr } = await runAlone(
        `${range}\necho 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all`,
        [...commandOf("ping"), "-c", "2", "-i", "1", "-W", "100", "127.0.0.1"],
      );
      assertEquals([code, stderr], [1, ""]);
      assertEquals(stdout.split("\n").slice(1), [
        "no reply within 100 ms: icmp_seq=1",
        "no reply within 100 ms: icmp_seq=2",
        "",
        "--- 127.0.0.1 ---",
        "2 sent, 0 received, 100% lost",
        "",
      ]);
    }
  },
});

Deno.test({
  name: "Ctrl+C ends a ping that waits for a reply, which is not lost",
  ignore: !hasAlone,
  async fn() {
    await using program = startAlone(
      "echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all",
      [...commandOf("ping"), ...PATIENT, "127.0.0.1"],
    );
    await program.line();
    program.kill("SIGINT");
    const { code, stdout, stderr } = await program.ended();
    assertEquals([code, stderr], [1, ""]);
    assertEquals(stdout, "\n--- 127.0.0.1 ---\n0 sent, 0 received, 0% lost\n");
  },
});

Deno.test({
  name: "ping tells what this machine and what a router say",
  ignore: !hasAlone,
  async fn() {
    assertOneLine(
      await runAlone("ip route add unreachable 203.0.113.5", [
        ...commandOf("ping"),
        "203.0.113.5",
      ]),
      /^error: connect: No route to host \(EHOSTUNREACH\)$/m,
    );
    for (const range of ["", OPEN_RANGE]) {
      await using temp = await tempPath();
      const folder = temp.path.slice(0, temp.path.lastIndexOf("/"));
      const setUp = `${range}\nexport FOLDER=${folder}${ROUTER}`;
      const { code, stdout, stderr } = await runAlone(setUp, [
        ...commandOf("ping"),
        ...PATIENT,
        ...["-c", "1", "203.0.113.5"],
      ]);
      assertEquals(stderr, "");
      assertEquals(code, 1);
      assertEquals(stdout.split("\n").slice(1), [
        "No route to host, says 10.0.0.2: icmp_seq=1",
        "",
        "--- 203.0.113.5 ---",
        "1 sent, 0 received, 100% lost",
        "",
      ]);
    }
  },
});

// Packets over a Unix socket

/** A server on `rpc.sock`, for which its grants are, in a folder of its own. */
class Rpc implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync();
  readonly server = this.start("serve", "rpc.sock");

  static async start(): Promise<Rpc> {
    const rpc = new Rpc();
    assertEquals(await rpc.server.line(), "listening on rpc.sock");
    return rpc;
  }

  start(...args: string[]): Program {
    return start("seqpacket_rpc", args, this.folder);
  }

  async run(...args: string[]): Promise<Ended> {
    await using program = this.start(...args);
    return await program.ended();
  }

  /** What a call prints, which must be one line. */
  async call(...args: string[]): Promise<string> {
    const [line, ...more] = linesOf(
      await this.run("call", "rpc.sock", ...args),
    );
    assertEquals(more, []);
    return line!;
  }

  get files(): string[] {
    return [...Deno.readDirSync(this.folder)].map(({ name }) => name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }
}

Deno.test({
  name:
    "several clients are answered at once, and the server knows who they are",
  ignore: !isLinux,
  async fn() {
    await using rpc = await Rpc.start();
    await using stack = new AsyncDisposableStack();
    const clients: Program[] = [];
    const us = { uid: Deno.uid(), gid: Deno.gid() };
    for (const number of [1, 2, 3]) {
      const client = stack.use(rpc.start("call", "rpc.sock"));
      clients.push(client);
      await client.send("whoami");
      assertEquals(JSON.parse(await client.line()), { pid: client.pid, ...us });
      assertEquals(
        await rpc.server.line(),
        `client ${number}: process ${client.pid}, user ${us.uid}, group ${us.gid}`,
      );
    }
    // All of them are still there, and are answered in any order.
    for (const client of clients.toReversed()) {
      await client.send(`add [${client.pid}, 0.5]`);
      assertEquals(await client.line(), `${client.pid + 0.5}`);
      await client.send('  echo  {"a": [1, null, "ü"]}  ');
      assertEquals(await client.line(), '{"a":[1,null,"ü"]}');
    }
    for (const [i, client] of clients.entries()) {
      assertEquals((await client.ended()).code, 0);
      assertEquals(
        await rpc.server.line(),
        `client ${i + 1}: gone after 3 answers`,
      );
    }
    assertEquals(await rpc.call("add", "[2, 3]"), "5");
  },
});

Deno.test({
  name: "what a request does wrong is told, and the next one is answered",
  ignore: !isLinux,
  async fn() {
    await using rpc = await Rpc.start();
    await using client = rpc.start("call", "rpc.sock");
    for (
      const line of [
        "frobnicate",
        'add ["2"]',
        "repeat [1]",
        'repeat ["ü", 60000]',
        'repeat ["x", 65537]',
        "echo",
      ]
    ) {
      await client.send(line);
    }
    const { code, stdout, stderr } = await client.ended();
    assertEquals({ code, stdout, stderr: stderr.trimEnd().split("\n") }, {
      code: 1,
      stdout: "null\n",
      stderr: [
        'error: there is no method "frobnicate"',
        "error: add takes numbers: [A, B, ...]",
        "error: repeat takes [TEXT, N]",
        "error: the answer has 120020 bytes, and 65536 are allowed",
        "error: repeat takes [TEXT, N]",
      ],
    });
    assertOneLine(
      await rpc.run("call", "rpc.sock", "echo", "{x"),
      /^error: the parameters are no JSON: \{x$/m,
    );
    assertOneLine(
      await rpc.run("call", "rpc.sock", "frobnicate"),
      /^error: there is no method "frobnicate"$/m,
    );
  },
});

Deno.test({
  name: "a message may be as long as the limit, and not a byte longer",
  ignore: !isLinux,
  async fn() {
    await using rpc = await Rpc.start();
    const around = '{"id":1,"method":"echo","params":""}'.length;
    const longest = JSON.stringify("x".repeat(65_536 - around));
    assertEquals(await rpc.call("echo", longest), longest);
    assertOneLine(
      await rpc.run("call", "rpc.sock", "echo", `"x${longest.slice(1)}`),
      /^error: the request has 65537 bytes, and 65536 are allowed$/m,
    );
    // One that does not look at the limit: what is too long is cut off, and only that.
    await using foreign = await startPython(
      `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
for packet in [b"x" * 65537, b"{" + b" " * 100000, b"{", b"[]", b"\\xff", b"{}",
               b'{"id": 7, "method": "add", "params": [1, 2]}']:
    s.send(packet)
    print(json.dumps(json.loads(s.recv(65537))))
`,
      `${rpc.folder}/rpc.sock`,
    );
    assertEquals(linesOf(await foreign.ended()), [
      '{"id": null, "error": "the request has more than 65536 bytes"}',
      '{"id": null, "error": "the request has more than 65536 bytes"}',
      '{"id": null, "error": "the request is no JSON"}',
      '{"id": null, "error": "the request is no object"}',
      '{"id": null, "error": "the request is no JSON"}',
      '{"id": null, "error": "there is no method undefined"}',
      '{"id": 7, "result": 3}',
    ]);
    assertEquals(await rpc.call("add", "[]"), "0");
  },
});

Deno.test({
  name: "a path that is there already is one clear line, and stays as it is",
  ignore: !isLinux,
  async fn() {
    await using rpc = await Rpc.start();
    const taken = /^error: rpc\.sock is there already: another server has it/;
    assertOneLine(await rpc.run("serve", "rpc.sock"), taken);
    assertEquals(await rpc.call("add", "[1]"), "1");
    // One that was killed leaves its file, behind which nobody is.
    rpc.server.kill("SIGKILL");
    await rpc.server.ended();
    assertEquals(rpc.files, ["rpc.sock"]);
    assertOneLine(await rpc.run("serve", "rpc.sock"), taken);
    assertOneLine(
      await rpc.run("call", "rpc.sock", "whoami"),
      /^error: nobody serves rpc\.sock \(ECONNREFUSED\)$/m,
    );
    await Deno.remove(`${rpc.folder}/rpc.sock`);
    assertOneLine(
      await rpc.run("call", "rpc.sock", "whoami"),
      /^error: nobody serves rpc\.sock \(ENOENT\)$/m,
    );
    assertOneLine(
      await rpc.run("serve", "other.sock"),
      /^error: Requires read access to "other\.sock"/,
    );
  },
});

Deno.test({
  name: "a server that is stopped tells its clients, and removes its file",
  ignore: !isLinux,
  async fn() {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      await using rpc = await Rpc.start();
      await using client = rpc.start("call", "rpc.sock");
      await client.send("add [1]");
      assertEquals(await client.line(), "1");
      rpc.server.kill(signal);
      const { code, stderr } = await rpc.server.ended();
      assertEquals([code, stderr, rpc.files], [0, "", []]);
      await client.send("add [1]");
      const ended = await client.ended();
      assertEquals([ended.code, ended.stdout], [1, ""]);
      assertMatch(ended.stderr, /^error: send: Broken pipe \(EPIPE\)$/m);
    }
  },
});

Deno.test({
  name: "an abstract name needs no grant for a path",
  ignore: !isLinux,
  async fn() {
    const [command, ...rest] = commandOf(
      "seqpacket_rpc",
      commandsOf("seqpacket_rpc")[2]!,
    );
    const name = `@rpc-${crypto.randomUUID()}`;
    await using server = new Program(command!, [...rest, "serve", name]);
    assertEquals(await server.line(), `listening on ${name}`);
    await using client = new Program(command!, [
      ...rest,
      "call",
      name,
      "whoami",
    ]);
    const [line] = linesOf(await client.ended());
    assertEquals(JSON.parse(line!).pid, client.pid);
    server.kill("SIGTERM");
    assertEquals((await server.ended()).code, 0);
  },
});

// What the kernel knows of a connection

const HEAD =
  /^state {8} +rtt ms +min ms +rto ms +cwnd +unacked +resent +acked +received +delivery B\/s$/;

/** What the monitor's lines say, by their columns. */
function assertInfo(lines: readonly string[], count: number): number[][] {
  assertMatch(lines[0]!, HEAD);
  assertEquals(lines.length, count + 1);
  return lines.slice(1).map((line) => {
    const [state, ...figures] = line.trim().split(/ +/);
    assertEquals([state, figures.length], ["ESTABLISHED", 9]);
    const [rtt, min, rto, cwnd, ...rest] = figures.map(Number);
    assert(rtt! > 0 && min! >= 0 && rto! > 0 && cwnd! > 0, line);
    assert(rest.every((figure) => figure >= 0), line);
    return [rtt!, min!, rto!, cwnd!, ...rest];
  });
}

Deno.test({
  name:
    "the monitor is its own peer without an address, and ends after --count",
  ignore: !isLinux,
  async fn() {
    const [head, ...lines] = linesOf(
      await run("tcp_info_monitor", "--count", "3", "--interval", "50"),
    );
    assertMatch(
      head!,
      /^connected to tcp:\/\/127\.0\.0\.1:\d+, \w+, segments of \d+ bytes$/,
    );
    const acked = assertInfo(lines, 3).map((figures) => figures[6]!);
    assert(acked[0]! >= 1 && acked[2]! > 1 && acked[2]! >= acked[0]!);
  },
});

for (const hostname of ["127.0.0.1", "::1"]) {
  Deno.test({
    name:
      `the monitor sends to a peer on ${hostname}, and reads what comes back`,
    ignore: !isLinux || !canListen(hostname),
    async fn() {
      await using listener = await listenTcp({ hostname, port: 0 });
      const { port } = listener.addr;
      const address = `${hostname === "::1" ? "[::1]" : hostname}:${port}`;
      await using program = start("tcp_info_monitor", [
        ...["-i", "20", "-r", "100000", address],
      ]);
      using conn = await listener.accept();
      const buffer = new Uint8Array(65_536);
      const n = await conn.read(buffer);
      await conn.writeAll(buffer.subarray(0, n!));
      assertMatch(await program.line(), /^connected to tcp:/);
      const lines = [await program.line()];
      // Until it is told what has gone in both directions; the kernel counts the SYN as a byte.
      for (;;) {
        const line = await program.line();
        const [figures] = assertInfo([lines[0]!, line], 1);
        if (figures![6]! > n! && figures![7] === n) break;
      }
      program.kill("SIGINT");
      const { code, stderr } = await program.ended();
      assertEquals([code, stderr], [0, ""]);
    },
  });
}

Deno.test({
  name: "the monitor ends when its peer has closed",
  ignore: !isLinux,
  async fn() {
    await using listener = await listenTcp({ hostname: "127.0.0.1", port: 0 });
    await using program = start("tcp_info_monitor", [
      ...["-i", "20", "-r", "0", "-c", "1000000"],
      `127.0.0.1:${listener.addr.port}`,
    ]);
    {
      using _ = await listener.accept();
      for (let i = 0; i < 3; i++) await program.line();
    }
    const lines = linesOf(await program.ended());
    assertMatch(lines.at(-2)!, /^CLOSE-WAIT /);
    assertEquals(lines.at(-1), "the peer has closed the connection");
  },
});

Deno.test({
  name: "the monitor says when nobody is there",
  ignore: !isLinux,
  async fn() {
    const listener = await listenTcp({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    await listener[Symbol.asyncDispose]();
    assertOneLine(
      await run("tcp_info_monitor", `127.0.0.1:${port}`),
      /^error: cannot connect to tcp:\/\/127\.0\.0\.1:\d+: connect: Connection refused \(ECONNREFUSED\)$/m,
    );
  },
});
