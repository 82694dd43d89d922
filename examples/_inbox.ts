/**
 * The folder that files are received in: names that stay in it, and files that are not whole yet. Those are
 * hidden beside their place (`.NAME.part`), with a note of what they are a part of (`.NAME.part.json`).
 */

import { Failure, type Header, isExpected, reasonOf, show } from "./_files.ts";

/** How long a name of the system's may be, in bytes. */
const LONGEST = 255;

/** How long a path may be, in bytes. */
const LONGEST_PATH = 4096;

/** This one entry is not taken; the sender may go on with the next. */
export class Refusal extends Failure {}

/** What is at a path, links not followed; `undefined` if nothing is. */
export async function look(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Removes a file that may not be there. */
async function remove(path: string): Promise<void> {
  if (await look(path) !== undefined) await Deno.remove(path);
}

/** Takes a name apart that must stay in the folder. */
export function checkName(name: string): string[] {
  const steps = name.split("/");
  const reason = name === ""
    ? "the name is empty"
    : new TextEncoder().encode(name).length > LONGEST_PATH
    ? "the name is too long"
    : steps.includes("..") || name.startsWith("/") || /^[a-z]:/i.test(name)
    ? "the name leaves the folder"
    : /[\0\\]/.test(name)
    ? "the name has a NUL or a backslash"
    : steps.some((step) => step === "" || step === ".")
    ? "the name has an empty step"
    : steps.some((step) => /^\..*\.part(\.json)?$/is.test(step))
    ? "the name is one of the receiver's own"
    : undefined;
  if (reason !== undefined) throw new Refusal(reason);
  return steps;
}

/** Makes a folder, or finds what another sender has made there just before. */
async function makeFolder(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    await Deno.mkdir(path);
    return undefined;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return await look(path);
    throw error;
  }
}

/** Makes the folders of a path that are not there; none of them may be a link. */
export async function makeFolders(
  folder: string,
  steps: readonly string[],
): Promise<string> {
  let path = folder;
  for (const step of steps) {
    path += `/${step}`;
    const there = await look(path) ?? await makeFolder(path);
    if (there === undefined) continue;
    if (there.isSymlink) {
      throw new Refusal(`${show(step)} is a symbolic link here`);
    }
    if (!there.isDirectory) {
      throw new Refusal(`${show(step)} is no folder here`);
    }
  }
  return path;
}

/** Runs a step of one entry: what the system says against it is about this entry only. */
export async function prepared<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (error instanceof Failure || !isExpected(error)) throw error;
    throw new Refusal(reasonOf(error));
  }
}

const RW = { read: true, write: true } as const;

/** A file that is not whole yet. It is locked: two receivers may have one folder. */
export class Part implements AsyncDisposable {
  readonly file: Deno.FsFile;
  readonly #path: string;
  /** Whether what has come is of use later. */
  keeps = false;
  #isMoved = false;

  private constructor(path: string, file: Deno.FsFile) {
    this.#path = path;
    this.file = file;
  }

  /** Opens the part of a file: the one that is there, if it can be resumed, or a new one. */
  static async open(parent: string, header: Header): Promise<Part> {
    const { name, size, sha256, mode = 0o666, resume = false } = header;
    const base = name.slice(name.lastIndexOf("/") + 1);
    const room = new Uint8Array(LONGEST - "..part.json".length);
    const { read } = new TextEncoder().encodeInto(base, room);
    const path = `${parent}/.${base.slice(0, read)}.part`;
    const identity = JSON.stringify({ name, size, sha256 });
    const there = await look(path);
    if (there !== undefined) {
      if (!there.isFile) throw new Refusal("its part is no file here");
      const part = await Part.#locked(path, RW);
      if (resume && await part.#isOf(identity, size)) return part;
      await part[Symbol.asyncDispose]();
    }
    // Whoever receives can always read and write what comes.
    const options = { createNew: true, mode: mode & 0o777 | 0o600 };
    const part = await Part.#locked(path, { ...RW, ...options });
    try {
      await remove(noteOf(path));
      if (sha256 !== undefined) {
        await Deno.writeTextFile(noteOf(path), identity, { createNew: true });
      }
      return part;
    } catch (error) {
      await part[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Opens a file, and makes sure that nobody else writes there. */
  static async #locked(
    path: string,
    options: Deno.OpenOptions,
  ): Promise<Part> {
    const taken = () => new Refusal("another sender is sending it");
    const file = await Deno.open(path, options).catch((error) => {
      // It came, or got its name and went, since somebody looked.
      const isRace = error instanceof Deno.errors.AlreadyExists ||
        error instanceof Deno.errors.NotFound;
      throw isRace ? taken() : error;
    });
    try {
      const isOurs = await file.tryLock(true) &&
        // It may have got its name, or have been replaced, just before.
        (await look(path))?.ino === (await file.stat()).ino;
      if (!isOurs) throw taken();
      return new Part(path, file);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Whether this is a part of that very file. */
  async #isOf(identity: string, size: number): Promise<boolean> {
    const note = noteOf(this.#path);
    const info = await look(note);
    return info?.isFile === true &&
      info.size === new TextEncoder().encode(identity).length &&
      await Deno.readTextFile(note) === identity &&
      (await this.file.stat()).size <= size;
  }

  /** Gives the file its name. The note goes first: without a part it would stay for ever. */
  async moveTo(path: string): Promise<void> {
    await remove(noteOf(this.#path));
    await Deno.rename(this.#path, path);
    this.#isMoved = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (this.#isMoved) return;
      if (this.keeps && (await this.file.stat()).size > 0) return;
      await remove(noteOf(this.#path));
      await Deno.remove(this.#path);
    } finally {
      this.file.close();
    }
  }
}

/** Where it says what a part is a part of. */
function noteOf(path: string): string {
  return `${path}.json`;
}
