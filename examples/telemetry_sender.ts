/**
 * Sends a stream of small UDP datagrams at a steady rate, numbered and with the time, as sensors and calls do.
 * `telemetry_monitor.ts` shows what becomes of them on the way.
 *
 *     deno run --allow-net examples/telemetry_sender.ts
 *     deno run --allow-net examples/telemetry_sender.ts --rate 1000 --size 1200 --count 60000 [::1]:7008
 */

import { connectUdp, formatAddr } from "@berkeley/sockets";
import { fail, readLine, run, sleep, Stop } from "./_args.ts";
import {
  HEADER,
  MAX_SIZE,
  Pace,
  readUdpAddr,
  streamName,
  writeSample,
} from "./_telemetry.ts";

const HELP =
  `Telemetry sender: numbered UDP datagrams with the time, at a steady rate.

Usage: telemetry_sender.ts [OPTIONS] [HOST:PORT]

The monitor is at 127.0.0.1:7008, unless another address is given.

  -r, --rate N        datagrams a second, 1 to 100000, by default 50
  -s, --size BYTES    how long each is, ${HEADER} to ${MAX_SIZE}, by default 200
  -c, --count N       end after N datagrams; without it, Ctrl+C ends the program
  -h, --help          show this help

Each datagram has its own time; one that is late makes no other late. Those that
are late by more than a second are left out.`;

/** What the command line says. */
function readArgs() {
  const { words, integer } = readLine(HELP, {
    count: "c",
    rate: "r",
    size: "s",
  });
  const [address = "127.0.0.1:7008", ...more] = words;
  if (more.length > 0) fail("one HOST:PORT, please; see --help");
  const addr = readUdpAddr(address);
  if (addr.port === 0) {
    fail("port 0 is nobody's: the monitor's is from 1 to 65535");
  }
  return {
    addr,
    rate: integer("rate", 50, 1, 100_000),
    size: integer("size", 200, HEADER, MAX_SIZE),
    count: integer("count", Infinity, 1, 2 ** 53 - 1),
  };
}

const { addr, rate, size, count } = readArgs();

await run(async () => {
  await using socket = await connectUdp(addr);
  using stop = new Stop();
  const stream = crypto.getRandomValues(new Uint32Array(1))[0]!;
  console.log(
    `${streamName(stream)} to ${
      formatAddr(socket.remoteAddr!)
    }: ${rate} a second of ${size} bytes`,
  );
  // A send is awaited before the next one, so one buffer is enough.
  const bytes = new Uint8Array(size);
  const start = performance.now();
  const pace = new Pace(rate, start);
  let sent = 0;
  while (sent < count && !stop.signal.aborted) {
    let due = Math.min(pace.due(performance.now()), count - sent);
    for (; due > 0 && !stop.signal.aborted; due--) {
      const sentAt = performance.now() * 1000;
      writeSample(bytes, { stream, sequence: sent, sentAt, size });
      await socket.send(bytes);
      sent++;
    }
    if (sent < count) await sleep(pace.wait(performance.now()), stop.signal);
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(3);
  console.log(
    `${sent} sent in ${seconds} s${
      pace.skipped > 0 ? `, ${pace.skipped} left out` : ""
    }`,
  );
});
