/** Binding again where somebody has been. */

import type { SocketAddr } from "../types.ts";
import { bindUdp } from "../udp.ts";
import { bindUnixDatagram } from "../unix.ts";
import type { Backend } from "./_datagrams.ts";

/** Binds to an address that must be free. */
export async function rebind(
  addr: SocketAddr,
  backend: Backend,
): Promise<AsyncDisposable> {
  return "path" in addr
    ? await bindUnixDatagram({ path: addr.path!, unlink: "never" })
    : await bindUdp({ hostname: addr.hostname, port: addr.port, backend });
}
