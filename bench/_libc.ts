/** Echo servers on the C library's sockets and on the runtime's, under one load generator. */

import { TextLineStream } from "@std/streams/text-line-stream";

/** An echo server in a process of its own. */
export class EchoServer implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly port: Promise<string>;

  constructor(transport: "udp" | "tcp", way: string) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--unstable-net",
        new URL("_libc_server.ts", import.meta.url).pathname,
        transport,
        way,
      ],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.port = this.#firstLine();
  }

  async #firstLine(): Promise<string> {
    const lines = this.#child.stdout
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream());
    for await (const line of lines) return line;
    throw new Error("the server has not started");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.stdin.close();
    await this.#child.status;
  }
}

async function run(command: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args })
    .output();
  const text = new TextDecoder();
  if (!success) throw new Error(text.decode(stderr));
  return text.decode(stdout);
}

/** Compiles the load generator; what it gives runs it and tells round trips a second. */
export async function loadGenerator(): Promise<
  & ((
    transport: "udp" | "tcp",
    port: string,
    lanes: number,
    seconds: number,
  ) => Promise<number>)
  & AsyncDisposable
> {
  const folder = await Deno.makeTempDir();
  const source = new URL("load.c", import.meta.url).pathname;
  await run("cc", "-O2", "-o", `${folder}/load`, source);
  return Object.assign(
    async (
      transport: "udp" | "tcp",
      port: string,
      lanes: number,
      seconds: number,
    ) =>
      Number(
        await run(
          `${folder}/load`,
          transport,
          port,
          String(lanes),
          String(seconds),
        ),
      ),
    {
      [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
    },
  );
}

/** How long a program takes that imports something and does nothing, in starts a second. */
export async function starts(...imports: string[]): Promise<number> {
  const folder = await Deno.makeTempDir();
  try {
    const file = `${folder}/program.ts`;
    const lines = imports.map((name) =>
      `import ${JSON.stringify(new URL(name, import.meta.url).href)};\n`
    );
    await Deno.writeTextFile(file, lines.join(""));
    const args = ["run", "--no-check", "--no-config", file];
    await run(Deno.execPath(), ...args);
    const COUNT = 5;
    const start = performance.now();
    for (let i = 0; i < COUNT; i++) await run(Deno.execPath(), ...args);
    return COUNT / (performance.now() - start) * 1000;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
