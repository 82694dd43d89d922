/** Servers under load: very many clients, rude ones, handlers of all sorts, and an end in the middle of it. */

import { assert, assertEquals, assertLess } from "@std/assert";
import * as fc from "fast-check";
import { once } from "node:events";
import { connect as connectNode } from "node:net";
import {
  IncompleteReadError,
  isTimeoutError,
  LimitError,
} from "../../errors.ts";
import { BufferedReader, type FrameFormat, writeLine } from "../../framing.ts";
import { pair } from "../../pair.ts";
import { type Handler, serve, type ServeOptions } from "../../serve.ts";
import {
  connectTcp,
  listenTcp,
  type TcpConn,
  type TcpListener,
} from "../../tcp.ts";
import {
  type KeepingReader,
  keepsReads,
  type StreamConn,
  type StreamListener,
  type TcpAddr,
  type UnixAddr,
} from "../../types.ts";
import { listenUnix } from "../../unix.ts";
import { pattern, turn, utf8 } from "../_bytes.ts";
import { hasUnix, tempPath } from "../_pairs.ts";
import { Program } from "../_process.ts";
import type { Echoes } from "./_serve_clients.ts";
import { answering, type Book, type Report } from "./_serve_server.ts";
import {
  answer,
  dice,
  ENDLESS,
  errorOf,
  FLOOD,
  LONG_ANSWER,
  message,
  request,
  wayOf,
} from "./_serve_traffic.ts";
import { watched } from "./_watchdog.ts";

/** A test that fails when it hangs. */
function test(
  name: string,
  fn: () => Promise<void>,
  missing?: string | undefined,
): void {
  Deno.test({
    name: missing === undefined ? name : `${name} (not here: ${missing})`,
    ignore: missing !== undefined,
    fn: () => watched(fn),
  });
}

/** What a machine needs for tests that count descriptors, if it does not have it. */
function missingFor(descriptors: number): string | undefined {
  let limits: string;
  try {
    limits = Deno.readTextFileSync("/proc/self/limits");
  } catch {
    return "/proc, where descriptors are counted";
  }
  // The runtime has raised the soft limit, which comes first, to the hard one.
  const limit = /^Max open files +(\w+)/m.exec(limits)?.[1];
  return Number(limit) < descriptors
    ? `${descriptors} descriptors, ${limit} are the limit`
    : undefined;
}

/** Starts one of the programs beside this file. */
function start(name: string, ...args: string[]): Program {
  const { href } = new URL(name, import.meta.url);
  return new Program(Deno.execPath(), [
    "run",
    "--quiet",
    "--no-config",
    "--allow-all",
    "--v8-flags=--expose-gc",
    href,
    ...args,
  ]);
}

/** Tells a server something, and gives its report. */
async function ask(server: Program, command: string): Promise<Report> {
  await server.send(command);
  return JSON.parse(await server.line());
}

const many = (n: number) => n.toLocaleString("en");

/** Reads until `size` bytes have come, or all there are; a reset is an end, too. */
async function readUpTo(conn: Deno.Conn, size: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(size);
  let length = 0;
  while (length < size) {
    const n = await conn.read(bytes.subarray(length)).catch(ignoreReset);
    if (n === null) break;
    length += n;
  }
  return bytes.subarray(0, length);
}

function ignoreReset(error: unknown): null {
  if (
    error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.BrokenPipe
  ) return null;
  throw error;
}

async function writeAll(conn: Deno.Conn, data: Uint8Array): Promise<void> {
  for (let sent = 0; sent < data.length;) {
    sent += await conn.write(data.subarray(sent));
  }
}

/** Compares bytes: where there are very many, a list of all differences helps nobody. */
function assertBytes(got: Uint8Array, wanted: Uint8Array): void {
  const at = wanted.findIndex((byte, i) => byte !== got[i]);
  assert(
    got.length === wanted.length && at < 0,
    `${got.length} bytes, expected ${wanted.length}; first difference at ${at}`,
  );
}

// Many

const CONNECTIONS = 10_000;
const ROUNDS = 10;

