/**
 * Shows, live, what becomes of the streams that `telemetry_sender.ts` sends: what is lost, out of order or
 * doubled, how much the time on the way varies, and the rate.
 *
 *     deno run --allow-net examples/telemetry_monitor.ts
 *     deno run --allow-net examples/telemetry_monitor.ts --interval 500 --duration 60000 [::]:7008
 *
 * The clocks of both machines may say what they like: only differences count.
 */

import { bindUdp, formatAddr } from "@berkeley/sockets";
import { fail, readLine, run, sleep, Stop } from "./_args.ts";
import { describe, Monitor, readUdpAddr } from "./_telemetry.ts";

const HELP =
  `Telemetry monitor: what becomes of the datagrams of telemetry_sender.ts.

Usage: telemetry_monitor.ts [OPTIONS] [HOST:PORT]

It listens on 127.0.0.1:7008, unless another address is given; port 0 takes a
free one.

  -i, --interval MS   milliseconds between lines, by default 1000
  -c, --count N       end after N datagrams, those that came twice included
  -d, --duration MS   end after that time
  -h, --help          show this help

A line has the sums so far of all streams, the largest jitter among them (RFC
3550), and the rate since the line before: datagrams, and bits of their data. On
a terminal it is redrawn. The summary has each stream on its own, and these:

  odd        datagrams whose number fits nowhere: more than 4096 behind the
             others, or as far ahead without a follower
  jumps      how often a sender's numbers or its clock started elsewhere
  foreign    datagrams that are none of a sender's
  ignored    datagrams of new streams while 64 others were heard
  forgotten  streams of which nothing was heard for 30 seconds`;

/** What the command line says. */
function readArgs() {
  const { words, integer } = readLine(HELP, {
    count: "c",
    duration: "d",
    interval: "i",
  });
  const [address = "127.0.0.1:7008", ...more] = words;
  if (more.length > 0) fail("one HOST:PORT, please; see --help");
  return {
    addr: readUdpAddr(address),
    interval: integer("interval", 1000, 1, 2 ** 31 - 1),
    count: integer("count", Infinity, 1, 2 ** 53 - 1),
    duration: integer("duration", Infinity, 1, 2 ** 31 - 1),
  };
}

const { addr, interval, count, duration } = readArgs();

/** Where lines are redrawn, they must not be longer than the terminal is wide. */
const isTerminal = Deno.stdout.isTerminal();

/** Shows a line; that nobody reads it any more is an error. */
function show(line: string): void {
  const width = isTerminal ? (Deno.consoleSize().columns || 80) - 1 : 0;
  const text = isTerminal ? `\r${line.slice(0, width)}\x1b[K` : `${line}\n`;
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}

/** Shows a line each interval, until it is told to stop. */
async function showAll(monitor: Monitor, signal: AbortSignal): Promise<void> {
  let before = performance.now();
  let next = before;
  let { arrived, bytes } = monitor.total();
  for (;;) {
    // Lines that could not be shown in time are left out.
    const wait = Math.max(next + interval - performance.now(), 0);
    next = performance.now() + wait;
    await sleep(wait, signal);
    if (signal.aborted) return;
    const now = performance.now();
    monitor.forgetSilent(now * 1000);
    const total = monitor.total();
    const seconds = (now - before) / 1000;
    const rate = (total.arrived - arrived) / seconds;
    const bits = (total.bytes - bytes) * 8 / seconds;
    show(
      `streams ${monitor.streams.size}, ${describe(total)}, ${
        rate.toFixed(1)
      } datagrams/s, ${(bits / 1000).toFixed(1)} kbit/s`,
    );
    [before, arrived, bytes] = [now, total.arrived, total.bytes];
  }
}

await run(async () => {
  // What comes while a line is written must have room to wait.
  await using socket = await bindUdp({ ...addr, maxQueuedBytes: 2 ** 23 });
  using stop = new Stop();
  stop.signal.onabort = () => socket.close();
  const monitor = new Monitor();
  console.log(`listening on ${formatAddr(socket.addr)}`);
  const start = performance.now();
  const timer = duration === Infinity
    ? undefined
    : setTimeout(stop.now, duration);
  // Without readers there is nothing to do any more.
  const showing = showAll(monitor, stop.signal).then(() => null, (error) => {
    stop.now();
    return { error };
  });
  let taken = 0;
  // Until the socket is closed.
  for await (const { data, addr } of socket) {
    if (monitor.take(data, addr, performance.now() * 1000)) taken++;
    if (taken >= count) break;
  }
  clearTimeout(timer);
  stop.now();
  const failure = await showing;
  if (failure !== null) throw failure.error;
  const seconds = ((performance.now() - start) / 1000).toFixed(3);
  if (isTerminal) console.log();
  console.log(`--- ${seconds} s ---\n${monitor.summary().join("\n")}`);
  if (socket.dropped > 0) {
    console.log(`dropped here, nobody being in time: ${socket.dropped}`);
  }
});
