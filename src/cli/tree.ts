/**
 * The live tree of an execution: what its events say, as lines of text. Pure: events in, lines out.
 *
 * One line for each visit of a step, in the order of entry; loops count their items, sub-playbooks
 * and retries are noted below. The clock is the server's, as far as events carry it.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { field, formatDuration } from "./format.ts";

export type VisitStatus = "running" | "ok" | "handled" | "failed" | "skipped";

export interface Visit {
  readonly step: string;
  readonly visit: number;
  readonly startedMs: number;
  status: VisitStatus;
  endedMs: number | undefined;
  /** Items of a loop. */
  total: number | undefined;
  done: number;
  failed: number;
  error: string;
  readonly notes: string[];
  /** By loop item, or under one key without a loop: what its task waits for. */
  readonly waits: Map<string, string>;
  /** By loop item, or under one key without a loop: how often its tasks were tried again. */
  readonly retries: Map<string, Retries>;
}

interface Retries {
  readonly count: number;
  /** Message of the newest failure; may be "". */
  readonly message: string;
}

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
const NAME_WIDTH = 28;
const ERROR_WIDTH = 100;

export class ExecutionTree {
  readonly visits: Visit[] = [];
  #title = "";
  #startedMs: number | undefined;
  #endedMs: number | undefined;

  /** Path and version; "" before the first event. */
  get name(): string {
    return this.#title;
  }

  /** Takes the next event of the stream and gives the visit that it ended, if it did. */
  apply(event: JsonObject): Visit | undefined {
    const type = field(event, "event_type");
    const timeMs = Date.parse(field(event, "created_at"));
    const context = objectOf(event["context"]);
    if (type === "playbook.started") {
      this.#title = `${field(context, "path")} v${field(context, "version")}`;
      this.#startedMs = timeMs;
    } else if (/^playbook\.(completed|failed|cancelled)$/.test(type)) {
      this.#end(timeMs);
    } else if (type === "playbook.resumed") {
      this.#endedMs = undefined;
    } else if (type === "step.enter") {
      this.#resume(this.#enter(event, timeMs), context);
    } else if (type === "step.skipped") {
      const skipped = this.#enter(event, timeMs);
      skipped.status = "skipped";
      skipped.endedMs = timeMs;
      skipped.error = field(context, "reason");
      return skipped;
    } else {
      return this.#applyToVisit(type, event, { timeMs, context });
    }
    return undefined;
  }

