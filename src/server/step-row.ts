/** Steps of a state as the API names their statuses. */
import type { StepView } from "../engine/view.ts";
import type { StepRow } from "./backend.ts";

/** The engine's words are shorter than the API's. */
const STEP_STATUS: Readonly<Partial<Record<StepView["status"], string>>> = {
  ok: "completed",
  error: "failed",
};

export function toStep(view: StepView): StepRow {
  return { ...view, status: STEP_STATUS[view.status] ?? view.status };
}
