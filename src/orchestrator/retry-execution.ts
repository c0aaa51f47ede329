/** Finished executions that go on, and executions that are started over. */
import { AppError } from "../core/errors.ts";
import type { ExecutionId, NewId, TimerId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { JsonObject } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import { mergeDeep } from "../engine/assign.ts";
import type { ExecutionStatus, Refusal, RetryRequest } from "../engine/decision.ts";
import { refusalOfRetry } from "../engine/resume.ts";
import type { ExecutionState } from "../engine/state.ts";
import { startOf } from "../engine/state.ts";
import { copyExecution } from "../store/copy-execution.ts";
import { findByDedupKey, readHeads } from "../store/execution.ts";
import type { Pool } from "../store/pool.ts";
import { databaseError } from "../store/sqlstate.ts";
import type { Admission } from "./admission.ts";
import type { IntakeInput, Outcome } from "./intake.ts";
import type { NodeIds } from "./node-ids.ts";
import type { OrchestratorOptions } from "./options.ts";
import type { StartedExecution, StartRequest } from "./start-execution.ts";
import { DEDUP_WINDOW_MS } from "./start-execution.ts";
import { encodeWakeUp } from "./wake-up.ts";

export interface RetryOptions extends Pick<RetryRequest, "steps" | "reason"> {
  /** True: a new execution continues, with the earlier results; the finished one stays as it is. */
  readonly isNew: boolean;
  /** Of a new execution: the same key again gives the one that is there. */
  readonly dedup?: { readonly key: string };
}

export interface RetriedExecution {
  /** The one that goes on. */
  readonly executionId: ExecutionId;
  readonly status: ExecutionStatus;
  /** The finished one; the same unless a new one was asked for. */
  readonly originId: ExecutionId;
}

export interface RerunOptions {
  /** Merged over the first one's payload. */
  readonly payload: JsonObject;
  /** The same key again gives the first rerun. */
  readonly dedup?: { readonly key: string };
}

interface Parts {
  readonly pool: Pool;
  readonly ids: NodeIds;
  readonly submit: (input: IntakeInput) => Promise<Outcome>;
  readonly start: (request: StartRequest) => Promise<StartedExecution>;
  readonly state: (id: ExecutionId) => Promise<ExecutionState | undefined>;
  readonly admission: Pick<Admission, "whileReserved">;
  readonly metrics: Pick<OrchestratorOptions["metrics"], "executionsRetried">;
}

export class ExecutionRetrier {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * Continues a failed or cancelled execution from the steps that failed or were cut off.
   *
   * @throws AppError not_found EXECUTION_NOT_FOUND; conflict EXECUTION_RUNNING, EXECUTION_COMPLETED,
   * NOTHING_TO_RETRY, EXECUTION_CHANGED, DEDUP_KEY_TAKEN or CONCURRENCY_LIMIT; invalid
   * STEP_NOT_RETRYABLE.
   */
  async retry(
    id: ExecutionId,
    { isNew, dedup, ...request }: RetryOptions,
  ): Promise<RetriedExecution> {
    const { admission, metrics } = this.#parts;
    const known = isNew && dedup !== undefined ? await this.#findCopy(id, dedup.key) : undefined;
    if (known !== undefined) {
      return known;
    }
    const goOn = () =>
      isNew ? this.#retryCopy(id, request, dedup?.key) : this.#retryItself(id, request);
    const retried = isId(id)
      ? await this.#read(() => admission.whileReserved(id, goOn))
      : await goOn();
    metrics.executionsRetried.inc(isNew ? "copy" : "retry");
    return retried;
  }

  /** Starts the same version of the playbook over. @throws AppError like a start. */
  async rerun(id: ExecutionId, { payload, dedup }: RerunOptions): Promise<StartedExecution> {
    const [head] = isId(id) ? await this.#read(() => readHeads(this.#parts.pool, [id])) : [];
    if (head === undefined) {
      throw notFound(id);
    }
    const first = parseJson(head.payload);
    const started = await this.#parts.start({
      ...(head.catalogId === null ? { path: head.path } : { catalogId: head.catalogId }),
      ...(head.catalogId === null && head.version !== null ? { version: head.version } : {}),
      payload: mergeDeep(isJsonObject(first) ? first : {}, payload),
      ...(head.pool === null ? {} : { pool: head.pool }),
      ...(head.priority === null ? {} : { priority: head.priority }),
      ...(dedup === undefined ? {} : { dedup }),
      origin: { executionId: id, kind: "rerun" },
    });
    this.#parts.metrics.executionsRetried.inc("rerun");
    return started;
  }

  async #retryItself(
    id: ExecutionId,
    request: Pick<RetryRequest, "steps" | "reason">,
  ): Promise<RetriedExecution> {
    const input = { kind: "retry", ...request } as const;
    return toRetried(id, id, await this.#parts.submit({ executionId: id, input }));
  }

  /** What an earlier ask with this key has made. */
  async #findCopy(id: ExecutionId, key: string): Promise<RetriedExecution | undefined> {
    const { pool } = this.#parts;
    const executionId = await this.#read(() => findByDedupKey(pool, key));
    const [head] =
      executionId === undefined ? [] : await this.#read(() => readHeads(pool, [executionId]));
    if (head !== undefined && head.originId !== id) {
      const message = `Dedup key ${key} stands for execution ${head.executionId}, which is no retry of ${id}`;
      throw new AppError("conflict", "DEDUP_KEY_TAKEN", message);
    }
    return head && { executionId: head.executionId, status: head.status, originId: id };
  }

  async #retryCopy(
    id: ExecutionId,
    request: Pick<RetryRequest, "steps" | "reason">,
    key: string | undefined,
  ): Promise<RetriedExecution> {
    const { ids, pool, submit, state: readState } = this.#parts;
    await ids.acquire();
    const state = await readState(id);
    if (state === undefined) {
      throw notFound(id);
    }
    const refusal = refusalOfRetry(state, request);
    if (refusal !== undefined) {
      throw refused(id, refusal);
    }
    const retry = { kind: "retry", ...request, atSeq: state.seq } as const;
    const copy = copyOf(state, ids.newId, encodeWakeUp(retry));
    const dedup = key === undefined ? {} : { dedup: { key, windowMs: DEDUP_WINDOW_MS } };
    const copied = await this.#read(() => copyExecution(pool, { ...copy, ...dedup }));
    const known = copied === "taken" ? await this.#findCopy(id, key ?? "") : undefined;
    if (known !== undefined) {
      return known;
    }
    if (copied !== "copied") {
      throw new AppError("conflict", "EXECUTION_CHANGED", `Execution ${id} has gone on since`);
    }
    const { to, wakeUp } = copy;
    const outcome = await submit({ executionId: to, input: retry, consumes: wakeUp.timerId });
    // A sweep may have been faster: then it goes on already.
    return toRetried(id, to, { ...outcome, refusal: undefined, isStale: false });
  }

  async #read<T>(question: () => Promise<T>): Promise<T> {
    try {
      return await question();
    } catch (error) {
      throw databaseError(error);
    }
  }
}

