/** The web streams of a connection: they half-close, and never close what they should not. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { isClosedError } from "../errors.ts";
import { readAll } from "../io.ts";
import { pattern, readText, rejection, text, turn, utf8 } from "./_bytes.ts";
import { testEach } from "./_pairs.ts";

testEach("streams half-close both ways", async ({ a, b }) => {
  assertStrictEquals(a.readable, a.readable);
  assertStrictEquals(a.writable, a.writable);
  const asking = new Response("question").body!.pipeTo(a.writable);
  assertEquals(await new Response(b.readable).text(), "question");
  await asking;
  await new Response("answer").body!.pipeTo(b.writable);
  assertEquals(await new Response(a.readable).text(), "answer");
});

testEach(
  "an echo by pipeTo() with a buffering transform loses no tail",
  async ({ a, b }) => {
    const data = pattern(5_000_000);
    let held: Uint8Array[] = [];
    const hold = new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk) => void held.push(chunk.slice()),
      flush: (controller) => {
        for (const chunk of held) controller.enqueue(chunk);
        held = [];
      },
    });
    const echo = b.readable.pipeThrough(hold).pipeTo(b.writable);
    const sending = a.writeAll(data).then(() => a.closeWrite());
    assertEquals(await readAll(a), data);
    await Promise.all([echo, sending]);
  },
);

testEach("a byob reader reads into its own buffer", async ({ a, b }) => {
  const reader = b.readable.getReader({ mode: "byob" });
  await a.writeAll(utf8("hello"));
  const { value } = await reader.read(new Uint8Array(3));
  assertEquals(text(value!), "hel");
  await a.closeWrite();
  assertEquals(text((await reader.read(new Uint8Array(9))).value!), "lo");
  assertEquals((await reader.read(new Uint8Array(9))).done, true);
});

testEach(
  "releaseLock() with a pending read keeps the bytes",
  async ({ a, b }) => {
    const first = b.readable.getReader();
    const lost = rejection(first.read());
    await turn();
    first.releaseLock();
    assertInstanceOf(await lost, TypeError);
    await a.writeAll(utf8("kept"));
    const { value } = await b.readable.getReader().read();
    assertEquals(text(value!), "kept");
  },
);

testEach(
  "cancelling readable discards what comes and leaves writing alone",
  async ({ a, b }) => {
    await a.writeAll(utf8("one"));
    for await (const chunk of b.readable) {
      assertEquals(text(chunk), "one");
      break;
    }
    // More than any buffer holds: it goes through only if somebody takes it.
    await a.writeAll(new Uint8Array(10_000_000));
    assertEquals(await b.read(new Uint8Array(1)), null);
    await b.writeAll(utf8("answer"));
    assertEquals(await readText(a), "answer");
    await a.closeWrite();
    await b.closeWrite();
    assertEquals(await readText(a), null);
  },
);

testEach("cancelling with a read pending", async ({ a, b }) => {
  const reader = b.readable.getReader();
  const pending = reader.read();
  await turn();
  await reader.cancel();
  assertEquals((await pending).done, true);
  await a.writeAll(new Uint8Array(10_000_000));
  assertEquals(await b.read(new Uint8Array(1)), null);
});

testEach(
  "cancelling ends the waits of others and kept reads",
  async ({ a, b }) => {
    const abort = new AbortController();
    const left = rejection(
      b.read(new Uint8Array(9), { signal: abort.signal }),
    );
    const waiting = b.read(new Uint8Array(9), {
      signal: new AbortController().signal,
    });
    abort.abort();
    await left;
    await b.readable.cancel();
    assertEquals(await waiting, null);
    await a.writeAll(new Uint8Array(5_000_000));
  },
);

testEach("aborting writable closes the connection", async ({ a, b }) => {
  await a.writable.abort("no more");
  assert(isClosedError(await rejection(a.read(new Uint8Array(1)))));
  assertEquals(await readText(b), null);
});

testEach("a chunk that is no bytes harms the stream only", async (ends) => {
  const { a, b } = ends;
  const writer = a.writable.getWriter();
  writer.closed.catch(() => {});
  await assertRejects(
    () => writer.write("text" as unknown as Uint8Array),
    TypeError,
  );
  await a.writeAll(utf8("still open"));
  assertEquals(await readText(b), "still open");
});

testEach("close() ends the streams with a closed error", async ({ a, b }) => {
  const reader = a.readable.getReader();
  const reading = rejection(reader.read());
  await turn();
  a.close();
  assert(isClosedError(await reading));
  await rejection(reader.closed);
  const writer = a.writable.getWriter();
  writer.closed.catch(() => {});
  await assertRejects(() => writer.write(utf8("x")), Deno.errors.BadResource);
  b.close();
});

testEach("a timed read through the stream", async ({ a, b }) => {
  b.timeout = 60_000;
  await a.writeAll(utf8("in time"));
  await a.closeWrite();
  assertEquals(await new Response(b.readable).text(), "in time");
});

testEach(
  "aborting writable while a write is stuck closes at once",
  async (ends) => {
    const { a, b } = ends;
    const writer = a.writable.getWriter();
    writer.closed.catch(() => {});
    const stuck = rejection(writer.write(new Uint8Array(64 << 20)));
    await turn();
    await writer.abort("no more").catch(() => {});
    await stuck;
    await assertRejects(
      () => a.read(new Uint8Array(1)),
      Deno.errors.BadResource,
    );
    b.close();
  },
);
