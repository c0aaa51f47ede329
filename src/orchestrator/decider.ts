/**
 * One execution's inputs of a batch, decided in order by the engine into one draft. Decisions change
 * the state as they go, so whatever interrupts them (a stored result to load, an event over the
 * limit) means to read the state again and start over.
 */
import { AppError, errorMessage } from "../core/errors.ts";
import type { CommandId, ExecutionId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import type { CommandReport } from "../engine/command.ts";
import { decide } from "../engine/decide.ts";
import type { ChildEnd, Decision, EngineInput, Environment } from "../engine/decision.ts";
import type { Failure } from "../engine/failure.ts";
import type { GpuLease } from "../engine/gpu.ts";
import type { LargePart } from "../engine/offload.ts";
import { StoreNeededError } from "../engine/offload.ts";
import type { ExecutionState } from "../engine/state.ts";
import { isTerminal } from "../engine/state.ts";
import { resultOf } from "../engine/view.ts";
import type { Applicant } from "../store/admission.ts";
import { readLeases } from "../store/gpu-scene.ts";
import type { Pool } from "../store/pool.ts";
import { isDatabaseDown } from "../store/sqlstate.ts";
import type { ResultRef } from "../template/scope.ts";
import { LOOK_ALIKE, RefNeededError, UnreadableRef } from "../template/scope.ts";
import type { DatabaseClock } from "./database-clock.ts";
import type { ExecutionTracing } from "./execution-trace.ts";
import { EventTooLargeError, GroupDraft } from "./group-draft.ts";
import type { IntakeItem, Outcome } from "./intake.ts";
import { isSettled, settle } from "./intake.ts";
import type { NodeIds } from "./node-ids.ts";
import type { OrchestratorOptions } from "./options.ts";
import type { PlaybookCache } from "./playbook-cache.ts";
import type { Unstarted } from "./start-gate.ts";
import { createdEntry, endWaiting, StartGate, startOf } from "./start-gate.ts";
import type { CacheEntry, StateCache } from "./state-cache.ts";

/** What the engine said to one execution's inputs. */
export interface DecidedGroup {
  readonly id: ExecutionId;
  readonly items: readonly IntakeItem[];
  readonly entry: CacheEntry;
  readonly draft: GroupDraft;
  readonly answers: readonly Answer[];
}

interface Answer extends Pick<Outcome, "isStale" | "refusal" | "waitCount"> {
  readonly item: IntakeItem;
  /** Follows from the input and goes to its sender. */
  readonly granted: CommandId | undefined;
}

type Decided = Omit<Answer, "item">;

const UNCHANGED: Decided = { isStale: false, granted: undefined };

export interface DeciderOptions
  extends Pick<OrchestratorOptions, "ctxChars" | "defaultPool" | "gpuPool" | "env" | "log"> {
  readonly pool: Pool;
  readonly cache: StateCache;
  readonly playbooks: PlaybookCache;
  readonly ids: NodeIds;
  readonly clock: DatabaseClock;
  readonly tracing: ExecutionTracing;
  /**
   * The value behind a `$ref` in an execution's data.
   *
   * @throws AppError `not_found`, RESULT_FOREIGN or RESULT_TOO_LARGE_HERE.
   */
  readonly loadResult: (
    ref: string,
    reader: ExecutionId,
  ) => Promise<{ readonly value: Json; readonly size: number }>;
  /** Stores what is too large for commands. */
  readonly storePart: (executionId: ExecutionId, part: LargePart) => Promise<ResultRef>;
  /** Of commands that are handed out with the answer to a report. */
  readonly leaseMs: number;
  /** Asks for the place of a child that needs one. Returns at once. */
  readonly enterChild: (applicant: Applicant) => void;
}

/** Times that one group starts over, for stored results and oversized events. */
const RESTARTS_MAX = 100;

/** One pass over a group's inputs. */
interface Pass {
  readonly entry: CacheEntry;
  readonly unstarted: Unstarted | undefined;
  readonly draft: GroupDraft;
  readonly environment: Environment;
  readonly leaseMs: number;
  readonly answers: Answer[];
}

export class Decider {
  readonly #options: DeciderOptions;
  readonly #gate: StartGate;

  constructor(options: DeciderOptions) {
    this.#options = options;
    this.#gate = new StartGate(options);
  }

  /**
   * Settles items that need no commit because their execution does not exist or the engine broke;
   * gives undefined when none is left.
   */
  async decide(
    items: readonly IntakeItem[],
    entries: ReadonlyMap<ExecutionId, CacheEntry>,
  ): Promise<DecidedGroup | undefined> {
    const [first] = items;
    if (first === undefined) {
      return undefined;
    }
    const id = first.executionId;
    let entry = first.create === undefined ? entries.get(id) : createdEntry(first.create);
    for (let restart = 0; entry !== undefined; restart++) {
      try {
        return await this.#pass(entry, items);
      } catch (error) {
        await this.#recover(error, items, entry, restart);
        entry = await this.#reload(first, entry);
      }
    }
    for (const item of items) {
      settle(item, () => item.resolve({ isStale: true, status: undefined }));
    }
    return undefined;
  }

  async #pass(known: CacheEntry, items: readonly IntakeItem[]): Promise<DecidedGroup | undefined> {
    const create = items[0]?.create?.row;
    const { entry, unstarted } =
      create === undefined ? await this.#gate.prepare(known) : { entry: known };
    const { clock, ids, defaultPool, gpuPool, env } = this.#options;
    const leases = await this.#readLeases(entry, items);
    const nowMs = clock.now();
    const pass: Pass = {
      entry,
      unstarted,
      draft: new GroupDraft({
        head: entry.head,
        seq: entry.state?.seq ?? entry.head.seq,
        status: entry.state?.status ?? entry.head.status,
        nowMs,
        newId: ids.newId,
        create,
        ctxChars: this.#options.ctxChars,
        trace: this.#options.tracing.traceOf(entry.head),
      }),
      environment: {
        nowMs,
        newId: ids.newId,
        defaultPool,
        gpuPool,
        env,
        leases,
        resolved: entry.resolved,
        stored: entry.stored,
      },
      leaseMs: this.#options.leaseMs,
      answers: [],
    };
    this.#begin(pass);
    for (const item of items) {
      decideItem(pass, item);
    }
    this.#askForPlace(pass);
    this.#tellParent(pass);
    const { draft, answers } = pass;
    const open = answers.map(({ item }) => item);
    return { id: entry.head.executionId, items: open, entry, draft, answers };
  }

  /** GPUs of the commands that these inputs may end; no question as long as none wants any. */
  async #readLeases(
    { head, state }: CacheEntry,
    items: readonly IntakeItem[],
  ): Promise<ReadonlyMap<CommandId, GpuLease>> {
    const ids = state === undefined ? [] : items.flatMap((item) => endingGpus(state, item.input));
    return ids.length === 0
      ? NO_LEASES
      : await readLeases(this.#options.pool, head.executionId, [...new Set(ids)]);
  }

  #begin(pass: Pass): void {
    const { unstarted, draft, entry } = pass;
    if (unstarted === undefined) {
      return;
    }
    if ("problem" in unstarted) {
      draft.endUnstarted({ type: "playbook.failed", error: unstarted.problem });
    } else if ("playbook" in unstarted) {
      draft.startWith(unstarted.playbook);
      decideInto(pass, { kind: "start", start: startOf(entry.head, unstarted.playbook) });
    }
  }

  /** A child that needs a place and was not ended by an input. */
  #askForPlace(pass: Pass): void {
    const { unstarted } = pass;
    const applicant = unstarted && "applicant" in unstarted ? unstarted.applicant : undefined;
    if (applicant !== undefined && !isTerminal(pass.draft)) {
      this.#options.enterChild(applicant);
    }
  }

  /** A parent that waits learns of the end in the commit that brings it. */
  #tellParent({ entry, draft }: Pass): void {
    const { parentId, isWaited } = entry.head;
    const last = draft.recorded.at(-1)?.event;
    const { status } = draft;
    if (parentId === null || !isWaited || last === undefined) {
      return;
    }
    if (status !== "pending" && status !== "running") {
      const child = childEnd(entry, last.type === "playbook.failed" ? last.error : undefined);
      draft.wakeParent(parentId, { kind: "child_done", child: { ...child, status } });
    }
  }

  /** Prepares another pass, or throws what no repetition can cure. */
  async #recover(
    error: unknown,
    items: readonly IntakeItem[],
    entry: CacheEntry,
    restart: number,
  ): Promise<void> {
    const { executionId } = entry.head;
    this.#options.cache.drop(executionId);
    if (error instanceof RefNeededError && restart < RESTARTS_MAX) {
      await this.#resolve(entry, error.ref);
    } else if (error instanceof StoreNeededError && restart < RESTARTS_MAX) {
      entry.stored.set(error.part.key, await this.#options.storePart(executionId, error.part));
    } else if (error instanceof OversizeError && restart < RESTARTS_MAX) {
      shrink(error);
    } else if (error instanceof AppError || isDatabaseDown(error)) {
      throw error;
    } else {
      this.#options.log.error("engine failed", {
        executionId,
        inputs: items.map((item) => item.input.kind),
        error: errorMessage(error),
        stack: error instanceof Error ? error.stack : undefined,
      });
      if (items[0]?.create === undefined && entry.head.status === "pending") {
        this.#gate.noteBroken(executionId);
        return;
      }
      const answer = new AppError("internal", "ENGINE_ERROR", "The engine failed", {
        cause: error,
      });
      for (const item of items) {
        settle(item, () => item.reject(answer));
      }
    }
  }

  /**
   * A result that is gone reads as null: the template decides what that means. One that is too large
   * for this server fails the template. One that is another execution's was no reference at all.
   */
  async #resolve(entry: CacheEntry, ref: string): Promise<void> {
    try {
      const { value, size } = await this.#load(entry, ref);
      entry.resolved.set(ref, value);
      entry.resolvedBytes += size;
    } catch (error) {
      if (error instanceof AppError && error.code === "RESULT_TOO_LARGE_HERE") {
        entry.resolved.set(ref, new UnreadableRef(error.message));
      } else if (error instanceof AppError && error.code === "RESULT_FOREIGN") {
        entry.resolved.set(ref, LOOK_ALIKE);
      } else if (error instanceof AppError && error.kind === "not_found") {
        this.#options.log.warn("stored result is missing", { ref });
        entry.resolved.set(ref, null);
      } else {
        throw error;
      }
    }
  }

  /** Of one that is only just being made the database does not know yet what it comes from. */
  async #load({ head }: CacheEntry, ref: string) {
    const { executionId, originId } = head;
    try {
      return await this.#options.loadResult(ref, executionId);
    } catch (error) {
      if (originId === null || !(error instanceof AppError && error.code === "RESULT_FOREIGN")) {
        throw error;
      }
      return await this.#options.loadResult(ref, originId);
    }
  }

  async #reload(first: IntakeItem, known: CacheEntry): Promise<CacheEntry | undefined> {
    const id = first.executionId;
    const entry =
      first.create === undefined
        ? (await this.#options.cache.load([id])).get(id)
        : createdEntry(first.create);
    if (entry !== undefined) {
      for (const [ref, value] of known.resolved) {
        entry.resolved.set(ref, value);
      }
      for (const [key, ref] of known.stored) {
        entry.stored.set(key, ref);
      }
      entry.resolvedBytes = known.resolvedBytes;
      entry.bytes += known.resolvedBytes * 2;
    }
    return entry;
  }
}

