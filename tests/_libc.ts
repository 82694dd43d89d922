/** What tests of the C library's sockets share. */

import {
  aio,
  calls,
  memory,
  messages,
  names,
  seldom,
  wake,
} from "../libc/_symbols.ts";

/** Opens all of the library, which stays open: in a test it would be a leak. */
export function openAll(): void {
  for (const open of [calls, memory, messages, seldom, names, wake, aio]) {
    open();
  }
}
