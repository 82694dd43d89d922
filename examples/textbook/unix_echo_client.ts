/**
 * The interactive echo client of the textbooks over a Unix socket.
 *
 *     deno run --allow-net --allow-read=echo.sock --allow-write=echo.sock examples/textbook/unix_echo_client.ts [PATH]
 *
 * Another path is to be allowed instead.
 */

import { TextLineStream } from "@std/streams/text-line-stream";
import { AF_UNIX, SOCK_STREAM, socket } from "@berkeley/sockets/socket";

const path = Deno.args[0] ?? "echo.sock";

const client = socket(AF_UNIX, SOCK_STREAM);
await client.connect(path);
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
