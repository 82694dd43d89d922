/**
 * Benchmarks: this package against the raw calls of the runtime doing the same work in the same run.
 *
 *     deno task bench [--rounds=9] [--only=TEXT]
 *
 * Every case runs in alternating rounds in one process, both ends of each connection in it, so that
 * the ratio is that of the whole work. A ratio is ours by raw: more is better.
 */

import { parseArgs } from "@std/cli/parse-args";
import { readAll } from "../io.ts";
import {
  type Conn,
  echo,
  type Ends,
  ourEnds,
  rawEnds,
  sends,
} from "./_echo.ts";
import { bytesPerConnection } from "./_memory.ts";
import { collect, format, median, sideBySide, type Work } from "./_rounds.ts";

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
  prepare?: () => void,
): Promise<void> {
  if (!name.includes(only)) return;
  const row = await sideBySide(
    name,
    bar,
    baseline,
    candidate,
    rounds,
    prepare,
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

await echoes(
  "unix echo 64 KiB x 4, read/writeAll",
  0.97,
  () => rawEnds("unix", large.count),
  () => ourEnds("unix", large.count),
  "writeLoop",
  "writeAll",
  large,
);

{
  const total = 256 << 20;
  const chunk = new Uint8Array(1 << 20);
  const send = async (conn: { write(p: Uint8Array): Promise<number> }) => {
    for (let at = 0; at < total;) {
      at += await conn.write(
        chunk.subarray(0, Math.min(chunk.length, total - at)),
      );
    }
  };
  const timed = async (
    work: () => Promise<{ readonly length: number }>,
  ): Promise<number> => {
    const start = performance.now();
    const { length } = await work();
    if (length !== total) throw new Error(`got ${length}`);
    return total / 2 ** 30 / (performance.now() - start) * 1000;
  };
  const pairOf = async () => {
    const path = `\0${crypto.randomUUID()}`;
    using listener = Deno.listen({ transport: "unix", path });
    return await Promise.all([
      Deno.connect({ transport: "unix", path }),
      listener.accept(),
    ]);
  };
  await compare(
    "readAll of 256 MiB",
    1.1,
    "GiB/s",
    () =>
      timed(async () => {
        const [a, b] = await pairOf();
        const sending = send(a).then(() => a.close());
        const bytes = await new Response(b.readable).bytes();
        await sending;
        return bytes;
      }),
    () =>
      timed(async () => {
        const [a, b] = await ourEnds("unix", 1);
        const sending = send(a!).then(() => a!.close());
        const bytes = await readAll(b!, { limit: Infinity });
        await sending;
        b!.close();
        return bytes;
      }),
    // The 256 MiB of a round before are not this one's to collect.
    collect,
  );
}

if ("memory".includes(only)) {
  const count = 5000;
  const raw: number[] = [];
  const ours: number[] = [];
  for (let i = 0; i < rounds; i++) {
    raw.push(await bytesPerConnection("raw", count));
    ours.push(await bytesPerConnection("ours", count));
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
