/** What a visit gives its step: the value that templates read. */
import type { Json } from "../core/json.ts";
import type { StepValue } from "./command.ts";
import { cursorValue } from "./cursor-value.ts";
import type { Failure } from "./failure.ts";
import { recordOf, stepOf } from "./fold-place.ts";
import type { Visit } from "./record.ts";
import { loopStats } from "./record.ts";
import type { ExecutionState } from "./state.ts";

/** Makes what the visit gave the step's value. */
export function setValue(state: ExecutionState, visit: Visit, error: Failure | undefined): void {
  const { isPipeline } = stepOf(state, visit);
  const more = error === undefined ? {} : { error };
  const status = error === undefined ? "ok" : "error";
  const collected =
    visit.cursor === undefined ? visit.loop && loopValue(visit.loop) : cursorValue(visit.cursor);
  const value: StepValue =
    collected === undefined
      ? {
          value: visit.outcome?.value ?? null,
          status,
          shape: isPipeline ? "pipeline" : "task",
          ...more,
        }
      : {
          value: collected,
          status,
          shape: "loop",
          ...(isPipeline ? { itemShape: "pipeline" } : {}),
          ...more,
        };
  recordOf(state, visit.step).value = value;
  state.revision++;
}

function loopValue(loop: NonNullable<Visit["loop"]>): Json {
  const errors = loop.errors.map(({ index, error }) => ({ index, error: { ...error } }));
  const stats = { ...loopStats(loop) };
  return { results: loop.results, stats, ...(errors.length === 0 ? {} : { errors }) };
}
