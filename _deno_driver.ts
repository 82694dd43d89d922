/** The driver of the BSD face that needs no more than `--allow-net`: the rooms of this package. */

import { pair } from "./pair.ts";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  IPPROTO_TCP,
  IPPROTO_UDP,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_RDM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
} from "./_constants.ts";
import type { Driver, DriverSocket } from "./_driver.ts";
import { DenoUdp, DenoUnixDatagrams } from "./_deno_datagram.ts";
import { ELSEWHERE } from "./_deno_options.ts";
import { DenoStream } from "./_deno_stream.ts";
import { socketError } from "./_socket_error.ts";

/** Checks what kind of socket is wanted. */
function check(call: string, family: number, type: number, proto: number) {
  if (family !== AF_INET && family !== AF_INET6 && family !== AF_UNIX) {
    throw socketError("EAFNOSUPPORT", call);
  }
  if (type === SOCK_RAW || type === SOCK_SEQPACKET || type === SOCK_RDM) {
    throw socketError(
      "ESOCKTNOSUPPORT",
      call,
      `Deno has no sockets of this type; ${ELSEWHERE}`,
    );
  }
  if (type !== SOCK_STREAM && type !== SOCK_DGRAM) {
    throw socketError("EINVAL", call, `no such type: ${type}`);
  }
  const own = family === AF_UNIX
    ? 0
    : type === SOCK_STREAM
    ? IPPROTO_TCP
    : IPPROTO_UDP;
  if (proto !== 0 && proto !== own) {
    throw socketError("EPROTONOSUPPORT", call);
  }
}

/** Sockets of Deno's. */
export const denoDriver: Driver = {
  name: "deno",
  bindsClients: false,
  socket(family, type, proto): DriverSocket {
    check("socket", family, type, proto);
    if (type === SOCK_STREAM) return new DenoStream(family);
    return family === AF_UNIX ? new DenoUnixDatagrams() : new DenoUdp(family);
  },
  socketpair(family, type, proto) {
    check("socketpair", family, type, proto);
    if (family !== AF_UNIX || type !== SOCK_STREAM) {
      throw socketError(
        "EOPNOTSUPP",
        "socketpair",
        `on Deno's driver a pair is one of AF_UNIX and SOCK_STREAM; ${ELSEWHERE}`,
      );
    }
    const [a, b] = pair();
    return Promise.resolve([
      DenoStream.of(AF_UNIX, a),
      DenoStream.of(AF_UNIX, b),
    ]);
  },
};
