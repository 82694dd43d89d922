// Stands in for jsr:@std/cli where JSR cannot be reached: the same code, from the npm registry.
// @ts-types="./parse_args.d.ts"
export * from "npm:deno-std@1.4.0/cli/parse_args.js";
