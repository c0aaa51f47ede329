/**
 * Runs a random playbook in a hostile world: reports are lost, repeated and reordered, workers die
 * with and without their reports arriving later, commits fail, timers fire late, children end as
 * they like, signals come once, twice or to nobody, executions are cancelled, and retried after their
 * end. Checks after every decision what must hold always.
 */
import type { CommandId, ExecutionId, TimerId, WorkerId } from "../../../src/core/ids.ts";
import type { Json } from "../../../src/core/json.ts";
import type { Playbook } from "../../../src/dsl/playbook.ts";
import type { CommandOutcome, CommandPayload, CommandReport } from "../../../src/engine/command.ts";
import type { ChildEnd, EngineInput, NewCommand } from "../../../src/engine/decision.ts";
import { failure, templateFailure } from "../../../src/engine/failure.ts";
import type { TaskOutcome } from "../../../src/engine/output.ts";
import type { PipelineRun } from "../../../src/engine/pipeline.ts";
import { currentTask, renderTask, retriedOf, settleTask } from "../../../src/engine/pipeline.ts";
import type { Visit } from "../../../src/engine/record.ts";
import { pullerKey } from "../../../src/engine/record.ts";
import { isServerKind } from "../../../src/engine/server-task.ts";
import { isTerminal } from "../../../src/engine/state.ts";
import { Driver } from "./harness.ts";
import { Chance, randomPlaybook, SIGNALS } from "./random-playbook.ts";
import { checkAcknowledged, goodAcks } from "./simulator-cursor.ts";
import { check, checkLog } from "./simulator-log.ts";

const TURN_COUNT_MAX = 4000;
const RETRY_COUNT_MAX = 3;

/** What has happened so far, to see that the worlds are not all alike. */
export interface Tally {
  readonly status: string;
  readonly staleCount: number;
  readonly eventCount: number;
  readonly retryCount: number;
  readonly signalCount: number;
}

/**
 * @param playbook runs in place of one by chance; its tasks are rendered, and fail where that fails.
 * @throws when an invariant does not hold.
 */
export function simulate(seed: number, playbook?: Playbook): Tally {
  const world = new World(new Chance(seed), playbook);
  world.run();
  return world.tally();
}

class World {
  readonly #chance: Chance;
  readonly #driver: Driver;
  /** Of 100 tasks, how many fail. */
  readonly #errorPercent: number;
  /** Reports under way, repeated ones twice. */
  readonly #mail: CommandReport[] = [];
  readonly #ends: ChildEnd[] = [];
  /** Commands that a worker has, by the attempt it got. */
  readonly #held = new Map<CommandId, number>();
  /** What cursors claim from. */
  readonly #source: RowSource;
  #staleCount = 0;

  /** Tasks are rendered as a worker does it. */
  readonly #isRendered: boolean;

  constructor(chance: Chance, playbook: Playbook | undefined) {
    this.#chance = chance;
    this.#isRendered = playbook !== undefined;
    this.#driver = new Driver(playbook ?? randomPlaybook(chance));
    this.#errorPercent = chance.pick([0, 2, 5, 20]);
    this.#source = new RowSource(chance);
  }

  run(): void {
    const start = { executionId: "1" as ExecutionId, path: "p", version: 1, payload: {} };
    this.#give({ kind: "start", start });
    this.#runToEnd();
    for (let retry = 0; retry < RETRY_COUNT_MAX && this.#retry(); retry++) {
      this.#runToEnd();
    }
  }

  #runToEnd(): void {
    for (let turn = 0; !isTerminal(this.#driver.state); turn++) {
      if (turn > TURN_COUNT_MAX) {
        throw new Error("the execution does not come to an end");
      }
      this.#turn(turn);
    }
    this.#checkEnd();
    this.#deliverLeftovers();
  }

