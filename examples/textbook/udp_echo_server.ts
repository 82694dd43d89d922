/**
 * The UDP echo server of the textbooks: sends each datagram back to where it came from.
 *
 *     deno run --allow-net examples/textbook/udp_echo_server.ts [PORT]
 */

import { AF_INET, SOCK_DGRAM, socket } from "@berkeley/sockets/socket";

const port = Number(Deno.args[0] ?? 7007);

const server = socket(AF_INET, SOCK_DGRAM);
server.bind(["127.0.0.1", port]);
console.log(`listening on port ${server.getsockname()[1]}`);

for (;;) {
  const [data, address] = await server.recvfrom(65536);
  console.log(`${data.length} bytes from ${address[0]}`);
  await server.sendto(data, address);
}
