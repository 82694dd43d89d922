/** What has to be so before the first call: the library is open, errno can be read, and layouts are right. */

import {
  AF_UNIX,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from "../_constants.ts";
import * as arena from "./_arena.ts";
import { checked, prepareErrno } from "./_errno.ts";
import { type Layout, layoutOf } from "./_layout.ts";
import { calls, seldom } from "./_symbols.ts";

let isReady = false;

/**
 * Opens what every call needs, once.
 *
 * @throws {Deno.errors.NotSupported} Where the sockets of the C library cannot be used.
 * @throws {Deno.errors.NotCapable} Without `--allow-ffi`.
 */
export function prepare(): void {
  if (isReady) return;
  calls();
  prepareErrno();
  testLayout(layoutOf(Deno.build.arch)!);
  isReady = true;
}

/** Two connected descriptors that do not block. */
export function descriptorPair(): [number, number] {
  const pair = new Int32Array(2);
  const type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
  const bytes = new Uint8Array(pair.buffer);
  checked(seldom().socketpair(AF_UNIX, type, 0, bytes), "socketpair");
  return [pair[0]!, pair[1]!];
}

const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;

/**
 * Lets the kernel tell of two descriptors at once: with a wrong layout the second one is not where it
 * should be.
 *
 * @throws {Deno.errors.NotSupported} If the layout is not this system's.
 */
export function testLayout({ epollEvent: { size, data } }: Layout): void {
  const { epoll_create1, epoll_ctl, epoll_wait, send, close } = calls();
  const pair = descriptorPair();
  const set = checked(epoll_create1(SOCK_CLOEXEC), "epoll_create1");
  try {
    const event = new DataView(new ArrayBuffer(16));
    const told = new DataView(new ArrayBuffer(64));
    for (const [i, descriptor] of pair.entries()) {
      event.setUint32(0, EPOLLIN, true);
      event.setUint32(data, descriptor, true);
      event.setUint32(data + 4, 0xabc0 + i, true);
      const of = new Uint8Array(event.buffer);
      checked(epoll_ctl(set, EPOLL_CTL_ADD, descriptor, of), "epoll_ctl");
      send(descriptor, arena.option, 1, 0);
    }
    const count = epoll_wait(set, new Uint8Array(told.buffer), 2, 0);
    const found = [0, 1].map((i) =>
      `${told.getUint32(i * size + data, true)} ${
        told.getUint32(i * size + data + 4, true)
      }`
    );
    const isRight = count === 2 &&
      [...pair].every((fd, i) => found.includes(`${fd} ${0xabc0 + i}`));
    if (isRight) return;
  } finally {
    for (const descriptor of [...pair, set]) close(descriptor);
  }
  throw Object.assign(
    new Deno.errors.NotSupported(
      "Cannot use the sockets of the C library: its structures are not laid out as expected",
    ),
    { code: "EOPNOTSUPP" },
  );
}
