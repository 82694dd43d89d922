/**
 * A file from one program to another: the example's sender and receiver, against two of nc.openbsd. From
 * memory into memory (`/dev/shm`), and with the starts of both senders, which are part of the work.
 *
 *     const files = await Files.make();
 *     await files.netcat();      // MB/s
 *     await files.ours(true);    // with checksums
 *     await files[Symbol.asyncDispose]();
 */

import { Listening } from "./_listening.ts";

const MEMORY = "/dev/shm";

const ROOT = new URL("..", import.meta.url).pathname;

/** A file that is sent again and again. */
export class Files implements AsyncDisposable {
  readonly #folder: string;
  readonly #size: number;

  private constructor(folder: string, size: number) {
    this.#folder = folder;
    this.#size = size;
  }

  /** Makes the file: random bytes, 512 MiB of them unless told otherwise. */
  static async make(size = 2 ** 29): Promise<Files> {
    const folder = await Deno.makeTempDir({ dir: MEMORY });
    await Deno.mkdir(`${folder}/inbox`);
    using file = await Deno.open(`${folder}/data`, {
      write: true,
      createNew: true,
    });
    const chunk = new Uint8Array(65536);
    for (let left = size; left > 0;) {
      crypto.getRandomValues(chunk);
      left -= await file.write(chunk.subarray(0, Math.min(left, 65536)));
    }
    return new Files(folder, size);
  }

  /** Two of nc.openbsd, by the shell's redirections: MB/s. */
  netcat(): Promise<number> {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    return this.#measure(
      "sh",
      ["-c", `exec nc.openbsd -lvN 127.0.0.1 ${port} > inbox/data`],
      "stderr",
      /^Listening on (.*)$/,
      () => ["sh", "-c", `exec nc.openbsd -N 127.0.0.1 ${port} < data`],
    );
  }

  /** The two examples: MB/s. */
  ours(checksum: boolean): Promise<number> {
    const deno = [Deno.execPath(), "run", "-A", "--quiet"];
    const [command, ...flags] = deno;
    return this.#measure(
      command!,
      [...flags, `${ROOT}examples/file_receive.ts`, "inbox", "127.0.0.1:0"],
      "stdout",
      /^listening on (.*)$/,
      (address) => [
        ...deno,
        `${ROOT}examples/file_send.ts`,
        ...(checksum ? [] : ["--no-checksum"]),
        address,
        "data",
      ],
    );
  }

  /** From the start of the sender to the end of both. */
  async #measure(
    receiver: string,
    receiverArgs: string[],
    says: "stdout" | "stderr",
    word: RegExp,
    sender: (address: string) => string[],
  ): Promise<number> {
    const cwd = this.#folder;
    const target = `${cwd}/inbox/data`;
    try {
      const listening = await Listening.start(
        receiver,
        receiverArgs,
        says,
        word,
        cwd,
      );
      const [command, ...args] = sender(listening.place);
      const start = performance.now();
      const sent = await new Deno.Command(command!, {
        args,
        cwd,
        stdout: "null",
      }).spawn().status;
      const received = await listening.ended();
      const seconds = (performance.now() - start) / 1000;
      const { size } = await Deno.stat(target);
      if (!sent.success || !received.success || size !== this.#size) {
        throw new Error("the file has not arrived");
      }
      return this.#size / 1e6 / seconds;
    } finally {
      await Deno.remove(target).catch(() => {});
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}
