/**
 * The interactive Unix datagram echo client of the textbooks. Only a socket with a path can be answered, so
 * it binds one of its own, and removes it at the end.
 *
 *     deno run --unstable-net --allow-net --allow-read=echo-gram.sock.client --allow-write=echo-gram.sock,echo-gram.sock.client examples/textbook/unix_dgram_echo_client.ts [PATH] [OWN_PATH]
 *
 * Other paths are to be allowed instead.
 */

import { TextLineStream } from "@std/streams/text-line-stream";
import { AF_UNIX, SOCK_DGRAM, socket } from "@berkeley/sockets/socket";

const path = Deno.args[0] ?? "echo-gram.sock";
const ownPath = Deno.args[1] ?? `${path}.client`;

function unlink(): void {
  try {
    Deno.removeSync(ownPath);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function stop(): void {
  unlink();
  Deno.exit(0);
}
Deno.addSignalListener("SIGINT", stop);
Deno.addSignalListener("SIGTERM", stop);

unlink();
const client = socket(AF_UNIX, SOCK_DGRAM);
client.bind(ownPath);
console.log(`sending to ${path}; end with Ctrl+D`);

const lines = Deno.stdin.readable
  .pipeThrough(new TextDecoderStream())
  .pipeThrough(new TextLineStream());
for await (const line of lines) {
  if (line === "") {
    console.log("nothing to send: type some text");
    continue;
  }
  await client.sendto(new TextEncoder().encode(line), path);
  const [data] = await client.recvfrom(65536);
  console.log(`echo: ${new TextDecoder().decode(data)}`);
}
client.close();
stop();
