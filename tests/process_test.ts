/** What keeps a program alive and what does not. */

import { assertEquals } from "@std/assert";
import { hasUnix } from "./_pairs.ts";
import { runDeno } from "./_process.ts";

/** Programs that make `a` and `b`, two connected ends, and a listener. */
const openers: Record<string, string> = {
  tcp: `
const listener = await sockets.listenTcp({ hostname: "127.0.0.1" });
const a = await sockets.connectTcp(listener.addr);
const b = await listener.accept();
`,
  ...(hasUnix && {
    unix: `
const path = (await Deno.makeTempDir()) + "/s";
const listener = await sockets.listenUnix({ path });
const a = await sockets.connectUnix({ path });
const b = await listener.accept();
`,
  }),
  "pair()": `
const [a, b] = sockets.pair();
const listener = { accept: () => new Promise(() => {}), ref() {}, unref() {} };
`,
};

for (const [name, open] of Object.entries(openers)) {
  const test = (
    what: string,
    body: string,
    said: string,
    kinds: readonly string[] = [name],
  ) => {
    if (!kinds.includes(name)) return;
    Deno.test(`${name}: ${what}`, async () => {
      const { code, stdout, stderr } = await runDeno(
        ["-A"],
        `${open}
const buffer = new Uint8Array(10);
const abort = new AbortController();
${body}`,
      );
      assertEquals({ code, stdout, stderr }, {
        code: 0,
        stdout: said,
        stderr: "",
      });
    });
  };
  const sockets = ["tcp", "unix"];

  test(
    "a finished program with a kept read exits by itself",
    `
const reading = a.read(buffer, { signal: abort.signal });
abort.abort("enough");
await reading.catch(console.log);
a.timeout = 5;
await a.read(buffer).catch((error) => console.log(error.name));
console.log("finished");
`,
    "enough\nTimeoutError\nfinished\n",
  );

  test(
    "a kept accept does not keep it alive",
    `
listener.accept({ signal: abort.signal }).catch(console.log);
abort.abort("enough");
`,
    "enough\n",
    sockets,
  );

  test(
    "a kept read that somebody waits for again keeps it alive",
    `
const reading = a.read(buffer, { signal: abort.signal });
abort.abort("enough");
await reading.catch(console.log);
setTimeout(() => b.writeAll(new Uint8Array(3)), 20);
console.log(await a.read(buffer));
`,
    "enough\n3\n",
  );

  test(
    "a timed read keeps it alive until its timeout",
    `
a.timeout = 20;
await a.read(buffer).catch((error) => console.log(error.name));
`,
    "TimeoutError\n",
  );

  test(
    "unref() lets it end while reads wait, of every sort",
    `
a.read(buffer).then(console.log, console.log);
b.timeout = 1e6;
b.read(buffer).then(console.log, console.log);
listener.accept().then(console.log, console.log);
a.unref();
b.unref();
listener.unref();
console.log("finished");
`,
    "finished\n",
    sockets,
  );

  test(
    "unref() before, ref() after",
    `
a.unref();
const reading = a.read(buffer);
a.ref();
setTimeout(() => b.writeAll(new Uint8Array(3)), 20);
console.log(await reading);
`,
    "3\n",
    sockets,
  );

  test(
    "discarding after readable.cancel() does not keep it alive",
    `
await a.readable.cancel();
console.log("finished");
`,
    "finished\n",
  );

  test(
    "closeGracefully() keeps it alive until it is done",
    `
setTimeout(() => b.close(), 20);
console.log(await a.closeGracefully());
`,
    "true\n",
  );

  test(
    "a kept read behind a plain one does not keep it alive",
    `
const plain = a.read(new Uint8Array(10));
const kept = a.read(buffer, { signal: abort.signal });
abort.abort("enough");
await kept.catch(console.log);
await b.writeAll(new Uint8Array(3));
console.log(await plain);
`,
    "enough\n3\n",
  );

  test(
    "readable.cancel() with a read pending does not keep it alive",
    `
const reader = a.readable.getReader();
reader.read();
await new Promise((resolve) => setTimeout(resolve, 0));
await reader.cancel();
console.log("finished");
`,
    "finished\n",
  );

  test(
    "a timed wait keeps it alive after others have been abandoned together",
    `
const [c] = sockets.pair({ capacity: 1 });
await c.write(new Uint8Array(1));
c.timeout = 5;
await Promise.allSettled([c.writeAll(buffer), c.writeAll(buffer)]);
c.timeout = 20;
await c.read(buffer).catch((error) => console.log(error.name));
`,
    "TimeoutError\n",
    ["pair()"],
  );

  test(
    "unref() lets it end before a timeout",
    `
a.timeout = 1e6;
a.unref();
a.read(buffer).then(console.log, console.log);
console.log("finished");
`,
    "finished\n",
  );

  test(
    "a wait without a timeout does not keep it alive for an older one's",
    `
a.timeout = 1e6;
await b.writeAll(new Uint8Array(1));
await a.read(buffer);
a.timeout = undefined;
a.read(buffer, { signal: abort.signal }).then(console.log, console.log);
console.log("finished");
`,
    "finished\n",
    ["pair()"],
  );

  test(
    "an open, idle connection does not keep it alive",
    `console.log("finished");`,
    "finished\n",
  );
}
