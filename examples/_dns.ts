/**
 * Messages of the domain name system (RFC 1035): questions as bytes, and bytes as answers.
 *
 * What comes from the network is checked at every step: nothing is read behind its end, and no name is longer
 * than names may be, however it is compressed.
 */

import {
  AF_INET,
  AF_INET6,
  inet_ntop,
  inet_pton,
  isIPv4,
  isIPv6,
} from "@berkeley/sockets";

/** The types of records that have a name here (RFC 1035, RFC 3596, RFC 2782). */
export const TYPES: ReadonlyMap<string, number> = new Map([
  ["A", 1],
  ["NS", 2],
  ["CNAME", 5],
  ["SOA", 6],
  ["PTR", 12],
  ["MX", 15],
  ["TXT", 16],
  ["AAAA", 28],
  ["SRV", 33],
]);

const TYPE_NAMES = new Map([...TYPES].map(([name, type]) => [type, name]));

/** What a server says beyond its records (RFC 1035, 4.1.1; RFC 2136), and what it means. */
const RCODES: ReadonlyMap<number, string> = new Map([
  [1, "FORMERR: it does not understand the question"],
  [2, "SERVFAIL: it cannot find the answer"],
  [3, "NXDOMAIN: there is no such name"],
  [4, "NOTIMP: it does not know such questions"],
  [5, "REFUSED: it does not want to answer"],
  [9, "NOTAUTH: it is not responsible for that name"],
]);

/** The class of the Internet. */
const IN = 1;

/** The longest label and the longest name, in bytes as they are sent (RFC 1035, 2.3.4). */
const MAX_LABEL = 63;
const MAX_NAME = 255;

/** As many labels as a name can have: no honest name has more pointers. */
const MAX_POINTERS = 127;

const HEADER = 12;

/** A name, or a message, that is none. */
export class DnsError extends Error {
  override readonly name = "DnsError";
  readonly code = "EBADMSG";
}

