/** The C library's sockets in programs of their own: what they need, what they keep alive, what they leave. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { candidates } from "../libc/_symbols.ts";
import * as libc from "../libc/mod.ts";
import { openAll } from "./_libc.ts";
import { tempPath } from "./_pairs.ts";
import { freePort } from "./_ports.ts";
import { type Ended, runDenoUnder, startDeno } from "./_process.ts";

const LIBC = new URL("../libc/mod.ts", import.meta.url).href;
const SYMBOLS = new URL("../libc/_symbols.ts", import.meta.url).href;

const ignore = Deno.build.os !== "linux";
if (!ignore) openAll();

/** No program here takes this long, whatever else the machine does. */
const LIMIT = 60_000;

/** What every program begins with. */
const PRELUDE = `
import * as libc from ${JSON.stringify(LIBC)};
const { AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM } = libc;
const { select, Poller, POLLIN } = sockets;
const bytes = (n) => new Uint8Array(n).fill(7);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** Happens only in a program that something else keeps alive. */
const later = (ms, fn) => Deno.unrefTimer(setTimeout(fn, ms));
const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;
/** A TCP connection, and a listener that has room for more. */
async function tcp() {
  const server = libc.create_server(["127.0.0.1", 0]);
  const client = libc.socket(AF_INET);
  await client.connect(server.getsockname());
  const [conn] = await server.accept();
  return { server, client, conn };
}
function udp() {
  const socket = libc.socket(AF_INET, SOCK_DGRAM);
  socket.bind(["127.0.0.1", 0]);
  return socket;
}
`;

/** Runs a program to its end, which must come by itself. */
async function run(flags: readonly string[], body: string): Promise<Ended> {
  await using program = await startDeno(flags, PRELUDE + body);
  const timer = setTimeout(() => program.kill("SIGKILL"), LIMIT);
  try {
    return await program.ended();
  } finally {
    clearTimeout(timer);
  }
}

async function assertSays(
  flags: readonly string[],
  body: string,
  said: string,
): Promise<void> {
  const { code, signal, stdout, stderr } = await run(flags, body);
  assertEquals({ code, signal, stdout, stderr }, {
    code: 0,
    signal: null,
    stdout: said,
    stderr: "",
  });
}

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name: `libc: ${name}`, ignore, fn });

// The import

test("importing opens nothing and asks for nothing", async () => {
  await assertSays([], `console.log("fine");`, "fine\n");
});

test("the library is opened by the first call, not by the import", async () => {
  // A static import would run before its lines.
  await using program = await startDeno(
    ["-A"],
    `
const opened = [];
const { dlopen } = Deno;
Object.defineProperty(Deno, "dlopen", {
  value: (path, symbols) => { opened.push(path); return dlopen(path, symbols); },
});
const count = () => [...Deno.readDirSync("/proc/self/fd")].length;
const before = count();
const libc = await import(${JSON.stringify(LIBC)});
console.log(opened.length, count() - before);
libc.socket().close();
console.log(opened.length > 0, opened.every((path) => path === "libc.so.6"));
`,
  );
  const { code, stdout, stderr } = await program.ended();
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "0 0\ntrue true\n",
    stderr: "",
  });
});

// The permissions

/** Something of everything: streams, datagrams, messages, options, select, Poller, both ways to be woken. */
const EVERYTHING = `
for (const kind of ["thread", "eventfd"]) {
  console.log(await libc.useWake(kind));
  const { server, client, conn } = await tcp();
  const receiving = conn.recv(10);
  later(5, () => client.send(bytes(3)));
  console.log((await receiving).length);
  later(5, () => client.send(bytes(4)));
  console.log((await select([conn], [], []))[0].length, (await conn.recv(10)).length);
  using poller = new Poller();
  poller.register(client, POLLIN);
  later(5, () => conn.sendall(bytes(5)));
  console.log((await poller.poll())[0][1] === POLLIN, (await client.recv(10)).length);
  console.log(client.getsockopt(libc.SOL_SOCKET, libc.SO_TYPE) === SOCK_STREAM);
  const u = udp(), v = udp();
  await u.sendto(bytes(6), v.getsockname());
  const [data, from] = await v.recvfrom(10);
  console.log(data.length, from[1] === u.getsockname()[1]);
  await u.sendmsg([bytes(3), bytes(4)], [], 0, v.getsockname());
  console.log((await v.recvmsg(10))[0].length);
  console.log(await u.sendmmsg([[bytes(3), v.getsockname()], [bytes(4), v.getsockname()]]));
  console.log((await v.recvmmsg_into(new Uint8Array(20), 10)).map(([n]) => n).join());
  const [a, b] = await libc.socketpair(AF_UNIX, SOCK_SEQPACKET);
  const fd = new Uint8Array(new Int32Array([u.fileno()]).buffer);
  await a.sendmsg([bytes(1)], [{ level: libc.SOL_SOCKET, type: libc.SCM_RIGHTS, data: fd }]);
  const [, [{ data: got }]] = await b.recvmsg(10, libc.controlSpace(4));
  const copy = libc.fromfd(new Int32Array(got.buffer)[0], AF_INET, SOCK_DGRAM);
  console.log(copy.getsockname()[1] === u.getsockname()[1]);
  const error = await client.connect(["127.0.0.1", 1]).catch((error) => error);
  console.log(error.code);
  for (const socket of [server, client, conn, u, v, a, b, copy]) socket.close();
}
`;

