/** What keeps a program with datagram sockets alive, what does not, and what it leaves open. */

import { assertEquals } from "@std/assert";
import { backends } from "./_datagrams.ts";
import { hasAbstract, hasUnix } from "./_pairs.ts";
import { freePort } from "./_ports.ts";
import { runDeno, unstable } from "./_process.ts";

/** Programs that make `a` and `b`. */
const openers: Record<string, string> = {
  ...Object.fromEntries(backends.map((backend) => [
    `udp ${backend}`,
    `
const make = (port = 0) => sockets.bindUdp({ hostname: "127.0.0.1", port, backend: "${backend}" });
`,
  ])),
  ...(unstable && hasUnix && {
    "unixgram path": `
const folder = Deno.makeTempDirSync();
let made = 0;
const make = () => sockets.bindUnixDatagram({ path: folder + "/" + made++ });
addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
`,
  }),
  ...(unstable && hasAbstract && {
    unixgram: `
const make = () => sockets.bindUnixDatagram({ path: "\\0" + crypto.randomUUID() });
`,
  }),
};

for (const [name, open] of Object.entries(openers)) {
  const test = (what: string, body: string, said: string) =>
    Deno.test(`${name}: ${what}`, async () => {
      const { code, stdout, stderr } = await runDeno(
        ["-A"],
        `${open}
const a = await make();
const b = await make();
const abort = new AbortController();
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));
const count = () => [...Deno.readDirSync("/proc/self/fd")].length;
${body}`,
      );
      assertEquals({ code, stdout, stderr }, {
        code: 0,
        stdout: said,
        stderr: "",
      });
    });

  test(
    "an open, idle socket does not keep it alive",
    `console.log("finished");`,
    "finished\n",
  );

  test(
    "a socket that has done nothing is disposed of, and its name is free",
    `
await a[Symbol.asyncDispose]();
await b[Symbol.asyncDispose]();
console.log("disposed");
`,
    "disposed\n",
  );

  // In a process that starts no others: one that is just being started holds all descriptors for a moment. And
  // with a port that the system gives to nobody else in between.
  test(
    "the name is free when a block is left, whatever waits",
    `
const bind = (addr) => "path" in addr
  ? sockets.bindUnixDatagram({ path: addr.path, unlink: "never" })
  : sockets.bindUdp({ ...addr, backend: a.backend });
for (let i = 0; i < 200; i++) {
  const socket = await make(${freePort()});
  if (i % 4 === 1) socket.receive().catch(() => {});
  if (i % 4 === 2) {
    const abort = new AbortController();
    socket.receive({ signal: abort.signal }).catch(() => {});
    abort.abort();
  }
  if (i % 4 === 3) socket.receiveInto(new Uint8Array(400_000)).catch(() => {});
  if (i % 8 > 3) await turn();
  await socket[Symbol.asyncDispose]();
  const again = await bind(socket.addr);
  await again[Symbol.asyncDispose]();
}
console.log("free");
`,
    "free\n",
  );

  test(
    "a receive keeps it alive until a datagram comes",
    `
setTimeout(() => a.send(new Uint8Array(3), b.addr), 30);
const { data } = await b.receive();
console.log(data.length);
`,
    "3\n",
  );

  test(
    "a finished program with a kept receive exits by itself",
    `
b.receive({ signal: abort.signal }).catch(console.log);
abort.abort("enough");
a.timeout = 5;
await a.receive().catch((error) => console.log(error.name));
console.log("finished");
`,
    "enough\nTimeoutError\nfinished\n",
  );

  test(
    "a kept receive that somebody waits for again keeps it alive",
    `
const receiving = b.receive({ signal: abort.signal });
abort.abort("enough");
await receiving.catch(console.log);
for (let i = 0; i < 5; i++) await turn();
setTimeout(() => a.send(new Uint8Array(3), b.addr), 30);
console.log((await b.receive()).data.length);
`,
    "enough\n3\n",
  );

  test(
    "a send behind an abandoned receive keeps it alive until it went",
    `
const receiving = b.receive({ signal: abort.signal });
abort.abort("enough");
await receiving.catch(console.log);
for (let i = 0; i < 5; i++) await turn();
console.log(await b.send(new Uint8Array(3), a.addr));
console.log((await a.receive()).data.length);
`,
    "enough\n3\n3\n",
  );

  test(
    "a timed receive keeps it alive until its timeout",
    `
b.timeout = 20;
await b.receive().catch((error) => console.log(error.name));
`,
    "TimeoutError\n",
  );

  test(
    "unref() lets it end while receives wait, of every sort",
    `
b.receive().then(console.log, console.log);
a.timeout = 1e6;
a.receive().then(console.log, console.log);
a.unref();
b.unref();
console.log("finished");
`,
    "finished\n",
  );

  test(
    "unref() before a receive, ref() after it",
    `
b.unref();
const receiving = b.receive();
b.ref();
setTimeout(() => a.send(new Uint8Array(3), b.addr), 30);
console.log((await receiving).data.length);
`,
    "3\n",
  );

  test(
    "an unref'd receive still receives",
    `
b.unref();
// Something else keeps the program alive until it has come.
const hold = setInterval(() => {}, 1000);
b.receive().then(({ data }) => {
  console.log(data.length);
  clearInterval(hold);
});
await turn();
await a.send(new Uint8Array(3), b.addr);
`,
    "3\n",
  );

  test(
    "disposal with a kept receive is waited for",
    `
const receiving = b.receive({ signal: abort.signal });
abort.abort("enough");
await receiving.catch(console.log);
await b[Symbol.asyncDispose]();
console.log("disposed");
`,
    "enough\ndisposed\n",
  );

  Deno.test({
    name: `${name}: no descriptor is left open`,
    ignore: Deno.build.os !== "linux",
    async fn() {
      const { code, stdout, stderr } = await runDeno(
        ["-A"],
        `${open}
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));
const count = () => [...Deno.readDirSync("/proc/self/fd")].length;
const round = async (i) => {
  const a = await make();
  const b = await make();
  const abort = new AbortController();
  const waits = { list: [], push(wait) { wait.catch(() => {}); this.list.push(wait); } };
  if (i % 4 === 0) waits.push(b.receive());
  if (i % 4 === 1) waits.push(b.receive({ signal: abort.signal }));
  if (i % 4 === 2) {
    const { port } = a.addr;
    waits.push(sockets.bindUdp({ ...a.addr, multicastInterface: "10.9.9.9" }));
    waits.push(sockets.bindUdp({ hostname: "192.0.2.1" }));
    waits.push(sockets.connectUdp({ hostname: "localhost", port: 9, localHostname: "192.0.2.1" }));
    waits.push(sockets.bindUdp({ hostname: "127.0.0.1", multicastInterface: "10.9.9.9" }));
    const connecting = sockets.connectUdp({ hostname: "localhost", port: 9, signal: abort.signal });
    waits.push(connecting);
    waits.push(a.send(new Uint8Array(1), { path: "/nobody", hostname: "127.0.0.1", port: 0 }));
  }
  if (i % 4 === 3) {
    await a.send(new Uint8Array(9), b.addr);
    const receiving = b.receive();
    await b.send(new Uint8Array(9), a.addr);
    await receiving;
  }
  abort.abort("enough");
  if (i % 2) await turn();
  a.close();
  if (i % 3) b.close();
  await b[Symbol.asyncDispose]();
  for (const wait of await Promise.allSettled(waits.list)) {
    if (wait.status === "fulfilled") throw new Error("opened");
  }
};
for (let i = 0; i < 8; i++) await round(i);
for (let i = 0; i < 20; i++) await turn();
const before = count();
for (let i = 0; i < 100; i++) await round(i);
for (let i = 0; i < 500 && count() > before; i++) await turn();
const more = count() - before;
// The runtime opens two of its own when it has run for a while.
console.log(more <= 2 ? "no leak" : more + " more");
`,
      );
      assertEquals({ code, stdout, stderr }, {
        code: 0,
        stdout: "no leak\n",
        stderr: "",
      });
    },
  });
}

