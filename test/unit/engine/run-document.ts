/**
 * Runs a document as a worker and a server would, in memory: what it says is parsed, and each task is
 * given the answer that the test has for it. A `noop` answers for itself.
 */

import type { ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import { parsePlaybook } from "../../../src/dsl/parse.ts";
import type { Playbook } from "../../../src/dsl/playbook.ts";
import type { CommandOutcome, CommandPayload } from "../../../src/engine/command.ts";
import type { EngineInput } from "../../../src/engine/decision.ts";
import type { DrivenCommand } from "../../../src/engine/driver.ts";
import { failure, templateFailure } from "../../../src/engine/failure.ts";
import type { TaskOutcome } from "../../../src/engine/output.ts";
import type { RenderedTask } from "../../../src/engine/pipeline.ts";
import { currentTask, renderTask, retriedOf, settleTask } from "../../../src/engine/pipeline.ts";
import { isServerKind } from "../../../src/engine/server-task.ts";
import { isTerminal } from "../../../src/engine/state.ts";
import { resultOf } from "../../../src/engine/view.ts";
import { toolsNamed } from "../../support/tools.ts";
import { Driver } from "./harness.ts";

/** What a task gives; undefined: `{status: ok}`. */
export type Answer = (task: RenderedTask, attempt: number) => TaskOutcome | undefined;

export interface RunOptions {
  readonly payload?: JsonObject;
  readonly answer?: Answer;
  /** Results of sub-playbooks. Default `{}`. */
  readonly child?: (path: string, payload: JsonObject) => Json;
  /** Given while something is open, one after another, before timers fire. */
  readonly inputs?: readonly EngineInput[];
}

/** How a document ran. */
export interface DocumentRun {
  readonly status: string;
  readonly ctx: JsonObject;
  readonly result: Json;
  /** Steps in the order in which they were entered. */
  readonly entered: readonly string[];
  readonly driver: Driver;
}

const TURNS_MAX = 2000;
const KINDS = toolsNamed("http", "postgres", "python", "shell", "nats");

export const failed = (message = "no luck"): TaskOutcome => ({
  ok: false,
  failure: failure("server_error", message, { status: 503 }),
});
export const done = (value: Json): TaskOutcome => ({ ok: true, value });

/** @throws when the document has errors, or never ends. */
export function runDocument(text: string, options: RunOptions = {}): DocumentRun {
  const driver = new Driver(parsed(text)).start(options.payload ?? {});
  const inputs = [...(options.inputs ?? [])];
  for (let turn = 0; !isTerminal(driver.state); turn++) {
    if (turn > TURNS_MAX) {
      throw new Error("the execution does not end");
    }
    step(driver, options, inputs);
  }
  const { state, events } = driver;
  const entered = events.flatMap(({ event }) => (event.type === "step.entered" ? event.step : []));
  return { status: state.status, ctx: state.ctx, result: resultOf(state), entered, driver };
}

/** A whole document around a workflow. */
export function workflow(steps: string, more = ""): string {
  return `apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {path: tests/run}\n${more}\nworkflow:\n${steps}`;
}

function parsed(text: string): Playbook {
  const { playbook, diagnostics } = parsePlaybook(text, { knownTools: KINDS });
  if (playbook === undefined) {
    throw new Error(`The document has errors: ${JSON.stringify(diagnostics)}`);
  }
  return playbook;
}

function step(driver: Driver, options: RunOptions, inputs: EngineInput[]): void {
  const [command] = driver.commands.values();
  const [child] = driver.children.values();
  const timer = [...driver.timers.values()].sort((a, b) => a.dueMs - b.dueMs)[0];
  const input = inputs.shift();
  if (command !== undefined) {
    report(driver, command, options);
  } else if (child !== undefined) {
    driver.children.delete(child.childId);
    const value = options.child?.(child.path, child.payload) ?? {};
    driver.give({
      kind: "child_done",
      child: { childId: child.childId, status: "completed", value },
    });
  } else if (input !== undefined) {
    driver.give(input);
  } else if (timer !== undefined) {
    driver.nowMs = Math.max(driver.nowMs, timer.dueMs);
    driver.timers.delete(timer.timerId);
    driver.give({ kind: "timer", timerId: timer.timerId, purpose: timer.purpose });
  }
}

function report(driver: Driver, command: DrivenCommand, options: RunOptions): void {
  const { commandId, attempt, payload, isCancelled } = command;
  const outcome: CommandOutcome = isCancelled
    ? { status: "cancelled" }
    : execute(payload, driver.nowMs, options);
  const about = { executionId: "1" as ExecutionId, workerId: "w" as WorkerId, startedAtMs: 0 };
  driver.give({ kind: "report", report: { ...about, commandId, attempt, outcome } });
}

/** The part of the worker that matters: tasks one after another, retries without waiting. */
function execute(payload: CommandPayload, nowMs: number, { answer }: RunOptions): CommandOutcome {
  const { step: own, scope: data } = payload;
  for (let { pipeline } = payload; ; ) {
    const run = { step: own, pipeline, data, options: { nowMs } };
    if (isServerKind(currentTask(run).kind)) {
      return { status: "yielded", pipeline, delayMs: 0 };
    }
    const next = settleTask(run, outcomeOf(run, answer));
    if (next.kind === "done") {
      return { status: "ok", value: next.value, ctx: next.ctx, ...retriedOf(next) };
    }
    if (next.kind === "failed") {
      const { error, value, ctx } = next;
      return { status: "error", error, value, ctx, ...retriedOf(next) };
    }
    pipeline = next.pipeline;
  }
}

function outcomeOf(run: Parameters<typeof renderTask>[0], answer: Answer | undefined): TaskOutcome {
  try {
    const task = renderTask(run);
    const own =
      task.task.kind === "noop" ? done(task.config["result"] ?? { status: "ok" }) : undefined;
    return answer?.(task, run.pipeline.tries + 1) ?? own ?? done({ status: "ok" });
  } catch (error) {
    return { ok: false, failure: templateFailure(error) };
  }
}
