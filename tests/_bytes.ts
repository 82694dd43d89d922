/** Bytes that show it when one of them is missing, doubled or out of its place. */

/** `length` bytes of a sequence that repeats only after 2^32 (a linear congruential generator). */
export function pattern(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let x = seed >>> 0;
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes[i] = x >>> 24;
  }
  return bytes;
}

/** A text's bytes. */
export const utf8 = (text: string): Uint8Array<ArrayBuffer> =>
  new TextEncoder().encode(text);

/** A text of bytes. */
export const text = (bytes: Uint8Array): string =>
  new TextDecoder().decode(bytes);

/** What one `read` brings, as a text; `null` at the end. */
export async function readText(
  reader: { read(p: Uint8Array): Promise<number | null> },
  size = 65536,
): Promise<string | null> {
  const buffer = new Uint8Array(size);
  const n = await reader.read(buffer);
  return n === null ? null : text(buffer.subarray(0, n));
}

/** The error that a promise rejects with. */
export function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => {
      throw new Error(`expected a rejection, got ${value}`);
    },
    (error) => error,
  );
}

/** One turn of the event loop, in which what is ready gets done. */
export const turn = (): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, 0));

/** Writes until the other side takes no more; what was written last still waits. */
export async function fill(
  writer: {
    write(p: Uint8Array): Promise<number>;
    readonly bytesWritten: number;
  },
): Promise<{ readonly waiting: Promise<number> }> {
  const chunk = new Uint8Array(1 << 20);
  for (;;) {
    let done = false;
    const waiting = writer.write(chunk);
    waiting.then(() => done = true, () => done = true);
    // A write that has not ended after some turns waits for the reader.
    for (let i = 0; i < 20 && !done; i++) await turn();
    if (!done) return { waiting };
    await waiting;
  }
}

/** A bad call: its options, the class of its error, and a part of the message. */
export type BadCall = readonly [
  options: unknown,
  Class: new (message: string) => Error,
  message: string,
];
