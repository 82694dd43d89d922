/** Wrong arguments of the C library's sockets: an error before any call, and no byte of anybody's memory touched. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
} from "@std/assert";
import { Poller, select } from "../select.ts";
import * as libc from "../libc/mod.ts";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  type ControlMessage,
  controlSpace,
  create_connection,
  create_server,
  fromfd,
  MSG_DONTWAIT,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_WAITALL,
  Options,
  SHUT_RDWR,
  SO_KEEPALIVE,
  SO_TYPE,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  type Socket,
  socket,
  socketpair,
  SOL_SOCKET,
  toConn,
  toListener,
} from "../libc/mod.ts";
import { calls, messages, seldom } from "../libc/_symbols.ts";
import { pattern, text, turn, utf8 } from "./_bytes.ts";
import { openAll } from "./_libc.ts";

const isLinux = Deno.build.os === "linux";
if (isLinux) openAll();

/** What waits is told a moment later by a thread, whose wait may outlast a test: ops are not counted. */
function test(name: string, fn: () => Promise<void>): void {
  Deno.test({
    name: `libc arguments: ${name}`,
    ignore: !isLinux,
    sanitizeOps: false,
    fn,
  });
}

// deno-lint-ignore no-explicit-any
type Any = any;

/** What a call throws, at once or later. */
async function errorOf(call: () => unknown): Promise<Error | undefined> {
  try {
    await call();
  } catch (error) {
    assertInstanceOf(error, Error);
    return error;
  }
  return undefined;
}

const codeOf = (error: unknown) =>
  (error as { code?: unknown } | undefined)?.code;

/** Which functions of the C library are called meanwhile. */
async function called(run: () => Promise<void>): Promise<string[]> {
  const names: string[] = [];
  const undo: (() => void)[] = [];
  for (const group of [calls(), messages(), seldom()]) {
    const functions = group as Record<string, (...args: unknown[]) => unknown>;
    for (const [name, fn] of Object.entries(functions)) {
      // Waits of other tests.
      if (name.startsWith("epoll") || name === "poll") continue;
      functions[name] = (...args) => (names.push(name), fn(...args));
      undo.push(() => functions[name] = fn);
    }
  }
  try {
    await run();
  } finally {
    for (const back of undo) back();
  }
  return names;
}

/** Asserts that a call is refused as a mistake of the caller's, without asking the system. */
async function refused(what: string, call: () => unknown): Promise<void> {
  const names = await called(async () => {
    const error = await errorOf(call);
    assert(error !== undefined, `${what}: no error`);
    assert(
      error instanceof TypeError || error instanceof RangeError,
      `${what}: ${error}`,
    );
    // One of ours, not of whatever came across the value.
    assert(/^Invalid |^Cannot /.test(error.message), `${what}: ${error}`);
  });
  assertEquals(names, [], what);
}

// A closed socket

