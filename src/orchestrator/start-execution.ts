/** Starts of top-level executions. */
import { retry } from "../core/backoff.ts";
import { AppError } from "../core/errors.ts";
import type { CatalogId, ExecutionId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { JsonObject } from "../core/json.ts";
import type { Playbook } from "../dsl/playbook.ts";
import type { ExecutionOrigin } from "../engine/event.ts";
import type { NewExecution } from "../store/append.ts";
import type { CatalogKey } from "../store/catalog.ts";
import { findByDedupKey, readHeads } from "../store/execution.ts";
import type { Pool } from "../store/pool.ts";
import { databaseError, isDatabaseDown } from "../store/sqlstate.ts";
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
}

export interface StartedExecution {
  readonly executionId: ExecutionId;
  readonly status: "started" | "duplicate";
}

const DEDUP_WINDOW_MS = 24 * 60 * 60_000;
const DEDUP_WINDOW_MS_MAX = 10 * 365 * DEDUP_WINDOW_MS;
const DEDUP_KEY_CHARS_MAX = 1000;
const INT4_MAX = 2 ** 31 - 1;
const PAYLOAD_CHARS_MAX = 16 * 1024 * 1024;

export class ExecutionStarter {
  readonly #pool: Pool;
  readonly #ids: NodeIds;
  readonly #intake: Intake;
  readonly #playbooks: PlaybookCache;
  /** Dedup keys whose start is under way here: one statement must not hold a key twice. */
  readonly #starting = new Map<string, Promise<unknown>>();

  constructor(options: {
    readonly pool: Pool;
    readonly ids: NodeIds;
    readonly intake: Intake;
    readonly playbooks: PlaybookCache;
  }) {
    this.#pool = options.pool;
    this.#ids = options.ids;
    this.#intake = options.intake;
    this.#playbooks = options.playbooks;
  }

  /**
   * Durable when it resolves.
   *
   * @throws AppError invalid REQUEST_INVALID or PAYLOAD_TOO_LARGE, not_found PLAYBOOK_NOT_FOUND, unavailable.
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
    const { executionId } = row;
    const outcome = await this.#intake.submit({
      executionId,
      input: {
        kind: "start",
        start: {
          executionId,
          path: key.path,
          version: key.version,
          payload: request.payload,
          ...(request.pool === undefined ? {} : { pool: request.pool }),
          ...(row.parentId === undefined
            ? {}
            : { parent: { executionId: row.parentId, depth: row.depth } }),
          ...(request.origin === undefined ? {} : { origin: request.origin }),
        },
      },
      create: { row, playbook },
    });
    return outcome.isStale
      ? await this.#existing(executionId, request)
      : { executionId, status: "started" };
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
    { pool, priority, dedup, parentExecutionId, origin }: StartRequest,
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
    };
  }

  /** The row was not made: its dedup key is taken, or a lost answer had made it already. */
  async #existing(executionId: ExecutionId, { dedup }: StartRequest): Promise<StartedExecution> {
    const first = dedup === undefined ? undefined : await findByDedupKey(this.#pool, dedup.key);
    return first === undefined || first === executionId
      ? { executionId, status: "started" }
      : { executionId: first, status: "duplicate" };
  }
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
