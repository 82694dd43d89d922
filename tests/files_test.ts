/** The sender and the receiver of files as they are run: with the grants that their headers name. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { once } from "node:events";
import { connect as connectNode } from "node:net";
import {
  BufferedReader,
  connectTcp,
  encodeFrame,
  listenTcp,
  type TcpConn,
  writeFrame,
} from "../mod.ts";
import { pattern, text, utf8 } from "./_bytes.ts";
import { tempPath } from "./_pairs.ts";
import { type Ended, Program, startPython } from "./_process.ts";
import {
  assertOneLine,
  commandOf,
  commandsOf,
  linesOf,
  runProgram,
  startProgram,
} from "./_programs.ts";

const isUnix = Deno.build.os !== "windows";
const isLinux = Deno.build.os === "linux";

const FRAME = { bytes: 4 } as const;

const SUM = "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab";

/** A folder in which the programs run: what their grants name is in it. */
class Desk implements AsyncDisposable {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async make(files: Record<string, string | Uint8Array> = {}) {
    const desk = new Desk(await Deno.makeTempDir());
    await Deno.mkdir(desk.path("inbox"));
    for (const [name, content] of Object.entries(files)) {
      await desk.write(name, content);
    }
    return desk;
  }

  path(name: string): string {
    return `${this.folder}/${name}`;
  }

  async write(name: string, content: string | Uint8Array): Promise<void> {
    const path = this.path(name);
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    if (typeof content === "string") await Deno.writeTextFile(path, content);
    else await Deno.writeFile(path, content);
  }

  read(name: string): Promise<string> {
    return Deno.readTextFile(this.path(name));
  }

  /** Everything in a folder, sorted; folders end with a slash. */
  async list(name = "inbox"): Promise<string[]> {
    const found: string[] = [];
    for await (const entry of Deno.readDir(this.path(name))) {
      if (!entry.isDirectory) found.push(entry.name);
      else {
        found.push(`${entry.name}/`);
        const inner = await this.list(`${name}/${entry.name}`);
        found.push(...inner.map((child) => `${entry.name}/${child}`));
      }
    }
    return found.sort();
  }

  /** Starts a receiver. */
  async receiver(...options: string[]): Promise<Receiver> {
    const args = [...options, "inbox", "127.0.0.1:0"];
    return await Receiver.of(startProgram("file_receive", args, this.folder));
  }

  /** Starts a sender of what its grants name. */
  sender(...args: string[]): Program {
    return startProgram("file_send", args, this.folder);
  }

