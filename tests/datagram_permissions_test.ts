/** Datagrams with the flags that people have: a missing one is an error, never a crash. */

import { assertEquals, assertMatch } from "@std/assert";
import { backends } from "./_datagrams.ts";
import { hasAbstract, hasUnix, tempPath } from "./_pairs.ts";
import { freePort } from "./_ports.ts";
import { runDeno, unstable } from "./_process.ts";

/** Runs a program that prints lines, and compares them. */
async function assertSays(
  flags: string[],
  body: string,
  said: RegExp,
): Promise<void> {
  const { code, stdout, stderr } = await runDeno(
    flags,
    `
const { bindUdp, connectUdp, bindUnixDatagram } = sockets;
const utf8 = (text) => new TextEncoder().encode(text);
const say = ({ data }) => console.log(new TextDecoder().decode(data));
const sayError = (error) =>
  console.log(error instanceof Deno.errors.NotCapable && error.code === "EPERM", error.message);
${body}`,
  );
  assertEquals(stderr, "");
  assertMatch(stdout, said);
  assertEquals(code, 0);
}

for (const backend of backends) {
  const udp = (
    name: string,
    flags: (ports: [number, number]) => string[],
    body: (ports: [number, number]) => string,
    said: RegExp,
  ) =>
    Deno.test(`udp ${backend}: ${name}`, async () => {
      const ports: [number, number] = [freePort(), freePort()];
      await assertSays(
        flags(ports),
        `const backend = ${JSON.stringify(backend)};\n${body(ports)}`,
        said,
      );
    });

  udp(
    "with --allow-net",
    () => ["--allow-net"],
    () => `
await using a = await bindUdp({ hostname: "127.0.0.1", backend });
await using b = await connectUdp({ ...a.addr, backend });
await b.send(utf8("hello"));
say(await a.receive());
`,
    /^hello\n$/,
  );

  udp(
    "with two literal hosts and ports",
    ([a, b]) => [`--allow-net=127.0.0.1:${a},127.0.0.1:${b}`],
    ([a, b]) => `
await using one = await bindUdp({ hostname: "127.0.0.1", port: ${a}, backend });
await using two = await bindUdp({ hostname: "127.0.0.1", port: ${b}, backend });
await one.send(utf8("hello"), two.addr);
const datagram = await two.receive();
say(datagram);
await two.send(utf8("answer"), datagram.addr);
say(await one.receive());
`,
    /^hello\nanswer\n$/,
  );

  udp(
    "connectUdp() with one literal host, on this machine",
    () => ["--allow-net=127.0.0.1"],
    () => `
await using a = await bindUdp({ hostname: "127.0.0.1", backend });
await using b = await connectUdp({ ...a.addr, backend });
await b.send(utf8("hello"));
const { addr } = await a.receive();
await a.send(utf8("answer"), addr);
say(await b.receive());
`,
    /^answer\n$/,
  );

  udp(
    "connectUdp() says which grant its own end needs",
    ([port]) => [`--allow-net=127.0.0.1:${port}`],
    ([port]) => `
await connectUdp({ port: ${port}, backend }).catch(sayError);
`,
    /^true Cannot bind udp 0\.0\.0\.0:0: Requires net access to "0\.0\.0\.0:0", run again with the --allow-net flag\n$/,
  );

  udp(
    "with one name",
    () => ["--allow-net=localhost"],
    () => `
await using a = await bindUdp({ hostname: "localhost", backend });
await using b = await bindUdp({ hostname: "localhost", backend });
const to = { hostname: "localhost", port: b.addr.port };
await a.send(utf8("one"), to);
await a.send(utf8("two"), to);
say(await b.receive());
say(await b.receive());
await a.send(utf8("three"), b.addr).catch(sayError);
await a.connect(to);
await a.send(utf8("four"));
say(await b.receive());
`,
    /^one\ntwo\ntrue .*Requires net access to "127\.0\.0\.1:\d+".*\nfour\n$/,
  );

  udp(
    "with one name and port",
    ([port]) => [`--allow-net=localhost:${port}`],
    ([port]) => `
await using a = await bindUdp({ hostname: "localhost", port: ${port}, backend });
await a.send(utf8("hello"), { hostname: "localhost", port: ${port} });
say(await a.receive());
await a.connect({ hostname: "localhost", port: ${port} }).catch(sayError);
`,
    /^hello\ntrue Cannot connect to udp localhost:\d+: .*\n$/,
  );

  udp(
    "without a grant, binding is an error",
    ([port]) => [`--allow-net=127.0.0.1:${port}`],
    () => `
await bindUdp({ hostname: "127.0.0.1", backend }).catch(sayError);
await bindUdp({ hostname: "127.0.0.1", port: 9, backend }).catch(sayError);
await bindUdp({ hostname: "localhost", backend }).catch(sayError);
console.log("alive");
`,
    /^true Cannot bind udp 127\.0\.0\.1:0: Requires net access to "127\.0\.0\.1:0".*\n(true Cannot bind udp .*\n){2}alive\n$/,
  );

  udp(
    "without a grant, sending is an error, and the socket stays usable",
    ([port]) => [`--allow-net=127.0.0.1:${port}`],
    ([port]) => `
await using a = await bindUdp({ hostname: "127.0.0.1", port: ${port}, backend });
await a.send(utf8("x"), { hostname: "127.0.0.1", port: 9 }).catch(sayError);
await a.send(utf8("x"), { hostname: "127.0.0.2", port: ${port} }).catch(sayError);
await a.send(utf8("x"), { hostname: "localhost", port: ${port} }).catch(sayError);
a.timeout = 60_000;
await a.send(utf8("x"), { hostname: "127.0.0.1", port: 9 }).catch(sayError);
await a.send(utf8("fine"), a.addr);
say(await a.receive());
`,
    /^(true .*Requires net access to "(127\.0\.0\.[12]|localhost):\d+".*\n){4}fine\n$/,
  );
}