const EVERYTHING_SAID = ["thread", "eventfd"].map((kind) =>
  `${kind}\n3\n1 4\ntrue 5\ntrue\n6 true\n7\n2\n3,4\ntrue\nEISCONN\n`
).join("");

test("everything with --allow-ffi and --allow-net", async () => {
  await assertSays(
    ["--allow-ffi", "--allow-net"],
    EVERYTHING,
    EVERYTHING_SAID,
  );
});

/** Where the C library is. */
function libraryPath(): string {
  const path = candidates(Deno.build.arch).find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
  assert(path !== undefined, "there is a C library");
  return path;
}

test("everything with a grant for the library alone", async () => {
  await assertSays(
    [`--allow-ffi=${libraryPath()}`, "--allow-net"],
    EVERYTHING,
    EVERYTHING_SAID,
  );
});

/** Every way to make a socket. */
const MAKERS = [
  "libc.socket()",
  "libc.socket(AF_UNIX, SOCK_DGRAM)",
  "await libc.socketpair()",
  `libc.create_server(["127.0.0.1", 0])`,
  `await libc.create_connection(["127.0.0.1", 1])`,
  "libc.fromfd(0)",
  `await libc.useWake("thread")`,
  `await libc.useWake("eventfd")`,
];

const withoutFfi = (flags: readonly string[]) =>
  assertSays(
    flags,
    MAKERS.map((call) => `
try { ${call}; console.log("opened"); }
catch (error) {
  const isNamed = error.message.includes("--allow-ffi flag");
  console.log(error instanceof Deno.errors.NotCapable, isNamed || error);
}`).join(""),
    "true true\n".repeat(MAKERS.length),
  );

test("without a grant for the library each call is refused and names the flag", () =>
  withoutFfi(["--allow-net"]));

test("a grant for another library is none", () =>
  withoutFfi(["--allow-net", "--allow-ffi=/nowhere/libc.so.6"]));

test("a bare name in the grant means a file in the working folder, so it is none", () =>
  withoutFfi(["--allow-net", "--allow-ffi=libc.so.6"]));

test("a denied library is not opened, and what is denied beside it does no harm", async () => {
  await withoutFfi(["--allow-net", "--deny-ffi"]);
  await assertSays(
    [
      `--allow-ffi=${libraryPath()}`,
      "--deny-ffi=/nowhere/other.so",
      "--allow-net",
    ],
    EVERYTHING,
    EVERYTHING_SAID,
  );
});

/** Tries calls, and says of each whether it was refused and which grant it wanted. */
function refused(calls: readonly string[]): string {
  return calls.map((call) => `
try { ${call}; console.log("done", ${JSON.stringify(call)}); }
catch (error) {
  const wants = /Requires (\\w+) access/.exec(error.message)?.[1];
  console.log(error instanceof Deno.errors.NotCapable && wants
    ? wants
    : "not refused: " + ${JSON.stringify(call)} + " " + error);
}`).join("");
}

const sock = (type: string) => `libc.socket(AF_INET, ${type})`;

