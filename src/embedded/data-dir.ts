/** The folder of an embedded platform: one process at a time, named by `noetl.pid`. */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../core/errors.ts";

export interface DataDirLock extends Disposable {
  readonly dir: string;
}

interface Holder {
  readonly pid: number;
  /** Clock ticks since boot at which the process started: tells it from a later one of the same id. */
  readonly startTicks: string;
}

/**
 * Makes the folder if needed and takes it until the lock is disposed or the process dies.
 *
 * @throws AppError `DATA_DIR_IN_USE` naming the process that holds it.
 */
export function lockDataDir(dir: string): DataDirLock {
  mkdirSync(dir, { recursive: true });
  const path = join(dir, "noetl.pid");
  const mine = `${path}.${process.pid}`;
  writeFileSync(mine, JSON.stringify({ pid: process.pid, startTicks: startTicks(process.pid) }));
  try {
    take(dir, path, mine);
  } finally {
    rmSync(mine, { force: true });
  }
  return { dir, [Symbol.dispose]: () => rmSync(path, { force: true }) };
}

function take(dir: string, path: string, mine: string): void {
  for (;;) {
    try {
      linkSync(mine, path);
      return;
    } catch (error) {
      if (!(error instanceof Error) || !("code" in error) || error.code !== "EEXIST") {
        throw error;
      }
    }
    refuseIfHeld(dir, path);
    removeStale(dir, path);
  }
}

function refuseIfHeld(dir: string, path: string): void {
  const holder = readHolder(path);
  if (holder !== undefined && startTicks(holder.pid) === holder.startTicks) {
    throw new AppError(
      "conflict",
      "DATA_DIR_IN_USE",
      `The data folder ${dir} is in use by noetl process ${holder.pid}: stop it, or choose another folder with --data-dir`,
    );
  }
}

/** Another process may have taken the stale lock since it was read: then it gets it back. */
function removeStale(dir: string, path: string): void {
  const aside = `${path}.stale.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch {
    // Removed by another; the next round tells who has it.
    return;
  }
  try {
    refuseIfHeld(dir, aside);
  } catch (error) {
    linkSync(aside, path);
    throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

function readHolder(path: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Holder;
  } catch {
    // Removed in between, or cut short by a crash of the machine.
    return undefined;
  }
}

/** Undefined if no such process runs; the empty text where there is no /proc. */
function startTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command in parentheses may hold spaces; field 22 is the 20th after it.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return undefined;
  }
}
