/**
 * The interactive UDP echo client of the textbooks: sends each line of its input as a datagram and prints
 * the answer. Datagrams get lost, so it does not wait for one for ever.
 *
 *     deno run --allow-net examples/textbook/udp_echo_client.ts [PORT] [MILLISECONDS]
 */

import { TextLineStream } from "@std/streams/text-line-stream";
import { AF_INET, SOCK_DGRAM, socket } from "@berkeley/sockets/socket";
import { isTimeoutError } from "@berkeley/sockets/errors";

const port = Number(Deno.args[0] ?? 7007);
const timeout = Number(Deno.args[1] ?? 2000);

const client = socket(AF_INET, SOCK_DGRAM);
client.settimeout(timeout);
console.log(`sending to port ${port}; end with Ctrl+D`);

const lines = Deno.stdin.readable
  .pipeThrough(new TextDecoderStream())
  .pipeThrough(new TextLineStream());
for await (const line of lines) {
  if (line === "") {
    console.log("nothing to send: type some text");
    continue;
  }
  await client.sendto(new TextEncoder().encode(line), ["127.0.0.1", port]);
  try {
    const [data] = await client.recvfrom(65536);
    console.log(`echo: ${new TextDecoder().decode(data)}`);
  } catch (error) {
    if (!isTimeoutError(error)) throw error;
    console.log(`no answer within ${timeout} ms`);
  }
}
client.close();
