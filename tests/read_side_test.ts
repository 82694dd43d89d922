/** How large the buffers are of reads that lend out what they bring. */

import { assertEquals } from "@std/assert";
import { ReadSide } from "../_read_side.ts";
import { Shared } from "../_wait.ts";

const SIZES = [4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304];
const [FIRST, LAST] = [SIZES[0]!, SIZES.at(-1)!];
/** The largest that everybody may have. */
const COMMON = 262_144;

/** A stream that brings as much as it is told to. */
class Stream implements Disposable {
  /** What the next reads find: so many bytes at most, the end, or an error. */
  next: number | null | Error = Infinity;
  /** How large the last read's buffer was. */
  asked = 0;
  readonly side: ReadSide;

  constructor() {
    this.side = new ReadSide({
      read: (p) => {
        this.asked = p.length;
        return this.next instanceof Error
          ? Promise.reject(this.next)
          : Promise.resolve(this.next && Math.min(this.next, p.length));
      },
      ref() {},
      unref() {},
    }, new Shared());
  }

  /** Reads once, and tells how large the buffer was. */
  async read(): Promise<number> {
    await new Promise<void>((resolve) => this.side.watch(resolve));
    const chunk = this.side.borrow(Infinity);
    if (chunk !== undefined) this.side.giveBack(chunk, true);
    return this.asked;
  }

  /** Reads until the buffer is the largest that it may have. */
  async grow(): Promise<number> {
    for (let i = 0; i < SIZES.length; i++) await this.read();
    return this.asked;
  }

  [Symbol.dispose](): void {
    this.side.close();
  }
}

Deno.test("a lent buffer grows where much comes, and gets smaller when less does for a while", async () => {
  using stream = new Stream();
  const sizes: number[] = [];
  for (let i = 0; i <= SIZES.length; i++) sizes.push(await stream.read());
  assertEquals(sizes, [...SIZES, LAST]);
  // Small ones between large ones change nothing.
  for (let i = 0; i < 20; i++) {
    stream.next = i % 8 === 0 ? LAST / 2 : 100;
    assertEquals(await stream.read(), LAST);
  }
  stream.next = LAST;
  await stream.read();
  stream.next = 100;
  for (const size of SIZES.toReversed()) {
    for (let i = 0; i < 8; i++) assertEquals(await stream.read(), size);
  }
  assertEquals(await stream.read(), FIRST);
});

Deno.test("only sixteen have large lent buffers, until one is over or needs less", async () => {
  const streams = Array.from({ length: 17 }, () => new Stream());
  const [first, second, third, fourth, ...rest] = streams;
  const last = rest.pop()!;
  try {
    for (const stream of streams) {
      assertEquals(await stream.grow(), stream === last ? COMMON : LAST);
    }
    // Whoever gives up a place, and then takes it again as the last.
    const givesWay = async (giveUp: () => Promise<unknown> | void) => {
      assertEquals(await last.grow(), COMMON);
      await giveUp();
      assertEquals(await last.grow(), LAST);
      last.next = 100;
      for (let i = 0; i < 24; i++) await last.read();
      last.next = Infinity;
      const another = new Stream();
      rest.push(another);
      assertEquals(await another.grow(), LAST);
    };
    await givesWay(() => first!.side.close());
    await givesWay(() => {
      second!.next = null;
      return second!.read();
    });
    await givesWay(() => {
      third!.next = new Deno.errors.ConnectionReset("reset");
      return third!.read();
    });
    await givesWay(async () => {
      fourth!.next = 100;
      for (let i = 0; i < 24; i++) await fourth!.read();
    });
    // A second end of the same stream gives up nothing.
    for (const stream of [first!, second!, third!]) stream.side.close();
    assertEquals(await last.grow(), COMMON);
  } finally {
    for (const stream of [...streams, ...rest]) stream.side.close();
  }
});
