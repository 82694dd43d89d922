/** UDP in one process, both ends of the same make. The runtime's own sockets need --unstable-net. */

import { bindUdp, type UdpSocket } from "../udp.ts";

/** Clients and servers in turns. */
export interface Pairs<S> {
  readonly sockets: readonly S[];
  close(): void;
}

/** Sockets of the runtime's own. */
export function rawPairs(count: number): Pairs<Deno.DatagramConn> {
  const sockets = Array.from(
    { length: 2 * count },
    () =>
      Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 }),
  );
  return {
    sockets,
    close: () => sockets.forEach((socket) => socket.close()),
  };
}

/** Sockets of this package. */
export async function ourPairs(count: number): Promise<Pairs<UdpSocket>> {
  const sockets: UdpSocket[] = [];
  for (let i = 0; i < 2 * count; i++) {
    sockets.push(await bindUdp({ hostname: "127.0.0.1", backend: "deno" }));
  }
  return {
    sockets,
    close: () => sockets.forEach((socket) => socket.close()),
  };
}

/** What one end does with its socket: takes a datagram, and answers it or asks anew. */
export interface Make<S> {
  /** Receives one datagram and sends as much back to its sender. */
  answer(socket: S, buffer: Uint8Array): Promise<unknown>;
  /** Receives one datagram. */
  take(socket: S, buffer: Uint8Array): Promise<unknown>;
  /** Sends to the socket of another end. */
  ask(socket: S, data: Uint8Array, to: S): Promise<unknown>;
}

/** The runtime's sockets, with a buffer that is used again. */
export const rawReused: Make<Deno.DatagramConn> = {
  async answer(socket, buffer) {
    const [data, addr] = await socket.receive(buffer);
    await socket.send(data, addr);
  },
  take: (socket, buffer) => socket.receive(buffer),
  ask: (socket, data, to) => socket.send(data, to.addr),
};

/** The runtime's sockets, as their users know them: a buffer for each datagram. */
export const raw: Make<Deno.DatagramConn> = {
  async answer(socket) {
    const [data, addr] = await socket.receive();
    await socket.send(data, addr);
  },
  take: (socket) => socket.receive(),
  ask: (socket, data, to) => socket.send(data, to.addr),
};

export const receiveInto: Make<UdpSocket> = {
  async answer(socket, buffer) {
    const { bytes, addr } = await socket.receiveInto(buffer);
    await socket.send(buffer.subarray(0, bytes), addr);
  },
  take: (socket, buffer) => socket.receiveInto(buffer),
  ask: (socket, data, to) => socket.send(data, to.addr),
};

export const receive: Make<UdpSocket> = {
  async answer(socket) {
    const { data, addr } = await socket.receive();
    await socket.send(data, addr);
  },
  take: (socket) => socket.receive(),
  ask: (socket, data, to) => socket.send(data, to.addr),
};

/** Runs an echo over all pairs at once; the result is round trips a second. */
export async function echoDatagrams<S>(
  { sockets }: Pairs<S>,
  { answer, take, ask }: Make<S>,
  size: number,
  rounds: number,
): Promise<number> {
  const start = performance.now();
  await Promise.all(sockets.map(async (socket, i) => {
    const buffer = new Uint8Array(65536);
    const data = buffer.slice(0, size);
    for (let round = 0; round < rounds; round++) {
      if (i % 2) await answer(socket, buffer);
      else {
        const taking = take(socket, buffer);
        await ask(socket, data, sockets[i + 1]!);
        await taking;
      }
    }
  }));
  return rounds * sockets.length / 2 / (performance.now() - start) * 1000;
}

/** Sends to a host; the result is datagrams a second. Nobody reads them. */
export async function sendMany(
  socket: {
    send(
      data: Uint8Array,
      to: { transport: "udp"; hostname: string; port: number },
    ): Promise<number>;
  },
  hostname: string,
  port: number,
  count: number,
): Promise<number> {
  const data = new Uint8Array(64);
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    await socket.send(data, { transport: "udp", hostname, port });
  }
  return count / (performance.now() - start) * 1000;
}
