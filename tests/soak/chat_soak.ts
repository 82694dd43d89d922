/** The chat under load: 200 clients that speak at random, of whom some die in the middle of it. */

import { assert, assertEquals } from "@std/assert";
import { once } from "node:events";
import { connect as connectNode, type Socket } from "node:net";
import { parseAddr } from "../../addr.ts";
import { BufferedReader } from "../../framing.ts";
import { connectTcp, type TcpConn } from "../../tcp.ts";
import type { TcpAddr } from "../../types.ts";
import { turn, utf8 } from "../_bytes.ts";
import { startProgram } from "../_programs.ts";
import { dice } from "./_serve_traffic.ts";
import { watched } from "./_watchdog.ts";

const CLIENTS = 200;
const DYING = 20;
const LIVING = CLIENTS - DYING;

/** How many messages each client has to send; the dying ones do not get that far. */
const MESSAGES = 150;

/** How often descriptors are counted until there are as many as there should be: every 20 ms. */
const TRIES = 1000;

const many = (n: number) => n.toLocaleString("en");

/** What a client says: no other says the same, and a part of it is another text. */
function message(client: number, number: number): string {
  return `${client} ${number} ${"ä".repeat((client + number * 7) % 40)}.`;
}

/** Everything a client says, as bytes, line by line. */
function linesOf(client: number): Uint8Array[] {
  return Array.from(
    { length: MESSAGES },
    (_, number) => utf8(`${message(client, number)}\n`),
  );
}

/** How a client dies. */
const DEATHS = ["reset", "closed unread", "ended in mid-line"] as const;

/** Someone who will die. What it hears is read, or left unread; nobody looks at it. */
class Doomed {
  readonly client: number;
  readonly death: typeof DEATHS[number];
  /** How many messages it has sent whole. */
  sent = 0;
  readonly #socket: Socket;

  constructor(client: number, port: number) {
    this.client = client;
    this.death = DEATHS[client % DEATHS.length]!;
    this.#socket = connectNode(port, "127.0.0.1");
    this.#socket.on("error", () => {});
    this.#socket.write(`c${client}\n`);
    if (this.death !== "closed unread") this.#socket.resume();
  }

  /** Speaks for a while, and dies, perhaps in mid-line. */
  async liveAndDie(): Promise<void> {
    const roll = dice(this.client);
    const lines = linesOf(this.client);
    const count = roll(MESSAGES);
    for (const line of lines.slice(0, count)) {
      this.#socket.write(line);
      this.sent++;
      if (roll(3) === 0) await turn();
    }
    const next = lines[count]!;
    this.#socket.write(next.subarray(0, roll(next.length - 1)));
    if (roll(2)) await turn();
    const closed = once(this.#socket, "close");
    if (this.death === "reset") this.#socket.resetAndDestroy();
    else if (this.death === "closed unread") this.#socket.destroy();
    else this.#socket.end();
    await closed;
  }
}

/** What is heard of one who has died. Who leaves all unread may be out before. */
const LEFT = /^\* c\d+ has left( \((connection lost|too slow)\))?$/;

/** Someone who lives, and writes down what it hears. */
class Living {
  readonly client: number;
  readonly #conn: TcpConn;
  readonly #batches: AsyncIterableIterator<string[]>;
  #batch: string[] = [];
  /** Which messages it has heard, in their order: the client and the number in one. */
  readonly heard: number[] = [];
  /** Who has left. */
  readonly left: string[] = [];
  /** How many messages of each client it has heard. */
  readonly counts: number[] = Array(CLIENTS).fill(0);

  constructor(client: number, conn: TcpConn) {
    this.client = client;
    this.#conn = conn;
    this.#batches = new BufferedReader(conn).lineBatches();
  }

  /** The next line; `null` at the end. */
  async hear(): Promise<string | null> {
    while (this.#batch.length === 0) {
      const { value, done } = await this.#batches.next();
      if (done) return null;
      this.#batch = value.reverse();
    }
    return this.#batch.pop()!;
  }

  /** Hears lines until this one comes. */
  async until(line: string): Promise<void> {
    for (;;) {
      const heard = await this.hear();
      if (heard === line) return;
      assert(heard !== null, `the server ended before ${line}`);
    }
  }

  async say(...lines: string[]): Promise<void> {
    await this.#conn.writeAll(utf8(lines.map((line) => `${line}\n`).join("")));
  }

  /** Sends all messages, cut into pieces of any size. */
  async speak(): Promise<void> {
    const roll = dice(this.client);
    const lines = linesOf(this.client);
    for (let i = 0; i < lines.length;) {
      const some = lines.slice(i, i += 1 + roll(4));
      const bytes = new Uint8Array(await new Blob(some as BlobPart[]).bytes());
      const cut = roll(bytes.length);
      await this.#conn.writeAll(bytes.subarray(0, cut));
      if (roll(2)) await turn();
      await this.#conn.writeAll(bytes.subarray(cut));
      for (let turns = roll(8); turns > 0; turns--) await turn();
    }
  }