/** What is asked. The name is as people write it, with a dot at its end. */
export interface Question {
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

/** A record, its data as people write it. */
export interface ResourceRecord extends Question {
  /** How long it may be kept, in seconds. */
  readonly ttl: number;
  readonly data: string;
}

/** A message. One that is truncated has no records: they may end anywhere. */
export interface Message {
  readonly id: number;
  readonly isResponse: boolean;
  readonly isTruncated: boolean;
  readonly rcode: number;
  readonly questions: readonly Question[];
  readonly answers: readonly ResourceRecord[];
  readonly authorities: readonly ResourceRecord[];
  readonly additionals: readonly ResourceRecord[];
}

/** A type's name, `TYPE65` for one without (RFC 3597). */
export const typeName = (type: number): string =>
  TYPE_NAMES.get(type) ?? `TYPE${type}`;

/** What a server's code says. */
export const rcodeText = (rcode: number): string =>
  RCODES.get(rcode) ?? `RCODE${rcode}`;

/** A record as a line. */
export function recordText(record: ResourceRecord): string {
  const { name, ttl, type, data } = record;
  const isIn = record.class === IN;
  return [name, ttl, isIn ? "IN" : `CLASS${record.class}`, typeName(type), data]
    .join(" ");
}

/**
 * Bytes as printable text (RFC 1035, 5.1): `\DDD` for what is none, a backslash before what would mean
 * something.
 */
function escape(bytes: Uint8Array, special: string): string {
  let text = "";
  for (const byte of bytes) {
    const char = String.fromCharCode(byte);
    if (special.includes(char)) text += `\\${char}`;
    else if (byte >= 0x20 && byte < 0x7f) text += char;
    else text += `\\${String(byte).padStart(3, "0")}`;
  }
  return text;
}

/** A label as text. A space ends a name in a file, so it is escaped, too. */
const labelText = (bytes: Uint8Array): string =>
  escape(bytes, '.\\"();@$').replaceAll(" ", "\\032");

/** A text within quotes. */
const quoted = (bytes: Uint8Array): string => `"${escape(bytes, '"\\')}"`;

/** The name that stands for an address (RFC 1035, 3.5; RFC 3596, 2.5), if the text is one. */
export function reverseName(address: string): string | undefined {
  if (isIPv4(address)) {
    const bytes = inet_pton(AF_INET, address);
    return `${bytes.reverse().join(".")}.in-addr.arpa.`;
  }
  if (!isIPv6(address) || address.includes("%")) return undefined;
  const digits = inet_pton(AF_INET6, address).toHex();
  return `${[...digits].reverse().join(".")}.ip6.arpa.`;
}

/**
 * A name as bytes. A dot at its end may be left out; `\.` and `\DDD` are bytes of a label.
 *
 * @throws {DnsError} If it is none.
 */
export function encodeName(text: string): Uint8Array<ArrayBuffer> {
  const wrong = (what: string) => new DnsError(`Invalid name ${text}: ${what}`);
  if (/[^\x21-\x7e]/.test(text)) {
    throw wrong("expected printable ASCII; other letters need their xn-- form");
  }
  const bytes: number[] = [];
  let label: number[] = [];
  const endLabel = () => {
    if (label.length === 0) throw wrong("a label is empty");
    if (label.length > MAX_LABEL) throw wrong("a label has over 63 bytes");
    bytes.push(label.length, ...label);
    label = [];
  };
  // One part for each byte, and for each dot between labels.
  const parts = [...text.matchAll(/\\\d{3}|\\?[^]/g)].map(([part]) => part);
  if (parts.length === 0) throw wrong("it is empty");
  if (parts.at(-1) === ".") parts.pop();
  for (const part of parts) {
    if (part === ".") endLabel();
    else if (/^\\\d?$/.test(part)) throw wrong("a backslash is left alone");
    else if (part.length === 4) {
      const byte = Number(part.slice(1));
      if (byte > 255) throw wrong(`${part} is no byte`);
      label.push(byte);
    } else label.push(part.charCodeAt(part.length - 1));
  }
  if (parts.length > 0) endLabel();
  bytes.push(0);
  if (bytes.length > MAX_NAME) throw wrong("it has over 255 bytes");
  return Uint8Array.from(bytes);
}

/**
 * A question as bytes: with recursion, which is what asks a server to find the answer elsewhere.
 *
 * @throws {DnsError} If the name is none.
 */
export function encodeQuery(
  id: number,
  name: string,
  type: number,
): Uint8Array<ArrayBuffer> {
  const encoded = encodeName(name);
  const bytes = new Uint8Array(HEADER + encoded.length + 4);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, id);
  view.setUint16(2, 0x0100); // recursion desired
  view.setUint16(4, 1); // one question
  bytes.set(encoded, HEADER);
  view.setUint16(HEADER + encoded.length, type);
  view.setUint16(HEADER + encoded.length + 2, IN);
  return bytes;
}

