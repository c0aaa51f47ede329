/**
 * One execution in memory: its state, its log, and its open work, with nobody to do that work. Whoever
 * drives it gives inputs and moves the clock. For rehearsals (src/testing) and the engine's own tests.
 */
import type { CommandId, ExecutionId, NewId, TimerId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import type { Playbook } from "../dsl/playbook.ts";
import { decide } from "./decide.ts";
import type {
  Decision,
  EngineInput,
  Environment,
  NewChild,
  NewCommand,
  NewTimer,
} from "./decision.ts";
import type { RecordedEvent } from "./event.ts";
import type { GpuLease } from "./gpu.ts";
import type { ExecutionState } from "./state.ts";
import { applyEvent, createState } from "./state.ts";

/** A command that is not over. */
export interface DrivenCommand extends NewCommand {
  /** The fence. */
  attempt: number;
  /** It is to be reported as cancelled. */
  isCancelled: boolean;
}

export interface DrivenChild extends NewChild {
  isCancelled: boolean;
}

export interface DriverOptions {
  /** Default: 1, 2, 3 … of this driver. */
  readonly newId?: NewId;
  /** Default empty. */
  readonly env?: Environment["env"];
  /** Where the clock begins, milliseconds since 1970; default 1,000,000. */
  readonly nowMs?: number;
}

const BEGIN_MS = 1_000_000;

export class ExecutionDriver {
  readonly playbook: Playbook;
  state: ExecutionState;
  readonly events: RecordedEvent[] = [];
  readonly commands = new Map<CommandId, DrivenCommand>();
  /** Those that are waited for and have not ended. */
  readonly children = new Map<ExecutionId, DrivenChild>();
  readonly timers = new Map<TimerId, NewTimer>();
  /** Stored values that templates may look into. */
  readonly resolved = new Map<string, Json>();
  /** GPUs that commands hold. */
  readonly leases = new Map<CommandId, GpuLease>();
  /** Moved by whoever drives. */
  nowMs: number;
  readonly #newId: NewId;
  readonly #env: Environment["env"];

  constructor(playbook: Playbook, options: DriverOptions = {}) {
    this.playbook = playbook;
    this.state = createState(playbook);
    this.nowMs = options.nowMs ?? BEGIN_MS;
    this.#newId = options.newId ?? createCounter();
    this.#env = options.env ?? {};
  }

  /** Decides and records. @throws RefNeededError when a template needs a value that is not there. */
  give(input: EngineInput): Decision {
    const decision = this.decide(input);
    this.#record(decision);
    return decision;
  }

  /** Decides without recording, as when a commit fails: the state is good for nothing then. */
  protected decide(input: EngineInput): Decision {
    return decide(this.state, input, {
      nowMs: this.nowMs,
      newId: this.#newId,
      defaultPool: "cpu",
      gpuPool: "gpu",
      env: this.#env,
      resolved: this.resolved,
      leases: this.leases,
    });
  }

  /** The same state, made from the log alone. */
  replay(): ExecutionState {
    const state = createState(this.playbook);
    for (const recorded of this.events) {
      applyEvent(state, recorded);
    }
    return state;
  }

  #record(decision: Decision): void {
    const first = this.events.length;
    for (const [index, event] of decision.events.entries()) {
      this.events.push({ seq: first + index + 1, timeMs: this.nowMs, event });
    }
    this.#recordCommands(decision);
    for (const child of decision.children.filter(({ isWaited }) => isWaited)) {
      this.children.set(child.childId, { ...child, isCancelled: false });
    }
    for (const childId of decision.cancelChildren) {
      mark(this.children.get(childId));
    }
    for (const timer of decision.timers) {
      this.timers.set(timer.timerId, timer);
    }
    for (const timerId of decision.stopTimers) {
      this.timers.delete(timerId);
    }
  }

  #recordCommands({ issue, requeue, cancel, remove }: Decision): void {
    for (const command of issue) {
      this.commands.set(command.commandId, { ...command, attempt: 1, isCancelled: false });
    }
    for (const { commandId, attempt } of requeue) {
      const command = this.commands.get(commandId);
      if (command !== undefined) {
        command.attempt = attempt;
      }
    }
    for (const commandId of cancel) {
      mark(this.commands.get(commandId));
    }
    for (const commandId of remove) {
      this.commands.delete(commandId);
    }
  }
}

function mark(work: { isCancelled: boolean } | undefined): void {
  if (work !== undefined) {
    work.isCancelled = true;
  }
}

function createCounter(): NewId {
  let last = 0;
  return <Id extends string>() => `${++last}` as Id;
}
