/** UDP: opening, destinations, peers, and what each backend can and cannot do. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { AddressSyntaxError, errorCode, isTimeoutError } from "../errors.ts";
import { bindUdp, connectUdp, type UdpSocket } from "../udp.ts";
import {
  type BadCall,
  pattern,
  rejection,
  text,
  turn,
  utf8,
} from "./_bytes.ts";
import { backends, testEachBackend } from "./_datagrams.ts";
import { canListen } from "./_pairs.ts";
import { freePort } from "./_ports.ts";
import { runDeno, startPython, unstable } from "./_process.ts";

/** Sees to it that a socket still works: sends itself something and gets it. */
async function assertUsable(socket: UdpSocket): Promise<void> {
  const { port } = socket.addr;
  const hostname = socket.addr.hostname === "0.0.0.0"
    ? "127.0.0.1"
    : socket.addr.hostname;
  await socket.send(utf8("still here"), { hostname, port });
  assertEquals(text((await socket.receive()).data), "still here");
}

Deno.test("the backend is the runtime's where the flag is there, else node:dgram", async () => {
  await using socket = await bindUdp({ hostname: "127.0.0.1" });
  assertEquals(socket.backend, unstable ? "deno" : "node");
  for (
    const options of [
      { ttl: 3 },
      { multicastTtl: 3 },
      { multicastInterface: "127.0.0.1" },
      { broadcast: false },
      { backend: "node" },
    ] as const
  ) {
    await using socket = await bindUdp({ hostname: "127.0.0.1", ...options });
    assertEquals(socket.backend, "node");
    await assertUsable(socket);
  }
});

Deno.test("what a backend cannot do is an error that says so", async () => {
  for (
    const [options, message] of [
      [{ reusePort: true }, "Deno has no SO_REUSEPORT for UDP"],
      [{ hostname: "::1", ttl: 3 }, "hop limit of IPv6"],
      [{ hostname: "::1", multicastTtl: 3 }, "hop limit of IPv6"],
      ...(unstable
        ? [
          [
            { backend: "deno", ttl: 3 },
            'Cannot set ttl on this backend: bind with backend: "node"',
          ],
          [{ backend: "deno", multicastTtl: 3 }, "Cannot set multicastTtl"],
          [
            { backend: "deno", multicastInterface: "127.0.0.1" },
            "Cannot set multicastInterface",
          ],
          [{ backend: "deno", ipv6Only: true }, "Cannot set ipv6Only"],
          [
            { backend: "deno", broadcast: false },
            "Cannot set broadcast: false",
          ],
        ] as const
        : [[{ backend: "deno" }, "--unstable-net"]] as const),
    ] as const
  ) {
    const error = await assertRejects(
      () => bindUdp(options as never),
      Deno.errors.NotSupported,
      message,
    );
    assertEquals(errorCode(error), "EOPNOTSUPP");
  }
  await using _ = await bindUdp({ reusePort: false } as never);
});

