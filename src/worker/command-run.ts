/**
 * Runs one command: the tasks of its pipeline, one after another, with the retries and jumps that
 * their policies ask for (src/engine/pipeline.ts decides, this file acts).
 *
 * Short waits are spent here; for longer ones, for what the server runs, for a task of another pool or with
 * other GPUs, and for each try of a durable task the slot is given back (`yielded`), and the run goes on later
 * from the state that is reported. So the payload of a command whose container is found says all of its run.
 */
import { sleep } from "../core/clock.ts";
import type { Json } from "../core/json.ts";
import type { Task } from "../dsl/playbook.ts";
import type { ClaimedCommand, CommandOutcome, PipelineState } from "../engine/command.ts";
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import { hasSameGpus } from "../engine/gpu-demand.ts";
import type { TaskOutcome } from "../engine/output.ts";
import type { PipelineNext, PipelineRun } from "../engine/pipeline.ts";
import { currentTask, retriedOf, settleTask } from "../engine/pipeline.ts";
import { isServerKind } from "../engine/server-task.ts";
import type { AdoptedCommand, ToolCommand } from "../tools/tool.ts";
import { CredentialError } from "../tools/tool.ts";
import { limitClaim } from "./claim-frame.ts";
import { CommandSecrets } from "./command-secrets.ts";
import type { CommandSlot } from "./command-slot.ts";
import { stopReason } from "./held-commands.ts";
import { LogGate } from "./log-gate.ts";
import type { LogShipper } from "./log-shipper.ts";
import type { WorkerLimits, WorkerOptions } from "./options.ts";
import { DEFAULT_LIMITS } from "./options.ts";
import type { PermitOptions } from "./rate-limit.ts";
import { GO, takePermit } from "./rate-limit.ts";
import type { RefStore } from "./ref-store.ts";
import { CommandRefs } from "./ref-store.ts";
import { reopenSecrets } from "./reopen-secrets.ts";
import { limitOutcome } from "./result-limit.ts";
import { TaskLog } from "./task-log.ts";
import type { TaskSpan } from "./task-trace.ts";
import { TaskTrace } from "./task-trace.ts";
import { tryTask } from "./task-try.ts";

/** Longer waits are not worth a slot. */
const INLINE_WAIT_MS_MAX = 3000;
export interface CommandRunOptions
  extends Pick<
    WorkerOptions,
    | "client"
    | "env"
    | "limits"
    | "log"
    | "metrics"
    | "name"
    | "onLog"
    | "pool"
    | "tools"
    | "tracer"
    | "workerId"
  > {
  readonly refStore: RefStore;
  readonly shipper: Pick<LogShipper, "push">;
}

/**
 * Never rejects for what a playbook or the outside world does.
 *
 * @param adopted set: another worker began it, under the same attempt.
 * @returns undefined when there is nothing to report: the command is lost, or left to the next worker.
 */
export async function runCommand(
  options: CommandRunOptions,
  command: ClaimedCommand,
  slot: CommandSlot,
  adopted?: AdoptedCommand,
): Promise<CommandOutcome | undefined> {
  const { stop } = slot;
  const run = new CommandRun(options, command, slot, adopted);
  const outcome = await run.execute();
  if (outcome === undefined || outcome.status === "cancelled" || outcome.status === "released") {
    return outcome;
  }
  const { step, scope, frame } = command.payload;
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const context = {
    client: options.client,
    limits,
    executionId: scope.executionId,
    step: step.name,
    index: scope.loop?.index,
    isPipeline: step.isPipeline,
    outputSelect: step.outputSelect,
    reads: step.reads ?? [],
    signal: stop,
  };
  const masked = run.secrets.maskOutcome(outcome);
  const limited = await (frame === undefined
    ? limitOutcome(context, masked)
    : limitClaim(context, frame, masked));
  const isUnwanted = stop.aborted && stopReason(stop) !== "shutdown";
  return isUnwanted && limited.status === "error" ? run.stopped() : limited;
}

class CommandRun {
  readonly secrets: CommandSecrets;
  readonly #options: CommandRunOptions;
  readonly #command: ClaimedCommand;
  readonly #toolCommand: ToolCommand;
  readonly #slot: CommandSlot;
  readonly #stop: AbortSignal;
  readonly #limits: WorkerLimits;
  readonly #refs: CommandRefs;
  readonly #gates = new Map<string, LogGate>();
  readonly #trace: TaskTrace;
  /** When its limit began to count, as performance.now() would have said it. */
  readonly #startMs: number;
  #pipeline: PipelineState;
  /** Where this command has begun. */
  #begun: PipelineState;

