/** Tasks of kind `playbook`: the engine runs them itself, so that a waiting parent holds no slot. */
import type { ExecutionId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { PipelineState } from "./command.ts";
import type { ChildEnd, NewChild } from "./decision.ts";
import type { Draft } from "./draft.ts";
import type { Failure } from "./failure.ts";
import { failure, templateFailure } from "./failure.ts";
import type { TaskOutcome } from "./output.ts";
import type { PipelineRun, RenderedTask } from "./pipeline.ts";
import { currentTask, renderTask } from "./pipeline.ts";
import type { OpenChild, Visit } from "./record.ts";
import { placeOf, runKey } from "./record.ts";
import { runOf, settleRun } from "./server-task.ts";
import { startOf } from "./state.ts";
import { placedFailure } from "./stop.ts";

/** Deepest child of a top-level execution, which itself has depth 0. */
export const DEPTH_MAX = 16;

type ChildRequest = Omit<NewChild, "childId">;

/** Starts the child that the task at `pipeline.position` asks for. */
export function startChild(draft: Draft, visit: Visit, key: number, pipeline: PipelineState): void {
  const run = runOf(draft, visit, key, pipeline);
  const request = readRequest(draft, run);
  if ("kind" in request) {
    settleChild(draft, visit, key, run, { ok: false, failure: request }, undefined);
    return;
  }
  const childId = draft.environment.newId<ExecutionId>();
  const { path, isWaited } = request;
  const place = placeOf(visit, key);
  draft.emit({ type: "child.started", ...place, childId, path, pipeline, isWaited });
  draft.children.push({ childId, ...request });
  const { timeoutMs } = currentTask(run);
  if (!isWaited) {
    const value = { execution_id: childId, status: "started", path };
    settleChild(draft, visit, key, run, { ok: true, value }, childId);
  } else if (timeoutMs !== undefined) {
    draft.startTimer({ kind: "child_timeout", childId }, timeoutMs);
  }
}

/** The child has ended: the parent's task is over, its policy says what follows. */
export function onChildDone(draft: Draft, visit: Visit, child: OpenChild, end: ChildEnd): void {
  const run = runOf(draft, visit, runKey(child), child.pipeline);
  settleChild(draft, visit, runKey(child), run, outcomeOf(child, end), child.childId);
}

export function onChildTimeout(draft: Draft, visit: Visit, child: OpenChild): void {
  const run = runOf(draft, visit, runKey(child), child.pipeline);
  const message = `Playbook ${child.path} (execution ${child.childId}) did not end in time`;
  const error = failure("timeout", message, { code: "CHILD_TIMEOUT" });
  draft.cancelChildren.push(child.childId);
  settleChild(draft, visit, runKey(child), run, { ok: false, failure: error }, child.childId);
}

/** A child that was told to stop has ended: its run ends, whatever it gave. */
export function onCancelledChild(draft: Draft, visit: Visit, child: OpenChild): void {
  const { childId } = child;
  const message = `Playbook ${child.path} (execution ${childId}) was cancelled`;
  const error = placedFailure(failure("cancelled", message), visit, runKey(child));
  const place = placeOf(visit, runKey(child));
  draft.emit({ type: "child.done", ...place, childId, value: null, error });
  draft.touched.push(visit);
}

function settleChild(
  draft: Draft,
  visit: Visit,
  key: number,
  run: PipelineRun,
  outcome: TaskOutcome,
  childId: ExecutionId | undefined,
): void {
  const id = childId === undefined ? {} : { childId };
  settleRun(draft, { visit, key, run, outcome }, (end) =>
    draft.emit({ type: "child.done", ...placeOf(visit, key), ...id, ...end }),
  );
}

/** What is to start, or why it cannot. */
function readRequest(draft: Draft, run: PipelineRun): ChildRequest | Failure {
  const depth = (startOf(draft.state).parent?.depth ?? 0) + 1;
  if (depth > DEPTH_MAX) {
    const message = `Playbooks are nested deeper than ${DEPTH_MAX} levels`;
    return failure("limit", message, { code: "DEPTH_LIMIT" });
  }
  try {
    return toRequest(renderTask(run), depth, startOf(draft.state).pool);
  } catch (error) {
    return templateFailure(error);
  }
}

function toRequest(
  { task, input, config }: RenderedTask,
  depth: number,
  pool: string | undefined,
): ChildRequest | Failure {
  const path = config["path"];
  if (typeof path !== "string" || path === "") {
    const message = `Task ${task.label} names no playbook: its path is ${JSON.stringify(path ?? null)}`;
    return failure("client_error", message, { code: "CHILD_PATH" });
  }
  const version = Number(config["version"]);
  const returnStep = config["return_step"] ?? config["result_step"];
  const childPool = task.pool ?? config["execution_pool"] ?? pool;
  return {
    path,
    payload: payloadOf(input, config),
    depth,
    isWaited: !isNo(config["wait"]),
    ...(Number.isSafeInteger(version) && version > 0 ? { version } : {}),
    ...(typeof returnStep === "string" && returnStep !== "" ? { returnStep } : {}),
    ...(typeof childPool === "string" ? { pool: childPool } : {}),
  };
}

/** The task's input if it has one, else the older `args` and `payload`. */
function payloadOf(input: JsonObject, config: JsonObject): JsonObject {
  const candidates: readonly (Json | undefined)[] = [
    input,
    config["args"],
    config["payload"],
    config["workload"],
  ];
  for (const candidate of candidates) {
    if (candidate !== undefined && isJsonObject(candidate) && Object.keys(candidate).length > 0) {
      return candidate;
    }
  }
  return {};
}

function isNo(value: Json | undefined): boolean {
  return value === false || value === "false" || value === "no" || value === "off";
}

function outcomeOf({ path }: OpenChild, end: ChildEnd): TaskOutcome {
  const { childId, status, value } = end;
  if (status === "completed" && !isErrorResult(value)) {
    return { ok: true, value };
  }
  const kind = end.error?.kind ?? (status === "cancelled" ? "cancelled" : "client_error");
  const reason = end.error?.message ?? `it ended ${status} with an error result`;
  const message = `Playbook ${path} (execution ${childId}) failed: ${reason}`;
  const more = end.error === undefined ? {} : { retryable: end.error.retryable };
  return { ok: false, failure: failure(kind, message, { code: "CHILD_FAILED", ...more }), value };
}

/** A sub-playbook may also say by its result that it has failed. */
function isErrorResult(value: Json): boolean {
  return isJsonObject(value) && value["status"] === "error";
}