test("without --allow-net nothing is bound, connected or sent", async () => {
  using server = libc.create_server(["127.0.0.1", 0]);
  using receiver = libc.socket(libc.AF_INET, libc.SOCK_DGRAM);
  receiver.bind(["127.0.0.1", 0]);
  const name = `\0${crypto.randomUUID()}`;
  using unix = libc.socket(libc.AF_UNIX, libc.SOCK_DGRAM);
  unix.bind(name);
  const [tcp, udp] = [server, receiver].map((socket) =>
    JSON.stringify(socket.getsockname())
  );
  const path = JSON.stringify(name);
  const other = JSON.stringify(`${name}2`);
  const calls = [
    `${sock("SOCK_STREAM")}.bind(["127.0.0.1", 0])`,
    `${sock("SOCK_DGRAM")}.bind(["127.0.0.1", 0])`,
    `${sock("SOCK_DGRAM")}.bind(["", 0])`,
    `${sock("SOCK_DGRAM")}.bind(["localhost", 0])`,
    `libc.socket(AF_INET6).bind(["::1", 0])`,
    `${sock("SOCK_STREAM")}.listen()`,
    `await ${sock("SOCK_STREAM")}.connect(${tcp})`,
    `await ${sock("SOCK_STREAM")}.connect_ex(${tcp})`,
    `await ${sock("SOCK_DGRAM")}.connect(${udp})`,
    `await ${sock("SOCK_DGRAM")}.sendto(bytes(1), ${udp})`,
    `await ${sock("SOCK_DGRAM")}.sendto(bytes(1), 0, ${udp})`,
    `await ${sock("SOCK_DGRAM")}.sendmsg([bytes(1)], [], 0, ${udp})`,
    `await ${sock("SOCK_DGRAM")}.sendmmsg([[bytes(1), ${udp}]])`,
    `await ${sock("SOCK_DGRAM")}.sendto(bytes(1), ["localhost", ${
      receiver.getsockname()[1]
    }])`,
    `libc.create_server(["127.0.0.1", 0])`,
    `libc.create_server(["", 0])`,
    `await libc.create_connection(${tcp})`,
    `libc.socket(AF_UNIX).bind(${other})`,
    `libc.socket(AF_UNIX, SOCK_DGRAM).bind("")`,
    `await libc.socket(AF_UNIX, SOCK_DGRAM).connect(${path})`,
    `await libc.socket(AF_UNIX, SOCK_DGRAM).sendto(bytes(1), ${path})`,
    `await libc.socket(AF_UNIX, SOCK_DGRAM).sendmsg([bytes(1)], [], 0, ${path})`,
  ];
  await assertSays(
    ["--allow-ffi"],
    refused(calls),
    "net\n".repeat(calls.length),
  );
  // What is sent on this machine is there when the call is over.
  for (const socket of [server, receiver, unix]) {
    socket.setblocking(false);
    const error = await (socket === server ? server.accept() : socket.recv(1))
      .catch((error) => error);
    assertEquals(error.code, "EAGAIN");
  }
});

/** Whether this user may have raw sockets. */
function hasRaw(): boolean {
  try {
    libc.socket(libc.AF_INET, libc.SOCK_RAW, libc.IPPROTO_ICMP).close();
    return true;
  } catch {
    return false;
  }
}

Deno.test({
  name: "libc: without --allow-net a raw socket neither sends nor hears",
  ignore: ignore || !hasRaw(),
  async fn() {
    const raw = "libc.socket(AF_INET, SOCK_RAW, libc.IPPROTO_ICMP)";
    await assertSays(
      ["--allow-ffi"],
      refused([
        `await ${raw}.sendto(bytes(8), ["127.0.0.1", 0])`,
        `await ${raw}.connect(["127.0.0.1", 0])`,
        `const s = ${raw}; s.settimeout(1); await s.recv(100)`,
        `const s = ${raw}; s.settimeout(1); await s.recvmmsg_into(bytes(100), 100)`,
      ]),
      "net\n".repeat(4),
    );
  },
});

test("a grant for one host and port is for these alone", async () => {
  const port = freePort();
  using one = libc.socket(libc.AF_INET, libc.SOCK_DGRAM);
  one.bind(["127.0.0.1", port]);
  using two = libc.socket(libc.AF_INET, libc.SOCK_DGRAM);
  two.bind(["127.0.0.1", 0]);
  const [, other] = two.getsockname();
  const calls = [
    `await u.sendto(bytes(1), ["127.0.0.1", ${other}])`,
    `await u.sendto(bytes(1), ["127.0.0.2", ${port}])`,
    `await ${sock("SOCK_DGRAM")}.connect(["127.0.0.1", ${other}])`,
    `await libc.socket(AF_INET6).connect(["::1", ${port}])`,
    `${sock("SOCK_STREAM")}.bind(["127.0.0.1", 0])`,
    `${sock("SOCK_STREAM")}.listen()`,
    `libc.socket(AF_UNIX).bind("\\0x${crypto.randomUUID()}")`,
  ];
  await assertSays(
    ["--allow-ffi", `--allow-net=127.0.0.1:${port}`],
    `
const u = ${sock("SOCK_DGRAM")};
for (let i = 0; i < 3; i++) console.log(await u.sendto(bytes(1), ["127.0.0.1", ${port}]));
${refused(calls)}
const s = ${sock("SOCK_STREAM")};
s.bind(["127.0.0.1", ${port}]);
s.listen();
const c = ${sock("SOCK_STREAM")};
await c.connect(["127.0.0.1", ${port}]);
console.log((await s.accept())[1][0]);
`,
    `${"1\n".repeat(3)}${"net\n".repeat(calls.length)}127.0.0.1\n`,
  );
  two.setblocking(false);
  assertEquals((await two.recv(1).catch((error) => error)).code, "EAGAIN");
});

