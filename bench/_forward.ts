/** Bulk data through a port forwarder in a process of its own: `examples/port_forward.ts`, and socat's. */

import { Listening } from "./_listening.ts";
import { median, type Work } from "./_rounds.ts";

/** Sizes of socat's buffer; which one is best differs from machine to machine. */
const SIZES = [64, 256, 512, 1024, 2048, 4096].map((size) => size * 1024);

/** socat between a port of its own, for any number of connections, and something else. */
function socat(
  size: number,
  other: string,
  ...options: string[]
): Promise<Listening> {
  // Said twice, -d also tells the port that the system has chosen.
  return Listening.start(
    "socat",
    [
      ...["-d", "-d", "-b", String(size), ...options],
      "TCP-LISTEN:0,bind=127.0.0.1,fork",
      other,
    ],
    "stderr",
    / listening on .*:(\d+)$/,
  );
}

function portForward(target: string): Promise<Listening> {
  return Listening.start(
    Deno.execPath(),
    [
      ...["run", "--quiet", "--allow-net"],
      new URL("../examples/port_forward.ts", import.meta.url).pathname,
      ...["127.0.0.1:0", `127.0.0.1:${target}`],
    ],
    "stdout",
    /^forwarding \S*:(\d+) to /,
  );
}

/** Takes all that a connection brings, and tells how much it was a second, in MB. */
async function take(port: string, bytes: number): Promise<number> {
  const buffer = new Uint8Array(2 ** 20);
  let taken = 0;
  const start = performance.now();
  using conn = await Deno.connect({
    hostname: "127.0.0.1",
    port: Number(port),
  });
  for (let n; (n = await conn.read(buffer)) !== null;) taken += n;
  if (taken !== bytes) throw new Error(`${taken} of ${bytes} bytes came`);
  return bytes / 1000 / (performance.now() - start);
}

/** The same bytes of the same sender, to the same reader, by two forwarders. */
export interface Forwards extends AsyncDisposable {
  readonly socat: Work;
  readonly ours: Work;
  /** The buffer size that was best for socat, in bytes. */
  readonly size: number;
}

/**
 * Starts a sender and both forwarders, and finds the best buffer size for socat's.
 *
 * @param bytes How many bytes each measurement moves.
 */
export async function startForwards(bytes: number): Promise<Forwards> {
  await using stack = new AsyncDisposableStack();
  const source = stack.use(
    await socat(2 ** 20, `OPEN:/dev/zero,readbytes=${bytes}`, "-U"),
  );
  const target = `TCP:127.0.0.1:${source.place}`;
  let [size, best] = [0, 0];
  for (const candidate of SIZES) {
    await using forward = await socat(candidate, target);
    const rates: number[] = [];
    for (let i = 0; i < 5; i++) rates.push(await take(forward.place, bytes));
    const rate = median(rates);
    if (rate > best) [size, best] = [candidate, rate];
  }
  const theirs = stack.use(await socat(size, target));
  const ours = stack.use(await portForward(source.place));
  const all = stack.move();
  return {
    size,
    socat: () => take(theirs.place, bytes),
    ours: () => take(ours.place, bytes),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
