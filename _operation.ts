/**
 * Operations of the runtime that must not keep a finished program alive.
 *
 * Unix datagram sockets of the runtime have no working `unref()`, and a send that waits is not even
 * ended by `close()`. The runtime's core can let go of any operation whose number is known, and tells
 * the numbers while it traces leaks. That is no documented face: where it looks different, operations
 * keep the process alive until they end, and nothing else changes.
 */

/** What is used of the core. */
interface Core {
  readonly promiseIdSymbol: symbol;
  isLeakTracingEnabled(): boolean;
  setLeakTracingEnabled(on: boolean): void;
  /** The last operation of each kind that has begun while tracing: the kind, and the number as a text. */
  getAllLeakTraces(): Map<number, string>;
  refOpPromise(operation: Record<symbol, number>): void;
  unrefOpPromise(operation: Record<symbol, number>): void;
}

const FUNCTIONS = [
  "isLeakTracingEnabled",
  "setLeakTracingEnabled",
  "getAllLeakTraces",
  "refOpPromise",
  "unrefOpPromise",
] as const;

/** The core, if it looks as it is known. */
function findCore(): Core | undefined {
  const deno = Deno as unknown as Record<symbol, { core?: Partial<Core> }>;
  const symbol = Object.getOwnPropertySymbols(deno)
    .find(({ description }) => description === "Deno.internal");
  const core = symbol === undefined ? undefined : deno[symbol]?.core;
  return typeof core?.promiseIdSymbol === "symbol" &&
      FUNCTIONS.every((name) => typeof core[name] === "function")
    ? core as Core
    : undefined;
}

let core: Core | null | undefined;

const errors: { prepareStackTrace?: unknown; stackTraceLimit: number } = Error;

/** One operation under way. */
export interface Operation<T> {
  readonly promise: Promise<T>;
  /** Lets it keep the process alive, or not. */
  setRef(wants: boolean): void;
}

/** Starts an operation; `start` makes exactly one call of the runtime. */
export function begin<T>(start: () => Promise<T>): Operation<T> {
  core ??= findCore() ?? null;
  // Somebody else's tracing would be mixed up with ours.
  if (core === null || core.isLeakTracingEnabled()) {
    return { promise: start(), setRef: () => {} };
  }
  const { promiseIdSymbol, refOpPromise, unrefOpPromise } = core;
  let promise: Promise<T>;
  let ids: string[];
  // A trace holds the stack, which takes time to write, and may be written by somebody else's code.
  const { prepareStackTrace, stackTraceLimit } = errors;
  errors.prepareStackTrace = undefined;
  errors.stackTraceLimit = 0;
  core.setLeakTracingEnabled(true);
  try {
    promise = start();
    ids = [...core.getAllLeakTraces().values()];
  } finally {
    core.setLeakTracingEnabled(false);
    errors.prepareStackTrace = prepareStackTrace;
    errors.stackTraceLimit = stackTraceLimit;
  }
  // None: it has ended already.
  const id = Number(ids[0]);
  return {
    promise,
    setRef(wants) {
      if (ids.length !== 1 || !Number.isInteger(id)) return;
      if (wants) refOpPromise({ [promiseIdSymbol]: id });
      else unrefOpPromise({ [promiseIdSymbol]: id });
    },
  };
}
