/** Programs as real processes: Deno ones with just the permissions given, python3 ones as foreign peers. */

/** The package's front door as a URL that a program anywhere can import. */
export const MOD = new URL("../mod.ts", import.meta.url).href;

/** Whether this run has Deno's unstable net API; children get the same flag. */
export const unstable = typeof Deno.listenDatagram === "function";

/** How a program ended. */
export interface Ended {
  readonly code: number;
  readonly signal: Deno.Signal | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The environment of a program. It writes no coverage: half a file of one that was killed is an error. */
function environment(): Record<string, string> {
  const { DENO_COVERAGE_DIR: _, ...rest } = Deno.env.toObject();
  return { ...rest, NO_COLOR: "1" };
}

/** A running program. Leaving its block ends it. */
export class Program implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #ended: Promise<Deno.CommandStatus>;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #stderr: Promise<string>;
  #rest = "";
  #isOver = false;

  constructor(command: string, args: string[], cwd?: string) {
    this.#child = new Deno.Command(command, {
      args,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      env: environment(),
      clearEnv: true,
      ...(cwd !== undefined && { cwd }),
    }).spawn();
    this.#ended = this.#child.status.finally(() => this.#isOver = true);
    this.#lines = this.#child.stdout
      .pipeThrough(new TextDecoderStream())
      .getReader();
    this.#stderr = new Response(this.#child.stderr).text();
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The next line that the program prints. */
  async line(): Promise<string> {
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 1);
        return line;
      }
      const { value, done } = await this.#lines.read();
      if (done) {
        throw new Error(
          `program ended without a line: ${this.#rest}\n${await this.#stderr}`,
        );
      }
      this.#rest += value;
    }
  }

  /** Sends a line to the program. */
  async send(line: string): Promise<void> {
    const writer = this.#child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(`${line}\n`));
    writer.releaseLock();
  }

  /** Ends the program's input. */
  async endInput(): Promise<void> {
    await this.#child.stdin.close().catch(() => {});
  }

  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Waits for the program's end and gives what it has said. */
  async ended(): Promise<Ended> {
    await this.endInput();
    for (;;) {
      const { value, done } = await this.#lines.read();
      if (done) break;
      this.#rest += value;
    }
    const { code, signal } = await this.#ended;
    return { code, signal, stdout: this.#rest, stderr: await this.#stderr };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOver) this.#child.kill("SIGKILL");
    await this.#child.stdin.close().catch(() => {});
    await this.#lines.cancel();
    await this.#stderr;
    await this.#ended;
  }
}

/** The folders of programs that were written; they go when all is over. */
const folders: string[] = [];
addEventListener("unload", () => {
  for (const folder of folders) Deno.removeSync(folder, { recursive: true });
});

/** Writes a program into a folder of its own. */
async function writeProgram(source: string, name: string): Promise<string> {
  const folder = await Deno.makeTempDir();
  folders.push(folder);
  const path = `${folder}/${name}`;
  await Deno.writeTextFile(path, source);
  return path;
}

/** The arguments of a Deno program with just the flags given. */
async function denoArgs(
  flags: readonly string[],
  body: string,
): Promise<string[]> {
  const file = await writeProgram(
    `import * as sockets from ${JSON.stringify(MOD)};\n${body}`,
    "program.ts",
  );
  return [
    "run",
    "--no-prompt",
    "--quiet",
    "--no-config",
    ...(unstable ? ["--unstable-net"] : []),
    ...flags,
    file,
  ];
}

/** Starts a Deno program; `sockets` is the package. */
export async function startDeno(
  flags: readonly string[],
  body: string,
): Promise<Program> {
  return new Program(Deno.execPath(), await denoArgs(flags, body));
}

/** Runs a Deno program to its end; `sockets` is the package. */
export async function runDeno(
  flags: readonly string[],
  body: string,
): Promise<Ended> {
  await using program = await startDeno(flags, body);
  return await program.ended();
}

/** Runs a Deno program to its end under a limit of the shell's, such as `ulimit -n 64`. */
export async function runDenoUnder(
  limit: string,
  flags: readonly string[],
  body: string,
): Promise<Ended> {
  const args = await denoArgs(flags, body);
  await using program = new Program("sh", [
    "-c",
    `${limit}; exec "$@"`,
    "sh",
    Deno.execPath(),
    ...args,
  ]);
  return await program.ended();
}

/** Starts a python3 program. */
export async function startPython(
  source: string,
  ...args: string[]
): Promise<Program> {
  const file = await writeProgram(source, "program.py");
  return new Program("python3", ["-u", file, ...args]);
}
