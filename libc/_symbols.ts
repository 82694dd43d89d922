/** The functions of the system's C library, opened when they are first needed, a group at a time. */

import { layoutOf } from "./_layout.ts";

/** Every call on a socket. Sizes are `u32`, which is right in a register, and the fastest. */
const CALLS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  accept4: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  setsockopt: {
    parameters: ["i32", "i32", "i32", "buffer", "u32"],
    result: "i32",
  },
  getsockopt: {
    parameters: ["i32", "i32", "i32", "buffer", "buffer"],
    result: "i32",
  },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  recv: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  recvfrom: {
    parameters: ["i32", "buffer", "u32", "i32", "buffer", "buffer"],
    result: "i32",
  },
  send: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  sendto: {
    parameters: ["i32", "buffer", "u32", "i32", "buffer", "u32"],
    result: "i32",
  },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** What is needed to read errno, and to give the kernel addresses of memory. */
const MEMORY = {
  errnoAddress: { name: "__errno_location", parameters: [], result: "usize" },
  errnoPointer: { name: "__errno_location", parameters: [], result: "pointer" },
  /** With no bytes to copy it tells where a buffer is. */
  addressOf: {
    name: "memcpy",
    parameters: ["buffer", "pointer", "u32"],
    result: "usize",
  },
  copyFrom: {
    name: "memcpy",
    parameters: ["buffer", "usize", "usize"],
    result: "void",
  },
} as const satisfies Deno.ForeignLibraryInterface;

const MESSAGES = {
  recvmsg: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  sendmsg: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  recvmmsg: {
    parameters: ["i32", "buffer", "u32", "i32", "pointer"],
    result: "i32",
  },
  sendmmsg: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

const SELDOM = {
  socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  if_nametoindex: { parameters: ["buffer"], result: "u32" },
} as const satisfies Deno.ForeignLibraryInterface;

const NAMES = {
  getaddrinfo: {
    parameters: ["buffer", "buffer", "buffer", "buffer"],
    result: "i32",
  },
  freeaddrinfo: { parameters: ["usize"], result: "void" },
} as const satisfies Deno.ForeignLibraryInterface;

const WAKE = {
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  /** On a thread of the runtime's pool: errno is lost there. */
  waitAside: {
    name: "epoll_wait",
    parameters: ["i32", "buffer", "i32", "i32"],
    result: "i32",
    nonblocking: true,
  },
} as const satisfies Deno.ForeignLibraryInterface;

const AIO = {
  io_setup: {
    name: "syscall",
    parameters: ["i64", "u64", "buffer"],
    result: "i64",
  },
  io_destroy: {
    name: "syscall",
    parameters: ["i64", "u64"],
    result: "i64",
  },
  io_getevents: {
    name: "syscall",
    parameters: ["i64", "u64", "i64", "i64", "buffer", "pointer"],
    result: "i64",
  },
  io_submit: {
    name: "syscall",
    parameters: ["i64", "u64", "i64", "buffer"],
    result: "i64",
  },
} as const satisfies Deno.ForeignLibraryInterface;

/**
 * Why the sockets of the C library cannot be used on a system.
 *
 * @returns `undefined` where they can.
 */
export function whyNot(os: string, arch: string): string | undefined {
  if (os !== "linux") {
    return `they are written for Linux, and this is ${os}; the sockets of @berkeley/sockets/socket run here`;
  }
  if (layoutOf(arch) === undefined) {
    return `the layouts of its structures are not known on ${arch}`;
  }
  return undefined;
}

/** Where the C library is, by its names on Linux: the first one that may be opened. */
export function candidates(arch: string): string[] {
  return ["/lib", "/usr/lib"].map((folder) => `${folder}/${arch}-linux-gnu`)
    .concat("/lib64", "/usr/lib64", "/usr/lib", "/lib")
    .map((folder) => `${folder}/libc.so.6`);
}

/** The name to open, and whether everything of FFI is granted, pointers included. */
interface Grant {
  readonly path: string;
  readonly isFull: boolean;
}

let grant: Grant | undefined;

function isGranted(path?: string): boolean {
  const { state } = Deno.permissions.querySync({
    name: "ffi",
    ...(path !== undefined && { path }),
  });
  return state === "granted";
}

function isFile(path: string): boolean {
  try {
    Deno.dlopen(path, {}).close();
    return true;
  } catch {
    return false;
  }
}

/**
 * Finds out what may be opened.
 *
 * @throws {Deno.errors.NotSupported} On another system than Linux, or an unknown architecture.
 * @throws {Deno.errors.NotCapable} Without `--allow-ffi`.
 */
function demandGrant(): Grant {
  const { os, arch } = Deno.build;
  const reason = whyNot(os, arch);
  if (reason !== undefined) {
    throw Object.assign(
      new Deno.errors.NotSupported(
        `Cannot use the sockets of the C library: ${reason}`,
      ),
      { code: "EOPNOTSUPP" },
    );
  }
  if (isGranted()) return { path: "libc.so.6", isFull: true };
  const path = candidates(arch).find((path) => isGranted(path) && isFile(path));
  if (path !== undefined) return { path, isFull: false };
  if (Deno.permissions.requestSync({ name: "ffi" }).state === "granted") {
    return { path: "libc.so.6", isFull: true };
  }
  throw new Deno.errors.NotCapable(
    `Requires ffi access to the C library, run again with the --allow-ffi flag, or with --allow-ffi=${
      candidates(arch)[0]
    }`,
  );
}

/** Whether pointers may be looked at, which needs the whole of FFI. */
export function hasPointers(): boolean {
  return (grant ??= demandGrant()).isFull;
}

/** Opens a group of functions once, when it is first asked for. It stays open. */
function lazy<const S extends Deno.ForeignLibraryInterface>(
  symbols: S,
): () => Deno.DynamicLibrary<S>["symbols"] {
  let opened: Deno.DynamicLibrary<S>["symbols"] | undefined;
  return () => {
    if (opened === undefined) {
      grant ??= demandGrant();
      // An object of the usual kind: its calls are found faster.
      opened = { ...Deno.dlopen(grant.path, symbols).symbols };
    }
    return opened;
  };
}

/** Every call on a socket. */
export const calls = lazy(CALLS);
/** Memory and errno. */
export const memory = lazy(MEMORY);
/** recvmsg(2), sendmsg(2), and those of many messages. */
export const messages = lazy(MESSAGES);
/** What a program calls once in a while. */
export const seldom = lazy(SELDOM);
/** Names of hosts, looked up while the program stands still. */
export const names = lazy(NAMES);
/** Waiting beside the program. */
export const wake = lazy(WAKE);
/** Waiting by the kernel's own asynchronous calls. */
export const aio = lazy(AIO);
