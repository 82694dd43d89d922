/** Ports that are free: for programs that are told theirs, and for tests that use one again. */

import { errorCode } from "../errors.ts";

/**
 * A port that nobody has: below those that systems choose by themselves, so that no other test's socket takes
 * it meanwhile.
 */
export function freePort(): number {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    try {
      for (const hostname of ["127.0.0.1", "0.0.0.0"]) {
        Deno.listen({ hostname, port }).close();
      }
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}

// A process that is just being started, by any test, has copies of all descriptors until it runs its
// program: a socket that was closed just before listens, or has its address, for a moment longer.

/** Waits a little, but not longer than until a time. */
async function pause(end: number): Promise<boolean> {
  await new Promise((resolve) => setTimeout(resolve, 1));
  return performance.now() < end;
}

/** Opens something at an address that was given back just before. */
export async function whenFree<T>(open: () => T | Promise<T>): Promise<T> {
  const end = performance.now() + 1000;
  for (;;) {
    try {
      return await open();
    } catch (error) {
      if (errorCode(error) !== "EADDRINUSE" || !await pause(end)) throw error;
    }
  }
}

/** Tries to reach an address that was given back just before, until nobody is there. */
export async function untilRefused(
  reach: () => Promise<{ close(): void } | number>,
): Promise<void> {
  const end = performance.now() + 1000;
  do {
    try {
      const reached = await reach();
      if (typeof reached === "object") reached.close();
    } catch (error) {
      if (errorCode(error) === "ECONNREFUSED") return;
      throw error;
    }
  } while (await pause(end));
}
