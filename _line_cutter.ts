/** Lines of UTF-8 out of a buffer: many are decoded at once, and given out one by one or together. */

import type { ReadBuffer } from "./_read_buffer.ts";

const LF = 10;
const CR = 13;

/** Bytes to text. A byte order mark is the peer's affair. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** What is decoded at a time: small enough to stay in the processor's cache. */
const DECODE = 65536;

/** What is a line. */
export interface LineRules {
  /** The most bytes of a line, its end not counted. */
  readonly limit: number;
  /** What becomes of bytes at the end of the stream that no line end follows. */
  readonly unterminated: "error" | "line";
}

/** Cuts lines out of a buffer. */
export class LineCutter {
  readonly #from: ReadBuffer;
  /** Up to here in the stream no line end was found. */
  #scanned = 0;
  /** Complete lines from the buffer's start on, decoded, and which part of them has been given out. */
  #text = "";
  #at = 0;
  /** How many bytes the rest of them has, whether each is one character, and the limit that held. */
  #bytes = 0;
  #isSingle = false;
  #limit = 0;
  /** Where in the stream the rest of them begins: others may have read since. */
  #next = 0;

  constructor(from: ReadBuffer) {
    this.#from = from;
  }

  /** Forgets decoded lines that are not next any more, or were decoded under another limit. */
  #check(limit: number): void {
    if (this.#next === this.#from.position && this.#limit <= limit) return;
    this.#text = "";
    this.#at = 0;
  }

  /** Takes bytes out of the buffer: lines behind them are next. */
  #consume(count: number): void {
    this.#bytes -= count;
    this.#from.consume(count);
    this.#next = this.#from.position;
  }

  /** The next line of those that are decoded; `undefined` if there is none. */
  next(limit: number): string | undefined {
    this.#check(limit);
    const text = this.#text;
    const at = this.#at;
    if (text === "") return undefined;
    const end = text.indexOf("\n", at);
    const isCrLf = end > at && text.charCodeAt(end - 1) === CR;
    const line = text.slice(at, isCrLf ? end - 1 : end);
    const bytes = this.#isSingle
      ? end + 1 - at
      : this.#from.data.indexOf(LF, this.#from.start) + 1 - this.#from.start;
    this.#at = end + 1;
    if (this.#at === text.length) this.#text = "";
    this.#consume(bytes);
    return line;
  }

  /** All lines that are decoded; `undefined` if there are none. */
  rest(limit: number): string[] | undefined {
    this.#check(limit);
    if (this.#text === "") return undefined;
    const rest = this.#at === 0 ? this.#text : this.#text.slice(this.#at);
    const lines = rest.split("\n");
    lines.pop();
    if (rest.includes("\r\n")) {
      for (const [i, line] of lines.entries()) {
        if (line.endsWith("\r")) lines[i] = line.slice(0, -1);
      }
    }
    this.#text = "";
    this.#consume(this.#bytes);
    return lines;
  }

  /** Decodes the complete lines that are there, or waits for one. `false` at the end of the stream. */
  async decode(
    { limit, unterminated }: LineRules,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    for (;;) {
      const end = this.#completeLines(limit);
      if (end > this.#from.start) {
        this.#decodeTo(end, limit);
        return true;
      }
      if (!await this.#from.fill(signal)) break;
    }
    if (this.#from.length === 0) return false;
    if (unterminated === "error") throw this.#from.incomplete(undefined);
    // As if it had an end: one is put behind it.
    this.#from.makeRoom(this.#from.length + 1);
    this.#from.data[this.#from.end++] = LF;
    this.#decodeTo(this.#from.end, limit);
    return true;
  }

  #decodeTo(end: number, limit: number): void {
    const bytes = this.#from.data.subarray(this.#from.start, end);
    this.#text = decoder.decode(bytes);
    this.#at = 0;
    this.#bytes = bytes.length;
    this.#limit = limit;
    this.#next = this.#from.position;
    // No character of a text's takes less than a byte: so each takes one.
    this.#isSingle = this.#text.length === bytes.length;
  }

  /** Where the last of the complete lines ends that are there, at most so many as are decoded at once. */
  #completeLines(limit: number): number {
    const { start, position } = this.#from;
    const from = start + Math.max(this.#scanned - position, 0);
    const data = this.#from.data.subarray(0, this.#from.end);
    const first = data.indexOf(LF, from);
    // A CR before the end may belong to it.
    const length = (first < 0 ? this.#from.end : first) - this.#from.start;
    if (length > limit + 1 || length === limit + 1 && !this.#endsInCr(first)) {
      throw this.#from.tooLong(limit, "line end");
    }
    if (first < 0) {
      this.#scanned = position + this.#from.length;
      return this.#from.start;
    }
    this.#scanned = position + first - start;
    const most = Math.min(
      this.#from.end,
      Math.max(first + 1, this.#from.start + DECODE),
    );
    if (most - this.#from.start <= limit) {
      return data.lastIndexOf(LF, most - 1) + 1;
    }
    // Lines that may be too long are looked at one by one.
    let end = first + 1;
    for (;;) {
      const next = data.indexOf(LF, end);
      if (next < 0 || next >= most || next - end > limit) return end;
      end = next + 1;
    }
  }

  #endsInCr(lineEnd: number): boolean {
    const at = (lineEnd < 0 ? this.#from.end : lineEnd) - 1;
    return this.#from.data[at] === CR;
  }
}
