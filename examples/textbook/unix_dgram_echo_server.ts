/**
 * The Unix datagram echo server of the textbooks. A path that an earlier run has left is removed before
 * bind, and ours at the end, which is Ctrl+C.
 *
 *     deno run --unstable-net --allow-net --allow-read=echo-gram.sock --allow-write=echo-gram.sock,echo-gram.sock.client examples/textbook/unix_dgram_echo_server.ts [PATH]
 *
 * Its clients' paths are to be allowed too, for they are what it answers to.
 */

import { AF_UNIX, SOCK_DGRAM, socket } from "@berkeley/sockets/socket";
import { errorCode } from "@berkeley/sockets/errors";

const path = Deno.args[0] ?? "echo-gram.sock";

function unlink(): void {
  try {
    Deno.removeSync(path);
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
const server = socket(AF_UNIX, SOCK_DGRAM);
server.bind(path);
console.log(`listening on ${path}`);

for (;;) {
  const [data, client] = await server.recvfrom(65536);
  if (client === "") {
    console.log(`${data.length} bytes from a client without a path`);
    continue;
  }
  console.log(`${data.length} bytes from ${client}`);
  try {
    await server.sendto(data, client);
  } catch (error) {
    const code = errorCode(error);
    if (code !== "ECONNREFUSED" && code !== "ENOENT") throw error;
    console.log(`${client} is gone`);
  }
}
