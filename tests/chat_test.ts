/** The chat's programs, as they are run: the room, what rude clients do to it, and a line that is being typed. */

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { once } from "node:events";
import { connect as connectNode } from "node:net";
import { clean, CLEAR, LineEditor } from "../examples/_chat.ts";
import { parseAddr } from "../addr.ts";
import { BufferedReader } from "../framing.ts";
import { readAll } from "../io.ts";
import { connectTcp, listenTcp } from "../tcp.ts";
import type { StreamConn, TcpAddr } from "../types.ts";
import { connectUnix, listenUnix } from "../unix.ts";
import { text, utf8 } from "./_bytes.ts";
import { hasAbstract, hasUnix, tempPath } from "./_pairs.ts";
import { Program, startPython } from "./_process.ts";
import {
  assertOneLine,
  commandOf,
  commandsOf,
  linesOf,
  ROOT,
  runProgram as run,
  startProgram as start,
} from "./_programs.ts";

const HELLO = "* hello; your name, please";
const BAD_NAME =
  "* a name has 1 to 20 printable characters, no spaces, no / in front";
const GOODBYE = "* the server stops; goodbye";

// Clients and servers of the tests

/** A client that only does what it is told. */
class Peer implements Disposable {
  readonly conn: StreamConn;
  readonly #reader: BufferedReader;

  constructor(conn: StreamConn) {
    this.conn = conn;
    this.#reader = new BufferedReader(conn);
  }

  /** Sends lines as they are. */
  async say(...lines: string[]): Promise<void> {
    await this.conn.writeAll(utf8(lines.map((line) => `${line}\n`).join("")));
  }

  /** The next line; `null` at the end. */
  hear(): Promise<string | null> {
    return this.#reader.readLine();
  }

  /** The next lines are just these. */
  async hears(...lines: (string | null)[]): Promise<void> {
    for (const line of lines) assertEquals(await this.hear(), line);
  }

