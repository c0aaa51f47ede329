/** What a tool may do to the processes that it has started. */
import { readFileSync, writeFileSync } from "node:fs";

const PAGE_BYTES = 4096;

/** Ends everything that a tool's process has started. The process must lead its own group. */
export function killGroup(pid: number, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // No process of the group is left.
  }
}

/** Makes the kernel, when memory runs out, end this process and its children before others. */
export function preferAsOomVictim(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, "1000");
  } catch {
    // Not Linux, or the process is gone.
  }
}

/** Resident memory of a process in bytes; 0 where it cannot be told. */
export function residentBytes(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * PAGE_BYTES;
  } catch {
    return 0;
  }
}

/** True while a process uses, or waits for, a processor; false where it cannot be told. */
export function isComputing(pid: number): boolean {
  try {
    return / \(.*\) R /s.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