Deno.test("bad options are told before anything is opened", async () => {
  const bind: BadCall[] = [
    [
      null,
      TypeError,
      "Invalid options of bindUdp: expected an object, got null",
    ],
    [{ port: -1 }, RangeError, "Invalid port"],
    [{ port: 65536 }, RangeError, "Invalid port"],
    [{ port: 1.5 }, RangeError, "Invalid port"],
    [{ port: NaN }, RangeError, "Invalid port"],
    [{ port: "9" }, TypeError, "Invalid port"],
    [{ hostname: "" }, SyntaxError, "it is empty"],
    [{ hostname: "a b" }, SyntaxError, "cannot be part of a name"],
    [{ hostname: "127.1" }, SyntaxError, "not an IPv4 address"],
    [{ hostname: 5 }, TypeError, "Invalid hostname"],
    [
      { backend: "bun" },
      TypeError,
      'Invalid backend: expected "deno" or "node"',
    ],
    [{ reuseAddress: 1 }, TypeError, "Invalid reuseAddress"],
    [{ ipv6Only: 1 }, TypeError, "Invalid ipv6Only"],
    [{ broadcast: "no" }, TypeError, "Invalid broadcast"],
    [{ multicastLoopback: 1 }, TypeError, "Invalid multicastLoopback"],
    [{ ttl: 0 }, RangeError, "Invalid ttl: expected an integer from 1 to 255"],
    [{ ttl: 256 }, RangeError, "Invalid ttl"],
    [{ multicastTtl: 1.5 }, RangeError, "Invalid multicastTtl"],
    [{ multicastInterface: "lo" }, SyntaxError, "Invalid interface"],
    [{ multicastInterface: 5 }, TypeError, "Invalid interface"],
    [{ maxQueuedBytes: -1 }, RangeError, "Invalid maxQueuedBytes"],
    [{ maxQueuedBytes: Infinity }, RangeError, "Invalid maxQueuedBytes"],
  ];
  for (const [options, Class, message] of bind) {
    await assertRejects(() => bindUdp(options as never), Class, message);
  }
  const error = await rejection(bindUdp({ multicastInterface: "lo" }));
  assertInstanceOf(error, AddressSyntaxError);
  assertEquals([error.input, error.position], ["lo", 0]);
  const connect: BadCall[] = [
    [undefined, TypeError, "Invalid options of connectUdp"],
    [{}, TypeError, "Invalid port"],
    [{ port: 0 }, RangeError, "Invalid port: expected an integer from 1"],
    [{ port: 9, localPort: 65536 }, RangeError, "Invalid localPort"],
    [{ port: 9, localHostname: "" }, SyntaxError, "it is empty"],
    [
      { port: 9, hostname: "a:80" },
      SyntaxError,
      "a port does not belong here",
    ],
    [{ port: 9, timeout: 0 }, RangeError, "Invalid timeout"],
    [{ port: 9, signal: {} }, TypeError, "Invalid signal"],
  ];
  for (const [options, Class, message] of connect) {
    await assertRejects(() => connectUdp(options as never), Class, message);
  }
});

testEachBackend("opening errors name the address", async (bind, backend) => {
  await using taken = await bind();
  const error = await rejection(bind({ port: taken.addr.port }));
  assertInstanceOf(error, Deno.errors.AddrInUse);
  assertEquals(
    error.message,
    `Cannot bind udp 127.0.0.1:${taken.addr.port}: Address already in use (EADDRINUSE)`,
  );
  assertEquals((error as { address?: unknown }).address, {
    transport: "udp",
    hostname: "127.0.0.1",
    port: taken.addr.port,
  });
  const nowhere = await rejection(bind({ hostname: "192.0.2.1" }));
  assertInstanceOf(nowhere, Deno.errors.AddrNotAvailable);
  assertEquals(errorCode(nowhere), "EADDRNOTAVAIL");
  for (
    const open of [
      () => bind({ hostname: "nobody.invalid" }),
      () => connectUdp({ hostname: "nobody.invalid", port: 9, backend }),
    ]
  ) {
    const error = await rejection(open());
    assertMatch(
      (error as Error).message,
      /^Cannot (bind|connect to) udp nobody\.invalid:\d: .*(ENOTFOUND|EAI_AGAIN)\)$/,
    );
    assert(["ENOTFOUND", "EAI_AGAIN"].includes(errorCode(error)!));
  }
});

testEachBackend("reuseAddress lets two sockets have one port", async (bind) => {
  await using first = await bind({ reuseAddress: true });
  await using second = await bind({
    reuseAddress: true,
    port: first.addr.port,
  });
  assertEquals(second.addr, first.addr);
  await assertRejects(
    () => bind({ port: first.addr.port }),
    Deno.errors.AddrInUse,
  );
});

testEachBackend("a name is bound to by its address", async (bind) => {
  await using socket = await bind({ hostname: "localhost" });
  assert(["127.0.0.1", "::1"].includes(socket.addr.hostname));
  await assertUsable(socket);
});

