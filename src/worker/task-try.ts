/**
 * One try of one task: render, check, run, and nothing but an outcome comes back.
 *
 * The tool is stopped by its signal, on a timeout and on a stop from outside. One that goes on
 * running all the same is left behind after {@link STOP_WAIT_MS}, so that it cannot keep the slot. A durable
 * one never is: as long as it has not proven that what it started is gone, nobody else may have the GPUs.
 */
import { AppError, errorMessage } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { checkRendered, withTypes } from "../dsl/tool-check.ts";
import type { ScopeData } from "../engine/command.ts";
import { readsContext } from "../engine/cut.ts";
import type { Failure } from "../engine/failure.ts";
import { failure, templateFailure } from "../engine/failure.ts";
import type { GpuGrant } from "../engine/gpu.ts";
import type { TaskOutcome } from "../engine/output.ts";
import type { PipelineRun } from "../engine/pipeline.ts";
import { currentTask, renderTask } from "../engine/pipeline.ts";
import { loopNames, plainContext } from "../engine/scope.ts";
import { presentStored } from "../engine/stored.ts";
import type { Logger } from "../observability/log.ts";
import type { Tools } from "../tools/registry.ts";
import { configFailure, thrownFailure, unlessStopped } from "../tools/task-error.ts";
import type { Tool, ToolCall, ToolCommand } from "../tools/tool.ts";
import { LEAVE } from "../tools/tool.ts";
import type { ArtifactClient } from "./artifacts.ts";
import { createArtifacts } from "./artifacts.ts";
import { rawFieldsOf } from "./code-fields.ts";
import type { CommandSecrets } from "./command-secrets.ts";
import type { CommandSlot } from "./command-slot.ts";
import type { CommandRefs } from "./ref-store.ts";
import type { TaskLog } from "./task-log.ts";

const STOP_WAIT_MS = 5000;
const STACK_CHARS_MAX = 4000;

export interface TaskTry {
  readonly run: PipelineRun;
  readonly tools: Pick<Tools, "get" | "kinds">;
  readonly refs: CommandRefs;
  readonly client: ArtifactClient;
  readonly secrets: CommandSecrets;
  readonly taskLog: TaskLog;
  readonly log: Logger;
  readonly command: ToolCommand;
  /** W3C header for whom the task calls. */
  readonly traceparent: string | undefined;
  readonly gpus: readonly GpuGrant[];
  readonly slot: CommandSlot;
  /** For this try; undefined: no limit. */
  readonly timeoutMs: number | undefined;
}

/** Never rejects. */
export async function tryTask(attempt: TaskTry): Promise<TaskOutcome> {
  const { run, tools } = attempt;
  const { kind } = currentTask(run);
  const tool = tools.get(kind);
  if (tool === undefined) {
    const message = `This worker has no tool "${kind}"; it has ${tools.kinds.join(", ")}`;
    return failed(failure("not_found", message, { code: "TOOL_UNKNOWN" }));
  }
  if (attempt.timeoutMs !== undefined && attempt.timeoutMs <= 0) {
    return failed(timeoutFailure("the time of the step is over"));
  }
  try {
    attempt.secrets.beginTry();
    const outcome = await tryOnce(attempt, tool);
    // A token that ended early, or was revoked: once more with a new one.
    return isUnauthorized(outcome) && !attempt.slot.stop.aborted && (await attempt.secrets.renew())
      ? await tryOnce(attempt, tool)
      : outcome;
  } catch (error) {
    return failed(failureOf(error));
  }
}

async function tryOnce(attempt: TaskTry, tool: Tool): Promise<TaskOutcome> {
  const call = await attempt.secrets.during(() => prepare(attempt, tool));
  const problems = checkRendered(tool.description, call.config);
  if (problems.length > 0) {
    return failed(configFailure(problems));
  }
  const config = withTypes(tool.description, call.config);
  return await runTool(attempt, tool, { ...call, config });
}

function isUnauthorized(outcome: TaskOutcome): boolean {
  return (outcome.ok ? outcome.http?.status : outcome.failure.status) === 401;
}

function failed(problem: Failure): TaskOutcome {
  return { ok: false, failure: problem };
}

/** The call without templates and references. @throws TemplateError, AppError of a missing result. */
async function prepare({ run, refs }: TaskTry, tool: Tool): Promise<ToolCall> {
  const { step, data, pipeline } = run;
  const rendered = await refs.during(() => renderTask(run, rawFieldsOf(run, tool.description)));
  const expand = (value: JsonObject): Promise<JsonObject> => expandObject(refs, data, value);
  return {
    label: rendered.task.label,
    config: await expand(rendered.config),
    input: await expand(rendered.input),
    context: readsContext(rendered.task) ? await expand(plainContext(data, pipeline)) : {},
    names: await expand(loopNames(data.loop)),
    executionId: data.executionId,
    step: step.name,
    attempt: pipeline.tries + 1,
  };
}

