/** The commands that the README shows: each is one that its program knows, with the grants that this asks for. */

import { assert, assertEquals } from "@std/assert";
import { commandsOf, ROOT } from "./_programs.ts";

const README = Deno.readTextFileSync(`${ROOT}README.md`);

/** The programs of `examples/`; the textbook's are in a folder of their own. */
const programs = [...Deno.readDirSync(`${ROOT}examples`)]
  .filter(({ isFile, name }) => isFile && /^[^_].*\.ts$/.test(name))
  .map(({ name }) => name.slice(0, -3));

Deno.test("the README shows every program, with grants of its own documentation", () => {
  const shown = new Set<string>();
  for (
    const [line, flags, name] of README.matchAll(
      /deno run (.*)examples\/(\w+)\.ts.*/g,
    )
  ) {
    shown.add(name!);
    const known = commandsOf(name!).map((words) => words.join(" "));
    assert(known.includes(flags!.trim()), line);
  }
  // This one is a task.
  assert(README.includes("deno task demo"));
  shown.add("demo");
  assertEquals([...shown].sort(), programs.sort());
});