  /** Runs a sender to its end. */
  async send(...args: string[]): Promise<Ended> {
    await using program = this.sender(...args);
    return await program.ended();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** A receiver at work. */
class Receiver implements AsyncDisposable {
  readonly program: Program;
  readonly address: string;

  private constructor(program: Program, address: string) {
    this.program = program;
    this.address = address;
  }

  static async of(program: Program): Promise<Receiver> {
    const line = await program.line();
    assertMatch(line, /^listening on 127\.0\.0\.1:\d+$/);
    return new Receiver(program, line.slice("listening on ".length));
  }

  ended(): Promise<Ended> {
    return this.program.ended();
  }

  /** A sender that says what it likes. */
  async raw(): Promise<Raw> {
    const [hostname, port] = this.address.split(":");
    return new Raw(
      await connectTcp({ hostname: hostname!, port: Number(port) }),
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.program[Symbol.asyncDispose]();
  }
}

/** One side of the protocol, by hand. */
class Raw implements Disposable {
  readonly conn: TcpConn;
  readonly reader: BufferedReader;

  constructor(conn: TcpConn) {
    this.conn = conn;
    this.reader = new BufferedReader(conn);
  }

  /** Sends a message: JSON, or what is given. */
  async say(message: unknown): Promise<void> {
    const bytes = message instanceof Uint8Array
      ? message
      : utf8(JSON.stringify(message));
    await writeFrame(this.conn, bytes, FRAME);
  }

  /** The next message; `null` at the end. */
  async hear(): Promise<Record<string, unknown> | null> {
    for (;;) {
      const frame = await this.reader.readFrame(FRAME);
      if (frame === null) return null;
      if (frame.length > 0) return JSON.parse(text(frame));
    }
  }

  /** Sends content as it is. */
  async content(bytes: Uint8Array): Promise<void> {
    await this.conn.writeAll(bytes);
  }

  [Symbol.dispose](): void {
    this.conn.close();
  }
}

/** A receiver that says what it likes: the address, and its first sender. */
async function rawReceiver() {
  const listener = await listenTcp({ hostname: "127.0.0.1", port: 0 });
  return {
    address: `127.0.0.1:${listener.addr.port}`,
    async accept(): Promise<Raw> {
      return new Raw(await listener.accept());
    },
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  };
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return new Uint8Array(digest).toHex();
}

/** The lines of a sender, without its summary, whose times nobody knows. */
function sentLines(ended: Ended): string[] {
  const lines = linesOf(ended);
  assertMatch(
    lines.pop()!,
    /^\d+ files?, \d+ folders?: \d+ bytes? in \d+\.\d s, [\d.]+ (bytes?|[kMG]B)\/s$/,
  );
  return lines;
}

/** The lines of a receiver; a sender's port is nobody's business. */
function receivedLines(ended: Ended): string[] {
  return linesOf(ended).map((line) =>
    line.replace(/^127\.0\.0\.1:\d+/, "SENDER")
  );
}

/** The lines of stderr of a program that ended with 1. */
function errorsOf({ code, signal, stderr }: Ended): string[] {
  assertEquals([code, signal], [1, null], stderr);
  return stderr.trimEnd().split("\n");
}

// The command line

Deno.test("the sender and the receiver say their grants: the net, and what is named", () => {
  assertEquals(commandsOf("file_receive"), [
    ["--allow-net", "--allow-read=inbox", "--allow-write=inbox"],
    ["--allow-net", "--allow-read=inbox", "--allow-write=inbox"],
  ]);
  assertEquals(commandsOf("file_send"), [
    ["--allow-net", "--allow-read=notes.txt,photos"],
    ["--allow-net", "--allow-read=disk.img"],
    ["--allow-net", "--allow-read=disk.img"],
  ]);
});

Deno.test("--help says how, and what is wrong is one clear line before anybody is called", async () => {
  for (const name of ["file_send", "file_receive"]) {
    const { code, stdout, stderr } = await runProgram(name, "--help");
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, new RegExp(`\n\nUsage: ${name}\\.ts `));
  }
  await using desk = await Desk.make({ "notes.txt": "x" });
  if (isUnix) await Deno.symlink("notes.txt", desk.path("photos"));
  const number = "expected an integer from 1 to \\d+";
  const there = ["127.0.0.1:1", "notes.txt"];
  for (
    const [name, args, line] of [
      ["file_send", ["--loud"], "unknown option --loud; see --help"],
      ["file_send", ["127.0.0.1:1"], "an ADDRESS and at least one PATH, .*"],
      ["file_send", ["127.0.0.1", "notes.txt"], "Invalid address .*"],
      ["file_send", ["-t", "0", ...there], `invalid --timeout 0: ${number}`],
      ["file_send", ["-r", "-n", ...there], "--resume needs the checksum"],
      ["file_send", ["127.0.0.1:1", "photos/x"], "photos/x: .*"],
      ["file_send", ["127.0.0.1:1", "other"], "other: Requires read access .*"],
      ...(isUnix
        ? [[
          "file_send",
          ["127.0.0.1:1", "notes.txt", "photos"],
          "photos: a symbolic link, which is not followed",
        ]] as const
        : []),
      ["file_receive", [], "one FOLDER and perhaps an ADDRESS, please; .*"],
      ["file_receive", ["a", "b", "c"], "one FOLDER and perhaps an .*"],
      ["file_receive", ["inbox", "nowhere"], "Invalid address .*"],
      ["file_receive", ["-t", "x", "inbox"], `invalid --timeout x: ${number}`],
      ["file_receive", ["inbox/no", "127.0.0.1:0"], "No such file .*"],
    ] as const
  ) {
    await using program = startProgram(name, args, desk.folder);
    assertOneLine(await program.ended(), new RegExp(`^error: ${line}$`, "m"));
  }
  await using listener = await rawReceiver();
  const { address } = listener;
  await listener[Symbol.asyncDispose]();
  assertOneLine(
    await desk.send(address, "notes.txt"),
    /^error: Cannot connect to tcp .*ECONNREFUSED\)$/m,
  );
});

Deno.test({
  name: "what is neither a file nor a folder is no path to send",
  ignore: !isUnix,
  async fn() {
    await using desk = await Desk.make();
    const args = [desk.path("photos")];
    await new Deno.Command("mkfifo", { args }).output();
    assertOneLine(
      await desk.send("127.0.0.1:1", "photos"),
      /^error: photos: neither a file nor a folder$/m,
    );
  },
});

Deno.test("a receiver into a file, or without a grant, says so", async () => {
  await using desk = await Desk.make({ "inbox/file": "x" });
  const [net, read, write] = commandsOf("file_receive")[0] as [
    string,
    string,
    string,
  ];
  for (
    const [flags, folder, line] of [
      [[net, read, write], "inbox/file", "inbox/file is no folder"],
      [[read, write], "inbox", "Cannot listen on .*: Requires net access .*"],
      [[net, write], "inbox", "Requires read access .*"],
      [[net, read], "inbox", "no permission to write: .*=inbox"],
    ] as const
  ) {
    const [command, ...rest] = commandOf("file_receive", flags);
    await using program = new Program(
      command!,
      [...rest, folder, "127.0.0.1:0"],
      desk.folder,
    );
    assertOneLine(await program.ended(), new RegExp(`^error: ${line}$`, "m"));
  }
});

// Files and folders

Deno.test("files and folders arrive as they are, empty ones too; links are skipped", async () => {
  const large = pattern(3_000_001);
  await using desk = await Desk.make({
    "notes.txt": "hello",
    "photos/b/large": large,
    "photos/a/none": "",
    "photos/ü ñ": "x",
  });
  await Deno.mkdir(desk.path("photos/empty"));
  if (isUnix) {
    await Deno.chmod(desk.path("photos/b/large"), 0o755);
    await Deno.chmod(desk.path("notes.txt"), 0o400);
  }
  await Deno.symlink("/etc", desk.path("photos/link"), { type: "dir" });
  await using receiver = await desk.receiver();
  assertEquals(
    sentLines(await desk.send(receiver.address, "notes.txt", "photos/")),
    [
      "notes.txt: 5 bytes",
      "photos/",
      "photos/a/",
      "photos/a/none: 0 bytes",
      "photos/b/",
      "photos/b/large: 3000001 bytes",
      "photos/empty/",
      "photos/link: skipped, a symbolic link",
      "photos/ü ñ: 1 byte",
    ],
  );
  assertEquals(receivedLines(await receiver.ended()), [
    "notes.txt: 5 bytes, checksum right",
    "photos/",
    "photos/a/",
    "photos/a/none: 0 bytes, checksum right",
    "photos/b/",
    "photos/b/large: 3000001 bytes, checksum right",
    "photos/empty/",
    "photos/ü ñ: 1 byte, checksum right",
    "SENDER: 4 files, 4 folders, 3000007 bytes",
  ]);
  assertEquals(await desk.list(), [
    "notes.txt",
    "photos/",
    "photos/a/",
    "photos/a/none",
    "photos/b/",
    "photos/b/large",
    "photos/empty/",
    "photos/ü ñ",
  ]);
  assertEquals(await Deno.readFile(desk.path("inbox/photos/b/large")), large);
  assertEquals(await desk.read("inbox/notes.txt"), "hello");
  if (isUnix) {
    const mode = (name: string) => Deno.statSync(desk.path(name)).mode! & 0o777;
    assertEquals(mode("inbox/photos/b/large") & 0o700, 0o700);
    // The receiver can write what it has got, and nobody sees what the sender kept to itself.
    assertEquals(mode("inbox/notes.txt"), 0o600);
  }
});

Deno.test("a path without a name of its own stands for what is in it", async () => {
  await using desk = await Desk.make({ "photos/a": "1", "photos/b/c": "2" });
  await using receiver = await desk.receiver();
  assertEquals(sentLines(await desk.send(receiver.address, "photos/b/..")), [
    "a: 1 byte",
    "b/",
    "b/c: 1 byte",
  ]);
  linesOf(await receiver.ended());
  assertEquals(await desk.list(), ["a", "b/", "b/c"]);
});

Deno.test("without a checksum sizes count, and both sides say so", async () => {
  const large = pattern(5_000_000);
  await using desk = await Desk.make({ "notes.txt": large });
  await using receiver = await desk.receiver();
  assertEquals(
    sentLines(await desk.send("--no-checksum", receiver.address, "notes.txt")),
    ["notes.txt: 5000000 bytes"],
  );
  assertEquals(receivedLines(await receiver.ended()), [
    "notes.txt: 5000000 bytes, no checksum",
    "SENDER: 1 file, 0 folders, 5000000 bytes",
  ]);
  assertEquals(await Deno.readFile(desk.path("inbox/notes.txt")), large);
});

Deno.test({
  name: "over a Unix socket",
  ignore: !isUnix,
  async fn() {
    await using desk = await Desk.make({ "notes.txt": "hello" });
    await using temp = await tempPath();
    const start = (name: string, ...args: string[]) => {
      const [command, ...rest] = commandOf(name, ["-A"]);
      return new Program(command!, [...rest, ...args], desk.folder);
    };
    const address = `unix:${temp.path}`;
    await using receiver = start("file_receive", "inbox", address);
    assertEquals(await receiver.line(), `listening on ${address}`);
    await using sender = start("file_send", address, "notes.txt");
    assertEquals(sentLines(await sender.ended()), ["notes.txt: 5 bytes"]);
    assertEquals(linesOf(await receiver.ended()), [
      "notes.txt: 5 bytes, checksum right",
      "unix:(unnamed): 1 file, 0 folders, 5 bytes",
    ]);
  },
});

Deno.test({
  name:
    "names as long as the system takes them arrive; one that cannot be read or written stops no other",
  ignore: !isLinux,
  async fn() {
    const long = "ä".repeat(127);
    await using desk = await Desk.make({
      [`photos/${long}`]: "1",
      "notes.txt": "2",
    });
    await using receiver = await desk.receiver();
    using sender = await receiver.raw();
    const file = { kind: "file", size: 1, sha256: SUM };
    await sender.say({ ...file, name: "x".repeat(256) });
    assertEquals(await sender.hear(), {
      refused: "File name too long (ENAMETOOLONG)",
    });
    await sender.say({ ...file, name: long, sha256: undefined });
    assertEquals(await sender.hear(), { at: 0 });
    const [part] = await desk.list();
    assertEquals(part, `.${"ä".repeat(122)}.part`);
    await sender.content(utf8("1"));
    await sender.say(utf8(""));
    assertEquals(await sender.hear(), { done: true });
    await sender.conn.closeWrite();
    const ended = await receiver.ended();
    assertEquals(errorsOf(ended), [
      `error: ${"x".repeat(256)}: File name too long (ENAMETOOLONG)`,
    ]);
    assertEquals(await desk.list(), [long]);
  },
});

// Senders

Deno.test("--keep serves one sender after the other, and several at once, until it is stopped", async () => {
  await using desk = await Desk.make({ "notes.txt": "hello", "photos/a": "x" });
  await using receiver = await desk.receiver("--keep");
  using waiting = await receiver.raw();
  await waiting.say({ kind: "file", name: "slow", size: 3 });
  assertEquals(await waiting.hear(), { at: 0 });
  sentLines(await desk.send(receiver.address, "notes.txt"));
  sentLines(await desk.send(receiver.address, "photos"));
  await waiting.content(utf8("abc"));
  await waiting.say(utf8(""));
  assertEquals(await waiting.hear(), { done: true });
  await waiting.conn.closeWrite();
  assertEquals(await waiting.hear(), null);
  for (let i = 0; i < 7; i++) await receiver.program.line();
  receiver.program.kill("SIGINT");
  assertEquals(await receiver.ended(), {
    code: 0,
    signal: null,
    stdout: "",
    stderr: "",
  });
  assertEquals(await desk.list(), ["notes.txt", "photos/", "photos/a", "slow"]);
});

Deno.test("a receiver of one sender hears no other one meanwhile", async () => {
  await using desk = await Desk.make();
  await using receiver = await desk.receiver();
  using first = await receiver.raw();
  await first.say({ kind: "folder", name: "a", size: 0 });
  assertEquals(await first.hear(), { done: true });
  using second = await receiver.raw();
  await second.say({ kind: "folder", name: "b", size: 0 });
  await first.say({ kind: "folder", name: "c", size: 0 });
  assertEquals(await first.hear(), { done: true });
  await first.conn.closeWrite();
  assertEquals(await first.hear(), null);
  // It was never accepted: its end is one, or a reset.
  assertEquals(await second.hear().catch(() => null), null);
  const { code, stderr } = await receiver.ended();
  assertEquals([code, stderr], [0, ""]);
  assertEquals(await desk.list(), ["a/", "c/"]);
});

Deno.test("a receiver of one sender ends after it, also if nothing came", async () => {
  await using desk = await Desk.make();
  await using receiver = await desk.receiver();
  using sender = await receiver.raw();
  await sender.conn.closeWrite();
  assertEquals(await sender.hear(), null);
  sender.conn.close();
  assertEquals(receivedLines(await receiver.ended()), [
    "SENDER: 0 files, 0 folders, 0 bytes",
  ]);
});

Deno.test("a receiver that waits ends well when it is stopped", async () => {
  await using desk = await Desk.make();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    await using receiver = await desk.receiver();
    receiver.program.kill(signal);
    assertEquals(await receiver.ended(), {
      code: 0,
      signal: null,
      stdout: "",
      stderr: "",
    });
  }
});

