/**
 * Prints round trips to a host, as ping(8) does: an ICMP datagram socket where the system allows it, a raw
 * socket where it does not.
 *
 *     deno run --allow-net --allow-ffi examples/ping.ts 127.0.0.1
 *     deno run --allow-net --allow-ffi examples/ping.ts --count 3 --interval 200 ::1
 *
 * Linux lets the groups of `net.ipv4.ping_group_range` have such datagram sockets; a raw one needs root, or
 * the capability CAP_NET_RAW. The program ends with 0 if there was a reply, and with 1 if there was none.
 */

import {
  type Address,
  AF_INET6,
  AF_UNSPEC,
  type ControlMessage,
  controlSpace,
  errorCode,
  type Family,
  getaddrinfo,
  inet_ntop,
  IP_TTL,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_HOPLIMIT,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  Options,
  SOCK_DGRAM,
  SOCK_RAW,
  type Socket,
  socket,
  strerror,
} from "@berkeley/sockets/libc";
import { fail, readLine, run, sleep, Stop } from "./_args.ts";

const HELP = `Ping: prints round trips to a host.

Usage: ping.ts [OPTIONS] HOST

HOST is an address or a name, of IPv4 or IPv6.

  -c, --count N       end after N probes; without it, Ctrl+C ends the program
  -i, --interval MS   milliseconds between probes, by default 1000
  -s, --size BYTES    data in each probe, 0 to 65507, by default 56
  -W, --timeout MS    how long a reply may take, by default 1000
  -h, --help          show this help`;

/** The header of an echo message, in bytes (RFC 792, RFC 4443). */
const HEADER = 8;

/** What differs from one family to the other. */
interface Protocol {
  readonly proto: number;
  readonly request: number;
  readonly reply: number;
  /** What the hops that are left come with. */
  readonly hops: { readonly level: number; readonly type: number };
  /** Who has sent an error, behind `struct sock_extended_err`: where that is, and how long. */
  readonly offender: { readonly at: number; readonly size: number };
}

const ICMP: Protocol = {
  proto: IPPROTO_ICMP,
  request: 8,
  reply: 0,
  hops: { level: IPPROTO_IP, type: IP_TTL },
  offender: { at: 20, size: 4 },
};
const ICMPV6: Protocol = {
  proto: IPPROTO_ICMPV6,
  request: 128,
  reply: 129,
  hops: { level: IPPROTO_IPV6, type: IPV6_HOPLIMIT },
  offender: { at: 24, size: 16 },
};

/** The Internet checksum (RFC 1071): the ones' complement of the sum of all pairs of bytes. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += bytes[i]! << 8 | (bytes[i + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** An echo request: type, code 0, checksum, identifier, sequence number, data. */
function echoRequest(
  { proto, request }: Protocol,
  id: number,
  sequence: number,
  size: number,
): Uint8Array {
  const bytes = new Uint8Array(HEADER + size).map((_, i) => i);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, request);
  view.setUint8(1, 0);
  view.setUint16(2, 0);
  view.setUint16(4, id);
  view.setUint16(6, sequence);
  // That of ICMPv6 covers the addresses too, and the kernel always makes it (RFC 3542, 3.1).
  if (proto === IPPROTO_ICMP) view.setUint16(2, checksum(bytes));
  return bytes;
}

/** What has come: its type, identifier and sequence number, and how long it is. */
function readEcho(bytes: Uint8Array) {
  if (bytes.length < HEADER) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return {
    type: view.getUint8(0),
    id: view.getUint16(4),
    sequence: view.getUint16(6),
    size: bytes.length,
  };
}

/** What a probe came to. */
type Outcome =
  | {
    readonly is: "reply";
    readonly at: number;
    readonly size: number;
    readonly hops: string;
  }
  | { readonly is: "error"; readonly code: string; readonly from: string }
  | { readonly is: "silence" }
  | { readonly is: "stopped" };

/** Sends probes to a host, and finds out what becomes of each. */
class Pinger implements Disposable {
  readonly kind: "datagram" | "raw";
  readonly #socket: Socket;
  readonly #protocol: Protocol;
  /** The kernel gives datagram sockets an identifier of their own. */
  readonly #id = crypto.getRandomValues(new Uint16Array(1))[0]!;
  readonly #pending = new Map<number, (outcome: Outcome) => void>();

