/** Ports for programs that are told theirs: a grant, or a peer that tells none, names it beforehand. */

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

/**
 * Opens what an address is free for that a test has just given back. A process that is just being started,
 * by any test, has copies of all descriptors until it runs its program: so they are waited for, a second.
 */
export async function whenFree<T>(open: () => T | Promise<T>): Promise<T> {
  const end = performance.now() + 1000;
  for (;;) {
    try {
      return await open();
    } catch (error) {
      const { name, code } = error as { name: string; code?: string };
      if (name !== "AddrInUse" && code !== "EADDRINUSE") throw error;
      if (performance.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
