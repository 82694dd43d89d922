/** What the BSD face promises, on whichever driver: one list of cases for all of them. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { once } from "node:events";
import { connect } from "node:net";
import { errorCode, isTimeoutError } from "../errors.ts";
import type * as Bsd from "../socket.ts";
import { belowOf } from "../_face.ts";
import {
  Poller,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLNVAL,
  POLLOUT,
  POLLPRI,
  select,
} from "../select.ts";
import { pattern, rejection, text, turn, utf8 } from "./_bytes.ts";
import { canListen, hasAbstract, hasUnix, tempPath } from "./_pairs.ts";
import { untilRefused, whenFree } from "./_ports.ts";

/** A driver's module, and what it cannot do. */
export interface Face {
  readonly bsd: typeof Bsd;
  readonly driver: "deno" | "libc";
  /** Whether it has Unix datagram sockets. */
  readonly hasUnixDatagrams: boolean;
  /** Whether nothing goes on behind a test's end; a thread that waits is told a moment later. */
  readonly sanitizeOps?: boolean;
}

/** An address of a family for a test, and its end. */
interface Place extends AsyncDisposable {
  readonly address: Bsd.Address;
}

/** Asserts that a call fails with a code. */
async function fails(
  call: () => unknown,
  code: string,
): Promise<unknown> {
  let error: unknown;
  try {
    await call();
  } catch (caught) {
    error = caught;
  }
  assertInstanceOf(error, Error, `expected ${code}, got no error`);
  assertEquals(
    (error as { code?: unknown }).code,
    code,
    `${error}`,
  );
  return error;
}

/** Whether an address is a path, which stays when its socket is closed. */
function isPath({ address }: Place): boolean {
  return typeof address === "string" && !address.startsWith("\0");
}

