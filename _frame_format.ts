/** Formats of length-prefixed frames: what a header says, and how one is written. Pure. */

import { checkInteger, checkOptions, show } from "./_check.ts";

/** Frames whose length is an integer of a fixed size. */
export interface FixedFrameFormat {
  /** How many bytes the length field has. */
  readonly bytes: 1 | 2 | 3 | 4 | 8;
  /** Whether its lowest byte comes first; `false`, network order, by default. */
  readonly littleEndian?: boolean;
  /**
   * How many bytes stand before the length field, such as a message's type; 0 by default. They are the
   * frame's first bytes: only the length field itself is left out.
   */
  readonly offset?: number;
  /**
   * What is added to the field's number to have the length of what follows it; 0 by default, `-bytes`
   * where the length counts the field itself.
   */
  readonly adjustment?: number;
  /** The largest number of bytes behind the length field; 8 MiB by default. */
  readonly maxLength?: number;
}

/** Frames whose length is an integer of a size that depends on it. */
export interface VarintFrameFormat {
  /**
   * How the length is written: `"leb128"`, seven bits a byte, the lowest first (Protocol Buffers), or
   * `"quic"`, two bits of size before 6, 14, 30 or 62 bits (RFC 9000, 16).
   */
  readonly varint: "leb128" | "quic";
  /** The largest number of bytes behind the length; 8 MiB by default. */
  readonly maxLength?: number;
}

/** How frames are told apart. */
export type FrameFormat = FixedFrameFormat | VarintFrameFormat;

/** The largest frame, unless another limit is given. */
const MAX_LENGTH = 8 * 2 ** 20;

/** LEB128 of 64 bits has ten bytes. */
const MAX_LEB128 = 10;

/** A format, checked, with its defaults. */
export interface Format {
  readonly bytes: number;
  readonly littleEndian: boolean;
  readonly offset: number;
  readonly adjustment: number;
  readonly maxLength: number;
  readonly varint: "leb128" | "quic" | undefined;
}

/** Checks a format. */
export function checkFormat(format: FrameFormat): Format {
  checkOptions(format, "the frame format");
  const { varint, bytes, littleEndian = false, offset = 0, adjustment = 0 } =
    format as Partial<FixedFrameFormat & VarintFrameFormat>;
  const { maxLength = MAX_LENGTH } = format;
  checkInteger(maxLength, "maxLength", 0, 2 ** 32);
  if (varint !== undefined) {
    if (varint !== "leb128" && varint !== "quic") {
      throw new TypeError(
        `Invalid varint: expected "leb128" or "quic", got ${show(varint)}`,
      );
    }
    if (bytes !== undefined) {
      throw new TypeError(
        "Invalid frame format: expected bytes or varint, got both",
      );
    }
    return {
      bytes: 0,
      littleEndian: false,
      offset: 0,
      adjustment: 0,
      maxLength,
      varint,
    };
  }
  if (![1, 2, 3, 4, 8].includes(bytes as number)) {
    throw new TypeError(
      `Invalid bytes: expected 1, 2, 3, 4 or 8, got ${show(bytes)}`,
    );
  }
  if (typeof littleEndian !== "boolean") {
    throw new TypeError(
      `Invalid littleEndian: expected a boolean, got ${show(littleEndian)}`,
    );
  }
  checkInteger(offset, "offset", 0, 2 ** 16);
  checkInteger(adjustment, "adjustment", -(2 ** 32), 2 ** 32);
  return {
    bytes: bytes!,
    littleEndian,
    offset,
    adjustment,
    maxLength,
    varint,
  };
}

/** Where a header ends, and how many bytes follow it. */
export interface Header {
  /** How many bytes the header has, what stands before the length field included. */
  size: number;
  /** How many bytes follow; negative if no length can be that. */
  length: number;
}

/**
 * Reads a header.
 *
 * @param data Where it starts at `start` and what there is ends at `end`.
 * @param header What is filled in.
 * @returns Whether the whole header was there.
 */
export function parseHeader(
  data: Uint8Array,
  start: number,
  end: number,
  format: Format,
  header: Header,
): boolean {
  if (format.varint === "leb128") return parseLeb128(data, start, end, header);
  if (format.varint === "quic") return parseQuic(data, start, end, header);
  const { bytes, offset } = format;
  header.size = offset + bytes;
  if (end - start < header.size) return false;
  header.length = format.adjustment +
    readInteger(data, start + offset, bytes, format.littleEndian);
  return true;
}

/** The integer of `bytes` bytes at `at`. */
export function readInteger(
  data: Uint8Array,
  at: number,
  bytes: number,
  littleEndian: boolean,
): number {
  // The usual one: no loop, and no numbers but integers.
  if (bytes === 4) {
    const value = littleEndian
      ? data[at + 3]! << 24 | data[at + 2]! << 16 | data[at + 1]! << 8 |
        data[at]!
      : data[at]! << 24 | data[at + 1]! << 16 | data[at + 2]! << 8 |
        data[at + 3]!;
    return value >>> 0;
  }
  let value = 0;
  for (let i = 0; i < bytes; i++) {
    value = value * 256 + data[at + (littleEndian ? bytes - 1 - i : i)]!;
  }
  return value;
}

function parseLeb128(
  data: Uint8Array,
  start: number,
  end: number,
  header: Header,
): boolean {
  let length = 0;
  let unit = 1;
  for (let i = start; i < end; i++) {
    const byte = data[i]!;
    length += (byte & 0x7f) * unit;
    unit *= 128;
    if (byte < 0x80 || i - start === MAX_LEB128 - 1) {
      header.size = i - start + 1;
      header.length = byte < 0x80 ? length : -1;
      return true;
    }
  }
  return false;
}

function parseQuic(
  data: Uint8Array,
  start: number,
  end: number,
  header: Header,
): boolean {
  if (start >= end) return false;
  const first = data[start]!;
  header.size = 1 << (first >> 6);
  if (end - start < header.size) return false;
  let length = first & 0x3f;
  for (let i = start + 1; i < start + header.size; i++) {
    length = length * 256 + data[i]!;
  }
  header.length = length;
  return true;
}

/** Writes the length field for what follows it. */
export function encodeLength(length: number, format: Format): Uint8Array {
  const { bytes, littleEndian, adjustment, maxLength, varint } = format;
  const value = length - adjustment;
  const most = varint === undefined ? 256 ** bytes - 1 : maxLength;
  if (length > maxLength || value < 0 || value > most) {
    throw new RangeError(
      `Invalid frame: expected ${Math.max(adjustment, 0)} to ${
        Math.min(maxLength, most + adjustment)
      } bytes behind the length, got ${length}`,
    );
  }
  if (varint === "leb128") return encodeLeb128(value);
  if (varint === "quic") return encodeQuic(value);
  const field = new Uint8Array(bytes);
  let rest = value;
  for (let i = 0; i < bytes; i++) {
    field[littleEndian ? i : bytes - 1 - i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return field;
}

function encodeLeb128(value: number): Uint8Array {
  const field: number[] = [];
  let rest = value;
  while (rest >= 128) {
    field.push(rest % 128 | 0x80);
    rest = Math.floor(rest / 128);
  }
  field.push(rest);
  return new Uint8Array(field);
}

function encodeQuic(value: number): Uint8Array {
  const log = value < 2 ** 6
    ? 0
    : value < 2 ** 14
    ? 1
    : value < 2 ** 30
    ? 2
    : 3;
  const field = new Uint8Array(1 << log);
  let rest = value;
  for (let i = field.length - 1; i >= 0; i--) {
    field[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  field[0]! |= log << 6;
  return field;
}
