/** Calls that may wait for so long, or not at all: timeouts and the non-blocking mode of the BSD face. */

import { isTimeoutError } from "./errors.ts";
import { MAX_DELAY, timedOut, withCode } from "./_wait.ts";
import { type Readiness, Watchers } from "./_readiness.ts";
import type { Patience } from "./_driver.ts";
import { socketError } from "./_socket_error.ts";

/** What a call gets whose `settimeout` ran out. */
export function timeoutError(call: string, ms: number): DOMException {
  // A DOMException has a number of its own as its code.
  return Object.defineProperty(timedOut(call, ms), "code", {
    value: "ETIMEDOUT",
  });
}

/** One turn of the event loop, in which what has come to the system comes to us. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/**
 * Waits for what is there already: a few microtasks, in which it comes if it was asked for just now, and
 * else a turn.
 */
export async function soon(isDone: () => boolean): Promise<void> {
  for (let i = 0; i < 4 && !isDone(); i++) await undefined;
  if (!isDone()) await turn();
}

/**
 * Waits until a call would not wait any more.
 *
 * @param call Its name, for errors.
 * @throws {Deno.errors.WouldBlock} With `code` `"EAGAIN"`, if it may not wait and would.
 * @throws {DOMException} Named `"TimeoutError"`, if the time is over.
 */
export async function untilReady(
  readiness: Readiness,
  patience: Patience,
  call: string,
): Promise<void> {
  if (readiness.ready) return;
  let isTold = false;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const end = readiness.watch(() => {
    isTold = true;
    resolve();
  });
  if (patience === 0) {
    await soon(() => isTold);
    end();
    if (!isTold) throw socketError("EAGAIN", call);
    return;
  }
  const timer = patience === null || patience === Infinity
    ? undefined
    : setTimeout(
      () => reject(timeoutError(call, patience)),
      Math.min(patience, MAX_DELAY),
    );
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    end();
  }
}

/** A handle of the rooms below, whose calls look at its timeout when they begin. */
interface Timed {
  timeout: number | undefined;
}

/**
 * Makes a call that may wait for so long. Calls stand in their order below, each with its own time, so
 * that one that has waited finds what it was told of.
 *
 * @param handle What the call is made on.
 * @param readiness Whether it would wait.
 * @param patience How long it may.
 * @param call Its name, for errors.
 * @param make Makes it.
 */
export async function patiently<T>(
  handle: Timed,
  readiness: Readiness,
  patience: Patience,
  call: string,
  make: () => Promise<T>,
): Promise<T> {
  if (patience === 0) {
    await untilReady(readiness, 0, call);
    // Somebody else was told as well, and was quicker.
    if (!readiness.ready) throw socketError("EAGAIN", call);
  }
  const before = handle.timeout;
  handle.timeout = patience || undefined;
  const made = make();
  handle.timeout = before;
  try {
    return await made;
  } catch (error) {
    throw patience && isTimeoutError(error)
      ? timeoutError(call, patience)
      : withCode(error);
  }
}

/** Whether a send would wait. */
export class Gate implements Readiness {
  readonly #watchers = new Watchers();
  #isOpen: boolean;
  /** Whether anybody has ever looked. */
  wasWatched = false;

  constructor(isOpen: boolean) {
    this.#isOpen = isOpen;
  }

  get ready(): boolean {
    return this.#isOpen;
  }

  /** Opens or shuts it. */
  set(isOpen: boolean): void {
    this.#isOpen = isOpen;
    if (isOpen) this.#watchers.notify();
  }

  watch(onReady: () => void, holds = true): () => void {
    this.wasWatched = true;
    this.#watchers.add(onReady, holds);
    if (this.#isOpen) this.#watchers.notify();
    return () => this.#watchers.remove(onReady);
  }
}

/**
 * Takes a message whole and sends it by and by. Until it is out, the gate is shut.
 *
 * @param gate Whether the message before it is out.
 * @param wait How long that may take.
 * @param send Sends; what goes wrong in it is told to `onError`.
 * @param onError Keeps it for the next call, unless it comes at once.
 */
export async function sendAhead(
  gate: Gate,
  wait: Patience,
  send: () => Promise<unknown>,
  onError: (error: unknown) => void,
): Promise<void> {
  await untilReady(gate, wait, "send");
  const sending = send();
  gate.set(false);
  let isOver = false;
  sending.catch((error) => onError(withCode(error))).then(() => {
    isOver = true;
    gate.set(true);
  });
  await soon(() => isOver);
}

/** What there is to wait for changes in a socket's life: those who watch need not know. */
export class Switch implements Readiness {
  #target: Readiness;
  /** Who watches, whether that keeps the process alive, and the end of the watch of the target. */
  readonly #watches = new Map<
    () => void,
    { readonly holds: boolean; readonly end: () => void }
  >();

  constructor(target: Readiness) {
    this.#target = target;
  }

  get ready(): boolean {
    return this.#target.ready;
  }

  /** Watches something else from now on. */
  set(target: Readiness): void {
    this.#target = target;
    for (const [onReady, { holds, end }] of [...this.#watches]) {
      end();
      this.#attach(onReady, holds);
    }
  }

  watch(onReady: () => void, holds = true): () => void {
    // Each watch is one of its own, whoever is told.
    const told = () => onReady();
    this.#attach(told, holds);
    return () => {
      this.#watches.get(told)?.end();
      this.#watches.delete(told);
    };
  }

  #attach(onReady: () => void, holds: boolean): void {
    let isTold = false;
    const end = this.#target.watch(() => {
      isTold = true;
      this.#watches.delete(onReady);
      onReady();
    }, holds);
    if (!isTold) this.#watches.set(onReady, { holds, end });
  }
}

/** Never ready: what there is to wait for has not begun. */
export const never: Readiness = { ready: false, watch: () => () => {} };

/** What never waits. */
export const always: Readiness = {
  ready: true,
  watch(onReady) {
    onReady();
    return () => {};
  },
};
