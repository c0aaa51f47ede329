/** Counts what has been committed: events, executions, steps, by playbook. */
import type { EventOf, RecordedEvent } from "../engine/event.ts";
import { isTerminal } from "../engine/state.ts";
import { createBoundedLabel } from "../observability/bounded-label.ts";
import type { DecidedGroup } from "./decider.ts";
import type { OrchestratorOptions } from "./options.ts";

const PLAYBOOKS_MAX = 200;

type Group = Pick<DecidedGroup, "entry" | "draft">;

export class ExecutionMetrics {
  readonly #metrics: OrchestratorOptions["metrics"];
  readonly #labelOf: (path: string) => string;

  constructor({
    metrics,
    metricsPlaybooks = PLAYBOOKS_MAX,
  }: Pick<OrchestratorOptions, "metrics" | "metricsPlaybooks">) {
    this.#metrics = metrics;
    this.#labelOf = createBoundedLabel(metricsPlaybooks);
  }

  count({ entry, draft }: Group): void {
    const playbook = this.#labelOf(entry.head.path);
    for (const recorded of draft.recorded) {
      this.#metrics.eventsIngested.inc(recorded.event.type, "ok");
      this.#countEvent(recorded, playbook, entry);
    }
    const last = draft.recorded.at(-1);
    if (last !== undefined && isTerminal(draft)) {
      this.#metrics.executionsFinished.inc(playbook, draft.status);
      const seconds = (last.timeMs - (entry.state?.startedAtMs ?? last.timeMs)) / 1000;
      this.#metrics.executionSeconds.observe(seconds, playbook);
    }
  }

  #countEvent({ event, timeMs }: RecordedEvent, playbook: string, entry: Group["entry"]): void {
    const { executionsStarted, stepsFinished, commandsRetried } = this.#metrics;
    if (event.type === "playbook.started") {
      executionsStarted.inc(playbook);
    } else if (event.type === "step.exited") {
      this.#countExit(event, timeMs, playbook, entry);
    } else if (event.type === "step.skipped") {
      stepsFinished.inc(playbook, "skipped");
    } else if (event.type === "command.retried") {
      commandsRetried.inc(event.isLoss ? "lost" : "returned");
    }
  }

  /** Without a duration when another visit of the step has begun meanwhile. */
  #countExit(
    event: EventOf<"step.exited">,
    timeMs: number,
    playbook: string,
    { state }: Group["entry"],
  ): void {
    this.#metrics.stepsFinished.inc(playbook, event.status);
    const record = state?.steps.get(event.step);
    if (record?.startedAtMs !== undefined && record.visits === event.visit) {
      this.#metrics.stepSeconds.observe((timeMs - record.startedAtMs) / 1000, playbook);
    }
  }
}