test("a path needs read, write and net", async () => {
  await using temp = await tempPath();
  const path = temp.path;
  const grants = {
    read: `--allow-read=${path}`,
    write: `--allow-write=${path}`,
    net: `--allow-net=unix:${path}`,
  };
  const at = JSON.stringify(path);
  const calls = [
    `libc.socket(AF_UNIX).bind(${at})`,
    `await libc.socket(AF_UNIX).connect(${at})`,
    `await libc.socket(AF_UNIX, SOCK_DGRAM).sendto(bytes(1), ${at})`,
    `await libc.socket(AF_UNIX, SOCK_DGRAM).sendmsg([bytes(1)], [], 0, ${at})`,
    `libc.create_server(${at}, { family: AF_UNIX })`,
  ];
  for (const missing of ["read", "write", "net"] as const) {
    const flags = Object.entries(grants)
      .filter(([name]) => name !== missing)
      .map(([, flag]) => flag);
    await assertSays(
      ["--allow-ffi", ...flags],
      refused(calls),
      `${missing}\n`.repeat(calls.length),
    );
    // Nothing was made.
    assertEquals([...Deno.readDirSync(path.slice(0, -2))], []);
  }
  await assertSays(
    ["--allow-ffi", ...Object.values(grants)],
    `
const server = libc.create_server(${at}, { family: AF_UNIX });
const client = libc.socket(AF_UNIX);
await client.connect(${at});
const [conn] = await server.accept();
await client.send(bytes(3));
console.log((await conn.recv(10)).length, conn.getsockname() === ${at});
`,
    "3 true\n",
  );
});

test("a grant that is taken back is gone, for addresses that were used before too", async () => {
  using receiver = libc.socket(libc.AF_INET, libc.SOCK_DGRAM);
  receiver.bind(["127.0.0.1", 0]);
  const [, port] = receiver.getsockname();
  const at = `["127.0.0.1", ${port}]`;
  const use = (revoked: string) => `
const u = ${sock("SOCK_DGRAM")};
for (let i = 0; i < 3; i++) await u.sendto(bytes(1), ${at});
Deno.permissions.revokeSync(${revoked});
${
    refused([
      `await u.sendto(bytes(1), ${at})`,
      `await u.sendmsg([bytes(1)], [], 0, ${at})`,
      `await u.sendmmsg([[bytes(1), ${at}]])`,
      `await u.connect(${at})`,
    ])
  }`;
  const host = `{ name: "net", host: "127.0.0.1:${port}" }`;
  for (
    const [grant, revoked] of [
      ["--allow-net", `{ name: "net" }`],
      [`--allow-net=127.0.0.1:${port}`, `{ name: "net" }`],
      [`--allow-net=127.0.0.1:${port}`, host],
      ["--allow-net=127.0.0.1", `{ name: "net", host: "127.0.0.1" }`],
    ] as const
  ) {
    const { stdout, stderr } = await run(["--allow-ffi", grant], use(revoked));
    assertEquals(stdout + stderr, "net\n".repeat(4), `${grant} ${revoked}`);
  }
  receiver.setblocking(false);
  for (let i = 0; i < 3 * 4; i++) await receiver.recv(1);
  assertEquals((await receiver.recv(1).catch((error) => error)).code, "EAGAIN");
});

// The life of a program

