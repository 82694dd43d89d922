/**
 * The protocol of Redis, RESP2 and RESP3: commands as bytes, answers from a reader, and answers as text.
 *
 * A server says how long things are before it sends them. Every such number is held against a limit before
 * anything is done with it.
 */

import {
  type BufferedReader,
  IncompleteReadError,
  LimitError,
  type WaitOptions,
} from "@berkeley/sockets";

/** An answer. Texts are bytes: they may be anything. */
export type Reply =
  | { readonly is: "status" | "error" | "text"; readonly bytes: Uint8Array }
  | { readonly is: "integer" | "big number" | "double"; readonly text: string }
  | { readonly is: "boolean"; readonly value: boolean }
  | { readonly is: "nil" }
  | { readonly is: "array" | "set" | "push"; readonly items: readonly Reply[] }
  /** Each key with its value behind it. */
  | { readonly is: "map"; readonly items: readonly Reply[] };

/** What one answer may have. */
export interface ReplyLimits {
  /** The most bytes of all its texts and long numbers together. */
  readonly maxBytes: number;
  /** The most elements of all its arrays, sets and maps together. */
  readonly maxItems: number;
  /** How deep they may lie in each other. */
  readonly maxDepth: number;
}

/** Something that is no answer, or one beyond a limit, or no command. */
export class RespError extends Error {
  override readonly name = "RespError";
  readonly code = "EBADMSG";
}

/** The longest line: what is no text of a known length. */
const MAX_LINE = 65_536;

const encoder = new TextEncoder();
// A mark at the start of a text is a part of it.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

// Commands

