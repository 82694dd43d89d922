/** Opening sockets: names, aborts that leak nothing, and errors that say what could not be opened. */

import { classOfCode } from "./_errno_table.ts";
import { AddressSyntaxError, errorCode, strerror } from "./errors.ts";
import type { SocketAddr } from "./types.ts";
import { formatAddr, isIPv4, isIPv6, joinHostPort } from "./addr.ts";
import { MAX_DELAY, timedOut } from "./_wait.ts";

/** An address as messages show it: "tcp 127.0.0.1:80", "unix /run/x.sock". */
function describe(address: SocketAddr): string {
  const text = formatAddr(address);
  return text.replace(/^(tcp|udp|tls):\/\/|^(unix|unixgram):/, "$1$2 ");
}

/**
 * An error anew, in the same class, saying what was to be done with which address. `code` is set,
 * `cause` is the original. Errors of `node:` modules become the Deno class that belongs to their code.
 */
export function openingError(
  action: string,
  address: SocketAddr,
  cause: unknown,
): unknown {
  if (!(cause instanceof Error) || cause instanceof DOMException) return cause;
  // The text of an option was wrong.
  if (cause instanceof AddressSyntaxError) return cause;
  const code = errorCode(cause);
  let reason = cause.message.replace(/ \(os error \d+\)$/, "");
  let Class = cause.constructor as new (
    message: string,
    options: ErrorOptions,
  ) => Error;
  if (typeof (cause as { syscall?: unknown }).syscall === "string") {
    Class = code === undefined ? Error : classOfCode(code) ?? Error;
    reason = code === "ENOTFOUND"
      ? "Name or service not known"
      : code === "EAI_AGAIN"
      ? "Temporary failure in name resolution"
      : strerror(code!);
  } else {
    reason = reason.replace(/^failed to lookup address information: /, "");
  }
  const suffix = code === undefined || cause instanceof Deno.errors.NotCapable
    ? ""
    : ` (${code})`;
  const error = new Class(
    `Cannot ${action} ${describe(address)}: ${reason}${suffix}`,
    { cause },
  );
  return Object.assign(error, {
    ...(code !== undefined && { code }),
    address,
  });
}

/** An error of the system, as the system would have put it, for what is known without asking it. */
export function systemError(
  action: string,
  address: SocketAddr,
  code: string,
  hint = "",
): Error {
  const Class = classOfCode(code) ?? Error;
  const reason = `${strerror(code)} (${code})${hint}`;
  return Object.assign(
    new Class(`Cannot ${action} ${describe(address)}: ${reason}`),
    { code, address },
  );
}

/** An error for what the runtime cannot do, or not without a flag. */
export function notSupported(message: string): Error {
  return Object.assign(new Deno.errors.NotSupported(message), {
    code: "EOPNOTSUPP",
  });
}

/** Whether the program runs with `--unstable-net`. */
export function hasUnstableNet(): boolean {
  return typeof Deno.listenDatagram === "function";
}

/** What bounds an opening. */
export interface Bounds {
  readonly timeout: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** A moment from which on an opening is over, and why. */
interface Over {
  readonly reason: unknown;
}

/**
 * Runs an opening that can be cancelled, and leaks nothing: what it opens too late is closed.
 *
 * The runtime drops a connection that is made in the very turn of the abort: its `connect` looks at
 * the signal once more at its end and throws the result away. So it gets a signal of ours whose
 * `throwIfAborted` does nothing, and the late connection is closed here.
 *
 * @param what What is bounded, as the timeout's message says it.
 * @param bounds The timeout and the signal.
 * @param open Opens, and stops when its signal is aborted.
 */
export async function bounded<T extends { close(): void }>(
  what: string,
  { timeout, signal }: Bounds,
  open: (signal: AbortSignal | undefined) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  if (timeout === undefined && signal === undefined) {
    return await open(undefined);
  }
  const inner = new AbortController();
  Object.defineProperty(inner.signal, "throwIfAborted", { value: () => {} });
  let over: Over | undefined;
  const end = (reason: unknown) => {
    over ??= { reason };
    inner.abort();
  };
  const onAbort = () => end(signal!.reason);
  signal?.addEventListener("abort", onAbort);
  const timer = timeout === undefined || timeout === Infinity
    ? undefined
    : setTimeout(
      () => end(timedOut(what, timeout)),
      Math.min(timeout, MAX_DELAY),
    );
  try {
    const opened = await open(inner.signal);
    if (over === undefined) return opened;
    opened.close();
  } catch (error) {
    if (over === undefined) throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
  throw (over as Over).reason;
}

/** What a bounded opening is called in a timeout's message. */
export function connectTo(address: SocketAddr): string {
  return `Connect to ${describe(address)}`;
}

/** Whether a flag grants the net permission for a host and port, without asking anybody. */
export function netGranted(host?: string): boolean {
  const { state } = Deno.permissions.querySync(
    host === undefined ? { name: "net" } : { name: "net", host },
  );
  return state === "granted";
}

/**
 * Needs the net permission for a host, or a host and port: where it is missing, the user is asked as the
 * runtime would ask, and what cannot be had is the error that the runtime would throw.
 */
export function demandNet(host: string): void {
  if (netGranted(host)) return;
  const { state } = Deno.permissions.requestSync({ name: "net", host });
  if (state === "granted") return;
  throw new Deno.errors.NotCapable(
    `Requires net access to "${host}", run again with the --allow-net flag`,
  );
}

/** The addresses that a name stands for, in the resolver's order. Needs a grant for the name. */
export async function lookUp(hostname: string): Promise<string[]> {
  demandNet(hostname);
  const { lookup } = await import("node:dns/promises");
  const found = await lookup(hostname, { all: true, verbatim: true });
  return [...new Set(found.map(({ address }) => address))];
}

/**
 * The addresses to try for a host, in the resolver's order. `Deno.listen` would look a name up while
 * the event loop stands still. The permission counts for the host as it is written, so where only the
 * name is granted, or the name with a port, the name itself comes back and goes to Deno.
 */
export async function resolveHost(
  hostname: string,
  port: number,
): Promise<string[]> {
  if (isIPv4(hostname) || isIPv6(hostname)) return [hostname];
  const all = netGranted();
  if (!all && !netGranted(hostname)) return [hostname];
  const addresses = await lookUp(hostname);
  return all ||
      addresses.every((address) => netGranted(joinHostPort(address, port)))
    ? addresses
    : [hostname];
}

/** Whether the machine lacks an address, or its whole family. */
export function isMissingAddress(error: unknown): boolean {
  const code = errorCode(error);
  return code === "EADDRNOTAVAIL" || code === "EAFNOSUPPORT";
}

/** Opens on the first address that this machine has. */
export function openFirst<T>(
  hostnames: readonly string[],
  open: (hostname: string) => T,
): T {
  for (const [i, hostname] of hostnames.entries()) {
    try {
      return open(hostname);
    } catch (error) {
      if (i === hostnames.length - 1 || !isMissingAddress(error)) throw error;
    }
  }
  throw new Deno.errors.AddrNotAvailable("No address to open on");
}
