/**
 * Names a process so that another one can tell for sure that it is dead: process ids are used again, and
 * mean nothing in another container.
 */
import { readFileSync, readlinkSync } from "node:fs";

/** Field 22 of `/proc/<pid>/stat`, counted from the one behind the name in brackets. */
const START_TIME_FIELD = 19;
/** What is left of a process that has ended. */
const ENDED: ReadonlySet<string> = new Set(["Z", "X"]);
/** By a signal, or by a debugger. */
const STOPPED: ReadonlySet<string> = new Set(["T", "t"]);

/**
 * `<pid namespace>:<pid>:<start time in clock ticks since boot>`; of a system without /proc, whose
 * processes nobody can look up, `unknown:<pid>:0`.
 */
export function processIdentity(pid: number = process.pid): string {
  const namespace = ownNamespace();
  const startTime = namespace === undefined ? undefined : statOf(pid)?.startTime;
  return startTime === undefined ? `unknown:${pid}:0` : `${namespace}:${pid}:${startTime}`;
}

/**
 * `dead` and `alive` only when that is certain: it lived in this pid namespace, and is gone, or its id belongs
 * to another process by now; or it is there. A process that was killed and that nobody has waited for yet is
 * dead. `stopped`: it is there and does nothing, until somebody lets it go on.
 */
export function processState(identity: string): "dead" | "alive" | "stopped" | "unknown" {
  const [namespace, pid, startTime] = identity.split(":");
  if (namespace === undefined || namespace !== ownNamespace() || !/^\d+$/.test(pid ?? "")) {
    return "unknown";
  }
  try {
    const found = statOf(Number(pid));
    if (found === undefined || found.startTime !== startTime) {
      return "dead";
    }
    return STOPPED.has(found.state) ? "stopped" : "alive";
  } catch {
    // Something is there that this process may not look at.
    return "unknown";
  }
}

function ownNamespace(): string | undefined {
  try {
    return /\[(\d+)\]/.exec(readlinkSync("/proc/self/ns/pid"))?.[1];
  } catch {
    // No Linux.
    return undefined;
  }
}

/** Undefined: there is no such process, or only what is left of it. */
function statOf(pid: number): { readonly state: string; readonly startTime: string } | undefined {
  const text = readStat(pid);
  // The name may hold blanks and brackets.
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  const state = fields?.[0];
  const startTime = fields?.[START_TIME_FIELD];
  return state === undefined || startTime === undefined || ENDED.has(state)
    ? undefined
    : { state, startTime };
}

function readStat(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOENT" || code === "ESRCH") {
      return undefined;
    }
    throw error;
  }
}
