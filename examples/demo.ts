/**
 * Every transport in one run: a server and a client each, on free ports, and what went over them.
 *
 *     deno task demo
 *
 * The path of the Unix socket is the program's argument, for its grants are for that path only.
 */

import {
  connectTcp,
  connectUnix,
  copy,
  formatAddr,
  listenTcp,
  listenUnix,
  readExact,
  type StreamConn,
  type StreamListener,
} from "@berkeley/sockets";

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

/** Echoes to one client until it is done. */
async function echoOne(listener: StreamListener): Promise<void> {
  using conn = await listener.accept();
  await copy(conn, conn);
  await conn.closeGracefully();
}

/** Sends `data`, reads as much back, and checks that it is the same. */
async function exchange(conn: StreamConn, data: Uint8Array): Promise<void> {
  const [back] = await Promise.all([
    readExact(conn, data.length),
    conn.writeAll(data),
  ]);
  if (!back.every((byte, i) => byte === data[i])) {
    throw new Error("Echo differs from what was sent");
  }
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
  const durations: number[] = [];
  for (let i = 0; i < TRIPS; i++) {
    const start = performance.now();
    await exchange(conn, crypto.getRandomValues(new Uint8Array(64)));
    durations.push(performance.now() - start);
  }
  await exchange(conn, new Uint8Array(BULK).map((_, i) => i * 31));
  const bytes = conn.bytesWritten + conn.bytesRead;
  await conn.closeGracefully();
  await echo;
  return {
    transport,
    address: formatAddr(listener.addr),
    bytes: bytes.toLocaleString("en"),
    trip: `${median(durations)} µs`,
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

/** A Unix socket on a path. */
const unix = (path: string) =>
  show("unix", () => listenUnix({ path }), () => connectUnix({ path }));

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

const rows = [await tcp("tcp", "127.0.0.1")];
try {
  rows.push(await tcp("tcp6", "::1"));
} catch (error) {
  if (!(error instanceof Deno.errors.AddrNotAvailable)) throw error;
  console.log("This machine has no IPv6: tcp6 is left out.");
}
if (Deno.build.os === "windows") {
  console.log("Unix sockets are left out on Windows.");
} else rows.push(await unix(Deno.args[0] ?? "demo.sock"));
print(rows);
