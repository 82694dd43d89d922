/** Destinations of UDP: checked once, looked up once, and not remembered without bound. */

import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { errorCode } from "../errors.ts";
import { Destinations } from "../_destinations.ts";
import { rejection } from "./_bytes.ts";
import { canListen } from "./_pairs.ts";
import { runDeno } from "./_process.ts";

const at = (hostname: string) => ({ hostname, port: 9 });

Deno.test("Destinations.find() gives an address at once", () => {
  const four = new Destinations(4);
  for (let i = 0; i < 2; i++) {
    assertEquals(four.find(at("127.0.0.1"), 1), at("127.0.0.1"));
    assertEquals(four.find(at("::ffff:127.0.0.1"), 1), at("127.0.0.1"));
  }
  const six = new Destinations(6);
  for (const host of ["::1", "127.0.0.1", "fe80::1%lo", "::ffff:127.0.0.1"]) {
    for (let i = 0; i < 2; i++) assertEquals(six.find(at(host), 1), at(host));
  }
  assertEquals(six.find(at("[::1]"), 1), at("::1"));
});

Deno.test("Destinations.find() looks a name up once", async () => {
  const four = new Destinations(4);
  const first = four.find(at("localhost"), 1);
  const second = four.find(at("localhost"), 1);
  assertInstanceOf(first, Promise);
  assertInstanceOf(second, Promise);
  assertEquals(await first, at("127.0.0.1"));
  assertEquals(await second, at("127.0.0.1"));
  assertEquals(four.find(at("localhost"), 1), at("127.0.0.1"));
  assertEquals(four.find({ hostname: "localhost", port: 10 }, 1), {
    hostname: "127.0.0.1",
    port: 10,
  });
});

Deno.test("Destinations.find() tries a name anew after a failure", async () => {
  const four = new Destinations(4);
  for (let i = 0; i < 2; i++) {
    const looking = four.find(at("nobody.invalid"), 1);
    assertInstanceOf(looking, Promise);
    const code = errorCode(await rejection(looking));
    assert(code === "ENOTFOUND" || code === "EAI_AGAIN", code);
  }
});

Deno.test("Destinations.find() reads an address once", () => {
  let reads = 0;
  const addr = {
    hostname: "127.0.0.1",
    get port() {
      return ++reads === 1 ? 9 : 1e12;
    },
  };
  const four = new Destinations(4);
  four.find(at("127.0.0.1"), 1);
  assertEquals(four.find(addr, 1), at("127.0.0.1"));
});

Deno.test({
  name: "Destinations prefer IPv6 for a socket that has both",
  ignore: Deno.build.os !== "linux" || Deno.uid() !== 0 || !canListen("::1"),
  async fn() {
    // A hosts file of its own, in which a name has both.
    const source = `
const run = (...args) => new Deno.Command(args[0], { args: args.slice(1) }).outputSync();
if (Deno.args[0] !== "inside") {
  const { stdout, stderr } = run("unshare", "-m", Deno.execPath(), "run", "-A", "--no-config", "--quiet", import.meta.filename, "inside");
  await Deno.stdout.write(stdout);
  await Deno.stderr.write(stderr);
  Deno.exit(0);
}
const hosts = Deno.makeTempFileSync();
const names = Array.from({ length: 1100 }, (_, i) => "n" + i);
Deno.writeTextFileSync(hosts, "127.0.0.1 both four\\n::1 both six\\n" + names.map((name) => "127.0.0.1 " + name + "\\n").join(""));
run("mount", "--bind", hosts, "/etc/hosts");
const { Destinations } = await import(${
      JSON.stringify(new URL("../_destinations.ts", import.meta.url).href)
    });
const find = async (family, hostname) => {
  try { return (await new Destinations(family).find({ hostname, port: 9 }, 1)).hostname; }
  catch (error) { return error.code; }
};
for (const family of [4, 6]) {
  for (const name of ["both", "four", "six"]) console.log(family, name, await find(family, name));
}
// More names at once than are remembered: the first is forgotten, the last is not.
const four = new Destinations(4);
await Promise.all(names.map((hostname) => four.find({ hostname, port: 9 }, 1)));
console.log(four.find({ hostname: "n0", port: 9 }, 1) instanceof Promise, four.find({ hostname: "n1099", port: 9 }, 1).hostname);
`;
    const { code, stdout, stderr } = await runDeno(["-A"], source);
    if (/unshare|Operation not permitted/.test(stderr)) return;
    assertEquals({ code, stdout, stderr }, {
      code: 0,
      stdout: `4 both 127.0.0.1
4 four 127.0.0.1
4 six EAFNOSUPPORT
6 both ::1
6 four 127.0.0.1
6 six ::1
true 127.0.0.1
`,
      stderr: "",
    });
  },
});