// In processes of their own: a lookup cannot be ended, and would outlast the test.
for (const backend of backends) {
  Deno.test(`udp ${backend}: a lookup that is aborted or closed sends and opens nothing`, async () => {
    const { code, stdout, stderr } = await runDeno(
      ["--allow-net"],
      `
const hostname = "localhost";
const backend = "${backend}";
const make = () => sockets.bindUdp({ hostname: "127.0.0.1", backend });
const to = await make();
const from = await make();
const { port } = to.addr;
const next = async () => new TextDecoder().decode((await to.receive()).data);
const abort = new AbortController();
const aborted = from.send(new TextEncoder().encode("no"), { hostname, port }, { signal: abort.signal });
const unconnected = sockets.connectUdp({ hostname, port, signal: abort.signal, backend });
abort.abort("enough");
await aborted.catch(console.log);
await unconnected.catch(console.log);
await from.send(new TextEncoder().encode("yes"), { hostname, port });
console.log(await next());
const other = await make();
const closed = other.send(new TextEncoder().encode("no"), { hostname, port });
other.close();
await closed.catch((error) => console.log(sockets.errorCode(error)));
// One more lookup, so that the others have had their time.
await from.send(new TextEncoder().encode("marker"), { hostname, port });
console.log(await next());
`,
    );
    assertEquals({ code, stdout, stderr }, {
      code: 0,
      stdout: "enough\nenough\nyes\nEINTR\nmarker\n",
      stderr: "",
    });
  });
}

Deno.test({
  name: "unixgram: a send that waits never keeps a program alive after close()",
  ignore: !unstable || !hasAbstract,
  async fn() {
    const { code, stdout, stderr } = await runDeno(
      ["-A"],
      `
const path = "\\0" + crypto.randomUUID();
// A peer that is there and never reads, in a process that outlives this one's work.
const peer = await sockets.bindUnixDatagram({ path });
const sender = await sockets.bindUnixDatagram();
let sent = 0;
const sending = (async () => {
  for (;; sent++) await sender.send(new Uint8Array(1), { path });
})().catch((error) => console.log(error.name));
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));
for (let last = -1; sent !== last;) {
  last = sent;
  for (let i = 0; i < 20; i++) await turn();
}
sender.close();
await sending;
console.log("closed", sent > 0);
// Nor does one whose caller has left, though its socket is open.
const other = await sockets.bindUnixDatagram();
other.timeout = 20;
await other.send(new Uint8Array(1), { path }).catch((error) => console.log(error.name));
console.log("finished");
`,
    );
    assertEquals({ code, stdout, stderr }, {
      code: 0,
      stdout: "Interrupted\nclosed true\nTimeoutError\nfinished\n",
      stderr: "",
    });
  },
});
