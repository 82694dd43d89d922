/**
 * Who waits for what on which descriptor: one epoll set (epoll(7)), edge-triggered. A call is tried first,
 * and waits only if the kernel has nothing for it.
 */

import { show } from "../_check.ts";
import type { Patience } from "../_driver.ts";
import { type Readiness, Watchers } from "../_readiness.ts";
import { socketError } from "../_socket_error.ts";
import { closedResource, interrupted, MAX_DELAY } from "../_wait.ts";
import { timeoutError } from "../_waiting.ts";
import * as arena from "./_arena.ts";
import { checked, EAGAIN, EINTR, errno, systemError } from "./_errno.ts";
import { layoutOf } from "./_layout.ts";
import { descriptorPair, prepare } from "./_ready.ts";
import { calls } from "./_symbols.ts";
import {
  EventfdWake,
  type EventSet,
  type Need,
  ThreadWake,
  type WakeSource,
} from "./_wake.ts";

// Bits of events, the same in poll(2) and epoll_ctl(2)
export const POLLIN = 0x001;
export const POLLPRI = 0x002;
export const POLLOUT = 0x004;
const POLLERR = 0x008;
const POLLHUP = 0x010;
export const POLLRDHUP = 0x2000;
const EPOLLET = 2 ** 31;

const EPOLL_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;

/** What the kernel has nothing for yet. */
export const AGAIN: unique symbol = Symbol("again");
export type Again = typeof AGAIN;

/** The result of a call that may find nothing yet: what it gave, or that it is to be tried again. */
export function given(result: number, call: string): number | Again {
  if (result >= 0) return result;
  const number = errno();
  if (number === EAGAIN || number === EINTR) return AGAIN;
  throw systemError(number, call);
}

/** How many calls of each direction go on before the event loop has its turn. */
const BUDGET = 64;
/** How many more may: receives and sends. In an object, because a variable of a module is slower to set. */
const more = { in: BUDGET, out: BUDGET };

function refill(): void {
  more.in = more.out = BUDGET;
}

/** Counts what one call has done for many. */
export function spend(calls: number, isOut: boolean): void {
  if (isOut) more.out -= calls;
  else more.in -= calls;
}

/** Counts a call; whether it may go on at once. */
function goesOn(isOut: boolean): boolean {
  if ((isOut ? --more.out : --more.in) > 0) return true;
  refill();
  return false;
}

/** Gives a result that did not wait; now and then in the event loop's next turn. */
function give<T>(value: T, isOut: boolean): Promise<T> {
  if (goesOn(isOut)) return Promise.resolve(value);
  return new Promise((resolve) => setImmediate(resolve, value));
}

/** The same for an error: a loop of calls that find nothing must not stand in everybody's way. */
function fail(error: unknown, isOut: boolean): Promise<never> {
  if (goesOn(isOut)) return Promise.reject(error);
  return new Promise((_, reject) => setImmediate(reject, error));
}

/** A call that waits. */
interface Wait<T = unknown> {
  /** Tries it again. */
  readonly attempt: () => T | Again;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
  readonly timer: ReturnType<typeof setTimeout> | undefined;
}

/** Which events may mean that a side is ready. */
const EVENTS = {
  reading: POLLIN | POLLRDHUP | POLLHUP | POLLERR,
  writing: POLLOUT | POLLHUP | POLLERR,
  urgent: POLLPRI,
};

/** One side of a descriptor: who waits, in the order in which they came, and who only looks. */
export class Side implements Readiness {
  readonly #owner: Polled;
  readonly #bit: number;
  readonly #isOut: boolean;
  /** Which events are its. */
  readonly events: number;
  #waits: Wait[] = [];
  #watchers: Watchers | undefined;
  /** Whether calls that wait keep the program alive. */
  #wantsRef = true;
  /** What the reactor knows of its need. */
  #need: Need = "nothing";

  constructor(owner: Polled, name: keyof typeof EVENTS) {
    this.#owner = owner;
    this.events = EVENTS[name];
    this.#isOut = name === "writing";
    this.#bit = name === "reading"
      ? POLLIN
      : name === "writing"
      ? POLLOUT
      : POLLPRI;
  }

  /** Whether anybody waits. */
  get busy(): boolean {
    return this.#waits.length > 0;
  }

