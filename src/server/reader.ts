/** The reads of the HTTP API, from the store, the orchestrator's states and the bus. */
import { errorMessage } from "../core/errors.ts";
import { stepViews, variables } from "../engine/view.ts";
import type { Orchestrator } from "../orchestrator/orchestrator.ts";
import { openCredential, sealCredential } from "../secrets/credential.ts";
import type { Sealer } from "../secrets/sealing.ts";
import { countPlaybooks, getCatalogEntry, listCatalogEntries } from "../store/catalog.ts";
import { listCommands } from "../store/command.ts";
import type { CredentialRow as StoredCredential } from "../store/credential.ts";
import {
  findCredential,
  listCredentials,
  removeCredential,
  saveCredential,
} from "../store/credential.ts";
import { listEvents } from "../store/event.ts";
import type { ExecutionRow as StoredExecution } from "../store/execution.ts";
import { countExecutions, getExecution, listExecutions } from "../store/execution.ts";
import { checkSchema } from "../store/migrate.ts";
import type { Pool, Sql } from "../store/pool.ts";
import type { QueuePosition } from "../store/queue-position.ts";
import { countQueued, readPositionsInQueue } from "../store/queue-position.ts";
import { listPools, listWorkers } from "../store/worker.ts";
import type {
  BackendHealth,
  ComponentHealth,
  CredentialFilter,
  CredentialRow,
  ExecutionPlace,
  ExecutionRow,
  NewCredential,
  ServerReader,
  Totals,
} from "./backend.ts";
import type { GaugeReaderOptions } from "./gauge-reader.ts";
import { createGaugeReader } from "./gauge-reader.ts";
import { createGpuReader } from "./gpu-reader.ts";
import { createKeychainReader } from "./keychain-reader.ts";
import { createPlatformReader } from "./operate-reader.ts";
import { toStep } from "./step-row.ts";

export interface ReaderOptions extends Pick<GaugeReaderOptions, "bus"> {
  readonly sql: Pool;
  readonly orchestrator: Pick<
    Orchestrator,
    | "state"
    | "openResult"
    | "openNamedResult"
    | "listResults"
    | "putResult"
    | "removeResult"
    | "newId"
    | "readLogs"
    | "followLogs"
  >;
  /** Resolves if the bus answers. */
  readonly pingBus: () => Promise<unknown>;
  readonly secrets: Sealer;
  /** A worker that has been silent for longer is lost. */
  readonly workerTimeoutMs: number;
}

/** A component that has not answered by then is unhealthy. */
const PING_MS_MAX = 2000;

export function createReader(options: ReaderOptions): ServerReader {
  const { sql, orchestrator, secrets, workerTimeoutMs } = options;
  return {
    checkHealth: async () => await checkHealth(options),
    ...createPlatformReader(sql),
    ...createGpuReader(sql, workerTimeoutMs),
    ...createGaugeReader(options),
    listCatalog: async ({ isLatestOnly = false, ...filter }) =>
      await listCatalogEntries(sql, { ...filter, isLatestOnly }),
    getCatalog: async (key) => await getCatalogEntry(sql, key),
    listExecutions: async (filter) => await placed(sql, await listExecutions(sql, filter)),
    getExecution: async (executionId) => {
      const row = await getExecution(sql, executionId);
      return row === undefined ? undefined : (await placed(sql, [row]))[0];
    },
    listEvents: async (executionId, { types = [], offset = 0, isNewestFirst = false, ...page }) =>
      await listEvents(sql, executionId, { ...page, types, offset, isNewestFirst }),
    listSteps: async (executionId) => {
      const state = await orchestrator.state(executionId);
      return state === undefined ? [] : stepViews(state).map(toStep);
    },
    listVariables: async (executionId) => {
      const state = await orchestrator.state(executionId);
      return state === undefined ? {} : { ...variables(state) };
    },
    listOpenCommands: async (executionId) =>
      (await listCommands(sql, executionId)).map(({ index, ...row }) => ({
        ...row,
        index: index ?? undefined,
      })),
    listPools: async () =>
      (await listPools(sql, workerTimeoutMs)).map(({ oldestMs, ...row }) => ({
        ...row,
        oldestQueuedMs: row.queued > row.scheduled ? oldestMs : undefined,
      })),
    listWorkers: async () => await listWorkers(sql, workerTimeoutMs),
    readLogs: async (executionId, query) => await orchestrator.readLogs(executionId, query),
    followLogs: (executionId, query) => orchestrator.followLogs(executionId, query),
    openResult: async (address) => await orchestrator.openResult(address),
    openNamedResult: async (id, name) => await orchestrator.openNamedResult(id, name),
    listResults: async (id, page) => await orchestrator.listResults(id, page),
    putResult: async (result, source) => await orchestrator.putResult(result, source),
    removeResult: async (ref) => await orchestrator.removeResult(ref),
    saveCredential: async (credential) => await storeCredential(options, credential),
    listCredentials: async (filter) => await searchCredentials(sql, filter),
    getCredential: async (key) => toCredential(await findCredential(sql, key)),
    openCredential: async (name) => {
      const row = await findCredential(sql, name);
      return row === undefined ? {} : openCredential(secrets, row);
    },
    deleteCredential: async (name) => await removeCredential(sql, name),
    ...createKeychainReader(sql, secrets),
    countAll: async () => await countAll(sql, workerTimeoutMs),
    countQueued: async () => await countQueued(sql),
  };
}