  /** False when there is nothing to retry, which must be so after a good end. */
  #retry(): boolean {
    const { state } = this.#driver;
    if (!this.#chance.hits(50)) {
      return false;
    }
    const names = [...state.unfinished.values()].map(({ visit }) => visit.step);
    const only = names.length > 0 && this.#chance.hits(20) ? { steps: [names[0] ?? ""] } : {};
    const hadCompleted = state.status === "completed";
    const decision = this.#give({ kind: "retry", ...only });
    const isRefused = decision.refusal !== undefined;
    check(isRefused === hadCompleted, "all but a completed one can be retried");
    check(!isRefused || decision.events.length === 0, "what is refused changes nothing");
    return !isRefused;
  }

  tally(): Tally {
    const { state, events } = this.#driver;
    return {
      status: state.status,
      staleCount: this.#staleCount,
      eventCount: events.length,
      retryCount: this.#driver.count("playbook.resumed"),
      signalCount: this.#driver.count("signal.received"),
    };
  }

  #turn(turn: number): void {
    const chance = this.#chance;
    const roll = chance.below(100);
    if (roll < 35) {
      this.#work();
    } else if (roll < 70) {
      this.#deliver();
    } else if (roll < 78) {
      this.#endChild();
    } else if (roll < 82) {
      if (chance.hits(20)) {
        this.#failQueued();
      } else {
        this.#expireLease();
      }
    } else if (roll < 84) {
      this.#releaseOne();
    } else if (roll < 90) {
      this.#fireTimer();
    } else if (roll < 91) {
      this.#giveNonsense();
    } else if (roll < 94) {
      this.#signal();
    } else if (roll < 95 && chance.hits(15)) {
      this.#give({ kind: "cancel", reason: "by chance" });
    } else if (roll < 96) {
      this.#write();
    } else if (turn > TURN_COUNT_MAX / 2 && chance.hits(1)) {
      this.#give({ kind: "cancel", reason: "at last" });
    }
  }

  /** Somebody outside writes ctx. */
  #write(): void {
    const name = `c${this.#chance.below(3)}`;
    const isGone = this.#chance.hits(30);
    this.#give({
      kind: "variables",
      values: isGone ? {} : { [name]: this.#chance.below(10) },
      removed: isGone ? [name] : [],
    });
    const { state } = this.#driver;
    check(isGone !== Object.hasOwn(state.ctx, name), "what is written from outside is ctx");
  }

  /** Some keys come again; some are always new, or a wait could be left without any. */
  #signal(): void {
    const chance = this.#chance;
    const { state } = this.#driver;
    const dedupKey = chance.hits(70) ? `key-${chance.below(20)}` : `new-${state.signalKeys.size}`;
    const isKnown = state.signalKeys.has(dedupKey);
    const decision = this.#give({
      kind: "signal",
      signal: {
        name: chance.pick(SIGNALS),
        payload: { v: chance.below(10) },
        dedupKey,
        ...(chance.hits(20) ? { isBroadcast: true } : {}),
      },
    });
    const isTaken = decision.events.length > 0;
    check(!(isKnown && isTaken), "a signal with a known key changes nothing");
    check(
      isKnown || isTaken || decision.refusal !== undefined,
      "a new signal is taken, or refused with a reason",
    );
  }

  /** A worker takes a command and runs it; its report may be lost, or arrive twice. */
  #work(): void {
    const waiting = [...this.#driver.commands.values()].filter(
      (row) => this.#held.get(row.commandId) !== row.attempt,
    );
    const command = waiting[this.#chance.below(waiting.length)];
    if (command === undefined) {
      return;
    }
    const { commandId, attempt } = command;
    this.#held.set(commandId, attempt);
    const outcome: CommandOutcome = command.isCancelled
      ? { status: "cancelled" }
      : this.#execute(command);
    const copies = this.#chance.pick([0, 1, 1, 1, 1, 1, 1, 1, 2]);
    for (let copy = 0; copy < copies; copy++) {
      this.#mail.push(makeReport(commandId, attempt, outcome));
    }
  }

  #execute({ payload, step: name, visit, puller }: NewCommand): CommandOutcome {
    const { step, scope: data } = payload;
    if (puller !== undefined) {
      return this.#pull(payload, `${name}#${visit}`);
    }
    for (let { pipeline } = payload; ; ) {
      const run = { step, pipeline, data, options: { nowMs: 0 } };
      if (isServerKind(currentTask(run).kind)) {
        return { status: "yielded", pipeline, delayMs: 0 };
      }
      const next = settleTask(run, this.#rendered(run) ?? this.#taskOutcome(data.loop?.index));
      if (next.kind === "done") {
        return { status: "ok", value: next.value, ctx: next.ctx, ...retriedOf(next) };
      }
      if (next.kind === "failed") {
        const { error, value, ctx } = next;
        return { status: "error", error, value, ctx, ...retriedOf(next) };
      }
      if (next.kind === "retry" && this.#chance.hits(30)) {
        return { status: "yielded", pipeline: next.pipeline, delayMs: next.delayMs };
      }
      pipeline = next.pipeline;
    }
  }

  /** How the task fails if its templates do. */
  #rendered(run: PipelineRun): TaskOutcome | undefined {
    if (!this.#isRendered) {
      return undefined;
    }
    try {
      renderTask(run);
      return undefined;
    } catch (error) {
      return { ok: false, failure: templateFailure(error) };
    }
  }

  /** A puller's command: it may fail, or go on later. */
  #pull(payload: CommandPayload, key: string): CommandOutcome {
    const [first] = payload.step.tasks;
    if (first?.label === "acknowledge") {
      const acks = payload.pipeline.locals["__frame_acks"];
      this.#source.acknowledge(Array.isArray(acks) ? acks : []);
    }
    if (this.#chance.hits(this.#errorPercent / 2)) {
      const error = failure("db_error", "by chance");
      return { status: "error", error, value: null, ctx: {} };
    }
    if (this.#chance.hits(5)) {
      return { status: "yielded", pipeline: payload.pipeline, delayMs: 5000 };
    }
    const value = payload.frame === undefined ? null : this.#source.claim(key, payload);
    return { status: "ok", value, ctx: {} };
  }

  #taskOutcome(index: number | undefined): TaskOutcome {
    return this.#chance.hits(this.#errorPercent)
      ? { ok: false, failure: failure("server_error", "by chance") }
      : { ok: true, value: { v: this.#chance.below(10), index: index ?? null } };
  }

  #deliver(): void {
    const at = this.#chance.below(this.#mail.length);
    const [report] = this.#mail.splice(at, 1);
    if (report !== undefined) {
      this.#giveReport(report);
    }
  }

  #giveReport(report: CommandReport): void {
    const row = this.#driver.commands.get(report.commandId);
    const isStale = row?.attempt !== report.attempt;
    const decision = this.#give({ kind: "report", report });
    check(decision.isStale === isStale, "a report is stale unless its attempt owns the command");
    check(!isStale || decision.events.length === 0, "a stale report changes nothing");
    this.#staleCount += isStale ? 1 : 0;
  }

  #expireLease(): void {
    const held = [...this.#held].filter(([id]) => this.#driver.commands.has(id));
    const [commandId, attempt] = held[this.#chance.below(held.length)] ?? [];
    if (commandId !== undefined && attempt !== undefined) {
      this.#give({ kind: "lease_expired", commandId, attempt });
    }
  }

  /** Nobody will have a queued command: it waited too long, or wants what nobody has. */
  #failQueued(): void {
    const commands = [...this.#driver.commands.values()].filter(
      ({ commandId, attempt }) => this.#held.get(commandId) !== attempt,
    );
    const command = commands[this.#chance.below(commands.length)];
    if (command !== undefined) {
      const { commandId, attempt } = command;
      const error = failure("timeout", "by chance", { code: "QUEUE_TIMEOUT" });
      const decision = this.#give({ kind: "unclaimed", commandId, attempt, error });
      check(!decision.isStale, "a queued command may fail");
      check(!this.#driver.commands.has(commandId), "a command that fails in its queue is over");
    }
  }

  #releaseOne(): void {
    const commands = [...this.#driver.commands.values()];
    const command = commands[this.#chance.below(commands.length)];
    if (command !== undefined) {
      const outcome = { status: "released", reason: "shutdown" } as const;
      this.#giveReport(makeReport(command.commandId, command.attempt, outcome));
    }
  }

  #endChild(): void {
    const children = [...this.#driver.children.values()];
    const child = children[this.#chance.below(children.length)];
    if (child === undefined) {
      const repeated = this.#ends[this.#chance.below(this.#ends.length)];
      if (repeated !== undefined) {
        const decision = this.#give({ kind: "child_done", child: repeated });
        check(decision.events.length === 0, "a child ends once");
      }
      return;
    }
    const { childId, isCancelled } = child;
    const end: ChildEnd = !this.#chance.hits(this.#errorPercent)
      ? { childId, status: "completed", value: { v: this.#chance.below(10) } }
      : { childId, status: isCancelled ? "cancelled" : "failed", value: null };
    this.#driver.children.delete(childId);
    this.#ends.push(end);
    this.#give({ kind: "child_done", child: end });
  }

  #fireTimer(): void {
    const { timers, commands, children } = this.#driver;
    const due = [...timers.values()].sort((a, b) => a.dueMs - b.dueMs)[0];
    const isIdle = commands.size + children.size === 0;
    const kind = due?.purpose.kind;
    const isSoon = kind === "retry" || kind === "cancel_deadline" || kind === "wait";
    if (due === undefined || !(isIdle || isSoon || this.#chance.hits(10))) {
      return;
    }
    this.#driver.nowMs = Math.max(this.#driver.nowMs, due.dueMs);
    timers.delete(due.timerId);
    this.#give({ kind: "timer", timerId: due.timerId, purpose: due.purpose });
  }

  #giveNonsense(): void {
    const decisions = [
      this.#give({ kind: "lease_expired", commandId: "0" as CommandId, attempt: 1 }),
      this.#give({
        kind: "timer",
        timerId: "0" as TimerId,
        purpose: { kind: "execution_timeout" },
      }),
    ];
    check(
      decisions.every(({ events }) => events.length === 0),
      "what the state does not know changes nothing",
    );
  }

  /** Some commits fail: then the same input is decided again, on a state made from the log. */
  #give(input: EngineInput): ReturnType<Driver["give"]> {
    this.#driver.nowMs += this.#chance.below(200);
    if (this.#chance.hits(3)) {
      this.#driver.lose(input);
    }
    const decision = this.#driver.give(input);
    this.#checkAlways();
    return decision;
  }

  #checkAlways(): void {
    const { state, commands, children, timers } = this.#driver;
    check(state.failure?.kind !== "internal", `no bug: ${state.failure?.message}`);
    check(equalKeys(state.commands, commands), "rows and state know the same commands");
    check(equalKeys(state.timers, timers), "rows and state know the same timers");
    check(
      [...state.children.keys()].every((id) => children.has(id)),
      "every child that is waited for runs",
    );
    if (!isTerminal(state)) {
      const open = commands.size + state.children.size + timers.size + state.waits.size;
      check(open > 0, "a running execution has something outstanding");
    }
    for (const { purpose } of timers.values()) {
      const isForVisit =
        purpose.kind === "step_timeout" ||
        purpose.kind === "retry" ||
        purpose.kind === "wait" ||
        purpose.kind === "frame_renewal";
      const key = isForVisit ? `${purpose.step}#${purpose.visit}` : "";
      check(!isForVisit || state.visits.has(key), "a timer belongs to something open");
    }
    for (const name of state.listeners.keys()) {
      check(!state.signals.has(name), `nobody waits for ${name} while one is kept`);
    }
    for (const visit of state.visits.values()) {
      const { loop, runs, step } = visit;
      check(loop === undefined || runs.size <= loop.maxInFlight, `max_in_flight of ${step} holds`);
      this.#checkCursor(visit);
    }
  }

  #checkCursor({ cursor, runs, step }: Visit): void {
    if (cursor === undefined) {
      return;
    }
    const { rowConcurrency = 1 } = this.#driver.state.graph.step(step).loop?.cursor ?? {};
    for (const [number, { frame }] of cursor.pullers.entries()) {
      const own = [...runs.keys()].filter((key) => cursor.items.get(key)?.puller === number);
      check(own.length <= rowConcurrency, `row_concurrency of ${step} holds`);
      const isClaiming = runs.has(pullerKey(number)) && cursor.pullers[number]?.phase !== "renew";
      const isWhole = frame === undefined || frame.endedCount === 0;
      check(!isClaiming || own.length === 0, `a puller of ${step} claims when its rows have ended`);
      check(isWhole || frame.endedCount < frame.indexes.length, `a frame of ${step} is open`);
    }
    const good = goodAcks(this.#driver.events);
    const isSafe = this.#source.acknowledged.every((ack) => good.has(ack));
    check(isSafe, "only what went well is acknowledged");
  }

  #checkEnd(): void {
    const { state, events } = this.#driver;
    const open = [
      state.waiting,
      state.visits,
      state.commands,
      state.children,
      state.timers,
      state.waits,
      state.signals,
    ];
    check(
      open.every(({ size }) => size === 0),
      "nothing is open after the end",
    );
    check(this.#driver.isSameAsReplay(), "a replay gives the live state");
    checkLog(events);
    checkAcknowledged(events, new Set(this.#source.acknowledged));
  }

  /** Whatever arrives after the end is stale. */
  #deliverLeftovers(): void {
    for (const report of this.#mail) {
      const decision = this.#driver.give({ kind: "report", report });
      check(decision.isStale && decision.events.length === 0, "the end is final");
    }
  }
}

/** Rows that cursors claim: a few for each visit. What a lost report had claimed is gone. */
class RowSource {
  readonly acknowledged: Json[] = [];
  readonly #chance: Chance;
  readonly #left = new Map<string, number>();
  #lastAck = 0;

  constructor(chance: Chance) {
    this.#chance = chance;
  }

  claim(key: string, { frame, pipeline }: CommandPayload): Json {
    const left = this.#left.get(key) ?? this.#chance.below(12);
    const most = Number(pipeline.locals["__frame_max_rows"]);
    const count = Math.min(left, 1 + this.#chance.below(most));
    this.#left.set(key, left - count);
    const rows = Array.from({ length: count }, (_, row) => ({ row }));
    const acks = rows.map(() => ++this.#lastAck);
    const isOne = frame?.process === "frame" && count > 0;
    return isOne
      ? { items: [rows], rowCount: count, acks: [acks] }
      : { items: rows, rowCount: count, acks };
  }

  acknowledge(acks: readonly Json[]): void {
    this.acknowledged.push(...acks);
  }
}

function makeReport(commandId: CommandId, attempt: number, outcome: CommandOutcome): CommandReport {
  return {
    executionId: "1" as ExecutionId,
    commandId,
    attempt,
    workerId: "w" as WorkerId,
    startedAtMs: 0,
    outcome,
  };
}

function equalKeys(a: ReadonlyMap<string, unknown>, b: ReadonlyMap<string, unknown>): boolean {
  return a.size === b.size && [...a.keys()].every((key) => b.has(key));
}
