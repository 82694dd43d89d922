/**
 * A client that does not wait for a connection for ever, and tells how it went.
 *
 *     deno run --allow-net examples/textbook/connect_timeout_client.ts [ADDRESS] [PORT] [MILLISECONDS]
 */

import {
  AF_INET,
  SOCK_STREAM,
  socket,
  strerror,
} from "@berkeley/sockets/socket";
import { errorCode } from "@berkeley/sockets/errors";

const address = Deno.args[0] ?? "127.0.0.1";
const port = Number(Deno.args[1] ?? 7007);
const timeout = Number(Deno.args[2] ?? 2000);

const client = socket(AF_INET, SOCK_STREAM);
client.settimeout(timeout);
try {
  await client.connect([address, port]);
  console.log("connected");
  client.close();
} catch (error) {
  const code = errorCode(error);
  if (code === undefined) throw error;
  if (code === "ETIMEDOUT") {
    console.error(`timed out: no answer within ${timeout} ms`);
  } else if (code === "ECONNREFUSED") {
    console.error("refused: nobody listens there");
  } else {
    console.error(`failed: ${strerror(code)}`);
  }
  Deno.exit(1);
}
