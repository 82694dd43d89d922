/**
 * A receiver of files: takes what one sender has, or what many have, into a folder.
 *
 *     deno run --allow-net --allow-read=inbox --allow-write=inbox examples/file_receive.ts inbox
 *     deno run --allow-net --allow-read=inbox --allow-write=inbox examples/file_receive.ts --keep inbox 0.0.0.0:7020
 *
 * What comes is written to a hidden file beside its place (`.NAME.part`), and gets its name when it is whole
 * and its checksum is right. A part that can be resumed stays, with a note of what it is a part of
 * (`.NAME.part.json`). It does not wait for the disk: a power failure may still cost what has come just before.
 * Nobody is asked for a password: let only those reach the address who may write here.
 */

import {
  BufferedReader,
  copy,
  errorCode,
  formatAddr,
  type HandlerInfo,
  type Reader,
  serve,
  type SocketAddr,
  type StreamConn,
  writeAll,
} from "@berkeley/sockets";
import {
  fail,
  listenStream,
  readLine,
  readStreamAddr,
  run,
  Stop,
} from "./_args.ts";
import {
  ADDRESS,
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
  receiveEnd,
  send,
  sha256,
  show,
  TIMEOUT,
} from "./_files.ts";
import {
  checkName,
  look,
  makeFolders,
  Part,
  prepared,
  Refusal,
} from "./_inbox.ts";

/** How many senders are served at once. */
const SENDERS = 8;

const HELP = `File receiver: takes what file_send.ts sends into a folder.

Usage: file_receive.ts [OPTIONS] FOLDER [ADDRESS]

FOLDER must be there. ADDRESS is HOST:PORT, unix:PATH or unix:@NAME, by default
${ADDRESS}; port 0 takes a free one. It ends after one sender, with 1 if
something of that sender's was not taken. What is there already stays as it is.

  -k, --keep          go on with other senders, ${SENDERS} at a time, until Ctrl+C
  -o, --overwrite     replace files that are there already
  -t, --timeout MS    give up a sender that is silent for so long, by default
                      ${TIMEOUT}
  -h, --help          show this help`;

/** Checks that a message is a header. */
function checkHeader(message: Record<string, unknown>): Header {
  const { kind, name, size, sha256, mode, resume } = message;
  const isWhole = (value: unknown, max: number) =>
    Number.isInteger(value) && value as number >= 0 && value as number <= max;
  const wrong = kind !== "file" && kind !== "folder"
    ? "kind"
    : typeof name !== "string"
    ? "name"
    : !isWhole(size, Number.MAX_SAFE_INTEGER)
    ? "size"
    : sha256 !== undefined &&
        !(typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256))
    ? "sha256"
    : mode !== undefined && !isWhole(mode, 0o7777)
    ? "mode"
    : resume !== undefined && typeof resume !== "boolean"
    ? "resume"
    : undefined;
  if (wrong !== undefined) throw new Failure(`a header has no valid ${wrong}`);
  return message as unknown as Header;
}

/** What is served. */
interface Service {
  readonly folder: string;
  readonly overwrite: boolean;
  readonly progress: Progress;
  readonly stop: AbortSignal;
}

/** What one sender sends. */
class Reception {
  readonly #conn: StreamConn;
  readonly #info: HandlerInfo;
  readonly #service: Service;
  readonly #reader: BufferedReader;
  /** What comes behind a header: first what came with it. */
  readonly #content: Reader;
  #current: string | undefined;
  #files = 0;
  #folders = 0;
  #bytes = 0;
  #refused = 0;

