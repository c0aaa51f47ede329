/** A decision being made: every event is applied to the state as it is added. */
import type { CommandId, ExecutionId, TimerId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import type { Step } from "../dsl/playbook.ts";
import type { LoopItem, PipelineState } from "./command.ts";
import type {
  Decision,
  Environment,
  NewChild,
  NewCommand,
  NewTimer,
  Refusal,
  RequeuedCommand,
} from "./decision.ts";
import type { CursorPhase, ExecutionEvent, LeaseEnd, TimerPurpose } from "./event.ts";
import type { Visit } from "./record.ts";
import { SINGLE } from "./record.ts";
import type { ScopeOptions } from "./scope.ts";
import type { ExecutionState } from "./state.ts";
import { applyEvent } from "./state.ts";

/** A run that goes on from `pipeline`, once the draft gets to it. */
export interface Continuation {
  readonly visit: Visit;
  readonly key: number;
  readonly pipeline: PipelineState;
  readonly delayMs: number;
  /** Of a puller's run that begins; one that goes on has it in the state. */
  readonly phase?: CursorPhase;
}

export class Draft {
  readonly state: ExecutionState;
  readonly environment: Environment;
  /** Visits to look at again, because something in them ended. */
  readonly touched: Visit[] = [];
  readonly continuations: Continuation[] = [];
  readonly issue: NewCommand[] = [];
  readonly requeue: RequeuedCommand[] = [];
  readonly remove: CommandId[] = [];
  readonly cancel: CommandId[] = [];
  readonly children: NewChild[] = [];
  readonly cancelChildren: ExecutionId[] = [];
  /** Steps entered in this decision, for the runaway guard. */
  enteredCount = 0;
  readonly #events: ExecutionEvent[] = [];
  readonly #timers: NewTimer[] = [];

  constructor(state: ExecutionState, environment: Environment) {
    this.state = state;
    this.environment = environment;
    state.droppedTimers.length = 0;
  }

  get nowMs(): number {
    return this.environment.nowMs;
  }

  /** What every scope of this decision shares. */
  get scopeOptions(): Pick<ScopeOptions, "nowMs" | "resolved" | "env"> {
    const { nowMs, resolved, env } = this.environment;
    return { nowMs, resolved, env };
  }

  emit(event: ExecutionEvent): void {
    applyEvent(this.state, { seq: this.state.seq + 1, timeMs: this.nowMs, event });
    this.#events.push(event);
  }

  startTimer(purpose: TimerPurpose, delayMs: number): void {
    const timerId = this.environment.newId<TimerId>();
    const dueMs = this.nowMs + delayMs;
    this.emit({ type: "timer.started", timerId, purpose, dueMs });
    this.#timers.push({ timerId, dueMs, purpose });
  }

  /** The GPUs that are free from here on, to be spread into the event that says so. */
  leaseOf(commandId: CommandId): LeaseEnd {
    const lease = this.environment.leases?.get(commandId);
    return lease === undefined ? {} : { lease };
  }

  stepOf(visit: Visit): Step {
    return this.state.graph.step(visit.step);
  }

  /** @param accepted false when the input was stale. */
  decision(accepted: boolean | Refusal): Decision {
    const dropped = new Set(this.state.droppedTimers);
    const started = new Set(this.#timers.map(({ timerId }) => timerId));
    return {
      events: this.#events,
      issue: this.issue,
      requeue: this.requeue,
      remove: this.remove,
      cancel: this.cancel,
      timers: this.#timers.filter(({ timerId }) => !dropped.has(timerId)),
      stopTimers: [...dropped].filter((timerId) => !started.has(timerId)),
      children: this.children,
      cancelChildren: this.cancelChildren,
      isStale: accepted !== true,
      ...(typeof accepted === "object" ? { refusal: accepted } : {}),
    };
  }
}

/** The loop item that a run works on; undefined outside loops. */
export function loopItem(draft: Draft, visit: Visit, key: number): LoopItem | undefined {
  const iterator = draft.stepOf(visit).loop?.iterator;
  const claimed = visit.cursor?.items.get(key);
  if (visit.cursor !== undefined && iterator !== undefined && claimed !== undefined) {
    return { iterator, item: claimed.item, index: key, total: visit.cursor.total };
  }
  if (visit.loop === undefined || iterator === undefined || key === SINGLE) {
    return undefined;
  }
  const item: Json = visit.loop.items[key] ?? null;
  return { iterator, item, index: key, total: visit.loop.items.length };
}
