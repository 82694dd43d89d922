/** Whether a call would wait: told without a call, and without taking anything. */

import { assert, assertEquals } from "@std/assert";
import { keeping, kept, readiness, type Watchable } from "../_readiness.ts";
import { copy } from "../io.ts";
import { connectTcp, listenTcp } from "../tcp.ts";
import { bindUdp, connectUdp } from "../udp.ts";
import { pattern, readText, rejection, text, turn, utf8 } from "./_bytes.ts";
import { testEachDatagram } from "./_datagrams.ts";
import { testEach } from "./_pairs.ts";
import { runDeno } from "./_process.ts";

/** Waits until a handle says that it is readable. */
function readable(handle: unknown): Promise<void> {
  return new Promise((resolve) => {
    (handle as Watchable)[readiness].watch(resolve);
  });
}

const isReadable = (handle: unknown): boolean =>
  (handle as Watchable)[readiness].ready;

/** Watches for some turns in which nothing should come. */
async function staysQuiet(handle: unknown): Promise<void> {
  let told = false;
  const end = (handle as Watchable)[readiness].watch(() => told = true);
  for (let i = 0; i < 10; i++) await turn();
  end();
  assert(!told);
}

testEach(
  "a stream is readable when bytes have come, and they stay",
  async ({ a, b }) => {
    await staysQuiet(b);
    assert(!isReadable(b));
    await a.writeAll(utf8("hello"));
    await readable(b);
    assert(isReadable(b));
    await readable(b);
    const { [kept]: bytes } = b as unknown as { [kept]: Uint8Array };
    assertEquals(text(bytes), "hello");
    assertEquals(await readText(b), "hello");
    assert(!isReadable(b));
    await staysQuiet(b);
    // Reads of all sorts go on as before.
    const data = pattern(100_000);
    const writing = a.writeAll(data);
    const got = new Uint8Array(data.length);
    for (let at = 0; at < got.length;) {
      if (at % 3 === 0) await readable(b);
      at += (await b.read(got.subarray(at)))!;
    }
    await writing;
    assertEquals(got, data);
  },
);

testEach(
  "what is kept grows where somebody wants to see more, and nothing is lost",
  async ({ a, b }) => {
    const hooks = b as unknown as {
      [kept]: Uint8Array;
      [keeping](size: number): void;
    };
    await a.writeAll(utf8("one"));
    await readable(b);
    hooks[keeping](100);
    await a.writeAll(utf8(" two"));
    while (hooks[kept].length < 7) await turn();
    assertEquals(text(hooks[kept]), "one two");
    // A read behind it is still under way; a copy that could be given up takes both.
    hooks[keeping](100);
    const got: Uint8Array[] = [];
    const { signal } = new AbortController();
    const copying = copy(b, {
      write(p) {
        got.push(p.slice());
        return Promise.resolve(p.length);
      },
    }, { signal });
    await turn();
    await a.writeAll(utf8(" three"));
    await a.closeWrite();
    await copying;
    assertEquals(got.map(text).join(""), "one two three");
  },
);

testEach(
  "the end of a stream, and a close, make it readable",
  async ({ a, b }) => {
    const told = readable(b);
    await a.closeWrite();
    await told;
    assert(isReadable(b));
    assertEquals(await readText(b), null);
    await readable(b);
    const waiting = readable(a);
    a.close();
    await waiting;
  },
);

testEach(
  "who watches and who reads do not take from each other",
  async ({ a, b }) => {
    const reading = readText(b);
    const told = readable(b);
    await a.writeAll(utf8("first"));
    assertEquals(await reading, "first");
    await a.writeAll(utf8("second"));
    await told;
    assertEquals(await readText(b), "second");
  },
);

Deno.test("a listener is readable when a connection has come, and it stays", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  await staysQuiet(listener);
  using conn = await connectTcp(listener.addr);
  await readable(listener);
  assert(isReadable(listener));
  using accepted = await listener.accept();
  assertEquals(accepted.remoteAddr, conn.localAddr);
  assert(!isReadable(listener));
  // Those that nobody accepts are closed with it.
  using late = await connectTcp(listener.addr);
  await readable(listener);
  listener.close();
  assertEquals(await late.read(new Uint8Array(1)), null);
  assert(isReadable(listener));
});

