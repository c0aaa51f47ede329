/** How a worker lets go of what it holds, once it is told to stop. */
import { sleep } from "../core/clock.ts";
import type { HeldCommands, HeldEntry } from "./held-commands.ts";
import type { DrainMode } from "./options.ts";

/** How long stopped tools and last reports may take, beyond what a tool says of itself. */
const ABORT_WAIT_MS = 8000;
/** For the report of a tool that has taken all the time that it may. */
const REPORT_WAIT_MS = 3000;

export interface DrainOptions {
  readonly held: HeldCommands;
  readonly mode: DrainMode;
  readonly graceMs: number;
  /** Called before containers are left: their leases last from here. */
  readonly onLeave: () => void;
}

/** False: something has not ended in time. */
export async function drain({ held, mode, graceMs, onLeave }: DrainOptions): Promise<boolean> {
  // Others attach to what runs in a cluster; the sooner, the less of its log comes late.
  held.stopAll("shutdown", ({ isParked }) => isParked);
  if (mode === "leave") {
    await drainPlain(held, graceMs);
    onLeave();
    held.stopAll("left");
  } else if (mode === "stop" || !(await within(graceMs, held.empty()))) {
    held.stopAll("shutdown");
  }
  return await within(abortWaitMs(held), held.empty());
}

async function drainPlain(held: HeldCommands, graceMs: number): Promise<void> {
  const isPlain = ({ isDurable }: HeldEntry): boolean => !isDurable;
  if (!(await within(graceMs, held.empty(isPlain)))) {
    held.stopAll("shutdown", isPlain);
    await within(abortWaitMs(held), held.empty(isPlain));
  }
}

function abortWaitMs({ stopMs }: HeldCommands): number {
  return Math.max(ABORT_WAIT_MS, stopMs + REPORT_WAIT_MS);
}

/** True if `done` resolved in time. */
export async function within(ms: number, done: Promise<void>): Promise<boolean> {
  const timer = new AbortController();
  const isDone = await Promise.race([
    done.then(() => true),
    sleep(ms, timer.signal).then(() => false),
  ]);
  timer.abort();
  return isDone;
}
