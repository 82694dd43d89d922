/** The telemetry programs: their statistics by hand and against a model, and both as they are run. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import {
  describe,
  FORGET_AFTER,
  HEADER,
  MAX_GAP,
  MAX_SHIFT,
  MAX_STREAMS,
  Monitor,
  noCounts,
  Pace,
  readSample,
  type Sample,
  StreamCounter,
  streamName,
  WINDOW,
  writeSample,
} from "../examples/_telemetry.ts";
import { bindUdp } from "../udp.ts";
import type { UdpAddr } from "../types.ts";
import { canListen } from "./_pairs.ts";
import { Program, startPython, unstable } from "./_process.ts";
import { assertOneLine, commandOf, commandsOf, linesOf } from "./_programs.ts";

const FROM = { transport: "udp", hostname: "127.0.0.1", port: 1 } as const;
const U32 = 2 ** 32;

/** A datagram's bytes. */
function bytesOf(sample: Partial<Sample> = {}): Uint8Array<ArrayBuffer> {
  const size = sample.size ?? HEADER;
  const bytes = new Uint8Array(size);
  writeSample(bytes, { stream: 1, sequence: 0, sentAt: 0, size, ...sample });
  return bytes;
}

/** A stream's statistics after numbers that all took the same time on the way. */
function counterOf(sequences: readonly number[]): StreamCounter {
  const counter = new StreamCounter(FROM);
  for (const [i, sequence] of sequences.entries()) {
    const sample = { stream: 1, sequence, sentAt: i * 1000, size: 100 };
    counter.take(sample, FROM, i * 1000 + 77);
  }
  return counter;
}

// The datagram

Deno.test("writeSample() writes what readSample() reads, in network byte order", () => {
  const bytes = new Uint8Array(30);
  const sample = {
    stream: 0xfedcba98,
    sequence: 0x01020304,
    sentAt: 0x0102030405,
    size: 30,
  };
  // A view in the middle of a buffer will do.
  const whole = new Uint8Array(40).fill(9);
  writeSample(whole.subarray(5, 35).fill(0), sample);
  bytes.set([0x42, 0x53, 0x54, 0x31, 0xfe, 0xdc, 0xba, 0x98, 1, 2, 3, 4]);
  bytes.set([0, 0, 0, 30, 0, 0, 0, 1, 2, 3, 4, 5], 12);
  assertEquals(whole.subarray(5, 35), bytes);
  assertEquals(readSample(whole.subarray(5, 35)), sample);
});

Deno.test("writeSample() lets a sequence number wrap", () => {
  assertEquals(readSample(bytesOf({ sequence: U32 + 5 }))?.sequence, 5);
});

Deno.test("readSample() believes nobody: short, of another magic, size or time", () => {
  const good = bytesOf({ size: 50, sentAt: 2 ** 53 - 1 });
  assertEquals(readSample(good)?.sentAt, 2 ** 53 - 1);
  const late = bytesOf();
  new DataView(late.buffer).setBigUint64(16, 2n ** 53n);
  const alien = bytesOf();
  alien[3] = 0x32;
  for (
    const bytes of [
      new Uint8Array(0),
      good.subarray(0, HEADER - 1),
      good.subarray(0, 49),
      Uint8Array.from([...good, 0]),
      new Uint8Array(65_507),
      alien,
      late,
    ]
  ) assertEquals(readSample(bytes), undefined);
});

Deno.test("readSample() takes any bytes, and any sample comes back", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
    const whole = bytesOf({ size: HEADER + bytes.length });
    whole.set(bytes, 4);
    readSample(bytes);
    readSample(whole);
  }));
  fc.assert(
    fc.property(
      fc.nat(U32 - 1),
      fc.nat(U32 - 1),
      fc.maxSafeNat(),
      fc.integer({ min: HEADER, max: 2000 }),
      (stream, sequence, sentAt, size) => {
        const sample = { stream, sequence, sentAt, size };
        assertEquals(readSample(bytesOf(sample)), sample);
      },
    ),
  );
});

// The statistics, by hand

