/** One try of a task in a test: answered by a stub, or really run where the test says so. */
import type { JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { checkRendered, withTypes } from "../dsl/tool-check.ts";
import { readsContext } from "../engine/cut.ts";
import type { Failure } from "../engine/failure.ts";
import { failure, templateFailure } from "../engine/failure.ts";
import type { TaskOutcome } from "../engine/output.ts";
import type { PipelineRun, RenderedTask } from "../engine/pipeline.ts";
import { currentTask, renderTask, taskScope } from "../engine/pipeline.ts";
import { loopNames, plainContext, withNames } from "../engine/scope.ts";
import { renderValue } from "../template/render.ts";
import type { Scope } from "../template/scope.ts";
import { Aliased } from "../template/scope.ts";
import { statusFailure } from "../tools/http/answer.ts";
import { noopTool } from "../tools/noop.ts";
import type { Tools } from "../tools/registry.ts";
import { KNOWN_TOOL_KINDS } from "../tools/registry.ts";
import { configFailure } from "../tools/task-error.ts";
import type { Tool, ToolContext } from "../tools/tool.ts";
import { CredentialError } from "../tools/tool.ts";
import { rawFieldsOf } from "../worker/code-fields.ts";
import type { Call, StubBook } from "./stub-book.ts";
import type { StubAnswer, TestCase } from "./test-case.ts";

/** Thrown where a test would have to call something outside that it says nothing about. */
export class UnstubbedCallError extends Error {
  override readonly name = "UnstubbedCallError";
}

export interface TaskTryOptions {
  readonly test: TestCase;
  readonly stubs: StubBook;
  /** Opens the real tools, once a test needs them. */
  readonly openTools: () => Pick<Tools, "get">;
  /** Ends tools that really run. */
  readonly signal: AbortSignal;
  readonly onLine: (line: string) => void;
}

export interface TaskTry {
  readonly run: PipelineRun;
  readonly playbook: string | undefined;
  readonly visit: number;
  readonly timeoutMs: number | undefined;
}

export interface TriedTask {
  readonly call: Call;
  readonly outcome: TaskOutcome;
  /** On the test's clock. */
  readonly delayMs: number;
}

/** Kinds that reach nothing outside. */
const HARMLESS_KINDS: ReadonlySet<string> = new Set(["noop"]);

/** @throws UnstubbedCallError */
export async function tryTask(options: TaskTryOptions, attempt: TaskTry): Promise<TriedTask> {
  const task = currentTask(attempt.run);
  const description = KNOWN_TOOL_KINDS.get(task.kind);
  let rendered: RenderedTask;
  try {
    rendered = renderTask(attempt.run, rawFieldsOf(attempt.run, description ?? { fields: {} }));
  } catch (error) {
    const outcome = { ok: false, failure: templateFailure(error) } as const;
    return { call: callOf(attempt, { task, input: {}, config: {} }), outcome, delayMs: 0 };
  }
  const call = callOf(attempt, rendered);
  const problems = description === undefined ? [] : checkRendered(description, rendered.config);
  if (problems.length > 0) {
    // A worker would not run it either.
    return { call, outcome: { ok: false, failure: configFailure(problems) }, delayMs: 0 };
  }
  const stubbed = options.stubs.answer(call);
  if (stubbed !== undefined) {
    const scope = withNames(taskScope(attempt.run), { ...rendered.input, input: rendered.input });
    const outcome = answerOutcome(stubbed.answer, scope, rendered.config);
    return limited({ call, outcome, delayMs: stubbed.delayMs }, attempt.timeoutMs);
  }
  const { live } = options.test;
  if (!HARMLESS_KINDS.has(task.kind) && !live.has(task.kind) && !live.has(call.step)) {
    throw unstubbed(call, options.stubs);
  }
  return { call, outcome: await runLive(options, attempt, rendered), delayMs: 0 };
}

function callOf({ run, playbook, visit }: TaskTry, { task, input, config }: RenderedTask): Call {
  return {
    step: run.step.name,
    task: task.label,
    kind: task.kind,
    playbook,
    visit,
    index: run.data.loop?.index,
    attempt: run.pipeline.tries + 1,
    input,
    config,
  };
}

/** A call that takes longer than it may fails at its limit. */
function limited(tried: TriedTask, timeoutMs: number | undefined): TriedTask {
  if (timeoutMs === undefined || tried.delayMs <= timeoutMs) {
    return tried;
  }
  const problem = failure("timeout", "The task ran into its time limit");
  return { ...tried, outcome: { ok: false, failure: problem }, delayMs: Math.max(0, timeoutMs) };
}

/** @param scope what the names in a template answer are looked up in. */
export function answerOutcome(answer: StubAnswer, scope: Scope, config: JsonObject): TaskOutcome {
  switch (answer.kind) {
    case "result":
      return { ok: true, value: answer.value };
    case "error":
      return { ok: false, failure: answer.failure, value: answer.value };
    case "http":
      return httpOutcome(answer, config);
    case "template":
      try {
        return { ok: true, value: renderValue(answer.value, withNames(scope, { config })) };
      } catch (error) {
        return { ok: false, failure: templateFailure(error) };
      }
  }
}

/** As the http tool does it. */
function httpOutcome(
  { status, headers, data }: Extract<StubAnswer, { kind: "http" }>,
  config: JsonObject,
): TaskOutcome {
  const url = String(config["url"] ?? config["endpoint"] ?? "");
  const value = { status_code: status, headers, data, body: data, url, elapsed: 0 };
  const http = { status, headers };
  return status < 400
    ? { ok: true, value, http }
    : { ok: false, value, http, failure: statusFailure({ status, headers, data, size: 0, url }) };
}

async function runLive(
  options: TaskTryOptions,
  { run, timeoutMs }: TaskTry,
  { task, input, config }: RenderedTask,
): Promise<TaskOutcome> {
  const tool = toolOf(options, task.kind);
  if (tool === undefined) {
    const message = `There is no tool "${task.kind}"`;
    return { ok: false, failure: failure("not_found", message, { code: "TOOL_UNKNOWN" }) };
  }
  const { data, pipeline, step } = run;
  const call = {
    label: task.label,
    config: withTypes(tool.description, config),
    input,
    context: readsContext(task) ? plainContext(data, pipeline) : {},
    names: loopNames(data.loop),
    executionId: data.executionId,
    step: step.name,
    attempt: pipeline.tries + 1,
  };
  return await runTool(tool, call, toolContext(options, timeoutMs));
}

/** What reaches nothing outside needs no processes. */
function toolOf({ openTools }: TaskTryOptions, kind: string): Tool | undefined {
  return kind === "noop" ? noopTool : openTools().get(kind);
}

async function runTool(
  tool: Tool,
  call: Parameters<Tool["run"]>[0],
  context: ToolContext,
): Promise<TaskOutcome> {
  try {
    return await tool.run(call, context);
  } catch (error) {
    if (error instanceof CredentialError) {
      return { ok: false, failure: error.failure };
    }
    throw error;
  }
}

function toolContext(
  { test, signal, onLine }: TaskTryOptions,
  timeoutMs: number | undefined,
): ToolContext {
  const absent = (): Promise<never> =>
    Promise.reject(new Error("There are no stored values in a test: stub the task"));
  return {
    signal:
      timeoutMs === undefined ? signal : AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    timeoutMs,
    log: (_stream, line) => onLine(line),
    credential: (name) => credentialOf(test, name),
    resolve: absent,
    artifacts: { describe: absent, read: absent, put: absent, list: absent, remove: absent },
    command: { executionId: "0", commandId: "0", attempt: 1 },
    gpus: [],
    park: () => undefined,
  };
}

function credentialOf(test: TestCase, name: string): ReturnType<ToolContext["credential"]> {
  const fields = test.credentials[name];
  if (!isJsonObject(fields)) {
    const message = `The test has no credential "${name}": add it under "credentials"`;
    return Promise.reject(new CredentialError(missing(message)));
  }
  const { type, ...data } = fields;
  return Promise.resolve({ name, type: String(type ?? "generic"), data });
}

function missing(message: string): Failure {
  return failure("auth", message, { code: "CREDENTIAL_NOT_FOUND" });
}

/** `keychain.<alias>` of the test; `<keychain.alias.field>` stands for what it does not say. */
export function keychainOf({ keychain }: TestCase): Aliased {
  const placeholder = (name: string): Aliased =>
    new Aliased(`<keychain.${name}>`, (field) => `<keychain.${name}.${field}>`);
  return new Aliased({}, (name) => keychain[name] ?? placeholder(name), {}, true);
}

const SHOWN_CHARS_MAX = 300;

export function unstubbed(call: Call, stubs: StubBook): UnstubbedCallError {
  const inside = call.playbook === undefined ? "" : ` of ${call.playbook}`;
  const place = `${call.step}${call.index === undefined ? "" : `[${call.index}]`}${inside}`;
  const task = call.task === call.step ? "" : `, task ${call.task}`;
  const shown = JSON.stringify({ input: call.input, config: call.config });
  const cut = shown.length > SHOWN_CHARS_MAX ? `${shown.slice(0, SHOWN_CHARS_MAX)}…` : shown;
  const owner = call.playbook === undefined ? "" : `, playbook: ${call.playbook}`;
  const name = `${call.task === call.step ? "" : `, task: ${call.task}`}${owner}`;
  const advice =
    call.kind === "playbook"
      ? `add a stub {step: ${call.step}${name}, result: …}, or name its file under "playbooks"`
      : `add a stub {step: ${call.step}${name}, result: …}, or let it run: live: [${call.kind}]`;
  return new UnstubbedCallError(
    [
      `Step ${place}${task} calls ${call.kind}, attempt ${call.attempt}, and no stub answers: ${cut}`,
      ...stubs.reasons(call).map((line) => `  ${line}`),
      advice,
    ].join("\n"),
  );
}