const NO_LEASES: ReadonlyMap<CommandId, GpuLease> = new Map();

/** Open commands with GPUs whose end the input may bring. */
function endingGpus(
  { commands }: ExecutionState,
  input: IntakeItem["input"],
): readonly CommandId[] {
  switch (input.kind) {
    case "report":
      return commands.get(input.report.commandId)?.wantsGpus === true
        ? [input.report.commandId]
        : [];
    case "lease_expired":
    case "unclaimed":
      return commands.get(input.commandId)?.wantsGpus === true ? [input.commandId] : [];
    case "timer":
      return input.purpose.kind === "cancel_deadline" ? wantingGpus(commands) : [];
    case "finalize":
      return wantingGpus(commands);
    default:
      return [];
  }
}

function wantingGpus(commands: ExecutionState["commands"]): readonly CommandId[] {
  return [...commands.values()].flatMap(({ commandId, wantsGpus }) =>
    wantsGpus ? [commandId] : [],
  );
}

/** An input whose event is too large to be stored. */
class OversizeError extends Error {
  override readonly name = "OversizeError";
  readonly item: IntakeItem;
  readonly failure: Failure;

  constructor(item: IntakeItem, cause: EventTooLargeError) {
    super(cause.message, { cause });
    this.item = item;
    this.failure = cause.failure;
  }
}

