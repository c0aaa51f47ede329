import { readFileSync } from "node:fs";
import { waitFor } from "../../support/wait.ts";

/** False for a process that is gone or waits only to be reaped. */
export function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

export async function waitUntilGone(pid: number): Promise<void> {
  await waitFor(`process ${pid} to end`, () => !isAlive(pid));
}
