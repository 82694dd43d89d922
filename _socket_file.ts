/**
 * The file of a Unix socket. It is ours or it is not touched.
 *
 * Deno deletes the path that was bound, whatever is there by then. So a temporary name beside the
 * path is bound, given its mode and linked to the path, and the temporary name is removed: there is
 * nothing left that Deno could delete. The path is removed by us, if device and inode are still those
 * of our socket.
 */

import { errorCode } from "./errors.ts";
import { sleep } from "./_wait.ts";
import { netGranted } from "./_open.ts";
import { isAbstract, maxUnixPath, pathBytes } from "./_unix_path.ts";

/** What to do with a socket that is at the path already. */
export type Unlink = "stale" | "always" | "never";

/** How a path is bound. */
export interface BindFileOptions {
  readonly mode: number | undefined;
  readonly unlink: Unlink;
}

/** What identifies a file while it exists. */
interface FileId {
  readonly dev: number;
  readonly ino: number | null;
}

/** What identifies a file that may be gone: its number is given out again at once, its age is not. */
interface AgedFileId extends FileId {
  readonly mtime: Date | null;
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

/** Whether a file is the one that was looked at before. */
function isStillThat(a: AgedFileId, b: AgedFileId): boolean {
  return sameFile(a, b) && a.mtime?.getTime() === b.mtime?.getTime();
}

/** A name beside a path that nobody else has. */
function besides(path: string): string {
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  const [a, b] = crypto.getRandomValues(new Uint32Array(2));
  return `${folder}.${a!.toString(36)}${b!.toString(36)}`;
}

/** Removes a file that may be gone already. */
export function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Whether a permission is there, without asking anybody. */
function granted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}

/** Whether permissions allow a second name for a file. */
function canLink(name: string): boolean {
  return granted({ name: "read", path: name }) &&
    granted({ name: "write", path: name });
}

/** Whether permissions and the length of the path allow to bind a second name. */
function canBind(name: string): boolean {
  return pathBytes(name) <= maxUnixPath(Deno.build.os) && canLink(name) &&
    (netGranted() || name.startsWith("/") && netGranted(`unix:${name}`));
}

