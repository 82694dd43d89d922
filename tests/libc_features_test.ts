/** What only the C library's sockets can do. Everything happens on this machine's loopback. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { readAll, writeAll } from "../io.ts";
import { select } from "../select.ts";
import { Poller, POLLIN, POLLPRI } from "../select.ts";
import { serve } from "../serve.ts";
import * as libc from "../libc/mod.ts";
import { AGAIN } from "../libc/_side.ts";
import { libcOf } from "../libc/_socket.ts";
import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  type ControlMessage,
  controlSpace,
  create_connection,
  create_server,
  fromfd,
  type InetAddress,
  IPPROTO_ICMP,
  IPPROTO_IP,
  IPPROTO_TCP,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_WAITALL,
  type Option,
  Options,
  SCM_CREDENTIALS,
  SCM_RIGHTS,
  SHUT_RD,
  SHUT_WR,
  SO_REUSEADDR,
  SO_TIMESTAMPNS,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  type Socket,
  socket,
  socketpair,
  SOL_SOCKET,
  toConn,
  toListener,
  useWake,
} from "../libc/mod.ts";
import { pattern, text, utf8 } from "./_bytes.ts";
import { openAll } from "./_libc.ts";
import { freePort } from "./_ports.ts";
import { calls, messages } from "../libc/_symbols.ts";
import { canListen } from "./_pairs.ts";
import { Program } from "./_process.ts";

const isLinux = Deno.build.os === "linux";
if (isLinux) openAll();

/** What waits is told a moment later by a thread, whose wait may outlast a test: ops are not counted. */
function test(
  name: string,
  fn: () => Promise<void> | void,
  ignore = false,
): void {
  Deno.test({
    name: `libc: ${name}`,
    ignore: !isLinux || ignore,
    sanitizeOps: false,
    async fn() {
      await fn();
    },
  });
}

function udpSocket(): Socket<InetAddress> {
  const socket_ = socket(AF_INET, SOCK_DGRAM);
  socket_.bind(["127.0.0.1", 0]);
  return socket_;
}

async function fails(call: () => unknown, code: string): Promise<void> {
  let error: unknown;
  try {
    await call();
  } catch (caught) {
    error = caught;
  }
  assertInstanceOf(error, Error, `expected ${code}, got no error`);
  assertEquals((error as { code?: unknown }).code, code, `${error}`);
}

/** What must not wait for something that never comes. */
async function inTime<T>(call: Promise<T>): Promise<T> {
  let id;
  const late = new Promise<never>((_, reject) => {
    id = setTimeout(() => reject(new Error("it waits")), 60_000);
  });
  try {
    return await Promise.race([call, late]);
  } finally {
    clearTimeout(id);
  }
}

/** Whether something can be opened with the rights of this run. */
function can(open: () => Socket): boolean {
  try {
    open().close();
    return true;
  } catch {
    return false;
  }
}

