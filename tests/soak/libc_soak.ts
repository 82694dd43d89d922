/** The C library's sockets at length: errors, lanes, floods, descriptors that are used again, timeouts. */

import { assert, assertEquals } from "@std/assert";
import { errorCode, isTimeoutError } from "../../errors.ts";
import { select } from "../../select.ts";
import * as libc from "../../libc/mod.ts";
import type { Polled } from "../../libc/_reactor.ts";
import { POLLIN } from "../../libc/_side.ts";
import * as reactor from "../../libc/_reactor.ts";
import { candidates } from "../../libc/_symbols.ts";
import { pattern } from "../_bytes.ts";
import { openAll } from "../_libc.ts";
import { startDeno } from "../_process.ts";

const ignore = Deno.build.os !== "linux";
if (!ignore) openAll();

const MIB = 2 ** 20;
/** A wait that takes as long hangs, in milliseconds. */
const HANG = 60_000;
/** How much memory may stay with the program: the collector leaves some of it for later. */
const MOST_MEMORY = 192 * MIB;
/** The runtime opens some of its own when it has run for a while. */
const SPARE = 4;

const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;

/** One turn of the event loop, as short as can be. */
const turn = (): Promise<void> =>
  new Promise((resolve) => setImmediate(resolve));

/** A number from 0 to `n - 1` of a sequence that a seed starts. */
function dice(seed: number): (n: number) => number {
  let x = seed;
  return (n) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor(x / 2 ** 32 * n);
  };
}

/** Runs once in small, and then in full: what that leaves behind is bounded. */
async function assertBounded(
  name: string,
  rounds: number,
  fn: (rounds: number) => Promise<string>,
): Promise<void> {
  await fn(Math.ceil(rounds / 20));
  const [memory, open] = [Deno.memoryUsage().rss, descriptors()];
  const start = performance.now();
  const told = await fn(rounds);
  const seconds = (performance.now() - start) / 1000;
  // What is closed is closed at once; the runtime's own come and go.
  for (let i = 0; i < 2000 && descriptors() > open + SPARE; i++) await turn();
  const more = Deno.memoryUsage().rss - memory;
  const left = descriptors() - open;
  console.log(
    `${name}: ${told}, ${seconds.toFixed(1)} s, ${
      (more / MIB).toFixed(0)
    } MiB and ${left} descriptors more`,
  );
  assert(left <= SPARE, `${left} descriptors more`);
  assert(more < MOST_MEMORY, `${more} bytes more`);
}

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({
    name,
    ignore,
    // A thread that waits is told a moment later.
    sanitizeOps: false,
    fn,
  });

/** One test for each way to be woken. */
function testEachWake(
  name: string,
  rounds: number,
  fn: (rounds: number) => Promise<string>,
): void {
  for (const kind of ["thread", "eventfd"] as const) {
    test(`${kind}: ${name}`, async () => {
      assertEquals(await libc.useWake(kind), kind);
      try {
        await assertBounded(`${kind}: ${name}`, rounds, fn);
      } finally {
        await libc.useWake("thread");
      }
    });
  }
}

// Errors