async function checkHealth({ sql, pingBus }: ReaderOptions): Promise<BackendHealth> {
  const [database, nats] = await Promise.all([
    checkComponent(async () => await checkSchema(sql)),
    checkComponent(pingBus),
  ]);
  return { database, nats };
}

async function checkComponent(ping: () => Promise<unknown>): Promise<ComponentHealth> {
  const { promise: late, resolve } = Promise.withResolvers<ComponentHealth>();
  const reason = `no answer within ${PING_MS_MAX / 1000} s`;
  const timer = setTimeout(() => resolve({ isHealthy: false, reason }), PING_MS_MAX);
  const answer = ping().then(
    () => ({ isHealthy: true }),
    (error: unknown) => ({ isHealthy: false, reason: errorMessage(error) }),
  );
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The rows with the positions of those that wait for a place. */
async function placed(
  sql: Sql,
  rows: readonly StoredExecution[],
): Promise<readonly ExecutionRow[]> {
  const waiting = rows.filter(({ place, status }) => place === "queued" && status === "pending");
  const ids = waiting.map(({ executionId }) => executionId);
  const found = ids.length === 0 ? [] : await readPositionsInQueue(sql, ids);
  const positions = new Map(found.map((position) => [position.executionId, position]));
  return rows.map((row) => toExecution(row, positions.get(row.executionId)));
}

function placeOf(
  { concurrencyKey: key, concurrencyLimit: limit, onLimit, placeSinceMs, cancels }: StoredExecution,
  queued: QueuePosition | undefined,
): ExecutionPlace | undefined {
  if (key === null || limit === null || onLimit === null) {
    return undefined;
  }
  if (queued === undefined) {
    return { key, limit, onLimit };
  }
  const { position, held } = queued;
  const sinceMs = placeSinceMs ?? 0;
  return { key, limit, onLimit, queue: { position, held, sinceMs, cancels: cancels ?? undefined } };
}

function toExecution(row: StoredExecution, queued: QueuePosition | undefined): ExecutionRow {
  return {
    executionId: row.executionId,
    catalogId: row.catalogId ?? undefined,
    path: row.path,
    version: row.version ?? undefined,
    status: row.status,
    seq: row.seq,
    startedAtMs: row.createdAtMs,
    endedAtMs: row.endedAtMs ?? undefined,
    parentExecutionId: row.parentId ?? undefined,
    origin:
      row.originId === null || row.originKind === null
        ? undefined
        : { executionId: row.originId, kind: row.originKind },
    error: row.error ?? undefined,
    result: row.result,
    concurrency: placeOf(row, queued),
  };
}

async function storeCredential(
  { sql, secrets, orchestrator }: ReaderOptions,
  credential: NewCredential,
): Promise<CredentialRow> {
  const { name, type, data, description, tags = [], meta = {} } = credential;
  const sealed = sealCredential(secrets, name, data);
  const now = Date.now();
  const credentialId = await orchestrator.newId();
  const row = { credentialId, name, type, sealed, description, tags, meta };
  return (
    toCredential(await saveCredential(sql, row)) ?? {
      // Deleted again by somebody else in the same moment.
      ...row,
      createdAtMs: now,
      updatedAtMs: now,
    }
  );
}

async function searchCredentials(
  sql: Sql,
  { type, query, limit, offset }: CredentialFilter,
): Promise<readonly CredentialRow[]> {
  const rows = await listCredentials(sql, {
    ...(type === undefined ? {} : { type }),
    ...(query === undefined ? {} : { text: query }),
  });
  return rows.slice(offset, offset + limit).flatMap((row) => toCredential(row) ?? []);
}

function toCredential(row: StoredCredential | undefined): CredentialRow | undefined {
  if (row === undefined) {
    return undefined;
  }
  const { sealed: _sealed, description, ...rest } = row;
  return { ...rest, description: description ?? undefined };
}

async function countAll(sql: Sql, workerTimeoutMs: number): Promise<Totals> {
  const [executions, playbooks, pools] = await Promise.all([
    countExecutions(sql),
    countPlaybooks(sql),
    listPools(sql, workerTimeoutMs),
  ]);
  return {
    executions: { pending: 0, running: 0, completed: 0, failed: 0, cancelled: 0, ...executions },
    playbooks,
    workers: pools.reduce((sum, pool) => sum + pool.workers, 0),
  };
}
