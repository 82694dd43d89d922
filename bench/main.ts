/**
 * Benchmarks: this package against the raw calls of the runtime doing the same work in the same run.
 *
 *     deno task bench [--rounds=9] [--only=TEXT]
 *
 * Every case runs in alternating rounds. Echoes have both ends of each connection in this process, so
 * that the ratio is that of the whole work; what depends on the memory before it runs in processes of
 * its own. A ratio is ours by raw (timed by untimed in the rows that say so): more is better.
 */

import { parseArgs } from "@std/cli/parse-args";
import {
  type Conn,
  echo,
  type Ends,
  ourEnds,
  rawEnds,
  sends,
} from "./_echo.ts";
import {
  echoDatagrams,
  ourPairs,
  raw as rawReceive,
  rawPairs,
  rawReused,
  receive,
  receiveInto,
  sendMany,
} from "./_datagrams.ts";
import { bsdEcho, bsdEnds } from "./_bsd.ts";
import { Files } from "./_files.ts";
import { startForwards } from "./_forward.ts";
import { EchoServer, loadGenerator, starts } from "./_libc.ts";
import { take, type ways } from "./_framing.ts";
import { Peer } from "./_peer.ts";
import { pipes, proxy } from "./_proxy.ts";
import { acceptLoop, served } from "./_serve.ts";
import { format, inChild, median, sideBySide, type Work } from "./_rounds.ts";

const args = parseArgs(Deno.args, { string: ["rounds", "only"] });
const rounds = Number(args["rounds"] ?? 9);
const only = String(args["only"] ?? "");

const small = { size: 64, count: 64, rounds: 600 };
const large = { size: 65536, count: 4, rounds: 1500 };

async function compare(
  name: string,
  bar: number | undefined,
  unit: string,
  baseline: Work,
  candidate: Work,
): Promise<void> {
  if (!name.includes(only)) return;
  const row = await sideBySide(
    name,
    bar,
    baseline,
    candidate,
    rounds,
  );
  console.log(format(row, unit));
}

/** Echoes over connections that are made once and used in every round. */
async function echoes(
  name: string,
  bar: number,
  base: () => Promise<Ends>,
  ours: () => Promise<Ends>,
  baseSend: keyof typeof sends,
  ourSend: keyof typeof sends,
  { size, rounds }: typeof small,
): Promise<void> {
  if (!name.includes(only)) return;
  const [a, b] = [await base(), await ours()];
  await compare(
    name,
    bar,
    "round trips/s",
    () => echo(a, size, rounds, sends[baseSend]),
    () => echo(b, size, rounds, sends[ourSend]),
  );
  for (const conn of [...a, ...b]) conn.close();
}

const TIMEOUT = 60_000;

/** A connection whose reads have a timeout and whose writes have none. */
class TimedReads implements Conn {
  readonly #conn: Conn;

  constructor(conn: Conn) {
    this.#conn = conn;
  }

  read(p: Uint8Array): Promise<number | null> {
    const conn = this.#conn;
    conn.timeout = TIMEOUT;
    const reading = conn.read(p);
    conn.timeout = undefined;
    return reading;
  }

  write(p: Uint8Array): Promise<number> {
    return this.#conn.write(p);
  }

  close(): void {
    this.#conn.close();
  }
}

for (const kind of ["tcp", "unix"] as const) {
  const raw = () => rawEnds(kind, small.count);
  const ours = () => ourEnds(kind, small.count);
  await echoes(
    `${kind} echo 64 B x 64, read/write`,
    0.96,
    raw,
    ours,
    "write",
    "write",
    small,
  );
  await echoes(
    `${kind} echo 64 B x 64, read/writeAll`,
    0.94,
    raw,
    ours,
    "write",
    "writeAll",
    small,
  );
  const timed = () => ourEnds(kind, small.count, TIMEOUT);
  await echoes(
    `${kind} echo 64 B x 64, timed read`,
    0.85,
    ours,
    async () => (await ours()).map((conn) => new TimedReads(conn)),
    "write",
    "write",
    small,
  );
  await echoes(
    `${kind} echo 64 B x 64, timed read/writeAll`,
    0.8,
    ours,
    timed,
    "writeAll",
    "writeAll",
    small,
  );
}

for (const kind of ["tcp", "unix"] as const) {
  const name = `bsd ${kind} echo 64 B x 64, recv/sendall by read/writeAll`;
  if (!name.includes(only)) continue;
  const { size, count, rounds } = small;
  const [core, face] = [await ourEnds(kind, count), await bsdEnds(kind, count)];
  await compare(
    name,
    0.85,
    "round trips/s",
    () => echo(core, size, rounds, sends.writeAll),
    () => bsdEcho(face, size, rounds),
  );
  for (const end of [...core, ...face]) end.close();
}

await echoes(
  "unix echo 64 KiB x 4, read/writeAll",
  0.97,
  () => rawEnds("unix", large.count),
  () => ourEnds("unix", large.count),
  "writeLoop",
  "writeAll",
  large,
);

if (only === "" || only.startsWith("udp")) {
  const base = rawPairs(16);
  const ours = await ourPairs(16);
  const rounds = 1500;
  await compare(
    "udp echo 64 B x 16, receiveInto",
    0.96,
    "round trips/s",
    () => echoDatagrams(base, rawReused, 64, rounds),
    () => echoDatagrams(ours, receiveInto, 64, rounds),
  );
  await compare(
    "udp echo 64 B x 16, receive",
    1.5,
    "round trips/s",
    () => echoDatagrams(base, rawReceive, 64, rounds),
    () => echoDatagrams(ours, receive, 64, rounds),
  );
  const { port } = ours.sockets[0]!.addr;
  await compare(
    "udp send to localhost",
    4,
    "datagrams/s",
    () => sendMany(base.sockets[0]!, "localhost", port, 3000),
    () => sendMany(ours.sockets[1]!, "localhost", port, 3000),
  );
  base.close();
  ours.close();
}