test("10,000 connections at once, a message a second each", async () => {
  await using server = start("_serve_server.ts", "echo", "127.0.0.1");
  const [{ port }]: [TcpAddr] = JSON.parse(await server.line());
  const before = await ask(server, "report 0");
  await using clients = start(
    "_serve_clients.ts",
    ...[port, CONNECTIONS, ROUNDS].map(String),
  );
  assertEquals(await clients.line(), "open");
  const open = await ask(server, `report ${CONNECTIONS}`);
  await clients.send("go");
  assertEquals(await clients.line(), "done");
  const busy = await ask(server, `report ${CONNECTIONS}`);
  await clients.send("end");
  const echoes: Echoes = JSON.parse(await clients.line());
  const after = await ask(server, "report 0");

  const each = (key: "rss" | "heap" | "buffers", report = busy) =>
    Math.round((report[key] - before[key]) / CONNECTIONS);
  const { wrong, missing } = echoes;
  console.log(
    `${many(CONNECTIONS)} connections: ${many(each("rss"))} bytes of memory ` +
      `each in the server (${many(each("buffers"))} in buffers, ` +
      `${many(each("heap"))} in objects; ${many(each("rss", open))} before ` +
      `they talked), ${many(echoes.right)} bytes echoed, ` +
      `${many(wrong + missing)} lost; descriptors ${before.descriptors}, ` +
      `${many(busy.descriptors)}, ${after.descriptors}`,
  );
  let sent = 0;
  for (let client = 0; client < CONNECTIONS; client++) {
    for (let round = 0; round <= ROUNDS; round++) {
      sent += message(client, round).length;
    }
  }
  assertEquals(echoes, { right: sent, wrong: 0, missing: 0, broken: 0 });
  assertEquals([after.echoed, after.errors], [sent, {}]);
  assertEquals(
    [before, open, busy, after].map((r) => [r.connections, r.descriptors]),
    [0, CONNECTIONS, CONNECTIONS, 0].map((n) => [n, before.descriptors + n]),
  );
  // Twice what an echo's buffer has; and nothing of it stays.
  assertLess(each("rss"), 2 * 65536);
  assertLess(each("heap", after), 512);
  assertLess(each("buffers", after), 512);
}, missingFor(CONNECTIONS + 100));

const SHORT = 50_000;
const AT_A_TIME = 16;

/** Each has as many ports of clients as the system gives, also while old ones are in TIME_WAIT. */
const HOSTS = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"];

/** One short connection of many: half of them end well, the others in three ways that are rude. */
async function visit(addr: TcpAddr, number: number): Promise<void> {
  const said = message(number, 0);
  if (number % 4 === 0) return await visitAndReset(addr, said, number % 8 > 0);
  using conn = await Deno.connect(addr);
  await writeAll(conn, said);
  if (number % 4 === 1) return;
  await conn.closeWrite();
  assertBytes(await readUpTo(conn, said.length + 1), said);
}

/** A connection that ends by a reset: when it is made, or in the echo. Only node's have a call for it. */
async function visitAndReset(
  { port, hostname }: TcpAddr,
  said: Uint8Array,
  talks: boolean,
): Promise<void> {
  const socket = connectNode(port, hostname);
  // Whoever waits for something else is told of an error.
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.on("error", () => {});
  await once(socket, "connect");
  if (talks) {
    socket.write(said);
    await once(socket, "data");
  }
  socket.resetAndDestroy();
  await closed;
}

test(`50,000 short connections, ${AT_A_TIME} at a time`, async () => {
  await using server = start("_serve_server.ts", "echo", ...HOSTS);
  const addrs: TcpAddr[] = JSON.parse(await server.line());
  const visits = async (from: number, to: number) => {
    let next = from;
    await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
      while (next < to) {
        const number = next++;
        await visit(addrs[(number >> 2) % addrs.length]!, number);
      }
    }));
    return await ask(server, "report 0");
  };
  const reports = [
    await visits(0, 1000),
    await visits(1000, SHORT / 2),
    await visits(SHORT / 2, SHORT),
  ];
  const [first, middle, last] = reports as [Report, Report, Report];
  const list = (key: "descriptors" | "rss" | "heap") =>
    reports.map((report) => many(report[key])).join(", ");
  console.log(
    `${many(SHORT)} connections, at their start, middle and end: ` +
      `descriptors ${list("descriptors")}; bytes of memory ${list("rss")}, ` +
      `in objects ${list("heap")}; ${JSON.stringify(last.errors)}`,
  );
  assertEquals(
    reports.map((report) => [report.connections, report.descriptors]),
    Array(3).fill([0, first.descriptors]),
  );
  // An object of any kind that stays for each connection is more.
  assertLess(last.heap - middle.heap, 32 * SHORT / 2);
  // Clients that went away are all that went wrong.
  const errors = Object.entries(last.errors);
  for (const [error, count] of errors) {
    assert(/^(ConnectionReset|BrokenPipe):/.test(error), error);
    assert(count <= SHORT / 2);
  }
  assert(errors.length > 0);
}, missingFor(200));

