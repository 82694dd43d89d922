/** What holds for every kind of datagram socket, over every backend. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { errorCode, isClosedError, isTimeoutError } from "../errors.ts";
import { pattern, rejection, text, turn, utf8 } from "./_bytes.ts";
import { type AnySocket, testEachDatagram } from "./_datagrams.ts";

/** The next datagram as a text. */
const next = async (socket: AnySocket): Promise<string> =>
  text((await socket.receive()).data);

testEachDatagram(
  "datagrams of all sizes arrive whole, with their sender",
  async ({ a, b }, kind) => {
    for (const size of [1, 0, 9, 1472, 32768, kind.largest, 3]) {
      const data = pattern(size, size);
      assertEquals(await a.send(data, b.addr), size);
      const datagram = await b.receive();
      assertEquals(datagram.data, data);
      assertEquals(datagram.addr, a.addr);
      assertEquals(datagram.truncated, false);
      assertEquals(
        datagram.data.buffer.byteLength,
        size,
        "a buffer of its own",
      );
    }
  },
);

testEachDatagram(
  "receiveInto() fills the buffer and says what was cut off",
  async ({ a, b }, kind) => {
    for (
      const [size, room] of [
        [5, 10],
        [10, 10],
        [11, 10],
        [0, 10],
        [10, 0],
        [0, 0],
        [kind.largest, kind.largest],
        [kind.largest, kind.largest - 1],
        [kind.largest, 400_000],
        [7, 400_000],
      ] as const
    ) {
      const data = pattern(size, size + room);
      await a.send(data, b.addr);
      const buffer = new Uint8Array(room).fill(99);
      const { bytes, addr, truncated } = await b.receiveInto(buffer);
      assertEquals([bytes, truncated], [Math.min(size, room), size > room]);
      assertEquals(addr, a.addr);
      assertEquals(buffer.subarray(0, bytes), data.subarray(0, bytes));
      // What lies behind is the caller's, unless the whole buffer was lent to the system.
      if (room < kind.largest) {
        assert(buffer.subarray(bytes).every((byte) => byte === 99));
      }
    }
  },
);

testEachDatagram(
  "four concurrent receives are served in their order",
  async ({ a, b }) => {
    const order: string[] = [];
    const receives = [0, 1, 2, 3].map(async (i) => {
      const buffer = new Uint8Array(10);
      const said = i % 2
        ? text(buffer.subarray(0, (await b.receiveInto(buffer)).bytes))
        : await next(b);
      order.push(`${i} ${said}`);
    });
    for (const word of ["one", "two", "three", "four"]) {
      await a.send(utf8(word), b.addr);
    }
    await Promise.all(receives);
    assertEquals(order, ["0 one", "1 two", "2 three", "3 four"]);
  },
);

testEachDatagram("receives of all sorts keep their order", async ({ a, b }) => {
  const { signal } = new AbortController();
  const buffer = new Uint8Array(20);
  const waits = [
    next(b),
    b.receive({ signal }).then(({ data }) => text(data)),
    b.receiveInto(buffer, { signal }).then(({ bytes }) =>
      text(buffer.subarray(0, bytes))
    ),
    next(b),
  ];
  b.timeout = 60_000;
  waits.push(next(b));
  b.timeout = undefined;
  waits.push(next(b));
  const words = ["a", "b", "c", "d", "e", "f"];
  for (const word of words) await a.send(utf8(word), b.addr);
  assertEquals(await Promise.all(waits), words);
});

testEachDatagram(
  "an abort or a timeout loses no datagram",
  async ({ a, b }) => {
    const abort = new AbortController();
    const buffer = new Uint8Array(10).fill(7);
    const waiting = rejection(b.receiveInto(buffer, { signal: abort.signal }));
    const last = rejection(b.receive({ signal: abort.signal }));
    abort.abort("enough");
    assertEquals(await waiting, "enough");
    assertEquals(await last, "enough");
    b.timeout = 5;
    assert(isTimeoutError(await rejection(b.receive())));
    b.timeout = undefined;
    await a.send(utf8("first"), b.addr);
    await a.send(utf8("second"), b.addr);
    assertEquals(await next(b), "first");
    assertEquals(await next(b), "second");
    assert(
      buffer.every((byte) => byte === 7),
      "an abandoned buffer is left alone",
    );
  },
);