test("every method of a closed socket tells EBADF", async () => {
  const data = utf8("x");
  const methods: Record<string, (socket: Any) => unknown> = {
    bind: (s) => s.bind(["127.0.0.1", 0]),
    getsockname: (s) => s.getsockname(),
    getpeername: (s) => s.getpeername(),
    listen: (s) => s.listen(),
    accept: (s) => s.accept(),
    connect: (s) => s.connect(["127.0.0.1", 1]),
    shutdown: (s) => s.shutdown(SHUT_RDWR),
    recv: (s) => s.recv(1),
    recv_into: (s) => s.recv_into(data),
    recvfrom: (s) => s.recvfrom(1),
    recvfrom_into: (s) => s.recvfrom_into(data),
    recvmsg: (s) => s.recvmsg(1, 100),
    recvmmsg_into: (s) => s.recvmmsg_into(data, 1),
    send: (s) => s.send(data),
    sendall: (s) => s.sendall(data),
    sendto: (s) => s.sendto(data, ["127.0.0.1", 1]),
    sendmsg: (s) => s.sendmsg([data]),
    sendmmsg: (s) => s.sendmmsg([[data]]),
    settimeout: (s) => s.settimeout(1),
    setblocking: (s) => s.setblocking(true),
    setsockopt: (s) => s.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1),
    getsockopt: (s) => s.getsockopt(SOL_SOCKET, SO_TYPE),
    getoption: (s) => s.getoption(Options.SO_TYPE),
    setoption: (s) => s.setoption(Options.SO_KEEPALIVE, true),
    makefile: (s) => s.makefile(),
    fileno: (s) => s.fileno(),
    detach: (s) => s.detach(),
    dup: (s) => s.dup(),
    ref: (s) => s.ref(),
    unref: (s) => s.unref(),
  };
  // What is left: these tell what they always told, and closing twice does no harm.
  const harmless = new Set([
    "constructor",
    "close",
    "gettimeout",
    "getblocking",
    "connect_ex",
  ]);
  const prototypes = [
    libc.Socket.prototype,
    Object.getPrototypeOf(libc.Socket.prototype),
  ];
  for (const name of prototypes.flatMap(Object.getOwnPropertyNames)) {
    assert(name in methods || harmless.has(name), `${name} is not tested`);
  }
  const makers: (() => Socket<Any> | Promise<Socket<Any>>)[] = [
    () => socket(AF_INET),
    () => socket(AF_INET, SOCK_DGRAM),
    async () => {
      const [a, b] = await socketpair();
      b.close();
      return a;
    },
  ];
  for (const make of makers) {
    for (const end of ["close", "detach"] as const) {
      const closed = await make();
      const { family } = closed;
      if (end === "close") closed.close();
      else fromfd(closed.detach() as number, family).close();
      const names = await called(async () => {
        for (const [name, method] of Object.entries(methods)) {
          const error = await errorOf(() => method(closed));
          assertEquals(codeOf(error), "EBADF", `${name}: ${error}`);
          assertInstanceOf(error, Deno.errors.BadResource, name);
        }
        const others = [
          () => toConn(closed),
          () => toListener(closed),
          () => select([closed], [], [], 0),
          () => new Poller().register(closed, 1),
        ];
        for (const call of others) {
          assertEquals(codeOf(await errorOf(call)), "EBADF", `${call}`);
        }
        assertEquals(
          await closed.connect_ex(["127.0.0.1", 1]),
          libc.errno("EBADF"),
        );
      });
      // The number may be another's by now.
      assertEquals(names, []);
      closed.close();
      closed[Symbol.dispose]();
      await closed[Symbol.asyncDispose]();
    }
  }
});

// Integers

/** What is no integer at all, and what is out of every range. */
const NO_INTEGERS = [
  NaN,
  Infinity,
  -Infinity,
  1.5,
  2 ** 53,
  -(2 ** 53),
  2 ** 31,
  2 ** 32 + 1,
  "1",
  null,
  true,
  1n,
  {},
  [],
  Symbol.iterator,
];