// Slow

const LORISES = 200;

/** How often they send a byte, and the bounds, in milliseconds. */
const BEAT = 1000;
const LIFETIME = 3000;
const IDLE = 3000;

/** More bytes than an idle connection, or one with a bounded life, has the time for. */
const BEATS = 7;

const lines: Handler<TcpConn> = async (conn) => {
  for await (const line of new BufferedReader(conn).lines()) {
    await writeLine(conn, line);
  }
};

/**
 * Sends a byte now and then, and at last the end of the line, with the line as its answer.
 *
 * @returns How long the connection lived, if it was ended before; else `undefined`.
 */
async function loris(addr: TcpAddr): Promise<number | undefined> {
  const begin = performance.now();
  using conn = await Deno.connect(addr);
  let lived: number | undefined;
  const answer = readUpTo(conn, BEATS + 1).finally(() =>
    lived = performance.now() - begin
  );
  for (let i = 0; i < BEATS && lived === undefined; i++) {
    await conn.write(utf8("x")).catch(ignoreReset);
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, BEAT);
      answer.then(() => (clearTimeout(timer), resolve(undefined)));
    });
  }
  if (lived === undefined) await conn.write(utf8("\n"));
  const said = await answer;
  if (said.length === 0) return lived;
  assertBytes(said, utf8("x".repeat(BEATS) + "\n"));
  return undefined;
}