testEachBackend("bad destinations leave the socket usable", async (bind) => {
  await using socket = await bind();
  const { port } = socket.addr;
  const local = (port: unknown) => ({ hostname: "127.0.0.1", port });
  const bad: BadCall[] = [
    [
      local(0),
      RangeError,
      "Invalid port: expected an integer from 1 to 65535, got 0",
    ],
    [local(65536), RangeError, "got 65536"],
    [local(1e12), RangeError, "got 1000000000000"],
    [local(Infinity), RangeError, "got Infinity"],
    [local(1.5), RangeError, "got 1.5"],
    [local(-1), RangeError, "got -1"],
    [local(NaN), RangeError, "got NaN"],
    [local("9"), TypeError, 'got "9"'],
    [local(undefined), TypeError, "got undefined"],
    [
      undefined,
      TypeError,
      "Invalid address: expected one, because the socket is not connected",
    ],
    [null, TypeError, "Invalid address"],
    [{ port }, TypeError, "Invalid hostname"],
    [{ hostname: null, port }, TypeError, "Invalid hostname"],
    [{ hostname: "", port }, SyntaxError, "it is empty"],
    [{ hostname: "127.1", port }, SyntaxError, "not an IPv4 address"],
    [
      { hostname: "nobody.invalid", port },
      Error,
      "Cannot send to udp nobody.invalid",
    ],
  ];
  // Once before and once after the host is known.
  for (let i = 0; i < 2; i++) {
    for (const [addr, Class, message] of bad) {
      await assertRejects(
        () => socket.send(utf8("x"), addr as never),
        Class,
        message,
      );
    }
    await assertUsable(socket);
  }
  assertEquals(
    errorCode(await rejection(socket.send(utf8("x")))),
    "EDESTADDRREQ",
  );
  const other = await rejection(
    socket.send(utf8("x"), { hostname: "::1", port }),
  );
  assertEquals(errorCode(other), "EAFNOSUPPORT");
  assertEquals(
    (other as Error).message,
    `Cannot send to udp [::1]:${port}: Address family not supported by protocol (EAFNOSUPPORT)`,
  );
  await assertUsable(socket);
  assertEquals(socket.datagramsSent, 3);
});

testEachBackend(
  "a datagram that is too large is told the limit",
  async (bind) => {
    await using socket = await bind();
    for (const hostname of ["127.0.0.1", "localhost", "::ffff:127.0.0.1"]) {
      // A name that is known, and one that is not.
      for (let i = 0; i < 2; i++) {
        const error = await rejection(
          socket.send(new Uint8Array(65508), { hostname, port: 9 }),
        );
        assertEquals(errorCode(error), "EMSGSIZE");
        assertStringIncludes(
          (error as Error).message,
          "Message too long (EMSGSIZE); a datagram over IPv4 holds at most 65507 bytes",
        );
      }
    }
    await assertUsable(socket);
    if (!canListen("::1")) return;
    await using six = await bind({ hostname: "::1" });
    const { port } = six.addr;
    const data = pattern(65527);
    assertEquals(await six.send(data, { hostname: "::1", port }), 65527);
    assertEquals((await six.receive()).data, data);
    const error = await rejection(
      six.send(new Uint8Array(65528), { hostname: "::1", port }),
    );
    assertEquals(errorCode(error), "EMSGSIZE");
    assertStringIncludes((error as Error).message, "IPv6 holds at most 65527");
  },
);

testEachBackend(
  "names are sent to by their address, looked up once",
  async (bind) => {
    await using to = await bind();
    await using from = await bind();
    const { port } = to.addr;
    const hostname = "localhost";
    // Those that come during the lookup wait for it.
    const sends = ["one", "two", "three"].map((word) =>
      from.send(utf8(word), { hostname, port })
    );
    assertEquals(await Promise.all(sends), [3, 3, 5]);
    const words: string[] = [];
    for (let i = 0; i < 3; i++) words.push(text((await to.receive()).data));
    assertEquals(words.sort(), ["one", "three", "two"]);
    await from.send(utf8("four"), { hostname, port });
    assertEquals(text((await to.receive()).data), "four");
  },
);

testEachBackend(
  "many destinations do not grow a socket for ever",
  async (bind) => {
    await using socket = await bind();
    // More than are remembered; what was forgotten is checked anew.
    for (let i = 0; i < 3000; i++) {
      const hostname = `127.${i >> 8}.${i & 255}.1`;
      await socket.send(new Uint8Array(0), { hostname, port: 9 });
    }
    await assertUsable(socket);
  },
);

// Peers

testEachBackend(
  "connectUdp() talks to its peer, and hears nobody else",
  async (bind, backend) => {
    await using peer = await bind();
    await using stranger = await bind();
    await using socket = await connectUdp({ ...peer.addr, backend });
    assertEquals(socket.remoteAddr, peer.addr);
    await socket.send(utf8("hello"));
    const { addr } = await peer.receive();
    assertEquals(addr.port, socket.addr.port);
    const waiting = socket.receive();
    await stranger.send(utf8("psst"), addr);
    await stranger.send(utf8("psst"), addr);
    await peer.send(utf8("answer"), addr);
    assertEquals(text((await waiting).data), "answer");
    assertEquals(socket.strays, 2);
    assertEquals(socket.datagramsReceived, 1);
    // One that was there before anybody waited, and one behind a wait that can be abandoned.
    await stranger.send(utf8("psst"), addr);
    await peer.send(utf8("again"), addr);
    assertEquals(
      text(
        (await socket.receive({ signal: new AbortController().signal })).data,
      ),
      "again",
    );
    assertEquals(socket.strays, 3);
    socket.disconnect();
    socket.disconnect();
    assertEquals(socket.remoteAddr, undefined);
    await stranger.send(utf8("heard"), addr);
    assertEquals(text((await socket.receive()).data), "heard");
    await assertRejects(() => socket.send(utf8("x")), TypeError);
    await socket.send(utf8("direct"), stranger.addr);
    assertEquals(text((await stranger.receive()).data), "direct");
  },
);

