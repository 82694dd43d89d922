/**
 * An echo server in a process of its own, for a load generator that is the same for all.
 *
 *     _libc_server.ts udp|tcp deno|libc|eventfd|batches|conn
 *
 * It prints its port, and ends with its input. `eventfd` is libc with that way to be woken; `batches` takes
 * many datagrams in one call; `conn` is libc behind this package's connections.
 */

import * as libc from "../libc/mod.ts";

/** As large as the messages are: an echo of a whole buffer needs no view of a part. */
const SIZE = 64;
const [transport, way] = Deno.args;

async function denoUdp(): Promise<void> {
  const socket = Deno.listenDatagram({
    transport: "udp",
    hostname: "127.0.0.1",
    port: 0,
  });
  console.log((socket.addr as Deno.NetAddr).port);
  const buffer = new Uint8Array(SIZE);
  for (;;) {
    const [data, from] = await socket.receive(buffer);
    await socket.send(data, from);
  }
}

async function libcUdp(): Promise<void> {
  const socket = libc.socket(libc.AF_INET, libc.SOCK_DGRAM);
  socket.bind(["127.0.0.1", 0]);
  console.log(socket.getsockname()[1]);
  const buffer = new Uint8Array(SIZE);
  for (;;) {
    const [n, from] = await socket.recvfrom_into(buffer);
    await socket.sendto(n === SIZE ? buffer : buffer.subarray(0, n), from);
  }
}

/** The same with many datagrams in one call. */
async function batches(): Promise<void> {
  const socket = libc.socket(libc.AF_INET, libc.SOCK_DGRAM);
  socket.bind(["127.0.0.1", 0]);
  console.log(socket.getsockname()[1]);
  const buffer = new Uint8Array(64 * SIZE);
  for (;;) {
    const received = await socket.recvmmsg_into(buffer, SIZE);
    const answers = received.map(([n, from], i) =>
      [buffer.subarray(i * SIZE, i * SIZE + n), from] as const
    );
    for (let sent = 0; sent < answers.length;) {
      sent += await socket.sendmmsg(answers.slice(sent));
    }
  }
}

/** An echo over something that reads and writes. */
async function echo(
  conn: Pick<Deno.Conn, "read" | "write" | "close">,
): Promise<void> {
  const buffer = new Uint8Array(SIZE);
  for (let n; (n = await conn.read(buffer)) !== null;) {
    await conn.write(n === SIZE ? buffer : buffer.subarray(0, n));
  }
  conn.close();
}

async function denoTcp(): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  console.log(listener.addr.port);
  for await (const conn of listener) {
    conn.setNoDelay(true);
    echo(conn).catch(() => {});
  }
}

async function libcTcp(): Promise<void> {
  const server = libc.create_server(["127.0.0.1", 0], { backlog: 511 });
  console.log(server.getsockname()[1]);
  for (;;) {
    const [socket] = await server.accept();
    socket.setsockopt(libc.IPPROTO_TCP, libc.TCP_NODELAY, 1);
    if (way === "conn") echo(libc.toConn(socket)).catch(() => {});
    else serve(socket).catch(() => {});
  }
}

async function serve(socket: libc.Socket<libc.InetAddress>): Promise<void> {
  const buffer = new Uint8Array(SIZE);
  for (let n; (n = await socket.recv_into(buffer)) > 0;) {
    await socket.sendall(n === SIZE ? buffer : buffer.subarray(0, n));
  }
  socket.close();
}

if (way === "eventfd") await libc.useWake("eventfd");
const run = transport === "udp"
  ? way === "deno" ? denoUdp : way === "batches" ? batches : libcUdp
  : way === "deno"
  ? denoTcp
  : libcTcp;
run();
for await (const _ of Deno.stdin.readable);
Deno.exit();