const isRaw = isLinux && can(() => socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
const hasSix = isLinux && canListen("::1");
const localhost: InetAddress = ["127.0.0.1", 0];
const abstractName = () => `\0${crypto.randomUUID()}`;

/** A python3 program, given its arguments in `sys.argv`; `@` stands for the NUL of an abstract name. */
function python(source: string, ...args: (string | number)[]): Program {
  const prelude = `
import array, os, select, socket, struct, sys
def name(text): return text.replace("@", "\\0")
def say(*what): print(*what, flush=True)
`;
  return new Program("python3", [
    "-u",
    "-c",
    prelude + source,
    ...args.map((arg) => String(arg).replace("\0", "@")),
  ]);
}

async function ended(program: Program): Promise<void> {
  const { code, stderr } = await program.ended();
  assertEquals(code, 0, stderr);
}

/** Two connected TCP sockets, the client first. */
async function tcp(): Promise<[Socket<InetAddress>, Socket<InetAddress>]> {
  using server = create_server(localhost);
  const client = socket();
  await client.connect(server.getsockname());
  const [conn] = await server.accept();
  return [client, conn];
}

/** A bound UDP socket. */
function udp(): Socket<InetAddress> {
  const bound = socket(AF_INET, SOCK_DGRAM);
  bound.bind(localhost);
  return bound;
}

/** A UDP port at which nobody hears us: it is taken by a socket that hears only itself. */
async function deafPort(): Promise<Socket<InetAddress>> {
  const deaf = udp();
  await deaf.connect(deaf.getsockname());
  return deaf;
}

const int32 = (value: number) => new Uint8Array(new Int32Array([value]).buffer);
const viewOf = ({ data }: ControlMessage) =>
  new DataView(data.buffer, data.byteOffset, data.length);

/** The control message of a kind. */
function find(
  messages: ControlMessage[],
  level: number,
  type: number,
): ControlMessage {
  const found = messages.find((one) =>
    one.level === level && one.type === type
  );
  assert(found !== undefined, `no message ${level}/${type}`);
  return found;
}

/** The flags of a descriptor, as the kernel tells them. */
function flagsOf(descriptor: number): number {
  const info = Deno.readTextFileSync(`/proc/self/fdinfo/${descriptor}`);
  return parseInt(/flags:\s*(\d+)/.exec(info)![1]!, 8);
}
const O_CLOEXEC = 0o2000000;
const O_NONBLOCK = 0o4000;

// Sequenced packets

test("SEQPACKET keeps boundaries, tells what was cut off, and ends", async () => {
  const [a, b] = await socketpair(AF_UNIX, SOCK_SEQPACKET);
  for (const packet of ["one", "", "three", "four"]) await a.send(utf8(packet));
  assertEquals(text(await b.recv(100)), "one");
  assertEquals(text(await b.recv(100)), "");
  const [cut, , flags] = await b.recvmsg(2);
  assertEquals([text(cut), flags & MSG_TRUNC], ["th", MSG_TRUNC]);
  const [whole, , none] = await b.recvmsg(100);
  assertEquals([text(whole), none & MSG_TRUNC], ["four", 0]);
  const waiting = b.recv(100);
  await a.send(utf8("late"));
  assertEquals(text(await waiting), "late");
  a.close();
  assertEquals((await b.recv(100)).length, 0);
  assertEquals((await b.recv(100)).length, 0);
  await fails(() => b.send(utf8("x")), "EPIPE");
  b.close();
});

test("SEQPACKET with python3 as the client", async () => {
  using server = socket(AF_UNIX, SOCK_SEQPACKET);
  server.bind(abstractName());
  server.listen();
  await using peer = python(
    `
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(name(sys.argv[1]))
for part in (b"a", b"bc", b"d" * 5000): s.send(part)
say(s.recv(100).decode(), s.recv(100).decode())
s.close()
`,
    server.getsockname(),
  );
  const [conn] = await inTime(server.accept());
  assertEquals(text(await conn.recv(100)), "a");
  assertEquals(text(await conn.recv(100)), "bc");
  assertEquals((await conn.recv(10_000)).length, 5000);
  await conn.send(utf8("x"));
  await conn.send(utf8("yz"));
  assertEquals(await peer.line(), "x yz");
  assertEquals((await conn.recv(100)).length, 0);
  conn.close();
  await ended(peer);
});

test("SEQPACKET with python3 as the server", async () => {
  await using peer = python(`
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.bind("")
s.listen()
say(s.getsockname()[1:].decode())
c, _ = s.accept()
parts = []
while part := c.recv(100): parts.append(part.decode())
c.send("|".join(parts).encode())
`);
  using client = socket(AF_UNIX, SOCK_SEQPACKET);
  await client.connect(`\0${await peer.line()}`);
  for (const part of ["p", "qr", "stu"]) await client.send(utf8(part));
  await client.shutdown(SHUT_WR);
  assertEquals(text(await client.recv(100)), "p|qr|stu");
  await ended(peer);
});

// Raw packets

function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += (bytes[i]! << 8) + (bytes[i + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

test("RAW: an ICMP echo comes back", async () => {
  using raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
  const [id] = crypto.getRandomValues(new Uint16Array(1)) as unknown as [
    number,
  ];
  const packet = new Uint8Array(8 + 16);
  const view = new DataView(packet.buffer);
  packet.set([8, 0]);
  view.setUint16(4, id);
  view.setUint16(6, 7);
  packet.set(pattern(16), 8);
  view.setUint16(2, checksum(packet));
  assertEquals(await raw.sendto(packet, ["127.0.0.1", 0]), packet.length);
  for (;;) {
    const [data, from] = await inTime(raw.recvfrom(1500));
    const reply = data.subarray(20);
    const told = new DataView(reply.buffer, reply.byteOffset, reply.length);
    // Our own request comes along, and others' packets.
    if (reply[0] !== 0 || told.getUint16(4) !== id) continue;
    assertEquals(from, ["127.0.0.1", 0]);
    assertEquals(told.getUint16(6), 7);
    assertEquals(reply.slice(8), pattern(16));
    assertEquals(checksum(reply), 0);
    assertEquals([data[0], data[9]], [0x45, IPPROTO_ICMP]);
    break;
  }
}, !isRaw);

/** A protocol for experiments (RFC 3692). */
const EXPERIMENT = 253;

/** An IPv4 packet with a header of our own. */
function packetOf(payload: Uint8Array): Uint8Array {
  const packet = new Uint8Array(20 + payload.length);
  const view = new DataView(packet.buffer);
  packet[0] = 0x45;
  view.setUint16(2, packet.length);
  view.setUint16(4, 0x1234);
  packet[8] = 33;
  packet[9] = EXPERIMENT;
  packet.set([127, 0, 0, 3], 12);
  packet.set([127, 0, 0, 1], 16);
  view.setUint16(10, checksum(packet.subarray(0, 20)));
  packet.set(payload, 20);
  return packet;
}

test("RAW: a header built by hand arrives as it is (IP_HDRINCL)", async () => {
  using receiver = socket(AF_INET, SOCK_RAW, EXPERIMENT);
  using sender = socket(AF_INET, SOCK_RAW, EXPERIMENT);
  sender.setoption(Options.IP_HDRINCL, true);
  assertEquals(sender.getoption(Options.IP_HDRINCL), true);
  const packet = packetOf(utf8(crypto.randomUUID()));
  await sender.sendto(packet, ["127.0.0.1", 0]);
  for (;;) {
    const [data, from] = await inTime(receiver.recvfrom(1500));
    if (text(data.subarray(20)) !== text(packet.subarray(20))) continue;
    assertEquals(data, packet);
    assertEquals(from, ["127.0.0.3", 0]);
    break;
  }
}, !isRaw);

test("RAW: python3 hears our packets, and we hear its", async () => {
  const mark = crypto.randomUUID();
  using raw = socket(AF_INET, SOCK_RAW, EXPERIMENT);
  await using peer = python(
    `
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, ${EXPERIMENT})
say("ready")
while True:
    data, addr = s.recvfrom(2000)
    if data[20:] == sys.argv[1].encode(): break
say(addr[0], data[8])
s.sendto(b"reply " + data[20:], ("127.0.0.1", 0))
`,
    mark,
  );
  assertEquals(await peer.line(), "ready");
  using sender = socket(AF_INET, SOCK_RAW, libc.IPPROTO_RAW);
  await sender.sendto(packetOf(utf8(mark)), ["127.0.0.1", 0]);
  assertEquals(await peer.line(), "127.0.0.3 33");
  for (;;) {
    const data = await inTime(raw.recv(2000));
    if (text(data.subarray(20)) === `reply ${mark}`) break;
  }
  await ended(peer);
}, !isRaw);

// Urgent data

test("MSG_OOB: select() and a Poller tell of urgent data, apart from the rest", async () => {
  const [a, b] = await tcp();
  assertEquals(await select([], [], [b], 0), [[], [], []]);
  await a.send(utf8("before"));
  const waiting = inTime(select([], [], [b]));
  await a.send(utf8("!"), MSG_OOB);
  assertEquals(await waiting, [[], [], [b]]);
  using poller = new Poller();
  poller.register(b, POLLPRI | POLLIN);
  assertEquals(await inTime(poller.poll()), [[b, POLLPRI | POLLIN]]);
  assertEquals(text(await b.recv(10, MSG_OOB)), "!");
  assertEquals(await select([], [], [b], 0), [[], [], []]);
  await fails(() => b.recv(1, MSG_OOB), "EINVAL");
  assertEquals(text(await b.recv(100)), "before");
  a.close();
  b.close();
});

test("an end or an error is nothing urgent", async () => {
  const [a, b] = await socketpair();
  a.close();
  assertEquals(await select([b], [], [b], 0), [[b], [], []]);
  b.close();
  const [c, d] = await tcp();
  c.setoption(Options.SO_LINGER, { on: true, seconds: 0 });
  c.close();
  assertEquals(await inTime(select([d], [], [])), [[d], [], []]);
  assertEquals(await select([], [], [d], 0), [[], [], []]);
  d.close();
});

test("SO_OOBINLINE leaves urgent data in the stream", async () => {
  const [a, b] = await tcp();
  b.setoption(Options.SO_OOBINLINE, true);
  await a.send(utf8("ab"));
  await a.send(utf8("!"), MSG_OOB);
  await a.shutdown(SHUT_WR);
  let all = "";
  for (let part; (part = text(await b.recv(10))) !== "";) all += part;
  assertEquals(all, "ab!");
  a.close();
  b.close();
});

test("MSG_OOB with python3, both ways", async () => {
  using server = create_server(localhost);
  await using peer = python(
    `
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.send(b"plain")
s.send(b"!", socket.MSG_OOB)
print(len(select.select([], [], [s])[2]))
print(s.recv(1, socket.MSG_OOB).decode())
`,
    server.getsockname()[1],
  );
  const [conn] = await inTime(server.accept());
  assertEquals(await inTime(select([], [], [conn])), [[], [], [conn]]);
  assertEquals(text(await conn.recv(1, MSG_OOB)), "!");
  assertEquals(text(await conn.recv(100)), "plain");
  await conn.send(utf8("?"), MSG_OOB);
  assertEquals(await peer.line(), "1");
  assertEquals(await peer.line(), "?");
  conn.close();
  await ended(peer);
});

// Descriptors and credentials

function rights(...descriptors: number[]): ControlMessage {
  return {
    level: SOL_SOCKET,
    type: SCM_RIGHTS,
    data: new Uint8Array(new Int32Array(descriptors).buffer),
  };
}

test("SCM_RIGHTS passes descriptors that are used by fromfd()", async () => {
  const [a, b] = await socketpair();
  const [near, far] = await socketpair(AF_UNIX, SOCK_DGRAM);
  const [one, other] = await tcp();
  await a.sendmsg([utf8("two")], [rights(far.fileno(), other.fileno())]);
  far.close();
  other.close();
  const [data, control, flags] = await b.recvmsg(10, controlSpace(8));
  assertEquals(text(data), "two");
  assertEquals(flags & libc.MSG_CTRUNC, 0);
  // Inheritance is what recvmsg(2) is told to keep from them, which is no flag of the message.
  assertEquals(flags & libc.MSG_CMSG_CLOEXEC, 0);
  const message = viewOf(find(control, SOL_SOCKET, SCM_RIGHTS));
  assertEquals(message.byteLength, 8);
  const [first, second] = [
    message.getInt32(0, true),
    message.getInt32(4, true),
  ];
  for (const descriptor of [first, second]) {
    assertEquals(flagsOf(descriptor) & O_CLOEXEC, O_CLOEXEC);
  }
  using datagrams = fromfd(first, AF_UNIX, SOCK_DGRAM);
  using stream = fromfd(second);
  await near.send(utf8("datagram"));
  assertEquals(text(await datagrams.recv(100)), "datagram");
  assertEquals(stream.getpeername(), one.getsockname());
  const waiting = stream.recv(100);
  await one.send(utf8("stream"));
  assertEquals(text(await waiting), "stream");
  for (const socket of [a, b, near, one]) socket.close();
});

test("SCM_RIGHTS: what has no room is closed, and told by MSG_CTRUNC", async () => {
  const [a, b] = await socketpair();
  const [near, far] = await socketpair();
  await a.sendmsg([utf8("x")], [rights(far.fileno(), far.fileno())]);
  far.close();
  const [, control, flags] = await b.recvmsg(10);
  assertEquals([control, flags & libc.MSG_CTRUNC], [[], libc.MSG_CTRUNC]);
  // Nobody has the other end any more.
  assertEquals((await inTime(near.recv(1))).length, 0);
  for (const socket of [a, b, near]) socket.close();
});

test("fromfd() of a blocking listener from python3 does not stop the program", async () => {
  using server = socket(AF_UNIX);
  server.bind(abstractName());
  server.listen();
  await using peer = python(
    `
l = socket.create_server(("127.0.0.1", 0))
u = socket.socket(socket.AF_UNIX)
u.connect(name(sys.argv[1]))
socket.send_fds(u, [b"x"], [l.fileno()])
u.recv(1)
l.setblocking(True)
c, _ = l.accept()
print(c.recv(10).decode())
`,
    server.getsockname(),
  );
  const [conn] = await inTime(server.accept());
  const [, control] = await conn.recvmsg(1, controlSpace(4));
  const descriptor = viewOf(control[0]!).getInt32(0, true);
  {
    using listener = fromfd(descriptor);
    // A blocking accept4(2) would hold up everything.
    assertEquals(flagsOf(descriptor) & O_NONBLOCK, O_NONBLOCK);
    using client = await create_connection(listener.getsockname());
    const [taken] = await inTime(listener.accept());
    assertEquals(taken.getpeername(), client.getsockname());
    taken.close();
    await conn.send(utf8("x"));
    using other = await create_connection(listener.getsockname());
    await other.sendall(utf8("hello"));
    assertEquals(await peer.line(), "hello");
  }
  conn.close();
  await ended(peer);
});

test("fromfd() refuses what is no socket, and takes nothing of it", async () => {
  await fails(() => fromfd(2 ** 31 - 1), "EBADF");
  const event = Deno.openSync("/proc/self/status");
  const here = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => name);
  const file = here.map(Number).find((number) => {
    try {
      return Deno.readLinkSync(`/proc/self/fd/${number}`).endsWith("/status");
    } catch {
      return false;
    }
  })!;
  await fails(() => fromfd(file), "ENOTSOCK");
  assert(event.readSync(new Uint8Array(1)) === 1);
  event.close();
});

test("fromfd() takes the flags of a type apart", async () => {
  const [a, b] = await socketpair();
  using copy = fromfd(
    b.detach() as number,
    AF_UNIX,
    SOCK_STREAM | libc.SOCK_NONBLOCK,
  );
  assertEquals(copy.type, SOCK_STREAM);
  assertEquals(copy.gettimeout(), 0);
  a.close();
});

test("detach() gives a descriptor away, and the socket counts as closed", async () => {
  const [a, b] = await socketpair();
  const waiting = a.recv(1);
  await fails(() => a.detach(), "EBUSY");
  await b.send(utf8("1"));
  await waiting;
  const descriptor = a.detach() as number;
  await fails(() => a.recv(1), "EBADF");
  a.close();
  using again = fromfd(descriptor, AF_UNIX);
  assertEquals(again.fileno(), descriptor);
  const late = again.recv(10);
  await b.send(utf8("still here"));
  assertEquals(text(await late), "still here");
  b.close();
});

test("dup() gives another descriptor of the same socket", async () => {
  const [a, b] = await socketpair();
  const copy = a.dup();
  assert(copy.fileno() !== a.fileno());
  assertEquals(flagsOf(copy.fileno()) & O_CLOEXEC, O_CLOEXEC);
  assertEquals([copy.family, copy.type], [a.family, a.type]);
  // Both wait, each in its own right.
  const waiting = copy.recv(100);
  a.close();
  await b.send(utf8("to the copy"));
  assertEquals(text(await inTime(waiting)), "to the copy");
  await copy.send(utf8("from it"));
  assertEquals(text(await b.recv(100)), "from it");
  copy.close();
  assertEquals((await inTime(b.recv(1))).length, 0);
  b.close();
});

test("a program that is executed inherits none of our sockets", async () => {
  const [a, b] = await socketpair();
  const [c, d] = await tcp();
  const copy = a.dup();
  const ours = [a, b, c, d, copy].map((socket) =>
    Deno.readLinkSync(`/proc/self/fd/${socket.fileno()}`)
  );
  const { stdout } = await new Deno.Command("ls", {
    args: ["-l", "/proc/self/fd"],
  }).output();
  const theirs = text(stdout);
  for (const link of ours) {
    assert(/^socket:\[\d+\]$/.test(link), link);
    assert(!theirs.includes(link), theirs);
  }
  for (const socket of [a, b, c, d, copy]) socket.close();
});

test("SO_PEERCRED tells who a Unix peer is", async () => {
  const [a, b] = await socketpair();
  const own = { pid: Deno.pid, uid: Deno.uid()!, gid: Deno.gid()! };
  assertEquals(a.getoption(Options.SO_PEERCRED), own);
  a.close();
  b.close();
  using server = socket(AF_UNIX);
  server.bind("");
  server.listen();
  await using peer = python(
    `
s = socket.socket(socket.AF_UNIX)
s.connect(name(sys.argv[1]))
print(*struct.unpack("iII", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))
`,
    server.getsockname(),
  );
  const [conn] = await inTime(server.accept());
  assertEquals(conn.getoption(Options.SO_PEERCRED), { ...own, pid: peer.pid });
  assertEquals(await peer.line(), `${own.pid} ${own.uid} ${own.gid}`);
  conn.close();
  await ended(peer);
});

test("SO_PASSCRED brings credentials with each message", async () => {
  const [a, b] = await socketpair(AF_UNIX, SOCK_DGRAM);
  b.setoption(Options.SO_PASSCRED, true);
  assertEquals(b.getoption(Options.SO_PASSCRED), true);
  const own = [Deno.pid, Deno.uid()!, Deno.gid()!];
  const credentials = new Uint8Array(new Uint32Array(own).buffer);
  await a.send(utf8("implicit"));
  await a.sendmsg([utf8("explicit")], [
    { level: SOL_SOCKET, type: SCM_CREDENTIALS, data: credentials },
  ]);
  for (const expected of ["implicit", "explicit"]) {
    const [data, control] = await b.recvmsg(100, controlSpace(12));
    assertEquals(text(data), expected);
    const message = find(control, SOL_SOCKET, SCM_CREDENTIALS);
    assertEquals(message.data, credentials);
  }
  a.close();
  b.close();
});

// Messages

test("sendmsg() sends many pieces as one message, more than a call takes too", async () => {
  const [a, b] = await socketpair(AF_UNIX, SOCK_DGRAM);
  const whole = pattern(2000);
  for (const count of [0, 1, 2, 63, 64, 65, 200, 1500]) {
    const pieces = Array.from(
      { length: count },
      (_, i) => whole.subarray(i, i + 1),
    );
    assertEquals(await a.sendmsg(pieces), count);
    assertEquals(await b.recv(3000), whole.slice(0, count));
  }
  // Pieces of all sizes, empty ones among them.
  const sizes = [0, 7, 0, 500, 1, 0];
  let at = 0;
  const pieces = sizes.map((size) => whole.subarray(at, at += size));
  assertEquals(await a.sendmsg(pieces), at);
  assertEquals(await b.recv(3000), whole.slice(0, at));
  a.close();
  b.close();
});

test("sendmsg() to an address, and recvmsg() tells whose it is", async () => {
  using a = udp();
  using b = udp();
  await a.sendmsg([utf8("he"), utf8("llo")], [], 0, b.getsockname());
  const [data, control, flags, from] = await b.recvmsg(100);
  assertEquals(
    [text(data), control, flags, from],
    ["hello", [], 0, a.getsockname()],
  );
  await fails(() => a.sendmsg([utf8("x")]), "EDESTADDRREQ");
});

test("recvmmsg_into() and sendmmsg() move many datagrams in one call", async () => {
  const one = udpSocket();
  const two = udpSocket();
  const receiver = udpSocket();
  const to = receiver.getsockname();
  const lengths = Array.from({ length: 100 }, (_, i) => i % 33);
  const messages = lengths.map((n, i) =>
    [pattern(n, i), to] as [Uint8Array, InetAddress]
  );
  // At most 64 in one call; the rest is the next one's.
  assertEquals(await one.sendmmsg(messages), 64);
  assertEquals(await two.sendmmsg(messages.slice(64)), 36);
  const buffer = new Uint8Array(50 * 32);
  const rounds: number[] = [];
  for (let at = 0; at < 100;) {
    const received = await receiver.recvmmsg_into(buffer, 32);
    rounds.push(received.length);
    for (const [i, [n, from]] of received.entries()) {
      assertEquals(n, lengths[at + i]);
      assertEquals(
        buffer.slice(i * 32, i * 32 + n),
        pattern(n, at + i),
      );
      assertEquals(from, (at + i < 64 ? one : two).getsockname());
    }
    at += received.length;
  }
  assertEquals(rounds, [50, 50]);
  // Larger than the place: cut off, and told by MSG_TRUNC.
  await one.sendmmsg([[pattern(20), to], [pattern(5), to]]);
  assertEquals(
    (await receiver.recvmmsg_into(buffer, 8, MSG_TRUNC)).map(([n]) => n),
    [20, 5],
  );
  assertEquals(
    buffer.slice(0, 13),
    new Uint8Array([...pattern(8), ...pattern(5)]),
  );
  // MSG_PEEK leaves them there.
  await one.sendmmsg([[utf8("a"), to], [utf8("b"), to]]);
  await receiver.recvmmsg_into(buffer, 8, MSG_PEEK);
  assertEquals((await receiver.recvmmsg_into(buffer, 8)).length, 2);
  for (const socket of [one, two, receiver]) socket.close();
});

test("recvmmsg_into() waits for the first datagram, and no longer", async () => {
  using a = udpSocket();
  using b = udpSocket();
  await a.connect(b.getsockname());
  const buffer = new Uint8Array(64);
  const waiting = b.recvmmsg_into(buffer, 8);
  await a.sendmmsg([[utf8("first")], [utf8("second")]]);
  const got = await inTime(waiting);
  if (got.length === 1) got.push(...await b.recvmmsg_into(buffer, 8));
  // Though the sends had no addresses.
  assertEquals(got, [[5, a.getsockname()], [6, a.getsockname()]]);
  await fails(() => b.recvmmsg_into(buffer, 8, MSG_DONTWAIT), "EAGAIN");
  b.settimeout(20);
  const late = await b.recvmmsg_into(buffer, 8).catch((error) => error);
  assertEquals(late.name, "TimeoutError");
  b.settimeout(null);
  const closing = fails(() => b.recvmmsg_into(buffer, 8), "EINTR");
  b.close();
  await closing;
});

test("addresses that are alike are kept apart", async () => {
  // A port that the system gives is free on the host that asked, and may be another's elsewhere.
  const port = freePort();
  using four = socket(AF_INET, SOCK_DGRAM);
  four.bind(["127.0.0.1", port]);
  // Their hosts end alike.
  using other = socket(AF_INET, SOCK_DGRAM);
  other.bind(["127.0.1.1", port]);
  using six = socket(AF_INET6, SOCK_DGRAM);
  const hasSix = canListen("::1");
  if (hasSix) six.bind(["::1", port]);
  using from = socket(AF_INET, SOCK_DGRAM);
  using fromSix = socket(AF_INET6, SOCK_DGRAM);
  for (let i = 0; i < 3; i++) {
    await from.sendto(utf8("a"), ["127.0.0.1", port]);
    await from.sendto(utf8("b"), ["127.0.1.1", port]);
    await from.sendto(utf8("a"), ["localhost", port]);
    if (hasSix) await fromSix.sendto(utf8("c"), ["localhost", port]);
  }
  const all = async (to: Socket<Address>) => {
    const buffer = new Uint8Array(20);
    const { length } = await inTime(to.recvmmsg_into(buffer, 1));
    return text(buffer.slice(0, length));
  };
  assertEquals(await all(four), "aaaaaa");
  assertEquals(await all(other), "bbb");
  if (hasSix) assertEquals(await all(six), "ccc");
});

test("sendmmsg() tells how many were sent before one that fails", async () => {
  using a = udpSocket();
  using b = udpSocket();
  const to = b.getsockname();
  const huge = new Uint8Array(70_000);
  assertEquals(
    await a.sendmmsg([[utf8("1"), to], [utf8("2"), to], [huge, to], [
      utf8("3"),
      to,
    ]]),
    2,
  );
  await fails(() => a.sendmmsg([[huge, to], [utf8("4"), to]]), "EMSGSIZE");
  await fails(() => a.sendmmsg([[utf8("nobody's")]]), "EDESTADDRREQ");
  await fails(
    () => a.sendmmsg([[utf8("5"), to], [utf8("6"), ["::1", 1]]]),
    "EAFNOSUPPORT",
  );
  assertEquals(await a.sendmmsg([]), 0);
  // Names are looked up.
  assertEquals(await a.sendmmsg([[utf8("7"), ["localhost", to[1]]]]), 1);
  const buffer = new Uint8Array(100);
  const got = await b.recvmmsg_into(buffer, 10);
  assertEquals(
    got.map(([n], i) => text(buffer.slice(i * 10, i * 10 + n))),
    ["1", "2", "7"],
  );
  const [stream, other] = await socketpair();
  await fails(() => stream.sendmmsg([[utf8("x")]]), "EOPNOTSUPP");
  await fails(() => stream.recvmmsg_into(buffer, 10), "EOPNOTSUPP");
  stream.close();
  other.close();
});

test("many Unix datagrams at once, with and without names", async () => {
  const name = () => `\0${crypto.randomUUID()}`;
  using a = socket(AF_UNIX, SOCK_DGRAM);
  using b = socket(AF_UNIX, SOCK_DGRAM);
  const [from, to] = [name(), name()];
  a.bind(from);
  b.bind(to);
  const buffer = new Uint8Array(1000);
  // More than its queue takes: it waits until there is room.
  let received = 0;
  const sending = (async () => {
    for (let sent = 0; sent < 200;) {
      sent += await a.sendmmsg(
        Array.from({ length: 200 - sent }, () => [utf8("x"), to]),
      );
    }
  })();
  while (received < 200) {
    const got = await inTime(b.recvmmsg_into(buffer, 10));
    for (const [n, address] of got) assertEquals([n, address], [1, from]);
    received += got.length;
  }
  await sending;
  using anonymous = socket(AF_UNIX, SOCK_DGRAM);
  await anonymous.sendto(utf8("y"), to);
  assertEquals(await b.recvmmsg_into(buffer, 10), [[1, ""]]);
  const [one, two] = await socketpair(AF_UNIX, SOCK_SEQPACKET);
  await one.sendmmsg([[utf8("record")], [utf8("and another")]]);
  assertEquals((await two.recvmmsg_into(buffer, 20)).map(([n]) => n), [6, 11]);
  one.close();
  // The end of it.
  assertEquals((await two.recvmmsg_into(buffer, 20))[0], [0, ""]);
  two.close();
});

test("a send to a Unix name whose queue is full is tried now and then", async () => {
  const to = `\0${crypto.randomUUID()}`;
  using full = socket(AF_UNIX, SOCK_DGRAM);
  full.bind(to);
  using from = socket(AF_UNIX, SOCK_DGRAM);
  from.setblocking(false);
  while (await from.sendto(utf8("x"), to).then(() => true, () => false));
  from.settimeout(100);
  type Calls = Record<string, (...args: unknown[]) => unknown>;
  const sends: [calls: unknown, name: string, send: () => Promise<number>][] = [
    [calls(), "sendto", () => from.sendto(utf8("x"), to)],
    [messages(), "sendmsg", () => from.sendmsg([utf8("x")], [], 0, to)],
    [messages(), "sendmmsg", () => from.sendmmsg([[utf8("x"), to]])],
  ];
  for (const [all, name, send] of sends) {
    const symbols = all as Calls;
    const real = symbols[name]!;
    let tries = 0;
    symbols[name] = (...args: unknown[]) => {
      tries++;
      return real(...args);
    };
    try {
      const error = await send().catch((error) => error);
      assertEquals(error.name, "TimeoutError");
    } finally {
      symbols[name] = real;
    }
    // After 1, 2, 4, 8 and then every 16 milliseconds.
    assert(tries > 1 && tries < 15, `${name}: ${tries} tries`);
  }
});

test("recvmmsg_into() of datagrams that flood lets the event loop have its turn", async () => {
  using a = udpSocket();
  using b = udpSocket();
  await a.connect(b.getsockname());
  const buffer = new Uint8Array(64 * 8);
  const many = Array.from({ length: 64 }, () => [utf8("x")] as [Uint8Array]);
  const calls = [
    () => a.sendmmsg(many),
    // The first one, as often as there is room.
    async () => (await b.recvmmsg_into(buffer, 8, MSG_PEEK)).length,
  ];
  for (const call of calls) {
    let turns = 0;
    let isOver = false;
    const count = () => {
      turns++;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    for (let i = 0; i < 50; i++) assertEquals(await call(), 64);
    isOver = true;
    // Each call counts as all that it has moved.
    assert(turns >= 45, `${turns} turns`);
  }
});

test("IP_PKTINFO, IP_RECVTTL, IP_RECVTOS and SO_TIMESTAMPNS come with a datagram", async () => {
  using a = udp();
  using b = socket(AF_INET, SOCK_DGRAM);
  b.bind(["0.0.0.0", 0]);
  b.setoption(Options.IP_PKTINFO, true);
  b.setoption(Options.IP_RECVTTL, true);
  b.setoption(Options.IP_RECVTOS, true);
  b.setoption(Options.SO_TIMESTAMPNS, true);
  a.setoption(Options.IP_TTL, 42);
  a.setoption(Options.IP_TOS, 0x10);
  await a.sendto(utf8("x"), ["127.0.0.5", b.getsockname()[1]]);
  const [data, control, flags] = await b.recvmsg(10, 256);
  assertEquals([text(data), flags], ["x", 0]);
  const info = find(control, IPPROTO_IP, libc.IP_PKTINFO).data;
  assertEquals(info.length, 12);
  assertEquals([...info.subarray(8)], [127, 0, 0, 5]);
  assertEquals(
    viewOf(find(control, IPPROTO_IP, libc.IP_TTL)).getInt32(0, true),
    42,
  );
  assertEquals(find(control, IPPROTO_IP, libc.IP_TOS).data[0], 0x10);
  const time = find(control, SOL_SOCKET, SO_TIMESTAMPNS);
  assertEquals(time.data.length, 16);
  assert(viewOf(time).getBigInt64(0, true) > 1_600_000_000n);
  // The same way back: which of our addresses a datagram leaves from.
  const out = new Uint8Array(12);
  out.set([127, 0, 0, 9], 4);
  await b.sendmsg(
    [utf8("y")],
    [{ level: IPPROTO_IP, type: libc.IP_PKTINFO, data: out }],
    0,
    a.getsockname(),
  );
  assertEquals((await a.recvfrom(10))[1][0], "127.0.0.9");
});

test("a connected UDP socket sees ECONNREFUSED, once", async () => {
  using deaf = await deafPort();
  using client = socket(AF_INET, SOCK_DGRAM);
  await client.connect(deaf.getsockname());
  const waiting = client.recv(10);
  await client.send(utf8("anybody?"));
  await fails(() => inTime(waiting), "ECONNREFUSED");
  await fails(() => client.recv(10, MSG_DONTWAIT), "EAGAIN");
});

test("IP_RECVERR: the queue of errors tells what was refused, and by whom", async () => {
  using deaf = await deafPort();
  using client = socket(AF_INET, SOCK_DGRAM);
  client.setoption(Options.IP_RECVERR, true);
  await client.sendto(utf8("original"), deaf.getsockname());
  assertEquals(await inTime(select([client], [], [])), [[client], [], []]);
  const [data, control, flags, to] = await client.recvmsg(
    100,
    256,
    MSG_ERRQUEUE,
  );
  assertEquals(text(data), "original");
  assertEquals(flags & MSG_ERRQUEUE, MSG_ERRQUEUE);
  assertEquals(to, deaf.getsockname());
  const error = viewOf(find(control, IPPROTO_IP, libc.IP_RECVERR));
  // struct sock_extended_err: errno, origin (ICMP), type and code (port unreachable), ...
  assertEquals(error.getUint32(0, true), libc.errno("ECONNREFUSED"));
  assertEquals([4, 5, 6].map((at) => error.getUint8(at)), [2, 3, 3]);
  // ... and behind it who said so.
  assertEquals([20, 21, 22, 23].map((at) => error.getUint8(at)), [
    127,
    0,
    0,
    1,
  ]);
});

test("MSG_ERRQUEUE never waits, and is in nobody's way", async () => {
  using a = udp();
  using b = udp();
  const errors = b.recvmsg(10, 100, MSG_ERRQUEUE).catch((error) => error);
  const waiting = b.recv(10);
  await a.sendto(utf8("x"), b.getsockname());
  assertEquals(text(await inTime(waiting)), "x");
  assertEquals((await inTime(errors)).code, "EAGAIN");
});

test("MSG_TRUNC tells a datagram's whole length", async () => {
  using a = udp();
  using b = udp();
  const buffer = new Uint8Array(4);
  for (const flags of [MSG_TRUNC | MSG_PEEK, MSG_TRUNC]) {
    if (flags & MSG_PEEK) await a.sendto(pattern(1000), b.getsockname());
    assertEquals(await b.recv_into(buffer, 0, flags), 1000);
    assertEquals(buffer, pattern(1000).slice(0, 4));
  }
  await a.sendto(pattern(1000), b.getsockname());
  assertEquals(await b.recv(10, MSG_TRUNC), pattern(10));
  await a.sendto(pattern(1000), b.getsockname());
  assertEquals((await b.recvfrom_into(buffer, 0, MSG_TRUNC))[0], 1000);
});

test("MSG_TRUNC on a stream shows nothing of what others received", async () => {
  const [a, b] = await tcp();
  const [c, d] = await tcp();
  await a.sendall(utf8("between us"));
  assertEquals(text(await b.recv(100)), "between us");
  for (const call of ["recv", "recvfrom", "recvmsg"] as const) {
    await c.sendall(utf8("0123456789"));
    await inTime(select([d], [], []));
    // tcp(7): the bytes are thrown away.
    const got = call === "recv"
      ? await d.recv(10, MSG_TRUNC)
      : call === "recvfrom"
      ? (await d.recvfrom(10, MSG_TRUNC))[0]
      : (await d.recvmsg(10, 0, MSG_TRUNC))[0];
    assert(!text(got).includes("between"), `${call}: ${text(got)}`);
  }
  for (const socket of [a, b, c, d]) socket.close();
});

/** Six bytes of a stream, in every way to ask for all of them. */
const six: Record<string, (b: Socket) => Promise<Uint8Array>> = {
  recv: (b) => b.recv(6, MSG_WAITALL),
  async recv_into(b) {
    const buffer = new Uint8Array(6);
    return buffer.slice(0, await b.recv_into(buffer, 0, MSG_WAITALL));
  },
  recvfrom: async (b) => (await b.recvfrom(6, MSG_WAITALL))[0],
  async recvfrom_into(b) {
    const buffer = new Uint8Array(6);
    const [n] = await b.recvfrom_into(buffer, 0, MSG_WAITALL);
    return buffer.slice(0, n);
  },
  recvmsg: async (b) => (await b.recvmsg(6, 0, MSG_WAITALL))[0],
};

test("MSG_WAITALL waits for all in every call, and MSG_PEEK leaves it there", async () => {
  const [a, b] = await tcp();
  const calls: [string, () => Promise<Uint8Array>][] = [
    ["peek", () => b.recv(6, MSG_WAITALL | MSG_PEEK)],
    ...Object.entries(six).map(([name, call]) =>
      [name, () => call(b)] as [string, () => Promise<Uint8Array>]
    ),
  ];
  for (const [name, call] of calls) {
    await a.sendall(utf8("abc"));
    await inTime(select([b], [], []));
    const waiting = call();
    await a.sendall(utf8("def"));
    assertEquals(text(await inTime(waiting)), "abcdef", name);
    if (name === "peek") assertEquals(text(await b.recv(100)), "abcdef");
  }
  a.close();
  b.close();
});

test("MSG_WAITALL: what came before an error is given, and then the error", async () => {
  for (const [name, call] of Object.entries(six)) {
    const [a, b] = await tcp();
    await a.sendall(utf8("abc"));
    await inTime(select([b], [], []));
    // It takes what is there, and waits for the rest.
    const waiting = call(b);
    a.setoption(Options.SO_LINGER, { on: true, seconds: 0 });
    a.close();
    assertEquals(text(await inTime(waiting)), "abc", name);
    await fails(() => call(b), "ECONNRESET");
    b.close();
  }
});

test("MSG_WAITALL: what came in time is given, and the rest is the next call's", async () => {
  const [a, b] = await tcp();
  b.settimeout(20);
  for (const [name, call] of Object.entries(six)) {
    await a.sendall(utf8("abc"));
    assertEquals(text(await inTime(call(b))), "abc", name);
    await fails(() => call(b), "ETIMEDOUT");
    await a.sendall(utf8("defghi"));
    assertEquals(text(await inTime(call(b))), "defghi", name);
  }
  a.close();
  b.close();
});

test("MSG_WAITALL of recvmsg() ends with what comes beside the bytes of a Unix socket", async () => {
  const [a, b] = await socketpair();
  for (const size of [controlSpace(4), 0]) {
    await a.sendmsg([utf8("abc")], [rights(a.fileno())]);
    await a.sendmsg([utf8("defghij")]);
    const [data, control, flags] = await inTime(
      b.recvmsg(10, size, MSG_WAITALL),
    );
    assertEquals(text(data), "abc");
    assertEquals(control.length, size === 0 ? 0 : 1);
    assertEquals((flags & libc.MSG_CTRUNC) !== 0, size === 0);
    for (const one of control) {
      fromfd(viewOf(one).getInt32(0, true), AF_UNIX, SOCK_STREAM).close();
    }
    assertEquals(text(await b.recv(7)), "defghij");
  }
  a.close();
  b.close();
});

test("shutdown() and closeWrite() come behind what waits to be sent", async () => {
  const [a, b] = await tcp();
  const data = pattern(20_000_000);
  const sending = a.sendall(data);
  const shut = a.shutdown(SHUT_WR);
  const got = await inTime(b.recv(data.length + 1, MSG_WAITALL));
  assertEquals(got.length, data.length);
  await sending;
  await shut;
  a.close();
  b.close();
  const [c, d] = (await socketpair()).map((one) => toConn(one));
  await c!.write(pattern(1_000_000));
  const [n, all] = await inTime(Promise.all([
    c!.write(pattern(1000)),
    readAll(d!),
    c!.closeWrite(),
  ]));
  assertEquals(n, 1000);
  assertEquals(all.length, c!.bytesWritten);
  c!.close();
  d!.close();
});

test("recvmsg() that looks opens descriptors once, whatever else it is told", async () => {
  const [a, b] = await socketpair();
  await a.sendmsg([utf8("abc")], [rights(a.fileno())]);
  const [data, control] = await inTime(
    b.recvmsg(6, controlSpace(4), MSG_WAITALL | MSG_PEEK),
  );
  assertEquals(text(data), "abc");
  const copies = control.map((one) => viewOf(one).getInt32(0, true));
  assertEquals(copies.length, 1);
  for (const copy of copies) fromfd(copy, AF_UNIX, SOCK_STREAM).close();
  assertEquals(text(await b.recv(6)), "abc");
  a.close();
  b.close();
});

test("recvmsg() of a datagram socket ends when its receiving half is shut", async () => {
  using a = udp();
  using b = socket(AF_INET, SOCK_DGRAM);
  await b.connect(a.getsockname());
  const waiting = b.recvmsg(10);
  await b.shutdown(SHUT_RD);
  assertEquals((await inTime(waiting))[0].length, 0);
});

// Unix datagrams

test("Unix datagrams go both ways while both sides wait", async () => {
  const [a, b] = await socketpair(AF_UNIX, SOCK_DGRAM);
  const count = 500;
  const heard = async (socket: Socket) => {
    const seen: number[] = [];
    while (seen.length < count) {
      seen.push(new DataView((await socket.recv(4)).buffer).getInt32(0, true));
    }
    return seen;
  };
  const say = async (socket: Socket) => {
    for (let i = 0; i < count; i++) await socket.send(int32(i));
  };
  const [left, right] = await inTime(
    Promise.all([heard(a), heard(b), say(a), say(b)]),
  );
  const all = Array.from({ length: count }, (_, i) => i);
  assertEquals([left, right], [all, all]);
  a.close();
  b.close();
});

for (const kind of ["thread", "eventfd"] as const) {
  test(`a Unix datagram waits for a queue that others have filled (${kind})`, async () => {
    await useWake(kind);
    try {
      using server = socket(AF_UNIX, SOCK_DGRAM);
      server.bind("");
      const name = server.getsockname();
      using filler = socket(AF_UNIX, SOCK_DGRAM);
      filler.setblocking(false);
      let count = 0;
      const fill = async () => {
        for (;; count++) await filler.sendto(utf8("x"), name);
      };
      await fails(fill, "EAGAIN");
      using waiter = socket(AF_UNIX, SOCK_DGRAM);
      const functions = calls() as { sendto: (...args: never[]) => number };
      const { sendto } = functions;
      let tries = 0;
      functions.sendto = (...args) => (tries++, sendto(...args));
      let waiting;
      try {
        waiting = waiter.sendto(utf8("last"), name);
        // Long enough for every wake that its first try has brought.
        for (let i = 0; i < 300; i++) {
          await new Promise((resolve) => setImmediate(resolve));
        }
      } finally {
        functions.sendto = sendto;
      }
      for (let i = 0; i < count; i++) await server.recv(10);
      assertEquals(await inTime(waiting), 4);
      assertEquals(text(await server.recv(10)), "last");
      // A try that fails makes room in the sender, of which the kernel tells: no reason for another one.
      assert(tries < 50, `${tries} tries`);
    } finally {
      await useWake("thread");
    }
  });
}

test('bind("") gives a Unix socket an abstract name', async () => {
  using a = socket(AF_UNIX, SOCK_DGRAM);
  using b = socket(AF_UNIX, SOCK_DGRAM);
  assertEquals(a.getsockname(), "");
  a.bind("");
  b.bind("");
  assert(/^\0[0-9a-f]{5}$/.test(a.getsockname()), a.getsockname());
  assert(a.getsockname() !== b.getsockname());
  await a.sendto(utf8("x"), b.getsockname());
  const [data, from] = await b.recvfrom(10);
  assertEquals([text(data), from], ["x", a.getsockname()]);
});

test("Unix datagrams of 200 KB arrive whole", async () => {
  const [a, b] = await socketpair(AF_UNIX, SOCK_DGRAM);
  const large = pattern(200_000);
  for (let i = 0; i < 3; i++) {
    assertEquals(await a.send(large), large.length);
    assertEquals(await b.recv(2 ** 20), large);
  }
  await a.send(large);
  assertEquals((await b.recvfrom(300_000))[0], large);
  await a.send(large);
  assertEquals((await b.recvmsg(300_000))[0], large);
  await a.send(large);
  const buffer = new Uint8Array(200_000);
  assertEquals(await b.recv_into(buffer), large.length);
  assertEquals(buffer, large);
  a.close();
  b.close();
});

// Connecting

test("a bound socket connects from its address", async () => {
  using server = create_server(localhost);
  using client = socket();
  client.bind(["127.0.0.2", 0]);
  await client.connect(server.getsockname());
  const [conn, peer] = await server.accept();
  assertEquals(peer, client.getsockname());
  assertEquals(peer[0], "127.0.0.2");
  using other = await create_connection(server.getsockname(), {
    source_address: ["127.0.0.3", 0],
  });
  const [second, from] = await server.accept();
  assertEquals(from, other.getsockname() as InetAddress);
  assertEquals(from[0], "127.0.0.3");
  conn.close();
  second.close();
});

test("a connect that does not wait: writable, and SO_ERROR tells how it went", async () => {
  using server = create_server(localhost);
  using client = socket();
  client.setblocking(false);
  await fails(() => client.connect(server.getsockname()), "EINPROGRESS");
  assertEquals(await inTime(select([], [client], [])), [[], [client], []]);
  assertEquals(client.getoption(Options.SO_ERROR), 0);
  assertEquals(client.getpeername(), server.getsockname());
  // Bound, and not listening: nobody else takes the port meanwhile.
  using silent = socket();
  silent.bind(localhost);
  using refused = socket();
  refused.setblocking(false);
  await fails(() => refused.connect(silent.getsockname()), "EINPROGRESS");
  assertEquals(await inTime(select([], [refused], [])), [[], [refused], []]);
  const number = libc.errno("ECONNREFUSED");
  assertEquals(refused.getoption(Options.SO_ERROR), number);
  assertEquals(refused.getoption(Options.SO_ERROR), 0);
});

test("SO_LINGER with 0 seconds gives the peer a reset", async () => {
  const [a, b] = await tcp();
  a.setoption(Options.SO_LINGER, { on: true, seconds: 0 });
  assertEquals(a.getoption(Options.SO_LINGER), { on: true, seconds: 0 });
  const waiting = b.recv(1);
  a.close();
  await fails(() => inTime(waiting), "ECONNRESET");
  b.close();
  // And what another implementation sees.
  using server = create_server(localhost);
  await using peer = python(
    `
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
try: print("end", s.recv(1))
except ConnectionResetError: print("reset")
`,
    server.getsockname()[1],
  );
  const [conn] = await inTime(server.accept());
  conn.setoption(Options.SO_LINGER, { on: true, seconds: 0 });
  conn.close();
  assertEquals(await peer.line(), "reset");
  await ended(peer);
});

test(
  "IPV6_V6ONLY is what it is set to, and true of create_server()",
  async () => {
    /** Whether IPv4 has the port for itself. */
    const isFree = (port: number) => {
      using four = socket();
      // Only who listens is in the way, not what is left of an earlier connection.
      four.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
      try {
        four.bind(["0.0.0.0", port]);
        return true;
      } catch (error) {
        assertEquals((error as { code?: string }).code, "EADDRINUSE");
        return false;
      }
    };
    for (const isOnly of [false, true]) {
      using six = socket(AF_INET6);
      six.setoption(Options.IPV6_V6ONLY, isOnly);
      assertEquals(six.getoption(Options.IPV6_V6ONLY), isOnly);
      // A port that the system gives is free for IPv6 alone: IPv4's may be another's.
      const port = freePort();
      six.bind(["::", port]);
      six.listen();
      assertEquals(isFree(port), isOnly);
      if (isOnly) continue;
      using client = await create_connection(["127.0.0.1", port]);
      const [conn, peer] = await six.accept();
      assertEquals(peer[0], "::ffff:127.0.0.1");
      assertEquals(conn.getpeername()[1], client.getsockname()[1] as number);
      conn.close();
    }
    using alone = create_server(["::", 0], { family: AF_INET6 });
    assertEquals(alone.getoption(Options.IPV6_V6ONLY), true);
    using both = create_server(["::", 0], {
      family: AF_INET6,
      dualstack_ipv6: true,
    });
    assertEquals(both.getoption(Options.IPV6_V6ONLY), false);
    // undefined is the default.
    using unsaid = create_server(["::", 0], {
      family: AF_INET6,
      dualstack_ipv6: undefined,
    } as never);
    assertEquals((unsaid as Socket).getoption(Options.IPV6_V6ONLY), true);
  },
  !hasSix,
);

test("SO_REUSEPORT lets several listen on one port", async () => {
  using first = create_server(localhost, { reuse_port: true });
  using second = create_server(first.getsockname(), { reuse_port: true });
  assertEquals(first.getoption(Options.SO_REUSEPORT), true);
  assertEquals(first.getsockname(), second.getsockname());
  await fails(() => create_server(first.getsockname()), "EADDRINUSE");
});

// Options

test("keepalive, TCP_USER_TIMEOUT and TCP_CONGESTION are what they are set to", async () => {
  const [a, b] = await tcp();
  a.setoption(Options.SO_KEEPALIVE, true);
  a.setoption(Options.TCP_KEEPIDLE, 33);
  a.setoption(Options.TCP_KEEPINTVL, 7);
  a.setoption(Options.TCP_KEEPCNT, 5);
  a.setoption(Options.TCP_USER_TIMEOUT, 4321);
  assertEquals(
    [
      a.getoption(Options.SO_KEEPALIVE),
      a.getoption(Options.TCP_KEEPIDLE),
      a.getoption(Options.TCP_KEEPINTVL),
      a.getoption(Options.TCP_KEEPCNT),
      a.getoption(Options.TCP_USER_TIMEOUT),
    ],
    [true, 33, 7, 5, 4321],
  );
  // The same by number.
  assertEquals(a.getsockopt(IPPROTO_TCP, libc.TCP_KEEPIDLE), 33);
  a.setoption(Options.TCP_CONGESTION, "reno");
  assertEquals(a.getoption(Options.TCP_CONGESTION), "reno");
  await fails(() => a.setoption(Options.TCP_CONGESTION, "none such"), "ENOENT");
  a.close();
  b.close();
});

test("TCP_INFO tells of a live connection", async () => {
  const [a, b] = await tcp();
  await a.sendall(pattern(5000));
  assertEquals((await b.recv(5000, MSG_WAITALL)).length, 5000);
  const info = a.getoption(Options.TCP_INFO);
  assertEquals(info.state, "ESTABLISHED");
  assertEquals([info.lost, info.retransmits], [0, 0]);
  assert(info.rto >= 200 && info.rto < 60_000, `${info.rto}`);
  assert(info.rtt >= 0 && info.rtt < 10_000, `${info.rtt}`);
  assert(info.sendMss > 500 && info.sendMss <= 65_535, `${info.sendMss}`);
  assertEquals(info.pathMtu, 65_535);
  assert(info.congestionWindow > 0);
  assertEquals(b.getoption(Options.TCP_INFO).bytesReceived, 5000);
  await a.shutdown(SHUT_WR);
  assertEquals((await b.recv(1)).length, 0);
  assertEquals(b.getoption(Options.TCP_INFO).state, "CLOSE-WAIT");
  using server = create_server(localhost);
  assertEquals(server.getoption(Options.TCP_INFO).state, "LISTEN");
  using idle = socket();
  assertEquals(idle.getoption(Options.TCP_INFO).state, "CLOSED");
  await fails(
    () => a.setoption(Options.TCP_INFO as Option<unknown>, {}),
    "ENOPROTOOPT",
  );
  a.close();
  b.close();
});

test("SO_BINDTODEVICE keeps a socket to an interface", async () => {
  using client = socket();
  assertEquals(client.getoption(Options.SO_BINDTODEVICE), "");
  client.setoption(Options.SO_BINDTODEVICE, "lo");
  assertEquals(client.getoption(Options.SO_BINDTODEVICE), "lo");
  await fails(
    () => client.setoption(Options.SO_BINDTODEVICE, "no such one"),
    "ENODEV",
  );
  client.setoption(Options.SO_BINDTODEVICE, "");
  assertEquals(client.getoption(Options.SO_BINDTODEVICE), "");
}, !isRaw);

test("SO_RCVTIMEO is in milliseconds", () => {
  using client = socket();
  assertEquals(client.getoption(Options.SO_RCVTIMEO), 0);
  for (const name of ["SO_RCVTIMEO", "SO_SNDTIMEO"] as const) {
    // The kernel keeps whole ticks: 100 to 1,000 a second.
    for (const ms of [20, 1000, 12_340, 0]) {
      client.setoption(Options[name], ms);
      assertEquals(client.getoption(Options[name]), ms);
    }
  }
  const { encode, decode } = Options.SO_RCVTIMEO;
  for (const ms of [0, 1, 999, 1000, 1001, 2 ** 31 - 1]) {
    assertEquals(decode(encode!(ms)), ms);
  }
});

test("groups are joined and left, and what is sent to them is heard", async () => {
  using hearer = socket(AF_INET, SOCK_DGRAM);
  hearer.bind(["0.0.0.0", 0]);
  const group = "239.255.77.1";
  const membership = { group, interface: "127.0.0.1" };
  hearer.setoption(Options.IP_ADD_MEMBERSHIP, membership);
  await fails(
    () => hearer.setoption(Options.IP_ADD_MEMBERSHIP, membership),
    "EADDRINUSE",
  );
  using sender = socket(AF_INET, SOCK_DGRAM);
  sender.setoption(Options.IP_MULTICAST_IF, "127.0.0.1");
  assertEquals(sender.getoption(Options.IP_MULTICAST_IF), "127.0.0.1");
  sender.setoption(Options.IP_MULTICAST_LOOP, true);
  sender.setoption(Options.IP_MULTICAST_TTL, 0);
  const to: InetAddress = [group, hearer.getsockname()[1]];
  await sender.sendto(utf8("hello"), to);
  assertEquals(text(await inTime(hearer.recv(10))), "hello");
  hearer.setoption(Options.IP_DROP_MEMBERSHIP, membership);
  await fails(
    () => hearer.setoption(Options.IP_DROP_MEMBERSHIP, membership),
    "EADDRNOTAVAIL",
  );
  // By the name of the interface, by its number, and from one source alone.
  for (const on of ["lo", 1]) {
    hearer.setoption(Options.IP_ADD_MEMBERSHIP, { group, interface: on });
    hearer.setoption(Options.IP_DROP_MEMBERSHIP, { group, interface: on });
  }
  const one = { group, source: "127.0.0.9", interface: "127.0.0.1" };
  hearer.setoption(Options.IP_ADD_SOURCE_MEMBERSHIP, one);
  using right = socket(AF_INET, SOCK_DGRAM);
  right.bind(["127.0.0.9", 0]);
  right.setoption(Options.IP_MULTICAST_IF, "127.0.0.1");
  await sender.sendto(utf8("unheard"), to);
  await right.sendto(utf8("heard"), to);
  assertEquals(text(await inTime(hearer.recv(10))), "heard");
  hearer.setoption(Options.IP_DROP_SOURCE_MEMBERSHIP, one);
  await fails(
    () =>
      hearer.setoption(Options.IP_ADD_MEMBERSHIP, {
        group,
        interface: "no such one",
      }),
    "ENODEV",
  );
});

test("groups of IPv6 are joined and left", async () => {
  using six = socket(AF_INET6, SOCK_DGRAM);
  for (const on of ["lo", 1]) {
    const membership = { group: "ff02::4d4d", interface: on };
    six.setoption(Options.IPV6_JOIN_GROUP, membership);
    six.setoption(Options.IPV6_LEAVE_GROUP, membership);
    await fails(
      () => six.setoption(Options.IPV6_LEAVE_GROUP, membership),
      "EADDRNOTAVAIL",
    );
  }
}, !hasSix);

/** A socket that has an option. */
async function holder(name: string): Promise<Disposable & { socket: Socket }> {
  let others: Socket[] = [];
  let socket: Socket;
  if (name === "SO_PEERCRED" || name === "SO_PASSCRED") {
    const [a, b] = await socketpair();
    [socket, others] = [a, [b]];
  } else if (name === "IP_HDRINCL") {
    socket = libc.socket(AF_INET, SOCK_RAW, EXPERIMENT);
  } else if (name.startsWith("IPV6_")) {
    socket = libc.socket(AF_INET6, SOCK_DGRAM);
  } else if (name.startsWith("IP_") && name !== "IP_MTU") {
    socket = libc.socket(AF_INET, SOCK_DGRAM);
  } else {
    const [a, b] = await tcp();
    [socket, others] = [a, [b]];
  }
  return {
    socket,
    [Symbol.dispose]() {
      for (const one of [socket, ...others]) one.close();
    },
  };
}

const isMembership = (name: string) => /MEMBERSHIP|GROUP$/.test(name);
const values: Record<string, unknown> = {
  number: 0,
  boolean: false,
  string: "",
};

test("every option can be read, and set to what was read", async () => {
  for (const [name, option] of Object.entries(Options)) {
    if (name === "IP_HDRINCL" && !isRaw) continue;
    if (name.startsWith("IPV6_") && !hasSix) continue;
    using held = await holder(name);
    const { socket } = held;
    const typed = option as Option<unknown>;
    if (isMembership(name)) {
      // It is no value, and the kernel has none to give.
      let error;
      try {
        socket.getoption(typed);
      } catch (caught) {
        error = caught;
      }
      assertInstanceOf(error, Error, name);
      continue;
    }
    const value = socket.getoption(typed);
    const kind = typeof value;
    if (kind === "object") assert(value !== null, name);
    else assertEquals(kind, typeof values[kind], name);
    if (kind === "number") assert(Number.isInteger(value), `${name}: ${value}`);
    if (option.encode === undefined) {
      await fails(() => socket.setoption(typed, value), "ENOPROTOOPT");
      continue;
    }
    try {
      socket.setoption(typed, value);
    } catch (error) {
      // Some take no default back, and some are for the privileged.
      const { code } = error as { code?: string };
      assert(
        ["EINVAL", "EPERM", "ENODEV"].includes(code!),
        `${name}: ${error}`,
      );
      continue;
    }
    // What has bounds of its own, or doubles what it is given, may have moved.
    assertEquals(typeof socket.getoption(typed), kind, name);
  }
});

test("options refuse values that are none of theirs, before the call", () => {
  const wrong: Record<string, unknown[]> = {
    number: [null, undefined, "1", true, 1.5, NaN, Infinity, 2 ** 53, {}, 1n],
    boolean: [null, undefined, 0, 1, "true", {}],
    string: [null, undefined, 1, {}, ["lo"], "a\0b", "x".repeat(64)],
    object: [null, undefined, 1, "x", {}, { group: 5 }, { on: 1 }],
  };
  const booleans = new Set<string>();
  using four = socket(AF_INET, SOCK_DGRAM);
  for (const [name, option] of Object.entries(Options)) {
    const { encode, decode, size } = option as Option<unknown>;
    if (encode === undefined) continue;
    const kind = isMembership(name)
      ? "object"
      : typeof decode(new Uint8Array(size));
    if (kind === "boolean") booleans.add(name);
    for (const value of wrong[kind]!) {
      const error = assertThrows(
        () => four.setoption(option as Option<unknown>, value),
        Error,
        undefined,
        `${name}: ${String(value)}`,
      );
      const { code } = error as { code?: string };
      assert(
        error instanceof TypeError || error instanceof RangeError ||
          error instanceof SyntaxError || code === "EINVAL",
        `${name}: ${error}`,
      );
      // The kernel was not asked.
      assert(!/^setsockopt:/.test(error.message), `${name}: ${error}`);
    }
  }
  assert(booleans.has("SO_KEEPALIVE") && booleans.has("IPV6_V6ONLY"));
});

test("SO_LINGER refuses what is out of its range", () => {
  const { encode, decode } = Options.SO_LINGER;
  for (const seconds of [-1, 65_536, 1.5, NaN]) {
    assertThrows(() => encode!({ on: true, seconds }), RangeError);
  }
  assertThrows(() => encode!({ on: true } as never), TypeError);
  assertThrows(() => encode!({ seconds: 1 } as never), TypeError);
  for (const seconds of [0, 1, 65_535]) {
    const linger = { on: seconds !== 0, seconds };
    assertEquals(decode(encode!(linger)), linger);
  }
});

test("options that are not in the table are bytes", async () => {
  using client = socket();
  const linger = new Uint8Array(new Int32Array([1, 5]).buffer);
  client.setsockopt(SOL_SOCKET, libc.SO_LINGER, linger);
  assertEquals(client.getsockopt(SOL_SOCKET, libc.SO_LINGER, 8), linger);
  assertEquals(client.getoption(Options.SO_LINGER), { on: true, seconds: 5 });
  assertEquals(client.getsockopt(SOL_SOCKET, libc.SO_LINGER, 100).length, 8);
  assertEquals(client.getsockopt(SOL_SOCKET, libc.SO_LINGER, 3).length, 3);
  await fails(() => client.setsockopt(SOL_SOCKET, 60_000, 1), "ENOPROTOOPT");
  await fails(() => client.getsockopt(SOL_SOCKET, 60_000), "ENOPROTOOPT");
  await fails(
    () => client.setsockopt(SOL_SOCKET, libc.SO_LINGER, new Uint8Array(2000)),
    "EINVAL",
  );
});

// Behind the other rooms

test("toConn() puts a stream behind a connection", async () => {
  const [a, b] = await tcp();
  const name = a.getsockname();
  using conn = toConn(a);
  await fails(() => a.send(utf8("x")), "EBADF");
  assertEquals(conn.localAddr, {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: name[1],
  });
  using other = toConn(b);
  const data = pattern(1_000_000);
  const [all] = await inTime(Promise.all([
    readAll(other),
    (async () => {
      await writeAll(conn, data);
      await conn.closeWrite();
    })(),
  ]));
  assertEquals(all, data);
  const [c, d] = await socketpair(AF_UNIX, SOCK_DGRAM);
  await fails(() => toConn(c), "EOPNOTSUPP");
  await fails(() => toConn(socket()), "ENOTCONN");
  assertThrows(() => toConn({} as never), TypeError);
  assertThrows(() => toConn(null as never), TypeError);
  c.close();
  d.close();
});

test("toListener() takes nothing from a socket that does not listen", async () => {
  const bound = socket();
  bound.bind(localhost);
  const [a, b] = await tcp();
  for (const silent of [socket(), bound, a, b]) {
    await fails(() => toListener(silent as Socket), "EINVAL");
    // It is the caller's still.
    assert(silent.fileno() >= 0);
    silent.close();
  }
});

test("toListener() serves", async () => {
  for (const family of [AF_INET, AF_UNIX] as const) {
    const listening = socket(family as libc.Family<Address>);
    listening.bind(family === AF_INET ? localhost : abstractName());
    listening.listen();
    const name = listening.getsockname();
    const listener = toListener(listening);
    await fails(() => listening.getsockname(), "EBADF");
    await using server = serve(listener, async (conn) => {
      await writeAll(conn, await readAll(conn));
    });
    assertEquals(server.connections, 0);
    const answers = await inTime(Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        using client = socket(family as libc.Family<Address>);
        await client.connect(name);
        await client.sendall(utf8(`hello ${i}`));
        await client.shutdown(SHUT_WR);
        return text(await client.recv(100, MSG_WAITALL));
      }),
    ));
    assertEquals(answers, Array.from({ length: 20 }, (_, i) => `hello ${i}`));
  }
});

