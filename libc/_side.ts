/**
 * Who waits on one side of a descriptor, and for what: a call is tried first, and waits only if the kernel
 * has nothing for it.
 */

import type { Patience } from "../_driver.ts";
import { type Readiness, Watchers } from "../_readiness.ts";
import { socketError } from "../_socket_error.ts";
import { closedResource, interrupted, MAX_DELAY } from "../_wait.ts";
import { timeoutError } from "../_waiting.ts";
import * as arena from "./_arena.ts";
import { EAGAIN, EINTR, errno, systemError } from "./_errno.ts";
import { calls } from "./_symbols.ts";
import type { Need } from "./_wake.ts";

// Bits of events, the same in poll(2) and epoll_ctl(2)
export const POLLIN = 0x001;
export const POLLPRI = 0x002;
export const POLLOUT = 0x004;
const POLLERR = 0x008;
const POLLHUP = 0x010;
export const POLLRDHUP = 0x2000;

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

/** The event loop has had its turn. */
export function refill(): void {
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

/** Whose side it is. */
export interface Owner {
  /** -1 when it is closed. */
  readonly descriptor: number;
  /** Is told of events from now on. */
  register(): void;
  /** What a side has needed, and needs now. */
  change(before: Need, after: Need): void;
}

/** One side of a descriptor: who waits, in the order in which they came, and who only looks. */
export class Side implements Readiness {
  readonly #owner: Owner;
  readonly #bit: number;
  readonly #isOut: boolean;
  /** Which events are its. */
  readonly events: number;
  #waits: Wait[] = [];
  #watchers: Watchers | undefined;
  /** Whether calls that wait keep the program alive. */
  #wantsRef = true;
  /** What its owner knows of its need. */
  #need: Need = "nothing";

  constructor(owner: Owner, name: keyof typeof EVENTS) {
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
    this.#owner.change(before, need);
  }
}

function closed(): Error {
  return closedResource("Socket");
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
