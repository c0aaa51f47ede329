/**
 * The pipeline interpreter: which task runs, what its templates see, and what its policy makes of
 * the outcome. Pure; the worker's executor drives it for the tasks that workers run and the engine
 * for sub-playbooks, both from the same {@link PipelineState}.
 *
 * One try: render ({@link renderTask}), run, {@link settleTask}. Settling applies the task's `set`,
 * then the first rule that matches (in inclusive mode the `set` of all and the action of the last).
 * A single task is a pipeline of one whose value is the task's own.
 */
import { assert } from "../core/assert.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { Assignment, Rule, Task } from "../dsl/playbook.ts";
import { evaluateGuard, renderValue } from "../template/render.ts";
import type { Scope } from "../template/scope.ts";
import { assign, parseTarget } from "./assign.ts";
import { retryDelayMs } from "./backoff.ts";
import type { CommandPayload, PipelineState, Retries, ScopeData } from "./command.ts";
import type { Failure } from "./failure.ts";
import { briefFailure, failure, templateFailure } from "./failure.ts";
import type { TaskOutcome } from "./output.ts";
import { okWord, taskOutput } from "./output.ts";
import type { ScopeOptions } from "./scope.ts";
import { buildScope, withNames } from "./scope.ts";
import type { OkWord } from "./value.ts";
import { failureJson, taskAliased } from "./value.ts";

export type PipelineStep = CommandPayload["step"];

/** A pipeline between two tasks, with all that its templates may see. */
export interface PipelineRun {
  readonly step: PipelineStep;
  readonly pipeline: PipelineState;
  readonly data: ScopeData;
  readonly options: Pick<ScopeOptions, "nowMs" | "resolved" | "env" | "keychain">;
}

export type PipelineNext =
  /** The task at `pipeline.position` is to run. */
  | { readonly kind: "next"; readonly pipeline: PipelineState }
  /** The same task is to run again after the delay. */
  | { readonly kind: "retry"; readonly pipeline: PipelineState; readonly delayMs: number }
  | ({ readonly kind: "done"; readonly value: Json; readonly ctx: JsonObject } & Retried)
  | ({
      readonly kind: "failed";
      readonly error: Failure;
      readonly value: Json;
      readonly ctx: JsonObject;
    } & Retried);

/** Something with the retries of a run, if there were any. */
export interface Retried {
  readonly retries?: Retries;
}

export interface RenderedTask {
  readonly task: Task;
  readonly input: JsonObject;
  readonly config: JsonObject;
}

/** Guard against pipelines that jump in a circle for ever. */
export const TASK_COUNT_MAX = 1_000_000;

const PREVIOUS = new Set(["previous", "prev", "_previous", "@previous"]);

/** The task to run now. */
export function currentTask({ step, pipeline }: Pick<PipelineRun, "step" | "pipeline">): Task {
  const task = step.tasks[pipeline.position];
  assert(task !== undefined, `step ${step.name} has a task at ${pipeline.position}`);
  return task;
}

/** What the templates of the current task see. */
export function taskScope(run: PipelineRun, word: OkWord = "ok"): Scope {
  const { step, pipeline, data, options } = run;
  const previous = step.tasks[pipeline.position - 1]?.label;
  const result = previous === undefined ? undefined : pipeline.results[previous];
  const names: Record<string, unknown> = { _attempt: pipeline.tries + 1 };
  if (result !== undefined) {
    names["_prev"] = taskAliased(result, options.resolved ?? new Map());
  }
  return buildScope(data, { ...options, okWord: word, pipeline, names });
}

/**
 * The current task without templates: first its input (the step's, the task's own winning), then
 * its configuration, which may also read the input by name.
 *
 * @param rawFields fields of the configuration that are taken as they are, such as code.
 * @throws TemplateError, RefNeededError
 */
export function renderTask(run: PipelineRun, rawFields?: ReadonlySet<string>): RenderedTask {
  const task = currentTask(run);
  const scope = taskScope(run, wordOf(task));
  const input = renderMap({ ...run.step.input, ...task.input }, scope);
  const inner = withNames(scope, { ...input, input });
  const config = Object.fromEntries(
    Object.entries(task.config).map(([key, value]) => [
      key,
      rawFields?.has(key) === true ? value : renderValue(value, inner),
    ]),
  );
  return { task, input, config };
}

