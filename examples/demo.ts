/**
 * Every transport in one run: a server and a client each, on free ports, and what went over them.
 *
 *     deno task demo
 *     deno run --allow-net examples/demo.ts [PATH]
 *
 * The path of the Unix sockets is the program's argument, for its grants are for that path and
 * PATH.client only; without it they have abstract names, where there are such. Unix datagrams need
 * --unstable-net; UDP does without it.
 */

import {
  bindUdp,
  bindUnixDatagram,
  connectTcp,
  connectUdp,
  connectUnix,
  copy,
  type Datagram,
  formatAddr,
  isTimeoutError,
  listenTcp,
  listenUnix,
  readExact,
  type SocketAddr,
  type StreamConn,
  type StreamListener,
} from "@berkeley/sockets";
import { fail, readLine, run } from "./_args.ts";

const HELP = `Demo: every transport in one run, a server and a client each.

Usage: demo.ts [PATH]

PATH is where the Unix sockets are made, with PATH.client beside it; without it
they have abstract names, where there are such. Unix datagrams need
--unstable-net; UDP does without it.

  -h, --help      show this help`;

/** One row of the table. */
interface Row {
  readonly transport: string;
  readonly address: string;
  readonly bytes: string;
  readonly trip: string;
}

/** How many round trips are made, and how many bytes go over afterwards. */
const TRIPS = 100;
const BULK = 4 * 1024 * 1024;

/** How large the datagrams are that carry the bulk: every system takes that, over every transport. */
const DATAGRAM = 1024;

/** How often a datagram is sent, and how long its echo may take each time, in milliseconds. */
const TRIES = 10;
const ECHO_TIMEOUT = 500;

