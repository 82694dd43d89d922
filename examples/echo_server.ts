/**
 * An echo server: sends back what it gets, until it is stopped.
 *
 *     deno run --allow-net examples/echo_server.ts
 *     deno run --allow-net examples/echo_server.ts udp6 [::1]:7007
 *     deno run -A examples/echo_server.ts unix /tmp/echo.sock
 */

import {
  bindUdp,
  bindUnixDatagram,
  copy,
  type DatagramServer,
  formatAddr,
  listenTcp,
  listenUnix,
  serve,
  serveDatagrams,
  type Server,
  type StreamConn,
} from "@berkeley/sockets";
import { fail, readArgs, run, Stop, TRANSPORTS } from "./_args.ts";

const HELP = `Echo server: sends back what it gets.

Usage: echo_server.ts [TRANSPORT] [ADDRESS]

${TRANSPORTS}

Port 0 takes a free one.

  -h, --help      show this help`;

/** How long clients may go on when the server is stopped, in milliseconds. */
const drainTimeout = 5000;

/** What went wrong with a client is told; the others do not notice. */
const onError = (error: unknown) => console.error(`client lost: ${error}`);

/** One client's conversation: its end of input is answered with ours, so that no byte is lost. */
async function echo(conn: StreamConn): Promise<void> {
  const bytes = await copy(conn, conn);
  console.log(`${bytes} bytes echoed`);
}

const { target, rest } = readArgs(HELP);
if (rest.length > 0) fail("one ADDRESS, please");

/** Listens, and serves. */
async function start(): Promise<Server | DatagramServer> {
  const options = { drainTimeout, onError };
  switch (target.kind) {
    case "tcp":
      return serve(await listenTcp(target), echo, options);
    case "unix":
      return serve(await listenUnix(target), echo, options);
    case "udp": {
      const socket = await bindUdp(target);
      return serveDatagrams(
        socket,
        async ({ data, addr }) => void await socket.send(data, addr),
        options,
      );
    }
    case "unixgram": {
      const socket = await bindUnixDatagram(target);
      return serveDatagrams(
        socket,
        async ({ data, addr }) => void await socket.send(data, addr),
        options,
      );
    }
  }
}

await run(async () => {
  const server = await start();
  console.log(`listening on ${formatAddr(server.addr)}`);
  // A server that is stopped leaves no socket file behind, and no client without its answer.
  using stop = new Stop();
  stop.signal.onabort = () => void server.shutdown();
  await server.finished;
});
