/** Makes a test from an execution: its tasks' answers become stubs, its outcome what is expected. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Playbook, Step } from "../dsl/playbook.ts";
import { WAIT_KIND } from "../engine/server-task.ts";

/** As the API shows it; results that are stored apart are loaded. */
export interface RecordedExecution {
  /** In capitals. */
  readonly status: string;
  readonly workload: JsonObject;
  readonly result: Json;
  /** Of a failed one, a Failure. */
  readonly error: JsonObject | undefined;
  readonly events: readonly JsonObject[];
}

export interface RecordedTest {
  readonly test: JsonObject;
  /** What could not be recorded, for people. */
  readonly remarks: readonly string[];
}

/** @param name of the test. */
export function makeTest(
  name: string,
  playbook: Playbook,
  execution: RecordedExecution,
): RecordedTest {
  const recorder = new Recorder(playbook);
  for (const event of execution.events) {
    recorder.add(event);
  }
  const { stubs, signals, visited } = recorder;
  const { status, workload, result, error } = execution;
  const test: JsonObject = {
    name,
    payload: workload,
    ...(stubs.length === 0 ? {} : { stubs }),
    ...(signals.length === 0 ? {} : { signals }),
    expect: {
      status,
      visited,
      ...(status === "COMPLETED" ? { result } : {}),
      ...(error === undefined
        ? {}
        : { error: { code: error["code"] ?? null, step: error["step"] ?? null } }),
    },
  };
  return { test, remarks: recorder.remarks };
}

/** Kinds that a test runs as they are. */
const OWN_KINDS: ReadonlySet<string> = new Set(["noop", WAIT_KIND]);
const MAX_REMARKS = 20;

class Recorder {
  readonly stubs: JsonObject[] = [];
  readonly signals: JsonObject[] = [];
  readonly visited: string[] = [];
  readonly #steps: ReadonlyMap<string, Step>;
  readonly #remarks = new Set<string>();
  #startedMs: number | undefined;

  constructor({ steps }: Playbook) {
    this.#steps = new Map(steps.map((step) => [step.name, step]));
  }

  get remarks(): readonly string[] {
    return [...this.#remarks].slice(0, MAX_REMARKS);
  }

  add(event: JsonObject): void {
    const atMs = Date.parse(String(event["created_at"]));
    this.#startedMs ??= atMs;
    const step = this.#steps.get(String(event["node_name"]));
    switch (event["event_type"]) {
      case "step.enter":
        this.visited.push(String(event["node_name"]));
        break;
      case "call.done":
      case "call.error":
      case "child.done":
        if (step !== undefined) {
          this.#addCall(step, event);
        }
        break;
      case "loop.frame":
        this.#remarks.add(
          `the rows that the cursor of ${event["node_name"]} claimed are not recorded`,
        );
        break;
      case "signal.received":
        this.#addSignal(event, atMs - this.#startedMs);
        break;
      default:
    }
  }

  #addSignal({ context }: JsonObject, afterMs: number): void {
    const { signal, payload } = mapOf(context);
    this.signals.push({
      name: signal ?? null,
      ...(payload === undefined || payload === null ? {} : { payload }),
      ...(afterMs > 0 ? { after: afterMs / 1000 } : {}),
    });
  }

  /** The end of a run: all tasks of a pipeline, or the only one. */
  #addCall(step: Step, event: JsonObject): void {
    const meta = mapOf(event["meta"]);
    const isPart = event["event_type"] === "child.done" && step.isPipeline;
    if (meta["puller"] !== undefined || isPart) {
      return;
    }
    const { visit, iteration_index: index } = meta;
    const place = {
      step: step.name,
      ...(typeof visit === "number" && visit > 1 ? { visit } : {}),
      ...(index === undefined ? {} : { index }),
    };
    const value = mapOf(mapOf(event["result"])["context"])["data"] ?? null;
    const error = event["error"] === null ? undefined : mapOf(meta["error"]);
    this.#addRetries(step, place, mapOf(meta["retries"]));
    if (step.isPipeline) {
      this.#addPipeline(step, place, { value, error });
    } else if (!OWN_KINDS.has(step.tasks[0]?.kind ?? "")) {
      this.stubs.push({ ...place, ...answer(value, error) });
    }
  }

  #addPipeline(
    step: Step,
    place: JsonObject,
    { value, error }: { readonly value: Json; readonly error: JsonObject | undefined },
  ): void {
    const results = mapOf(value);
    for (const { label } of step.tasks.filter(({ kind }) => !OWN_KINDS.has(kind))) {
      if (error?.["task"] === label) {
        this.stubs.push({ ...place, task: label, ...answer(null, error) });
      } else if (Object.hasOwn(results, label)) {
        this.stubs.push({ ...place, task: label, result: results[label] ?? null });
      }
    }
  }

  /** Tries that failed before the last one. Only the newest failure is known, and not whose it was. */
  #addRetries(step: Step, place: JsonObject, { count, last }: JsonObject): void {
    if (typeof count !== "number" || count === 0) {
      return;
    }
    if (step.isPipeline || !isJsonObject(last)) {
      this.#remarks.add(
        `${step.name} was tried again ${count} times: its first tries are not recorded`,
      );
      return;
    }
    this.stubs.push({ ...place, times: count, ...answer(null, last) });
  }
}

function answer(value: Json, error: JsonObject | undefined): JsonObject {
  if (error === undefined) {
    return { result: value };
  }
  const { kind, code, message, retryable, status } = error;
  const fields = { kind, code, message, retryable, status };
  const known = Object.entries(fields).flatMap(([name, field]): [string, Json][] =>
    field === undefined || field === null ? [] : [[name, field]],
  );
  return { error: { ...Object.fromEntries(known), ...(value === null ? {} : { value }) } };
}

function mapOf(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}
