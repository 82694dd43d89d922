import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import net from "node:net";
import {
  AddrList,
  formatAddr,
  isIPv4,
  isIPv6,
  joinHostPort,
  parseAddr,
  sameAddr,
  splitHostPort,
  unmapIPv4,
} from "../addr.ts";
import { AddressSyntaxError } from "../errors.ts";
import type { SocketAddr } from "../types.ts";

const RUNS = { numRuns: 1000 };

/** Four or sixteen bytes; zeros are frequent, for they are what IPv6 texts leave out. */
function bytes(length: number): fc.Arbitrary<number[]> {
  return fc.array(
    fc.oneof(fc.constant(0), fc.constant(255), fc.nat(255)),
    { minLength: length, maxLength: length },
  );
}

/** The eight groups of an IPv6 address. */
const groups = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.constant(0xffff) },
    { weight: 3, arbitrary: fc.nat(0xffff) },
  ),
  { minLength: 8, maxLength: 8 },
);

/** How one text of an IPv6 address differs from another. */
interface Spelling {
  /** Which of the possible gaps (and none) is written `::`. */
  gap: number;
  /** Whether the last two groups are in dotted decimal. */
  dotted: boolean;
  /** For each group: digits it is padded to, and upper case. */
  forms: { width: number; upper: boolean }[];
}

const spelling: fc.Arbitrary<Spelling> = fc.record({
  gap: fc.nat(100),
  dotted: fc.boolean(),
  forms: fc.array(
    fc.record({ width: fc.integer({ min: 1, max: 4 }), upper: fc.boolean() }),
    { minLength: 8, maxLength: 8 },
  ),
});

/** Writes an IPv6 address (RFC 4291, 2.2) in one of its many spellings. */
function spell(groups: readonly number[], { gap, dotted, forms }: Spelling) {
  const words = groups.map((group, i) => {
    const text = group.toString(16).padStart(forms[i]!.width, "0");
    return forms[i]!.upper ? text.toUpperCase() : text;
  });
  const count = dotted ? 6 : 8;
  if (dotted) {
    const [a, b] = [groups[6]!, groups[7]!];
    words.splice(6, 2, [a >> 8, a & 255, b >> 8, b & 255].join("."));
  }
  // Any part of a run of zeros may be the gap.
  const gaps: [number, number][] = [];
  for (let start = 0; start < count; start++) {
    for (let end = start; end < count && groups[end] === 0; end++) {
      gaps.push([start, end + 1]);
    }
  }
  const chosen = gaps[gap % (gaps.length + 1)];
  if (chosen === undefined) return words.join(":");
  const [start, end] = chosen;
  return `${words.slice(0, start).join(":")}::${words.slice(end).join(":")}`;
}

const ipv4 = bytes(4).map((bytes) => bytes.join("."));
const ipv6 = fc.tuple(groups, spelling).map(([groups, spelling]) =>
  spell(groups, spelling)
);

/** An interface's name or number. */
const zone = fc.stringMatching(/^[A-Za-z0-9._:@-]{1,15}$/);

const label = fc.stringMatching(/^[A-Za-z_]([A-Za-z0-9_-]{0,20}[A-Za-z])?$/)
  // What looks like a hexadecimal number is meant as an address.
  .filter((label) => !/^0x/i.test(label));
const name = fc.tuple(
  fc.array(label, { minLength: 1, maxLength: 4 }),
  fc.boolean(),
).map(([labels, root]) => labels.join(".") + (root ? "." : ""));

const host = fc.oneof(
  ipv4,
  ipv6,
  fc.tuple(ipv6, zone).map(([address, zone]) => `${address}%${zone}`),
  name,
);
const port = fc.oneof(fc.constantFrom(0, 1, 65535), fc.nat(65535));

const netAddr = fc.record({
  transport: fc.constantFrom("tcp", "udp", "tls"),
  hostname: host,
  port,
}, { noNullPrototype: true });

/** Text of all that a path may be made of, and that another reader might take for syntax. */
const pathText = fc.oneof(
  fc.string({ unit: "binary", minLength: 1 }),
  fc.string({ unit: "grapheme", minLength: 1 }),
  fc.array(
    fc.constantFrom(
      "/",
      "//",
      "@",
      ":",
      " ",
      "%",
      "%20",
      "%00",
      "\\",
      "?",
      "#",
      "..",
      "\n",
      "unix:",
      "tcp://",
      "(unnamed)",
      "é",
      "😀",
      "\u{feff}",
      "x",
    ),
    { minLength: 1, maxLength: 8 },
  ).map((parts) => parts.join("")),
);

