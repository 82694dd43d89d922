import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import plugin, { complaint, ORDER } from "../tools/rooms_plugin.ts";

const ROOT = new URL("..", import.meta.url);

/** The path of a file of the project, as the linter names it. */
function pathOf(file: string): string {
  return fileURLToPath(new URL(file, ROOT));
}

/** The messages that the plugin has for a source. */
function lint(file: string, source: string): string[] {
  return Deno.lint.runPlugin(plugin, pathOf(file), source)
    .map(({ id, message }) => {
      assertEquals(id, "rooms/order");
      return message;
    });
}

/** The published sources: the root's and those of the rooms that are folders. */
function* sources(folder = ""): Generator<string> {
  for (const entry of Deno.readDirSync(new URL(`./${folder}`, ROOT))) {
    const file = folder + entry.name;
    if (entry.isDirectory && (file === "libc" || file === "cli")) {
      yield* sources(`${file}/`);
    }
    if (entry.isFile && /(?<!_test)\.ts$/.test(entry.name)) yield file;
  }
}

/** What a file imports, found by the parser and not by the plugin under test. */
function importsOf(file: string): string[] {
  const found: string[] = [];
  const keep = (source: unknown) => {
    const value = (source as { value?: unknown } | null | undefined)?.value;
    if (typeof value === "string") found.push(value);
  };
  const collector: Deno.lint.Plugin = {
    name: "collector",
    rules: {
      "imports": {
        create: () => ({
          "ImportDeclaration": (node) => keep(node.source),
          "ExportAllDeclaration": (node) => keep(node.source),
          "ExportNamedDeclaration": (node) => keep(node.source),
          "ImportExpression": (node) => keep(node.source),
        }),
      },
    },
  };
  Deno.lint.runPlugin(
    collector,
    pathOf(file),
    Deno.readTextFileSync(new URL(file, ROOT)),
  );
  return found;
}

Deno.test("ORDER names every room once", () => {
  const rooms = ORDER.flat();
  assertEquals(new Set(rooms).size, rooms.length);
});

Deno.test("ORDER has a place for every source at the root", () => {
  const rooms = new Set(ORDER.flat());
  const files = [...sources()];
  assert(files.includes("mod.ts"));
  for (const file of files) {
    if (file.includes("/")) continue;
    assert(rooms.has(file.replace(/\.ts$/, "")), `${file} has no place`);
  }
});

Deno.test("complaint() has nothing to say about the project's own imports", () => {
  let count = 0;
  for (const file of sources()) {
    for (const specifier of importsOf(file)) {
      assertEquals(complaint(file, specifier), undefined);
      count++;
    }
  }
  // Were nothing found, nothing would have been checked.
  assert(count > 30, `${count} imports`);
});

Deno.test("The plugin has nothing to say about the project's own sources", () => {
  for (const file of sources()) {
    assertEquals(lint(file, Deno.readTextFileSync(new URL(file, ROOT))), []);
  }
});

Deno.test("complaint() allows imports from the left", () => {
  for (
    const [from, specifier] of [
      ["errors.ts", "./_errno_table.ts"],
      ["tcp.ts", "./errors.ts"],
      ["tcp.ts", "./_open.ts"],
      ["mod.ts", "./tcp.ts"],
      ["mod.ts", "./errors.ts"],
      ["cli.ts", "./mod.ts"],
      ["libc/mod.ts", "../socket.ts"],
      ["cli/main.ts", "../tcp.ts"],
      ["cli.ts", "./libc/mod.ts"],
    ] as const
  ) {
    assertEquals(complaint(from, specifier), undefined, `${from} ${specifier}`);
  }
});

Deno.test("complaint() refuses imports from the right", () => {
  assertEquals(
    complaint("errors.ts", "./tcp.ts"),
    "errors.ts imports tcp.ts, which does not stand to the left of it",
  );
  for (
    const [from, specifier] of [
      ["errors.ts", "./types.ts"],
      ["io.ts", "./pair.ts"],
      ["tcp.ts", "./mod.ts"],
      ["tcp.ts", "./cli.ts"],
      ["socket.ts", "./libc/mod.ts"],
      ["libc/mod.ts", "../mod.ts"],
      ["libc/mod.ts", "../cli/main.ts"],
    ] as const
  ) {
    assertStringIncludes(
      complaint(from, specifier) ?? "",
      "which does not stand to the left of it",
      `${from} ${specifier}`,
    );
  }
});