  constructor(conn: StreamConn, info: HandlerInfo, service: Service) {
    this.#conn = conn;
    this.#info = info;
    this.#service = service;
    const reader = this.#reader = new BufferedReader(conn, { bufSize: 4096 });
    this.#content = {
      read: async (p) => {
        try {
          return await (reader.buffered > 0 ? reader : conn).read(p);
        } catch (error) {
          // As in the frame behind the content.
          if (errorCode(error) === "ECONNRESET") return null;
          throw error;
        }
      },
    };
  }

  /** Takes everything; says whether nothing went wrong. */
  async run(): Promise<boolean> {
    const { progress } = this.#service;
    const from = addrText(this.#conn.remoteAddr);
    try {
      for (;;) {
        this.#current = undefined;
        const message = await receive(this.#reader);
        if (message === null) break;
        await this.#entry(checkHeader(message));
      }
    } catch (error) {
      if (!isExpected(error)) throw error;
      const refused = this.#reason(error);
      progress.line(`${show(this.#current ?? from)}: ${refused}`, true);
      // Whoever is still there is told.
      await send(this.#conn, { refused }).catch(() => {});
      return false;
    }
    const what = [count(this.#files, "file"), count(this.#folders, "folder")];
    progress.line(`${from}: ${what.join(", ")}, ${count(this.#bytes, "byte")}`);
    return this.#refused === 0;
  }

  /** Why it ended: what closed the connection counts more than that it was closed. */
  #reason(error: unknown): string {
    const { signal } = this.#info;
    if (this.#service.stop.aborted) return "stopped";
    return reasonOf(signal.aborted ? signal.reason : error);
  }

  async #entry(header: Header): Promise<void> {
    this.#current = header.name;
    try {
      if (header.kind === "folder") await this.#folder(header);
      else await this.#file(header);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#refused++;
      this.#service.progress.line(
        `${show(header.name)}: ${error.message}`,
        true,
      );
      await send(this.#conn, { refused: error.message });
    }
  }

  async #folder({ name }: Header): Promise<void> {
    await prepared(() => makeFolders(this.#service.folder, checkName(name)));
    this.#folders++;
    this.#service.progress.line(`${show(name)}/`);
    await send(this.#conn, { done: true });
  }

  async #file(header: Header): Promise<void> {
    const { name, size, sha256: sum } = header;
    const { folder, progress } = this.#service;
    const steps = checkName(name);
    const path = `${folder}/${name}`;
    const parent = await prepared(() =>
      makeFolders(folder, steps.slice(0, -1))
    );
    if (await prepared(() => this.#has(path, header))) {
      progress.line(`${show(name)}: there already`);
      return await send(this.#conn, { have: true });
    }
    await using part = await prepared(() => Part.open(parent, header));
    part.keeps = sum !== undefined;
    const hash = sum === undefined ? undefined : sha256();
    const at = hash === undefined
      ? 0
      : await digest(hash, part.file, this.#busy(name, size));
    await send(this.#conn, { at });
    await this.#take(part, hash, at, header);
    if (hash !== undefined && hash.digest("hex") !== sum) {
      part.keeps = false;
      throw new Refusal("the checksum is wrong");
    }
    // Something may have got the name from elsewhere meanwhile.
    await prepared(() => this.#has(path, { ...header, resume: false }));
    await prepared(() => part.moveTo(path));
    this.#files++;
    progress.line(
      `${show(name)}: ${count(size, "byte")}${
        at > 0 ? `, ${at} of them were there` : ""
      }, ${hash === undefined ? "no checksum" : "checksum right"}`,
    );
    await send(this.#conn, { done: true });
  }

  /** Whether this very file is there already. Whatever else is there is in the way, or may be replaced. */
  async #has(path: string, header: Header): Promise<boolean> {
    const { name, size, sha256: sum, resume } = header;
    const there = await look(path);
    if (there === undefined) return false;
    if (there.isSymlink) throw new Refusal("a symbolic link is there");
    if (!there.isFile) {
      throw new Refusal("no file is there, but something else");
    }
    if (resume && sum !== undefined && there.size === size) {
      using file = await Deno.open(path);
      const hash = sha256();
      await digest(hash, file, this.#busy(name, size));
      if (hash.digest("hex") === sum) return true;
    }
    if (!this.#service.overwrite) throw new Refusal("it is there already");
    return false;
  }

  /** What is told of the chunks of a checksum: shows them, and tells the sender to wait. */
  #busy(name: string, size: number): (bytes: number) => Promise<void> {
    const { progress, stop } = this.#service;
    const redraw = progress.start(`${show(name)} (checksum)`, 0, size);
    const tell = keepTelling(this.#conn);
    return async (bytes) => {
      if (stop.aborted) throw new Failure("stopped");
      redraw(bytes);
      await tell();
    };
  }

  /** Takes the content of a file, from a position on, and the end behind it. */
  async #take(
    part: Part,
    hash: ReturnType<typeof sha256> | undefined,
    at: number,
    { name, size }: Header,
  ): Promise<void> {
    const gone = (left: number) =>
      new Failure(
        `the sender is gone after ${size - left} of ${count(size, "byte")}${
          part.keeps ? "; --resume goes on there" : ""
        }`,
      );
    const content = new Exactly(this.#content, size - at, gone);
    const sink = {
      async write(p: Uint8Array): Promise<number> {
        // Both at a time: a thread of the runtime's writes meanwhile.
        const writing = writeAll(part.file, p);
        hash?.update(p);
        await writing;
        return p.length;
      },
    };
    const onProgress = this.#service.progress.start(show(name), at, size);
    this.#bytes += await copy(content, sink, {
      bufSize: CHUNK,
      onProgress: (bytes) => onProgress(at + bytes),
    });
    const isEnd = await receiveEnd(this.#reader);
    if (isEnd === null) throw gone(0);
    if (isEnd) return;
    part.keeps = false;
    throw new Failure(`more than the ${count(size, "byte")} promised`);
  }
}

/** An address as people write it. */
function addrText(addr: SocketAddr): string {
  return formatAddr(addr).replace(/^tcp:\/\//, "");
}

const { words, has, integer } = readLine(
  HELP,
  { timeout: "t" },
  { keep: "k", overwrite: "o" },
);
const [folder, address = ADDRESS, ...more] = words;
if (folder === undefined || more.length > 0) {
  fail("one FOLDER and perhaps an ADDRESS, please; see --help");
}
const addr = readStreamAddr(address);
const idleTimeout = integer("timeout", TIMEOUT, 1, 2 ** 31 - 1);
const keep = has("keep");

await run(async () => {
  if (!(await Deno.stat(folder)).isDirectory) fail(`${folder} is no folder`);
  const grant = { name: "write", path: folder } as const;
  if ((await Deno.permissions.request(grant)).state !== "granted") {
    fail(`no permission to write: run it with --allow-write=${folder}`);
  }
  using stop = new Stop();
  const service: Service = {
    folder,
    overwrite: has("overwrite"),
    progress: new Progress(),
    stop: stop.signal,
  };
  const server = serve(await listenStream(addr), async (conn, info) => {
    const close = () => conn.close();
    stop.signal.addEventListener("abort", close);
    try {
      const isWell = await new Reception(conn, info, service).run();
      if (!keep && !isWell) Deno.exitCode = 1;
    } finally {
      stop.signal.removeEventListener("abort", close);
      if (!keep) server.shutdown();
    }
  }, {
    maxConnections: keep ? SENDERS : 1,
    idleTimeout,
    drainTimeout: 1000,
    signal: stop.signal,
  });
  console.log(`listening on ${addrText(server.addr)}`);
  await server.finished;
});