test("useWake() changes how sockets are woken, with calls that wait", async () => {
  await assertRejectsType(() => useWake("other" as never));
  const pairs = await Promise.all(
    Array.from({ length: 8 }, () => socketpair()),
  );
  try {
    for (const kind of ["eventfd", "thread", "eventfd", "thread"] as const) {
      const waiting = pairs.map(([a]) => a.recv(100));
      const used = await useWake(kind);
      assert(used === kind || used === "thread");
      for (const [i, [, b]] of pairs.entries()) {
        await b.send(utf8(`${kind}${i}`));
      }
      const told = await inTime(Promise.all(waiting));
      assertEquals(told.map(text), pairs.map((_, i) => `${kind}${i}`));
      // One at a time too, with many sleeps between.
      for (let i = 0; i < 30; i++) {
        const [a, b] = pairs[i % 8]!;
        const one = a.recv(10);
        await new Promise((resolve) => setImmediate(resolve));
        await b.send(utf8(`${i}`));
        assertEquals(text(await inTime(one)), `${i}`);
      }
    }
  } finally {
    await useWake("thread");
    for (const [a, b] of pairs) {
      a.close();
      b.close();
    }
  }
});

async function assertRejectsType(call: () => Promise<unknown>): Promise<void> {
  let error;
  try {
    await call();
  } catch (caught) {
    error = caught;
  }
  assertInstanceOf(error, TypeError);
}