Deno.test("complaint() keeps siblings apart", () => {
  for (const rooms of ORDER) {
    for (const room of rooms) {
      for (const sibling of rooms) {
        // A folder's files import each other.
        if (room.endsWith("/")) continue;
        assertStringIncludes(
          complaint(`${room}.ts`, `./${sibling}.ts`) ?? "",
          "which does not stand to the left of it",
          `${room} ${sibling}`,
        );
      }
    }
  }
});

Deno.test("complaint() holds for every pair of rooms", () => {
  const file = (room: string) =>
    room.endsWith("/") ? `${room}mod.ts` : `${room}.ts`;
  for (const [i, from] of ORDER.entries()) {
    for (const [k, to] of ORDER.entries()) {
      if (i === k || from[0]!.endsWith("/")) continue;
      const message = complaint(file(from[0]!), `./${file(to[0]!)}`);
      assertEquals(message === undefined, k < i, `${from[0]} ${to[0]}`);
    }
  }
});

Deno.test("complaint() lets the files of one folder import each other", () => {
  assertEquals(complaint("libc/mod.ts", "./_arena.ts"), undefined);
  assertEquals(complaint("libc/_driver.ts", "./_reactor.ts"), undefined);
  assertEquals(complaint("cli/main.ts", "./args.ts"), undefined);
});

Deno.test("complaint() lets cli.ts import the rooms behind it", () => {
  assertEquals(complaint("cli.ts", "./cli/main.ts"), undefined);
});

Deno.test("complaint() keeps private files to their folder", () => {
  assertEquals(
    complaint("cli.ts", "./libc/_arena.ts"),
    "cli.ts imports libc/_arena.ts, which is private to its folder",
  );
  assertEquals(complaint("libc/mod.ts", "../_host.ts"), undefined);
  assertEquals(
    complaint("cli/main.ts", "../_host.ts"),
    "cli/main.ts imports _host.ts, which is private to its folder",
  );
});

Deno.test("complaint() refuses a file that has no place", () => {
  assertEquals(
    complaint("new_room.ts", "./errors.ts"),
    "new_room.ts has no place in the order of rooms; give it one in tools/rooms_plugin.ts",
  );
  assertStringIncludes(
    complaint("new_room.ts", "node:dns") ?? "",
    "has no place in the order of rooms",
  );
  assertStringIncludes(
    complaint("folder/errors.ts", "./x.ts") ?? "",
    "has no place in the order of rooms",
  );
});

Deno.test("complaint() refuses an import of what is no room", () => {
  assertEquals(
    complaint("tcp.ts", "./new_room.ts"),
    "tcp.ts imports new_room.ts, which is no room",
  );
  for (
    const specifier of [
      "./tests/_pairs.ts",
      "./std/assert/mod.ts",
      "./tools/rooms_plugin.ts",
      "./deno.json",
    ]
  ) {
    assertStringIncludes(
      complaint("tcp.ts", specifier) ?? "",
      "which is no room",
      specifier,
    );
  }
});

Deno.test("complaint() allows packages to the command line program only", () => {
  assertEquals(
    complaint("tcp.ts", "@std/assert"),
    "tcp.ts imports @std/assert: the library's rooms import no package",
  );
  for (
    const specifier of [
      "@std/cli",
      "npm:fast-check",
      "jsr:@std/cli",
      "https://example.com/mod.ts",
      "@berkeley/sockets",
      "@berkeley/sockets/tcp",
    ]
  ) {
    for (const from of ["tcp.ts", "mod.ts", "libc/mod.ts"]) {
      assertStringIncludes(
        complaint(from, specifier) ?? "",
        "the library's rooms import no package",
      );
    }
    assertEquals(complaint("cli.ts", specifier), undefined);
    assertEquals(complaint("cli/main.ts", specifier), undefined);
  }
});

Deno.test("complaint() allows the runtime's own modules everywhere", () => {
  assertEquals(complaint("tcp.ts", "node:dns"), undefined);
  assertEquals(complaint("libc/mod.ts", "node:os"), undefined);
  assertEquals(complaint("cli.ts", "node:process"), undefined);
});

