/**
 * The first client of the textbooks: sends one message, prints the one answer, and exits.
 *
 *     deno run --allow-net examples/textbook/oneshot_client.ts [PORT] [MESSAGE]
 */

import {
  AF_INET,
  SHUT_WR,
  SOCK_STREAM,
  socket,
} from "@berkeley/sockets/socket";

const port = Number(Deno.args[0] ?? 7007);
const message = Deno.args[1] ?? "hello";

const client = socket(AF_INET, SOCK_STREAM);
await client.connect(["127.0.0.1", port]);
await client.sendall(new TextEncoder().encode(message));
// The message ends where the stream does: a stream has no other borders.
await client.shutdown(SHUT_WR);

let answer = "";
const decoder = new TextDecoder();
for (;;) {
  const data = await client.recv(1024);
  if (data.length === 0) break;
  answer += decoder.decode(data, { stream: true });
}
console.log(answer);
client.close();