test("lengths, flags and numbers that are none", async () => {
  const [a, b] = await socketpair();
  const data = new Uint8Array(8);
  const numbers: Record<string, (value: Any) => unknown> = {
    "recv bufsize": (n) => b.recv(n),
    "recv flags": (n) => b.recv(1, n),
    "recv_into nbytes": (n) => b.recv_into(data, n),
    "recv_into flags": (n) => b.recv_into(data, 0, n),
    "recvfrom bufsize": (n) => b.recvfrom(n),
    "recvfrom flags": (n) => b.recvfrom(1, n),
    "recvfrom_into nbytes": (n) => b.recvfrom_into(data, n),
    "recvfrom_into flags": (n) => b.recvfrom_into(data, 0, n),
    "recvmsg bufsize": (n) => b.recvmsg(n),
    "recvmsg ancbufsize": (n) => b.recvmsg(1, n),
    "recvmsg flags": (n) => b.recvmsg(1, 0, n),
    "recvmmsg_into bufsize": (n) => b.recvmmsg_into(data, n),
    "recvmmsg_into flags": (n) => b.recvmmsg_into(data, 1, n),
    "send flags": (n) => a.send(data, n),
    "sendall flags": (n) => a.sendall(data, n),
    "sendto flags": (n) => (a as Any).sendto(data, n, "\0x"),
    "sendmsg flags": (n) => a.sendmsg([data], [], n),
    "sendmmsg flags": (n) => a.sendmmsg([[data]], n),
    "getsockopt level": (n) => a.getsockopt(n, SO_TYPE),
    "getsockopt option": (n) => a.getsockopt(SOL_SOCKET, n),
    "getsockopt buflen": (n) => a.getsockopt(SOL_SOCKET, SO_TYPE, n),
    "setsockopt level": (n) => a.setsockopt(n, SO_KEEPALIVE, 1),
    "setsockopt option": (n) => a.setsockopt(SOL_SOCKET, n, 1),
    "getoption level": (n) => a.getoption({ ...Options.SO_TYPE, level: n }),
    "getoption name": (n) => a.getoption({ ...Options.SO_TYPE, name: n }),
    "getoption size": (n) => a.getoption({ ...Options.SO_TYPE, size: n }),
    "setoption level": (n) =>
      a.setoption({ ...Options.SO_KEEPALIVE, level: n }, true),
    "setoption name": (n) =>
      a.setoption({ ...Options.SO_KEEPALIVE, name: n }, true),
    "socket family": (n) => socket(n),
    "socket type": (n) => socket(AF_INET, n),
    "socket proto": (n) => socket(AF_INET, SOCK_STREAM, n),
    "socketpair family": (n) => socketpair(n),
    "socketpair type": (n) => socketpair(AF_UNIX, n),
    "socketpair proto": (n) => socketpair(AF_UNIX, SOCK_STREAM, n),
    "fromfd descriptor": (n) => fromfd(n),
    "fromfd family": (n) => fromfd(a.fileno(), n),
    "fromfd type": (n) => fromfd(a.fileno(), AF_UNIX, n),
    "fromfd proto": (n) => fromfd(a.fileno(), AF_UNIX, SOCK_STREAM, n),
    "listen backlog": (n) => a.listen(n),
    "controlSpace": (n) => controlSpace(n),
    "message level": (n) =>
      a.sendmsg([data], [{ level: n, type: 1, data } as Any]),
    "message type": (n) =>
      a.sendmsg([data], [{ level: 1, type: n, data } as Any]),
  };
  const options = /level|option$|name$/;
  const taken: string[] = [];
  const isRefused = async (what: string, call: () => unknown) => {
    try {
      await refused(what, call);
    } catch (error) {
      taken.push((error as Error).message.split("\n")[0]!);
    }
  };
  for (const [what, call] of Object.entries(numbers)) {
    for (const value of NO_INTEGERS) {
      await isRefused(`${what}: ${String(value)}`, () => call(value));
    }
    // Negative ones too, but where they mean something.
    if (what === "listen backlog" || /^message/.test(what)) continue;
    for (const value of [-(2 ** 31), -2, ...(options.test(what) ? [] : [-1])]) {
      await isRefused(`${what}: ${value}`, () => call(value));
    }
  }
  assertEquals(taken, []);
  // Nothing was received or sent by all that.
  b.setblocking(false);
  assertEquals(codeOf(await errorOf(() => b.recv(1))), "EAGAIN");
  a.close();
  b.close();
});

test("an integer that is none stays refused when the call is hot", async () => {
  using client = socket();
  const option: Any = { ...Options.SO_TYPE };
  for (let i = 0; i < 100_000; i++) client.getoption(option);
  for (const level of [1.5, 2 ** 32 + 1, -0.5]) {
    option.level = level;
    await refused(`level ${level}`, () => client.getoption(option));
  }
});

test("lengths beyond a buffer, and beyond what there is", async () => {
  const [a, b] = await socketpair();
  const data = new Uint8Array(8);
  for (const nbytes of [9, 100, 2 ** 31 - 1]) {
    await refused(`${nbytes}`, () => b.recv_into(data, nbytes));
    await refused(`${nbytes}`, () => b.recvfrom_into(data, nbytes));
  }
  await refused("ancbufsize", () => b.recvmsg(1, 32_769));
  await refused("bufsize", () => b.recvmsg(2 ** 26 + 1));
  await refused("buflen", () => b.getsockopt(SOL_SOCKET, SO_TYPE, 1025));
  await refused("buflen", () => b.getsockopt(SOL_SOCKET, SO_TYPE, 0));
  // The largest that may be asked for takes no such room.
  await a.send(utf8("x"));
  assertEquals(text(await b.recv(2 ** 31 - 1, MSG_PEEK)), "x");
  assertEquals(text((await b.recvfrom(2 ** 31 - 1, MSG_PEEK))[0]), "x");
  const [whole, control] = await b.recvmsg(2 ** 26, 32_768);
  assertEquals([text(whole), control], ["x", []]);
  const many = Array.from({ length: 1500 }, (): ControlMessage => ({
    level: SOL_SOCKET,
    type: libc.SCM_RIGHTS,
    data: new Uint8Array(16),
  }));
  const error = await errorOf(() => a.sendmsg([utf8("x")], many));
  assertEquals(codeOf(error), "ENOBUFS");
  a.close();
  b.close();
});

