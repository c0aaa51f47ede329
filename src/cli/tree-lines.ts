/** Visits of the live tree as lines of text. Pure. */
import { formatDuration } from "./format.ts";
import type { Visit, VisitStatus } from "./tree-visit.ts";

export interface TreeStyle {
  readonly hasColor: boolean;
  /** Milliseconds since 1970, for what still runs. */
  readonly nowMs: number;
}

const MARKS: Readonly<Record<VisitStatus, { readonly mark: string; readonly color: string }>> = {
  running: { mark: "●", color: "36" },
  ok: { mark: "✓", color: "32" },
  handled: { mark: "!", color: "33" },
  failed: { mark: "✗", color: "31" },
  skipped: { mark: "○", color: "90" },
};
const WAITING = { mark: "◌", color: "33" };
const NAME_WIDTH = 28;
const ERROR_WIDTH = 100;

/** The line of a visit and, indented below it, its notes. */
export function visitLines(visit: Visit, isLast: boolean, style: TreeStyle): readonly string[] {
  const isWaiting = visit.status === "running" && visit.waits.size > 0;
  const { mark, color } = isWaiting ? WAITING : MARKS[visit.status];
  const name = visit.visit === 1 ? visit.step : `${visit.step} #${visit.visit}`;
  const took = formatDuration(Math.max(0, (visit.endedMs ?? style.nowMs) - visit.startedMs));
  const parts = [
    isLast ? "└─" : "├─",
    paint(mark, color, style.hasColor),
    name.padEnd(NAME_WIDTH),
    took.padStart(8),
    itemText(visit),
    paint(firstLine(errorText(visit)), color, style.hasColor),
  ];
  const stem = isLast ? "  " : "│ ";
  return [
    parts.filter((part) => part !== "").join(" "),
    ...notesOf(visit, style).map((note) => paint(`${stem}   ${note}`, "90", style.hasColor)),
  ];
}

function notesOf(visit: Visit, { nowMs }: TreeStyle): readonly string[] {
  const times = visit.handOuts === 1 ? "once" : `${visit.handOuts} times`;
  return [
    ...visit.notes,
    ...(visit.handOuts === 0 ? [] : [`items handed out again ${times}`]),
    ...waitNotes(visit, nowMs),
    ...retryNotes(visit),
  ];
}

/** The oldest wait, and how many more there are. */
function waitNotes({ status, waits }: Visit, nowMs: number): readonly string[] {
  const [first] = waits.values();
  if (status !== "running" || first === undefined) {
    return [];
  }
  const { text, endMs } = first;
  const left = endMs === undefined ? "" : ` (${leftText(endMs - nowMs)})`;
  return [waits.size === 1 ? `${text}${left}` : `${text}${left} (and ${waits.size - 1} more)`];
}

/** In whole seconds, and days where there are any: it is looked at while it counts down. */
function leftText(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  if (seconds < 60) {
    return `${seconds} s left`;
  }
  const hours = Math.floor(seconds / 3600);
  return hours < 24
    ? `${formatDuration(seconds * 1000)} left`
    : `${Math.floor(hours / 24)} d ${hours % 24} h left`;
}

/** `tried again 3 times: HTTP 503 …`, of a loop also how many of its items. */
function retryNotes({ retries, total, error }: Visit): readonly string[] {
  const all = [...retries.values()];
  if (all.length === 0) {
    return [];
  }
  const count = all.reduce((sum, each) => sum + each.count, 0);
  const items = total === undefined ? "" : `${all.length} ${all.length === 1 ? "item" : "items"} `;
  const times = count === 1 ? "once" : `${count} times`;
  const message = all.findLast((each) => each.message !== "")?.message ?? "";
  // A step that failed in the end has said it in its own line.
  const isKnown = message === "" || error.includes(message);
  return [`${items}tried again ${times}${isKnown ? "" : `: ${firstLine(message)}`}`];
}

/** Without the step's name and attempt at its begin, which the lines say anyway. */
function errorText({ step, error }: Visit): string {
  const rest = error.startsWith(step) ? error.slice(step.length) : "";
  const prefix = /^(, attempt \d+)?: /.exec(rest);
  return prefix === null ? error : rest.slice(prefix[0].length);
}

function itemText({ total, done, failed, frames }: Visit): string {
  if (total === undefined) {
    return "";
  }
  const claimed = frames === 0 ? "" : `, ${frames} ${frames === 1 ? "frame" : "frames"}`;
  return `${done}/${total} items${claimed}${failed === 0 ? "" : `, ${failed} failed`}`;
}

function firstLine(text: string): string {
  const line = text.split("\n")[0] ?? "";
  return line.length > ERROR_WIDTH ? `${line.slice(0, ERROR_WIDTH)}…` : line;
}

export function paint(text: string, color: string, hasColor: boolean): string {
  return hasColor && text !== "" ? `\u001b[${color}m${text}\u001b[0m` : text;
}
