/**
 * Where a wait meets a timeout, a signal and a close.
 *
 * Operations of the runtime cannot be cancelled, so waiting and operating are kept apart: callers
 * stand in a {@linkcode WaitQueue}, each with a deadline and a signal of its own, and a
 * {@linkcode Keeper} holds the one operation that is under way, and its result until somebody wants it.
 */

import { errorCode } from "./errors.ts";

/** The longest delay that `setTimeout` takes; beyond it, it fires at once. */
export const MAX_DELAY = 2 ** 31 - 1;

/** What a closed handle tells those who wait on it, as the runtime tells a pending read. */
export function interrupted(what: string): Error {
  const error = new Deno.errors.Interrupted(
    `${what} was closed during the wait`,
  );
  return Object.assign(error, { code: "EINTR" });
}

/** What a closed handle tells those who come later. */
export function closedResource(what: string): Error {
  const error = new Deno.errors.BadResource(`${what} is closed`);
  return Object.assign(error, { code: "EBADF" });
}

/** An error of the runtime, with its code where the runtime leaves it out. */
export function withCode(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = errorCode(error);
  if (code === undefined || (error as { code?: unknown }).code === code) {
    return error;
  }
  // A DOMException has a number of its own there, which cannot be assigned to.
  return Object.defineProperty(error, "code", { value: code });
}

/** What a wait ends with whose timeout ran out. */
export function timedOut(what: string, timeout: number): DOMException {
  return new DOMException(
    `${what} timed out after ${timeout} ms`,
    "TimeoutError",
  );
}

/**
 * One timer for all deadlines of a handle. It is left running when a wait ends and set anew only when
 * it fires, so that a wait that ends in time costs no timer at all. It never keeps the process alive,
 * unless `holds` is set: then it does while somebody waits (for handles without an operation of the
 * runtime below them).
 */
export class DeadlineTimer {
  readonly #queues: { expire(now: number): number }[] = [];
  #holds: boolean;
  #waiting = 0;
  #at = Infinity;
  #id: ReturnType<typeof setTimeout> | undefined;

  constructor(holds = false) {
    this.#holds = holds;
  }

  /** Adds a queue whose deadlines are watched from now on. */
  add(queue: { expire(now: number): number }): void {
    this.#queues.push(queue);
  }