/** Waits until nobody is at the address of a socket that was closed just before. */
function untilGone(address: Bsd.Address): Promise<void> {
  return untilRefused(() =>
    typeof address === "string"
      ? Deno.connect({ transport: "unix", path: address })
      : Deno.connect({ hostname: address[0], port: address[1] })
  );
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

/** Runs every case on a driver. */
export function testBsdFace(
  { bsd, driver, hasUnixDatagrams, sanitizeOps = true }: Face,
): void {
  const {
    AF_INET,
    AF_INET6,
    AF_UNIX,
    SOCK_STREAM,
    SOCK_DGRAM,
    SOL_SOCKET,
    MSG_PEEK,
    MSG_WAITALL,
    MSG_DONTWAIT,
    SHUT_RD,
    SHUT_WR,
    SHUT_RDWR,
    socket,
  } = bsd;
  type Any = Bsd.Socket<Bsd.Address>;

  const nowhere: AsyncDisposable = {
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };

  /** The families, and an address of each that is free. */
  const families: [string, number, () => Promise<Place>][] = [
    [
      "AF_INET",
      AF_INET,
      () => Promise.resolve({ address: ["127.0.0.1", 0], ...nowhere }),
    ],
    [
      "AF_INET6",
      AF_INET6,
      () => Promise.resolve({ address: ["::1", 0, 0, 0], ...nowhere }),
    ],
    ["AF_UNIX path", AF_UNIX, async () => {
      const { path, ...rest } = await tempPath();
      return { address: path, ...rest };
    }],
    [
      "AF_UNIX abstract",
      AF_UNIX,
      () =>
        Promise.resolve({ address: `\0${crypto.randomUUID()}`, ...nowhere }),
    ],
  ];

  const isHere = (name: string) =>
    name === "AF_INET6"
      ? canListen("::1")
      : name === "AF_UNIX path"
      ? hasUnix
      : name === "AF_UNIX abstract"
      ? hasAbstract
      : true;

  /** A test for each family. */
  function each(
    name: string,
    fn: (family: number, place: Place, name: string) => Promise<void>,
    kinds: RegExp = /./,
  ): void {
    for (const [familyName, family, make] of families) {
      if (!kinds.test(familyName)) continue;
      Deno.test({
        name: `${driver} ${familyName}: ${name}`,
        ignore: !isHere(familyName),
        sanitizeOps,
        async fn() {
          await using place = await make();
          await fn(family, place, familyName);
        },
      });
    }
  }

  function test(name: string, fn: () => Promise<void>): void {
    Deno.test({ name: `${driver}: ${name}`, sanitizeOps, fn });
  }

  /** Datagram sockets of a family. */
  interface Datagrams {
    readonly family: number;
    readonly isUnix: boolean;
    /** A socket with an address that others can send to. */
    bound(): Any;
    /** A socket without an address of its own so far. */
    unbound(): Any;
  }

  /** A test of datagram sockets for each family that has them. */
  function eachDatagram(
    name: string,
    fn: (sockets: Datagrams) => Promise<void>,
  ): void {
    each(
      `datagrams: ${name}`,
      async (family, { address }) => {
        const isUnix = family === AF_UNIX;
        let made = 0;
        const unbound = () => socket(family, SOCK_DGRAM) as Any;
        const bound = () => {
          const socket = unbound();
          socket.bind(isUnix ? `${address}-${made++}` : address);
          return socket;
        };
        await fn({ family, isUnix, bound, unbound });
      },
      hasUnixDatagrams ? /./ : /AF_INET/,
    );
  }

  /** A socket that listens. */
  function serving(family: number, { address }: Place): Any {
    const server = socket(family, SOCK_STREAM) as Any;
    server.bind(address);
    server.listen();
    return server;
  }

  /** Two connected stream sockets, the client first. */
  async function connected(family: number, place: Place) {
    using server = serving(family, place);
    const client = socket(family, SOCK_STREAM) as Any;
    const [[conn, peer]] = await Promise.all([
      server.accept(),
      client.connect(server.getsockname()),
    ]);
    return {
      client,
      conn,
      peer,
      [Symbol.dispose]() {
        client.close();
        conn.close();
      },
    };
  }

  async function receiveAll(from: Any): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    for (let data; (data = await from.recv(65536)).length > 0;) {
      parts.push(data);
    }
    return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
  }

  // Making and naming

  test("a socket knows its family, type, protocol and driver", async () => {
    using stream = socket();
    assertEquals(
      [stream.family, stream.type, stream.proto, stream.driver],
      [AF_INET, SOCK_STREAM, 0, driver],
    );
    assertEquals(stream.getsockname(), ["0.0.0.0", 0]);
    using six = socket(AF_INET6, SOCK_DGRAM);
    assertEquals(six.getsockname(), ["::", 0, 0, 0]);
    using local = socket(AF_UNIX, SOCK_STREAM);
    assertEquals(local.getsockname(), "");
    await fails(() => stream.getpeername(), "ENOTCONN");
    await fails(() => six.getpeername(), "ENOTCONN");
    await fails(() => local.getpeername(), "ENOTCONN");
  });

  test("families, types and protocols that are none", async () => {
    await fails(() => socket(200 as typeof AF_INET), "EAFNOSUPPORT");
    await fails(() => socket(AF_INET, 77), "EINVAL");
    await fails(
      () => socket(AF_INET, SOCK_STREAM, bsd.IPPROTO_UDP),
      "EPROTONOSUPPORT",
    );
    await fails(
      () => socket(AF_INET, SOCK_DGRAM, bsd.IPPROTO_TCP),
      "EPROTONOSUPPORT",
    );
    assertThrows(() => socket(-1 as typeof AF_INET), RangeError);
    assertThrows(() => socket(AF_INET, "1" as never), TypeError);
    using tcp = socket(AF_INET, SOCK_STREAM, bsd.IPPROTO_TCP);
    assertEquals(tcp.getsockopt(SOL_SOCKET, bsd.SO_PROTOCOL), bsd.IPPROTO_TCP);
    using udp = socket(AF_INET, SOCK_DGRAM, bsd.IPPROTO_UDP);
    assertEquals(udp.getsockopt(SOL_SOCKET, bsd.SO_TYPE), SOCK_DGRAM);
    assertEquals(udp.getsockopt(SOL_SOCKET, bsd.SO_DOMAIN), AF_INET);
  });

  each(
    "bind() gives the address that getsockname() tells",
    async (family, place) => {
      using server = socket(family, SOCK_STREAM) as Any;
      server.bind(place.address);
      const name = server.getsockname();
      if (family === AF_UNIX) assertEquals(name, place.address);
      else {
        assertEquals(name[0], (place.address as Bsd.InetAddress)[0]);
        assert((name[1] as unknown as number) > 0);
      }
      const other = family === AF_UNIX ? `${place.address}2` : place.address;
      await fails(() => server.bind(other), "EINVAL");
    },
  );

  each("an address that is taken", async (family, place) => {
    using first = serving(family, place);
    using second = socket(family, SOCK_STREAM) as Any;
    await fails(() => second.bind(first.getsockname()), "EADDRINUSE");
  });

  test("addresses of the wrong shape, before any call", () => {
    using four = socket(AF_INET);
    using six = socket(AF_INET6);
    using local = socket(AF_UNIX);
    const bad: [Any, unknown, new () => Error][] = [
      [four as Any, "127.0.0.1", TypeError],
      [four as Any, ["127.0.0.1"], TypeError],
      [four as Any, ["127.0.0.1", 1, 0, 0], TypeError],
      [four as Any, ["127.0.0.1", "80"], TypeError],
      [four as Any, ["127.0.0.1", 65536], RangeError],
      [four as Any, [5, 80], TypeError],
      [six as Any, ["::1", 1, 0, 0, 0], TypeError],
      [six as Any, ["::1", 1, -1], RangeError],
      [local as Any, ["127.0.0.1", 80], TypeError],
      [local as Any, null, TypeError],
    ];
    // Elsewhere the system makes a name up (autobind).
    if (driver === "deno") bad.push([local as Any, "", TypeError]);
    for (const [from, address, Class] of bad) {
      assertThrows(() => from.bind(address as never), Class);
    }
    return Promise.resolve();
  });

  test("connect() and sendto() check addresses, too", async () => {
    using stream = socket(AF_INET);
    using datagrams = socket(AF_INET, SOCK_DGRAM);
    await assertRejects(() => stream.connect("x" as never), TypeError);
    await assertRejects(() => stream.connect(["x", -1]), RangeError);
    await assertRejects(
      () => datagrams.sendto(utf8("x"), ["127.0.0.1"] as never),
      TypeError,
    );
    await assertRejects(() => stream.connect_ex([] as never), TypeError);
  });

  test("an address that is not this machine's", async () => {
    using server = socket(AF_INET);
    await fails(() => server.bind(["192.0.2.77", 0]), "EADDRNOTAVAIL");
  });

  test('"" and "localhost"', async () => {
    using server = socket(AF_INET);
    server.bind(["", 0]);
    server.listen();
    assertEquals(server.getsockname()[0], "0.0.0.0");
    using client = socket(AF_INET);
    await client.connect(["localhost", server.getsockname()[1]]);
    assertEquals(client.getpeername()[0], "127.0.0.1");
  });

  // Calls in the wrong state

  each("calls in the wrong state", async (family, place) => {
    using server = socket(family, SOCK_STREAM) as Any;
    await fails(() => server.accept(), "EINVAL");
    server.bind(place.address);
    await fails(() => server.accept(), "EINVAL");
    using idle = socket(family, SOCK_STREAM) as Any;
    // Linux has codes of its own for these; POSIX has this one.
    const isLinux = driver === "libc";
    const recv = isLinux && family === AF_UNIX ? "EINVAL" : "ENOTCONN";
    const send = isLinux && family !== AF_UNIX ? "EPIPE" : "ENOTCONN";
    await fails(() => idle.recv(1), recv);
    await fails(() => idle.send(utf8("x")), send);
    await fails(() => idle.sendall(utf8("x")), send);
    // Linux has nothing against it on Unix sockets.
    if (!isLinux || family !== AF_UNIX) {
      await fails(() => idle.shutdown(SHUT_WR), "ENOTCONN");
    }
  });

  each("a second connect", async (family, place) => {
    using server = serving(family, place);
    using client = socket(family, SOCK_STREAM) as Any;
    await client.connect(server.getsockname());
    await fails(() => client.connect(server.getsockname()), "EISCONN");
    assertEquals(
      await client.connect_ex(server.getsockname()),
      bsd.errno("EISCONN"),
    );
    await fails(() => client.listen(), "EINVAL");
    // Linux lets a Unix socket have its name later.
    if (driver === "deno" || family !== AF_UNIX) {
      await fails(() => client.bind(place.address), "EINVAL");
    }
  });

  each("everything after close() is EBADF", async (family) => {
    const closed = socket(family, SOCK_STREAM) as Any;
    closed.close();
    closed.close();
    const data = utf8("x");
    const calls: (() => unknown)[] = [
      () => closed.bind(["127.0.0.1", 0]),
      () => closed.listen(),
      () => closed.accept(),
      () => closed.connect(["127.0.0.1", 1]),
      () => closed.recv(1),
      () => closed.recv_into(data),
      () => closed.recvfrom(1),
      () => closed.recvfrom_into(data),
      () => closed.send(data),
      () => closed.sendall(data),
      () => closed.sendto(data, ["127.0.0.1", 1]),
      () => closed.shutdown(SHUT_RDWR),
      () => closed.getsockname(),
      () => closed.getpeername(),
      () => closed.getsockopt(SOL_SOCKET, bsd.SO_TYPE),
      () => closed.setsockopt(SOL_SOCKET, bsd.SO_KEEPALIVE, 1),
      () => closed.fileno(),
      () => closed.detach(),
      () => closed.makefile(),
      () => select([closed], [], [], 0),
    ];
    for (const call of calls) await fails(call, "EBADF");
    assertEquals(
      await closed.connect_ex(family === AF_UNIX ? "/x" : ["127.0.0.1", 1]),
      bsd.errno("EBADF"),
    );
  });

  test("datagram sockets neither listen nor accept", async () => {
    using udp = socket(AF_INET, SOCK_DGRAM);
    await fails(() => udp.listen(), "EOPNOTSUPP");
    await fails(() => udp.accept(), "EOPNOTSUPP");
    await fails(() => udp.send(utf8("x")), "EDESTADDRREQ");
    await fails(() => udp.shutdown(SHUT_WR), "ENOTCONN");
  });

  test("a block's end closes", async () => {
    let left: Any;
    {
      using server = socket(AF_INET);
      left = server as Any;
    }
    await fails(() => left.getsockname(), "EBADF");
  });

  // Streams

  each("one exchange, with names on both ends", async (family, place, name) => {
    using ends = await connected(family, place);
    const { client, conn, peer } = ends;
    if (name.startsWith("AF_INET")) assertEquals(peer, client.getsockname());
    else assertEquals(peer, "");
    assertEquals(conn.getsockname(), client.getpeername());
    assertEquals(conn.getpeername(), client.getsockname());
    await client.sendall(utf8("ping"));
    assertEquals(text(await conn.recv(1024)), "ping");
    assertEquals(await conn.send(utf8("pong")), 4);
    assertEquals(text(await client.recv(1024)), "pong");
  });

  each("recv() takes no more than it is asked for", async (family, place) => {
    using ends = await connected(family, place);
    const { client, conn } = ends;
    await client.sendall(utf8("abcdef"));
    assertEquals(text(await conn.recv(4)), "abcd");
    // Not a byte, and no memory for none.
    assertEquals((await conn.recv(0)).buffer.byteLength, 0);
    assertEquals(text(await conn.recv(1000)), "ef");
  });

  each(
    "the end of the stream is empty, again and again",
    async (family, place) => {
      using ends = await connected(family, place);
      const { client, conn } = ends;
      await client.sendall(utf8("last"));
      client.close();
      assertEquals(text(await conn.recv(10)), "last");
      assertEquals((await conn.recv(10)).length, 0);
      assertEquals((await conn.recv(10)).length, 0);
      assertEquals(await conn.recv_into(new Uint8Array(5)), 0);
    },
  );

  each(
    "recv_into() and recvfrom_into() fill a buffer",
    async (family, place) => {
      using ends = await connected(family, place);
      const { client, conn } = ends;
      await client.sendall(utf8("0123456789"));
      const buffer = new Uint8Array(8);
      assertEquals(await conn.recv_into(buffer, 3), 3);
      assertEquals(text(buffer.subarray(0, 3)), "012");
      assertEquals(await conn.recv_into(buffer), 7);
      assertEquals(text(buffer.subarray(0, 7)), "3456789");
      await client.sendall(utf8("x"));
      assertEquals((await conn.recvfrom_into(buffer))[0], 1);
      await assertRejects(() => conn.recv_into(buffer, 9), RangeError);
      await assertRejects(() => conn.recv_into("x" as never), TypeError);
    },
  );

  each(
    "sendall() sends megabytes whole, both ways at once",
    async (family, place) => {
      using ends = await connected(family, place);
      const { client, conn } = ends;
      const [there, back] = [pattern(3_000_000, 1), pattern(3_000_000, 2)];
      const [, , got, answer] = await Promise.all([
        client.sendall(there).then(() => client.shutdown(SHUT_WR)),
        conn.sendall(back).then(() => conn.shutdown(SHUT_WR)),
        receiveAll(conn),
        receiveAll(client),
      ]);
      assertEquals(got, there);
      assertEquals(answer, back);
    },
  );

  each("half-close: the answer still comes", async (family, place) => {
    using ends = await connected(family, place);
    const { client, conn } = ends;
    await client.sendall(utf8("question"));
    await client.shutdown(SHUT_WR);
    assertEquals(text(await receiveAll(conn)), "question");
    await conn.sendall(utf8("answer"));
    await conn.shutdown(SHUT_WR);
    assertEquals(text(await receiveAll(client)), "answer");
    await fails(() => client.sendall(utf8("more")), "EPIPE");
    await fails(() => client.shutdown(7), "EINVAL");
  });

  each("shutdown(SHUT_RD) ends receiving only", async (family, place) => {
    using ends = await connected(family, place);
    const { client, conn } = ends;
    await conn.shutdown(SHUT_RD);
    assertEquals((await conn.recv(10)).length, 0);
    await conn.sendall(utf8("still"));
    assertEquals(text(await client.recv(10)), "still");
    await client.shutdown(SHUT_RDWR);
    assertEquals((await client.recv(10)).length, 0);
  });

  each("MSG_PEEK sees all that has come", async (family, place) => {
    using both = await connected(family, place);
    const { client, conn } = both;
    let whole = "";
    for (const word of ["GET ", "/ HTTP/1.0\r\n", "\r\n", "x".repeat(9000)]) {
      await client.sendall(utf8(word));
      whole += word;
      // The idiom: look until the whole is there.
      const look = async () => {
        for (;;) {
          const seen = text(await conn.recv(10_000, MSG_PEEK));
          if (seen === whole) return;
          assert(whole.startsWith(seen), seen);
        }
      };
      await inTime(look());
    }
    assertEquals(text(await conn.recv(4)), "GET ");
    client.close();
    // The end comes after what is before it, however far somebody has looked.
    assertEquals(text(await conn.recv(3, MSG_PEEK)), "/ H");
    assertEquals(text(await receiveAll(conn)), whole.slice(4));
    assertEquals((await conn.recv(1, MSG_PEEK)).length, 0);
  });

  each("MSG_PEEK leaves the bytes where they are", async (family, place) => {
    using ends = await connected(family, place);
    const { client, conn } = ends;
    await client.sendall(utf8("peek"));
    assertEquals(text(await conn.recv(2, MSG_PEEK)), "pe");
    assertEquals(text(await conn.recv(100, MSG_PEEK)), "peek");
    assertEquals(text(await conn.recv(100)), "peek");
    client.close();
    assertEquals((await conn.recv(1, MSG_PEEK)).length, 0);
  });

  each("MSG_WAITALL waits for all, or for the end", async (family, place) => {
    using ends = await connected(family, place);
    const { client, conn } = ends;
    const waiting = conn.recv(6, MSG_WAITALL);
    await client.sendall(utf8("abc"));
    await turn();
    await client.sendall(utf8("defgh"));
    assertEquals(text(await waiting), "abcdef");
    const rest = conn.recv(100, MSG_WAITALL);
    client.close();
    assertEquals(text(await rest), "gh");
  });

  each("bad arguments of transfers", async (family, place) => {
    using ends = await connected(family, place);
    const { conn } = ends;
    await assertRejects(() => conn.recv(-1), RangeError);
    await assertRejects(() => conn.recv(1.5), RangeError);
    await assertRejects(() => conn.recv("1" as never), TypeError);
    await assertRejects(() => conn.recv(1, -1), RangeError);
    await assertRejects(() => conn.send("text" as never), TypeError);
    await assertRejects(() => conn.sendall([1] as never), TypeError);
  }, /AF_INET$/);

  each("close() wakes who waits", async (family, place) => {
    using ends = await connected(family, place);
    const { conn } = ends;
    const waiting = rejection(conn.recv(1));
    conn.close();
    assertInstanceOf(await waiting, Error);
    using server = socket(family, SOCK_STREAM) as Any;
    if (family === AF_UNIX) server.bind(`\0${crypto.randomUUID()}`);
    else server.bind(place.address);
    server.listen();
    const accepting = rejection(server.accept());
    server.close();
    assertInstanceOf(await accepting, Error);
  });

  each("nobody listens there", async (family, place) => {
    using server = serving(family, place);
    const address = server.getsockname();
    server.close();
    await untilGone(address);
    // A path stays, and nobody is behind it.
    using client = socket(family, SOCK_STREAM) as Any;
    const error = await rejection(client.connect(address));
    assertEquals(errorCode(error), "ECONNREFUSED");
    assertEquals(
      await client.connect_ex(address),
      bsd.errno("ECONNREFUSED"),
    );
  });

  test("a path stays after close(), and is never taken over", async () => {
    await using place = await tempPath();
    const server = socket(AF_UNIX);
    server.bind(place.path);
    server.listen();
    server.close();
    await turn();
    assert((await Deno.lstat(place.path)).isSocket);
    using next = socket(AF_UNIX);
    await fails(() => next.bind(place.path), "EADDRINUSE");
    await Deno.remove(place.path);
    next.bind(place.path);
    using client = socket(AF_UNIX);
    await fails(() => client.connect(`${place.path}-not`), "ENOENT");
  });

  test("a reset is told", async () => {
    await using place: Place = { address: ["127.0.0.1", 0], ...nowhere };
    using server = serving(AF_INET, place);
    const [, port] = server.getsockname();
    const peer = connect(Number(port), "127.0.0.1");
    const [[conn]] = await Promise.all([
      server.accept(),
      once(peer, "connect"),
    ]);
    peer.resetAndDestroy();
    await fails(() => conn.recv(1), "ECONNRESET");
    // The system says it once.
    if (driver === "libc") assertEquals((await conn.recv(1)).length, 0);
    else await fails(() => conn.recv(1), "ECONNRESET");
    conn.close();
  });

  test("the backlog is what listen() says, and 100 clients are served", async () => {
    using server = socket(AF_INET);
    server.bind(["127.0.0.1", 0]);
    server.listen(100);
    const clients = await Promise.all(
      Array.from({ length: 100 }, async () => {
        const client = socket(AF_INET);
        await client.connect(server.getsockname());
        return client;
      }),
    );
    for (let i = 0; i < 100; i++) (await server.accept())[0].close();
    for (const client of clients) {
      assertEquals((await client.recv(1)).length, 0);
      client.close();
    }
  });

  // Timeouts and non-blocking calls

  test("settimeout(), setblocking() and what they tell", () => {
    using stream = socket();
    assertEquals([stream.gettimeout(), stream.getblocking()], [null, true]);
    stream.settimeout(250);
    assertEquals([stream.gettimeout(), stream.getblocking()], [250, true]);
    stream.setblocking(false);
    assertEquals([stream.gettimeout(), stream.getblocking()], [0, false]);
    stream.setblocking(true);
    assertEquals(stream.gettimeout(), null);
    stream.settimeout(0);
    assertEquals(stream.getblocking(), false);
    for (const bad of [-1, NaN]) {
      assertThrows(() => stream.settimeout(bad), RangeError);
    }
    assertThrows(() => stream.settimeout("1" as never), TypeError);
    assertThrows(() => stream.settimeout(undefined as never), Error);
    assertThrows(() => stream.setblocking(1 as never), TypeError);
    assertEquals(stream.gettimeout(), 0);
    return Promise.resolve();
  });

  each(
    "a timed-out recv() says so and loses nothing",
    async (family, place) => {
      using ends = await connected(family, place);
      const { client, conn } = ends;
      conn.settimeout(10);
      const error = await fails(() => conn.recv(10), "ETIMEDOUT");
      assert(isTimeoutError(error));
      assert(/\b10 ms/.test((error as Error).message), String(error));
      await client.sendall(utf8("late"));
      conn.settimeout(null);
      assertEquals(text(await conn.recv(10)), "late");
    },
  );

  each(
    "who waits beside others has a time of its own",
    async (family, place) => {
      using ends = await connected(family, place);
      const { client, conn } = ends;
      conn.settimeout(30);
      const waiting = [conn.recv(10), conn.recv(10), conn.recv(10)];
      const all = Promise.allSettled(waiting);
      await client.sendall(utf8("one"));
      const [first, ...others] = await all;
      assertEquals(first, { status: "fulfilled", value: utf8("one") });
      for (const other of others) {
        assert(other.status === "rejected" && isTimeoutError(other.reason));
      }
      conn.setblocking(false);
      await client.sendall(utf8("two"));
      await select([conn], [], []);
      const [second, third] = await Promise.allSettled([
        conn.recv(10),
        conn.recv(10),
      ]);
      assertEquals(second, { status: "fulfilled", value: utf8("two") });
      assert(third.status === "rejected");
      assertEquals(errorCode(third.reason), "EAGAIN");
    },
  );

  each("a timed-out accept()", async (family, place) => {
    using server = serving(family, place);
    server.settimeout(10);
    assert(isTimeoutError(await fails(() => server.accept(), "ETIMEDOUT")));
    server.settimeout(60_000);
    using client = socket(family, SOCK_STREAM) as Any;
    const [[conn]] = await Promise.all([
      server.accept(),
      client.connect(server.getsockname()),
    ]);
    // What was accepted is a blocking socket.
    assertEquals(conn.gettimeout(), null);
    conn.close();
  });

  each("a non-blocking recv() never waits", async (family, place) => {
    using ends = await connected(family, place);
    const { client, conn } = ends;
    conn.setblocking(false);
    const error = await fails(() => conn.recv(10), "EAGAIN");
    assertInstanceOf(error, Deno.errors.WouldBlock);
    await client.sendall(utf8("now"));
    await select([conn], [], []);
    assertEquals(text(await conn.recv(10)), "now");
    await fails(() => conn.recv(10), "EAGAIN");
    conn.setblocking(true);
    await fails(() => conn.recv(10, MSG_DONTWAIT), "EAGAIN");
    client.close();
    await select([conn], [], []);
    assertEquals((await conn.recv(10, MSG_DONTWAIT)).length, 0);
  });

  each("a non-blocking accept() never waits", async (family, place) => {
    using server = serving(family, place);
    server.setblocking(false);
    await fails(() => server.accept(), "EAGAIN");
    using client = socket(family, SOCK_STREAM) as Any;
    const connecting = client.connect(server.getsockname());
    await select([server], [], []);
    const [conn] = await server.accept();
    await connecting;
    await fails(() => server.accept(), "EAGAIN");
    conn.close();
  });

  each(
    "a non-blocking send() is refused while there is no room",
    async (family, place) => {
      using ends = await connected(family, place);
      const { client, conn } = ends;
      client.setblocking(false);
      const chunk = pattern(1 << 20);
      let sent = 0;
      let refused: unknown;
      while (refused === undefined) {
        await client.send(chunk.subarray(sent % chunk.length)).then(
          (n) => sent += n,
          (error) => refused = error,
        );
        assert(sent < 2 ** 28, "nobody reads, and all of it was taken");
      }
      assertEquals(errorCode(refused), "EAGAIN");
      assertEquals((await select([], [client], [], 0))[1], []);
      const reading = (async () => {
        let got = 0;
        while (got < sent) {
          const data = await conn.recv(1 << 20);
          for (let i = 0; i < data.length; i += 4099) {
            if (data[i] !== chunk[(got + i) % chunk.length]) {
              throw new Error(`wrong byte at ${got + i}`);
            }
          }
          got += data.length;
        }
        return got;
      })();
      assertEquals((await select([], [client], []))[1], [client]);
      assertEquals(await reading, sent);
    },
  );

  each(
    "a non-blocking connect(): EINPROGRESS, writable, SO_ERROR",
    async (family, place) => {
      using server = serving(family, place);
      using client = socket(family, SOCK_STREAM) as Any;
      client.setblocking(false);
      const number = await client.connect_ex(server.getsockname());
      assert(
        number === 0 || number === bsd.errno("EINPROGRESS"),
        String(number),
      );
      assertEquals((await select([], [client], []))[1], [client]);
      assertEquals(client.getsockopt(SOL_SOCKET, bsd.SO_ERROR), 0);
      const [conn] = await server.accept();
      await client.sendall(utf8("x"));
      assertEquals(text(await conn.recv(1)), "x");
      conn.close();
    },
  );

  test("a non-blocking connect() that is refused", async () => {
    const server = socket(AF_INET);
    server.bind(["127.0.0.1", 0]);
    server.listen();
    const address = server.getsockname();
    server.close();
    await untilGone(address);
    using client = socket(AF_INET);
    client.setblocking(false);
    const first = await client.connect_ex(address);
    if (first === bsd.errno("EINPROGRESS")) {
      await select([], [client], []);
      assertEquals(
        client.getsockopt(SOL_SOCKET, bsd.SO_ERROR),
        bsd.errno("ECONNREFUSED"),
      );
      assertEquals(client.getsockopt(SOL_SOCKET, bsd.SO_ERROR), 0);
    } else assertEquals(first, bsd.errno("ECONNREFUSED"));
  });

  each("what send() has taken arrives after close()", async (family, place) => {
    for (const ms of [20, 0]) {
      const { client, conn } = await connected(family, place);
      client.settimeout(ms);
      const data = pattern(2 ** 20);
      let taken = 0;
      const fill = async () => {
        for (;;) taken += await client.send(data);
      };
      await fails(fill, ms === 0 ? "EAGAIN" : "ETIMEDOUT");
      assert(taken > 0);
      client.close();
      await fails(() => client.send(data), "EBADF");
      assertEquals((await receiveAll(conn)).length, taken);
      conn.close();
      // The path stays, as in C.
      if (isPath(place)) Deno.removeSync(place.address as string);
      // An abstract name is free when the listener is gone.
      await turn();
    }
  });

  test("what select() calls writable takes a message without a wait", async () => {
    const place = { address: ["127.0.0.1", 0] as const, ...nowhere };
    using both = await connected(AF_INET, place);
    const { client, conn } = both;
    let sent = 0;
    while ((await select([], [client], [], 50))[1].length > 0) {
      sent += await inTime(client.send(new Uint8Array(65536)));
    }
    // Nothing is lost: the peer reads, and there is room again.
    let got = 0;
    while (got < sent) got += (await conn.recv(65536)).length;
    assertEquals(await select([], [client], []), [[], [client], []]);
  });

  test("a connect that did not wait: its error is told once", async () => {
    using gone = socket();
    gone.bind(["127.0.0.1", 0]);
    const address = gone.getsockname();
    await gone[Symbol.asyncDispose]();
    await untilGone(address);
    using client = socket();
    client.setblocking(false);
    const first = await client.connect_ex(address);
    if (first === bsd.errno("EINPROGRESS")) {
      await select([], [client], []);
      assertEquals(
        await client.connect_ex(address),
        bsd.errno("ECONNREFUSED"),
      );
    } else assertEquals(first, bsd.errno("ECONNREFUSED"));
  });

  test("calls during a connect that does not wait", async () => {
    using server = socket();
    server.bind(["127.0.0.1", 0]);
    server.listen();
    using client = socket();
    const connecting = client.connect(server.getsockname());
    await fails(() => client.bind(["127.0.0.1", 0]), "EINVAL");
    await fails(() => client.listen(), "EINVAL");
    // On loopback the system is done by now.
    if (driver === "deno") {
      await fails(() => client.connect(server.getsockname()), "EALREADY");
    }
    // A call that may wait does: both are on their way before the connection is.
    const sending = client.sendall(utf8("early"));
    const receiving = client.recv(10);
    await connecting;
    const [conn] = await server.accept();
    await sending;
    assertEquals(text(await conn.recv(10)), "early");
    await conn.sendall(utf8("answer"));
    assertEquals(text(await receiving), "answer");
    conn.close();
  });

  test("nobody listens on port 0", async () => {
    using client = socket();
    assertEquals(
      await client.connect_ex(["127.0.0.1", 0]),
      bsd.errno("ECONNREFUSED"),
    );
  });

  test("hosts that are none are told as getaddrinfo() tells them", async () => {
    for (const type of [SOCK_STREAM, SOCK_DGRAM]) {
      for (const host of ["no such host", "127.0.0.1 "]) {
        using client = socket(AF_INET, type);
        await fails(() => client.connect([host, 9]), "EAI_NONAME");
        await fails(() => client.bind([host, 0]), "EAI_NONAME");
      }
    }
  });

  each(
    "an address is free when its socket is disposed of",
    async (family, place) => {
      const server = serving(family, place);
      const address = server.getsockname();
      // Something has waited at it.
      await select([server], [], [], 1);
      server.setblocking(false);
      await fails(() => server.accept(), "EAGAIN");
      await server[Symbol.asyncDispose]();
      if (isPath(place)) Deno.removeSync(address as string);
      await using again = socket(family, SOCK_STREAM) as Any;
      await whenFree(() => again.bind(address));
    },
  );

  // Datagrams

  eachDatagram("there and back, with their senders", async (sockets) => {
    using server = sockets.bound();
    using client = sockets.isUnix ? sockets.bound() : sockets.unbound();
    assertEquals(await client.sendto(utf8("ping"), server.getsockname()), 4);
    const [data, from] = await server.recvfrom(100);
    assertEquals(text(data), "ping");
    const own = client.getsockname();
    if (sockets.isUnix) assertEquals(from, own);
    else assertEquals(from[1], own[1]);
    await server.sendto(utf8("pong"), 0, from);
    const buffer = new Uint8Array(10);
    const [n, sender] = await client.recvfrom_into(buffer);
    assertEquals([n, text(buffer.subarray(0, n))], [4, "pong"]);
    assertEquals(sender, server.getsockname());
  });

  eachDatagram(
    "cut off, empty ones arrive, MSG_PEEK takes none",
    async ({ bound, unbound }) => {
      using server = bound();
      using client = unbound();
      await client.connect(server.getsockname());
      assertEquals(client.getpeername(), server.getsockname());
      await client.send(utf8("0123456789"));
      await client.send(new Uint8Array(0));
      await client.sendall(utf8("end"));
      assertEquals(text(await server.recv(4, MSG_PEEK)), "0123");
      assertEquals(
        text((await server.recvfrom(100, MSG_PEEK))[0]),
        "0123456789",
      );
      assertEquals(text(await server.recv(4)), "0123");
      assertEquals((await server.recv(100)).length, 0);
      assertEquals(text(await server.recv(100)), "end");
    },
  );

  each(
    "a connected datagram socket hears its peer only",
    async (family, place) => {
      using server = socket(family, SOCK_DGRAM) as Any;
      server.bind(place.address);
      using stranger = socket(family, SOCK_DGRAM) as Any;
      stranger.bind(place.address);
      using client = socket(family, SOCK_DGRAM) as Any;
      client.bind(place.address);
      await client.connect(server.getsockname());
      await stranger.sendto(utf8("psst"), client.getsockname());
      await server.sendto(utf8("hello"), client.getsockname());
      assertEquals(text(await client.recv(100)), "hello");
    },
    /AF_INET/,
  );

  eachDatagram("shut down, one direction or both", async (sockets) => {
    using server = sockets.bound();
    using client = sockets.bound();
    if (driver === "deno" || !sockets.isUnix) {
      await fails(() => client.shutdown(SHUT_WR), "ENOTCONN");
    }
    await client.connect(server.getsockname());
    await client.shutdown(SHUT_WR);
    await fails(() => client.send(utf8("x")), "EPIPE");
    await server.sendto(utf8("still heard"), client.getsockname());
    assertEquals(text(await client.recv(100)), "still heard");
    await client.shutdown(SHUT_RD);
    assertEquals((await client.recv(100)).length, 0);
  });

  eachDatagram("timeouts and non-blocking calls", async (sockets) => {
    using server = sockets.bound();
    server.settimeout(10);
    assert(isTimeoutError(await fails(() => server.recvfrom(10), "ETIMEDOUT")));
    server.setblocking(false);
    await fails(() => server.recv(10), "EAGAIN");
    using client = sockets.unbound();
    await client.sendto(utf8("x"), server.getsockname());
    assertEquals(await select([server], [], []), [[server], [], []]);
    assertEquals(await select([server], [server], [], 0), [
      [server],
      [server],
      [],
    ]);
    assertEquals(text(await server.recv(10)), "x");
    await fails(() => server.recv(10), "EAGAIN");
  });

  eachDatagram("calls in the wrong state", async (sockets) => {
    using bound = sockets.bound();
    const other = sockets.isUnix
      ? `${bound.getsockname()}-other`
      : bound.getsockname();
    await fails(() => bound.bind(other), "EINVAL");
    await fails(() => bound.listen(), "EOPNOTSUPP");
    await fails(() => bound.accept(), "EOPNOTSUPP");
    await fails(() => bound.getpeername(), "ENOTCONN");
    await fails(
      () => bound.send(utf8("to whom?")),
      sockets.isUnix ? "ENOTCONN" : "EDESTADDRREQ",
    );
    bound.close();
    for (
      const call of [
        () => bound.recv(1),
        () => bound.recvfrom(1),
        () => bound.sendto(utf8("x"), ["127.0.0.1", 9]),
        () => bound.connect(["127.0.0.1", 9]),
        () => bound.getsockname(),
      ]
    ) await fails(call, "EBADF");
  });

  eachDatagram("an address is free after disposal", async (sockets) => {
    const socket = sockets.bound();
    const address = socket.getsockname();
    socket.settimeout(1);
    await fails(() => socket.recv(1), "ETIMEDOUT");
    await socket[Symbol.asyncDispose]();
    if (sockets.isUnix && !`${address}`.startsWith("\0")) {
      Deno.removeSync(address as string);
    }
    using again = sockets.unbound();
    await whenFree(() => again.bind(address));
  });

  eachDatagram("close() wakes a receive", async ({ bound }) => {
    using socket = bound();
    const waiting = rejection(socket.recvfrom(10));
    await turn();
    socket.close();
    assert(["EINTR", "EBADF"].includes(errorCode(await waiting) ?? ""));
  });

  test("a datagram that is too large", async () => {
    using client = socket(AF_INET, SOCK_DGRAM);
    await fails(
      () => client.sendto(new Uint8Array(70_000), ["127.0.0.1", 9]),
      "EMSGSIZE",
    );
    await fails(() => client.sendto(utf8("x"), ["127.0.0.1", 0]), "EINVAL");
  });

  test("joining a group before bind()", async () => {
    const request = new Uint8Array(8);
    request.set(bsd.inet_aton("239.77.7.8"));
    request.set(bsd.inet_aton("127.0.0.1"), 4);
    const { IPPROTO_IP, IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP } = bsd;
    using early = socket(AF_INET, SOCK_DGRAM);
    await fails(
      () => early.setsockopt(IPPROTO_IP, IP_DROP_MEMBERSHIP, request),
      "EADDRNOTAVAIL",
    );
    early.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, request);
    await fails(
      () => early.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, request),
      "EADDRINUSE",
    );
    early.setsockopt(IPPROTO_IP, IP_DROP_MEMBERSHIP, request);
    early.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, request);
    early.bind(["", 0]);
    await fails(
      () => early.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, request),
      "EADDRINUSE",
    );
    early.setsockopt(IPPROTO_IP, IP_DROP_MEMBERSHIP, request);
    assertEquals(early.getsockopt(SOL_SOCKET, bsd.SO_ERROR), 0);
  });

  test("joining a group and hearing it", async () => {
    using member = socket(AF_INET, SOCK_DGRAM);
    member.setsockopt(SOL_SOCKET, bsd.SO_REUSEADDR, 1);
    const request = new Uint8Array(8);
    request.set(bsd.inet_aton("239.77.7.7"));
    request.set(bsd.inet_aton("127.0.0.1"), 4);
    member.bind(["", 0]);
    member.setsockopt(bsd.IPPROTO_IP, bsd.IP_ADD_MEMBERSHIP, request);
    await fails(
      () => member.setsockopt(bsd.IPPROTO_IP, bsd.IP_ADD_MEMBERSHIP, request),
      "EADDRINUSE",
    );
    using sender = socket(AF_INET, SOCK_DGRAM);
    sender.setsockopt(
      bsd.IPPROTO_IP,
      bsd.IP_MULTICAST_IF,
      bsd.inet_aton("127.0.0.1"),
    );
    sender.setsockopt(bsd.IPPROTO_IP, bsd.IP_MULTICAST_TTL, 1);
    // Joining may take the system a moment.
    member.settimeout(20);
    let heard: unknown;
    for (let i = 0; i < 50 && heard === undefined; i++) {
      await sender.sendto(utf8("all"), ["239.77.7.7", member.getsockname()[1]]);
      heard = await member.recv(10).then(text, () => undefined);
    }
    assertEquals(heard, "all");
    member.setsockopt(bsd.IPPROTO_IP, bsd.IP_DROP_MEMBERSHIP, request);
    await fails(
      () => member.setsockopt(bsd.IPPROTO_IP, bsd.IP_DROP_MEMBERSHIP, request),
      "EADDRNOTAVAIL",
    );
    await fails(
      () => member.setsockopt(bsd.IPPROTO_IP, bsd.IP_ADD_MEMBERSHIP, 5),
      "EINVAL",
    );
  });

  if (hasUnixDatagrams) {
    test("Unix datagrams: senders without a name, and their peers", async () => {
      await using place = await tempPath();
      using server = socket(AF_UNIX, SOCK_DGRAM);
      server.bind(place.path);
      using unnamed = socket(AF_UNIX, SOCK_DGRAM);
      assertEquals(unnamed.getsockname(), "");
      await fails(() => unnamed.connect(`${place.path}-nobody`), "ENOENT");
      await Deno.writeTextFile(`${place.path}-file`, "no socket");
      await fails(() => unnamed.connect(`${place.path}-file`), "ECONNREFUSED");
      await fails(() => unnamed.getpeername(), "ENOTCONN");
      await unnamed.connect(server.getsockname());
      await unnamed.send(utf8("anonymous"));
      assertEquals(await server.recvfrom(100), [utf8("anonymous"), ""]);
      await fails(() => unnamed.sendto(utf8("x"), `${place.path}-x`), "ENOENT");
      // It takes a name later as well.
      unnamed.bind(`${place.path}-name`);
      await unnamed.send(utf8("named"));
      assertEquals(await server.recvfrom(100), [
        utf8("named"),
        `${place.path}-name`,
      ]);
    });

    test("Unix datagrams: a full queue", async () => {
      using server = socket(AF_UNIX, SOCK_DGRAM);
      server.bind(`\0${crypto.randomUUID()}`);
      using client = socket(AF_UNIX, SOCK_DGRAM);
      await client.connect(server.getsockname());
      client.setblocking(false);
      let sent = 0;
      const fill = async () => {
        for (;; sent++) await client.send(new Uint8Array([sent]));
      };
      await fails(fill, "EAGAIN");
      assertEquals(await select([], [client], [], 0), [[], [], []]);
      client.settimeout(10);
      await fails(() => client.send(utf8("late")), "ETIMEDOUT");
      // What was taken arrives, each once and in order.
      const heard: number[] = [];
      while (heard.length < sent) heard.push((await server.recv(10))[0]!);
      assertEquals(heard, Array.from({ length: sent }, (_, i) => i & 255));
      assertEquals(await select([], [client], []), [[], [client], []]);
      server.setblocking(false);
      await fails(() => server.recv(10), "EAGAIN");
    });
  }

  // Options

  test("options are what was set", async () => {
    using stream = socket();
    for (const on of [1, 0]) {
      stream.setsockopt(bsd.IPPROTO_TCP, bsd.TCP_NODELAY, on);
      assertEquals(stream.getsockopt(bsd.IPPROTO_TCP, bsd.TCP_NODELAY), on);
      stream.setsockopt(SOL_SOCKET, bsd.SO_KEEPALIVE, on === 1);
      assertEquals(stream.getsockopt(SOL_SOCKET, bsd.SO_KEEPALIVE), on);
    }
    stream.setsockopt(SOL_SOCKET, bsd.SO_REUSEADDR, 1);
    assertEquals(stream.getsockopt(SOL_SOCKET, bsd.SO_REUSEADDR), 1);
    const bytes = stream.getsockopt(SOL_SOCKET, bsd.SO_TYPE, 4);
    assertEquals(new Int32Array(bytes.buffer)[0], SOCK_STREAM);
    stream.setsockopt(
      SOL_SOCKET,
      bsd.SO_KEEPALIVE,
      new Uint8Array(new Int32Array([1]).buffer),
    );
    assertEquals(stream.getsockopt(SOL_SOCKET, bsd.SO_KEEPALIVE), 1);
    assertEquals(stream.getsockopt(SOL_SOCKET, bsd.SO_ACCEPTCONN), 0);
    stream.bind(["127.0.0.1", 0]);
    stream.listen();
    assertEquals(stream.getsockopt(SOL_SOCKET, bsd.SO_ACCEPTCONN), 1);
    using client = socket();
    client.setsockopt(bsd.IPPROTO_TCP, bsd.TCP_NODELAY, 1);
    await client.connect(stream.getsockname());
    assertEquals(client.getsockopt(bsd.IPPROTO_TCP, bsd.TCP_NODELAY), 1);
    await fails(() => stream.getsockopt(SOL_SOCKET, 0x7fff), "ENOPROTOOPT");
    await fails(() => stream.setsockopt(999, 1, 1), "ENOPROTOOPT");
    assertThrows(
      () => stream.setsockopt(SOL_SOCKET, 1, "1" as never),
      TypeError,
      "expected an integer, a boolean or a Uint8Array",
    );
    assertThrows(() => stream.getsockopt(SOL_SOCKET, 1, 0), RangeError);
    using udp = socket(AF_INET, SOCK_DGRAM);
    udp.setsockopt(bsd.IPPROTO_IP, bsd.IP_TTL, 7);
    assertEquals(udp.getsockopt(bsd.IPPROTO_IP, bsd.IP_TTL), 7);
    udp.setsockopt(SOL_SOCKET, bsd.SO_BROADCAST, 1);
    assertEquals(udp.getsockopt(SOL_SOCKET, bsd.SO_BROADCAST), 1);
  });

  // Files

  each("makefile(): lines of text both ways", async (family, place) => {
    using ends = await connected(family, place);
    const { client, conn } = ends;
    await using reader = conn.makefile("r");
    await using writer = client.makefile("w");
    assertEquals(
      [reader.readable(), reader.writable(), writer.readable()],
      [true, false, false],
    );
    assertEquals(await writer.write("first ünï\nsecond\r\nlast"), 22);
    await writer.flush();
    await client.shutdown(SHUT_WR);
    assertEquals(await reader.readline(), "first ünï\n");
    assertEquals(await reader.readline(3), "sec");
    assertEquals(await reader.readlines(), ["ond\n", "last"]);
    assertEquals(await reader.readline(), "");
    assertEquals(await reader.read(), "");
    await fails(() => reader.write("x"), "EBADF");
    await fails(() => writer.read(), "EBADF");
  });

  test("makefile(): what would block, or times out, is never sent twice", async () => {
    for (const ms of [0, 20]) {
      const [a, b] = await bsd.socketpair();
      a.settimeout(ms);
      const file = a.makefile("wb");
      const data = pattern(1_000_000);
      await file.write(data).catch(() => {});
      // Now somebody reads.
      const receiving = receiveAll(b);
      for (let isOut = false; !isOut;) {
        const error = await file.flush().then(() => undefined, (e) => e);
        // Deno's driver takes no more after a timeout in the middle.
        isOut = error === undefined || errorCode(error) === "EPIPE";
        if (!isOut) await turn();
      }
      await file.close().catch(() => {});
      a.close();
      const got = await inTime(receiving);
      assertEquals(got, data.subarray(0, got.length));
      if (driver === "libc") assertEquals(got.length, data.length);
      b.close();
    }
  });

  each("makefile(): bytes, in all buffering modes", async (family, place) => {
    const data = pattern(100_000);
    for (const buffering of [-1, 0, 2, 4096]) {
      const where = family === AF_UNIX
        ? { ...place, address: `\0${crypto.randomUUID()}` }
        : place;
      using ends = await connected(family, where);
      const { client, conn } = ends;
      await using reader = conn.makefile("rb", { buffering });
      const sending = (async () => {
        await using writer = client.makefile("wb", { buffering });
        for (let at = 0; at < data.length;) {
          at += await writer.write(data.slice(at, at + 7777));
        }
        await writer.close();
        await client.shutdown(SHUT_WR);
      })();
      const got: Uint8Array[] = [];
      for (let piece; (piece = await reader.read(1000)).length > 0;) {
        if (buffering !== 0 && piece.length < 1000) {
          assertEquals((await reader.read(1)).length, 0);
        }
        got.push(piece);
      }
      await sending;
      assertEquals(
        new Uint8Array(await new Blob(got as BlobPart[]).arrayBuffer()),
        data,
      );
    }
  });

  test("makefile(): line ends of all kinds", async () => {
    const said = "a\r\nb\rc\nd\r";
    const wanted: [null | "" | "\n" | "\r\n", string[]][] = [
      [null, ["a\n", "b\n", "c\n", "d\n"]],
      ["", ["a\r\n", "b\r", "c\n", "d\r"]],
      ["\n", ["a\r\n", "b\rc\n", "d\r"]],
      ["\r\n", ["a\r\n", "b\rc\nd\r"]],
    ];
    for (const [newline, lines] of wanted) {
      for (const size of [1, 2, 100]) {
        const [a, b] = await bsd.socketpair();
        await using file = b.makefile("r", { newline });
        const sending = (async () => {
          for (let i = 0; i < said.length; i += size) {
            await a.sendall(utf8(said.slice(i, i + size)));
            await turn();
          }
          a.close();
        })();
        assertEquals(await file.readlines(), lines, `${newline} by ${size}`);
        await sending;
        b.close();
      }
    }
    const [a, b] = await bsd.socketpair();
    await using out = a.makefile("w", { newline: "\r\n", buffering: 1 });
    await out.writelines(["x\n", "y\n"]);
    assertEquals(text(await b.recv(6, MSG_WAITALL)), "x\r\ny\r\n");
    a.close();
    b.close();
  });

  test("makefile(): both ways, binary lines, and who closes", async () => {
    const [a, b] = await bsd.socketpair();
    const file = a.makefile("rwb");
    await file.write(utf8("one\ntwo\n"));
    await file.flush();
    // The socket is closed with its last file.
    a.close();
    const lines = b.makefile("rb");
    assertEquals(text(await lines.readline()), "one\n");
    await b.sendall(utf8("back\n"));
    assertEquals(text(await file.readline()), "back\n");
    assertEquals(text(await lines.readline(2)), "tw");
    const last = utf8("last");
    await file.write(last);
    // It was taken; the caller may use its buffer again.
    last.fill(0);
    await file.close();
    await file.close();
    assert(file.closed);
    await fails(() => file.readline(), "EBADF");
    await fails(() => file.flush(), "EBADF");
    assertEquals(text(await lines.read()), "o\nlast");
    await lines.close();
    b.close();
    assertEquals(await b.makefile === undefined, false);
  });

  test("makefile(): calls that overlap are made in their order", async () => {
    const [a, b] = await bsd.socketpair();
    const out = a.makefile("w", { buffering: 1 });
    const into = b.makefile("r");
    const lines = Array.from({ length: 20 }, (_, i) => `line ${i}\n`);
    const reading = Promise.all(lines.map(() => into.readline()));
    const writing = Promise.all(lines.map((line) => out.write(line)));
    // Nor is anything sent twice if it is flushed and closed meanwhile.
    const flushing = out.flush();
    const closing = [out.close(), out.close()];
    await fails(() => out.write("late"), "EBADF");
    await Promise.all([writing, flushing, ...closing]);
    a.close();
    assertEquals(await reading, lines);
    // All in one piece.
    const [e, f] = await bsd.socketpair();
    const lineByLine = f.makefile("r");
    const three = Promise.all([1, 2, 3].map(() => lineByLine.readline()));
    await e.sendall(utf8("one\ntwo\nthree\n"));
    assertEquals(await inTime(three), ["one\n", "two\n", "three\n"]);
    e.close();
    f.close();
    assertEquals(await into.read(), "");
    await into.close();
    b.close();

    const [c, d] = await bsd.socketpair();
    const bytes = c.makefile("wb");
    const pieces = [pattern(9000), pattern(9001), pattern(9002)];
    await Promise.all(pieces.map((piece) => bytes.write(piece)));
    await bytes.close();
    c.close();
    const got = await receiveAll(d as Any);
    assertEquals(got.length, 27_003);
    assertEquals(got.subarray(9000, 18_001), pattern(9001));
    d.close();
  });

  test("makefile(): a timeout loses nothing, and modes that are none", async () => {
    const [a, b] = await bsd.socketpair();
    b.settimeout(10);
    const file = b.makefile("r");
    await a.sendall(utf8("half "));
    assert(isTimeoutError(await rejection(file.readline())));
    await a.sendall(utf8("line\n"));
    assertEquals(await file.readline(), "half line\n");
    for (const mode of ["", "x", "rr", "b", "rt"]) {
      assertThrows(() => b.makefile(mode as "r"), TypeError);
    }
    assertThrows(() => b.makefile("r", { buffering: 0 }), RangeError);
    assertThrows(() => b.makefile("r", { newline: "x" as "\n" }), TypeError);
    assertThrows(() => b.makefile("r", { encoding: "nonsense" }), RangeError);
    await assertRejects(
      () => b.makefile("w").write(utf8("x") as never),
      TypeError,
    );
    await assertRejects(() => b.makefile("wb").write("x" as never), TypeError);
    await file.close();
    a.close();
    b.close();
  });

  // Helpers

  test("socketpair() talks both ways", async () => {
    const [a, b] = await bsd.socketpair();
    assertEquals([a.family, a.type], [AF_UNIX, SOCK_STREAM]);
    await a.sendall(utf8("to b"));
    await b.sendall(utf8("to a"));
    assertEquals(text(await a.recv(10)), "to a");
    assertEquals(text(await b.recv(10)), "to b");
    await a.shutdown(SHUT_WR);
    assertEquals((await b.recv(10)).length, 0);
    a.close();
    assertEquals(b.getsockname(), "");
    b.close();
  });

  test("create_server() and create_connection()", async () => {
    using server = bsd.create_server(["127.0.0.1", 0], { backlog: 5 });
    const [, port] = server.getsockname();
    using client = await bsd.create_connection(["localhost", port], {
      timeout: 5000,
    });
    assertEquals(client.gettimeout(), 5000);
    const [conn] = await server.accept();
    await conn.sendall(utf8("hi"));
    assertEquals(text(await client.recv(10)), "hi");
    conn.close();
    await fails(
      () => bsd.create_connection(["no-such-name.invalid", 1]),
      "EAI_NONAME",
    ).catch(() =>
      fails(
        () => bsd.create_connection(["no-such-name.invalid", 1]),
        "EAI_AGAIN",
      )
    );
    await fails(
      () => bsd.create_server(["127.0.0.1", port]),
      "EADDRINUSE",
    );
    await fails(
      () => bsd.create_server(["127.0.0.1", 0], { dualstack_ipv6: true }),
      "EINVAL",
    );
    using local = bsd.create_server(`\0${crypto.randomUUID()}`, {
      family: AF_UNIX,
    });
    assertEquals(local.getsockopt(SOL_SOCKET, bsd.SO_ACCEPTCONN), 1);
  });

  test("create_connection() tells the last refusal", async () => {
    const server = bsd.create_server(["127.0.0.1", 0]);
    const address = server.getsockname();
    server.close();
    await untilGone(address);
    await fails(() => bsd.create_connection(address), "ECONNREFUSED");
  });

  Deno.test({
    name: `${driver}: a dual-stack server takes both families`,
    ignore: !canListen("::1"),
    async fn() {
      using server = bsd.create_server(["", 0], {
        family: AF_INET6,
        dualstack_ipv6: true,
      });
      const [, port] = server.getsockname();
      for (const host of ["127.0.0.1", "::1"]) {
        using client = await bsd.create_connection([host, port]);
        const [conn] = await server.accept();
        await conn.sendall(utf8(host));
        assertEquals(text(await client.recv(100)), host);
        conn.close();
      }
    },
  });

  // Waiting for several

  each(
    "select() tells who is ready, takes nothing, and waits no longer than it may",
    async (family, place) => {
      using server = serving(family, place);
      assertEquals(await select([server], [], [], 0), [[], [], []]);
      assertEquals(await select([server], [], [], 10), [[], [], []]);
      using client = socket(family, SOCK_STREAM) as Any;
      const connecting = client.connect(server.getsockname());
      assertEquals(await select([server], [], []), [[server], [], []]);
      assertEquals(await select([server], [], [], 0), [[server], [], []]);
      const [conn] = await server.accept();
      await connecting;
      assertEquals(await select([server, conn], [conn], [conn], 0), [
        [],
        [conn],
        [],
      ]);
      await client.sendall(utf8("abc"));
      assertEquals(await select([server, conn], [], []), [[conn], [], []]);
      assertEquals(text(await conn.recv(1)), "a");
      // Level-triggered: there is still something.
      assertEquals(await select([server, conn], [], [], 0), [[conn], [], []]);
      assertEquals(text(await conn.recv(10)), "bc");
      assertEquals(await select([conn], [], [], 0), [[], [], []]);
      client.close();
      assertEquals(await select([conn], [], []), [[conn], [], []]);
      assertEquals((await conn.recv(1)).length, 0);
      conn.close();
    },
  );

  test("select() wakes when a socket is closed, and refuses what is none", async () => {
    const [a, b] = await bsd.socketpair();
    const waiting = select([a], [], []);
    a.close();
    assertEquals(await waiting, [[a], [], []]);
    b.close();
    await assertRejects(() => select([{}] as never, [], []), TypeError);
    await assertRejects(() => select([null] as never, [], []), TypeError);
    await assertRejects(() => select([], [], [], -1), RangeError);
    assertEquals(await select([], [], [], 5), [[], [], []]);
  });

  test("a turn of a Poller costs what is ready, not what is registered", async () => {
    const pairs = await Promise.all(
      Array.from({ length: 300 }, () => bsd.socketpair()),
    );
    using poller = new Poller();
    let asked = 0;
    const sides = Object.getPrototypeOf(
      belowOf(pairs[0]![0], "select")!.reading,
    );
    const { watch } = sides;
    sides.watch = function (...args: unknown[]) {
      asked++;
      return watch.apply(this, args);
    };
    try {
      for (const [a] of pairs) poller.register(a, POLLIN);
      await poller.poll(0);
      assertEquals(asked, 300);
      for (let i = 0; i < 50; i++) {
        const [a, b] = pairs[i]!;
        await b.sendall(utf8("x"));
        assertEquals(await poller.poll(), [[a, POLLIN]]);
        await a.recv(1);
      }
      assertEquals(asked, 349);
    } finally {
      sides.watch = watch;
    }
    for (const [a, b] of pairs) {
      a.close();
      b.close();
    }
  });

  test("a Poller tells nothing that has been taken meanwhile", async () => {
    const [a, b] = await bsd.socketpair();
    using poller = new Poller();
    poller.register(a, POLLIN);
    assertEquals(await poller.poll(1), []);
    await b.sendall(utf8("x"));
    await turn();
    assertEquals(text(await a.recv(10)), "x");
    assertEquals(await poller.poll(0), []);
    assertEquals(await poller.poll(10), []);
    // Nor is anything that comes later missed.
    await b.sendall(utf8("y"));
    assertEquals(await poller.poll(-1), [[a, POLLIN]]);
    assertEquals(text(await a.recv(10)), "y");
    a.close();
    b.close();
  });

  test("a Poller's events: all bits, modify(), sockets that are closed", async () => {
    const [a, b] = await bsd.socketpair();
    using poller = new Poller();
    assertThrows(() => poller.modify(a, POLLIN), Deno.errors.NotFound);
    poller.register(a, POLLIN | POLLPRI | POLLERR | POLLHUP | POLLNVAL);
    assertEquals(await poller.poll(0), []);
    poller.modify(a, POLLOUT);
    assertEquals(await poller.poll(), [[a, POLLOUT]]);
    poller.modify(a, 0);
    assertEquals(await poller.poll(0), []);
    poller.modify(a, POLLIN);
    a.close();
    b.close();
    assertEquals(await poller.poll(), [[a, POLLIN | POLLNVAL]]);
    // The same for one that is closed while somebody waits for it.
    const [c, d] = await bsd.socketpair();
    using other = new Poller();
    other.register(c, POLLIN);
    const waiting = other.poll();
    await turn();
    c.close();
    assertEquals(await inTime(waiting), [[c, POLLIN | POLLNVAL]]);
    d.close();
    assertThrows(() => poller.modify(a, POLLIN), Deno.errors.BadResource);
  });

  test("a Poller tells what has happened to whom", async () => {
    const pairs = await Promise.all(
      Array.from({ length: 20 }, () => bsd.socketpair()),
    );
    using poller = new Poller();
    for (const [a] of pairs) poller.register(a, POLLIN);
    assertEquals(poller.size, 20);
    assertEquals(await poller.poll(0), []);
    await pairs[3]![1].sendall(utf8("x"));
    await pairs[7]![1].sendall(utf8("y"));
    const told = new Set<unknown>();
    while (told.size < 2) {
      for (const [which, events] of await poller.poll()) {
        assertEquals(events, POLLIN);
        told.add(which);
      }
    }
    assertEquals(told, new Set<unknown>([pairs[3]![0], pairs[7]![0]]));
    // Level-triggered, until it is read.
    await pairs[3]![0].recv(1);
    assertEquals(await poller.poll(), [[pairs[7]![0], POLLIN]]);
    await pairs[7]![0].recv(1);
    assertEquals(await poller.poll(5), []);
    poller.register(pairs[0]![0], POLLIN | POLLOUT);
    assertEquals(await poller.poll(), [[pairs[0]![0], POLLOUT]]);
    poller.register(pairs[0]![0], POLLIN);
    assertEquals(await poller.poll(0), []);
    const waiting = poller.poll();
    await pairs[1]![1].sendall(utf8("z"));
    assertEquals(await waiting, [[pairs[1]![0], POLLIN]]);
    poller.unregister(pairs[1]![0]);
    assertEquals(await poller.poll(0), []);
    await fails(() => poller.unregister(pairs[1]![0]), "ENOENT");
    const gone = bsd.socket();
    gone.close();
    assertThrows(() => poller.register(gone), Error, "register: Bad file");
    // One that is registered during the wait counts.
    const later = poller.poll();
    await turn();
    poller.register(pairs[1]![0], POLLIN);
    assertEquals(await later, [[pairs[1]![0], POLLIN]]);
    const first = poller.poll(0);
    await fails(() => poller.poll(), "EBUSY");
    await first;
    pairs[2]![0].close();
    assert((await poller.poll()).some(([which]) => which === pairs[2]![0]));
    assertThrows(() => poller.register({} as never), TypeError);
    assertThrows(() => poller.register(pairs[4]![0], 64), RangeError);
    for (const [a, b] of pairs) {
      a.close();
      b.close();
    }
  });
}