testEachBackend(
  "connect() changes the peer of receives that wait already",
  async (bind) => {
    await using a = await bind();
    await using b = await bind();
    await using socket = await bind();
    await socket.connect(a.addr);
    const waiting = socket.receive();
    await socket.connect(b.addr);
    await a.send(utf8("a"), socket.addr);
    await b.send(utf8("b"), socket.addr);
    assertEquals(text((await waiting).data), "b");
    assertEquals(socket.strays, 1);
    await socket.connect({ hostname: "localhost", port: a.addr.port });
    assertEquals(socket.remoteAddr, a.addr);
    await socket.send(utf8("by name"));
    assertEquals(text((await a.receive()).data), "by name");
  },
);

testEachBackend(
  "the last connect() or disconnect() counts, whichever lookup takes longer",
  async (bind) => {
    await using a = await bind();
    await using b = await bind();
    await using socket = await bind();
    const slow = { hostname: "localhost", port: a.addr.port };
    await Promise.all([socket.connect(slow), socket.connect(b.addr)]);
    assertEquals(socket.remoteAddr, b.addr);
    const connecting = socket.connect(slow);
    socket.disconnect();
    await connecting;
    assertEquals(socket.remoteAddr, undefined);
  },
);

testEachBackend(
  "a datagram that was kept is filtered when it is handed out",
  async (bind) => {
    await using a = await bind();
    await using b = await bind();
    await using socket = await bind();
    const abort = new AbortController();
    const waiting = rejection(socket.receive({ signal: abort.signal }));
    abort.abort("x");
    await waiting;
    await a.send(utf8("kept"), socket.addr);
    for (let i = 0; i < 5; i++) await turn();
    await socket.connect(b.addr);
    await b.send(utf8("b"), socket.addr);
    assertEquals(text((await socket.receive()).data), "b");
    assertEquals(socket.strays, 1);
  },
);

testEachBackend(
  "connect() checks its peer and leaves the old one",
  async (bind) => {
    await using a = await bind();
    const socket = await bind();
    await socket.connect(a.addr);
    for (
      const [addr, Class] of [
        [{ hostname: "127.0.0.1", port: 0 }, RangeError],
        [{ hostname: "a b", port: 9 }, SyntaxError],
        [{ hostname: "nobody.invalid", port: 9 }, Error],
        [undefined, TypeError],
      ] as const
    ) await assertRejects(() => socket.connect(addr as never), Class);
    const error = await rejection(socket.connect({ hostname: "::1", port: 9 }));
    assertEquals(errorCode(error), "EAFNOSUPPORT");
    assertEquals(socket.remoteAddr, a.addr);
    const late = rejection(socket.connect({ hostname: "localhost", port: 9 }));
    await socket[Symbol.asyncDispose]();
    assertInstanceOf(await late, Deno.errors.BadResource);
    assertInstanceOf(
      await rejection(socket.connect(a.addr)),
      Deno.errors.BadResource,
    );
  },
);

testEachBackend(
  "any address stands for this machine, and mapped ones for IPv4",
  async (bind, backend) => {
    await using server = await bind({ hostname: "0.0.0.0" });
    for (const hostname of ["0.0.0.0", "::ffff:127.0.0.1"]) {
      await using client = hostname === "0.0.0.0"
        ? await connectUdp({ hostname, port: server.addr.port, backend })
        : await bind();
      if (hostname !== "0.0.0.0") {
        await client.connect({ hostname, port: server.addr.port });
      }
      assertEquals(client.remoteAddr!.hostname, "127.0.0.1");
      await client.send(utf8("hello"));
      const { addr } = await server.receive();
      await server.send(utf8("answer"), addr);
      assertEquals(text((await client.receive()).data), "answer");
    }
    if (!canListen("::1")) return;
    await using both = await bind({ hostname: "::" });
    const { port } = both.addr;
    await using four = await bind();
    await four.send(utf8("four"), { hostname: "127.0.0.1", port });
    const { addr } = await both.receive();
    assertEquals(addr.hostname, "::ffff:127.0.0.1");
    await both.send(utf8("mapped"), addr);
    assertEquals(text((await four.receive()).data), "mapped");
    await both.connect(four.addr);
    await both.send(utf8("plain"));
    assertEquals(text((await four.receive()).data), "plain");
    await four.send(utf8("heard"), { hostname: "127.0.0.1", port });
    assertEquals(text((await both.receive()).data), "heard");
  },
);

