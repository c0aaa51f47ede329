/**
 * Rate limits of tasks: before each try the server is asked for a permit. A wait of a few seconds is
 * spent in the slot; for a longer one the slot is given back and the task comes back when it was told
 * to. While no server answers, the task waits: running without a permit could break the limit.
 */
import { retry } from "../core/backoff.ts";
import { sleep } from "../core/clock.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { RateLimit, Task } from "../dsl/playbook.ts";
import type { PermitAnswer, PermitDemand } from "../engine/command.ts";
import type { Failure } from "../engine/failure.ts";
import { failure, templateFailure } from "../engine/failure.ts";
import type { PipelineRun } from "../engine/pipeline.ts";
import { taskScope } from "../engine/pipeline.ts";
import { renderValue } from "../template/render.ts";
import type { WorkerOptions } from "./options.ts";
import type { CommandRefs } from "./ref-store.ts";

const ASK_BACKOFF = { minMs: 100, maxMs: 2000 };
const KEY_CHARS_MAX = 1000;

export type Permit =
  /** The task may run now. */
  | { readonly kind: "go" }
  /** It is to come back after the delay. */
  | { readonly kind: "later"; readonly key: string; readonly delayMs: number }
  | { readonly kind: "failed"; readonly failure: Failure }
  /** The command was stopped meanwhile. */
  | { readonly kind: "stopped" };

export const GO: Permit = { kind: "go" };
const STOPPED: Permit = { kind: "stopped" };

export interface PermitOptions extends Pick<WorkerOptions, "client" | "workerId"> {
  readonly run: PipelineRun;
  readonly refs: CommandRefs;
  readonly stop: AbortSignal;
}

/** Of a task that has a limit. Never rejects for what a playbook does. */
export async function takePermit(
  options: PermitOptions,
  task: Task,
  rateLimit: RateLimit,
): Promise<Permit> {
  const key = await readKey(options, task, rateLimit.key);
  if (typeof key !== "string") {
    return { kind: "failed", failure: key };
  }
  const { perSecond, burst } = rateLimit;
  const isPromised = options.run.pipeline.permitKey === key;
  const answer = await askUntilAnswered(options, { key, perSecond, burst, isPromised });
  if (answer === undefined || "code" in answer) {
    return answer === undefined ? STOPPED : { kind: "failed", failure: answer };
  }
  if (!answer.isGranted) {
    return { kind: "later", key, delayMs: answer.waitMs };
  }
  await sleep(answer.waitMs, options.stop);
  return options.stop.aborted ? STOPPED : GO;
}

/** The rendered key; without one a key of the task's own, the same in all executions. */
async function readKey(
  { run, refs }: PermitOptions,
  task: Task,
  template: string | undefined,
): Promise<string | Failure> {
  if (template === undefined) {
    return `${run.data.path}/${run.step.name}/${task.label}`;
  }
  try {
    const value = await refs.during(() => renderValue(template, taskScope(run)));
    const key = typeof value === "string" ? value : JSON.stringify(value ?? "");
    const isFine = key !== "" && key !== '""' && key.length <= KEY_CHARS_MAX;
    return isFine && !key.includes("\0") ? key : keyFailure(template);
  } catch (error) {
    return error instanceof AppError && error.code !== "TEMPLATE_ERROR"
      ? failure("connection", error.message, { code: error.code })
      : templateFailure(error);
  }
}

function keyFailure(template: string): Failure {
  const message = `The key of the rate limit, ${template}, gives no text of 1 to ${KEY_CHARS_MAX} characters`;
  return failure("client_error", message, { code: "RATE_LIMIT_KEY" });
}

/** Undefined when the command was stopped meanwhile; a failure when a server refuses the demand. */
async function askUntilAnswered(
  { client, workerId, stop }: PermitOptions,
  demand: PermitDemand,
): Promise<PermitAnswer | Failure | undefined> {
  try {
    return await retry(() => client.acquirePermit(workerId, demand), {
      ...ASK_BACKOFF,
      signal: stop,
      isRetryable: (error) => error instanceof AppError && error.isRetryable,
    });
  } catch (error) {
    const message = `No permit of rate limit ${demand.key}: ${errorMessage(error)}`;
    return stop.aborted ? undefined : failure("internal", message, { code: "RATE_LIMIT_REFUSED" });
  }
}
