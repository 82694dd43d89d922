/**
 * Python's `socket` module at the other end: every transport, in both roles, over every face of the package.
 * Streams of a megabyte both ways at once, half-closed either way; datagrams and packets of all sizes.
 */

import { assert, assertEquals } from "@std/assert";
import {
  AF_UNIX,
  type Family,
  SHUT_WR,
  SOCK_SEQPACKET,
  type Socket,
  socket,
  type UnixAddress,
} from "../../libc/mod.ts";
import { pattern, text } from "../_bytes.ts";
import {
  canListen,
  hasAbstract,
  hasLibc,
  hasUnix,
  tempPath,
} from "../_pairs.ts";
import { assertSame, checksum, concat } from "./_checksum.ts";
import {
  type DatagramEnd,
  type DatagramFace,
  type DatagramPlace,
  type End,
  readUpTo,
  type StreamFace,
  streamFaces,
  type StreamPlace,
  udpFaces,
  unixDatagramFaces,
} from "./_faces.ts";
import { Tool } from "./_tool.ts";

/** How all of them begin: a place is text, with an @ for the NUL of an abstract name. */
const PRELUDE = `
import hashlib, os, socket, sys, threading

def place(text):
    if text.startswith(("/", "@")):
        return text.replace("@", "\\0", 1)
    host, port = text.rsplit(" ", 1)
    return (host, int(port))

def family(text):
    if text.startswith(("/", "@")):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in text else socket.AF_INET

def name(sock):
    own = sock.getsockname()
    if isinstance(own, bytes):
        return "@" + os.fsdecode(own[1:])
    return own if isinstance(own, str) else "%s %d" % own[:2]

def opened(kind, role, text):
    """A connected socket, in one of the two roles."""
    sock = socket.socket(family(text), kind)
    if role == "client":
        sock.connect(place(text))
        return sock
    sock.bind(place(text))
    sock.listen(1)
    print(name(sock), flush=True)
    conn, _ = sock.accept()
    sock.close()
    return conn

role, text = sys.argv[1:3]
`;

/** The arguments of a python program, behind its name. */
const python = (
  source: string,
  ...args: readonly (string | number)[]
): Tool =>
  new Tool("python3", ["-u", "-c", PRELUDE + source, ...args.map(String)]);

/** A place as the programs take it. */
function textOf(place: StreamPlace | DatagramPlace): string {
  return "path" in place
    ? place.path!.replace("\0", "@")
    : `${place.hostname} ${place.port}`;
}

/** The next line that a program prints. */
async function line(tool: Tool): Promise<string> {
  let all = "";
  for (;;) {
    const byte = text(await tool.take(1));
    if (byte === "") throw new Error(`${tool.name} ended: ${tool.log}`);
    if (byte === "\n") return all;
    all += byte;
  }
}

/** A place in the words of its program, as ours. */
function placeOf(line: string, place: StreamPlace): StreamPlace {
  return "path" in place
    ? place
    : { ...place, port: Number(line.split(" ").at(-1)) };
}

// Streams

const MIB = 2 ** 20;
const HALF = MIB / 2;
const OURS = pattern(MIB, 3);
const THEIRS = pattern(MIB, 4);

/**
 * Sends what is in a file while it receives, in two halves, and prints what has come. `order` says whether
 * it ends its half of the stream in the middle of ours, or the other way around.
 */
const STREAM = `
order, file = sys.argv[3:5]
theirs = open(file, "rb").read()
half = len(theirs) // 2
conn = opened(socket.SOCK_STREAM, role, text)

def received(size=None):
    parts, length = [], 0
    while size is None or length < size:
        part = conn.recv(65536 if size is None else min(65536, size - length))
        if not part:
            break
        parts.append(part)
        length += len(part)
    return b"".join(parts)

if order == "ends last":
    sending = threading.Thread(target=conn.sendall, args=(theirs[:half],))
    sending.start()
    ours = received()
    sending.join()
    conn.sendall(theirs[half:])
    conn.shutdown(socket.SHUT_WR)
else:
    def send():
        conn.sendall(theirs)
        conn.shutdown(socket.SHUT_WR)
    sending = threading.Thread(target=send)
    sending.start()
    ours = received(half)
    sending.join()
    ours += received()
print(len(ours), hashlib.sha256(ours).hexdigest())
conn.close()
`;