/** The retries alone, to be spread into what reports them: nothing when there were none. */
export function retriedOf({ retries }: Retried): Retried {
  return retries === undefined ? {} : { retries };
}

/** {@link retriedOf} for the log of the execution: the failure brief. */
export function briefRetried(source: Retried): Retried {
  const { retries } = source;
  return retries?.last === undefined
    ? retriedOf(source)
    : { retries: { ...retries, last: briefFailure(retries.last) } };
}

/** What the run is worth once its tasks left `results`, in the compact form that is stored. */
export function pipelineValue(step: PipelineStep, results: JsonObject): Json {
  return step.isPipeline ? results : (results[step.tasks[0]?.label ?? ""] ?? null);
}

/**
 * What follows from one try of the current task.
 *
 * @throws RefNeededError only; a template error in a rule fails the task.
 */
export function settleTask(run: PipelineRun, outcome: TaskOutcome): PipelineNext {
  const task = currentTask(run);
  const settling = new Settling(run, task, outcome);
  if (run.pipeline.taskCount >= TASK_COUNT_MAX) {
    const message = `Step ${run.step.name} ran ${TASK_COUNT_MAX} tasks in one run`;
    return settling.fail(failure("limit", message, { code: "PIPELINE_RUNAWAY" }));
  }
  try {
    return settling.settle();
  } catch (error) {
    return settling.fail(templateFailure(error));
  }
}

class Settling {
  readonly #run: PipelineRun;
  readonly #task: Task;
  readonly #outcome: TaskOutcome;
  #pipeline: PipelineState;

