/**
 * Berkeley sockets for Deno: TCP, UDP and Unix sockets with timeouts that lose nothing, writes that are
 * whole, half-close, loops that a peer cannot end, and errors that say what went wrong.
 *
 * @example A server and a client
 * ```ts
 * import { connectTcp, copy, listenTcp, readAll, serve } from "@berkeley/sockets";
 * import { assertEquals } from "@std/assert";
 *
 * const listener = await listenTcp({ hostname: "127.0.0.1" });
 * await using server = serve(listener, async (conn) => {
 *   await copy(conn, conn);
 * });
 *
 * const client = await connectTcp(server.addr);
 * await client.writeAll(new TextEncoder().encode("hello"));
 * await client.closeWrite();
 *
 * assertEquals(new TextDecoder().decode(await readAll(client)), "hello");
 * client.close();
 * ```
 *
 * @module
 */

export * from "./addr.ts";
export * from "./errors.ts";
export * from "./framing.ts";
export * from "./io.ts";
export * from "./pair.ts";
export * from "./select.ts";
export * from "./serve.ts";
export * from "./socket.ts";
export * from "./tcp.ts";
export * from "./types.ts";
export * from "./udp.ts";
export * from "./unix.ts";