test("timeouts that are none", async () => {
  using client = socket();
  for (const value of [-1, NaN, "1", undefined, {}, 1n] as Any[]) {
    await refused(String(value), () => client.settimeout(value));
    await refused(
      String(value),
      () => select([client], [], [], value === undefined ? {} as Any : value),
    );
  }
  for (const value of [0, 1, null, undefined, "true"] as Any[]) {
    await refused(String(value), () => client.setblocking(value));
  }
  assertEquals(client.gettimeout(), null);
  for (const how of [-1, 3, NaN, 1.5, "0", null, undefined] as Any[]) {
    const error = await errorOf(() => client.shutdown(how));
    assertEquals(codeOf(error), "EINVAL", String(how));
  }
});

test("families and types that are none", async () => {
  for (const family of [0, 3, 16, 17, 2 ** 31 - 1]) {
    for (const make of [socket, socketpair, fromfdOf] as Any[]) {
      const error = await errorOf(() => make(family));
      assertEquals(codeOf(error), "EAFNOSUPPORT", `${family}`);
    }
  }
  const error = await errorOf(() => socketpair(AF_INET as Any));
  assertEquals(codeOf(error), "EOPNOTSUPP");
});

function fromfdOf(family: number): void {
  using one = socket();
  fromfd(one.fileno(), family);
}

// Addresses

test("addresses of wrong shapes", async () => {
  using four = socket(AF_INET, SOCK_DGRAM);
  using six = socket(AF_INET6, SOCK_DGRAM);
  using local = socket(AF_UNIX, SOCK_DGRAM);
  const data = utf8("x");
  const long = "x".repeat(109);
  const wrong: [Socket<Any>, Any[]][] = [
    [four, [
      null,
      undefined,
      "",
      "127.0.0.1",
      {},
      [],
      ["127.0.0.1"],
      ["127.0.0.1", -1],
      ["127.0.0.1", 65_536],
      ["127.0.0.1", 1.5],
      ["127.0.0.1", NaN],
      ["127.0.0.1", "1"],
      ["127.0.0.1", null],
      ["127.0.0.1", 1n],
      ["127.0.0.1", 1, 0],
      [null, 1],
      [1, 1],
    ]],
    [six, [
      ["::1"],
      ["::1", 2 ** 53],
      ["::1", 1, -1],
      ["::1", 1, 2 ** 20],
      ["::1", 1, 0, -1],
      ["::1", 1, 0, 2 ** 32],
      ["::1", 1, 0, 1.5],
      ["::1", 1, "0"],
      ["::1", 1, 0, 0, 0],
    ]],
    [local, [null, undefined, 1, ["127.0.0.1", 1], "a\0b", long, `\0${long}`]],
  ];
  for (const [from, addresses] of wrong) {
    for (const address of addresses) {
      const what = Array.isArray(address)
        ? `[${address.map(String)}]`
        : String(address);
      await refused(`bind ${what}`, () => from.bind(address));
      await refused(`connect ${what}`, () => from.connect(address));
      await refused(`connect_ex ${what}`, () => from.connect_ex(address));
      await refused(`sendto ${what}`, () => from.sendto(data, address));
      await refused(`sendto ${what}`, () => from.sendto(data, 0, address));
      // It may be left out there.
      if (address === undefined) continue;
      await refused(
        `sendmsg ${what}`,
        () => from.sendmsg([data], [], 0, address),
      );
      // Nor are those before it sent.
      await refused(
        `sendmmsg ${what}`,
        () => from.sendmmsg([[data], [data, address]]),
      );
    }
  }
  // Hosts of the other family are the system's to tell, and told as it does.
  const other = await errorOf(() => four.sendto(data, ["::1", 1]));
  assertEquals(codeOf(other), "EAFNOSUPPORT");
  const error = await errorOf(() => six.connect(["127.0.0.1", 1]));
  assertEquals(codeOf(error), "EAFNOSUPPORT");
});

