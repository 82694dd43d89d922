/**
 * A chat room: what one says, all hear. Its lines of text are for chat_client.ts and for netcat.
 *
 *     deno run --allow-net examples/chat_server.ts
 *     deno run --allow-net --allow-read=chat.sock --allow-write=chat.sock examples/chat_server.ts unix:chat.sock
 *     nc 127.0.0.1 7010
 *
 * The first line that a client sends is its name; each line after it goes to everybody as `<name> line`, to
 * the sender too, in one order for all. What the server itself says begins with `* `.
 *
 * A client's next line is taken when the system has taken what the client is to hear so far. So nobody
 * speaks faster than it reads, and what a single client sends at once fills nobody's outbox.
 */

import {
  BufferedReader,
  errorCode,
  formatAddr,
  type HandlerInfo,
  IncompleteReadError,
  LimitError,
  serve,
  type StreamConn,
} from "@berkeley/sockets";
import {
  fail,
  listenStream,
  readLine,
  readStreamAddr,
  run,
  Stop,
} from "./_args.ts";
import { ADDRESS, clean, MAX_LINE } from "./_chat.ts";

const HELP = `Chat server: what one says, all hear.

Usage: chat_server.ts [OPTIONS] [ADDRESS]

ADDRESS is HOST:PORT, unix:PATH or unix:@NAME, by default ${ADDRESS}; port 0
takes a free one.

  -l, --max-line BYTES   how long a line may be, 100 to 65536, by default ${MAX_LINE};
                         who sends a longer one is told so, and has to go
  -o, --outbox BYTES     how much may wait for a client that reads slowly, by
                         default 262144; who lets more wait has to go
  -c, --max-clients N    how many clients there may be, by default 1000
  -t, --timeout MS       how long a client may take to have a name, by default
                         60000
  -h, --help             show this help

Clients send lines: first a name, then what they have to say, or

  /who          who is here
  /nick NAME    another name
  /quit         leave`;

/** How often a client may try to find a name. */
const TRIES = 5;

/** How long a client's last lines may take to reach it, in milliseconds. */
const GRACE = 5000;

/** How many can be told at once that the room is full; beyond, connections are closed without a word. */
const DOORSTEP = 16;

/** What all are told when the server is stopped. */
const GOODBYE = "* the server stops; goodbye";

/** How many names `/who` tells: what is sent at once is bounded. */
const WHO = 20;

/**
 * 1 to 20 characters that can be seen, no spaces and no control characters among them. What begins with /
 * would be a command.
 */
const NAME = /^(?![\p{M}\/])[[\p{L}\p{M}\p{N}\p{P}\p{S}]--\p{DI}]{1,20}$/v;

/** Names are one that differ in their case only, or in how their characters are made. */
const keyOf = (name: string) => name.normalize("NFKC").toLowerCase();

const encoder = new TextEncoder();

const { words, integer } = readLine(HELP, {
  "max-line": "l",
  outbox: "o",
  "max-clients": "c",
  timeout: "t",
});
if (words.length > 1) fail("one ADDRESS, please; see --help");
const addr = readStreamAddr(words[0] ?? ADDRESS);
const maxLine = integer("max-line", MAX_LINE, 100, 65_536);
// There must be room for any line: each byte may become three, and what the server says is short.
const outbox = integer("outbox", 262_144, 4096 + 3 * maxLine, 2 ** 30);
const maxClients = integer("max-clients", 1000, 1, 100_000);
const timeout = integer("timeout", 60_000, 1, 2 ** 31 - 1);

/** Somebody in the room, or at its door as long as there is no name. */
class Client {
  name: string | undefined;
  readonly #conn: StreamConn;
  readonly #leaving = new AbortController();
  /** Why it leaves, for the others. */
  why = "";
  /** What waits for the write before it, and how many bytes that one and these are. */
  readonly #outbox: Uint8Array[] = [];
  #size = 0;
  /** Resolves when the outbox is empty. */
  #taken: PromiseWithResolvers<void> | undefined;

  constructor(conn: StreamConn) {
    this.#conn = conn;
  }

  get isLeaving(): boolean {
    return this.#leaving.signal.aborted;
  }

