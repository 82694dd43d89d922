/**
 * Waiting for several sockets at once: `select`, and a `Poller` that costs nothing for sockets at which
 * nothing happens. Both tell which calls would not wait, and take nothing away.
 *
 * @example A server for several clients, without a handler for each
 * ```ts
 * import { create_server, type Socket } from "@berkeley/sockets/socket";
 * import { select } from "@berkeley/sockets/select";
 * import { create_connection } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * using server = create_server(["127.0.0.1", 0]);
 * using client = await create_connection(server.getsockname());
 * await client.sendall(new TextEncoder().encode("hello"));
 *
 * const clients = new Set<Socket>();
 * for (let answered = 0; answered < 1;) {
 *   const [readable] = await select([server, ...clients], [], []);
 *   for (const socket of readable) {
 *     if (socket === server) clients.add((await server.accept())[0]);
 *     else {
 *       await socket.sendall(await socket.recv(1024));
 *       answered++;
 *     }
 *   }
 * }
 * assertEquals(new TextDecoder().decode(await client.recv(1024)), "hello");
 * for (const socket of clients) socket.close();
 * ```
 *
 * @module
 */

import { checkInteger, checkPatience, show } from "./_check.ts";
import { MAX_DELAY } from "./_wait.ts";
import type { Readiness } from "./_readiness.ts";
import { belowOf, type Sides, type Socket } from "./_face.ts";
import { socketError } from "./_socket_error.ts";
import { soon } from "./_waiting.ts";

/** What can be selected: a socket of this package's BSD face, on either driver. */
// deno-lint-ignore no-explicit-any
export type Selectable = Socket<any>;

/** What is looked at, of what should be a socket. */
function look(socket: Selectable, call: string): Sides {
  const sides = Object(socket) === socket ? belowOf(socket, call) : undefined;
  if (sides !== undefined) return sides;
  throw new TypeError(
    `Invalid socket: expected one of socket(), got ${show(socket)}`,
  );
}

/**
 * Waits until something is done, or a time is over; 0 is at most one turn of the event loop. Somebody waits,
 * so the process is kept alive, whatever the sockets are.
 */
async function within(
  promise: Promise<void>,
  isDone: () => boolean,
  ms: number | null,
): Promise<void> {
  if (ms === 0 || isDone()) return await soon(isDone);
  let id: ReturnType<typeof setTimeout> | undefined;
  const over = new Promise<void>((resolve) => {
    const isBound = ms !== null && ms !== Infinity;
    id = isBound
      ? setTimeout(resolve, Math.min(ms, MAX_DELAY))
      : setInterval(() => {}, MAX_DELAY);
  });
  await Promise.race([promise, over]);
  clearTimeout(id);
}

/**
 * Waits until a call on one of the sockets would not wait, select(2).
 *
 * It is level-triggered: what was not read makes a socket readable again. A socket is readable when
 * `recv`, `recvfrom` or `accept` would bring something, the end of the stream, or an error; writable when
 * `send` would take something, or a `connect` that did not wait is over. A socket that is closed meanwhile
 * ends the wait, and is in the lists that it was in. Where one socket is ready at once, what has come to
 * another in the same turn of the event loop may be told by the next call.
 *
 * @param read Those that may become readable.
 * @param write Those that may become writable.
 * @param except Those that may get urgent data, which only sockets of the libc driver can see.
 * @param ms How long to wait, in **milliseconds**; 0 for not at all, `null`, the default, for as long as
 * it takes.
 * @returns Those of each list that are ready; none when the time is over.
 * @throws {Deno.errors.BadResource} With `code` `"EBADF"`, if a socket is closed.
 * @throws {TypeError | RangeError} If an argument is wrong.
 *
 * @example
 * ```ts
 * import { select } from "@berkeley/sockets/select";
 * import { socketpair } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * const [a, b] = await socketpair();
 * assertEquals(await select([a], [b], [], 10), [[], [b], []]);
 * await b.sendall(new Uint8Array(1));
 * assertEquals(await select([a], [], []), [[a], [], []]);
 * a.close();
 * b.close();
 * ```
 */
export async function select<
  R extends Selectable = Selectable,
  W extends Selectable = Selectable,
  X extends Selectable = Selectable,