/** We end our half when half of what python sends has come. */
async function weEndFirst(end: End): Promise<Uint8Array> {
  const [first] = await Promise.all([readUpTo(end, HALF), end.send(OURS)]);
  await end.end();
  return concat([first, await readUpTo(end, Infinity)]);
}

/** Python ends its half when half of what we send has come. */
async function pythonEndsFirst(end: End): Promise<Uint8Array> {
  const [received] = await Promise.all([
    readUpTo(end, Infinity),
    end.send(OURS.subarray(0, HALF)),
  ]);
  await end.send(OURS.subarray(HALF));
  await end.end();
  return received;
}

const ORDERS: readonly [order: string, ours: typeof weEndFirst][] = [
  ["ends last", weEndFirst],
  ["ends first", pythonEndsFirst],
];

/** A kind of place, and one of it that is free: port 0 is the system's choice. */
interface Kind {
  readonly name: string;
  readonly ignore: boolean;
  readonly place: (path: string) => StreamPlace;
}

const unixKinds: readonly Kind[] = [
  {
    name: "unix path",
    ignore: !hasUnix,
    place: (path) => ({ transport: "unix", path }),
  },
  {
    name: "unix abstract",
    ignore: !hasAbstract,
    // The folder's name is one of a kind, and serves as such a name as well.
    place: (path) => ({ transport: "unix", path: `\0${path}` }),
  },
];

const kinds: readonly Kind[] = [
  ...["127.0.0.1", "::1"].map((hostname): Kind => ({
    name: hostname.includes(":") ? "tcp6" : "tcp4",
    ignore: !canListen(hostname),
    place: () => ({ transport: "tcp", hostname, port: 0 }),
  })),
  ...unixKinds,
];

/** Starts python in a role, and gives our end of the connection. */
async function meet(
  role: "client" | "server",
  place: StreamPlace,
  face: Pick<StreamFace, "connect" | "listen">,
  start: (role: string, place: string) => Tool,
): Promise<{ tool: Tool; end: End }> {
  if (role === "server") {
    const tool = start(role, textOf(place));
    try {
      const at = placeOf(await line(tool), place);
      return { tool, end: await face.connect(at) };
    } catch (error) {
      await tool[Symbol.asyncDispose]();
      throw error;
    }
  }
  using listener = await face.listen(place);
  const tool = start(role, textOf(listener.addr));
  try {
    return { tool, end: await tool.awaits(listener.accept()) };
  } catch (error) {
    await tool[Symbol.asyncDispose]();
    throw error;
  }
}

function testStreams(
  face: StreamFace,
  kind: Kind,
  role: "client" | "server",
): void {
  Deno.test({
    name:
      `${face.name} ${kind.name}: python as the ${role}, half-closed either way`,
    ignore: face.ignore || kind.ignore,
    sanitizeOps: face.sanitizeOps,
    async fn() {
      for (const [order, ours] of ORDERS) {
        await using temp = await tempPath();
        const file = `${temp.path}.bytes`;
        await Deno.writeFile(file, THEIRS);
        const { tool, end } = await meet(
          role,
          kind.place(temp.path),
          face,
          (...args) => python(STREAM, ...args, order, file),
        );
        await using _tool = tool;
        using _end = end;
        await assertSame(await ours(end), THEIRS, "what we got");
        assertEquals(await line(tool), await checksum(OURS));
        await tool.endsWell();
      }
    },
  });
}

for (const face of Object.values(streamFaces)) {
  for (const kind of kinds) {
    testStreams(face, kind, "client");
    testStreams(face, kind, "server");
  }
}

// Datagrams and packets

const COUNT = 200;

/** Sizes of all orders of magnitude, and the odd ones among them. */
function sizesOf(smallest: number, largest: number): number[] {
  const random = pattern(2 * COUNT, 5);
  const sizes = Array.from({ length: COUNT }, (_, i) => {
    const wide = (random[2 * i]! << 8) + random[2 * i + 1]!;
    return smallest + Math.floor((largest - smallest) ** (wide / 65535));
  });
  sizes[10] = smallest;
  sizes[20] = largest;
  assert(new Set(sizes).size > COUNT / 4);
  return sizes;
}

