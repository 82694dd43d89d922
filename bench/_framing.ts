/**
 * Messages out of one TCP connection, in a process of its own: prints how much came a second.
 *
 *     _framing.ts lines|frames HOW BYTES
 *
 * The peer is a second process that sends as fast as it can.
 */

import { TextLineStream } from "@std/streams/text-line-stream";
import { BufferedReader, encodeFrame } from "../framing.ts";
import { connectTcp, type TcpConn } from "../tcp.ts";

const LINE = 80;
const FRAME = 100;

/** What a peer sends over and over: whole messages, many at a time. */
function block(kind: string): Uint8Array {
  const message = kind === "lines"
    ? new TextEncoder().encode(`${"x".repeat(LINE - 1)}\n`)
    : encodeFrame(new Uint8Array(FRAME), { bytes: 4 });
  const count = Math.floor(2 ** 18 / message.length);
  const bytes = new Uint8Array(count * message.length);
  for (let i = 0; i < count; i++) bytes.set(message, i * message.length);
  return bytes;
}

/** The peer. */
async function send(kind: string, total: number): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  console.log(listener.addr.port);
  const conn = await listener.accept();
  const bytes = block(kind);
  for (let sent = 0; sent < total; sent += bytes.length) {
    for (let at = 0; at < bytes.length;) {
      at += await conn.write(bytes.subarray(at));
    }
  }
  conn.close();
  listener.close();
}

/** How messages are counted. */
const ways: Record<string, (conn: TcpConn) => Promise<number>> = {
  async textLineStream(conn) {
    let count = 0;
    const lines = conn.readable
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream());
    for await (const line of lines) count += line.length;
    return count;
  },
  async lines(conn) {
    let count = 0;
    for await (const line of new BufferedReader(conn).lines()) {
      count += line.length;
    }
    return count;
  },
  async lineBatches(conn) {
    let count = 0;
    for await (const lines of new BufferedReader(conn).lineBatches()) {
      for (const line of lines) count += line.length;
    }
    return count;
  },
  async inPlace(conn) {
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
  async frameBatches(conn) {
    let count = 0;
    const reader = new BufferedReader(conn);
    for await (const frames of reader.frameBatches({ bytes: 4 })) {
      for (const frame of frames) count += frame.length;
    }
    return count;
  },
  async frames(conn) {
    let count = 0;
    for await (const frame of new BufferedReader(conn).frames({ bytes: 4 })) {
      count += frame.length;
    }
    return count;
  },
};

const [kind, how, total] = [Deno.args[0]!, Deno.args[1]!, Number(Deno.args[2])];
if (how === "send") {
  await send(kind, total);
} else {
  const peer = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", import.meta.filename!, kind, "send", `${total}`],
    stdout: "piped",
  }).spawn();
  const first = await peer.stdout.getReader().read();
  const port = new TextDecoder().decode(first.value);
  const conn = await connectTcp({ port: Number(port) });
  const start = performance.now();
  const count = await ways[how]!(conn);
  const seconds = (performance.now() - start) / 1000;
  conn.close();
  await peer.status;
  if (count === 0) throw new Error("nothing came");
  console.log(total / seconds / 2 ** 20);
}
