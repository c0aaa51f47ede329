/**
 * Spans of executions and steps, recorded by the server that commits their end; and the context that commands and
 * children get. Of a try of a task its worker records the span.
 */
import type { ExecutionId } from "../core/ids.ts";
import type { EventOf, RecordedEvent } from "../engine/event.ts";
import { isTerminal } from "../engine/state.ts";
import type { TraceContext } from "../observability/trace-context.ts";
import {
  executionSpanId,
  formatTraceparent,
  isChosen,
  parseTraceparent,
  stepSpanId,
  traceIdOf,
} from "../observability/trace-context.ts";
import type { Tracer } from "../observability/tracer.ts";
import type { ExecutionHead } from "../store/execution.ts";
import type { DecidedGroup } from "./decider.ts";

type Head = Pick<ExecutionHead, "executionId" | "rootId" | "trace">;
type Group = Pick<DecidedGroup, "entry" | "draft">;

/** `parentId`: of the execution's span; undefined: it is the root of its trace. */
export interface ExecutionTrace extends Pick<TraceContext, "traceId" | "isSampled"> {
  readonly executionId: ExecutionId;
  readonly parentId: string | undefined;
}

export class ExecutionTracing {
  readonly #tracer: Tracer | undefined;

  constructor(tracer: Tracer | undefined) {
    this.#tracer = tracer;
  }

  /** Undefined: nothing is recorded, and nobody outside wants to follow. */
  traceOf({ executionId, rootId, trace }: Head): ExecutionTrace | undefined {
    const given = parseTraceparent(trace);
    if (given !== undefined) {
      const { traceId, spanId: parentId } = given;
      return { executionId, traceId, parentId, isSampled: given.isSampled };
    }
    const traceId = this.#tracer && traceIdOf(rootId);
    return traceId !== undefined && isChosen(traceId, this.#tracer?.ratio ?? 0)
      ? { executionId, traceId, parentId: undefined, isSampled: true }
      : undefined;
  }

  /** Records what has ended with this commit. */
  record(group: Group): void {
    const tracer = this.#tracer;
    const { head, state } = group.entry;
    if (tracer === undefined || state === undefined) {
      return;
    }
    const trace = this.traceOf(head);
    if (trace?.isSampled !== true) {
      return;
    }
    const { recorded } = group.draft;
    const hasResumed = recorded.some(({ event }) => event.type === "playbook.resumed");
    for (const one of recorded) {
      if (one.event.type === "step.exited") {
        this.#recordStep(tracer, trace, group, one.event, one.timeMs);
      }
    }
    const last = recorded.at(-1);
    if (last !== undefined && isTerminal(group.draft) && !hasResumed) {
      this.#recordCut(tracer, trace, group, last.timeMs);
      this.#recordEnd(tracer, trace, group, last);
    }
  }

  #recordStep(
    tracer: Tracer,
    trace: ExecutionTrace,
    { entry }: Group,
    { step, visit, status, error }: EventOf<"step.exited">,
    endMs: number,
  ): void {
    const record = entry.state?.steps.get(step);
    const startMs = record?.visits === visit ? (record.startedAtMs ?? endMs) : endMs;
    const { executionId, traceId } = trace;
    tracer.record({
      name: `step ${step}`,
      ...{ traceId, startMs, endMs },
      spanId: stepSpanId(executionId, step, visit),
      parentId: executionSpanId(executionId),
      attributes: { execution_id: executionId, playbook: entry.head.path, step, visit, status },
      error: error?.message,
    });
  }

  /** Steps that were under way when the execution ended, so that their tasks have a parent. */
  #recordCut(tracer: Tracer, trace: ExecutionTrace, { entry }: Group, endMs: number): void {
    const { executionId, traceId } = trace;
    for (const [step, { status, startedAtMs, visits: visit }] of entry.state?.steps ?? []) {
      if (status === "cancelled" && startedAtMs !== undefined) {
        tracer.record({
          name: `step ${step}`,
          ...{ traceId, startMs: startedAtMs, endMs },
          spanId: stepSpanId(executionId, step, visit),
          parentId: executionSpanId(executionId),
          attributes: { execution_id: executionId, playbook: entry.head.path, step, visit, status },
          error: "cancelled",
        });
      }
    }
  }

  #recordEnd(
    tracer: Tracer,
    { executionId, traceId, parentId }: ExecutionTrace,
    { entry, draft }: Group,
    { event, timeMs }: RecordedEvent,
  ): void {
    const { head, state } = entry;
    tracer.record({
      name: `execution ${head.path}`,
      ...{ traceId, parentId },
      spanId: executionSpanId(executionId),
      startMs: state?.startedAtMs ?? timeMs,
      endMs: timeMs,
      attributes: {
        execution_id: executionId,
        playbook: head.path,
        version: head.version ?? state?.start?.version,
        status: draft.status,
        parent_execution_id: head.parentId ?? undefined,
      },
      error: errorOf(event),
    });
  }
}

/** What a command of the step, or a child that it starts, gets to be its parent. */
export function stepTraceparent(
  { executionId, traceId, isSampled: isRecorded }: ExecutionTrace,
  step: string,
  visit: number,
): string {
  const spanId = stepSpanId(executionId, step, visit);
  return formatTraceparent({ traceId, spanId, isSampled: isRecorded });
}

function errorOf(event: RecordedEvent["event"]): string | undefined {
  if (event.type === "playbook.failed") {
    return event.error.message;
  }
  return event.type === "playbook.cancelled" ? "cancelled" : undefined;
}