  constructor(family: Family) {
    this.#protocol = family === AF_INET6 ? ICMPV6 : ICMP;
    const { proto } = this.#protocol;
    let opened: Socket | undefined;
    try {
      opened = socket<Address>(family, SOCK_DGRAM, proto);
    } catch (error) {
      const code = errorCode(error) ?? "";
      // The last one is of kernels without such sockets.
      if (!["EACCES", "EPERM", "EPROTONOSUPPORT"].includes(code)) throw error;
    }
    this.kind = opened === undefined ? "raw" : "datagram";
    this.#socket = opened ?? socket<Address>(family, SOCK_RAW, proto);
    const isSix = family === AF_INET6;
    this.#socket.setoption(
      isSix ? Options.IPV6_RECVHOPLIMIT : Options.IP_RECVTTL,
      true,
    );
    // What routers say of a probe comes to a queue of errors.
    this.#socket.setoption(
      isSix ? Options.IPV6_RECVERR : Options.IP_RECVERR,
      true,
    );
  }

  /** Hears nobody but the host. */
  async connect(address: Address): Promise<void> {
    await this.#socket.connect(address);
  }

  /** Takes what comes, until the socket is closed. */
  async listen(): Promise<void> {
    for (;;) {
      try {
        this.#take(await this.#socket.recvmsg(65_536, controlSpace(4)));
      } catch (error) {
        const code = errorCode(error);
        if (code === "EINTR" || code === "EBADF") return;
        if (code === undefined) throw error;
        await this.#readErrors();
      }
    }
  }

  #take(
    [bytes, control]: [Uint8Array, ControlMessage[], number, unknown],
  ): void {
    const at = performance.now();
    const { hops, reply, proto } = this.#protocol;
    // A raw socket of IPv4 gets the header in front: its first half byte is its length in words.
    const isWrapped = this.kind === "raw" && proto === IPPROTO_ICMP;
    const echo = readEcho(
      isWrapped ? bytes.subarray((bytes[0]! & 15) * 4) : bytes,
    );
    // A raw socket gets everything: our own requests on loopback, and what other programs are answered.
    if (echo?.type !== reply) return;
    if (this.kind === "raw" && echo.id !== this.#id) return;
    const left = control.find(({ level, type }) =>
      level === hops.level && type === hops.type
    );
    this.#settle(echo.sequence, {
      is: "reply",
      at,
      size: echo.size,
      hops: String(left?.data[0] ?? "?"),
    });
  }

  /** Takes everything from the queue of errors: each comes with the probe that it is about. */
  async #readErrors(): Promise<number> {
    const { offender, request } = this.#protocol;
    for (let count = 0;; count++) {
      try {
        const [bytes, control] = await this.#socket.recvmsg(
          65_536,
          512,
          MSG_ERRQUEUE | MSG_DONTWAIT,
        );
        const data = control.find(({ data }) => data.length > 16)?.data;
        const echo = readEcho(bytes);
        if (data === undefined || echo?.type !== request) continue;
        const { at, size } = offender;
        const view = new DataView(data.buffer, data.byteOffset);
        const family = view.getUint16(16, true);
        this.#settle(echo.sequence, {
          is: "error",
          code: strerror(view.getUint32(0, true)),
          // An error of this machine's own comes from nobody.
          from: family === 0 || data.length < at + size
            ? "this machine"
            : inet_ntop(family as Family, data.subarray(at, at + size)),
        });
      } catch {
        return count;
      }
    }
  }

  #settle(sequence: number, outcome: Outcome): void {
    this.#pending.get(sequence)?.(outcome);
  }

  /** Sends a probe and waits for what becomes of it. */
  async probe(
    number: number,
    size: number,
    timeout: number,
  ): Promise<Outcome> {
    const sequence = number & 0xffff;
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const timer = setTimeout(() => resolve({ is: "silence" }), timeout);
    this.#pending.set(sequence, resolve);
    try {
      const request = echoRequest(this.#protocol, this.#id, sequence, size);
      try {
        await this.#socket.send(request);
      } catch (error) {
        // What a call says may be about the probe before; then this one is not sent yet.
        if (await this.#readErrors() === 0) throw error;
        await this.#socket.send(request);
      }
      return await promise;
    } catch (error) {
      const code = errorCode(error);
      if (code === undefined) throw error;
      return { is: "error", code: strerror(code), from: "this machine" };
    } finally {
      clearTimeout(timer);
      this.#pending.delete(sequence);
    }
  }

  /** Gives up on every probe that is on its way. */
  stop(): void {
    for (const settle of this.#pending.values()) settle({ is: "stopped" });
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** What there is to tell at the end. */
class Statistics {
  sent = 0;
  readonly trips: number[] = [];

  toString(): string {
    const { sent, trips } = this;
    const lost = sent === 0 ? 0 : (sent - trips.length) / sent * 100;
    const lines = [
      `${sent} sent, ${trips.length} received, ${
        lost.toFixed(lost % 1 === 0 ? 0 : 1)
      }% lost`,
    ];
    if (trips.length > 0) {
      const sum = trips.reduce((a, b) => a + b);
      const figures = [
        trips.reduce((a, b) => Math.min(a, b)),
        sum / trips.length,
        trips.reduce((a, b) => Math.max(a, b)),
      ].map((ms) => ms.toFixed(3));
      lines.push(`round trip min/avg/max = ${figures.join("/")} ms`);
    }
    return lines.join("\n");
  }
}

/** The first address of a host. */
async function addressOf(host: string): Promise<[Family, Address]> {
  try {
    const [[family, , , , address]] = await getaddrinfo(
      host,
      0,
      AF_UNSPEC,
      SOCK_DGRAM,
    );
    return [family, address];
  } catch (error) {
    if (!errorCode(error)?.startsWith("EAI_")) throw error;
    fail(`unknown host ${host} (${errorCode(error)})`);
  }
}

/** Opens the socket, or says what is missing. */
function open(family: Family): Pinger {
  try {
    return new Pinger(family);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) fail(error.message);
    if (!["EACCES", "EPERM"].includes(errorCode(error) ?? "")) throw error;
    fail(
      "no permission for ICMP: let net.ipv4.ping_group_range have your group, or run it with CAP_NET_RAW",
    );
  }
}

/** What the command line says. */
function readArgs() {
  const { words, integer } = readLine(HELP, {
    count: "c",
    interval: "i",
    size: "s",
    timeout: "W",
  });
  const [host, ...more] = words;
  if (host === undefined || more.length > 0) {
    fail("one HOST, please; see --help");
  }
  return {
    host,
    count: integer("count", Infinity, 1, 2 ** 31 - 1),
    interval: integer("interval", 1000, 1, 2 ** 31 - 1),
    size: integer("size", 56, 0, 65_507),
    timeout: integer("timeout", 1000, 1, 2 ** 31 - 1),
  };
}

const { host, count, interval, size, timeout } = readArgs();

await run(async () => {
  const [family, address] = await addressOf(host);
  using pinger = open(family);
  await pinger.connect(address);
  const name = (address as readonly [string, ...unknown[]])[0];
  const statistics = new Statistics();
  using stop = new Stop();
  stop.signal.onabort = () => pinger.stop();
  console.log(
    `PING ${host} (${name}): ${size} bytes of data over a ${pinger.kind} socket`,
  );
  const listening = pinger.listen();

  async function tell(number: number): Promise<void> {
    const start = performance.now();
    const outcome = await pinger.probe(number, size, timeout);
    // What Ctrl+C ends is not lost.
    if (outcome.is === "stopped") return;
    statistics.sent++;
    const sequence = `icmp_seq=${number}`;
    switch (outcome.is) {
      case "reply": {
        const ms = outcome.at - start;
        statistics.trips.push(ms);
        console.log(
          `${outcome.size} bytes from ${name}: ${sequence} ttl=${outcome.hops} time=${
            ms.toFixed(3)
          } ms`,
        );
        break;
      }
      case "error":
        console.log(`${outcome.code}, says ${outcome.from}: ${sequence}`);
        break;
      case "silence":
        console.log(`no reply within ${timeout} ms: ${sequence}`);
    }
  }

  // Probes go out in their rhythm, whatever becomes of those before.
  const probes = new Set<Promise<void>>();
  let next = performance.now();
  for (let number = 1; number <= count && !stop.signal.aborted; number++) {
    const probe = tell(number);
    probes.add(probe);
    probe.finally(() => probes.delete(probe));
    if (number === count) break;
    next += interval;
    await sleep(Math.max(0, next - performance.now()), stop.signal);
  }
  await Promise.all(probes);

  console.log(`\n--- ${host} ---\n${statistics}`);
  pinger[Symbol.dispose]();
  await listening;
  if (statistics.trips.length === 0) Deno.exitCode = 1;
});
