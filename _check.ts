/** Checks of arguments: a clear error before any side effect. */

import { IncompleteReadError } from "./errors.ts";

/** A value as an error message shows it: short, on one line, its type visible. */
export function show(value: unknown): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(
        value.length > 80 ? `${value.slice(0, 80).toWellFormed()}…` : value,
      );
    case "bigint":
      return `${value}n`;
    case "function":
      return "a function";
    case "object":
      if (value === null) return "null";
      if (Array.isArray(value)) return "an array";
      return `an object (${value.constructor?.name || "no class"})`;
    default:
      return String(value);
  }
}

/** An options bag: an object, or nothing. */
export function checkOptions(options: unknown, what: string): void {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(
      `Invalid options of ${what}: expected an object, got ${show(options)}`,
    );
  }
}

/** A timeout in milliseconds: above 0, or `undefined` for none. */
export function checkTimeout(timeout: unknown): void {
  if (timeout === undefined) return;
  if (typeof timeout !== "number") {
    throw new TypeError(
      `Invalid timeout: expected milliseconds above 0 or undefined, got ${
        show(timeout)
      }`,
    );
  }
  if (!(timeout > 0)) {
    throw new RangeError(
      `Invalid timeout: expected milliseconds above 0, or undefined to wait for ever, got ${timeout}`,
    );
  }
}

/** A timeout as the calls of the BSD face take it: milliseconds, 0 for no wait, `null` for any. */
export function checkPatience(timeout: unknown): void {
  if (timeout === null || typeof timeout === "number" && timeout >= 0) return;
  const Class = typeof timeout === "number" ? RangeError : TypeError;
  throw new Class(
    `Invalid timeout: expected milliseconds, 0 for no wait or null to wait for ever, got ${
      show(timeout)
    }`,
  );
}

/** An AbortSignal, or nothing. */
export function checkSignal(signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new TypeError(
      `Invalid signal: expected an AbortSignal, got ${show(signal)}`,
    );
  }
}

/** The signal of a wait's options. */
export function signalOf(
  options: { signal?: AbortSignal | undefined } | undefined,
  what: string,
): AbortSignal | undefined {
  if (options === undefined) return undefined;
  checkOptions(options, what);
  checkSignal(options.signal);
  return options.signal;
}

/**
 * Puts what has come where it is wanted, or hands it over with an error, if there is no room any more.
 *
 * @param buffer Where it is wanted; it may have been transferred or resized in a wait.
 * @param data What has come.
 */
export function fill(buffer: Uint8Array, data: Uint8Array): void {
  if (buffer.length < data.length) {
    const error = new IncompleteReadError(data, data.length, {
      message:
        "The buffer was transferred or resized meanwhile: what has come is in `partial`",
    });
    throw Object.assign(error, { code: "EFAULT" });
  }
  buffer.set(data);
}

/** A TypeError for what should have been bytes. */
export function notBytes(value: unknown, what: string): TypeError {
  return new TypeError(
    `Invalid ${what}: expected a Uint8Array, got ${show(value)}`,
  );
}

/** A whole number within a range. */
export function checkInteger(
  value: unknown,
  name: string,
  min: number,
  max: number,
): void {
  if (
    Number.isInteger(value) && value as number >= min && value as number <= max
  ) {
    return;
  }
  // Text is made for what is wrong only: this is asked at every call.
  const message =
    `Invalid ${name}: expected an integer from ${min} to ${max}, got ${
      show(value)
    }`;
  throw typeof value === "number"
    ? new RangeError(message)
    : new TypeError(message);
}

/** A boolean, or nothing. */
export function checkBoolean(value: unknown, name: string): void {
  if (value !== undefined && typeof value !== "boolean") {
    throw new TypeError(
      `Invalid ${name}: expected a boolean, got ${show(value)}`,
    );
  }
}

/** A limit in bytes: 0 or more, `Infinity` for none. */
export function checkLimit(limit: unknown): void {
  if (limit === Infinity) return;
  if (typeof limit !== "number") {
    throw new TypeError(
      `Invalid limit: expected bytes from 0, or Infinity, got ${show(limit)}`,
    );
  }
  if (!Number.isSafeInteger(limit) || limit < 0) {
    throw new RangeError(
      `Invalid limit: expected whole bytes from 0, or Infinity, got ${limit}`,
    );
  }
}

/** A text that was given as one. */
export function checkText(text: unknown, what: string): void {
  if (typeof text !== "string") {
    throw new TypeError(
      `Invalid ${what}: expected a string, got ${show(text)}`,
    );
  }
}

/** Something that can be read from. */
export function checkReader(reader: unknown): void {
  const { read } = Object(reader) as { read?: unknown };
  if (typeof read !== "function") {
    throw new TypeError(
      `Invalid reader: expected an object with read(), got ${show(reader)}`,
    );
  }
}
