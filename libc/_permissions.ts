/**
 * The permissions that a call would need if the runtime made it. A grant for the C library is a grant for
 * everything; they are asked for all the same, so that `--allow-ffi` alone opens no network.
 */

import { joinHostPort } from "../addr.ts";
import { AF_UNIX } from "../_constants.ts";
import { demandNet, netGranted } from "../_open.ts";

/** Hosts and ports that were granted: asking costs more than sending a datagram. */
const known = new Set<string>();
const MAX_KNOWN = 4096;

/** It changes when a grant is taken back. */
let status: Deno.PermissionStatus | undefined;

/** Caches of what was granted. */
const caches: { clear(): void }[] = [known];

function watchRevocations(): void {
  if (status !== undefined) return;
  status = Deno.permissions.querySync({ name: "net" });
  status.addEventListener("change", () => {
    for (const cache of caches) cache.clear();
  });
}

/** Has a cache emptied when a grant is taken back. */
export function clearOnRevocation(cache: { clear(): void }): void {
  caches.push(cache);
}

/**
 * Whether a grant may be remembered: only that of the whole net is told of when it is taken back.
 */
export function mayRemember(): boolean {
  watchRevocations();
  return netGranted();
}

/** Needs the net permission for a host, or a host and port. */
export function demandHost(hostname: string, port?: number): void {
  const host = port === undefined ? hostname : joinHostPort(hostname, port);
  if (known.has(host)) return;
  demandNet(host);
  if (!mayRemember()) return;
  if (known.size >= MAX_KNOWN) known.clear();
  known.add(host);
}

/** Needs the net permission as a whole. */
export function demandAllNet(): void {
  if (netGranted()) return;
  const { state } = Deno.permissions.requestSync({ name: "net" });
  if (state === "granted") return;
  throw new Deno.errors.NotCapable(
    "Requires net access, run again with the --allow-net flag",
  );
}

/** Needs what the runtime needs of a Unix address: to read and write a path, and the net permission. */
export function demandUnix(path: string): void {
  if (path === "" || path.startsWith("\0")) return demandAllNet();
  for (const name of ["read", "write"] as const) {
    const { state } = Deno.permissions.requestSync({ name, path });
    if (state !== "granted") {
      throw new Deno.errors.NotCapable(
        `Requires ${name} access to ${
          JSON.stringify(path)
        }, run again with the --allow-${name} flag`,
      );
    }
  }
  // A grant for one socket is one for its whole path.
  const full = path.startsWith("/") ? path : fullPath(path);
  if (full === undefined) demandAllNet();
  else demandNet(`unix:${full}`);
}

/** A path from the root; `undefined` where the working folder may not be known. */
function fullPath(path: string): string | undefined {
  try {
    return `${Deno.cwd()}/${path}`;
  } catch {
    return undefined;
  }
}

/** Needs what an address of a family needs. */
export function demandAddress(
  family: number,
  address: string | readonly [host: string, port: number, ...unknown[]],
): void {
  if (family === AF_UNIX) demandUnix(address as string);
  else demandHost(address[0]!, address[1] as number);
}
