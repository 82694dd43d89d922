/** recvmsg(2) and sendmsg(2): a message in `struct msghdr`. */

import {
  type Address,
  MSG_CMSG_CLOEXEC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_WAITALL,
} from "../_constants.ts";
import * as arena from "./_arena.ts";
import {
  type ControlMessage,
  decodeControl,
  IOVEC,
  MSGHDR,
} from "./_layout.ts";
import { lengthOf } from "./_memory.ts";
import { AGAIN, type Again, given } from "./_side.ts";
import { decodeAddress } from "./_sockaddr.ts";
import { memory, messages } from "./_symbols.ts";

const messageBytes = new Uint8Array(
  arena.message.buffer,
  arena.message.byteOffset,
  MSGHDR.size,
);

/** Buffers whose addresses the kernel has been given: they must not go away before the call is over. */
const held: { buffers: readonly Uint8Array[] } = { buffers: [] };

/** What recvmsg(2) brings. */
export interface ReceivedMessage {
  readonly data: Uint8Array<ArrayBuffer>;
  readonly control: ControlMessage[];
  readonly flags: number;
  readonly address: Address | undefined;
}

/** Fills `struct msghdr`. */
function prepare(buffers: readonly Uint8Array[], controlSize: number): void {
  const { message, vectors } = arena;
  held.buffers = buffers;
  const { addressOf } = memory();
  for (const [i, buffer] of buffers.entries()) {
    const at = i * IOVEC.size;
    vectors.setBigUint64(
      at + IOVEC.base,
      addressOf(buffer as Uint8Array<ArrayBuffer>, null, 0),
      true,
    );
    vectors.setBigUint64(at + IOVEC.length, BigInt(lengthOf(buffer)), true);
  }
  message.setBigUint64(MSGHDR.name, arena.addressIn(arena.name), true);
  message.setUint32(MSGHDR.nameLength, 0, true);
  message.setBigUint64(
    MSGHDR.vectors,
    arena.addressIn(arena.vectors),
    true,
  );
  message.setBigUint64(MSGHDR.vectorCount, BigInt(buffers.length), true);
  message.setBigUint64(
    MSGHDR.control,
    controlSize === 0 ? 0n : arena.addressIn(arena.control),
    true,
  );
  message.setBigUint64(MSGHDR.controlLength, BigInt(controlSize), true);
  message.setInt32(MSGHDR.flags, 0, true);
}

/**
 * Receives a message.
 *
 * @param descriptor Of whom.
 * @param buffer Where its data go.
 * @param controlSize How many bytes of control messages at most.
 * @param flags As for recvmsg(2); it never waits.
 */
export function receiveMessage(
  descriptor: number,
  buffer: Uint8Array<ArrayBuffer>,
  controlSize: number,
  flags: number,
): ReceivedMessage | Again {
  prepare([buffer], controlSize);
  const { message } = arena;
  message.setUint32(MSGHDR.nameLength, arena.name.length, true);
  const n = given(
    messages().recvmsg(
      descriptor,
      messageBytes,
      flags & ~MSG_WAITALL | MSG_DONTWAIT | MSG_CMSG_CLOEXEC,
    ),
    "recvmsg",
  );
  held.buffers = [];
  if (n === AGAIN) return n;
  const length = message.getUint32(MSGHDR.nameLength, true);
  const used = Number(message.getBigUint64(MSGHDR.controlLength, true));
  return {
    // With MSG_TRUNC the count may be larger than what there is.
    data: buffer.slice(0, Math.min(n, buffer.length)),
    control: decodeControl(arena.control.slice(0, used)),
    flags: message.getInt32(MSGHDR.flags, true) & ~MSG_CMSG_CLOEXEC,
    address: decodeAddress(
      arena.nameView,
      Math.min(length, arena.name.length),
    ),
  };
}

/**
 * Sends a message.
 *
 * @param descriptor By whom.
 * @param buffers Its data, in at most `MAX_VECTORS` pieces.
 * @param control Its control messages, as the kernel takes them.
 * @param flags As for sendmsg(2); it never waits.
 * @param name Where to, if not to the peer.
 */
export function sendMessage(
  descriptor: number,
  buffers: readonly Uint8Array[],
  control: Uint8Array,
  flags: number,
  name: Uint8Array | undefined,
): number | Again {
  prepare(buffers, control.length);
  arena.control.set(control);
  if (name === undefined) arena.message.setBigUint64(MSGHDR.name, 0n, true);
  else {
    arena.name.set(name);
    arena.message.setUint32(MSGHDR.nameLength, name.length, true);
  }
  const n = given(
    messages().sendmsg(
      descriptor,
      messageBytes,
      flags | MSG_DONTWAIT | MSG_NOSIGNAL,
    ),
    "sendmsg",
  );
  held.buffers = [];
  return n;
}
