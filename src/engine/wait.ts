/** Tasks of kind `wait`: for a time or a signal, at the server, as long as it takes. */
import { parseDuration } from "../core/duration.ts";
import { formatInstant, parseInstant } from "../core/instant.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { PipelineState } from "./command.ts";
import type { Draft } from "./draft.ts";
import type { WaitGoal } from "./event.ts";
import type { Failure } from "./failure.ts";
import { failure, templateFailure } from "./failure.ts";
import type { TaskOutcome } from "./output.ts";
import type { PipelineRun } from "./pipeline.ts";
import { currentTask, renderTask } from "./pipeline.ts";
import type { KeptSignal, OpenWait, Visit } from "./record.ts";
import { placeKey, placeOf, runKey } from "./record.ts";
import { runOf, settleRun } from "./server-task.ts";
import { findVisit, isHeld } from "./state.ts";

/** A wait that would take longer is a mistake. */
export const WAIT_MS_MAX = 10 * 366 * 24 * 3_600_000;
export const SIGNAL_NAME_CHARS_MAX = 200;
/** Numbers from here on are points in time, not durations: seconds since 1970. */
const EPOCH_SECONDS_MIN = 1_000_000_000;

/** Waits at `pipeline.position`. Once the execution is failing nothing begins to wait. */
export function startWait(draft: Draft, visit: Visit, key: number, pipeline: PipelineState): void {
  if (isHeld(draft.state)) {
    return;
  }
  const run = runOf(draft, visit, key, pipeline);
  const goal = readGoal(draft, run);
  const place = placeOf(visit, key);
  if ("kind" in goal) {
    settleRun(draft, { visit, key, run, outcome: { ok: false, failure: goal } }, (end) =>
      draft.emit({ type: "wait.done", ...place, ...end }),
    );
    return;
  }
  draft.emit({ type: "wait.started", ...place, ...goal, pipeline });
  const [kept] = goal.signal === undefined ? [] : (draft.state.signals.get(goal.signal) ?? []);
  const wait = draft.state.waits.get(placeKey(place));
  if (kept !== undefined && wait !== undefined) {
    giveSignal(draft, wait, kept);
  } else if (goal.dueMs !== undefined) {
    draft.startTimer({ kind: "wait", ...place }, Math.max(0, goal.dueMs - draft.nowMs));
  }
}

/** The oldest wait of that name gets the signal, or each one if it is a broadcast. */
export function deliver(
  draft: Draft,
  name: string,
  signal: KeptSignal,
  isBroadcast: boolean,
): void {
  const keys = [...(draft.state.listeners.get(name) ?? [])];
  for (const key of isBroadcast ? keys : keys.slice(0, 1)) {
    const wait = draft.state.waits.get(key);
    if (wait !== undefined) {
      giveSignal(draft, wait, signal);
    }
  }
}

function giveSignal(draft: Draft, wait: OpenWait, signal: KeptSignal): void {
  const { payload, receivedAtMs, sender, seq } = signal;
  const value = signalValue(wait.signal ?? "", {
    payload,
    received_at: formatInstant(receivedAtMs),
    sender: sender ?? null,
    timed_out: false,
  });
  endWait(draft, wait, { ok: true, value }, seq);
}

/** The time has come, or the wait was in vain. */
export function onWaitDue(draft: Draft, wait: OpenWait): void {
  endWait(draft, wait, outcomeOf(draft, wait));
}

function endWait(draft: Draft, wait: OpenWait, outcome: TaskOutcome, signalSeq?: number): void {
  const visit = findVisit(draft.state, wait);
  if (visit === undefined) {
    return;
  }
  const key = runKey(wait);
  const run = runOf(draft, visit, key, wait.pipeline);
  const signal = signalSeq === undefined ? {} : { signalSeq };
  settleRun(draft, { visit, key, run, outcome }, (end) =>
    draft.emit({ type: "wait.done", ...placeOf(visit, key), ...signal, ...end }),
  );
}

function outcomeOf(draft: Draft, { signal, dueMs, ...wait }: OpenWait): TaskOutcome {
  const until = formatInstant(dueMs ?? draft.nowMs);
  if (!wait.isDeadline) {
    const waitedSeconds = (draft.nowMs - wait.startedAtMs) / 1000;
    return { ok: true, value: { until, waited_seconds: waitedSeconds } };
  }
  if (wait.onTimeout === "continue") {
    const nothing = { payload: null, received_at: null, sender: null, timed_out: true };
    return { ok: true, value: signalValue(signal ?? "", nothing) };
  }
  const what = signal === undefined ? "The wait" : `Signal ${signal}`;
  const message = `${what} did not ${signal === undefined ? "end" : "come"} before ${until}`;
  return { ok: false, failure: failure("timeout", message, { code: "WAIT_TIMEOUT" }) };
}

