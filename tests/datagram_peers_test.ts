/** Datagrams from and to programs that are not ours: python3's socket module, and socat. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { errorCode, isTimeoutError } from "../errors.ts";
import type { SocketAddr, UdpAddr } from "../types.ts";
import { bindUdp, connectUdp } from "../udp.ts";
import { bindUnixDatagram } from "../unix.ts";
import { pattern, text, utf8 } from "./_bytes.ts";
import { type AnySocket, type Backend, backends } from "./_datagrams.ts";
import { canListen, hasAbstract, hasUnix, tempPath } from "./_pairs.ts";
import { freePort } from "./_ports.ts";
import { Program, startPython, unstable } from "./_process.ts";
import { canUnshare, runOnCable } from "./_network.ts";

/** How long a test waits for what comes at once: a lost datagram is a failure, not a standstill. */
const PATIENCE = 20_000;

/** A socket as one of any kind. */
const any = (socket: unknown) => socket as AnySocket;

/** A socket of ours, and how python programs are told about it and about themselves. */
interface Place extends AsyncDisposable {
  readonly socket: AnySocket;
  /** For the prelude of the python programs: the family, their own name, and ours. */
  readonly args: readonly [kind: string, own: string, ours: string];
  /** A python program's address, by what `print_name()` printed. */
  readonly peer: (line: string) => SocketAddr;
}

/** A kind of datagram socket. */
interface Transport {
  readonly name: string;
  readonly ignore: boolean;
  /** Datagrams of these sizes are sent among others: the odd ones and the largest. */
  readonly sizes: readonly number[];
  readonly open: () => Promise<Place>;
}

const udp = (backend: Backend, hostname: string): Transport => ({
  name: `udp ${backend}: IPv${hostname.includes(":") ? 6 : 4}`,
  ignore: !canListen(hostname),
  sizes: [0, 1, 1472, 65507, ...(hostname.includes(":") ? [65527] : [])],
  async open() {
    const socket = await bindUdp({ hostname, backend });
    const { port } = socket.addr;
    return {
      socket: any(socket),
      args: [
        hostname.includes(":") ? "udp6" : "udp4",
        `${hostname} 0`,
        `${hostname} ${port}`,
      ],
      peer: (line) => ({ transport: "udp", hostname, port: Number(line) }),
      [Symbol.asyncDispose]: () => socket[Symbol.asyncDispose](),
    };
  },
});

/** A name's bytes in hexadecimal: an argument of a program can have no zero byte. */
const hex = (name: string): string =>
  Array.from(utf8(name), (byte) => byte.toString(16).padStart(2, "0")).join("");

const unix = (
  sort: string,
  has: boolean,
  name: (folder: string, end: string) => string,
): Transport => ({
  name: `unix ${sort}`,
  ignore: !unstable || !has,
  sizes: [0, 1, 1472, 65507, 200_000],
  async open() {
    const temp = await tempPath();
    const ours = name(temp.path, "ours");
    const theirs = name(temp.path, "theirs");
    const socket = any(await bindUnixDatagram({ path: ours }));
    return {
      socket,
      args: ["unix", hex(theirs), hex(ours)],
      peer: () => ({ transport: "unixpacket", path: theirs }),
      async [Symbol.asyncDispose]() {
        await socket[Symbol.asyncDispose]();
        await temp[Symbol.asyncDispose]();
      },
    };
  },
});

const unixKinds: readonly Transport[] = [
  unix("path", hasUnix, (path, end) => `${path}-${end}`),
  // The folder's name is one of a kind, and serves as such a name as well.
  unix("abstract", hasAbstract, (path, end) => `\0${path}-${end}`),
];

const transports: readonly Transport[] = [
  ...backends.flatMap((backend) =>
    ["127.0.0.1", "::1"].map((hostname) => udp(backend, hostname))
  ),
  ...unixKinds,
];

function testEach(
  kinds: readonly Transport[],
  name: string,
  fn: (place: Place, transport: Transport) => Promise<void>,
): void {
  for (const transport of kinds) {
    Deno.test({
      name: `${transport.name}: ${name}`,
      ignore: transport.ignore,
      async fn() {
        await using place = await transport.open();
        await fn(place, transport);
      },
    });
  }
}

