/** Peak resident memory of processes while something runs, by looking five times a second. */
import { residentBytes } from "./process-tree.ts";

const LOOK_MS = 200;

export interface Watched {
  readonly name: string;
  readonly pid: number;
}

/** What each process took more than before `work`, at its peak, MiB; in the order given. */
export async function peakGrowth(
  processes: readonly Watched[],
  work: () => Promise<void>,
): Promise<readonly number[]> {
  const before = processes.map(({ pid }) => residentBytes(pid));
  const peaks = [...before];
  const look = (): void => {
    for (const [index, { pid }] of processes.entries()) {
      peaks[index] = Math.max(peaks[index] ?? 0, residentBytes(pid));
    }
  };
  const timer = setInterval(look, LOOK_MS);
  try {
    await work();
  } finally {
    clearInterval(timer);
    look();
  }
  return peaks.map((peak, index) => (peak - (before[index] ?? 0)) / 2 ** 20);
}
