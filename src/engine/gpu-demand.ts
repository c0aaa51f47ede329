/** What a task wants of GPUs, rendered: the server needs it before it hands the task's command out. */
import { readDemand } from "../dsl/gpu.ts";
import type { Task } from "../dsl/playbook.ts";
import { hasTemplate, renderValue } from "../template/render.ts";
import type { Failure } from "./failure.ts";
import { failure } from "./failure.ts";
import type { GpuDemand } from "./gpu.ts";
import type { PipelineRun } from "./pipeline.ts";
import { taskScope } from "./pipeline.ts";

/** A wish that makes no sense once it is rendered. */
export class GpuWishError extends Error {
  override readonly name = "GpuWishError";
  readonly failure: Failure;

  constructor(task: Task, message: string) {
    super(message);
    const text = `The GPUs of task ${task.label} cannot be chosen: ${message}`;
    this.failure = failure("schema", text, { code: "GPU_INVALID", task: task.label });
  }
}

export interface TaskGpus {
  /** It wants some, wherever they come from: decides the default pool. */
  readonly isWished: boolean;
  /** To be leased with its command; absent: none, or a cluster chooses them. */
  readonly demand?: GpuDemand;
}

const NONE: TaskGpus = { isWished: false };

/** @throws GpuWishError, TemplateError, RefNeededError */
export function gpusOf(run: PipelineRun, task: Task): TaskGpus {
  if (task.gpu === undefined) {
    return NONE;
  }
  const wish = hasTemplate(task.gpu) ? renderValue(task.gpu, taskScope(run)) : task.gpu;
  const { demand, problems } = readDemand(wish);
  const [problem] = problems;
  if (problem !== undefined) {
    throw new GpuWishError(task, problem.message);
  }
  if (demand === undefined) {
    return NONE;
  }
  return isOfCluster(run, task) ? { isWished: true } : { isWished: true, demand };
}

/** Its scheduler chooses GPUs itself. */
function isOfCluster(run: PipelineRun, task: Task): boolean {
  const runtime = task.config["runtime"] ?? null;
  return (hasTemplate(runtime) ? renderValue(runtime, taskScope(run)) : runtime) === "kubernetes";
}

/**
 * True if a command with the GPUs of `held` may also run `next`. Templates may give something else for
 * each task, so only their own one counts as the same.
 */
export function hasSameGpus(held: Task, next: Task): boolean {
  if (held === next) {
    return true;
  }
  const wishes = [wishText(held), wishText(next)];
  return wishes[0] === wishes[1] && !wishes.includes(undefined);
}

/** Undefined while templates decide. */
function wishText(task: Task): string | undefined {
  if (task.gpu === undefined) {
    return "";
  }
  const { runtime = null } = task.config;
  if (hasTemplate(task.gpu) || hasTemplate(runtime)) {
    return undefined;
  }
  const { demand } = readDemand(task.gpu);
  const isNone = demand === undefined || runtime === "kubernetes";
  return isNone ? "" : JSON.stringify(demand);
}