  get ready(): boolean {
    const { descriptor } = this.#owner;
    if (descriptor < 0) return true;
    const bits = poll(descriptor, this.#bit);
    // The end or an error is nothing urgent.
    return (this.#bit === POLLPRI ? bits & POLLPRI : bits) !== 0;
  }

  watch(onReady: () => void, holds = true): () => void {
    const watchers = this.#watchers ??= new Watchers();
    this.#owner.register();
    watchers.add(onReady, holds);
    if (this.ready) watchers.notify();
    this.update();
    return () => {
      watchers.remove(onReady);
      this.update();
    };
  }

  /**
   * Makes a call: at once, or when those before it are done and the kernel has something for it.
   *
   * @param call Its name, for errors.
   * @param patience How long it may wait.
   * @param attempt Tries it.
   * @param onTimeout What it gives when its time is over, if it has anything.
   */
  do<T>(
    call: string,
    patience: Patience,
    attempt: () => T | Again,
    onTimeout?: () => T | Again,
  ): Promise<T> {
    if (this.#owner.descriptor < 0) return Promise.reject(closed());
    if (this.#waits.length === 0) {
      try {
        const result = attempt();
        if (result !== AGAIN) return give(result, this.#isOut);
      } catch (error) {
        return fail(error, this.#isOut);
      }
    }
    return this.#later(call, patience, attempt, onTimeout);
  }

  /**
   * The same for the calls that are made most: nothing is made for one that does not wait.
   *
   * @param call Its name, for errors.
   * @param patience How long it may wait.
   * @param self Whose call it is.
   * @param attempt Tries it.
   * @param a Its arguments.
   */
  run<S, A, B, C, D, T>(
    call: string,
    patience: Patience,
    self: S,
    attempt: (self: S, a: A, b: B, c: C, d: D) => T | Again,
    a: A,
    b: B,
    c: C,
    d: D,
  ): Promise<T> {
    if (this.#owner.descriptor < 0) return Promise.reject(closed());
    if (this.#waits.length === 0) {
      try {
        const result = attempt(self, a, b, c, d);
        if (result !== AGAIN) return give(result, this.#isOut);
      } catch (error) {
        return fail(error, this.#isOut);
      }
    }
    return this.#later(call, patience, () => attempt(self, a, b, c, d));
  }

  /** Makes a call that never waits, and stands in nobody's way. */
  now<T>(call: string, attempt: () => T | Again): Promise<T> {
    if (this.#owner.descriptor < 0) return Promise.reject(closed());
    try {
      const result = attempt();
      if (result !== AGAIN) return give(result, this.#isOut);
    } catch (error) {
      return fail(error, this.#isOut);
    }
    return fail(socketError("EAGAIN", call), this.#isOut);
  }

  /** What a call does for which there is nothing yet. */
  #later<T>(
    call: string,
    patience: Patience,
    attempt: () => T | Again,
    onTimeout?: () => T | Again,
  ): Promise<T> {
    if (patience !== 0) return this.#wait(call, patience, attempt, onTimeout);
    try {
      const partial = onTimeout?.() ?? AGAIN;
      if (partial !== AGAIN) return give(partial, this.#isOut);
    } catch (error) {
      return fail(error, this.#isOut);
    }
    return fail(socketError("EAGAIN", call), this.#isOut);
  }

  #wait<T>(
    call: string,
    patience: number | null,
    attempt: () => T | Again,
    onTimeout: (() => T | Again) | undefined,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      // First: without it nothing would ever be told.
      this.#owner.register();
      const timer = patience === null || patience === Infinity
        ? undefined
        : setTimeout(() => {
          this.#waits.splice(this.#waits.indexOf(wait as Wait), 1);
          this.update();
          try {
            const partial = onTimeout?.() ?? AGAIN;
            if (partial !== AGAIN) resolve(partial);
            else reject(timeoutError(call, patience));
          } catch (error) {
            reject(error);
          }
          // Whoever was behind it may have something to do.
          this.pump();
        }, Math.min(patience, MAX_DELAY));
      if (!this.#wantsRef) this.#holdTimer(timer);
      const wait: Wait<T> = { attempt, resolve, reject, timer };
      this.#waits.push(wait as Wait);
      this.update();
    });
  }

  /** Tries what waits, as far as it goes, and tells those who look. */
  pump(): void {
    while (this.#waits.length > 0) {
      const { attempt, resolve, reject, timer } = this.#waits[0]!;
      try {
        const result = attempt();
        if (result === AGAIN) break;
        resolve(result);
      } catch (error) {
        reject(error);
      }
      clearTimeout(timer);
      this.#waits.shift();
    }
    if (this.#watchers?.any && this.ready) this.#watchers.notify();
    this.update();
  }

  /** Says whether calls that wait keep the program alive. */
  setRef(wants: boolean): void {
    this.#wantsRef = wants;
    for (const { timer } of this.#waits) this.#holdTimer(timer);
    this.update();
  }

  /**
   * A pause before a call is tried again of which nobody tells when it may succeed. It keeps the program
   * alive as long as a wait would.
   */
  pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      if (!this.#wantsRef) this.#holdTimer(timer);
    });
  }

  /** A timer keeps the program alive as long as its call does. */
  #holdTimer(timer: Wait["timer"]): void {
    if (timer === undefined) return;
    const id = timer as unknown as number;
    if (this.#wantsRef) Deno.refTimer(id);
    else Deno.unrefTimer(id);
  }

  /** The descriptor is closed. */
  end(): void {
    for (const { reject, timer } of this.#waits.splice(0)) {
      clearTimeout(timer);
      reject(interrupted("Socket"));
    }
    this.#watchers?.notify();
    this.update();
  }

  /** Says what is needed now. */
  update(): void {
    const waits = this.#waits.length > 0;
    const need: Need = waits && this.#wantsRef || this.#watchers?.hold
      ? "life"
      : waits || this.#watchers?.any
      ? "events"
      : "nothing";
    if (need === this.#need) return;
    const before = this.#need;
    this.#need = need;
    reactor?.change(before, need);
  }
}

function closed(): Error {
  return closedResource("Socket");
}

/** A descriptor and its sides. */
export class Polled {
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

/** What is so on a descriptor now, poll(2): the bits that were asked for, and errors. */
export function poll(descriptor: number, events: number): number {
  const { poll } = arena;
  poll.setInt32(0, descriptor, true);
  poll.setInt16(4, events, true);
  poll.setInt16(6, 0, true);
  const count = calls().poll(pollBytes, 1n, 0);
  return count > 0 ? poll.getInt16(6, true) : 0;
}

const pollBytes = new Uint8Array(
  arena.poll.buffer,
  arena.poll.byteOffset,
  arena.poll.byteLength,
);
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
