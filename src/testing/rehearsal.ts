/**
 * Runs a playbook by the real engine without a server, a database or workers: stubs answer its tasks, and
 * time passes as fast as it can, so that retries, waits and timeouts happen at once.
 *
 * Everything is one sequence: acts wait on an agenda and happen one after another, each at its time on
 * the test's clock. A task that really runs takes no time on that clock.
 */
import { assert } from "../core/assert.ts";
import type { CommandId, ExecutionId, NewId, WorkerId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { Playbook } from "../dsl/playbook.ts";
import type { CommandOutcome, PipelineState } from "../engine/command.ts";
import type { ChildEnd, Decision, EngineInput, NewChild } from "../engine/decision.ts";
import type { DrivenCommand } from "../engine/driver.ts";
import { ExecutionDriver } from "../engine/driver.ts";
import type { EventOf } from "../engine/event.ts";
import type { Failure } from "../engine/failure.ts";
import type { TaskOutcome } from "../engine/output.ts";
import type { PipelineRun } from "../engine/pipeline.ts";
import { currentTask, retriedOf, settleTask } from "../engine/pipeline.ts";
import { isServerKind, PLAYBOOK_KIND } from "../engine/server-task.ts";
import { isTerminal } from "../engine/state.ts";
import type { StepView } from "../engine/view.ts";
import { resultOf, stepViews, variables } from "../engine/view.ts";
import type { Aliased } from "../template/scope.ts";
import { readFrame } from "../worker/claim-frame.ts";
import { Agenda } from "./agenda.ts";
import type { Call } from "./stub-book.ts";
import { StubBook } from "./stub-book.ts";
import type { TaskTryOptions } from "./task-call.ts";
import { answerOutcome, keychainOf, tryTask, unstubbed } from "./task-call.ts";

export interface RehearsalOptions extends Omit<TaskTryOptions, "stubs" | "onLine"> {
  readonly playbook: Playbook;
  /** Sub-playbooks by path. */
  readonly children: ReadonlyMap<string, Playbook>;
}

/** What became of the execution. */
export interface Rehearsal {
  /** In capitals; RUNNING: nothing more can happen. */
  readonly status: string;
  readonly result: Json;
  readonly error: Failure | undefined;
  readonly steps: readonly StepView[];
  /** Steps in the order in which they were entered. */
  readonly visited: readonly string[];
  readonly ctx: JsonObject;
  readonly workload: JsonObject;
  readonly calls: readonly Call[];
  /** What the execution took on the test's clock. */
  readonly tookMs: number;
  /** Lines that real tasks wrote. */
  readonly lines: readonly string[];
  readonly remarks: readonly string[];
}

/** A playbook that goes round in a circle is stopped. */
const ACT_COUNT_MAX = 1_000_000;

/** @throws UnstubbedCallError */
export async function rehearse(options: RehearsalOptions): Promise<Rehearsal> {
  const world = new World(options);
  await world.run();
  return world.outcome();
}

/** An execution: that of the playbook under test, or a child. */
interface Run {
  readonly driver: ExecutionDriver;
  readonly executionId: ExecutionId;
  readonly parent?: { readonly run: Run; readonly child: NewChild };
}

class World {
  readonly #options: RehearsalOptions;
  readonly #agenda: Agenda;
  readonly #stubs: StubBook;
  readonly #keychain: Aliased;
  readonly #children = new Map<ExecutionId, Run>();
  readonly #calls: Call[] = [];
  readonly #lines: string[] = [];
  readonly #remarks: string[] = [];
  readonly #newId: NewId;
  readonly #root: Run;

  constructor(options: RehearsalOptions) {
    const { test, playbook } = options;
    this.#options = options;
    this.#agenda = new Agenda(test.nowMs);
    this.#stubs = new StubBook(test.stubs);
    this.#keychain = keychainOf(test);
    let last = 0;
    this.#newId = <Id extends string>() => `${++last}` as Id;
    this.#root = this.#createRun(playbook, this.#newId<ExecutionId>());
  }

  async run(): Promise<void> {
    const { test } = this.#options;
    this.#start(this.#root, test.payload);
    for (const { name, payload, afterMs } of test.signals) {
      this.#agenda.add(test.nowMs + afterMs, () => this.#signal(name, payload));
    }
    if (test.cancel !== undefined) {
      const { afterMs, reason } = test.cancel;
      this.#agenda.add(
        test.nowMs + afterMs,
        () => void this.#give(this.#root, { kind: "cancel", reason }),
      );
    }
    for (let count = 0; !isTerminal(this.#root.driver.state); count++) {
      assert(count < ACT_COUNT_MAX, `the execution ends within ${ACT_COUNT_MAX} acts`);
      const act = this.#agenda.next();
      if (act === undefined) {
        return;
      }
      await act();
    }
  }

  outcome(): Rehearsal {
    const { state, events } = this.#root.driver;
    const unused = this.#stubs.unusedLines();
    const { startedAtMs = 0, endedAtMs = this.#agenda.nowMs } = state;
    return {
      status: state.status.toUpperCase(),
      result: state.status === "completed" ? resultOf(state) : null,
      error: state.failure ?? lastFailure(events.at(-1)?.event),
      steps: stepViews(state),
      visited: events.flatMap(({ event }) => (event.type === "step.entered" ? [event.step] : [])),
      ctx: variables(state),
      workload: state.start?.workload ?? {},
      calls: this.#calls,
      tookMs: endedAtMs - startedAtMs,
      lines: this.#lines,
      remarks: [
        ...this.#remarks,
        ...unused.map((line) => `the stub at line ${line} answered nothing`),
        ...[...state.waits.values()].map(
          ({ step, signal }) => `${step} waits for ${signal ?? "a time"} at the end of the test`,
        ),
      ],
    };
  }

  #createRun(playbook: Playbook, executionId: ExecutionId, parent?: Run["parent"]): Run {
    const { env } = this.#options.test;
    const nowMs = this.#agenda.nowMs;
    const driver = new ExecutionDriver(playbook, { newId: this.#newId, env, nowMs });
    return { driver, executionId, ...(parent === undefined ? {} : { parent }) };
  }

  #start(run: Run, payload: JsonObject): void {
    const { driver, executionId, parent } = run;
    const { path } = driver.playbook;
    const depth = parent?.child.depth;
    const start = { executionId, path, version: 1, payload };
    const more =
      parent === undefined || depth === undefined
        ? {}
        : { parent: { executionId: parent.run.executionId, depth } };
    this.#give(run, { kind: "start", start: { ...start, ...more } });
  }

  #signal(name: string, payload: Json): void {
    const { isStale, refusal } = this.#give(this.#root, {
      kind: "signal",
      signal: { name, payload },
    });
    if (isStale) {
      this.#remarks.push(`signal ${name} was not taken: ${refusal?.message ?? "it came too late"}`);
    }
  }

  /** Decides, and puts on the agenda what follows. */
  #give(run: Run, input: EngineInput): Decision {
    const { driver } = run;
    driver.nowMs = this.#agenda.nowMs;
    const wasOver = isTerminal(driver.state);
    const decision = driver.give(input);
    for (const { commandId, availableAtMs } of decision.issue) {
      this.#agenda.add(availableAtMs, () => this.#begin(run, commandId));
    }
    for (const commandId of decision.cancel) {
      this.#soon(() => this.#report(run, commandId, { status: "cancelled" }));
    }
    for (const { timerId, dueMs, purpose } of decision.timers) {
      this.#agenda.add(dueMs, () => {
        if (driver.timers.delete(timerId)) {
          this.#give(run, { kind: "timer", timerId, purpose });
        }
      });
    }
    for (const child of decision.children) {
      this.#soon(() => this.#startChild(run, child));
    }
    for (const childId of decision.cancelChildren) {
      this.#soon(() => this.#cancelChild(run, childId));
    }
    if (!wasOver && isTerminal(driver.state)) {
      this.#tellParent(run);
    }
    return decision;
  }

  #soon(act: () => void): void {
    this.#agenda.add(this.#agenda.nowMs, act);
  }

  #begin(run: Run, commandId: CommandId): Promise<void> | void {
    const command = run.driver.commands.get(commandId);
    if (command !== undefined && !command.isCancelled) {
      return this.#work(run, command, command.payload.pipeline, this.#agenda.nowMs);
    }
  }

  /** The task at `pipeline`, and what follows from its outcome when its time has passed. */
  async #work(
    run: Run,
    command: DrivenCommand,
    pipeline: PipelineState,
    startedMs: number,
  ): Promise<void> {
    const pipelineRun = this.#runOf(command, pipeline);
    const task = currentTask(pipelineRun);
    if (isServerKind(task.kind)) {
      this.#report(run, command.commandId, { status: "yielded", pipeline, delayMs: 0 });
      return;
    }
    const { timeoutMs } = command.payload;
    const left = timeoutMs === undefined ? undefined : timeoutMs - (this.#agenda.nowMs - startedMs);
    const { call, outcome, delayMs } = await tryTask(
      { ...this.#options, stubs: this.#stubs, onLine: (line) => this.#lines.push(line) },
      {
        run: pipelineRun,
        playbook: subPathOf(run),
        visit: command.visit,
        timeoutMs: least(task.timeoutMs, left),
      },
    );
    this.#calls.push(call);
    this.#agenda.add(this.#agenda.nowMs + delayMs, () =>
      this.#settle(run, command, { pipeline, outcome, startedMs }),
    );
  }

  #settle(
    run: Run,
    command: DrivenCommand,
    tried: {
      readonly pipeline: PipelineState;
      readonly outcome: TaskOutcome;
      readonly startedMs: number;
    },
  ): void {
    const { commandId, payload } = command;
    if (!run.driver.commands.has(commandId) || command.isCancelled) {
      return;
    }
    const next = settleTask(this.#runOf(command, tried.pipeline), tried.outcome);
    if (next.kind === "done") {
      this.#report(
        run,
        commandId,
        frameOutcome(payload.frame, next.value, next.ctx, retriedOf(next)),
      );
    } else if (next.kind === "failed") {
      const { error, value, ctx } = next;
      this.#report(run, commandId, { status: "error", error, value, ctx, ...retriedOf(next) });
    } else {
      const delayMs = next.kind === "retry" ? next.delayMs : 0;
      this.#agenda.add(this.#agenda.nowMs + delayMs, () =>
        run.driver.commands.has(commandId) && !command.isCancelled
          ? this.#work(run, command, next.pipeline, tried.startedMs)
          : undefined,
      );
    }
  }

  #runOf({ payload }: DrivenCommand, pipeline: PipelineState): PipelineRun {
    const { env } = this.#options.test;
    const options = { nowMs: this.#agenda.nowMs, env, keychain: this.#keychain };
    return { step: payload.step, pipeline, data: payload.scope, options };
  }

  #report(run: Run, commandId: CommandId, outcome: CommandOutcome): void {
    const { driver, executionId } = run;
    const command = driver.commands.get(commandId);
    if (command === undefined) {
      return;
    }
    const { attempt } = command;
    const report = { executionId, commandId, attempt, workerId: WORKER, outcome };
    this.#give(run, { kind: "report", report: { ...report, startedAtMs: this.#agenda.nowMs } });
  }

  /** From a stub, or from its playbook. */
  #startChild(parent: Run, child: NewChild): void {
    const call = childCall(parent, child);
    this.#calls.push(call);
    const stubbed = this.#stubs.answer(call);
    if (stubbed !== undefined) {
      const scope = { names: { ...call.input, input: call.input }, resolved: new Map(), nowMs: 0 };
      const outcome = answerOutcome(stubbed.answer, scope, call.config);
      this.#agenda.add(this.#agenda.nowMs + stubbed.delayMs, () =>
        this.#endChild(parent, childEnd(child.childId, outcome)),
      );
      return;
    }
    const playbook = this.#options.children.get(child.path);
    if (playbook === undefined) {
      throw unstubbed(call, this.#stubs);
    }
    const run = this.#createRun(playbook, child.childId, { run: parent, child });
    this.#children.set(child.childId, run);
    this.#start(run, child.payload);
  }

  #cancelChild(parent: Run, childId: ExecutionId): void {
    const run = this.#children.get(childId);
    if (run === undefined) {
      this.#endChild(parent, { childId, status: "cancelled", value: null });
    } else {
      this.#give(run, { kind: "cancel", reason: "the parent was cancelled" });
    }
  }

  #tellParent({ driver, parent }: Run): void {
    if (parent === undefined || !parent.child.isWaited) {
      return;
    }
    const { childId, returnStep } = parent.child;
    const { status } = driver.state;
    assert(status !== "pending" && status !== "running", "the child has ended");
    const error = lastFailure(driver.events.at(-1)?.event);
    const value = resultOf(driver.state, returnStep);
    const end = { childId, status, value, ...(error === undefined ? {} : { error }) };
    this.#soon(() => this.#endChild(parent.run, end));
  }

  #endChild(parent: Run, child: ChildEnd): void {
    if (parent.driver.children.delete(child.childId)) {
      this.#give(parent, { kind: "child_done", child });
    }
  }
}

