import {
  assert,
  assertEquals,
  assertExists,
  assertInstanceOf,
  assertNotEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import os from "node:os";
import {
  AddressSyntaxError,
  errno,
  errorCode,
  IncompleteReadError,
  isClosedError,
  isTimeoutError,
  LimitError,
  strerror,
} from "../errors.ts";
import { classOfCode, errnoName } from "../_errno_table.ts";

const SYSTEMS = ["linux", "darwin", "windows"] as const;

/** Numbers by hand from errno(3), Darwin's sys/errno.h, and the Winsock error codes. */
const NUMBERS: readonly (readonly [string, number, number, number])[] = [
  ["EPERM", 1, 1, 1],
  ["ENOENT", 2, 2, 2],
  ["EINTR", 4, 4, 10004],
  ["EBADF", 9, 9, 10009],
  ["EAGAIN", 11, 35, 10035],
  ["EWOULDBLOCK", 11, 35, 10035],
  ["EACCES", 13, 13, 10013],
  ["EINVAL", 22, 22, 10022],
  ["EMFILE", 24, 24, 10024],
  ["EPIPE", 32, 32, 32],
  ["ENAMETOOLONG", 36, 63, 10063],
  ["ELOOP", 40, 62, 10062],
  ["EPROTO", 71, 100, 134],
  ["EOVERFLOW", 75, 84, 132],
  ["ENOTSOCK", 88, 38, 10038],
  ["EMSGSIZE", 90, 40, 10040],
  ["EPROTOTYPE", 91, 41, 10041],
  ["ENOPROTOOPT", 92, 42, 10042],
  ["EPROTONOSUPPORT", 93, 43, 10043],
  ["ESOCKTNOSUPPORT", 94, 44, 10044],
  ["EOPNOTSUPP", 95, 102, 10045],
  ["ENOTSUP", 95, 45, 10045],
  ["EAFNOSUPPORT", 97, 47, 10047],
  ["EADDRINUSE", 98, 48, 10048],
  ["EADDRNOTAVAIL", 99, 49, 10049],
  ["ENETUNREACH", 101, 51, 10051],
  ["ECONNABORTED", 103, 53, 10053],
  ["ECONNRESET", 104, 54, 10054],
  ["ENOBUFS", 105, 55, 10055],
  ["EISCONN", 106, 56, 10056],
  ["ENOTCONN", 107, 57, 10057],
  ["ETIMEDOUT", 110, 60, 10060],
  ["ECONNREFUSED", 111, 61, 10061],
  ["EHOSTUNREACH", 113, 65, 10065],
  ["EALREADY", 114, 37, 10037],
  ["EINPROGRESS", 115, 36, 10036],
  ["EIO", 5, 5, 5],
  ["ENOMEM", 12, 12, 12],
  ["EFAULT", 14, 14, 10014],
  ["EBUSY", 16, 16, 16],
  ["EEXIST", 17, 17, 17],
  ["EXDEV", 18, 18, 18],
  ["ENODEV", 19, 19, 19],
  ["ENOTDIR", 20, 20, 20],
  ["EISDIR", 21, 21, 21],
  ["ENFILE", 23, 23, 23],
  ["ENOSPC", 28, 28, 28],
  ["EROFS", 30, 30, 30],
  ["ENOSYS", 38, 78, 40],
  ["EDESTADDRREQ", 89, 39, 10039],
  ["EPFNOSUPPORT", 96, 46, 10046],
  ["ENETDOWN", 100, 50, 10050],
  ["ENETRESET", 102, 52, 10052],
  ["ESHUTDOWN", 108, 58, 10058],
  ["ETOOMANYREFS", 109, 59, 10059],
  ["EHOSTDOWN", 112, 64, 10064],
  ["ECANCELED", 125, 89, 105],
];

/** Every name of the table, found by its numbers: the table itself is private. */
function allNames(system: string): string[] {
  // The highest number of any column is Winsock's 10065.
  return Array.from(
    { length: 10_100 },
    (_, number) => errnoName(number, system),
  )
    .filter((name) => name !== undefined);
}

/** Deno.errors as a list gives no common constructor type of its own. */
// deno-lint-ignore no-explicit-any
type ErrorClass = new (...args: any[]) => Error;

Deno.test("errno() knows the numbers of three systems", () => {
  for (const [code, linux, darwin, windows] of NUMBERS) {
    assertEquals(errno(code, "linux"), linux, code);
    assertEquals(errno(code, "darwin"), darwin, code);
    assertEquals(errno(code, "windows"), windows, code);
  }
  // A row that is added to the table needs a line here.
  const listed = new Set<string>(NUMBERS.map(([code]) => code));
  assertEquals(allNames("linux").filter((name) => !listed.has(name)), []);
});

Deno.test("errno() takes the running system by default", () => {
  assertEquals(errno("ECONNREFUSED"), errno("ECONNREFUSED", Deno.build.os));
  assertEquals(strerror("ECONNREFUSED"), "Connection refused");
  assertEquals(errnoName(errno("EPIPE")!), "EPIPE");
});

Deno.test("errno() counts an unknown system like Linux", () => {
  assertEquals(errno("ECONNREFUSED", "android"), 111);
  assertEquals(errno("EOPNOTSUPP", "plan9"), 95);
});

Deno.test("errno() gives undefined for a name that is none", () => {
  for (
    const name of [
      "",
      "EWHATEVER",
      "econnrefused",
      "ENOTFOUND",
      // Members that every object inherits must not pass for rows.
      "constructor",
      "toString",
      "__proto__",
      "hasOwnProperty",
    ]
  ) {
    for (const system of SYSTEMS) {
      assertEquals(errno(name, system), undefined, name);
      assertEquals(strerror(name, system), `Unknown error ${name}`);
    }
  }
});

Deno.test("errnoName() is the inverse of errno()", () => {
  for (const system of SYSTEMS) {
    const names = allNames(system);
    assert(names.length > 50, `${names.length} names on ${system}`);
    // Two names of one number would hide each other.
    assertEquals(new Set(names).size, names.length);
    for (const name of names) {
      assertEquals(errnoName(errno(name, system)!, system), name);
    }
  }
});

Deno.test("errnoName() knows the same names on every system", () => {
  const names = allNames("linux").sort();
  assertEquals(allNames("windows").sort(), names);
  // Darwin alone has two numbers for "not supported".
  assertEquals(allNames("darwin").sort(), [...names, "ENOTSUP"].sort());
});

Deno.test("errnoName() gives undefined for a number that is none", () => {
  for (const number of [0, -1, -111, 1.5, NaN, Infinity, 99_999]) {
    for (const system of SYSTEMS) {
      assertEquals(errnoName(number, system), undefined);
    }
  }
});

Deno.test("strerror() takes a number of the system named", () => {
  assertEquals(strerror(111, "linux"), "Connection refused");
  assertEquals(strerror(61, "darwin"), "Connection refused");
  assertEquals(strerror(10061, "windows"), "Connection refused");
  assertEquals(strerror(35, "darwin"), "Resource temporarily unavailable");
  assertEquals(strerror(10013, "windows"), "Permission denied");
});

Deno.test("strerror() takes a name, an alias included", () => {
  assertEquals(strerror("EPIPE", "linux"), "Broken pipe");
  assertEquals(
    strerror("EWOULDBLOCK", "linux"),
    "Resource temporarily unavailable",
  );
  assertEquals(strerror("ENOTSUP", "linux"), "Operation not supported");
  assertEquals(strerror("ENOTSUP", "darwin"), "Operation not supported");
});

Deno.test("strerror() of no error is success, on every system", () => {
  for (const system of SYSTEMS) assertEquals(strerror(0, system), "Success");
  // No name stands for it.
  assertEquals(strerror("", "linux"), "Unknown error ");
});

Deno.test("strerror() says which value it does not know", () => {
  assertEquals(strerror("0", "linux"), "Unknown error 0");
  assertEquals(strerror(-5, "linux"), "Unknown error -5");
  assertEquals(strerror(99_999, "windows"), "Unknown error 99999");
  assertEquals(strerror("EWHATEVER", "darwin"), "Unknown error EWHATEVER");
});

Deno.test("strerror() says the same of a name and of its number", () => {
  for (const [code] of NUMBERS) {
    for (const system of SYSTEMS) {
      assertEquals(
        strerror(errno(code, system)!, system),
        strerror(code, system),
        `${code} on ${system}`,
      );
    }
  }
});

Deno.test("errno() agrees with node:os on Linux", () => {
  // The constants are those of the running system only.
  if (Deno.build.os !== "linux") return;
  const constants = os.constants.errno as Readonly<Record<string, number>>;
  const known = Object.keys(constants)
    .filter((name) => errno(name, "linux") !== undefined);
  assert(known.length > 50, `${known.length} names in common`);
  for (const name of known) {
    assertEquals(errno(name, "linux"), constants[name], name);
  }
});

Deno.test("errno() and strerror() agree with the C library on Linux", async () => {
  // The texts are glibc's; other C libraries have their own.
  if (!Deno.build.target.endsWith("linux-gnu")) return;
  const script = "import errno, json, os; " +
    "print(json.dumps({n: [k, os.strerror(k)] for n in ['', *dir(errno)] if n[:1] in 'E' " +
    "for k in [getattr(errno, n, 0)]}))";
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command("python3", {
      args: ["-c", script],
      env: { LC_ALL: "C" },
    }).output();
  } catch (error) {
    // A machine without Python has no second opinion to give.
    assertInstanceOf(error, Deno.errors.NotFound);
    return;
  }
  assert(output.success, new TextDecoder().decode(output.stderr));
  const rows: Readonly<Record<string, readonly [number, string]>> = JSON.parse(
    new TextDecoder().decode(output.stdout),
  );
  for (const name of allNames("linux")) {
    const row = rows[name];
    assertExists(row, `${name} is no error of this system`);
    assertEquals([errno(name, "linux"), strerror(name, "linux")], [...row]);
    assertEquals(strerror(row[0], "linux"), row[1]);
  }
  // What the script calls by no name is no error.
  assertEquals([0, strerror(0, "linux")], [...rows[""]!]);
  for (const alias of ["EWOULDBLOCK", "ENOTSUP"]) {
    assertEquals(
      [errno(alias, "linux"), strerror(alias, "linux")],
      [...rows[alias]!],
    );
  }
});

