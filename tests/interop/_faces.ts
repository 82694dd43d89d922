/** The faces of the package, so that one test runs over all of them: the same few verbs, each by its own calls. */

import * as libc from "../../libc/mod.ts";
import * as bsd from "../../socket.ts";
import { connectTcp, listenTcp } from "../../tcp.ts";
import type {
  SocketAddr,
  StreamConn,
  StreamListener,
  TcpAddr,
  UdpAddr,
  UnixAddr,
  UnixDatagramAddr,
} from "../../types.ts";
import { bindUdp, connectUdp, type UdpSocket } from "../../udp.ts";
import {
  bindUnixDatagram,
  connectUnix,
  listenUnix,
  type UnixDatagramSocket,
} from "../../unix.ts";
import { hasLibc } from "../_pairs.ts";
import { unstable } from "../_process.ts";
import { concat } from "./_checksum.ts";

/** Where a stream goes to. */
export type StreamPlace = TcpAddr | UnixAddr;

/** Where datagrams go to. */
export type DatagramPlace = UdpAddr | UnixDatagramAddr;

/** One end of a connected stream. */
export interface End extends Disposable {
  /** What has come; nothing at the end. */
  read(): Promise<Uint8Array>;
  send(data: Uint8Array): Promise<void>;
  /** Ends the sending half. */
  end(): Promise<void>;
}

/** A socket that listens. */
export interface Listening extends Disposable {
  readonly addr: StreamPlace;
  accept(): Promise<End>;
}

/** A face of stream sockets. */
export interface StreamFace {
  readonly name: string;
  readonly ignore: boolean;
  /** Whether nothing goes on behind a test's end; a thread that waits is told a moment later. */
  readonly sanitizeOps: boolean;
  connect(place: StreamPlace): Promise<End>;
  listen(place: StreamPlace): Promise<Listening>;
}

/** A datagram, and who sent it. */
export interface Received {
  readonly data: Uint8Array;
  readonly from: DatagramPlace;
}

/** A datagram socket. */
export interface DatagramEnd extends Disposable {
  readonly addr: DatagramPlace;
  receive(): Promise<Received>;
  /** Sends to a place, or to the socket's peer if it has one. */
  send(data: Uint8Array, to?: DatagramPlace): Promise<number>;
}

/** A face of datagram sockets. */
export interface DatagramFace {
  readonly name: string;
  readonly ignore: boolean;
  readonly sanitizeOps: boolean;
  /** A socket with a name. */
  bind(own: DatagramPlace): Promise<DatagramEnd>;
  /** A socket that talks to one peer; a Unix one has a name of its own. */
  talk(peer: DatagramPlace, own?: DatagramPlace): Promise<DatagramEnd>;
}

/** How long a datagram may take: a lost one is a failure, not a standstill. */
const PATIENCE = 30_000;

/** The next `size` bytes, or all to the end if those are fewer. */
export async function readUpTo(end: End, size: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  while (length < size) {
    const piece = await end.read();
    if (piece.length === 0) break;
    pieces.push(piece);
    length += piece.length;
  }
  return concat(pieces);
}

// The package's own connections

class ConnEnd implements End {
  readonly conn: StreamConn;
  readonly #buffer = new Uint8Array(65536);

  constructor(conn: StreamConn) {
    this.conn = conn;
  }

  async read(): Promise<Uint8Array> {
    const n = await this.conn.read(this.#buffer);
    return this.#buffer.slice(0, n ?? 0);
  }

  send(data: Uint8Array): Promise<void> {
    return this.conn.writeAll(data);
  }

  end(): Promise<void> {
    return this.conn.closeWrite();
  }

  [Symbol.dispose](): void {
    this.conn.close();
  }
}

/** The streams of a connection, in place of its methods. */
class StreamsEnd implements End {
  readonly #conn: StreamConn;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;

