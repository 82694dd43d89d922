/** Echo servers: the core's own accept loop and `serve`. */

import { serve } from "../serve.ts";
import { listenTcp } from "../tcp.ts";

const SIZE = 64;

/** A server at work. */
export interface Served extends AsyncDisposable {
  readonly port: number;
}

/** A loop over the runtime's listener. */
export function acceptLoop(): Served {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const echo = async (conn: Deno.TcpConn) => {
    conn.setNoDelay(true);
    const buffer = new Uint8Array(SIZE);
    try {
      for (let n; (n = await conn.read(buffer)) !== null;) {
        const data = n === SIZE ? buffer : buffer.subarray(0, n);
        for (let at = 0; at < n;) at += await conn.write(data.subarray(at));
      }
    } catch (error) {
      console.error(error);
    }
    conn.close();
  };
  const accepting = (async () => {
    for await (const conn of listener) echo(conn);
  })();
  return {
    port: listener.addr.port,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
    },
  };
}

/** `serve`, with every limit that there is. */
export async function served(): Promise<Served> {
  const listener = await listenTcp({ hostname: "127.0.0.1" });
  const server = serve(listener, async (conn) => {
    const buffer = new Uint8Array(SIZE);
    for (let n; (n = await conn.read(buffer)) !== null;) {
      await conn.writeAll(n === SIZE ? buffer : buffer.subarray(0, n));
    }
  }, { maxConnections: 10_000, idleTimeout: 60_000, maxLifetime: 600_000 });
  return {
    port: listener.addr.port,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