/** What every class of Deno's means; `undefined` where no single OS error stands behind it. */
const CODES: Readonly<
  Record<keyof typeof Deno.errors, string | undefined>
> = {
  NotFound: "ENOENT",
  PermissionDenied: "EACCES",
  ConnectionRefused: "ECONNREFUSED",
  ConnectionReset: "ECONNRESET",
  ConnectionAborted: "ECONNABORTED",
  NotConnected: "ENOTCONN",
  AddrInUse: "EADDRINUSE",
  AddrNotAvailable: "EADDRNOTAVAIL",
  BrokenPipe: "EPIPE",
  AlreadyExists: "EEXIST",
  InvalidData: undefined,
  TimedOut: "ETIMEDOUT",
  Interrupted: "EINTR",
  WriteZero: undefined,
  WouldBlock: "EAGAIN",
  UnexpectedEof: undefined,
  BadResource: "EBADF",
  Http: undefined,
  Busy: "EBUSY",
  NotSupported: "EOPNOTSUPP",
  FilesystemLoop: "ELOOP",
  IsADirectory: "EISDIR",
  NetworkUnreachable: "ENETUNREACH",
  NotADirectory: "ENOTDIR",
  NotCapable: "EPERM",
};

Deno.test("errorCode() knows every class of Deno.errors", () => {
  // A class that a later Deno adds must get a line above.
  assertEquals(Object.keys(CODES).sort(), Object.keys(Deno.errors).sort());
  for (const [name, Class] of Object.entries(Deno.errors)) {
    assertEquals(
      errorCode(new (Class as ErrorClass)("some text")),
      CODES[name as keyof typeof CODES],
      name,
    );
  }
});

