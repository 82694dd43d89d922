/** Operations that do not keep a program alive, by what the runtime's core knows of them. */

import { assert, assertEquals } from "@std/assert";
import { begin } from "../_operation.ts";
import { runDeno } from "./_process.ts";

const OPERATION = new URL("../_operation.ts", import.meta.url).href;

Deno.test("begin() gives the operation's result and its error", async () => {
  assertEquals(await begin(() => Promise.resolve(5)).promise, 5);
  const failing = begin(() => Promise.reject(new Error("no")));
  assert(await failing.promise.catch(() => true));
  // What has ended already can be let go of and taken back.
  failing.setRef(false);
  failing.setRef(true);
});

Deno.test("begin() leaves errors as they are made elsewhere", () => {
  const { stackTraceLimit } = Error;
  begin(() => Promise.resolve());
  assertEquals(Error.stackTraceLimit, stackTraceLimit);
  assert(new Error("x").stack!.includes("operation_test"));
});

/** A program with an operation that waits for ever, unless it is let go of. */
const waiting = (before: string, after: string) =>
  runDeno(
    ["-A"],
    `
import { begin } from ${JSON.stringify(OPERATION)};
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
${before}
const operation = begin(() => listener.accept());
operation.promise.then(() => console.log("accepted"));
${after}
console.log("finished");
`,
  );

Deno.test("setRef(false) lets a program end", async () => {
  const { code, stdout, stderr } = await waiting(
    "",
    "operation.setRef(false);",
  );
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: "finished\n",
    stderr: "",
  });
});

Deno.test("setRef(true) keeps it alive again", async () => {
  const { stdout } = await waiting(
    "",
    `operation.setRef(false);
operation.setRef(true);
const timer = setTimeout(() => Deno.connect({ port: listener.addr.port }), 20);
Deno.unrefTimer(timer);`,
  );
  // The timer alone would not have kept it alive.
  assertEquals(stdout, "finished\naccepted\n");
});

Deno.test("where leaks are traced already, or the core looks different, nothing breaks", async () => {
  for (
    const before of [
      "Deno[Deno.internal].core.setLeakTracingEnabled(true);",
      "delete Deno[Deno.internal];",
      "Error.prepareStackTrace = () => { throw new Error('mine'); };",
    ]
  ) {
    const { code, stdout, stderr } = await waiting(
      before,
      "operation.setRef(false); listener.unref();",
    );
    assertEquals({ code, stdout, stderr }, {
      code: 0,
      stdout: "finished\n",
      stderr: "",
    });
  }
});
