/**
 * What the decisions on one execution change, gathered into one write. Decisions of one batch may
 * undo each other (a command issued by one input and cancelled by the next), and the statement sees
 * only rows that were there before it, so such pairs are resolved here.
 */
import type { TimeMs } from "../core/clock.ts";
import type { CatalogId, CommandId, ExecutionId, NewId, TimerId } from "../core/ids.ts";
import type { CommandPayload, GrantedCommand } from "../engine/command.ts";
import type { Decision, ExecutionStatus, NewCommand } from "../engine/decision.ts";
import type { EventOf, ExecutionEvent, RecordedEvent } from "../engine/event.ts";
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import type {
  AppendGroup,
  Grant,
  IssuedCommand,
  NewExecution,
  NewTimerRow,
  RequeuedRow,
} from "../store/append.ts";
import type { ExecutionHead } from "../store/execution.ts";
import type { ExecutionTrace } from "./execution-trace.ts";
import { stepTraceparent } from "./execution-trace.ts";
import type { WakeUp } from "./wake-up.ts";
import { encodeWakeUp } from "./wake-up.ts";

/** A wake-up to be acted on right after the commit. */
export interface PendingWakeUp {
  /** The execution to wake. */
  readonly executionId: ExecutionId;
  readonly timerId: TimerId;
  readonly wakeUp: WakeUp;
  /** From the commit on. */
  readonly delayMs: number;
}

export interface DraftOptions {
  readonly head: ExecutionHead;
  /** Position before the first decision. */
  readonly seq: number;
  /** At that position. */
  readonly status: ExecutionStatus;
  readonly nowMs: TimeMs;
  readonly newId: NewId;
  /** Of a root that starts. */
  readonly create: NewExecution | undefined;
  /** Characters of JSON of one value of ctx; default {@link CTX_CHARS_MAX}. */
  readonly ctxChars?: number | undefined;
  /** Undefined: nobody follows it. */
  readonly trace?: ExecutionTrace | undefined;
}

/** JSON text of one event, in characters, at most. */
const EVENT_CHARS_MAX = 16 * 1024 * 1024;

/** Of one command: several of them, with characters of three bytes, fit into a message to a worker. */
const COMMAND_CHARS_MAX = 16 * 1024 * 1024;
const CTX_CHARS_MAX = 16 * 1024 * 1024;

/** An input whose event would be over the limit. */
export class EventTooLargeError extends Error {
  override readonly name = "EventTooLargeError";
  readonly failure: Failure;

  constructor(message: string, code: string) {
    super(message);
    this.failure = failure("limit", message, { code });
  }
}

export class GroupDraft {
  readonly recorded: RecordedEvent[] = [];
  readonly issued = new Map<CommandId, IssuedCommand>();
  readonly requeued = new Map<CommandId, RequeuedRow>();
  readonly wakeUps = new Map<TimerId, PendingWakeUp>();
  readonly children: ExecutionId[] = [];
  /** Characters of the events' JSON. */
  chars = 0;
  readonly #options: DraftOptions;
  readonly #payloads: string[] = [];
  readonly #removed = new Set<CommandId>();
  readonly #cancelled = new Set<CommandId>();
  readonly stoppedTimers = new Set<TimerId>();
  readonly #spawn: NewExecution[] = [];
  #status: ExecutionStatus;
  #result: string | undefined;
  #error: string | undefined;
  #hasEnded = false;
  #playbook: { readonly catalogId: CatalogId; readonly version: number } | undefined;
  #isPurged = false;

  constructor(options: DraftOptions) {
    this.#options = options;
    this.#status = options.status;
  }

  get status(): ExecutionStatus {
    return this.#status;
  }

  /** True if there is nothing to write. */
  get isEmpty(): boolean {
    return (
      this.recorded.length === 0 &&
      this.stoppedTimers.size === 0 &&
      this.#removed.size === 0 &&
      this.#cancelled.size === 0 &&
      this.requeued.size === 0 &&
      this.wakeUps.size === 0
    );
  }

