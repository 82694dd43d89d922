/** The programs of the textbooks, against themselves and against their twins in python3. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { errno } from "../errors.ts";
import { hasUnix } from "./_pairs.ts";
import { Program, unstable } from "./_process.ts";

const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname);
const EXAMPLES = `${ROOT}examples/textbook/`;
const TWINS = `${ROOT}tests/twins/`;

/** Whose program: ours or its twin. */
type Whose = "ours" | "python's";
const BOTH: readonly Whose[] = ["ours", "python's"];

/** A folder to run in, which goes away with the test. */
class Folder implements AsyncDisposable {
  readonly path = Deno.makeTempDirSync();

  get files(): string[] {
    return [...Deno.readDirSync(this.path)].map(({ name }) => name).sort();
  }

  /** A line with paths as a program in the folder gives them: with grants for paths, Deno binds them in full. */
  inside(line: string): string {
    return line.replace(`${Deno.realPathSync(this.path)}/`, "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** The flags in the command that the program's own documentation shows. */
function flagsOf(name: string): string[] {
  const source = Deno.readTextFileSync(`${EXAMPLES}${name}.ts`);
  const command = new RegExp(
    `^ \\* {5}deno run (.*)examples/textbook/${name}\\.ts( \\[[A-Z_]+\\])+$`,
    "m",
  ).exec(source);
  assert(command !== null, `${name} shows how it is run`);
  return command[1]!.trim().split(" ");
}

function start(
  whose: Whose,
  name: string,
  args: readonly string[],
  cwd = ROOT,
): Program {
  if (whose === "python's") {
    return new Program("python3", ["-u", `${TWINS}${name}.py`, ...args], cwd);
  }
  const flags = flagsOf(name);
  if (unstable && !flags.includes("--unstable-net")) {
    flags.push("--unstable-net");
  }
  const file = `${EXAMPLES}${name}.ts`;
  return new Program(
    Deno.execPath(),
    ["run", "--no-prompt", "--quiet", ...flags, file, ...args],
    cwd,
  );
}

/** Starts a peer that does what a well-behaved program does not. */
function startPeer(role: string, ...args: string[]): Program {
  return start("python's", "_peer", [role, ...args]);
}

/** The port that a server tells. */
async function portOf(server: Program): Promise<string> {
  const line = await server.line();
  assertMatch(line, /^listening on port \d+$/);
  return line.slice("listening on port ".length);
}

async function linesOf(program: Program, count: number): Promise<string[]> {
  const lines = [];
  for (let i = 0; i < count; i++) lines.push(await program.line());
  return lines;
}

/** What Linux says of a process. */
function statusOf(pid: number): Promise<string> {
  return Deno.readTextFile(`/proc/${pid}/status`);
}

/** What a program still says until it ends by itself. */
async function endOf(program: Program) {
  const { code, stdout, stderr } = await program.ended();
  return { code, stdout, stderr };
}

const WELL = { code: 0, stdout: "", stderr: "" };

Deno.test("each program shows how it is run, needs no more than the net or its paths, and has a twin", () => {
  for (const { name: file } of Deno.readDirSync(EXAMPLES)) {
    const name = file.replace(/\.ts$/, "");
    const kinds = flagsOf(name).map((flag) => flag.replace(/=.*/, ""));
    const paths = ["--allow-net", "--allow-read", "--allow-write"];
    assertEquals(
      kinds,
      name.startsWith("unix_dgram_")
        ? ["--unstable-net", ...paths]
        : name.startsWith("unix_")
        ? paths
        : ["--allow-net"],
      name,
    );
    assert(Deno.statSync(`${TWINS}${name}.py`).isFile);
  }
});

// Sessions: a server, and clients that it serves one after the other.

const LONG = "ünï ".repeat(600);
const BYTES = new TextEncoder().encode(LONG).length;

/** What an interactive client is told, and what it says. */
const TALK: readonly [line: string, answer: string][] = [
  ["hello", "echo: hello"],
  ["", "nothing to send: type some text"],
  [LONG, `echo: ${LONG}`],
];

interface Session {
  readonly server: string;
  readonly client: string;
  /** The address, where both take one before the port. */
  readonly address?: string;
  /** The client's arguments after the port. */
  readonly args?: readonly string[];
  /** The client's first line, and what it says of the lines that it is told, or all that it says by itself. */
  readonly greeting?: RegExp;
  readonly says?: readonly string[];
  /** What the server says of each client. */
  readonly log: readonly string[];
  /** The path that the server listens on, instead of a port. */
  readonly path?: string;
  /** Whether the server ends with its client. */
  readonly once?: boolean;
  readonly ignore?: boolean;
}

const CONNECTED = /^connected; end with Ctrl\+D$/;
const SENDING = /^sending to .*; end with Ctrl\+D$/;

const sessions: readonly Session[] = [
  {
    server: "oneshot_server",
    client: "oneshot_client",
    args: [LONG],
    says: [`you said: ${LONG}`],
    log: [`127.0.0.1 says: ${LONG}`],
    once: true,
  },
  {
    server: "tcp_echo_server",
    client: "tcp_echo_client",
    greeting: CONNECTED,
    log: ["connection from 127.0.0.1", "connection closed"],
  },
  {
    server: "tcp_echo_server_checked",
    client: "tcp_echo_client_checked",
    address: "127.0.0.1",
    greeting: CONNECTED,
    log: ["connection from 127.0.0.1", "connection closed"],
  },
  {
    server: "select_server",
    client: "tcp_echo_client",
    greeting: CONNECTED,
    log: ["clients: 1", "clients: 0"],
  },
  {
    server: "udp_echo_server",
    client: "udp_echo_client",
    args: ["60000"],
    greeting: SENDING,
    log: ["5 bytes from 127.0.0.1", `${BYTES} bytes from 127.0.0.1`],
  },
  {
    server: "unix_echo_server",
    client: "unix_echo_client",
    greeting: CONNECTED,
    log: ["connection", "connection closed"],
    path: "echo.sock",
    ignore: !hasUnix,
  },
  {
    server: "unix_dgram_echo_server",
    client: "unix_dgram_echo_client",
    greeting: SENDING,
    log: [
      "5 bytes from echo-gram.sock.client",
      `${BYTES} bytes from echo-gram.sock.client`,
    ],
    path: "echo-gram.sock",
    ignore: !hasUnix || !unstable,
  },
];

/** Starts a session's server, and says where it listens. */
async function serve(session: Session, whose: Whose, folder: Folder) {
  const { server: name, address, path } = session;
  const before = address === undefined ? [] : [address];
  const server = start(
    whose,
    name,
    path === undefined ? [...before, "0"] : [],
    folder.path,
  );
  if (path === undefined) {
    return { server, at: [...before, await portOf(server)] };
  }
  assertEquals(await server.line(), `listening on ${path}`);
  return { server, at: [] };
}

/** A whole client. */
async function visit(
  { client: name, args = [], greeting, says = [] }: Session,
  whose: Whose,
  at: readonly string[],
  folder: Folder,
): Promise<void> {
  await using client = start(whose, name, [...at, ...args], folder.path);
  if (greeting !== undefined) {
    assertMatch(await client.line(), greeting);
    for (const [line, answer] of TALK) {
      await client.send(line);
      assertEquals(await client.line(), answer);
    }
  }
  assertEquals(await linesOf(client, says.length), says);
  assertEquals(await endOf(client), WELL);
}

for (const session of sessions) {
  for (const whose of BOTH) {
    // A twin has shown with ours what it can.
    const visitors = whose === "ours" ? BOTH : BOTH.slice(0, 1);
    const rounds = session.once ? visitors.map((one) => [one]) : [visitors];
    Deno.test({
      name: `${session.server}, ${whose}, serves ${session.client}, ${
        visitors.join(" and ")
      }`,
      ignore: session.ignore ?? false,
      async fn() {
        for (const round of rounds) {
          await using folder = new Folder();
          const { server: started, at } = await serve(session, whose, folder);
          await using server = started;
          for (const visitor of round) {
            await visit(session, visitor, at, folder);
            const log = await linesOf(server, session.log.length);
            assertEquals(log.map((line) => folder.inside(line)), session.log);
          }
          if (session.once) assertEquals(await endOf(server), WELL);
          if (session.path === undefined) continue;
          assertEquals(folder.files, [session.path]);
          server.kill("SIGTERM");
          assertEquals(await endOf(server), WELL);
          assertEquals(folder.files, []);
        }
      },
    });
  }
  if (session.path === undefined) continue;
  Deno.test({
    name: `${session.server} replaces the path of one that was killed`,
    ignore: session.ignore ?? false,
    async fn() {
      await using folder = new Folder();
      {
        await using _killed = (await serve(session, "ours", folder)).server;
      }
      assertEquals(folder.files, [session.path]);
      await using server = (await serve(session, "ours", folder)).server;
      await visit(session, "ours", [], folder);
      await linesOf(server, session.log.length);
      server.kill("SIGINT");
      assertEquals(await endOf(server), WELL);
      assertEquals(folder.files, []);
    },
  });
}

Deno.test({
  name: "unix_dgram_echo_client removes its path when it is stopped",
  ignore: !hasUnix || !unstable,
  async fn() {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      await using folder = new Folder();
      await using client = start(
        "ours",
        "unix_dgram_echo_client",
        [],
        folder.path,
      );
      assertMatch(await client.line(), SENDING);
      assertEquals(folder.files, ["echo-gram.sock.client"]);
      client.kill(signal);
      assertEquals(await endOf(client), WELL);
      assertEquals(folder.files, []);
    }
  },
});

Deno.test("select_server serves several clients at once", async () => {
  await using server = start("ours", "select_server", ["0"]);
  const port = await portOf(server);
  await using one = start("ours", "tcp_echo_client", [port]);
  await one.line();
  await using two = start("python's", "tcp_echo_client", [port]);
  await two.line();
  for (const [client, line] of [[two, "b"], [one, "a"], [two, "c"]] as const) {
    await client.send(line);
    assertEquals(await client.line(), `echo: ${line}`);
  }
  // One that breaks off does not end the others.
  one.kill("SIGKILL");
  assertEquals(await linesOf(server, 3), [
    "clients: 1",
    "clients: 2",
    "clients: 1",
  ]);
  await using three = startPeer("resets instead of a message", port);
  assertEquals(await three.line(), "reset");
  assertEquals(await linesOf(server, 2), ["clients: 2", "clients: 1"]);
  await two.send("d");
  assertEquals(await two.line(), "echo: d");
});

// Waiting, and not waiting.

for (const whose of BOTH) {
  Deno.test(`nonblocking_client, ${whose}, waits in select only`, async () => {
    for (const other of whose === "ours" ? BOTH : ["ours" as const]) {
      await using server = start(other, "tcp_echo_server", ["0"]);
      const port = await portOf(server);
      await using client = start(whose, "nonblocking_client", [port, LONG]);
      let line = await client.line();
      // On this machine it may be done at once.
      if (line === "connect: in progress") line = await client.line();
      assertEquals(line, "connected");
      assertEquals(await linesOf(client, 2), [
        "recv: nothing there yet",
        `echo: ${LONG}`,
      ]);
      assertEquals(await endOf(client), WELL);
    }
  });

  Deno.test({
    name: `nonblocking_client, ${whose}, connects when there is room`,
    ignore: Deno.build.os !== "linux",
    async fn() {
      await using server = startPeer("takes nobody");
      const port = await portOf(server);
      await using client = start(whose, "nonblocking_client", [port, "hello"]);
      assertEquals(await client.line(), "connect: in progress");
      await server.send("take them");
      assertEquals(await linesOf(client, 3), [
        "connected",
        "recv: nothing there yet",
        "echo: hello",
      ]);
      assertEquals(await endOf(client), WELL);
    },
  });

  Deno.test(`udp_echo_client, ${whose}, waits no longer than told`, async () => {
    await using silent = startPeer("keeps silent");
    const port = await portOf(silent);
    await using client = start(whose, "udp_echo_client", [port, "20"]);
    assertMatch(await client.line(), SENDING);
    for (const line of ["hello", "is anybody there?"]) {
      await client.send(line);
      assertEquals(await client.line(), "no answer within 20 ms");
    }
    assertEquals(await endOf(client), WELL);
  });

  Deno.test(`connect_timeout_client, ${whose}, connects`, async () => {
    await using server = start("ours", "select_server", ["0"]);
    await using client = start(whose, "connect_timeout_client", [
      "127.0.0.1",
      await portOf(server),
      "60000",
    ]);
    assertEquals(await endOf(client), { ...WELL, stdout: "connected\n" });
  });
}

// Failures: what a program says when it cannot do what it is there for.

interface Failure {
  readonly what: string;
  readonly program: string;
  /** The peer at PORT, if there is one. */
  readonly peer?: string;
  /** The arguments; PORT is the peer's. */
  readonly args: readonly string[];
  readonly code?: number;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly ignore?: boolean;
}

const failures: readonly Failure[] = [
  {
    what: "says what bind says of a port in use",
    program: "tcp_echo_server_checked",
    peer: "holds the port",
    args: ["127.0.0.1", "PORT"],
    stderr: "bind: Address already in use\n",
  },
  {
    what: "says what bind says of an address that is not ours",
    program: "tcp_echo_server_checked",
    args: ["192.0.2.1", "0"],
    stderr: "bind: Cannot assign requested address\n",
    // The others word it in their own way.
    ignore: Deno.build.os !== "linux",
  },
  {
    what: "says what connect says of a port without a listener",
    program: "tcp_echo_client_checked",
    peer: "holds the port",
    args: ["127.0.0.1", "PORT"],
    stderr: "connect: Connection refused\n",
  },
  ...["tcp_echo_server_checked", "tcp_echo_client_checked"].flatMap((
    program,
  ) => [
    ...["localhost", "127.0.0", "::1", ""].map((address) => ({
      what: `refuses the address "${address}"`,
      program,
      args: [address, "7007"],
      stderr: `not an IPv4 address: ${address}\n`,
    })),
    ...["65536", "-1", "http", "0x1", ""].map((port) => ({
      what: `refuses the port "${port}"`,
      program,
      args: ["127.0.0.1", port],
      stderr: `not a port: ${port}\n`,
    })),
  ]),
  {
    what: "finds in SO_ERROR how its connect went",
    program: "nonblocking_client",
    peer: "holds the port",
    args: ["PORT", "hello"],
    stdout: "connect: in progress\n",
    stderr: "connect: Connection refused\n",
  },
  {
    what: "tells a refusal",
    program: "connect_timeout_client",
    peer: "holds the port",
    args: ["127.0.0.1", "PORT", "60000"],
    stderr: "refused: nobody listens there\n",
  },
  {
    what: "tells a timeout",
    program: "connect_timeout_client",
    peer: "takes nobody",
    args: ["127.0.0.1", "PORT", "50"],
    stderr: "timed out: no answer within 50 ms\n",
    ignore: Deno.build.os !== "linux",
  },
  {
    what: "shows both errors",
    program: "refused",
    peer: "holds the port",
    args: ["PORT"],
    code: 0,
    stdout: `connect: ECONNREFUSED, Connection refused\nconnect_ex: ${
      errno("ECONNREFUSED")
    }, Connection refused\n`,
  },
  {
    what: "shows the error",
    program: "port_in_use",
    args: ["0"],
    code: 0,
    stdout:
      "first socket: listening on port NUMBER\nsecond socket: EADDRINUSE, Address already in use\n",
  },
];

for (const failure of failures) {
  Deno.test({
    name: `${failure.program}, as its twin, ${failure.what}`,
    ignore: failure.ignore ?? false,
    async fn() {
      const { program, args, code = 1, stdout = "", stderr = "" } = failure;
      for (const whose of BOTH) {
        await using peer = failure.peer === undefined
          ? null
          : startPeer(failure.peer);
        const port = peer === null ? "" : await portOf(peer);
        const real = args.map((arg) => arg === "PORT" ? port : arg);
        await using running = start(whose, program, real);
        const ended = await endOf(running);
        assertEquals(
          { ...ended, stdout: ended.stdout.replace(/port \d+/, "port NUMBER") },
          { code, stdout, stderr },
          whose,
        );
      }
    },
  });
}

// Peers that vanish.

const vanishing = [
  {
    role: "closes instead of an answer",
    stderr: "recv: the server has closed the connection\n",
  },
  {
    role: "resets instead of an answer",
    stderr: "recv: Connection reset by peer\n",
  },
  {
    role: "resets after an answer",
    stderr: "send: Connection reset by peer\n",
  },
];

for (const { role, stderr } of vanishing) {
  Deno.test(`tcp_echo_client_checked, as its twin, says that its server ${role}`, async () => {
    for (const whose of BOTH) {
      await using server = startPeer(role);
      const port = await portOf(server);
      await using client = start(whose, "tcp_echo_client_checked", [
        "127.0.0.1",
        port,
      ]);
      await client.line();
      await client.send("hello");
      if (role.endsWith("after an answer")) {
        assertEquals(await client.line(), "echo: hello");
        await server.send("now");
        assertEquals(await server.line(), "reset");
        await client.send("hello again");
      }
      assertEquals(await endOf(client), { code: 1, stdout: "", stderr }, whose);
    }
  });
}

Deno.test("tcp_echo_client_checked, as its twin, says that its server was killed", async () => {
  for (const whose of BOTH) {
    await using server = start("ours", "tcp_echo_server_checked", [
      "127.0.0.1",
      "0",
    ]);
    const port = await portOf(server);
    await using client = start(whose, "tcp_echo_client_checked", [
      "127.0.0.1",
      port,
    ]);
    await client.line();
    await client.send("hello");
    assertEquals(await client.line(), "echo: hello");
    server.kill("SIGKILL");
    await server.ended();
    await client.send("hello again");
    assertEquals(await endOf(client), {
      code: 1,
      stdout: "",
      stderr: "recv: the server has closed the connection\n",
    }, whose);
  }
});

for (const whose of BOTH) {
  Deno.test(`tcp_echo_server_checked, ${whose}, outlives a client's reset`, async () => {
    await using server = start(whose, "tcp_echo_server_checked", [
      "127.0.0.1",
      "0",
    ]);
    const port = await portOf(server);
    for (let i = 0; i < 2; i++) {
      await using client = startPeer("resets instead of a message", port);
      assertEquals(await client.line(), "reset");
      assertEquals(await linesOf(server, 2), [
        "connection from 127.0.0.1",
        "connection closed",
      ]);
    }
    server.kill("SIGKILL");
    const { stderr } = await server.ended();
    assertEquals(stderr, "recv: Connection reset by peer\n".repeat(2));
  });

  Deno.test({
    name: `tcp_echo_server_checked, ${whose}, says which call failed`,
    ignore: Deno.build.os !== "linux",
    async fn() {
      await using server = start(whose, "tcp_echo_server_checked", [
        "127.0.0.1",
        "0",
      ]);
      const port = await portOf(server);
      await using client = startPeer("resets after a message", port);
      assertEquals(await server.line(), "connection from 127.0.0.1");
      // The server finds the message, and the reset behind it only when it sends.
      server.kill("SIGSTOP");
      while (!/^State:\tT/m.test(await statusOf(server.pid)));
      await client.send("now");
      assertEquals(await client.line(), "reset");
      server.kill("SIGCONT");
      assertEquals(await server.line(), "connection closed");
      server.kill("SIGKILL");
      const { stderr } = await server.ended();
      assertEquals(stderr, "send: Connection reset by peer\n");
    },
  });

  Deno.test({
    name:
      `unix_dgram_echo_server, ${whose}, outlives clients that cannot be answered`,
    ignore: !hasUnix || !unstable,
    async fn() {
      await using folder = new Folder();
      const session = sessions.find(({ server }) =>
        server === "unix_dgram_echo_server"
      )!;
      const { server: started } = await serve(session, whose, folder);
      await using server = started;
      for (const role of ["sends without a path", "sends and is gone"]) {
        await using client = start(
          "python's",
          "_peer",
          [role, session.path!],
          folder.path,
        );
        assertEquals(await endOf(client), WELL);
      }
      const log = await linesOf(server, 3);
      assertEquals(log.map((line) => folder.inside(line)), [
        "5 bytes from a client without a path",
        "5 bytes from echo-gram.sock.client",
        "echo-gram.sock.client is gone",
      ]);
      await visit(session, "ours", [], folder);
    },
  });
}