Deno.test("without any permission there is no UDP, and no crash", async () => {
  for (const backend of backends) {
    await assertSays(
      [],
      `
await bindUdp({ backend: ${JSON.stringify(backend)} }).catch(sayError);
await connectUdp({ port: 9, backend: ${
        JSON.stringify(backend)
      } }).catch(sayError);
await connectUdp({ hostname: "localhost", port: 9, backend: ${
        JSON.stringify(backend)
      } }).catch(sayError);
`,
      /^(true Cannot .*\n){3}$/,
    );
  }
});

const unix = (
  name: string,
  ignore: boolean,
  fn: (path: string) => Promise<void>,
) =>
  Deno.test({
    name: `unixgram: ${name}`,
    ignore: ignore || !unstable || !hasUnix,
    async fn() {
      await using temp = await tempPath();
      await fn(temp.path);
    },
  });

/** The three grants of a path. */
const grants = (path: string) => ({
  read: `--allow-read=${path}`,
  write: `--allow-write=${path}`,
  net: `--allow-net=unix:${path}`,
});

unix("with grants for its one path", false, async (path) => {
  await assertSays(
    Object.values(grants(path)),
    `
const path = ${JSON.stringify(path)};
await using a = await bindUnixDatagram({ path, mode: 0o600 });
await using b = await bindUnixDatagram();
await b.send(utf8("hello"), { path });
say(await a.receive());
// A send in the way of a receive needs no more than that.
const receiving = a.receive();
await a.send(utf8("to myself"), a.addr);
say(await receiving);
`,
    /^hello\nto myself\n$/,
  );
});

unix("binding without one of its grants", false, async (path) => {
  const all = grants(path);
  for (const missing of ["read", "write", "net"] as const) {
    const { [missing]: _, ...rest } = all;
    await assertSays(
      Object.values(rest),
      `await bindUnixDatagram({ path: ${
        JSON.stringify(path)
      } }).catch(sayError);`,
      new RegExp(`^true Cannot bind unixgram .*Requires ${missing} access to`),
    );
  }
});

unix("sending without its grants", false, async (path) => {
  const { write, net } = grants(path);
  for (
    const [flags, missing] of [
      [[net], "write"],
      [[write], "net"],
    ] as const
  ) {
    await assertSays(
      [...flags],
      `
await using socket = await bindUnixDatagram();
await socket.send(utf8("x"), { path: ${JSON.stringify(path)} }).catch(sayError);
`,
      new RegExp(
        `^true Cannot send to unixgram .*Requires ${missing} access to`,
      ),
    );
  }
});

unix("an abstract name needs --allow-net only", !hasAbstract, async () => {
  await assertSays(
    ["--allow-net"],
    `
await using a = await bindUnixDatagram({ path: "\\0" + crypto.randomUUID() });
await using b = await bindUnixDatagram({ path: "\\0" + crypto.randomUUID() });
const receiving = a.receive();
await b.send(utf8("hello"), a.addr);
say(await receiving);
`,
    /^hello\n$/,
  );
});
