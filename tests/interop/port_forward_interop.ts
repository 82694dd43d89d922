/** The port forwarder between programs that nobody here wrote: curl and nginx, Redis, socat. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { connectTcp } from "../../tcp.ts";
import { connectUnix } from "../../unix.ts";
import { pattern } from "../_bytes.ts";
import { tempPath } from "../_pairs.ts";
import { type Ended, Program } from "../_process.ts";
import { commandOf, commandsOf, ROOT } from "../_programs.ts";
import { checksum } from "./_checksum.ts";
import {
  commandPath,
  type Service,
  startPeer,
  startService,
} from "./_peers.ts";

/** A forwarder, and its port, or 0 where it listens on a path. */
async function forward(
  listen: string,
  target: string,
  folder?: string,
): Promise<{ port: number; program: Program } & AsyncDisposable> {
  const flags = commandsOf("port_forward")[folder === undefined ? 0 : 1];
  const [command, ...rest] = commandOf("port_forward", flags);
  const program = new Program(
    command!,
    [...rest, listen, target],
    folder ?? ROOT,
  );
  const line = await program.line();
  const port = Number(/:(\d+) to /.exec(line)?.[1] ?? 0);
  return {
    port,
    program,
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** A forwarder to a service on TCP. */
const forwardTo = ({ port }: Service) =>
  forward("127.0.0.1:0", `127.0.0.1:${port}`);

/** Ends a forwarder: every connection had a target, and nothing was told. */
async function stop({ program }: { program: Program }): Promise<string> {
  program.kill("SIGTERM");
  const { code, stdout, stderr } = await program.ended();
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, / 0 without a target, .* 0 idle, 0 cut off\n/);
  assertMatch(stdout, /\n0 refused, 0 denied, /);
  return stdout;
}

/** Runs a command to its end. */
async function run(
  command: string,
  args: readonly string[],
  cwd?: string,
): Promise<Ended> {
  await using program = startPeer(command, args, cwd);
  return await program.ended();
}

/** What a file's bytes are told apart by. */
async function checksumOf(path: string): Promise<string> {
  return await checksum(await Deno.readFile(path));
}

const connects = async (port: number) =>
  (await connectTcp({ hostname: "127.0.0.1", port })).close();

// nginx and curl

const FILE = pattern(10 * 2 ** 20);

/** A web server that has `file`, and needs nothing outside of its folder. */
function startNginx(): Promise<Service> {
  return startService("nginx", async (port, folder) => {
    await Deno.mkdir(`${folder}/root`);
    await Deno.writeFile(`${folder}/root/file`, FILE);
    const temps = ["client_body", "proxy", "fastcgi", "scgi", "uwsgi"]
      .map((name) => `${name}_temp_path ${folder}/${name};`);
    await Deno.writeTextFile(
      `${folder}/nginx.conf`,
      `daemon off;
# One process, of whoever runs it: root's own workers would be somebody else's.
master_process off;
pid ${folder}/pid;
error_log stderr error;
events { worker_connections 256; }
http {
  access_log off;
  ${temps.join("\n  ")}
  server {
    listen 127.0.0.1:${port};
    root ${folder}/root;
  }
}
`,
    );
    return ["-p", folder, "-c", `${folder}/nginx.conf`, "-e", "stderr"];
  }, connects);
}

Deno.test("curl and nginx: a file of 10 MiB arrives whole", async () => {
  await using nginx = await startNginx();
  await using through = await forwardTo(nginx);
  await using temp = await tempPath();
  const { code, stdout, stderr } = await run("curl", [
    ...["-sS", "--fail", "--output", temp.path],
    ...["--write-out", "%{http_code} %{size_download}"],
    `http://127.0.0.1:${through.port}/file`,
  ]);
  assertEquals([code, stdout, stderr], [0, `200 ${FILE.length}`, ""]);
  assertEquals(await checksumOf(temp.path), await checksum(FILE));
  assertMatch(await stop(through), /^1 connections: 1 complete, /);
});

Deno.test("curl and nginx: a connection that is kept alive takes several requests", async () => {
  await using nginx = await startNginx();
  await using through = await forwardTo(nginx);
  const url = `http://127.0.0.1:${through.port}`;
  await using temp = await tempPath();
  const output = ["--output", temp.path];
  const { code, stdout, stderr } = await run("curl", [
    "-sS",
    ...["--write-out", "%{http_code} %{num_connects}\\n"],
    ...[...output, `${url}/file`, ...output, `${url}/none`],
    ...[...output, `${url}/file`],
  ]);
  assertEquals([code, stderr], [0, ""]);
  assertEquals(stdout, "200 1\n404 0\n200 0\n");
  assertEquals(await checksumOf(temp.path), await checksum(FILE));
  assertMatch(await stop(through), /^1 connections: 1 complete, /);
});

Deno.test("curl and nginx: 20 requests at once", async () => {
  await using nginx = await startNginx();
  await using through = await forwardTo(nginx);
  await using temp = await tempPath();
  const { code, stdout, stderr } = await run("curl", [
    ...[
      "-sS",
      "--no-progress-meter",
      "--parallel",
      "--parallel-immediate",
      "--parallel-max",
      "20",
    ],
    ...["--write-out", "%{http_code} %{num_connects}\\n"],
    ...Array.from(
      { length: 20 },
      (_, i) => [
        "--output",
        `${temp.path}${i}`,
        `http://127.0.0.1:${through.port}/file?${i}`,
      ],
    ).flat(),
  ]);
  assertEquals([code, stderr], [0, ""]);
  assertEquals(stdout, "200 1\n".repeat(20));
  const expected = await checksum(FILE);
  for (let i = 0; i < 20; i++) {
    assertEquals(await checksumOf(`${temp.path}${i}`), expected);
  }
  assertMatch(await stop(through), /^20 connections: 20 complete, /);
});

// Redis

Deno.test("redis-benchmark and redis-server: no errors", async () => {
  await using redis = await startService(
    "redis-server",
    (port) => [
      ...["--port", `${port}`, "--bind", "127.0.0.1"],
      ...["--save", "", "--appendonly", "no"],
    ],
    connects,
  );
  await using through = await forwardTo(redis);
  const tests = ["PING_INLINE", "SET", "GET", "LPUSH", "LRANGE_100"];
  for (
    // One by one, with large values, and many on their way at once.
    const args of [["-c", "1"], ["-c", "20", "-d", "20000"], ["-P", "16"]]
  ) {
    const { code, stdout, stderr } = await run("redis-benchmark", [
      ...["-h", "127.0.0.1", "-p", `${through.port}`, "-q", "-n", "400"],
      ...["-t", tests.join(",").toLowerCase(), ...args],
    ]);
    assertEquals([code, stderr], [0, ""]);
    // It redraws its lines; the last of each is the result.
    const results = stdout.split(/[\r\n]+/)
      .filter((line) => line.includes("requests per second"));
    for (const test of tests) {
      assert(results.some((line) => line.startsWith(test)), stdout);
    }
    assertEquals(/error/i.exec(stdout), null);
  }
  // Those who measure may reset what they need no more.
  assertMatch(await stop(through), /^\d+ connections: \d+ complete, /);
});

// socat

/** A service of socat's that sends back what it gets. */
const startEcho = (
  address: (port: number, folder: string) => string,
  isThere: (port: number, folder: string) => Promise<unknown>,
) =>
  startService(
    "socat",
    (port, folder) => [address(port, folder), "EXEC:cat"],
    isThere,
  );

/** Sends a file by socat, and compares what comes back. */
async function assertEchoed(address: string, cwd: string): Promise<void> {
  const file = pattern(3 * 2 ** 20, 5);
  await Deno.writeFile(`${cwd}/in`, file);
  // The end of the file is passed on; the rest of the answer has as long as it needs.
  const { code, stdout, stderr } = await run("sh", [
    ...["-c", `exec "$1" -t 60 - "$2" <in >out`, "sh"],
    ...[commandPath("socat"), address],
  ], cwd);
  assertEquals([code, stdout, stderr], [0, "", ""]);
  assertEquals(await checksumOf(`${cwd}/out`), await checksum(file));
}

Deno.test("socat on both sides: TCP to Unix, and a half-close", async () => {
  await using echo = await startEcho(
    (_, folder) => `UNIX-LISTEN:${folder}/back.sock,fork`,
    async (_, folder) =>
      (await connectUnix({ path: `${folder}/back.sock` })).close(),
  );
  await using through = await forward(
    "127.0.0.1:0",
    "unix:back.sock",
    echo.folder,
  );
  await assertEchoed(`TCP:127.0.0.1:${through.port}`, echo.folder);
  assertMatch(
    await stop(through),
    /^1 connections: 1 complete, .*\n3145728 bytes there, 3145728 back\n/,
  );
});

Deno.test("socat on both sides: Unix to TCP, and a half-close", async () => {
  await using echo = await startEcho(
    (port) => `TCP-LISTEN:${port},bind=127.0.0.1,reuseaddr,fork`,
    connects,
  );
  await using through = await forward(
    "unix:front.sock",
    `127.0.0.1:${echo.port}`,
    echo.folder,
  );
  await assertEchoed("UNIX-CONNECT:front.sock", echo.folder);
  assertMatch(
    await stop(through),
    /^1 connections: 1 complete, .*\n3145728 bytes there, 3145728 back\n/,
  );
});
