/**
 * A file whose transfer is killed again and again, the sender and the receiver in turns, and resumed until it
 * is whole. What goes over the wire is counted between them.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { copy } from "../../io.ts";
import { connectTcp, listenTcp, type TcpConn } from "../../tcp.ts";
import { commandPath } from "../interop/_peers.ts";
import type { Program } from "../_process.ts";
import { linesOf, startProgram } from "../_programs.ts";

const SIZE = 200 * 2 ** 20;

const KILLS = 10;

/** Where it is killed at the latest: what sockets hold then does not make it whole behind a kill. */
const LAST = 0.8 * SIZE;

/** Random bytes in a file. */
async function makeFile(path: string): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true });
  const chunk = new Uint8Array(65536);
  for (let made = 0; made < SIZE; made += chunk.length) {
    crypto.getRandomValues(chunk);
    await file.write(chunk);
  }
}

/** The checksum of a file, as the system's own command has it. */
async function checksum(path: string): Promise<string> {
  const { success, stdout } = await new Deno.Command(commandPath("sha256sum"), {
    args: [path],
  }).output();
  assert(success);
  return new TextDecoder().decode(stdout).slice(0, 64);
}

/** The most memory that a process has had, in bytes. */
function peak(pid: number): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]);
}

/** Whether a file is there. */
function isThere(path: string): boolean {
  try {
    return Deno.lstatSync(path).isFile;
  } catch {
    return false;
  }
}

/** Between a sender and a receiver: passes everything on, and tells how much of it there was. */
class Wire implements AsyncDisposable {
  readonly address: string;
  readonly done: Promise<unknown>;
  readonly #listener: Awaited<ReturnType<typeof listenTcp>>;
  readonly #conns: TcpConn[] = [];
  bytes = 0;

  private constructor(
    listener: Awaited<ReturnType<typeof listenTcp>>,
    port: number,
    onBytes: (bytes: number) => void,
  ) {
    this.#listener = listener;
    this.address = `127.0.0.1:${listener.addr.port}`;
    this.done = this.#pass(port, onBytes).catch(() => {});
  }

  static async to(
    address: string,
    onBytes: (bytes: number) => void,
  ): Promise<Wire> {
    return new Wire(
      await listenTcp({ hostname: "127.0.0.1", port: 0 }),
      Number(address.split(":")[1]),
      onBytes,
    );
  }

  async #pass(port: number, onBytes: (bytes: number) => void): Promise<void> {
    const sender = await this.#listener.accept();
    const receiver = await connectTcp({ hostname: "127.0.0.1", port });
    this.#conns.push(sender, receiver);
    const oneWay = async (
      from: TcpConn,
      to: TcpConn,
      onProgress: (bytes: number) => void,
    ) => {
      // One side that is killed ends the other, as it would without a wire.
      try {
        await copy(from, to, { onProgress });
        await to.closeWrite();
      } catch {
        from.close();
        to.close();
      }
    };
    await Promise.all([
      oneWay(sender, receiver, (bytes) => onBytes(this.bytes = bytes)),
      oneWay(receiver, sender, () => {}),
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listener[Symbol.asyncDispose]();
    for (const conn of this.#conns) conn.close();
    await this.done;
  }
}

Deno.test({
  name:
    "a transfer that is killed ten times is whole in the end, and never half under its name",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const folder = await Deno.makeTempDir();
    const source = `${folder}/notes.txt`;
    const target = `${folder}/inbox/notes.txt`;
    await Deno.mkdir(`${folder}/inbox`);
    await makeFile(source);
    const sum = await checksum(source);
    let wired = 0;
    let killed = 0;
    let looks = 0;
    let early = 0;
    let memory = 0;

    /** One try to send the file; the victim is killed when `until` bytes have gone over the wire. */
    async function attempt(
      until: number,
      victim: "sender" | "receiver" | undefined,
    ): Promise<void> {
      await using receiver = startProgram(
        "file_receive",
        ["inbox", "127.0.0.1:0"],
        folder,
      );
      const line = await receiver.line();
      const address = /^listening on (.*)$/.exec(line)![1]!;
      const programs: Partial<Record<"sender" | "receiver", Program>> = {
        receiver,
      };
      let isKilled = false;
      await using wire = await Wire.to(address, (bytes) => {
        if (victim === undefined || isKilled) return;
        // Whatever comes now, the name must not be there: not all has been sent.
        looks++;
        if (isThere(target)) early++;
        if (bytes < until) return;
        isKilled = true;
        memory = Math.max(
          memory,
          ...Object.values(programs).map(({ pid }) => peak(pid)),
        );
        programs[victim]!.kill("SIGKILL");
      });
      await using sender = startProgram(
        "file_send",
        ["--resume", wire.address, "notes.txt"],
        folder,
      );
      programs.sender = sender;
      const [sent, received] = await Promise.all([
        sender.ended(),
        receiver.ended(),
      ]);
      await wire.done;
      wired += wire.bytes;
      if (victim === undefined) {
        linesOf(received);
        assertMatch(linesOf(sent)[0]!, /^notes\.txt: 209715200 bytes/);
        return;
      }
      assert(isKilled, `${sent.stderr}${received.stderr}`);
      killed++;
      const [dead, other] = victim === "sender"
        ? [sent, received]
        : [received, sent];
      assertEquals(dead.signal, "SIGKILL");
      assertEquals(other.code, 1);
      assertMatch(
        other.stderr,
        /^error: notes\.txt: the (sender|receiver) is gone.*\n$/,
      );
      assert(!isThere(target));
    }

    // Ten random points of the file, in their order: each try comes to the next one.
    const points = Array.from(
      { length: KILLS },
      () => Math.floor(Math.random() * LAST),
    ).sort((a, b) => a - b);
    const partSize = async () => {
      const part = `${folder}/inbox/.notes.txt.part`;
      return isThere(part) ? (await Deno.stat(part)).size : 0;
    };
    for (const [i, point] of points.entries()) {
      const left = Math.max(point - await partSize(), 1000);
      await attempt(left, i % 2 === 0 ? "sender" : "receiver");
    }
    await attempt(0, undefined);

    assertEquals([killed, early], [KILLS, 0]);
    assertEquals(await checksum(target), sum);
    const names = [];
    for await (const { name } of Deno.readDir(`${folder}/inbox`)) {
      names.push(name);
    }
    assertEquals(names, ["notes.txt"]);
    // The runtime and a few chunks, but not the file.
    assert(memory < SIZE, `${memory} bytes of memory`);
    console.log(
      `${KILLS} kills, ${
        wired - SIZE
      } bytes sent again or besides the file, ${looks} looks, ${
        Math.round(memory / 2 ** 20)
      } MiB of memory at most`,
    );
    await Deno.remove(folder, { recursive: true });
  },
});
