/** Messages out of one TCP connection whose peer sends as fast as it can. */

import { TextLineStream } from "@std/streams/text-line-stream";
import { BufferedReader } from "../framing.ts";
import { connectTcp, type TcpConn } from "../tcp.ts";
import type { Work } from "./_rounds.ts";

/** How messages are taken out; each way counts the characters or bytes in them. */
export const ways = {
  async textLineStream(conn: TcpConn) {
    let count = 0;
    const lines = conn.readable
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream());
    for await (const line of lines) count += line.length;
    return count;
  },
  async lines(conn: TcpConn) {
    let count = 0;
    for await (const line of new BufferedReader(conn).lines()) {
      count += line.length;
    }
    return count;
  },
  async lineBatches(conn: TcpConn) {
    let count = 0;
    for await (const lines of new BufferedReader(conn).lineBatches()) {
      for (const line of lines) count += line.length;
    }
    return count;
  },
  /** A loop of a user's own: a view of each frame, good until the next read. */
  async inPlace(conn: TcpConn) {
    let count = 0;
    const buffer = new Uint8Array(65536);
    const view = new DataView(buffer.buffer);
    let end = 0;
    for (;;) {
      const n = await conn.read(buffer.subarray(end));
      if (n === null) return count;
      end += n;
      let at = 0;
      while (end - at >= 4) {
        const length = view.getUint32(at);
        if (end - at < 4 + length) break;
        count += buffer.subarray(at + 4, at + 4 + length).length;
        at += 4 + length;
      }
      buffer.copyWithin(0, at, end);
      end -= at;
    }
  },
  async frameBatches(conn: TcpConn) {
    let count = 0;
    const reader = new BufferedReader(conn);
    for await (const frames of reader.frameBatches({ bytes: 4 })) {
      for (const frame of frames) count += frame.length;
    }
    return count;
  },
  async reusedBatches(conn: TcpConn) {
    let count = 0;
    const reader = new BufferedReader(conn);
    for await (
      const frames of reader.frameBatches({ bytes: 4 }, { reuse: true })
    ) {
      for (const frame of frames) count += frame.length;
    }
    return count;
  },
  async reusedFrames(conn: TcpConn) {
    let count = 0;
    const reader = new BufferedReader(conn);
    for await (const frame of reader.frames({ bytes: 4 }, { reuse: true })) {
      count += frame.length;
    }
    return count;
  },
  async frames(conn: TcpConn) {
    let count = 0;
    for await (const frame of new BufferedReader(conn).frames({ bytes: 4 })) {
      count += frame.length;
    }
    return count;
  },
};

/** Takes the messages of a connection of its own. */
export function take(port: number, way: keyof typeof ways): Work {
  return async () => {
    using conn = await connectTcp({ hostname: "127.0.0.1", port });
    const start = performance.now();
    const count = await ways[way](conn);
    const seconds = (performance.now() - start) / 1000;
    if (count === 0) throw new Error("nothing came");
    return conn.bytesRead / seconds / 2 ** 20;
  };
}
