/**
 * Many clients of an echo server in one process, on the runtime's own connections:
 *
 *     _serve_clients.ts PORT CONNECTIONS ROUNDS
 *
 * It opens all connections and says `open`. After a line of input each sends a message a second and
 * waits for its echo, and it says `done`. After another one they end, and it tells what has come.
 */

import { endLate, message } from "./_serve_traffic.ts";

/** What has come back. */
export interface Echoes {
  /** Bytes that are what was sent. */
  readonly right: number;
  /** Bytes that are something else, or more than was sent. */
  readonly wrong: number;
  /** Bytes that have not come. */
  readonly missing: number;
  /** Connections that did not end as they should. */
  readonly broken: number;
}

/** How many connect at once: fewer than wait in a listener's queue. */
const WAVE = 100;

/** What has not come back by then is missing: milliseconds since the start. */
const PATIENCE = 60_000;

/** One client. */
class Client {
  readonly #conn: Deno.Conn;
  readonly #number: number;
  right = 0;
  wrong = 0;
  missing = 0;

  constructor(conn: Deno.Conn, number: number) {
    this.#conn = conn;
    this.#number = number;
  }

  /** Sends a message and compares its echo. */
  async talk(round: number): Promise<void> {
    const sent = message(this.#number, round);
    const buffer = new Uint8Array(sent.length);
    let at = 0;
    try {
      for (let n = 0; n < sent.length;) {
        n += await this.#conn.write(sent.subarray(n));
      }
      while (at < sent.length) {
        const n = await this.#conn.read(buffer);
        if (n === null) break;
        for (const byte of buffer.subarray(0, n)) {
          if (byte === sent[at++]) this.right++;
          else this.wrong++;
        }
      }
    } catch {
      // It was broken, or closed because nothing came.
    }
    this.missing += Math.max(sent.length - at, 0);
  }

  /** Ends the conversation; says whether the server ended it, too, with no byte more. */
  async end(): Promise<boolean> {
    const buffer = new Uint8Array(1000);
    try {
      await this.#conn.closeWrite();
      for (;;) {
        const n = await this.#conn.read(buffer);
        if (n === null) return true;
        this.wrong += n;
      }
    } catch {
      return false;
    } finally {
      this.close();
    }
  }

  close(): void {
    this.#conn[Symbol.dispose]();
  }
}

async function main(): Promise<void> {
  endLate();
  const [port, connections, rounds] = Deno.args.map(Number);
  const clients: Client[] = [];
  let isLate = false;
  const impatience = setTimeout(() => {
    isLate = true;
    for (const client of clients) client.close();
  }, PATIENCE);
  let next = 0;
  await Promise.all(
    Array.from({ length: WAVE }, async () => {
      while (next < connections! && !isLate) {
        const number = next++;
        const client = new Client(await Deno.connect({ port: port! }), number);
        clients.push(client);
        // It has been accepted when its first echo is here.
        await client.talk(rounds!);
      }
    }),
  );
  console.log("open");
  const input = new Uint8Array(10);
  await Deno.stdin.read(input);

  const start = performance.now();
  await Promise.all(clients.map(async (client, i) => {
    for (let round = 0; round < rounds!; round++) {
      // Spread over the second, as clients are.
      const at = start + (round + i / connections!) * 1000;
      await new Promise((resolve) =>
        setTimeout(resolve, Math.max(at - performance.now(), 0))
      );
      await client.talk(round);
    }
  }));
  console.log("done");
  await Deno.stdin.read(input);

  const ended = await Promise.all(clients.map((client) => client.end()));
  clearTimeout(impatience);
  const sum = (key: "right" | "wrong" | "missing") =>
    clients.reduce((total, client) => total + client[key], 0);
  const echoes: Echoes = {
    right: sum("right"),
    wrong: sum("wrong"),
    missing: sum("missing"),
    broken: ended.filter((isWell) => !isWell).length,
  };
  console.log(JSON.stringify(echoes));
}

if (import.meta.main) await main();