test("bytes and control messages that are none", async () => {
  const [a, b] = await socketpair();
  const data = utf8("x");
  const noBytes: Any[] = [
    null,
    undefined,
    "x",
    1,
    {},
    [1],
    new ArrayBuffer(1),
    new DataView(new ArrayBuffer(1)),
    new Uint16Array(1),
    new Uint8ClampedArray(1),
    { length: 1, buffer: new ArrayBuffer(1) },
  ];
  for (const value of noBytes) {
    const what = String(value);
    await refused(what, () => a.send(value));
    await refused(what, () => a.sendall(value));
    await refused(what, () => a.sendto(value, "\0x"));
    await refused(what, () => b.recv_into(value));
    await refused(what, () => b.recvfrom_into(value));
    await refused(what, () => b.recvmmsg_into(value, 1));
    await refused(what, () => a.sendmsg([data, value]));
    await refused(what, () => a.sendmmsg([[data], [value]]));
    await refused(what, () =>
      a.sendmsg([data], [{
        level: 1,
        type: 1,
        data: value,
      }]));
    if (typeof value !== "number" && typeof value !== "string") {
      await refused(what, () => a.setsockopt(SOL_SOCKET, SO_KEEPALIVE, value));
    }
  }
  for (const value of [null, "x", {}, data, 5] as Any[]) {
    await refused(String(value), () => a.sendmsg(value));
    await refused(String(value), () => a.sendmmsg(value));
    await refused(String(value), () => a.sendmmsg([[data], value]));
    await refused(String(value), () => a.sendmsg([data], value));
    await refused(String(value), () => a.sendmsg([data], [value]));
  }
  b.setblocking(false);
  assertEquals(codeOf(await errorOf(() => b.recv(1))), "EAGAIN");
  a.close();
  b.close();
});

test("what is no socket, and no option", async () => {
  using client = socket();
  for (const value of [null, undefined, 1, {}, "x"] as Any[]) {
    await refused("toConn", () => toConn(value));
    await refused("toListener", () => toListener(value));
    assertInstanceOf(
      await errorOf(() => client.getoption(value)),
      TypeError,
    );
    assertInstanceOf(
      await errorOf(() => client.setoption(value, 1)),
      TypeError,
    );
    assertInstanceOf(
      await errorOf(() => create_server(value)),
      TypeError,
    );
    if (value === undefined || typeof value === "object") continue;
    await refused("options", () => create_server(["127.0.0.1", 0], value));
    await refused("options", () => create_connection(["127.0.0.1", 1], value));
  }
  await refused("useWake", () => libc.useWake("fast" as Any));
  await refused("useWake", () => libc.useWake(undefined as Any));
});

// Memory

/** A view in the middle of memory whose other bytes must stay. */
class Guarded {
  readonly all: Uint8Array<ArrayBuffer>;
  readonly view: Uint8Array<ArrayBuffer>;

  constructor(size: number, around = 64) {
    this.all = new Uint8Array(size + 2 * around).fill(0xa5);
    this.view = this.all.subarray(around, around + size);
  }

  /** Asserts that no byte around was written. */
  check(what: string): void {
    const { byteOffset, length } = this.view;
    const rest = [
      ...this.all.subarray(0, byteOffset),
      ...this.all.subarray(byteOffset + length),
    ];
    assert(rest.every((byte) => byte === 0xa5), `${what}: written outside`);
  }
}

const kinds: [string, () => Promise<[Socket<Any>, Socket<Any>]>][] = [
  ["stream", () => socketpair()],
  ["datagrams", () => socketpair(AF_UNIX, SOCK_DGRAM)],
  ["packets", () => socketpair(AF_UNIX, SOCK_SEQPACKET)],
  ["TCP", async () => {
    using server = create_server(["127.0.0.1", 0]);
    const client = socket();
    await client.connect(server.getsockname());
    return [client, (await server.accept())[0]];
  }],
  ["UDP", async () => {
    const a = socket(AF_INET, SOCK_DGRAM);
    const b = socket(AF_INET, SOCK_DGRAM);
    a.bind(["127.0.0.1", 0]);
    b.bind(["127.0.0.1", 0]);
    await a.connect(b.getsockname());
    await b.connect(a.getsockname());
    return [a, b];
  }],
];

