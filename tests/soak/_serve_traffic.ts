/** What the servers and clients of the soak tests both know: what is said, and what comes of it. */

import { pattern } from "../_bytes.ts";

/** No program lives longer, even if nobody ends it: longer than a test may take, in milliseconds. */
const LIFE = 180_000;

/** Sees to it that this process ends at last. */
export function endLate(): void {
  Deno.unrefTimer(setTimeout(() => Deno.exit(1), LIFE));
}

/** Numbers from 0 to `n - 1`, the same for the same seed. */
export function dice(seed: number): (n: number) => number {
  let x = Math.imul(seed + 1, 0x9e3779b1);
  return (n) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor(x / 2 ** 32 * n);
  };
}

/** What a client says in a round: no other says the same. */
export function message(
  client: number,
  round: number,
): Uint8Array<ArrayBuffer> {
  return pattern(
    20 + (client * 7 + round * 131) % 400,
    Math.imul(client * 1000 + round + 1, 0x9e3779b1),
  );
}

/** A request: who asks, its number, how long the answer is, and after how many turns it comes. */
export function request(
  client: string,
  number: number,
  size: number,
  turns: number,
): string {
  return [client, number, size, turns].join(" ");
}

/** How many turns the answer to a request takes. */
export function turnsOf(request: string): number {
  return Number(request.split(" ")[3]);
}

/** The answer to a request: no other has the same. */
export function answer(request: string): string {
  const size = Number(request.split(" ")[2]);
  return `${request}|`.repeat(1 + size / request.length).slice(0, size);
}

/** What handlers can do with a connection. */
export const WAYS = [
  "throws",
  "rejects",
  "rejects with a text",
  "closes",
  "detaches",
  "leaves input",
  "echoes",
  "waits for the client's end",
  "never ends",
  "throws when it is ended",
  "floods",
] as const;

/** What a handler does with a connection. */
export type Way = typeof WAYS[number];

/** Those that do not end by themselves, whatever the client does. */
export const ENDLESS: readonly Way[] = [
  "never ends",
  "throws when it is ended",
  "floods",
];

/** What the handler does that gets the connection from this port: both ends know the port. */
export function wayOf(port: number): Way {
  return WAYS[dice(port)(WAYS.length)]!;
}

/** What a handler throws, as `onError` is told; `undefined` if it throws nothing that is told. */
export function errorOf(port: number): string | undefined {
  switch (wayOf(port)) {
    case "throws":
      return `Error: at once ${port}`;
    case "rejects":
      return `Error: later ${port}`;
    case "rejects with a text":
      return `text ${port}`;
    default:
      return undefined;
  }
}

/** What a flood consists of, again and again. */
export const FLOOD: Uint8Array<ArrayBuffer> = pattern(1 << 20, 7);

/** What is answered where the input is left unread: more than is on its way when the handler returns. */
export const LONG_ANSWER: Uint8Array<ArrayBuffer> = pattern(2 << 20, 8);
