/** Playbooks in few words, and an execution to drive by hand. */
import type { ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import type { Arc, Cursor, Loop, Playbook, Rule, Step, Task } from "../../../src/dsl/playbook.ts";
import type { CommandOutcome } from "../../../src/engine/command.ts";
import type {
  Decision,
  EngineInput,
  ExecutionStart,
  NewTimer,
} from "../../../src/engine/decision.ts";
import type { DrivenCommand } from "../../../src/engine/driver.ts";
import { ExecutionDriver } from "../../../src/engine/driver.ts";
import type { EventType, ExecutionEvent } from "../../../src/engine/event.ts";
import { failure } from "../../../src/engine/failure.ts";
import { snapshot } from "../../../src/engine/state.ts";

export type StepSpec = Partial<Omit<Step, "next" | "loop" | "tasks">> & {
  readonly tasks?: readonly Partial<Task>[];
  readonly loop?: Partial<Loop>;
  /** `name`, or `name` with a guard and more. */
  readonly next?: readonly (string | (Partial<Arc> & { readonly step: string }))[];
  readonly nextMode?: "exclusive" | "inclusive";
  readonly onNoMatch?: "complete" | "fail" | "quiet";
};

export function makeTask(label: string, task: Partial<Task> = {}): Task {
  return {
    label,
    kind: "noop",
    config: {},
    input: {},
    set: [],
    isIdempotent: true,
    ...task,
  };
}

export function makeRule(rule: Partial<Rule>): Rule {
  return {
    action: "continue",
    set: [],
    attempts: 3,
    backoff: "none",
    delay: 1,
    hasJitter: false,
    ...rule,
  };
}

export function makeStep(name: string, spec: StepSpec = {}): Step {
  const { tasks = [{}], loop, next = [], nextMode, onNoMatch, ...rest } = spec;
  return {
    name,
    tasks: tasks.map((task, index) => makeTask(tasks.length > 1 ? `t${index}` : name, task)),
    isPipeline: tasks.length > 1,
    input: {},
    set: [],
    join: "auto",
    failure: "drain",
    admit: [],
    outputSelect: [],
    ...rest,
    next: {
      mode: nextMode ?? "exclusive",
      onNoMatch: onNoMatch ?? "complete",
      arcs: next.map((arc) => ({ set: [], ...(typeof arc === "string" ? { step: arc } : arc) })),
    },
    ...(loop === undefined
      ? {}
      : {
          loop: {
            iterator: "item",
            mode: "parallel",
            maxInFlight: 16,
            failure: "fail_fast",
            ...loop,
          },
        }),
  };
}

export function makeCursor(cursor: Partial<Cursor> = {}): Cursor {
  return {
    kind: "postgres",
    claim: makeTask("claim", { kind: "postgres" }),
    maxRows: 10,
    maxBytes: 1000,
    rowConcurrency: 1,
    process: "row",
    leaseMs: 120_000,
    heartbeatMs: 30_000,
    maxAttempts: 3,
    ...cursor,
  };
}

export function makePlaybook(
  steps: Readonly<Record<string, StepSpec>>,
  more: Partial<Playbook> = {},
): Playbook {
  return {
    name: "test",
    path: "test/playbook",
    labels: {},
    entryStep: Object.keys(steps)[0] ?? "start",
    workload: {},
    keychain: [],
    ...more,
    executor: { priority: 5, isNoMatchError: false, ...more.executor },
    steps: Object.entries(steps).map(([name, spec]) => makeStep(name, spec)),
  };
}

/** One execution to drive by hand. */
export class Driver extends ExecutionDriver {
  start(payload: JsonObject = {}, more: Partial<ExecutionStart> = {}): this {
    const executionId = "1" as ExecutionId;
    const start = { executionId, path: this.playbook.path, version: 1, payload, ...more };
    this.give({ kind: "start", start });
    return this;
  }

  /** A decision whose commit fails: the state is thrown away and made again from the log. */
  lose(input: EngineInput): void {
    this.decide(input);
    this.state = this.replay();
  }

  /** Reports the only open command of a step, or that of an item. */
  report(step: string, outcome: CommandOutcome, index?: number): Decision {
    const command = this.open(step, index);
    return this.give({
      kind: "report",
      report: {
        executionId: "1" as ExecutionId,
        commandId: command.commandId,
        attempt: command.attempt,
        workerId: "w" as WorkerId,
        startedAtMs: this.nowMs,
        outcome,
      },
    });
  }

  ok(step: string, value: Json = {}, ctx: JsonObject = {}, index?: number): Decision {
    return this.report(step, { status: "ok", value, ctx }, index);
  }

  okItem(step: string, index: number, value: Json = {}): Decision {
    return this.ok(step, value, {}, index);
  }

  fail(step: string, message = "no luck", index?: number): Decision {
    const error = failure("server_error", message);
    return this.report(step, { status: "error", error, value: null, ctx: {} }, index);
  }

  open(step: string, index?: number): DrivenCommand {
    const found = [...this.commands.values()].find(
      (command) => command.step === step && command.index === index,
    );
    if (found === undefined) {
      throw new Error(`no open command of ${step} ${index ?? ""}: ${this.openSteps().join()}`);
    }
    return found;
  }

  openSteps(): readonly string[] {
    return [...this.commands.values()].map(({ step, index }) =>
      index === undefined ? step : `${step}[${index}]`,
    );
  }

  /** Moves the clock to the next timer of this kind and fires it. */
  fire(kind: NewTimer["purpose"]["kind"]): Decision {
    const timer = [...this.timers.values()].find(({ purpose }) => purpose.kind === kind);
    if (timer === undefined) {
      throw new Error(`no timer ${kind}`);
    }
    this.nowMs = Math.max(this.nowMs, timer.dueMs);
    this.timers.delete(timer.timerId);
    return this.give({ kind: "timer", timerId: timer.timerId, purpose: timer.purpose });
  }

  types(): readonly EventType[] {
    return this.events.map(({ event }) => event.type);
  }

  count(type: EventType, step?: string): number {
    return this.events.filter(
      ({ event }) => event.type === type && (step === undefined || stepOfEvent(event) === step),
    ).length;
  }

  isSameAsReplay(): boolean {
    return Bun.deepEquals(snapshot(this.replay()), snapshot(this.state), true);
  }
}

function stepOfEvent(event: ExecutionEvent): string | undefined {
  return "step" in event ? event.step : undefined;
}
