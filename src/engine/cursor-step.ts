/** The tasks of a cursor's puller as a step, so that they run like any others. */
import type { Json } from "../core/json.ts";
import type { Step, Task } from "../dsl/playbook.ts";
import type { PipelineState } from "./command.ts";
import { PIPELINE_START } from "./command.ts";
import type { CursorPhase } from "./event.ts";
import { isList } from "./value.ts";

const steps = new WeakMap<Step, Map<CursorPhase, Step>>();

/** Under the step's own name; a pipeline, so that the claim's value stands under its label. */
export function pullStep(step: Step, phase: CursorPhase): Step {
  const known = steps.get(step) ?? new Map<CursorPhase, Step>();
  steps.set(step, known);
  const made = known.get(phase) ?? {
    ...step,
    tasks: tasksOf(step, phase),
    isPipeline: true,
    input: {},
    outputSelect: [],
  };
  known.set(phase, made);
  return made;
}

function tasksOf({ loop }: Step, phase: CursorPhase): readonly Task[] {
  const { claim, renew, acknowledge } = loop?.cursor ?? {};
  const tasks: Readonly<Record<CursorPhase, readonly (Task | undefined)[]>> = {
    claim: [claim],
    next: [acknowledge, claim],
    renew: [renew],
    settle: [acknowledge],
  };
  return tasks[phase].filter((task) => task !== undefined);
}

export interface PullNames {
  /** Stays the same when the claim is handed out again, so that a statement can tell its own rows. */
  readonly claimId: string;
  /** Of each item: one, or a list of them. */
  readonly acks: readonly Json[];
}

/** A puller's pipeline at its start: what its templates may read beside the execution's names. */
export function pullPipeline(step: Step, { claimId, acks }: PullNames): PipelineState {
  const { maxRows = 1, leaseMs = 0 } = step.loop?.cursor ?? {};
  return {
    ...PIPELINE_START,
    locals: {
      __frame_max_rows: maxRows,
      __frame_lease_seconds: leaseMs / 1000,
      __frame_acks: acks.flatMap((ack) => (isList(ack) ? ack : [ack])),
      __claim_id: claimId,
    },
  };
}
