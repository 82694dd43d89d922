/** Byte orders, and addresses between text, bytes and numbers: byteorder(3), inet(3), inet_pton(3). */

import { AddressSyntaxError } from "./errors.ts";
import { checkInteger, checkText, notBytes, show } from "./_check.ts";
import { ipv4Bytes, ipv6Bytes } from "./_host.ts";
import { AF_INET, AF_INET6, INADDR_NONE } from "./_constants.ts";
import { socketError } from "./_socket_error.ts";

const isLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

// Byte orders

function swap16(value: number): number {
  return isLittleEndian ? (value & 0xff) << 8 | value >> 8 : value;
}

function swap32(value: number): number {
  if (!isLittleEndian) return value;
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, value);
  return view.getUint32(0, true);
}

/**
 * A 16-bit number from the host's byte order to the network's, byteorder(3).
 *
 * @param hostshort From 0 to 65,535.
 * @returns The same number with its bytes in network order: swapped on most machines.
 * @throws {RangeError} If the number is out of its range.
 *
 * @example
 * ```ts
 * import { htons, ntohs } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(ntohs(htons(8080)), 8080);
 * ```
 */
export function htons(hostshort: number): number {
  checkInteger(hostshort, "hostshort", 0, 0xffff);
  return swap16(hostshort);
}

/**
 * A 16-bit number from the network's byte order to the host's, byteorder(3).
 *
 * @param netshort From 0 to 65,535.
 * @returns The same number with its bytes in the host's order.
 * @throws {RangeError} If the number is out of its range.
 */
export function ntohs(netshort: number): number {
  checkInteger(netshort, "netshort", 0, 0xffff);
  return swap16(netshort);
}

/**
 * A 32-bit number from the host's byte order to the network's, byteorder(3).
 *
 * @param hostlong From 0 to 4,294,967,295.
 * @returns The same number with its bytes in network order: swapped on most machines.
 * @throws {RangeError} If the number is out of its range.
 *
 * @example
 * ```ts
 * import { htonl, inet_addr, INADDR_LOOPBACK } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(htonl(INADDR_LOOPBACK), inet_addr("127.0.0.1"));
 * ```
 */
export function htonl(hostlong: number): number {
  checkInteger(hostlong, "hostlong", 0, 0xffffffff);
  return swap32(hostlong);
}

/**
 * A 32-bit number from the network's byte order to the host's, byteorder(3).
 *
 * @param netlong From 0 to 4,294,967,295.
 * @returns The same number with its bytes in the host's order.
 * @throws {RangeError} If the number is out of its range.
 */
export function ntohl(netlong: number): number {
  checkInteger(netlong, "netlong", 0, 0xffffffff);
  return swap32(netlong);
}

// Addresses

/** A number as C writes it: decimal, octal behind a 0, hexadecimal behind 0x. */
function number(text: string): number | undefined {
  if (/^0x[0-9a-f]+$/i.test(text)) return parseInt(text.slice(2), 16);
  if (/^0[0-7]*$/.test(text)) return parseInt(text, 8);
  return /^[1-9]\d*$/.test(text) ? parseInt(text, 10) : undefined;
}

/** The bytes of "a.b.c.d", "a.b.c", "a.b" or "a", whose last number fills what is left (inet(3)). */
function numbersAndDots(text: string): Uint8Array<ArrayBuffer> | undefined {
  const parts = text.split(".").map(number);
  if (parts.length > 4) return undefined;
  const bytes = new Uint8Array(4);
  const last = parts.length - 1;
  for (const [i, part] of parts.entries()) {
    const most = i < last ? 0xff : 2 ** (8 * (4 - last)) - 1;
    if (part === undefined || part > most) return undefined;
    if (i < last) bytes[i] = part;
    else new DataView(bytes.buffer).setUint32(0, part + readUint32(bytes));
  }
  return bytes;
}

const readUint32 = (bytes: Uint8Array): number =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);

/** What is said of a text that is no address. */
function noAddress(call: string, text: string): AddressSyntaxError {
  return Object.assign(
    new AddressSyntaxError(
      `${call}: ${show(text)} is no address of this family`,
      text,
      0,
    ),
    { code: "EINVAL" },
  );
}

/**
 * The number of an IPv4 address, inet(3).
 *
 * @param cp The address in numbers and dots; short forms such as `"127.1"`, octal and hexadecimal numbers
 * are read as C reads them.
 * @returns The number in **network** byte order, as C's `in_addr_t`; `INADDR_NONE` for what is no
 * address, which is also the number of `"255.255.255.255"`: {@linkcode inet_aton} tells them apart.
 * @throws {TypeError} If it is not a string.
 */
export function inet_addr(cp: string): number {
  checkText(cp, "address");
  const bytes = numbersAndDots(cp);
  return bytes === undefined ? INADDR_NONE : swap32(readUint32(bytes));
}