/** What comes, and what is counted besides: received, lost, reordered, duplicates, odd, jumps. */
const CASES: readonly [
  name: string,
  sequences: readonly number[],
  expected: readonly [number, number, number, number, number, number],
][] = [
  ["one alone", [7], [1, 0, 0, 0, 0, 0]],
  ["in order", [0, 1, 2, 3], [4, 0, 0, 0, 0, 0]],
  ["two are missing", [0, 1, 4, 5], [4, 2, 0, 0, 0, 0]],
  ["a late one is not lost", [0, 2, 1, 3], [4, 0, 1, 0, 0, 0]],
  ["copies", [0, 1, 1, 0, 2], [3, 0, 0, 2, 0, 0]],
  ["a copy of a late one", [0, 2, 1, 1], [3, 0, 1, 1, 0, 0]],
  ["a copy of the first", [9, 9, 9], [1, 0, 0, 2, 0, 0]],
  ["from below the first", [5, 3, 6], [3, 1, 1, 0, 0, 0]],
  ["from below, then between", [5, 3, 4], [3, 0, 2, 0, 0, 0]],
  ["a wrap", [U32 - 2, U32 - 1, 0, 1], [4, 0, 0, 0, 0, 0]],
  ["a wrap with a gap", [U32 - 2, 1, U32 - 1], [3, 1, 1, 0, 0, 0]],
  ["below a wrap", [1, U32 - 1, 0], [3, 0, 2, 0, 0, 0]],
  ["the window's last", [0, WINDOW, 1], [3, WINDOW - 2, 1, 0, 0, 0]],
  ["a copy of its last", [0, WINDOW - 1, 0], [2, WINDOW - 2, 0, 1, 0, 0]],
  ["behind the window", [0, WINDOW, 0], [2, WINDOW - 1, 0, 0, 1, 0]],
  ["its slots are used again", [0, 1, WINDOW, WINDOW + 1, 2], [
    5,
    WINDOW - 3,
    1,
    0,
    0,
    0,
  ]],
  ["far ahead, alone", [0, WINDOW + 1, 1], [2, 0, 0, 0, 1, 0]],
  ["far ahead, and on", [0, WINDOW + 1, WINDOW + 2], [3, WINDOW, 0, 0, 0, 0]],
  ["a late one then", [0, WINDOW + 1, WINDOW + 2, 3], [
    4,
    WINDOW - 1,
    1,
    0,
    0,
    0,
  ]],
  ["strays among others", [0, 1, 1e9, 2, 1e9 + 1, 3], [4, 0, 0, 0, 2, 0]],
  ["the same stray again", [0, 1e9, 1e9, 1], [2, 0, 0, 0, 2, 0]],
  ["the largest gap", [0, MAX_GAP, MAX_GAP + 1], [3, MAX_GAP - 1, 0, 0, 0, 0]],
  ["a jump", [0, MAX_GAP + 1, MAX_GAP + 2], [3, 0, 0, 0, 0, 1]],
  ["a new start", [1e6, 1e6 + 1, 0, 1, 2, 1], [5, 0, 0, 1, 0, 1]],
  ["a new start at the wrap", [1e6, U32 - 1, 0], [3, 0, 0, 0, 0, 1]],
  ["losses before a new start stay", [1e6, 1e6 + 3, 0, 1, 3], [
    5,
    3,
    0,
    0,
    0,
    1,
  ]],
  ["a new start with a loss", [1e6, 0, 2, 3, 1], [4, 0, 1, 0, 1, 1]],
];

for (const [name, sequences, expected] of CASES) {
  Deno.test(`StreamCounter: ${name}`, () => {
    const { counts, jitter } = counterOf(sequences);
    const [received, lost, reordered, duplicates, odd, jumps] = expected;
    assertEquals({ ...counts, jitter }, {
      received,
      lost,
      reordered,
      duplicates,
      odd,
      jumps,
      arrived: sequences.length,
      bytes: sequences.length * 100,
      jitter: 0,
    });
  });
}

