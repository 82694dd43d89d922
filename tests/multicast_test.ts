/** Multicast groups and broadcast addresses, with python3 as the other side, for every backend of UDP. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { AddressSyntaxError, errorCode } from "../errors.ts";
import { bindUdp, type UdpSocket } from "../udp.ts";
import { rejection, text, utf8 } from "./_bytes.ts";
import { type Backend, backends, testEachBackend } from "./_datagrams.ts";
import { canListen } from "./_pairs.ts";
import { type Program, startPython } from "./_process.ts";
import { canUnshare, runOnCable } from "./_network.ts";

/** How long a test waits for what comes at once: a lost datagram is a failure, not a standstill. */
const PATIENCE = 20_000;

/** A group of this test alone: a socket on all addresses hears the groups of everybody on the machine. */
function newGroup(net = 239): string {
  return [net, ...crypto.getRandomValues(new Uint8Array(3))].join(".");
}

const LO = { interface: "127.0.0.1" };
const ANY = { hostname: "0.0.0.0" };

/** What can send a text to an address: a python program, or a socket of ours. */
interface Sender {
  send(to: string, port: number, message: string): Promise<void>;
}

/** A python program that sends to groups by the loopback interface. */
class PythonSender implements Sender, AsyncDisposable {
  readonly #program: Program;

  private constructor(program: Program) {
    this.#program = program;
  }

  static async start(source = "127.0.0.1"): Promise<PythonSender> {
    return new PythonSender(
      await startPython(
        `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 0))
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for line in sys.stdin:
    to, port, message = line.strip().split(" ", 2)
    s.sendto(message.encode(), (to, int(port)))
    print("sent")
`,
        source,
      ),
    );
  }