  /** Writes down what all say, until the living have said all, and the others have left. */
  async listen(isDoomed: ReadonlySet<number>): Promise<void> {
    let missing = LIVING * MESSAGES;
    while (missing > 0 || this.left.length < DYING) {
      const line = await this.hear();
      assert(line !== null, `the server ended: c${this.client}`);
      const [, name, text] = /^<c(\d+)> (.*)$/.exec(line) ?? [];
      if (name === undefined) {
        assert(LEFT.test(line), line);
        this.left.push(line.split(" ")[1]!);
        continue;
      }
      // The next one of its sender's, whole: none is missing, doubled, torn, or before another.
      const sender = Number(name);
      const number = this.counts[sender]!++;
      assert(text === message(sender, number), `${line} as number ${number}`);
      this.heard.push(sender * MESSAGES + number);
      if (!isDoomed.has(sender)) missing--;
    }
  }

  /** Leaves, and hears the end. */
  async leave(): Promise<void> {
    await this.say("/quit");
    await this.until("* goodbye");
    assertEquals(await this.hear(), null);
    this.#conn.close();
  }
}

/** How many TCP sockets a process has. The runtime's own descriptors come and go. */
async function socketsOf(pid: number): Promise<number> {
  const table = await Deno.readTextFile("/proc/net/tcp");
  const inodes = new Set(
    table.split("\n").map((line) => `socket:[${line.trim().split(/\s+/)[9]}]`),
  );
  let count = 0;
  for await (const { name } of Deno.readDir(`/proc/${pid}/fd`)) {
    const link = await Deno.readLink(`/proc/${pid}/fd/${name}`).catch(() => "");
    if (inodes.has(link)) count++;
  }
  return count;
}

/** Waits until a process has so many TCP sockets. */
async function assertSockets(pid: number, count: number): Promise<void> {
  let sockets = -1;
  for (let i = 0; i < TRIES; i++) {
    sockets = await socketsOf(pid);
    if (sockets === count) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assertEquals(sockets, count);
}

async function soak(): Promise<void> {
  // All clients are in this one process, which the system may leave standing: nobody is too slow here. What
  // becomes of those who are is the other tests'.
  await using server = startProgram("chat_server", [
    `--outbox=${2 ** 26}`,
    "127.0.0.1:0",
  ]);
  const line = await server.line();
  const addr = parseAddr(line.slice("listening on ".length)) as TcpAddr;
  await assertSockets(server.pid, 1);

  // Every tenth is one of those who will die.
  const living: Living[] = [];
  const doomed: Doomed[] = [];
  for (let client = 0; client < CLIENTS; client++) {
    if (client % (CLIENTS / DYING) === 5) {
      doomed.push(new Doomed(client, addr.port));
    } else {
      living.push(new Living(client, await connectTcp(addr)));
      await living.at(-1)!.say(`c${client}`);
    }
  }
  const first = living[0]!;
  for (let heard = ""; !heard.startsWith(`* ${CLIENTS} here`);) {
    await first.say("/who");
    do heard = (await first.hear())!; while (!heard.includes(" here: "));
  }
  // All are here: what everybody hears from now on is the same.
  await first.say("/nick first");
  for (const client of living) await client.until("* c0 is now first");
  await first.say("/nick c0");
  for (const client of living) await client.until("* first is now c0");
  await assertSockets(server.pid, CLIENTS + 1);

  const begin = performance.now();
  const isDoomed = new Set(doomed.map(({ client }) => client));
  await Promise.all([
    ...living.flatMap((client) => [client.speak(), client.listen(isDoomed)]),
    ...doomed.map((client) => client.liveAndDie()),
  ]);
  const seconds = (performance.now() - begin) / 1000;
  await assertSockets(server.pid, LIVING + 1);

  // One order for all, and each who died has left once.
  const names = doomed.map(({ client }) => `c${client}`).toSorted();
  for (const { client, heard, left, counts } of living) {
    assert(
      heard.length === first.heard.length &&
        heard.every((id, i) => id === first.heard[i]),
      `c${client} has heard another order than c0`,
    );
    assertEquals(left.toSorted(), names);
    for (const { client, sent } of doomed) assert(counts[client]! <= sent);
  }
  const lasting = doomed.reduce(
    (n, { client }) => n + first.counts[client]!,
    0,
  );
  const sent = doomed.reduce((n, { sent }) => n + sent, 0);

  // The server works as before, also for who comes now.
  const late = new Living(CLIENTS, await connectTcp(addr));
  const name = `c${doomed[0]!.client}`;
  await late.say(name, "still here?");
  for (const client of [...living, late]) {
    await client.until(`<${name}> still here?`);
  }
  await Promise.all([...living, late].map((client) => client.leave()));
  await assertSockets(server.pid, 1);
  server.kill("SIGTERM");
  assertEquals(await server.ended(), {
    code: 0,
    signal: null,
    stdout: "",
    stderr: "",
  });

  const deliveries = living.reduce((n, { heard }) => n + heard.length, 0);
  console.log(
    `${CLIENTS} clients, ${DYING} died: ` +
      `${many(first.heard.length)} messages, ${many(deliveries)} times heard ` +
      `in ${seconds.toFixed(1)} s (${
        many(Math.round(deliveries / seconds))
      }/s), ` +
      `${many(lasting)} of ${many(sent)} of those who died; ` +
      `sockets 1, ${CLIENTS + 1}, ${LIVING + 1}, 1`,
  );
}

Deno.test({
  name: `${CLIENTS} clients, ${DYING} of whom die`,
  ignore: Deno.build.os !== "linux",
  fn: () => watched(soak),
});
