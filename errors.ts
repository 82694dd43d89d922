/**
 * Errors and what can be asked of them.
 *
 * The package throws Deno's own error classes wherever one fits, so that
 * `instanceof Deno.errors.ConnectionRefused` works; the three classes here are
 * for what Deno has no class for. Timeouts are `DOMException`s named
 * `"TimeoutError"`, as `AbortSignal.timeout` gives.
 *
 * @example Telling a refused connection from a closed one
 * ```ts
 * import { errorCode } from "@berkeley/sockets/errors";
 * import { connectTcp, listenTcp } from "@berkeley/sockets/tcp";
 * import { assertEquals } from "@std/assert";
 *
 * const listener = await listenTcp({ hostname: "127.0.0.1" });
 * const { port } = listener.addr;
 * await listener[Symbol.asyncDispose]();
 * try {
 *   await connectTcp({ hostname: "127.0.0.1", port });
 * } catch (error) {
 *   assertEquals(errorCode(error), "ECONNREFUSED");
 * }
 * ```
 *
 * @module
 */

import { codeOfClass, errno, errnoName, strerror } from "./_errno_table.ts";

export { errno, strerror };

/** What {@linkcode IncompleteReadError} says beyond its bytes. */
export interface IncompleteReadErrorOptions extends ErrorOptions {
  /** The message; by default one that counts the bytes. */
  message?: string;
}

/**
 * A read ended before all that was asked for had come: the stream ended early, or the wait was
 * aborted after some bytes had been taken (then {@linkcode Error.cause} is the abort's reason).
 * What had come is in {@linkcode IncompleteReadError.partial}.
 *
 * @example The bytes before an early end
 * ```ts
 * import { IncompleteReadError } from "@berkeley/sockets/errors";
 * import { readExact } from "@berkeley/sockets/io";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const [a, b] = pair();
 * await a.writeAll(new Uint8Array([1, 2, 3]));
 * a.close();
 * const error = await assertRejects(() => readExact(b, 8), IncompleteReadError);
 * assertEquals(error.partial, new Uint8Array([1, 2, 3]));
 * assertEquals(error.expected, 8);
 * b.close();
 * ```
 */
export class IncompleteReadError extends Deno.errors.UnexpectedEof {
  /** The bytes that had come; empty if none. */
  readonly partial: Uint8Array;
  /** How many bytes were asked for; `undefined` where no number was. */
  readonly expected: number | undefined;

  /**
   * Makes the error.
   *
   * @param partial The bytes that had come.
   * @param expected How many were asked for, if a number was.
   * @param options The message and the cause.
   */
  constructor(
    partial: Uint8Array,
    expected: number | undefined,
    options: IncompleteReadErrorOptions = {},
  ) {
    const wanted = expected === undefined ? "" : ` of ${expected}`;
    const { message, ...rest } = options;
    super(
      message ?? `Stream ended after ${partial.length}${wanted} bytes`,
      rest,
    );
    this.name = "IncompleteReadError";
    this.partial = partial;
    this.expected = expected;
  }
}

/**
 * A limit on how much may be read was exceeded. Nothing is dropped: what had been taken from the
 * stream is in {@linkcode LimitError.partial}.
 *
 * @example A stream that is longer than allowed
 * ```ts
 * import { LimitError } from "@berkeley/sockets/errors";
 * import { readAll } from "@berkeley/sockets/io";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const [a, b] = pair();
 * await a.writeAll(new Uint8Array(100));
 * const error = await assertRejects(() => readAll(b, { limit: 10 }), LimitError);
 * assertEquals(error.limit, 10);
 * a.close();
 * b.close();
 * ```
 */
export class LimitError extends RangeError {
  /** The limit, in bytes. */
  readonly limit: number;
  /** The bytes that had been taken from the stream, those beyond the limit included. */
  readonly partial: Uint8Array;

  /**
   * Makes the error.
   *
   * @param message What was limited and how to raise it.
   * @param limit The limit, in bytes.
   * @param partial The bytes that had been taken.
   */
  constructor(message: string, limit: number, partial: Uint8Array) {
    super(message);
    this.name = "LimitError";
    this.limit = limit;
    this.partial = partial;
  }
}

/**
 * A text that should be an address is none.
 *
 * @example Where it stops being one
 * ```ts
 * import { parseAddr } from "@berkeley/sockets/addr";
 * import { AddressSyntaxError } from "@berkeley/sockets/errors";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const error = assertThrows(() => parseAddr("127.0.0.1:http"), AddressSyntaxError);
 * assertEquals(error.input, "127.0.0.1:http");
 * assertEquals(error.position, 10);
 * ```
 */
