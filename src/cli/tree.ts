/**
 * The live tree of an execution: what its events say, as lines of text. Pure: events in, lines out.
 *
 * One line for each visit of a step, in the order of entry; loops count their items, sub-playbooks,
 * waits and retries are noted below. The clock is the server's, as far as events carry it. Takes the
 * stream of events as it is, and its digest.
 */
import type { JsonObject } from "../core/json.ts";
import { field, formatDuration } from "./format.ts";
import type { TreeStyle } from "./tree-lines.ts";
import { paint, visitLines } from "./tree-lines.ts";
import type { Visit, VisitStatus } from "./tree-visit.ts";
import { applyToVisit, newVisit, objectOf } from "./tree-visit.ts";

export class ExecutionTree {
  readonly visits: Visit[] = [];
  /** Visits by step. */
  readonly #counts = new Map<string, number>();
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
    const count = (this.#counts.get(step) ?? 0) + 1;
    this.#counts.set(step, count);
    const visit = newVisit(step, count, startedMs);
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
    applyToVisit(visit, type, event, context);
    if (type !== "step.exit") {
      return undefined;
    }
    visit.endedMs = timeMs;
    visit.status = exitStatus(event, context);
    visit.error = visit.status === "ok" ? "" : visit.error || field(event, "error");
    return visit;
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

  /** The title first, then the visits: all, or the newest so many. */
  lines(style: TreeStyle, limit: number = this.visits.length): readonly string[] {
    const shown = this.visits.slice(Math.max(0, this.visits.length - limit));
    return [
      this.title(style),
      ...shown.flatMap((visit, index) => visitLines(visit, index === shown.length - 1, style)),
    ];
  }
}

function exitStatus(event: JsonObject, context: JsonObject): VisitStatus {
  if (field(event, "status") !== "FAILED") {
    return "ok";
  }
  return context["is_handled"] === true ? "handled" : "failed";
}