Deno.test({
  name: "ipv6Only leaves IPv4 alone",
  ignore: !canListen("::1"),
  async fn() {
    // A port that the system gives is free for IPv6 alone: IPv4's may be another's.
    const port = freePort();
    await using six = await bindUdp({ hostname: "::", port, ipv6Only: true });
    await using four = await bindUdp({ hostname: "0.0.0.0", port });
    await four.send(utf8("to four"), { hostname: "127.0.0.1", port });
    await four.receive();
    await six.send(utf8("to six"), { hostname: "::1", port });
    assertEquals(text((await six.receive()).data), "to six");
    assertEquals([four.datagramsReceived, six.datagramsReceived], [1, 1]);
  },
});

for (const backend of backends) {
  Deno.test({
    name: `udp ${backend}: connectUdp() and our own end`,
    async fn() {
      await using peer = await bindUdp({ hostname: "127.0.0.1", backend });
      await using socket = await connectUdp({
        ...peer.addr,
        localHostname: "127.0.0.2",
        backend,
      });
      assertEquals(socket.addr.hostname, "127.0.0.2");
      await socket.send(utf8("x"));
      assertEquals((await peer.receive()).addr, socket.addr);
      const error = await rejection(connectUdp({
        ...peer.addr,
        localHostname: "127.0.0.2",
        localPort: socket.addr.port,
        backend,
      }));
      assertInstanceOf(error, Deno.errors.AddrInUse);
      assertStringIncludes(
        error.message,
        `Cannot bind udp 127.0.0.2:${socket.addr.port}`,
      );
      const signal = AbortSignal.abort("before");
      assertEquals(
        await rejection(connectUdp({ ...peer.addr, signal, backend })),
        "before",
      );
      for (const localHostname of canListen("::1") ? ["::1"] : []) {
        const error = await rejection(
          connectUdp({ ...peer.addr, localHostname, backend }),
        );
        assertEquals(errorCode(error), "EAFNOSUPPORT");
      }
      await using timed = await connectUdp({
        ...peer.addr,
        timeout: 60_000,
        backend,
      });
      assertEquals(timed.remoteAddr, peer.addr);
    },
  });
}

// Faults

testEachBackend(
  "strangers cost a receive that waits no memory",
  async (bind) => {
    await using peer = await bind();
    await using stranger = await bind();
    await using socket = await bind();
    await socket.connect(peer.addr);
    // The wait is the first in the queue, whatever comes in between.
    const first = socket.receive();
    const second = socket.receive();
    for (let i = 0; i < 200; i++) {
      await stranger.send(utf8("psst"), socket.addr);
      if (i % 10 === 0) { while (socket.strays <= i) await turn(); }
    }
    await peer.send(utf8("1"), socket.addr);
    await peer.send(utf8("2"), socket.addr);
    assertEquals(text((await first).data), "1");
    assertEquals(text((await second).data), "2");
    // Perhaps more: a port that was somebody's a moment ago may still be sent to.
    assert(socket.strays >= 200);
  },
);

testEachBackend(
  "refusals of the network never break a socket",
  async (bind, backend) => {
    const gone = await bind();
    const { addr } = gone;
    await gone[Symbol.asyncDispose]();
    await using socket = await bind();
    await using connected = await connectUdp({ ...addr, backend });
    await using peer = await bind();
    const waiting = socket.receive();
    for (let i = 0; i < 20; i++) {
      // Nobody is there: the kernel answers each with "port unreachable".
      assertEquals(await socket.send(utf8("anybody?"), addr), 8);
      assertEquals(await connected.send(utf8("anybody?")), 8);
      await turn();
    }
    await peer.send(utf8("me"), socket.addr);
    assertEquals(text((await waiting).data), "me");
    connected.timeout = 5;
    assert(isTimeoutError(await rejection(connected.receive())));
  },
);

