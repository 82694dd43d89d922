/** The Redis client against redis-server: over TCP and Unix sockets, in both versions of the protocol. */

import { assert, assertEquals } from "@std/assert";
import { connectTcp } from "../../tcp.ts";
import { connectUnix } from "../../unix.ts";
import { pattern, text } from "../_bytes.ts";
import { type Ended, Program } from "../_process.ts";
import { commandOf, linesOf, startProgram } from "../_programs.ts";
import { type Service, startService } from "./_peers.ts";

const startRedis = (): Promise<Service> =>
  startService(
    "redis-server",
    (port, folder) => [
      "--port",
      `${port}`,
      "--bind",
      "127.0.0.1",
      "--save",
      "",
      "--dir",
      folder,
      "--unixsocket",
      `${folder}/redis.sock`,
      "--daemonize",
      "no",
      "--enable-debug-command",
      "local",
    ],
    async (port, folder) => {
      (await connectTcp({ port })).close();
      (await connectUnix({ path: `${folder}/redis.sock` })).close();
    },
  );

/** How the program is run for a server, up to its own arguments. */
const overTcp = ({ port }: Service): string[] => [
  ...commandOf("redis_client"),
  "--server",
  `127.0.0.1:${port}`,
];
const overUnix = ({ folder }: Service): string[] => [
  ...commandOf("redis_client", [
    "--allow-net",
    `--allow-read=${folder}/redis.sock`,
    `--allow-write=${folder}/redis.sock`,
  ]),
  "--server",
  `unix:${folder}/redis.sock`,
];

/** Sends lines, and gives what comes of them. */
async function talk(
  [command, ...args]: readonly string[],
  ...lines: string[]
): Promise<Ended> {
  await using program = new Program(command!, args);
  await program.send(lines.join("\n"));
  return await program.ended();
}

