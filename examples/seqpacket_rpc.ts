/**
 * Requests and answers over a Unix socket whose packets keep their borders (SOCK_SEQPACKET): each message
 * is one packet of JSON, and nothing need be framed.
 *
 *     deno run --allow-net --allow-ffi --allow-read=rpc.sock --allow-write=rpc.sock examples/seqpacket_rpc.ts serve rpc.sock
 *     deno run --allow-net --allow-ffi --allow-read=rpc.sock --allow-write=rpc.sock examples/seqpacket_rpc.ts call rpc.sock add '[2, 3]'
 *
 * An abstract name needs no grant for a path:
 *
 *     deno run --allow-net --allow-ffi examples/seqpacket_rpc.ts serve @rpc
 *     deno run --allow-net --allow-ffi examples/seqpacket_rpc.ts call @rpc whoami
 *
 * A request is `{ "id": 1, "method": "add", "params": [2, 3] }`, its answer `{ "id": 1, "result": 5 }` or
 * `{ "id": 1, "error": "..." }`. The id is null where the request could not be read.
 */

import { TextLineStream } from "@std/streams/text-line-stream";
import {
  AF_UNIX,
  type Credentials,
  errorCode,
  MSG_TRUNC,
  Options,
  SOCK_SEQPACKET,
  type Socket,
  socket,
  type UnixAddress,
} from "@berkeley/sockets/libc";
import { fail, readLine, run, Stop } from "./_args.ts";

const HELP = `Requests and answers over a Unix socket, a packet each.

Usage: seqpacket_rpc.ts serve PATH
       seqpacket_rpc.ts call PATH [METHOD [PARAMS]]

PATH is a path, or @NAME for an abstract name. PARAMS are JSON. Without a
METHOD, each line of the standard input is one with its PARAMS.

Methods:
  add [A, B, ...]     the sum
  echo ANYTHING       the same
  repeat [TEXT, N]    the text, N times
  whoami              process, user and group of the caller

  -h, --help          show this help`;

/** How long a message is at most, in bytes. */
const LIMIT = 65_536;

/** How long an answer may take, in milliseconds. */
const TIMEOUT = 10_000;

/** What a caller has done wrong: it is told. */
class RequestError extends Error {}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** A message as a packet. */
function encode(message: unknown, what: string): Uint8Array<ArrayBuffer> {
  const packet = encoder.encode(JSON.stringify(message));
  if (packet.length <= LIMIT) return packet;
  throw new RequestError(
    `the ${what} has ${packet.length} bytes, and ${LIMIT} are allowed`,
  );
}

/** The next packet as what its JSON says; `undefined` at the end, which an empty packet is too. */
async function receive(
  from: Socket<UnixAddress>,
  what: string,
): Promise<Record<string, unknown> | undefined> {
  const [packet, , flags] = await from.recvmsg(LIMIT);
  // The kernel has cut it off, and says so; the next packet is whole again.
  if (flags & MSG_TRUNC) {
    throw new RequestError(`the ${what} has more than ${LIMIT} bytes`);
  }
  if (packet.length === 0) return undefined;
  let message: unknown;
  try {
    message = JSON.parse(decoder.decode(packet));
  } catch {
    throw new RequestError(`the ${what} is no JSON`);
  }
  if (Object(message) !== message || Array.isArray(message)) {
    throw new RequestError(`the ${what} is no object`);
  }
  return message as Record<string, unknown>;
}

type Method = (params: unknown, caller: Credentials) => unknown;

const isNumbers = (params: unknown): params is number[] =>
  Array.isArray(params) && params.every((n) => typeof n === "number");

const methods = new Map<string, Method>([
  ["add", (params) => {
    if (isNumbers(params)) return params.reduce((a, b) => a + b, 0);
    throw new RequestError("add takes numbers: [A, B, ...]");
  }],
  ["echo", (params) => params ?? null],
  ["repeat", (params) => {
    const [text, times] = Array.isArray(params) ? params : [];
    const isRight = typeof text === "string" && Number.isInteger(times) &&
      times >= 0 && times <= LIMIT;
    if (!isRight) throw new RequestError("repeat takes [TEXT, N]");
    // Not made in vain: it could be large.
    if (text.length * times > LIMIT) {
      throw new RequestError(`the answer has more than ${LIMIT} bytes`);
    }
    return text.repeat(times);
  }],
  ["whoami", (_, caller) => caller],
]);

