/**
 * The non-blocking echo client of the textbooks: no call waits but select. It sends one message and prints
 * what comes back.
 *
 *     deno run --allow-net examples/textbook/nonblocking_client.ts [PORT] [MESSAGE]
 */

import {
  AF_INET,
  errno,
  SO_ERROR,
  SOCK_STREAM,
  socket,
  SOL_SOCKET,
  strerror,
} from "@berkeley/sockets/socket";
import { select } from "@berkeley/sockets/select";
import { errorCode } from "@berkeley/sockets/errors";

const port = Number(Deno.args[0] ?? 7007);
const message = new TextEncoder().encode(Deno.args[1] ?? "hello");

const client = socket(AF_INET, SOCK_STREAM);
client.setblocking(false);

let status = await client.connect_ex(["127.0.0.1", port]);
if (status === errno("EINPROGRESS")) {
  console.log("connect: in progress");
  // Writable means that it is over; SO_ERROR says how it went.
  await select([], [client], []);
  status = client.getsockopt(SOL_SOCKET, SO_ERROR);
}
if (status !== 0) {
  console.error(`connect: ${strerror(status)}`);
  Deno.exit(1);
}
console.log("connected");

// Nobody has sent anything yet: a blocking recv would wait here.
try {
  await client.recv(1024);
} catch (error) {
  if (errorCode(error) !== "EAGAIN") throw error;
  console.log("recv: nothing there yet");
}

for (let sent = 0; sent < message.length;) {
  await select([], [client], []);
  sent += await client.send(message.subarray(sent));
}

let answer = "";
const decoder = new TextDecoder();
for (let got = 0; got < message.length;) {
  await select([client], [], []);
  const data = await client.recv(1024);
  if (data.length === 0) {
    throw new Error("the server has closed the connection");
  }
  got += data.length;
  answer += decoder.decode(data, { stream: true });
}
console.log(`echo: ${answer}`);
client.close();