test("200 slow-lorises end by maxLifetime, and never by idleTimeout alone", async () => {
  const errors: unknown[] = [];
  const reasons: unknown[] = [];
  const begin = async (options: ServeOptions<TcpConn>) =>
    serve(await listenTcp({ hostname: "127.0.0.1" }), (conn, info) => {
      const { signal } = info;
      signal.addEventListener("abort", () => reasons.push(signal.reason));
      return lines(conn, info);
    }, { ...options, onError: (error) => errors.push(error) });
  await using bounded = await begin({
    maxLifetime: LIFETIME,
    idleTimeout: 10 * IDLE,
  });
  await using patient = await begin({ idleTimeout: IDLE });
  using silent = await Deno.connect(patient.addr);

  let isOver = false;
  let visits = 0;
  const visiting = (async () => {
    for (; !isOver; visits++) {
      using conn = await connectTcp((visits % 2 ? bounded : patient).addr);
      const reader = new BufferedReader(conn);
      for (let i = 0; i < 10; i++) {
        await writeLine(conn, `visit ${visits} line ${i}`);
        assertEquals(await reader.readLine(), `visit ${visits} line ${i}`);
      }
      // More of them would be a load of another kind.
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  const all = (addr: TcpAddr) =>
    Promise.all(Array.from({ length: LORISES }, () => loris(addr)));
  const [ended, stayed] = await Promise.all([
    all(bounded.addr),
    all(patient.addr),
  ]);
  isOver = true;
  await visiting;

  const lives = ended.map((lived) => lived ?? Infinity);
  console.log(
    `${LORISES} slow-lorises lived ${Math.round(Math.min(...lives))} to ` +
      `${Math.round(Math.max(...lives))} ms of ${LIFETIME}; ` +
      `${visits} others were served`,
  );
  // The last life is bounded by when it is looked at, and by a generous time for a busy machine.
  for (const lived of lives) {
    assert(lived >= LIFETIME && lived < 2 * LIFETIME, `lived ${lived} ms`);
  }
  assertEquals(stayed, Array(LORISES).fill(undefined));
  assertBytes(await readUpTo(silent, 1), new Uint8Array(0));
  assert(visits > 0);
  assertEquals([reasons.length, errors], [LORISES + 1, []]);
  assert(reasons.every(isTimeoutError));
});

// Noise

/** A fixed or varint format with all its members. */
interface Rules {
  readonly bytes: number;
  readonly littleEndian: boolean;
  readonly offset: number;
  readonly adjustment: number;
  readonly maxLength: number;
  readonly varint: "leb128" | "quic" | undefined;
}

/** The big-endian number of some bytes. */
function number(bytes: Uint8Array): bigint {
  return bytes.reduce((n, byte) => n * 256n + BigInt(byte), 0n);
}

/** The sizes of a header and of what follows it; `undefined` if it is not there. */
function header(data: Uint8Array, rules: Rules): [number, bigint] | undefined {
  if (rules.varint === "leb128") {
    const end = data.findIndex((byte) => byte < 0x80) + 1;
    if (end === 0 && data.length < 10) return undefined;
    if (end === 0 || end > 10) return [10, -1n];
    const digits = [...data.subarray(0, end)].map((byte) => byte & 0x7f);
    return [end, digits.reduceRight((n, digit) => n << 7n | BigInt(digit), 0n)];
  }
  if (rules.varint === "quic") {
    if (data.length === 0) return undefined;
    const size = 2 ** (data[0]! >> 6);
    if (data.length < size) return undefined;
    return [
      size,
      number(data.subarray(0, size)) & (1n << BigInt(8 * size - 2)) - 1n,
    ];
  }
  const size = rules.offset + rules.bytes;
  if (data.length < size) return undefined;
  const field = data.slice(rules.offset, size);
  if (rules.littleEndian) field.reverse();
  return [size, number(field) + BigInt(rules.adjustment)];
}

/** What some bytes are: frames, how they end, and what is left. */
function cut(data: Uint8Array, rules: Rules) {
  const frames: Uint8Array[] = [];
  for (let rest = data;;) {
    const end = (ending: string) => ({ frames, ending, rest });
    if (rest.length === 0) return end("end");
    const [size, length] = header(rest, rules) ?? [0, undefined];
    if (length === undefined) return end("IncompleteReadError");
    if (length < 0n) return end("InvalidData");
    if (length > BigInt(rules.maxLength)) return end("LimitError");
    const next = size + Number(length);
    if (rest.length < next) return end("IncompleteReadError");
    frames.push(
      new Uint8Array([
        ...rest.subarray(0, rules.offset),
        ...rest.subarray(size, next),
      ]),
    );
    rest = rest.subarray(next);
  }
}

/** A frame, if it can be one: most of what is only random is an error at its start. */
function frame(body: Uint8Array, rules: Rules): Uint8Array {
  const { bytes, littleEndian, offset, adjustment, varint } = rules;
  const length = Math.max(body.length - offset, 0);
  if (varint === "leb128") {
    return new Uint8Array([length & 0x7f | 0x80, length >> 7, ...body]);
  }
  if (varint === "quic") {
    return new Uint8Array([0x40 | length >> 8, length & 0xff, ...body]);
  }
  const field = Array.from(
    { length: bytes },
    (_, i) => (length - adjustment) / 256 ** (bytes - 1 - i) & 0xff,
  );
  if (littleEndian) field.reverse();
  return new Uint8Array([
    ...body.subarray(0, offset),
    ...field,
    ...body.subarray(offset),
  ]);
}

/** A reader that looks at the buffers it is given. */
class Watched implements KeepingReader {
  readonly [keepsReads] = true;
  readonly #conn: StreamConn;
  /** The largest buffer. */
  most = 0;

  constructor(conn: StreamConn) {
    this.#conn = conn;
  }

  read(
    p: Uint8Array,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<number | null> {
    this.most = Math.max(this.most, p.buffer.byteLength);
    return this.#conn.read(p, options);
  }
}

/** How many ways there are to read frames. */
const FRAME_WAYS = 5;

/** Reads all frames in one of the ways. */
async function* readFrames(
  reader: BufferedReader,
  format: FrameFormat,
  way: number,
): AsyncIterable<Uint8Array> {
  // Frames in a buffer that is used again have to be copied.
  const reuse = way % 2 === 1;
  const keep = (frame: Uint8Array) => reuse ? frame.slice() : frame;
  if (way < 2) {
    for await (const frame of reader.frames(format, { reuse })) {
      yield keep(frame);
    }
  } else if (way < 4) {
    for await (const batch of reader.frameBatches(format, { reuse })) {
      yield* batch.map(keep);
    }
  } else {
    for (;;) {
      const frame = await reader.readFrame(format);
      if (frame === null) return;
      yield frame;
    }
  }
}

/** Two connected ends: of memory, or of TCP. */
async function connect(
  listener: TcpListener,
  isTcp: boolean,
  capacity: number,
): Promise<readonly [StreamConn, StreamConn]> {
  return isTcp
    ? await Promise.all([connectTcp(listener.addr), listener.accept()])
    : pair({ capacity });
}

/** Bytes, or a frame of so many: "most" are as many as may be, "more" are one more. */
type Piece = Uint8Array | number | "most" | "more";

const size: fc.Arbitrary<Piece> = fc.oneof(
  { weight: 5, arbitrary: fc.nat(300) },
  { weight: 1, arbitrary: fc.constantFrom("most", "more") },
);

/** Bytes as they come; frames; or frames with such bytes among them. */
const noise: fc.Arbitrary<Piece[]> = fc.oneof(
  fc.uint8Array({ maxLength: 500 }).map((bytes) => [bytes]),
  fc.array(size, { maxLength: 12 }),
  fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 20 }),
      // Numbers that are too large, or negative with an adjustment, or that do not end.
      fc.tuple(fc.nat(12), fc.constantFrom(0, 0xff)).map(([length, byte]) =>
        new Uint8Array(length).fill(byte)
      ),
      { weight: 3, arbitrary: size },
    ),
    { maxLength: 12 },
  ),
);