>(
  read: Iterable<R>,
  write: Iterable<W>,
  except: Iterable<X>,
  ms: number | null = null,
): Promise<[readable: R[], writable: W[], exceptional: X[]]> {
  checkPatience(ms);
  const reading = [...read].map((socket) =>
    [socket, look(socket, "select").reading] as const
  );
  const writing = [...write].map((socket) =>
    [socket, look(socket, "select").writing] as const
  );
  const urgent = [...except].flatMap((socket) => {
    const side = look(socket, "select").urgent;
    return side === undefined ? [] : [[socket, side] as const];
  });
  const told = new Set<Readiness>();
  const { promise, resolve } = Promise.withResolvers<void>();
  const ends: (() => void)[] = [];
  for (const [, readiness] of [...reading, ...writing, ...urgent]) {
    ends.push(readiness.watch(() => {
      told.add(readiness);
      resolve();
    }));
  }
  await within(promise, () => told.size > 0, ms);
  // Who is ready too says so within a few microtasks.
  for (let i = 0; i < 4; i++) await undefined;
  for (const end of ends) end();
  const ready = <S>(all: (readonly [S, Readiness])[]): S[] =>
    all.filter(([, readiness]) => told.has(readiness) || readiness.ready)
      .map(([socket]) => socket);
  return [ready(reading), ready(writing), ready(urgent)];
}

/** Readable: a bit of a {@linkcode Poller}'s events, poll(2). */
export const POLLIN: number = 0x001;
/** Urgent data, which only sockets of the libc driver can see: a bit of a {@linkcode Poller}'s events, poll(2). */
export const POLLPRI: number = 0x002;
/** Writable: a bit of a {@linkcode Poller}'s events, poll(2). */
export const POLLOUT: number = 0x004;
/** An error, poll(2). It may be asked for and is never told: an error makes a socket readable. */
export const POLLERR: number = 0x008;
/** The peer has hung up, poll(2). It may be asked for and is never told: the end makes a socket readable. */
export const POLLHUP: number = 0x010;
/** The socket has been closed: a bit of what a {@linkcode Poller} tells, poll(2). */
export const POLLNVAL: number = 0x020;

const ALL_EVENTS = 0x03f;
/** What can be watched. */
const WATCHED = [POLLIN, POLLPRI, POLLOUT];
const ALL_WATCHED = POLLIN | POLLPRI | POLLOUT;

/** Which side an event is seen on. */
function sideOf(
  sides: Sides,
  event: number,
): Readiness | undefined {
  return event === POLLIN
    ? sides.reading
    : event === POLLOUT
    ? sides.writing
    : sides.urgent;
}

/** One registered socket. */
class Entry {
  readonly socket: Selectable;
  readonly events: number;
  /** The ends of the watches that are under way. */
  readonly ends = new Map<number, () => void>();

  constructor(socket: Selectable, events: number) {
    this.socket = socket;
    this.events = events;
  }

  unwatch(): void {
    for (const end of this.ends.values()) end();
    this.ends.clear();
  }
}

/**
 * Waits for many sockets that are registered once, as poll(2) and epoll(7): a turn costs what is ready, not
 * what is registered.
 *
 * @example
 * ```ts
 * import { Poller, POLLIN } from "@berkeley/sockets/select";
 * import { socketpair } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * const [a, b] = await socketpair();
 * using poller = new Poller();
 * poller.register(a, POLLIN);
 * assertEquals(await poller.poll(0), []);
 * await b.sendall(new Uint8Array(1));
 * assertEquals(await poller.poll(), [[a, POLLIN]]);
 * a.close();
 * b.close();
 * ```
 */
export class Poller implements Disposable {
  readonly #entries = new Map<Selectable, Entry>();
  /** Those at which something has happened since the last poll, and what. */
  readonly #told = new Map<Entry, number>();
  /** Those that are to be watched again: told of, or new. */
  readonly #idle = new Set<Entry>();
  #wake: (() => void) | undefined;

  /** How many sockets are registered. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * Registers a socket, or says anew what it is registered for.
   *
   * @param socket The socket.
   * @param events {@linkcode POLLIN}, {@linkcode POLLOUT}, or both, which is the default; the other bits of
   * poll(2) may be there too.
   * @throws {Deno.errors.BadResource} With `code` `"EBADF"`, if it is closed.
   * @throws {TypeError | RangeError} If an argument is wrong.
   */
  register(socket: Selectable, events: number = POLLIN | POLLOUT): void {
    look(socket, "register");
    checkInteger(events, "events", 0, ALL_EVENTS);
    const known = this.#entries.get(socket);
    if (known !== undefined) this.#forget(known);
    const entry = new Entry(socket, events);
    this.#entries.set(socket, entry);
    this.#idle.add(entry);
    this.#wake?.();
  }

