/**
 * State of an execution as a fold over its events, and nothing else: replaying the log gives exactly
 * the live state. Mutable, because a loop of 100,000 items must not copy its collections per event;
 * values inside (ctx, step values, items) are never changed in place, so they may be shared.
 *
 * Every event costs O(1), or O(what it names); only the events that stop everything look at all.
 */
import { assert } from "../core/assert.ts";
import type { CommandId, ExecutionId, TimerId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { Playbook } from "../dsl/playbook.ts";
import type { ExecutionStatus } from "./decision.ts";
import type { EventOf, Place, RecordedEvent } from "./event.ts";
import type { Failure } from "./failure.ts";
import { foldEvent } from "./fold.ts";
import type { Graph } from "./graph.ts";
import { graphOf } from "./graph.ts";
import type {
  KeptSignal,
  OpenChild,
  OpenCommand,
  OpenTimer,
  OpenWait,
  StepRecord,
  Token,
  Unfinished,
  Visit,
} from "./record.ts";
import { visitKey } from "./record.ts";

export interface ExecutionState {
  readonly playbook: Playbook;
  readonly graph: Graph;
  /** Position of the last event; 0 before the first. */
  seq: number;
  status: ExecutionStatus;
  /** Undefined while pending. */
  start: EventOf<"playbook.started"> | undefined;
  startedAtMs: number | undefined;
  endedAtMs: number | undefined;
  /** Replaced, never changed. */
  ctx: JsonObject;
  /** Steps that were entered or skipped. */
  readonly steps: Map<string, StepRecord>;
  /** Tokens at rest by step, in order of arrival; no empty lists. */
  readonly waiting: Map<string, Token[]>;
  /** Tokens made so far. */
  tokenCount: number;
  readonly visits: Map<string, Visit>;
  /** Number of visits by step; no zeros. */
  readonly running: Map<string, number>;
  readonly commands: Map<CommandId, OpenCommand>;
  /** Those that the parent waits for. */
  readonly children: Map<ExecutionId, OpenChild>;
  readonly timers: Map<TimerId, OpenTimer>;
  /** Runs of `kind: wait` tasks, the oldest first; see placeKey. */
  readonly waits: Map<string, OpenWait>;
  /** Keys of those that wait for a signal, by its name; no empty sets. */
  readonly listeners: Map<string, Set<string>>;
  /** Received before anybody waited for them, by name, oldest first; no empty lists. */
  readonly signals: Map<string, KeptSignal[]>;
  /** Dedup keys of the newest signals, and their positions. */
  readonly signalKeys: Map<string, number>;
  /** Runs that wait for a retry delay at the server. */
  retryCount: number;
  cancelling: EventOf<"playbook.cancelling"> | undefined;
  failing: EventOf<"playbook.failing"> | undefined;
  /** True from `playbook.finishing` on: only the final step and what follows it run. */
  isFinishing: boolean;
  /** What a retry continues from, by visitKey. */
  readonly unfinished: Map<string, Unfinished>;
  /** Tokens that the end has stopped, by step: they go on with a retry. */
  readonly rested: Map<string, Token[]>;
  /** The first failure that nothing handled. */
  failure: Failure | undefined;
  /** Step whose token ended last. */
  lastStep: string | undefined;
  result: Json | undefined;
  /** Grows whenever ctx or a step's value changes: what is derived from them is cached by it. */
  revision: number;
  /** Timers that the last decision made pointless; emptied by each decision. */
  readonly droppedTimers: TimerId[];
}

export function createState(playbook: Playbook): ExecutionState {
  return {
    playbook,
    graph: graphOf(playbook),
    seq: 0,
    status: "pending",
    start: undefined,
    startedAtMs: undefined,
    endedAtMs: undefined,
    ctx: {},
    steps: new Map(),
    waiting: new Map(),
    tokenCount: 0,
    visits: new Map(),
    running: new Map(),
    commands: new Map(),
    children: new Map(),
    timers: new Map(),
    waits: new Map(),
    listeners: new Map(),
    signals: new Map(),
    signalKeys: new Map(),
    retryCount: 0,
    cancelling: undefined,
    failing: undefined,
    isFinishing: false,
    unfinished: new Map(),
    rested: new Map(),
    failure: undefined,
    lastStep: undefined,
    result: undefined,
    revision: 0,
    droppedTimers: [],
  };
}

export function isTerminal({ status }: Pick<ExecutionState, "status">): boolean {
  return status !== "pending" && status !== "running";
}

/** True once everything that runs is being stopped. */
export function isStopping(state: ExecutionState): boolean {
  return state.cancelling !== undefined || state.failing?.mode === "fail_fast";
}

/** True once nothing new may start; what runs may still go on, unless {@link isStopping}. */
export function isHeld(state: ExecutionState): boolean {
  return state.cancelling !== undefined || state.failing !== undefined;
}

/** Facts of the start. Never called while pending. */
export function startOf(state: ExecutionState): EventOf<"playbook.started"> {
  assert(state.start !== undefined, "the execution has started");
  return state.start;
}

export function findVisit(state: ExecutionState, place: Place): Visit | undefined {
  return state.visits.get(visitKey(place));
}

/** Applies the next event of the log. Asserts on gaps and on events that cannot follow. */
export function applyEvent(state: ExecutionState, recorded: RecordedEvent): void {
  assert(recorded.seq === state.seq + 1, `event ${recorded.seq} follows ${state.seq}`);
  const { type } = recorded.event;
  const isResumed = type === "playbook.resumed";
  assert(isTerminal(state) === isResumed, `${type} does not follow a status ${state.status}`);
  foldEvent(state, recorded.event, recorded.timeMs);
  state.seq = recorded.seq;
}

/** The whole state as plain data, for comparing a replay with the live state. */
export function snapshot(state: ExecutionState): Json {
  const { playbook: _p, graph: _g, revision: _r, droppedTimers: _d, ...rest } = state;
  return plain(rest);
}

/** Maps become lists of pairs in key order, undefined becomes absent. */
function plain(value: unknown): Json {
  if (value instanceof Map) {
    const pairs = [...value].map(([key, inner]): [string, Json] => [String(key), plain(inner)]);
    return pairs.sort(([a], [b]) => (a < b ? -1 : 1));
  }
  if (value instanceof Set || Array.isArray(value)) {
    return [...value].map(plain);
  }
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
    return Object.fromEntries(entries.map(([key, inner]) => [key, plain(inner)]));
  }
  return value as Json;
}
