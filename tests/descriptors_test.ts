/** Nothing leaks a descriptor: counted in processes of their own, where nobody else opens any. */

import { assertEquals } from "@std/assert";
import { runDeno } from "./_process.ts";

/** A program that does something 100 times and counts before and after. */
async function assertNoLeak(setUp: string, round: string): Promise<void> {
  const { code, stdout, stderr } = await runDeno(
    ["-A"],
    `
const { connectTcp, connectUnix, copy, listenTcp, listenUnix, pair, readAll, readExact } = sockets;
const count = () => [...Deno.readDirSync("/proc/self/fd")].length;
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));
const folder = Deno.makeTempDirSync();
const path = folder + "/s";
const listener = await listenTcp({ hostname: "127.0.0.1" });
const served = (async () => { for await (const conn of listener) conn.close(); })();
${setUp}
const round = async (i) => {${round}};
for (let i = 0; i < 3; i++) await round(i);
for (let i = 0; i < 20; i++) await turn();
const before = count();
for (let i = 0; i < 100; i++) await round(i);
// Some are closed a turn later. The runtime opens two of its own when it has run for a while.
for (let i = 0; i < 500 && count() > before; i++) await turn();
const more = count() - before;
console.log(more === 0 || more === 2 ? "no leak" : more + " more");
listener.close();
await served;
`,
  );
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "no leak\n",
    stderr: "",
  });
}

const test = (name: string, setUp: string, round: string) =>
  Deno.test({
    name: `no leak: ${name}`,
    ignore: Deno.build.os !== "linux",
    fn: () => assertNoLeak(setUp, round),
  });

test(
  "an abort in the very turn a connect succeeds",
  "let aborted = 0;",
  `
const abort = new AbortController();
const timer = setTimeout(() => { aborted++; abort.abort("turn"); }, 1);
const connecting = connectTcp({ ...listener.addr, signal: abort.signal });
// The loop is busy: the connect and the timer are both due when it comes back.
const until = performance.now() + 2;
while (performance.now() < until);
const error = await connecting.then((conn) => conn.close(), (error) => error);
if (error !== undefined && error !== "turn") throw error;
if (i === 99 && aborted < 50) throw new Error("only " + aborted + " aborted");
`,
);

test(
  "connects that time out or are aborted",
  `
const full = await listenTcp({ hostname: "127.0.0.1", backlog: 0 });
const first = await connectTcp(full.addr);
`,
  `
if (i % 10 === 0) {
  const error = await connectTcp({ ...full.addr, timeout: 1 }).catch((e) => e);
  if (error.name !== "TimeoutError") throw error;
}
const abort = new AbortController();
const connecting = connectTcp({ ...full.addr, signal: abort.signal });
if (i % 2) await turn();
abort.abort("enough");
if (await connecting.catch((e) => e) !== "enough") throw new Error("connected");
`,
);

test(
  "bad options",
  "",
  `
for (const call of [
  () => connectTcp({ port: 0 }),
  () => connectTcp({ port: 80, hostname: "a b" }),
  () => connectTcp({ port: listener.addr.port, noDelay: 1 }),
  () => connectTcp({ port: listener.addr.port, timeout: NaN }),
  () => listenTcp({ port: 65536 }),
  () => listenTcp({ hostname: "127.0.0.1", allow: ["nobody"] }),
  () => listenTcp({ hostname: "127.0.0.1", backlog: -1 }),
  () => listenUnix({ path, mode: -1 }),
  () => listenUnix({ path, unlink: 1 }),
  () => listenUnix({ path: "x".repeat(200) }),
  () => connectUnix({ path, timeout: 0 }),
]) {
  const error = await call().then(() => undefined, (error) => error);
  if (!(error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError)) throw error;
}
if ([...Deno.readDirSync(folder)].length > 0) throw new Error("a file was made");
`,
);

test(
  "what cannot be opened",
  "const taken = await listenUnix({ path }); Deno.writeTextFileSync(path + '.txt', '');",
  `
for (const call of [
  () => listenTcp(listener.addr),
  () => listenTcp({ hostname: "192.0.2.1" }),
  () => connectUnix({ path: path + ".none" }),
  () => connectUnix({ path: path + ".txt" }),
  () => listenUnix({ path: path + ".txt" }),
  () => listenUnix({ path }),
  () => listenUnix({ path, unlink: "never" }),
  () => listenUnix({ path: folder + "/none/s" }),
]) {
  const error = await call().then(() => undefined, (error) => error);
  if (typeof error?.code !== "string") throw new Error("no code: " + error);
}
// The probes have been answered.
taken.timeout = 1;
await taken.accept().then((conn) => conn.close(), () => {});
if ([...Deno.readDirSync(folder)].length !== 2) throw new Error("files are left");
`,
);

test(
  "listeners and connections of all sorts, closed in all sorts of ways",
  "",
  `
await using unix = await listenUnix({ path });
await using both = await listenTcp({ dualStack: true });
for (const [at, connect] of [
  [unix, () => connectUnix({ path })],
  [both, () => connectTcp({ port: both.addr.port })],
]) {
  const [a, b] = await Promise.all([connect(), at.accept()]);
  if (i % 5 === 0) a.read(new Uint8Array(1)).catch(() => {});
  if (i % 5 === 1) { a.timeout = 1e6; a.read(new Uint8Array(1)).catch(() => {}); }
  if (i % 5 === 2) a.readable.cancel();
  if (i % 5 === 3) await a.writable.abort();
  if (i % 5 === 4) { b.close(); await a.closeGracefully(); }
  a.close();
  b.close();
  const abort = new AbortController();
  at.accept({ signal: abort.signal }).catch(() => {});
  abort.abort();
  // A connection that nobody wants any more.
  if (i % 2) (await connect()).close();
}
`,
);