  constructor(run: PipelineRun, task: Task, outcome: TaskOutcome) {
    this.#run = run;
    this.#task = task;
    this.#outcome = outcome;
    // The try has used its permit.
    const { permitKey: _, ...pipeline } = run.pipeline;
    this.#pipeline = {
      ...pipeline,
      tries: pipeline.tries + 1,
      taskCount: pipeline.taskCount + 1,
      results: { ...pipeline.results, [task.label]: settledValue(outcome) },
    };
  }

  settle(): PipelineNext {
    if (this.#outcome.ok) {
      this.#set(this.#task.set, wordOf(this.#task));
    }
    const rule = this.#match();
    const action = rule?.action ?? this.#unmatched();
    if (!this.#outcome.ok && action !== "retry" && action !== "fail") {
      this.#set(this.#task.set, wordOf(this.#task));
    }
    switch (action) {
      case "continue":
        return this.#goTo(this.#run.pipeline.position + 1);
      case "break":
        return this.#done();
      case "jump":
        return this.#jump(rule?.to ?? "");
      case "retry":
        return rule === undefined ? this.fail(this.#error()) : this.#retry(rule);
      case "fail":
        return this.fail(this.#error());
    }
  }

  fail(error: Failure): PipelineNext {
    const { step } = this.#run;
    const { results, ctx, tries } = this.#pipeline;
    return {
      kind: "failed",
      error: { step: step.name, task: this.#task.label, attempt: tries, ...error },
      value: step.isPipeline ? results : (this.#outcome.value ?? null),
      ctx,
      ...retriedOf(this.#pipeline),
    };
  }

  /** Applies the `set` of each rule that counts and gives the one whose action does. */
  #match(): Rule | undefined {
    const policy = this.#task.policy;
    let matched: Rule | undefined;
    for (const rule of policy?.rules ?? []) {
      const word = wordOf(rule);
      if (rule.when !== undefined && !evaluateGuard(rule.when, this.#scope(word))) {
        continue;
      }
      this.#set(rule.set, word);
      matched = rule;
      if (policy?.mode === "exclusive") {
        break;
      }
    }
    return matched;
  }

  #unmatched(): "continue" | "fail" {
    return this.#task.policy?.onUnmatched ?? (this.#outcome.ok ? "continue" : "fail");
  }

  #set(assignments: readonly Assignment[], word: OkWord): void {
    for (const { target, value } of assignments) {
      this.#write(target, renderValue(value, this.#scope(word)));
    }
  }

  #write(text: string, value: Json): void {
    const { space, names } = parseTarget(text);
    const [name] = names;
    const { data } = this.#run;
    const { ctx, iter, locals } = this.#pipeline;
    if (space === "ctx") {
      const isKnown = Object.hasOwn(ctx, name) || !Object.hasOwn(data.ctx, name);
      const base = isKnown ? ctx : { ...ctx, [name]: data.ctx[name] ?? null };
      this.#pipeline = { ...this.#pipeline, ctx: assign(base, names, value) };
    } else if (space === "iter") {
      this.#pipeline = { ...this.#pipeline, iter: assign(iter, names, value) };
    } else {
      this.#pipeline = { ...this.#pipeline, locals: assign(locals, names, value) };
    }
  }

  #scope(word: OkWord): Scope {
    const run = { ...this.#run, pipeline: this.#pipeline };
    const error = this.#outcome.ok ? undefined : failureJson(this.#outcome.failure);
    return withNames(taskScope(run, word), {
      output: taskOutput(this.#outcome, word),
      error,
      event: { name: this.#outcome.ok ? "call.done" : "call.error", step: run.step.name },
      _attempt: this.#pipeline.tries,
    });
  }

  #goTo(position: number): PipelineNext {
    if (position >= this.#run.step.tasks.length) {
      return this.#done();
    }
    return { kind: "next", pipeline: { ...this.#pipeline, position, tries: 0 } };
  }

  #done(): PipelineNext {
    const { results, ctx } = this.#pipeline;
    const value = pipelineValue(this.#run.step, results);
    return { kind: "done", value, ctx, ...retriedOf(this.#pipeline) };
  }

  #jump(label: string): PipelineNext {
    const { step, pipeline } = this.#run;
    const position = PREVIOUS.has(label)
      ? pipeline.position - 1
      : step.tasks.findIndex((task) => task.label === label);
    if (position < 0) {
      const message = `Task ${this.#task.label} jumps to "${label}", which step ${step.name} lacks`;
      return this.fail(failure("client_error", message, { code: "JUMP_UNKNOWN" }));
    }
    return this.#goTo(position);
  }

  #retry(rule: Rule): PipelineNext {
    const { tries } = this.#pipeline;
    if (tries >= rule.attempts) {
      return this.fail(this.#outcome.ok ? exhausted(this.#task, tries) : this.#error());
    }
    const { data, pipeline } = this.#run;
    const delayMs = retryDelayMs(rule, {
      delaySeconds: this.#delaySeconds(rule),
      tries,
      error: this.#outcome.ok ? undefined : this.#outcome.failure,
      seed: `${data.executionId}:${this.#task.label}:${data.loop?.index ?? ""}`,
    });
    // What the failed try gave is nobody's business any more.
    const { results } = pipeline;
    return {
      kind: "retry",
      pipeline: { ...this.#pipeline, results, retries: this.#countRetry() },
      delayMs,
    };
  }

  #countRetry(): Retries {
    const { count = 0, last } = this.#pipeline.retries ?? {};
    const error = this.#outcome.ok ? last : this.#outcome.failure;
    return { count: count + 1, ...(error === undefined ? {} : { last: error }) };
  }

  #delaySeconds(rule: Rule): number {
    const value =
      typeof rule.delay === "number"
        ? rule.delay
        : Number(renderValue(rule.delay, this.#scope(wordOf(rule))));
    return Number.isFinite(value) && value > 0 ? value : 0;
  }

  #error(): Failure {
    if (!this.#outcome.ok) {
      return this.#outcome.failure;
    }
    const message = `A rule of task ${this.#task.label} failed it`;
    return failure("client_error", message, { code: "POLICY_FAIL" });
  }
}

function exhausted(task: Task, tries: number): Failure {
  const message = `Task ${task.label} did not satisfy its retry rule in ${tries} tries`;
  return failure("limit", message, { code: "RETRIES_EXHAUSTED" });
}

/** What later tasks see of this one. */
function settledValue(outcome: TaskOutcome): Json {
  return outcome.ok
    ? outcome.value
    : (outcome.value ?? { status: "error", error: failureJson(outcome.failure) });
}

function renderMap(map: JsonObject, scope: Scope): JsonObject {
  return Object.fromEntries(
    Object.entries(map).map(([key, value]) => [key, renderValue(value, scope)]),
  );
}

const words = new WeakMap<object, OkWord>();

/** {@link okWord} of everything inside a task or rule, found once. */
function wordOf(source: Task | Rule): OkWord {
  const known = words.get(source) ?? okWord(source);
  words.set(source, known);
  return known;
}