/** The bytes of a piece. */
function bytesOf(piece: Piece, i: number, rules: Rules): Uint8Array {
  if (piece instanceof Uint8Array) return piece;
  const { maxLength, offset } = rules;
  const length = typeof piece === "number"
    ? piece
    : Math.min(maxLength, 1000) + offset + (piece === "more" ? 1 : 0);
  return frame(pattern(length, i), rules);
}

const CASES = 10_000;

/** One case in so many goes over TCP. */
const TCP_SHARE = 10;

function testNoise(
  name: string,
  format: fc.Arbitrary<Partial<Rules> & { maxLength: number }>,
): void {
  test(`${many(CASES)} random inputs as frames of ${name}`, async () => {
    await using listener = await listenTcp({ hostname: "127.0.0.1" });
    let cases = 0;
    const seen = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(
        noise,
        format,
        fc.array(fc.integer({ min: 1, max: 200 }), {
          minLength: 1,
          maxLength: 5,
        }),
        fc.constantFrom(16, 50, 1000, 65536),
        fc.nat(FRAME_WAYS - 1),
        fc.integer({ min: 1, max: 600 }),
        async (noise, format, cuts, bufSize, way, capacity) => {
          const rules: Rules = {
            bytes: 0,
            littleEndian: false,
            offset: 0,
            adjustment: 0,
            varint: undefined,
            ...format,
          };
          const data = new Uint8Array(
            noise.flatMap((piece, i) => [...bytesOf(piece, i, rules)]),
          );
          const isTcp = cases++ % TCP_SHARE === 0;
          const [a, b] = await connect(listener, isTcp, capacity);
          using _a = a;
          using _b = b;
          const sending = (async () => {
            for (let at = 0, i = 0; at < data.length; i++) {
              const next = at + cuts[i % cuts.length]!;
              await a.writeAll(data.subarray(at, next));
              at = next;
            }
            await a.closeWrite();
          })();
          sending.catch(() => {});

          const watched = new Watched(b);
          const reader = new BufferedReader(watched, { bufSize });
          const most = rules.maxLength + rules.offset + 10 + bufSize;
          const wanted = cut(data, rules);
          const got: Uint8Array[] = [];
          let ending = "end";
          let error: unknown;
          const frameFormat = format as FrameFormat;
          try {
            for await (const frame of readFrames(reader, frameFormat, way)) {
              got.push(frame);
              assert(reader.buffered <= most);
              assert(frame.buffer.byteLength <= most);
            }
          } catch (thrown) {
            if (!(thrown instanceof Error)) throw thrown;
            error = thrown;
            ending = thrown.name;
          }
          assertEquals(ending, wanted.ending, String(error));
          assert(reader.buffered <= most);
          if (error instanceof IncompleteReadError) {
            // It has all that was left.
            assertBytes(error.partial, wanted.rest);
            assertEquals(await reader.readFrame(frameFormat), null);
          } else if (error !== undefined) {
            if (error instanceof LimitError) {
              assertEquals(error.limit, rules.maxLength);
            }
            // It stays, and nothing is lost by it.
            const again = await reader.readFrame(frameFormat)
              .catch((error) => error);
            assertEquals(String(again), String(error));
            const rest = new Uint8Array(wanted.rest.length + 1);
            let length = 0;
            while (length < rest.length) {
              const n = await reader.read(rest.subarray(length));
              if (n === null) break;
              length += n;
            }
            assertBytes(rest.subarray(0, length), wanted.rest);
          }
          // Nothing that came later has changed them.
          assertEquals(got.length, wanted.frames.length);
          got.forEach((frame, i) => assertBytes(frame, wanted.frames[i]!));
          assert(watched.most <= most, `a buffer of ${watched.most} bytes`);
          await sending;
          const key = `${ending} after ${got.length > 0 ? "some" : "none"}`;
          seen.set(key, 1 + (seen.get(key) ?? 0));
        },
      ),
      { numRuns: CASES },
    );
    // Cases of all kinds have been there. No length is invalid in QUIC's format.
    const endings = ["end", "LimitError", "IncompleteReadError"];
    if (name !== "quic") endings.push("InvalidData");
    for (const ending of endings) {
      assert(seen.has(`${ending} after some`), JSON.stringify([...seen]));
    }
  });
}