/** Makes calls that fail, each with an error of its own, and counts where another one was read. */
const failing = (calls: number, threads: number) => `
import { calls as open } from ${
  JSON.stringify(new URL("../../libc/_symbols.ts", import.meta.url).href)
};
import { checked, errno } from ${
  JSON.stringify(new URL("../../libc/_errno.ts", import.meta.url).href)
};
import * as libc from ${
  JSON.stringify(new URL("../../libc/mod.ts", import.meta.url).href)
};
import { errno as numberOf } from ${
  JSON.stringify(new URL("../../errors.ts", import.meta.url).href)
};

const CALLS = ${calls};

async function fail() {
  const [a, b] = await libc.socketpair();
  const datagrams = libc.socket(libc.AF_INET, libc.SOCK_DGRAM);
  const stream = libc.socket(libc.AF_INET);
  const [pair, udp, tcp] = [a.fileno(), datagrams.fileno(), stream.fileno()];
  const { close, getpeername, listen, recv, setsockopt, socket } = open();
  const room = new Uint8Array(128);
  const length = new Uint8Array(new Uint32Array([128]).buffer);
  const ways = [
    [9, () => close(-1)],
    [97, () => socket(9999, 1, 0)],
    [11, () => recv(pair, room, 1, 0x40)],
    [107, () => getpeername(tcp, room, length)],
    [92, () => setsockopt(udp, 1, 9999, room, 4)],
    [95, () => listen(udp, 1)],
  ];
  // The same, by the face: what it reads is what it throws.
  const faces = [
    ["EAGAIN", () => a.recv(1, libc.MSG_DONTWAIT)],
    ["ENOTCONN", () => stream.recv(1)],
    ["ENOPROTOOPT", async () => datagrams.setsockopt(1, 9999, 1)],
    ["EOPNOTSUPP", async () => datagrams.listen()],
    ["EINVAL", () => stream.accept()],
    ["EDESTADDRREQ", () => datagrams.send(room)],
  ];
  let wrong = 0;
  let made = 0;
  let kept = [];
  const background = setInterval(() => Deno.stat("/").catch(() => {}), 1);
  while (made < CALLS) {
    for (let i = 0; i < 4096 && made < CALLS; i++, made++) {
      const [expected, call] = ways[made % 6];
      const result = call();
      const number = errno();
      if (result !== -1 || number !== expected) wrong++;
      // Something for the collector, small and large, that stays for a while.
      kept.push({ made, text: "x" + made }, new Array(made % 20));
      if (made % 512 === 0) kept.push(new Uint8Array(made % 100_000));
    }
    try {
      checked(open().close(-1), "close");
    } catch (error) {
      if (error.code !== "EBADF") wrong++;
    }
    for (const [code, call] of faces) {
      made++;
      const error = await call().then(() => undefined, (error) => error);
      if (error?.code !== code || error.errno !== undefined && error.errno !== numberOf(code)) wrong++;
    }
    if (made % 40_960 < 4096) {
      kept = [];
      globalThis.gc?.();
    } else if (kept.length > 100_000) kept = kept.slice(50_000);
    // A thread of the pool makes calls of its own meanwhile.
    const receiving = a.recv(1);
    setTimeout(() => b.send(room.subarray(0, 1)), 0);
    await receiving;
  }
  clearInterval(background);
  for (const socket of [a, b, datagrams, stream]) socket.close();
  return [made, wrong];
}

if (self.name !== "") self.postMessage(await fail());
else {
  const workers = Array.from({ length: ${threads - 1} }, (_, i) =>
    new Worker(import.meta.url, { type: "module", name: "worker" + i })
  );
  const all = await Promise.all([
    fail(),
    ...workers.map((worker) => new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = reject;
    })),
  ]);
  for (const worker of workers) worker.terminate();
  const sum = (i) => all.reduce((sum, one) => sum + one[i], 0);
  console.log(sum(0), sum(1), Deno.memoryUsage().rss);
}
`;

async function assertFails(
  name: string,
  flags: string[],
  calls: number,
  threads: number,
): Promise<void> {
  const start = performance.now();
  await using program = await startDeno(flags, failing(calls, threads));
  const { code, stdout, stderr } = await program.ended();
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  const [made, wrong, memory] = stdout.split(" ").map(Number);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(
    `${name}: ${made} failing calls, ${wrong} with another errno, ${seconds} s, ${
      (memory! / MIB).toFixed(0)
    } MiB`,
  );
  assert(made! >= calls * threads);
  assertEquals(wrong, 0);
  assert(memory! < 1024 * MIB, `${memory} bytes`);
}

test("5,000,000 failing calls tell their own errno, in four threads, beside the collector", () =>
  assertFails(
    "full grant",
    ["-A", "--v8-flags=--expose-gc"],
    1_250_000,
    4,
  ));

