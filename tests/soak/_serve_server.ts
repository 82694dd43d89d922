/**
 * Servers in a process of their own. The first argument says which:
 *
 *     echo HOST...       echoes, on a free port of each host
 *     mixed TIMEOUT      handlers of all sorts, and the drainTimeout
 *     answers [PATH]     answers requests, until SIGTERM
 *
 * The first two take commands from the input: `report N` waits until there are N connections and tells
 * what the process has, `shutdown` shuts the server down.
 */

import { BufferedReader, writeLine } from "../../framing.ts";
import { copy, readExact } from "../../io.ts";
import {
  type Handler,
  type HandlerInfo,
  serve,
  type Server,
} from "../../serve.ts";
import { listenTcp, type TcpConn } from "../../tcp.ts";
import type { StreamConn, StreamListener } from "../../types.ts";
import { listenUnix } from "../../unix.ts";
import { turn } from "../_bytes.ts";
import {
  answer,
  endLate,
  errorOf,
  FLOOD,
  LONG_ANSWER,
  turnsOf,
  wayOf,
} from "./_serve_traffic.ts";

/** What a server tells of itself. */
export interface Report {
  readonly connections: number;
  readonly descriptors: number;
  /** Bytes of memory: those that the process has, those of objects, and those of buffers. */
  readonly rss: number;
  readonly heap: number;
  readonly buffers: number;
  /** Bytes that were echoed to clients who have gone. */
  readonly echoed: number;
  /** What `onError` was told, and how often. */
  readonly errors: Readonly<Record<string, number>>;
  /** How long `shutdown()` took, in milliseconds; 0 before. */
  readonly draining: number;
}

/** What a server of requests has done. */
export interface Book {
  /** Requests that a handler has read. */
  readonly read: string[];
  /** How many of them were answered after the end had begun. */
  late: number;
  /** How many handlers were ended from outside. */
  cut: number;
}

/** How long a report waits for the connections that it is asked for, in milliseconds. */
const PATIENCE = 30_000;

/**
 * Answers requests. When the end begins, the answer under way is finished and nothing new is read, in
 * one of two ways that take turns.
 *
 * @param book What happens is written into it.
 * @param onRead Told of each request that was read.
 */
export function answering(
  book: Book,
  onRead: () => void = () => {},
): Handler<StreamConn> {
  let handlers = 0;
  return async (conn, { draining, signal }) => {
    const options = handlers++ % 2 ? { signal: draining } : {};
    signal.addEventListener("abort", () => book.cut++);
    const reader = new BufferedReader(conn);
    while (!draining.aborted) {
      let line: string | null;
      try {
        line = await reader.readLine(options);
      } catch (error) {
        if (error === draining.reason) return;
        throw error;
      }
      if (line === null) return;
      book.read.push(line);
      onRead();
      for (let i = turnsOf(line); i > 0; i--) await turn();
      await writeLine(conn, answer(line));
      if (draining.aborted) book.late++;
    }
  };
}

/** Does with a connection what its port says. */
function mixed(conn: TcpConn, { signal }: HandlerInfo): void | Promise<void> {
  const { port } = conn.remoteAddr;
  switch (wayOf(port)) {
    case "throws":
      throw new Error(`at once ${port}`);
    case "rejects":
      return turn().then(() => Promise.reject(new Error(`later ${port}`)));
    case "rejects with a text":
      return readExact(conn, 1).then(() => Promise.reject(errorOf(port)));
    case "closes":
      conn.close();
      return;
    case "detaches":
      echoOnce(conn.detach());
      return;
    case "leaves input":
      return conn.writeAll(LONG_ANSWER);
    case "echoes":
      return copy(conn, conn).then(() => {});
    case "waits for the client's end":
      return;
    case "never ends":
      return new Promise(() => {});
    case "throws when it is ended":
      return new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(new Error("not told")));
      });
    case "floods":
      return flood(conn);
  }
}

async function flood(conn: TcpConn): Promise<void> {
  for (;;) await conn.writeAll(FLOOD);
}

/** What became of a detached connection: the server has nothing to do with it. */
async function echoOnce(native: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(1);
  if (await native.read(buffer) !== null) await native.write(buffer);
  native.close();
}

const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;

/** Collects what nobody has any more; buffers are given back a turn after their owners. */
async function collect(): Promise<void> {
  const { gc } = globalThis as { gc?: () => void };
  for (let i = 0; i < 3; i++) {
    gc!();
    await turn();
  }
}

/** Runs a server that is asked by its input. */
async function run(
  start: (onError: (error: unknown) => void) => Promise<Server>,
  echoed: () => number,
): Promise<void> {
  const errors = new Map<string, number>();
  const server = await start((error) => {
    errors.set(String(error), 1 + (errors.get(String(error)) ?? 0));
  });
  // The first one opens two descriptors of the runtime.
  Deno.addSignalListener("SIGTERM", () => server.shutdown());
  const atFirst = descriptors();
  let draining = 0;
  console.log(JSON.stringify(server.addrs));
  for await (const line of new BufferedReader(Deno.stdin).lines()) {
    const [command, number] = line.split(" ");
    let expected = atFirst + Number(number ?? 0);
    if (command === "shutdown") {
      const begin = performance.now();
      await server.shutdown();
      draining = performance.now() - begin;
      expected -= server.addrs.length;
    } else {
      const begin = performance.now();
      while (
        server.connections !== Number(number) &&
        performance.now() - begin < PATIENCE
      ) await turn();
    }
    // Some are closed a turn later.
    for (let i = 0; i < 200 && descriptors() !== expected; i++) await turn();
    await collect();
    const { rss, heapUsed: heap, external: buffers } = Deno.memoryUsage();
    const report: Report = {
      connections: server.connections,
      descriptors: descriptors(),
      rss,
      heap,
      buffers,
      echoed: echoed(),
      errors: Object.fromEntries(errors),
      draining,
    };
    console.log(JSON.stringify(report));
  }
  Deno.exit();
}

/** Answers requests until SIGTERM comes, and tells what was done. */
async function answerAll(path: string | undefined): Promise<void> {
  const book: Book = { read: [], late: 0, cut: 0 };
  const listener: StreamListener = path === undefined
    ? await listenTcp({ hostname: "127.0.0.1" })
    : await listenUnix({ path });
  const server = serve(listener, answering(book));
  const stop = () => void server.shutdown();
  Deno.addSignalListener("SIGTERM", stop);
  console.log(JSON.stringify(server.addr));
  await server.finished;
  Deno.removeSignalListener("SIGTERM", stop);
  console.log(JSON.stringify(book));
}

if (import.meta.main) {
  endLate();
  const [mode, ...args] = Deno.args;
  if (mode === "echo") {
    let echoed = 0;
    await run(async (onError) => {
      const listeners = await Promise.all(
        args.map((hostname) => listenTcp({ hostname })),
      );
      return serve(listeners, async (conn) => {
        const bytes = await copy(conn, conn);
        echoed += bytes;
      }, { onError });
    }, () => echoed);
  } else if (mode === "mixed") {
    await run(
      async (onError) =>
        serve(await listenTcp({ hostname: "127.0.0.1" }), mixed, {
          onError,
          drainTimeout: Number(args[0]),
        }),
      () => 0,
    );
  } else if (mode === "answers") await answerAll(args[0]);
}