/** Echoes to one client until it is done. */
async function echoOne(listener: StreamListener): Promise<void> {
  using conn = await listener.accept();
  await copy(conn, conn);
  await conn.closeGracefully();
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

/** Sends `data`, reads as much back, and checks that it is the same. */
async function exchange(conn: StreamConn, data: Uint8Array): Promise<void> {
  const [back] = await Promise.all([
    readExact(conn, data.length),
    conn.writeAll(data),
  ]);
  if (!isSame(back, data)) throw new Error("Echo differs from what was sent");
}

/** Bytes that show it when one is missing or at a wrong place. */
const bulk = (): Uint8Array => new Uint8Array(BULK).map((_, i) => i * 31);

/** Makes many small round trips and gives how long one took. */
async function measure(
  trip: (data: Uint8Array) => Promise<void>,
): Promise<string> {
  const durations: number[] = [];
  for (let i = 0; i < TRIPS; i++) {
    const start = performance.now();
    await trip(crypto.getRandomValues(new Uint8Array(64)));
    durations.push(performance.now() - start);
  }
  return `${median(durations)} µs`;
}

/** The middle of some durations, in microseconds. */
function median(durations: number[]): number {
  durations.sort((a, b) => a - b);
  return Math.round(durations[durations.length >> 1]! * 1000);
}

/** A server and a client against each other. */
async function show(
  transport: string,
  listen: () => Promise<StreamListener>,
  connect: (listener: StreamListener) => Promise<StreamConn>,
): Promise<Row> {
  await using listener = await listen();
  const echo = echoOne(listener);
  // Where connecting fails, that is the error to be shown.
  echo.catch(() => {});
  using conn = await connect(listener);
  const trip = await measure((data) => exchange(conn, data));
  await exchange(conn, bulk());
  const bytes = conn.bytesWritten + conn.bytesRead;
  await conn.closeGracefully();
  await echo;
  return {
    transport,
    address: formatAddr(listener.addr),
    bytes: bytes.toLocaleString("en"),
    trip,
  };
}

/** What the demo needs of a datagram socket of any transport. */
interface Socket extends AsyncIterable<Datagram>, AsyncDisposable {
  readonly addr: SocketAddr;
  timeout: number | undefined;
  receive(): Promise<Datagram>;
}

/** Sends a datagram to the echo server, again where no echo comes, and checks it. */
async function exchangeDatagram(
  client: Socket,
  send: (data: Uint8Array) => Promise<number>,
  data: Uint8Array,
): Promise<void> {
  for (let i = 0; i < TRIES; i++) {
    await send(data);
    try {
      // An echo that came too late is not this one.
      while (!isSame((await client.receive()).data, data));
      return;
    } catch (error) {
      if (!isTimeoutError(error)) throw error;
    }
  }
  throw new Error(`No echo after ${TRIES} tries`);
}

/** A server and a client against each other, datagram by datagram. */
async function showDatagrams(
  transport: string,
  server: Socket,
  reply: (data: Uint8Array, addr: SocketAddr) => Promise<number>,
  client: Socket,
  send: (data: Uint8Array) => Promise<number>,
): Promise<Row> {
  await using _client = client;
  const echo = (async () => {
    await using _server = server;
    for await (const { data, addr } of server) {
      // An empty datagram says that that was all.
      if (data.length === 0) break;
      await reply(data, addr);
    }
  })();
  client.timeout = ECHO_TIMEOUT;
  const trip = await measure((data) => exchangeDatagram(client, send, data));
  const data = bulk();
  for (let at = 0; at < data.length; at += DATAGRAM) {
    await exchangeDatagram(client, send, data.subarray(at, at + DATAGRAM));
  }
  await send(new Uint8Array(0));
  await echo;
  return {
    transport,
    address: formatAddr(server.addr),
    bytes: (2 * (64 * TRIPS + BULK)).toLocaleString("en"),
    trip,
  };
}

/** TCP on an address of this machine, at a free port. */
const tcp = (transport: string, hostname: string) =>
  show(
    transport,
    () => listenTcp({ hostname, port: 0 }),
    (listener) =>
      connectTcp(listener.addr as { hostname: string; port: number }),
  );

/** UDP on an address of this machine, at a free port. */
async function udp(transport: string, hostname: string): Promise<Row> {
  const server = await bindUdp({ hostname, port: 0 });
  const client = await connectUdp(server.addr);
  return await showDatagrams(
    transport,
    server,
    (data, addr) =>
      server.send(data, addr as { hostname: string; port: number }),
    client,
    (data) => client.send(data),
  );
}

/** A Unix stream socket. */
const unix = (path: string) =>
  show("unix", () => listenUnix({ path }), () => connectUnix({ path }));

/** Unix datagram sockets: both ends need a name, for only who has one is answered. */
async function unixgram(path: string): Promise<Row> {
  const server = await bindUnixDatagram({ path });
  const client = await bindUnixDatagram({ path: `${path}.client` });
  return await showDatagrams(
    "unixgram",
    server,
    (data, addr) => server.send(data, addr as { path: string }),
    client,
    (data) => client.send(data, { path }),
  );
}

/** Prints rows in columns, as wide as the widest. */
function print(rows: readonly Row[]): void {
  const head = {
    transport: "transport",
    address: "address",
    bytes: "bytes",
    trip: "round trip",
  };
  const columns = Object.keys(head) as (keyof Row)[];
  const width = (column: keyof Row) =>
    Math.max(...[head, ...rows].map((row) => row[column].length));
  for (const row of [head, ...rows]) {
    console.log(
      columns.map((column) =>
        column === "bytes" || column === "trip"
          ? row[column].padStart(width(column))
          : row[column].padEnd(width(column))
      ).join("   "),
    );
  }
}

/** Where the Unix sockets are, if there can be any. */
function unixPath(): string | undefined {
  const [path, ...more] = readLine(HELP).words;
  if (more.length > 0) fail("one PATH, please");
  if (Deno.build.os === "windows") return undefined;
  if (path !== undefined) return path;
  return Deno.build.os === "linux"
    ? `\0demo-${crypto.randomUUID()}`
    : undefined;
}

const path = unixPath();

await run(async () => {
  const rows = [await tcp("tcp", "127.0.0.1")];
  let hasIPv6 = true;
  try {
    rows.push(await tcp("tcp6", "::1"));
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrNotAvailable)) throw error;
    hasIPv6 = false;
    console.log("This machine has no IPv6: tcp6 and udp6 are left out.");
  }
  if (path === undefined) {
    console.log(
      "Unix sockets are left out: there are none, or no path is given.",
    );
  } else rows.push(await unix(path));
  rows.push(await udp("udp", "127.0.0.1"));
  if (hasIPv6) rows.push(await udp("udp6", "::1"));
  if (path !== undefined) {
    try {
      rows.push(await unixgram(path));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotSupported)) throw error;
      console.log("Unix datagrams need --unstable-net: unixgram is left out.");
    }
  }
  print(rows);
});