testEachDatagram("an abort behind a receive that waits", async ({ a, b }) => {
  const first = next(b);
  const abort = new AbortController();
  const second = rejection(b.receive({ signal: abort.signal }));
  const third = next(b);
  abort.abort(new Error("mine"));
  assertEquals((await second as Error).message, "mine");
  await a.send(utf8("1"), b.addr);
  await a.send(utf8("2"), b.addr);
  assertEquals([await first, await third], ["1", "2"]);
});

testEachDatagram(
  "a timeout bounds receives and sends, not iteration",
  async ({ a, b }) => {
    b.timeout = 5;
    const error = await rejection(b.receive());
    assertInstanceOf(error, DOMException);
    assertEquals([error.name, errorCode(error)], ["TimeoutError", "ETIMEDOUT"]);
    const iterator = b[Symbol.asyncIterator]();
    const iterating = iterator.next();
    for (let i = 0; i < 20; i++) await turn();
    await a.send(utf8("late"), b.addr);
    assertEquals(text((await iterating).value!.data), "late");
    a.timeout = 60_000;
    assertEquals(await a.send(utf8("timed"), b.addr), 5);
    assertEquals(await next(b), "timed");
  },
);

testEachDatagram("timeouts are checked when they are set", ({ a }) => {
  for (const timeout of [0, -1, NaN]) {
    assertThrows(() => a.timeout = timeout, RangeError);
  }
  assertThrows(() => a.timeout = "5" as never, TypeError);
  a.timeout = Infinity;
  assertEquals(a.timeout, Infinity);
  a.timeout = undefined;
  return Promise.resolve();
});

testEachDatagram("an aborted signal does nothing at all", async ({ a, b }) => {
  const signal = AbortSignal.abort("before");
  assertEquals(await rejection(b.receive({ signal })), "before");
  assertEquals(
    await rejection(b.receiveInto(new Uint8Array(1), { signal })),
    "before",
  );
  assertEquals(
    await rejection(a.send(utf8("no"), b.addr, { signal })),
    "before",
  );
  await a.send(utf8("yes"), b.addr);
  assertEquals(await next(b), "yes");
  assertEquals(a.datagramsSent, 1);
});

testEachDatagram(
  "iteration brings every datagram, and ends with close()",
  async ({ a, b }) => {
    const said: string[] = [];
    const iterating = (async () => {
      for await (const { data } of b) said.push(text(data));
    })();
    for (let i = 0; i < 50; i++) {
      await a.send(utf8(`${i}`), b.addr);
      while (said.length <= i) await turn();
    }
    b.close();
    await iterating;
    assertEquals(said, Array.from({ length: 50 }, (_, i) => `${i}`));
  },
);

testEachDatagram(
  "leaving a loop leaves the socket open and loses nothing",
  async ({ a, b }) => {
    for (const word of ["one", "two", "three"]) {
      await a.send(
        utf8(word),
        b.addr,
      );
    }
    for await (const { data } of b) {
      assertEquals(text(data), "one");
      break;
    }
    assertEquals(await next(b), "two");
    for await (const { data } of b) {
      assertEquals(text(data), "three");
      break;
    }
  },
);

testEachDatagram(
  "close() wakes everyone who waits, and is idempotent",
  async ({ a, b }) => {
    const { signal } = new AbortController();
    const waits = [
      b.receive(),
      b.receiveInto(new Uint8Array(100_000)),
      b.receive({ signal }),
    ].map(rejection);
    b.timeout = 60_000;
    waits.push(rejection(b.receive()));
    b.close();
    b.close();
    for (const error of await Promise.all(waits)) {
      assert(isClosedError(error), String(error));
      assertEquals(errorCode(error), "EINTR");
    }
    for (
      const call of [
        () => b.receive(),
        () => b.receiveInto(new Uint8Array(1)),
        () => b.send(utf8("x"), a.addr),
        () => b.receive({ signal }),
      ]
    ) {
      const error = await rejection(call());
      assertInstanceOf(error, Deno.errors.BadResource);
      assertEquals(error.message, "Socket is closed");
    }
    for await (const _ of b) throw new Error("closed");
  },
);

