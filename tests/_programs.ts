/** The programs of `examples/` as they are run: with the grants that their own headers name. */

import { assertEquals, assertMatch } from "@std/assert";
import { type Ended, Program } from "./_process.ts";

/** Where this package is. */
export const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname);

/** The flags in each command that a program's own documentation shows. */
export function commandsOf(name: string): string[][] {
  const source = Deno.readTextFileSync(`${ROOT}examples/${name}.ts`);
  const doc = source.slice(0, source.indexOf("*/"));
  const command = new RegExp(
    `^ \\* {5}deno run (.*)examples/${name}\\.ts(?: .*)?$`,
    "gm",
  );
  return [...doc.matchAll(command)].map(([, flags]) =>
    flags!.trim().split(" ")
  );
}

/** How a program is run, up to its own arguments: with the grants of its first command by default. */
export function commandOf(
  name: string,
  flags: readonly string[] = commandsOf(name)[0]!,
): string[] {
  const options = ["run", "--no-prompt", "--quiet", ...flags];
  return [Deno.execPath(), ...options, `${ROOT}examples/${name}.ts`];
}

/** Starts a program with the grants of its first command. */
export function startProgram(
  name: string,
  args: readonly string[],
  cwd = ROOT,
): Program {
  const [command, ...rest] = commandOf(name);
  return new Program(command!, [...rest, ...args], cwd);
}

/** Runs a program to its end, with the grants of its first command. */
export async function runProgram(
  name: string,
  ...args: string[]
): Promise<Ended> {
  await using program = startProgram(name, args);
  return await program.ended();
}

/** One clear line, exit code 1, no stack. */
export function assertOneLine(
  { code, stdout, stderr }: Ended,
  line: RegExp,
): void {
  assertEquals(stdout, "");
  assertMatch(stderr, line);
  assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
  assertEquals(code, 1);
}

/** The lines of what a program has printed that ended well. */
export function linesOf({ code, signal, stdout, stderr }: Ended): string[] {
  assertEquals({ code, signal, stderr }, { code: 0, signal: null, stderr: "" });
  return stdout.trimEnd().split("\n");
}