Deno.test("errorCode() prefers the error's own code", () => {
  const error = Object.assign(new Deno.errors.BadResource("gone"), {
    code: "EPROTO",
  });
  assertEquals(errorCode(error), "EPROTO");
  assertEquals(
    errorCode(
      Object.assign(new Error("Broken pipe (os error 32)"), { code: "EX" }),
    ),
    "EX",
  );
});

Deno.test("errorCode() passes over a code that is no string", () => {
  for (const code of [111, null, undefined, {}, true]) {
    const error = Object.assign(new Deno.errors.Busy("busy"), { code });
    assertEquals(errorCode(error), "EBUSY");
  }
});

Deno.test("errorCode() reads the number at the message's end", () => {
  const number = errno("EPROTOTYPE")!;
  assertEquals(
    errorCode(new Error(`Protocol wrong type for socket (os error ${number})`)),
    "EPROTOTYPE",
  );
  // The number is nearer to the truth than the class.
  assertEquals(
    errorCode(
      new Deno.errors.PermissionDenied(`x (os error ${errno("EPERM")})`),
    ),
    "EPERM",
  );
});

Deno.test("errorCode() takes no number from elsewhere in the message", () => {
  for (
    const message of [
      "(os error 32) and more",
      "os error 32",
      "(os error )",
      "(os error x)",
      "(os error -32)",
      "(os error 32).",
      "(OS ERROR 32)",
      "",
    ]
  ) {
    assertEquals(errorCode(new Error(message)), undefined, message);
  }
  assertEquals(errorCode(new Error("x (os error 99999)")), undefined);
});