  /** @throws EventTooLargeError: the draft is unusable then. */
  add(decision: Decision): void {
    for (const event of decision.events) {
      this.#record(event);
    }
    for (const command of decision.issue) {
      this.#issue(command);
    }
    for (const { commandId, attempt, availableAtMs, queueTimeoutMs } of decision.requeue) {
      this.requeued.set(commandId, {
        commandId,
        attempt,
        delayMs: this.#delay(availableAtMs),
        isCancelling: false,
        queueTimeoutMs,
      });
    }
    for (const commandId of decision.cancel) {
      this.#cancel(commandId);
    }
    for (const commandId of decision.remove) {
      this.#remove(commandId);
    }
    for (const { timerId, dueMs, purpose } of decision.timers) {
      this.#wake(this.#options.head.executionId, timerId, {
        wakeUp: { kind: "timer", purpose },
        delayMs: this.#delay(dueMs),
      });
    }
    for (const timerId of decision.stopTimers) {
      this.stopTimer(timerId);
    }
    this.#addChildren(decision);
  }

  /** The row of a wake-up that has been acted on, or is pointless. */
  stopTimer(timerId: TimerId): void {
    if (!this.wakeUps.delete(timerId)) {
      this.stoppedTimers.add(timerId);
    }
  }

  /**
   * Gives one command that was just issued for the pool to the worker whose report it follows. Only
   * what may be handed out again: if the answer is lost, its lease must run out first.
   */
  grant(commands: readonly NewCommand[], pool: string, grant: Grant): CommandId | undefined {
    const next = commands.find(
      (command) =>
        command.pool === pool &&
        command.gpus === undefined &&
        this.#delay(command.availableAtMs) === 0 &&
        command.payload.step.tasks.every((task) => task.isIdempotent),
    );
    const issued = next && this.issued.get(next.commandId);
    if (issued === undefined || issued.isCancelling || issued.grant !== undefined) {
      return undefined;
    }
    this.issued.set(issued.commandId, { ...issued, grant });
    return issued.commandId;
  }

  /** The command, if its worker still is to have it. */
  granted(commandId: CommandId): GrantedCommand | undefined {
    const issued = this.issued.get(commandId);
    return issued?.grant === undefined
      ? undefined
      : {
          executionId: this.#options.head.executionId,
          commandId,
          attempt: issued.attempt,
          payload: issued.payload,
          claimedAtMs: this.#options.nowMs,
        };
  }

  startWith(playbook: { readonly catalogId: CatalogId; readonly version: number }): void {
    this.#playbook = playbook;
  }

  /**
   * Ends an execution that has not started without asking the engine: its playbook is missing, the
   * engine fails, or it was cancelled while it waited.
   */
  endUnstarted(
    event: EventOf<"playbook.completed" | "playbook.failed" | "playbook.cancelled">,
  ): void {
    this.#record(event);
    this.#isPurged = true;
  }

  /** Tells the waiting parent of the end. */
  wakeParent(parentId: ExecutionId, wakeUp: WakeUp): void {
    this.#wake(parentId, this.#options.newId<TimerId>(), { wakeUp, delayMs: 0 });
  }

  build(): AppendGroup {
    const { head, seq, create } = this.#options;
    return {
      executionId: head.executionId,
      expectedSeq: seq,
      newSeq: seq + this.recorded.length,
      status: this.#status,
      result: this.#result,
      error: this.#error,
      hasEnded: this.#hasEnded,
      create,
      playbook: this.#playbook,
      events: this.recorded.map(({ seq: position, timeMs, event }, index) => ({
        seq: position,
        type: event.type,
        step: "step" in event ? event.step : undefined,
        timeMs,
        payload: this.#payloads[index] ?? "null",
      })),
      issue: [...this.issued.values()],
      requeue: [...this.requeued.values()],
      remove: [...this.#removed],
      cancel: [...this.#cancelled],
      timers: [...this.wakeUps.values()].map(toRow),
      stopTimers: [...this.stoppedTimers],
      spawn: this.#spawn,
      isPurged: this.#isPurged,
    };
  }

  #record(event: ExecutionEvent): void {
    const payload = JSON.stringify(event);
    checkSize(event, payload, this.#options.ctxChars ?? CTX_CHARS_MAX);
    const seq = this.#options.seq + this.recorded.length + 1;
    this.recorded.push({ seq, timeMs: this.#options.nowMs, event });
    this.#payloads.push(payload);
    this.chars += payload.length;
    this.#follow(event);
  }

  /** Keeps what the execution's row shows in step with the events. */
  #follow(event: ExecutionEvent): void {
    switch (event.type) {
      case "playbook.started":
        this.#status = "running";
        break;
      case "playbook.resumed":
        this.#status = "running";
        this.#hasEnded = false;
        break;
      case "playbook.completed":
        this.#status = "completed";
        this.#hasEnded = true;
        this.#result = JSON.stringify(event.result);
        break;
      case "playbook.failed":
        this.#status = "failed";
        this.#hasEnded = true;
        this.#error = JSON.stringify(event.error);
        break;
      case "playbook.cancelled":
        this.#status = "cancelled";
        this.#hasEnded = true;
        this.#error = JSON.stringify(failure("cancelled", event.reason));
        break;
      default:
        break;
    }
  }

  #issue(command: NewCommand): void {
    const { commandId, index, availableAtMs, priority, gpus, ...rest } = command;
    const trace = this.#traceparent(command);
    const payload = trace === undefined ? command.payload : { ...command.payload, trace };
    this.issued.set(commandId, {
      ...rest,
      commandId,
      index,
      priority: this.#options.head.priority ?? priority,
      attempt: 1,
      eventSeq: this.#seqOf(commandId),
      delayMs: this.#delay(availableAtMs),
      isCancelling: false,
      grant: undefined,
      payload: toText(command.step, payload),
      trace,
      gpuDemand: gpus === undefined ? undefined : JSON.stringify(gpus),
      queueTimeoutMs: command.queueTimeoutMs,
    });
  }

  #traceparent({ step, visit }: Pick<NewCommand, "step" | "visit">): string | undefined {
    const { trace } = this.#options;
    return trace && stepTraceparent(trace, step, visit);
  }

  #seqOf(commandId: CommandId): number {
    const found = this.recorded.findLast(
      ({ event }) => event.type === "command.issued" && event.commandId === commandId,
    );
    return found?.seq ?? this.#options.seq;
  }

  #cancel(commandId: CommandId): void {
    const issued = this.issued.get(commandId);
    if (issued !== undefined) {
      this.issued.set(commandId, { ...issued, isCancelling: true, grant: undefined });
      return;
    }
    const requeued = this.requeued.get(commandId);
    if (requeued !== undefined) {
      this.requeued.set(commandId, { ...requeued, isCancelling: true });
      return;
    }
    this.#cancelled.add(commandId);
  }

  #remove(commandId: CommandId): void {
    this.requeued.delete(commandId);
    this.#cancelled.delete(commandId);
    if (!this.issued.delete(commandId)) {
      this.#removed.add(commandId);
    }
  }

  #addChildren({ children, cancelChildren }: Decision): void {
    const { head } = this.#options;
    for (const child of children) {
      this.children.push(child.childId);
      this.#spawn.push({
        executionId: child.childId,
        catalogId: undefined,
        path: child.path,
        version: child.version,
        parentId: head.executionId,
        rootId: head.rootId,
        depth: child.depth,
        returnStep: child.returnStep,
        isWaited: child.isWaited,
        payload: JSON.stringify(child.payload),
        pool: child.pool,
        priority: head.priority ?? undefined,
        dedup: undefined,
        origin: undefined,
        trace: this.#traceparentOf(child.childId),
      });
    }
    for (const childId of cancelChildren) {
      this.#wake(childId, this.#options.newId<TimerId>(), {
        wakeUp: { kind: "cancel", reason: "the parent was cancelled" },
        delayMs: 0,
      });
    }
  }

  /** Of the step that has started the child. */
  #traceparentOf(childId: ExecutionId): string | undefined {
    const started = this.recorded.findLast(
      ({ event }) => event.type === "child.started" && event.childId === childId,
    )?.event;
    return started?.type === "child.started" ? this.#traceparent(started) : undefined;
  }

  #wake(
    executionId: ExecutionId,
    timerId: TimerId,
    rest: Pick<PendingWakeUp, "wakeUp" | "delayMs">,
  ): void {
    this.wakeUps.set(timerId, { executionId, timerId, ...rest });
  }

  #delay(atMs: TimeMs): number {
    return Math.max(0, atMs - this.#options.nowMs);
  }
}