testEachDatagram("close() while a kept receive waits", async ({ b }) => {
  const abort = new AbortController();
  const waiting = rejection(b.receive({ signal: abort.signal }));
  abort.abort("x");
  await waiting;
  await b[Symbol.asyncDispose]();
  await b[Symbol.asyncDispose]();
});

testEachDatagram("counters count datagrams and bytes", async ({ a, b }) => {
  await a.send(new Uint8Array(100), b.addr);
  await a.send(new Uint8Array(0), b.addr);
  await a.send(new Uint8Array(50), b.addr);
  await b.receive();
  await b.receive();
  await b.receiveInto(new Uint8Array(20));
  assertEquals([a.datagramsSent, a.bytesSent], [3, 150]);
  assertEquals([b.datagramsReceived, b.bytesReceived], [3, 120]);
  assertEquals([a.datagramsReceived, b.datagramsSent], [0, 0]);
});

testEachDatagram(
  "bad arguments are told before anything happens",
  async ({ a, b }) => {
    for (
      const data of [
        new ArrayBuffer(1),
        new Uint16Array(1),
        "text",
        undefined,
        null,
        [1],
      ]
    ) {
      await assertRejects(
        () => a.send(data as never, b.addr),
        TypeError,
        "Invalid data: expected a Uint8Array",
      );
      await assertRejects(
        () => b.receiveInto(data as never),
        TypeError,
        "Invalid buffer: expected a Uint8Array",
      );
    }
    for (const options of [null, 5, "now"]) {
      await assertRejects(
        () => b.receive(options as never),
        TypeError,
        "Invalid options of receive",
      );
      await assertRejects(
        () => a.send(utf8("x"), b.addr, options as never),
        TypeError,
        "Invalid options of send",
      );
    }
    await assertRejects(
      () => b.receive({ signal: {} as never }),
      TypeError,
      "Invalid signal",
    );
    await assertRejects(() => a.send(utf8("x"), undefined as never), TypeError);
    await assertRejects(
      () => a.send(utf8("x"), 5 as never),
      TypeError,
      "Invalid address: expected a",
    );
    assertEquals(a.datagramsSent, 0);
    await a.send(utf8("fine"), b.addr);
    assertEquals(await next(b), "fine");
  },
);

testEachDatagram("both ends send while both receive", async ({ a, b }) => {
  // The one who has waited longest is answered; sends never wait for a receive that waits.
  const talk = async (socket: AnySocket, to: AnySocket) => {
    for (let i = 0; i < 50; i++) {
      const receiving = socket.receive();
      await socket.send(utf8(`${i}`), to.addr);
      assertEquals(text((await receiving).data), `${i}`);
    }
  };
  await Promise.all([talk(a, b), talk(b, a)]);
});

testEachDatagram(
  "a datagram that is transferred away meanwhile costs nobody else's",
  async ({ a, b }) => {
    const abort = new AbortController();
    const buffer = new Uint8Array(10);
    const waiting = b.receiveInto(buffer, { signal: abort.signal });
    structuredClone(buffer, { transfer: [buffer.buffer] });
    await a.send(utf8("gone"), b.addr);
    await a.send(utf8("here"), b.addr);
    assertEquals((await waiting).bytes, 0);
    assertEquals(await next(b), "here");
    // One that is lent to the system is refused by it, or has no room.
    const large = new Uint8Array(400_000);
    const lent = b.receiveInto(large).then(({ bytes }) => bytes, (error) => {
      assertInstanceOf(error, TypeError);
      return 0;
    });
    structuredClone(large, { transfer: [large.buffer] });
    await a.send(utf8("gone"), b.addr);
    assertEquals(await lent, 0);
    await a.send(utf8("here"), b.addr);
    assertEquals(await next(b), "here");
  },
);

testEachDatagram(
  "the address of a result is a plain object",
  async ({ a, b }) => {
    await a.send(utf8("x"), b.addr);
    const { addr } = await b.receive();
    assertEquals(String(addr), "[object Object]");
    assertEquals(Object.getPrototypeOf(addr), Object.prototype);
    assertNotEquals(addr, b.addr);
    assert(Object.isFrozen(a.addr));
  },
);
