/**
 * The echo server of the textbooks over a Unix socket: one client after the other. A path that an earlier
 * run has left is removed before bind, and ours at the end, which is Ctrl+C.
 *
 *     deno run --allow-net --allow-read=echo.sock --allow-write=echo.sock examples/textbook/unix_echo_server.ts [PATH]
 *
 * Another path is to be allowed instead.
 */

import { AF_UNIX, SOCK_STREAM, socket } from "@berkeley/sockets/socket";

const path = Deno.args[0] ?? "echo.sock";

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
const server = socket(AF_UNIX, SOCK_STREAM);
server.bind(path);
server.listen(5);
console.log(`listening on ${path}`);

for (;;) {
  const [conn] = await server.accept();
  console.log("connection");
  for (;;) {
    const data = await conn.recv(1024);
    if (data.length === 0) break;
    await conn.sendall(data);
  }
  conn.close();
  console.log("connection closed");
}
