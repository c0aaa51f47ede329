/** Limits of processes, where this machine allows no more than it has itself: rootless, or in a container. */
import { readFileSync } from "node:fs";

/** As /proc calls what `--ulimit` calls so. */
const NAMES: Readonly<Record<string, string>> = {
  core: "Max core file size",
  cpu: "Max cpu time",
  data: "Max data size",
  fsize: "Max file size",
  locks: "Max file locks",
  memlock: "Max locked memory",
  msgqueue: "Max msgqueue size",
  nofile: "Max open files",
  nproc: "Max processes",
  rss: "Max resident set",
  sigpending: "Max pending signals",
  stack: "Max stack size",
};
/** Podman sets them to what root may have, unless no limit at all is asked for. */
const PODMAN_DEFAULTS = ["nofile", "nproc"] as const;
const CAP_SYS_RESOURCE = 24n;

/** What this process may give away: its hard limits, by /proc's names; undefined: anything. */
export interface OwnLimits {
  /** Text of `/proc/self/limits`. */
  readonly limits: string;
  /** Processes that the kernel can number; podman lowers its own limit to that. */
  readonly pidMax: number;
}

/** Undefined where limits can be raised, or nobody can tell. */
export function readOwnLimits(): OwnLimits | undefined {
  try {
    const capabilities = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"));
    const mayRaise = ((BigInt(`0x${capabilities?.[1] ?? "0"}`) >> CAP_SYS_RESOURCE) & 1n) === 1n;
    if (mayRaise) {
      return undefined;
    }
    const pidMax = Number(readFileSync("/proc/sys/kernel/pid_max", "utf8"));
    return { limits: readFileSync("/proc/self/limits", "utf8"), pidMax };
  } catch {
    // No Linux.
    return undefined;
  }
}

/**
 * Makes `memlock=-1:-1` as much as is allowed, where all is not. Numbers stay: a runtime that cannot give them
 * refuses them.
 */
export function allowedUlimits(
  ulimits: readonly string[],
  own: OwnLimits | undefined,
  { isPodman }: { readonly isPodman: boolean },
): readonly string[] {
  if (own === undefined || ulimits.length === 0) {
    return ulimits;
  }
  const named = new Set(ulimits.map((limit) => limit.split("=")[0]));
  const added = isPodman ? PODMAN_DEFAULTS.filter((name) => !named.has(name)) : [];
  return [...ulimits, ...added.map((name) => `${name}=-1:-1`)].map((limit) => {
    const [name = "", values = ""] = limit.split("=");
    const most = hardLimit(own, name);
    return `${name}=${values.replaceAll(/-1|unlimited/g, most)}`;
  });
}

function hardLimit({ limits, pidMax }: OwnLimits, name: string): string {
  const label = NAMES[name] ?? "";
  const line = limits.split("\n").find((text) => label !== "" && text.startsWith(label));
  const hard = line?.slice(label.length).trim().split(/\s+/)[1];
  const most = hard === undefined || hard === "unlimited" ? "-1" : hard;
  return name === "nproc" ? String(most === "-1" ? pidMax : Math.min(pidMax, Number(most))) : most;
}
