/** Host names and IP addresses as text: what is one, and which bytes it stands for. */

import { AddressSyntaxError } from "./errors.ts";
import { show } from "./_check.ts";

/** The four bytes of an IPv4 address in dotted decimal, or `undefined`. */
export function ipv4Bytes(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (const [i, part] of parts.entries()) {
    // A leading zero means octal to some parsers and decimal to others: refused (RFC 6943, 3.1.1).
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) {
      return undefined;
    }
    bytes[i] = Number(part);
  }
  return bytes;
}

/** The sixteen bytes of an IPv6 address without a zone (RFC 4291, 2.2), or `undefined`. */
export function ipv6Bytes(text: string): Uint8Array | undefined {
  let rest = text;
  const bytes = new Uint8Array(16);
  let end = 16;
  const dotted = rest.lastIndexOf(":") + 1;
  if (rest.includes(".", dotted)) {
    const tail = ipv4Bytes(rest.slice(dotted));
    if (tail === undefined || dotted === 0) return undefined;
    bytes.set(tail, 12);
    end = 12;
    rest = rest.slice(0, dotted);
    // "1:2:...:" -> "1:2:...", but "::" stays, for it is the gap.
    if (!rest.endsWith("::")) rest = rest.slice(0, -1);
  }
  const halves = rest.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half) => half === "" ? [] : half.split(":"));
  const count = head!.length + (tail?.length ?? 0);
  const room = end / 2;
  if (tail === undefined ? count !== room : count >= room) return undefined;
  const groups = [
    ...head!,
    ...Array<string>(room - count).fill("0"),
    ...(tail ?? []),
  ];
  for (const [i, group] of groups.entries()) {
    if (!/^[0-9a-f]{1,4}$/i.test(group)) return undefined;
    const value = parseInt(group, 16);
    bytes[2 * i] = value >> 8;
    bytes[2 * i + 1] = value & 0xff;
  }
  return bytes;
}

/** An address and its zone: `"fe80::1%eth0"` -> `["fe80::1", "eth0"]`. */
export function splitZone(text: string): [string, string | undefined] {
  const at = text.indexOf("%");
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

/** Whether a text is an IPv6 address, with or without a zone. */
export function isIPv6Text(text: string): boolean {
  const [address, zone] = splitZone(text);
  return ipv6Bytes(address) !== undefined &&
    (zone === undefined || /^[^\s%/[\]\0]+$/.test(zone));
}

/** The four bytes of an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2), or `undefined`. */
export function mappedIPv4(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes.length !== 16) return undefined;
  for (let i = 0; i < 12; i++) {
    if (bytes[i] !== (i < 10 ? 0 : 0xff)) return undefined;
  }
  return bytes.subarray(12);
}

/** An address of the runtime's with the zone that it drops. Only link-local addresses have one. */
export function withZone(hostname: string, zone: string | undefined): string {
  return zone !== undefined && /^fe[89ab]/i.test(hostname)
    ? `${hostname}%${zone}`
    : hostname;
}

/** The bytes of an address of either family, without its zone. */
export function ipBytes(text: string): Uint8Array | undefined {
  return ipv4Bytes(text) ??
    (isIPv6Text(text) ? ipv6Bytes(splitZone(text)[0]) : undefined);
}

const ACCEPTED =
  'expected a name such as "localhost" or an address such as "127.0.0.1" or "::1"';

/**
 * Checks the host at `input[start..end)` and gives it without the brackets of an IPv6 address.
 */
export function parseHost(input: string, start: number, end: number): string {
  const host = input.slice(start, end);
  const fail = (why: string, at: number): never => {
    throw new AddressSyntaxError(
      `Invalid host ${show(host)}: ${why}; ${ACCEPTED}`,
      input,
      start + at,
    );
  };
  if (host === "") fail("it is empty", 0);
  if (host.startsWith("[")) {
    const inner = host.slice(1, -1);
    if (!host.endsWith("]")) fail("a bracket is not closed", 0);
    if (!isIPv6Text(inner)) fail("no IPv6 address in the brackets", 1);
    return inner;
  }
  const colon = host.indexOf(":");
  if (colon >= 0) {
    if (isIPv6Text(host)) return host;
    fail(
      host.indexOf(":", colon + 1) < 0
        ? "a port does not belong here"
        : "not an IPv6 address",
      colon,
    );
  }
  checkName(host, fail);
  return host;
}

/** Checks a name by RFC 1123, 2.1 and RFC 1035, 2.3.4, with the underscore that many use. */
function checkName(
  host: string,
  fail: (why: string, at: number) => never,
): void {
  const wrong = host.search(/[^A-Za-z0-9._-]/);
  if (wrong >= 0) {
    fail(
      host.charCodeAt(wrong) > 127
        ? "a name outside ASCII is written in its xn-- form"
        : `${show(host[wrong])} cannot be part of a name`,
      wrong,
    );
  }
  const name = host.endsWith(".") ? host.slice(0, -1) : host;
  if (name.length > 253) fail("a name has at most 253 characters", 253);
  const labels = name.split(".");
  let at = 0;
  for (const label of labels) {
    if (label === "") fail("a label is empty", at);
    if (label.length > 63) fail("a label has at most 63 characters", at + 63);
    at += label.length + 1;
  }
  // What ends in a number is meant as an IPv4 address; getaddrinfo(3) would read "127.1" its own way.
  if (/^\d+$|^0x[0-9a-f]*$/i.test(labels.at(-1)!) && !ipv4Bytes(host)) {
    fail("not an IPv4 address", 0);
  }
}

/** Checks a `hostname` option and gives it without the brackets of an IPv6 address. */
export function checkHostname(hostname: unknown): string {
  if (typeof hostname !== "string") {
    throw new TypeError(
      `Invalid hostname: ${ACCEPTED}, got ${show(hostname)}`,
    );
  }
  return parseHost(hostname, 0, hostname.length);
}
