/** Framing under random bytes, random cuts and random ways to read. */

import { assert, assertEquals } from "@std/assert";
import * as fc from "fast-check";
import { IncompleteReadError, LimitError } from "../errors.ts";
import { BufferedReader, encodeFrame, type FrameFormat } from "../framing.ts";
import type { Reader } from "../types.ts";

/** A reader of some bytes, cut where the numbers say. */
function source(data: Uint8Array, cuts: readonly number[]): Reader {
  let at = 0;
  let i = 0;
  return {
    read(p) {
      if (at === data.length) return Promise.resolve(null);
      const most = 1 + (cuts[i++ % Math.max(cuts.length, 1)] ?? 1000);
      const n = Math.min(p.length, most, data.length - at);
      p.set(data.subarray(at, at + n));
      at += n;
      return Promise.resolve(n);
    },
  };
}

const cuts = fc.array(fc.nat(40), { maxLength: 10 });
const bufSize = fc.integer({ min: 16, max: 100 });

const format: fc.Arbitrary<FrameFormat> = fc.oneof(
  fc.record({
    bytes: fc.constantFrom(
      1 as const,
      2 as const,
      3 as const,
      4 as const,
      8 as const,
    ),
    littleEndian: fc.boolean(),
    offset: fc.nat(5),
    adjustment: fc.integer({ min: -8, max: 8 }),
    maxLength: fc.constant(300),
  }),
  fc.record({
    varint: fc.constantFrom("leb128" as const, "quic" as const),
    maxLength: fc.constant(300),
  }),
);

Deno.test("random bytes end in frames or in one clear error, for every format", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 400 }),
      cuts,
      bufSize,
      format,
      async (data, cuts, bufSize, format) => {
        const reader = new BufferedReader(source(data, cuts), { bufSize });
        let got = 0;
        try {
          for await (const frame of reader.frames(format)) {
            assert(frame.length <= 305);
            got++;
          }
        } catch (error) {
          assert(
            error instanceof LimitError ||
              error instanceof IncompleteReadError ||
              error instanceof Deno.errors.InvalidData,
            String(error),
          );
        }
        // However they are asked for, they are the same.
        const again = new BufferedReader(source(data, []), { bufSize: 65536 });
        let batched = 0;
        try {
          for await (const batch of again.frameBatches(format)) {
            batched += batch.length;
          }
        } catch {
          // The same error, at the same place.
        }
        assertEquals(batched, got);
        assertEquals(again.buffered > 0, reader.buffered > 0);
      },
    ),
    { numRuns: 2000 },
  );
});

Deno.test("frames are what was sent, in whatever ways they are read", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ minLength: 5, maxLength: 200 }), {
        maxLength: 12,
      }),
      cuts,
      bufSize,
      fc.constantFrom<FrameFormat>({ bytes: 1 }, { bytes: 4, offset: 2 }, {
        varint: "quic",
      }, { varint: "leb128" }),
      fc.array(fc.nat(3), { minLength: 1, maxLength: 8 }),
      async (frames, cuts, bufSize, format, ways) => {
        const wire = new Uint8Array(
          await new Blob(frames.map((frame) => encodeFrame(frame, format)))
            .arrayBuffer(),
        );
        const reader = new BufferedReader(source(wire, cuts), { bufSize });
        const got: Uint8Array[] = [];
        for (let i = 0; got.length < frames.length; i++) {
          const way = ways[i % ways.length]!;
          if (way === 0) got.push((await reader.readFrame(format))!);
          else if (way === 1) {
            for await (const frame of reader.frames(format)) {
              got.push(frame);
              if (got.length % 2) break;
            }
          } else if (way === 2) {
            for await (const batch of reader.frameBatches(format)) {
              got.push(...batch);
              break;
            }
          } else {
            // Looking at what comes changes nothing.
            await reader.peek(3);
            got.push((await reader.readFrame(format))!);
          }
        }
        assertEquals(got, frames);
        assertEquals(await reader.readFrame(format), null);
      },
    ),
    { numRuns: 1000 },
  );
});

Deno.test("lines are what split() says, in whatever ways they are read", async () => {
  const piece = fc.constantFrom(
    "a",
    "é",
    "😀",
    "\r",
    "\n",
    "\r\n",
    "long line of words",
    "\u0000",
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(piece, { maxLength: 60 }),
      cuts,
      bufSize,
      fc.array(fc.nat(3), { minLength: 1, maxLength: 8 }),
      async (pieces, cuts, bufSize, ways) => {
        const text = `${pieces.join("")}\n`;
        const wanted = text.split("\n").slice(0, -1).map((line) =>
          line.replace(/\r$/, "")
        );
        const reader = new BufferedReader(
          source(new TextEncoder().encode(text), cuts),
          { bufSize },
        );
        const got: string[] = [];
        for (let i = 0; got.length < wanted.length; i++) {
          const way = ways[i % ways.length]!;
          if (way === 0) got.push((await reader.readLine())!);
          else if (way === 1) {
            for await (const line of reader.lines()) {
              got.push(line);
              if (got.length % 2) break;
            }
          } else if (way === 2) {
            for await (const lines of reader.lineBatches()) {
              got.push(...lines);
              break;
            }
          } else {
            const bytes = await reader.readUntil("\n");
            got.push(
              new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)
                .replace(/\r?\n$/, ""),
            );
          }
        }
        assertEquals(got, wanted);
        assertEquals(await reader.readLine(), null);
      },
    ),
    { numRuns: 1000 },
  );
});