Deno.test("StreamCounter: jitter is RFC 3550's, whatever the clocks say", () => {
  for (const ahead of [0, 5e9, -5e12]) {
    const counter = new StreamCounter(FROM);
    const take = (sequence: number, sentAt: number, at: number) => {
      const sample = { stream: 1, sequence, sentAt, size: HEADER };
      counter.take(sample, FROM, at + ahead);
      return counter.jitter;
    };
    assertEquals(take(0, 0, 5000), 0);
    // 1600 µs later than its clock says: 1600 / 16.
    assertEquals(take(1, 10_000, 16_600), 100);
    // 1600 µs earlier again: 100 + (1600 - 100) / 16.
    assertEquals(take(2, 20_000, 25_000), 193.75);
    // A copy, and what fits nowhere, say nothing.
    assertEquals(take(2, 20_000, 26_000), 193.75);
    assertEquals(take(1e9, 99, 27_000), 193.75);
    // On time: 193.75 - 193.75 / 16.
    assertEquals(take(4, 40_000, 45_000), 181.640625);
    // Late ones count, in the order of arrival: 8000 µs, 181.640625 + (8000 - 181.640625) / 16.
    assertEquals(take(3, 30_000, 43_000), 670.2880859375);
  }
});

Deno.test("StreamCounter: a clock that is set is a jump, and no jitter", () => {
  const counter = new StreamCounter(FROM);
  const take = (sequence: number, sentAt: number, at: number) => {
    counter.take({ stream: 1, sequence, sentAt, size: HEADER }, FROM, at);
    return [counter.jitter, counter.counts.jumps];
  };
  assertEquals(take(0, 0, 0), [0, 0]);
  assertEquals(take(1, 0, 1600), [100, 0]);
  assertEquals(take(2, MAX_SHIFT + 1, 1600), [100, 1]);
  assertEquals(take(3, MAX_SHIFT + 1, 1600), [93.75, 1]);
  assertEquals(take(4, 2 ** 53 - 1, 1600), [93.75, 2]);
  assertEquals(take(5, 0, 1600), [93.75, 3]);
  // A new start has a clock of its own.
  assertEquals(take(1e9, 5e12, 1600), [93.75, 3]);
  assertEquals(take(1e9 + 1, 5e12, 1600), [93.75 - 93.75 / 16, 4]);
});

// The statistics, against a model

/** All numbers that came, in a set: good for everything that stays within the window. */
function model(numbers: readonly number[]) {
  const seen = new Set<number>();
  let [least, most, reordered] = [Infinity, -Infinity, 0];
  for (const number of numbers) {
    if (number < most && !seen.has(number)) reordered++;
    seen.add(number);
    least = Math.min(least, number);
    most = Math.max(most, number);
  }
  return {
    ...noCounts(),
    received: seen.size,
    lost: most - least + 1 - seen.size,
    reordered,
    duplicates: numbers.length - seen.size,
    arrived: numbers.length,
    bytes: numbers.length * 100,
  };
}

const wrapped = (start: number, numbers: readonly number[]) =>
  numbers.map((number) => (start + number) % U32);