const maxLength = fc.constantFrom(300, 400, 2 ** 20);

for (const bytes of [1, 2, 3, 4, 8]) {
  for (const littleEndian of [false, true]) {
    testNoise(
      `${bytes} bytes, ${littleEndian ? "little" : "big"} endian`,
      fc.record({
        bytes: fc.constant(bytes),
        littleEndian: fc.constant(littleEndian),
        offset: fc.nat(5),
        adjustment: fc.integer({ min: -9, max: 9 }),
        maxLength: bytes === 1 ? fc.constantFrom(100, 200) : maxLength,
      }),
    );
  }
}
for (const varint of ["leb128", "quic"] as const) {
  testNoise(varint, fc.record({ varint: fc.constant(varint), maxLength }));
}

// Handlers

const MIXED = 400;
const DRAIN = 1000;

/** A client of handlers of all sorts; resolves when its connection has ended. */
async function meet(addr: TcpAddr, conn: Deno.TcpConn): Promise<void> {
  const { port } = conn.localAddr;
  const said = message(port, 0);
  const nothing = new Uint8Array(0);
  const begin = () => writeAll(conn, said).catch(ignoreReset);
  assertEquals(conn.remoteAddr.port, addr.port);
  switch (wayOf(port)) {
    case "throws":
    case "rejects":
    case "rejects with a text":
    case "closes":
    case "never ends":
    case "throws when it is ended":
      await begin();
      assertBytes(await readUpTo(conn, 1), nothing);
      break;
    case "detaches":
      await begin();
      assertBytes(await readUpTo(conn, 2), said.subarray(0, 1));
      break;
    case "leaves input":
      await begin();
      assertBytes(await readUpTo(conn, LONG_ANSWER.length + 1), LONG_ANSWER);
      break;
    case "echoes":
      await begin();
      await conn.closeWrite();
      assertBytes(await readUpTo(conn, said.length + 1), said);
      break;
    case "waits for the client's end":
      // It ends, but this end of it stays open: for ever, if the server let it.
      assertBytes(await readUpTo(conn, 1), nothing);
      return;
    case "floods":
      return;
  }
  conn.close();
}

