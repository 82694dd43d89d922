/** Echo over many connections in one process, both ends of the same make. */

import { connectTcp, listenTcp } from "../tcp.ts";
import { connectUnix, listenUnix } from "../unix.ts";

/** What an echo needs of a connection. */
export interface Conn {
  read(p: Uint8Array): Promise<number | null>;
  write(p: Uint8Array): Promise<number>;
  writeAll?(p: Uint8Array): Promise<void>;
  close(): void;
  timeout?: number | undefined;
}

/** Connected ends, client and server in turns. */
export type Ends = Conn[];

async function collect(
  count: number,
  connect: () => Promise<Conn>,
  accept: () => Promise<Conn>,
): Promise<Ends> {
  const ends: Ends = [];
  for (let i = 0; i < count; i++) {
    ends.push(...await Promise.all([connect(), accept()]));
  }
  return ends;
}

/** Connections of the runtime's own. */
export async function rawEnds(
  kind: "tcp" | "unix",
  count: number,
): Promise<Ends> {
  if (kind === "unix") {
    const path = `\0${crypto.randomUUID()}`;
    using listener = Deno.listen({ transport: "unix", path });
    return await collect(
      count,
      () => Deno.connect({ transport: "unix", path }),
      () => listener.accept(),
    );
  }
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return await collect(
    count,
    async () => {
      const conn = await Deno.connect({
        hostname: "127.0.0.1",
        port: listener.addr.port,
      });
      conn.setNoDelay(true);
      return conn;
    },
    async () => {
      const conn = await listener.accept();
      conn.setNoDelay(true);
      return conn;
    },
  );
}

/** Connections of this package. */
export async function ourEnds(
  kind: "tcp" | "unix",
  count: number,
  timeout?: number,
): Promise<Ends> {
  const path = `\0${crypto.randomUUID()}`;
  const ends = await (async () => {
    if (kind === "unix") {
      await using listener = await listenUnix({ path });
      return await collect(
        count,
        () => connectUnix({ path }),
        () => listener.accept(),
      );
    }
    await using listener = await listenTcp({ hostname: "127.0.0.1" });
    return await collect(
      count,
      () => connectTcp(listener.addr),
      () => listener.accept(),
    );
  })();
  for (const end of ends) if (timeout !== undefined) end.timeout = timeout;
  return ends;
}

/** How an end sends a message that fits the socket's buffer. */
type Send = (conn: Conn, p: Uint8Array) => Promise<unknown>;

const write: Send = (conn, p) => conn.write(p);
const writeAll: Send = (conn, p) => conn.writeAll!(p);
const writeLoop: Send = async (conn, p) => {
  for (let at = 0; at < p.length;) at += await conn.write(p.subarray(at));
};

export const sends = { write, writeAll, writeLoop };

async function client(
  conn: Conn,
  size: number,
  rounds: number,
  send: Send,
): Promise<void> {
  const message = new Uint8Array(size);
  const buffer = new Uint8Array(size);
  for (let i = 0; i < rounds; i++) {
    const sending = send(conn, message);
    for (let got = 0; got < size;) {
      const n = await conn.read(got === 0 ? buffer : buffer.subarray(got));
      if (n === null) throw new Error("ended early");
      got += n;
    }
    await sending;
  }
}

async function server(
  conn: Conn,
  size: number,
  total: number,
  send: Send,
): Promise<void> {
  const buffer = new Uint8Array(size);
  for (let got = 0; got < total;) {
    const n = await conn.read(buffer);
    if (n === null) throw new Error("ended early");
    got += n;
    await send(conn, n === size ? buffer : buffer.subarray(0, n));
  }
}

/**
 * Runs clients and servers of an echo, all at once.
 *
 * @param ends Connected ends, client and server in turns.
 * @param rounds Round trips of each connection.
 * @param client What a client does.
 * @param server What a server does.
 * @returns Round trips a second.
 */
export async function exchange<T>(
  ends: readonly T[],
  rounds: number,
  client: (end: T) => Promise<void>,
  server: (end: T) => Promise<void>,
): Promise<number> {
  const start = performance.now();
  await Promise.all(
    ends.map((end, i) => i % 2 ? server(end) : client(end)),
  );
  return rounds * ends.length / 2 / (performance.now() - start) * 1000;
}

/** Runs an echo over all connections at once; the result is round trips a second. */
export function echo(
  ends: Ends,
  size: number,
  rounds: number,
  send: Send,
): Promise<number> {
  return exchange(
    ends,
    rounds,
    (conn) => client(conn, size, rounds, send),
    (conn) => server(conn, size, size * rounds, send),
  );
}
