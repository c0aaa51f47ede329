/** What `container inspect` says, in the parts that all runtimes have in common. */
import type { Labels } from "./labels.ts";

export interface Inspection {
  readonly id: string;
  readonly name: string;
  readonly labels: Labels;
  readonly status: "created" | "running" | "ended";
  /** Of its first process, as the runtime's machine numbers it; 0 when it has none. */
  readonly pid: number;
  readonly exitCode: number;
  readonly isOomKilled: boolean;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  /** Why it could not be started, as far as the runtime keeps that. */
  readonly error: string;
  /** Of the image that it was made from. */
  readonly imageId: string;
}

/** States without a process that were running before. */
const ENDED: ReadonlySet<string> = new Set(["exited", "stopped", "dead", "removing"]);
/** States that no process of the task has run in. */
const CREATED: ReadonlySet<string> = new Set(["created", "configured", "initialized"]);

/** @param text a JSON array, also of a call that has failed for some of what it was asked. */
export function parseInspections(text: string): readonly Inspection[] {
  return parseArray(text).map(toInspection);
}

function parseArray(text: string): readonly Tree[] {
  try {
    const found: unknown = JSON.parse(text.trim());
    return Array.isArray(found) ? found.filter(isTree) : [];
  } catch {
    return [];
  }
}

function toInspection(container: Tree): Inspection {
  const state = treeOf(container["State"]);
  const word = textOf(state["Status"]).toLowerCase();
  const startedAtMs = timeOf(state["StartedAt"]);
  return {
    id: textOf(container["Id"]),
    name: textOf(container["Name"]).replace(/^\//, ""),
    labels: labelsOf(treeOf(container["Config"])["Labels"]),
    status: statusOf(word),
    pid: numberOf(state["Pid"]),
    exitCode: numberOf(state["ExitCode"]),
    isOomKilled: state["OOMKilled"] === true,
    startedAtMs,
    // Podman's start is when its own process saw it, which may be after a short end.
    endedAtMs: Math.max(startedAtMs, timeOf(state["FinishedAt"])),
    error: textOf(state["Error"]),
    imageId: textOf(container["Image"]),
  };
}

function statusOf(word: string): Inspection["status"] {
  if (ENDED.has(word)) {
    return "ended";
  }
  return CREATED.has(word) ? "created" : "running";
}

export type Tree = Readonly<Record<string, unknown>>;

export function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function treeOf(value: unknown): Tree {
  return isTree(value) ? value : {};
}

export function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function numberOf(value: unknown): number {
  return typeof value === "number" ? value : 0;
}

/** Whole milliseconds; 0 for the year 1, which means never. */
function timeOf(value: unknown): number {
  const ms = Date.parse(textOf(value));
  return Number.isNaN(ms) || ms < 0 ? 0 : ms;
}

function labelsOf(value: unknown): Labels {
  const labels: Record<string, string> = {};
  for (const [name, text] of Object.entries(treeOf(value))) {
    labels[name] = textOf(text);
  }
  return labels;
}