/** Reads a message from its start to its end. */
class MessageReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** Where the reader is, and what it must not go past. */
  #at = 0;
  #end: number;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#end = bytes.length;
  }

  /** Goes past `count` bytes, and tells where they begin. */
  #skip(count: number): number {
    const start = this.#at;
    if (start + count > this.#end) {
      throw new DnsError("Invalid DNS message: it ends too early");
    }
    this.#at += count;
    return start;
  }

  readonly #u8 = (): number => this.#view.getUint8(this.#skip(1));
  readonly u16 = (): number => this.#view.getUint16(this.#skip(2));
  readonly #u32 = (): number => this.#view.getUint32(this.#skip(4));

  #take(count: number): Uint8Array {
    const start = this.#skip(count);
    return this.#bytes.subarray(start, start + count);
  }

  /** A name, which may go on at an earlier place of the message (RFC 1035, 4.1.4). */
  readonly #name = (): string => {
    const end = this.#end;
    let text = "";
    let length = 1;
    let pointers = 0;
    let behind: number | undefined;
    let lowest = this.#at;
    for (;;) {
      const size = this.#u8();
      if (size === 0) break;
      if (size < 0xc0) {
        if (size > MAX_LABEL) {
          throw new DnsError("Invalid DNS message: no such kind of label");
        }
        length += 1 + size;
        if (length > MAX_NAME) {
          throw new DnsError("Invalid DNS message: a name has over 255 bytes");
        }
        text += `${labelText(this.#take(size))}.`;
        continue;
      }
      const target = (size & 0x3f) << 8 | this.#u8();
      behind ??= this.#at;
      // Only backwards: a name that goes in a circle has no end.
      if (target >= lowest || ++pointers > MAX_POINTERS) {
        throw new DnsError("Invalid DNS message: a name goes in a circle");
      }
      lowest = this.#at = target;
      this.#end = this.#bytes.length;
    }
    if (behind !== undefined) this.#at = behind;
    this.#end = end;
    return text || ".";
  };

  readonly question = (): Question => ({
    name: this.#name(),
    type: this.u16(),
    class: this.u16(),
  });

  /** As many of something as the message says it has. */
  many<T>(count: number, read: () => T): T[] {
    const all: T[] = [];
    for (let i = 0; i < count; i++) all.push(read());
    return all;
  }

  readonly record = (): ResourceRecord => {
    const question = this.question();
    const ttl = this.#u32();
    const size = this.u16();
    const start = this.#skip(size);
    const messageEnd = this.#end;
    this.#at = start;
    this.#end = start + size;
    const data = question.class === IN
      ? this.#data(question.type)
      : this.#unknown();
    if (this.#at !== this.#end) {
      throw new DnsError(
        `Invalid DNS message: a ${typeName(question.type)} record is too long`,
      );
    }
    this.#end = messageEnd;
    // One with its highest bit set counts as zero (RFC 2181, 8).
    return { ...question, ttl: ttl < 2 ** 31 ? ttl : 0, data };
  };

  /** A record's data, which ends where the reader must not go past. */
  #data(type: number): string {
    const [u16, u32, name] = [this.u16, this.#u32, this.#name];
    switch (typeName(type)) {
      case "A":
        return inet_ntop(AF_INET, this.#take(4));
      case "AAAA":
        return inet_ntop(AF_INET6, this.#take(16));
      case "NS":
      case "CNAME":
      case "PTR":
        return name();
      case "MX":
        return `${u16()} ${name()}`;
      case "SRV":
        return `${u16()} ${u16()} ${u16()} ${name()}`;
      case "SOA":
        return [name(), name(), ...this.many(5, u32)].join(" ");
      case "TXT": {
        const texts: string[] = [];
        do texts.push(quoted(this.#take(this.#u8()))); while (
          this.#at < this.#end
        );
        return texts.join(" ");
      }
      default:
        return this.#unknown();
    }
  }

  /** Data that has no form here: its length and its bytes (RFC 3597, 5). */
  #unknown(): string {
    const bytes = this.#take(this.#end - this.#at);
    return bytes.length === 0
      ? "\\# 0"
      : `\\# ${bytes.length} ${bytes.toHex()}`;
  }
}

/**
 * Reads a message. Bytes behind its last record are left alone.
 *
 * @throws {DnsError} If it is none.
 */
export function decodeMessage(bytes: Uint8Array): Message {
  const reader = new MessageReader(bytes);
  const [id, flags, questions, answers, authorities, additionals] = reader.many(
    6,
    reader.u16,
  ) as [number, number, number, number, number, number];
  const isTruncated = (flags & 0x0200) !== 0;
  const head = {
    id,
    isResponse: (flags & 0x8000) !== 0,
    isTruncated,
    rcode: flags & 0x000f,
    questions: reader.many(questions, reader.question),
  };
  const records = (count: number) =>
    isTruncated ? [] : reader.many(count, reader.record);
  return {
    ...head,
    answers: records(answers),
    authorities: records(authorities),
    additionals: records(additionals),
  };
}

/** Whether a message answers a question: letters are the same in both cases (RFC 4343). */
export function isAnswer(message: Message, id: number, query: Question) {
  const [asked, ...more] = message.questions;
  return message.isResponse && message.id === id && more.length === 0 &&
    asked !== undefined && asked.type === query.type &&
    asked.class === query.class &&
    asked.name.toLowerCase() === query.name.toLowerCase();
}
