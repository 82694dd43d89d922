/** How errors of opening are made anew. */

import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { openingError } from "../_open.ts";
import type { SocketAddr } from "../types.ts";

const address: SocketAddr = { transport: "tcp", hostname: "::1", port: 80 };

function remade(cause: unknown): Error & { code?: string; address?: unknown } {
  const error = openingError("connect to", address, cause);
  assertInstanceOf(error, Error);
  assertEquals(error.cause, cause);
  assertEquals((error as { address?: unknown }).address, address);
  return error;
}

Deno.test("an error of the runtime keeps its class", () => {
  const cause = Object.assign(
    new Deno.errors.ConnectionRefused("Connection refused (os error 111)"),
    { code: "ECONNREFUSED" },
  );
  const error = remade(cause);
  assertInstanceOf(error, Deno.errors.ConnectionRefused);
  assertEquals(
    error.message,
    "Cannot connect to tcp [::1]:80: Connection refused (ECONNREFUSED)",
  );
  assertEquals(error.code, "ECONNREFUSED");
});

Deno.test("an error without a class keeps its code", () => {
  const error = remade(
    Object.assign(new Error("No route to host (os error 113)"), {
      code: "EHOSTUNREACH",
    }),
  );
  assertEquals(error.constructor, Error);
  assertEquals(error.code, "EHOSTUNREACH");
  assertEquals(
    error.message,
    "Cannot connect to tcp [::1]:80: No route to host (EHOSTUNREACH)",
  );
});

Deno.test("an error without a code gets one", () => {
  const error = remade(
    new Error(
      "failed to lookup address information: Name or service not known",
    ),
  );
  assertEquals(error.code, "ENOTFOUND");
  assertEquals(
    error.message,
    "Cannot connect to tcp [::1]:80: Name or service not known (ENOTFOUND)",
  );
});

Deno.test("an error of a node: module becomes the Deno class of its code", () => {
  const nodeError = (code: string) =>
    Object.assign(new Error(`getaddrinfo ${code} nowhere`), {
      code,
      syscall: "getaddrinfo",
    });
  for (
    const [code, Class, message] of [
      ["EACCES", Deno.errors.PermissionDenied, "Permission denied"],
      ["EADDRINUSE", Deno.errors.AddrInUse, "Address already in use"],
      ["ENOTFOUND", Error, "Name or service not known"],
      ["EAI_AGAIN", Error, "Temporary failure in name resolution"],
      ["EMFILE", Error, "Too many open files"],
    ] as const
  ) {
    const error = remade(nodeError(code));
    assertEquals<unknown>(error.constructor, Class);
    assertEquals(error.code, code);
    assertEquals(
      error.message,
      `Cannot connect to tcp [::1]:80: ${message} (${code})`,
    );
  }
});

Deno.test("a missing flag keeps Deno's words", () => {
  const error = remade(
    new Deno.errors.NotCapable(
      'Requires net access to "[::1]:80", run again with the --allow-net flag',
    ),
  );
  assertInstanceOf(error, Deno.errors.NotCapable);
  assertEquals(error.code, "EPERM");
  assert(error.message.endsWith("--allow-net flag"));
});

Deno.test("an abort's reason is nobody's to change", () => {
  for (const reason of ["text", 5, new DOMException("x", "AbortError")]) {
    assertEquals(openingError("connect to", address, reason), reason);
  }
});