  async send(to: string, port: number, message: string): Promise<void> {
    await this.#program.send(`${to} ${port} ${message}`);
    assertEquals(await this.#program.line(), "sent");
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#program[Symbol.asyncDispose]();
  }
}

const sender = (socket: UdpSocket): Sender => ({
  async send(hostname, port, message) {
    await socket.send(utf8(message), { hostname, port });
  },
});

/** The next text that a socket receives. */
async function heard(socket: UdpSocket): Promise<string> {
  socket.timeout = PATIENCE;
  return text((await socket.receive()).data);
}

/** Whether a socket hears what is sent to an address. A datagram to the socket itself ends the wait. */
async function hears(
  socket: UdpSocket,
  to: string,
  from: Sender,
): Promise<boolean> {
  const { port } = socket.addr;
  await from.send(to, port, "for all");
  await from.send("127.0.0.1", port, "for one");
  const first = await heard(socket);
  if (first === "for one") return false;
  assertEquals(first, "for all");
  assertEquals(await heard(socket), "for one");
  return true;
}

/** A socket takes no harm: it still gets what it sends to itself. */
async function assertUsable(socket: UdpSocket): Promise<void> {
  const { port, hostname } = socket.addr;
  const self = { hostname: hostname.includes(":") ? "::1" : "127.0.0.1", port };
  await socket.send(utf8("still here"), self);
  assertEquals(await heard(socket), "still here");
}

// Members

testEachBackend(
  "a member hears a python sender until it leaves",
  async (bind) => {
    await using python = await PythonSender.start();
    await using socket = await bind(ANY);
    const group = newGroup();
    assert(!await hears(socket, group, python), "before it joins");
    const membership = await socket.joinMulticast(group, LO);
    assertEquals(membership.group, group);
    assert(await hears(socket, group, python), "as a member");
    assert(!await hears(socket, newGroup(), python), "another group");
    await membership.leave();
    assert(!await hears(socket, group, python), "after it left");
    await membership.leave();
    await using _ = await socket.joinMulticast(group, LO);
    assert(await hears(socket, group, python), "as a member again");
  },
);

testEachBackend(
  "a membership that is over does not end the next one",
  async (bind) => {
    await using python = await PythonSender.start();
    await using socket = await bind(ANY);
    const group = newGroup();
    const before = await socket.joinMulticast(group, LO);
    await before.leave();
    await using _ = await socket.joinMulticast(group, LO);
    assert(await hears(socket, group, python));
    await before.leave();
    assert(await hears(socket, group, python));
  },
);

testEachBackend("leaving after the close is harmless", async (bind) => {
  const socket = await bind(ANY);
  const group = newGroup();
  const membership = await socket.joinMulticast(group, LO);
  const other = await socket.joinMulticast(newGroup(), LO);
  await other.leave();
  await socket[Symbol.asyncDispose]();
  await membership.leave();
  await membership.leave();
  await membership[Symbol.asyncDispose]();
  await other.leave();
});

testEachBackend("leaving its block leaves the group", async (bind) => {
  await using python = await PythonSender.start();
  await using socket = await bind(ANY);
  const group = newGroup();
  {
    await using _ = await socket.joinMulticast(group, LO);
    assert(await hears(socket, group, python));
  }
  assert(!await hears(socket, group, python));
});

testEachBackend("one socket is a member of several groups", async (bind) => {
  await using python = await PythonSender.start();
  await using socket = await bind(ANY);
  const [a, b] = [newGroup(), newGroup()];
  const membership = await socket.joinMulticast(a, LO);
  await using _ = await socket.joinMulticast(b, LO);
  assert(await hears(socket, a, python));
  assert(await hears(socket, b, python));
  await membership.leave();
  assert(!await hears(socket, a, python));
  assert(await hears(socket, b, python));
});

testEachBackend(
  "reuseAddress: all members on a port hear the group",
  async (bind) => {
    await using python = await PythonSender.start();
    await using one = await bind({ ...ANY, reuseAddress: true });
    const { port } = one.addr;
    await using two = await bind({ ...ANY, port, reuseAddress: true });
    const group = newGroup();
    await using _ = await one.joinMulticast(group, LO);
    await using __ = await two.joinMulticast(group, LO);
    for (const message of ["first", "second"]) {
      await python.send(group, port, message);
      assertEquals(await heard(one), message);
      assertEquals(await heard(two), message);
    }
  },
);

// What our sockets send to groups

/** A python member, which prints each datagram and its time to live. */
async function startMember(group: string): Promise<[Program, number]> {
  const program = await startPython(
    `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(30)
s.bind(("", 0))
s.setsockopt(
    socket.IPPROTO_IP,
    socket.IP_ADD_MEMBERSHIP,
    socket.inet_aton(sys.argv[1]) + socket.inet_aton("127.0.0.1"),
)
# Python has had a name for Linux's number only since 3.14.
s.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_RECVTTL", 12), 1)
print(s.getsockname()[1])
while True:
    data, [(_, _, ttl)], _, _ = s.recvmsg(100, 100)
    print(data.decode(), "ttl", int.from_bytes(ttl, sys.byteorder))
`,
    group,
  );
  return [program, Number(await program.line())];
}

testEachBackend(
  "a python member hears us, over one router at most",
  async (bind) => {
    const group = newGroup();
    const [program, port] = await startMember(group);
    await using python = program;
    // Bound to the loopback address, it sends to groups by that interface.
    await using socket = await bind();
    await sender(socket).send(group, port, "hello");
    assertEquals(await python.line(), "hello ttl 1");
    await sender(socket).send("127.0.0.1", port, "for one");
    assertEquals(await python.line(), "for one ttl 64");
  },
);

testEachBackend(
  "ttl of joinMulticast() holds for what is sent to groups",
  async (bind) => {
    const group = newGroup();
    const [program, port] = await startMember(group);
    await using python = program;
    await using socket = await bind();
    for (const ttl of [1, 7, 255]) {
      await using _ = await socket.joinMulticast(newGroup(), { ...LO, ttl });
      await sender(socket).send(group, port, "hello");
      assertEquals(await python.line(), `hello ttl ${ttl}`);
      await sender(socket).send("127.0.0.1", port, "for one");
      assertEquals(await python.line(), "for one ttl 64");
    }
  },
);

testEachBackend("a join that fails sets nothing", async (bind) => {
  const group = newGroup();
  const [program, port] = await startMember(group);
  await using python = program;
  await using socket = await bind();
  await assertRejects(
    () => socket.joinMulticast(group, { interface: "10.9.9.9", ttl: 9 }),
    Error,
    "no interface",
  );
  await sender(socket).send(group, port, "hello");
  assertEquals(await python.line(), "hello ttl 1");
});

Deno.test("udp node: ttl and multicastTtl hold each for their own", async () => {
  const group = newGroup();
  const [program, port] = await startMember(group);
  await using python = program;
  for (const ttl of [1, 9, 255]) {
    for (
      const [options, toAll, toOne] of [
        [{ multicastTtl: ttl }, ttl, 64],
        [{ ttl }, 1, ttl],
        [{ ttl, multicastTtl: 33 }, 33, ttl],
      ] as const
    ) {
      await using socket = await bindUdp({
        hostname: "127.0.0.1",
        backend: "node",
        ...options,
      });
      await sender(socket).send(group, port, "hello");
      assertEquals(await python.line(), `hello ttl ${toAll}`);
      await sender(socket).send("127.0.0.1", port, "for one");
      assertEquals(await python.line(), `for one ttl ${toOne}`);
    }
  }
});

Deno.test("udp node: multicastInterface chooses the way to groups", async () => {
  const group = newGroup();
  const [program, port] = await startMember(group);
  await using python = program;
  await using socket = await bindUdp({
    ...ANY,
    backend: "node",
    multicastInterface: "127.0.0.1",
  });
  await sender(socket).send(group, port, "hello");
  assertEquals(await python.line(), "hello ttl 1");
});

// Groups of one sender

Deno.test("udp node: a source-specific member hears its source alone", async () => {
  await using one = await PythonSender.start("127.0.0.1");
  await using two = await PythonSender.start("127.0.0.2");
  await using socket = await bindUdp({ ...ANY, backend: "node" });
  const group = newGroup(232);
  const join = (source: string) =>
    socket.joinMulticast(group, { ...LO, source });
  const membership = await join("127.0.0.1");
  assert(await hears(socket, group, one));
  assert(!await hears(socket, group, two));
  await membership.leave();
  assert(!await hears(socket, group, one));
  const other = await join("127.0.0.2");
  assert(!await hears(socket, group, one));
  assert(await hears(socket, group, two));
  // Both at once; leaving the one leaves the other.
  {
    await using _ = await join("127.0.0.1");
    assert(await hears(socket, group, one));
    assert(await hears(socket, group, two));
    await assertRejects(() => join("127.0.0.2"), Deno.errors.AddrInUse);
  }
  assert(!await hears(socket, group, one));
  assert(await hears(socket, group, two));
  await other.leave();
  assert(!await hears(socket, group, two));
});

for (const backend of backends.filter((backend) => backend === "deno")) {
  Deno.test(`udp ${backend}: groups of one sender are not supported`, async () => {
    await using socket = await bindUdp({ ...ANY, backend });
    await assertRejects(
      () => socket.joinMulticast(newGroup(232), { ...LO, source: "127.0.0.1" }),
      Deno.errors.NotSupported,
      'backend: "node"',
    );
    await assertUsable(socket);
  });
}

// What is wrong

/** A bad join: the group, the options, the class of the error, a part of its message, and its code. */
type BadJoin = readonly [
  group: unknown,
  options: unknown,
  Class: abstract new (...args: never[]) => Error,
  message: string,
  code?: string,
];

async function assertBadJoins(
  socket: UdpSocket,
  joins: readonly BadJoin[],
): Promise<void> {
  for (const [group, options, Class, message, code] of joins) {
    const what = `${group} ${JSON.stringify(options)}`;
    const error = await rejection(
      socket.joinMulticast(group as string, options as object),
    );
    assert(error instanceof Class, `${what}: ${error}`);
    assertStringIncludes(error.message, message, what);
    if (code !== undefined) assertEquals(errorCode(error), code, what);
    await assertUsable(socket);
  }
}

const GROUP = newGroup();

testEachBackend("bad groups and options of IPv4", async (bind) => {
  await using socket = await bind(ANY);
  const noInterface = 'no interface "10.9.9.9"';
  await assertBadJoins(socket, [
    ["10.0.0.1", {}, RangeError, 'got "10.0.0.1"'],
    ["240.0.0.1", {}, RangeError, 'got "240.0.0.1"'],
    ["ff02::1", {}, RangeError, "expected an IPv4 address"],
    ["nonsense", {}, AddressSyntaxError, 'Invalid group "nonsense"'],
    ["", {}, AddressSyntaxError, 'Invalid group ""'],
    [`${GROUP} `, {}, AddressSyntaxError, "Invalid group"],
    [5, {}, TypeError, "Invalid group"],
    [undefined, {}, TypeError, "Invalid group"],
    [GROUP, null, TypeError, "Invalid options of joinMulticast"],
    [GROUP, { interface: "10.9.9.9" }, Error, noInterface, "ENODEV"],
    [GROUP, { interface: "eth0" }, AddressSyntaxError, '"eth0"'],
    [GROUP, { interface: "::1" }, AddressSyntaxError, '"::1"'],
    [GROUP, { interface: 1 }, TypeError, "Invalid interface"],
    [GROUP, { ...LO, loopback: 1 }, TypeError, "Invalid loopback"],
    [GROUP, { ...LO, ttl: 0 }, RangeError, "Invalid ttl"],
    [GROUP, { ...LO, ttl: 256 }, RangeError, "Invalid ttl"],
    [GROUP, { ...LO, ttl: 1.5 }, RangeError, "Invalid ttl"],
    [GROUP, { ...LO, ttl: "1" }, TypeError, "Invalid ttl"],
    [GROUP, { ...LO, source: "nobody" }, TypeError, "Invalid source"],
    [GROUP, { ...LO, source: 5 }, TypeError, "Invalid source"],
    [GROUP, { ...LO, source: "::1" }, RangeError, "Invalid source"],
  ]);
  // None of them has left anything behind that were in the way.
  await using _ = await socket.joinMulticast(GROUP, LO);
});

async function assertInUse(
  socket: UdpSocket,
  group: string,
  options: { interface?: string },
): Promise<void> {
  const error = await assertRejects(
    () => socket.joinMulticast(group, options),
    Deno.errors.AddrInUse,
    "Cannot join udp",
  );
  assertEquals(errorCode(error), "EADDRINUSE", group);
}

/** The loopback interface, as each backend can be told. */
const lo6 = (backend: Backend): string[] =>
  backend === "deno" ? ["1", "lo"] : ["lo"];

for (const backend of backends) {
  Deno.test({
    name: `udp ${backend}: bad groups and options of IPv6`,
    ignore: !canListen("::1"),
    async fn() {
      await using socket = await bindUdp({ hostname: "::", backend });
      const nope = 'no interface "nope0"';
      await assertBadJoins(socket, [
        ["239.1.1.1", {}, RangeError, "expected an IPv6 address"],
        ["::ffff:239.1.1.1", {}, RangeError, "Invalid group"],
        ["fe80::1", {}, RangeError, "Invalid group"],
        ["nonsense", {}, AddressSyntaxError, "Invalid group"],
        [5, {}, TypeError, "Invalid group"],
        ["ff02::7", { interface: "nope0" }, Error, nope, "ENODEV"],
        ["ff02::7%nope0", {}, Error, nope, "ENODEV"],
        ["ff02::7", { interface: "987654" }, Error, "no interface", "ENODEV"],
        ["ff02::7", { interface: "a/b" }, AddressSyntaxError, '"a/b"'],
        ["ff02::7", { interface: "::1" }, AddressSyntaxError, '"::1"'],
        [
          "ff02::7",
          { interface: "lo", ttl: 3 },
          Deno.errors.NotSupported,
          "hop limit of IPv6",
        ],
        [
          "ff02::7",
          { interface: "lo", source: "::1" },
          Deno.errors.NotSupported,
          "one source",
        ],
      ]);
    },
  });

  Deno.test({
    name: `udp ${backend}: an index beyond 32 bits is no interface`,
    ignore: !canListen("::1"),
    async fn() {
      await using socket = await bindUdp({ hostname: "::", backend });
      // Without its upper half, it would be the loopback interface's.
      const options = { interface: "4294967297" };
      const no = 'no interface "4294967297"';
      await assertBadJoins(socket, [["ff02::7", options, Error, no, "ENODEV"]]);
    },
  });

  Deno.test({
    name: `udp ${backend}: IPv6 groups on the loopback interface`,
    ignore: Deno.build.os !== "linux" || !canListen("::1"),
    async fn() {
      await using socket = await bindUdp({ hostname: "::", backend });
      for (const name of lo6(backend)) {
        const on = { interface: name };
        const membership = await socket.joinMulticast("ff02::7", on);
        assertEquals(membership.group, "ff02::7");
        await assertInUse(socket, "ff02::7", on);
        await using _ = await socket.joinMulticast("ff02::8", on);
        await membership.leave();
        await assertUsable(socket);
      }
      await using _ = await socket.joinMulticast("ff02::7%lo");
      await assertInUse(socket, "ff02::7%lo", {});
    },
  });

  Deno.test({
    name: `udp ${backend}: a group that is written otherwise is the same`,
    ignore: Deno.build.os !== "linux" || !canListen("::1"),
    async fn() {
      await using socket = await bindUdp({ hostname: "::", backend });
      await using _ = await socket.joinMulticast("ff02::7", {
        interface: "lo",
      });
      await assertInUse(socket, "ff02::7%lo", {});
      for (const name of lo6(backend)) {
        const on = { interface: name };
        await assertInUse(socket, "ff02::7", on);
        await assertInUse(socket, "FF02:0::0007", on);
      }
      await assertUsable(socket);
    },
  });
}

testEachBackend(
  "joining twice is an error, and the member stays one",
  async (bind) => {
    await using python = await PythonSender.start();
    await using socket = await bind(ANY);
    const group = newGroup();
    const membership = await socket.joinMulticast(group, LO);
    for (let i = 0; i < 2; i++) {
      await assertInUse(socket, group, LO);
      assert(await hears(socket, group, python));
    }
    await membership.leave();
    assert(!await hears(socket, group, python));
  },
);

testEachBackend("two joins at once: one of them is told", async (bind) => {
  await using socket = await bind(ANY);
  const group = newGroup();
  const [one, two] = await Promise.allSettled([
    socket.joinMulticast(group, LO),
    socket.joinMulticast(group, LO),
  ]);
  assertEquals(one.status, "fulfilled");
  assert(two.status === "rejected");
  assertInstanceOf(two.reason, Deno.errors.AddrInUse);
});

testEachBackend("a closed socket joins nothing", async (bind) => {
  const socket = await bind(ANY);
  await socket[Symbol.asyncDispose]();
  await assertRejects(
    () => socket.joinMulticast(GROUP, LO),
    Deno.errors.BadResource,
  );
  await assertRejects(() => socket.joinMulticast("nonsense"), SyntaxError);
});

// Broadcast

testEachBackend(
  "a broadcast reaches a socket on all addresses",
  async (bind) => {
    await using python = await PythonSender.start();
    await using socket = await bind(ANY);
    await using other = await bind();
    for (const from of [python, sender(other)]) {
      assert(await hears(socket, "127.255.255.255", from));
    }
    // A socket on one address does not hear what is for all.
    assert(!await hears(other, "127.255.255.255", python));
  },
);

Deno.test("udp node: without broadcast, sending to all is an error", async () => {
  await using socket = await bindUdp({
    hostname: "127.0.0.1",
    backend: "node",
    broadcast: false,
  });
  const { port } = socket.addr;
  const error = await assertRejects(
    () => socket.send(utf8("for all"), { hostname: "127.255.255.255", port }),
    Error,
    "broadcast is off",
  );
  assertStringIncludes(error.message, `127.255.255.255:${port}`);
  assertEquals(socket.datagramsSent, 0);
  await assertUsable(socket);
});

// In a network of its own

/** What the programs there begin with. */
const INSIDE = (backend: Backend) => `
const backend = ${JSON.stringify(backend)};
const { bindUdp } = sockets;
const bytes = (text) => new TextEncoder().encode(text);

/** What a member hears until the datagram for it alone comes; a busy machine may lose one. */
async function hears(member, send) {
  const all = [];
  for (let tries = 0; tries < 20; tries++) {
    await send("for all", "for one");
    member.timeout = 1000;
    try {
      while (all.at(-1) !== "for one") {
        all.push(new TextDecoder().decode((await member.receive()).data));
      }
      break;
    } catch (error) {
      if (error.name !== "TimeoutError") throw error;
    }
  }
  return all.at(-1) === "for one" && all.length > 1;
}
`;

function testInside(
  name: string,
  body: (backend: Backend) => string,
  expected: (backend: Backend) => string[],
): void {
  for (const backend of backends) {
    Deno.test({
      name: `udp ${backend}: ${name}`,
      ignore: Deno.build.os !== "linux",
      async fn() {
        if (!await canUnshare()) return;
        const { code, stdout, stderr } = await runOnCable(
          INSIDE(backend) + body(backend),
        );
        assertEquals({ code, stdout: stdout.trimEnd().split("\n"), stderr }, {
          code: 0,
          stdout: expected(backend),
          stderr: "",
        });
      },
    });
  }
}

testInside(
  "loopback says whether members on this machine hear us",
  () => `
const cases = [
  ["10.9.0.1", "0.0.0.0", "239.7.7.7", "", "10.9.0.1"],
  ["fe80::a%v0", "::", "ff02::7", "%v0", "v0"],
];
for (const [ours, any, group, zone, name] of cases) {
  await using member = await bindUdp({ hostname: any, backend });
  const { port } = member.addr;
  await using _ = await member.joinMulticast(group, { interface: name });
  const say = async (what, socket) => {
    const all = { hostname: group + zone, port };
    const one = { hostname: ours, port };
    console.log(group, what, await hears(member, async (toAll, toOne) => {
      await socket.send(bytes(toAll), all);
      await socket.send(bytes(toOne), one);
    }));
  };
  {
    await using socket = await bindUdp({ hostname: ours, backend });
    await say("default", socket);
  }
  for (const loopback of [true, false]) {
    const options = { hostname: ours, backend, multicastLoopback: loopback };
    await using socket = await bindUdp(options);
    await say("option " + loopback, socket);
    // A membership that says nothing changes nothing.
    const other = group.replace(/7$/, "8");
    await using _ = await socket.joinMulticast(other, { interface: name });
    await say("joined " + loopback, socket);
    await using __ = await socket.joinMulticast(
      group,
      { interface: name, loopback: !loopback },
    );
    await say("changed to " + !loopback, socket);
  }
}
`,
  () =>
    ["239.7.7.7", "ff02::7"].flatMap((group) =>
      [
        "default true",
        "option true true",
        "joined true true",
        "changed to false false",
        "option false false",
        "joined false false",
        "changed to true true",
      ].map((line) => `${group} ${line}`)
    ),
);

/** Sends by the other end of the cable to a group, and to one socket. Its own machine hears nothing. */
const PYTHON_SENDER_6 = `
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
scope = socket.if_nametoindex("v1")
s.bind(("fe80::b", 0, 0, scope))
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
port = int(sys.argv[1])
for to, text in zip(["ff02::7:7", "fe80::a"], sys.argv[2:]):
    s.sendto(text.encode(), (to, port, 0, scope))
`;

testInside(
  "an IPv6 member hears a python sender by its interface",
  () => `
await using member = await bindUdp({ hostname: "::", backend });
const { port } = member.addr;
async function say(what) {
  console.log(what, await hears(member, async (...texts) => {
    const { success, stderr } = await new Deno.Command("python3", {
      args: ["-c", ${JSON.stringify(PYTHON_SENDER_6)}, String(port), ...texts],
    }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
  }));
}
await say("nobody");
const ways = [["ff02::7:7", { interface: "v0" }], ["ff02::7:7%v0", {}]];
if (backend === "deno") {
  const index = Deno.readTextFileSync("/sys/class/net/v0/ifindex").trim();
  ways.push(["ff02::7:7", { interface: index }]);
}
for (const [group, options] of ways) {
  const membership = await member.joinMulticast(group, options);
  await say("member of " + membership.group);
  await membership.leave();
  await say("left");
}
await using _ = await member.joinMulticast("ff02::7:7", { interface: "v1" });
await say("other interface");
await using __ = await member.joinMulticast("ff02::7:7", { interface: "v0" });
await say("both interfaces");
`,
  (backend) => [
    "nobody false",
    ...(backend === "deno" ? [1, 2, 3] : [1, 2]).flatMap(() => [
      "member of ff02::7:7 true",
      "left false",
    ]),
    "other interface false",
    "both interfaces true",
  ],
);

Deno.test({
  name: "udp node: multicastInterface of IPv6 is a name",
  ignore: Deno.build.os !== "linux",
  async fn() {
    if (!await canUnshare()) return;
    const { stdout, stderr } = await runOnCable(
      `${INSIDE("node")}
await using member = await bindUdp({ hostname: "::", backend });
const { port } = member.addr;
await using _ = await member.joinMulticast("ff02::7", { interface: "v0" });
for (const multicastInterface of ["v0", "v1"]) {
  await using socket = await bindUdp({ hostname: "::", backend, multicastInterface });
  // What goes by v1 comes back by v0, from an address that is not the same.
  await socket.send(bytes("hello"), { hostname: "ff02::7", port });
  member.timeout = ${PATIENCE};
  const { data, addr } = await member.receive();
  console.log(multicastInterface, new TextDecoder().decode(data), addr.hostname);
}
await bindUdp({ hostname: "::", backend, multicastInterface: "nope0" })
  .catch((error) => console.log(error.code));
`,
    );
    assertEquals({ stdout, stderr }, {
      stdout: "v0 hello fe80::a\nv1 hello fe80::b\nENODEV\n",
      stderr: "",
    });
  },
});
