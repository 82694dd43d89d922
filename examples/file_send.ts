/**
 * A sender of files and folders: see `file_receive.ts` for the other side.
 *
 *     deno run --allow-net --allow-read=notes.txt,photos examples/file_send.ts 127.0.0.1:7020 notes.txt photos
 *     deno run --allow-net --allow-read=disk.img examples/file_send.ts --resume 192.0.2.7:7020 disk.img
 *     deno run --allow-net --allow-read=disk.img examples/file_send.ts --no-checksum 192.0.2.7:7020 disk.img
 *
 * Each file is read twice: for its SHA-256, which goes first, and to be sent. `--no-checksum` saves the first.
 * Symbolic links are not followed; they are skipped, and the program says so.
 */

import {
  BufferedReader,
  copy,
  errorCode,
  type StreamConn,
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
  type Answer,
  bytesText,
  CHUNK,
  count,
  digest,
  Exactly,
  Failure,
  type Header,
  isExpected,
  keepTelling,
  Progress,
  reasonOf,
  receive,
  send,
  sendEnd,
  sha256,
  show,
  TIMEOUT,
} from "./_files.ts";

const HELP = `File sender: sends files and folders to file_receive.ts.

Usage: file_send.ts [OPTIONS] ADDRESS PATH...

ADDRESS is HOST:PORT, unix:PATH or unix:@NAME. A folder goes with all that is in
it, but symbolic links are skipped. It ends with 1 if something was not taken.

  -r, --resume        go on where an earlier transfer of the same file ended;
                      files that are there already are not sent again
  -n, --no-checksum   send no SHA-256: faster, but only sizes are verified, and
                      there is no --resume
  -t, --timeout MS    give up a receiver that is silent for so long, by default
                      ${TIMEOUT}
  -h, --help          show this help`;

/** What is sent under which name; the content of a folder without a name has no folder around it. */
interface Entry {
  readonly path: string;
  readonly name: string;
}

/** The name that the other side gets for a path. */
function nameOf(path: string): string {
  const steps = path.split(Deno.build.os === "windows" ? /[\\/]/ : "/");
  const last = steps.findLast((step) => step !== "" && step !== ".") ?? "";
  return last === ".." ? "" : last;
}

/** Sends one entry after the other. */
class Sending {
  readonly #conn: StreamConn;
  readonly #reader: BufferedReader;
  readonly #progress: Progress;
  readonly #stop: AbortSignal;
  readonly #start = performance.now();
  /** What is being sent. */
  current: string | undefined;
  /** How many entries were not taken. */
  failed = 0;
  #files = 0;
  #folders = 0;
  #bytes = 0;

  constructor(conn: StreamConn, progress: Progress, stop: AbortSignal) {
    this.#conn = conn;
    this.#reader = new BufferedReader(conn);
    this.#progress = progress;
    this.#stop = stop;
  }

  /** Sends everything at some paths. */
  async all(paths: readonly string[]): Promise<void> {
    const pending = paths.map((path) => ({ path, name: nameOf(path) }))
      .reverse();
    for (let entry; (entry = pending.pop()) !== undefined;) {
      this.current = entry.name;
      try {
        const info = await Deno.lstat(entry.path);
        if (info.isDirectory) pending.push(...await this.#folder(entry));
        else if (info.isFile) await this.#file(entry);
        else {
          const what = info.isSymlink
            ? "a symbolic link"
            : "neither a file nor a folder";
          this.#progress.line(`${show(entry.name)}: skipped, ${what}`);
        }
      } catch (error) {
        // What cannot be read here has not been announced; the others can go.
        if (error instanceof Failure || !isExpected(error)) throw error;
        this.#fail(entry, reasonOf(error));
      }
    }
    this.current = undefined;
    await this.#talk(() => this.#conn.closeWrite());
    // Until the other side has closed, too, it may have something to say.
    const last = await this.#talk(() => receive(this.#reader));
    if (last !== null) throw new Failure(refusalOf(last) ?? NONSENSE);
    const seconds = (performance.now() - this.#start) / 1000;
    this.#progress.line(
      `${count(this.#files, "file")}, ${count(this.#folders, "folder")}: ${
        count(this.#bytes, "byte")
      } in ${seconds.toFixed(1)} s, ${bytesText(this.#bytes / seconds)}/s`,
    );
  }

  /** Announces a folder, and tells what is in it; the last name first. */
  async #folder({ path, name }: Entry): Promise<Entry[]> {
    const children: Entry[] = [];
    for await (const { name: child } of Deno.readDir(path)) {
      children.push({
        path: `${path}/${child}`,
        name: name === "" ? child : `${name}/${child}`,
      });
    }
    children.sort((a, b) => a.name < b.name ? 1 : -1);
    if (name === "") return children;
    const answer = await this.#ask({ kind: "folder", name, size: 0 });
    if (answer.refused !== undefined) {
      this.#fail({ path, name }, answer.refused);
      return [];
    }
    if (answer.done !== true) throw new Failure(NONSENSE);
    this.#folders++;
    this.#progress.line(`${show(name)}/`);
    return children;
  }