/** A path that stays the same when the working folder changes, where we may know that folder. */
function absolute(path: string): string {
  if (path.startsWith("/")) return path;
  return granted({ name: "read", path: "." }) ? `${Deno.cwd()}/${path}` : path;
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

const justStarted = () => inUse("Somebody has just started to listen there");

/** How often, and how long each time, a starter waits for another one, in milliseconds. */
const CLAIM_TRIES = 100;
const CLAIM_PAUSE = 10;

/** Makes room at a path. */
export async function clearPath(path: string, unlink: Unlink): Promise<void> {
  for (let tries = 1;; tries++) {
    const found = fileAt(path);
    if (found === undefined) return;
    if (!found.isSocket) {
      throw inUse("A file that is no socket is there, and it is left alone");
    }
    if (unlink === "never") {
      throw inUse('A socket is there, and unlink is "never"');
    }
    if (unlink === "stale" && await isAlive(path)) {
      throw inUse("Somebody listens there");
    }
    const [aside, claim] = [besides(path), claimOn(path, found)];
    if (!canLink(aside) || !canLink(claim)) {
      // There can be no second name: look once more, then remove what is there.
      const now = fileAt(path);
      if (now !== undefined && !isStillThat(found, now)) throw justStarted();
      return removeIfThere(path);
    }
    if (removeClaimed(path, found, claim, aside)) return;
    // Another starter is at it, for a moment. One that died while it was has left its claim.
    if (tries === CLAIM_TRIES) removeIfThere(claim);
    else await sleep(CLAIM_PAUSE);
  }
}

/** The name that a starter gives a file while it removes it: one for all starters. */
function claimOn(path: string, { dev, ino }: FileId): string {
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  return `${folder}.${dev.toString(36)}-${(ino ?? 0).toString(36)}`;
}

/**
 * Removes a file from its path, by one starter at a time: who can link it to the claim's name. Without
 * that, a slow starter could take the file away that a fast one has just put there.
 *
 * @returns `false` if another starter is doing it.
 */
export function removeClaimed(
  path: string,
  found: AgedFileId,
  claim: string,
  aside: string,
): boolean {
  let claimed = false;
  try {
    Deno.linkSync(path, claim);
    claimed = true;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    if (error instanceof Deno.errors.NotFound) return true;
    // A foreign user's socket may be removed, but not linked (proc(5), protected_hardlinks).
    if (errorCode(error) !== "EPERM") throw error;
  }
  try {
    if (claimed && !isStillThat(found, Deno.lstatSync(claim))) {
      throw justStarted();
    }
    try {
      Deno.renameSync(path, aside);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return true;
      throw error;
    }
    // Starters of other makes know no claims.
    if (!isStillThat(found, Deno.lstatSync(aside))) {
      putBack(aside, path);
      throw justStarted();
    }
    Deno.removeSync(aside);
    return true;
  } finally {
    if (claimed) removeIfThere(claim);
  }
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
  const release = () => {
    if (!ours.delete(release)) return;
    if (ours.size === 0) removeEventListener("unload", onUnload);
    try {
      const now = fileAt(path);
      if (now !== undefined && sameFile(id, now)) Deno.removeSync(path);
    } catch {
      // The folder is gone or closed to us: there is nothing that we could remove.
    }
  };
  if (ours.size === 0) addEventListener("unload", onUnload);
  ours.add(release);
  return release;
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
  const name = besides(path);
  if (!canBind(name)) {
    await clearPath(path, unlink);
    return bindDirectly(path, mode, listen);
  }
  // Bound before a stale file is removed, ours cannot get that file's number, by which a slow starter
  // would take it for the stale one.
  const native = listen(name);
  let release: (() => void) | undefined;
  try {
    if (mode !== undefined) Deno.chmodSync(name, mode);
    const id = Deno.lstatSync(name);
    await clearPath(path, unlink);
    if (tryLink(name, path)) {
      release = own(absolute(path), id);
      Deno.removeSync(name);
      return { native, release };
    }
  } catch (error) {
    release?.();
    native.close();
    throw error;
  }
  native.close();
  return bindDirectly(path, mode, listen);
}

/** Links a name to a path; `false` where the file system knows no links. */
function tryLink(name: string, path: string): boolean {
  try {
    Deno.linkSync(name, path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) throw justStarted();
    const code = errorCode(error);
    if (code === "EPERM" || code === "EOPNOTSUPP") return false;
    throw error;
  }
}

/** A datagram socket that was bound to a path twice. */
export interface BoundTwice<L> {
  /** The one that was bound first. Nothing can reach it but by {@linkcode BoundTwice.aside}. */
  readonly first: L;
  /** The one that the path leads to. */
  readonly second: L;
  /** A name that still leads to the first, to be removed; `undefined` where the grants forbid one. */
  readonly aside: string | undefined;
  /** Removes the path, if it is still ours. To be called before the native close. */
  release(): void;
}

/**
 * Binds two datagram sockets to one path, which is the kernel-side name of both. The name is where
 * answers go to, so it has to be the path itself.
 */
export async function bindTwice<L extends { close(): void }>(
  path: string,
  { mode, unlink }: BindFileOptions,
  bind: (path: string) => L,
): Promise<BoundTwice<L>> {
  await clearPath(path, unlink);
  const name = absolute(besides(path));
  const aside = canBind(name) ? name : undefined;
  const first = bind(path);
  let second: L | undefined;
  let release: (() => void) | undefined;
  try {
    giveUpPath(path, aside);
    second = bind(path);
    release = own(absolute(path), Deno.lstatSync(path));
    if (mode !== undefined) Deno.chmodSync(path, mode);
    return { first, second, aside, release };
  } catch (error) {
    release?.();
    second?.close();
    first.close();
    if (aside !== undefined) removeIfThere(aside);
    throw error;
  }
}

/** Takes a file that was just made from its path: to another name, or away. */
function giveUpPath(path: string, aside: string | undefined): void {
  if (aside === undefined) return Deno.removeSync(path);
  const made = Deno.lstatSync(path);
  Deno.renameSync(path, aside);
  if (sameFile(made, Deno.lstatSync(aside))) return;
  putBack(aside, path);
  throw justStarted();
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

/**
 * Binds a path and leaves it there at the end, as bind(2) does: the runtime removes the name that it has
 * bound, so that is a second one, linked to the path. Where the grants cover the path only, or the file
 * system knows no links, the path itself is bound, and the runtime removes it.
 *
 * @throws {Deno.errors.AddrInUse} If anything is there.
 */
export function bindStaying<L extends { close(): void }>(
  path: string,
  listen: (path: string) => L,
): L {
  const name = besides(absolute(path));
  if (isAbstract(path) || !canBind(name)) return listen(path);
  const native = listen(name);
  try {
    if (tryLink(name, path)) return native;
  } catch (error) {
    native.close();
    throw error;
  }
  native.close();
  return listen(path);
}