test("600,000 failing calls with a grant for the library alone", async () => {
  const path = candidates(Deno.build.arch).find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
  await assertFails(
    "scoped grant",
    [
      `--allow-ffi=${path}`,
      "--allow-net",
      "--allow-read",
      "--v8-flags=--expose-gc,--stress-scavenge=40",
    ],
    300_000,
    2,
  );
});

// Lanes

const PERIOD = 65_521;
/** What every lane sends, from a place of its own on: any PERIOD bytes of it differ from those a byte later. */
const endless = pattern(3 * PERIOD, 11);
for (let i = 0; i < endless.length; i++) endless[i] = endless[i % PERIOD]!;

/** The bytes from a place of a lane on; at most PERIOD. */
function part(lane: number, at: number, size: number): Uint8Array<ArrayBuffer> {
  const start = (lane * 1021 + at) % PERIOD;
  return endless.subarray(start, start + size);
}

function assertPart(data: Uint8Array, lane: number, at: number): void {
  const expected = part(lane, at, data.length);
  for (let i = 0; i < data.length; i++) {
    if (data[i] !== expected[i]) {
      throw new Error(`lane ${lane}: wrong byte at ${at + i}`);
    }
  }
}

// deno-lint-ignore no-explicit-any
type AnySocket = libc.Socket<any>;

/** Sends a lane's bytes in pieces and ways that change at random. */
async function sendLane(
  socket: AnySocket,
  lane: number,
  total: number,
): Promise<void> {
  const roll = dice(lane + 1);
  for (let at = 0; at < total;) {
    const size = Math.min(
      1 + roll(roll(4) ? 3000 : PERIOD - 1),
      total - at,
    );
    const data = part(lane, at, size);
    switch (roll(4)) {
      case 0:
        at += await socket.send(data);
        break;
      case 1: {
        const half = roll(size);
        at += await socket.sendmsg([
          data.subarray(0, half),
          data.subarray(half),
        ]);
        break;
      }
      case 2: {
        // Two at once keep their order.
        const half = roll(size);
        await Promise.all([
          socket.sendall(data.subarray(0, half)),
          socket.sendall(data.subarray(half)),
        ]);
        at += size;
        break;
      }
      default:
        await socket.sendall(data);
        at += size;
    }
    if (roll(50) === 0) await turn();
  }
  await socket.shutdown(libc.SHUT_WR);
}

/** Receives a lane's bytes in ways that change at random, to the end. */
async function receiveLane(
  socket: AnySocket,
  lane: number,
  total: number,
): Promise<void> {
  const roll = dice(lane + 1000);
  let at = 0;
  for (;;) {
    const size = 1 + roll(roll(4) ? 5000 : PERIOD - 1);
    let data: Uint8Array;
    switch (roll(6)) {
      case 0: {
        const buffer = new Uint8Array(size + 2).fill(0xee);
        const n = await socket.recv_into(buffer.subarray(1, size + 1));
        if (buffer[0] !== 0xee || buffer[size + 1] !== 0xee) {
          throw new Error("written beside the buffer");
        }
        data = buffer.subarray(1, n + 1);
        break;
      }
      case 1:
        [data] = await socket.recvfrom(size);
        break;
      case 2:
        [data] = await socket.recvmsg(size);
        break;
      case 3:
        data = await socket.recv(size, libc.MSG_WAITALL);
        break;
      case 4: {
        const seen = await socket.recv(size, libc.MSG_PEEK);
        assertPart(seen, lane, at);
        data = await socket.recv(size);
        break;
      }
      default:
        data = await socket.recv(size);
    }
    if (data.length === 0) break;
    assertPart(data, lane, at);
    at += data.length;
    if (roll(50) === 0) await turn();
  }
  assertEquals(at, total);
}

