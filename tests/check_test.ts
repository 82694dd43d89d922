import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import {
  checkBoolean,
  checkInteger,
  checkLimit,
  checkOptions,
  checkSignal,
  checkTimeout,
  notBytes,
  show,
  signalOf,
} from "../_check.ts";

/** Values of every type but the number, as a caller without types might pass them. */
const NO_NUMBERS: readonly (readonly [unknown, string])[] = [
  [null, "got null"],
  ["10", 'got "10"'],
  [true, "got true"],
  [10n, "got 10n"],
  [[10], "got an array"],
  [{}, "got an object (Object)"],
  [() => 10, "got a function"],
  [Symbol("ten"), "got Symbol(ten)"],
];

Deno.test("show() quotes a string and keeps it on one line", () => {
  assertEquals(show(""), '""');
  assertEquals(show("x"), '"x"');
  assertEquals(show('a"b\\'), '"a\\"b\\\\"');
  assertEquals(show("a\nb\r\0"), '"a\\nb\\r\\u0000"');
});

Deno.test("show() cuts a string behind 80 characters", () => {
  assertEquals(show("a".repeat(80)), `"${"a".repeat(80)}"`);
  assertEquals(show("a".repeat(81)), `"${"a".repeat(80)}…"`);
  assertEquals(show("a".repeat(100_000)).length, 83);
});

Deno.test("show() keeps the types of primitives apart", () => {
  assertEquals(show(1), "1");
  assertEquals(show("1"), '"1"');
  assertEquals(show(1n), "1n");
  assertEquals(show(NaN), "NaN");
  assertEquals(show(-Infinity), "-Infinity");
  assertEquals(show(true), "true");
  assertEquals(show("true"), '"true"');
  assertEquals(show(undefined), "undefined");
  assertEquals(show(null), "null");
  assertEquals(show(Symbol("s")), "Symbol(s)");
});

Deno.test("show() names an object by its class, never by its contents", () => {
  assertEquals(show({ password: "secret" }), "an object (Object)");
  assertEquals(show(new Map()), "an object (Map)");
  assertEquals(show(new Uint8Array(3)), "an object (Uint8Array)");
  assertEquals(show(new URL("file:///x")), "an object (URL)");
  assertEquals(show([1, 2]), "an array");
  assertEquals(show(() => {}), "a function");
  assertEquals(show(class X {}), "a function");
});

Deno.test("show() survives an object without a class", () => {
  assertEquals(show(Object.create(null)), "an object (no class)");
  assertEquals(show({ constructor: undefined }), "an object (no class)");
});

Deno.test("checkOptions() takes an object", () => {
  checkOptions({}, "connectTcp()");
  checkOptions(Object.create(null), "connectTcp()");
});

Deno.test("checkOptions() refuses everything else", () => {
  for (const value of [undefined, null, 1, "x", true, 1n, () => {}]) {
    assertThrows(
      () => checkOptions(value, "connectTcp()"),
      TypeError,
      `Invalid options of connectTcp(): expected an object, got ${show(value)}`,
    );
  }
});

Deno.test("checkTimeout() takes milliseconds above 0 and undefined", () => {
  for (const value of [undefined, 1, 0.5, Number.MIN_VALUE, 1e12, Infinity]) {
    checkTimeout(value);
  }
});

Deno.test("checkTimeout() refuses 0, negative numbers and NaN", () => {
  for (const value of [0, -0, -1, -Infinity, NaN]) {
    assertThrows(
      () => checkTimeout(value),
      RangeError,
      `Invalid timeout: expected milliseconds above 0, or undefined to wait for ever, got ${value}`,
    );
  }
});

Deno.test("checkTimeout() refuses another type", () => {
  for (const [value, got] of NO_NUMBERS) {
    const error = assertThrows(
      () => checkTimeout(value),
      TypeError,
      "Invalid timeout: expected milliseconds above 0 or undefined, ",
    );
    assertEquals(error.message.endsWith(got), true, error.message);
  }
});

Deno.test("checkSignal() takes a signal, an aborted one too, and undefined", () => {
  checkSignal(undefined);
  checkSignal(new AbortController().signal);
  checkSignal(AbortSignal.abort());
});

