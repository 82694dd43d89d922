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
