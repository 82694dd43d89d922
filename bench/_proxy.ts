/** Bytes both ways between two connections whose peers send as fast as they can. */

import { copyBidirectional } from "../io.ts";
import { connectTcp } from "../tcp.ts";

const perSecond = (bytes: number, start: number) =>
  bytes / 2 ** 20 / ((performance.now() - start) / 1000);

/** Two pipes. The runtime's own streams close the whole connection at the end of one half, so these are ours. */
export async function pipes(port: number, bytes: number): Promise<number> {
  using a = await connectTcp({ hostname: "127.0.0.1", port });
  using b = await connectTcp({ hostname: "127.0.0.1", port });
  const start = performance.now();
  await Promise.all([
    a.readable.pipeTo(b.writable),
    b.readable.pipeTo(a.writable),
  ]);
  if (a.bytesRead < bytes) throw new Error("bytes are missing");
  return perSecond(2 * bytes, start);
}

/** The same by `copyBidirectional`. */
export async function proxy(port: number, bytes: number): Promise<number> {
  using a = await connectTcp({ hostname: "127.0.0.1", port });
  using b = await connectTcp({ hostname: "127.0.0.1", port });
  const start = performance.now();
  const { aToB, bToA } = await copyBidirectional(a, b);
  if (aToB < bytes || bToA < bytes) throw new Error("bytes are missing");
  return perSecond(2 * bytes, start);
}
