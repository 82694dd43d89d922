/** What the programs share: the command line, waiting, and errors of one line. */

import { parseArgs } from "@std/cli/parse-args";
import {
  connectTcp,
  connectUnix,
  errorCode,
  listenTcp,
  listenUnix,
  parseAddr,
  type StreamConn,
  type StreamListener,
  type TcpAddr,
  type UnixAddr,
} from "@berkeley/sockets";

/** Where a program listens or connects. */
export type Target =
  | {
    readonly kind: "tcp" | "udp";
    readonly hostname: string;
    readonly port: number;
  }
  | { readonly kind: "unix" | "unixgram"; readonly path: string };

/** What the command line says. */
export interface Args {
  readonly target: Target;
  /** Messages given behind the address. */
  readonly rest: readonly string[];
}

/** An address that a transport has when none is given. */
const DEFAULTS: Readonly<Record<string, string>> = {
  tcp: "127.0.0.1:7007",
  tcp6: "[::1]:7007",
  udp: "127.0.0.1:7007",
  udp6: "[::1]:7007",
  unix: "echo.sock",
  unixgram: "echo-gram.sock",
};

/** Which transports there are, and how their addresses look. */
export const TRANSPORTS =
  `  tcp, udp        HOST:PORT, by default 127.0.0.1:7007
  tcp6, udp6      [HOST]:PORT, by default [::1]:7007
  unix, unixgram  PATH or @NAME, by default echo.sock and echo-gram.sock;
                  unixgram needs --unstable-net`;

/** What the command line has: words, options with a value, and flags. */
export interface Line {
  readonly words: readonly string[];
  /** An option's value, if it is given. */
  text(name: string): string | undefined;
  /** Whether a flag is given. */
  has(name: string): boolean;
  /** An option's value, or what it is by default; ends the program for what is no integer in its range. */
  integer(name: string, preset: number, min: number, max: number): number;
}

/**
 * Reads the command line, or ends the program: with the help, or with what is wrong.
 *
 * @param help What `--help` prints.
 * @param options The options that take a value, with a letter for each.
 * @param flags The options that take none.
 * @param stopEarly Whether options stand before the first word only.
 */
export function readLine(
  help: string,
  options: Readonly<Record<string, string>> = {},
  flags: Readonly<Record<string, string>> = {},
  stopEarly = false,
): Line {
  const alias = Object.fromEntries(
    Object.entries({ ...options, ...flags })
      .map(([name, letter]) => [letter, name]),
  );
  const args: Record<string, unknown> & { _: unknown[] } = parseArgs(
    Deno.args,
    {
      boolean: ["help", ...Object.keys(flags)],
      alias: { ...alias, h: "help" },
      string: ["_", ...Object.keys(options)],
      collect: Object.keys(options),
      stopEarly,
      unknown: (arg, key) => {
        if (key !== undefined) fail(`unknown option ${arg}; see --help`);
        return true;
      },
    },
  );
  if (args["help"] === true) {
    console.log(help);
    Deno.exit(0);
  }
  const textOf = (name: string): string | undefined => {
    const [value, ...more] = args[name] as string[];
    if (more.length > 0) fail(`--${name} once, please`);
    if (value === "") fail(`--${name} needs a value; see --help`);
    return value;
  };
  return {
    words: args._.map(String),
    text: textOf,
    has: (name) => args[name] === true,
    integer(name, preset, min, max) {
      const text = textOf(name);
      if (text === undefined) return preset;
      const value = /^\d+$/.test(text) ? Number(text) : NaN;
      if (value >= min && value <= max) return value;
      fail(
        `invalid --${name} ${text}: expected an integer from ${min} to ${max}`,
      );
    },
  };
}

