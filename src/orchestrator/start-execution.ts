/** Starts of top-level executions. */

import { unreachable } from "../core/assert.ts";
import { retry } from "../core/backoff.ts";
import { AppError } from "../core/errors.ts";
import type { CatalogId, ExecutionId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { JsonObject } from "../core/json.ts";
import type { Playbook } from "../dsl/playbook.ts";
import { concurrencyOf } from "../engine/concurrency.ts";
import type { ExecutionStart } from "../engine/decision.ts";
import type { ExecutionOrigin } from "../engine/event.ts";
import { formatTraceparent, parseTraceparent } from "../observability/trace-context.ts";
import type { Applicant } from "../store/admission.ts";
import type { NewExecution } from "../store/append.ts";
import type { CatalogKey } from "../store/catalog.ts";
import { findByDedupKey, readHeads } from "../store/execution.ts";
import type { Pool } from "../store/pool.ts";
import { databaseError, isDatabaseDown } from "../store/sqlstate.ts";
import type { Admission } from "./admission.ts";
import { refusalOf } from "./admission.ts";
import type { DatabaseClock } from "./database-clock.ts";
import type { Intake } from "./intake.ts";
import type { NodeIds } from "./node-ids.ts";
import type { PlaybookCache } from "./playbook-cache.ts";

const READ_PATIENCE_MS = 5000;
const READ_BACKOFF = { minMs: 50, maxMs: 500 } as const;

interface FoundPlaybook {
  readonly key: CatalogKey;
  readonly playbook: Playbook;
}

/** One of `path` and `catalogId` is set. */
export interface StartRequest {
  readonly path?: string;
  readonly catalogId?: CatalogId;
  /** Absent: the latest. */
  readonly version?: number;
  readonly payload: JsonObject;
  /** For tasks that name no pool. */
  readonly pool?: string;
  /** Shown as the parent, which is told nothing. */
  readonly parentExecutionId?: ExecutionId;
  /** The same key again within the window gives the first execution. Default window: a day. */
  readonly dedup?: { readonly key: string; readonly windowMs?: number };
  /** 0 (last) to 9 (first); absent: the playbook's. */
  readonly priority?: number;
  /** The execution that this one starts over. */
  readonly origin?: ExecutionOrigin;
  /** W3C traceparent of who asks; anything else is ignored. */
  readonly trace?: string | undefined;
}

export interface StartedExecution {
  readonly executionId: ExecutionId;
  /** `queued`: its concurrency key is at its limit; it starts when its turn comes. */
  readonly status: "started" | "queued" | "duplicate";
}

export const DEDUP_WINDOW_MS = 24 * 60 * 60_000;
const DEDUP_WINDOW_MS_MAX = 10 * 365 * DEDUP_WINDOW_MS;
const DEDUP_KEY_CHARS_MAX = 1000;
const INT4_MAX = 2 ** 31 - 1;
const PAYLOAD_CHARS_MAX = 16 * 1024 * 1024;

export class ExecutionStarter {
  readonly #pool: Pool;
  readonly #ids: NodeIds;
  readonly #intake: Intake;
  readonly #playbooks: PlaybookCache;
  readonly #admission: Pick<Admission, "enter">;
  readonly #clock: DatabaseClock;
  readonly #env: Readonly<Record<string, string>>;
  /** Dedup keys whose start is under way here: one statement must not hold a key twice. */
  readonly #starting = new Map<string, Promise<unknown>>();

  constructor(options: {
    readonly pool: Pool;
    readonly ids: NodeIds;
    readonly intake: Intake;
    readonly playbooks: PlaybookCache;
    readonly admission: Pick<Admission, "enter">;
    readonly clock: DatabaseClock;
    /** Names visible to templates as `env.*`. */
    readonly env: Readonly<Record<string, string>>;
  }) {
    this.#pool = options.pool;
    this.#ids = options.ids;
    this.#intake = options.intake;
    this.#playbooks = options.playbooks;
    this.#admission = options.admission;
    this.#clock = options.clock;
    this.#env = options.env;
  }

  /**
   * Durable when it resolves.
   *
   * @throws AppError invalid REQUEST_INVALID, PAYLOAD_TOO_LARGE or one of {@link concurrencyOf},
   * not_found PLAYBOOK_NOT_FOUND, conflict CONCURRENCY_LIMIT, unavailable.
   */
  async start(request: StartRequest): Promise<StartedExecution> {
    checkRequest(request);
    try {
      return request.dedup === undefined
        ? await this.#start(request)
        : await this.#startOnce(request, request.dedup.key);
    } catch (error) {
      throw databaseError(error);
    }
  }

  async #startOnce(request: StartRequest, key: string): Promise<StartedExecution> {
    while (this.#starting.has(key)) {
      await this.#starting.get(key);
    }
    const started = this.#start(request);
    this.#starting.set(
      key,
      started.then(
        () => undefined,
        () => undefined,
      ),
    );
    try {
      return await started;
    } finally {
      this.#starting.delete(key);
    }
  }

  async #start(request: StartRequest): Promise<StartedExecution> {
    const payload = JSON.stringify(request.payload);
    if (payload.length > PAYLOAD_CHARS_MAX) {
      const message = `The payload has ${payload.length} characters, the limit is ${PAYLOAD_CHARS_MAX}`;
      throw new AppError("invalid", "PAYLOAD_TOO_LARGE", message);
    }
    await this.#ids.acquire();
    const { key, playbook } = await this.#findPatiently(request);
    const row = await this.#newRow(request, key, payload);
    const start = startOf(request, row, key);
    const claim = concurrencyOf(playbook, start, this.#startScope);
    if (claim !== undefined) {
      const priority = row.priority ?? playbook.executor.priority;
      const { executionId } = row;
      return await this.#enter(request, {
        ...claim,
        ...{ executionId, priority, create: row, playbook: key },
      });
    }
    const outcome = await this.#intake.submit({
      executionId: row.executionId,
      input: { kind: "start", start },
      create: { row, playbook },
    });
    return outcome.isStale
      ? await this.#existing(row.executionId, request)
      : { executionId: row.executionId, status: "started" };
  }

  get #startScope(): Parameters<typeof concurrencyOf>[2] {
    return { nowMs: this.#clock.now(), resolved: new Map(), env: this.#env };
  }

  /** Of a playbook with a concurrency key. */
  async #enter(request: StartRequest, applicant: Applicant): Promise<StartedExecution> {
    const { executionId, key, limit } = applicant;
    const entry = await this.#admission.enter(applicant);
    switch (entry) {
      case "held":
        await this.#startAdmitted(executionId);
        return { executionId, status: "started" };
      case "queued":
        return { executionId, status: "queued" };
      case "absent":
        return await this.#existing(executionId, request);
      case "rejected":
      case "stuck": {
        const { code, message } = refusalOf(entry, key, limit);
        throw new AppError("conflict", code, message, { details: { key, limit } });
      }
      default:
        return unreachable(entry);
    }
  }

  /** It has been accepted: what goes wrong here is put right by a sweep. */
  async #startAdmitted(executionId: ExecutionId): Promise<void> {
    try {
      await this.#intake.force({ executionId, input: { kind: "start_pending" } });
    } catch {
      // The row says that it is to be started.
    }
  }

  /** A database that is just coming back is waited for, as the commit itself does. */
  #findPatiently(request: StartRequest): Promise<FoundPlaybook> {
    return retry(() => this.#find(request), {
      ...READ_BACKOFF,
      signal: AbortSignal.timeout(READ_PATIENCE_MS),
      isRetryable: isDatabaseDown,
    });
  }

  async #find(request: StartRequest): Promise<FoundPlaybook> {
    const { catalogId, path, version } = request;
    const key = await this.#playbooks.find({ catalogId, path, version });
    const playbook = key && (await this.#playbooks.load(key.catalogId));
    if (key === undefined || playbook === undefined) {
      throw notFound(request);
    }
    return { key, playbook };
  }

  async #newRow(
    { pool, priority, dedup, parentExecutionId, origin, trace }: StartRequest,
    { catalogId, path, version }: CatalogKey,
    payload: string,
  ): Promise<NewExecution> {
    const executionId = this.#ids.newId<ExecutionId>();
    const [parent] =
      parentExecutionId === undefined ? [] : await readHeads(this.#pool, [parentExecutionId]);
    return {
      executionId,
      catalogId,
      path,
      version,
      parentId: parentExecutionId,
      rootId: parent?.rootId ?? executionId,
      depth: parentExecutionId === undefined ? 0 : (parent?.depth ?? 0) + 1,
      returnStep: undefined,
      isWaited: false,
      payload,
      pool,
      priority: priority === undefined ? undefined : Math.round(priority),
      dedup: dedup && { key: dedup.key, windowMs: dedup.windowMs ?? DEDUP_WINDOW_MS },
      origin,
      trace: canonical(trace),
    };
  }

  /**
   * The row was not made: its dedup key is taken, or a lost answer had made it already. A key that
   * has expired since is free again.
   */
  async #existing(executionId: ExecutionId, request: StartRequest): Promise<StartedExecution> {
    const { dedup } = request;
    if (dedup === undefined) {
      return { executionId, status: "started" };
    }
    const first = await findByDedupKey(this.#pool, dedup.key);
    if (first === undefined) {
      return await this.#start(request);
    }
    return { executionId: first, status: first === executionId ? "started" : "duplicate" };
  }
}

