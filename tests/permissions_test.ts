/** The flags that people have are the flags that are needed; a missing one is an error, never a crash. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { hasAbstract, hasUnix, tempPath } from "./_pairs.ts";
import { freePort } from "./_ports.ts";
import { runDeno } from "./_process.ts";

/** A program that echoes one message between a server and a client. */
const echo = (listen: string, connect: string) => `
await using listener = await sockets.${listen};
const client = await sockets.${connect};
const server = await listener.accept();
await client.writeAll(new TextEncoder().encode("hello"));
await client.closeWrite();
await sockets.copy(server, server);
await server.closeGracefully({ timeout: 1000 });
console.log(new TextDecoder().decode(await sockets.readAll(client)));
client.close();
`;

async function assertEchoes(
  flags: string[],
  listen: string,
  connect: string,
): Promise<void> {
  const { code, stdout, stderr } = await runDeno(flags, echo(listen, connect));
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "hello\n",
    stderr: "",
  });
}

async function assertNotCapable(
  flags: string[],
  call: string,
  asks: RegExp,
): Promise<void> {
  const { code, stdout, stderr } = await runDeno(
    flags,
    `
try { await sockets.${call}; console.log("opened"); }
catch (error) {
  console.log(error instanceof Deno.errors.NotCapable, error.code, error.message);
}`,
  );
  assertEquals(stderr, "");
  assertStringIncludes(stdout, "true EPERM Cannot ");
  assertMatch(stdout, asks);
  assertEquals(code, 0);
}

Deno.test("importing asks for nothing", async () => {
  const { code, stdout, stderr } = await runDeno([], "console.log('fine')");
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "fine\n",
    stderr: "",
  });
});

Deno.test("TCP with --allow-net", async () => {
  await assertEchoes(
    ["--allow-net"],
    `listenTcp({ hostname: "127.0.0.1" })`,
    "connectTcp(listener.addr)",
  );
});

Deno.test("TCP with one literal host and port", async () => {
  const port = freePort();
  await assertEchoes(
    [`--allow-net=127.0.0.1:${port}`],
    `listenTcp({ hostname: "127.0.0.1", port: ${port} })`,
    `connectTcp({ hostname: "127.0.0.1", port: ${port}, timeout: 5000 })`,
  );
});

Deno.test("TCP with one name and port", async () => {
  const port = freePort();
  await assertEchoes(
    [`--allow-net=localhost:${port}`],
    `listenTcp({ hostname: "localhost", port: ${port} })`,
    `connectTcp({ hostname: "localhost", port: ${port} })`,
  );
});

Deno.test("TCP with one name", async () => {
  await assertEchoes(
    ["--allow-net=localhost"],
    `listenTcp({ hostname: "localhost" })`,
    `connectTcp({ hostname: "localhost", port: listener.addr.port })`,
  );
});

Deno.test("TCP with a name and its addresses", async () => {
  await assertEchoes(
    ["--allow-net=localhost,127.0.0.1,[::1]"],
    `listenTcp({ hostname: "localhost" })`,
    `connectTcp({ hostname: "localhost", port: listener.addr.port })`,
  );
});

Deno.test("TCP without its grant", async () => {
  await assertNotCapable(
    [],
    `connectTcp({ hostname: "127.0.0.1", port: 9 })`,
    /Requires net access to "127\.0\.0\.1:9"/,
  );
  await assertNotCapable(
    ["--allow-net=127.0.0.1:1"],
    `listenTcp({ hostname: "127.0.0.1", port: 2 })`,
    /Requires net access/,
  );
  await assertNotCapable(
    ["--allow-net=127.0.0.1"],
    `listenTcp({ hostname: "localhost" })`,
    /Requires net access to "localhost/,
  );
});

Deno.test({
  name: "dualStack with the grants for both families, and with one",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const port = freePort();
    const call = `listenTcp({ dualStack: true, port: ${port} })`;
    const { stdout, stderr } = await runDeno(
      [`--allow-net=[::]:${port},0.0.0.0:${port}`],
      `using listener = await sockets.${call}; console.log(listener.addr.port)`,
    );
    assertEquals(stdout + stderr, `${port}\n`);
    await assertNotCapable(
      [`--allow-net=[::]:${port}`],
      call,
      /Requires net access to "0\.0\.0\.0/,
    );
  },
});

const unix = (name: string, fn: (path: string) => Promise<void>) =>
  Deno.test({
    name,
    ignore: !hasUnix,
    async fn() {
      await using temp = await tempPath();
      await fn(temp.path);
    },
  });

unix("Unix with grants for its one path", async (path) => {
  const options = `{ path: ${JSON.stringify(path)} }`;
  const flags = [
    `--allow-read=${path}`,
    `--allow-write=${path}`,
    `--allow-net=unix:${path}`,
  ];
  // Twice: the second finds nothing in its way.
  for (let i = 0; i < 2; i++) {
    await assertEchoes(
      flags,
      `listenUnix(${options})`,
      `connectUnix(${options})`,
    );
  }
});

unix("Unix with grants for its folder", async (path) => {
  const options = `{ path: ${JSON.stringify(path)}, mode: 0o600 }`;
  const folder = path.slice(0, -2);
  await assertEchoes(
    [`--allow-read=${folder}`, `--allow-write=${folder}`, "--allow-net"],
    `listenUnix(${options})`,
    `connectUnix(${options})`,
  );
});

unix("Unix: a stale path with grants for that path only", async (path) => {
  {
    using _ = Deno.listen({ transport: "unix", path: `${path}1` });
    await Deno.link(`${path}1`, path);
  }
  const options = `{ path: ${JSON.stringify(path)} }`;
  await assertEchoes(
    [
      `--allow-read=${path}`,
      `--allow-write=${path}`,
      `--allow-net=unix:${path}`,
    ],
    `listenUnix(${options})`,
    `connectUnix(${options})`,
  );
});

unix("Unix without one of its three grants", async (path) => {
  const flags = {
    read: `--allow-read=${path}`,
    write: `--allow-write=${path}`,
    net: `--allow-net=unix:${path}`,
  };
  for (const missing of ["read", "write", "net"] as const) {
    const rest = Object.entries(flags)
      .filter(([name]) => name !== missing)
      .map(([, flag]) => flag);
    for (const open of ["connectUnix", "listenUnix"]) {
      await assertNotCapable(
        rest,
        `${open}({ path: ${JSON.stringify(path)} })`,
        new RegExp(`Requires ${missing} access to`),
      );
    }
  }
});

Deno.test({
  name: "an abstract name needs --allow-net only",
  ignore: !hasAbstract,
  async fn() {
    const options = JSON.stringify({ path: `\0${crypto.randomUUID()}` });
    await assertEchoes(
      ["--allow-net"],
      `listenUnix(${options})`,
      `connectUnix(${options})`,
    );
    await assertNotCapable(
      ["--allow-net=127.0.0.1"],
      `listenUnix(${options})`,
      /Requires/,
    );
  },
});