for (const kind of ["thread", "eventfd"] as const) {
  const wake = `
if (await libc.useWake("${kind}") !== "${kind}") throw new Error("${kind} does not work here");
`;
  const life = (what: string, body: string, said: string) =>
    test(`${kind}: ${what}`, () => assertSays(["-A"], wake + body, said));

  life(
    "a wait keeps it alive until it is served, and no longer",
    `
const { server, client, conn } = await tcp();
const u = udp(), v = udp();
later(20, () => client.send(bytes(3)));
console.log("recv", (await conn.recv(10)).length);
later(20, () => client.sendall(bytes(10)));
console.log("recv_into", await conn.recv_into(new Uint8Array(10), 0, libc.MSG_WAITALL));
later(20, () => libc.socket().connect(server.getsockname()));
console.log("accept", (await server.accept()).length);
later(20, () => u.sendto(bytes(4), v.getsockname()));
console.log("recvfrom", (await v.recvfrom(10))[0].length);
later(20, () => u.sendto(bytes(5), v.getsockname()));
console.log("recvmsg", (await v.recvmsg(10))[0].length);
later(20, () => conn.shutdown(libc.SHUT_WR));
console.log("end", (await client.recv(10)).length);
`,
    "recv 3\nrecv_into 10\naccept 2\nrecvfrom 4\nrecvmsg 5\nend 0\n",
  );

  life(
    "a send that waits for room keeps it alive",
    `
const [a, b] = await libc.socketpair();
later(20, async () => { for (let n = 0; n < 5e6;) n += (await b.recv(2 ** 18)).length; });
await a.sendall(bytes(5e6));
console.log("sent");
const [c, d] = await libc.socketpair();
c.setblocking(false);
for (let full = false; !full;) full = await c.send(bytes(2000)).then(() => false, () => true);
c.setblocking(true);
later(20, () => d.recv(2 ** 18));
console.log(await c.send(bytes(1)));
`,
    "sent\n1\n",
  );

  life(
    "a connect that waits keeps it alive until it is taken",
    `
const server = libc.create_server(["127.0.0.1", 0], { backlog: 0 });
await libc.socket().connect(server.getsockname());
const client = libc.socket();
// The queue has room for one; the system tries again in a second.
const connecting = client.connect(server.getsockname());
later(20, () => server.accept());
await connecting;
console.log(client.getpeername()[1] === server.getsockname()[1]);
`,
    "true\n",
  );

  life(
    "open, idle sockets do not, whatever they have done before",
    `
const { server, client, conn } = await tcp();
const [u, [a, b]] = [udp(), await libc.socketpair()];
const receiving = conn.recv(10);
later(5, () => client.send(bytes(3)));
console.log((await receiving).length);
a.settimeout(5);
console.log((await a.recv(1).catch((error) => error)).name);
await select([a, u, server], [], [], 5);
console.log("finished");
`,
    "3\nTimeoutError\nfinished\n",
  );

  life(
    "unref() lets it end while calls of every sort wait",
    `
const { server, client, conn } = await tcp();
const full = libc.create_server(["127.0.0.1", 0], { backlog: 0 });
await libc.socket().connect(full.getsockname());
const waiting = libc.socket();
const u = udp();
const [a, b] = await libc.socketpair();
// Unix sockets whose queues are full.
const name = "\\0" + crypto.randomUUID();
const deaf = libc.socket(libc.AF_UNIX, libc.SOCK_DGRAM);
deaf.bind(name);
const sender = libc.socket(libc.AF_UNIX, libc.SOCK_DGRAM);
while (await sender.sendto(bytes(1), libc.MSG_DONTWAIT, name).catch(() => 0) > 0);
const busy = libc.socket(libc.AF_UNIX);
busy.bind(name + "s");
busy.listen(0);
await libc.socket(libc.AF_UNIX).connect(name + "s");
const caller = libc.socket(libc.AF_UNIX);
const log = (promise) => promise.then(console.log, console.log);
log(server.accept());
log(client.recv(10));
log(conn.recv(10, libc.MSG_WAITALL));
log(u.recvfrom(10));
log(u.recvmsg(10));
log(u.recvmmsg_into(bytes(10), 10));
log(waiting.connect(full.getsockname()));
log(a.sendall(bytes(1e7)));
log(sender.sendto(bytes(1), name));
log(sender.sendmsg([bytes(1)], [], 0, name));
log(caller.connect(name + "s"));
for (const socket of [server, client, conn, waiting, u, a, sender, caller]) socket.unref();
console.log("finished");
`,
    "finished\n",
  );

  life(
    "unref() lets it end before a timeout, whichever comes first",
    `
const [a, b] = await libc.socketpair();
for (const socket of [a, b]) socket.settimeout(1e8);
a.recv(10).then(console.log, console.log);
a.unref();
b.unref();
b.recv(10).then(console.log, console.log);
console.log("finished");
`,
    "finished\n",
  );

  life(
    "ref() after unref(): a wait keeps it alive until its timeout",
    `
const [a] = await libc.socketpair();
a.settimeout(20);
a.unref();
const receiving = a.recv(10);
a.ref();
console.log((await receiving.catch((error) => error)).name);
`,
    "TimeoutError\n",
  );

  life(
    "waits that do not keep it alive are served all the same",
    `
const [a, b] = await libc.socketpair();
const { server, client } = await tcp();
for (const socket of [a, server, client]) socket.unref();
const served = [];
const reading = (async () => {
  for (let i = 0; i < 50; i++) served.push((await a.recv(100)).length);
})();
server.accept().then(() => served.push("accept"));
client.settimeout(5);
client.recv(1).catch((error) => served.push(error.name));
// These wait, and keep it alive.
await sleep(50);
for (let i = 0; i < 50; i++) {
  await b.send(bytes(1));
  if (i % 5 === 0) await sleep(2);
}
await libc.socket().connect(server.getsockname());
while (served.filter((n) => n > 0).reduce((sum, n) => sum + n, 0) < 50 || !served.includes("accept")) {
  await sleep(5);
}
console.log(served.includes("TimeoutError"));
`,
    "true\n",
  );

  life(
    "ref() and unref() back and forth in a wait",
    `
const [a, b] = await libc.socketpair();
const receiving = a.recv(10);
for (let i = 0; i < 200; i++) {
  a.unref();
  if (i % 3 === 0) await sleep(0);
  a.ref();
  if (i % 7 === 0) await sleep(1);
}
later(20, () => b.send(bytes(3)));
console.log((await receiving).length);
a.recv(10).then(console.log, console.log);
await sleep(5);
a.unref();
console.log("finished");
`,
    "3\nfinished\n",
  );

  life(
    "a wait that holds beside one that does not",
    `
const [a, b] = await libc.socketpair();
const [c, d] = await libc.socketpair();
a.unref();
a.recv(10).then(console.log, console.log);
later(20, () => d.send(bytes(3)));
console.log((await c.recv(10)).length);
`,
    "3\n",
  );

  life(
    "a timed wait keeps it alive until its timeout, and what comes later is not lost",
    `
const [a, b] = await libc.socketpair();
a.settimeout(20);
for (let i = 0; i < 3; i++) console.log((await a.recv(10).catch((error) => error)).name);
await b.send(bytes(3));
console.log((await a.recv(10)).length);
`,
    "TimeoutError\nTimeoutError\nTimeoutError\n3\n",
  );

  life(
    "select keeps it alive until one is ready, or the time is over",
    `
const [a, b] = await libc.socketpair();
const u = udp();
later(20, () => b.send(bytes(3)));
const [readable] = await select([u, a], [], []);
console.log(readable.length, readable[0] === a);
console.log((await select([u], [], [], 20)).flat().length);
a.unref();
await a.recv(10);
later(20, () => b.send(bytes(3)));
// Somebody waits, whatever the socket is.
console.log((await select([a], [], []))[0].length);
`,
    "1 true\n0\n1\n",
  );

  life(
    "a Poller keeps it alive while somebody polls, and only then",
    `
const [a, b] = await libc.socketpair();
const poller = new Poller();
poller.register(a, POLLIN);
later(20, () => b.send(bytes(3)));
console.log((await poller.poll())[0][0] === a);
await a.recv(10);
console.log((await poller.poll(10)).length);
later(20, () => b.send(bytes(3)));
console.log((await poller.poll()).length);
await a.recv(10);
await poller.poll(0);
console.log("finished");
`,
    "true\n0\n1\nfinished\n",
  );

  life(
    "close() wakes all that wait, and it ends by itself",
    `
const { server, client, conn } = await tcp();
const full = libc.create_server(["127.0.0.1", 0], { backlog: 0 });
await libc.socket().connect(full.getsockname());
const waiting = libc.socket();
const u = udp();
const [a] = await libc.socketpair();
u.settimeout(1e8);
const waits = [
  server.accept(),
  client.recv(10),
  client.recv(10),
  conn.recv(10, libc.MSG_WAITALL),
  u.recvfrom(10),
  u.recvmsg(10),
  u.recvmmsg_into(bytes(10), 10),
  waiting.connect(full.getsockname()),
  a.sendall(bytes(1e7)),
];
const selecting = select([client], [], []);
await sleep(20);
for (const socket of [server, client, conn, u, waiting, a]) socket.close();
for (const { reason } of await Promise.allSettled(waits)) {
  console.log(reason instanceof Deno.errors.Interrupted && reason.code);
}
console.log((await selecting)[0].length);
`,
    `${"EINTR\n".repeat(9)}1\n`,
  );

  life(
    "Deno.exit() with waits under way",
    `
const [a] = await libc.socketpair();
a.recv(10);
await sleep(20);
console.log("exits");
Deno.exit(0);
`,
    "exits\n",
  );

  test(`${kind}: an uncaught error ends it, whatever waits`, async () => {
    const { code, signal, stdout, stderr } = await run(
      ["-A"],
      `${wake}
const [a] = await libc.socketpair();
a.recv(10);
setTimeout(() => { throw new Error("uncaught here"); }, 20);
`,
    );
    assertEquals({ code, signal, stdout }, {
      code: 1,
      signal: null,
      stdout: "",
    });
    assertStringIncludes(stderr, "uncaught here");
  });

  life(
    "signals in a wait change nothing",
    `
const [a, b] = await libc.socketpair();
let signals = 0;
const count = () => { signals++; };
Deno.addSignalListener("SIGWINCH", count);
const receiving = a.recv(10);
for (let i = 0; i < 100; i++) {
  Deno.kill(Deno.pid, "SIGWINCH");
  if (i % 10 === 0) await sleep(1);
}
while (signals === 0) await sleep(1);
Deno.removeSignalListener("SIGWINCH", count);
later(20, () => b.send(bytes(3)));
console.log((await receiving).length);
`,
    "3\n",
  );

  life(
    "a Worker that is terminated in a wait, and one that closes itself",
    `
if (self.name === "worker") {
  const [a, b] = await libc.socketpair();
  a.recv(10).then(() => self.postMessage("served"), () => self.postMessage("failed"));
  await sleep(5);
  self.postMessage("waits");
  self.onmessage = () => self.close();
} else {
  const [a, b] = await libc.socketpair();
  const receiving = a.recv(10);
  for (let i = 0; i < 6; i++) {
    const worker = new Worker(import.meta.url, { type: "module", name: "worker" });
    const { data } = await new Promise((resolve) => worker.onmessage = resolve);
    if (data !== "waits") throw new Error(data);
    if (i % 2) worker.postMessage("close");
    else worker.terminate();
  }
  later(20, () => b.send(bytes(3)));
  console.log((await receiving).length);
}
`,
    "3\n",
  );

  life(
    "main and three Workers at once, each with its own, and with each other's",
    `
/** Sends numbers there and back. */
async function echo(client, conn, rounds, salt) {
  const serving = (async () => {
    for (;;) {
      const data = await conn.recv(64);
      if (data.length === 0) return;
      await conn.sendall(data);
    }
  })();
  for (let i = 0; i < rounds; i++) {
    const sent = new Uint8Array(4 + i % 60);
    new DataView(sent.buffer).setUint32(0, salt + i);
    await client.sendall(sent);
    const got = await client.recv(sent.length, libc.MSG_WAITALL);
    if (got.some((byte, at) => byte !== sent[at])) throw new Error("another's data");
  }
  await client.shutdown(libc.SHUT_WR);
  await serving;
}
if (self.name !== "") {
  self.onmessage = async ({ data: address }) => {
    const { client, conn } = await tcp();
    await echo(client, conn, 300, Number(self.name) * 1e6);
    const [a, b] = await libc.socketpair();
    await echo(a, b, 300, Number(self.name) * 1e7);
    // The other end is in another thread.
    using far = libc.socket();
    await far.connect(address);
    for (let i = 0; i < 100; i++) {
      await far.sendall(bytes(10));
      if ((await far.recv(10, libc.MSG_WAITALL)).length !== 10) throw new Error("short");
    }
    self.postMessage("done");
  };
} else {
  const server = libc.create_server(["127.0.0.1", 0]);
  const workers = [1, 2, 3].map((name) =>
    new Worker(import.meta.url, { type: "module", name: String(name) })
  );
  const done = workers.map((worker) =>
    new Promise((resolve, reject) => {
      worker.onmessage = resolve;
      worker.onerror = reject;
    })
  );
  for (const worker of workers) worker.postMessage(server.getsockname());
  const serving = workers.map(async () => {
    const [conn] = await server.accept();
    for (;;) {
      const data = await conn.recv(100);
      if (data.length === 0) return conn.close();
      await conn.sendall(data);
    }
  });
  const { client, conn } = await tcp();
  await echo(client, conn, 300, 0);
  await Promise.all([...done, ...serving]);
  for (const worker of workers) worker.terminate();
  console.log("done");
}
`,
    "done\n",
  );

  for (
    const [what, unref] of [["", ""], [
      ", unref'd, beside a timer",
      "for (const [a] of pairs) a.unref();",
    ]]
  ) {
    test(`${kind}: 100 sockets that wait take no CPU${what}`, async () => {
      const { code, stdout, stderr } = await run(
        ["-A"],
        `${wake}
const pairs = [];
for (let i = 0; i < 100; i++) pairs.push(await libc.socketpair());
${unref}
for (const [a] of pairs) a.recv(10).catch(() => {});
await sleep(100);
/** User and system time so far, in hundredths of a second. */
const used = () => {
  const fields = Deno.readTextFileSync("/proc/self/stat").split(") ")[1].split(" ");
  return Number(fields[11]) + Number(fields[12]);
};
const [before, start] = [used(), performance.now()];
await sleep(1000);
console.log(used() - before, performance.now() - start);
for (const [a] of pairs) a.close();
`,
      );
      assertEquals({ code, stderr }, { code: 0, stderr: "" });
      const [used, wall] = stdout.split(" ").map(Number);
      const share = used! * 10 / wall!;
      assert(share < 0.3, `${Math.round(share * 100)} % of one CPU`);
    });
  }

  life(
    "a program that it starts holds none of its descriptors",
    `
const { server, client, conn } = await tcp();
const u = udp();
const [a, b] = await libc.socketpair();
const copy = a.dup();
const fd = new Uint8Array(new Int32Array([u.fileno()]).buffer);
await a.sendmsg([bytes(1)], [{ level: libc.SOL_SOCKET, type: libc.SCM_RIGHTS, data: fd }]);
const [, [{ data }]] = await b.recvmsg(10, libc.controlSpace(4));
const got = libc.fromfd(new Int32Array(data.buffer)[0], AF_INET, SOCK_DGRAM);
const receiving = client.recv(10);
await sleep(5);
const targets = () => [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => {
  try { return Deno.readLinkSync("/proc/self/fd/" + name); } catch { return ""; }
});
const own = [server, client, conn, u, a, b, copy, got].map((socket) =>
  Deno.readLinkSync("/proc/self/fd/" + socket.fileno())
);
console.log(new Set(own).size, own.every((target) => target.startsWith("socket:")));
const { stdout } = await new Deno.Command("sh", {
  args: ["-c", "exec ls -l /proc/self/fd"],
  stdin: "null",
}).output();
const theirs = new TextDecoder().decode(stdout);
console.log(own.some((target) => theirs.includes(target)), /eventpoll|eventfd|aio/.test(theirs));
await conn.send(bytes(3));
console.log((await receiving).length);
`,
    "6 true\nfalse false\n3\n",
  );

  life(
    "thousands of waits, each in its own turn",
    `
const [a, b] = await libc.socketpair();
let sum = 0;
for (let i = 0; i < 3000; i++) {
  const receiving = a.recv(10);
  setImmediate(() => b.send(bytes(1 + i % 3)));
  sum += (await receiving).length;
}
console.log(sum);
`,
    "6000\n",
  );
}