for (const [kind, make] of kinds) {
  test(`${kind}: nothing beside a buffer is written or sent`, async () => {
    const [a, b] = await make();
    const flags = [0, MSG_PEEK, MSG_DONTWAIT, MSG_TRUNC];
    if (kind === "stream" || kind === "TCP") flags.push(MSG_WAITALL);
    for (const call of ["recv_into", "recvfrom_into"] as const) {
      for (const size of [0, 1, 7, 64]) {
        for (const nbytes of [0, 1, size]) {
          if (nbytes > size) continue;
          for (const flag of flags) {
            const most = nbytes || size;
            const from = new Guarded(100);
            from.view.set(pattern(100));
            await a.sendall(from.view);
            await select([b], [], []);
            const to = new Guarded(size);
            const got = await b[call](to.view, nbytes, flag);
            const n = typeof got === "number" ? got : got[0];
            const what = `${call} ${size} ${nbytes} ${flag}`;
            to.check(what);
            // tcp(7): with MSG_TRUNC the bytes are thrown away.
            if (flag !== MSG_TRUNC) {
              assert(n <= most, what);
              assertEquals(to.view.slice(0, n), pattern(n), what);
            }
            assert(
              to.view.subarray(Math.min(n, most)).every((byte) =>
                byte === 0xa5
              ),
              `${what}: written behind what was received`,
            );
            // Away with the rest.
            while ((await select([b], [], [], 0))[0].length > 0) {
              await b.recv(1000);
            }
          }
        }
      }
    }
    for (const size of [0, 1, 100]) {
      const from = new Guarded(size);
      from.view.set(pattern(size));
      assertEquals(await a.send(from.view), size);
      await a.sendall(from.view);
      await a.sendmsg([from.view, from.view.subarray(size), from.view]);
      const parts: number[] = [];
      while ((await select([b], [], [], 0))[0].length > 0) {
        parts.push(...await b.recv(1000));
      }
      const one = [...pattern(size)];
      assertEquals(parts, [...one, ...one, ...one, ...one]);
      from.check(`send ${size}`);
    }
    a.close();
    b.close();
  });
}

test("what is received belongs to the caller alone", async () => {
  const [a, b] = await socketpair();
  for (const size of [1, 5, 70_000]) {
    const results: Uint8Array[] = [];
    for (let i = 0; i < 4; i++) {
      await a.sendall(pattern(size, i));
      const received = [
        () => b.recv(size, MSG_WAITALL),
        async () => (await b.recvfrom(size))[0],
        async () => (await b.recvmsg(size))[0],
        () => b.recv(size),
      ][i]!;
      results.push(await received());
    }
    for (const [i, data] of results.entries()) {
      assertStrictEquals(data.buffer.byteLength, data.length);
      assertEquals(data, pattern(size, i));
    }
  }
  a.close();
  b.close();
});

test("a length that lies is not believed", async () => {
  const a = socket(AF_UNIX, SOCK_DGRAM);
  const b = socket(AF_UNIX, SOCK_DGRAM);
  b.bind("");
  await a.connect(b.getsockname());
  const lying = (guarded: Guarded) => {
    for (const name of ["length", "byteLength", "byteOffset"]) {
      Object.defineProperty(guarded.view, name, { value: 48 });
    }
    Object.defineProperty(guarded.view, "buffer", {
      value: new ArrayBuffer(0),
    });
    return guarded.view;
  };
  const check = ({ all }: Guarded, what: string) => {
    const outside = [...all.subarray(0, 64), ...all.subarray(72)];
    assert(outside.every((byte) => byte === 0xa5), `${what}: written outside`);
  };
  for (const call of ["recv_into", "recvfrom_into"] as const) {
    await a.send(new Uint8Array(48));
    const to = new Guarded(8, 64);
    await errorOf(() => b[call](lying(to)));
    check(to, call);
    b.setblocking(false);
    await errorOf(() => b.recv(100));
    b.setblocking(true);
  }
  for (const size of [8, 16, 48]) {
    for (let i = 0; i < 6; i++) await a.send(new Uint8Array(8));
    const to = new Guarded(8, 64);
    await errorOf(() => b.recvmmsg_into(lying(to), size));
    check(to, `recvmmsg_into ${size}`);
    b.setblocking(false);
    while (await errorOf(() => b.recv(100)) === undefined);
    b.setblocking(true);
  }
  const sends: Record<string, (data: Uint8Array) => Promise<unknown>> = {
    sendmmsg: (data) => a.sendmmsg([[data]]),
    send: (data) => a.send(data),
    sendall: (data) => a.sendall(data),
    sendto: (data) => a.sendto(data, b.getsockname()),
    sendmsg: (data) => a.sendmsg([data]),
  };
  for (const [name, send] of Object.entries(sends)) {
    const from = new Guarded(8, 64);
    await errorOf(() => send(lying(from)));
    b.setblocking(false);
    try {
      const sent = await b.recv(100);
      assert(sent.length <= 8, `${name}: ${sent.length} bytes of 8`);
    } catch (error) {
      // Refused, which is as good.
      assertEquals(codeOf(error), "EAGAIN");
    }
  }
  a.close();
  b.close();
});

