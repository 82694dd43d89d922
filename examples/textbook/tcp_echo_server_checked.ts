/**
 * The iterative echo server with full error handling: each call that fails says which it was, as perror(3)
 * does. What fails before there is a client ends the server; what fails with a client ends that client.
 *
 *     deno run --allow-net examples/textbook/tcp_echo_server_checked.ts [ADDRESS] [PORT]
 */

import {
  AF_INET,
  inet_pton,
  type InetAddress,
  SO_REUSEADDR,
  SOCK_STREAM,
  type Socket,
  socket,
  SOL_SOCKET,
  strerror,
} from "@berkeley/sockets/socket";
import { errorCode } from "@berkeley/sockets/errors";

function perror(call: string, error: unknown): void {
  const code = errorCode(error);
  console.error(`${call}: ${code === undefined ? error : strerror(code)}`);
}

function fail(call: string, error: unknown): never {
  perror(call, error);
  Deno.exit(1);
}

const [address = "127.0.0.1", service = "7007"] = Deno.args;
try {
  inet_pton(AF_INET, address);
} catch {
  console.error(`not an IPv4 address: ${address}`);
  Deno.exit(1);
}
const port = Number(service);
if (!/^\d+$/.test(service) || port > 65535) {
  console.error(`not a port: ${service}`);
  Deno.exit(1);
}

let server: Socket<InetAddress>;
try {
  server = socket(AF_INET, SOCK_STREAM);
} catch (error) {
  fail("socket", error);
}
try {
  server.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
} catch (error) {
  fail("setsockopt", error);
}
try {
  server.bind([address, port]);
} catch (error) {
  fail("bind", error);
}
try {
  server.listen(5);
} catch (error) {
  fail("listen", error);
}
console.log(`listening on port ${server.getsockname()[1]}`);

for (;;) {
  const [conn, [host]] = await server.accept()
    .catch((error) => fail("accept", error));
  console.log(`connection from ${host}`);
  for (;;) {
    let call = "recv";
    try {
      const data = await conn.recv(1024);
      if (data.length === 0) break;
      call = "send";
      await conn.sendall(data);
    } catch (error) {
      perror(call, error);
      break;
    }
  }
  conn.close();
  console.log("connection closed");
}
