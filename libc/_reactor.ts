/** Descriptors and their events: one epoll set (epoll(7)) for all of them, edge-triggered. */

import { show } from "../_check.ts";
import * as arena from "./_arena.ts";
import { checked } from "./_errno.ts";
import { layoutOf } from "./_layout.ts";
import { descriptorPair, prepare } from "./_ready.ts";
import {
  type Owner,
  POLLIN,
  POLLOUT,
  POLLPRI,
  POLLRDHUP,
  refill,
  Side,
} from "./_side.ts";
import { calls } from "./_symbols.ts";
import {
  EventfdWake,
  type EventSet,
  type Need,
  ThreadWake,
  type WakeSource,
} from "./_wake.ts";

const EPOLLET = 2 ** 31;

const EPOLL_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;

/** A descriptor and its sides. */
export class Polled implements Owner {
  /** -1 when it is closed. */
  descriptor: number;
  readonly reading: Side = new Side(this, "reading");
  readonly writing: Side = new Side(this, "writing");
  #urgent: Side | undefined;
  #isRegistered = false;

  constructor(descriptor: number) {
    this.descriptor = descriptor;
  }

  get urgent(): Side {
    return this.#urgent ??= new Side(this, "urgent");
  }

  /** Is in the set from now on. */
  register(): void {
    if (this.#isRegistered || this.descriptor < 0) return;
    (reactor ??= new Reactor()).add(this);
    this.#isRegistered = true;
  }

  change(before: Need, after: Need): void {
    reactor?.change(before, after);
  }

  /** What has happened, by bits of poll(2). */
  onEvents(events: number): void {
    if (events & this.reading.events) this.reading.pump();
    if (events & this.writing.events) this.writing.pump();
    if (this.#urgent !== undefined && events & this.#urgent.events) {
      this.#urgent.pump();
    }
  }

  /** Says it for both sides. */
  setRef(wants: boolean): void {
    this.reading.setRef(wants);
    this.writing.setRef(wants);
  }

  /** Takes the descriptor out of the set and away. */
  release(): number {
    const { descriptor } = this;
    if (this.#isRegistered) reactor!.remove(this);
    this.#isRegistered = false;
    this.descriptor = -1;
    this.reading.end();
    this.writing.end();
    this.#urgent?.end();
    return descriptor;
  }

  close(): void {
    if (this.descriptor < 0) return;
    const descriptor = this.release();
    // EINTR, too, means that it is closed, on Linux.
    calls().close(descriptor);
  }
}

const eventBytes = new Uint8Array(
  arena.event.buffer,
  arena.event.byteOffset,
  arena.event.byteLength,
);
const eventsBytes = new Uint8Array(
  arena.events.buffer,
  arena.events.byteOffset,
  arena.events.byteLength,
);

/** The epoll set of this thread. */
class Reactor implements EventSet {
  readonly descriptor: number;
  readonly eventSize: number;
  readonly #data: number;
  /** Each descriptor's, with the generation that its events carry: a number that is used again is another's. */
  readonly #entries = new Map<number, { polled: Polled; generation: number }>();
  #generation = 0;
  /** How many sides wait, and how many of them keep the program alive. */
  #waiting = 0;
  #holding = 0;
  /** The way that always works. */
  readonly thread: WakeSource;
  #eventfd: WakeSource | undefined;
  #source: WakeSource;

  constructor() {
    const { epollEvent } = layoutOf(Deno.build.arch)!;
    this.eventSize = epollEvent.size;
    this.#data = epollEvent.data;
    this.descriptor = checked(
      calls().epoll_create1(EPOLL_CLOEXEC),
      "epoll_create1",
    );
    this.#source = this.thread = new ThreadWake(this);
  }

  /** The other way, made once. */
  get eventfd(): WakeSource {
    return this.#eventfd ??= new EventfdWake(this);
  }

  get source(): WakeSource {
    return this.#source;
  }

  set source(source: WakeSource) {
    this.#source.need("nothing");
    this.#source = source;
    this.#tell();
  }

  add(polled: Polled): void {
    const { descriptor } = polled;
    const generation = this.#generation = (this.#generation + 1) >>> 0;
    const { event } = arena;
    event.setUint32(
      0,
      POLLIN | POLLOUT | POLLRDHUP | POLLPRI | EPOLLET,
      true,
    );
    event.setUint32(this.#data, descriptor, true);
    event.setUint32(this.#data + 4, generation, true);
    checked(
      calls().epoll_ctl(
        this.descriptor,
        EPOLL_CTL_ADD,
        descriptor,
        eventBytes,
      ),
      "epoll_ctl",
    );
    this.#entries.set(descriptor, { polled, generation });
  }

  remove({ descriptor }: Polled): void {
    this.#entries.delete(descriptor);
    // Before the close: a copy of the descriptor would keep it in the set.
    calls().epoll_ctl(this.descriptor, EPOLL_CTL_DEL, descriptor, eventBytes);
  }

  change(before: Need, after: Need): void {
    this.#waiting += Number(after !== "nothing") - Number(before !== "nothing");
    this.#holding += Number(after === "life") - Number(before === "life");
    this.#tell();
  }

  #tell(): void {
    this.#source.need(
      this.#holding > 0 ? "life" : this.#waiting > 0 ? "events" : "nothing",
    );
  }

  drain(): number {
    const { events, MAX_EVENTS } = arena;
    let all = 0;
    for (;;) {
      const count = calls().epoll_wait(
        this.descriptor,
        eventsBytes,
        MAX_EVENTS,
        0,
      );
      if (count <= 0) return all;
      all += count;
      this.dispatch(events, count);
      if (count < MAX_EVENTS) return all;
    }
  }

  dispatch(events: DataView, count: number): void {
    refill();
    // Copied out first: what is told may make calls that use the same memory.
    const told: [polled: Polled, bits: number][] = [];
    for (let i = 0; i < count; i++) {
      const at = i * this.eventSize;
      const entry = this.#entries.get(
        events.getUint32(at + this.#data, true),
      );
      const generation = events.getUint32(at + this.#data + 4, true);
      if (entry?.generation === generation) {
        told.push([entry.polled, events.getUint32(at, true)]);
      }
    }
    // One that is closed meanwhile has nobody who waits.
    for (const [polled, bits] of told) polled.onEvents(bits);
  }
}

let reactor: Reactor | undefined;

/** How sockets are woken: by a thread that waits beside the program, or by an eventfd in its event loop. */
export type WakeKind = "thread" | "eventfd";

/** How long a way to be woken may take to prove itself, in milliseconds. */
const PROBE = 1000;

/** Whether a socket that has something is told of in time. */
async function isWoken(): Promise<boolean> {
  const [a, b] = descriptorPair();
  const polled = new Polled(a);
  try {
    return await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), PROBE);
      polled.reading.watch(() => {
        clearTimeout(timer);
        resolve(true);
      });
      calls().send(b, arena.option, 1, 0);
    });
  } finally {
    polled.close();
    calls().close(b);
  }
}

/**
 * Chooses how sockets of this thread are woken. `"thread"`, the default, rests on documented calls alone.
 * `"eventfd"` needs no thread and wakes sooner; it rests on a part of the runtime that is not documented,
 * and is tried out before it is used.
 *
 * @param kind The way.
 * @returns What is in use then: `"thread"` where the other way does not work.
 * @throws {TypeError} If there is no such way.
 *
 * @example
 * ```ts ignore
 * import { useWake } from "@berkeley/sockets/libc";
 *
 * const kind = await useWake("eventfd");
 * console.log(kind === "eventfd" || kind === "thread"); // true
 * await useWake("thread");
 * ```
 */
export async function useWake(kind: WakeKind): Promise<WakeKind> {
  if (kind !== "thread" && kind !== "eventfd") {
    throw new TypeError(
      `Invalid way: expected "thread" or "eventfd", got ${show(kind)}`,
    );
  }
  prepare();
  const set = reactor ??= new Reactor();
  if (set.source.kind === kind) return kind;
  try {
    set.source = kind === "thread" ? set.thread : set.eventfd;
    if (kind === "thread" || await isWoken()) return kind;
  } catch {
    // What it rests on is not there.
  }
  set.source = set.thread;
  return "thread";
}