test("shared memory is memory", async () => {
  const [a, b] = await socketpair();
  const shared = new Uint8Array(new SharedArrayBuffer(24)).subarray(8, 16);
  await a.sendall(utf8("received!"));
  assertEquals(await b.recv_into(shared as Any), 8);
  assertEquals(text(shared.slice()), "received");
  assertEquals(
    [...new Uint8Array(shared.buffer, 0, 8)],
    Array(8).fill(0),
  );
  assertEquals(text(await b.recv(10)), "!");
  assertEquals(await a.send(shared as Any), 8);
  await a.sendall(shared as Any);
  await a.sendmsg([shared]);
  assertEquals(text(await b.recv(24, MSG_WAITALL)), "received".repeat(3));
  a.close();
  b.close();
});

test("memory that can be resized is as long as it is at the call", async () => {
  const [a, b] = await socketpair();
  const resizable = new ArrayBuffer(16, { maxByteLength: 64 });
  const view = new Uint8Array(resizable);
  view.set(utf8("0123456789abcdef"));
  await a.sendall(view);
  resizable.resize(4);
  assertEquals(await a.send(view), 4);
  assertEquals(await a.sendmsg([view]), 4);
  assertEquals(text(await b.recv(100)), "0123456789abcdef01230123");
  // Smaller while the call waits: no byte goes beyond.
  resizable.resize(16);
  const waiting = b.recv_into(view);
  resizable.resize(2);
  await a.sendall(utf8("xyz"));
  assertEquals(await waiting, 2);
  assertEquals(text(view.slice()), "xy");
  assertEquals(text(await b.recv(10)), "z");
  await refused("nbytes", () => b.recv_into(view, 3));
  a.close();
  b.close();
});

test("memory that was transferred away before a call is empty", async () => {
  const [a, b] = await socketpair(AF_UNIX, SOCK_DGRAM);
  const gone = utf8("gone");
  gone.buffer.transfer();
  assertEquals(await a.send(gone), 0);
  assertEquals((await b.recv(10)).length, 0);
  await refused("nbytes", () => b.recv_into(gone, 1));
  a.close();
  b.close();
});

/** Fills a socket until it takes no more. */
async function fill(from: Socket): Promise<void> {
  from.setblocking(false);
  const chunk = new Uint8Array(from.type === SOCK_STREAM ? 65_536 : 1);
  while (await errorOf(() => from.send(chunk)) === undefined);
  from.setblocking(true);
}