/** How many are on their way at once: the queue of a Unix socket has room for about ten. */
const BURST = 5;

/** One burst after the other: the other side gives them back, each in its order and turned around. */
async function sendAndCompare(
  sizes: readonly number[],
  send: (data: Uint8Array) => Promise<number>,
  receive: () => Promise<Uint8Array>,
): Promise<void> {
  for (let i = 0; i < sizes.length; i += BURST) {
    const burst = sizes.slice(i, i + BURST);
    for (const [j, size] of burst.entries()) {
      assertEquals(await send(pattern(size, i + j)), size);
    }
    for (const [j, size] of burst.entries()) {
      assertEquals(await receive(), pattern(size, i + j).reverse());
    }
  }
}

/** The same in python. */
const COMPARE = `
def send_and_compare(sizes, send, receive, burst=${BURST}):
    for i in range(0, len(sizes), burst):
        datagrams = [os.urandom(size) for size in sizes[i:i + burst]]
        for datagram in datagrams:
            assert send(datagram) == len(datagram)
        for datagram in datagrams:
            back = receive()
            assert back == datagram[::-1], (i, len(back), len(datagram))

sizes = [int(size) for size in sys.argv[4].split()]
`;

/** Python asks from a socket of its own name, or gives back what comes to it. */
const DATAGRAMS = `
own = sys.argv[3]
${COMPARE}
sock = socket.socket(family(text), socket.SOCK_DGRAM)
sock.settimeout(30)
sock.bind(place(own))
print(name(sock), flush=True)
if role == "client":
    ours = place(text)
    def receive():
        datagram, peer = sock.recvfrom(65536)
        peer = peer.decode() if isinstance(peer, bytes) else peer
        assert peer == ours or peer[:2] == ours, (peer, ours)
        return datagram
    send_and_compare(sizes, lambda datagram: sock.sendto(datagram, ours), receive)
else:
    for _ in sizes:
        datagram, peer = sock.recvfrom(65536)
        sock.sendto(datagram[::-1], peer)
print("done")
`;

/** Gives back what comes, each to its sender, turned around. */
async function giveBack(ours: DatagramEnd, peer: DatagramPlace): Promise<void> {
  for (let i = 0; i < COUNT; i++) {
    const { data, from } = await ours.receive();
    assertEquals(from, peer);
    assertEquals(await ours.send(data.slice().reverse(), from), data.length);
  }
}

interface DatagramKind {
  readonly name: string;
  readonly ignore: boolean;
  readonly faces: readonly DatagramFace[];
  readonly largest: number;
  readonly place: (path: string) => DatagramPlace;
}

const datagramKinds: readonly DatagramKind[] = [
  ...["127.0.0.1", "::1"].map((hostname): DatagramKind => ({
    name: hostname.includes(":") ? "udp6" : "udp4",
    ignore: !canListen(hostname),
    faces: udpFaces,
    // A burst of the largest fits into the buffer that sockets have by default.
    largest: 9000,
    place: () => ({ transport: "udp", hostname, port: 0 }),
  })),
  ...["", "\0"].map((nul): DatagramKind => ({
    name: `unix datagrams, ${nul === "" ? "path" : "abstract"}`,
    ignore: nul === "" ? !hasUnix : !hasAbstract,
    faces: unixDatagramFaces,
    largest: 30_000,
    place: (path) => ({ transport: "unixpacket", path: nul + path }),
  })),
];