/** @throws EventTooLargeError: the command would never reach a worker. */
function toText(step: string, payload: CommandPayload): string {
  const text = JSON.stringify(payload);
  if (text.length > COMMAND_CHARS_MAX) {
    const message = `What the templates of step ${step} read has ${text.length} characters of JSON, a command may have ${COMMAND_CHARS_MAX}: let it read less, or store large values as artifacts`;
    throw new EventTooLargeError(message, "COMMAND_TOO_LARGE");
  }
  return text;
}

/** @throws EventTooLargeError */
function checkSize(event: ExecutionEvent, payload: string, ctxChars: number): void {
  if (event.type === "ctx.updated" && payload.length > ctxChars) {
    for (const [name, value] of Object.entries(event.values)) {
      const { length } = JSON.stringify(value);
      if (length > ctxChars) {
        const message = `ctx.${name} has ${length} characters of JSON, a value of ctx may have ${ctxChars} (NOETL_CTX_BYTES)`;
        throw new EventTooLargeError(message, "CTX_TOO_LARGE");
      }
    }
  }
  if (payload.length > EVENT_CHARS_MAX) {
    const message = `Event ${event.type} has ${payload.length} characters, the limit is ${EVENT_CHARS_MAX}`;
    throw new EventTooLargeError(message, "EVENT_TOO_LARGE");
  }
}

function toRow({ executionId, timerId, delayMs, wakeUp }: PendingWakeUp): NewTimerRow {
  return { executionId, timerId, delayMs, input: encodeWakeUp(wakeUp) };
}
