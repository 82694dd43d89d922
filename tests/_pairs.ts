/** Makers of connected pairs: every kind of stream that the package has. */

import { connectTcp, listenTcp } from "../tcp.ts";
import { connectUnix, listenUnix } from "../unix.ts";
import { pair } from "../pair.ts";
import type { StreamConn } from "../types.ts";
import * as libc from "../libc/mod.ts";
import { openAll } from "./_libc.ts";

/** Two connected ends, closed together at the end of a test. */
export class Ends implements Disposable {
  readonly a: StreamConn;
  readonly b: StreamConn;

  constructor(a: StreamConn, b: StreamConn) {
    this.a = a;
    this.b = b;
  }

  [Symbol.dispose](): void {
    this.a.close();
    this.b.close();
  }
}

/** A kind of stream. */
export interface Kind {
  readonly name: string;
  /** Whether a connection of the runtime's is below. */
  readonly native: boolean;
  readonly make: () => Promise<Ends>;
  /** Whether nothing goes on behind a test's end; a thread that waits is told a moment later. */
  readonly sanitizeOps?: false;
}

async function tcp(hostname: string): Promise<Ends> {
  await using listener = await listenTcp({ hostname });
  const [a, b] = await Promise.all([
    connectTcp(listener.addr),
    listener.accept(),
  ]);
  return new Ends(a, b);
}

async function unix(path: string): Promise<Ends> {
  await using listener = await listenUnix({ path });
  const [a, b] = await Promise.all([connectUnix({ path }), listener.accept()]);
  return new Ends(a, b);
}

/** A path for a socket, in a folder of its own that goes away with the test. */
export async function tempPath(): Promise<{ path: string } & AsyncDisposable> {
  const folder = await Deno.makeTempDir();
  return {
    path: `${folder}/s`,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

/** Whether this machine can listen on an address. */
export function canListen(hostname: string): boolean {
  try {
    Deno.listen({ hostname, port: 0 }).close();
    return true;
  } catch {
    return false;
  }
}

/** Whether this machine has Unix sockets, and abstract names for them. */
export const hasUnix = Deno.build.os !== "windows";
export const hasAbstract = Deno.build.os === "linux";

/** Whether this machine has the sockets of the C library. */
export const hasLibc = Deno.build.os === "linux";
if (hasLibc) openAll();

/** A connection of the C library's sockets. */
async function libcConnection(
  family: libc.Family,
  address: libc.Address,
): Promise<Ends> {
  using server = libc.socket(family);
  server.bind(address);
  server.listen(1);
  const client = libc.socket(family);
  await client.connect(server.getsockname());
  const [conn] = await server.accept();
  return new Ends(libc.toConn(client), libc.toConn(conn));
}

const libcKinds: readonly Kind[] = [
  {
    name: "libc tcp",
    native: false,
    sanitizeOps: false,
    make: () => libcConnection(libc.AF_INET, ["127.0.0.1", 0]),
  },
  {
    name: "libc unix",
    native: false,
    sanitizeOps: false,
    make: () => libcConnection(libc.AF_UNIX, `\0${crypto.randomUUID()}`),
  },
  {
    name: "libc socketpair",
    native: false,
    sanitizeOps: false,
    make: async () => {
      const [a, b] = await libc.socketpair();
      return new Ends(libc.toConn(a), libc.toConn(b));
    },
  },
];

/** All kinds that this machine has. */
export const kinds: readonly Kind[] = [
  { name: "tcp4", native: true, make: () => tcp("127.0.0.1") },
  ...(canListen("::1")
    ? [{ name: "tcp6", native: true, make: () => tcp("::1") }]
    : []),
  ...(hasUnix
    ? [{
      name: "unix",
      native: true,
      make: async () => {
        await using temp = await tempPath();
        return await unix(temp.path);
      },
    }]
    : []),
  ...(hasAbstract
    ? [{
      name: "unix abstract",
      native: true,
      make: () => unix(`\0${crypto.randomUUID()}`),
    }]
    : []),
  {
    name: "pair()",
    native: false,
    make: () => Promise.resolve(new Ends(...pair())),
  },
  ...(hasLibc ? libcKinds : []),
];

/** One test for every kind of stream. */
export function testEach(
  name: string,
  fn: (ends: Ends, kind: Kind) => Promise<void>,
): void {
  for (const kind of kinds) {
    const { sanitizeOps = true } = kind;
    Deno.test({
      name: `${kind.name}: ${name}`,
      sanitizeOps,
      async fn() {
        using ends = await kind.make();
        await fn(ends, kind);
      },
    });
  }
}