function testUdp(
  name: string,
  fn: (backend: Backend) => Promise<void>,
  ignore = false,
): void {
  for (const backend of backends) {
    Deno.test({
      name: `udp ${backend}: ${name}`,
      ignore,
      fn: () => fn(backend),
    });
  }
}

/** What all python programs begin with: a socket `s` with its own name, and `ours`, which is our address. */
const PRELUDE = `
import json, os, random, socket, sys
kind, own, theirs = sys.argv[1:4]

def address(name):
    if kind == "unix":
        return bytes.fromhex(name)
    host, port = name.split()
    return (host, int(port))

def plain(name):
    return os.fsencode(name) if kind == "unix" else name[:2]

def print_name():
    print("bound" if kind == "unix" else s.getsockname()[1])

families = {"udp4": socket.AF_INET, "udp6": socket.AF_INET6}
s = socket.socket(families.get(kind) or socket.AF_UNIX, socket.SOCK_DGRAM)
# A lost datagram ends the program, and with it the wait for what it prints.
s.settimeout(30)
if own:
    s.bind(address(own))
ours = address(theirs)
`;

const python = (place: Place, body: string, ...args: string[]) =>
  startPython(PRELUDE + body, ...place.args, ...args);

/** Two hundred sizes: the odd ones spread over many that nobody has chosen. */
function sizesOf({ sizes }: Transport): number[] {
  const all = Array.from(
    pattern(200),
    (byte, i) => (byte << 4) + pattern(1, i)[0]!,
  );
  sizes.forEach((size, i) => {
    all[i * 7] = size;
    all[100 + i * 11] = size;
  });
  return all;
}

// Everybody's bytes, both ways

testEach(
  transports,
  "a python client gets every byte back from our loop",
  async (place, transport) => {
    const { socket } = place;
    const sizes = sizesOf(transport);
    const serving = (async () => {
      for await (const { data, addr, truncated } of socket) {
        assert(!truncated);
        assertEquals(await socket.send(data, addr), data.length);
      }
    })();
    await using client = await python(
      place,
      `
for i, size in enumerate(json.loads(sys.argv[4])):
    data = random.Random(i).randbytes(size)
    s.sendto(data, ours)
    got, sender = s.recvfrom(300000)
    if got != data:
        sys.exit(f"datagram {i} of {size} bytes came back as {len(got)} bytes, or as others")
    if plain(sender) != ours:
        sys.exit(f"datagram {i} came from {sender}")
print("all came back")
`,
      JSON.stringify(sizes),
    );
    // Whichever ends first: a loop that failed is not waited for in vain.
    assertEquals(
      await Promise.race([client.line(), serving]),
      "all came back",
    );
    assertEquals(socket.datagramsReceived, sizes.length);
    assertEquals(socket.datagramsSent, sizes.length);
    const bytes = sizes.reduce((sum, size) => sum + size);
    assertEquals(socket.bytesReceived, bytes);
    assertEquals(socket.bytesSent, bytes);
    await socket[Symbol.asyncDispose]();
    await serving;
  },
);

const PYTHON_ECHO = `
print_name()
while True:
    data, sender = s.recvfrom(300000)
    s.sendto(data, sender)
`;

/** Sends datagrams one at a time and compares what comes back, by each way to receive. */
async function assertEchoed(
  socket: AnySocket,
  peer: SocketAddr,
  send: (data: Uint8Array) => Promise<number>,
  sizes: readonly number[],
): Promise<void> {
  const room = new Uint8Array(300_000);
  for (const [i, size] of sizes.entries()) {
    const data = pattern(size, i);
    let got: Uint8Array;
    let addr: SocketAddr;
    let truncated: boolean;
    if (i % 3 === 0) {
      assertEquals(await send(data), size);
      ({ data: got, addr, truncated } = await socket.receive());
    } else {
      // Somebody who waits already must not be in the way of the send.
      const buffer = i % 3 === 1 ? room : room.subarray(0, size);
      const receiving = socket.receiveInto(buffer);
      assertEquals(await send(data), size);
      const received = await receiving;
      ({ addr, truncated } = received);
      got = buffer.subarray(0, received.bytes);
    }
    assertEquals(addr, peer);
    assert(!truncated, `datagram ${i} of ${size} bytes is truncated`);
    assertEquals(got.length, size);
    // Comparing single elements of so many would take minutes.
    assert(got.every((byte, at) => byte === data[at]), `datagram ${i}`);
  }
  assertEquals(socket.datagramsReceived, sizes.length);
  assertEquals(socket.datagramsSent, sizes.length);
}