Deno.test("checkSignal() refuses everything else", () => {
  for (
    const value of [
      null,
      1,
      "signal",
      {},
      { aborted: false },
      new AbortController(),
      new EventTarget(),
    ]
  ) {
    assertThrows(
      () => checkSignal(value),
      TypeError,
      `Invalid signal: expected an AbortSignal, got ${show(value)}`,
    );
  }
});

Deno.test("signalOf() gives the signal as it is", () => {
  const { signal } = new AbortController();
  assertStrictEquals(signalOf({ signal }, "read()"), signal);
  assertEquals(signalOf(undefined, "read()"), undefined);
  assertEquals(signalOf({}, "read()"), undefined);
  assertEquals(signalOf({ signal: undefined }, "read()"), undefined);
});

Deno.test("signalOf() refuses options that are no object", () => {
  for (const value of [null, 1, "x"]) {
    assertThrows(
      () => signalOf(value as never, "read()"),
      TypeError,
      "Invalid options of read(): expected an object, got ",
    );
  }
});

Deno.test("signalOf() refuses a signal that is none", () => {
  assertThrows(
    () => signalOf({ signal: new AbortController() as never }, "read()"),
    TypeError,
    "Invalid signal: expected an AbortSignal, got an object (AbortController)",
  );
});

Deno.test("notBytes() makes a TypeError and throws nothing", () => {
  const error = notBytes("text", "data");
  assertEquals(error.constructor, TypeError);
  assertEquals(
    error.message,
    'Invalid data: expected a Uint8Array, got "text"',
  );
  assertEquals(
    notBytes(new ArrayBuffer(1), "buffer").message,
    "Invalid buffer: expected a Uint8Array, got an object (ArrayBuffer)",
  );
});

Deno.test("checkInteger() takes both ends of the range", () => {
  for (const value of [0, 1, 65535, -0]) checkInteger(value, "port", 0, 65535);
  checkInteger(-5, "offset", -5, -5);
});

Deno.test("checkInteger() refuses what lies outside or between", () => {
  for (const value of [-1, 65536, 0.5, 80.0001, NaN, Infinity, -Infinity]) {
    assertThrows(
      () => checkInteger(value, "port", 0, 65535),
      RangeError,
      `Invalid port: expected an integer from 0 to 65535, got ${value}`,
    );
  }
});

Deno.test("checkInteger() refuses another type", () => {
  for (const [value, got] of [...NO_NUMBERS, [undefined, "got undefined"]]) {
    assertThrows(
      () => checkInteger(value, "port", 0, 65535),
      TypeError,
      `Invalid port: expected an integer from 0 to 65535, ${got}`,
    );
  }
});

Deno.test("checkBoolean() takes a boolean and undefined", () => {
  for (const value of [true, false, undefined]) checkBoolean(value, "noDelay");
});

Deno.test("checkBoolean() refuses everything else", () => {
  for (const value of [null, 0, 1, "", "true", {}, []]) {
    assertThrows(
      () => checkBoolean(value, "noDelay"),
      TypeError,
      `Invalid noDelay: expected a boolean, got ${show(value)}`,
    );
  }
});

Deno.test("checkLimit() takes whole bytes and Infinity", () => {
  for (const value of [0, 1, Number.MAX_SAFE_INTEGER, Infinity]) {
    checkLimit(value);
  }
});

Deno.test("checkLimit() refuses what is no count of bytes", () => {
  for (const value of [-1, 0.5, NaN, -Infinity, 2 ** 53]) {
    assertThrows(
      () => checkLimit(value),
      RangeError,
      `Invalid limit: expected whole bytes from 0, or Infinity, got ${value}`,
    );
  }
});

Deno.test("checkLimit() refuses another type", () => {
  for (const [value, got] of [...NO_NUMBERS, [undefined, "got undefined"]]) {
    assertThrows(
      () => checkLimit(value),
      TypeError,
      `Invalid limit: expected bytes from 0, or Infinity, ${got}`,
    );
  }
});
