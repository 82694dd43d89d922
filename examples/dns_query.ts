/**
 * Asks a name server for the records of a name (RFC 1035): over UDP, and over TCP where an answer is too long
 * for that.
 *
 *     deno run --allow-net examples/dns_query.ts --server 127.0.0.1:53 example.org
 *     deno run --allow-net examples/dns_query.ts --server 127.0.0.1:53 example.org MX TXT
 *     deno run --allow-net --allow-read=/etc/resolv.conf examples/dns_query.ts --tcp 192.0.2.1
 *
 * Without `--server` the first name server of /etc/resolv.conf is asked, if that file may be read. The program
 * ends with 0 if there was a record of a type that was asked for, and with 1 if there was none.
 */

import {
  BufferedReader,
  connectTcp,
  connectUdp,
  type HostPort,
  IncompleteReadError,
  isIPv4,
  isIPv6,
  isTimeoutError,
  joinHostPort,
  splitHostPort,
  type UdpSocket,
  writeFrame,
} from "@berkeley/sockets";
import { fail, readLine, run, Stop } from "./_args.ts";
import {
  decodeMessage,
  DnsError,
  encodeQuery,
  isAnswer,
  type Message,
  type Question,
  rcodeText,
  recordText,
  reverseName,
  typeName,
  TYPES,
} from "./_dns.ts";

const HELP = `DNS query: asks a name server for the records of a name.

Usage: dns_query.ts [OPTIONS] NAME [TYPE...]

TYPE is one of ${[...TYPES.keys()].join(", ")};
by default A and AAAA. An address as NAME stands for the name of its PTR
record. Letters beyond ASCII need their xn-- form.

Each record is a line: its name, the seconds that it may be kept, its class,
its type and its data. What cannot be printed is shown as \\DDD.

  -s, --server HOST:PORT  who is asked; by default the first name server of
                          /etc/resolv.conf, with --allow-read=/etc/resolv.conf
  -t, --timeout MS        how long each try may take, by default 2000
  -r, --retries N         how often a question is sent again, 0 to 10, by
                          default 2; over UDP only
  -T, --tcp               ask over TCP from the start
  -h, --help              show this help`;

const RESOLV_CONF = "/etc/resolv.conf";

/** Over TCP a message's length stands before it (RFC 1035, 4.2.2). */
const FRAME = { bytes: 2, maxLength: 65_535 } as const;

/** What the command line says. */
function readArgs() {
  const { words, text, integer, has } = readLine(HELP, {
    server: "s",
    timeout: "t",
    retries: "r",
  }, { tcp: "T" });
  const [name, ...types] = words;
  if (name === undefined) fail("one NAME, please; see --help");
  const reverse = reverseName(name);
  const presets = reverse === undefined ? ["A", "AAAA"] : ["PTR"];
  return {
    name: reverse ?? name,
    types: new Set((types.length > 0 ? types : presets).map(readType)),
    server: readServer(text("server")),
    timeout: integer("timeout", 2000, 1, 2 ** 31 - 1),
    retries: integer("retries", 2, 0, 10),
    isTcp: has("tcp"),
  };
}

function readType(text: string): number {
  return TYPES.get(text.toUpperCase()) ??
    fail(`unknown type ${text}; expected one of ${[...TYPES.keys()].join()}`);
}

/** Who is asked: what the command line says, or what the system says. */
function readServer(text: string | undefined): HostPort {
  try {
    if (text !== undefined) return splitHostPort(text);
  } catch (error) {
    fail((error as Error).message);
  }
  const { state } = Deno.permissions.querySync({
    name: "read",
    path: RESOLV_CONF,
  });
  if (state !== "granted") {
    fail(`who is asked? --server HOST:PORT, or --allow-read=${RESOLV_CONF}`);
  }
  try {
    const conf = Deno.readTextFileSync(RESOLV_CONF);
    const hostname = /^\s*nameserver\s+(\S+)/m.exec(conf)?.[1] ?? "";
    if (isIPv4(hostname) || isIPv6(hostname)) return { hostname, port: 53 };
  } catch {
    // A system without the file names no server either.
  }
  fail(`no name server in ${RESOLV_CONF}; name one with --server HOST:PORT`);
}

const { name, types, server, timeout, retries, isTcp } = readArgs();
const serverText = joinHostPort(server.hostname, server.port);

