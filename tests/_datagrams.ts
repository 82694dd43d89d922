/** Makers of datagram sockets: every kind that the package has, over every backend that this run has. */

import type { DatagramSocket, SocketAddr } from "../types.ts";
import { bindUdp, type UdpOptions, type UdpSocket } from "../udp.ts";
import { bindUnixDatagram } from "../unix.ts";
import { canListen, hasAbstract, hasUnix } from "./_pairs.ts";
import { unstable } from "./_process.ts";

/** A datagram socket of any kind: its addresses are those that it gives. */
export type AnySocket = DatagramSocket<SocketAddr, SocketAddr>;

/** A kind of datagram socket. */
export interface DatagramKind {
  readonly name: string;
  readonly isUdp: boolean;
  /** The largest datagram that goes over it on most systems. */
  readonly largest: number;
  readonly make: () => Promise<AnySocket>;
}

export type Backend = "deno" | "node";

/** The backends of UDP that this run has. */
export const backends: readonly Backend[] = unstable
  ? ["deno", "node"]
  : ["node"];

const any = (socket: unknown) => socket as AnySocket;

const folder = hasUnix && unstable ? Deno.makeTempDirSync() : "";
addEventListener("unload", () => {
  if (folder !== "") Deno.removeSync(folder, { recursive: true });
});

/** All kinds that this machine and this run have. */
export const datagramKinds: readonly DatagramKind[] = [
  ...backends.flatMap((backend) => [
    {
      name: `udp4 ${backend}`,
      isUdp: true,
      largest: 65507,
      make: async () => any(await bindUdp({ hostname: "127.0.0.1", backend })),
    },
    ...(canListen("::1")
      ? [{
        name: `udp6 ${backend}`,
        isUdp: true,
        largest: 65527,
        make: async () => any(await bindUdp({ hostname: "::1", backend })),
      }]
      : []),
  ]),
  ...(hasUnix && unstable
    ? [{
      name: "unixgram",
      isUdp: false,
      largest: 200_000,
      make: async () =>
        any(
          await bindUnixDatagram({
            path: `${folder}/${crypto.randomUUID().slice(0, 8)}`,
          }),
        ),
    }]
    : []),
  ...(hasAbstract && unstable
    ? [{
      name: "unixgram abstract",
      isUdp: false,
      largest: 200_000,
      make: async () =>
        any(await bindUnixDatagram({ path: `\0${crypto.randomUUID()}` })),
    }]
    : []),
];

/** Two sockets of a kind. */
export interface TwoSockets {
  readonly a: AnySocket;
  readonly b: AnySocket;
}

/** One test for every kind of datagram socket. */
export function testEachDatagram(
  name: string,
  fn: (sockets: TwoSockets, kind: DatagramKind) => Promise<void>,
): void {
  for (const kind of datagramKinds) {
    Deno.test(`${kind.name}: ${name}`, async () => {
      await using a = await kind.make();
      await using b = await kind.make();
      await fn({ a, b }, kind);
    });
  }
}

/** One test for every backend of UDP. */
export function testEachBackend(
  name: string,
  fn: (
    bind: (
      options?: UdpOptions & { hostname?: string; port?: number },
    ) => Promise<UdpSocket>,
    backend: Backend,
  ) => Promise<void>,
): void {
  for (const backend of backends) {
    Deno.test(`udp ${backend}: ${name}`, () =>
      fn(
        (options) => bindUdp({ hostname: "127.0.0.1", backend, ...options }),
        backend,
      ));
  }
}
