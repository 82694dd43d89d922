/** Many sockets, and many programs that want the same one. */

import { assertEquals } from "@std/assert";
import { connectTcp, listenTcp } from "../../tcp.ts";
import { connectUnix, listenUnix } from "../../unix.ts";
import { hasUnix, tempPath } from "../_pairs.ts";
import { startDeno } from "../_process.ts";

Deno.test("20,000 connections, one after the other", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1" });
  const serving = (async () => {
    for await (const conn of listener) {
      conn.timeout = 60_000;
      const n = await conn.read(new Uint8Array(1));
      assertEquals(n, null);
      conn.close();
    }
  })();
  for (let i = 0; i < 20_000; i++) {
    // The client's end is closed first, and TIME_WAIT is the client's: its ports are many.
    using conn = await connectTcp(listener.addr);
    if (i % 2) await conn.closeGracefully();
  }
  listener.close();
  await serving;
});

Deno.test({
  name: "1,000 Unix listeners, one after the other on one path",
  ignore: !hasUnix,
  async fn() {
    await using temp = await tempPath();
    const { path } = temp;
    for (let i = 0; i < 1000; i++) {
      await using listener = await listenUnix({ path });
      using conn = await connectUnix({ path });
      using accepted = await listener.accept();
      assertEquals(accepted.localAddr, conn.remoteAddr);
    }
    const folder = path.slice(0, -2);
    assertEquals([...Deno.readDirSync(folder)], []);
  },
});

Deno.test({
  name: "programs that start at once on a stale path: always just one gets it",
  ignore: !hasUnix,
  async fn() {
    await using temp = await tempPath();
    const { path } = temp;
    for (let round = 0; round < 15; round++) {
      {
        // Its second name outlives the close of its first.
        using _ = Deno.listen({ transport: "unix", path: `${path}1` });
        await Deno.link(`${path}1`, path);
      }
      const starters = await Promise.all(
        Array.from({ length: 4 }, () =>
          startDeno(
            ["-A"],
            `
console.log("ready");
await Deno.stdin.read(new Uint8Array(1));
try {
  await using listener = await sockets.listenUnix({ path: ${
              JSON.stringify(path)
            } });
  console.log("won");
  await Deno.stdin.read(new Uint8Array(100));
  using conn = await sockets.connectUnix({ path: ${JSON.stringify(path)} });
  using accepted = await listener.accept();
  console.log("mine");
} catch (error) { console.log(error.code); }
`,
          )),
      );
      try {
        for (const starter of starters) await starter.line();
        await Promise.all(starters.map((starter) => starter.send("")));
        const said = await Promise.all(starters.map((s) => s.line()));
        assertEquals(
          [...said].sort(),
          ["EADDRINUSE", "EADDRINUSE", "EADDRINUSE", "won"],
        );
        const winner = starters[said.indexOf("won")]!;
        await winner.endInput();
        assertEquals(await winner.line(), "mine");
        await winner.ended();
      } finally {
        for (const starter of starters) await starter[Symbol.asyncDispose]();
      }
    }
    const folder = path.slice(0, -2);
    assertEquals([...Deno.readDirSync(folder)], []);
  },
});
