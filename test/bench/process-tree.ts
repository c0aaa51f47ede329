/** What processes cost, read from /proc. Linux only, as the whole bench. */
import { readdirSync, readFileSync } from "node:fs";

/** USER_HZ: Linux reports to user space in hundredths of a second on every architecture. */
const TICK_MS = 10;
const PAGE_BYTES = 4096;

interface ProcessStat {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
  /** User and system time of the process and of its children that have ended. */
  readonly cpuMs: number;
}

/** `root` and everything below it that is alive now. Empty when `root` is gone. */
export function processTree(root: number): readonly number[] {
  const children = Map.groupBy(readProcesses(), ({ parent }) => parent);
  const found: number[] = [];
  const visit = (pid: number): void => {
    found.push(pid);
    for (const child of children.get(pid) ?? []) {
      visit(child.pid);
    }
  };
  if (readStat(root) !== undefined) {
    visit(root);
  }
  return found;
}

/** CPU time that the trees of `roots` have used so far, ended children included. */
export function treeCpuMs(...roots: readonly number[]): number {
  return roots
    .flatMap((root) => processTree(root))
    .reduce((sum, pid) => sum + (readStat(pid)?.cpuMs ?? 0), 0);
}

/** The same of one process alone. */
export function processCpuMs(pid: number): number {
  return readStat(pid)?.cpuMs ?? 0;
}

/** Resident memory of one process. */
export function residentBytes(pid: number): number {
  const pages = readText(`/proc/${pid}/statm`)?.split(" ")[1];
  return Number(pages ?? 0) * PAGE_BYTES;
}

/** Descendants of `root` whose command line holds `text`, `root` itself left out. */
export function findDescendants(root: number, text: string): readonly number[] {
  return processTree(root).filter(
    (pid) =>
      pid !== root && (readText(`/proc/${pid}/cmdline`) ?? "").replaceAll("\0", " ").includes(text),
  );
}

function readProcesses(): readonly ProcessStat[] {
  return readdirSync("/proc").flatMap((name) => {
    const stat = /^\d+$/.test(name) ? readStat(Number(name)) : undefined;
    return stat === undefined ? [] : [stat];
  });
}

/** See proc(5), /proc/pid/stat: the command may hold spaces and brackets, so count from its end. */
function readStat(pid: number): ProcessStat | undefined {
  const text = readText(`/proc/${pid}/stat`);
  if (text === undefined) {
    return undefined;
  }
  const end = text.lastIndexOf(")");
  const fields = text.slice(end + 2).split(" ");
  const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0);
  return {
    pid,
    parent: Number(fields[1]),
    command: text.slice(text.indexOf("(") + 1, end),
    cpuMs: ticks * TICK_MS,
  };
}

/** Undefined when the process ended meanwhile. */
function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
