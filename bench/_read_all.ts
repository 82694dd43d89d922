/**
 * Reading 256 MiB to the end. Run as a program of its own, so that no round inherits the memory of
 * another, it prints GiB/s.
 *
 *     deno run -A bench/_read_all.ts raw|ours
 */

import { readAll } from "../io.ts";
import { listenUnix } from "../unix.ts";

const TOTAL = 256 << 20;
const REPEATS = 3;

/** Times one end's reading of what the other end, one of the runtime's own, sends. */
async function receive<C>(
  listen: (path: string) => Promise<{ accept(): Promise<C> } & Disposable>,
  read: (conn: C) => Promise<{ readonly length: number }>,
): Promise<number> {
  const path = `\0${crypto.randomUUID()}`;
  using listener = await listen(path);
  const [sender, conn] = await Promise.all([
    Deno.connect({ transport: "unix", path }),
    listener.accept(),
  ]);
  const chunk = new Uint8Array(1 << 20);
  const start = performance.now();
  const sending = (async () => {
    for (let left = TOTAL; left > 0;) {
      left -= await sender.write(chunk.subarray(0, Math.min(1 << 20, left)));
    }
    sender.close();
  })();
  const { length } = await read(conn);
  await sending;
  const duration = performance.now() - start;
  if (length !== TOTAL) throw new Error(`got ${length}`);
  return TOTAL / 2 ** 30 / duration * 1000;
}

const works: Record<string, () => Promise<number>> = {
  raw: () =>
    receive(
      (path) => Promise.resolve(Deno.listen({ transport: "unix", path })),
      (conn) => new Response(conn.readable).bytes(),
    ),
  ours: () =>
    receive((path) => listenUnix({ path }), async (conn) => {
      using _ = conn;
      return await readAll(conn, { limit: Infinity });
    }),
};

let sum = 0;
for (let i = 0; i < REPEATS; i++) sum += await works[Deno.args[0]!]!();
console.log(sum / REPEATS);
