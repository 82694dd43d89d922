/**
 * A client of Redis: sends commands, many at a time, and prints the answers.
 *
 *     deno run --allow-net examples/redis_client.ts --server 127.0.0.1:6379 SET name "a value"
 *     deno run --allow-net examples/redis_client.ts --resp3 LRANGE names 0 -1
 *     deno run --allow-net examples/redis_client.ts --raw < commands.txt
 *     deno run --allow-net --allow-read=redis.sock --allow-write=redis.sock examples/redis_client.ts --server unix:redis.sock PING
 *
 * Where the words of a command are not given, each line of the standard input is one. The program ends with 1
 * if an answer was an error.
 */

import {
  BufferedReader,
  formatAddr,
  IncompleteReadError,
  LimitError,
  type StreamConn,
  writeAll,
} from "@berkeley/sockets";
import {
  connectStream,
  fail,
  readLine,
  readStreamAddr,
  run,
  Stop,
} from "./_args.ts";
import {
  encodeCommand,
  formatReply,
  hasError,
  rawReply,
  readReply,
  type Reply,
  RespError,
  showText,
  splitWords,
} from "./_resp.ts";

const HELP = `Redis client: sends commands and prints the answers.

Usage: redis_client.ts [OPTIONS] [COMMAND [ARGUMENT...]]

Options stand before the command; what stands behind its name belongs to it.
Without a COMMAND each line of the standard input is one.
Its words are separated by spaces: "..." is one word, with \\n, \\r, \\t, \\b,
\\a, \\\\, \\" and \\xHH in it, and '...' is one, with \\' in it.

Lines are sent as they come, without waiting for answers, of which up to 1000
may be due. After SUBSCRIBE, MONITOR and their like the program prints what
comes until it is stopped; QUIT ends it.

  -s, --server ADDRESS  HOST:PORT or unix:PATH, by default 127.0.0.1:6379
  -3, --resp3           speak RESP3, which has maps, sets and more
  -r, --raw             print the bytes of texts as they are
  -m, --max-bulk BYTES  the most bytes of text in one answer, by default
                        536870912; it may have 1048576 elements, 32 deep
  -h, --help            show this help

ADDRESS may be unix:@NAME, too. An answer may take as long as it likes.`;

/** How long connecting may take, in milliseconds. */
const CONNECT_TIMEOUT = 10_000;

/** How many answers may be due before the next command waits. */
const MAX_DUE = 1000;

/** The longest line of the standard input. */
const MAX_LINE = 64 * 2 ** 20;

/** Commands whose answers come as messages, without an end. */
const ENDLESS = /^(?:[ps]?(?:un)?subscribe|monitor)$/i;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What the command line says. */
function readArgs() {
  const { words, text, integer, has } = readLine(
    HELP,
    {
      server: "s",
      "max-bulk": "m",
    },
    { resp3: "3", raw: "r" },
    true,
  );
  return {
    words: words.map((word) => encoder.encode(word)),
    addr: readStreamAddr(text("server") ?? "127.0.0.1:6379"),
    isResp3: has("resp3"),
    isRaw: has("raw"),
    limits: {
      maxBytes: integer("max-bulk", 512 * 2 ** 20, 1, 2 ** 32 - 2),
      maxItems: 2 ** 20,
      maxDepth: 32,
    },
  };
}

const { words, addr, isResp3, isRaw, limits } = readArgs();
const server = formatAddr(addr);

/** The lines of the standard input, as the bytes that they are. */
async function* lines(signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const input = new BufferedReader(Deno.stdin);
  for (;;) {
    try {
      yield await input.readUntil("\n", { limit: MAX_LINE, signal });
    } catch (error) {
      if (error instanceof LimitError) {
        throw new RespError(`Invalid line: it has over ${MAX_LINE} bytes`);
      }
      if (!(error instanceof IncompleteReadError)) throw error;
      // People leave out the last line end.
      if (error.partial.length > 0) yield error.partial;
      return;
    }
  }
}

/** The commands to send, as their words. */
async function* commands(signal: AbortSignal): AsyncGenerator<Uint8Array[]> {
  if (words.length > 0) return yield words;
  for await (const line of lines(signal)) {
    const words = splitWords(line);
    if (words.length > 0) yield words;
  }
}

const output = new Uint8Array(65_536);