Deno.test("two senders of one folder at once: each file comes from one of them", async () => {
  const names = Array.from({ length: 20 }, (_, i) => `photos/${i}/x`);
  await using desk = await Desk.make(
    Object.fromEntries(names.map((name) => [name, "x"])),
  );
  await using receiver = await desk.receiver("--keep", "--overwrite");
  const both = await Promise.all(
    [1, 2].map(() => desk.send(receiver.address, "photos")),
  );
  for (const { stdout, stderr } of both) {
    // A folder is there for both of them; a file may be another's for a moment.
    assertEquals(stdout.match(/^photos\/\d+\/$/gm)?.length, 20, stdout);
    const left = stderr.replace(
      /^error: photos\/\d+\/x: another sender is sending it\n/gm,
      "",
    );
    assertEquals(left, "");
  }
  assertEquals(
    (await desk.list()).filter((name) => !name.endsWith("/")),
    names.toSorted(),
  );
});

// What is there

Deno.test("a file that is there is refused, the others arrive, and both sides end with 1", async () => {
  await using desk = await Desk.make({
    "photos/a": "new",
    "photos/b": "x",
    "inbox/photos/a": "old",
  });
  await using receiver = await desk.receiver();
  const sent = await desk.send(receiver.address, "photos");
  assertEquals(errorsOf(sent), ["error: photos/a: it is there already"]);
  assertEquals(sent.stdout.split("\n").slice(0, 2), [
    "photos/",
    "photos/b: 1 byte",
  ]);
  const received = await receiver.ended();
  assertEquals(errorsOf(received), ["error: photos/a: it is there already"]);
  assertEquals(await desk.read("inbox/photos/a"), "old");
  assertEquals(await desk.list(), ["photos/", "photos/a", "photos/b"]);
});

