/** Programs that nobody here wrote, as peers: each must be there, and runs on this machine's loopback. */

import { tempPath } from "../_pairs.ts";
import { freePort } from "../_ports.ts";
import { Program } from "../_process.ts";

/** Which Debian package has a command. */
const PACKAGES = new Map([
  ["curl", "curl"],
  ["dnsmasq", "dnsmasq-base"],
  ["logger", "bsdutils"],
  ["memcached", "memcached"],
  ["nc.openbsd", "netcat-openbsd"],
  ["ncat", "ncat"],
  ["nginx", "nginx-light"],
  ["python3", "python3"],
  ["redis-benchmark", "redis-tools"],
  ["redis-server", "redis-server"],
  ["sha256sum", "coreutils"],
  ["socat", "socat"],
]);

/** Where commands are: where packages have them, some of which only root has on its path, then on the path. */
const FOLDERS = [
  ...["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"],
  ...(Deno.env.get("PATH") ?? "").split(":").filter((folder) => folder !== ""),
];

/** Whether there is a file that can be executed. */
function isCommand(path: string): boolean {
  try {
    const { isFile, mode } = Deno.statSync(path);
    return isFile && (mode! & 0o111) !== 0;
  } catch {
    return false;
  }
}

/**
 * Where a command is.
 *
 * @param command Its name.
 * @param folders Where it is looked for, in this order.
 * @throws {Error} If it is missing: it names the package that has it.
 */
export function commandPath(
  command: string,
  folders: readonly string[] = FOLDERS,
): string {
  for (const folder of folders) {
    const path = `${folder}/${command}`;
    if (isCommand(path)) return path;
  }
  const package_ = PACKAGES.get(command);
  throw new Error(
    `${command} is missing` +
      (package_ === undefined
        ? ", and no package of it is known"
        : `: apt-get install ${package_}`),
  );
}

/** Starts a command that must be there. Leaving its block ends it. */
export function startPeer(
  command: string,
  args: readonly string[],
  cwd?: string,
): Program {
  return new Program(commandPath(command), [...args], cwd);
}

/** A service on a port of its own and with a folder of its own, which is removed when it ends. */
export interface Service extends AsyncDisposable {
  readonly port: number;
  readonly folder: string;
  readonly program: Program;
}

/** How often a service is asked whether it is there yet: every 20 ms for 10 seconds. */
const TRIES = 500;

/**
 * Starts a service, and waits until it answers.
 *
 * @param command Its command.
 * @param args Its arguments, made of its port and its folder.
 * @param isThere Tells whether it answers by now; an error counts as a no.
 */
export async function startService(
  command: string,
  args: (port: number, folder: string) => string[] | Promise<string[]>,
  isThere: (port: number, folder: string) => Promise<unknown>,
): Promise<Service> {
  const path = commandPath(command);
  const temp = await tempPath();
  const folder = `${temp.path}.d`;
  await Deno.mkdir(folder);
  const port = freePort();
  const program = new Program(path, await args(port, folder), folder);
  const end = async () => {
    await program[Symbol.asyncDispose]();
    await temp[Symbol.asyncDispose]();
  };
  for (let i = 0; i < TRIES; i++) {
    try {
      await isThere(port, folder);
      return { port, folder, program, [Symbol.asyncDispose]: end };
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  program.kill("SIGKILL");
  const { stdout, stderr } = await program.ended();
  await end();
  throw new Error(`${command} does not answer: ${stdout}${stderr}`);
}