/** Reads a transport and an address, or ends the program. */
export function readArgs(help: string): Args {
  const [transport = "tcp", address, ...rest] = readLine(help).words;
  const preset = DEFAULTS[transport];
  if (preset === undefined) {
    fail(
      `unknown transport ${transport}; expected ${
        Object.keys(DEFAULTS).join(", ")
      }`,
    );
  }
  try {
    return { target: toTarget(transport, address ?? preset), rest };
  } catch (error) {
    fail(messageOf(error));
  }
}

/** Where a stream goes to or comes from. */
export type StreamAddr = TcpAddr | (UnixAddr & { readonly path: string });

/** Reads an address of a stream, `HOST:PORT` or `unix:PATH`, or ends the program. */
export function readStreamAddr(text: string): StreamAddr {
  try {
    const addr = parseAddr(text, { transport: "tcp" });
    if (addr.transport === "tcp") return addr;
    if (addr.transport === "unix") return { ...addr, path: addr.path! };
  } catch (error) {
    fail(messageOf(error));
  }
  fail(`${text} is no address of a stream; expected HOST:PORT or unix:PATH`);
}

/** Connects to an address of a stream. */
export function connectStream(
  addr: StreamAddr,
  options: { timeout?: number; signal?: AbortSignal } = {},
): Promise<StreamConn> {
  return addr.transport === "tcp"
    ? connectTcp({ ...addr, ...options })
    : connectUnix({ ...addr, ...options });
}

/** Listens on an address of streams. */
export function listenStream(
  addr: StreamAddr,
): Promise<StreamListener> {
  return addr.transport === "tcp" ? listenTcp(addr) : listenUnix(addr);
}

/** Tells when the program is to stop: SIGINT (Ctrl+C) or SIGTERM has come. */
export class Stop implements Disposable {
  readonly #stopping = new AbortController();
  readonly #signals: readonly Deno.Signal[] = Deno.build.os === "windows"
    ? ["SIGINT"]
    : ["SIGINT", "SIGTERM"];

  constructor() {
    for (const signal of this.#signals) {
      Deno.addSignalListener(signal, this.now);
    }
  }

  get signal(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Stops, as if a signal had come. */
  readonly now = (): void => this.#stopping.abort();

  /** Lets the program end. */
  [Symbol.dispose](): void {
    for (const signal of this.#signals) {
      Deno.removeSignalListener(signal, this.now);
    }
  }
}

function toTarget(transport: string, text: string): Target {
  if (transport === "unix" || transport === "unixgram") {
    const addr = parseAddr(
      text.startsWith(`${transport}:`) ? text : `${transport}:${text}`,
    );
    return { kind: transport, path: (addr as { path: string }).path };
  }
  const kind = transport.startsWith("tcp") ? "tcp" : "udp";
  const addr = parseAddr(text, { transport: kind });
  if (addr.transport !== kind) {
    throw new TypeError(
      `Invalid address: ${text} is not one of ${kind.toUpperCase()}`,
    );
  }
  if (transport.endsWith("6") && !addr.hostname.includes(":")) {
    throw new TypeError(`Invalid address: ${text} is not one of IPv6`);
  }
  return { kind, hostname: addr.hostname, port: addr.port };
}

/** The line that says what went wrong: of the system's errors with their names in the place of numbers. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = errorCode(error);
  return code === undefined
    ? error.message
    : error.message.replace(/\(os error \d+\)/, `(${code})`);
}

/** A text of one line, without anything that a terminal obeys. */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (char) => `\\u{${char.codePointAt(0)!.toString(16)}}`,
  );
}

/** Says what is wrong in one line and ends the program. */
export function fail(message: string): never {
  console.error(`error: ${printable(message)}`);
  Deno.exit(1);
}

/** Runs a program; what can go wrong with sockets becomes one line, a bug stays a stack. */
export async function run(program: () => Promise<void>): Promise<void> {
  try {
    await program();
  } catch (error) {
    if (errorCode(error) === undefined && !(error instanceof RangeError)) {
      throw error;
    }
    fail(messageOf(error));
  }
}

/** Waits, unless it is told to stop. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