/** A command as bytes: an array of texts, whose lengths stand before them. */
export function encodeCommand(
  words: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [encoder.encode(`*${words.length}\r\n`)];
  for (const word of words) {
    parts.push(encoder.encode(`$${word.length}\r\n`), word);
    parts.push(encoder.encode("\r\n"));
  }
  const bytes = new Uint8Array(
    parts.reduce((sum, { length }) => sum + length, 0),
  );
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

const [TAB, LF, CR, SPACE, DOUBLE, SINGLE, BACKSLASH] = [
  ...encoder.encode("\t\n\r \"'\\"),
] as [number, number, number, number, number, number, number];

const isSpace = (byte: number | undefined): boolean =>
  byte === SPACE || byte === TAB || byte === CR || byte === LF;

/** What a letter behind a backslash stands for. */
const ESCAPES = new Map(
  ([["n", 10], ["r", 13], ["t", 9], ["b", 8], ["a", 7]] as const)
    .map(([letter, byte]) => [letter.charCodeAt(0), byte]),
);

/**
 * The words of a line. Within `"..."` there are `\n`, `\r`, `\t`, `\b`, `\a` and `\xHH`, within `'...'` only
 * `\'`; behind quotes a word ends.
 *
 * @throws {RespError} If a quote is not closed, or something follows it.
 */
export function splitWords(line: Uint8Array): Uint8Array[] {
  const words: Uint8Array[] = [];
  // What is quoted is never longer than its quotation.
  const out = new Uint8Array(line.length);
  let end = 0;
  for (let i = 0;;) {
    while (isSpace(line[i])) i++;
    if (i >= line.length) return words;
    const start = end;
    while (i < line.length && !isSpace(line[i])) {
      const quote = line[i]!;
      if (quote !== DOUBLE && quote !== SINGLE) {
        out[end++] = line[i++]!;
        continue;
      }
      for (i++; line[i] !== quote; end++) {
        if (i >= line.length) {
          throw new RespError("Invalid line: a quote is open");
        }
        const byte = line[i++]!;
        if (byte !== BACKSLASH) out[end] = byte;
        else if (quote === SINGLE) {
          out[end] = line[i] === SINGLE ? line[i++]! : BACKSLASH;
        } else {
          // Nothing is left behind a backslash at the end: then the quote is open.
          const digits = decoder.decode(line.subarray(i, i + 3));
          if (/^x[\da-f]{2}$/i.test(digits)) {
            out[end] = parseInt(digits.slice(1), 16);
            i += 3;
          } else {
            const letter = line[i++] ?? 0;
            out[end] = ESCAPES.get(letter) ?? letter;
          }
        }
      }
      i++;
      if (i < line.length && !isSpace(line[i])) {
        throw new RespError("Invalid line: a word goes on behind its quote");
      }
    }
    words.push(out.subarray(start, end));
  }
}

// Answers

/** Reads one answer. */
class ReplyReader {
  readonly #reader: BufferedReader;
  readonly #limits: ReplyLimits;
  readonly #options: WaitOptions;
  /** What is left for the rest of the answer. */
  #bytes: number;
  #items: number;

  constructor(
    reader: BufferedReader,
    limits: ReplyLimits,
    options: WaitOptions,
  ) {
    this.#reader = reader;
    this.#limits = limits;
    this.#options = options;
    this.#bytes = limits.maxBytes;
    this.#items = limits.maxItems;
  }

  /** A line without its end. */
  async #line(): Promise<Uint8Array> {
    try {
      const line = await this.#reader.readUntil("\r\n", {
        ...this.#options,
        limit: MAX_LINE,
      });
      return line.subarray(0, -2);
    } catch (error) {
      if (!(error instanceof LimitError)) throw error;
      throw new RespError(`Invalid answer: a line has over ${MAX_LINE} bytes`);
    }
  }

  /** A length, or `undefined` for -1, which RESP2 has for nil. */
  #length(text: string): number | undefined {
    if (text === "-1") return undefined;
    if (!/^\d{1,15}$/.test(text)) throw wrong("a length", text);
    return Number(text);
  }

  /** A text whose length stands before it; `undefined` for nil. */
  async #text(size: string): Promise<Uint8Array | undefined> {
    const length = this.#length(size);
    if (length === undefined) return undefined;
    this.#take(length);
    const bytes = await this.#reader.readExact(length + 2, this.#options);
    if (bytes[length] !== CR || bytes[length + 1] !== LF) {
      throw new RespError("Invalid answer: a text is longer than it should be");
    }
    return bytes.subarray(0, length);
  }

  /** Elements whose number stands before them, `each` times over; `undefined` for nil. */
  async #many(
    size: string,
    depth: number,
    each = 1,
  ): Promise<Reply[] | undefined> {
    const { maxDepth } = this.#limits;
    const count = this.#length(size);
    if (count === undefined) return undefined;
    if (count * each > this.#items) throw this.#tooMany();
    if (depth >= maxDepth) {
      throw new RespError(`Invalid answer: it is over ${maxDepth} levels deep`);
    }
    this.#items -= count * each;
    const items: Reply[] = [];
    for (let i = 0; i < count * each; i++) {
      items.push(await this.read(depth + 1));
    }
    return items;
  }

  /** Reads an answer, or an element of one. */
  async read(depth = 0): Promise<Reply> {
    for (;;) {
      const line = await this.#line();
      const type = String.fromCharCode(line[0] ?? 0);
      const rest = line.subarray(1);
      if ("+-(,".includes(type)) this.#take(rest.length);
      if (type === "+" || type === "-") {
        if (rest.includes(CR) || rest.includes(LF)) {
          throw new RespError("Invalid answer: a line end in a line");
        }
        return { is: type === "+" ? "status" : "error", bytes: rest };
      }
      const reply = await this.#typed(type, decoder.decode(rest), depth);
      if (reply !== undefined) return reply;
      // It costs as much as an element: nobody sends nothing else for ever.
      if (--this.#items < 0) throw this.#tooMany();
    }
  }

  /** Takes bytes of a text away from those that there may be. */
  #take(length: number): void {
    if (length > this.#bytes) {
      const { maxBytes } = this.#limits;
      throw new RespError(
        `Invalid answer: it has more than ${maxBytes} bytes of text`,
      );
    }
    this.#bytes -= length;
  }

  #tooMany(): RespError {
    const { maxItems } = this.#limits;
    return new RespError(
      `Invalid answer: it has more than ${maxItems} elements`,
    );
  }

  /** What is not a line of text; `undefined` for what says something about the answer behind it. */
  async #typed(
    type: string,
    text: string,
    depth: number,
  ): Promise<Reply | undefined> {
    const check = (is: "integer" | "big number" | "double", form: RegExp) => {
      if (!form.test(text)) throw wrong("a number", text);
      return { is, text };
    };
    switch (type) {
      case ":":
        return check("integer", /^[+-]?\d{1,19}$/);
      case "(":
        return check("big number", /^[+-]?\d+$/);
      case ",":
        return check(
          "double",
          /^(?:[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|inf)|-?nan)$/,
        );
      case "#":
        if (!/^[tf]$/.test(text)) throw wrong("a boolean", text);
        return { is: "boolean", value: text === "t" };
      case "_":
        if (text !== "") throw wrong("a nil", text);
        return { is: "nil" };
      case "$":
      case "!":
      case "=": {
        const bytes = await this.#text(text);
        if (bytes === undefined) break;
        if (type !== "=") return { is: type === "$" ? "text" : "error", bytes };
        // Three letters say what kind of text it is.
        if (bytes[3] !== 0x3a) throw wrong("a kind of text", "none");
        return { is: "text", bytes: bytes.subarray(4) };
      }
      case "*":
      case "~":
      case ">": {
        const items = await this.#many(text, depth);
        if (items === undefined) break;
        return {
          is: type === "*" ? "array" : type === "~" ? "set" : "push",
          items,
        };
      }
      case "%":
      case "|": {
        const items = await this.#many(text, depth, 2);
        if (items === undefined) break;
        return type === "%" ? { is: "map", items } : undefined;
      }
    }
    if (type === "$" || type === "*") return { is: "nil" };
    throw wrong("an answer", `${type}${text}`);
  }
}

