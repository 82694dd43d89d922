/** Commands whose input and output are bytes: one end of a socket that is not ours. */

import { assertEquals } from "@std/assert";
import { concat } from "./_checksum.ts";
import { commandPath } from "./_peers.ts";

/** How long a command may run in milliseconds: when it is ended, nobody waits for it any longer. */
const PATIENCE = 30_000;

/** How a {@linkcode Tool} is started. */
export interface ToolOptions {
  /** What its environment has besides ours. */
  env?: Record<string, string>;
}

/** A running command that must be there. Leaving its block ends it. */
export class Tool implements AsyncDisposable {
  readonly name: string;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: ReadableStreamDefaultReader<Uint8Array>;
  readonly #logging: Promise<void>;
  readonly #status: Promise<Deno.CommandStatus>;
  readonly #watchdog: ReturnType<typeof setTimeout>;
  #kept: Uint8Array = new Uint8Array();
  #log = "";
  #logged: PromiseWithResolvers<void> = Promise.withResolvers();
  #isOver = false;

  constructor(
    command: string,
    args: readonly string[],
    { env = {} }: ToolOptions = {},
  ) {
    this.name = command;
    this.#child = new Deno.Command(commandPath(command), {
      args: [...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      env: { LC_ALL: "C", ...env },
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    // A command may end before its input does.
    this.#input.closed.catch(() => {});
    this.#output = this.#child.stdout.getReader();
    this.#logging = this.#readLog();
    this.#status = this.#child.status.finally(() => this.#isOver = true);
    this.#watchdog = setTimeout(() => this.kill("SIGKILL"), PATIENCE);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** What it has written to its stderr. */
  get log(): string {
    return this.#log;
  }

  async #readLog(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stderr) {
      this.#log += decoder.decode(chunk, { stream: true });
      this.#logged.resolve();
      this.#logged = Promise.withResolvers();
    }
    this.#logged.resolve();
  }

  /** Waits until its stderr says something. */
  async says(what: RegExp): Promise<void> {
    let isLast = false;
    const last = this.#logging.then(() => isLast = true);
    while (!what.test(this.#log)) {
      if (isLast) {
        throw new Error(`${this.name} never said ${what}: ${this.#log}`);
      }
      await Promise.race([this.#logged.promise, last]);
    }
  }

  /** What comes of a wait, unless the command ends before it comes. */
  async awaits<T>(wait: Promise<T>): Promise<T> {
    const ended = this.#status.then(async ({ code }) => {
      await this.#logging;
      throw new Error(`${this.name} ended with ${code}: ${this.#log}`);
    });
    return await Promise.race([wait, ended]);
  }

  /** Gives it input. */
  async write(data: Uint8Array): Promise<void> {
    await this.#input.write(data);
  }

  /** Ends its input. */
  async end(): Promise<void> {
    await this.#input.close().catch(() => {});
  }

  /** The next `size` bytes of its output, or all to its end if those are fewer. */
  async take(size: number): Promise<Uint8Array> {
    const chunks = [this.#kept];
    let length = this.#kept.length;
    while (length < size) {
      const { value } = await this.#output.read();
      if (value === undefined) break;
      chunks.push(value);
      length += value.length;
    }
    const all = concat(chunks);
    this.#kept = all.subarray(size);
    return all.subarray(0, size);
  }

  /** The rest of its output. */
  async rest(): Promise<Uint8Array> {
    return await this.take(Infinity);
  }

  /** Asserts that it ends by itself, in good order. */
  async endsWell(): Promise<void> {
    const { code, signal } = await this.#status;
    await this.#logging;
    assertEquals({ code, signal }, { code: 0, signal: null }, this.#log);
  }

  kill(signal: Deno.Signal): void {
    if (!this.#isOver) this.#child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#watchdog);
    this.kill("SIGKILL");
    await this.end();
    await this.#output.cancel();
    await this.#logging;
    await this.#status;
  }
}
