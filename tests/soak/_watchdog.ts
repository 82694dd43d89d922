/** Long tests that fail when they hang. */

/** How long one may take, in milliseconds. */
const PATIENCE = 600_000;

/** Waits for something, but not for ever. */
export async function watched(step: () => Promise<void>): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(
    () => late.reject(new Error(`Hangs for ${PATIENCE} ms`)),
    PATIENCE,
  );
  try {
    await Promise.race([step(), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
