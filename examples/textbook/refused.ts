/**
 * Shows what connect and connect_ex say of a port on which nobody listens.
 *
 *     deno run --allow-net examples/textbook/refused.ts [PORT]
 */

import {
  AF_INET,
  SOCK_STREAM,
  socket,
  strerror,
} from "@berkeley/sockets/socket";
import { errorCode } from "@berkeley/sockets/errors";

const port = Number(Deno.args[0] ?? 7007);

const one = socket(AF_INET, SOCK_STREAM);
try {
  await one.connect(["127.0.0.1", port]);
  console.log("connect: somebody listens there");
} catch (error) {
  const code = errorCode(error);
  if (code === undefined) throw error;
  console.log(`connect: ${code}, ${strerror(code)}`);
}
one.close();

const other = socket(AF_INET, SOCK_STREAM);
const status = await other.connect_ex(["127.0.0.1", port]);
console.log(`connect_ex: ${status}, ${strerror(status)}`);
other.close();
