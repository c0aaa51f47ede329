/** One visit of a step, as the live tree knows it: grows with the events of the stream. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { field } from "./format.ts";

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
  /** Of a cursor: claims that gave rows. */
  frames: number;
  error: string;
  readonly notes: string[];
  /** Items of a loop that were handed out again, because a worker was lost or stopped. */
  handOuts: number;
  /** By loop item, or under one key without a loop: what its task waits for. */
  readonly waits: Map<string, Wait>;
  /** By loop item, or under one key without a loop: how often its tasks were tried again. */
  readonly retries: Map<string, Retries>;
}

export interface Wait {
  /** `waits for signal approve, at most until …`. */
  readonly text: string;
  /** When it is over or given up; undefined: as long as it takes. */
  readonly endMs: number | undefined;
}

export interface Retries {
  readonly count: number;
  /** Message of the newest failure; may be "". */
  readonly message: string;
}

export function newVisit(step: string, visit: number, startedMs: number): Visit {
  return {
    step,
    visit,
    startedMs,
    status: "running",
    endedMs: undefined,
    total: undefined,
    done: 0,
    failed: 0,
    frames: 0,
    error: "",
    notes: [],
    handOuts: 0,
    waits: new Map(),
    retries: new Map(),
  };
}

/** What an event changes in the visit that it belongs to, other than its end. */
export function applyToVisit(
  visit: Visit,
  type: string,
  event: JsonObject,
  context: JsonObject,
): void {
  noteRetries(visit, event);
  switch (type) {
    case "loop.started":
      visit.total = Number(context["iterations_expected"]);
      return;
    case "loop.frame":
      visit.total = (visit.total ?? 0) + Number(context["items"]);
      visit.frames += Number(context["rows"] ?? 0) > 0 ? 1 : 0;
      return;
    case "loop.progress":
      addProgress(visit, event, context);
      return;
    case "call.done":
      visit.done += isPull(event) ? 0 : 1;
      return;
    case "call.error":
      visit.failed += isPull(event) ? 0 : 1;
      visit.error = field(event, "error");
      return;
    case "command.yielded":
      noteRateLimit(visit, context);
      return;
    case "command.adopted":
      visit.notes.push(`taken over by worker ${field(objectOf(event["meta"]), "worker_id")}`);
      return;
    case "command.retried":
      visit.notes.push(`handed out again: ${field(context, "reason")}`);
      return;
    case "child.started":
      visit.notes.push(`${field(context, "path")} as ${field(context, "execution_id")}`);
      return;
    case "child.done":
      visit.done++;
      return;
    case "wait.started":
      visit.waits.set(itemOf(event), readWait(context));
      return;
    case "wait.done":
      visit.waits.delete(itemOf(event));
      visit.done++;
      return;
    default:
  }
}

/** Sums of many items, see src/server/event-digest.ts. */
function addProgress(visit: Visit, event: JsonObject, context: JsonObject): void {
  const number = (name: string): number => Number(context[name] ?? 0);
  visit.done += number("done");
  visit.failed += number("failed");
  visit.frames += number("frames");
  visit.handOuts += number("handed_out");
  if (number("items") > 0) {
    visit.total = (visit.total ?? 0) + number("items");
  }
  visit.error = field(event, "error") || visit.error;
  const message = field(context, "retried_after");
  for (const [index, count] of Object.entries(objectOf(context["retried"]))) {
    visit.retries.set(index, { count: Number(count), message });
  }
  noteRateLimit(visit, context);
}

export function objectOf(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}

/** What a cursor does beside its items. */
function isPull(event: JsonObject): boolean {
  return objectOf(event["meta"])["puller"] !== undefined;
}

function itemOf(event: JsonObject): string {
  return field(objectOf(event["meta"]), "iteration_index");
}

function readWait(context: JsonObject): Wait {
  const signal = field(context, "signal");
  const until = field(context, "until");
  const deadline = field(context, "deadline");
  const what = signal === "" ? "" : ` for signal ${signal}`;
  const end = until === "" ? "" : ` until ${until}`;
  const endMs = Date.parse(until || deadline);
  return {
    text: `waits${what}${end}${deadline === "" ? "" : `, at most until ${deadline}`}`,
    endMs: Number.isNaN(endMs) ? undefined : endMs,
  };
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