function copyOf(state: ExecutionState, newId: NewId, input: string) {
  const started = startOf(state);
  const to = newId<ExecutionId>();
  const origin = { executionId: started.executionId, kind: "retry" } as const;
  return {
    from: started.executionId,
    to,
    seq: state.seq,
    started: { ...started, executionId: to, origin },
    wakeUp: { timerId: newId<TimerId>(), input },
  };
}

function toRetried(
  originId: ExecutionId,
  executionId: ExecutionId,
  { status, refusal, isStale }: Outcome,
): RetriedExecution {
  if (status === undefined) {
    throw notFound(originId);
  }
  if (refusal !== undefined) {
    throw refused(originId, refusal);
  }
  if (isStale) {
    const message = "It has not ended: only a FAILED or CANCELLED execution can be retried";
    throw refused(originId, { code: "EXECUTION_RUNNING", message });
  }
  return { executionId, status, originId };
}

function refused(id: ExecutionId, { code, message }: Refusal): AppError {
  const kind = code === "STEP_NOT_RETRYABLE" ? "invalid" : "conflict";
  return new AppError(kind, code, `Execution ${id}: ${message}`);
}

function notFound(id: ExecutionId): AppError {
  return new AppError("not_found", "EXECUTION_NOT_FOUND", `There is no execution ${id}`);
}
