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
  formatAddr,
  isClosedError,
  listenTcp,
  listenUnix,
  type StreamConn,
  type StreamListener,
  type UdpSocket,
  type UnixDatagramSocket,
} from "@berkeley/sockets";
import { readArgs, run, TRANSPORTS } from "./_args.ts";

const HELP = `Echo server: sends back what it gets.

Usage: echo_server.ts [TRANSPORT] [ADDRESS]

${TRANSPORTS}

Port 0 takes a free one.

  -h, --help      show this help`;

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

/** All clients of a stream, side by side. */
async function serveStreams(listener: StreamListener): Promise<void> {
  for await (const conn of listener) serve(conn);
}

/** All clients of a datagram socket, in turn: a datagram has no state. */
async function serveDatagrams<D>(
  socket: (UdpSocket | UnixDatagramSocket) & {
    send(data: Uint8Array, addr: D): Promise<number>;
  },
): Promise<void> {
  for await (const { data, addr } of socket) {
    try {
      await socket.send(data, addr as D);
    } catch (error) {
      // A client without a name, or one that is gone: the next one gets its echo.
      if (!isClosedError(error)) console.error(`client lost: ${error}`);
    }
  }
}

const { target } = readArgs(HELP);

/** What listens, and how it is served. */
async function open(): Promise<
  [
    StreamListener | UdpSocket | UnixDatagramSocket,
    serving: () => Promise<void>,
  ]
> {
  switch (target.kind) {
    case "tcp": {
      const listener = await listenTcp(target);
      return [listener, () => serveStreams(listener)];
    }
    case "unix": {
      const listener = await listenUnix(target);
      return [listener, () => serveStreams(listener)];
    }
    case "udp": {
      const socket = await bindUdp(target);
      return [socket, () => serveDatagrams(socket)];
    }
    case "unixgram": {
      const socket = await bindUnixDatagram(target);
      return [socket, () => serveDatagrams(socket)];
    }
  }
}

await run(async () => {
  const [socket, serve] = await open();
  await using _ = socket;
  console.log(`listening on ${formatAddr(socket.addr)}`);
  // A server that is stopped leaves no socket file behind, and no client without its answer.
  const signals: Deno.Signal[] = Deno.build.os === "windows"
    ? ["SIGINT"]
    : ["SIGINT", "SIGTERM"];
  const stop = () => socket.close();
  for (const signal of signals) Deno.addSignalListener(signal, stop);
  await serve();
  for (const signal of signals) Deno.removeSignalListener(signal, stop);
});