/** How many descriptors of a kind the program has, as the kernel names them. */
function count(kind: string): number {
  let all = 0;
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      if (Deno.readLinkSync(`/proc/self/fd/${name}`) === kind) all++;
    } catch {
      // Closed meanwhile.
    }
  }
  return all;
}

test("what fails when the time is over is the call's error", async () => {
  const [a, b] = await socketpair();
  const { reading } = libcOf(a, "recv").polled;
  const failing = reading.do("recv", 5, () => AGAIN, () => {
    throw new Error("at the end");
  });
  await assertRejects(() => failing, Error, "at the end");
  // It stands in nobody's way.
  await b.send(utf8("x"));
  assertEquals(text(await a.recv(1)), "x");
  a.close();
  b.close();
});

test("sends to a Unix name, too, let the event loop have its turn", async () => {
  using sender = socket(AF_UNIX, SOCK_DGRAM);
  const functions = calls() as { sendto: (...args: never[]) => number };
  const { sendto } = functions;
  // Somebody who takes everything at once.
  functions.sendto = () => 1;
  let turns = 0;
  const count = () => {
    turns++;
    immediate = setImmediate(count);
  };
  let immediate = setImmediate(count);
  try {
    for (let i = 0; i < 1000; i++) await sender.sendto(utf8("x"), "\0nobody");
  } finally {
    functions.sendto = sendto;
    clearImmediate(immediate);
  }
  assert(turns >= 10, `${turns} turns`);
});

test("useWake() back and forth leaves no descriptors", async () => {
  // In a program of its own: here others open some meanwhile.
  const source = `
    import { useWake } from ${
    JSON.stringify(new URL("../libc/mod.ts", import.meta.url).href)
  };
    ${count}
    const turn = async () => {
      await useWake("eventfd");
      await useWake("thread");
    };
    await turn();
    const before = count("anon_inode:[eventfd]");
    for (let i = 0; i < 10; i++) await turn();
    console.log(count("anon_inode:[eventfd]") - before);
  `;
  await using program = new Program(Deno.execPath(), [
    "eval",
    "--ext=ts",
    source,
  ]);
  assertEquals(await program.line(), "0");
  await ended(program);
});
