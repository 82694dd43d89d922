/**
 * The multi-client echo server of the textbooks: one loop around select(2), no handler for each client.
 *
 *     deno run --allow-net examples/textbook/select_server.ts [PORT]
 */

import {
  AF_INET,
  type InetAddress,
  SOCK_STREAM,
  type Socket,
  socket,
} from "@berkeley/sockets/socket";
import { select } from "@berkeley/sockets/select";

const port = Number(Deno.args[0] ?? 7007);

const server = socket(AF_INET, SOCK_STREAM);
server.bind(["127.0.0.1", port]);
server.listen(5);
console.log(`listening on port ${server.getsockname()[1]}`);

const clients = new Set<Socket<InetAddress>>();
for (;;) {
  const [readable] = await select([server, ...clients], [], []);
  for (const ready of readable) {
    if (ready === server) {
      const [conn] = await server.accept();
      clients.add(conn);
      console.log(`clients: ${clients.size}`);
      continue;
    }
    // A client that is gone is the end of that client only.
    const data = await ready.recv(1024).catch(() => new Uint8Array(0));
    if (data.length > 0) await ready.sendall(data).catch(() => {});
    else {
      clients.delete(ready);
      ready.close();
      console.log(`clients: ${clients.size}`);
    }
  }
}