Deno.test("the queue of node:dgram has a bound, and what is dropped is counted", async () => {
  await using socket = await bindUdp({
    hostname: "127.0.0.1",
    backend: "node",
    maxQueuedBytes: 10 * (100 + 256),
  });
  await using from = await bindUdp({ hostname: "127.0.0.1", backend: "node" });
  for (let i = 0; i < 25; i++) {
    await from.send(new Uint8Array(100).fill(i), socket.addr);
    // Taken in before the next one comes.
    for (let j = 0; j < 3; j++) await turn();
  }
  while (socket.dropped < 15) await turn();
  for (let i = 0; i < 10; i++) {
    assertEquals((await socket.receive()).data[0], i);
  }
  assertEquals(socket.dropped, 15);
  await from.send(utf8("room again"), socket.addr);
  assertEquals(text((await socket.receive()).data), "room again");
  await using none = await bindUdp({
    hostname: "127.0.0.1",
    backend: "node",
    maxQueuedBytes: 0,
  });
  await from.send(utf8("nobody waits"), none.addr);
  while (none.dropped < 1) await turn();
  const waiting = none.receive();
  await from.send(utf8("somebody does"), none.addr);
  assertEquals(text((await waiting).data), "somebody does");
});

/** A process that sends as fast as it can until it is told to stop. */
const FLOOD = `
import socket, sys, threading
to = ("127.0.0.1", int(sys.argv[1]))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), over.set()), daemon=True).start()
s.sendto(b"first", to)
print("flooding")
while not over.is_set():
    for _ in range(100): s.sendto(b"x" * 20, to)
print("over")
`;

testEachBackend(
  "a flood does not stop a timer, nor the peer, nor a close",
  async (bind, backend) => {
    await using peer = await bind();
    for (const connected of [false, true]) {
      await using socket = connected
        ? await connectUdp({
          ...peer.addr,
          localHostname: "127.0.0.1",
          backend,
        })
        : await bind();
      await using flood = await startPython(FLOOD, `${socket.addr.port}`);
      assertEquals(await flood.line(), "flooding");
      let heard = 0;
      const loop = (async () => {
        for await (const _ of socket) heard++;
      })();
      // Strangers are dropped one after the other, in the same loop.
      for (let i = 0; i < 100; i++) await turn();
      if (connected) {
        assert(socket.strays > 0);
        while (heard === 0) {
          await peer.send(utf8("me"), socket.addr);
          await turn();
        }
      } else assert(heard > 0);
      socket.close();
      await loop;
      await flood.send("stop");
      assertEquals(await flood.line(), "over");
    }
  },
);

testEachBackend(
  "100,000 datagrams one way: none twice, none out of order",
  async (bind) => {
    await using to = await bind();
    await using from = await bind();
    const TOTAL = 100_000;
    // The sender stays a little ahead of what has come or is known to be lost.
    const WINDOW = 64;
    let next = 0;
    let lost = 0;
    let received = 0;
    const receiving = (async () => {
      const buffer = new Uint8Array(65536);
      while (next < TOTAL) {
        const { bytes } = await to.receiveInto(buffer);
        assertEquals(bytes, 32);
        const number = new DataView(buffer.buffer).getUint32(0);
        assert(number >= next, `${number} after ${next - 1}`);
        lost += number - next;
        received++;
        next = number + 1;
      }
    })();
    const data = new Uint8Array(32);
    for (let i = 0; i < TOTAL; i++) {
      new DataView(data.buffer).setUint32(0, i);
      assertEquals(await from.send(data, to.addr), 32);
      while (i - next > WINDOW) await turn();
    }
    await receiving;
    assertEquals(received + lost, TOTAL);
    // On loopback and within the socket's buffer the kernel loses nothing.
    assertEquals(lost, 0);
    assertEquals(to.dropped, 0);
  },
);

Deno.test("a program without the flag has UDP", async () => {
  const { code, stdout, stderr } = await runDeno(
    ["--allow-net"],
    `
const { bindUdp } = sockets;
await using a = await bindUdp({ hostname: "127.0.0.1" });
await using b = await bindUdp({ hostname: "127.0.0.1" });
await a.send(new Uint8Array([1, 2]), b.addr);
const { data } = await b.receive();
console.log(data.length, b.backend === ("listenDatagram" in Deno ? "deno" : "node"));
`,
  );
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "2 true\n",
    stderr: "",
  });
});
