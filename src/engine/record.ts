/** What state keeps about the parts of a running execution. Mutable: only state.ts writes here. */
import type { CommandId, ExecutionId, TimerId, WorkerId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import type { PipelineState, StepValue } from "./command.ts";
import type { CursorPhase, LoopStats, Place, TimerPurpose, WaitGoal } from "./event.ts";
import type { Failure } from "./failure.ts";

/** A token that has arrived at a step and waits there. */
export interface Token {
  /** Id of the arc that it came by; {@link START} for the first one. */
  readonly arc: string;
  /** Place in the order of arrival, over the whole execution. */
  readonly order: number;
}

/** All visits of one step, summed up. */
export interface StepRecord {
  readonly step: string;
  status: "running" | "ok" | "error" | "skipped" | "cancelled";
  visits: number;
  /** Runs begun in the last visit, plus what was handed out or tried again. */
  attempts: number;
  startedAtMs: number | undefined;
  endedAtMs: number | undefined;
  /** Of the last finished visit; during `set` and guards of a visit already its own. */
  value: StepValue | undefined;
  error: Failure | undefined;
}

/** One token's work at one step, from `step.entered` to `step.exited`. */
export interface Visit {
  readonly step: string;
  readonly visit: number;
  readonly enteredAtMs: number;
  /** Not yet over, by loop index; {@link SINGLE} outside loops, below that for pullers. */
  readonly runs: Map<number, Run>;
  loop: LoopProgress | undefined;
  cursor: CursorProgress | undefined;
  /** How the run of a step without loop ended. */
  outcome: RunOutcome | undefined;
  /** Set from `step.failing` on. */
  failing: Failure | undefined;
  timerId: TimerId | undefined;
}

/** Key of the only run of a step without loop. Those of pullers are below it. */
export const SINGLE = -1;

/** One way through a step's tasks. At most one of the three ids is set; none while it waits. */
export interface Run {
  /** Where it stands since it last left a worker; undefined: from the start. */
  pipeline: PipelineState | undefined;
  commandId: CommandId | undefined;
  childId: ExecutionId | undefined;
  /** Of a retry delay at the server. */
  timerId: TimerId | undefined;
}

export interface RunOutcome {
  readonly value: Json;
  readonly error: Failure | undefined;
}

export interface LoopProgress {
  readonly items: readonly Json[];
  readonly maxInFlight: number;
  /** Index of the first item that has not started. */
  next: number;
  succeeded: number;
  /** By index; null where an item has failed or not ended. */
  readonly results: Json[];
  /** In order of time. */
  readonly errors: ItemError[];
  /** Indexes whose run was stopped, so that they have no outcome. */
  readonly stopped: number[];
  /** Of a retry: indexes that are to run again, before `next`. */
  readonly again: Set<number>;
}

/** A loop whose items are claimed. Keeps the items at work and the newest results, no more. */
export interface CursorProgress {
  readonly pullers: readonly Puller[];
  /** Rows claimed so far that are items; index of the next one. */
  total: number;
  frameCount: number;
  succeeded: number;
  failed: number;
  /** Not yet over, by index. */
  readonly items: Map<number, CursorItem>;
  /** Those of `errors`, for a retry. */
  readonly failedItems: Map<number, CursorItem>;
  /** Of the newest items, by index less `omitted`; null where one has failed or not ended. */
  readonly results: Json[];
  /** Results before those that are kept. */
  omitted: number;
  /** The first ones, in order of time. */
  readonly errors: ItemError[];
  /** Why nothing can be claimed any more. */
  claimError: Failure | undefined;
}

export interface CursorItem {
  readonly item: Json;
  readonly puller: number;
  /** What acknowledges it. */
  readonly ack: Json | undefined;
}

export interface Puller {
  /** What it does by a command. */
  phase: CursorPhase | undefined;
  /** Its last claim, unlike all others of the execution; the same however often it is handed out. */
  claim: number;
  frame: Frame | undefined;
  /** Of items that went well and that the source has not been told of. */
  acks: Json[];
  /** Its last claim gave nothing. */
  isDrained: boolean;
  /** Of the renewal of its frame. */
  timerId: TimerId | undefined;
}

/** What one claim gave; after a retry, what is left of several. */
export interface Frame {
  /** Of its items, in the order in which they start. */
  readonly indexes: readonly number[];
  /** How many have started. */
  startedCount: number;
  endedCount: number;
}

export interface ItemError {
  readonly index: number;
  readonly error: Failure;
}

export interface OpenCommand extends Place {
  readonly commandId: CommandId;
  readonly pool: string;
  readonly issuedAtMs: number;
  /** It holds GPUs while a worker has it. */
  readonly wantsGpus: boolean;
  attempt: number;
  /** Worker that has taken this attempt over from the one that started it. */
  adoptedBy: WorkerId | undefined;
  /** Workers lost so far. */
  losses: number;
  /** When its worker was told to stop. */
  cancelledAtMs: number | undefined;
}

export interface OpenChild extends Place {
  readonly childId: ExecutionId;
  readonly path: string;
  readonly startedAtMs: number;
  /** Stands at the task that started it. */
  readonly pipeline: PipelineState;
  cancelledAtMs: number | undefined;
  timerId: TimerId | undefined;
}

/** A run that waits at the server. */
export interface OpenWait extends Place, WaitGoal {
  readonly startedAtMs: number;
  /** Stands at the task that waits. */
  readonly pipeline: PipelineState;
  timerId: TimerId | undefined;
}

/** A signal that nobody has waited for yet. */
export interface KeptSignal {
  /** Position of its event. */
  readonly seq: number;
  readonly receivedAtMs: number;
  readonly payload: Json;
  readonly sender: string | undefined;
  /** Of the payload's JSON text. */
  readonly chars: number;
}

/** A visit that failed without being handled, or that the end of the execution cut off. */
export interface Unfinished {
  readonly visit: Visit;
  /** Absent: cut off. */
  readonly error: Failure | undefined;
}

export interface OpenTimer {
  readonly purpose: TimerPurpose;
  readonly dueMs: number;
}

export function visitKey({ step, visit }: Pick<Place, "step" | "visit">): string {
  return `${step}#${visit}`;
}

export function runKey({ index, puller }: Pick<Place, "index" | "puller">): number {
  return puller === undefined ? (index ?? SINGLE) : pullerKey(puller);
}

/** Key of what a puller does itself; the items that it brings have keys of their own. */
export function pullerKey(puller: number): number {
  return SINGLE - 1 - puller;
}

/** Names a run in the whole execution. */
export function placeKey(place: Place): string {
  return `${visitKey(place)}:${runKey(place)}`;
}

/** Place of a run in its visit. */
export function placeOf(visit: Visit, key: number): Place {
  const { step, visit: number } = visit;
  if (key < SINGLE) {
    return { step, visit: number, puller: SINGLE - 1 - key };
  }
  return key === SINGLE ? { step, visit: number } : { step, visit: number, index: key };
}

/** The place alone of something that has more fields. */
export function placeIn({ step, visit, index, puller }: Place): Place {
  return {
    step,
    visit,
    ...(index === undefined ? {} : { index }),
    ...(puller === undefined ? {} : { puller }),
  };
}

export function loopStats(loop: LoopProgress): LoopStats {
  return { total: loop.items.length, succeeded: loop.succeeded, failed: loop.errors.length };
}
