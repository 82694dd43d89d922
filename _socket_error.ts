/** Errors of the BSD face: each has the code that the system's call would give. */

import { classOfCode } from "./_errno_table.ts";
import { AddressSyntaxError, errorCode, strerror } from "./errors.ts";
import { withCode } from "./_wait.ts";

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

/** An error of the rooms below with the code that the face promises: a name's as getaddrinfo(3) has it. */
export function faceError(error: unknown): unknown {
  if (error instanceof Error) {
    const isName = errorCode(error) === "ENOTFOUND" ||
      error instanceof AddressSyntaxError;
    if (isName) {
      return Object.defineProperty(error, "code", { value: "EAI_NONAME" });
    }
  }
  return withCode(error);
}
