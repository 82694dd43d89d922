/**
 * Forwards connections: whoever connects here talks to a target, over TCP or Unix sockets on either side.
 *
 *     deno run --allow-net examples/port_forward.ts 127.0.0.1:7009 127.0.0.1:7007
 *     deno run --allow-net --allow-read=. --allow-write=. examples/port_forward.ts unix:front.sock 127.0.0.1:7007
 *     deno run --allow-net --allow-read=. --allow-write=. examples/port_forward.ts [::]:7009 unix:back.sock
 *
 * The end of one side's stream is passed on, and the other way goes on. A reset on one side closes the other
 * side too; Deno has no call that resets a connection.
 */

import {
  AddrList,
  copyBidirectional,
  formatAddr,
  type HandlerInfo,
  serve,
  type StreamConn,
} from "@berkeley/sockets";
import {
  connectStream,
  fail,
  listenStream,
  messageOf,
  readLine,
  readStreamAddr,
  run,
  Stop,
} from "./_args.ts";

const HELP = `Port forward: who connects here talks to a target.

Usage: port_forward.ts [OPTIONS] LISTEN TARGET

LISTEN and TARGET are HOST:PORT or unix:PATH; unix:@NAME is an abstract name.
Port 0 of LISTEN takes a free one.

  -m, --max-connections N    how many at once, by default 500; what comes
                             beyond is closed
  -t, --connect-timeout MS   how long connecting to TARGET may take, by default
                             10000
  -i, --idle-timeout MS      close a connection without a byte for that long; by
                             default there is no limit
  -d, --drain-timeout MS     how long connections may go on after SIGINT or
                             SIGTERM, by default 5000
  -a, --allow LIST           who may connect: addresses and blocks with commas
                             between, such as 127.0.0.1,10.0.0.0/8,::1
  -v, --verbose              a line for each connection that has ended
  -h, --help                 show this help`;

/** What the command line says. */
function readArgs() {
  const { words, text, integer, has } = readLine(HELP, {
    "max-connections": "m",
    "connect-timeout": "t",
    "idle-timeout": "i",
    "drain-timeout": "d",
    allow: "a",
  }, { verbose: "v" });
  const [from, to, ...more] = words;
  if (from === undefined || to === undefined || more.length > 0) {
    fail("LISTEN and TARGET, please; see --help");
  }
  const listen = readStreamAddr(from);
  const target = readStreamAddr(to);
  if (target.transport === "tcp" && target.port === 0) {
    fail("port 0 is nobody's: TARGET needs a port from 1 to 65535");
  }
  const allow = readAllow(text("allow"));
  if (allow !== undefined && listen.transport !== "tcp") {
    fail("--allow is for HOST:PORT: who comes to a Unix socket has no address");
  }
  const most = 2 ** 31 - 1;
  return {
    listen,
    target,
    connectTimeout: integer("connect-timeout", 10_000, 1, most),
    verbose: has("verbose"),
    limits: {
      // Two descriptors each; many systems allow 1,024 for a process.
      maxConnections: integer("max-connections", 500, 1, most),
      idleTimeout: integer("idle-timeout", Infinity, 1, most),
      drainTimeout: integer("drain-timeout", 5000, 1, most),
      ...(allow !== undefined && { allow }),
    },
  };
}

function readAllow(text: string | undefined): AddrList | undefined {
  try {
    return text === undefined ? undefined : new AddrList(text.split(","));
  } catch (error) {
    fail(messageOf(error));
  }
}

const args = readArgs();

const secondsSince = (start: number): string =>
  ((performance.now() - start) / 1000).toFixed(3);

/** How connections end: by themselves, or how else. */
type End = "complete" | "without a target" | "broken" | "idle" | "cut off";

/** Forwards connections, and counts what becomes of them. */
class Forwarder {
  readonly ends: Record<End, number> = {
    complete: 0,
    "without a target": 0,
    broken: 0,
    idle: 0,
    "cut off": 0,
  };
  connections = 0;
  toTarget = 0;
  toClients = 0;
  readonly #ongoing = new Set<Promise<void>>();

  /** Serves a client to its end. */
  readonly serve = async (
    client: StreamConn,
    info: HandlerInfo,
  ): Promise<void> => {
    const serving = this.#serve(client, info);
    this.#ongoing.add(serving);
    await serving.finally(() => this.#ongoing.delete(serving));
  };

  /** Waits until the last one is counted: a server does not wait for those that it has cut off. */
  async finished(): Promise<void> {
    await Promise.all(this.#ongoing);
  }

  async #serve(client: StreamConn, info: HandlerInfo): Promise<void> {
    const start = performance.now();
    const name = `#${++this.connections} ${formatAddr(client.remoteAddr)}`;
    let target: StreamConn | undefined;
    let end: End = "complete";
    try {
      target = await connectStream(args.target, {
        timeout: args.connectTimeout,
        signal: info.signal,
      });
      await copyBidirectional(client, target);
    } catch (error) {
      end = this.#endOf(error, target !== undefined, info);
      // It is not to wait for what will not come. Other clients are closed gracefully, by the server.
      if (target === undefined) client.close();
    } finally {
      target?.close();
    }
    const there = target?.bytesWritten ?? 0;
    const back = client.bytesWritten;
    this.ends[end]++;
    this.toTarget += there;
    this.toClients += back;
    if (!args.verbose) return;
    console.log(
      `${name}: ${end}, ${there} bytes there, ${back} back, ${
        secondsSince(start)
      } s`,
    );
  }

  #endOf(error: unknown, isConnected: boolean, info: HandlerInfo): End {
    // The server has closed it.
    if (info.signal.aborted) return info.draining.aborted ? "cut off" : "idle";
    if (isConnected) return "broken";
    console.error(`target failed: ${messageOf(error)}`);
    return "without a target";
  }

  toString(): string {
    const ends = Object.entries(this.ends)
      .map(([end, count]) => `${count} ${end}`)
      .join(", ");
    return `${this.connections} connections: ${ends}
${this.toTarget} bytes there, ${this.toClients} back`;
  }
}

await run(async () => {
  const start = performance.now();
  const forwarder = new Forwarder();
  const server = serve(await listenStream(args.listen), forwarder.serve, {
    ...args.limits,
    whenFull: "refuse",
    onError: (error) => console.error(`error: ${messageOf(error)}`),
  });
  using stop = new Stop();
  stop.signal.onabort = () => void server.shutdown();
  console.log(
    `forwarding ${formatAddr(server.addr)} to ${formatAddr(args.target)}`,
  );
  await server.finished;
  await forwarder.finished();
  console.log(`${forwarder}
${server.refused} refused, ${server.denied} denied, ${secondsSince(start)} s`);
});