Deno.test("errorCode() tells the failed name lookups apart", () => {
  const prefix = "failed to lookup address information";
  assertEquals(
    errorCode(new Error(`${prefix}: Name or service not known`)),
    "ENOTFOUND",
  );
  assertEquals(errorCode(new Error(prefix)), "ENOTFOUND");
  assertEquals(
    errorCode(new Error(`${prefix}: Temporary failure in name resolution`)),
    "EAI_AGAIN",
  );
  assertEquals(errorCode(new Error(`It ${prefix}`)), undefined);
});

Deno.test("errorCode() gives ETIMEDOUT for a timeout and nothing for an abort", () => {
  assertEquals(
    errorCode(new DOMException("too late", "TimeoutError")),
    "ETIMEDOUT",
  );
  assertEquals(errorCode(new DOMException("stop", "AbortError")), undefined);
  assertEquals(
    errorCode(
      new IncompleteReadError(new Uint8Array(), 1, {
        cause: new DOMException("too late", "TimeoutError"),
      }),
    ),
    "ETIMEDOUT",
  );
});

Deno.test("errorCode() looks into causes last", () => {
  const cause = new Deno.errors.ConnectionReset("reset");
  assertEquals(errorCode(new Error("outer", { cause })), "ECONNRESET");
  assertEquals(
    errorCode(new Error("outer", { cause: new TypeError("x", { cause }) })),
    "ECONNRESET",
  );
  assertEquals(
    errorCode(new Deno.errors.BrokenPipe("pipe", { cause })),
    "EPIPE",
  );
  assertEquals(errorCode(new Error("outer", { cause: "EPIPE" })), undefined);
  assertEquals(errorCode(new Error("outer", { cause: null })), undefined);
});

Deno.test("errorCode() survives a cause that leads back to its error", () => {
  const error = new Error("outer");
  error.cause = new Error("inner", { cause: error });
  assertEquals(errorCode(error), undefined);
});

Deno.test("errorCode() gives undefined for what is no error", () => {
  for (
    const value of [
      undefined,
      null,
      "EPIPE",
      32,
      Symbol("EPIPE"),
      {},
      { code: "EPIPE" },
      { message: "Broken pipe (os error 32)" },
      () => {},
      new Error("plain"),
      new TypeError("plain"),
    ]
  ) {
    assertEquals(errorCode(value), undefined);
  }
});

Deno.test("errorCode() gives undefined for this package's own errors", () => {
  const bytes = new Uint8Array(3);
  assertEquals(errorCode(new IncompleteReadError(bytes, 8)), undefined);
  assertEquals(errorCode(new LimitError("too much", 1, bytes)), undefined);
  assertEquals(errorCode(new AddressSyntaxError("bad", "x", 0)), undefined);
});

Deno.test("errorCode() reads an error that the runtime made", () => {
  const folder = Deno.makeTempDirSync();
  try {
    const error = assertThrows(
      () => Deno.openSync(`${folder}/none`),
      Deno.errors.NotFound,
    );
    assertEquals(errorCode(error), "ENOENT");
  } finally {
    Deno.removeSync(folder);
  }
});

Deno.test("classOfCode() gives the class back that errorCode() reads the code from", () => {
  for (const [name, code] of Object.entries(CODES)) {
    // A missing flag is EPERM, but an EPERM of the system is no missing flag.
    if (code === undefined || name === "NotCapable") continue;
    const Class = classOfCode(code);
    assertStrictEquals(Class, Deno.errors[name as keyof typeof Deno.errors]);
    assertEquals(errorCode(new Class!("x")), code);
  }
});

Deno.test("classOfCode() takes the system's EPERM for what it is", () => {
  assertStrictEquals(classOfCode("EPERM"), Deno.errors.PermissionDenied);
});

Deno.test("classOfCode() gives undefined for a code without a class", () => {
  for (const code of ["", "EPROTO", "EISCONN", "ENOTFOUND", "constructor"]) {
    assertEquals(classOfCode(code), undefined);
  }
});

Deno.test("isClosedError() knows a handle closed before and during a call", () => {
  assert(isClosedError(new Deno.errors.BadResource("Bad resource ID")));
  assert(isClosedError(new Deno.errors.Interrupted("operation canceled")));
});

