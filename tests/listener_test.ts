/** What the system or a peer may do to an accept, by a listener of the runtime's that does it at will. */

import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { errorCode } from "../errors.ts";
import { pair, type PairConn } from "../pair.ts";
import type { UnixAddr } from "../types.ts";
import { Listener } from "../_listener.ts";
import { rejection, turn } from "./_bytes.ts";
import { runDeno } from "./_process.ts";

/** A listener over accepts that this test settles. */
function made() {
  const accepts: PromiseWithResolvers<PairConn>[] = [];
  const refs: boolean[] = [];
  const native = {
    accept() {
      const accept = Promise.withResolvers<PairConn>();
      accepts.push(accept);
      return accept.promise;
    },
    close() {
      accepts.at(-1)?.reject(new Deno.errors.BadResource("closed"));
    },
    ref: () => void refs.push(true),
    unref: () => void refs.push(false),
  };
  const addr: UnixAddr = { transport: "unix", path: null };
  const listener = new Listener<PairConn, PairConn, UnixAddr>({
    natives: [native],
    addr,
    wrap: (conn) => conn,
  });
  return { listener, accepts, refs };
}

const failure = (code: string) => Object.assign(new Error(code), { code });

Deno.test("accept() passes over what the network did to a connection", async () => {
  const { listener, accepts } = made();
  const accepting = listener.accept();
  for (
    const error of [
      failure("ENOTCONN"),
      failure("ECONNABORTED"),
      failure("ECONNRESET"),
      failure("EPROTO"),
      failure("EHOSTUNREACH"),
      failure("ENETDOWN"),
      new Deno.errors.InvalidData("no text"),
    ]
  ) {
    accepts.at(-1)!.reject(error);
    await turn();
  }
  const [a, b] = pair();
  accepts.at(-1)!.resolve(a);
  assertEquals(await accepting, a);
  listener.close();
  a.close();
  b.close();
});

Deno.test("the loop pauses when the system is out of something", async () => {
  const { listener, accepts } = made();
  const served: PairConn[] = [];
  const serving = (async () => {
    for await (const conn of listener) served.push(conn);
  })();
  for (const code of ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]) {
    const before = accepts.length;
    accepts.at(-1)!.reject(failure(code));
    // In the next turns nothing is tried; then it is, and only once.
    for (let i = 0; i < 3; i++) await Promise.resolve();
    assertEquals(accepts.length, before, code);
    while (accepts.length === before) await turn();
    assertEquals(accepts.length, before + 1, code);
  }
  const [a, b] = pair();
  accepts.at(-1)!.resolve(a);
  while (served.length === 0) await turn();
  // A close ends the pause as well.
  while (accepts.length < 6) await turn();
  accepts.at(-1)!.reject(failure("EMFILE"));
  await turn();
  listener.close();
  await serving;
  a.close();
  b.close();
});

Deno.test("an unknown error ends the loop, and a single accept()", async () => {
  const { listener, accepts } = made();
  const iterating = rejection((async () => {
    for await (const _ of listener);
  })());
  accepts.at(-1)!.reject(failure("EINVAL"));
  assertEquals(errorCode(await iterating), "EINVAL");
  const accepting = rejection(listener.accept());
  accepts.at(-1)!.reject(failure("EMFILE"));
  assertEquals(errorCode(await accepting), "EMFILE");
  listener.close();
});

Deno.test("ref() and unref() reach the runtime when they change something", async () => {
  const { listener, accepts, refs } = made();
  listener.ref();
  assertEquals(refs, []);
  listener.unref();
  listener.unref();
  assertEquals(refs, [false]);
  listener.ref();
  assertEquals(refs, [false, true]);
  const abort = new AbortController();
  const accepting = rejection(listener.accept({ signal: abort.signal }));
  abort.abort();
  await accepting;
  assertEquals(refs, [false, true, false], "a kept accept is unref'd");
  const [a, b] = pair();
  const again = listener.accept();
  assertEquals(refs.at(-1), true, "and ref'd for the next who waits");
  accepts.at(-1)!.resolve(a);
  assertEquals(await again, a);
  listener.close();
  a.close();
  b.close();
});

Deno.test({
  name: "dualStack where the system keeps IPv6 to itself",
  ignore: Deno.build.os !== "linux" || Deno.uid() !== 0,
  async fn() {
    // A network namespace of its own, in which sockets on "::" are for IPv6 only.
    const source = `
const run = (...args) => new Deno.Command(args[0], { args: args.slice(1) }).outputSync();
if (Deno.args[0] !== "inside") {
  const { stdout, stderr, code } = run("unshare", "-n", Deno.execPath(), "run", "-A", "--no-config", "--quiet", import.meta.filename, "inside");
  await Deno.stdout.write(stdout);
  await Deno.stderr.write(stderr);
  Deno.exit(code);
}
run("ip", "link", "set", "lo", "up");
Deno.writeTextFileSync("/proc/sys/net/ipv6/bindv6only", "1");
const { connectTcp, listenTcp } = sockets;
const listener = await listenTcp({ dualStack: true });
const { port } = listener.addr;
for (const hostname of ["127.0.0.1", "::1", "127.0.0.1", "::1"]) {
  const [a, b] = await Promise.all([connectTcp({ hostname, port }), listener.accept()]);
  console.log(b.localAddr.hostname);
  a.close(); b.close();
}
await listener[Symbol.asyncDispose]();
const four = await listenTcp({ hostname: "0.0.0.0" });
await listenTcp({ dualStack: true, port: four.addr.port }).catch((error) => console.log(error.code));
four.close();
`;
    const { code, stdout, stderr } = await runDeno(["-A"], source);
    if (/unshare|Operation not permitted/.test(stderr)) return;
    assertEquals({ code, stdout, stderr }, {
      code: 0,
      stdout: "127.0.0.1\n::1\n127.0.0.1\n::1\nEADDRINUSE\n",
      stderr: "",
    });
  },
});

Deno.test("errors of a listener are told at once to everybody who waits", async () => {
  const { listener } = made();
  const waits = [1, 2, 3].map(() => rejection(listener.accept()));
  listener.close();
  for (const error of await Promise.all(waits)) {
    assertInstanceOf(error, Deno.errors.Interrupted);
    assert(error.message.startsWith("Listener"));
  }
});