export class AddressSyntaxError extends SyntaxError {
  /** The whole text. */
  readonly input: string;
  /** The index, in UTF-16 units, at which the text is wrong. */
  readonly position: number;

  /**
   * Makes the error.
   *
   * @param message What is wrong and what is accepted.
   * @param input The whole text.
   * @param position The index at which it is wrong.
   */
  constructor(message: string, input: string, position: number) {
    super(message);
    this.name = "AddressSyntaxError";
    this.input = input;
    this.position = position;
  }
}

/**
 * Whether an error says that the handle was closed on our side: by `close()` before the call, or
 * while it waited. A connection that the peer broke is something else (`ConnectionReset`,
 * `BrokenPipe`).
 *
 * @param error Anything that was thrown.
 * @returns `true` for an error of a closed handle.
 *
 * @example A read that was waiting when the connection was closed
 * ```ts
 * import { isClosedError } from "@berkeley/sockets/errors";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assert } from "@std/assert";
 *
 * const [a, b] = pair();
 * const reading = a.read(new Uint8Array(10)).catch((error) => error);
 * a.close();
 * assert(isClosedError(await reading));
 * b.close();
 * ```
 */
export function isClosedError(error: unknown): boolean {
  return error instanceof Deno.errors.BadResource ||
    error instanceof Deno.errors.Interrupted;
}

/**
 * Whether an error says that a timeout of this package, or an `AbortSignal.timeout`, ran out. The
 * kernel's own ETIMEDOUT (a peer that vanished) is a `Deno.errors.TimedOut` and is not meant.
 *
 * @param error Anything that was thrown.
 * @returns `true` for a `TimeoutError`, and for an {@linkcode IncompleteReadError} caused by one.
 *
 * @example A read that nobody answers
 * ```ts
 * import { isTimeoutError } from "@berkeley/sockets/errors";
 * import { pair } from "@berkeley/sockets/pair";
 * import { assert } from "@std/assert";
 *
 * const [a, b] = pair();
 * a.timeout = 5;
 * const error = await a.read(new Uint8Array(10)).catch((error) => error);
 * assert(isTimeoutError(error));
 * a.close();
 * b.close();
 * ```
 */
export function isTimeoutError(error: unknown): boolean {
  const reason = error instanceof IncompleteReadError ? error.cause : error;
  return reason instanceof DOMException && reason.name === "TimeoutError";
}

/**
 * The OS's name of an error, such as `"ECONNREFUSED"`. Deno leaves `code` out of some errors
 * (name lookups, EPROTOTYPE, Busy, BadResource): this finds it.
 *
 * @param error Anything that was thrown.
 * @returns The code; `"ENOTFOUND"` and `"EAI_AGAIN"` for failed name lookups, `"ETIMEDOUT"` for a
 * timeout, `"EPERM"` for a permission that Deno was not given; `undefined` where there is none.
 *
 * @example An error that carries no code of its own
 * ```ts
 * import { errorCode } from "@berkeley/sockets/errors";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(errorCode(new Deno.errors.BadResource("Bad resource ID")), "EBADF");
 * assertEquals(errorCode("no error at all"), undefined);
 * ```
 */
export function errorCode(error: unknown): string | undefined {
  // Causes may form a ring.
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    if (!(error instanceof Error)) return undefined;
    const code = ownCode(error);
    if (code !== undefined) return code;
    error = error.cause;
  }
  return undefined;
}

/** How many causes are looked at. */
const MAX_DEPTH = 10;

/** The code of an error without a look at its cause. */
function ownCode(error: Error): string | undefined {
  const { code } = error as { code?: unknown };
  if (typeof code === "string") return code;
  if (isTimeoutError(error)) return "ETIMEDOUT";
  const number = Number(/\(os error (\d+)\)$/.exec(error.message)?.[1]);
  // Below Winsock's numbers, Windows has its own: 5 is no EIO there.
  const isErrno = Deno.build.os !== "windows" || number >= 10_000;
  if (error.message.startsWith("failed to lookup address information")) {
    return error.message.includes("Temporary failure")
      ? "EAI_AGAIN"
      : "ENOTFOUND";
  }
  return (isErrno ? errnoName(number) : undefined) ?? codeOfClass(error);
}