test("memory that is transferred away while a call waits: nothing is sent or lost", async () => {
  for (const type of [SOCK_STREAM, SOCK_DGRAM]) {
    const sends: ((a: Socket, data: Uint8Array) => Promise<unknown>)[] = [
      (a, data) => a.send(data),
      (a, data) => a.sendall(data),
      (a, data) => a.sendmsg([data]),
      ...(type === SOCK_DGRAM
        ? [(a: Socket, data: Uint8Array) => a.sendmmsg([[data]])]
        : []),
    ];
    for (const send of sends) {
      const [a, b] = await socketpair(AF_UNIX, type);
      await fill(a);
      const data = utf8("data");
      const waiting = errorOf(() => send(a, data));
      await turn();
      data.buffer.transfer();
      const drain = async () => {
        b.setblocking(false);
        let empty = 0;
        for (;;) {
          const part = await b.recv(65_536).catch(() => undefined);
          if (part === undefined) return empty;
          if (part.length === 0) empty++;
        }
      };
      assertEquals(await drain(), 0);
      const error = await waiting;
      assertEquals(codeOf(error), "EFAULT", `${send} ${error}`);
      assertEquals(await drain(), 0, "an empty datagram");
      a.close();
      b.close();
    }
    // What has come is still there for the next call.
    for (const call of ["recv_into", "recvfrom_into"] as const) {
      const [a, b] = await socketpair(AF_UNIX, type);
      const buffer = new Uint8Array(10);
      const waiting = errorOf(() => b[call](buffer));
      buffer.buffer.transfer();
      await a.send(utf8("hello"));
      assertEquals(codeOf(await waiting), "EFAULT", call);
      assertEquals(text(await b.recv(10)), "hello");
      a.close();
      b.close();
    }
  }
  const [a, b] = await socketpair(AF_UNIX, SOCK_DGRAM);
  const buffer = new Uint8Array(10);
  const waiting = errorOf(() => b.recvmmsg_into(buffer, 5));
  buffer.buffer.transfer();
  await a.send(utf8("hello"));
  assertEquals(codeOf(await waiting), "EFAULT");
  assertEquals(text(await b.recv(10)), "hello");
  a.close();
  b.close();
});

test("many datagrams at once are written to their places alone", async () => {
  const [a, b] = await socketpair(AF_UNIX, SOCK_DGRAM);
  for (const size of [1, 3, 7, 16, 60, 64]) {
    for (const length of [size, 2 * size - 1, 2 * size, 4 * size + 1]) {
      const to = new Guarded(length);
      to.view.fill(0xa5);
      const from = new Guarded(5 * size);
      from.view.set(pattern(5 * size));
      const parts = [0, 1, 2, 3, 4].map((i) =>
        from.view.subarray(i * size, (i + 1) * size)
      );
      assertEquals(await a.sendmmsg(parts.map((part) => [part])), 5);
      const room = Math.floor(length / size);
      for (let got = 0; got < 5;) {
        const received = await b.recvmmsg_into(to.view, size);
        const what = `${size} of ${length}`;
        to.check(what);
        assert(received.length <= room, what);
        for (const [i, [n]] of received.entries()) {
          assertEquals(n, size, what);
          assertEquals(to.view.slice(i * size, i * size + n), parts[got + i]);
        }
        got += received.length;
      }
      from.check("sent");
    }
  }
  // The buffer may be a part of one that is small enough to be moved.
  const small = new Uint8Array(24).subarray(8, 20);
  await a.sendmmsg([[utf8("one")], [utf8("second")], [utf8("")]]);
  assertEquals(
    (await b.recvmmsg_into(small, 4)).map(([n]) => n),
    [3, 4, 0],
  );
  assertEquals(text(small.slice()), "one\0seco\0\0\0\0");
  a.close();
  b.close();
});

test("zero-length buffers", async () => {
  const [a, b] = await socketpair(AF_UNIX, SOCK_DGRAM);
  const none = new Uint8Array(0);
  assertEquals(await a.send(none), 0);
  await a.sendall(none);
  assertEquals(await a.sendmsg([]), 0);
  assertEquals(await a.sendmsg([none, none]), 0);
  for (let i = 0; i < 4; i++) assertEquals((await b.recv(10)).length, 0);
  // Asking for none takes a datagram all the same.
  await a.send(utf8("x"));
  assertEquals(await b.recv_into(none), 0);
  await a.send(utf8("x"));
  assertEquals((await b.recv(0)).length, 0);
  await a.send(utf8("x"));
  const [data, , flags] = await b.recvmsg(0);
  assertEquals([data.length, flags & MSG_TRUNC], [0, MSG_TRUNC]);
  await a.sendmsg([utf8("x")], [{
    level: SOL_SOCKET,
    type: libc.SCM_RIGHTS,
    data: none,
  }]).catch((error) => assertEquals(codeOf(error), "EINVAL"));
  a.close();
  b.close();
});
