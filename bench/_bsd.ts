/** Ends of connections by the BSD face, for the same echo as the others. */

import {
  AF_INET,
  AF_UNIX,
  type Family,
  IPPROTO_TCP,
  type Socket,
  socket,
  TCP_NODELAY,
} from "../socket.ts";
import type { Conn, Ends } from "./_echo.ts";

const lengthOf = ({ length }: Uint8Array): number | null => length || null;

/** A socket as the echo uses it: `recv` and `sendall`. */
class End implements Conn {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  read(p: Uint8Array): Promise<number | null> {
    return this.#socket.recv(p.length).then(lengthOf);
  }

  write(p: Uint8Array): Promise<number> {
    return this.#socket.send(p);
  }

  writeAll(p: Uint8Array): Promise<void> {
    return this.#socket.sendall(p);
  }

  close(): void {
    this.#socket.close();
  }
}

/** Connected sockets, client and server in turns. */
export async function bsdEnds(
  kind: "tcp" | "unix",
  count: number,
): Promise<Ends> {
  const family: Family = kind === "tcp" ? AF_INET : AF_UNIX;
  using server = socket(family);
  server.bind(kind === "tcp" ? ["127.0.0.1", 0] : `\0${crypto.randomUUID()}`);
  server.listen(511);
  const ends: Ends = [];
  for (let i = 0; i < count; i++) {
    const client = socket(family);
    const [[conn]] = await Promise.all([
      server.accept(),
      client.connect(server.getsockname()),
    ]);
    for (const end of [client, conn]) {
      if (kind === "tcp") end.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
      ends.push(new End(end));
    }
  }
  return ends;
}
