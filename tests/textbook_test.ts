/** The programs of the textbooks, against themselves and against their twins in python3. */

import { assertEquals } from "@std/assert";
import { Program, startPython } from "./_process.ts";

const SERVER = `
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen(5)
print(f"listening on port {server.getsockname()[1]}")
while True:
    conn, address = server.accept()
    print(f"connection from {address[0]}")
    while True:
        data = conn.recv(1024)
        if not data: break
        conn.sendall(data)
    conn.close()
    print("connection closed")
`;

const CLIENT = `
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect(("127.0.0.1", int(sys.argv[1])))
print("connected; end with an empty input (Ctrl+D)")
for line in sys.stdin:
    line = line.rstrip("\\n")
    if line == "":
        print("nothing to send: type some text")
        continue
    message = line.encode()
    client.sendall(message)
    answer = b""
    while len(answer) < len(message):
        data = client.recv(1024)
        if not data: raise EOFError
        answer += data
    print(f"echo: {answer.decode()}")
client.close()
`;

/** Starts one of the examples with no more than the net. */
function start(name: string, port: string): Program {
  return new Program(Deno.execPath(), [
    "run",
    "--no-prompt",
    "--quiet",
    "--allow-net",
    new URL(`../examples/textbook/${name}.ts`, import.meta.url).pathname,
    port,
  ], new URL("..", import.meta.url).pathname);
}

type Start = (port: string) => Program | Promise<Program>;

const servers: [string, Start][] = [
  ["tcp_echo_server", (port) => start("tcp_echo_server", port)],
  ["select_server", (port) => start("select_server", port)],
  ["python's twin", (port) => startPython(SERVER, port)],
];

const clients: [string, Start][] = [
  ["tcp_echo_client", (port) => start("tcp_echo_client", port)],
  ["python's twin", (port) => startPython(CLIENT, port)],
];

for (const [serverName, startServer] of servers) {
  for (const [clientName, startClient] of clients) {
    Deno.test(`${clientName} talks to ${serverName}`, async () => {
      await using server = await startServer("0");
      const port = /^listening on port (\d+)$/.exec(await server.line())![1]!;
      // An iterative server takes the second client when the first is gone.
      for (let i = 0; i < 2; i++) {
        await using client = await startClient(port);
        assertEquals(
          await client.line(),
          "connected; end with an empty input (Ctrl+D)",
        );
        for (const line of ["hello", "", "ünï ".repeat(600)]) {
          await client.send(line);
          assertEquals(
            await client.line(),
            line === "" ? "nothing to send: type some text" : `echo: ${line}`,
          );
        }
        const { code, stdout, stderr } = await client.ended();
        assertEquals({ code, stdout, stderr }, {
          code: 0,
          stdout: "",
          stderr: "",
        });
      }
      const said = [];
      for (let i = 0; i < 4; i++) said.push(await server.line());
      assertEquals(
        said,
        serverName === "select_server"
          ? ["1 clients", "0 clients", "1 clients", "0 clients"]
          : [
            "connection from 127.0.0.1",
            "connection closed",
            "connection from 127.0.0.1",
            "connection closed",
          ],
      );
    });
  }
}

Deno.test("select_server serves several clients at once", async () => {
  await using server = start("select_server", "0");
  const port = /\d+$/.exec(await server.line())![0];
  await using one = start("tcp_echo_client", port);
  await one.line();
  await using two = await startPython(CLIENT, port);
  await two.line();
  for (const [client, line] of [[two, "b"], [one, "a"], [two, "c"]] as const) {
    await client.send(line);
    assertEquals(await client.line(), `echo: ${line}`);
  }
});
