/** Addresses as the kernel has them: `struct sockaddr_in`, `sockaddr_in6` and `sockaddr_un`. Pure. */

import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  type InetAddress,
} from "../_constants.ts";
import { ipv4Bytes } from "../_host.ts";
import { inet_ntop, inet_pton } from "../_inet.ts";

/** The size of `struct sockaddr_storage`: every address fits. */
export const SOCKADDR_SIZE = 128;

/** How many bytes a Unix path or abstract name has at most, unix(7). */
const UNIX_PATH = 108;

/** Hosts of IPv4 that were used a moment ago, both ways: making text costs more than a receive. */
const texts = new Map<number, string>();
const numbers = new Map<string, number>();
const MAX_HOSTS = 4096;

function remember<K, V>(map: Map<K, V>, key: K, value: V): V {
  if (map.size >= MAX_HOSTS) map.clear();
  map.set(key, value);
  return value;
}

/** An IPv4 address as a number; `undefined` for what is none. */
function ipv4Number(host: string): number | undefined {
  const known = numbers.get(host);
  if (known !== undefined) return known;
  const bytes = ipv4Bytes(host);
  if (bytes === undefined) return undefined;
  const [a, b, c, d] = bytes as unknown as [number, number, number, number];
  return remember(numbers, host, ((a << 24) | (b << 16) | (c << 8) | d) >>> 0);
}

/** The last one: a peer often sends more than once. */
let lastNumber = 0;
let lastText = "0.0.0.0";

function ipv4Text(number: number): string {
  if (number === lastNumber) return lastText;
  lastNumber = number;
  return lastText = texts.get(number) ?? remember(
    texts,
    number,
    `${number >>> 24}.${number >>> 16 & 255}.${number >>> 8 & 255}.${
      number & 255
    }`,
  );
}

const encoder = new TextEncoder();
/** A name is kept as it is: a byte order mark belongs to it. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** An address with its host as a literal, and its zone as a number. */
export type Literal =
  | string
  | readonly [host: string, port: number, flowinfo?: number, scopeid?: number];

/**
 * Writes an address.
 *
 * @param view Where to, with room for {@linkcode SOCKADDR_SIZE} bytes.
 * @param family Its family.
 * @param address Its host must be a literal of the family.
 * @returns How many bytes it has; `undefined` if it does not fit, or its host is no literal of the family.
 */
export function encodeAddress(
  view: DataView,
  family: number,
  address: Literal,
): number | undefined {
  view.setUint16(0, family, true);
  if (family === AF_UNIX) {
    // Without a name: the kernel makes one up (autobind).
    if (address === "") return 2;
    const bytes = encoder.encode(address as string);
    if (bytes.length > UNIX_PATH) return undefined;
    const isAbstract = bytes[0] === 0;
    for (let i = 0; i < bytes.length; i++) view.setUint8(2 + i, bytes[i]!);
    if (isAbstract || bytes.length === UNIX_PATH) return 2 + bytes.length;
    view.setUint8(2 + bytes.length, 0);
    return 3 + bytes.length;
  }
  const [host, port, flowinfo = 0, scopeid = 0] = address as Exclude<
    Literal,
    string
  >;
  view.setUint16(2, port);
  if (family === AF_INET) {
    const number = ipv4Number(host);
    if (number === undefined) return undefined;
    view.setUint32(4, number);
    view.setFloat64(8, 0);
    return 16;
  }
  if (family !== AF_INET6) return undefined;
  view.setUint32(4, flowinfo);
  let bytes: Uint8Array;
  try {
    bytes = inet_pton(AF_INET6, host);
  } catch {
    return undefined;
  }
  for (let i = 0; i < 16; i++) view.setUint8(8 + i, bytes[i]!);
  view.setUint32(24, scopeid, true);
  return 28;
}

/**
 * Reads an address.
 *
 * @param view Where it is.
 * @param length How many bytes it has; 0 for none.
 * @returns As the BSD face gives it; `undefined` if there is none, or its family is not known here.
 */
export function decodeAddress(
  view: DataView,
  length: number,
): Address | undefined {
  if (length < 2) return undefined;
  const family = view.getUint16(0, true);
  if (family === AF_INET) {
    return [ipv4Text(view.getUint32(4)), view.getUint16(2)] as InetAddress;
  }
  if (family === AF_INET6) {
    const bytes = new Uint8Array(view.buffer, view.byteOffset + 8, 16);
    return [
      inet_ntop(AF_INET6, bytes),
      view.getUint16(2),
      view.getUint32(4),
      view.getUint32(24, true),
    ];
  }
  if (family !== AF_UNIX) return undefined;
  const bytes = new Uint8Array(view.buffer, view.byteOffset + 2, length - 2);
  // A path ends with its NUL, which may be missing; an abstract name begins with one.
  const end = bytes[0] === 0 ? -1 : bytes.indexOf(0);
  return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}