  constructor(
    options: CommandRunOptions,
    command: ClaimedCommand,
    slot: CommandSlot,
    adopted: AdoptedCommand | undefined,
  ) {
    const { stop } = slot;
    const { executionId, commandId, attempt, claimedAtMs } = command;
    const ageMs = adopted === undefined ? 0 : Math.max(0, Date.now() - claimedAtMs);
    this.#options = options;
    this.#command = command;
    this.#toolCommand = {
      ...{ executionId, commandId, attempt },
      ...(adopted === undefined ? {} : { adopted }),
    };
    this.#slot = slot;
    this.#stop = stop;
    this.#startMs = performance.now() - ageMs;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#pipeline = command.payload.pipeline;
    this.#begun = this.#pipeline;
    this.#refs = new CommandRefs(options.refStore, {
      executionId: command.executionId,
      signal: stop,
    });
    this.secrets = new CommandSecrets({ ...options, held: command, signal: stop });
    this.#trace = new TaskTrace({
      command,
      tracer: options.tracer,
      workerName: options.name,
      pool: options.pool,
      mask: (text) => this.secrets.maskText(text),
    });
  }

  async execute(): Promise<CommandOutcome | undefined> {
    const lost = await this.#reopenSecrets();
    if (lost !== undefined) {
      return this.#stop.aborted ? this.stopped() : this.#fail(lost, null, this.#pipeline);
    }
    for (;;) {
      if (this.#isForOthers()) {
        return this.#yield(0);
      }
      const task = currentTask(this.#run);
      const { rateLimit } = task;
      const permit =
        rateLimit === undefined ? GO : await takePermit(this.#permitOptions, task, rateLimit);
      if (permit.kind === "stopped") {
        return this.stopped();
      }
      if (permit.kind === "later") {
        this.#pipeline = { ...this.#pipeline, permitKey: permit.key };
        return this.#yield(permit.delayMs);
      }
      const outcome = permit.kind === "go" ? await this.#try(task) : refused(permit.failure);
      if (this.#stop.aborted) {
        return this.stopped(task);
      }
      const next = await this.#settle(outcome);
      if (next.kind === "done") {
        return { status: "ok", value: next.value, ctx: next.ctx, ...retriedOf(next) };
      }
      if (next.kind === "failed") {
        return this.#fail(next.error, next.value, next);
      }
      this.#pipeline = next.pipeline;
      const delayMs = next.kind === "retry" ? next.delayMs : 0;
      if (delayMs > INLINE_WAIT_MS_MAX || (delayMs > 0 && this.#isForOthers())) {
        return this.#yield(delayMs);
      }
      if (delayMs > 0) {
        await sleep(delayMs, this.#stop);
      }
      if (this.#stop.aborted) {
        return this.stopped();
      }
    }
  }

  /** Why a secret that this run has had is not to be had any more. */
  async #reopenSecrets(): Promise<Failure | undefined> {
    if (this.#isForOthers()) {
      return undefined;
    }
    const state = await reopenSecrets(this.#run, {
      tryTask: (run) => this.#try(currentTask(run), run),
      mask: (value) => this.secrets.maskJson(value),
    });
    if ("kind" in state) {
      return state;
    }
    this.#pipeline = state;
    this.#begun = state;
    return undefined;
  }

  get #run(): PipelineRun {
    const { step, scope } = this.#command.payload;
    const { env } = this.#options;
    const { keychain } = this.secrets;
    return {
      step,
      pipeline: this.#pipeline,
      data: scope,
      options: { nowMs: Date.now(), resolved: this.#refs.resolved, env, keychain },
    };
  }

  get #permitOptions(): PermitOptions {
    const { client, workerId } = this.#options;
    return { client, workerId, run: this.#run, refs: this.#refs, stop: this.#stop };
  }

  /** What this command has come to is a sub-playbook or a wait, or wants a command of its own. */
  #isForOthers(): boolean {
    const task = currentTask(this.#run);
    return isServerKind(task.kind) || (this.#hasProgress && this.#wantsOwnCommand(task));
  }

  /** Or it was parked, and no slot is free for what comes next. */
  #wantsOwnCommand(task: Task): boolean {
    const isElsewhere = task.pool !== undefined && task.pool !== this.#options.pool;
    const first = this.#command.payload.step.tasks[this.#begun.position];
    return (
      isElsewhere ||
      this.#slot.isParked ||
      this.#options.tools.get(task.kind)?.description.isDurable === true ||
      (first !== undefined && !hasSameGpus(first, task))
    );
  }

  get #hasProgress(): boolean {
    return this.#pipeline !== this.#begun;
  }

  async #try(task: Task, run: PipelineRun = this.#run): Promise<TaskOutcome> {
    const { metrics, tools, log } = this.#options;
    const startMs = performance.now();
    const span = this.#trace.begin(task);
    const taskLog = this.#logOf(task, span);
    const outcome = await tryTask({
      run,
      tools,
      refs: this.#refs,
      client: this.#options.client,
      secrets: this.secrets,
      taskLog,
      log,
      command: this.#toolCommand,
      traceparent: span.traceparent,
      gpus: this.#command.gpus ?? [],
      slot: this.#slot,
      timeoutMs: this.#timeoutOf(task),
    });
    taskLog.end();
    span.end(outcome);
    metrics.dispatchSeconds.observe((performance.now() - startMs) / 1000, task.kind);
    if (outcome.ok) {
      metrics.toolRuns.inc(task.kind, "ok");
      return outcome;
    }
    metrics.toolRuns.inc(task.kind, outcome.failure.kind);
    metrics.dispatchErrors.inc(task.kind);
    const { stderr } = taskLog;
    return outcome.failure.stderr === undefined && stderr !== undefined
      ? { ...outcome, failure: { ...outcome.failure, stderr } }
      : outcome;
  }

  /** The shorter of the task's own limit and what is left for the command. */
  #timeoutOf(task: Task): number | undefined {
    const { timeoutMs } = this.#command.payload;
    const spentMs = performance.now() - this.#startMs;
    const isBegun = this.#toolCommand.adopted !== undefined;
    const limits = [
      ...(timeoutMs === undefined ? [] : [timeoutMs - spentMs]),
      ...(task.timeoutMs === undefined ? [] : [task.timeoutMs - (isBegun ? spentMs : 0)]),
    ];
    // An adopted task whose time is over must begin all the same: its tool ends what is there.
    return limits.length === 0 ? undefined : Math.max(isBegun ? 1 : 0, Math.min(...limits));
  }

  /** A failure to load what a rule looks into fails the task. */
  async #settle(outcome: TaskOutcome): Promise<PipelineNext> {
    try {
      return await this.secrets.during(() =>
        this.#refs.during(() => settleTask(this.#run, outcome)),
      );
    } catch (error) {
      const lost = error instanceof CredentialError ? error.failure : resultUnavailable(error);
      const { ctx } = this.#pipeline;
      return { kind: "failed", error: lost, value: null, ctx, ...retriedOf(this.#pipeline) };
    }
  }

  #fail(
    error: Failure,
    value: Json,
    source: Pick<PipelineState, "ctx" | "retries">,
  ): CommandOutcome {
    return { status: "error", error, value, ctx: source.ctx, ...retriedOf(source) };
  }

  #yield(delayMs: number): CommandOutcome {
    return { status: "yielded", pipeline: this.#pipeline, delayMs };
  }

  /**
   * What is left to say after a stop from outside.
   *
   * @param task what was running, if anything.
   */
  stopped(task?: Task): CommandOutcome | undefined {
    switch (stopReason(this.#stop)) {
      case "cancelled":
        return { status: "cancelled" };
      case "lost":
      case "left":
        return undefined;
      case "shutdown":
        return task?.isIdempotent === false && !this.#slot.wasLeft
          ? this.#interrupted(task)
          : this.#handBack();
    }
  }

  /** Somebody else goes on where this run stands. */
  #handBack(): CommandOutcome {
    return this.#hasProgress
      ? this.#yield(0)
      : { status: "released", reason: "the worker was stopped" };
  }

  #interrupted(task: Task): CommandOutcome {
    const message = `The worker was stopped while task ${task.label} ran, which may not run twice`;
    const lost = failure("worker_lost", message, { retryable: false });
    return this.#fail(lost, null, this.#pipeline);
  }

  #logOf(task: Task, { context }: TaskSpan): TaskLog {
    const { shipper, onLog, metrics } = this.#options;
    const { executionId, commandId, attempt, payload } = this.#command;
    const index = payload.scope.loop?.index;
    const gate = this.#gates.get(task.label) ?? new LogGate(this.#limits, Date.now());
    this.#gates.set(task.label, gate);
    return new TaskLog({
      origin: {
        executionId,
        commandId,
        attempt,
        step: payload.step.name,
        task: task.label,
        ...(index === undefined ? {} : { index }),
      },
      gate,
      mask: (text) => this.secrets.maskText(text),
      write: (line) => {
        shipper.push(line);
        onLog?.(line, context);
      },
      onDropped: () => metrics.logLines.inc("dropped"),
    });
  }
}

function refused(problem: Failure): TaskOutcome {
  return { ok: false, failure: problem };
}

function resultUnavailable(error: unknown): Failure {
  const message = `A stored result cannot be loaded: ${String(error)}`;
  return failure("connection", message, { code: "RESULT_UNAVAILABLE" });
}