test(
  "400 handlers of all sorts at once, and the end of those that never do",
  async () => {
    await using server = start("_serve_server.ts", "mixed", String(DRAIN));
    const [addr]: [TcpAddr] = JSON.parse(await server.line());
    const before = await ask(server, "report 0");
    const conns: Deno.TcpConn[] = [];
    const meetings: Promise<void>[] = [];
    const isEndless = (conn: Deno.TcpConn) =>
      ENDLESS.includes(wayOf(conn.localAddr.port));
    try {
      const meetMany = async (count: number) => {
        const more = await Promise.all(
          Array.from({ length: count }, () => Deno.connect(addr)),
        );
        conns.push(...more);
        const some = more.map((conn) => meet(addr, conn));
        meetings.push(...some);
        // Some are waited for at the end only.
        for (const meeting of some) meeting.catch(() => {});
        await Promise.all(some.filter((_, i) => !isEndless(more[i]!)));
      };
      await meetMany(MIXED);
      const endless = conns.filter(isEndless).length;
      assert(endless > 0 && endless < MIXED);
      // The others are gone: nobody waits for a client's end for ever.
      const during = await ask(server, `report ${endless}`);
      assertEquals(
        [during.connections, during.descriptors],
        [endless, before.descriptors + endless],
      );
      // It serves on, and it is shut down in the middle of some graceful closes.
      await meetMany(MIXED / 4);
      const after = await ask(server, "shutdown");
      await Promise.all(meetings);

      const ports = conns.map(({ localAddr }) => localAddr.port);
      const errors = ports.map(errorOf).filter((error) => error !== undefined);
      console.log(
        `${conns.length} handlers: ${errors.length} have thrown, ${
          ports.length - errors.length
        } have not; ${endless} ended by shutdown() in ${
          Math.round(after.draining)
        } ms of ${DRAIN}; descriptors ${before.descriptors}, ` +
          `${during.descriptors}, ${after.descriptors}`,
      );
      assert(errors.length > 0);
      // A port may have come twice.
      const counts: Record<string, number> = {};
      for (const error of errors) counts[error] = 1 + (counts[error] ?? 0);
      assertEquals(after.errors, counts);
      assertEquals(after.connections, 0);
      // That of the listener is gone, too.
      assertEquals(after.descriptors, before.descriptors - 1);
      // Less than it would take if they were waited for, with a generous time for a busy machine.
      assertLess(after.draining, DRAIN + 5000);
      for (const conn of conns) {
        if (wayOf(conn.localAddr.port) !== "floods") continue;
        const got = await readUpTo(conn, FLOOD.length);
        assert(got.length > 0);
        assertBytes(got, FLOOD.subarray(0, got.length));
      }
      const { code, stderr } = await server.ended();
      assertEquals([code, stderr], [0, ""]);
    } finally {
      for (const conn of conns) conn[Symbol.dispose]();
    }
  },
  missingFor(2 * MIXED),
);

// Ends

const ASKERS = 20;

/** One connection's talk: what is asked, and which answers have come whole. */
async function askSome(
  conn: Deno.Conn,
  name: string,
  roll: (n: number) => number,
  onAnswer: (request: string) => void,
): Promise<void> {
  const requests = Array.from(
    { length: 1 + roll(8) },
    (_, i) =>
      request(name, i, 60 + roll(roll(20) ? 200 : 300_000), roll(3) * roll(3)),
  );
  const ahead = 1 + roll(3);
  const asked: string[] = [];
  const buffer = new Uint8Array(65536);
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    while (asked.length < ahead && requests.length > 0) {
      const line = requests.shift()!;
      asked.push(line);
      await writeAll(conn, utf8(`${line}\n`)).catch(ignoreReset);
    }
    if (asked.length === 0) break;
    const n = await conn.read(buffer).catch(ignoreReset);
    if (n === null) break;
    rest += decoder.decode(buffer.subarray(0, n));
    const answers = rest.split("\n");
    rest = answers.pop()!;
    for (const said of answers) {
      const line = asked.shift()!;
      assertBytes(utf8(said), utf8(answer(line)));
      onAnswer(line);
    }
  }
  assert(rest === "", `an answer was cut off after ${rest.length} characters`);
}

