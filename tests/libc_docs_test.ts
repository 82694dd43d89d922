/**
 * The programs in the documentation of the C library's sockets, each in a process of its own: the library
 * stays open, which `deno test --doc` takes for a leak.
 */

import { assert, assertEquals } from "@std/assert";
import { Program } from "./_process.ts";

const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname);

/** A program that documentation shows. */
interface Block {
  /** The file and the line where it begins. */
  readonly where: string;
  readonly program: string;
}

/** The blocks of a Markdown text whose first line is one of `marks`. */
function blocksOf(
  path: string,
  lines: readonly string[],
  marks: readonly string[],
): Block[] {
  const blocks: Block[] = [];
  let start: number | undefined;
  for (const [i, line] of lines.entries()) {
    if (start === undefined) {
      if (marks.includes(line)) start = i + 1;
    } else if (line === "```") {
      const program = lines.slice(start, i).join("\n");
      blocks.push({ where: `${path}:${start}`, program: `${program}\n` });
      start = undefined;
    }
  }
  assertEquals(start, undefined, `${path}: a block has no end`);
  return blocks;
}

/** The lines of a source's docstrings without what is in front of them, at the same places. */
function docLines(source: string): string[] {
  let isInside = false;
  return source.split("\n").map((line) => {
    const text = line.trimStart();
    if (text.startsWith("/**")) isInside = true;
    const isDoc = isInside && text.startsWith("*");
    if (text.endsWith("*/")) isInside = false;
    return isDoc ? text.replace(/^\* ?/, "") : "";
  });
}

const readme = blocksOf(
  "README.md",
  Deno.readTextFileSync(`${ROOT}README.md`).split("\n"),
  ["```ts ignore"],
);

const library = [...Deno.readDirSync(`${ROOT}libc`)]
  .map(({ name }) => `libc/${name}`)
  .filter((path) => path.endsWith(".ts"))
  .sort()
  .flatMap((path) =>
    blocksOf(path, docLines(Deno.readTextFileSync(`${ROOT}${path}`)), [
      "```ts",
      "```ts ignore",
    ])
  );

Deno.test("the README and the docstrings of libc/ show programs", () => {
  assert(readme.length >= 1);
  assert(library.length >= 3);
  for (const { where, program } of [...readme, ...library]) {
    assert(program.includes('from "@berkeley/sockets/'), where);
  }
});

for (const { where, program } of [...readme, ...library]) {
  Deno.test({
    name: `the program at ${where} runs as it stands`,
    ignore: Deno.build.os !== "linux",
    async fn() {
      const folder = await Deno.makeTempDir();
      try {
        const file = `${folder}/program.ts`;
        await Deno.writeTextFile(file, program);
        await using running = new Program(Deno.execPath(), [
          "run",
          "-A",
          "--check",
          "--quiet",
          "--config",
          `${ROOT}deno.json`,
          file,
        ], folder);
        const { code, signal, stderr } = await running.ended();
        assertEquals({ code, signal, stderr }, {
          code: 0,
          signal: null,
          stderr: "",
        });
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}
