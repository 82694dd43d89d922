/** Side by side: a baseline and candidates in turns, ratios of medians, the baseline's own spread. */

/** Something to be measured: does its work once and returns how much was done a second. */
export type Work = () => Promise<number>;

/** One row of a result. */
export interface Row {
  readonly name: string;
  /** What the ratio should be at least, if anything. */
  readonly bar: number | undefined;
  /** The median of the rounds' ratios: the candidate by the mean of the baseline before and after. */
  readonly ratio: number;
  /** The baseline against itself in the same rounds, without the outer quarters. */
  readonly spread: readonly [number, number];
  readonly baseline: number;
  readonly rounds: number;
}

/** The middle of some numbers. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2
    ? sorted[half]!
    : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** Runs a program of its own that prints a number, and returns the number. */
export async function inChild(
  program: URL,
  ...args: string[]
): Promise<number> {
  const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--v8-flags=--expose-gc", program.href, ...args],
  }).output();
  const text = new TextDecoder();
  if (!success) throw new Error(text.decode(stderr));
  return Number(text.decode(stdout));
}

/**
 * Measures a baseline and a candidate. Each round runs the baseline, the candidate and the baseline
 * again; the two baseline runs of a round against each other show what the machine's noise alone does.
 */
export async function sideBySide(
  name: string,
  bar: number | undefined,
  baseline: Work,
  candidate: Work,
  rounds: number,
): Promise<Row> {
  await baseline();
  await candidate();
  const base: number[] = [];
  const ratios: number[] = [];
  const noise: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const before = await baseline();
    const measured = await candidate();
    const after = await baseline();
    base.push(before, after);
    ratios.push(measured / ((before + after) / 2));
    noise.push(i % 2 ? before / after : after / before);
  }
  noise.sort((a, b) => a - b);
  const quarter = Math.floor(rounds / 4);
  return {
    name,
    bar,
    ratio: median(ratios),
    spread: [noise[quarter]!, noise[rounds - 1 - quarter]!],
    baseline: median(base),
    rounds,
  };
}

/** A row for the terminal. */
export function format(row: Row, unit: string): string {
  const { name, bar, ratio, spread, baseline, rounds } = row;
  const verdict = bar === undefined
    ? ""
    : ratio >= bar
    ? "holds"
    : ratio >= bar - (1 - spread[0])
    ? "holds within the spread"
    : "MISSED";
  return [
    name.padEnd(46),
    ratio.toFixed(3),
    `spread ${spread[0].toFixed(3)}-${spread[1].toFixed(3)}`,
    bar === undefined ? "" : `bar ${bar}`,
    `raw ${baseline.toPrecision(4)} ${unit}`,
    `${rounds} rounds`,
    verdict,
  ].join("  ");
}