testEach(
  transports,
  "a python server gives every byte back to us",
  async (place, transport) => {
    await using server = await python(place, PYTHON_ECHO);
    const peer = place.peer(await server.line());
    const { socket } = place;
    socket.timeout = PATIENCE;
    const send = (data: Uint8Array) => socket.send(data, peer);
    await assertEchoed(socket, peer, send, sizesOf(transport));
  },
);

for (const backend of backends) {
  for (const hostname of ["127.0.0.1", "::1"]) {
    testEach(
      [udp(backend, hostname)],
      "a python server gives every byte back to a connected socket",
      async (place, transport) => {
        await using server = await python(place, PYTHON_ECHO);
        const peer = place.peer(await server.line()) as UdpAddr;
        await using client = await connectUdp({ ...peer, backend });
        const socket = any(client);
        client.timeout = PATIENCE;
        const send = (data: Uint8Array) => client.send(data);
        await assertEchoed(socket, peer, send, sizesOf(transport));
        assertEquals(client.strays, 0);
      },
    );
  }
}

testEach(
  transports,
  "what does not fit is cut off, and the next datagram is whole",
  async (place) => {
    const { socket } = place;
    await using sender = await python(
      place,
      `
for i in range(4):
    s.sendto(random.Random(i).randbytes(1000), ours)
    s.sendto(b"whole %d" % i, ours)
    sys.stdin.readline()
`,
    );
    for (let i = 0; i < 4; i++) {
      // From the second round on with a timeout: such a receive goes another way.
      socket.timeout = i < 1 ? undefined : PATIENCE;
      const buffer = new Uint8Array(10 * i);
      const { bytes, truncated } = await socket.receiveInto(buffer);
      assertEquals({ bytes, truncated }, { bytes: 10 * i, truncated: true });
      assertEquals(buffer.some((byte) => byte !== 0), i > 0);
      const whole = await socket.receive();
      assertEquals(text(whole.data), `whole ${i}`);
      assertEquals(whole.truncated, false);
      await sender.send("go on");
    }
  },
);

// Unix: names that are none, and queues that are full

testEach(
  unixKinds,
  "a python sender without a name is heard and cannot be answered",
  async (place) => {
    const { socket } = place;
    await using sender = await startPython(
      `${PRELUDE}
s.sendto(b"who am I?", ours)
sys.stdin.readline()
s.bind(address(sys.argv[4]))
s.sendto(b"and now?", ours)
print(s.recv(100).decode())
`,
      "unix",
      "",
      place.args[2],
      place.args[1],
    );
    socket.timeout = PATIENCE;
    const { data, addr } = await socket.receive();
    assertEquals(text(data), "who am I?");
    assertEquals(addr, { transport: "unixpacket", path: null });
    const error = await assertRejects(
      () => socket.send(utf8("nobody"), addr),
      TypeError,
      "cannot be answered",
    );
    assertEquals(errorCode(error), "EDESTADDRREQ");
    await sender.send("go on");
    const next = await socket.receive();
    assertEquals(text(next.data), "and now?");
    assertEquals(next.addr, place.peer(""));
    await socket.send(utf8("named"), next.addr);
    assertEquals(await sender.line(), "named");
  },
);

/** Datagrams in turn from a name that is no text, and from one that is. */
const STRANGE_NAMES = `
for line in sys.stdin:
    for strange in [b"\\xff\\xfe", b""]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(address(own) + b"-" + line.strip().encode() + strange)
            other.sendto(line.strip().encode() + b" " + strange, ours)
    print("sent")
`;

