import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  checkUnixPath,
  isAbstract,
  maxUnixPath,
  pathBytes,
} from "../_unix_path.ts";

const SYSTEMS = ["linux", "android", "darwin", "freebsd", "netbsd", "windows"];

Deno.test("maxUnixPath() is sun_path's size less the NUL", () => {
  assertEquals(maxUnixPath("linux"), 107);
  assertEquals(maxUnixPath("android"), 107);
  assertEquals(maxUnixPath("windows"), 107);
  assertEquals(maxUnixPath("darwin"), 103);
  assertEquals(maxUnixPath("freebsd"), 103);
  assertEquals(maxUnixPath("netbsd"), 103);
  assertEquals(maxUnixPath("openbsd"), 103);
});

Deno.test("pathBytes() counts UTF-8, not characters", () => {
  assertEquals(pathBytes(""), 0);
  assertEquals(pathBytes("abc"), 3);
  assertEquals(pathBytes("é"), 2);
  assertEquals(pathBytes("€"), 3);
  assertEquals(pathBytes("😀"), 4);
});

Deno.test("isAbstract() looks at the first character only", () => {
  assert(isAbstract("\0name"));
  assert(isAbstract("\0"));
  assert(!isAbstract(""));
  assert(!isAbstract("@name"));
  assert(!isAbstract("a\0b"));
});

Deno.test("checkUnixPath() gives a string back as it is", () => {
  for (
    const path of [
      "/run/x.sock",
      "x.sock",
      "./x",
      "../x",
      "/",
      "@name",
      "//x",
      "a b:c%20d",
      "/run/ünïcode-😀",
      "C:\\x.sock",
      "file:///is/a/string",
      " ",
      "\n",
    ]
  ) {
    for (const system of SYSTEMS) {
      assertEquals(checkUnixPath(path, system), path);
    }
  }
});

Deno.test("checkUnixPath() takes the running system by default", () => {
  assertEquals(checkUnixPath("/run/x.sock"), "/run/x.sock");
  assertEquals(
    checkUnixPath("a".repeat(maxUnixPath(Deno.build.os))).length,
    maxUnixPath(Deno.build.os),
  );
  assertThrows(
    () => checkUnixPath("a".repeat(maxUnixPath(Deno.build.os) + 1)),
    RangeError,
  );
});

Deno.test("checkUnixPath() decodes a file URL", () => {
  assertEquals(
    checkUnixPath(new URL("file:///run/x.sock"), "linux"),
    "/run/x.sock",
  );
  assertEquals(
    checkUnixPath(new URL("file:///run/a%20b%25c%23d%3Fe"), "linux"),
    "/run/a b%c#d?e",
  );
  // The URL encodes by itself what was not encoded.
  assertEquals(
    checkUnixPath(new URL("file:///run/ü x/😀"), "linux"),
    "/run/ü x/😀",
  );
  assertEquals(
    checkUnixPath(new URL("./y.sock", "file:///run/x.sock"), "darwin"),
    "/run/y.sock",
  );
});

Deno.test("checkUnixPath() drops the slash before a drive on Windows only", () => {
  const url = new URL("file:///C:/run/x.sock");
  assertEquals(checkUnixPath(url, "windows"), "C:/run/x.sock");
  assertEquals(checkUnixPath(url, "linux"), "/C:/run/x.sock");
  assertEquals(
    checkUnixPath(new URL("file:///run/x.sock"), "windows"),
    "/run/x.sock",
  );
});

Deno.test("checkUnixPath() counts a URL's bytes after decoding", () => {
  const fits = new URL(`file:///${"%20".repeat(106)}`);
  assertEquals(checkUnixPath(fits, "linux"), `/${" ".repeat(106)}`);
  assertThrows(
    () => checkUnixPath(new URL(`file:///${"%20".repeat(107)}`), "linux"),
    RangeError,
    "expected at most 107 bytes, got 108",
  );
});

Deno.test("checkUnixPath() refuses a URL that is no file's", () => {
  for (const protocol of ["http:", "unix:", "data:"]) {
    for (const system of SYSTEMS) {
      assertThrows(
        () => checkUnixPath(new URL(`${protocol}//x/run/x.sock`), system),
        TypeError,
        `Invalid path: expected a file URL, got one of "${protocol}"`,
      );
    }
  }
});

Deno.test("checkUnixPath() refuses a NUL in a file URL", () => {
  for (const url of ["file:///run/a%00b", "file:///%00name"]) {
    assertThrows(
      () => checkUnixPath(new URL(url), "linux"),
      TypeError,
      "Invalid path: NUL can only be its first character (an abstract name), got ",
    );
  }
});