  /** Everything to the end, also what is only half a line. */
  async rest(): Promise<string[]> {
    return text(await readAll(this.#reader)).split("\n");
  }

  [Symbol.dispose](): void {
    this.conn.close();
  }
}

/** A server of the chat, and its door. */
class Chat implements AsyncDisposable {
  readonly program: Program;
  /** Where it listens, as it says. */
  readonly address: string;
  readonly #target: () => Promise<StreamConn>;
  readonly #peers: Peer[] = [];

  constructor(program: Program, address: string, cwd: string) {
    this.program = program;
    this.address = address;
    const addr = parseAddr(address);
    this.#target = addr.transport === "unix"
      ? () => connectUnix({ path: `${cwd}/${addr.path}` })
      : () => connectTcp(addr as TcpAddr);
  }

  static async of(program: Program, cwd = ROOT): Promise<Chat> {
    const line = await program.line();
    assertMatch(line, /^listening on /);
    return new Chat(program, line.slice("listening on ".length), cwd);
  }

  get port(): number {
    return (parseAddr(this.address) as TcpAddr).port;
  }

  /** Connects. */
  async enter(): Promise<Peer> {
    const peer = new Peer(await this.#target());
    this.#peers.push(peer);
    return peer;
  }

  /** Connects and takes a name, of which those who are there hear. */
  async join(name: string, ...others: Peer[]): Promise<Peer> {
    const peer = await this.enter();
    await peer.say(name);
    await peer.hears(HELLO);
    await all([...others, peer], `* ${name} has joined`);
    return peer;
  }

  /** Ends it, with all who are there; it has had nothing to complain of. */
  async stop(): Promise<void> {
    this.program.kill("SIGTERM");
    for (const peer of this.#peers) peer.conn.close();
    assertEquals(await this.program.ended(), {
      code: 0,
      signal: null,
      stdout: "",
      stderr: "",
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]();
  }
}

/** All hear the same. */
async function all(peers: Peer[], ...lines: string[]): Promise<void> {
  for (const peer of peers) await peer.hears(...lines);
}

const open = async (...args: string[]) =>
  await Chat.of(start("chat_server", [...args, "127.0.0.1:0"]));

/** A server on a Unix socket, in a folder of its own, with the grants that its second command has. */
async function openUnix(...args: string[]) {
  const temp = await tempPath();
  const folder = `${temp.path}.d`;
  await Deno.mkdir(folder);
  const [command, ...rest] = commandOf(
    "chat_server",
    commandsOf("chat_server")[1],
  );
  const chat = await Chat.of(
    new Program(command!, [...rest, ...args, "unix:chat.sock"], folder),
    folder,
  );
  return {
    chat,
    folder,
    async [Symbol.asyncDispose]() {
      await chat[Symbol.asyncDispose]();
      await temp[Symbol.asyncDispose]();
    },
  };
}

/** A client's program at a server of the test's: what it does is this end's to see. */
async function startClient(...args: string[]) {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  const { port } = listener.addr;
  const client = start("chat_client", [...args, `127.0.0.1:${port}`]);
  const peer = new Peer(await listener.accept());
  return {
    client,
    peer,
    async [Symbol.asyncDispose]() {
      peer[Symbol.dispose]();
      await client[Symbol.asyncDispose]();
    },
  };
}

// The command line

Deno.test("the chat's programs say their grants: the net, and the paths of a Unix socket", () => {
  for (const name of ["chat_server", "chat_client"]) {
    const paths = ["--allow-read=chat.sock", "--allow-write=chat.sock"];
    assertEquals(commandsOf(name).slice(0, 2), [["--allow-net"], [
      "--allow-net",
      ...paths,
    ]]);
  }
});

Deno.test("--help says how, and what is wrong is one clear line", async () => {
  for (const name of ["chat_server", "chat_client"]) {
    const { code, stdout, stderr } = await run(name, "--help");
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, `\n\nUsage: ${name}.ts [OPTIONS] [ADDRESS]\n`);
    assertStringIncludes(stdout, "127.0.0.1:7010");
  }
  using taken = await listenTcp({ hostname: "127.0.0.1" });
  const { port } = taken.addr;
  const number = "expected an integer from \\d+ to \\d+$";
  for (
    const [name, args, line] of [
      ["chat_server", ["--loud"], "unknown option --loud; see --help$"],
      ["chat_client", ["--loud"], "unknown option --loud; see --help$"],
      ["chat_server", ["a:1", "b:1"], "one ADDRESS, please; see --help$"],
      ["chat_client", ["a:1", "b:1"], "one ADDRESS, please; see --help$"],
      ["chat_server", ["127.0.0.1"], "Invalid address"],
      ["chat_client", ["udp://127.0.0.1:1"], ".* is no address of a stream"],
      ["chat_server", ["-l", "99"], `invalid --max-line 99: ${number}`],
      ["chat_server", ["-l", "65537"], `invalid --max-line 65537: ${number}`],
      // There must be room for a line in it.
      ["chat_server", ["-o", "7095"], `invalid --outbox 7095: ${number}`],
      ["chat_server", ["-c", "0"], `invalid --max-clients 0: ${number}`],
      [
        "chat_server",
        [`127.0.0.1:${port}`],
        `Cannot listen on tcp 127.0.0.1:${port}: .*EADDRINUSE`,
      ],
      [
        "chat_client",
        ["127.0.0.1:1"],
        "Cannot connect to tcp 127.0.0.1:1: Connection refused",
      ],
    ] as const
  ) {
    assertOneLine(await run(name, ...args), new RegExp(`^error: ${line}`, "m"));
  }
});

Deno.test("without the grant each program says which one", async () => {
  for (const name of ["chat_server", "chat_client"]) {
    const [command, ...rest] = commandOf(name, ["--allow-env"]);
    await using program = new Program(command!, [...rest, "127.0.0.1:7010"]);
    assertOneLine(
      await program.ended(),
      /^error: .*Requires net access to "127.0.0.1:7010".* --allow-net/,
    );
  }
});

// The room

Deno.test("all hear the same in one order, the one who speaks too", async () => {
  await using chat = await open();
  using ada = await chat.join("ada");
  using bob = await chat.join("bob", ada);
  using cy = await chat.join("cy", ada, bob);
  const everybody = [ada, bob, cy];
  await ada.say("hello", "", "  two  words  ", "<bob> I am not ada");
  await all(
    everybody,
    "<ada> hello",
    "<ada>   two  words",
    "<ada> <bob> I am not ada",
  );
  // CRLF is what some terminals send.
  await bob.say("grüß dich 👋\r");
  await all(everybody, "<bob> grüß dich 👋");
  await Promise.all(
    everybody.map((peer) => peer.say(...Array(100).fill("me"))),
  );
  const order: (string | null)[] = [];
  for (let i = 0; i < 300; i++) order.push(await ada.hear());
  assertEquals(
    order.toSorted(),
    ["ada", "bob", "cy"].flatMap((name) => Array(100).fill(`<${name}> me`)),
  );
  await bob.hears(...order);
  await cy.hears(...order);
  await chat.stop();
});

Deno.test("/who, /nick and /quit; other commands are said to be none", async () => {
  await using chat = await open();
  using ada = await chat.join("ada");
  using bob = await chat.join("bob", ada);
  await bob.say(
    "/who",
    "/shout",
    "/nick",
    "/quit now",
    "/nick ada",
    "/nick a b",
  );
  await bob.hears(
    "* 2 here: ada, bob",
    ...Array(3).fill("* there are /who, /nick NAME and /quit"),
    "* ada is taken",
    BAD_NAME,
  );
  await bob.say("/nick Bob", "/nick rob", "hi", "/who");
  await bob.hears("* bob is now Bob", "* Bob is now rob", "<rob> hi");
  await bob.hears("* 2 here: ada, rob");
  await ada.hears("* bob is now Bob", "* Bob is now rob", "<rob> hi");
  // The old name is free, and what comes behind a /quit is not heard.
  await ada.say("/nick bob", "/quit", "still here");
  await ada.hears("* ada is now bob", "* goodbye", null);
  await bob.hears("* ada is now bob", "* bob has left");
  using other = await chat.join("bob", bob);
  await other.say("/who");
  await other.hears("* 2 here: rob, bob");
});

Deno.test("/who is bounded, however many are here", async () => {
  await using chat = await open("--outbox", "7096");
  const peers: Peer[] = [];
  // Names as long as names can be.
  const name = (i: number) => `${"😀".repeat(18)}${i}`;
  for (let i = 10; i < 40; i++) {
    peers.push(await chat.join(name(i), ...peers));
  }
  await peers[0]!.say("/who");
  const names = Array.from({ length: 20 }, (_, i) => name(i + 10));
  await peers[0]!.hears(`* 30 here: ${names.join(", ")}, ...`);
  for (const peer of peers) peer[Symbol.dispose]();
});

Deno.test("a name is checked, and may be tried again, but not for ever", async () => {
  await using chat = await open();
  using ada = await chat.join("ada");
  const bad = [
    "",
    " ",
    "two words",
    "x".repeat(21),
    "👋".repeat(21),
    "a\x1b[2J",
    "a\u009b2J",
    "zero\u200bwidth",
    "left\u202eright",
    "\u0301mark",
    "no\u00a0space",
    "/who",
    "\u3164",
  ];
  for (let i = 0; i < bad.length; i += 4) {
    using peer = await chat.enter();
    await peer.say(...bad.slice(i, i + 4), `fine${i}`);
    const tries = bad.slice(i, i + 4).map(() => BAD_NAME);
    await peer.hears(HELLO, ...tries, `* fine${i} has joined`);
    await ada.hears(`* fine${i} has joined`);
    await peer.say("/quit");
    await ada.hears(`* fine${i} has left`);
  }
  {
    using peer = await chat.enter();
    // Names that differ in their case, or in how they are made, are one; the fifth try is the last.
    await peer.say("ada", "ADA", "ａｄａ", "Ada", "a b", "eve");
    await peer.hears(
      HELLO,
      "* ada is taken",
      "* ADA is taken",
      "* ａｄａ is taken",
      "* Ada is taken",
      BAD_NAME,
      "* no more tries",
      null,
    );
  }
  {
    using peer = await chat.enter();
    await peer.say("/quit", "eve");
    await peer.hears(HELLO, "* goodbye", null);
  }
  {
    // Composed or not, it is one name; and it is not in the room before it has one.
    using peer = await chat.enter();
    await peer.hears(HELLO);
    await ada.say("to nobody else", "/who");
    await ada.hears("<ada> to nobody else", "* 1 here: ada");
    await peer.say("  Zoe\u0308  ");
    await peer.hears("* Zoë has joined");
    await ada.hears("* Zoë has joined");
    using other = await chat.enter();
    await other.say("zoë", "x".repeat(20));
    await other.hears(
      HELLO,
      "* zoë is taken",
      `* ${"x".repeat(20)} has joined`,
    );
  }
  await chat.stop();
});

Deno.test("what could move a terminal's cursor does not get through", async () => {
  await using chat = await open();
  using ada = await chat.join("ada");
  await ada.say("a\x1b[2Jb\x07\x00\x7f\tc\rd", "\u009b1A\u2028\u202e\u2066");
  await ada.conn.writeAll(new Uint8Array([0x9b, 0x31, 0xff, 0x0a]));
  await ada.hears(
    "<ada> a\ufffd[2Jb\ufffd\ufffd\ufffd c\ufffdd",
    "<ada> \ufffd1A\ufffd\ufffd\ufffd",
    "<ada> \ufffd1\ufffd",
  );
  // What is needed to write some languages and some emoji does.
  await ada.say("👩‍👩‍👧 می‌خواهم");
  await ada.hears("<ada> 👩‍👩‍👧 می‌خواهم");
});

Deno.test("a line that is too long ends its client, whether it has an end or not", async () => {
  await using chat = await open("--max-line", "100");
  using ada = await chat.join("ada");
  using bob = await chat.join("bob", ada);
  await bob.say("x".repeat(100));
  await all([ada, bob], `<bob> ${"x".repeat(100)}`);
  await bob.say("ä".repeat(50) + "x", "after it");
  await bob.hears("* a line has at most 100 bytes", null);
  await ada.hears("* bob has left (line too long)");
  using cy = await chat.join("cy", ada);
  // It does not end, and nobody waits for it to end; that the client is deaf does not matter.
  await cy.conn.writeAll(utf8("y".repeat(100_000)));
  await cy.hears("* a line has at most 100 bytes", null);
  await ada.hears("* cy has left (line too long)");
  using nobody = await chat.enter();
  await nobody.say("z".repeat(101));
  await nobody.hears(HELLO, "* a line has at most 100 bytes", null);
  await ada.say("hello");
  await ada.hears("<ada> hello");
});

Deno.test("who goes is gone: at an end, in mid-line, by a reset", async () => {
  await using chat = await open();
  using ada = await chat.join("ada");
  {
    using bob = await chat.join("bob", ada);
    await bob.say("all of it");
    await bob.conn.closeWrite();
    // What it has said, and what it is to hear, still arrives.
    await all([ada, bob], "<bob> all of it");
    await bob.hears(null);
    await ada.hears("* bob has left");
  }
  {
    using cy = await chat.join("cy", ada);
    await cy.conn.writeAll(utf8("whole\nhalf"));
    await cy.conn.closeWrite();
    await cy.hears("<cy> whole", null);
    await ada.hears("<cy> whole", "* cy has left");
  }
  const socket = connectNode(chat.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write("dan\n");
  await ada.hears("* dan has joined");
  const closed = once(socket, "close");
  socket.resetAndDestroy();
  await closed;
  await ada.hears("* dan has left (connection lost)");
  // Of those without a name nobody hears.
  (await chat.enter())[Symbol.dispose]();
  await ada.say("/who");
  await ada.hears("* 1 here: ada");
  await chat.stop();
});

Deno.test("who comes when the room is full is told so, until somebody leaves", async () => {
  await using chat = await open("--max-clients", "2");
  using ada = await chat.join("ada");
  // One without a name takes a place, too.
  using bob = await chat.enter();
  await bob.hears(HELLO);
  for (let i = 0; i < 3; i++) {
    using cy = await chat.enter();
    await cy.hears("* the room is full", null);
  }
  await bob.say("bob", "/quit");
  await bob.hears("* bob has joined", "* goodbye", null);
  await ada.hears("* bob has joined", "* bob has left");
  using cy = await chat.join("cy", ada);
  await cy.say("hello");
  await ada.hears("<cy> hello");
});

Deno.test("who says no name in time is out, and whoever has one stays", async () => {
  await using chat = await open("--timeout", "300");
  using ada = await chat.join("ada");
  const late = "* that took you too long";
  using bob = await chat.enter();
  await bob.hears(HELLO, late, null);
  using cy = await chat.enter();
  await cy.say("no name");
  await cy.hears(
    HELLO,
    "* a name has 1 to 20 printable characters, no spaces, no / in front",
    late,
    null,
  );
  await ada.say("still here");
  await ada.hears("<ada> still here");
});

// Those who do not read

/** Longer lines fill what the system keeps for a connection sooner. */
const LONG = ["--max-line", "65536"];
const LENGTH = 30_000;

/** One of many long messages, told from all others. */
const message = (i: number) => `${i} ${"x".repeat(LENGTH)}`;

/** A client that reads nothing is out, and the others lose nothing. */
async function crowdOut(chat: Chat): Promise<void> {
  using ada = await chat.join("ada");
  using bob = await chat.join("bob", ada);
  using slow = await chat.join("slow", ada, bob);
  const gone = "* slow has left (too slow)";
  let said = 0;
  // The others speak by turns, until they hear that it is gone: behind the message that was too much.
  for (let isGone = false; !isGone; said++) {
    assert(said < 10_000, "what waits for a client is not bounded");
    const name = said % 2 ? "ada" : "bob";
    await (said % 2 ? ada : bob).say(message(said));
    for (const listener of [ada, bob]) {
      let line = await listener.hear();
      if (line === gone) {
        isGone = true;
        line = await listener.hear();
      }
      assertEquals(line, `<${name}> ${message(said)}`);
    }
  }
  await ada.say("/who");
  await ada.hears("* 2 here: ada, bob");
  await bob.say("still here");
  await all([ada, bob], "<bob> still here");
  // What it reads now is the beginning, without a gap, and what has become of it.
  const heard = await slow.rest();
  assertEquals(heard.at(-1), "");
  assertEquals(heard.at(-2), "* you read too slowly");
  const messages = heard.slice(0, -2);
  assert(messages.length > 0 && messages.length < said, `${messages.length}`);
  messages.forEach((line, i) =>
    assertEquals(line, `<${i % 2 ? "ada" : "bob"}> ${message(i)}`)
  );
}

Deno.test("over TCP, who does not read is out, and the others lose nothing", async () => {
  await using chat = await open(...LONG);
  await crowdOut(chat);
  await chat.stop();
});

Deno.test({
  name: "over a Unix socket it is the same",
  ignore: !hasUnix,
  async fn() {
    await using unix = await openUnix(...LONG);
    await crowdOut(unix.chat);
    await unix.chat.stop();
  },
});

Deno.test("what one sends at once does not crowd out the others", async () => {
  await using chat = await open("--outbox", "7096");
  using ada = await chat.join("ada");
  using bob = await chat.join("bob", ada);
  const lines = Array.from({ length: 5000 }, (_, i) => String(i));
  const saying = ada.say(...lines);
  for (const line of lines) await all([ada, bob], `<ada> ${line}`);
  await saying;
});

Deno.test("who speaks and does not read is heard no more, and is out when others speak", async () => {
  await using chat = await open(...LONG);
  using ada = await chat.join("ada");
  using deaf = await chat.join("deaf", ada);
  const limit = 10_000;
  let said = 0;
  const saying = (async () => {
    for (; said < limit; said++) await deaf.say(message(said));
  })().catch(() => {});
  let heard = 0;
  let isGone = false;
  for (let i = 0; !isGone; i++) {
    assert(i < limit, "who waits for itself is never out");
    await ada.say(message(i));
    const own = `<ada> ${message(i)}`;
    for (;;) {
      const line = await ada.hear();
      if (line === own) break;
      if (line === "* deaf has left (too slow)") isGone = true;
      else assertEquals(line, `<deaf> ${message(heard++)}`);
    }
  }
  assert(heard > 0 && said < limit, `${heard} ${said}`);
  deaf.conn.close();
  await saying;
  await ada.say("/who");
  await ada.hears("* 1 here: ada");
});

Deno.test("who leaves, or is sent home, hears first what was said before", async () => {
  await using chat = await open(...LONG, "--outbox", String(2 ** 30));
  using ada = await chat.join("ada");
  using bob = await chat.join("bob", ada);
  using cy = await chat.join("cy", ada, bob);
  // More than the system keeps for those who read nothing as yet.
  const lines = Array.from({ length: 300 }, (_, i) => `<ada> ${message(i)}`);
  for (const [i, line] of lines.entries()) {
    await ada.say(message(i));
    await ada.hears(line);
  }
  await bob.say("/quit");
  await ada.hears("* bob has left");
  await bob.hears(...lines, "* goodbye", null);
  chat.program.kill("SIGTERM");
  await ada.hears(GOODBYE, null);
  await cy.hears(...lines, "* bob has left", GOODBYE, null);
  for (const peer of [ada, bob, cy]) peer.conn.close();
  assertEquals(linesOf(await chat.program.ended()), [""]);
});

// The end of the server

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test({
    name:
      `${signal}: everybody is told, the socket's file is gone, the exit code is 0`,
    ignore: !hasUnix,
    async fn() {
      await using unix = await openUnix();
      const { chat, folder } = unix;
      assertEquals(chat.address, "unix:chat.sock");
      using ada = await chat.join("ada");
      using bob = await chat.join("bob", ada);
      using nobody = await chat.enter();
      await nobody.hears(HELLO);
      await bob.say("hello");
      await all([ada, bob], "<bob> hello");
      assertEquals([...Deno.readDirSync(folder)].length, 1);
      chat.program.kill(signal);
      for (const peer of [ada, bob, nobody]) {
        await peer.hears(GOODBYE, null);
        peer.conn.close();
      }
      assertEquals(linesOf(await chat.program.ended()), [""]);
      assertEquals([...Deno.readDirSync(folder)], []);
    },
  });
}

Deno.test("a client that does not read holds up no end", async () => {
  await using chat = await open(...LONG, "--outbox", String(2 ** 30));
  using ada = await chat.join("ada");
  using slow = await chat.join("slow", ada);
  for (let i = 0; i < 300; i++) {
    await ada.say(message(i));
    await ada.hears(`<ada> ${message(i)}`);
  }
  chat.program.kill("SIGTERM");
  await ada.hears(GOODBYE, null);
  ada.conn.close();
  // After some seconds the server waits no longer.
  assertEquals(linesOf(await chat.program.ended()), [""]);
  assertEquals(await slow.hear(), `<ada> ${message(0)}`);
});

Deno.test({
  name: "netcat is a client, too",
  ignore: !(await hasNetcat()),
  async fn() {
    await using chat = await open();
    using ada = await chat.join("ada");
    await using netcat = new Program("nc", ["127.0.0.1", String(chat.port)]);
    assertEquals(await netcat.line(), HELLO);
    await netcat.send("old friend");
    assertEquals(await netcat.line(), BAD_NAME);
    await netcat.send("cat");
    assertEquals(await netcat.line(), "* cat has joined");
    await netcat.send("meow");
    assertEquals(await netcat.line(), "<cat> meow");
    await ada.hears("* cat has joined", "<cat> meow");
    await netcat.send("/quit");
    assertEquals(await netcat.line(), "* goodbye");
    await ada.hears("* cat has left");
  },
});

async function hasNetcat(): Promise<boolean> {
  try {
    const { stderr } = await new Deno.Command("nc", { args: ["-h"] }).output();
    return text(stderr).startsWith("OpenBSD netcat");
  } catch {
    return false;
  }
}

// The client, without a terminal

Deno.test({
  name: "the programs talk to each other over a Unix socket",
  ignore: !hasUnix,
  async fn() {
    await using unix = await openUnix();
    const { chat, folder } = unix;
    using ada = await chat.join("ada");
    const [command, ...rest] = commandOf(
      "chat_client",
      commandsOf("chat_client")[1],
    );
    const args = ["--nick", "bob", "unix:chat.sock"];
    await using bob = new Program(command!, [...rest, ...args], folder);
    await ada.hears("* bob has joined");
    await ada.say("hello, bob");
    for (const line of [HELLO, "* bob has joined", "<ada> hello, bob"]) {
      assertEquals(await bob.line(), line);
    }
    await bob.send("hello, ada");
    await bob.send("bye");
    assertEquals(linesOf(await bob.ended()), [
      "<bob> hello, ada",
      "<bob> bye",
    ]);
    await ada.hears(
      "<ada> hello, bob",
      "<bob> hello, ada",
      "<bob> bye",
      "* bob has left",
    );
    await chat.stop();
  },
});

Deno.test("the client sends its input to the end, and waits for what the server has to say", async () => {
  await using server = await startClient("--nick", "ada");
  const { client, peer } = server;
  await peer.say("who are you?");
  await peer.hears("ada");
  // Nothing is said before the name is taken.
  await client.send("one\ttwo");
  await client.send("");
  await peer.say("* ada has joined");
  await peer.hears("one two", "");
  const ended = (async () => {
    for (let i = 0; i < 1000; i++) await client.send(`line ${i}`);
    // What has no line end is a line of people's texts.
    return await client.ended();
  })();
  for (let i = 0; i < 1000; i++) await peer.hears(`line ${i}`);
  await peer.hears(null);
  // Its end of input is no end of what it hears.
  await peer.say("<x> late", "\x1b[2Jevil\u202e");
  await peer.conn.writeAll(utf8("half"));
  peer.conn.close();
  assertEquals(linesOf(await ended), [
    "who are you?",
    "* ada has joined",
    "<x> late",
    "\ufffd[2Jevil\ufffd",
    "half",
  ]);
});

Deno.test("without --nick the first line is the name", async () => {
  await using chat = await open();
  using ada = await chat.join("ada");
  await using bob = start("chat_client", [chat.address]);
  await bob.send("bob");
  await ada.hears("* bob has joined");
  await bob.send("hello");
  await ada.hears("<bob> hello");
  assertEquals(linesOf(await bob.ended()), [
    HELLO,
    "* bob has joined",
    "<bob> hello",
  ]);
});

Deno.test("the client says when the server ends, and ends too", async () => {
  await using server = await startClient("--nick", "ada");
  const { client, peer } = server;
  await peer.say("hello", "* ada has joined");
  await peer.hears("ada");
  peer.conn.close();
  // Its input is still open.
  for (
    const line of [
      "hello",
      "* ada has joined",
      "* the server has closed the connection",
    ]
  ) assertEquals(await client.line(), line);
  assertEquals(linesOf(await client.ended()), [""]);
});

Deno.test("of a file, nothing is taken for a name that was refused", async () => {
  await using chat = await open();
  using ada = await chat.join("ada");
  const failed = async (args: string[], stdout: string[], line: RegExp) => {
    await using client = start("chat_client", args);
    await client.send("ada");
    await client.send("secret");
    const { stdout: said, ...ended } = await client.ended();
    assertEquals(said, stdout.map((line) => `${line}\n`).join(""));
    assertOneLine({ ...ended, stdout: "" }, line);
  };
  await failed(
    ["--nick", "Ada", chat.address],
    [HELLO, "* Ada is taken"],
    /^error: no place in the chat for Ada$/m,
  );
  await failed(
    [chat.address],
    [HELLO, "* ada is taken"],
    /^error: no place in the chat for ada$/m,
  );
  await ada.say("/who");
  await ada.hears("* 1 here: ada");
  await using full = await open("--max-clients", "1");
  using first = await full.enter();
  await first.hears(HELLO);
  await failed(
    ["--nick", "ada", full.address],
    ["* the room is full"],
    /^error: no place in the chat for ada$/m,
  );
});

Deno.test("what goes wrong with the server is one line of the client's", async () => {
  {
    await using server = await startClient("--nick", "ada");
    const { client, peer } = server;
    const flooding = peer.conn.writeAll(new Uint8Array(2 << 20).fill(97))
      .catch(() => {});
    assertOneLine(
      await client.ended(),
      /^error: a line is longer than 1048576 bytes$/m,
    );
    await flooding;
  }
  {
    const { promise: reset, resolve } = Promise.withResolvers<void>();
    const { createServer } = await import("node:net");
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => {
        socket.resetAndDestroy();
        resolve();
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    await using client = start("chat_client", ["-n", "a", `127.0.0.1:${port}`]);
    await reset;
    const closed = once(server, "close");
    server.close();
    await closed;
    assertOneLine(await client.ended(), /^error: .*\(ECONNRESET\)$/m);
  }
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`${signal} ends the client, and what it has sent has arrived`, async () => {
    await using chat = await open();
    using ada = await chat.join("ada");
    await using bob = start("chat_client", ["--nick", "bob", chat.address]);
    await ada.hears("* bob has joined");
    await bob.send("hello");
    await ada.hears("<bob> hello");
    for (const line of [HELLO, "* bob has joined", "<bob> hello"]) {
      assertEquals(await bob.line(), line);
    }
    bob.kill(signal);
    await ada.hears("* bob has left");
    assertEquals(linesOf(await bob.ended()), [""]);
  });
}

// The line editor

/** Types texts, each as if it came at once, and gives what came of them. */
function type(editor: LineEditor, ...keys: string[]): unknown[] {
  return keys.flatMap((key) => editor.type(utf8(key)))
    .map((typed) => typed.is === "line" ? typed.line : { is: typed.is });
}

Deno.test("LineEditor takes characters, and gives lines", () => {
  const editor = new LineEditor();
  assertEquals(type(editor, "he", "llo"), []);
  assertEquals(editor.text, "hello");
  assertEquals(type(editor, "\rwor", "ld\n\r\n!"), ["hello", "world"]);
  assertEquals(editor.text, "!");
});

Deno.test("LineEditor keeps characters whole that come in pieces", () => {
  const editor = new LineEditor();
  const bytes = utf8("aé€👋");
  const texts = Array.from(bytes, (_, i) => {
    editor.type(bytes.subarray(i, i + 1));
    return editor.text;
  });
  const [a, e, euro] = ["a", "aé", "aé€"];
  assertEquals(
    texts,
    [a, a, e, e, e, euro, euro, euro, euro, "aé€👋"],
  );
});

Deno.test("LineEditor's backspace takes back what looks like one character", () => {
  const editor = new LineEditor();
  type(editor, "aé👋e\u0301👩‍👩‍👧");
  const texts = Array.from({ length: 7 }, (_, i) => {
    type(editor, i % 2 ? "\b" : "\x7f");
    return editor.text;
  });
  assertEquals(texts, ["aé👋e\u0301", "aé👋", "aé", "a", "", "", ""]);
  assertEquals(type(editor, "x\x7f\r"), []);
});

Deno.test("LineEditor: Ctrl+U clears, Ctrl+D ends where nothing is typed, others do nothing", () => {
  const editor = new LineEditor();
  assertEquals(type(editor, "abc\x15d"), []);
  assertEquals(editor.text, "d");
  assertEquals(type(editor, "\x04"), []);
  assertEquals(editor.text, "d");
  assertEquals(type(editor, "\x15\x04"), [{ is: "end" }]);
  type(editor, "a\x00\x01\x1a\tb\u009b\u202e\u2028");
  assertEquals(editor.text, "ab");
});

Deno.test("LineEditor goes past escape sequences, in pieces too", () => {
  const editor = new LineEditor();
  type(
    editor,
    "a\x1b[A\x1b[1;5Cb\x1bOPc\x1b[3~d\x1bxe",
    "\x1b",
    "[",
    "1",
    "5",
    "~f",
  );
  assertEquals(editor.text, "abcdef");
  // Control keys are heard in the middle of one.
  assertEquals(type(editor, "\x1b[1\r", "\x1b\x1b[Bg"), ["abcdef"]);
  assertEquals(editor.text, "g");
});

Deno.test("LineEditor takes no more than its limit, in bytes", () => {
  const editor = new LineEditor(6);
  const full = { is: "full" };
  assertEquals(type(editor, "aé€"), []);
  assertEquals(type(editor, "bc"), [full, full]);
  assertEquals(editor.text, "aé€");
  // What is taken back makes room.
  assertEquals(type(editor, "\x7f\x7f👋", "€"), [full]);
  assertEquals(type(editor, "\r123456", "7"), ["a👋", full]);
  assertEquals(type(new LineEditor(), "x".repeat(1001)), [full]);
});

Deno.test("LineEditor draws one row, with the end of what is too long", () => {
  const editor = new LineEditor();
  const shown = (columns: number) => editor.draw("> ", columns);
  assertEquals(shown(10), `${CLEAR}> `);
  type(editor, "abcdefg");
  assertEquals(shown(10), `${CLEAR}> abcdefg`);
  type(editor, "h");
  // The last column stays free: a cursor behind it would be in the next row.
  assertEquals(shown(10), `${CLEAR}> bcdefgh`);
  assertEquals(shown(3), `${CLEAR}> `);
  assertEquals(shown(1), `${CLEAR}> `);
  type(editor, "\x15ab漢字e\u0301");
  assertEquals(shown(10), `${CLEAR}> b漢字e\u0301`);
  assertEquals(shown(7), `${CLEAR}> 字e\u0301`);
});

Deno.test("clean() leaves letters, and nothing that is obeyed", () => {
  assertEquals(clean("Grüße, 世界 👩‍👩‍👧 می‌خواهم"), "Grüße, 世界 👩‍👩‍👧 می‌خواهم");
  for (let code = 0; code < 0xa0; code++) {
    if (code >= 0x20 && code < 0x7f) continue;
    const made = clean(`a${String.fromCharCode(code)}b`);
    assertEquals(made, code === 9 ? "a b" : "a\ufffdb");
  }
  for (const sign of "\u2028\u2029\u202a\u202e\u2066\u2069\u200e\u200f\u061c") {
    assertEquals(clean(sign), "\ufffd");
  }
});

// The client on a terminal

/**
 * Runs a program on a terminal of its own: each line in is the bytes of keys, each line out those of what
 * the program writes; at first its process, and at last how it has ended, and whether the terminal's modes
 * are what they were.
 */
const ON_A_TERMINAL = `
import fcntl, os, pty, select, struct, subprocess, sys, termios, threading
master, slave = pty.openpty()
size = struct.pack("HHHH", 24, int(sys.argv[1]), 0, 0)
fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
before = termios.tcgetattr(slave)
child = subprocess.Popen(sys.argv[2:], stdin=slave, stdout=slave, stderr=slave)
print(child.pid)
def keys():
    for line in sys.stdin:
        data = bytes.fromhex(line)
        while data:
            data = data[os.write(master, data):]
threading.Thread(target=keys, daemon=True).start()
over, end = os.pipe()
def wait():
    child.wait()
    os.write(end, b"x")
threading.Thread(target=wait, daemon=True).start()
while True:
    ready, _, _ = select.select([master, over], [], [])
    if master in ready:
        print(os.read(master, 65536).hex())
    else:
        break
restored = termios.tcgetattr(slave) == before
print("end", child.returncode, "restored" if restored else "changed")
os._exit(0)
`;

/** What stands for the sequence EL, which clears the rest of a row. */
const EL = "\ue000";

/** A client on a terminal. */
class Terminal implements AsyncDisposable {
  readonly #python: Program;
  readonly #columns: number;
  #pid = 0;
  #written = "";
  readonly #decoder = new TextDecoder();

  constructor(python: Program, columns: number) {
    this.#python = python;
    this.#columns = columns;
  }

  static async open(columns: number, ...args: string[]): Promise<Terminal> {
    const python = await startPython(
      ON_A_TERMINAL,
      String(columns),
      ...commandOf("chat_client"),
      ...args,
    );
    const terminal = new Terminal(python, columns);
    terminal.#pid = Number(await python.line());
    return terminal;
  }

  /** What stands on it, row by row, as far as a terminal goes that knows CR, LF, BEL and EL. */
  get rows(): string[] {
    const rows = [""];
    let column = 0;
    for (const part of this.#written.replaceAll("\x1b[K", EL)) {
      const row = rows.at(-1)!;
      if (part === EL) rows[rows.length - 1] = row.slice(0, column);
      else if (part === "\r") column = 0;
      else if (part === "\n") rows.push("");
      else if (part !== "\x07") {
        assert(part >= " ", `${part.charCodeAt(0)} on the terminal`);
        if (column === this.#columns) {
          rows.push(part);
          column = 1;
        } else {
          rows[rows.length - 1] = row.slice(0, column) + part +
            row.slice(column + 1);
          column++;
        }
      }
    }
    return rows;
  }

  get bells(): number {
    return this.#written.split("\x07").length - 1;
  }

  async type(keys: string): Promise<void> {
    const bytes = Array.from(
      utf8(keys),
      (byte) => byte.toString(16).padStart(2, "0"),
    );
    await this.#python.send(bytes.join(""));
  }

  /** Waits until these are the last rows. */
  async shows(...rows: string[]): Promise<void> {
    const wanted = JSON.stringify(rows);
    while (JSON.stringify(this.rows.slice(-rows.length)) !== wanted) {
      const line = await this.#python.line();
      if (line.startsWith("end")) {
        throw new Error(`${line}: ${JSON.stringify(this.rows)}`);
      }
      this.#take(line);
    }
  }

  #take(line: string): void {
    const bytes = line.match(/../g)?.map((byte) => parseInt(byte, 16)) ?? [];
    this.#written += this.#decoder.decode(new Uint8Array(bytes), {
      stream: true,
    });
  }

  kill(signal: Deno.Signal): void {
    Deno.kill(this.#pid, signal);
  }

  /** Waits for the end, with this exit code, and these last rows; the terminal is as it was. */
  async ends(code: number, ...rows: string[]): Promise<void> {
    let line = await this.#python.line();
    for (; !line.startsWith("end"); line = await this.#python.line()) {
      this.#take(line);
    }
    assertEquals(line, `end ${code} restored`);
    assertEquals(this.rows.slice(this.rows.length - rows.length), rows);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#python[Symbol.asyncDispose]();
  }
}

const hasTerminals = Deno.build.os !== "windows";

function testTerminal(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: !hasTerminals, fn });
}

testTerminal(
  "on a terminal, what is typed half stays while others speak",
  async () => {
    await using chat = await open();
    using ada = await chat.join("ada");
    await using bob = await Terminal.open(40, "--nick", "bob", chat.address);
    await bob.shows(HELLO, "* bob has joined", "> ");
    await ada.hears("* bob has joined");
    await bob.type("hel");
    await bob.shows("> hel");
    await ada.say("are you there?");
    await bob.shows("* bob has joined", "<ada> are you there?", "> hel");
    await bob.type("lo 👋");
    await bob.shows("<ada> are you there?", "> hello 👋");
    await ada.say("one", "two");
    await bob.shows("<ada> one", "<ada> two", "> hello 👋");
    await bob.type("\x7f!?\x7f");
    await bob.shows("<ada> two", "> hello !");
    await bob.type("\r");
    await bob.shows("<ada> two", "<bob> hello !", "> ");
    await bob.type("never said\x15\x1b[A/who\r");
    await bob.shows("<bob> hello !", "* 2 here: ada, bob", "> ");
    await ada.hears(
      "<ada> are you there?",
      "<ada> one",
      "<ada> two",
      "<bob> hello !",
    );
    // Ctrl+D is no end in a line.
    await bob.type("x\x04y");
    await bob.shows("* 2 here: ada, bob", "> xy");
    await bob.type("\x15\x04");
    await bob.ends(0, "* 2 here: ada, bob", "");
    await ada.hears("* bob has left");
  },
);

testTerminal(
  "on a terminal, one is asked for a name, and again for another",
  async () => {
    await using chat = await open();
    using ada = await chat.join("ada");
    await using bob = await Terminal.open(80, chat.address);
    await bob.shows(HELLO, "name: ");
    await bob.type("ada\r");
    await bob.shows(HELLO, "* ada is taken", "> ");
    await bob.type("bob\r");
    await bob.shows("* ada is taken", "* bob has joined", "> ");
    await ada.hears("* bob has joined");
    await bob.type("/quit\r");
    await bob.ends(
      0,
      "* goodbye",
      "* the server has closed the connection",
      "",
    );
  },
);

testTerminal("on a narrow terminal a long line stays on its row", async () => {
  await using chat = await open();
  using ada = await chat.join("ada");
  await using bob = await Terminal.open(20, "--nick", "bob", chat.address);
  await bob.shows("* bob has joined", "> ");
  await bob.type("abcdefghijklmnopqrstuvwxyz");
  await bob.shows("* bob has joined", "> jklmnopqrstuvwxyz");
  await ada.say("hello");
  await bob.shows("* bob has joined", "<ada> hello", "> jklmnopqrstuvwxyz");
  await bob.type("\r");
  // A message may take several rows.
  await bob.shows("<ada> hello", "<bob> abcdefghijklmn", "opqrstuvwxyz", "> ");
  await bob.type("x".repeat(1002));
  await bob.shows(`> ${"x".repeat(17)}`);
  assertEquals(bob.bells, 2);
  await ada.hears(
    "* bob has joined",
    "<ada> hello",
    "<bob> abcdefghijklmnopqrstuvwxyz",
  );
  await bob.type("\r");
  await ada.hears(`<bob> ${"x".repeat(1000)}`);
});

testTerminal("the terminal is as before on every way out", async () => {
  await using chat = await open();
  using ada = await chat.join("ada");
  const args = ["--nick", "bob", chat.address];
  for (const way of ["\x03", "SIGINT", "SIGTERM"] as const) {
    await using bob = await Terminal.open(80, ...args);
    await bob.shows("* bob has joined", "> ");
    await bob.type("half");
    await bob.shows("* bob has joined", "> half");
    if (way === "\x03") await bob.type(way);
    else bob.kill(way);
    await bob.ends(0, "* bob has joined", "");
    await ada.hears("* bob has joined", "* bob has left");
  }
  {
    await using bob = await Terminal.open(80, ...args);
    await bob.shows("* bob has joined", "> ");
    chat.program.kill("SIGTERM");
    await bob.ends(0, GOODBYE, "* the server has closed the connection", "");
  }
  await using unreachable = await Terminal.open(80, "127.0.0.1:1");
  await unreachable.ends(
    1,
    "error: Cannot connect to tcp 127.0.0.1:1: Connection refused (ECONNREFUSED)",
    "",
  );
});

testTerminal(
  "an error of the server's leaves the terminal as it was",
  async () => {
    await using listener = await listenTcp({ hostname: "127.0.0.1" });
    const address = `127.0.0.1:${listener.addr.port}`;
    await using terminal = await Terminal.open(80, address);
    using peer = new Peer(await listener.accept());
    await terminal.shows("name: ");
    await terminal.type("half");
    await terminal.shows("name: half");
    const flooding = peer.conn.writeAll(new Uint8Array(2 << 20).fill(97))
      .catch(() => {});
    await terminal.ends(1);
    await flooding;
    assertMatch(
      terminal.rows.at(-2)!,
      /^error: a line is longer than 1048576 bytes$/m,
    );
  },
);

Deno.test({
  name: "Ctrl+C is heard while the server does not listen",
  ignore: !hasAbstract,
  async fn() {
    const name = `chat-${crypto.randomUUID()}`;
    await using listener = await listenUnix({ path: `\0${name}` });
    await using terminal = await Terminal.open(80, `unix:@${name}`);
    using peer = new Peer(await listener.accept());
    await terminal.shows("name: ");
    // More than a Unix socket holds.
    await terminal.type(`${"x".repeat(999)}\r`.repeat(300));
    await terminal.type("\x03");
    await terminal.ends(0);
    assertEquals(await peer.hear(), "x".repeat(999));
  },
});