/** A datagram by the call that takes many. */
async function receiveFirst(
  socket: AnySocket,
): Promise<[Uint8Array, libc.Address]> {
  const buffer = new Uint8Array(65_535);
  const [[n, sender]] = await socket.recvmmsg_into(
    buffer,
    buffer.length,
  ) as [[number, libc.Address]];
  return [buffer.slice(0, n), sender];
}

/** Datagrams there and back, each as large as it likes. */
async function bounceDatagrams(
  [a, b]: [AnySocket, AnySocket],
  lane: number,
  total: number,
): Promise<void> {
  const roll = dice(lane + 1);
  const [to, from] = [b.getsockname(), a.getsockname()];
  for (let at = 0; at < total;) {
    const size = 1 + roll(roll(4) ? 1400 : 60_000);
    const data = part(lane, at, size);
    const [, [got, sender]] = await Promise.all([
      [
        () => a.sendto(data, to),
        () => a.sendmsg([data], [], 0, to),
        () => a.sendmmsg([[data, to]]),
      ][roll(3)]!(),
      roll(2) ? b.recvfrom(65_535) : receiveFirst(b),
    ]);
    assertEquals(got.length, size);
    assertEquals(sender, from);
    assertPart(got, lane, at);
    // Back, to somebody who waits or who will.
    const back = roll(2) ? a.recv(65_535) : undefined;
    if (roll(8) === 0) await turn();
    await b.sendto(got, sender);
    assertPart(await (back ?? a.recv(65_535)), lane, at);
    at += size;
  }
}

async function streamLane(kind: number): Promise<[AnySocket, AnySocket]> {
  if (kind === 0) return await libc.socketpair();
  using server = libc.create_server(["127.0.0.1", 0]);
  const client = await libc.create_connection(server.getsockname());
  return [client, (await server.accept())[0]];
}

function udpSocket(): libc.Socket<libc.InetAddress> {
  const socket = libc.socket(libc.AF_INET, libc.SOCK_DGRAM);
  socket.bind(["127.0.0.1", 0]);
  return socket;
}

const LANES = 64;

testEachWake("64 lanes of random sizes", 400 * MIB, async (rounds) => {
  const total = Math.ceil(rounds / LANES);
  let bytes = 0;
  await Promise.all(Array.from({ length: LANES }, async (_, lane) => {
    const pair: [AnySocket, AnySocket] = lane % 4 === 3
      ? [udpSocket(), udpSocket()]
      : await streamLane(lane % 4 === 2 ? 0 : 1);
    for (const socket of pair) socket.settimeout(HANG);
    const [a, b] = pair;
    try {
      if (lane % 4 === 3) {
        await bounceDatagrams(pair, lane, total);
        bytes += 2 * total;
        return;
      }
      // Both ways at once.
      await Promise.all([
        sendLane(a, lane, total),
        receiveLane(b, lane, total),
        sendLane(b, lane + LANES, total),
        receiveLane(a, lane + LANES, total),
      ]);
      bytes += 2 * total;
    } finally {
      a.close();
      b.close();
    }
  }));
  assert(bytes >= 2 * LANES * total);
  return `${(bytes / MIB).toFixed(0)} MiB on ${LANES} lanes, all right`;
});

// A flood

testEachWake("a flood beside a timer of 10 ms", 3000, async (ms) => {
  const [a, b] = [udpSocket(), udpSocket()];
  let ticks = 0;
  let lag = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    lag = Math.max(lag, now - last - 10);
    last = now;
    ticks++;
  }, 10);
  const to = b.getsockname();
  const end = performance.now() + ms;
  const data = pattern(64);
  let got = 0;
  b.settimeout(HANG);
  const receiving = (async () => {
    while ((await b.recv(100)).length === 64) got++;
  })();
  // Four senders, none of whom ever waits for long.
  await Promise.all(Array.from({ length: 4 }, async () => {
    while (performance.now() < end) await a.sendto(data, to);
  }));
  // One that is lost is sent again.
  let isOver = false;
  receiving.then(() => isOver = true, () => isOver = true);
  while (!isOver) {
    await a.sendto(data.subarray(0, 1), to);
    await turn();
  }
  await receiving;
  clearInterval(timer);
  a.close();
  b.close();
  // One of twenty that are due is what a machine with much else to do has.
  assert(
    ms < 1000 || ticks >= ms / 200,
    `the timer of 10 ms was heard ${ticks} times in ${ms} ms`,
  );
  assert(got > 0);
  return `${got} datagrams received, ${ticks} ticks, at most ${
    lag.toFixed(1)
  } ms late`;
});

