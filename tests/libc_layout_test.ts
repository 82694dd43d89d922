/** What the C library's sockets know of memory: layouts, addresses, control messages, as pure functions. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type Address, AF_INET, AF_INET6, AF_UNIX } from "../_constants.ts";
import {
  ADDRINFO,
  CMSGHDR,
  type ControlMessage,
  controlSpace,
  decodeControl,
  encodeControl,
  IOCB,
  IOVEC,
  layoutOf,
  MMSGHDR,
  MSGHDR,
} from "../libc/_layout.ts";
import { prepare, testLayout } from "../libc/_ready.ts";
import {
  decodeAddress,
  encodeAddress,
  type Literal,
  SOCKADDR_SIZE,
} from "../libc/_sockaddr.ts";
import { calls, candidates, seldom, whyNot } from "../libc/_symbols.ts";
import { readTcpInfo, TCP_INFO_SIZE } from "../libc/_tcp_info.ts";
import { pattern } from "./_bytes.ts";
import { openAll } from "./_libc.ts";

const RUNS = { numRuns: 1000 };
const isLinux = Deno.build.os === "linux";
if (isLinux) openAll();

// Layouts

Deno.test("layoutOf() knows two architectures", () => {
  assertEquals(layoutOf("x86_64"), {
    epollEvent: { size: 12, data: 4 },
    calls: {
      io_setup: 206,
      io_destroy: 207,
      io_getevents: 208,
      io_submit: 209,
    },
  });
  assertEquals(layoutOf("aarch64"), {
    epollEvent: { size: 16, data: 8 },
    calls: { io_setup: 0, io_destroy: 1, io_getevents: 4, io_submit: 2 },
  });
  for (const arch of ["riscv64", "arm", "", "__proto__", "toString"]) {
    assertEquals(layoutOf(arch), undefined);
  }
});

Deno.test("whyNot() names the system or the architecture", () => {
  assertEquals(whyNot("linux", "x86_64"), undefined);
  assertEquals(whyNot("linux", "aarch64"), undefined);
  assert(whyNot("darwin", "aarch64")!.includes("this is darwin"));
  assert(whyNot("windows", "x86_64")!.includes("this is windows"));
  assert(whyNot("linux", "riscv64")!.includes("not known on riscv64"));
});

Deno.test("candidates() are absolute, each once, those of the architecture first", () => {
  for (const arch of ["x86_64", "aarch64"]) {
    const all = candidates(arch);
    assertEquals(all.slice(0, 2), [
      `/lib/${arch}-linux-gnu/libc.so.6`,
      `/usr/lib/${arch}-linux-gnu/libc.so.6`,
    ]);
    assertEquals(new Set(all).size, all.length);
    for (const path of all) assert(/^\/.*\/libc\.so\.6$/.test(path), path);
  }
});

/** Whether there is a C compiler. */
function hasCompiler(): boolean {
  try {
    return new Deno.Command("gcc", { args: ["--version"], stdout: "null" })
      .outputSync().success;
  } catch {
    return false;
  }
}

