/** Where things are in the structures of Linux's C library, on each architecture. Pure. */

import { checkInteger } from "../_check.ts";

/** What differs from one architecture to the next. */
export interface Layout {
  /** `struct epoll_event`, epoll_event(3type): packed on x86_64 only. */
  readonly epollEvent: { readonly size: number; readonly data: number };
  /** Numbers of the calls that glibc has no function for, syscall(2). */
  readonly calls: {
    readonly io_setup: number;
    readonly io_destroy: number;
    readonly io_submit: number;
    readonly io_getevents: number;
  };
}

const LAYOUTS = new Map<string, Layout>([
  ["x86_64", {
    epollEvent: { size: 12, data: 4 },
    calls: {
      io_setup: 206,
      io_destroy: 207,
      io_getevents: 208,
      io_submit: 209,
    },
  }],
  ["aarch64", {
    epollEvent: { size: 16, data: 8 },
    calls: { io_setup: 0, io_destroy: 1, io_submit: 2, io_getevents: 4 },
  }],
]);

/**
 * The layout of an architecture.
 *
 * @param arch As `Deno.build.arch` has it.
 * @returns `undefined` for one that is not known here.
 */
export function layoutOf(arch: string): Layout | undefined {
  return LAYOUTS.get(arch);
}

// The same on both: little endian, 64 bits

/** `struct msghdr`, recvmsg(2). */
export const MSGHDR = {
  size: 56,
  name: 0,
  nameLength: 8,
  vectors: 16,
  vectorCount: 24,
  control: 32,
  controlLength: 40,
  flags: 48,
} as const;

/** `struct mmsghdr`, recvmmsg(2): a `struct msghdr`, and how many bytes it has brought. */
export const MMSGHDR = { size: 64, length: 56 } as const;

/** `struct iovec`, iovec(3type). */
export const IOVEC = { size: 16, base: 0, length: 8 } as const;

/** `struct cmsghdr`, cmsg(3): its data are behind it, and the next one at a multiple of `align`. */
export const CMSGHDR = {
  size: 16,
  length: 0,
  level: 8,
  type: 12,
  align: 8,
} as const;

/** `struct addrinfo`, getaddrinfo(3). */
export const ADDRINFO = {
  size: 48,
  flags: 0,
  family: 4,
  type: 8,
  protocol: 12,
  addressLength: 16,
  address: 24,
  next: 40,
} as const;

/** `struct iocb`, io_submit(2). */
export const IOCB = {
  size: 64,
  opcode: 16,
  descriptor: 20,
  buffer: 24,
  flags: 56,
  result: 60,
} as const;

/** `struct io_event`, io_getevents(2). */
export const IO_EVENT = { size: 32 } as const;

/** A control message, cmsg(3). */
export interface ControlMessage {
  /** The protocol that it belongs to, such as `SOL_SOCKET`. */
  readonly level: number;
  /** Its type there, such as `SCM_RIGHTS`. */
  readonly type: number;
  /** What it says. */
  readonly data: Uint8Array<ArrayBuffer>;
}

const aligned = (n: number): number =>
  Math.ceil(n / CMSGHDR.align) * CMSGHDR.align;

/**
 * How many bytes control messages take (CMSG_SPACE): what `recvmsg()` needs to know.
 *
 * @param sizes How many bytes of data each has.
 * @returns The bytes, headers and padding included.
 * @throws {TypeError | RangeError} If a size is none.
 */
export function controlSpace(...sizes: number[]): number {
  for (const size of sizes) checkInteger(size, "size", 0, 2 ** 31 - 1);
  return sizes.reduce((sum, size) => sum + CMSGHDR.size + aligned(size), 0);
}

/** Control messages as the kernel takes them. */
export function encodeControl(
  messages: readonly ControlMessage[],
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(
    controlSpace(...messages.map(({ data }) => data.length)),
  );
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const { level, type, data } of messages) {
    view.setUint32(at + CMSGHDR.length, CMSGHDR.size + data.length, true);
    view.setInt32(at + CMSGHDR.level, level, true);
    view.setInt32(at + CMSGHDR.type, type, true);
    bytes.set(data, at + CMSGHDR.size);
    at += CMSGHDR.size + aligned(data.length);
  }
  return bytes;
}

/** Control messages as the kernel gives them. One that is cut off has what there is of it. */
export function decodeControl(bytes: Uint8Array): ControlMessage[] {
  const messages: ControlMessage[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + CMSGHDR.size <= bytes.length;) {
    const length = Number(view.getBigUint64(at + CMSGHDR.length, true));
    if (length < CMSGHDR.size) break;
    messages.push({
      level: view.getInt32(at + CMSGHDR.level, true),
      type: view.getInt32(at + CMSGHDR.type, true),
      data: new Uint8Array(
        bytes.subarray(at + CMSGHDR.size, at + length),
      ),
    });
    at += aligned(length);
  }
  return messages;
}