Deno.test("a connection that is denied makes no listener readable", async () => {
  await using listener = await listenTcp({
    hostname: "127.0.0.1",
    deny: ["127.0.0.0/8"],
  });
  let told = false;
  const end = (listener as unknown as Watchable)[readiness].watch(() => {
    told = true;
  });
  using conn = await connectTcp(listener.addr);
  assertEquals(await conn.read(new Uint8Array(1)), null);
  assert(!told);
  end();
});

testEachDatagram(
  "a datagram socket is readable when one has come, and it stays",
  async ({ a, b }) => {
    await staysQuiet(b);
    await a.send(utf8("one"), b.addr);
    await a.send(utf8("two"), b.addr);
    await readable(b);
    assert(isReadable(b));
    const { [kept]: datagram } = b as unknown as {
      [kept]: { data: Uint8Array; addr: unknown };
    };
    assertEquals(text(datagram.data), "one");
    assertEquals(datagram.addr, a.addr);
    assertEquals(text((await b.receive()).data), "one");
    assertEquals(text((await b.receive()).data), "two");
    assert(!isReadable(b));
    const told = readable(b);
    b.close();
    await told;
  },
);

Deno.test("a stranger's datagram makes no connected socket readable", async () => {
  await using stranger = await bindUdp({ hostname: "127.0.0.1" });
  await using peer = await bindUdp({ hostname: "127.0.0.1" });
  await using socket = await connectUdp(peer.addr);
  const to = { hostname: "127.0.0.1", port: socket.addr.port };
  let told = false;
  const end = (socket as unknown as Watchable)[readiness].watch(() => {
    told = true;
  });
  await stranger.send(utf8("psst"), to);
  while (socket.strays === 0) await turn();
  assert(!told);
  await peer.send(utf8("hello"), to);
  while (!told) await turn();
  end();
  assertEquals(text((await socket.receive()).data), "hello");
});

Deno.test("a reset makes a stream readable, and the read tells it", async () => {
  const { code, stdout, stderr } = await runDeno(
    ["-A"],
    `
import { connect } from "node:net";
import { once } from "node:events";
import { readiness } from ${
      JSON.stringify(import.meta.resolve("../_readiness.ts"))
    };
const listener = await sockets.listenTcp({ hostname: "127.0.0.1" });
const peer = connect(listener.addr.port, "127.0.0.1");
const [conn] = await Promise.all([listener.accept(), once(peer, "connect")]);
const told = new Promise((resolve) => conn[readiness].watch(resolve));
peer.resetAndDestroy();
await told;
console.log(await conn.read(new Uint8Array(1)).catch((error) => error.code));
Deno.exit(0);
`,
  );
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "ECONNRESET\n",
    stderr: "",
  });
});

for (const what of ["stream", "listener", "datagrams"]) {
  Deno.test(`who watches a ${what} keeps the program alive, and no longer`, async () => {
    const { code, stdout, stderr } = await runDeno(
      ["-A"],
      `
import { readiness } from ${
        JSON.stringify(import.meta.resolve("../_readiness.ts"))
      };
const listener = await sockets.listenTcp({ hostname: "127.0.0.1" });
const handle = {
  listener: () => listener,
  stream: async () => {
    const conn = await sockets.connectTcp(listener.addr);
    globalThis.kept = await listener.accept();
    return conn;
  },
  datagrams: () => sockets.bindUdp({ hostname: "127.0.0.1" }),
}[${JSON.stringify(what)}];
const end = (await handle())[readiness].watch(() => console.log("told"));
const id = setTimeout(() => {
  console.log("still here");
  end();
}, 50);
// Not kept alive by the timer.
Deno.unrefTimer(id);
`,
    );
    assertEquals({ code, stdout, stderr }, {
      code: 0,
      stdout: "still here\n",
      stderr: "",
    });
  });
}

Deno.test("an accept after the watch has ended loses nothing", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  const end = (listener as unknown as Watchable)[readiness].watch(() => {});
  end();
  using conn = await connectTcp(listener.addr);
  using accepted = await listener.accept();
  assertEquals(accepted.remoteAddr, conn.localAddr);
  const waiting = rejection(listener.accept());
  listener.close();
  assert(await waiting instanceof Deno.errors.Interrupted);
});