Deno.test("isClosedError() says no to everything else", () => {
  for (const [name, Class] of Object.entries(Deno.errors)) {
    if (name === "BadResource" || name === "Interrupted") continue;
    assert(!isClosedError(new (Class as ErrorClass)("x")), name);
  }
  for (
    const value of [
      undefined,
      null,
      "BadResource",
      { name: "BadResource" },
      Object.assign(new Error("Bad resource ID"), { name: "BadResource" }),
      new DOMException("stop", "AbortError"),
      new Error("x", { cause: new Deno.errors.BadResource("y") }),
    ]
  ) {
    assert(!isClosedError(value));
  }
});

Deno.test("isTimeoutError() knows a TimeoutError, bare and as a cause", () => {
  const timeout = new DOMException("too late", "TimeoutError");
  assert(isTimeoutError(timeout));
  assert(
    isTimeoutError(
      new IncompleteReadError(new Uint8Array(2), 4, { cause: timeout }),
    ),
  );
});

Deno.test("isTimeoutError() says no to the kernel's timeout and everything else", () => {
  const timeout = new DOMException("too late", "TimeoutError");
  for (
    const value of [
      undefined,
      null,
      "TimeoutError",
      { name: "TimeoutError" },
      Object.assign(new Error("too late"), { name: "TimeoutError" }),
      new Deno.errors.TimedOut("Connection timed out"),
      new DOMException("stop", "AbortError"),
      new Error("x", { cause: timeout }),
      new IncompleteReadError(new Uint8Array(), 1),
      new IncompleteReadError(new Uint8Array(), 1, {
        cause: new DOMException("stop", "AbortError"),
      }),
    ]
  ) {
    assert(!isTimeoutError(value));
  }
});

Deno.test("isTimeoutError() knows what AbortSignal.timeout gives", async () => {
  const signal = AbortSignal.timeout(1);
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
  assert(isTimeoutError(signal.reason));
  assertEquals(errorCode(signal.reason), "ETIMEDOUT");
});

Deno.test("IncompleteReadError keeps the bytes and counts them", () => {
  const partial = new Uint8Array([1, 2, 3]);
  const error = new IncompleteReadError(partial, 8);
  assertStrictEquals(error.partial, partial);
  assertEquals(error.expected, 8);
  assertEquals(error.name, "IncompleteReadError");
  assertEquals(error.message, "Stream ended after 3 of 8 bytes");
  assertEquals(String(error), `IncompleteReadError: ${error.message}`);
  assert(!Object.hasOwn(error, "cause"));
  assertInstanceOf(error, Deno.errors.UnexpectedEof);
  assertInstanceOf(error, Error);
});

Deno.test("IncompleteReadError names no number where none was asked for", () => {
  const error = new IncompleteReadError(new Uint8Array(), undefined);
  assertEquals(error.expected, undefined);
  assertEquals(error.partial.length, 0);
  assertEquals(error.message, "Stream ended after 0 bytes");
});

Deno.test("IncompleteReadError takes a message and a cause", () => {
  const cause = new DOMException("stop", "AbortError");
  const error = new IncompleteReadError(new Uint8Array(1), 2, {
    message: "No line end",
    cause,
  });
  assertEquals(error.message, "No line end");
  assertStrictEquals(error.cause, cause);
  // Where only a cause is given the message still counts.
  assertEquals(
    new IncompleteReadError(new Uint8Array(1), 2, { cause }).message,
    "Stream ended after 1 of 2 bytes",
  );
});

Deno.test("LimitError keeps the limit and the bytes", () => {
  const partial = new Uint8Array(11);
  const error = new LimitError("More than 10 bytes", 10, partial);
  assertEquals(error.limit, 10);
  assertStrictEquals(error.partial, partial);
  assertEquals(error.name, "LimitError");
  assertEquals(error.message, "More than 10 bytes");
  assertInstanceOf(error, RangeError);
});

Deno.test("AddressSyntaxError keeps the text and the position", () => {
  const error = new AddressSyntaxError("No port", "localhost", 9);
  assertEquals(error.input, "localhost");
  assertEquals(error.position, 9);
  assertEquals(error.name, "AddressSyntaxError");
  assertEquals(error.message, "No port");
  assertInstanceOf(error, SyntaxError);
});

Deno.test("The three classes are no kin to each other", () => {
  const errors = [
    new IncompleteReadError(new Uint8Array(), 1),
    new LimitError("x", 1, new Uint8Array()),
    new AddressSyntaxError("x", "x", 0),
  ];
  const classes = [IncompleteReadError, LimitError, AddressSyntaxError];
  for (const [i, error] of errors.entries()) {
    for (const [k, Class] of classes.entries()) {
      assertEquals(error instanceof Class, i === k);
    }
    assertNotEquals(error.stack, undefined);
  }
});