testEach(
  unixKinds,
  "a python sender whose name is no text does no harm",
  async (place) => {
    const { socket } = place;
    const [kind, own, ours] = place.args;
    await using sender = await startPython(
      // It binds its names later.
      PRELUDE.replace("if own:", "if not own:") + STRANGE_NAMES,
      kind,
      own,
      ours,
    );
    const got: string[] = [];
    const looping = (async () => {
      for await (const { data } of socket) {
        got.push(text(data));
        if (got.length === 2) break;
      }
    })();
    // The loop waits when the first come; the second wait for the loop.
    const sending = (async () => {
      for (const message of ["a", "b"]) {
        await sender.send(message);
        await sender.line();
      }
    })();
    await Promise.all([looping, sending]);
    // What came before anybody wanted it, and then by the way of a receive with a timeout.
    await sender.send("c");
    await sender.line();
    got.push(text((await socket.receive()).data));
    socket.timeout = PATIENCE;
    const receiving = socket.receive();
    await sender.send("d");
    got.push(text((await receiving).data));
    assertEquals(got, ["a ", "b ", "c ", "d "]);
  },
);

for (const isWaiting of [false, true]) {
  testEach(
    unixKinds,
    `a python receiver that does not read, ${
      isWaiting ? "while a receive waits" : "and nobody waits"
    }`,
    async (place) => {
      const { socket } = place;
      await using receiver = await python(
        place,
        `
print_name()
sys.stdin.readline()
got = []
while (data := s.recv(100)) != b"end":
    got.append(int(data))
s.sendto(json.dumps(got).encode(), ours)
`,
      );
      const peer = place.peer(await receiver.line());
      const answer = isWaiting ? socket.receive() : undefined;
      let next = 0;
      const taken: number[] = [];
      const abandoned: number[] = [];
      const send = async () => {
        const number = next++;
        try {
          await socket.send(utf8(`${number}`), peer);
          taken.push(number);
        } catch (error) {
          assert(isTimeoutError(error), String(error));
          abandoned.push(number);
        }
      };
      socket.timeout = 100;
      // More than one: those behind the first wait in a queue of our own.
      while (abandoned.length < 3) await send();
      assertEquals(socket.datagramsSent, taken.length);
      const before = taken.length;
      socket.timeout = PATIENCE;
      await receiver.send("read");
      for (let i = 0; i < 50; i++) await send();
      assertEquals(taken.length, before + 50);
      await socket.send(utf8("end"), peer);
      const { data } = await (answer ?? socket.receive());
      const got: number[] = JSON.parse(text(data));
      // Whether those that were abandoned arrive is open; none of the others is missing or doubled.
      assertEquals(
        got.filter((number) => !abandoned.includes(number)),
        taken,
      );
      assertEquals(got, [...new Set(got)].sort((a, b) => a - b));
    },
  );
}

// socat