const WORKER = "test" as WorkerId;

function subPathOf({ driver, parent }: Run): string | undefined {
  return parent === undefined ? undefined : driver.playbook.path;
}

function least(first: number | undefined, second: number | undefined): number | undefined {
  return first === undefined || second === undefined ? (first ?? second) : Math.min(first, second);
}

/** Of a cursor's claim the rows that it gave. */
function frameOutcome(
  frame: DrivenCommand["payload"]["frame"],
  value: Json,
  ctx: JsonObject,
  retried: ReturnType<typeof retriedOf>,
): CommandOutcome {
  if (frame === undefined) {
    return { status: "ok", value, ctx, ...retried };
  }
  const claimed = readFrame(frame, value);
  return "kind" in claimed
    ? { status: "error", error: claimed, value: null, ctx: {} }
    : { status: "ok", value: { ...claimed }, ctx, ...retried };
}

function childCall(parent: Run, { childId, path, payload }: NewChild): Call {
  const { driver } = parent;
  const started = driver.events.findLast(
    (recorded): recorded is typeof recorded & { readonly event: EventOf<"child.started"> } =>
      recorded.event.type === "child.started" && recorded.event.childId === childId,
  )?.event;
  assert(started !== undefined, "a child is announced by an event");
  const { step, visit, index, pipeline } = started;
  const task = driver.state.graph.step(step).tasks[pipeline.position];
  return {
    step,
    task: task?.label ?? step,
    kind: PLAYBOOK_KIND,
    playbook: subPathOf(parent),
    visit,
    index,
    attempt: pipeline.tries + 1,
    input: payload,
    config: { path },
  };
}

function childEnd(childId: ExecutionId, outcome: TaskOutcome): ChildEnd {
  return outcome.ok
    ? { childId, status: "completed", value: outcome.value }
    : { childId, status: "failed", value: outcome.value ?? null, error: outcome.failure };
}

function lastFailure(
  event: ExecutionDriver["events"][number]["event"] | undefined,
): Failure | undefined {
  return event?.type === "playbook.failed" ? event.error : undefined;
}