Deno.test("--overwrite replaces a file at once, when the new one is whole", async () => {
  await using desk = await Desk.make({ "inbox/f": "old" });
  await using receiver = await desk.receiver("--overwrite");
  using old = await Deno.open(desk.path("inbox/f"));
  using sender = await receiver.raw();
  await sender.say({ kind: "file", name: "f", size: 3 });
  assertEquals(await sender.hear(), { at: 0 });
  await sender.content(utf8("ne"));
  assertEquals(await desk.read("inbox/f"), "old");
  await sender.content(utf8("w"));
  await sender.say(utf8(""));
  assertEquals(await sender.hear(), { done: true });
  assertEquals(await desk.read("inbox/f"), "new");
  // Whoever had the old one open still has it: it was replaced, not written to.
  assertEquals(await new Response(old.readable).text(), "old");
  await sender.conn.closeWrite();
  linesOf(await receiver.ended());
  assertEquals(await desk.list(), ["f"]);
});

Deno.test("a file that got the name meanwhile is not replaced", async () => {
  await using desk = await Desk.make();
  await using receiver = await desk.receiver();
  using sender = await receiver.raw();
  await sender.say({ kind: "file", name: "f", size: 1 });
  assertEquals(await sender.hear(), { at: 0 });
  await desk.write("inbox/f", "mine");
  await sender.content(utf8("x"));
  await sender.say(utf8(""));
  assertEquals(await sender.hear(), { refused: "it is there already" });
  sender.conn.close();
  assertEquals(errorsOf(await receiver.ended()), [
    "error: f: it is there already",
  ]);
  assertEquals(await desk.read("inbox/f"), "mine");
  assertEquals(await desk.list(), ["f"]);
});

Deno.test("folders and other things are not replaced by files, nor files by folders", async () => {
  await using desk = await Desk.make({ "inbox/file": "x", "inbox/d/x": "x" });
  await Deno.symlink("file", desk.path("inbox/link"));
  await using receiver = await desk.receiver("--overwrite");
  using sender = await receiver.raw();
  for (
    const [kind, name, refused] of [
      ["file", "d", "no file is there, but something else"],
      ["file", "link", "a symbolic link is there"],
      ["folder", "file", "file is no folder here"],
      ["file", "file/x", "file is no folder here"],
    ]
  ) {
    await sender.say({ kind, name, size: 0 });
    assertEquals(await sender.hear(), { refused }, name);
  }
  await sender.say({ kind: "folder", name: "d", size: 0 });
  assertEquals(await sender.hear(), { done: true });
  sender.conn.close();
  assertEquals(errorsOf(await receiver.ended()).length, 4);
  assertEquals(await desk.list(), ["d/", "d/x", "file", "link"]);
  assertEquals(await desk.read("inbox/file"), "x");
});

// Hostile senders

Deno.test("names that leave the folder are refused, and nothing is written", async () => {
  await using desk = await Desk.make({ "outside/secret": "x" });
  await Deno.symlink("../outside", desk.path("inbox/link"), { type: "dir" });
  await Deno.symlink("../new", desk.path("inbox/dangling"));
  await using receiver = await desk.receiver("--overwrite");
  using sender = await receiver.raw();
  const refusals: string[] = [];
  const leaves = "the name leaves the folder";
  const own = "the name is one of the receiver's own";
  const step = "the name has an empty step";
  const chars = "the name has a NUL or a backslash";
  for (
    const [name, refused, shown = name] of [
      ["", "the name is empty"],
      ["/etc/x", leaves],
      ["//x", leaves],
      ["..", leaves],
      ["../x", leaves],
      ["a/../../x", leaves],
      ["a/..", leaves],
      ["C:/x", leaves],
      ["c:x", leaves],
      [desk.path("outside/x"), leaves],
      ["..\\x", chars],
      ["\\\\host\\x", chars],
      ["a\0b", chars, "a\\u{0}b"],
      [".", step],
      ["./x", step],
      ["a//b", step],
      ["a/", step],
      [".x.part", own],
      ["a/.x.PART.json/b", own],
      ["link/x", "link is a symbolic link here"],
      ["link/new/x", "link is a symbolic link here"],
      ["link", "a symbolic link is there"],
      ["dangling", "a symbolic link is there"],
      ["dangling/x", "dangling is a symbolic link here"],
      ["d/".repeat(2048) + "x", "the name is too long"],
    ]
  ) {
    for (const kind of ["file", "folder"]) {
      if (kind === "folder" && /symbolic/.test(refused!)) continue;
      await sender.say({ kind, name, size: 0 });
      assertEquals(await sender.hear(), { refused }, name);
      refusals.push(`error: ${shown}: ${refused}`);
    }
  }
  await sender.say({ kind: "folder", name: "link", size: 0 });
  assertEquals(await sender.hear(), {
    refused: "link is a symbolic link here",
  });
  await sender.conn.closeWrite();
  assertEquals(await sender.hear(), null);
  sender.conn.close();
  assertEquals(errorsOf(await receiver.ended()), [
    ...refusals,
    "error: link: link is a symbolic link here",
  ]);
  assertEquals(await desk.list("."), [
    "inbox/",
    "inbox/dangling",
    "inbox/link",
    "outside/",
    "outside/secret",
  ]);
});