async function expandObject(
  refs: CommandRefs,
  data: ScopeData,
  value: JsonObject,
): Promise<JsonObject> {
  const expanded = await refs.expand(value, (ref, loaded) => presentStored(data, ref, loaded));
  return isJsonObject(expanded) ? expanded : value;
}

async function runTool(attempt: TaskTry, tool: Tool, call: ToolCall): Promise<TaskOutcome> {
  const { secrets, refs, taskLog, timeoutMs, slot } = attempt;
  const { kind, isDurable = false } = tool.description;
  const stop = isDurable ? durableStop(slot) : { signal: slot.stop, end: noop };
  const limit = limitedSignal(stop.signal, timeoutMs);
  const stopMs = tool.stopMs?.(call.config) ?? STOP_WAIT_MS;
  const leftBehind = watchStop({ signal: limit.signal, stopMs, isDurable }, () => {
    attempt.log.error("A tool did not stop when told to", {
      tool: kind,
      is_left_behind: !isDurable,
      step: attempt.run.step.name,
      execution_id: attempt.run.data.executionId,
    });
  });
  const context = {
    signal: limit.signal,
    timeoutMs,
    log: taskLog.line,
    credential: (name: string) => unlessStopped(secrets.credential(name), limit.signal),
    resolve: (ref: string) => unlessStopped(refs.load(ref), limit.signal),
    command: attempt.command,
    traceparent: attempt.traceparent,
    gpus: attempt.gpus,
    park: () => slot.park(),
    get artifacts() {
      return secrets.maskArtifacts(createArtifacts(attempt.client, limit.signal));
    },
  };
  slot.begin({ kind, isDurable, stopMs });
  try {
    return await Promise.race([tool.run(call, context), leftBehind.outcome]);
  } finally {
    slot.end();
    stop.end();
    limit.end();
    leftBehind.end();
  }
}

const noop = (): void => undefined;

/** A durable tool learns whether to end what it has started, or only itself. */
function durableStop(slot: CommandSlot) {
  const stop = new AbortController();
  const pass = (): void => stop.abort(slot.leave() ? LEAVE : slot.stop.reason);
  slot.stop.addEventListener("abort", pass, { once: true });
  if (slot.stop.aborted) {
    pass();
  }
  return { signal: stop.signal, end: () => slot.stop.removeEventListener("abort", pass) };
}

/** `stop`, or the end of the time: whichever comes first. */
function limitedSignal(stop: AbortSignal, timeoutMs: number | undefined) {
  if (timeoutMs === undefined) {
    return { signal: stop, end: () => undefined };
  }
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(timeoutError()), timeoutMs);
  return { signal: AbortSignal.any([stop, limit.signal]), end: () => clearTimeout(timer) };
}

/** Its outcome comes only if the tool does not end by itself after it was told to. */
function watchStop(
  {
    signal,
    stopMs,
    isDurable,
  }: { readonly signal: AbortSignal; readonly stopMs: number; readonly isDurable: boolean },
  onLate: () => void,
) {
  const { promise, resolve } = Promise.withResolvers<TaskOutcome>();
  let timer: Timer | undefined;
  const arm = (): void => {
    timer = setTimeout(() => {
      onLate();
      if (!isDurable) {
        resolve(failed(timeoutFailure("the task was told to stop and did not")));
      }
    }, stopMs);
  };
  signal.addEventListener("abort", arm, { once: true });
  const end = (): void => {
    signal.removeEventListener("abort", arm);
    clearTimeout(timer);
  };
  return { outcome: promise, end };
}

/** Tools know a timeout from other stops by this name. */
function timeoutError(): DOMException {
  return new DOMException("The task ran into its time limit", "TimeoutError");
}

function timeoutFailure(message: string): Failure {
  return failure("timeout", message);
}

function failureOf(error: unknown): Failure {
  const thrown = thrownFailure(error);
  if (thrown !== undefined) {
    return thrown;
  }
  if (error instanceof AppError) {
    return appFailure(error);
  }
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  return failure("internal", `The tool failed by a bug: ${errorMessage(error)}`, {
    stderr: stack.slice(0, STACK_CHARS_MAX),
  });
}

function appFailure(error: AppError): Failure {
  switch (error.kind) {
    case "not_found":
      return failure("not_found", error.message, { code: error.code });
    case "unavailable":
    case "timeout":
      return failure("connection", error.message, { code: error.code });
    case "invalid":
      return error.code === "TEMPLATE_ERROR"
        ? templateFailure(error)
        : failure("schema", error.message, { code: error.code });
    case "conflict":
    case "forbidden":
    case "internal":
      return failure("internal", error.message, { code: error.code });
  }
}
