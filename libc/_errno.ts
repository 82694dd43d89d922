/** The one place where -1 becomes an error. */

import { errnoName, strerror } from "../_errno_table.ts";
import { socketError } from "../_socket_error.ts";
import * as arena from "./_arena.ts";
import { hasPointers, memory } from "./_symbols.ts";

/** Reads errno, which is this thread's own. */
let read: (() => number) | undefined;

/** Made once: errno stays where it is as long as the thread lives. */
function makeReader(): () => number {
  const { errnoAddress, errnoPointer, copyFrom } = memory();
  if (hasPointers()) {
    const live = new Int32Array(
      Deno.UnsafePointerView.getArrayBuffer(errnoPointer()!, 4),
    );
    return () => live[0]!;
  }
  const address = errnoAddress();
  const bytes = new Uint8Array(
    arena.errno.buffer,
    arena.errno.byteOffset,
    4,
  );
  return () => {
    copyFrom(bytes, address, 4n);
    return arena.errno[0]!;
  };
}

/** Makes errno readable: before the first call, so that reading it allocates nothing. */
export function prepareErrno(): void {
  read ??= makeReader();
}

/**
 * errno of the call in the statement before. Anything between the two may change it: an allocation can
 * make the engine call the system.
 */
export function errno(): number {
  return read!();
}

export const EINTR = 4;
export const EAGAIN = 11;
export const EINPROGRESS = 115;

/** An error of the system by its number. */
export function systemError(number: number, call: string): Error {
  const name = errnoName(number);
  if (name !== undefined) return socketError(name, call);
  return Object.assign(
    new Error(`${call}: ${strerror(number)} (errno ${number})`),
    { code: `E${number}`, errno: number },
  );
}

/** The result of a call that does not wait, or its error. */
export function checked(result: number, call: string): number {
  if (result >= 0) return result;
  throw systemError(errno(), call);
}