/** Prints an answer piece by piece: it may be longer than a string can be. */
async function print(reply: Reply): Promise<void> {
  let used = 0;
  const flush = async () => {
    await writeAll(Deno.stdout, output.subarray(0, used));
    used = 0;
  };
  const add = async (piece: Uint8Array | string) => {
    const bytes = typeof piece === "string" ? encoder.encode(piece) : piece;
    if (used + bytes.length > output.length) await flush();
    if (bytes.length > output.length) await writeAll(Deno.stdout, bytes);
    else {
      output.set(bytes, used);
      used += bytes.length;
    }
  };
  const pieces = isRaw ? rawReply(reply) : formatReply(reply);
  for (const piece of pieces) await add(piece);
  await add("\n");
  await flush();
}

/** Sends commands and prints answers, at the same time. */
class Conversation {
  readonly #conn: StreamConn;
  readonly #reader: BufferedReader;
  /** Ends whatever waits. */
  readonly #over = new AbortController();
  /** The commands that have no answer yet: whether that has an end. */
  readonly #due: ("ends" | "endless")[] = [];
  #isSent = false;
  /** Whether what comes has no end. */
  #isEndless = false;
  #isQuit = false;
  /** Wakes the sender, which waits for answers. */
  #wake: () => void = () => {};

  constructor(conn: StreamConn) {
    this.#conn = conn;
    this.#reader = new BufferedReader(conn);
  }

  /** Speaks RESP3 from here on. */
  async greet(): Promise<void> {
    const hello = ["HELLO", "3"].map((word) => encoder.encode(word));
    await this.#conn.writeAll(encodeCommand(hello));
    const reply = await readReply(this.#reader, limits);
    if (reply?.is === "map") return;
    const answer = reply?.is === "error"
      ? showText(reply.bytes)
      : "no greeting";
    fail(`${server} does not speak RESP3: ${answer}`);
  }

  #end(): void {
    this.#over.abort();
    this.#wake();
  }

  /** Ends the conversation when all is said. */
  #endIfDone(): void {
    if (this.#isSent && this.#due.length === 0 && !this.#isEndless) this.#end();
  }

  async #send(signal: AbortSignal): Promise<void> {
    try {
      for await (const words of commands(signal)) {
        while (this.#due.length >= MAX_DUE && !signal.aborted) {
          await new Promise<void>((resolve) => this.#wake = resolve);
        }
        const name = decoder.decode(words[0]);
        this.#due.push(ENDLESS.test(name) ? "endless" : "ends");
        this.#isQuit = /^quit$/i.test(name);
        try {
          await this.#conn.writeAll(encodeCommand(words), { signal });
        } catch (error) {
          // Nothing answers it.
          this.#due.pop();
          throw error;
        }
        if (this.#isQuit) return;
      }
    } finally {
      // Also behind a line that is wrong: what was sent before it is answered.
      this.#isSent = true;
      this.#endIfDone();
    }
  }

  /** Finds out which command an answer is of: of the first, unless the server says it by itself. */
  #answered(reply: Reply): void {
    if (reply.is === "push") {
      const [kind] = reply.items;
      const isAnswer = kind?.is === "text" &&
        ENDLESS.test(decoder.decode(kind.bytes));
      if (!isAnswer || this.#due[0] !== "endless") return;
    }
    const command = this.#due.shift();
    if (command === "endless" && reply.is !== "error") this.#isEndless = true;
  }

  async #receive(signal: AbortSignal): Promise<void> {
    try {
      while (!signal.aborted) {
        const reply = await readReply(this.#reader, limits, { signal });
        if (reply === null) {
          if (this.#isQuit && this.#isEndless) return;
          fail(`${server} closed the connection`);
        }
        await print(reply);
        if (hasError(reply)) Deno.exitCode = 1;
        this.#answered(reply);
        this.#wake();
        this.#endIfDone();
      }
    } finally {
      this.#end();
    }
  }

  /** Sends all commands and prints all answers. */
  async run(): Promise<void> {
    const { signal } = this.#over;
    const outcomes = await Promise.allSettled([
      this.#receive(signal),
      this.#send(signal),
    ]);
    for (const outcome of outcomes) {
      if (outcome.status === "fulfilled") continue;
      if (outcome.reason !== signal.reason) throw outcome.reason;
    }
  }
}

await run(async () => {
  using stop = new Stop();
  // At once: output that nobody takes would wait for ever.
  stop.signal.onabort = () => Deno.exit();
  using conn = await connectStream(addr, { timeout: CONNECT_TIMEOUT });
  const conversation = new Conversation(conn);
  if (isResp3) await conversation.greet();
  await conversation.run();
});
