/**
 * The first server of the textbooks: takes one client, reads its message to the end, answers, and exits.
 *
 *     deno run --allow-net examples/textbook/oneshot_server.ts [PORT]
 */

import { AF_INET, SOCK_STREAM, socket } from "@berkeley/sockets/socket";

const port = Number(Deno.args[0] ?? 7007);

const server = socket(AF_INET, SOCK_STREAM);
server.bind(["127.0.0.1", port]);
server.listen(1);
console.log(`listening on port ${server.getsockname()[1]}`);

const [conn, [host]] = await server.accept();
let message = "";
const decoder = new TextDecoder();
for (;;) {
  const data = await conn.recv(1024);
  if (data.length === 0) break;
  message += decoder.decode(data, { stream: true });
}
console.log(`${host} says: ${message}`);
await conn.sendall(new TextEncoder().encode(`you said: ${message}`));
conn.close();
server.close();