/** Clients that ask, connection after connection, until nobody listens any more. */
async function askOnAndOn(
  addr: TcpAddr | UnixAddr,
  seed: number,
  onAnswer: (request: string) => void,
): Promise<void> {
  const connect = (): Promise<Deno.Conn> =>
    addr.transport === "tcp"
      ? Deno.connect(addr)
      : Deno.connect({ transport: "unix", path: addr.path! });
  await Promise.all(Array.from({ length: ASKERS }, async (_, client) => {
    const roll = dice(seed * ASKERS + client);
    for (let i = 0;; i++) {
      let conn: Deno.Conn;
      try {
        conn = await connect();
      } catch (error) {
        // A full queue of a Unix listener is told at once.
        if (error instanceof Deno.errors.WouldBlock) continue;
        if (
          error instanceof Deno.errors.ConnectionRefused ||
          error instanceof Deno.errors.ConnectionReset ||
          error instanceof Deno.errors.NotFound
        ) return;
        throw error;
      }
      using _ = conn;
      await askSome(conn, `${seed}.${client}.${i}`, roll, onAnswer);
    }
  }));
}

/** Sees to it that what was read was answered, and nobody was ended by force. */
function check(book: Book, answered: readonly string[], what: string): void {
  const came = new Set(answered);
  assertEquals(
    book.read.filter((request) => !came.has(request)),
    [],
    `${what}: unanswered`,
  );
  assertEquals([came.size, book.cut], [book.read.length, 0], what);
}

test("shutdown() under load loses no request, in 30 rounds", async () => {
  let [read, late] = [0, 0];
  for (let round = 0; round < 30; round++) {
    const roll = dice(1000 + round);
    await using temp = await tempPath();
    const isUnix = hasUnix && round % 2 === 1;
    const listener: StreamListener<StreamConn, TcpAddr | UnixAddr> = isUnix
      ? await listenUnix({ path: temp.path })
      : await listenTcp({ hostname: "127.0.0.1" });
    const book: Book = { read: [], late: 0, cut: 0 };
    const errors: unknown[] = [];
    const moment = roll(400);
    const turns = roll(4);
    await using server = serve(
      listener,
      answering(book, async () => {
        if (book.read.length !== moment) return;
        for (let i = 0; i < turns; i++) await turn();
        server.shutdown();
      }),
      { onError: (error) => errors.push(error) },
    );
    if (moment === 0) server.shutdown();
    const answered: string[] = [];
    await Promise.all([
      askOnAndOn(listener.addr, round, (line) => answered.push(line)),
      server.finished,
    ]);
    check(book, answered, `round ${round}`);
    assertEquals([server.connections, errors], [0, []]);
    assert(book.read.length >= moment);
    read += book.read.length;
    late += book.late;
  }
  console.log(
    `30 rounds: ${many(read)} requests read and answered, ` +
      `${many(late)} of them after the end had begun`,
  );
  assert(late > 0);
});

test("SIGTERM under load loses no request, in 20 rounds", async () => {
  let [read, late] = [0, 0];
  for (let round = 0; round < 20; round++) {
    const roll = dice(2000 + round);
    await using temp = await tempPath();
    const isUnix = round % 2 === 1;
    await using server = start(
      "_serve_server.ts",
      "answers",
      ...(isUnix ? [temp.path] : []),
    );
    const addr: TcpAddr | UnixAddr = JSON.parse(await server.line());
    const moment = 1 + roll(400);
    const answered: string[] = [];
    await askOnAndOn(addr, round, (line) => {
      if (answered.push(line) === moment) server.kill("SIGTERM");
    });
    const { code, signal, stdout, stderr } = await server.ended();
    assertEquals([code, signal, stderr], [0, null, ""]);
    const book: Book = JSON.parse(stdout);
    check(book, answered, `round ${round}`);
    // The socket's file is gone with its server.
    const files = [...Deno.readDirSync(temp.path.slice(0, -2))];
    assertEquals(files, []);
    read += book.read.length;
    late += book.late;
  }
  console.log(
    `20 rounds: ${many(read)} requests read and answered, ` +
      `${many(late)} of them after the end had begun`,
  );
  assert(late > 0);
}, hasUnix ? undefined : "SIGTERM");
