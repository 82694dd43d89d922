/**
 * An echo client: sends the lines of its input, or the words given, and prints what comes back.
 *
 *     echo hello | deno run --allow-net examples/echo_client.ts
 *     deno run --allow-net examples/echo_client.ts tcp6 [::1]:7007 hello "hello again"
 */

import { TextLineStream } from "@std/streams/text-line-stream";
import { connectTcp, connectUnix } from "@berkeley/sockets";
import { readArgs, run } from "./_args.ts";

const HELP = `Echo client: sends lines and prints what comes back.

Usage: echo_client.ts [tcp|tcp6|unix] [ADDRESS] [LINE...]

  tcp   HOST:PORT, by default 127.0.0.1:7007
  tcp6  [HOST]:PORT, by default [::1]:7007
  unix  PATH or @NAME, by default echo.sock

Without a LINE, the lines of the standard input are sent.

  -h, --help  show this help`;

/** How long connecting may take, in milliseconds. */
const TIMEOUT = 10_000;

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

await run(async () => {
  using conn = target.kind === "tcp"
    ? await connectTcp({ ...target, timeout: TIMEOUT })
    : await connectUnix({ ...target, timeout: TIMEOUT });
  const printing = conn.readable.pipeTo(Deno.stdout.writable, {
    preventClose: true,
  });
  const encoder = new TextEncoder();
  for await (const line of lines()) {
    await conn.writeAll(encoder.encode(`${line}\n`));
  }
  // "That was all" goes to the server; what it still has to say is printed to its end.
  await conn.closeWrite();
  await printing;
});
