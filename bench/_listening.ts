/** Other programs that listen, as processes. */

import { TextLineStream } from "@std/streams/text-line-stream";

/** A program that listens, once it has said so. */
export class Listening implements AsyncDisposable {
  /** What it has said of its place. */
  readonly place: string;
  readonly #child: Deno.ChildProcess;
  readonly #rest: Promise<void>;

  private constructor(
    place: string,
    child: Deno.ChildProcess,
    rest: Promise<void>,
  ) {
    this.place = place;
    this.#child = child;
    this.#rest = rest;
  }

  /**
   * Starts a program.
   *
   * @param says Where it says that it listens.
   * @param line The line that says so; what its group matches is the place.
   */
  static async start(
    command: string,
    args: readonly string[],
    says: "stdout" | "stderr",
    line: RegExp,
    cwd?: string,
  ): Promise<Listening> {
    const child = new Deno.Command(command, {
      args: [...args],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
      [says]: "piped",
      ...(cwd !== undefined && { cwd }),
    }).spawn();
    const lines = child[says].pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream()).getReader();
    for (;;) {
      const { value, done } = await lines.read();
      if (done) throw new Error(`${command} has ended`);
      const place = line.exec(value)?.[1];
      if (place === undefined) continue;
      // It is not to wait for somebody who reads what else it says.
      const rest = (async () => {
        while (!(await lines.read()).done);
      })();
      return new Listening(place, child, rest);
    }
  }

  /** Waits until it ends by itself. */
  async ended(): Promise<Deno.CommandStatus> {
    const status = await this.#child.status;
    await this.#rest;
    return status;
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.ended();
  }
}