Deno.test("complaint() leaves alone what is not published", () => {
  for (const folder of ["bench", "examples", "std", "tests", "tools"]) {
    assertEquals(complaint(`${folder}/x.ts`, "../mod.ts"), undefined);
    assertEquals(complaint(`${folder}/x.ts`, "../_host.ts"), undefined);
    assertEquals(complaint(`${folder}/deep/x.ts`, "@std/assert"), undefined);
  }
  // The folder's name must be whole.
  assertStringIncludes(
    complaint("testsuite/x.ts", "../mod.ts") ?? "",
    "has no place in the order of rooms",
  );
});

const WRONG =
  "errors.ts imports tcp.ts, which does not stand to the left of it";

Deno.test("The plugin sees every form of import", () => {
  for (
    const source of [
      'import { connectTcp } from "./tcp.ts";',
      'import * as tcp from "./tcp.ts";',
      'import tcp from "./tcp.ts";',
      'import "./tcp.ts";',
      'import type { TcpConn } from "./tcp.ts";',
      'import { type TcpConn } from "./tcp.ts";',
      'export { connectTcp } from "./tcp.ts";',
      'export type { TcpConn } from "./tcp.ts";',
      'export * from "./tcp.ts";',
      'export * as tcp from "./tcp.ts";',
      'const tcp = await import("./tcp.ts");',
      'function later() { return import("./tcp.ts"); }',
    ]
  ) {
    assertEquals(lint("errors.ts", source), [WRONG], source);
  }
});

Deno.test("The plugin reports each wrong import once", () => {
  assertEquals(
    lint(
      "errors.ts",
      'import "./tcp.ts";\nimport "./_errno_table.ts";\nexport * from "./unix.ts";\n',
    ),
    [WRONG, WRONG.replace("tcp.ts", "unix.ts")],
  );
});

Deno.test("The plugin points at the import", () => {
  const source = '// Before it.\nimport "./tcp.ts";\n';
  const found = Deno.lint.runPlugin(plugin, pathOf("errors.ts"), source);
  assertEquals(found.length, 1);
  const [start, end] = found[0]!.range;
  assertEquals(source.slice(start, end), 'import "./tcp.ts";');
});

Deno.test("The plugin is silent about what imports nothing wrong", () => {
  for (
    const source of [
      "",
      'import { errno } from "./_errno_table.ts";',
      'const errno = await import("./_errno_table.ts");',
      "export const x = 1;",
      "const x = 1; export { x };",
      'const text = "./tcp.ts"; export { text };',
      '// import "./tcp.ts";',
      "const name = String(1); await import(name);",
    ]
  ) {
    assertEquals(lint("errors.ts", source), [], source);
  }
});

Deno.test("The plugin knows a room that is a folder", () => {
  assertEquals(lint("libc/mod.ts", 'import "../socket.ts";'), []);
  assertEquals(lint("libc/mod.ts", 'import "../mod.ts";'), [
    "libc/mod.ts imports mod.ts, which does not stand to the left of it",
  ]);
});

Deno.test("The plugin leaves alone what lies elsewhere", () => {
  const source = 'import "./tcp.ts";\nimport "npm:x";\n';
  assertEquals(lint("tests/errors_test.ts", source), []);
  assertEquals(lint("tools/x.ts", source), []);
  assertEquals(
    Deno.lint.runPlugin(plugin, "/elsewhere/errors.ts", source),
    [],
  );
});

Deno.test("The plugin reads a path with backslashes", () => {
  const path = pathOf("errors.ts").replaceAll("/", "\\");
  const found = Deno.lint.runPlugin(plugin, path, 'import "./tcp.ts";');
  assertEquals(found.map(({ message }) => message), [WRONG]);
});

Deno.test("CONTRIBUTING.md has the order that the plugin keeps", async () => {
  const text = await Deno.readTextFile(
    new URL("../CONTRIBUTING.md", import.meta.url),
  );
  const line = /`_errno_table`[\s\S]*?`cli`/.exec(text)![0];
  const order = line.replace(/[`{}]/g, "").split(/\s*<\s*/)
    .map((rooms) => rooms.split(/,\s*/));
  assertEquals<unknown>(order, ORDER);
});