Deno.test("StreamCounter: within the window it counts as a set does", () => {
  const near = fc.oneof(fc.nat(20), fc.nat(WINDOW - 1));
  fc.assert(
    fc.property(
      fc.nat(U32 - 1),
      fc.array(near, { minLength: 1, maxLength: 200 }),
      (start, numbers) => {
        assertEquals(
          counterOf(wrapped(start, numbers)).counts,
          model(numbers),
        );
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("StreamCounter: a long stream with losses, copies and delays counts as a set does", () => {
  /** What becomes of a datagram: how many come, and how far each is delayed. */
  const fate = fc.array(fc.oneof(fc.constant(0), fc.nat(WINDOW - 100)), {
    maxLength: 2,
  });
  fc.assert(
    fc.property(
      fc.nat(U32 - 1),
      fc.array(fate, { minLength: 1, maxLength: 50 }),
      fc.constantFrom(7, 1000, 3 * WINDOW),
      (start, fates, length) => {
        const numbers = Array.from({ length }, (_, i) => i)
          .flatMap((i) => {
            // The first and the last come once and at once, so that neither end of the window is open.
            const delays = i === 0 ? [0] : fates[i * 31 % fates.length]!;
            return delays.map((delay) => ({ i, at: i + delay }));
          })
          .sort((a, b) => a.at - b.at)
          .map(({ i }) => i);
        assertEquals(
          counterOf(wrapped(start, numbers)).counts,
          model(numbers),
        );
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("StreamCounter: whatever comes, each datagram is counted once and nothing is negative", () => {
  const sequence = fc.oneof(
    fc.nat(5),
    fc.integer({ min: U32 - 5, max: U32 - 1 }),
    fc.integer({ min: WINDOW - 2, max: WINDOW + 2 }),
    fc.nat(U32 - 1),
  );
  // Some go on where the one before was.
  const step = fc.record({ sequence, follows: fc.boolean() });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(step, fc.maxSafeNat(), fc.nat(1e9)), {
        maxLength: 100,
      }),
      (datagrams) => {
        const counter = new StreamCounter(FROM);
        let last = 0;
        for (const [{ sequence, follows }, sentAt, at] of datagrams) {
          last = follows ? (last + 1) % U32 : sequence;
          const sample = { stream: 1, sequence: last, sentAt, size: 100 };
          counter.take(sample, FROM, at);
        }
        const { received, duplicates, odd, lost, reordered } = counter.counts;
        assertEquals(received + duplicates + odd, datagrams.length);
        assert(lost >= 0 && lost <= datagrams.length * MAX_GAP);
        assert(odd >= 0 && reordered <= received);
        assert(counter.jitter >= 0 && counter.jitter <= MAX_SHIFT);
      },
    ),
    { numRuns: 1000 },
  );
});

// Several streams

Deno.test("Monitor tells streams apart, and counts what is none", () => {
  const monitor = new Monitor();
  const other = { ...FROM, hostname: "::1" };
  for (const sequence of [0, 1, 3]) {
    assert(monitor.take(bytesOf({ stream: 1, sequence }), FROM, 0));
    assert(monitor.take(bytesOf({ stream: 0xabc, sequence: 5 }), other, 0));
  }
  assert(!monitor.take(new Uint8Array(10), FROM, 0));
  assertEquals(monitor.summary(), [
    "stream 00000001 from udp://127.0.0.1:1: received 3, lost 1 (25.00%), reordered 0, duplicates 0, jitter 0.000 ms, odd 0, jumps 0",
    "stream 00000abc from udp://[::1]:1: received 1, lost 0 (0.00%), reordered 0, duplicates 2, jitter 0.000 ms, odd 0, jumps 0",
    "all: received 4, lost 1 (20.00%), reordered 0, duplicates 2, jitter 0.000 ms, odd 0, jumps 0",
    "foreign 1, ignored 0, forgotten 0",
  ]);
});

Deno.test("Monitor: streams that are heard once make room, those in use do not", () => {
  const monitor = new Monitor();
  const take = (stream: number, sequence: number, at = 0) =>
    monitor.take(bytesOf({ stream, sequence }), FROM, at);
  const count = () => [
    monitor.streams.size,
    monitor.ignored,
    monitor.forgotten,
  ];
  take(1, 0);
  take(1, 1);
  // A flood of made-up streams takes only its own places.
  for (let stream = 1000; stream < 11_000; stream++) take(stream, 0);
  assertEquals(count(), [MAX_STREAMS, 0, 10_001 - MAX_STREAMS]);
  assert(monitor.streams.has(1));
  // In use all of them, they keep their places.
  for (const stream of monitor.streams.keys()) take(stream, 2);
  take(2, 0);
  take(2, 1);
  assertEquals(count(), [MAX_STREAMS, 2, 10_001 - MAX_STREAMS]);
  // Until they are silent for long.
  take(1, 3, FORGET_AFTER - 1);
  take(2, 2, FORGET_AFTER);
  assertEquals(count(), [MAX_STREAMS, 2, 10_002 - MAX_STREAMS]);
  assert(monitor.streams.has(1) && monitor.streams.has(2));
  monitor.forgetSilent(FORGET_AFTER);
  assertEquals([...monitor.streams.keys()], [1, 2]);
  // What was counted stays counted.
  const { received, lost, arrived, bytes } = monitor.total();
  assertEquals([received, arrived], [10_068, 10_068]);
  assertEquals([lost, bytes], [MAX_STREAMS - 1, 10_068 * HEADER]);
});

Deno.test("Monitor: the total has the largest jitter", () => {
  const monitor = new Monitor();
  for (const [stream, late] of [[1, 160], [2, 1600], [3, 16]] as const) {
    monitor.take(bytesOf({ stream, sequence: 0 }), FROM, 0);
    monitor.take(bytesOf({ stream, sequence: 1 }), FROM, late);
  }
  assertEquals(monitor.total().jitter, 100);
  assertEquals(
    describe(monitor.total()),
    "received 6, lost 0 (0.00%), reordered 0, duplicates 0, jitter 0.100 ms",
  );
});

// The pace

Deno.test("Pace: each has its place in the grid, whatever wakes the sender when", () => {
  const pace = new Pace(100, 5000);
  assertEquals(pace.wait(4000), 1000);
  assertEquals(pace.due(4990), 0);
  assertEquals([pace.due(5000), pace.due(5000)], [1, 0]);
  assertEquals(pace.wait(5000), 10);
  // Late by 7 ms: the next one is no later than it would have been.
  assertEquals([pace.due(5017), pace.wait(5017)], [1, 3]);
  assertEquals([pace.due(5055), pace.wait(5055)], [4, 5]);
  assertEquals(pace.wait(5070), 0);
  assertEquals(pace.skipped, 0);
});

Deno.test("Pace: who was away for long leaves out what is older than a second", () => {
  const pace = new Pace(10, 0);
  assertEquals(pace.due(0), 1);
  assertEquals([pace.due(1000), pace.skipped], [10, 0]);
  assertEquals([pace.due(3_600_050), pace.skipped], [10, 35_980]);
  assertEquals(pace.wait(3_600_050), 50);
  const slow = new Pace(1, 0);
  assertEquals([slow.due(0), slow.due(999), slow.due(1500)], [1, 0, 1]);
});

Deno.test("Pace: any times, and after each as many were due as have a place before it", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 100_000 }),
      fc.array(fc.double({ min: 0, max: 2000, noNaN: true })),
      (rate, pauses) => {
        const pace = new Pace(rate, 0);
        let [now, sum] = [0, 0];
        for (const pause of pauses) {
          now += pause;
          const due = pace.due(now);
          assert(due >= 0 && due <= rate);
          sum += due;
          assertEquals(
            sum + pace.skipped,
            Math.floor(now * rate / 1000) + 1,
          );
        }
      },
    ),
  );
});

// The programs

function start(
  name: "telemetry_sender" | "telemetry_monitor",
  ...args: string[]
): Program {
  const flags = [
    ...(unstable ? ["--unstable-net"] : []),
    ...commandsOf(name)[0]!,
  ];
  const [command, ...rest] = commandOf(name, flags);
  return new Program(command!, [...rest, ...args]);
}

async function run(
  name: "telemetry_sender" | "telemetry_monitor",
  ...args: string[]
) {
  await using program = start(name, ...args);
  return await program.ended();
}

const HOSTS = ["127.0.0.1", ...(canListen("::1") ? ["::1"] : [])];
const toText = ({ hostname, port }: { hostname: string; port: number }) =>
  `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;

/** A monitor that listens. */
async function startMonitor(hostname: string, ...args: string[]) {
  const program = start(
    "telemetry_monitor",
    ...args,
    toText({ hostname, port: 0 }),
  );
  const line = await program.line();
  const port = Number(/^listening on udp:\/\/.*:(\d+)$/.exec(line)?.[1]);
  return { program, addr: { transport: "udp", hostname, port } as UdpAddr };
}

/** A relay that does to each datagram of a stream what it is told: none, one or several go on instead. */
async function relay(
  hostname: string,
  to: UdpAddr,
  what: (data: Uint8Array<ArrayBuffer>, sequence: number) => Uint8Array[],
) {
  const socket = await bindUdp({ hostname });
  const waiting = new Map<number, () => void>();
  let taken = 0;
  (async () => {
    for await (const { data } of socket) {
      for (const bytes of what(data, readSample(data)!.sequence)) {
        await socket.send(bytes, to);
      }
      waiting.get(++taken)?.();
    }
  })();
  return {
    addr: socket.addr,
    /** Waits until it has done with so many. */
    done: (count: number) =>
      new Promise<void>((resolve) =>
        taken >= count ? resolve() : waiting.set(count, resolve)
      ),
    [Symbol.asyncDispose]: () => socket[Symbol.asyncDispose](),
  };
}

const NO_JITTER = /, jitter \d+\.\d{3} ms/;

for (const hostname of HOSTS) {
  Deno.test(`over ${hostname}: what a relay drops, doubles and reorders is what the monitor says`, async () => {
    const { program, addr } = await startMonitor(hostname, "--count", "200");
    await using monitor = program;
    let kept: Uint8Array | undefined;
    await using through = await relay(hostname, addr, (data, sequence) => {
      switch (sequence % 10) {
        case 3: // lost
          return [];
        case 5: // doubled
          return [data, data];
        case 7: // kept back
          kept = data;
          return [];
        case 8: // overtakes
          return [data, kept!];
        default:
          return [data];
      }
    });
    await using sender = start(
      "telemetry_sender",
      ...["--count", "200", "--rate", "1000", "--size", "100"],
      toText(through.addr),
    );
    const [head, end] = linesOf(await sender.ended());
    const id = /^(stream [0-9a-f]{8}) to (.*): 1000 a second of 100 bytes$/
      .exec(head!)!;
    assertEquals(id[2], `udp://${toText(through.addr)}`);
    assertMatch(end!, /^200 sent in \d+\.\d{3} s(, \d+ left out)?$/);
    // The first line of an interval may be there too.
    const lines = linesOf(await monitor.ended());
    assertMatch(lines.at(-3)!, /^--- \d+\.\d{3} s ---$/);
    assertEquals(lines.slice(-2).map((line) => line.replace(NO_JITTER, "")), [
      `${id[1]} from udp://${
        toText(through.addr)
      }: received 180, lost 20 (10.00%), reordered 20, duplicates 20, odd 0, jumps 0`,
      "foreign 0, ignored 0, forgotten 0",
    ]);
  });
}