/** The answer to the next request, as a packet; `undefined` if there are no more. */
async function answer(
  client: Socket<UnixAddress>,
  caller: Credentials,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  let id: unknown = null;
  try {
    const request = await receive(client, "request");
    if (request === undefined) return undefined;
    id = request["id"] ?? null;
    const { method: name, params } = request;
    const method = methods.get(String(name));
    if (method === undefined) {
      throw new RequestError(`there is no method ${JSON.stringify(name)}`);
    }
    return encode({ id, result: method(params, caller) }, "answer");
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    // Not with an id that makes the answer itself too long.
    const known = typeof id === "number" ? id : null;
    const text = error.message.slice(0, 200);
    return encode({ id: known, error: text }, "answer");
  }
}

/** Answers a client until it goes. */
async function talk(
  client: Socket<UnixAddress>,
  number: number,
): Promise<void> {
  // Who has connected: the kernel knows, and nobody can pretend.
  const caller = client.getoption(Options.SO_PEERCRED);
  const { pid, uid, gid } = caller;
  console.log(`client ${number}: process ${pid}, user ${uid}, group ${gid}`);
  let count = 0;
  try {
    for (;;) {
      const packet = await answer(client, caller);
      if (packet === undefined) break;
      await client.send(packet);
      count++;
    }
    console.log(`client ${number}: gone after ${count} answers`);
  } catch (error) {
    // What went wrong with one is told; the others do not notice.
    if (errorCode(error) === undefined) throw error;
    console.log(`client ${number}: lost: ${(error as Error).message}`);
  } finally {
    client.close();
  }
}

/** Serves until it is stopped. */
async function serve(path: string): Promise<void> {
  using server = socket(AF_UNIX, SOCK_SEQPACKET);
  try {
    server.bind(path);
  } catch (error) {
    if (errorCode(error) !== "EADDRINUSE") throw error;
    fail(
      `${
        show(path)
      } is there already: another server has it, or did not remove it`,
    );
  }
  const clients = new Set<Socket<UnixAddress>>();
  using stop = new Stop();
  stop.signal.onabort = () => {
    server.close();
    for (const client of clients) client.close();
  };
  try {
    server.listen();
    console.log(`listening on ${show(path)}`);
    for (let number = 1;; number++) {
      const [client] = await server.accept();
      clients.add(client);
      talk(client, number).finally(() => clients.delete(client));
    }
  } catch (error) {
    const code = errorCode(error);
    if (code !== "EINTR" && code !== "EBADF") throw error;
  } finally {
    // The file is ours: bind has made it.
    if (!path.startsWith("\0")) Deno.removeSync(path);
  }
}

/** Methods with their parameters: what the command line has, or each line of the input. */
async function* requests(
  words: readonly string[],
): AsyncIterable<readonly [method: string, params: string]> {
  const [method, params = ""] = words;
  if (method !== undefined) return yield [method, params];
  const lines = Deno.stdin.readable
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream());
  for await (const line of lines) {
    const [, method, params] = /^\s*(\S*)\s*(.*)$/.exec(line)!;
    if (method !== "") yield [method!, params!];
  }
}

/** A request as a packet, or the end of the program if it is none. */
function encodeRequest(
  id: number,
  method: string,
  params: string,
): Uint8Array<ArrayBuffer> {
  let value: unknown;
  try {
    value = params === "" ? undefined : JSON.parse(params);
  } catch {
    fail(`the parameters are no JSON: ${params}`);
  }
  try {
    return encode({ id, method, params: value }, "request");
  } catch (error) {
    fail((error as Error).message);
  }
}

/** Prints the answers to requests. */
async function call(path: string, words: readonly string[]): Promise<void> {
  using client = socket(AF_UNIX, SOCK_SEQPACKET);
  client.settimeout(TIMEOUT);
  try {
    await client.connect(path);
  } catch (error) {
    const isNobody = ["ENOENT", "ECONNREFUSED"].includes(
      errorCode(error) ?? "",
    );
    if (!isNobody) throw error;
    fail(`nobody serves ${show(path)} (${errorCode(error)})`);
  }
  let id = 0;
  for await (const [method, params] of requests(words)) {
    await client.send(encodeRequest(++id, method, params));
    const message = await receive(client, "answer");
    if (message === undefined) fail("the server has gone");
    if (message["error"] === undefined) {
      console.log(JSON.stringify(message["result"]));
    } else {
      console.error(`error: ${message["error"]}`);
      Deno.exitCode = 1;
    }
  }
}

/** A path as the command line has it. */
function show(path: string): string {
  return path.replace("\0", "@");
}

const [command, path, ...words] = readLine(HELP).words;
const most = command === "serve" ? 0 : 2;
if (
  command !== "serve" && command !== "call" || path === undefined ||
  path === "" || words.length > most
) fail("expected serve PATH, or call PATH [METHOD [PARAMS]]; see --help");

await run(async () => {
  const address = path.replace(/^@/, "\0");
  try {
    await (command === "serve" ? serve(address) : call(address, words));
  } catch (error) {
    if (error instanceof RequestError) fail(error.message);
    throw error;
  }
});
