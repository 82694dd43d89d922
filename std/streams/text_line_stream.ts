// Stands in for jsr:@std/streams where JSR cannot be reached: the same code, from the npm registry.
// @ts-types="./text_line_stream.d.ts"
export * from "npm:deno-std@1.4.0/streams/text_line_stream.js";