Deno.test("several senders at once are told apart, and numbers that wrap or start anew", async () => {
  const { program, addr } = await startMonitor("127.0.0.1", "--count", "184");
  await using monitor = program;
  // Each loses one; one wraps in its middle, and one starts anew.
  const kinds: ((sequence: number) => number)[] = [
    (sequence) => sequence,
    (sequence) => U32 - 30 + sequence,
    (sequence) => sequence < 30 ? 5e6 + sequence : sequence,
  ];
  const names = await Promise.all(kinds.map(async (numberOf) => {
    await using through = await relay("127.0.0.1", addr, (data, sequence) => {
      new DataView(data.buffer).setUint32(8, numberOf(sequence));
      return sequence === 10 ? [] : [data];
    });
    await using sender = start(
      "telemetry_sender",
      ...["-c", "60", "-r", "500", "-s", "24"],
      toText(through.addr),
    );
    const [head] = linesOf(await sender.ended());
    await through.done(60);
    return head!.slice(0, 15);
  }));
  // What is left of the count: datagrams by hand, of one stream more, the last of them a copy.
  await using socket = await bindUdp({ hostname: "127.0.0.1" });
  for (const sequence of [0, 1, 2, 3, 4, 5, 5]) {
    await socket.send(bytesOf({ stream: 9, sequence, size: 1000 }), addr);
  }
  const lines = linesOf(await monitor.ended()).map((line) =>
    line.replace(NO_JITTER, "").replace(/ from udp:\/\/127\.0\.0\.1:\d+/, "")
  );
  const lost1 = "received 59, lost 1 (1.67%), reordered 0, duplicates 0, odd 0";
  const streams = lines.slice(-6, -3);
  assertEquals(
    streams.sort(),
    names.map((name, i) => `${name}: ${lost1}, jumps ${i === 2 ? 1 : 0}`)
      .sort(),
  );
  assertEquals(lines.slice(-3), [
    "stream 00000009: received 6, lost 0 (0.00%), reordered 0, duplicates 1, odd 0, jumps 0",
    "all: received 183, lost 3 (1.61%), reordered 0, duplicates 1, odd 0, jumps 1",
    "foreign 0, ignored 0, forgotten 0",
  ]);
});