Deno.test({
  name: "layouts are those of the system's C compiler",
  ignore: !isLinux || !hasCompiler(),
  async fn() {
    const questions: [text: string, expected: number][] = [];
    const ask = (struct: string, fields: Record<string, number>) => {
      for (const [field, at] of Object.entries(fields)) {
        questions.push([
          field === "" ? `sizeof(${struct})` : `offsetof(${struct}, ${field})`,
          at,
        ]);
      }
    };
    const layout = layoutOf(Deno.build.arch)!;
    const { size, data } = layout.epollEvent;
    ask("struct epoll_event", { "": size, events: 0, data });
    ask("struct msghdr", {
      "": MSGHDR.size,
      msg_name: MSGHDR.name,
      msg_namelen: MSGHDR.nameLength,
      msg_iov: MSGHDR.vectors,
      msg_iovlen: MSGHDR.vectorCount,
      msg_control: MSGHDR.control,
      msg_controllen: MSGHDR.controlLength,
      msg_flags: MSGHDR.flags,
    });
    ask("struct mmsghdr", {
      "": MMSGHDR.size,
      msg_len: MMSGHDR.length,
    });
    ask("struct iovec", {
      "": IOVEC.size,
      iov_base: IOVEC.base,
      iov_len: IOVEC.length,
    });
    ask("struct cmsghdr", {
      "": CMSGHDR.size,
      cmsg_len: CMSGHDR.length,
      cmsg_level: CMSGHDR.level,
      cmsg_type: CMSGHDR.type,
    });
    ask("struct addrinfo", {
      "": ADDRINFO.size,
      ai_flags: ADDRINFO.flags,
      ai_family: ADDRINFO.family,
      ai_socktype: ADDRINFO.type,
      ai_protocol: ADDRINFO.protocol,
      ai_addrlen: ADDRINFO.addressLength,
      ai_addr: ADDRINFO.address,
      ai_next: ADDRINFO.next,
    });
    ask("struct iocb", {
      "": IOCB.size,
      aio_lio_opcode: IOCB.opcode,
      aio_fildes: IOCB.descriptor,
      aio_buf: IOCB.buffer,
      aio_flags: IOCB.flags,
      aio_resfd: IOCB.result,
    });
    ask("struct pollfd", { "": 8, fd: 0, events: 4, revents: 6 });
    ask("struct sockaddr_in", { "": 16, sin_port: 2, sin_addr: 4 });
    ask("struct sockaddr_in6", {
      "": 28,
      sin6_port: 2,
      sin6_flowinfo: 4,
      sin6_addr: 8,
      sin6_scope_id: 24,
    });
    ask("struct sockaddr_un", { "": 110, sun_path: 2 });
    ask("struct sockaddr_storage", { "": SOCKADDR_SIZE });
    ask("struct tcp_info", {
      tcpi_state: 0,
      tcpi_retransmits: 2,
      tcpi_rto: 8,
      tcpi_snd_mss: 16,
      tcpi_rcv_mss: 20,
      tcpi_unacked: 24,
      tcpi_lost: 32,
      tcpi_last_data_sent: 44,
      tcpi_last_data_recv: 52,
      tcpi_pmtu: 60,
      tcpi_rtt: 68,
      tcpi_rttvar: 72,
      tcpi_snd_ssthresh: 76,
      tcpi_snd_cwnd: 80,
      tcpi_total_retrans: 100,
      tcpi_bytes_acked: 120,
      tcpi_bytes_received: 128,
      tcpi_min_rtt: 148,
      tcpi_delivery_rate: 160,
    });
    for (const size of [0, 1, 4, 8, 12, 17]) {
      questions.push([`CMSG_SPACE(${size})`, controlSpace(size)]);
    }
    for (const [name, number] of Object.entries(layout.calls)) {
      questions.push([`SYS_${name}`, number]);
    }
    const source = `
      #define _GNU_SOURCE
      #include <stddef.h>
      #include <stdio.h>
      #include <sys/socket.h>
      #include <sys/un.h>
      #include <sys/uio.h>
      #include <sys/epoll.h>
      #include <sys/syscall.h>
      #include <netdb.h>
      #include <poll.h>
      #include <netinet/in.h>
      #include <linux/aio_abi.h>
      #include <linux/tcp.h>
      int main(void) {
        ${
      questions.map(([text]) => `printf("%ld\\n", (long)(${text}));`).join("\n")
    }
        return 0;
      }`;
    const folder = await Deno.makeTempDir();
    try {
      await Deno.writeTextFile(`${folder}/layout.c`, source);
      const compiled = await new Deno.Command("gcc", {
        args: ["-o", `${folder}/layout`, `${folder}/layout.c`],
        stderr: "piped",
      }).output();
      assert(compiled.success, new TextDecoder().decode(compiled.stderr));
      const { stdout } = await new Deno.Command(`${folder}/layout`).output();
      const told = new TextDecoder().decode(stdout).trim().split("\n");
      assertEquals(
        questions.map(([text], i) => `${text} = ${told[i]}`),
        questions.map(([text, expected]) => `${text} = ${expected}`),
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "testLayout() takes this system's layout and refuses any other",
  ignore: !isLinux,
  fn() {
    prepare();
    const right = layoutOf(Deno.build.arch)!;
    // Others open descriptors meanwhile: its own are counted.
    let open = 0;
    const counted = (by: number) => (call: AnyCall): AnyCall => (...args) => {
      const result = call(...args);
      if (result >= 0) open += by;
      return result;
    };
    const ends = [
      wrap(seldom(), "socketpair", counted(2)),
      wrap(calls(), "epoll_create1", counted(1)),
      wrap(calls(), "close", counted(-1)),
    ];
    for (const [size, data] of [[12, 4], [16, 8], [16, 4], [12, 8], [20, 4]]) {
      const layout = { ...right, epollEvent: { size: size!, data: data! } };
      const { epollEvent } = right;
      if (size === epollEvent.size && data === epollEvent.data) {
        testLayout(layout);
        continue;
      }
      const error = assertThrows(
        () => testLayout(layout),
        Deno.errors.NotSupported,
        "not laid out as expected",
      );
      assertEquals((error as Error & { code?: string }).code, "EOPNOTSUPP");
    }
    for (const end of ends) end();
    assertEquals(open, 0);
  },
});

type AnyCall = (...args: never[]) => number;

/** Puts something around a function of the library; what it gives takes it away. */
function wrap(
  functions: object,
  name: string,
  around: (call: AnyCall) => AnyCall,
): () => void {
  const all = functions as Record<string, AnyCall>;
  const call = all[name]!;
  all[name] = around(call);
  return () => all[name] = call;
}

// Control messages

const message: fc.Arbitrary<ControlMessage> = fc.record({
  level: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  type: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  data: fc.uint8Array({ maxLength: 40 }),
}, { noNullPrototype: true }) as fc.Arbitrary<ControlMessage>;
const someMessages = fc.array(message, { maxLength: 6 });

Deno.test("controlSpace() counts a header and whole words for each", () => {
  assertEquals(controlSpace(), 0);
  assertEquals(controlSpace(0), 16);
  assertEquals(controlSpace(1), 24);
  assertEquals(controlSpace(8), 24);
  assertEquals(controlSpace(9), 32);
  assertEquals(controlSpace(4, 12), 24 + 32);
});

Deno.test("decodeControl() reads back what encodeControl() writes", () => {
  fc.assert(
    fc.property(someMessages, (messages) => {
      const bytes = encodeControl(messages);
      assertEquals(
        bytes.length,
        controlSpace(...messages.map(({ data }) => data.length)),
      );
      assertEquals(decodeControl(bytes), messages);
      // Wherever in memory they are.
      const moved = new Uint8Array(bytes.length + 3);
      moved.set(bytes, 3);
      assertEquals(decodeControl(moved.subarray(3)), messages);
    }),
    RUNS,
  );
});

Deno.test("decodeControl() gives what there is of bytes that are cut off", () => {
  fc.assert(
    fc.property(someMessages, fc.nat(200), (messages, cut) => {
      const bytes = encodeControl(messages);
      const part = bytes.subarray(0, Math.min(cut, bytes.length));
      const found = decodeControl(part);
      assert(found.length <= messages.length);
      for (const [i, { level, type, data }] of found.entries()) {
        const whole = messages[i]!;
        assertEquals([level, type], [whole.level, whole.type]);
        assertEquals(data, whole.data.slice(0, data.length));
        // Only the last one may have lost something.
        if (i < found.length - 1) assertEquals(data, whole.data);
      }
    }),
    RUNS,
  );
});

Deno.test("decodeControl() ends on any bytes, with no more than they hold", () => {
  const length = fc.oneof(
    fc.nat(64).map(BigInt),
    fc.constantFrom(0n, 15n, 16n, 2n ** 31n, 2n ** 63n, 2n ** 64n - 1n),
  );
  const hostile = fc.array(
    fc.tuple(length, fc.uint8Array({ maxLength: 24 })),
    { maxLength: 5 },
  ).map((parts) => {
    const bytes: number[] = [];
    for (const [length, rest] of parts) {
      const head = new BigUint64Array([length]);
      bytes.push(...new Uint8Array(head.buffer), ...rest);
    }
    return new Uint8Array(bytes);
  });
  fc.assert(
    fc.property(
      fc.oneof(fc.uint8Array({ maxLength: 100 }), hostile),
      (bytes) => {
        const before = bytes.slice();
        const found = decodeControl(bytes);
        const size = found.reduce((sum, { data }) => sum + data.length, 0);
        assert(16 * found.length + size <= bytes.length);
        for (const { data } of found) {
          // A copy: what is under it is used again.
          assert(data.buffer !== bytes.buffer);
        }
        assertEquals(bytes, before);
      },
    ),
    { numRuns: 3000 },
  );
});

// Addresses

function write(family: number, address: Literal) {
  const bytes = pattern(SOCKADDR_SIZE + 16);
  const view = new DataView(bytes.buffer, 8, SOCKADDR_SIZE);
  const before = bytes.slice();
  const length = encodeAddress(view, family, address);
  // Nothing beside it, and nothing behind it, is touched.
  assertEquals(bytes.slice(0, 8), before.slice(0, 8));
  if (length !== undefined) {
    assertEquals(bytes.slice(8 + length), before.slice(8 + length));
  }
  return { length, view, bytes: bytes.slice(8, 8 + (length ?? 0)) };
}

function there(family: number, address: Literal): Address | undefined {
  const { length, view } = write(family, address);
  assert(length !== undefined, `${address}`);
  return decodeAddress(view, length);
}

Deno.test("encodeAddress() writes struct sockaddr_in", () => {
  const { length, bytes } = write(AF_INET, ["1.2.3.4", 0x1234]);
  assertEquals(length, 16);
  assertEquals(
    [...bytes],
    [2, 0, 0x12, 0x34, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0],
  );
});

Deno.test("encodeAddress() writes struct sockaddr_in6 with its flow and scope", () => {
  const { length, bytes } = write(AF_INET6, ["fe80::1:2", 80, 0x54321, 7]);
  assertEquals(length, 28);
  // The flow in the network's order, the scope in the machine's.
  assertEquals([...bytes], [
    ...[10, 0, 0, 80, 0, 5, 0x43, 0x21],
    ...[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2],
    ...[7, 0, 0, 0],
  ]);
  assertEquals(there(AF_INET6, ["fe80::1:2", 80, 0x54321, 7]), [
    "fe80::1:2",
    80,
    0x54321,
    7,
  ]);
  assertEquals(there(AF_INET6, ["::", 1]), ["::", 1, 0, 0]);
});

Deno.test("encodeAddress() writes struct sockaddr_un: paths, abstract names, none", () => {
  assertEquals([...write(AF_UNIX, "/a").bytes], [1, 0, 47, 97, 0]);
  // A name ends where its length says.
  assertEquals([...write(AF_UNIX, "\0ab").bytes], [1, 0, 0, 97, 98]);
  assertEquals([...write(AF_UNIX, "").bytes], [1, 0]);
  for (const size of [106, 107, 108]) {
    const path = "/".padEnd(size, "x");
    // The longest one has no room for its NUL.
    assertEquals(write(AF_UNIX, path).length, Math.min(3 + size, 110));
    assertEquals(there(AF_UNIX, path), path);
    const name = "\0".padEnd(size, "x");
    assertEquals(write(AF_UNIX, name).length, 2 + size);
    assertEquals(there(AF_UNIX, name), name);
  }
  for (const long of ["/".padEnd(109, "x"), "\0".padEnd(109, "x")]) {
    assertEquals(write(AF_UNIX, long).length, undefined);
  }
  // Bytes count, not characters.
  assertEquals(write(AF_UNIX, "é".repeat(54)).length, 110);
  assertEquals(write(AF_UNIX, "é".repeat(55)).length, undefined);
  // NULs are part of an abstract name.
  assertEquals(there(AF_UNIX, "\0a\0b\0"), "\0a\0b\0");
});

Deno.test("a path keeps a byte order mark", () => {
  assertEquals(there(AF_UNIX, "\ufeffpath"), "\ufeffpath");
  assertEquals(there(AF_UNIX, "\0\ufeffname"), "\0\ufeffname");
});

Deno.test("encodeAddress() refuses hosts that are no literals of the family", () => {
  for (
    const host of ["::1", "localhost", "", "1.2.3", "256.1.1.1", "1.2.3.4 "]
  ) {
    assertEquals(encodeAddressLength(AF_INET, host), undefined, host);
  }
  for (const host of ["127.0.0.1", "localhost", "", "::1%lo", ":::"]) {
    assertEquals(encodeAddressLength(AF_INET6, host), undefined, host);
  }
  for (const family of [0, 3, 16, 40]) {
    assertEquals(encodeAddressLength(family, "127.0.0.1"), undefined);
  }
});

function encodeAddressLength(family: number, host: string) {
  const view = new DataView(new ArrayBuffer(SOCKADDR_SIZE));
  return encodeAddress(view, family, [host, 1]);
}

Deno.test("decodeAddress() knows no address of no bytes, or of another family", () => {
  const view = new DataView(new ArrayBuffer(SOCKADDR_SIZE));
  for (const family of [0, 3, 16, 17, 40, 65535]) {
    view.setUint16(0, family, true);
    for (const length of [0, 1, 2, 16, 28, 110, 128]) {
      assertEquals(decodeAddress(view, length), undefined);
    }
  }
  view.setUint16(0, AF_UNIX, true);
  assertEquals(decodeAddress(view, 0), undefined);
  assertEquals(decodeAddress(view, 1), undefined);
  assertEquals(decodeAddress(view, 2), "");
});

Deno.test("decodeAddress() ends a path at its NUL, or at its length", () => {
  const bytes = new Uint8Array(SOCKADDR_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_UNIX, true);
  bytes.set([47, 97, 98, 0, 99], 2);
  assertEquals(decodeAddress(view, 2 + 5), "/ab");
  assertEquals(decodeAddress(view, 2 + 4), "/ab");
  assertEquals(decodeAddress(view, 2 + 3), "/ab");
  assertEquals(decodeAddress(view, 2 + 2), "/a");
});

Deno.test("decodeAddress() reads back what encodeAddress() writes", () => {
  const port = fc.nat(65535);
  const byte = fc.oneof(fc.constantFrom(0, 255), fc.nat(255));
  const four = fc.array(byte, { minLength: 4, maxLength: 4 })
    .map((bytes) => bytes.join("."));
  const group = fc.integer({ min: 1, max: 65535 })
    .map((group) => group.toString(16));
  const six = fc.array(group, { minLength: 8, maxLength: 8 })
    .map((groups) => groups.join(":"));
  const path = fc.string({ unit: "binary", minLength: 1, maxLength: 40 })
    .map((text) => text.toWellFormed())
    .filter((text) => new TextEncoder().encode(text).length <= 107);
  fc.assert(
    fc.property(
      fc.oneof(
        fc.tuple(fc.constant(AF_INET), fc.tuple(four, port)),
        fc.tuple(
          fc.constant(AF_INET6),
          fc.tuple(six, port, fc.nat(2 ** 20 - 1), fc.nat(2 ** 32 - 1)),
        ),
        fc.tuple(
          fc.constant(AF_UNIX),
          path.map((text) => text.replaceAll("\0", "0")),
        ),
        fc.tuple(fc.constant(AF_UNIX), path.map((text) => `\0${text}`)),
      ),
      ([family, address]) => {
        assertEquals(there(family, address as Literal), address as Address);
      },
    ),
    RUNS,
  );
});

Deno.test("decodeAddress() never throws, whatever the kernel writes", () => {
  const family = fc.oneof(
    fc.constantFrom(AF_INET, AF_INET6 as number, AF_UNIX),
    fc.nat(65535),
  );
  fc.assert(
    fc.property(
      family,
      fc.uint8Array({ minLength: 126, maxLength: 126 }),
      fc.nat(SOCKADDR_SIZE),
      (family, rest, length) => {
        const bytes = new Uint8Array(SOCKADDR_SIZE);
        const view = new DataView(bytes.buffer);
        view.setUint16(0, family, true);
        bytes.set(rest, 2);
        decodeAddress(view, length);
      },
    ),
    RUNS,
  );
});

Deno.test("more hosts than are remembered are still right", () => {
  for (let i = 0; i < 5000; i++) {
    const host = `10.1.${i >> 8}.${i & 255}`;
    assertEquals(there(AF_INET, [host, i]), [host, i]);
  }
  assertEquals(there(AF_INET, ["10.1.0.0", 1]), ["10.1.0.0", 1]);
});

// struct tcp_info

Deno.test("readTcpInfo() reads what an older kernel does not know as undefined", () => {
  const none = readTcpInfo(new Uint8Array(0));
  assertEquals(none.state, "");
  for (const [name, value] of Object.entries(none)) {
    const isLater = ["bytesAcked", "bytesReceived", "minRtt", "deliveryRate"]
      .includes(name);
    if (name !== "state") assertEquals(value, isLater ? undefined : 0, name);
  }
  const bytes = pattern(TCP_INFO_SIZE);
  bytes[0] = 1;
  const whole = readTcpInfo(bytes);
  assertEquals(whole.state, "ESTABLISHED");
  for (let size = 0; size <= bytes.length; size++) {
    const part = readTcpInfo(bytes.subarray(0, size));
    for (const [name, value] of Object.entries(part)) {
      // What is there is right; what is cut off is missing as a whole.
      const right = whole[name as keyof typeof whole];
      assert(
        value === right || value === 0 || value === undefined || value === "",
        `${name} of ${size} bytes: ${value}`,
      );
    }
  }
  // Linux 3.x ended behind tcpi_total_retrans.
  const old = readTcpInfo(bytes.subarray(0, 104));
  assertEquals(old.totalRetransmits, whole.totalRetransmits);
  assertEquals(old.bytesAcked, undefined);
  assertEquals(readTcpInfo(bytes.subarray(0, 152)).minRtt, whole.minRtt);
  assertEquals(readTcpInfo(bytes.subarray(0, 151)).minRtt, undefined);
  assertEquals(
    readTcpInfo(bytes.subarray(0, 168)).deliveryRate,
    whole.deliveryRate,
  );
});

Deno.test("readTcpInfo() reads each member in its place and unit", () => {
  const bytes = new Uint8Array(TCP_INFO_SIZE + 5);
  const view = new DataView(bytes.buffer, 5);
  view.setUint8(0, 4);
  view.setUint8(2, 3);
  const at: [number, number][] = [
    [8, 200_500],
    [16, 1448],
    [20, 536],
    [24, 11],
    [32, 12],
    [44, 13],
    [52, 14],
    [60, 65_535],
    [68, 40],
    [72, 20],
    [76, 2 ** 31 - 1],
    [80, 10],
    [100, 2 ** 32 - 1],
    [148, 7],
  ];
  for (const [offset, value] of at) view.setUint32(offset, value, true);
  view.setBigUint64(120, 2n ** 40n, true);
  view.setBigUint64(128, 2n ** 41n, true);
  view.setBigUint64(160, 2n ** 42n, true);
  assertEquals(readTcpInfo(bytes.subarray(5)), {
    state: "FIN-WAIT-1",
    retransmits: 3,
    rto: 200.5,
    sendMss: 1448,
    receiveMss: 536,
    unacked: 11,
    lost: 12,
    lastDataSent: 13,
    lastDataReceived: 14,
    pathMtu: 65_535,
    rtt: 0.04,
    rttVariance: 0.02,
    slowStartThreshold: 2 ** 31 - 1,
    congestionWindow: 10,
    totalRetransmits: 2 ** 32 - 1,
    bytesAcked: 2 ** 40,
    bytesReceived: 2 ** 41,
    minRtt: 0.007,
    deliveryRate: 2 ** 42,
  });
  // A state of a later kernel is its number.
  view.setUint8(0, 99);
  assertEquals(readTcpInfo(bytes.subarray(5)).state, "99");
});