function testDatagrams(
  face: DatagramFace,
  kind: DatagramKind,
  role: "client" | "server",
): void {
  const sizes = sizesOf(0, kind.largest);
  Deno.test({
    name: `${face.name} ${kind.name}: python as the ${role}`,
    ignore: face.ignore || kind.ignore,
    sanitizeOps: face.sanitizeOps,
    async fn() {
      await using temp = await tempPath();
      const own = kind.place(temp.path);
      const theirs = kind.place(`${temp.path}-theirs`);
      const start = (to: DatagramPlace) =>
        python(DATAGRAMS, role, textOf(to), textOf(theirs), sizes.join(" "));
      const peerOf = (line: string): DatagramPlace =>
        "path" in theirs
          ? theirs
          : { ...theirs, port: Number(line.split(" ").at(-1)) };
      if (role === "client") {
        using ours = await face.bind(own);
        await using tool = start(ours.addr);
        const peer = peerOf(await line(tool));
        await giveBack(ours, peer);
        assertEquals(await line(tool), "done", tool.log);
        await tool.endsWell();
        return;
      }
      await using tool = start(theirs);
      const peer = peerOf(await line(tool));
      using ours = await face.talk(peer, own);
      await sendAndCompare(sizes, (data) => ours.send(data), async () => {
        const { data, from } = await ours.receive();
        assertEquals(from, peer);
        return data;
      });
      assertEquals(await line(tool), "done", tool.log);
      await tool.endsWell();
    },
  });
}

for (const kind of datagramKinds) {
  for (const face of kind.faces) {
    testDatagrams(face, kind, "client");
    testDatagrams(face, kind, "server");
  }
}

/** Python asks over a connection, or gives back what comes on one; the one that asks ends first. */
const PACKETS = `
asks = sys.argv[3] == "asks"
${COMPARE}
conn = opened(socket.SOCK_SEQPACKET, role, text)
if asks:
    send_and_compare(sizes, conn.send, lambda: conn.recv(65536))
    conn.shutdown(socket.SHUT_WR)
    assert conn.recv(100) == b""
else:
    while packet := conn.recv(65536):
        conn.send(packet[::-1])
print("done")
`;

/** A socket that packets are sent over. */
type Packets = Socket<UnixAddress>;

function packetSocket(): Packets {
  const made = socket(AF_UNIX as Family<UnixAddress>, SOCK_SEQPACKET);
  made.settimeout(30_000);
  return made;
}

/** Our end of a connection, in one of the two roles. */
async function meetPackets(
  role: "client" | "server",
  path: string,
  start: (role: string, place: string) => Tool,
): Promise<{ tool: Tool; conn: Packets }> {
  const place = textOf({ transport: "unix", path });
  if (role === "server") {
    const tool = start(role, place);
    const conn = packetSocket();
    try {
      await line(tool);
      await conn.connect(path);
      return { tool, conn };
    } catch (error) {
      conn.close();
      await tool[Symbol.asyncDispose]();
      throw error;
    }
  }
  using server = packetSocket();
  server.bind(path);
  server.listen(1);
  const tool = start(role, place);
  try {
    const [conn] = await tool.awaits(server.accept());
    conn.settimeout(30_000);
    return { tool, conn };
  } catch (error) {
    await tool[Symbol.asyncDispose]();
    throw error;
  }
}

for (const kind of unixKinds) {
  for (const role of ["client", "server"] as const) {
    for (const who of ["asks", "answers"] as const) {
      // An empty packet reads like the end.
      const sizes = sizesOf(1, 30_000);
      Deno.test({
        name: `libc ${kind.name} SEQPACKET: python as the ${role} ${who}`,
        ignore: !hasLibc || kind.ignore,
        sanitizeOps: false,
        async fn() {
          await using temp = await tempPath();
          const { path } = kind.place(temp.path) as { path: string };
          const { tool, conn } = await meetPackets(
            role,
            path,
            (...args) => python(PACKETS, ...args, who, sizes.join(" ")),
          );
          await using _tool = tool;
          using _conn = conn;
          if (who === "asks") {
            for (const _ of sizes) {
              const packet = await conn.recv(65536);
              assertEquals(await conn.send(packet.reverse()), packet.length);
            }
            assertEquals((await conn.recv(100)).length, 0);
            await conn.shutdown(SHUT_WR);
          } else {
            await sendAndCompare(
              sizes,
              (data) => conn.send(data),
              () => conn.recv(65536),
            );
            await conn.shutdown(SHUT_WR);
            assertEquals((await conn.recv(100)).length, 0);
          }
          assertEquals(await line(tool), "done", tool.log);
          await tool.endsWell();
        },
      });
    }
  }
}
