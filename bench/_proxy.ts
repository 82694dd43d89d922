/** Bytes both ways between two connections whose peers send as fast as they can. */

import { copyBidirectional } from "../io.ts";
import { connectTcp } from "../tcp.ts";

const perSecond = (bytes: number, start: number) =>
  bytes / 2 ** 20 / ((performance.now() - start) / 1000);

/** The runtime's own streams, piped into each other. */
export async function pipes(port: number, bytes: number): Promise<number> {
  const a = await Deno.connect({ hostname: "127.0.0.1", port });
  const b = await Deno.connect({ hostname: "127.0.0.1", port });
  const start = performance.now();
  await Promise.all([
    a.readable.pipeTo(b.writable),
    b.readable.pipeTo(a.writable),
  ]);
  return perSecond(2 * bytes, start);
}

/** This package's connections. */
export async function proxy(port: number, bytes: number): Promise<number> {
  using a = await connectTcp({ hostname: "127.0.0.1", port });
  using b = await connectTcp({ hostname: "127.0.0.1", port });
  const start = performance.now();
  const { aToB, bToA } = await copyBidirectional(a, b);
  if (aToB < bytes || bToA < bytes) throw new Error("bytes are missing");
  return perSecond(2 * bytes, start);
}