Deno.test("a message that is no header ends the conversation with one line to both sides", async () => {
  await using desk = await Desk.make();
  const header = { kind: "file", name: "f", size: 1 };
  const noObject = "a message is not a JSON object";
  const no = (what: string) => `a header has no valid ${what}`;
  const long = "a message is longer than 32768 bytes";
  for (
    const [message, refused] of [
      [utf8("{"), noObject],
      [utf8("GET / HTTP/1.1"), noObject],
      [new Uint8Array([0xff, 0xfe]), noObject],
      [[], noObject],
      [null, noObject],
      [1, noObject],
      [{}, no("kind")],
      [{ ...header, kind: "link" }, no("kind")],
      [{ ...header, name: undefined }, no("name")],
      [{ ...header, name: 5 }, no("name")],
      [{ ...header, size: undefined }, no("size")],
      [{ ...header, size: -1 }, no("size")],
      [{ ...header, size: 1.5 }, no("size")],
      [{ ...header, size: "1" }, no("size")],
      [{ ...header, size: 2 ** 53 }, no("size")],
      [utf8('{"kind":"file","name":"f","size":1e999}'), no("size")],
      [{ ...header, sha256: "x" }, no("sha256")],
      [{ ...header, sha256: SUM.toUpperCase() }, no("sha256")],
      [{ ...header, sha256: [SUM] }, no("sha256")],
      [{ ...header, mode: 0o10000 }, no("mode")],
      [{ ...header, resume: 1 }, no("resume")],
      [{ ...header, name: "x".repeat(32_768) }, long],
    ] as const
  ) {
    await using receiver = await desk.receiver();
    using sender = await receiver.raw();
    await sender.say(message);
    assertEquals(await sender.hear(), { refused });
    assertEquals(await sender.hear(), null);
    sender.conn.close();
    const ended = await receiver.ended();
    assertEquals(ended.stdout, "");
    assertMatch(ended.stderr, new RegExp(`^error: [\\d.:]+: ${refused}\n$`));
    assertEquals(ended.code, 1);
  }
  for (
    const [bytes, line] of [
      [[0xff, 0xff, 0xff, 0xff], long],
      [[0, 0, 0], "the stream ends in a message"],
      [[0, 0, 0, 9, 0x7b], "the stream ends in a message"],
    ] as const
  ) {
    await using receiver = await desk.receiver();
    using sender = await receiver.raw();
    await sender.content(new Uint8Array(bytes));
    await sender.conn.closeWrite();
    assertEquals(await sender.hear(), { refused: line });
    sender.conn.close();
    const [error, ...more] = errorsOf(await receiver.ended());
    assertMatch(error!, new RegExp(`^error: [\\d.:]+: ${line}$`));
    assertEquals(more, []);
  }
  assertEquals(await desk.list(), []);
});

Deno.test("more than was promised, and another checksum, leave nothing; fewer bytes leave a part", async () => {
  const bytes = utf8("0123456789");
  const sum = await sha256(bytes);
  const gone = (n: number) => `the sender is gone after ${n} of 10 bytes`;
  const goesOn = "; --resume goes on there";
  const more = "more than the 10 bytes promised";
  const end = [0, 0, 0, 0];
  for (
    const [content, sha256, line, left] of [
      [[...bytes, 48, ...end], sum, more, []],
      [[...bytes, 48, ...end], undefined, more, []],
      [[...bytes, 0, 0, 0, 1, 0], sum, more, []],
      [[...bytes, ...end], SUM, "the checksum is wrong", []],
      [[...bytes.subarray(1), 48, ...end], sum, "the checksum is wrong", []],
      [bytes.subarray(0, 4), undefined, gone(4), []],
      [[], sum, gone(0) + goesOn, []],
      [bytes.subarray(0, 4), sum, gone(4) + goesOn, [
        ".f.part",
        ".f.part.json",
      ]],
      // All of it is there, but the sender has not said so: other bytes might have followed.
      [bytes, sum, gone(10) + goesOn, [".f.part", ".f.part.json"]],
      [[...bytes, 0, 0], sum, gone(10) + goesOn, [".f.part", ".f.part.json"]],
    ] as const
  ) {
    await using desk = await Desk.make();
    await using receiver = await desk.receiver();
    using sender = await receiver.raw();
    // Whether it waits for the answer or not.
    await sender.say({ kind: "file", name: "f", size: 10, sha256 });
    await sender.content(new Uint8Array(content));
    await sender.conn.closeWrite();
    assertEquals(await sender.hear(), { at: 0 });
    assertEquals(await sender.hear(), { refused: line });
    sender.conn.close();
    assertEquals(errorsOf(await receiver.ended()), [`error: f: ${line}`]);
    assertEquals(await desk.list(), [...left]);
  }
});

Deno.test("a sender that is reset behind its last byte has not said that it was the last", async () => {
  await using desk = await Desk.make();
  await using receiver = await desk.receiver();
  const [host, port] = receiver.address.split(":");
  const sender = connectNode(Number(port), host);
  const header = { kind: "file", name: "f", size: 100_000, sha256: SUM };
  sender.write(encodeFrame(utf8(JSON.stringify(header)), FRAME));
  sender.write(pattern(100_000));
  for await (const _ of partGrows(desk, ".f.part", 100_000));
  sender.resetAndDestroy();
  await once(sender, "close");
  assertEquals(errorsOf(await receiver.ended()), [
    "error: f: the sender is gone after 100000 of 100000 bytes; --resume goes on there",
  ]);
  assertEquals(await desk.list(), [".f.part", ".f.part.json"]);
});

Deno.test("a sender that is reset is gone, and what it sent stays if it can be resumed", async () => {
  for (const sha256 of [SUM, undefined]) {
    await using desk = await Desk.make();
    await using receiver = await desk.receiver();
    using sender = await receiver.raw();
    await sender.say({ kind: "file", name: "f", size: 2 ** 52, sha256 });
    await sender.content(pattern(100_000));
    // The answer has not been read: the system makes a reset of the close.
    for await (const _ of partGrows(desk, ".f.part", 100_000));
    sender.conn.close();
    assertEquals(errorsOf(await receiver.ended()), [
      `error: f: the sender is gone after 100000 of ${2 ** 52} bytes${
        sha256 === undefined ? "" : "; --resume goes on there"
      }`,
    ]);
    assertEquals(
      await desk.list(),
      sha256 === undefined ? [] : [".f.part", ".f.part.json"],
    );
  }
});

