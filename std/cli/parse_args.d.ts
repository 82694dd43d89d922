/** The part of `@std/cli/parse-args` that this project uses. */
export interface ParseOptions {
  boolean?: readonly string[];
  string?: readonly string[];
  alias?: Record<string, string | readonly string[]>;
  collect?: readonly string[];
  default?: Record<string, unknown>;
  stopEarly?: boolean;
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}
export interface Args {
  _: (string | number)[];
  [name: string]: unknown;
}
export declare function parseArgs(
  args: readonly string[],
  options?: ParseOptions,
): Args;