Deno.test("hostile datagrams are counted, and the monitor goes on", async () => {
  const { program, addr } = await startMonitor("127.0.0.1", "--count", "3");
  await using monitor = program;
  await using socket = await bindUdp({ hostname: "127.0.0.1" });
  const alien = bytesOf();
  alien[0] = 0;
  const future = bytesOf();
  future[16] = 255;
  const hostile = [
    new Uint8Array(0),
    new Uint8Array(1),
    bytesOf().subarray(0, HEADER - 1),
    bytesOf({ size: 30 }).subarray(0, 29),
    Uint8Array.from([...bytesOf(), 0]),
    alien,
    future,
    new Uint8Array(65_507).fill(0x42),
    bytesOf({ size: 65_507 }).subarray(0, 65_506),
  ];
  for (const bytes of hostile) await socket.send(bytes, addr);
  // A huge one of a sender's is one.
  for (const [sequence, size] of [[5, 24], [2 ** 31, 24], [6, 65_507]]) {
    await socket.send(bytesOf({ sequence: sequence!, size: size! }), addr);
  }
  const lines = linesOf(await monitor.ended());
  assertMatch(
    lines.at(-2)!,
    /: received 2, lost 0 \(0\.00%\), reordered 0, duplicates 0, jitter \d+\.\d{3} ms, odd 1, jumps 0$/,
  );
  assertEquals(lines.at(-1), "foreign 9, ignored 0, forgotten 0");
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`a line each interval, and a summary on ${signal}`, async () => {
    const { program, addr } = await startMonitor("127.0.0.1", "-i", "10");
    await using monitor = program;
    assertEquals(
      await monitor.line(),
      "streams 0, received 0, lost 0 (0.00%), reordered 0, duplicates 0, jitter 0.000 ms, 0.0 datagrams/s, 0.0 kbit/s",
    );
    await using socket = await bindUdp({ hostname: "127.0.0.1" });
    for (const sequence of [0, 1, 3]) {
      await socket.send(bytesOf({ sequence }), addr);
    }
    const counts = "received 3, lost 1 (25.00%), reordered 0, duplicates 0";
    for (;;) {
      const line = await monitor.line();
      assertMatch(
        line,
        /^streams [01], received \d, lost [01] \(.*%\), reordered 0, duplicates 0, jitter \d+\.\d{3} ms, \d+\.\d datagrams\/s, \d+\.\d kbit\/s$/,
      );
      if (line.startsWith(`streams 1, ${counts}, `)) break;
    }
    // When nothing comes any more, the sums stay, and the rate is none.
    for (;;) {
      const line = await monitor.line();
      if (line.endsWith(" 0.0 datagrams/s, 0.0 kbit/s")) break;
    }
    monitor.kill(signal);
    const lines = linesOf(await monitor.ended());
    assertMatch(lines.at(-3)!, /^--- \d+\.\d{3} s ---$/);
    assertEquals(
      lines.at(-2)!.replace(NO_JITTER, ""),
      `${streamName(1)} from udp://${
        toText(socket.addr)
      }: ${counts}, odd 0, jumps 0`,
    );
    assertEquals(lines.at(-1), "foreign 0, ignored 0, forgotten 0");
  });

  Deno.test(`a sender without a count ends on ${signal}, and its numbers have no gaps`, async () => {
    await using socket = await bindUdp({ hostname: "127.0.0.1" });
    await using sender = start(
      "telemetry_sender",
      ...["--rate", "200", "--size", "333"],
      toText(socket.addr),
    );
    const id = (await sender.line()).slice(0, 15);
    let before = -1;
    for (let sequence = 0; sequence < 20; sequence++) {
      const { data } = await socket.receive();
      const sample = readSample(data)!;
      assertEquals(
        [streamName(sample.stream), sample.sequence, sample.size],
        [id, sequence, 333],
      );
      assert(sample.sentAt > before);
      before = sample.sentAt;
      assertEquals(data.subarray(HEADER), new Uint8Array(333 - HEADER));
    }
    sender.kill(signal);
    const [end, ...rest] = linesOf(await sender.ended());
    assertMatch(end!, /^\d+ sent in \d+\.\d{3} s(, \d+ left out)?$/);
    assert(parseInt(end!) >= 20);
    assertEquals(rest, []);
  });
}

