/** Figures from lists of measurements. Every list here must hold at least one number. */

export function median(values: readonly number[]): number {
  return percentile(values, 50);
}

/** Linear between the two nearest ranks; `rank` from 0 to 100. */
export function percentile(values: readonly number[], rank: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const position = ((sorted.length - 1) * rank) / 100;
  const below = sorted[Math.floor(position)] ?? Number.NaN;
  const above = sorted[Math.ceil(position)] ?? Number.NaN;
  return below + (above - below) * (position % 1);
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Milliseconds since 1970 with a fraction. Comparable between processes only after {@link clockOffset}. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

/**
 * How far a process's fine clock runs ahead of the wall clock, from pairs of both.
 *
 * `performance` starts from the wall clock and then goes its own way, so two processes differ by
 * what the wall clock was adjusted meanwhile. A whole millisecond hides half of one on average.
 */
export function clockOffset(
  pairs: readonly { readonly fine: number; readonly wall: number }[],
): number {
  return mean(pairs.map(({ fine, wall }) => fine - wall)) - 0.5;
}
