/** The BSD face on the system's C library: the same cases. */

import * as bsd from "../libc/mod.ts";
import { testBsdFace } from "./_bsd_cases.ts";
import { openAll } from "./_libc.ts";

if (Deno.build.os === "linux") {
  openAll();
  testBsdFace({
    bsd: bsd as unknown as typeof import("../socket.ts"),
    driver: "libc",
    hasUnixDatagrams: true,
    sanitizeOps: false,
  });
}
