/**
 * Shows what bind says of a port that is taken.
 *
 *     deno run --allow-net examples/textbook/port_in_use.ts [PORT]
 */

import {
  AF_INET,
  SOCK_STREAM,
  socket,
  strerror,
} from "@berkeley/sockets/socket";
import { errorCode } from "@berkeley/sockets/errors";

const first = socket(AF_INET, SOCK_STREAM);
first.bind(["127.0.0.1", Number(Deno.args[0] ?? 7007)]);
first.listen(5);
const [, port] = first.getsockname();
console.log(`first socket: listening on port ${port}`);

const second = socket(AF_INET, SOCK_STREAM);
try {
  second.bind(["127.0.0.1", port]);
  console.log("second socket: bound");
} catch (error) {
  const code = errorCode(error);
  if (code === undefined) throw error;
  console.log(`second socket: ${code}, ${strerror(code)}`);
}
second.close();
first.close();