/** A question, as it is sent and as it comes back. */
interface Query {
  readonly id: number;
  readonly bytes: Uint8Array;
  readonly question: Question;
}

/** A question with an id that nobody can guess. */
function makeQuery(type: number): Query {
  const id = crypto.getRandomValues(new Uint16Array(1))[0]!;
  const bytes = encodeQuery(id, name, type);
  return { id, bytes, question: decodeMessage(bytes).questions[0]! };
}

/** The answer in a datagram, or `undefined` where it is none. */
function answerIn(data: Uint8Array, query: Query): Message | undefined {
  try {
    const message = decodeMessage(data);
    return isAnswer(message, query.id, query.question) ? message : undefined;
  } catch (error) {
    if (error instanceof DnsError) return undefined;
    throw error;
  }
}

/**
 * Waits for the answer. What is none is ignored, for anybody can send datagrams in the server's name; however
 * many come, the wait gets no longer.
 */
async function receiveAnswer(
  socket: UdpSocket,
  query: Query,
  signal: AbortSignal,
): Promise<{ message?: Message; ignored: number }> {
  const deadline = performance.now() + timeout;
  for (let ignored = 0;; ignored++) {
    const left = deadline - performance.now();
    if (left <= 0) return { ignored };
    socket.timeout = left;
    try {
      const { data } = await socket.receive({ signal });
      const message = answerIn(data, query);
      if (message !== undefined) return { message, ignored };
    } catch (error) {
      if (isTimeoutError(error)) return { ignored };
      throw error;
    }
  }
}

/** Asks over UDP, and again where no answer comes: either may get lost. */
async function askOverUdp(
  query: Query,
  signal: AbortSignal,
): Promise<Message> {
  await using socket = await connectUdp({ ...server, timeout, signal });
  let ignored = 0;
  for (let i = 0; i <= retries; i++) {
    await socket.send(query.bytes, undefined, { signal });
    const outcome = await receiveAnswer(socket, query, signal);
    if (outcome.message !== undefined) return outcome.message;
    ignored += outcome.ignored;
  }
  const others = ignored > 0 ? `, but ${ignored} datagrams of other kinds` : "";
  fail(
    `no answer from ${serverText} in ${retries + 1} x ${timeout} ms${others}`,
  );
}

/** Asks over TCP, where one question has one answer. */
async function askOverTcp(
  query: Query,
  signal: AbortSignal,
): Promise<Message> {
  const both = AbortSignal.any([signal, AbortSignal.timeout(timeout)]);
  try {
    using conn = await connectTcp({ ...server, signal: both });
    await writeFrame(conn, query.bytes, FRAME, { signal: both });
    const reader = new BufferedReader(conn);
    const frame = await reader.readFrame(FRAME, { signal: both });
    if (frame === null) fail(`${serverText} closed without an answer`);
    const message = decodeMessage(frame);
    if (!isAnswer(message, query.id, query.question) || message.isTruncated) {
      fail(`${serverText} did not answer what it was asked over TCP`);
    }
    return message;
  } catch (error) {
    if (isTimeoutError(error)) {
      fail(`no answer from ${serverText} over TCP in ${timeout} ms`);
    }
    if (!(error instanceof IncompleteReadError)) throw error;
    fail(`${serverText} closed in the middle of its answer`);
  }
}

async function ask(type: number, signal: AbortSignal): Promise<Message> {
  const query = makeQuery(type);
  if (!isTcp) {
    const message = await askOverUdp(query, signal);
    if (!message.isTruncated) return message;
  }
  return await askOverTcp(query, signal);
}

await run(async () => {
  using stop = new Stop();
  // What leads to several types, such as a CNAME, is told once.
  const told = new Set<string>();
  Deno.exitCode = 1;
  try {
    for (const type of types) {
      const { answers, rcode } = await ask(type, stop.signal);
      for (const record of answers) {
        const key = [record.name, record.type, record.data].join(" ");
        if (!told.has(key)) console.log(recordText(record));
        told.add(key);
      }
      if (rcode !== 0) {
        fail(
          `${name} ${typeName(type)}: ${serverText} says ${rcodeText(rcode)}`,
        );
      }
      if (answers.some((record) => record.type === type)) Deno.exitCode = 0;
      else console.log(`${name} has no ${typeName(type)} record`);
    }
  } catch (error) {
    // Who stops it wants no answer any more.
    if (!stop.signal.aborted) throw error;
  }
});
