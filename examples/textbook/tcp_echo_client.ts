/**
 * The interactive echo client of the textbooks: sends each line of its input and prints the answer.
 *
 *     deno run --allow-net examples/textbook/tcp_echo_client.ts [PORT]
 */

import { TextLineStream } from "@std/streams/text-line-stream";
import { AF_INET, SOCK_STREAM, socket } from "@berkeley/sockets/socket";

const port = Number(Deno.args[0] ?? 7007);
const lines = Deno.stdin.readable
  .pipeThrough(new TextDecoderStream())
  .pipeThrough(new TextLineStream());

const client = socket(AF_INET, SOCK_STREAM);
await client.connect(["127.0.0.1", port]);
console.log("connected; end with Ctrl+D");

for await (const line of lines) {
  if (line === "") {
    console.log("nothing to send: type some text");
    continue;
  }
  const message = new TextEncoder().encode(line);
  await client.sendall(message);
  let answer = "";
  const decoder = new TextDecoder();
  for (let got = 0; got < message.length;) {
    const data = await client.recv(1024);
    if (data.length === 0) {
      throw new Error("the server has closed the connection");
    }
    got += data.length;
    answer += decoder.decode(data, { stream: true });
  }
  console.log(`echo: ${answer}`);
}
client.close();