const unixAddr = fc.record({
  transport: fc.constantFrom("unix", "unixpacket"),
  path: fc.oneof(
    pathText.map((text) => text.replaceAll("\0", "0")),
    pathText.map((text) => `@${text.replaceAll("\0", "0")}`),
    pathText.map((text) => `//${text.replaceAll("\0", "0")}`),
    // An abstract name may have NULs inside.
    pathText.map((text) => `\0${text}`),
  ),
}, { noNullPrototype: true });

/** A text with one character gone, added, changed or moved. */
function mutated(text: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.tuple(
    text,
    fc.nat(40),
    fc.nat(40),
    fc.constantFrom("drop", "add", "change", "copy"),
    fc.constantFrom(..."0123456789afAFgx.::/- \n[]@"),
  ).map(([text, from, to, how, char]) => {
    const i = from % (text.length + 1);
    const rest = text.slice(i + 1);
    switch (how) {
      case "drop":
        return text.slice(0, i) + rest;
      case "add":
        return text.slice(0, i) + char + text.slice(i);
      case "change":
        return text.slice(0, i) + char + rest;
      default: {
        const k = to % (text.length + 1);
        return text.slice(0, k) + text.slice(i);
      }
    }
  });
}

/** An IPv6 address as eight groups in their plainest spelling. */
function plain(groups: readonly number[]): string {
  return groups.map((group) => group.toString(16)).join(":");
}

/** A TCP address on port 80. */
function tcp(hostname: string): SocketAddr {
  return { transport: "tcp", hostname, port: 80 };
}

Deno.test("parseAddr() reads back what formatAddr() writes of a host and a port", () => {
  fc.assert(
    fc.property(netAddr, (addr) => {
      const typed = addr as SocketAddr;
      assertEquals<unknown>(parseAddr(formatAddr(typed)), addr);
    }),
    RUNS,
  );
});

Deno.test("parseAddr() reads back what formatAddr() writes of a path", () => {
  fc.assert(
    fc.property(unixAddr, (addr) => {
      const typed = addr as SocketAddr;
      assertEquals<unknown>(parseAddr(formatAddr(typed)), addr);
    }),
    RUNS,
  );
});

Deno.test("formatAddr() writes back what parseAddr() reads, or a text of the same address", () => {
  const text = fc.oneof(
    netAddr.map((addr) => formatAddr(addr as SocketAddr)),
    unixAddr.map((addr) => formatAddr(addr as SocketAddr)),
  );
  fc.assert(
    fc.property(fc.oneof(text, mutated(text)), (text) => {
      let addr;
      try {
        addr = parseAddr(text);
      } catch (error) {
        assert(error instanceof AddressSyntaxError, String(error));
        return;
      }
      assertEquals(parseAddr(formatAddr(addr)), addr);
      assert(sameAddr(parseAddr(formatAddr(addr)), addr));
    }),
    RUNS,
  );
});

Deno.test("splitHostPort() reads back what joinHostPort() writes", () => {
  fc.assert(
    fc.property(host, port, (hostname, port) => {
      assertEquals(splitHostPort(joinHostPort(hostname, port)), {
        hostname,
        port,
      });
    }),
    RUNS,
  );
});

Deno.test("parseAddr() throws nothing but AddressSyntaxError, whatever the text", () => {
  const syntax = fc.array(
    fc.constantFrom(
      ..."0123456789af:.[]%@/-\0 \n",
      "tcp://",
      "udp://",
      "tls://",
      "unix:",
      "unixgram:",
      "::",
      "//",
      "fe80::1%eth0",
      "127.0.0.1",
      "localhost",
      "é",
      "\ud800",
      ":80",
    ),
    { maxLength: 12 },
  ).map((parts) => parts.join(""));
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string({ unit: "binary" }),
        fc.string({ unit: fc.nat(0xffff).map((n) => String.fromCharCode(n)) }),
        syntax,
        syntax.map((text) => `tcp://${text}:80`),
      ),
      (text) => {
        for (const call of [parseAddr, splitHostPort]) {
          try {
            call(text);
          } catch (error) {
            assert(error instanceof AddressSyntaxError, String(error));
            assertEquals(error.input, text);
            assert(
              Number.isInteger(error.position) && error.position >= 0 &&
                error.position <= text.length,
              `${JSON.stringify(text)}: position ${error.position}`,
            );
          }
        }
      },
    ),
    { numRuns: 5000 },
  );
});