function signalValue(name: string, rest: JsonObject): JsonObject {
  return { signal: name, ...rest };
}

/** What the task is to wait for, or why that cannot be said. */
function readGoal(draft: Draft, run: PipelineRun): WaitGoal | Failure {
  try {
    const { config } = renderTask(run);
    return toGoal(draft.nowMs, config, currentTask(run).timeoutMs);
  } catch (error) {
    return templateFailure(error);
  }
}

function toGoal(
  nowMs: number,
  config: JsonObject,
  timeoutMs: number | undefined,
): WaitGoal | Failure {
  const onTimeout = config["on_timeout"] === "continue" ? "continue" : "fail";
  const limits = [
    timeoutMs === undefined ? undefined : nowMs + timeoutMs,
    readTime(nowMs, config, "timeout"),
    readTime(nowMs, config, "deadline"),
  ];
  const times = [...limits, readTime(nowMs, config, "duration"), readTime(nowMs, config, "until")];
  const bad = times.find((time) => typeof time === "object");
  if (typeof bad === "object") {
    return bad;
  }
  const deadlineMs = earliest(limits);
  const endMs = earliest(times.slice(limits.length));
  const signal = readSignal(config);
  if (typeof signal === "object") {
    return signal;
  }
  if (signal === undefined && endMs === undefined) {
    return waitFailure("The wait has no duration, no time (until) and no signal");
  }
  const isDeadline = deadlineMs !== undefined && (endMs === undefined || deadlineMs < endMs);
  const dueMs = isDeadline ? deadlineMs : endMs;
  return {
    ...(signal === undefined ? {} : { signal }),
    ...(dueMs === undefined ? {} : { dueMs }),
    isDeadline,
    onTimeout,
  };
}

type TimeField = "duration" | "until" | "timeout" | "deadline";

/** When that will be; undefined: the field is not there. */
function readTime(
  nowMs: number,
  config: JsonObject,
  field: TimeField,
): number | Failure | undefined {
  const value = config[field];
  if (value === undefined || value === null || value === "") {
    return Object.hasOwn(config, field) && field !== "timeout" && field !== "deadline"
      ? waitFailure(`${field} of the wait is empty`)
      : undefined;
  }
  const timeMs = isInstant(field, value) ? parseInstant(value) : addDuration(nowMs, value);
  if (timeMs === undefined) {
    return waitFailure(`${field} of the wait is ${JSON.stringify(value).slice(0, 80)}`);
  }
  if (timeMs - nowMs > WAIT_MS_MAX) {
    const message = `The wait would end at ${field} ${JSON.stringify(value)}, in more than 10 years`;
    return failure("limit", message, { code: "WAIT_TOO_LONG" });
  }
  return timeMs;
}

function addDuration(nowMs: number, value: Json): number | undefined {
  const durationMs = parseDuration(value);
  return durationMs === undefined ? undefined : nowMs + durationMs;
}

function isInstant(field: TimeField, value: Json): boolean {
  if (field !== "deadline") {
    return field === "until";
  }
  return parseDuration(value) === undefined || Number(value) >= EPOCH_SECONDS_MIN;
}

function earliest(times: readonly (number | Failure | undefined)[]): number | undefined {
  const known = times.filter((time) => typeof time === "number");
  return known.length === 0 ? undefined : Math.min(...known);
}

function readSignal(config: JsonObject): string | Failure | undefined {
  if (!Object.hasOwn(config, "signal")) {
    return undefined;
  }
  const value = config["signal"];
  const name = typeof value === "string" || typeof value === "number" ? `${value}`.trim() : "";
  return isSignalName(name)
    ? name
    : waitFailure(`The name of the signal is ${JSON.stringify(value ?? null).slice(0, 80)}`);
}

/** 1 to {@link SIGNAL_NAME_CHARS_MAX} characters, no NUL. */
export function isSignalName(name: string): boolean {
  return name !== "" && name.length <= SIGNAL_NAME_CHARS_MAX && !name.includes("\0");
}

function waitFailure(message: string): Failure {
  return failure("client_error", message, { code: "WAIT_INVALID" });
}