/** Servers of the C library's sockets by the runtime's, under one load. */
async function libcEchoes(
  transport: "udp" | "tcp",
  ...candidates: [way: string, bar: number | undefined][]
): Promise<void> {
  const name = (way: string) =>
    `libc ${transport} echo 64 B x 64, ${way} by Deno's`;
  if (!candidates.some(([way]) => name(way).includes(only))) return;
  await using load = await loadGenerator();
  await using base = new EchoServer(transport, "deno");
  const port = await base.port;
  for (const [way, bar] of candidates) {
    await using server = new EchoServer(transport, way);
    const own = await server.port;
    await compare(
      name(way),
      bar,
      "round trips/s",
      () => load(transport, port, 64, 1),
      () => load(transport, own, 64, 1),
    );
  }
}

if (Deno.build.os === "linux") {
  await libcEchoes(
    "udp",
    ["libc", undefined],
    ["eventfd", undefined],
    ["batches", 1.7],
  );
  await libcEchoes(
    "tcp",
    ["libc", 1],
    ["eventfd", undefined],
    ["conn", undefined],
  );
  for (const imports of [[], ["../socket.ts"]]) {
    await compare(
      `libc start of a program that imports ${
        imports.length === 0 ? "it" : "both"
      } by one that imports ../socket`,
      undefined,
      "starts/s",
      () => starts("../socket.ts"),
      () => starts(...imports, "../libc/mod.ts"),
    );
  }
}

/** Messages out of 256 MiB that another process sends. */
async function messages(
  kind: "lines" | "frames",
  baseline: keyof typeof ways,
  ...candidates: [way: keyof typeof ways, bar: number | undefined][]
): Promise<void> {
  const name = (way: string) => `${kind}, ${way} by ${baseline}`;
  if (!candidates.some(([way]) => name(way).includes(only))) return;
  await using peer = new Peer("source", kind, String(2 ** 28));
  const port = await peer.number();
  for (const [way, bar] of candidates) {
    await compare(
      name(way),
      bar,
      "MiB/s",
      take(port, baseline),
      take(port, way),
    );
  }
}

await messages("lines", "textLineStream", ["lines", 1.6], ["lineBatches", 3]);
await messages(
  "frames",
  "inPlace",
  // The same terms as the loop's: good until the next read.
  ["reusedBatches", 0.8],
  ["frameBatches", undefined],
  ["reusedFrames", undefined],
  ["frames", undefined],
);

if ("copyBidirectional by pipeTo".includes(only)) {
  const bytes = 2 ** 27;
  await using peer = new Peer("source", "bytes", String(bytes));
  const port = await peer.number();
  await compare(
    "copyBidirectional by pipeTo",
    1.5,
    "MiB/s",
    () => pipes(port, bytes),
    () => proxy(port, bytes),
  );
}

if ("serve echo 64 B x 64 serve short connections".includes(only)) {
  await using clients = new Peer("clients");
  await using base = acceptLoop();
  await using ours = await served();
  await compare(
    "serve echo 64 B x 64",
    0.95,
    "round trips/s",
    () => clients.use(base.port, "echo", 64, 600),
    () => clients.use(ours.port, "echo", 64, 600),
  );
  await compare(
    "serve short connections x 16",
    undefined,
    "connections/s",
    () => clients.use(base.port, "short", 16, 100),
    () => clients.use(ours.port, "short", 16, 100),
  );
}

if ("port_forward by socat".includes(only)) {
  await using forwards = await startForwards(2 ** 30);
  await compare(
    "port_forward by socat, both to one reader",
    1,
    "MB/s",
    forwards.socat,
    forwards.ours,
  );
  console.log(`  socat's buffer: ${forwards.size} bytes`);
}

if ("file_send to file_receive by nc".includes(only)) {
  await using files = await Files.make();
  const netcat = () => files.netcat();
  for (
    const [what, bar, checksum] of [
      ["without checksum", 0.7, false],
      ["with checksum", undefined, true],
    ] as const
  ) {
    await compare(
      `file_send to file_receive by nc to nc, ${what}`,
      bar,
      "MB/s",
      netcat,
      () => files.ours(checksum),
    );
  }
}

const readAllInChild = (make: string) => () =>
  inChild(new URL("./_read_all.ts", import.meta.url), make);
await compare(
  "readAll of 256 MiB",
  1.1,
  "GiB/s",
  readAllInChild("raw"),
  readAllInChild("ours"),
);

if ("memory".includes(only)) {
  const count = 5000;
  const bytesPerConnection = (make: string) =>
    inChild(new URL("./_memory.ts", import.meta.url), make, String(count));
  const raw: number[] = [];
  const ours: number[] = [];
  for (let i = 0; i < rounds; i++) {
    raw.push(await bytesPerConnection("raw"));
    ours.push(await bytesPerConnection("ours"));
  }
  const more = median(ours) - median(raw);
  console.log(
    `memory of ${count} connections waiting in a read: ${
      more.toFixed(0)
    } bytes each above raw's ${median(raw).toFixed(0)}, raw's spread ${
      Math.min(...raw).toFixed(0)
    }-${Math.max(...raw).toFixed(0)}  bar 2048  ${rounds} rounds  ${
      more <= 2048 ? "holds" : "MISSED"
    }`,
  );
}