  /**
   * Says anew what a socket is registered for.
   *
   * @param socket The socket.
   * @param events As for {@linkcode Poller.register}.
   * @throws {Deno.errors.NotFound} With `code` `"ENOENT"`, if it is not registered.
   * @throws {Deno.errors.BadResource} With `code` `"EBADF"`, if it is closed.
   */
  modify(socket: Selectable, events: number): void {
    if (!this.#entries.has(socket)) throw socketError("ENOENT", "modify");
    this.register(socket, events);
  }

  /**
   * Takes a socket out.
   *
   * @param socket The socket, which may be closed by now.
   * @throws {Deno.errors.NotFound} With `code` `"ENOENT"`, if it is not registered.
   */
  unregister(socket: Selectable): void {
    const entry = this.#entries.get(socket);
    if (entry === undefined) throw socketError("ENOENT", "unregister");
    this.#forget(entry);
    this.#entries.delete(socket);
  }

  #forget(entry: Entry): void {
    entry.unwatch();
    this.#told.delete(entry);
    this.#idle.delete(entry);
  }

  /**
   * Waits until a call on one of the sockets would not wait. It is level-triggered.
   *
   * @param ms How long to wait, in **milliseconds**; 0 for not at all, `null`, the default, or a negative
   * number for as long as it takes.
   * @returns The sockets that are ready, each with what it is ready for; none when the time is over. A
   * socket that was closed is ready for all that it is registered for, and {@linkcode POLLNVAL}, until it is
   * taken out.
   * @throws {Deno.errors.Busy} With `code` `"EBUSY"`, while another poll waits.
   * @throws {TypeError | RangeError} If the time is wrong.
   */
  async poll(ms: number | null = null): Promise<[Selectable, number][]> {
    const wait = typeof ms === "number" && ms < 0 ? null : ms;
    checkPatience(wait);
    if (this.#wake !== undefined) throw socketError("EBUSY", "poll");
    const end = performance.now() + (wait ?? Infinity);
    try {
      for (let left = wait;;) {
        const { promise, resolve } = Promise.withResolvers<void>();
        // Whoever is registered meanwhile is watched too.
        this.#wake = () => {
          this.#watchIdle();
          if (this.#told.size > 0) resolve();
        };
        this.#wake();
        await within(promise, () => this.#told.size > 0, left);
        this.#dropStale();
        if (wait !== null) left = Math.max(end - performance.now(), 0);
        if (this.#told.size > 0 || left === 0) break;
      }
    } finally {
      this.#wake = undefined;
    }
    const ready = [...this.#told].map(([entry, events]) =>
      [entry.socket, events] as [Selectable, number]
    );
    // What is still there next time is told again.
    for (const entry of this.#told.keys()) this.#idle.add(entry);
    this.#told.clear();
    return ready;
  }

  /** Forgets what has been told of and is no more: others may have taken it. */
  #dropStale(): void {
    for (const [entry, events] of this.#told) {
      let sides: Sides;
      try {
        sides = look(entry.socket, "poll");
      } catch {
        // Closed, and so it stays: whatever is called says so.
        this.#told.set(entry, entry.events & ALL_WATCHED | POLLNVAL);
        continue;
      }
      let still = 0;
      for (const event of WATCHED) {
        if (events & event && sideOf(sides, event)?.ready) still |= event;
      }
      if (still === events) continue;
      this.#idle.add(entry);
      if (still === 0) this.#told.delete(entry);
      else this.#told.set(entry, still);
    }
  }

  /** Watches those that nobody watches. */
  #watchIdle(): void {
    const idle = [...this.#idle];
    this.#idle.clear();
    for (const entry of idle) {
      for (const event of WATCHED) {
        if (entry.events & event) this.#watch(entry, event);
      }
    }
  }

  #watch(entry: Entry, event: number): void {
    if (entry.ends.has(event)) return;
    const tell = (bits: number) => {
      entry.ends.delete(event);
      this.#told.set(entry, (this.#told.get(entry) ?? 0) | bits);
      this.#wake?.();
    };
    let side: Readiness | undefined;
    try {
      side = sideOf(look(entry.socket, "poll"), event);
    } catch {
      // Whatever is called will say so.
      return tell(event | POLLNVAL);
    }
    if (side === undefined) return;
    let isTold = false;
    const end = side.watch(() => {
      isTold = true;
      tell(event);
    }, false);
    if (!isTold) entry.ends.set(event, end);
  }

  /** Takes all sockets out. */
  [Symbol.dispose](): void {
    for (const entry of this.#entries.values()) entry.unwatch();
    this.#entries.clear();
    this.#told.clear();
    this.#idle.clear();
  }
}