test("another way to be woken is chosen while calls wait", async () => {
  // A thread that is not told in time keeps a program from its end: some at once, so that it may be late.
  await Promise.all(Array.from({ length: 8 }, () =>
    assertSays(
      ["-A"],
      `
const [a, b] = await libc.socketpair();
let served = 0;
for (let i = 0; i < 300; i++) {
  const receiving = a.recv(10);
  if (i % 3) await sleep(0);
  if (i % 5 === 0) await sleep(1);
  const using = libc.useWake(i % 2 ? "eventfd" : "thread");
  if (i % 4) await using;
  await b.send(bytes(1));
  served += (await receiving).length;
  await using;
}
const before = descriptors();
for (let i = 0; i < 20; i++) await libc.useWake(i % 2 ? "thread" : "eventfd");
// The runtime may open one for its own use.
console.log(served, descriptors() - before < 4);
`,
      "300 true\n",
    )));
});

for (const [from, to] of [["thread", "eventfd"], ["eventfd", "thread"]]) {
  test(`a wait that began by ${from} is served by ${to}, and then it ends by itself`, async () => {
    await assertSays(
      ["-A"],
      `
await libc.useWake("${from}");
const [a, b] = await libc.socketpair();
const receiving = a.recv(10);
await sleep(20);
console.log(await libc.useWake("${to}"));
later(20, () => b.send(bytes(3)));
console.log((await receiving).length);
a.recv(10).then(console.log, console.log);
await sleep(20);
a.unref();
`,
      `${to}\n3\n`,
    );
  });
}