  async #file({ path, name }: Entry): Promise<void> {
    using file = await Deno.open(path);
    const info = await file.stat();
    let { size } = info;
    let sum: string | undefined;
    if (checksums) {
      const hash = sha256();
      const tell = keepTelling(this.#conn);
      const redraw = this.#progress.start(`${show(name)} (checksum)`, 0, size);
      size = await digest(hash, file, async (bytes) => {
        if (this.#stop.aborted) throw new Failure("stopped");
        redraw(bytes);
        await tell();
      });
      sum = hash.digest("hex");
    }
    const answer = await this.#ask({
      kind: "file",
      name,
      size,
      ...(sum !== undefined && { sha256: sum }),
      ...(info.mode !== null && { mode: info.mode & 0o777 }),
      ...(resume && { resume }),
    });
    const { at = -1, have, refused } = answer;
    if (refused !== undefined) return this.#fail({ path, name }, refused);
    if (have === true && resume) {
      this.#progress.line(`${show(name)}: there already`);
      return;
    }
    const isPlace = Number.isInteger(at) && at >= 0 &&
      at <= (resume ? size : 0);
    if (!isPlace) throw new Failure(NONSENSE);
    await this.#talk(() => this.#content(file, name, at, size));
    const verdict = await this.#answer();
    if (verdict.refused !== undefined) {
      return this.#fail({ path, name }, verdict.refused);
    }
    if (verdict.done !== true) throw new Failure(NONSENSE);
    this.#files++;
    this.#progress.line(
      `${show(name)}: ${count(size, "byte")}${
        at > 0 ? `, ${at} of them were there` : ""
      }`,
    );
  }

  /** Sends the content of a file from a position on, and the end behind it. */
  async #content(
    file: Deno.FsFile,
    name: string,
    at: number,
    size: number,
  ): Promise<void> {
    const shorter = () => new Failure("it became shorter while it was sent");
    await file.seek(at, Deno.SeekMode.Start);
    const redraw = this.#progress.start(show(name), at, size);
    this.#bytes += await copy(
      new Exactly(file, size - at, shorter),
      this.#conn,
      { bufSize: CHUNK, onProgress: (bytes) => redraw(at + bytes) },
    );
    await sendEnd(this.#conn);
  }

  async #ask(header: Header): Promise<Answer> {
    await this.#talk(() => send(this.#conn, header));
    return await this.#answer();
  }

  async #answer(): Promise<Answer> {
    const message = await this.#talk(() => receive(this.#reader));
    if (message === null) throw new Failure("the receiver is gone");
    const refused = refusalOf(message);
    return refused === undefined ? message : { refused };
  }

  /** Does something on the connection; what goes wrong there is the end. */
  async #talk<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      if (error instanceof Failure) throw error;
      if (!isExpected(error)) throw error;
      const code = errorCode(error);
      if (code !== "EPIPE" && code !== "ECONNRESET") {
        throw new Failure(reasonOf(error));
      }
      // It may have said why before it went.
      const last = await receive(this.#reader).catch(() => null);
      throw new Failure(
        (last === null ? undefined : refusalOf(last)) ?? "the receiver is gone",
      );
    }
  }

  #fail({ name }: Entry, reason: string): void {
    this.failed++;
    this.#progress.line(`${show(name)}: ${reason}`, true);
  }
}

const NONSENSE = "the receiver's answer makes no sense";

/** Why something was refused, if it was. */
function refusalOf({ refused }: Record<string, unknown>): string | undefined {
  if (refused === undefined) return undefined;
  if (typeof refused !== "string") throw new Failure(NONSENSE);
  return show(refused);
}

/** Checks what is to be sent before anybody is called. */
async function checkPath(path: string): Promise<void> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.lstat(path);
  } catch (error) {
    fail(`${show(path)}: ${reasonOf(error)}`);
  }
  if (info.isSymlink) {
    fail(`${show(path)}: a symbolic link, which is not followed`);
  }
  if (!info.isFile && !info.isDirectory) {
    fail(`${show(path)}: neither a file nor a folder`);
  }
}

const { words, has, integer } = readLine(
  HELP,
  { timeout: "t" },
  { resume: "r", "no-checksum": "n" },
);
const [address, ...paths] = words;
if (address === undefined || paths.length === 0) {
  fail("an ADDRESS and at least one PATH, please; see --help");
}
const addr = readStreamAddr(address);
const timeout = integer("timeout", TIMEOUT, 1, 2 ** 31 - 1);
const resume = has("resume");
const checksums = !has("no-checksum");
if (resume && !checksums) fail("--resume needs the checksum");

await run(async () => {
  for (const path of paths) await checkPath(path);
  using stop = new Stop();
  const { signal } = stop;
  const progress = new Progress();
  let sending: Sending | undefined;
  try {
    using conn = await connectStream(addr, { timeout, signal });
    conn.timeout = timeout;
    signal.addEventListener("abort", () => conn.close());
    sending = new Sending(conn, progress, signal);
    await sending.all(paths);
    if (sending.failed > 0) Deno.exitCode = 1;
  } catch (error) {
    if (!signal.aborted && !(error instanceof Failure)) throw error;
    const reason = signal.aborted ? "stopped" : reasonOf(error);
    const what = sending?.current;
    progress.line(
      what === undefined ? reason : `${show(what)}: ${reason}`,
      true,
    );
    Deno.exitCode = 1;
  }
});
