/**
 * A chat client: sends what is typed, and prints what others say. On a terminal, what is typed half stays
 * on the last row while others speak.
 *
 *     deno run --allow-net examples/chat_client.ts --nick ada
 *     deno run --allow-net --allow-read=chat.sock --allow-write=chat.sock examples/chat_client.ts --nick ada unix:chat.sock
 *     echo "hello, everybody" | deno run --allow-net examples/chat_client.ts --nick bob
 *
 * It ends when the server does, or at the end of the input: then when the server has answered all of it.
 */

import {
  BufferedReader,
  errorCode,
  LimitError,
  type StreamConn,
  writeLine,
} from "@berkeley/sockets";
import {
  connectStream,
  fail,
  readLine,
  readStreamAddr,
  run,
  Stop,
} from "./_args.ts";
import { ADDRESS, clean, CLEAR, LineEditor } from "./_chat.ts";

const HELP = `Chat client: sends what is typed, and prints what others say.

Usage: chat_client.ts [OPTIONS] [ADDRESS]

ADDRESS is HOST:PORT, unix:PATH or unix:@NAME, by default ${ADDRESS}.

  -n, --nick NAME   the name to have; without it, the first line is the name
  -h, --help        show this help

On a terminal:
  Backspace, Ctrl+U   take back a character, or the line
  Ctrl+D              leave, when what was sent has been answered
  Ctrl+C              leave at once`;

/** How long the last bytes may take when the program is to end at once, in milliseconds. */
const GRACE = 1000;

/** The byte that Ctrl+C is on a terminal that sends no signal for it. */
const CTRL_C = 3;

/** How many reads of the keyboard may wait for the server. */
const READ_AHEAD = 64;

/** Where lines come from and go to. */
interface Screen extends Disposable {
  show(line: string): void;
  lines(): AsyncIterable<string>;
}

/** Pipes and files: a line is a line. */
class Plain implements Screen {
  show(line: string): void {
    console.log(line);
  }

  lines(): AsyncIterable<string> {
    return new BufferedReader(Deno.stdin).lines({ unterminated: "line" });
  }

  [Symbol.dispose](): void {}
}

/** A terminal, whose last row is the line that is being typed. */
class Terminal implements Screen {
  readonly #editor = new LineEditor();
  readonly #interrupt: () => void;
  #prompt: string;

  constructor(prompt: string, interrupt: () => void) {
    this.#prompt = prompt;
    this.#interrupt = interrupt;
    Deno.stdin.setRaw(true);
    this.#write(this.#row());
  }

  show(line: string): void {
    this.#write(`${CLEAR}${line}\r\n${this.#row()}`);
  }

  async *lines(): AsyncIterable<string> {
    for await (const keys of this.#keys()) {
      for (const typed of this.#editor.type(keys)) {
        if (typed.is === "end") return;
        if (typed.is === "full") this.#write("\x07");
        else {
          this.#prompt = "> ";
          yield typed.line;
        }
      }
      this.#write(this.#row());
    }
  }

  /** What is typed. Ctrl+C counts at once, also while the server does not take the lines before it. */
  #keys(): ReadableStream<Uint8Array> {
    const watch = new TransformStream<Uint8Array, Uint8Array>(
      {
        transform: (keys, controller) => {
          if (keys.includes(CTRL_C)) this.#interrupt();
          controller.enqueue(keys);
        },
      },
      undefined,
      { highWaterMark: READ_AHEAD },
    );
    return Deno.stdin.readable.pipeThrough(watch);
  }

  [Symbol.dispose](): void {
    Deno.stdin.setRaw(false);
    this.#write(CLEAR);
  }

  #row(): string {
    // A terminal that does not know its width says 0.
    return this.#editor.draw(this.#prompt, Deno.consoleSize().columns || 80);
  }

  #write(text: string): void {
    let rest = new TextEncoder().encode(text);
    while (rest.length > 0) rest = rest.subarray(Deno.stdout.writeSync(rest));
  }
}

const { words, text } = readLine(HELP, { nick: "n" });
if (words.length > 1) fail("one ADDRESS, please; see --help");
const addr = readStreamAddr(words[0] ?? ADDRESS);
const nick = text("nick");

/** All lines, the name first. */
async function* linesOf(screen: Screen): AsyncIterable<string> {
  if (nick !== undefined) yield nick;
  yield* screen.lines();
}

/** Sends all lines to the end of the input. */
async function send(
  conn: StreamConn,
  screen: Screen,
  joined: Promise<boolean>,
): Promise<void> {
  let isFirst = true;
  for await (const line of linesOf(screen)) {
    await writeLine(conn, clean(line));
    // A person tries another name; of a file, what was to be said would be taken for names.
    if (isFirst && screen instanceof Plain && !await joined) {
      fail(`no place in the chat for ${clean(line)}`);
    }
    isFirst = false;
  }
}

/** Sends what is typed and shows what comes, until the server has nothing more to say. */
async function talk(
  conn: StreamConn,
  screen: Screen,
  signal: AbortSignal,
): Promise<void> {
  const joined = Promise.withResolvers<boolean>();
  let isSent = false;
  let failure: unknown;
  send(conn, screen, joined.promise).then(
    () => isSent = true,
    // What is wrong with the connection is what the reading side has to tell.
    (error) => failure = errorCode(error) === undefined ? error : undefined,
  ).then(() => conn.closeWrite()).catch(() => {});
  try {
    let heard = 0;
    const lines = new BufferedReader(conn)
      .lines({ unterminated: "line", signal });
    for await (const line of lines) {
      screen.show(clean(line));
      // Who has no name yet hears a greeting, and then what becomes of the name.
      if (++heard === 2) joined.resolve(line.endsWith(" has joined"));
    }
    joined.resolve(false);
  } finally {
    await conn.closeGracefully({ timeout: GRACE });
  }
  if (failure !== undefined) throw failure;
  if (!isSent) screen.show("* the server has closed the connection");
}

await run(async () => {
  using stop = new Stop();
  const { signal } = stop;
  try {
    using conn = await connectStream(addr, { signal });
    using screen = Deno.stdin.isTerminal() && Deno.stdout.isTerminal()
      ? new Terminal(nick === undefined ? "name: " : "> ", stop.now)
      : new Plain();
    await talk(conn, screen, signal);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof LimitError)) throw error;
    throw new RangeError(`a line is longer than ${error.limit} bytes`);
  }
});
// Reading the keyboard cannot be taken back, and would go on.
Deno.exit();
