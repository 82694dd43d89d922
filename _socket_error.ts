/** Errors of the BSD face: each has the code that the system's call would give. */

import { classOfCode } from "./_errno_table.ts";
import { errorCode, strerror } from "./errors.ts";

/**
 * An error as a system call gives it.
 *
 * @param code The error's name, such as `"EINVAL"`.
 * @param call The call, such as `"bind"`.
 * @param hint What more there is to say.
 */
export function socketError(code: string, call: string, hint = ""): Error {
  const Class = classOfCode(code) ?? Error;
  const more = hint === "" ? "" : `: ${hint}`;
  return Object.assign(
    new Class(`${call}: ${strerror(code)} (${code})${more}`),
    { code },
  );
}

/** An error of the rooms below with the code that the face promises. */
export function withCode(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = errorCode(error);
  if (code === undefined || (error as { code?: unknown }).code === code) {
    return error;
  }
  // A DOMException has a number of its own there, which cannot be assigned to.
  return Object.defineProperty(error, "code", { value: code });
}