/** Whether a program is installed. */
function isInstalled(program: string): boolean {
  try {
    return new Deno.Command(program, { args: ["-V"], stdout: "null" })
      .outputSync().success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Where everything has to be tested, a missing socat is a failure. */
const noSocat = !Deno.env.has("CI") && !isInstalled("socat");

const socatKinds = unixKinds.map((kind) => ({
  ...kind,
  ignore: kind.ignore || noSocat,
}));

/** Starts socat; what it says about itself comes among its lines. */
function startSocat(...args: string[]): Program {
  assert(isInstalled("socat"), "socat is missing: install the package socat");
  return new Program("sh", ["-c", 'exec socat "$@" 2>&1', "sh", ...args]);
}

/** Waits for a line of socat's log. */
async function logged(socat: Program, wanted: string): Promise<void> {
  for (;;) {
    const line = await socat.line();
    if (line.includes(wanted)) return;
    assert(!/ [EF] /.test(line), line);
  }
}

/** The next line that is not of socat's log. */
async function printed(socat: Program): Promise<string> {
  for (;;) {
    const line = await socat.line();
    if (!/^[\d/]+ [\d:]+ socat\[/.test(line)) return line;
  }
}

for (const form of ["UDP4-DATAGRAM", "UDP4-SENDTO"]) {
  testUdp(`socat's ${form} sends to us and gets answers`, async (backend) => {
    await using socket = await bindUdp({ hostname: "127.0.0.1", backend });
    socket.timeout = PATIENCE;
    await using socat = startSocat(
      "STDIO",
      `${form}:127.0.0.1:${socket.addr.port}`,
    );
    await assertAnswers(socat, any(socket));
  }, noSocat);

  testUdp(`socat's ${form} of a file`, async (backend) => {
    await using socket = await bindUdp({ hostname: "127.0.0.1", backend });
    socket.timeout = PATIENCE;
    await using socat = startSocat(
      "-u",
      "STDIN",
      `${form}:127.0.0.1:${socket.addr.port}`,
    );
    for (let i = 0; i < 5; i++) {
      await socat.send(`line ${i}`);
      // One at a time: socat makes one datagram of all that is there.
      assertEquals(text((await socket.receive()).data), `line ${i}\n`);
    }
    assertEquals((await socat.ended()).code, 0);
  }, noSocat);
}

/** Questions that socat sends, and our answers that it prints. */
async function assertAnswers(
  socat: Program,
  socket: AnySocket,
): Promise<void> {
  for (let i = 0; i < 5; i++) {
    await socat.send(`question ${i}`);
    const { data, addr } = await socket.receive();
    assertEquals(text(data), `question ${i}\n`);
    await socket.send(utf8(`answer ${i}\n`), addr);
    assertEquals(await socat.line(), `answer ${i}`);
  }
}

/** Sizes that socat echoes: it takes an empty datagram for the end. */
const SOCAT_SIZES = [1, 1472, 60_000, 2, 8193];

testUdp("socat's UDP4-RECVFROM echoes what we send", async (backend) => {
  const port = freePort();
  await using socat = startSocat(
    ...["-d", "-d", "-b", "65536"],
    `UDP4-RECVFROM:${port},bind=127.0.0.1,fork`,
    "PIPE",
  );
  await logged(socat, "receiving on");
  const peer: UdpAddr = { transport: "udp", hostname: "127.0.0.1", port };
  await using client = await connectUdp({ ...peer, backend });
  const socket = any(client);
  client.timeout = PATIENCE;
  const send = (data: Uint8Array) => client.send(data);
  await assertEchoed(socket, peer, send, SOCAT_SIZES);
}, noSocat);

/** Unix names as socat writes them: its own kind of address for each sort. */
const socatName = (addr: SocketAddr): [sort: string, name: string] => {
  assert(addr.transport === "unixpacket" && addr.path !== null);
  const { path } = addr;
  return path.startsWith("\0") ? ["ABSTRACT", path.slice(1)] : ["UNIX", path];
};

testEach(
  socatKinds,
  "socat sends to us, with a name and without one",
  async (place) => {
    const { socket } = place;
    socket.timeout = PATIENCE;
    const [sort, name] = socatName(socket.addr);
    const peer = place.peer("");
    await using socat = startSocat(
      "STDIO",
      `${sort}-SENDTO:${name},bind=${socatName(peer)[1]}`,
    );
    await assertAnswers(socat, socket);
    await using nobody = startSocat(
      "-u",
      "STDIN",
      `${sort}-SENDTO:${name}`,
    );
    await nobody.send("from nobody");
    const { data, addr } = await socket.receive();
    assertEquals(text(data), "from nobody\n");
    assertEquals(addr, { transport: "unixpacket", path: null });
  },
);

testEach(socatKinds, "socat echoes what we send", async (place) => {
  const { socket } = place;
  socket.timeout = PATIENCE;
  const peer = place.peer("");
  const [sort, name] = socatName(peer);
  await using socat = startSocat(
    ...["-d", "-d", "-b", "65536"],
    `${sort}-RECVFROM:${name},fork`,
    "PIPE",
  );
  await logged(socat, "receiving on");
  const send = (data: Uint8Array) => socket.send(data, peer);
  await assertEchoed(socket, peer, send, SOCAT_SIZES);
});

testEach(
  socatKinds,
  "socat prints what we send without a name",
  async (place) => {
    const peer = place.peer("");
    const [sort, name] = socatName(peer);
    await using socat = startSocat(
      ...["-d", "-d", "-u"],
      `${sort}-RECV:${name}`,
      "STDOUT",
    );
    await logged(socat, "starting data transfer loop");
    await using sender = any(await bindUnixDatagram());
    for (let i = 0; i < 30; i++) {
      await sender.send(utf8(`line ${i}\n`), peer);
    }
    for (let i = 0; i < 30; i++) {
      assertEquals(await printed(socat), `line ${i}`);
    }
  },
);

// IPv4 by a socket of IPv6, and links that only their names tell apart

for (const backend of backends) {
  Deno.test({
    name:
      `udp ${backend}: a python sender over IPv4 is a mapped address on "::"`,
    ignore: !canListen("::1"),
    async fn() {
      await using socket = await bindUdp({ hostname: "::", backend });
      socket.timeout = PATIENCE;
      const { port } = socket.addr;
      await using peer = await startPython(
        `${PRELUDE}
print_name()
s.sendto(b"over IPv4", ours)
for i in range(2):
    data, sender = s.recvfrom(100)
    print(data.decode(), sender == ours)
`,
        "udp4",
        "127.0.0.1 0",
        `127.0.0.1 ${port}`,
      );
      const known = Number(await peer.line());
      const { data, addr } = await socket.receive();
      assertEquals(text(data), "over IPv4");
      assertEquals(addr, {
        transport: "udp",
        hostname: "::ffff:127.0.0.1",
        port: known,
      });
      await socket.send(utf8("to the mapped address"), addr);
      assertEquals(await peer.line(), "to the mapped address True");
      await socket.send(utf8("to the plain one"), {
        hostname: "127.0.0.1",
        port: known,
      });
      assertEquals(await peer.line(), "to the plain one True");
    },
  });
}

/** A peer at the other end of the cable. */
const PYTHON_ZONE = `
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(30)
scope = socket.if_nametoindex("v1")
s.bind(("fe80::b", 0, 0, scope))
s.sendto(b"python", ("fe80::a", int(sys.argv[1]), 0, scope))
data, sender = s.recvfrom(100)
# Some versions of python write the zone behind the address as well.
print(data.decode(), "from", sender[0].split("%")[0], "by", socket.if_indextoname(sender[3]))
`;

for (const backend of backends) {
  Deno.test({
    name: `udp ${backend}: link-local addresses keep their zone`,
    ignore: Deno.build.os !== "linux",
    async fn() {
      if (!await canUnshare()) return;
      const { code, stdout, stderr } = await runOnCable(
        `
const backend = ${JSON.stringify(backend)};
const say = ({ data, addr }) =>
  console.log(new TextDecoder().decode(data), "from", addr.hostname);
const bytes = (text) => new TextEncoder().encode(text);
await using a = await sockets.bindUdp({ hostname: "fe80::a%v0", backend });
await using b = await sockets.bindUdp({ hostname: "fe80::b%v1", backend });
a.timeout = b.timeout = ${PATIENCE};
console.log(a.addr.hostname, b.addr.hostname);

await b.send(bytes("question"), { ...a.addr, hostname: "fe80::a%v1" });
const question = await a.receive();
say(question);
await a.send(bytes("answer"), question.addr);
say(await b.receive());

const python = new Deno.Command("python3", {
  args: ["-c", ${JSON.stringify(PYTHON_ZONE)}, String(a.addr.port)],
  stderr: "inherit",
}).output();
const foreign = await a.receive();
say(foreign);
await a.send(bytes("answer to python"), foreign.addr);
await Deno.stdout.write((await python).stdout);

await using c = await sockets.connectUdp({ ...b.addr, hostname: "fe80::b%v0", backend });
c.timeout = ${PATIENCE};
await c.send(bytes("connected"));
const { data, addr } = await b.receive();
say({ data, addr });
await b.send(data, addr);
say(await c.receive());
console.log(c.strays);
// The zone was the peer's: without one, nobody can tell it.
c.disconnect();
await b.send(data, addr);
say(await c.receive());
await c.connect({ ...b.addr, hostname: "fe80::b%2" });
await b.send(data, addr);
say(await c.receive());
`,
      );
      assertEquals({ code, stdout: stdout.split("\n"), stderr }, {
        code: 0,
        stdout: [
          "fe80::a%v0 fe80::b%v1",
          "question from fe80::b%v0",
          "answer from fe80::a%v1",
          "python from fe80::b%v0",
          "answer to python from fe80::a by v1",
          "connected from fe80::a%v1",
          "connected from fe80::b%v0",
          "0",
          "connected from fe80::b",
          "connected from fe80::b%2",
          "",
        ],
        stderr: "",
      });
    },
  });
}
