/**
 * An echo server: sends back what it gets, until the client is done.
 *
 *     deno run --allow-net examples/echo_server.ts
 *     deno run --allow-net examples/echo_server.ts tcp6 [::1]:7007
 *     deno run -A examples/echo_server.ts unix /tmp/echo.sock
 */

import {
  copy,
  formatAddr,
  isClosedError,
  listenTcp,
  listenUnix,
  type StreamConn,
} from "@berkeley/sockets";
import { readArgs, run } from "./_args.ts";

const HELP = `Echo server: sends back what it gets.

Usage: echo_server.ts [tcp|tcp6|unix] [ADDRESS]

  tcp   HOST:PORT, by default 127.0.0.1:7007; port 0 takes a free one
  tcp6  [HOST]:PORT, by default [::1]:7007
  unix  PATH or @NAME, by default echo.sock

  -h, --help  show this help`;

/** One client's conversation: its end of input is answered with ours, so that no byte is lost. */
async function serve(conn: StreamConn): Promise<void> {
  try {
    const bytes = await copy(conn, conn);
    await conn.closeGracefully();
    console.log(`${bytes} bytes echoed`);
  } catch (error) {
    conn.close();
    if (!isClosedError(error)) console.error(`client lost: ${error}`);
  }
}

const { target } = readArgs(HELP);

await run(async () => {
  await using listener = target.kind === "tcp"
    ? await listenTcp(target)
    : await listenUnix(target);
  console.log(`listening on ${formatAddr(listener.addr)}`);
  // A server that is stopped leaves no socket file behind, and no client without its answer.
  const signals: Deno.Signal[] = Deno.build.os === "windows"
    ? ["SIGINT"]
    : ["SIGINT", "SIGTERM"];
  const stop = () => listener.close();
  for (const signal of signals) Deno.addSignalListener(signal, stop);
  for await (const conn of listener) serve(conn);
  for (const signal of signals) Deno.removeSignalListener(signal, stop);
});
