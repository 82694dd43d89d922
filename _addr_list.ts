/** Lists of IP addresses and blocks of them. */

import { AddressSyntaxError } from "./errors.ts";
import { checkText, show } from "./_check.ts";
import { ipBytes, ipv4Bytes, ipv6Bytes, mappedIPv4 } from "./_host.ts";

/** A block of addresses: those whose first `bits` bits are those of `bytes`. */
interface Block {
  readonly bytes: Uint8Array;
  readonly bits: number;
}

/**
 * A list of IP addresses and blocks of them, to allow or deny peers by.
 *
 * An entry is an address (`"127.0.0.1"`, `"::1"`) or a block in CIDR notation (`"10.0.0.0/8"`,
 * `"fe80::/10"`; RFC 4632). IPv4 entries match IPv4-mapped addresses too. Zones are not compared.
 *
 * @example
 * ```ts
 * import { AddrList } from "@berkeley/sockets/addr";
 * import { assert } from "@std/assert";
 *
 * const local = new AddrList(["127.0.0.0/8", "::1"]);
 * assert(local.has("127.0.0.1"));
 * assert(local.has({ hostname: "::ffff:127.0.0.1" }));
 * assert(!local.has("192.0.2.1"));
 * ```
 */
export class AddrList {
  readonly #blocks: Block[] = [];

  /**
   * Makes a list.
   *
   * @param entries Addresses and blocks; empty by default.
   * @throws {AddressSyntaxError} If one is neither.
   * @throws {TypeError} If one is not a string.
   */
  constructor(entries: Iterable<string> = []) {
    // A string is an iterable of characters, and none of them is an address.
    if (typeof entries === "string") {
      throw new TypeError(
        `Invalid entries: expected a list of strings, got ${show(entries)}`,
      );
    }
    for (const entry of entries) this.add(entry);
  }

  /** How many entries there are. */
  get size(): number {
    return this.#blocks.length;
  }

  /**
   * Adds an address or a block.
   *
   * @param entry Such as `"192.0.2.1"` or `"192.0.2.0/24"`. Bits behind the prefix do not matter.
   * @returns The list.
   * @throws {AddressSyntaxError} If it is neither.
   * @throws {TypeError} If it is not a string.
   */
  add(entry: string): this {
    checkText(entry, "entry");
    const slash = entry.indexOf("/");
    const address = slash < 0 ? entry : entry.slice(0, slash);
    const raw = ipv4Bytes(address) ?? ipv6Bytes(address);
    if (raw === undefined) {
      throw new AddressSyntaxError(
        `Invalid entry ${
          show(entry)
        }: expected an IP address without a zone, or a block such as "10.0.0.0/8"`,
        entry,
        0,
      );
    }
    const most = raw.length * 8;
    const digits = slash < 0 ? String(most) : entry.slice(slash + 1);
    if (!/^(0|[1-9]\d{0,2})$/.test(digits) || Number(digits) > most) {
      throw new AddressSyntaxError(
        `Invalid prefix length in ${
          show(entry)
        }: expected a number from 0 to ${most}, got ${show(digits)}`,
        entry,
        slash + 1,
      );
    }
    // A mapped block of 96 bits or more is a block of IPv4, where mapped addresses are looked for.
    const mapped = raw.length === 16 && Number(digits) >= 96
      ? mappedIPv4(raw)
      : undefined;
    this.#blocks.push(
      mapped === undefined
        ? { bytes: raw, bits: Number(digits) }
        : { bytes: mapped, bits: Number(digits) - 96 },
    );
    return this;
  }

  /**
   * Whether an address is in the list.
   *
   * @param addr An IP address, or an object with one as `hostname`.
   * @returns `false` too for everything that is not an IP address: names are not looked up.
   */
  has(addr: string | { readonly hostname: string }): boolean {
    const hostname = typeof addr === "string" ? addr : addr?.hostname;
    const bytes = typeof hostname === "string" ? ipBytes(hostname) : undefined;
    if (bytes === undefined) return false;
    // A mapped address is IPv4's, and part of a wide block of IPv6 as well, such as "::/0".
    const mapped = mappedIPv4(bytes);
    return this.#blocks.some((block) =>
      contains(block, bytes) || mapped !== undefined && contains(block, mapped)
    );
  }
}

/** Whether the first bits of an address are the block's. */
function contains({ bytes, bits }: Block, address: Uint8Array): boolean {
  if (address.length !== bytes.length) return false;
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (bytes[i] !== address[i]) return false;
  const mask = 0xff00 >> (bits & 7) & 0xff;
  return mask === 0 || (bytes[whole]! & mask) === (address[whole]! & mask);
}

/** Tells whether a peer may come. */
export type Access = (peer: { readonly hostname: string }) => boolean;

/**
 * Makes of two lists what tells who may come.
 *
 * @param allow Who may; everybody if it is missing.
 * @param deny Who may not, whatever `allow` says.
 * @returns `undefined` if everybody may.
 */
export function checkAccess(
  { allow, deny }: {
    allow?: AddrList | Iterable<string> | undefined;
    deny?: AddrList | Iterable<string> | undefined;
  },
): Access | undefined {
  const allowed = checkList(allow, "allow");
  const denied = checkList(deny, "deny");
  if (allowed === undefined && denied === undefined) return undefined;
  return (peer) => denied?.has(peer) !== true && allowed?.has(peer) !== false;
}

/** A list of addresses, or nothing. */
function checkList(
  list: AddrList | Iterable<string> | undefined,
  name: string,
): AddrList | undefined {
  if (list === undefined || list instanceof AddrList) return list;
  if (
    typeof list === "string" || typeof list?.[Symbol.iterator] !== "function"
  ) {
    throw new TypeError(
      `Invalid ${name}: expected an AddrList or a list of strings, got ${
        show(list)
      }`,
    );
  }
  return new AddrList(list);
}
