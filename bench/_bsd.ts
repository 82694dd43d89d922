/** The same echo by the BSD face, as a program that uses it would have it. */

import {
  AF_INET,
  AF_UNIX,
  type Family,
  IPPROTO_TCP,
  type Socket,
  socket,
  TCP_NODELAY,
} from "../socket.ts";
import { exchange } from "./_echo.ts";

/** Connected sockets, client and server in turns. */
export async function bsdEnds(
  kind: "tcp" | "unix",
  count: number,
): Promise<Socket[]> {
  const family: Family = kind === "tcp" ? AF_INET : AF_UNIX;
  using server = socket(family);
  server.bind(kind === "tcp" ? ["127.0.0.1", 0] : `\0${crypto.randomUUID()}`);
  server.listen(511);
  const ends: Socket[] = [];
  for (let i = 0; i < count; i++) {
    const client = socket(family);
    const [[conn]] = await Promise.all([
      server.accept(),
      client.connect(server.getsockname()),
    ]);
    for (const end of [client, conn]) {
      if (kind === "tcp") end.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
      ends.push(end);
    }
  }
  return ends;
}

async function client(
  socket: Socket,
  size: number,
  rounds: number,
): Promise<void> {
  const message = new Uint8Array(size);
  for (let i = 0; i < rounds; i++) {
    const sending = socket.sendall(message);
    for (let got = 0; got < size;) {
      const { length } = await socket.recv(size - got);
      if (length === 0) throw new Error("ended early");
      got += length;
    }
    await sending;
  }
}

async function server(
  socket: Socket,
  size: number,
  total: number,
): Promise<void> {
  for (let got = 0; got < total;) {
    const data = await socket.recv(size);
    if (data.length === 0) throw new Error("ended early");
    got += data.length;
    await socket.sendall(data);
  }
}

/** Runs an echo over all sockets at once; the result is round trips a second. */
export function bsdEcho(
  ends: readonly Socket[],
  size: number,
  rounds: number,
): Promise<number> {
  return exchange(
    ends,
    rounds,
    (socket) => client(socket, size, rounds),
    (socket) => server(socket, size, size * rounds),
  );
}
