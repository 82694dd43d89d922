/** Datagram sockets that are used in all ways at random, and floods that nobody reads. */

import { assert, assertEquals } from "@std/assert";
import { isTimeoutError } from "../../errors.ts";
import { pattern, turn } from "../_bytes.ts";
import { type AnySocket, backends, testEachDatagram } from "../_datagrams.ts";
import { startDeno, startPython } from "../_process.ts";

/** A number from 0 to `n - 1` of a sequence that a seed starts. */
function dice(seed: number): (n: number) => number {
  let x = seed;
  return (n) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor(x / 2 ** 32 * n);
  };
}

const TOTAL = 4000;

/** How many datagrams are on their way at most: a Unix socket's queue has room for eleven. */
const WINDOW = 8;

/** The number that a datagram starts with; the rest follows from it. */
function numberOf(data: Uint8Array): number {
  const number = new DataView(data.buffer, data.byteOffset).getUint32(0);
  assertEquals(data, make(number));
  return number;
}

function make(number: number): Uint8Array {
  const data = pattern(4 + number * 7919 % 3000, number);
  new DataView(data.buffer).setUint32(0, number);
  return data;
}

/** Receives in one of many ways; `undefined` if the way was one that gives up. */
async function receiveSomehow(
  socket: AnySocket,
  roll: (n: number) => number,
): Promise<Uint8Array | undefined> {
  const abort = new AbortController();
  const { signal } = abort;
  try {
    switch (roll(7)) {
      case 0:
        return (await socket.receive()).data;
      case 1: {
        const buffer = new Uint8Array(roll(2) ? 4000 : 300_000);
        const { bytes, truncated } = await socket.receiveInto(buffer);
        assertEquals(truncated, false);
        return buffer.subarray(0, bytes);
      }
      case 2:
        return (await socket.receive({ signal })).data;
      case 3: {
        const receiving = socket.receive({ signal });
        if (roll(2)) await turn();
        abort.abort("enough");
        return (await receiving).data;
      }
      case 4:
        socket.timeout = 1;
        return (await socket.receive()).data;
      case 5: {
        const first = socket.receive({ signal });
        const second = socket.receive();
        abort.abort("enough");
        // Whichever of them gets it, it is the next one.
        const gone = await first.then(({ data }) => data, () => undefined);
        if (gone === undefined) return (await second).data;
        const number = numberOf(gone);
        assertEquals(numberOf((await second).data), number + 1);
        return gone;
      }
      default:
        for await (const { data } of socket) return data;
    }
  } catch (error) {
    if (error !== "enough" && !isTimeoutError(error)) throw error;
  } finally {
    socket.timeout = undefined;
  }
  return undefined;
}

testEachDatagram(
  "whatever callers do, each datagram comes once and in order",
  async ({ a, b }, kind) => {
    const roll = dice(kind.name.length);
    let next = 0;
    const sending = (async () => {
      // One more, for who receives two at once at the end.
      for (let i = 0; i <= TOTAL; i++) {
        while (i - next >= WINDOW) await turn();
        if (roll(4) === 0) a.timeout = 60_000;
        await a.send(make(i), b.addr);
        a.timeout = undefined;
        if (roll(10) === 0) await turn();
      }
    })();
    // Sends of either end get in the way of its receives.
    let answers = 0;
    const hearing = (async () => {
      for await (const { data } of a) answers += data.length;
    })();
    while (next < TOTAL) {
      const before = b.datagramsReceived;
      const data = await receiveSomehow(b, roll);
      if (roll(10) === 0) await b.send(new Uint8Array(1), a.addr);
      if (data === undefined) continue;
      assertEquals(numberOf(data), next);
      next += b.datagramsReceived - before;
    }
    await sending;
    while (answers < b.datagramsSent) await turn();
    a.close();
    await hearing;
  },
);

for (const backend of backends) {
  Deno.test(`udp ${backend}: a flood that nobody reads takes a bounded memory`, async () => {
    await using program = await startDeno(
      ["-A", "--v8-flags=--expose-gc"],
      `
const socket = await sockets.bindUdp({ hostname: "127.0.0.1", backend: "${backend}" });
await socket.receive({ signal: AbortSignal.timeout(1) }).catch(() => {});
console.log(socket.addr.port);
const before = Deno.memoryUsage().rss;
setTimeout(() => {
  gc();
  console.log(socket.dropped, Deno.memoryUsage().rss - before);
  socket.close();
}, 3000);
`,
    );
    const port = await program.line();
    await using flood = await startPython(
      `
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.time() + 2
sent = 0
while time.time() < end:
    for _ in range(100): s.sendto(b"x" * 1000, ("127.0.0.1", int(sys.argv[1])))
    sent += 100
print(sent)
`,
      port,
    );
    assert(Number(await flood.line()) > 1000);
    const [dropped, more] = (await program.line()).split(" ").map(Number);
    if (backend === "node") assert(dropped! > 100, `${dropped} dropped`);
    // node:dgram makes 64 KiB for each datagram, which is gigabytes here; the collector leaves a little
    // of it for later.
    assert(more! < 256 * 2 ** 20, `${more} bytes more`);
  });
}