/**
 * The bytes of an IPv4 address, inet(3).
 *
 * @param cp The address in numbers and dots, as for {@linkcode inet_addr}.
 * @returns Four bytes in network order.
 * @throws {AddressSyntaxError} With `code` `"EINVAL"`, if it is none.
 * @throws {TypeError} If it is not a string.
 *
 * @example
 * ```ts
 * import { inet_aton, inet_ntoa } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(inet_aton("127.1"), new Uint8Array([127, 0, 0, 1]));
 * assertEquals(inet_ntoa(inet_aton("192.0.2.1")), "192.0.2.1");
 * ```
 */
export function inet_aton(cp: string): Uint8Array<ArrayBuffer> {
  checkText(cp, "address");
  const bytes = numbersAndDots(cp);
  if (bytes === undefined) throw noAddress("inet_aton", cp);
  return bytes;
}

/**
 * The text of an IPv4 address, inet(3).
 *
 * @param inp Four bytes in network order.
 * @returns The address in dotted decimal.
 * @throws {RangeError} If there are more or fewer.
 * @throws {TypeError} If it is not a Uint8Array.
 */
export function inet_ntoa(inp: Uint8Array): string {
  return inet_ntop(AF_INET, inp);
}

/** How many bytes an address of a family has. */
function lengthOf(af: number, call: string): 4 | 16 {
  if (af === AF_INET) return 4;
  if (af === AF_INET6) return 16;
  throw socketError("EAFNOSUPPORT", call);
}

/**
 * The bytes of an address, inet_pton(3).
 *
 * @param af `AF_INET` or `AF_INET6`.
 * @param src The address: dotted decimal of four numbers, or an IPv6 address without a zone.
 * @returns Four or sixteen bytes in network order.
 * @throws {AddressSyntaxError} With `code` `"EINVAL"`, if it is none of this family.
 * @throws {Error} With `code` `"EAFNOSUPPORT"` for any other family.
 * @throws {TypeError} If it is not a string.
 *
 * @example
 * ```ts
 * import { AF_INET6, inet_ntop, inet_pton } from "@berkeley/sockets/socket";
 * import { assertEquals } from "@std/assert";
 *
 * const bytes = inet_pton(AF_INET6, "2001:DB8:0:0::1");
 * assertEquals(inet_ntop(AF_INET6, bytes), "2001:db8::1");
 * ```
 */
export function inet_pton(af: number, src: string): Uint8Array<ArrayBuffer> {
  const length = lengthOf(af, "inet_pton");
  checkText(src, "address");
  const bytes = length === 4 ? ipv4Bytes(src) : ipv6Bytes(src);
  if (bytes === undefined) throw noAddress("inet_pton", src);
  return new Uint8Array(bytes);
}

/**
 * The text of an address, inet_ntop(3).
 *
 * @param af `AF_INET` or `AF_INET6`.
 * @param src Four or sixteen bytes in network order.
 * @returns Dotted decimal, or the short form of RFC 5952; mapped IPv4 addresses end in dotted decimal.
 * @throws {Error} With `code` `"EAFNOSUPPORT"` for any other family.
 * @throws {RangeError} If the number of bytes is wrong.
 * @throws {TypeError} If it is not a Uint8Array.
 */
export function inet_ntop(af: number, src: Uint8Array): string {
  const length = lengthOf(af, "inet_ntop");
  if (!(src instanceof Uint8Array)) throw notBytes(src, "address");
  if (src.length !== length) {
    throw new RangeError(
      `Invalid address: expected ${length} bytes, got ${src.length}`,
    );
  }
  return length === 4 ? src.join(".") : ipv6Text(src);
}

/** An IPv6 address as RFC 5952 writes it. */
function ipv6Text(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(2 * i));
  // Dotted: mapped addresses, and compatible ones but for "::" and those below 65,536 (as glibc does).
  const isMapped = groups.slice(0, 5).every((group) => group === 0) &&
    groups[5] === 0xffff;
  const isCompatible = groups.slice(0, 6).every((group) => group === 0) &&
    groups[6] !== 0;
  const isDotted = isMapped || isCompatible;
  const count = isDotted ? 6 : 8;
  // The longest run of zeros, and the first of those.
  let [from, length] = [-1, 1];
  for (let i = 0; i < count; i++) {
    let end = i;
    while (end < count && groups[end] === 0) end++;
    if (end - i > length) [from, length] = [i, end - i];
    i = Math.max(i, end - 1);
  }
  const text = (start: number, end: number) =>
    groups.slice(start, end).map((group) => group.toString(16)).join(":");
  const head = from < 0
    ? text(0, count)
    : `${text(0, from)}::${text(from + length, count)}`;
  if (!isDotted) return head;
  return `${head}${head.endsWith(":") ? "" : ":"}${
    bytes.subarray(12).join(".")
  }`;
}
