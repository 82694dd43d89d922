/**
 * The iterative echo server of the textbooks: one client after the other.
 *
 *     deno run --allow-net examples/textbook/tcp_echo_server.ts [PORT]
 */

import {
  AF_INET,
  SO_REUSEADDR,
  SOCK_STREAM,
  socket,
  SOL_SOCKET,
} from "@berkeley/sockets/socket";

const port = Number(Deno.args[0] ?? 7007);

const server = socket(AF_INET, SOCK_STREAM);
server.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
server.bind(["127.0.0.1", port]);
server.listen(5);
console.log(`listening on port ${server.getsockname()[1]}`);

for (;;) {
  const [conn, address] = await server.accept();
  console.log(`connection from ${address[0]}`);
  for (;;) {
    const data = await conn.recv(1024);
    if (data.length === 0) break;
    await conn.sendall(data);
  }
  conn.close();
  console.log("connection closed");
}
