/**
 * Memory of idle connections. Run as a program of its own, it opens connections, lets each wait in a
 * read, and prints the resident bytes that one of them takes.
 *
 *     deno run -A --v8-flags=--expose-gc bench/_memory.ts raw|ours COUNT
 */

import { listenUnix } from "../unix.ts";

/** Resident bytes after the garbage is gone, and the pages that it was on. */
async function resident(): Promise<number> {
  const { gc } = globalThis as unknown as { gc: (options: object) => void };
  for (let i = 0; i < 5; i++) {
    gc({ type: "major", execution: "sync", flavor: "last-resort" });
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return Deno.memoryUsage().rss;
}

/** Opens connections of one make and prints what each of them takes. */
async function main(make: string, count: number): Promise<void> {
  const path = `\0${crypto.randomUUID()}`;
  const listener = make === "raw"
    ? Deno.listen({ transport: "unix", path })
    : await listenUnix({ path });
  const peers: Deno.Conn[] = [];
  const conns: { close(): void }[] = [];
  const buffer = new Uint8Array(64);
  const open = async () => {
    const [peer, conn] = await Promise.all([
      Deno.connect({ transport: "unix", path }),
      listener.accept(),
    ]);
    peers.push(peer);
    conns.push(conn);
    conn.read(buffer).catch(() => {});
  };
  // The first ones compile the code and grow the tables.
  for (let i = 0; i < 200; i++) await open();
  const before = await resident();
  for (let i = 0; i < count; i++) await open();
  const after = await resident();
  console.log((after - before) / count);
  for (const conn of [...peers, ...conns]) conn.close();
  listener.close();
}

await main(Deno.args[0]!, Number(Deno.args[1]));