/** Waits until a part has so many bytes. */
async function* partGrows(
  desk: Desk,
  name: string,
  size: number,
): AsyncGenerator<void> {
  for (;;) {
    const info = await Deno.stat(desk.path(`inbox/${name}`)).catch(() => null);
    if (info !== null && info.size >= size) return;
    yield await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

Deno.test("a sender that is silent for too long is given up", async () => {
  await using desk = await Desk.make();
  await using receiver = await desk.receiver("--timeout", "300");
  using sender = await receiver.raw();
  await sender.say({ kind: "file", name: "f", size: 1 });
  assertEquals(await sender.hear(), { at: 0 });
  assertEquals(errorsOf(await receiver.ended()), [
    "error: f: the other side is silent for too long",
  ]);
  assertEquals(await desk.list(), []);
});

Deno.test("empty frames before a header say that a sender is busy", async () => {
  await using desk = await Desk.make();
  await using receiver = await desk.receiver();
  using sender = await receiver.raw();
  for (let i = 0; i < 3; i++) await sender.say(utf8(""));
  await sender.say({ kind: "file", name: "f", size: 0 });
  assertEquals(await sender.hear(), { at: 0 });
  for (let i = 0; i < 3; i++) await sender.say(utf8(""));
  assertEquals(await sender.hear(), { done: true });
  await sender.conn.closeWrite();
  assertEquals(await sender.hear(), null);
  sender.conn.close();
  linesOf(await receiver.ended());
});

Deno.test("both sides say that they are busy while a checksum takes long", async () => {
  await using desk = await Desk.make({ "notes.txt": "", "inbox/f": "" });
  // Nothing is on the disk, but no machine has the checksum of it at once.
  const size = 2 ** 29;
  await Deno.truncate(desk.path("notes.txt"), size);
  await Deno.truncate(desk.path("inbox/f"), size);
  {
    await using listener = await rawReceiver();
    await using sending = desk.sender(listener.address, "notes.txt");
    using receiver = await listener.accept();
    assertEquals(await receiver.reader.readFrame(FRAME), utf8(""));
    assertEquals((await receiver.hear())!["size"], size);
    await receiver.say({ refused: "too large" });
    await receiver.conn.closeWrite();
    errorsOf(await sending.ended());
  }
  await using receiver = await desk.receiver();
  using sender = await receiver.raw();
  await sender.say({
    kind: "file",
    name: "f",
    size,
    sha256: SUM,
    resume: true,
  });
  assertEquals(await sender.reader.readFrame(FRAME), utf8(""));
  assertEquals(await sender.hear(), { refused: "it is there already" });
  sender.conn.close();
  errorsOf(await receiver.ended());
});

Deno.test("a name cannot reach the terminal's state", async () => {
  await using desk = await Desk.make();
  await using receiver = await desk.receiver();
  using sender = await receiver.raw();
  await sender.say({
    kind: "folder",
    name: "a\x1b[2Jb\u009b\u202ec\n",
    size: 0,
  });
  assertEquals(await sender.hear(), { done: true });
  await sender.conn.closeWrite();
  assertEquals(
    receivedLines(await receiver.ended())[0],
    "a\\u{1b}[2Jb\\u{9b}\\u{202e}c\\u{a}/",
  );
});

Deno.test({
  name: "a disk that takes no more is one line to both sides",
  ignore: !isUnix,
  async fn() {
    await using desk = await Desk.make({ "notes.txt": pattern(20_000_000) });
    const limit = `trap "" XFSZ; ulimit -f 2000; exec "$@"`;
    const command = commandOf("file_receive");
    await using receiver = await Receiver.of(
      new Program(
        "sh",
        ["-c", limit, "sh", ...command, "inbox", "127.0.0.1:0"],
        desk.folder,
      ),
    );
    const full = ["error: notes.txt: File too large"];
    assertEquals(
      errorsOf(await desk.send(receiver.address, "notes.txt")),
      full,
    );
    assertEquals(errorsOf(await receiver.ended()), full);
    assertEquals(await desk.list(), [
      ".notes.txt.part",
      ".notes.txt.part.json",
    ]);
  },
});

// Resuming

/** Leaves a part of a file behind. */
async function leavePart(
  desk: Desk,
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
  sent: Uint8Array,
): Promise<void> {
  await using receiver = await desk.receiver();
  using sender = await receiver.raw();
  const sum = await sha256(bytes);
  const { length: size } = bytes;
  await sender.say({ kind: "file", name, size, sha256: sum });
  assertEquals(await sender.hear(), { at: 0 });
  await sender.content(sent);
  sender.conn.close();
  errorsOf(await receiver.ended());
}

Deno.test("--resume goes on where the part ends, and verifies the whole", async () => {
  const bytes = pattern(2_500_000);
  await using desk = await Desk.make({ "notes.txt": bytes });
  for (const there of [1, 1_200_000, 2_500_000]) {
    await leavePart(desk, "notes.txt", bytes, bytes.subarray(0, there));
    assertEquals(await desk.list(), [
      ".notes.txt.part",
      ".notes.txt.part.json",
    ]);
    await using receiver = await desk.receiver();
    assertEquals(
      sentLines(await desk.send("--resume", receiver.address, "notes.txt")),
      [`notes.txt: 2500000 bytes, ${there} of them were there`],
    );
    assertEquals(receivedLines(await receiver.ended()), [
      `notes.txt: 2500000 bytes, ${there} of them were there, checksum right`,
      `SENDER: 1 file, 0 folders, ${
        there === 2_500_000 ? "0 bytes" : `${2_500_000 - there} bytes`
      }`,
    ]);
    assertEquals(await Deno.readFile(desk.path("inbox/notes.txt")), bytes);
    assertEquals(await desk.list(), ["notes.txt"]);
    await Deno.remove(desk.path("inbox/notes.txt"));
  }
});

Deno.test("a part that does not fit starts anew, and so does every file without --resume", async () => {
  const bytes = pattern(100_000);
  const part = bytes.subarray(0, 50_000);
  const anew = ["notes.txt: 100000 bytes"];
  for (
    const [name, change, options] of [
      ["another file", (desk) => desk.write("notes.txt", pattern(100_000, 7)), [
        "-r",
      ]],
      [
        "no note",
        (desk) => Deno.remove(desk.path("inbox/.notes.txt.part.json")),
        [
          "-r",
        ],
      ],
      ["a bad note", (desk) => desk.write("inbox/.notes.txt.part.json", "{"), [
        "-r",
      ]],
      [
        "too long",
        (desk) => desk.write("inbox/.notes.txt.part", pattern(100_001)),
        [
          "-r",
        ],
      ],
      ["no --resume", () => Promise.resolve(), []],
      ["no checksum", () => Promise.resolve(), ["-n"]],
    ] as [string, (desk: Desk) => Promise<void>, string[]][]
  ) {
    await using desk = await Desk.make({ "notes.txt": bytes });
    await leavePart(desk, "notes.txt", bytes, part);
    await change(desk);
    await using receiver = await desk.receiver();
    const sent = await desk.send(...options, receiver.address, "notes.txt");
    assertEquals(sentLines(sent), anew, name);
    linesOf(await receiver.ended());
    assertEquals(await desk.list(), ["notes.txt"], name);
    assertEquals(
      await Deno.readFile(desk.path("inbox/notes.txt")),
      await Deno.readFile(desk.path("notes.txt")),
      name,
    );
  }
});

Deno.test("a part that has changed is found out by the checksum, and is gone", async () => {
  const bytes = pattern(100_000);
  await using desk = await Desk.make({ "notes.txt": bytes });
  await leavePart(desk, "notes.txt", bytes, bytes.subarray(1, 50_001));
  await using receiver = await desk.receiver();
  const wrong = ["error: notes.txt: the checksum is wrong"];
  const sent = await desk.send("--resume", receiver.address, "notes.txt");
  assertEquals(errorsOf(sent), wrong);
  assertEquals(errorsOf(await receiver.ended()), wrong);
  assertEquals(await desk.list(), []);
});

Deno.test("--resume leaves out what is there already, but refuses what is not the same", async () => {
  await using desk = await Desk.make({
    "photos/a": "same",
    "photos/b": "mine",
    "photos/c": "new",
    "inbox/photos/a": "same",
    "inbox/photos/b": "rest",
  });
  await using receiver = await desk.receiver();
  const sent = await desk.send("--resume", receiver.address, "photos");
  const refused = ["error: photos/b: it is there already"];
  assertEquals(errorsOf(sent), refused);
  assertEquals(sent.stdout.split("\n").slice(0, 3), [
    "photos/",
    "photos/a: there already",
    "photos/c: 3 bytes",
  ]);
  assertEquals(errorsOf(await receiver.ended()), refused);
  assertEquals(await desk.read("inbox/photos/b"), "rest");
});

Deno.test("a part belongs to one sender at a time, also of another receiver", async () => {
  await using desk = await Desk.make({ "notes.txt": "hello" });
  await using one = await desk.receiver("--keep");
  await using other = await desk.receiver();
  using sender = await one.raw();
  await sender.say({ kind: "file", name: "notes.txt", size: 3 });
  assertEquals(await sender.hear(), { at: 0 });
  const taken = ["error: notes.txt: another sender is sending it"];
  for (const { address } of [one, other]) {
    assertEquals(errorsOf(await desk.send("-r", address, "notes.txt")), taken);
  }
  assertEquals(errorsOf(await other.ended()), taken);
  await sender.content(utf8("abc"));
  await sender.say(utf8(""));
  assertEquals(await sender.hear(), { done: true });
  assertEquals(await desk.list(), ["notes.txt"]);
  assertEquals(await desk.read("inbox/notes.txt"), "abc");
});

// Interruptions

Deno.test("a signal in the middle stops both sides, and --resume goes on", async () => {
  const bytes = pattern(1000);
  await using desk = await Desk.make({ "notes.txt": bytes });
  await using receiver = await desk.receiver();
  {
    using sender = await receiver.raw();
    await sender.say({
      kind: "file",
      name: "notes.txt",
      size: 1000,
      sha256: await sha256(bytes),
    });
    assertEquals(await sender.hear(), { at: 0 });
    await sender.content(bytes.subarray(0, 600));
    for await (const _ of partGrows(desk, ".notes.txt.part", 600));
    receiver.program.kill("SIGTERM");
    assertEquals(errorsOf(await receiver.ended()), [
      "error: notes.txt: stopped",
    ]);
  }
  await using raw = await rawReceiver();
  await using sending = desk.sender(raw.address, "notes.txt");
  using hearing = await raw.accept();
  await hearing.hear();
  sending.kill("SIGINT");
  assertOneLine(await sending.ended(), /^error: notes\.txt: stopped$/m);

  await using again = await desk.receiver();
  assertEquals(
    sentLines(await desk.send("--resume", again.address, "notes.txt")),
    ["notes.txt: 1000 bytes, 600 of them were there"],
  );
  linesOf(await again.ended());
  assertEquals(await desk.list(), ["notes.txt"]);
});

// Hostile receivers

Deno.test("what a receiver may not answer is one clear line", async () => {
  const nonsense = "the receiver's answer makes no sense";
  await using desk = await Desk.make({ "notes.txt": "hello" });
  for (
    const [options, answers, line] of [
      [[], [null], "the receiver is gone"],
      [[], [{}], nonsense],
      [[], [utf8("at 0")], "a message is not a JSON object"],
      [[], [{ at: 1 }], nonsense],
      [[], [{ have: true }], nonsense],
      [["-r"], [{ at: 6 }], nonsense],
      [["-r"], [{ at: -1 }], nonsense],
      [["-r"], [{ at: 0.5 }], nonsense],
      [["-r"], [{ at: "0" }], nonsense],
      [[], [{ done: true }], nonsense],
      [[], [{ at: 0 }, { at: 0 }], nonsense],
      [[], [{ at: 0 }, null], "the receiver is gone"],
      [[], [{ refused: "no\x1b[2J" }], "no\\u{1b}[2J"],
      [[], [{ refused: { toString: 1 } }], nonsense],
      [[], [{ at: 0 }, { refused: 7 }], nonsense],
      [[], [{ at: 0 }, { refused: "full" }], "full"],
      [["-r"], [utf8(""), { at: 5 }, utf8(""), { refused: "x" }], "x"],
    ] as const
  ) {
    await using listener = await rawReceiver();
    await using sending = desk.sender(
      ...options,
      listener.address,
      "notes.txt",
    );
    using receiver = await listener.accept();
    const header = await receiver.hear();
    const { mode, sha256: sum, ...rest } = header!;
    assertEquals([typeof mode, String(sum).length], [
      isUnix ? "number" : "undefined",
      64,
    ]);
    assertEquals(rest, {
      kind: "file",
      name: "notes.txt",
      size: 5,
      ...(options.length > 0 && { resume: true }),
    });
    for (const answer of answers) {
      if (answer !== null) await receiver.say(answer);
    }
    await receiver.conn.closeWrite();
    assertEquals(errorsOf(await sending.ended()), [
      `error: notes.txt: ${line}`,
    ]);
  }
});

Deno.test("a refused folder keeps what is in it; what a refusal in mid-content says is heard", async () => {
  await using desk = await Desk.make({
    "photos/a": "x",
    "notes.txt": pattern(50_000_000),
  });
  await using listener = await rawReceiver();
  await using sending = desk.sender(listener.address, "photos", "notes.txt");
  using receiver = await listener.accept();
  assertEquals(await receiver.hear(), {
    kind: "folder",
    name: "photos",
    size: 0,
  });
  await receiver.say({ refused: "no folders" });
  const { name } = (await receiver.hear())!;
  assertEquals(name, "notes.txt");
  await receiver.say({ at: 0 });
  await receiver.reader.read(new Uint8Array(1000));
  await receiver.say({ refused: "full" });
  receiver.conn.close();
  assertEquals(errorsOf(await sending.ended()), [
    "error: photos: no folders",
    "error: notes.txt: full",
  ]);
});

Deno.test("a receiver that answers nothing, or reads nothing, is given up", async () => {
  await using desk = await Desk.make({ "notes.txt": pattern(50_000_000) });
  for (const answers of [0, 1]) {
    await using listener = await rawReceiver();
    await using sending = desk.sender(
      "--timeout",
      "500",
      listener.address,
      "notes.txt",
    );
    using receiver = await listener.accept();
    await receiver.hear();
    if (answers > 0) await receiver.say({ at: 0 });
    assertOneLine(
      await sending.ended(),
      /^error: notes\.txt: the other side is silent for too long$/m,
    );
  }
});

Deno.test("a file that became shorter is one clear line", async () => {
  await using desk = await Desk.make({ "notes.txt": "hello" });
  await using listener = await rawReceiver();
  await using sending = desk.sender(listener.address, "notes.txt");
  using receiver = await listener.accept();
  await receiver.hear();
  await desk.write("notes.txt", "hell");
  await receiver.say({ at: 0 });
  assertOneLine(
    await sending.ended(),
    /^error: notes\.txt: it became shorter while it was sent$/m,
  );
});

Deno.test("a file that became another one has the wrong checksum", async () => {
  await using desk = await Desk.make({ "notes.txt": "hello" });
  await using real = await desk.receiver();
  await using listener = await rawReceiver();
  await using sending = desk.sender(listener.address, "notes.txt");
  // Between both: the answer goes through when the file has changed.
  using left = await listener.accept();
  using right = await real.raw();
  const header = await left.hear();
  await desk.write("notes.txt", "hallo");
  await right.say(header);
  await left.say(await right.hear());
  await right.content(await left.reader.readExact(5));
  await right.say((await left.reader.readFrame(FRAME))!);
  await left.say(await right.hear());
  await left.conn.closeWrite();
  const wrong = ["error: notes.txt: the checksum is wrong"];
  right.conn.close();
  assertEquals(errorsOf(await sending.ended()), wrong);
  assertEquals(errorsOf(await real.ended()), wrong);
  assertEquals(await desk.list(), []);
});

// On a terminal

Deno.test({
  name:
    "a terminal shows one line that is drawn again, and then the same lines as everywhere",
  ignore: !isLinux,
  async fn() {
    const size = 40_000_000;
    await using desk = await Desk.make({ "notes.txt": new Uint8Array(size) });
    await using receiver = await desk.receiver();
    await using program = await startPython(
      `
import os, pty, sys
os.chdir(sys.argv[1])
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[2:])))
`,
      desk.folder,
      ...commandOf("file_send"),
      receiver.address,
      "notes.txt",
    );
    const { code, stdout } = await program.ended();
    assertEquals(code, 0, stdout);
    // Without wraps; where the next one begins, it is wiped.
    const drawn = stdout.split("\r\x1b[?7l").slice(1)
      .map((line) => line.slice(0, line.indexOf("\x1b[K\x1b[?7h")));
    assert(drawn.length > 0, stdout);
    // Ten times a second at most, by the program's own clock, which counts to tenths.
    const seconds = Number(/ in (\d+\.\d) s, /.exec(stdout)![1]);
    assert(drawn.length <= 10 * seconds + 2, stdout);
    for (const line of drawn) {
      assertMatch(
        line,
        /^ *\d+ % {2}[\d.]+ (bytes?|[kMG]B)\/s {2}(\d+:\d\d|-:--) left {2}notes\.txt( \(checksum\))?$/,
      );
    }
    assert(stdout.includes("\r\x1b[Knotes.txt: 40000000 bytes\r\n"), stdout);
    linesOf(await receiver.ended());
  },
});

Deno.test("a connection that ends while the sender waits for nothing is told, too", async () => {
  await using listener = await rawReceiver();
  await using desk = await Desk.make({ "notes.txt": "" });
  await using sending = desk.sender(listener.address, "notes.txt");
  {
    using receiver = await listener.accept();
    await receiver.hear();
    await receiver.say({ at: 0 });
    await receiver.say({ done: true });
    await receiver.say({ refused: "but no more" });
    await receiver.conn.closeWrite();
    assertEquals(
      errorsOf(await sending.ended()),
      ["error: but no more"],
    );
  }
});