Deno.test("--duration ends the monitor, too", async () => {
  const { program } = await startMonitor("127.0.0.1", "--duration", "30");
  await using monitor = program;
  const [head, ...rest] = linesOf(await monitor.ended());
  assertMatch(head!, /^--- \d+\.\d{3} s ---$/);
  assertEquals(rest, ["foreign 0, ignored 0, forgotten 0"]);
});

Deno.test({
  name: "a monitor whose lines nobody reads any more ends, and says why",
  ignore: Deno.build.os === "windows",
  async fn() {
    const [command, ...args] = commandOf("telemetry_monitor");
    await using monitor = new Program("sh", [
      ...["-c", '"$@" | head -n 1', "sh", command!, ...args],
      ...["--interval", "10", "127.0.0.1:0"],
    ]);
    assertMatch(await monitor.line(), /^listening on /);
    const { stderr } = await monitor.ended();
    assertEquals(stderr, "error: Broken pipe (EPIPE)\n");
  },
});

Deno.test({
  name: "on a terminal one line is redrawn, and never wider than that",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using python = await startPython(
      `
import fcntl, json, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
data = b""
while True:
    # The end of a terminal is an error on Linux.
    try: more = os.read(fd, 4096)
    except OSError: break
    if not more: break
    data += more
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), data.decode()]))
`,
      ...commandOf("telemetry_monitor"),
      ...["-i", "20", "-d", "200", "127.0.0.1:0"],
    );
    const [code, text] = JSON.parse(await python.line()) as [number, string];
    assertEquals(code, 0);
    const [head, live, summary, ...rest] = text.split("\r\n");
    assertMatch(head!, /^listening on udp:/);
    const drawn = live!.split("\r").slice(1);
    assert(drawn.length >= 1, text);
    for (const line of drawn) {
      assertEquals(
        line,
        `${
          "streams 0, received 0, lost 0 (0.00%), reordered 0, duplicates 0"
            .slice(0, 59)
        }\x1b[K`,
      );
    }
    assertMatch(summary!, /^--- \d+\.\d{3} s ---$/);
    assertEquals(rest, ["foreign 0, ignored 0, forgotten 0", ""]);
  },
});