/** Sends bytes, and gives those that come of them. */
async function talkBytes(
  [command, ...args]: readonly string[],
  input: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array> {
  const child = new Deno.Command(command!, {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  // Both ways at once: it prints while it reads.
  const [{ code, stdout, stderr }] = await Promise.all([
    child.output(),
    new Blob([input]).stream().pipeTo(child.stdin),
  ]);
  assertEquals([code, text(stderr)], [0, ""]);
  return stdout;
}

for (const [kind, over] of [["TCP", overTcp], ["Unix", overUnix]] as const) {
  Deno.test(`redis over ${kind}: texts, lists, hashes and transactions`, async () => {
    await using service = await startRedis();
    assertEquals(
      linesOf(
        await talk(
          over(service),
          'SET k "a \\"b\\" \\x00\\xff"',
          "GET k",
          "GET nothing",
          "RPUSH l one 'two words' \"\"",
          "LRANGE l 0 -1",
          "HSET h x 1 y 2",
          "HGETALL h",
          "MULTI",
          "INCR n",
          "LRANGE l 0 0",
          "EXEC",
          "KEYS none*",
          'EVAL "return {1, {2, {}}}" 0',
        ),
      ),
      [
        "OK",
        '"a \\"b\\" \\x00\\xff"',
        "(nil)",
        "(integer) 3",
        '1) "one"',
        '2) "two words"',
        '3) ""',
        "(integer) 2",
        '1) "x"',
        '2) "1"',
        '3) "y"',
        '4) "2"',
        "OK",
        "QUEUED",
        "QUEUED",
        "1) (integer) 1",
        '2) 1) "one"',
        "(empty array)",
        "1) (integer) 1",
        "2) 1) (integer) 2",
        "   2) (empty array)",
      ],
    );
    const [command, ...args] = over(service);
    await using program = new Program(command!, [
      ...args,
      "--raw",
      "--",
      "LRANGE",
      "l",
      "-2",
      "-1",
    ]);
    assertEquals((await program.ended()).stdout, "two words\n\n");
  });

  Deno.test(`redis over ${kind}: errors are told, and what follows them goes on`, async () => {
    await using service = await startRedis();
    const { code, stdout, stderr } = await talk(
      over(service),
      "SET k a",
      "INCR k",
      "MULTI",
      "LPOP k",
      "GET k",
      "EXEC",
      "NOSUCH",
      "PING",
    );
    assertEquals({ code, stderr }, { code: 1, stderr: "" });
    const lines = stdout.trimEnd().split("\n");
    const wrongType = "(error) WRONGTYPE Operation against a key";
    assertEquals(lines.map((line) => line.slice(0, 44)), [
      "OK",
      "(error) ERR value is not an integer or out o",
      "OK",
      "QUEUED",
      "QUEUED",
      `1) ${wrongType}`,
      '2) "a"',
      "(error) ERR unknown command 'NOSUCH', with a",
      "PONG",
    ]);
  });

  Deno.test(`redis over ${kind}: a mebibyte of any bytes, there and back`, async () => {
    await using service = await startRedis();
    const bytes = pattern(2 ** 20);
    const hex = bytes.toHex().replace(/../g, "\\x$&");
    const lines = [`SET k "${hex}"`, "STRLEN k", "GET k", `ECHO "${hex}"`];
    const input = new TextEncoder().encode(lines.join("\n"));
    const output = await talkBytes([...over(service), "--raw"], input);
    const before = "OK\n1048576\n";
    assertEquals(text(output.subarray(0, before.length)), before);
    // Compared as they are: to show how they differ takes too long.
    const at = before.length;
    assertEquals(output.length, at + 2 * (bytes.length + 1));
    for (const start of [at, at + bytes.length + 1]) {
      const part = output.subarray(start, start + bytes.length);
      assert(part.every((byte, i) => byte === bytes[i]));
    }
  });

  Deno.test(`redis over ${kind}: ten thousand commands on their way`, async () => {
    await using service = await startRedis();
    const lines = Array.from(
      { length: 10_000 },
      (_, i) => i % 2 === 0 ? "INCR n" : `ECHO ${i}`,
    );
    assertEquals(
      linesOf(await talk(over(service), ...lines)),
      lines.map((_, i) => i % 2 === 0 ? `(integer) ${i / 2 + 1}` : `"${i}"`),
    );
  });

  Deno.test(`redis over ${kind}: every type of RESP3`, async () => {
    await using service = await startRedis();
    const types = [
      "string",
      "integer",
      "double",
      "null",
      "array",
      "set",
      "map",
      "attrib",
      "push",
      "verbatim",
      "true",
      "false",
      "bignum",
    ];
    assertEquals(
      linesOf(
        await talk(
          [...over(service), "--resp3"],
          ...types.map((type) => `DEBUG PROTOCOL ${type}`),
          "HSET h x 1 y 2",
          "HGETALL h",
          "SADD s a",
          "SMEMBERS s",
          "ZADD z 1.5 a",
          "ZRANGE z 0 -1 WITHSCORES",
          "GET nothing",
        ),
      ),
      [
        '"Hello World"',
        "(integer) 12345",
        "(double) 3.141",
        "(nil)",
        "1) (integer) 0",
        "2) (integer) 1",
        "3) (integer) 2",
        "1~ (integer) 0",
        "2~ (integer) 1",
        "3~ (integer) 2",
        "1# (integer) 0 => (false)",
        "2# (integer) 1 => (true)",
        "3# (integer) 2 => (false)",
        '"Some real reply following the attribute"',
        '1> "server-cpu-usage"',
        "2> (integer) 42",
        '"Some real reply following the push reply"',
        '"This is a verbatim\\nstring"',
        "(true)",
        "(false)",
        "(big number) 1234567999999999999999999999999999999",
        "(integer) 2",
        '1# "x" => "1"',
        '2# "y" => "2"',
        "(integer) 1",
        '1~ "a"',
        "(integer) 1",
        '1) 1) "a"',
        "   2) (double) 1.5",
        "(nil)",
      ],
    );
  });
}

for (const flags of [[], ["--resp3"]]) {
  Deno.test(`redis: messages come until the client quits, ${flags[0] ?? "in RESP2"}`, async () => {
    await using service = await startRedis();
    const server = ["--server", `127.0.0.1:${service.port}`];
    await using listener = startProgram("redis_client", [...server, ...flags]);
    const mark = flags.length > 0 ? ">" : ")";
    const message = async (...words: string[]) => {
      for (const [i, word] of words.entries()) {
        assertEquals(await listener.line(), `${i + 1}${mark} ${word}`);
      }
    };
    await listener.send("SUBSCRIBE news");
    await message('"subscribe"', '"news"', "(integer) 1");
    const lines = Array.from(
      { length: 3 },
      (_, i) => `PUBLISH news "no. ${i}"`,
    );
    assertEquals(
      linesOf(await talk(overTcp(service), ...lines)),
      lines.map(() => "(integer) 1"),
    );
    for (let i = 0; i < 3; i++) {
      await message('"message"', '"news"', `"no. ${i}"`);
    }
    await listener.send("QUIT");
    assertEquals(linesOf(await listener.ended()), ["OK"]);
  });
}
