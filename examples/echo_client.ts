/**
 * An echo client: sends the lines of its input, or the words given, and prints what comes back.
 *
 *     echo hello | deno run --allow-net examples/echo_client.ts
 *     deno run --allow-net examples/echo_client.ts udp6 [::1]:7007 hello "hello again"
 */

import { TextLineStream } from "@std/streams/text-line-stream";
import {
  bindUnixDatagram,
  connectTcp,
  connectUdp,
  connectUnix,
  type Datagram,
  isTimeoutError,
  type StreamConn,
} from "@berkeley/sockets";
import { fail, readArgs, run, TRANSPORTS } from "./_args.ts";

const HELP = `Echo client: sends lines and prints what comes back.

Usage: echo_client.ts [TRANSPORT] [ADDRESS] [LINE...]

${TRANSPORTS}

Without a LINE, the lines of the standard input are sent; as a datagram each
over udp, udp6 and unixgram.

  -h, --help      show this help`;

/** How long connecting may take, in milliseconds. */
const TIMEOUT = 10_000;

/** How often a datagram is sent, and how long its echo may take each time, in milliseconds. */
const TRIES = 3;
const ECHO_TIMEOUT = 1000;

const { target, rest } = readArgs(HELP);

/** The lines to send. */
async function* lines(): AsyncIterable<string> {
  if (rest.length > 0) yield* rest;
  else {
    yield* Deno.stdin.readable
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream());
  }
}

const encoder = new TextEncoder();

/** Sends all lines over a stream, and prints what comes back to its end. */
async function talk(conn: StreamConn): Promise<void> {
  const printing = conn.readable.pipeTo(Deno.stdout.writable, {
    preventClose: true,
  });
  for await (const line of lines()) {
    await conn.writeAll(encoder.encode(`${line}\n`));
  }
  // "That was all" goes to the server; what it still has to say is printed to its end.
  await conn.closeWrite();
  await printing;
  const { bytesRead, bytesWritten } = conn;
  if (bytesRead < bytesWritten) {
    fail(`${bytesRead} of ${bytesWritten} bytes came back`);
  }
}

/** Sends each line as a datagram, and again where no echo comes: either may get lost. */
async function exchange(
  send: (data: Uint8Array) => Promise<number>,
  receive: () => Promise<Datagram>,
): Promise<void> {
  for await (const line of lines()) {
    let echo: Datagram | undefined;
    for (let i = 0; i < TRIES && echo === undefined; i++) {
      await send(encoder.encode(`${line}\n`));
      try {
        echo = await receive();
      } catch (error) {
        if (!isTimeoutError(error)) throw error;
      }
    }
    if (echo === undefined) fail(`no echo after ${TRIES} tries`);
    await Deno.stdout.write(echo.data);
  }
}

/** A name for our end, for only who has one is answered: an abstract one, where there are such. */
function ownPath(server: string): string {
  return Deno.build.os === "linux"
    ? `\0echo-client-${crypto.randomUUID()}`
    : `${server}.${Deno.pid}`;
}

await run(async () => {
  if (target.kind === "udp") {
    await using socket = await connectUdp({ ...target, timeout: TIMEOUT });
    socket.timeout = ECHO_TIMEOUT;
    await exchange((data) => socket.send(data), () => socket.receive());
  } else if (target.kind === "unixgram") {
    const path = ownPath(target.path);
    await using socket = await bindUnixDatagram({ path });
    socket.timeout = ECHO_TIMEOUT;
    await exchange((data) => socket.send(data, target), () => socket.receive());
  } else {
    using conn = "path" in target
      ? await connectUnix({ ...target, timeout: TIMEOUT })
      : await connectTcp({ ...target, timeout: TIMEOUT });
    await talk(conn);
  }
});
