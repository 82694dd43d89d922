/** Paths of Unix sockets: what is one, and how long it may be. */

import { show } from "./_check.ts";

/**
 * How many bytes a socket's path may have: `sizeof(sun_path)` less the NUL (unix(7): 108 on Linux,
 * 104 on the BSDs and Darwin; Windows has Linux's).
 */
export function maxUnixPath(os: string): number {
  return os === "darwin" || os.endsWith("bsd") ? 103 : 107;
}

/** The number of bytes that a path takes in the kernel. */
export function pathBytes(path: string): number {
  return new TextEncoder().encode(path).length;
}

/** Whether a path is an abstract name: it starts with NUL and is no file (unix(7), Linux only). */
export function isAbstract(path: string): boolean {
  return path.startsWith("\0");
}

/** Checks a `path` option, a string or a file URL, and gives it as a string. */
export function checkUnixPath(
  path: unknown,
  os: string = Deno.build.os,
): string {
  const text = path instanceof URL ? pathOfUrl(path, os) : path;
  if (typeof text !== "string") {
    throw new TypeError(
      `Invalid path: expected a string or a file URL, got ${show(path)}`,
    );
  }
  if (text === "") {
    throw new TypeError(
      "Invalid path: expected a path or an abstract name, got an empty string",
    );
  }
  if (isAbstract(text)) {
    if (os !== "linux" && os !== "android") {
      throw new Deno.errors.NotSupported(
        `Invalid path: abstract names exist on Linux only, not on ${os}`,
      );
    }
    if (text === "\0") {
      throw new TypeError(
        "Invalid path: expected a name behind the NUL of an abstract name, got none",
      );
    }
  } else if (text.includes("\0")) {
    throw new TypeError(
      `Invalid path: NUL can only be its first character (an abstract name), got ${
        show(text)
      }`,
    );
  }
  const bytes = pathBytes(isAbstract(text) ? text.slice(1) : text);
  const max = maxUnixPath(os);
  if (bytes > max) {
    throw new RangeError(
      `Invalid path: expected at most ${max} bytes, got ${bytes} (${
        show(text)
      })`,
    );
  }
  return text;
}

/** The path of a file URL, percent-decoded. */
function pathOfUrl(url: URL, os: string): string {
  if (url.protocol !== "file:") {
    throw new TypeError(
      `Invalid path: expected a file URL, got one of ${show(url.protocol)}`,
    );
  }
  if (url.host !== "") {
    throw new TypeError(
      `Invalid path: expected a file URL without a host, got one of ${
        show(url.host)
      }`,
    );
  }
  let path: string;
  try {
    path = decodeURIComponent(url.pathname);
  } catch {
    throw new TypeError(
      `Invalid path: expected UTF-8 behind the percent signs, got ${
        show(url.pathname)
      }`,
    );
  }
  return os === "windows" ? path.replace(/^\/([A-Za-z]:)/, "$1") : path;
}