Deno.test("AddrList.add() throws nothing but AddressSyntaxError, whatever the text", () => {
  const entry = fc.array(
    fc.constantFrom(..."0123456789af:./%", "::", "10.0.0.0", "/8", "\0"),
    { maxLength: 8 },
  ).map((parts) => parts.join(""));
  fc.assert(
    fc.property(fc.oneof(fc.string(), entry, mutated(entry)), (text) => {
      const list = new AddrList();
      try {
        list.add(text);
      } catch (error) {
        assert(error instanceof AddressSyntaxError, String(error));
        assertEquals(error.input, text);
        assertEquals(list.size, 0);
      }
    }),
    RUNS,
  );
});

Deno.test("isIPv4() agrees with node:net", () => {
  fc.assert(
    fc.property(
      fc.oneof(ipv4, mutated(ipv4), mutated(mutated(ipv4)), fc.string()),
      (text) => assertEquals(isIPv4(text), net.isIPv4(text), text),
    ),
    { numRuns: 5000 },
  );
});

Deno.test("isIPv6() agrees with node:net on addresses without a zone", () => {
  fc.assert(
    fc.property(
      fc.oneof(ipv6, mutated(ipv6), mutated(mutated(ipv6)), ipv4, fc.string())
        // What a zone may be made of is each reader's own business.
        .filter((text) => !text.includes("%")),
      (text) => assertEquals(isIPv6(text), net.isIPv6(text), text),
    ),
    { numRuns: 5000 },
  );
});

Deno.test("isIPv6() agrees with node:net on zones of letters and digits", () => {
  fc.assert(
    fc.property(
      fc.oneof(ipv6, mutated(ipv6)),
      fc.stringMatching(/^[A-Za-z0-9.-]{0,15}$/),
      (address, zone) => {
        const text = `${address}%${zone}`;
        assertEquals(isIPv6(text), net.isIPv6(text), text);
      },
    ),
    RUNS,
  );
});

Deno.test("isIPv6() takes every spelling of an address", () => {
  fc.assert(
    fc.property(ipv6, (text) => {
      assert(isIPv6(text), text);
      assert(!isIPv4(text), text);
    }),
    RUNS,
  );
});

Deno.test("sameAddr() is an equivalence on the spellings of an IPv6 address", () => {
  fc.assert(
    fc.property(groups, spelling, spelling, spelling, (groups, x, y, z) => {
      const [a, b, c] = [x, y, z].map((how) => tcp(spell(groups, how)));
      assert(sameAddr(a!, a!));
      assert(sameAddr(a!, b!) && sameAddr(b!, a!));
      assert(sameAddr(b!, c!) && sameAddr(a!, c!));
    }),
    RUNS,
  );
});

Deno.test("sameAddr() tells two IPv6 addresses apart, however they are spelled", () => {
  fc.assert(
    fc.property(
      groups,
      fc.nat(7),
      fc.nat(15),
      spelling,
      spelling,
      (groups, at, bit, x, y) => {
        const other = groups.with(at, groups[at]! ^ (1 << bit));
        const [a, b] = [tcp(spell(groups, x)), tcp(spell(other, y))];
        assert(!sameAddr(a, b));
        assert(!sameAddr(b, a));
      },
    ),
    RUNS,
  );
});

Deno.test("sameAddr() compares zones exactly in every spelling", () => {
  fc.assert(
    fc.property(
      groups,
      spelling,
      spelling,
      zone,
      zone,
      (groups, x, y, one, other) => {
        const [a, b] = [spell(groups, x), spell(groups, y)];
        assert(sameAddr(tcp(`${a}%${one}`), tcp(`${b}%${one}`)));
        assert(!sameAddr(tcp(`${a}%${one}`), tcp(b)));
        assertEquals(
          sameAddr(tcp(`${a}%${one}`), tcp(`${b}%${other}`)),
          one === other,
        );
      },
    ),
    RUNS,
  );
});