/** Something is not what it should be. */
function wrong(what: string, text: string): RespError {
  const shown = showText(encoder.encode(text.slice(0, 40)));
  return new RespError(`Invalid answer: expected ${what}, got "${shown}"`);
}

/**
 * Reads an answer.
 *
 * @returns The answer, or `null` at the end of the stream.
 * @throws {RespError} If it is none, is beyond a limit, or the stream ended in it. There is no next one then.
 */
export async function readReply(
  reader: BufferedReader,
  limits: ReplyLimits,
  options: WaitOptions = {},
): Promise<Reply | null> {
  const first = await reader.peek(1, options);
  if (first.length === 0) return null;
  try {
    return await new ReplyReader(reader, limits, options).read();
  } catch (error) {
    if (!(error instanceof IncompleteReadError)) throw error;
    throw new RespError("Invalid answer: the connection ended in it");
  }
}

// Answers as text

/** What each byte looks like; a quote is one where no quotes are around it. */
const SHOWN = Array.from({ length: 256 }, (_, byte) => {
  const letter = [...ESCAPES].find(([, value]) => value === byte)?.[0];
  if (letter !== undefined) return `\\${String.fromCharCode(letter)}`;
  if (byte === BACKSLASH) return "\\\\";
  return byte >= 0x20 && byte < 0x7f
    ? String.fromCharCode(byte)
    : `\\x${byte.toString(16).padStart(2, "0")}`;
});

/** How many bytes become a piece of text: a long one as a whole may be longer than strings can be. */
const PIECE = 16_384;

/** Bytes as text that any terminal can show, in pieces. */
function* escapeText(bytes: Uint8Array): Generator<string> {
  for (let at = 0; at < bytes.length; at += PIECE) {
    let text = "";
    for (const byte of bytes.subarray(at, at + PIECE)) text += SHOWN[byte]!;
    yield text;
  }
}

/** Bytes that are not many as such a text. */
export const showText = (bytes: Uint8Array): string =>
  [...escapeText(bytes)].join("");

/** How the elements of each kind are numbered. */
const MARKS = { array: ")", set: "~", push: ">", map: "#" } as const;

/**
 * An answer as text for people, in pieces, without a line end behind it.
 *
 * @param reply The answer.
 * @param indent What stands before each further line.
 */
export function* formatReply(reply: Reply, indent = ""): Generator<string> {
  switch (reply.is) {
    case "status":
      return yield* escapeText(reply.bytes);
    case "error":
      yield "(error) ";
      return yield* escapeText(reply.bytes);
    case "text":
      yield '"';
      for (const piece of escapeText(reply.bytes)) {
        yield piece.replaceAll('"', '\\"');
      }
      return yield '"';
    case "integer":
    case "big number":
    case "double":
      return yield `(${reply.is}) ${reply.text}`;
    case "boolean":
      return yield `(${reply.value})`;
    case "nil":
      return yield "(nil)";
  }
  const { items } = reply;
  if (items.length === 0) return yield `(empty ${reply.is})`;
  const each = reply.is === "map" ? 2 : 1;
  const width = String(items.length / each).length;
  const inner = indent + " ".repeat(width + 2);
  for (let i = 0; i < items.length; i += each) {
    if (i > 0) yield `\n${indent}`;
    yield `${String(i / each + 1).padStart(width)}${MARKS[reply.is]} `;
    yield* formatReply(items[i]!, inner);
    if (each === 1) continue;
    yield " => ";
    yield* formatReply(items[i + 1]!, inner);
  }
}

/** Whether an answer, or an element of it, is an error. */
export const hasError = (reply: Reply): boolean =>
  reply.is === "error" || "items" in reply && reply.items.some(hasError);

/** An answer's bytes as they are, each element a line; without a line end behind it. */
export function* rawReply(reply: Reply): Generator<Uint8Array | string> {
  switch (reply.is) {
    case "status":
    case "error":
    case "text":
      return yield reply.bytes;
    case "integer":
    case "big number":
    case "double":
      return yield reply.text;
    case "boolean":
      return yield String(reply.value);
    case "nil":
      return;
  }
  for (const [i, item] of reply.items.entries()) {
    if (i > 0) yield "\n";
    yield* rawReply(item);
  }
}
