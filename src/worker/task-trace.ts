/** The spans of a command's tasks: one for each try. */
import type { Task } from "../dsl/playbook.ts";
import type { ClaimedCommand } from "../engine/command.ts";
import type { TaskOutcome } from "../engine/output.ts";
import type { TraceContext } from "../observability/trace-context.ts";
import { formatTraceparent, parseTraceparent, taskSpanId } from "../observability/trace-context.ts";
import type { Tracer } from "../observability/tracer.ts";

export interface TaskTraceOptions {
  readonly command: ClaimedCommand;
  readonly tracer: Tracer | undefined;
  readonly workerName: string;
  readonly pool: string;
  /** Takes secrets out of messages. */
  readonly mask: (text: string) => string;
}

const MESSAGE_CHARS_MAX = 1000;

/** A try under way. */
export interface TaskSpan {
  /** Of the try; of its step, if nobody records the try. Undefined: nobody follows the execution. */
  readonly context: TraceContext | undefined;
  /** What the task tells whom it calls. */
  readonly traceparent: string | undefined;
  end(outcome: TaskOutcome): void;
}

const UNTRACED: TaskSpan = { context: undefined, traceparent: undefined, end: () => undefined };

export class TaskTrace {
  readonly #options: TaskTraceOptions;
  readonly #step: TraceContext | undefined;
  #tries = 0;

  constructor(options: TaskTraceOptions) {
    this.#options = options;
    this.#step = parseTraceparent(options.command.payload.trace);
  }

  begin(task: Task): TaskSpan {
    const step = this.#step;
    if (step === undefined) {
      return UNTRACED;
    }
    const { tracer, command } = this.#options;
    if (tracer === undefined || !step.isSampled) {
      return { ...UNTRACED, context: step, traceparent: formatTraceparent(step) };
    }
    this.#tries++;
    const spanId = taskSpanId(command.commandId, command.attempt, this.#tries);
    const context = { ...step, spanId };
    const startMs = Date.now();
    return {
      context,
      traceparent: formatTraceparent(context),
      end: (outcome) =>
        this.#record(tracer, task, { ...context, parentId: step.spanId, startMs, outcome }),
    };
  }

  #record(
    tracer: Tracer,
    task: Task,
    {
      outcome,
      ...span
    }: TraceContext & {
      readonly parentId: string;
      readonly startMs: number;
      readonly outcome: TaskOutcome;
    },
  ): void {
    const { command, workerName: worker, pool, mask } = this.#options;
    const { traceId, spanId, parentId, startMs } = span;
    tracer.record({
      name: `${task.kind} ${task.label}`,
      ...{ traceId, spanId, parentId, startMs },
      endMs: Date.now(),
      attributes: {
        execution_id: command.executionId,
        command_id: command.commandId,
        attempt: command.attempt,
        step: command.payload.step.name,
        task: task.label,
        tool: task.kind,
        index: command.payload.scope.loop?.index,
        ...{ worker, pool },
        error_kind: outcome.ok ? undefined : outcome.failure.kind,
        error_code: outcome.ok ? undefined : outcome.failure.code,
      },
      error: outcome.ok ? undefined : mask(outcome.failure.message).slice(0, MESSAGE_CHARS_MAX),
    });
  }
}