  /** Makes sure that the timer fires at a deadline or before. */
  watch(deadline: number): void {
    if (deadline >= this.#at) return;
    clearTimeout(this.#id);
    this.#at = deadline;
    const delay = Math.max(Math.ceil(deadline - performance.now()), 0);
    this.#id = setTimeout(() => this.#fire(), Math.min(delay, MAX_DELAY));
    this.#updateRef();
  }

  /** Counts those who wait with a timeout: one more, or one less. */
  count(change: 1 | -1): void {
    this.#waiting += change;
    if (this.#holds) this.#updateRef();
  }

  /** Says whether those who wait with a timeout keep the process alive. */
  hold(holds: boolean): void {
    this.#holds = holds;
    this.#updateRef();
  }

  #updateRef(): void {
    if (this.#id === undefined) return;
    if (this.#holds && this.#waiting > 0) Deno.refTimer(this.#id);
    else Deno.unrefTimer(this.#id);
  }

  /** Stops the timer for good. */
  stop(): void {
    clearTimeout(this.#id);
    this.#id = undefined;
    this.#at = -Infinity;
  }

  #fire(): void {
    this.#id = undefined;
    this.#at = Infinity;
    const now = performance.now();
    let next = Infinity;
    for (const queue of this.#queues) next = Math.min(next, queue.expire(now));
    if (next < Infinity) this.watch(next);
  }
}

/** What the two halves of a stream share. An idle connection has no timer. */
export class Shared {
  #holds: boolean;
  #timer: DeadlineTimer | undefined;
  /** The first fatal error, whichever half has seen it. */
  failure: unknown;

  /** @param holds Whether waits with a timeout keep the process alive. */
  constructor(holds = false) {
    this.#holds = holds;
  }

  /** The timer for the deadlines of both halves. */
  get timer(): DeadlineTimer {
    return this.#timer ??= new DeadlineTimer(this.#holds);
  }

  /** Says whether waits with a timeout keep the process alive. */
  hold(holds: boolean): void {
    this.#holds = holds;
    this.#timer?.hold(holds);
  }

  /** Stops the timer, if there is one. */
  stop(): void {
    this.#timer?.stop();
  }
}

/** Where a promise's functions go when it is made: one executor for all, no closure for each. */
let resolve: (value: unknown) => void;
let reject: (reason: unknown) => void;
const executor = (a: typeof resolve, b: typeof reject): void => {
  resolve = a;
  reject = b;
};

/** One caller in a {@linkcode WaitQueue}. */
export interface Waiter<P> {
  /** What the caller wants. */
  readonly payload: P;
}

/** A wait whose timeout has begun, but not been looked at. */
interface Fresh {
  readonly timer: DeadlineTimer;
  readonly timeout: number | undefined;
  readonly waits: boolean;
  deadline: number;
}

/** Waits without a deadline yet. */
const fresh: Fresh[] = [];
const soon = Promise.resolve();

/**
 * Gives a wait its deadline, when the code that runs has come to its end: reading the clock costs as
 * much as the rest of a wait, and so it is read once for all waits that begin together. No timer could
 * have fired before.
 */
function giveDeadline(wait: Fresh): void {
  if (fresh.push(wait) === 1) soon.then(giveDeadlines);
}

function giveDeadlines(): void {
  const now = performance.now();
  for (const wait of fresh) {
    if (!wait.waits) continue;
    wait.deadline = now + wait.timeout!;
    wait.timer.watch(wait.deadline);
  }
  fresh.length = 0;
}

/** A caller as the queue sees it: a node of a doubly linked list. */
class Node<T, P> implements Waiter<P>, Fresh {
  readonly payload: P;
  readonly timer: DeadlineTimer;
  deadline = Infinity;
  timeout: number | undefined;
  resolve!: (value: T) => void;
  reject!: (reason: unknown) => void;
  signal: AbortSignal | undefined;
  onAbort: (() => void) | undefined;
  before: Node<T, P> | undefined;
  after: Node<T, P> | undefined;
  waits = true;

  constructor(payload: P, timer: DeadlineTimer) {
    this.payload = payload;
    this.timer = timer;
  }
}

/** The promise that a caller waits for. */
function promiseOf<T, P>(node: Node<T, P>): Promise<T> {
  const promise = new Promise<unknown>(executor) as Promise<T>;
  node.resolve = resolve;
  node.reject = reject;
  return promise;
}

/** Callers in their order, each with a timeout and a signal of its own. */
export class WaitQueue<T, P> {
  readonly #what: string;
  readonly #timer: DeadlineTimer;
  readonly #onAbandon:
    | ((waiter: Waiter<P>, reason: unknown) => void)
    | undefined;
  #head: Node<T, P> | undefined;
  #tail: Node<T, P> | undefined;

  /**
   * @param what What is waited for, as a timeout's message says it.
   * @param timer The handle's timer.
   * @param onAbandon Told of a caller that has left because of its timeout or signal.
   */
  constructor(
    what: string,
    timer: DeadlineTimer,
    onAbandon?: (waiter: Waiter<P>, reason: unknown) => void,
  ) {
    this.#what = what;
    this.#timer = timer;
    this.#onAbandon = onAbandon;
    timer.add(this);
  }

  /** Who is served next. */
  get head(): Waiter<P> | undefined {
    return this.#head;
  }

  /** Who came last. */
  get tail(): Waiter<P> | undefined {
    return this.#tail;
  }

  /** Whether a caller still waits. */
  has(waiter: Waiter<P>): boolean {
    return (waiter as Node<T, P>).waits;
  }

  /** Puts a caller at the start, who has been served before and got nothing. */
  addFirst(payload: P): Promise<T> {
    const node = new Node<T, P>(payload, this.#timer);
    if (this.#head === undefined) this.#tail = node;
    else this.#head.before = node;
    node.after = this.#head;
    this.#head = node;
    return promiseOf(node);
  }

  /** Puts a caller at the end. The promise is the caller's. */
  add(
    payload: P,
    timeout: number | undefined,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    const node = new Node<T, P>(payload, this.#timer);
    if (this.#tail === undefined) this.#head = node;
    else this.#tail.after = node;
    node.before = this.#tail;
    this.#tail = node;
    if (timeout !== undefined) {
      node.timeout = timeout;
      this.#timer.count(1);
      giveDeadline(node);
    }
    if (signal !== undefined) {
      node.signal = signal;
      node.onAbort = () => this.#abandon(node, signal.reason);
      signal.addEventListener("abort", node.onAbort);
    }
    return promiseOf(node);
  }

  /** Gives a caller, the first by default, its result, unless it has left. */
  resolve(value: T, waiter: Waiter<P> = this.#head!): void {
    const node = waiter as Node<T, P>;
    if (!node.waits) return;
    this.#remove(node);
    node.resolve(value);
  }

  /** Gives a caller, the first by default, an error, unless it has left. */
  reject(reason: unknown, waiter: Waiter<P> = this.#head!): void {
    const node = waiter as Node<T, P>;
    if (!node.waits) return;
    this.#remove(node);
    node.reject(reason);
  }

  /** Gives every caller an error. */
  rejectAll(reason: unknown): void {
    while (this.#head !== undefined) this.reject(reason);
  }

  /** Ends the waits whose deadline has come and returns the next one. */
  expire(now: number): number {
    let next = Infinity;
    const due: Node<T, P>[] = [];
    for (let node = this.#head; node !== undefined; node = node.after) {
      if (node.deadline <= now) due.push(node);
      else next = Math.min(next, node.deadline);
    }
    // Who hears of the first may end the others.
    for (const node of due) {
      if (node.waits) this.#abandon(node, timedOut(this.#what, node.timeout!));
    }
    return next;
  }

  #abandon(node: Node<T, P>, reason: unknown): void {
    this.#remove(node);
    node.reject(reason);
    this.#onAbandon?.(node, reason);
  }

  #remove(node: Node<T, P>): void {
    if (node.before === undefined) this.#head = node.after;
    else node.before.after = node.after;
    if (node.after === undefined) this.#tail = node.before;
    else node.after.before = node.before;
    if (node.onAbort !== undefined) {
      node.signal!.removeEventListener("abort", node.onAbort);
    }
    node.waits = false;
    if (node.timeout !== undefined) this.#timer.count(-1);
  }
}

/**
 * Keeps one operation that cannot be cancelled, and its outcome until it is taken. A rejection is
 * always handled here.
 */
export class Keeper<R> {
  readonly #start: () => Promise<R>;
  readonly #onSettled: () => void;
  #state: "idle" | "pending" | "value" | "error" = "idle";
  #result: unknown;
  #idle: PromiseWithResolvers<void> | undefined;

  /**
   * @param start Starts the operation.
   * @param onSettled Told that an outcome is there.
   */
  constructor(start: () => Promise<R>, onSettled: () => void) {
    this.#start = start;
    this.#onSettled = onSettled;
  }

  /** Whether the operation is under way. */
  get pending(): boolean {
    return this.#state === "pending";
  }

  /** Whether an outcome is here. */
  get settled(): boolean {
    return this.#state === "value" || this.#state === "error";
  }

  /** The outcome that is here, without taking it: a result, or what it failed with. */
  get outcome(): { value: R } | { error: unknown } | undefined {
    if (this.#state === "value") return { value: this.#result as R };
    return this.#state === "error" ? { error: this.#result } : undefined;
  }

  /** Starts the operation, unless it is under way or its outcome is still here. */
  run(): void {
    if (this.#state !== "idle") return;
    this.#state = "pending";
    this.#start().then(this.#onValue, this.#onError);
  }

  /** Takes the outcome away: the operation's result is returned, its error thrown. */
  take(): R {
    const state = this.#state;
    const result = this.#result;
    this.#state = "idle";
    this.#result = undefined;
    if (state === "error") throw result;
    return result as R;
  }

  /** Resolves when no operation is under way. */
  idle(): Promise<void> {
    if (!this.pending) return Promise.resolve();
    this.#idle ??= Promise.withResolvers<void>();
    return this.#idle.promise;
  }

  #onValue = (value: R): void => this.#settle("value", value);
  #onError = (error: unknown): void => this.#settle("error", error);

  #settle(state: "value" | "error", result: unknown): void {
    this.#state = state;
    this.#result = result;
    this.#onSettled();
    this.#idle?.resolve();
    this.#idle = undefined;
  }
}

/**
 * Waits for a time, or for an abort, whichever comes first. It does not reject: who called looks at
 * the signal.
 */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(id);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const id = setTimeout(done, Math.min(ms, MAX_DELAY));
    signal?.addEventListener("abort", done);
  });
}