Deno.test("--help says how, and what is wrong is one clear line", async () => {
  const number = "expected an integer from \\d+ to \\d+$";
  await using taken = await bindUdp({ hostname: "127.0.0.1" });
  for (const name of ["telemetry_sender", "telemetry_monitor"] as const) {
    assertEquals(commandsOf(name), [["--allow-net"], ["--allow-net"]]);
    const { code, stdout, stderr } = await run(name, "--help");
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, new RegExp(`\\n\\nUsage: ${name}\\.ts `));
    for (
      const [args, line] of [
        [["--loud"], "unknown option --loud; see --help"],
        [["a:1", "b:1"], "one HOST:PORT, please; see --help"],
        [["127.0.0.1"], "Invalid address .* found no port"],
        [["unix:x"], "unix:x is no address of UDP; expected HOST:PORT"],
        [["--count", "0"], `invalid --count 0: ${number}`],
      ] as const
    ) {
      assertOneLine(
        await run(name, ...args),
        new RegExp(`^error: ${line}`, "m"),
      );
    }
  }
  for (
    const [name, args, line] of [
      ["telemetry_sender", ["-s", "23"], `invalid --size 23: ${number}`],
      ["telemetry_sender", ["-s", "65508"], `invalid --size 65508: ${number}`],
      ["telemetry_sender", ["-r", "0.5"], `invalid --rate 0.5: ${number}`],
      ["telemetry_sender", ["127.0.0.1:0"], "port 0 is nobody's"],
      ["telemetry_sender", ["nobody.invalid:1"], ".*nobody\\.invalid"],
      ["telemetry_monitor", ["-i", "0"], `invalid --interval 0: ${number}`],
      ["telemetry_monitor", ["-d", "x"], `invalid --duration x: ${number}`],
      ["telemetry_monitor", [toText(taken.addr)], ".*EADDRINUSE"],
    ] as const
  ) assertOneLine(await run(name, ...args), new RegExp(`^error: ${line}`, "m"));
  for (const name of ["telemetry_sender", "telemetry_monitor"] as const) {
    const [command, ...rest] = commandOf(name, ["--deny-net"]);
    await using program = new Program(command!, rest);
    assertOneLine(
      await program.ended(),
      /^error: .*Requires net access.* --allow-net/,
    );
  }
});
