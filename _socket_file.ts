/**
 * The file of a listening Unix socket. It is ours or it is not touched.
 *
 * Deno deletes the path that was bound, whatever is there by then. So a temporary name beside the
 * path is bound, given its mode and linked to the path, and the temporary name is removed: there is
 * nothing left that Deno could delete. The path is removed by us, if device and inode are still those
 * of our socket.
 */

import { errorCode } from "./errors.ts";
import { isAbstract, maxUnixPath, pathBytes } from "./_unix_path.ts";

/** What to do with a socket that is at the path already. */
export type Unlink = "stale" | "always" | "never";

/** How a path is bound. */
export interface BindFileOptions {
  readonly mode: number | undefined;
  readonly unlink: Unlink;
}

/** What identifies a file. */
interface FileId {
  readonly dev: number;
  readonly ino: number | null;
}

/** A socket that was bound to a path, and how its name is removed. */
export interface Bound<L> {
  readonly native: L;
  /** Removes the path, if it is still ours. To be called before the native close. */
  release(): void;
}

const inUse = (message: string) =>
  Object.assign(new Deno.errors.AddrInUse(message), { code: "EADDRINUSE" });

/** The file at a path, symbolic links not followed; `undefined` if there is none. */
function fileAt(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Whether two files are the same. Where the system gives no inode, nothing is known to be the same. */
function sameFile(a: FileId, b: FileId): boolean {
  return a.ino !== null && a.ino === b.ino && a.dev === b.dev;
}

/** A name beside a path that nobody else has. */
function besides(path: string): string {
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  const [a, b] = crypto.getRandomValues(new Uint32Array(2));
  return `${folder}.${a!.toString(36)}${b!.toString(36)}`;
}

/** Removes a file that may be gone already. */
function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Whether permissions and the length of the path allow a second name beside it. */
function canUse(name: string): boolean {
  if (pathBytes(name) > maxUnixPath(Deno.build.os)) return false;
  const granted = (permission: Deno.PermissionDescriptor) =>
    Deno.permissions.querySync(permission).state === "granted";
  return granted({ name: "read", path: name }) &&
    granted({ name: "write", path: name }) &&
    (granted({ name: "net" }) ||
      name.startsWith("/") && granted({ name: "net", host: `unix:${name}` }));
}

/** A path that stays the same when the working folder changes, where we may know that folder. */
function absolute(path: string): string {
  if (path.startsWith("/")) return path;
  const { state } = Deno.permissions.querySync({ name: "read", path: "." });
  return state === "granted" ? `${Deno.cwd()}/${path}` : path;
}

/** Whether somebody listens at a socket's path. */
async function isAlive(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    // A datagram socket answers EPROTOTYPE, a full queue EAGAIN: both are alive.
    return errorCode(error) !== "ECONNREFUSED";
  }
}

/**
 * Makes room at a path.
 *
 * @returns Whether anything was there.
 */
export async function clearPath(
  path: string,
  unlink: Unlink,
): Promise<boolean> {
  const found = fileAt(path);
  if (found === undefined) return false;
  if (!found.isSocket) {
    throw inUse("A file that is no socket is there, and it is left alone");
  }
  if (unlink === "never") {
    throw inUse('A socket is there, and unlink is "never"');
  }
  if (unlink === "stale" && await isAlive(path)) {
    throw inUse("Somebody listens there");
  }
  const aside = besides(path);
  if (!canUse(aside)) {
    // Without a second name the file cannot be moved aside; look once more, then remove it.
    const now = fileAt(path);
    if (now !== undefined && !sameFile(found, now)) {
      throw inUse("Somebody has just started to listen there");
    }
    removeIfThere(path);
    return true;
  }
  try {
    Deno.renameSync(path, aside);
  } catch (error) {
    // Another starter was faster; who of us gets the path is decided by the link.
    if (error instanceof Deno.errors.NotFound) return true;
    throw error;
  }
  if (unlink === "stale" && !sameFile(found, Deno.lstatSync(aside))) {
    putBack(aside, path);
    throw inUse("Somebody has just started to listen there");
  }
  removeIfThere(aside);
  return true;
}

/** Gives a file its name back, unless the name has been taken meanwhile. */
export function putBack(aside: string, path: string): void {
  try {
    Deno.linkSync(aside, path);
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  Deno.removeSync(aside);
}

/** Files that are removed when the program ends by `Deno.exit`. */
const ours = new Set<() => void>();

function onUnload(): void {
  for (const remove of ours) remove();
}

/** Sees to it that a path is removed at the end, once, if it is still ours. */
function own(path: string, id: FileId): () => void {
  const remove = () => {
    if (!ours.delete(remove)) return;
    if (ours.size === 0) removeEventListener("unload", onUnload);
    try {
      const now = fileAt(path);
      if (now !== undefined && sameFile(id, now)) Deno.removeSync(path);
    } catch {
      // The folder is gone or closed to us: there is nothing that we could remove.
    }
  };
  if (ours.size === 0) addEventListener("unload", onUnload);
  ours.add(remove);
  return remove;
}

/**
 * Binds a stream socket to a path or an abstract name.
 *
 * @param path The path, checked.
 * @param options The mode, and what to do with a socket that is there.
 * @param listen Binds the socket and listens.
 */
export async function bindFile<L extends { close(): void }>(
  path: string,
  { mode, unlink }: BindFileOptions,
  listen: (path: string) => L,
): Promise<Bound<L>> {
  if (isAbstract(path)) return { native: listen(path), release: () => {} };
  await clearPath(path, unlink);
  const name = besides(path);
  return (canUse(name) ? bindBeside(path, name, mode, listen) : undefined) ??
    bindDirectly(path, mode, listen);
}

/** Binds a second name and links it to the path; `undefined` where the system knows no such links. */
function bindBeside<L extends { close(): void }>(
  path: string,
  name: string,
  mode: number | undefined,
  listen: (path: string) => L,
): Bound<L> | undefined {
  const native = listen(name);
  let release: (() => void) | undefined;
  try {
    if (mode !== undefined) Deno.chmodSync(name, mode);
    const id = Deno.lstatSync(name);
    Deno.linkSync(name, path);
    release = own(absolute(path), id);
    Deno.removeSync(name);
    return { native, release };
  } catch (error) {
    release?.();
    native.close();
    if (error instanceof Deno.errors.AlreadyExists) {
      throw inUse("Somebody has just started to listen there");
    }
    const code = errorCode(error);
    if (code === "EPERM" || code === "EOPNOTSUPP") return undefined;
    throw error;
  }
}

/** Binds the path itself. Deno removes it at the end, whatever is there by then. */
function bindDirectly<L extends { close(): void }>(
  path: string,
  mode: number | undefined,
  listen: (path: string) => L,
): Bound<L> {
  const native = listen(path);
  try {
    if (mode !== undefined) Deno.chmodSync(path, mode);
    return { native, release: own(absolute(path), Deno.lstatSync(path)) };
  } catch (error) {
    native.close();
    throw error;
  }
}
