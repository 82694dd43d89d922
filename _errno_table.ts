/** Names, numbers and texts of OS errors. Pure tables of the OS's name. */

/** A row: number on Linux, on Darwin, on Windows (Winsock's where it has one), text of `strerror(3)`. */
type Row = readonly [number, number, number, string];

const TABLE: Readonly<Record<string, Row>> = {
  EPERM: [1, 1, 1, "Operation not permitted"],
  ENOENT: [2, 2, 2, "No such file or directory"],
  EINTR: [4, 4, 10004, "Interrupted system call"],
  EIO: [5, 5, 5, "Input/output error"],
  EBADF: [9, 9, 10009, "Bad file descriptor"],
  EAGAIN: [11, 35, 10035, "Resource temporarily unavailable"],
  ENOMEM: [12, 12, 12, "Cannot allocate memory"],
  EACCES: [13, 13, 10013, "Permission denied"],
  EFAULT: [14, 14, 10014, "Bad address"],
  EBUSY: [16, 16, 16, "Device or resource busy"],
  EEXIST: [17, 17, 17, "File exists"],
  EXDEV: [18, 18, 18, "Invalid cross-device link"],
  ENODEV: [19, 19, 19, "No such device"],
  ENOTDIR: [20, 20, 20, "Not a directory"],
  EISDIR: [21, 21, 21, "Is a directory"],
  EINVAL: [22, 22, 10022, "Invalid argument"],
  ENFILE: [23, 23, 23, "Too many open files in system"],
  EMFILE: [24, 24, 10024, "Too many open files"],
  ENOSPC: [28, 28, 28, "No space left on device"],
  EROFS: [30, 30, 30, "Read-only file system"],
  EPIPE: [32, 32, 32, "Broken pipe"],
  ENAMETOOLONG: [36, 63, 10063, "File name too long"],
  ENOSYS: [38, 78, 40, "Function not implemented"],
  ELOOP: [40, 62, 10062, "Too many levels of symbolic links"],
  EPROTO: [71, 100, 134, "Protocol error"],
  EOVERFLOW: [75, 84, 132, "Value too large for defined data type"],
  ENOTSOCK: [88, 38, 10038, "Socket operation on non-socket"],
  EDESTADDRREQ: [89, 39, 10039, "Destination address required"],
  EMSGSIZE: [90, 40, 10040, "Message too long"],
  EPROTOTYPE: [91, 41, 10041, "Protocol wrong type for socket"],
  ENOPROTOOPT: [92, 42, 10042, "Protocol not available"],
  EPROTONOSUPPORT: [93, 43, 10043, "Protocol not supported"],
  ESOCKTNOSUPPORT: [94, 44, 10044, "Socket type not supported"],
  EOPNOTSUPP: [95, 102, 10045, "Operation not supported"],
  ENOTSUP: [95, 45, 10045, "Operation not supported"],
  EPFNOSUPPORT: [96, 46, 10046, "Protocol family not supported"],
  EAFNOSUPPORT: [
    97,
    47,
    10047,
    "Address family not supported by protocol",
  ],
  EADDRINUSE: [98, 48, 10048, "Address already in use"],
  EADDRNOTAVAIL: [99, 49, 10049, "Cannot assign requested address"],
  ENETDOWN: [100, 50, 10050, "Network is down"],
  ENETUNREACH: [101, 51, 10051, "Network is unreachable"],
  ENETRESET: [102, 52, 10052, "Network dropped connection on reset"],
  ECONNABORTED: [103, 53, 10053, "Software caused connection abort"],
  ECONNRESET: [104, 54, 10054, "Connection reset by peer"],
  ENOBUFS: [105, 55, 10055, "No buffer space available"],
  EISCONN: [106, 56, 10056, "Transport endpoint is already connected"],
  ENOTCONN: [107, 57, 10057, "Transport endpoint is not connected"],
  ESHUTDOWN: [108, 58, 10058, "Cannot send after transport endpoint shutdown"],
  ETOOMANYREFS: [109, 59, 10059, "Too many references: cannot splice"],
  ETIMEDOUT: [110, 60, 10060, "Connection timed out"],
  ECONNREFUSED: [111, 61, 10061, "Connection refused"],
  EHOSTDOWN: [112, 64, 10064, "Host is down"],
  EHOSTUNREACH: [113, 65, 10065, "No route to host"],
  EALREADY: [114, 37, 10037, "Operation already in progress"],
  EINPROGRESS: [115, 36, 10036, "Operation now in progress"],
  ECANCELED: [125, 89, 105, "Operation canceled"],
};

