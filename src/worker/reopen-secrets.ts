/**
 * Secrets of a pipeline that was left for a while. What its `secrets` tasks gave is masked wherever it
 * was written down, the state of the run included; so they are run again when it goes on, and what
 * their `set` wrote is put back where nothing but the mask has changed it.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { PipelineState } from "../engine/command.ts";
import type { Failure } from "../engine/failure.ts";
import type { TaskOutcome } from "../engine/output.ts";
import type { PipelineRun } from "../engine/pipeline.ts";
import { settleTask } from "../engine/pipeline.ts";

const SECRETS_KIND = "secrets";

export interface ReopenOptions {
  readonly tryTask: (run: PipelineRun) => Promise<TaskOutcome>;
  readonly mask: (value: Json) => Json;
}

/** The state with its secrets, or why one cannot be had any more. */
export async function reopenSecrets(
  run: PipelineRun,
  options: ReopenOptions,
): Promise<PipelineState | Failure> {
  let { pipeline } = run;
  for (const position of secretPositions(run)) {
    const earlier = { ...run, pipeline: { ...pipeline, position, tries: 0 } };
    const outcome = await options.tryTask(earlier);
    if (!outcome.ok) {
      return outcome.failure;
    }
    pipeline = putBack(pipeline, stateAfter(earlier, outcome), options);
  }
  return pipeline;
}

/** Of tasks that have given a secret before. */
function secretPositions({ step, pipeline }: PipelineRun): readonly number[] {
  return step.tasks.flatMap(({ kind, label }, position) => {
    const given = pipeline.results[label];
    const isOpened = isJsonObject(given) && given["status"] === "success";
    return kind === SECRETS_KIND && position !== pipeline.position && isOpened ? [position] : [];
  });
}

function stateAfter(run: PipelineRun, outcome: TaskOutcome): PipelineState {
  const next = settleTask(run, outcome);
  return next.kind === "next" || next.kind === "retry" ? next.pipeline : run.pipeline;
}

function putBack(masked: PipelineState, fresh: PipelineState, { mask }: ReopenOptions) {
  const pick = (before: JsonObject, after: JsonObject): JsonObject => {
    const found = Object.entries(before).map(([name, value]): [string, Json] => {
      const now = after[name] ?? null;
      return [name, isSame(mask(now), value) ? now : value];
    });
    return Object.fromEntries(found);
  };
  return {
    ...masked,
    results: pick(masked.results, fresh.results),
    locals: pick(masked.locals, fresh.locals),
    iter: pick(masked.iter, fresh.iter),
    ctx: pick(masked.ctx, fresh.ctx),
  };
}

function isSame(left: Json, right: Json): boolean {
  return JSON.stringify(left) === JSON.stringify(right);
}
