/** socat, ncat and OpenBSD's nc at the other end: streams, half-closed either way, resets, datagrams, packets. */

import { assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import {
  AF_UNIX,
  type Family,
  SHUT_WR,
  SOCK_SEQPACKET,
  type Socket,
  socket,
  type UnixAddress,
} from "../../libc/mod.ts";
import { errorCode } from "../../errors.ts";
import { pattern, rejection } from "../_bytes.ts";
import { canListen, hasLibc, hasUnix, tempPath } from "../_pairs.ts";
import { freePort } from "../_ports.ts";
import { assertSame, concat } from "./_checksum.ts";
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

/** Where a socket is, of either kind. */
type Place = StreamPlace | DatagramPlace;

/** A program that copies between a socket and its own input and output. */
interface Netcat {
  readonly command: "socat" | "ncat" | "nc.openbsd";
  /** Its arguments as a client that ends its half of the stream where its input ends. */
  readonly client: (place: Place, own?: string) => string[];
  /** Its arguments as a server of one client. */
  readonly server: (place: Place) => string[];
  /** What it says as soon as it listens. */
  readonly listens: (place: Place) => RegExp;
  /** Whether it has abstract names of Unix sockets. */
  readonly hasAbstract: boolean;
  /** Whether its server still sends after the client has ended its half; its clients all do. */
  readonly serverSendsOn: boolean;
}

/** The part of an address that socat takes behind its kind. */
function socatName(place: Place): string {
  if ("path" in place) return place.path!.replace("\0", "");
  const { hostname, port } = place;
  return `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

/** The kind of a socat address, without the verb: `TCP4`, `UNIX`, ... */
function socatKind(place: Place): string {
  if ("path" in place) {
    return place.path!.startsWith("\0") ? "ABSTRACT" : "UNIX";
  }
  const { transport, hostname } = place;
  return `${transport.toUpperCase()}${hostname.includes(":") ? 6 : 4}`;
}

/** socat's address for a client of a place. */
function socatClient(place: Place, own?: string): string {
  const verb = place.transport === "unixpacket" ? "SENDTO" : "CONNECT";
  const bind = own === undefined ? "" : `,bind=${own.replace(/^@/, "")}`;
  return `${socatKind(place)}-${verb}:${socatName(place)}${bind}`;
}

/** socat's address for a server at a place. */
function socatServer(place: Place): string {
  const kind = socatKind(place);
  if ("path" in place) return `${kind}-LISTEN:${socatName(place)}`;
  const bind = socatName({ ...place, port: 0 }).replace(/:0$/, "");
  return `${kind}-LISTEN:${place.port},bind=${bind}`;
}

/** The destination as nc and ncat take it. An abstract name is one with an @ before it, for nc only. */
const words = (place: Place): string[] =>
  "path" in place
    ? [place.path!.replace("\0", "@")]
    : [place.hostname, `${place.port}`];

/** The flags that nc and ncat share. */
function flags(place: Place): string[] {
  return [
    ...("path" in place ? ["-U"] : ["-n"]),
    ...(place.transport === "udp" || place.transport === "unixpacket"
      ? ["-u"]
      : []),
  ];
}

const isStream = ({ transport }: Place) =>
  transport === "tcp" || transport === "unix";

const netcats: readonly Netcat[] = [
  {
    command: "socat",
    // After the end of one direction it waits half a second for the other, unless -t says more.
    client: (place, own) => ["-t", "60", "STDIO", socatClient(place, own)],
    server: (place) => [
      ...["-d", "-d", "-t", "60"],
      "STDIO",
      socatServer(place),
    ],
    listens: () => / N listening on /,
    hasAbstract: true,
    serverSendsOn: true,
  },
  {
    command: "ncat",
    // It ends its half by itself; with --send-only it would close the whole socket, and reset it.
    client: (place, own) => [
      ...flags(place),
      ...(own === undefined ? [] : ["-s", own]),
      ...words(place),
    ],
    server: (place) => [...flags(place), "-v", "-l", ...words(place)],
    listens: () => /^Ncat: Listening on /m,
    hasAbstract: false,
    serverSendsOn: false,
  },
  {
    command: "nc.openbsd",
    // Without -N it never ends its half; a client of UDP that is verbose sends probes.
    client: (place, own) => [
      ...flags(place),
      ...(isStream(place) ? ["-N"] : ["-q", "0"]),
      ...(own === undefined ? [] : ["-s", own]),
      ...words(place),
    ],
    server: (place) => [
      ...flags(place),
      ...(isStream(place) ? ["-N"] : []),
      ...["-v", "-l"],
      ...words(place),
    ],
    // A stream is bound first, and listens a moment later.
    listens: (place) => isStream(place) ? /^Listening on /m : /^Bound on /m,
    hasAbstract: true,
    serverSendsOn: false,
  },
];

const [socat] = netcats as readonly [Netcat];

/** A kind of place, and one of it that is free. */
interface Kind {
  readonly name: string;
  readonly ignore: boolean;
  /** The port is 0 where a socket of ours takes it, and a free one where a program is told. */
  readonly place: (path: string, port: number) => StreamPlace;
}

const tcp = (hostname: string): Kind => ({
  name: hostname.includes(":") ? "tcp6" : "tcp4",
  ignore: !canListen(hostname),
  place: (_, port) => ({ transport: "tcp", hostname, port }),
});

const unixPath: Kind = {
  name: "unix path",
  ignore: !hasUnix,
  place: (path) => ({ transport: "unix", path }),
};

const unixAbstract: Kind = {
  name: "unix abstract",
  ignore: Deno.build.os !== "linux",
  // The folder's name is one of a kind, and serves as such a name as well.
  place: (path) => ({ transport: "unix", path: `\0${path}` }),
};

const kinds: readonly Kind[] = [
  tcp("127.0.0.1"),
  tcp("::1"),
  unixPath,
  unixAbstract,
];

/** Starts a program as a server, and waits until it listens. */
async function startServer(netcat: Netcat, place: Place): Promise<Tool> {
  const tool = new Tool(netcat.command, netcat.server(place));
  try {
    await tool.says(netcat.listens(place));
    return tool;
  } catch (error) {
    await tool[Symbol.asyncDispose]();
    throw error;
  }
}

/** A program and a socket of ours, connected. */
interface Connected extends AsyncDisposable {
  readonly tool: Tool;
  readonly end: End;
}

/** Makes a connection at a path of its own or a port, in one of the two roles. */
type Connect = (path: string) => Promise<Connected>;

const connected = (tool: Tool, end: End): Connected => ({
  tool,
  end,
  async [Symbol.asyncDispose]() {
    end[Symbol.dispose]();
    await tool[Symbol.asyncDispose]();
  },
});

/** The program is the client. */
async function toUs(
  args: (place: StreamPlace) => string[],
  command: Netcat["command"],
  face: StreamFace,
  place: StreamPlace,
): Promise<Connected> {
  using listener = await face.listen(place);
  const tool = new Tool(command, args(listener.addr));
  try {
    return connected(tool, await tool.awaits(listener.accept()));
  } catch (error) {
    await tool[Symbol.asyncDispose]();
    throw error;
  }
}

/** The program is the server. */
async function toTool(
  netcat: Netcat,
  face: StreamFace,
  place: StreamPlace,
): Promise<Connected> {
  const tool = await startServer(netcat, place);
  try {
    return connected(tool, await face.connect(place));
  } catch (error) {
    await tool[Symbol.asyncDispose]();
    throw error;
  }
}

const MIB = 2 ** 20;
const HALF = MIB / 2;
const OURS = pattern(MIB, 1);
const THEIRS = pattern(MIB, 2);

/** We end our half in the middle of what the program sends. */
async function weEndFirst(
  { tool, end }: Connected,
  sendsOn: boolean,
): Promise<void> {
  const [printed, first] = await Promise.all([
    tool.take(MIB),
    readUpTo(end, HALF),
    end.send(OURS),
    tool.write(THEIRS.subarray(0, HALF)),
  ]);
  await assertSame(printed, OURS, "what the program got");
  await end.end();
  const second = readUpTo(end, Infinity);
  if (sendsOn) {
    await tool.write(THEIRS.subarray(HALF));
    await tool.end();
  }
  await assertSame(
    concat([first, await second]),
    sendsOn ? THEIRS : THEIRS.subarray(0, HALF),
    "what we got",
  );
  assertEquals((await tool.rest()).length, 0, "nothing but ours");
  await tool.endsWell();
}

/** The program ends its half in the middle of what we send. */
async function toolEndsFirst({ tool, end }: Connected): Promise<void> {
  const feed = async () => {
    await tool.write(THEIRS);
    await tool.end();
  };
  const [printed, received] = await Promise.all([
    tool.take(HALF),
    readUpTo(end, Infinity),
    end.send(OURS.subarray(0, HALF)),
    feed(),
  ]);
  await assertSame(received, THEIRS, "what we got");
  const rest = tool.rest();
  await end.send(OURS.subarray(HALF));
  await end.end();
  const all = concat([printed, await rest]);
  await assertSame(all, OURS, "what the program got");
  await tool.endsWell();
}

/** The program's input is at its end from the start. */
async function nothingAtAll({ tool, end }: Connected): Promise<void> {
  await tool.end();
  assertEquals((await end.read()).length, 0);
  assertEquals((await end.read()).length, 0);
  end[Symbol.dispose]();
  assertEquals((await tool.rest()).length, 0);
  await tool.endsWell();
}

/** A test in both roles. */
function testStreams(netcat: Netcat, face: StreamFace, kind: Kind): void {
  const { command } = netcat;
  const roles: [name: string, sendsOn: boolean, connect: Connect][] = [
    [
      `${command} to us`,
      true,
      (path) => toUs(netcat.client, command, face, kind.place(path, 0)),
    ],
    [
      `we to ${command}`,
      netcat.serverSendsOn,
      (path) => toTool(netcat, face, kind.place(path, freePort())),
    ],
  ];
  for (const [role, sendsOn, connect] of roles) {
    Deno.test({
      name: `${face.name} ${kind.name}: ${role}, half-closed either way`,
      ignore: face.ignore || kind.ignore,
      sanitizeOps: face.sanitizeOps,
      async fn() {
        await using temp = await tempPath();
        {
          await using pair = await connect(`${temp.path}1`);
          await weEndFirst(pair, sendsOn);
        }
        {
          await using pair = await connect(`${temp.path}2`);
          await toolEndsFirst(pair);
        }
        await using pair = await connect(`${temp.path}3`);
        await nothingAtAll(pair);
      },
    });
  }
}

const { core, streams, bsd, libc } = streamFaces;

for (const netcat of netcats) {
  for (const kind of kinds) {
    if (kind === unixAbstract && !netcat.hasAbstract) continue;
    for (const face of [core, bsd, libc]) testStreams(netcat, face, kind);
  }
  testStreams(netcat, streams, kinds[0]!);
}

// Resets

/** socat as a client that vanishes where its input ends: it closes without a shutdown(2) before, and lingers not. */
const resetting = (place: StreamPlace) => [
  "-u",
  "STDIN",
  `${socatClient(place)},linger=0,shut-close`,
];

for (const face of Object.values(streamFaces)) {
  for (const kind of kinds.slice(0, 2)) {
    Deno.test({
      name: `${face.name} ${kind.name}: socat resets, and we are told so`,
      ignore: face.ignore || kind.ignore,
      sanitizeOps: face.sanitizeOps,
      async fn() {
        const place = kind.place("", 0);
        await using pair = await toUs(resetting, "socat", face, place);
        const { tool, end } = pair;
        await tool.write(pattern(1000));
        await assertSame(await readUpTo(end, 1000), pattern(1000), "the word");
        const waiting = rejection(end.read());
        await tool.end();
        await tool.endsWell();
        const error = await waiting;
        assertEquals(errorCode(error), "ECONNRESET", `${error}`);
        await assertRejects(() => end.send(pattern(1)), Error);
      },
    });
  }
}

// Datagrams

/** Sizes of datagrams. Empty ones are no input of a program, and 8 KiB is what socat reads at once. */
const SIZES = [1, 2, 3, 100, 511, 512, 1023, 1024, 1399, 1400, 8192];

/** Each size, one way and then the other; the first datagram is the program's. */
async function exchange(
  tool: Tool,
  ours: DatagramEnd,
): Promise<DatagramPlace> {
  let peer: DatagramPlace | undefined;
  for (const size of SIZES) {
    await tool.write(pattern(size, size));
    const { data, from } = await ours.receive();
    assertEquals(data, pattern(size, size));
    assertEquals(from, peer ?? from);
    peer = from;
    assertEquals(await ours.send(pattern(size, ~size), from), size);
    assertEquals(await tool.take(size), pattern(size, ~size));
  }
  return peer!;
}

/** Each size, one way and then the other; the first datagram is ours. */
async function ask(
  tool: Tool,
  ours: DatagramEnd,
  peer: DatagramPlace,
): Promise<void> {
  for (const size of SIZES) {
    assertEquals(await ours.send(pattern(size, size)), size);
    assertEquals(await tool.take(size), pattern(size, size));
    await tool.write(pattern(size, ~size));
    const { data, from } = await ours.receive();
    assertEquals(data, pattern(size, ~size));
    assertEquals(from, peer);
  }
}

function testUdp(netcat: Netcat, face: DatagramFace, hostname: string): void {
  const rest = {
    ignore: face.ignore || !canListen(hostname),
    sanitizeOps: face.sanitizeOps,
  };
  const name = `${face.name} udp${hostname.includes(":") ? 6 : 4}`;
  const place = (port: number): DatagramPlace => ({
    transport: "udp",
    hostname,
    port,
  });
  Deno.test({
    ...rest,
    name: `${name}: ${netcat.command} sends to us`,
    async fn() {
      using ours = await face.bind(place(0));
      await using tool = new Tool(netcat.command, netcat.client(ours.addr));
      const peer = await exchange(tool, ours) as { hostname: string };
      assertEquals(peer.hostname, hostname);
      if (netcat !== socat) {
        await tool.end();
        await tool.endsWell();
      }
    },
  });
  Deno.test({
    ...rest,
    name: `${name}: we send to ${netcat.command}`,
    async fn() {
      const peer = place(freePort());
      await using tool = await startServer(netcat, peer);
      using ours = await face.talk(peer);
      await ask(tool, ours, peer);
    },
  });
}

const at = (path: string): DatagramPlace => ({ transport: "unixpacket", path });

function testUnixDatagrams(
  netcat: Netcat,
  face: DatagramFace,
  isAbstract: boolean,
): void {
  const { ignore, sanitizeOps } = face;
  const name = `${face.name} unix datagrams, ${
    isAbstract ? "abstract" : "path"
  }`;
  const nul = isAbstract ? "\0" : "";
  Deno.test({
    name: `${name}: ${netcat.command} sends to us`,
    ignore,
    sanitizeOps,
    async fn() {
      await using temp = await tempPath();
      const theirs = `${temp.path}-theirs`;
      using ours = await face.bind(at(nul + temp.path));
      await using tool = new Tool(
        netcat.command,
        netcat.client(ours.addr, nul.replace("\0", "@") + theirs),
      );
      assertEquals(await exchange(tool, ours), at(nul + theirs));
    },
  });
  // A socat that receives from anyone answers one datagram only.
  if (netcat === socat) return;
  Deno.test({
    name: `${name}: we send to ${netcat.command}`,
    ignore,
    sanitizeOps,
    async fn() {
      await using temp = await tempPath();
      const theirs = at(`${nul}${temp.path}-theirs`);
      await using tool = await startServer(netcat, theirs);
      using ours = await face.talk(theirs, at(nul + temp.path));
      await ask(tool, ours, theirs);
    },
  });
}

/**
 * A path of the core's is two sockets of Deno's: one receives, the other sends. A peer that is connected to
 * the path, as those of nc and ncat are, hears the first alone.
 */
function testConnectedPeer(netcat: Netcat, face: DatagramFace): void {
  Deno.test({
    name:
      `${face.name} unix datagrams, path: ${netcat.command} is heard, and an answer is an error`,
    ignore: face.ignore,
    async fn() {
      await using temp = await tempPath();
      const theirs = `${temp.path}-theirs`;
      using ours = await face.bind(at(temp.path));
      await using tool = new Tool(
        netcat.command,
        netcat.client(ours.addr, theirs),
      );
      for (const size of SIZES) {
        await tool.write(pattern(size, size));
        const { data, from } = await ours.receive();
        assertEquals(data, pattern(size, size));
        assertEquals(from, at(theirs));
        const error = await rejection(ours.send(pattern(1), from));
        assertInstanceOf(error, Deno.errors.PermissionDenied);
        assertEquals(errorCode(error), "EPERM");
      }
    },
  });
}

for (const netcat of netcats) {
  for (const face of udpFaces) {
    for (const hostname of ["127.0.0.1", "::1"]) {
      testUdp(netcat, face, hostname);
    }
  }
  for (const face of unixDatagramFaces) {
    if (face.name === "core" && netcat !== socat) {
      testConnectedPeer(netcat, face);
    } else testUnixDatagrams(netcat, face, false);
    if (netcat.hasAbstract) testUnixDatagrams(netcat, face, true);
  }
}

// Packets over a connection, which only the C library has

/** Packets both ways; then both ends are told, one after the other. */
async function assertPackets(
  tool: Tool,
  conn: Socket<UnixAddress>,
): Promise<void> {
  for (const size of SIZES) {
    await tool.write(pattern(size, size));
    assertEquals(await conn.recv(65536), pattern(size, size));
    assertEquals(await conn.send(pattern(size, ~size)), size);
    assertEquals(await tool.take(size), pattern(size, ~size));
  }
  await tool.end();
  assertEquals((await conn.recv(65536)).length, 0);
  await conn.send(pattern(99));
  assertEquals(await tool.take(99), pattern(99));
  await conn.shutdown(SHUT_WR);
  assertEquals((await tool.rest()).length, 0);
  await tool.endsWell();
}

/** The number of SOCK_SEQPACKET, for socat. */
const PACKETS = ",type=5";

for (const kind of [unixPath, unixAbstract]) {
  const rest = { ignore: !hasLibc, sanitizeOps: false };
  const packets = () => {
    const made = socket(AF_UNIX as Family<UnixAddress>, SOCK_SEQPACKET);
    made.settimeout(30_000);
    return made;
  };
  Deno.test({
    ...rest,
    name: `libc ${kind.name} SEQPACKET: socat to us`,
    async fn() {
      await using temp = await tempPath();
      const place = kind.place(temp.path, 0);
      using server = packets();
      server.bind((place as { path: string }).path);
      server.listen(1);
      await using tool = new Tool("socat", [
        ...["-t", "60", "STDIO"],
        socatClient(place) + PACKETS,
      ]);
      const [conn] = await tool.awaits(server.accept());
      using _ = conn;
      await assertPackets(tool, conn);
    },
  });
  Deno.test({
    ...rest,
    name: `libc ${kind.name} SEQPACKET: we to socat`,
    async fn() {
      await using temp = await tempPath();
      const place = kind.place(temp.path, 0);
      await using tool = await startServer({
        ...socat,
        server: (place) => {
          const args = socat.server(place);
          return [...args.slice(0, -1), args.at(-1)! + PACKETS];
        },
      }, place);
      using conn = packets();
      await conn.connect((place as { path: string }).path);
      await assertPackets(tool, conn);
    },
  });
}