function decideItem(pass: Pass, item: IntakeItem): void {
  const { input, consumes } = item;
  if (isSettled(item)) {
    return;
  }
  try {
    const decided = decideAny(pass, item, input);
    pass.answers.push({ item, ...decided });
  } catch (error) {
    throw error instanceof EventTooLargeError ? new OversizeError(item, error) : error;
  }
  if (consumes !== undefined) {
    pass.draft.stopTimer(consumes);
  }
}

function decideAny(pass: Pass, item: IntakeItem, input: IntakeItem["input"]): Decided {
  const isWaiting = pass.unstarted !== undefined && "isWaiting" in pass.unstarted;
  if (input.kind === "start_pending") {
    return UNCHANGED;
  }
  if (isWaiting || input.kind === "refuse_pending") {
    return {
      ...UNCHANGED,
      isStale: !(isWaiting && !isTerminal(pass.draft) && endWaiting(pass.draft, input)),
    };
  }
  return decideOne(pass, item, input);
}

function decideOne(pass: Pass, item: IntakeItem, input: EngineInput): Decided {
  const decision = decideInto(pass, input, item.isCascading !== false);
  if (input.kind === "cancel" && item.isCascading === false) {
    detachChildren(pass);
  }
  return {
    isStale: decision?.isStale ?? true,
    granted: input.kind === "report" ? grantNext(pass, input.report, decision) : undefined,
    refusal: decision?.refusal,
    waitCount: input.kind === "signal" ? countWaits(decision) : undefined,
  };
}