Deno.test("checkUnixPath() refuses an empty path", () => {
  for (const system of SYSTEMS) {
    assertThrows(
      () => checkUnixPath("", system),
      TypeError,
      "Invalid path: expected a path or an abstract name, got an empty string",
    );
  }
});

Deno.test("checkUnixPath() refuses another type", () => {
  const cases: readonly (readonly [unknown, string])[] = [
    [undefined, "got undefined"],
    [null, "got null"],
    [0, "got 0"],
    [true, "got true"],
    [{}, "got an object (Object)"],
    [{ href: "file:///x", pathname: "/x" }, "got an object (Object)"],
    [["/run/x.sock"], "got an array"],
    [new Uint8Array([47]), "got an object (Uint8Array)"],
    [() => "/x", "got a function"],
  ];
  for (const [path, got] of cases) {
    for (const system of SYSTEMS) {
      assertThrows(
        () => checkUnixPath(path, system),
        TypeError,
        `Invalid path: expected a string or a file URL, ${got}`,
      );
    }
  }
});

Deno.test("checkUnixPath() refuses a NUL behind the first character", () => {
  for (const path of ["a\0", "a\0b", "/run/x.sock\0", "a\0\0"]) {
    for (const system of SYSTEMS) {
      assertThrows(
        () => checkUnixPath(path, system),
        TypeError,
        "Invalid path: NUL can only be its first character (an abstract name), got ",
      );
    }
  }
});

Deno.test("checkUnixPath() takes as many bytes as the system has room for", () => {
  for (const system of SYSTEMS) {
    const max = maxUnixPath(system);
    assertEquals(checkUnixPath("a".repeat(max), system).length, max);
    assertThrows(
      () => checkUnixPath("a".repeat(max + 1), system),
      RangeError,
      `Invalid path: expected at most ${max} bytes, got ${max + 1} ("aaa`,
    );
  }
});

Deno.test("checkUnixPath() counts a path of several bytes a character", () => {
  // 35 * 3 + 2 = 107, the most that Linux takes.
  const fits = "€".repeat(35) + "é";
  assertEquals(checkUnixPath(fits, "linux"), fits);
  assertThrows(
    () => checkUnixPath("€".repeat(36), "linux"),
    RangeError,
    "expected at most 107 bytes, got 108",
  );
  assertThrows(
    () => checkUnixPath(fits, "darwin"),
    RangeError,
    "expected at most 103 bytes, got 107",
  );
  assertThrows(
    () => checkUnixPath("😀".repeat(27), "windows"),
    RangeError,
    "expected at most 107 bytes, got 108",
  );
});

Deno.test("checkUnixPath() takes an abstract name where there are any", () => {
  for (const system of ["linux", "android"]) {
    for (
      const name of ["\0name", "\0a b", "\0/run/x", "\0@", "\0a\0b", "\0\0"]
    ) {
      assertEquals(checkUnixPath(name, system), name);
    }
  }
});

Deno.test("checkUnixPath() does not count the NUL of an abstract name", () => {
  const fits = `\0${"a".repeat(107)}`;
  assertEquals(checkUnixPath(fits, "linux"), fits);
  assertThrows(
    () => checkUnixPath(`${fits}a`, "linux"),
    RangeError,
    "Invalid path: expected at most 107 bytes, got 108",
  );
  assertThrows(
    () => checkUnixPath(`\0${"é".repeat(54)}`, "linux"),
    RangeError,
    "Invalid path: expected at most 107 bytes, got 108",
  );
});

Deno.test("checkUnixPath() refuses an abstract name without a name", () => {
  assertThrows(
    () => checkUnixPath("\0", "linux"),
    TypeError,
    "Invalid path: expected a name behind the NUL of an abstract name, got none",
  );
});

Deno.test("checkUnixPath() refuses an abstract name elsewhere and names the system", () => {
  for (const system of ["darwin", "windows", "freebsd"]) {
    for (const name of ["\0name", "\0", `\0${"a".repeat(200)}`]) {
      assertThrows(
        () => checkUnixPath(name, system),
        Deno.errors.NotSupported,
        `Invalid path: abstract names exist on Linux only, not on ${system}`,
      );
    }
  }
});

Deno.test("checkUnixPath() refuses a file URL that is no path", () => {
  for (
    const [url, message] of [
      ["file:///tmp/100%", "expected UTF-8"],
      ["file:///tmp/%ff", "expected UTF-8"],
      ["file://server/share", "without a host"],
    ] as const
  ) {
    assertThrows(() => checkUnixPath(new URL(url)), TypeError, message);
  }
});