Deno.test("unmapIPv4() finds the IPv4 address in every spelling", () => {
  fc.assert(
    fc.property(bytes(4), spelling, (bytes, how) => {
      const [a, b, c, d] = bytes as [number, number, number, number];
      const groups = [0, 0, 0, 0, 0, 0xffff, a << 8 | b, c << 8 | d];
      const text = spell(groups, how);
      assertEquals(unmapIPv4(text), bytes.join("."), text);
      assert(sameAddr(tcp(text), tcp(bytes.join("."))));
    }),
    RUNS,
  );
});

/** An address near a block: often inside, and often outside by one bit only. */
function near(
  block: readonly number[],
  bits: number,
  noise: readonly number[],
) {
  return block.map((byte, i) => {
    const kept = Math.min(Math.max(bits - 8 * i, 0), 8);
    const mask = 0xff00 >> kept & 0xff;
    return (byte & mask) | (noise[i]! & ~mask & 0xff);
  });
}

/** A block, and addresses around its edge. */
function blocks(length: number) {
  const flip = fc.option(fc.nat(length * 8 - 1));
  return fc.tuple(
    bytes(length),
    fc.nat(length * 8),
    fc.array(fc.tuple(bytes(length), flip), { minLength: 1, maxLength: 4 }),
  ).map(([block, bits, others]) => ({
    block,
    bits,
    addresses: others.map(([noise, flip]) => {
      const address = near(block, bits, noise);
      return flip === null
        ? address
        : address.with(flip >> 3, address[flip >> 3]! ^ (0x80 >> (flip & 7)));
    }),
  }));
}

/** Sixteen bytes as an address. */
function textOf(bytes: readonly number[]): string {
  if (bytes.length === 4) return bytes.join(".");
  return plain(
    Array.from(
      { length: 8 },
      (_, i) => bytes[2 * i]! << 8 | bytes[2 * i + 1]!,
    ),
  );
}

Deno.test("AddrList agrees with node:net's BlockList on IPv4", () => {
  fc.assert(
    fc.property(
      fc.array(blocks(4), { minLength: 1, maxLength: 4 }),
      (blocks) => {
        const list = new AddrList();
        const reference = new net.BlockList();
        for (const { block, bits } of blocks) {
          list.add(`${textOf(block)}/${bits}`);
          reference.addSubnet(textOf(block), bits, "ipv4");
        }
        for (const address of blocks.flatMap(({ addresses }) => addresses)) {
          const text = textOf(address);
          const expected = reference.check(text, "ipv4");
          assertEquals(list.has(text), expected, text);
          assertEquals(list.has(`::ffff:${text}`), expected, `mapped ${text}`);
        }
      },
    ),
    RUNS,
  );
});

Deno.test("AddrList agrees with node:net's BlockList on IPv6", () => {
  fc.assert(
    fc.property(
      fc.array(blocks(16), { minLength: 1, maxLength: 4 }),
      (blocks) => {
        const list = new AddrList();
        const reference = new net.BlockList();
        for (const { block, bits } of blocks) {
          list.add(`${textOf(block)}/${bits}`);
          reference.addSubnet(textOf(block), bits, "ipv6");
        }
        for (const address of blocks.flatMap(({ addresses }) => addresses)) {
          const text = textOf(address);
          assertEquals(list.has(text), reference.check(text, "ipv6"), text);
        }
      },
    ),
    RUNS,
  );
});

Deno.test("AddrList takes a mapped block for the IPv4 block inside it", () => {
  fc.assert(
    fc.property(blocks(4), ({ block, bits, addresses }) => {
      const list = new AddrList([`${textOf(block)}/${bits}`]);
      const mapped = new AddrList([`::ffff:${textOf(block)}/${bits + 96}`]);
      for (const address of addresses) {
        const text = textOf(address);
        assertEquals(mapped.has(text), list.has(text), text);
        assertEquals(mapped.has(`::ffff:${text}`), list.has(text), text);
      }
    }),
    RUNS,
  );
});

Deno.test("AddrList.has() does not depend on the spelling", () => {
  fc.assert(
    fc.property(
      groups,
      fc.nat(128),
      spelling,
      spelling,
      (groups, bits, x, y) => {
        const list = new AddrList([`${spell(groups, x)}/${bits}`]);
        assertEquals(
          list.has(spell(groups, y)),
          list.has(plain(groups)),
        );
      },
    ),
    RUNS,
  );
});
