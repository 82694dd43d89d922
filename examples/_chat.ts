/** What the chat's programs share: where they meet, what may be shown, and a line that is being typed. */

/** Where the chat is, unless it is told. */
export const ADDRESS = "127.0.0.1:7010";

/** How long a line is at most, in bytes, unless the server is told. */
export const MAX_LINE = 1000;

/**
 * What moves a terminal's cursor, ends a line, or turns the direction of writing: control characters, ESC
 * among them, line and paragraph separators, and marks of bidirectional text.
 */
const UNSAFE = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;

/** A line that does nothing to a terminal but stand there. */
export function clean(line: string): string {
  return line.replaceAll("\t", " ").replaceAll(UNSAFE, "\ufffd");
}

/** What came of keys: a complete line, the end of the input, or a key for which the line has no room. */
export type Typed =
  | { readonly is: "line"; readonly line: string }
  | { readonly is: "end" }
  | { readonly is: "full" };

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** How many columns a character takes, or more: most of those behind the Latin, Greek, ... ones take two. */
function columnsOf(character: string): number {
  return character.codePointAt(0)! < 0x1100 ? 1 : 2;
}

/** How many bytes of UTF-8 a character is. */
function bytesOf(character: string): number {
  const point = character.codePointAt(0)!;
  return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
}

/** A line that is being typed: keys in, lines out, and how it looks. It knows no terminal. */
export class LineEditor {
  readonly #decoder = new TextDecoder();
  readonly #limit: number;
  #text = "";
  #bytes = 0;
  /** Where in an escape sequence the keys are: of an arrow, a function key, Alt and a letter. */
  #sequence: "none" | "escape" | "body" = "none";

  /** @param limit How many bytes of UTF-8 a line has at most. */
  constructor(limit: number = MAX_LINE) {
    this.#limit = limit;
  }

  /** What is typed so far. */
  get text(): string {
    return this.#text;
  }

  /** Takes what came from the keyboard; a character or an escape sequence may come in pieces. */
  type(keys: Uint8Array): Typed[] {
    const typed: Typed[] = [];
    for (const key of this.#decoder.decode(keys, { stream: true })) {
      const came = this.#sequence === "none"
        ? this.#take(key)
        : this.#skip(key);
      if (came !== undefined) typed.push(came);
    }
    return typed;
  }

  #take(key: string): Typed | undefined {
    switch (key) {
      case "\r":
      case "\n": {
        const line = this.#text;
        this.#set("");
        return line === "" ? undefined : { is: "line", line };
      }
      case "\x04": // Ctrl+D, which ends the input only where nothing is typed
        return this.#text === "" ? { is: "end" } : undefined;
      case "\x15": // Ctrl+U
        this.#set("");
        return undefined;
      case "\b":
      case "\x7f": {
        // What looks like one character goes as one, whatever it is made of.
        const last = graphemes.segment(this.#text)
          .containing(this.#text.length - 1);
        this.#set(this.#text.slice(0, last?.index ?? 0));
        return undefined;
      }
      case "\x1b":
        this.#sequence = "escape";
        return undefined;
    }
    if (clean(key) !== key) return undefined;
    if (this.#bytes + bytesOf(key) > this.#limit) return { is: "full" };
    this.#text += key;
    this.#bytes += bytesOf(key);
    return undefined;
  }

  /** Goes past an escape sequence: ESC, `[` or `O`, and all up to a letter or `~` (ECMA-48, 5.4). */
  #skip(key: string): Typed | undefined {
    // Control keys count wherever they come, as on a terminal (ECMA-48 says nothing of them).
    if (key < " ") {
      this.#sequence = "none";
      return this.#take(key);
    }
    const goesOn = this.#sequence === "escape"
      ? key === "[" || key === "O"
      : key < "@";
    this.#sequence = goesOn ? "body" : "none";
    return undefined;
  }

  #set(text: string): void {
    this.#text = text;
    this.#bytes = [...text].reduce((sum, key) => sum + bytesOf(key), 0);
  }

  /**
   * What makes the cursor's row show the prompt and the end of the text: never more than one row, for
   * only one can be cleared again.
   */
  draw(prompt: string, columns: number): string {
    let shown = "";
    let room = columns - prompt.length - 1;
    for (const { segment } of [...graphemes.segment(this.#text)].reverse()) {
      room -= [...segment].reduce((sum, key) => sum + columnsOf(key), 0);
      if (room < 0) break;
      shown = segment + shown;
    }
    return `${CLEAR}${prompt}${shown}`;
  }
}

/** Goes to the start of the row and clears it (ECMA-48: CR, EL). */
export const CLEAR = "\r\x1b[K";
