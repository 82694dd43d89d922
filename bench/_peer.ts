/**
 * The other side of a benchmark, in a process of its own, on the runtime's raw calls.
 *
 *     _peer.ts source lines|frames|bytes TOTAL    sends TOTAL bytes over each connection, discards what comes
 *     _peer.ts clients                            for each line "PORT KIND COUNT ROUNDS": connects, prints a rate
 *
 * A source prints its port first.
 */

import { TextLineStream } from "@std/streams/text-line-stream";
import { encodeFrame } from "../framing.ts";

const LINE = 80;
const FRAME = 100;
const MESSAGE = 64;

/** What a source sends over and over: whole messages, many at a time. */
function block(kind: string): Uint8Array {
  const message = kind === "lines"
    ? new TextEncoder().encode(`${"x".repeat(LINE - 1)}\n`)
    : kind === "frames"
    ? encodeFrame(new Uint8Array(FRAME), { bytes: 4 })
    : new Uint8Array(256);
  const count = Math.floor(2 ** 18 / message.length);
  const bytes = new Uint8Array(count * message.length);
  for (let i = 0; i < count; i++) bytes.set(message, i * message.length);
  return bytes;
}

async function discard(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(2 ** 18);
  while (await conn.read(buffer) !== null);
}

async function source(kind: string, total: number): Promise<void> {
  const bytes = block(kind);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  console.log(listener.addr.port);
  const send = async (conn: Deno.TcpConn) => {
    for (let sent = 0; sent < total; sent += bytes.length) {
      for (let at = 0; at < bytes.length;) {
        at += await conn.write(bytes.subarray(at));
      }
    }
    await conn.closeWrite();
  };
  for await (const conn of listener) {
    Promise.all([send(conn), discard(conn)]).then(() => conn.close());
  }
}

async function connect(port: number): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  conn.setNoDelay(true);
  return conn;
}

async function echo(conn: Deno.Conn, rounds: number): Promise<void> {
  const message = new Uint8Array(MESSAGE);
  const buffer = new Uint8Array(MESSAGE);
  for (let i = 0; i < rounds; i++) {
    await conn.write(message);
    for (let got = 0; got < MESSAGE;) {
      const n = await conn.read(buffer);
      if (n === null) throw new Error("ended early");
      got += n;
    }
  }
}

/** How clients use a server; each does `rounds` of it. */
const uses: Record<
  string,
  (port: number) => Promise<(rounds: number) => Promise<void>>
> = {
  /** Messages over a connection each. */
  async echo(port) {
    const conn = await connect(port);
    return async (rounds) => {
      await echo(conn, rounds);
      conn.close();
    };
  },
  /** A connection for each message. */
  short(port) {
    return Promise.resolve(async (rounds) => {
      for (let i = 0; i < rounds; i++) {
        const conn = await connect(port);
        await echo(conn, 1);
        conn.close();
      }
    });
  },
};

async function clients(): Promise<void> {
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream());
  for await (const line of lines) {
    const [port, kind, count, rounds] = line.split(" ");
    const each = await Promise.all(
      Array.from({ length: Number(count) }, () => uses[kind!]!(Number(port))),
    );
    const start = performance.now();
    await Promise.all(each.map((use) => use(Number(rounds))));
    const seconds = (performance.now() - start) / 1000;
    console.log(Number(count) * Number(rounds) / seconds);
  }
}

if (import.meta.main) {
  const [role, kind, total] = Deno.args;
  if (role === "source") await source(kind!, Number(total));
  else await clients();
}

/** A peer at work; its lines are numbers. */
export class Peer implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #commands: WritableStreamDefaultWriter<Uint8Array>;

  constructor(...args: string[]) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", import.meta.filename!, ...args],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#commands = this.#child.stdin.getWriter();
    this.#lines = this.#child.stdout.pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream()).getReader();
  }

  /** The next number that it prints. */
  async number(): Promise<number> {
    const { value, done } = await this.#lines.read();
    if (done) throw new Error("the peer has ended");
    return Number(value);
  }

  /** Lets clients do something, and gives their rate. */
  async use(
    port: number,
    kind: "echo" | "short",
    count: number,
    rounds: number,
  ): Promise<number> {
    await this.#commands.write(
      new TextEncoder().encode(`${port} ${kind} ${count} ${rounds}\n`),
    );
    return await this.number();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill();
    await this.#child.status;
    await this.#lines.cancel();
    await this.#commands.close().catch(() => {});
  }
}