  constructor(conn: StreamConn) {
    this.#conn = conn;
    this.#reader = conn.readable.getReader();
    this.#writer = conn.writable.getWriter();
    for (const { closed } of [this.#reader, this.#writer]) {
      closed.catch(() => {});
    }
  }

  async read(): Promise<Uint8Array> {
    const { value } = await this.#reader.read();
    return value ?? new Uint8Array();
  }

  send(data: Uint8Array): Promise<void> {
    return this.#writer.write(data);
  }

  end(): Promise<void> {
    return this.#writer.close();
  }

  [Symbol.dispose](): void {
    this.#conn.close();
  }
}

type MakeEnd = (conn: StreamConn) => End;

function listening(listener: StreamListener, makeEnd: MakeEnd): Listening {
  return {
    addr: listener.addr as StreamPlace,
    accept: async () => makeEnd(await listener.accept()),
    [Symbol.dispose]: () => listener.close(),
  };
}

/** The path of a place that must have one. */
function pathOf(place: { readonly path: string | null }): string {
  if (place.path === null) throw new Error("a place without a name");
  return place.path;
}

const core = (name: string, makeEnd: MakeEnd): StreamFace => ({
  name,
  ignore: false,
  sanitizeOps: true,
  async connect(place) {
    return makeEnd(
      place.transport === "tcp"
        ? await connectTcp(place)
        : await connectUnix({ path: pathOf(place) }),
    );
  },
  async listen(place) {
    return place.transport === "tcp"
      ? listening(await listenTcp(place), makeEnd)
      : listening(await listenUnix({ path: pathOf(place) }), makeEnd);
  },
});

// The BSD face, on either driver

type Bsd = typeof bsd;

/** A place's family, and its address as the BSD face has it. */
function bsdOf(place: SocketAddr): [family: number, address: bsd.Address] {
  if ("path" in place) return [bsd.AF_UNIX, pathOf(place)];
  const { hostname, port } = place;
  return hostname.includes(":")
    ? [bsd.AF_INET6, [hostname, port, 0, 0]]
    : [bsd.AF_INET, [hostname, port]];
}

/** A place, from the address that the BSD face has. */
function placeOf<T extends "tcp" | "udp", U extends "unix" | "unixpacket">(
  address: bsd.Address,
  inet: T,
  unix: U,
):
  | { readonly transport: T; readonly hostname: string; readonly port: number }
  | { readonly transport: U; readonly path: string | null } {
  return typeof address === "string"
    ? { transport: unix, path: address === "" ? null : address }
    : { transport: inet, hostname: address[0], port: address[1] };
}

type AnySocket = bsd.Socket<bsd.Address>;

function bsdEnd(socket: AnySocket): End {
  return {
    read: () => socket.recv(65536),
    send: (data) => socket.sendall(data),
    end: () => socket.shutdown(bsd.SHUT_WR),
    [Symbol.dispose]: () => socket.close(),
  };
}

async function bsdConnect(
  { socket }: Bsd,
  place: StreamPlace,
): Promise<AnySocket> {
  const [family, address] = bsdOf(place);
  const client = socket(family as bsd.Family<bsd.Address>, bsd.SOCK_STREAM);
  try {
    await client.connect(address);
    return client;
  } catch (error) {
    client.close();
    throw error;
  }
}

function bsdListen({ create_server }: Bsd, place: StreamPlace): AnySocket {
  const [family, address] = bsdOf(place);
  return create_server(address, { family });
}

const bsdFace = (name: string, module: Bsd, isLibc: boolean): StreamFace => ({
  name,
  ignore: isLibc && !hasLibc,
  sanitizeOps: !isLibc,
  async connect(place) {
    return bsdEnd(await bsdConnect(module, place));
  },
  listen(place) {
    const server = bsdListen(module, place);
    return Promise.resolve({
      addr: placeOf(server.getsockname(), "tcp", "unix"),
      async accept() {
        const [conn] = await server.accept();
        return bsdEnd(conn);
      },
      [Symbol.dispose]: () => server.close(),
    });
  },
});

/** The C library's face, which has all that the other one has. */
const libcAsBsd = libc as unknown as Bsd;

/** Sockets of the C library behind the package's own connections. */
const libcConns: StreamFace = {
  name: "libc toConn()",
  ignore: !hasLibc,
  sanitizeOps: false,
  async connect(place) {
    const socket = await bsdConnect(libcAsBsd, place);
    return new ConnEnd(libc.toConn(socket as unknown as libc.Socket));
  },
  listen(place) {
    const socket = bsdListen(libcAsBsd, place);
    const listener = libc.toListener(socket as unknown as libc.Socket);
    return Promise.resolve(listening(listener, (conn) => new ConnEnd(conn)));
  },
};

/** The faces of stream sockets. */
export const streamFaces = {
  core: core("core", (conn) => new ConnEnd(conn)),
  streams: core("core streams", (conn) => new StreamsEnd(conn)),
  bsd: bsdFace("socket", bsd, false),
  libc: bsdFace("libc", libcAsBsd, true),
  libcConns,
} as const satisfies Record<string, StreamFace>;

// Datagrams

/** One end of the package's own datagram sockets. */
function coreEnd(
  socket: UdpSocket | UnixDatagramSocket,
  send: DatagramEnd["send"],
): DatagramEnd {
  socket.timeout = PATIENCE;
  return {
    addr: socket.addr,
    async receive() {
      const { data, addr } = await socket.receive();
      return { data, from: addr };
    },
    send,
    [Symbol.dispose]: () => socket.close(),
  };
}

const coreUdp = (backend: "deno" | "node"): DatagramFace => ({
  name: `core (${backend})`,
  ignore: backend === "deno" && !unstable,
  sanitizeOps: true,
  async bind(own) {
    if (own.transport !== "udp") throw new Error("not UDP");
    const socket = await bindUdp({ ...own, backend });
    return coreEnd(socket, (data, to) => socket.send(data, to as UdpAddr));
  },
  async talk(peer) {
    if (peer.transport !== "udp") throw new Error("not UDP");
    const socket = await connectUdp({ ...peer, backend });
    return coreEnd(socket, (data) => socket.send(data));
  },
});

async function coreUnix(
  path: string,
  peer?: UnixDatagramAddr,
): Promise<DatagramEnd> {
  const socket = await bindUnixDatagram({ path });
  return coreEnd(
    socket,
    (data, to) =>
      socket.send(data, { path: pathOf((to ?? peer) as UnixDatagramAddr) }),
  );
}

const coreUnixFace: DatagramFace = {
  name: "core",
  ignore: !unstable,
  sanitizeOps: true,
  bind: (own) => coreUnix(pathOf(own as UnixDatagramAddr)),
  talk: (peer, own) =>
    coreUnix(pathOf(own as UnixDatagramAddr), peer as UnixDatagramAddr),
};

const bsdDatagrams = (
  name: string,
  { socket: makeSocket }: Bsd,
  isLibc: boolean,
  ignore: boolean,
): DatagramFace => {
  const make = (place: DatagramPlace, own?: DatagramPlace): AnySocket => {
    const [family] = bsdOf(place);
    const made = makeSocket(
      family as bsd.Family<bsd.Address>,
      bsd.SOCK_DGRAM,
    );
    made.settimeout(PATIENCE);
    if (own !== undefined) made.bind(bsdOf(own)[1]);
    return made;
  };
  const end = (socket: AnySocket): DatagramEnd => ({
    addr: placeOf(socket.getsockname(), "udp", "unixpacket"),
    async receive() {
      const [data, address] = await socket.recvfrom(65536);
      return { data, from: placeOf(address, "udp", "unixpacket") };
    },
    send: (data, to) =>
      to === undefined ? socket.send(data) : socket.sendto(data, bsdOf(to)[1]),
    [Symbol.dispose]: () => socket.close(),
  });
  return {
    name,
    ignore,
    sanitizeOps: !isLibc,
    bind: (own) => Promise.resolve(end(make(own, own))),
    async talk(peer, own) {
      const socket = make(peer, own);
      await socket.connect(bsdOf(peer)[1]);
      return end(socket);
    },
  };
};

/** The faces of UDP. */
export const udpFaces: readonly DatagramFace[] = [
  coreUdp("node"),
  coreUdp("deno"),
  bsdDatagrams("socket", bsd, false, false),
  bsdDatagrams("libc", libcAsBsd, true, !hasLibc),
];

/** The faces of Unix datagrams. */
export const unixDatagramFaces: readonly DatagramFace[] = [
  coreUnixFace,
  bsdDatagrams("socket", bsd, false, !unstable),
  bsdDatagrams("libc", libcAsBsd, true, !hasLibc),
];
