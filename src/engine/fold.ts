/** How each event changes the state. Used by state.ts alone; see there. */
import { assert, unreachable } from "../core/assert.ts";
import type { JsonObject } from "../core/json.ts";
import type { EventOf, ExecutionEvent } from "./event.ts";
import {
  applyAdopted,
  applyChildDone,
  applyChildStarted,
  applyIssued,
  applyRetried,
  applyTimerFired,
  applyTimerStarted,
  applyWaitDone,
  applyWaitStarted,
} from "./fold-call.ts";
import { applyFrame } from "./fold-cursor.ts";
import { applyFailing, applyFinishing, applyResumed, end } from "./fold-end.ts";
import { recordOf, visitOf } from "./fold-place.ts";
import { countRetries, endRun, moveRun, stopAll, stopRun } from "./fold-run.ts";
import { applyEntered, applyExited, applyLoopStarted, applyStepFailing } from "./fold-step.ts";
import { addToken, takeTokens } from "./fold-token.ts";
import { setValue } from "./fold-value.ts";
import { applySignal } from "./fold-wait.ts";
import { START } from "./graph.ts";
import { runKey, visitKey } from "./record.ts";
import type { ExecutionState } from "./state.ts";

export function foldEvent(state: ExecutionState, event: ExecutionEvent, timeMs: number): void {
  switch (event.type) {
    case "playbook.started":
      applyStarted(state, event, timeMs);
      break;
    case "step.entered":
      applyEntered(state, event, timeMs);
      break;
    case "step.skipped":
      takeTokens(state, event.step, event.tokenCount);
      state.unfinished.delete(visitKey({ step: event.step, visit: event.resumes ?? 0 }));
      recordOf(state, event.step).status = "skipped";
      break;
    case "step.failing":
      applyStepFailing(state, event, timeMs);
      break;
    case "loop.started":
      applyLoopStarted(state, event);
      break;
    case "command.issued":
      applyIssued(state, event, timeMs);
      break;
    case "command.retried":
      applyRetried(state, event);
      break;
    case "command.adopted":
      applyAdopted(state, event);
      break;
    case "command.yielded":
      state.commands.delete(event.commandId);
      countRetries(state, event, event.pipeline.retries);
      moveRun(state, event, { pipeline: event.pipeline, commandId: undefined });
      break;
    case "command.cancelled":
      state.commands.delete(event.commandId);
      stopRun(visitOf(state, event), runKey(event));
      break;
    case "call.done":
      state.commands.delete(event.commandId);
      countRetries(state, event, event.retries);
      endRun(state, event, { value: event.value, error: undefined });
      break;
    case "call.error":
      state.commands.delete(event.commandId);
      countRetries(state, event, event.retries);
      endRun(state, event, { value: event.value, error: event.error });
      break;
    case "child.started":
      applyChildStarted(state, event, timeMs);
      break;
    case "child.done":
      applyChildDone(state, event);
      break;
    case "wait.started":
      applyWaitStarted(state, event, timeMs);
      break;
    case "wait.done":
      applyWaitDone(state, event);
      break;
    case "signal.received":
      applySignal(state, event, timeMs);
      break;
    case "ctx.updated":
      state.ctx = updated(state.ctx, event);
      state.revision++;
      break;
    case "loop.frame":
      state.commands.delete(event.commandId);
      countRetries(state, event, event.retries);
      applyFrame(state, event);
      break;
    case "loop.done":
      setValue(state, visitOf(state, event), undefined);
      break;
    case "step.exited":
      applyExited(state, event, timeMs);
      break;
    case "timer.started":
      applyTimerStarted(state, event);
      break;
    case "timer.fired":
      applyTimerFired(state, event);
      break;
    case "playbook.cancelling":
      state.cancelling = event;
      stopAll(state, timeMs);
      break;
    case "playbook.failing":
      applyFailing(state, event, timeMs);
      break;
    case "playbook.finishing":
      applyFinishing(state, event, timeMs);
      break;
    case "playbook.resumed":
      applyResumed(state, event);
      break;
    case "playbook.completed":
      state.result = event.result;
      end(state, "completed", timeMs);
      break;
    case "playbook.failed":
      state.failure = event.error;
      end(state, "failed", timeMs);
      break;
    case "playbook.cancelled":
      end(state, "cancelled", timeMs);
      break;
    default:
      unreachable(event);
  }
}

function applyStarted(
  state: ExecutionState,
  event: EventOf<"playbook.started">,
  timeMs: number,
): void {
  assert(state.status === "pending", "an execution starts once");
  state.status = "running";
  state.start = event;
  state.startedAtMs = timeMs;
  addToken(state, state.playbook.entryStep, START);
}

function updated(ctx: JsonObject, { values, removed = [] }: EventOf<"ctx.updated">): JsonObject {
  if (removed.length === 0) {
    return { ...ctx, ...values };
  }
  const kept = Object.entries(ctx).filter(([name]) => !removed.includes(name));
  return { ...Object.fromEntries(kept), ...values };
}
