/**
 * Executions before their first event: a child that its parent has just made, or one that waits for
 * the place of its concurrency key. Whether they start, wait or never will.
 */
import { AppError } from "../core/errors.ts";
import type { CatalogId, ExecutionId } from "../core/ids.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import type { Playbook } from "../dsl/playbook.ts";
import { concurrencyOf } from "../engine/concurrency.ts";
import type { ExecutionStart } from "../engine/decision.ts";
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import type { Applicant } from "../store/admission.ts";
import type { CatalogKey } from "../store/catalog.ts";
import type { ExecutionHead } from "../store/execution.ts";
import type { DatabaseClock } from "./database-clock.ts";
import type { GroupDraft } from "./group-draft.ts";
import type { IntakeItem } from "./intake.ts";
import type { OrchestratorOptions } from "./options.ts";
import type { PlaybookCache } from "./playbook-cache.ts";
import type { CacheEntry } from "./state-cache.ts";
import { newEntry } from "./state-cache.ts";

/** An execution before its first event. */
export type Unstarted =
  /** It starts now. */
  | { readonly playbook: { readonly catalogId: CatalogId; readonly version: number } }
  /** It never will. */
  | { readonly problem: Failure }
  /** It waits for a place; `applicant`: and must ask for it first. */
  | { readonly isWaiting: true; readonly applicant?: Applicant };

export interface Prepared {
  readonly entry: CacheEntry;
  /** Absent: it has started. */
  readonly unstarted?: Unstarted;
}

export interface StartGateOptions extends Pick<OrchestratorOptions, "env"> {
  readonly playbooks: PlaybookCache;
  readonly clock: DatabaseClock;
}

export class StartGate {
  readonly #options: StartGateOptions;
  /** Children whose start the engine could not decide: they are failed without it. */
  readonly #broken = new Set<ExecutionId>();

  constructor(options: StartGateOptions) {
    this.#options = options;
  }

  /** The engine broke on its start: the next time it is failed. */
  noteBroken(executionId: ExecutionId): void {
    this.#broken.add(executionId);
  }

  /**
   * An execution that has not started gets its state here, or the reason why it never will, or waits.
   * One that has passes unchanged.
   */
  async prepare(entry: CacheEntry): Promise<Prepared> {
    const { head, state } = entry;
    if (head.status !== "pending" || (state?.seq ?? head.seq) > 0) {
      return { entry };
    }
    if (this.#broken.delete(head.executionId)) {
      const message = "The engine could not start the execution";
      return { entry, unstarted: { problem: failure("internal", message) } };
    }
    const { catalogId, version, place } = head;
    if (state === undefined || place === null) {
      return await this.#withPlaybook(entry);
    }
    return {
      entry,
      unstarted:
        place === "held" && catalogId !== null && version !== null
          ? { playbook: { catalogId, version } }
          : { isWaiting: true },
    };
  }

  /** A child right after its parent made it. */
  async #withPlaybook(entry: CacheEntry): Promise<Prepared> {
    const { head } = entry;
    const { playbooks } = this.#options;
    const key = await playbooks.find({ path: head.path, version: head.version ?? undefined });
    const playbook = key === undefined ? undefined : await playbooks.load(key.catalogId);
    if (key === undefined || playbook === undefined) {
      const version = head.version === null ? "" : ` in version ${head.version}`;
      const message = `There is no playbook ${head.path}${version}`;
      const problem = failure("not_found", message, { code: "PLAYBOOK_NOT_FOUND" });
      return { entry, unstarted: { problem } };
    }
    const { catalogId, version } = key;
    const known = newEntry({ ...head, catalogId, version }, playbook);
    return { entry: known, unstarted: this.#needsPlace(known.head, playbook, key) };
  }

  #needsPlace(head: ExecutionHead, playbook: Playbook, key: CatalogKey): Unstarted {
    const { clock, env } = this.#options;
    try {
      const options = { nowMs: clock.now(), resolved: new Map(), env };
      const claim = concurrencyOf(playbook, startOf(head, key), options);
      if (claim === undefined) {
        return { playbook: key };
      }
      const { executionId } = head;
      const priority = head.priority ?? playbook.executor.priority;
      const applicant = { ...claim, executionId, priority, create: undefined, playbook: key };
      return { isWaiting: true, applicant };
    } catch (error) {
      if (error instanceof AppError) {
        return { problem: failure("client_error", error.message, { code: error.code }) };
      }
      throw error;
    }
  }
}

/** What can happen to an execution that waits for its place; false: nothing. */
export function endWaiting(draft: GroupDraft, input: IntakeItem["input"]): boolean {
  switch (input.kind) {
    case "cancel":
      draft.endUnstarted({ type: "playbook.cancelled", reason: input.reason });
      return true;
    case "refuse_pending":
      draft.endUnstarted({ type: "playbook.failed", error: input.error });
      return true;
    case "finalize":
      draft.endUnstarted(
        input.status === "completed"
          ? { type: "playbook.completed", result: null }
          : {
              type: "playbook.failed",
              error: failure("cancelled", input.reason, { code: "FINALIZED" }),
            },
      );
      return true;
    default:
      return false;
  }
}

/** Of a root that starts, whose row does not exist yet. */
export function createdEntry({ row, playbook }: NonNullable<IntakeItem["create"]>): CacheEntry {
  const head: ExecutionHead = {
    executionId: row.executionId,
    catalogId: row.catalogId ?? null,
    path: row.path,
    version: row.version ?? null,
    parentId: row.parentId ?? null,
    rootId: row.rootId,
    depth: row.depth,
    returnStep: row.returnStep ?? null,
    isWaited: row.isWaited,
    status: "pending",
    seq: 0,
    payload: row.payload,
    pool: row.pool ?? null,
    priority: row.priority ?? null,
    concurrencyKey: null,
    place: null,
    originId: row.origin?.executionId ?? null,
    originKind: row.origin?.kind ?? null,
    trace: row.trace ?? null,
  };
  return newEntry(head, playbook);
}

export function startOf(
  head: ExecutionHead,
  { version }: { readonly version: number },
): ExecutionStart {
  const payload = parseJson(head.payload);
  const { executionId, path, pool, parentId, depth, originId, originKind } = head;
  return {
    executionId,
    path,
    version,
    payload: isJsonObject(payload) ? payload : {},
    ...(pool === null ? {} : { pool }),
    ...(parentId === null ? {} : { parent: { executionId: parentId, depth } }),
    ...(originId === null || originKind === null
      ? {}
      : { origin: { executionId: originId, kind: originKind } }),
  };
}
