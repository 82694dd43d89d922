/**
 * Connects to a server, sends it traffic, and prints what the kernel knows of the connection (TCP_INFO of
 * tcp(7)), line by line. Without an address it makes a peer of its own on loopback.
 *
 *     deno run --allow-net --allow-ffi examples/tcp_info_monitor.ts
 *     deno run --allow-net --allow-ffi examples/tcp_info_monitor.ts --count 5 --interval 500 127.0.0.1:7007
 *
 * The second one goes with `examples/echo_server.ts`: what comes back is read and thrown away.
 */

import {
  create_connection,
  create_server,
  errorCode,
  Options,
  type Socket,
  type TcpInfo,
} from "@berkeley/sockets/libc";
import { formatAddr, parseAddr } from "@berkeley/sockets/addr";
import { fail, readLine, run, sleep, Stop } from "./_args.ts";

const HELP = `TCP monitor: what the kernel knows of a connection.

Usage: tcp_info_monitor.ts [OPTIONS] [HOST:PORT]

Without an address, the program is its own peer, on loopback.

  -c, --count N       end after N lines, by default 10
  -i, --interval MS   milliseconds between lines, by default 1000
  -r, --rate BYTES    how much is sent, in bytes a second, by default 1000000;
                      0 for nothing
  -h, --help          show this help`;

/** How long connecting may take, in milliseconds. */
const TIMEOUT = 10_000;

/** How often traffic is sent, in milliseconds. */
const TICK = 20;

const toText = (
  value: number | undefined,
  digits: number,
): string => value === undefined ? "?" : value.toFixed(digits);

/** What is printed: each column's head, and what it says. */
const COLUMNS:
  readonly (readonly [head: string, of: (i: TcpInfo) => string])[] = [
    ["state", (info) => info.state.padEnd(11)],
    ["rtt ms", (info) => toText(info.rtt, 3)],
    ["min ms", (info) => toText(info.minRtt, 3)],
    ["rto ms", (info) => toText(info.rto, 0)],
    ["cwnd", (info) => String(info.congestionWindow)],
    ["unacked", (info) => String(info.unacked)],
    ["resent", (info) => String(info.totalRetransmits)],
    ["acked", (info) => toText(info.bytesAcked, 0)],
    ["received", (info) => toText(info.bytesReceived, 0)],
    ["delivery B/s", (info) => toText(info.deliveryRate, 0)],
  ];

/** How wide a column is: as its head, and as what is usual in it. */
const WIDTHS = [11, 8, 8, 6, 6, 7, 6, 11, 11, 12];

function print(cells: readonly string[]): void {
  console.log(cells.map((cell, i) => cell.padStart(WIDTHS[i]!)).join("  "));
}

/** Whether an error only says that one end of the connection is gone. */
function isGone(error: unknown): boolean {
  return ["EINTR", "EBADF", "EPIPE", "ECONNRESET"].includes(
    errorCode(error) ?? "",
  );
}

/** Reads and throws away, until the stream ends. */
async function discard(conn: Socket): Promise<void> {
  const buffer = new Uint8Array(65_536);
  try {
    while (await conn.recv_into(buffer) > 0);
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

/** A peer on loopback for one connection. */
async function serveOne(server: Socket): Promise<void> {
  const [conn] = await server.accept();
  server.close();
  await discard(conn);
  conn.close();
}

/** Sends so many bytes a second, until it is stopped or the peer is gone. */
async function traffic(
  conn: Socket,
  rate: number,
  signal: AbortSignal,
): Promise<void> {
  const data = new Uint8Array(Math.ceil(rate * TICK / 1000));
  try {
    while (rate > 0 && !signal.aborted) {
      await conn.sendall(data);
      await sleep(TICK, signal);
    }
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

/** What the command line says. */
function readArgs() {
  const { words, integer } = readLine(HELP, {
    count: "c",
    interval: "i",
    rate: "r",
  });
  const [address, ...more] = words;
  if (more.length > 0) fail("one HOST:PORT, please; see --help");
  return {
    address,
    count: integer("count", 10, 1, 2 ** 31 - 1),
    interval: integer("interval", 1000, 1, 2 ** 31 - 1),
    rate: integer("rate", 1_000_000, 0, 2 ** 30),
  };
}

const { address, count, interval, rate } = readArgs();

/** Where to connect to, and the peer there if it is ours. */
function findPeer() {
  if (address === undefined) {
    const server = create_server(["127.0.0.1", 0]);
    const [hostname, port] = server.getsockname();
    const serving = serveOne(server);
    // Where connecting fails, that is the error to be shown.
    serving.catch(() => {});
    return { hostname, port, serving };
  }
  try {
    const addr = parseAddr(address, { transport: "tcp" });
    if (addr.transport !== "tcp") throw new TypeError(`${address} is not TCP`);
    return { ...addr, serving: undefined };
  } catch (error) {
    fail((error as Error).message);
  }
}

/** Connects, or says where nobody is. */
async function connect(hostname: string, port: number): Promise<Socket> {
  try {
    return await create_connection([hostname, port], { timeout: TIMEOUT });
  } catch (error) {
    const where = formatAddr({ transport: "tcp", hostname, port });
    if (error instanceof Deno.errors.NotCapable) fail(error.message);
    if (errorCode(error) === undefined) throw error;
    fail(`cannot connect to ${where}: ${(error as Error).message}`);
  }
}

await run(async () => {
  const { hostname, port, serving } = findPeer();
  using conn = await connect(hostname, port);
  // The timeout was for connecting.
  conn.settimeout(null);
  using stop = new Stop();
  const { signal } = stop;
  console.log(
    `connected to ${formatAddr({ transport: "tcp", hostname, port })}, ${
      conn.getoption(Options.TCP_CONGESTION)
    }, segments of ${conn.getoption(Options.TCP_INFO).sendMss} bytes`,
  );
  const sending = traffic(conn, rate, signal);
  const reading = discard(conn);

  print(COLUMNS.map(([head]) => head === "state" ? head.padEnd(11) : head));
  let next = performance.now();
  for (let line = 0; line < count; line++) {
    next += interval;
    await sleep(Math.max(0, next - performance.now()), signal);
    if (signal.aborted) break;
    const info = conn.getoption(Options.TCP_INFO);
    print(COLUMNS.map(([, of]) => of(info)));
    if (info.state === "ESTABLISHED") continue;
    console.log("the peer has closed the connection");
    break;
  }

  stop.now();
  conn.close();
  await Promise.all([sending, reading, serving]);
});