test("a wait that finds no descriptor left fails, and the next one does not", async () => {
  const { code, stdout, stderr } = await runDenoUnder(
    "ulimit -n 64",
    ["-A"],
    `${PRELUDE}
const [a, b] = await libc.socketpair();
const all = [];
try {
  for (;;) all.push(libc.socket());
} catch (error) {
  console.log(error.code);
}
// What waiting rests on is made by the first wait.
console.log((await a.recv(10).catch((error) => error)).code);
for (const socket of all) socket.close();
a.settimeout(30_000);
const receiving = a.recv(10);
setTimeout(() => b.send(bytes(3)), 5);
console.log((await receiving).length);
`,
  );
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "EMFILE\nEMFILE\n3\n",
    stderr: "",
  });
});

test("a blocking descriptor that is adopted does not stop the program", async () => {
  await using program = await startDeno(
    ["-A"],
    `${PRELUDE}
import { calls } from ${JSON.stringify(SYMBOLS)};
const server = libc.fromfd(calls().socket(AF_INET, SOCK_STREAM, 0));
server.bind(["127.0.0.1", 0]);
server.listen(0);
console.log("accepts");
const accepting = server.accept();
const client = libc.fromfd(calls().socket(AF_INET, SOCK_STREAM, 0));
setTimeout(async () => {
  await client.connect(server.getsockname());
  console.log("connected");
}, 5);
const [conn] = await accepting;
console.log("accepted");
// The queue is full: this one waits until it is given up.
await libc.socket().connect(server.getsockname());
const other = libc.fromfd(calls().socket(AF_INET, SOCK_STREAM, 0));
other.settimeout(20);
console.log((await other.connect(server.getsockname()).catch((error) => error)).name);
`,
  );
  assertEquals(await program.line(), "accepts");
  // It stands still, or it is done before long.
  const timer = setTimeout(() => program.kill("SIGKILL"), 60_000);
  const { code, stdout, stderr } = await program.ended();
  clearTimeout(timer);
  assertEquals({ code, stdout: stdout.split("\n").sort(), stderr }, {
    code: 0,
    stdout: ["", "TimeoutError", "accepted", "connected"],
    stderr: "",
  });
});