/** Waits that a signal has ended; one that came before it may have ended others. */
function countWaits(decision: Decision | undefined): number {
  const events = decision?.events ?? [];
  return events.filter((event) => event.type === "wait.done" && event.signalSeq !== undefined)
    .length;
}

function grantNext(
  { draft, leaseMs }: Pass,
  { workerId, nextPool }: CommandReport,
  decision: Decision | undefined,
): CommandId | undefined {
  return decision === undefined || nextPool === undefined
    ? undefined
    : draft.grant(decision.issue, nextPool, { workerId, leaseMs });
}

function decideInto(pass: Pass, input: EngineInput, isCascading = true): Decision | undefined {
  const { state } = pass.entry;
  if (state === undefined || (isTerminal(pass.draft) && input.kind !== "retry")) {
    return undefined;
  }
  const decision = decide(state, input, pass.environment);
  pass.draft.add(isCascading ? decision : { ...decision, cancelChildren: [] });
  return decision;
}

/** A cancel that leaves children alone: the parent takes them for gone and waits no longer. */
function detachChildren(pass: Pass): void {
  for (const childId of [...(pass.entry.state?.children.keys() ?? [])]) {
    const child: ChildEnd = { childId, status: "cancelled", value: null };
    decideInto(pass, { kind: "child_done", child }, false);
  }
}

/** Replaces what was too large by a failure that names the limit, or refuses the input. */
function shrink({ item, failure: error }: OversizeError): void {
  const { input } = item;
  if (input.kind === "report" && input.report.outcome.status !== "error") {
    const outcome = { status: "error", error, value: null, ctx: {} } as const;
    item.input = { kind: "report", report: { ...input.report, outcome } };
    return;
  }
  if (input.kind === "child_done" && input.child.status !== "failed") {
    const child = { childId: input.child.childId, status: "failed", value: null, error } as const;
    item.input = { kind: "child_done", child };
    return;
  }
  const refusal = new AppError("invalid", "EVENT_TOO_LARGE", error.message);
  settle(item, () => item.reject(refusal));
}

function childEnd(
  { head, state }: CacheEntry,
  error: Failure | undefined,
): Omit<ChildEnd, "status"> {
  return {
    childId: head.executionId,
    value: state === undefined ? null : resultOf(state, head.returnStep ?? undefined),
    ...(error === undefined ? {} : { error }),
  };
}