  /** What it sends. Half a line at the end is an error: it may be half of what was meant. */
  lines(): AsyncIterable<string> {
    return new BufferedReader(this.#conn, { bufSize: 4096 })
      .lines({ limit: maxLine, signal: this.#leaving.signal });
  }

  say(line: string): void {
    this.send(encoder.encode(`${line}\n`));
  }

  /** Never waits: a client that does not read is out when its outbox is full. */
  send(line: Uint8Array): void {
    if (this.isLeaving) return;
    if (this.#size + line.length > outbox) {
      this.#outbox.length = 0;
      return this.leave("* you read too slowly", "too slow");
    }
    this.#outbox.push(line);
    this.#size += line.length;
    if (this.#taken === undefined) this.#write();
  }

  async #write(): Promise<void> {
    const taken = this.#taken = Promise.withResolvers<void>();
    while (this.#outbox.length > 0) {
      const lines = this.#outbox.splice(0);
      // That nobody is there any more is what reading finds out.
      await this.#conn.writeAll(lines).catch(() => {});
      for (const line of lines) this.#size -= line.length;
    }
    taken.resolve();
    this.#taken = undefined;
  }

  /** Waits until the system has taken the outbox, or the client leaves. */
  async taken(): Promise<void> {
    await this.#taken?.promise;
  }

  /** Hears and says no more. What is in the outbox, and a last word, is on its way. */
  leave(lastWord?: string, why = ""): void {
    if (this.isLeaving) return;
    this.why = why;
    this.#leaving.abort();
    const lines = this.#outbox.splice(0);
    if (lastWord !== undefined) lines.push(encoder.encode(`${lastWord}\n`));
    // It takes its turn behind the write before; the connection's end takes its turn behind this.
    if (lines.length > 0) this.#conn.writeAll(lines).catch(() => {});
    this.#taken?.resolve();
  }
}

/** Everybody, and those with a name by what it looks like. */
const clients = new Set<Client>();
const room = new Map<string, Client>();

/** Says something to everybody. */
function tell(line: string): void {
  const bytes = encoder.encode(`${line}\n`);
  for (const client of room.values()) client.send(bytes);
}

/** Gives a client its first name, or another; or says what is wrong with that. */
function rename(client: Client, text: string): void {
  const name = text.normalize("NFC");
  const before = client.name;
  const owner = room.get(keyOf(name));
  if (!NAME.test(name)) {
    client.say(
      "* a name has 1 to 20 printable characters, no spaces, no / in front",
    );
  } else if (owner !== undefined && owner !== client) {
    client.say(`* ${name} is taken`);
  } else {
    if (before !== undefined) room.delete(keyOf(before));
    client.name = name;
    room.set(keyOf(name), client);
    tell(
      before === undefined
        ? `* ${name} has joined`
        : `* ${before} is now ${name}`,
    );
  }
}

/** Does what a line of somebody in the room says. */
function take(client: Client, line: string): void {
  const text = clean(line).trimEnd();
  if (text.startsWith("/nick ")) rename(client, text.slice(6).trim());
  else if (text === "/who") {
    const names = Array.from(room.values(), ({ name }) => name);
    const more = names.length > WHO ? ", ..." : "";
    client.say(
      `* ${names.length} here: ${names.slice(0, WHO).join(", ")}${more}`,
    );
  } else if (text === "/quit") client.leave("* goodbye");
  else if (text.startsWith("/")) {
    client.say("* there are /who, /nick NAME and /quit");
  } else if (text !== "") tell(`<${client.name}> ${text}`);
}

/** Hears a client, until it ends or has to leave. */
async function hear(client: Client): Promise<void> {
  client.say("* hello; your name, please");
  let tries = 0;
  for await (const line of client.lines()) {
    if (client.name !== undefined || line === "/quit") take(client, line);
    else {
      rename(client, line.trim());
      if (client.name === undefined && ++tries === TRIES) {
        client.leave("* no more tries");
      }
    }
    await client.taken();
  }
}

/** Serves a connection. When this ends, the server closes it as soon as the last lines have arrived. */
async function chat(
  conn: StreamConn,
  { draining }: HandlerInfo,
): Promise<void> {
  const client = new Client(conn);
  if (draining.aborted) return client.leave(GOODBYE);
  if (clients.size >= maxClients) return client.leave("* the room is full");
  clients.add(client);
  const timer = setTimeout(() => {
    if (client.name === undefined) client.leave("* that took you too long");
  }, timeout);
  try {
    await hear(client);
  } catch (error) {
    if (error instanceof LimitError) {
      client.leave(`* a line has at most ${maxLine} bytes`, "line too long");
    } else if (error instanceof IncompleteReadError) client.leave();
    else if (!client.isLeaving) {
      if (errorCode(error) === undefined) throw error;
      client.leave(undefined, "connection lost");
    }
  } finally {
    clearTimeout(timer);
    client.leave();
    clients.delete(client);
    const { name, why } = client;
    if (name !== undefined) {
      room.delete(keyOf(name));
      tell(`* ${name} has left${why && ` (${why})`}`);
    }
  }
}

await run(async () => {
  const server = serve(await listenStream(addr), chat, {
    maxConnections: maxClients + DOORSTEP,
    whenFull: "refuse",
    drainTimeout: GRACE,
    onError: (error) => console.error(`client lost: ${error}`),
  });
  console.log(`listening on ${formatAddr(server.addr)}`);
  using stop = new Stop();
  stop.signal.onabort = () => {
    server.shutdown();
    for (const client of clients) client.leave(GOODBYE);
  };
  await server.finished;
});