  #enter(event: JsonObject, startedMs: number): Visit {
    const step = field(event, "node_name");
    const visit: Visit = {
      step,
      visit: this.visits.filter((known) => known.step === step).length + 1,
      startedMs,
      status: "running",
      endedMs: undefined,
      total: undefined,
      done: 0,
      failed: 0,
      error: "",
      notes: [],
      waits: new Map(),
      retries: new Map(),
    };
    this.visits.push(visit);
    return visit;
  }

  /** A retry: the good items of a loop are those of the visit before. */
  #resume(visit: Visit, context: JsonObject): void {
    const number = Number(context["resumes"] ?? 0);
    const before = this.visits.find((one) => one.step === visit.step && one.visit === number);
    if (before !== undefined) {
      visit.total = before.total;
      visit.done = before.total === undefined ? 0 : before.done;
      visit.notes.push("retried");
    }
  }

  /** What still ran was cut off. */
  #end(timeMs: number): void {
    this.#endedMs = timeMs;
    for (const visit of this.visits.filter(({ status }) => status === "running")) {
      visit.status = "skipped";
      visit.endedMs = timeMs;
      visit.error = "cut off";
    }
  }

  #applyToVisit(
    type: string,
    event: JsonObject,
    { timeMs, context }: { readonly timeMs: number; readonly context: JsonObject },
  ): Visit | undefined {
    const visit = this.#find(event);
    if (visit === undefined) {
      return undefined;
    }
    noteRetries(visit, event);
    switch (type) {
      case "loop.started":
        visit.total = Number(context["iterations_expected"]);
        return undefined;
      case "loop.frame":
        visit.total = (visit.total ?? 0) + Number(context["items"]);
        return undefined;
      case "call.done":
        visit.done += isPull(event) ? 0 : 1;
        return undefined;
      case "call.error":
        visit.failed += isPull(event) ? 0 : 1;
        visit.error = field(event, "error");
        return undefined;
      case "command.yielded":
        noteRateLimit(visit, context);
        return undefined;
      case "command.retried":
        visit.notes.push(`handed out again: ${field(context, "reason")}`);
        return undefined;
      case "child.started":
        visit.notes.push(`${field(context, "path")} as ${field(context, "execution_id")}`);
        return undefined;
      case "child.done":
        visit.done++;
        return undefined;
      case "wait.started":
        visit.waits.set(itemOf(event), waitText(context));
        return undefined;
      case "wait.done":
        visit.waits.delete(itemOf(event));
        visit.done++;
        return undefined;
      case "step.exit":
        visit.endedMs = timeMs;
        visit.status = exitStatus(event, context);
        visit.error = visit.status === "ok" ? "" : visit.error || field(event, "error");
        return visit;
      default:
        return undefined;
    }
  }

  /** The newest visit of the event's step, unless the event says which. */
  #find(event: JsonObject): Visit | undefined {
    const step = field(event, "node_name");
    const number = Number(objectOf(event["meta"])["visit"] ?? 0);
    return this.visits.findLast(
      (visit) => visit.step === step && (number === 0 || visit.visit === number),
    );
  }

  /** One line, without the visits. */
  title({ nowMs, hasColor }: TreeStyle): string {
    const took =
      this.#startedMs === undefined
        ? ""
        : formatDuration((this.#endedMs ?? nowMs) - this.#startedMs);
    return `${paint(this.#title, "1", hasColor)}  ${took}`;
  }

  /** All lines, the title first. */
  lines(style: TreeStyle): readonly string[] {
    const last = this.visits.length - 1;
    return [
      this.title(style),
      ...this.visits.flatMap((visit, index) => visitLines(visit, index === last, style)),
    ];
  }
}

/** What a cursor does beside its items. */
function isPull(event: JsonObject): boolean {
  return objectOf(event["meta"])["puller"] !== undefined;
}

function objectOf(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}

function itemOf(event: JsonObject): string {
  return field(objectOf(event["meta"]), "iteration_index");
}

/** `waits for signal approve, at most until …`. */
function waitText(context: JsonObject): string {
  const signal = field(context, "signal");
  const until = field(context, "until");
  const deadline = field(context, "deadline");
  const what = signal === "" ? "" : ` for signal ${signal}`;
  const end = until === "" ? "" : ` until ${until}`;
  return `waits${what}${end}${deadline === "" ? "" : `, at most until ${deadline}`}`;
}

/** The oldest wait, and how many more there are. */
function waitNotes({ status, waits }: Visit): readonly string[] {
  const [first] = waits.values();
  if (status !== "running" || first === undefined) {
    return [];
  }
  return [waits.size === 1 ? first : `${first} (and ${waits.size - 1} more)`];
}

/** Events carry the sum of their run, so the newest one says it all. */
function noteRetries({ retries }: Visit, event: JsonObject): void {
  const meta = objectOf(event["meta"]);
  const { count, last } = objectOf(meta["retries"]);
  if (typeof count === "number") {
    const message = field(objectOf(last), "message");
    retries.set(field(meta, "iteration_index"), { count, message });
  }
}

/** Once for each rate limit: a loop of many items waits many times. */
function noteRateLimit({ notes }: Visit, context: JsonObject): void {
  const key = field(context, "rate_limit");
  const note = `waits for rate limit ${key}`;
  if (key !== "" && !notes.includes(note)) {
    notes.push(note);
  }
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

function exitStatus(event: JsonObject, context: JsonObject): VisitStatus {
  if (field(event, "status") !== "FAILED") {
    return "ok";
  }
  return context["is_handled"] === true ? "handled" : "failed";
}

/** The line of a visit and, indented below it, its notes. */
export function visitLines(visit: Visit, isLast: boolean, style: TreeStyle): readonly string[] {
  const { mark, color } = MARKS[visit.status];
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
    ...[...visit.notes, ...waitNotes(visit), ...retryNotes(visit)].map((note) =>
      paint(`${stem}   ${note}`, "90", style.hasColor),
    ),
  ];
}

/** Without the step's name and attempt at its begin, which the lines say anyway. */
function errorText({ step, error }: Visit): string {
  const rest = error.startsWith(step) ? error.slice(step.length) : "";
  const prefix = /^(, attempt \d+)?: /.exec(rest);
  return prefix === null ? error : rest.slice(prefix[0].length);
}

function itemText({ total, done, failed }: Visit): string {
  if (total === undefined) {
    return "";
  }
  return `${done}/${total} items${failed === 0 ? "" : `, ${failed} failed`}`;
}

function firstLine(text: string): string {
  const line = text.split("\n")[0] ?? "";
  return line.length > ERROR_WIDTH ? `${line.slice(0, ERROR_WIDTH)}…` : line;
}

function paint(text: string, color: string, hasColor: boolean): string {
  return hasColor && text !== "" ? `\u001b[${color}m${text}\u001b[0m` : text;
}