function canonical(traceparent: string | undefined): string | undefined {
  const context = parseTraceparent(traceparent);
  return context && formatTraceparent(context);
}

function startOf(
  { payload, pool, origin }: StartRequest,
  { executionId, parentId, depth }: NewExecution,
  { path, version }: CatalogKey,
): ExecutionStart {
  return {
    executionId,
    path,
    version,
    payload,
    ...(pool === undefined ? {} : { pool }),
    ...(parentId === undefined ? {} : { parent: { executionId: parentId, depth } }),
    ...(origin === undefined ? {} : { origin }),
  };
}

/** What would make a statement fail that other requests share. */
function checkRequest(request: StartRequest): void {
  const { path, catalogId, version, pool, parentExecutionId, dedup, priority } = request;
  const faults = [
    [path === undefined && catalogId === undefined, "path or catalog_id must be set"],
    [catalogId !== undefined && !isId(catalogId), "catalog_id must be a decimal id"],
    [version !== undefined && !isCount(version), "version must be a positive integer"],
    [parentExecutionId !== undefined && !isId(parentExecutionId), "the parent must be an id"],
    [[path, pool, dedup?.key].some((text) => text?.includes("\0")), "texts must not hold NUL"],
    [(dedup?.key.length ?? 0) > DEDUP_KEY_CHARS_MAX, "the dedup key is too long"],
    [!isWindow(dedup?.windowMs), "the dedup window must be between 0 and ten years"],
    [priority !== undefined && !(priority >= 0 && priority <= 9), "priority must be 0 to 9"],
  ] as const;
  const found = faults.flatMap(([isFault, message]) => (isFault ? [message] : []));
  if (found.length > 0) {
    throw new AppError("invalid", "REQUEST_INVALID", `Cannot start: ${found.join("; ")}`);
  }
}

function isCount(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value <= INT4_MAX;
}

function isWindow(ms = DEDUP_WINDOW_MS): boolean {
  return ms >= 0 && ms <= DEDUP_WINDOW_MS_MAX;
}

function notFound({ catalogId, path, version }: StartRequest): AppError {
  const name = catalogId === undefined ? `playbook ${path}` : `catalog entry ${catalogId}`;
  const suffix = version === undefined ? "" : ` in version ${version}`;
  return new AppError("not_found", "PLAYBOOK_NOT_FOUND", `There is no ${name}${suffix}`);
}
