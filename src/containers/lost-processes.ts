/**
 * Processes of a container that its runtime does not know of: a daemon that is killed while it starts one takes
 * it for never started, and can neither stop nor see it. Their control groups name it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { sleep } from "../core/clock.ts";

const END_MS = 10_000;
const POLL_MS = 20;

/** Kills them. True: there were some, and all are gone; false: there were none to be seen from here, or some would not go. */
export async function endLostProcesses(containerId: string): Promise<boolean> {
  const giveUpAtMs = performance.now() + END_MS;
  let found = processesOf(containerId);
  const hadSome = found.length > 0;
  while (found.length > 0 && performance.now() < giveUpAtMs) {
    found.forEach(kill);
    await sleep(POLL_MS);
    found = processesOf(containerId);
  }
  return hadSome && found.length === 0;
}

function processesOf(containerId: string): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => cgroupOf(pid).includes(containerId));
}

function cgroupOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, "utf8");
  } catch {
    // Gone in between.
    return "";
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone in between, or not ours to kill: it will show.
  }
}