// Opening and closing

testEachWake("100,000 sockets, opened and closed", 100_000, async (rounds) => {
  const roll = dice(7);
  let interrupted = 0;
  let waits = 0;
  const path = `\0${crypto.randomUUID()}`;
  for (let i = 0; i < rounds;) {
    switch (roll(5)) {
      case 0: {
        const [a, b] = await libc.socketpair();
        if (roll(2)) {
          waits++;
          a.recv(1).catch((error) => {
            if (error.code === "EINTR") interrupted++;
          });
          if (roll(4) === 0) await turn();
        }
        a.close();
        b.close();
        i += 2;
        break;
      }
      case 1: {
        const socket = udpSocket();
        if (roll(2)) {
          waits += 2;
          for (const waiting of [socket.recv(1), socket.recvfrom(1)]) {
            waiting.catch((error) => {
              if (error.code === "EINTR") interrupted++;
            });
          }
        }
        socket.close();
        i++;
        break;
      }
      case 2: {
        const server = libc.create_server(path, { family: libc.AF_UNIX });
        const client = libc.socket(libc.AF_UNIX);
        await client.connect(path);
        const [conn] = await server.accept();
        for (const socket of [server, client, conn]) socket.close();
        i += 3;
        break;
      }
      case 3: {
        const socket = libc.socket(libc.AF_INET6, libc.SOCK_DGRAM);
        socket.dup().close();
        socket.close();
        i += 2;
        break;
      }
      default: {
        libc.socket().close();
        i++;
      }
    }
  }
  await turn();
  assertEquals(interrupted, waits);
  return `${rounds} sockets, ${interrupted} waits ended by close()`;
});

// Numbers that are used again

/** Stands still for a moment, in which the kernel and other threads go on. */
function standStill(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end;);
}

testEachWake(
  "descriptors that are closed in a wait and used again at once",
  10_000,
  async (rounds) => {
    const roll = dice(3);
    // Whoever is told that there is something to read has a peer that has sent.
    const silent = new Set<number>();
    let stray = 0;
    const { onEvents } = reactor.Polled.prototype;
    reactor.Polled.prototype.onEvents = function (
      this: Polled,
      events: number,
    ) {
      if (events & POLLIN && silent.has(this.descriptor)) stray++;
      onEvents.call(this, events);
    };
    let reused = 0;
    let interrupted = 0;
    let watched = 0;
    try {
      for (let i = 0; i < rounds; i++) {
        const [a, b] = await libc.socketpair();
        const number = a.fileno();
        const waits = [a.recv(10), a.recv(10, libc.MSG_WAITALL)];
        const looking = roll(4) === 0 ? select([a], [], [], HANG) : undefined;
        for (const wait of waits) wait.catch(() => {});
        // It is in the set, or a thread waits for it by now.
        if (roll(8)) { for (let j = roll(4); j >= 0; j--) await turn(); }
        // Something comes, and nobody has been told when it is closed.
        b.send(pattern(5, i));
        if (roll(4)) standStill(0.02 + roll(20) / 100);
        a.close();
        const [c, d] = await libc.socketpair();
        if (c.fileno() === number) reused++;
        silent.add(c.fileno());
        c.settimeout(HANG);
        const receiving = c.recv(10);
        // The other end of what is closed goes on as well.
        if (roll(2)) b.send(pattern(5, i)).catch(() => {});
        for (let j = roll(6); j >= 0; j--) await turn();
        silent.delete(c.fileno());
        const sent = pattern(3, -i);
        await d.send(sent);
        assertEquals(await receiving, sent);
        for (const wait of waits) {
          const error = await wait.catch((error) => error);
          assertEquals(errorCode(error), "EINTR");
          interrupted++;
        }
        if (looking !== undefined) {
          assertEquals((await looking)[0], [a]);
          watched++;
        }
        for (const socket of [b, c, d]) socket.close();
      }
    } finally {
      reactor.Polled.prototype.onEvents = onEvents;
    }
    assert(reused > rounds / 2, `${reused} of ${rounds} numbers used again`);
    assertEquals(interrupted, 2 * rounds);
    assertEquals(stray, 0);
    return `${reused} numbers used again, ${interrupted} waits and ${watched} looks ended, ${stray} events astray`;
  },
);