/** The column of an OS. Everything that is neither Darwin nor Windows counts like Linux. */
function column(os: string): 0 | 1 | 2 {
  return os === "darwin" ? 1 : os === "windows" ? 2 : 0;
}

/** The row of a name. EWOULDBLOCK is another name of EAGAIN on all three systems. */
function rowOf(code: string): Row | undefined {
  const name = code === "EWOULDBLOCK" ? "EAGAIN" : code;
  return Object.hasOwn(TABLE, name) ? TABLE[name] : undefined;
}

/**
 * The number of an OS error.
 *
 * @param code The error's name, such as `"ECONNREFUSED"`.
 * @param os The OS whose number is wanted, one of `Deno.build.os`'s values; the running one by default.
 * @returns The number (`111` for ECONNREFUSED on Linux), or `undefined` for a name that is not a
 * socket or file error. Sources: errno(3), and the Winsock error codes.
 *
 * @example The same error on three systems
 * ```ts
 * import { errno } from "@berkeley/sockets/errors";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(errno("ECONNREFUSED", "linux"), 111);
 * assertEquals(errno("ECONNREFUSED", "darwin"), 61);
 * assertEquals(errno("ECONNREFUSED", "windows"), 10061);
 * ```
 */
export function errno(
  code: string,
  os: string = Deno.build.os,
): number | undefined {
  return rowOf(code)?.[column(os)];
}

/** The name that belongs to a number, or `undefined`. */
export function errnoName(
  number: number,
  os: string = Deno.build.os,
): string | undefined {
  const at = column(os);
  for (const name in TABLE) if (TABLE[name]![at] === number) return name;
  return undefined;
}

/**
 * The text of an OS error, in the words of Linux's strerror(3) on every system.
 *
 * @param error The error's number, or its name such as `"EPIPE"`.
 * @param os The OS whose numbers are meant; the running one by default.
 * @returns The text; `"Success"` for 0; `Unknown error` and the value where there is none.
 *
 * @example By number and by name
 * ```ts
 * import { strerror } from "@berkeley/sockets/errors";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(strerror(111, "linux"), "Connection refused");
 * assertEquals(strerror("EPIPE"), "Broken pipe");
 * ```
 */
export function strerror(
  error: number | string,
  os: string = Deno.build.os,
): string {
  if (error === 0) return "Success";
  const name = typeof error === "number" ? errnoName(error, os) : error;
  return (name === undefined ? undefined : rowOf(name)?.[3]) ??
    `Unknown error ${error}`;
}

/** What an error class of the runtime is constructed like. */
export type ErrorClass = new (
  message: string,
  options?: ErrorOptions,
) => Error;

/** Deno's error classes and the codes that belong to them. */
const CODES: readonly (readonly [ErrorClass, string])[] = [
  // Before NotCapable: an EPERM of the system is no missing flag.
  [Deno.errors.PermissionDenied, "EPERM"],
  [Deno.errors.PermissionDenied, "EACCES"],
  [Deno.errors.NotCapable, "EPERM"],
  [Deno.errors.BadResource, "EBADF"],
  [Deno.errors.Busy, "EBUSY"],
  [Deno.errors.Interrupted, "EINTR"],
  [Deno.errors.NotFound, "ENOENT"],
  [Deno.errors.AlreadyExists, "EEXIST"],
  [Deno.errors.AddrInUse, "EADDRINUSE"],
  [Deno.errors.AddrNotAvailable, "EADDRNOTAVAIL"],
  [Deno.errors.ConnectionRefused, "ECONNREFUSED"],
  [Deno.errors.ConnectionReset, "ECONNRESET"],
  [Deno.errors.ConnectionAborted, "ECONNABORTED"],
  [Deno.errors.NotConnected, "ENOTCONN"],
  [Deno.errors.NetworkUnreachable, "ENETUNREACH"],
  [Deno.errors.BrokenPipe, "EPIPE"],
  [Deno.errors.TimedOut, "ETIMEDOUT"],
  [Deno.errors.WouldBlock, "EAGAIN"],
  [Deno.errors.NotSupported, "EOPNOTSUPP"],
  [Deno.errors.FilesystemLoop, "ELOOP"],
  [Deno.errors.IsADirectory, "EISDIR"],
  [Deno.errors.NotADirectory, "ENOTDIR"],
];

/** The Deno class that belongs to a code, or `undefined`. */
export function classOfCode(code: string): ErrorClass | undefined {
  return CODES.find(([, known]) => known === code)?.[0];
}

/** The code that belongs to an error's class, or `undefined`. Deno's own PermissionDenied is EACCES. */
export function codeOfClass(error: Error): string | undefined {
  return CODES.findLast(([Class]) => error instanceof Class)?.[1];
}
