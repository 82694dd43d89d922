/**
 * The interactive echo client with full error handling: each call that fails says which it was, as
 * perror(3) does, and ends the program with exit code 1.
 *
 *     deno run --allow-net examples/textbook/tcp_echo_client_checked.ts [ADDRESS] [PORT]
 */

import { TextLineStream } from "@std/streams/text-line-stream";
import {
  AF_INET,
  inet_pton,
  type InetAddress,
  SOCK_STREAM,
  type Socket,
  socket,
  strerror,
} from "@berkeley/sockets/socket";
import { errorCode } from "@berkeley/sockets/errors";

function fail(call: string, error: unknown): never {
  const code = errorCode(error);
  console.error(`${call}: ${code === undefined ? error : strerror(code)}`);
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

let client: Socket<InetAddress>;
try {
  client = socket(AF_INET, SOCK_STREAM);
} catch (error) {
  fail("socket", error);
}
await client.connect([address, port]).catch((error) => fail("connect", error));
console.log("connected; end with Ctrl+D");

const lines = Deno.stdin.readable
  .pipeThrough(new TextDecoderStream())
  .pipeThrough(new TextLineStream());
for await (const line of lines) {
  if (line === "") {
    console.log("nothing to send: type some text");
    continue;
  }
  const message = new TextEncoder().encode(line);
  await client.sendall(message).catch((error) => fail("send", error));
  let answer = "";
  const decoder = new TextDecoder();
  for (let got = 0; got < message.length;) {
    const data = await client.recv(1024)
      .catch((error) => fail("recv", error));
    if (data.length === 0) fail("recv", "the server has closed the connection");
    got += data.length;
    answer += decoder.decode(data, { stream: true });
  }
  console.log(`echo: ${answer}`);
}
client.close();