testEachWake(
  "descriptors of a socket that lives on under another number",
  10_000,
  async (rounds) => {
    const roll = dice(5);
    let reused = 0;
    const [kept, peer] = await libc.socketpair();
    peer.settimeout(HANG);
    for (let i = 0; i < rounds; i++) {
      // The same socket, and often the same number as the one before.
      const copy = kept.dup();
      copy.settimeout(HANG);
      const number = copy.fileno();
      const waiting = copy.recv(10);
      if (roll(2)) await turn();
      if (roll(2)) {
        copy.close();
        assertEquals(await waiting.catch((error) => error.code), "EINTR");
        // Another socket under the number, while the first one is told of.
        const [c, d] = await libc.socketpair();
        if (c.fileno() === number || d.fileno() === number) reused++;
        c.settimeout(HANG);
        const receiving = c.recv(10);
        await peer.send(pattern(2, i));
        if (roll(2)) await turn();
        await d.send(pattern(7, i));
        assertEquals(await receiving, pattern(7, i));
        assertEquals(await kept.recv(10), pattern(2, i));
        c.close();
        d.close();
      } else {
        await peer.send(pattern(4, i));
        assertEquals(await waiting, pattern(4, i));
        copy.close();
      }
    }
    kept.close();
    peer.close();
    assert(reused > rounds / 8, `${reused} numbers used again`);
    return `${rounds} copies, ${reused} numbers used again`;
  },
);

// Timeouts

testEachWake("thousands of timeouts beside data", 300_000, async (rounds) => {
  const LANES = 32;
  const total = Math.ceil(rounds / LANES);
  let timeouts = 0;
  await Promise.all(Array.from({ length: LANES }, async (_, lane) => {
    const roll = dice(lane + 1);
    const [a, b] = await streamLane(lane % 2);
    const sending = (async () => {
      for (let at = 0; at < total;) {
        const size = Math.min(1 + roll(20), total - at);
        await b.sendall(part(lane, at, size));
        at += size;
        if (roll(3) === 0) {
          await new Promise((resolve) => setTimeout(resolve, roll(6)));
        }
      }
    })();
    for (let at = 0; at < total;) {
      a.settimeout(0.1 + roll(3));
      // Some at once, of which each has its own time.
      const waits = roll(3)
        ? [a.recv(1 + roll(30))]
        : [a.recv(1 + roll(30)), a.recv(4, libc.MSG_WAITALL), a.recv(9)];
      for (const wait of await Promise.allSettled(waits)) {
        if (wait.status === "fulfilled") {
          assertPart(wait.value, lane, at);
          at += wait.value.length;
        } else {
          assert(isTimeoutError(wait.reason), String(wait.reason));
          timeouts++;
        }
      }
    }
    await sending;
    a.setblocking(false);
    const error = await a.recv(1).catch((error) => error);
    assertEquals(errorCode(error), "EAGAIN");
    a.close();
    b.close();
  }));
  // Many more come on a machine of its own.
  if (rounds === 300_000) assert(timeouts > 2000, `${timeouts} timeouts`);
  return `${timeouts} timeouts beside ${total * LANES} bytes`;
});
