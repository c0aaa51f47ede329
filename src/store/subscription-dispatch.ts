/**
 * What subscriptions took from their sources. The row and the keys of its messages are one commit;
 * only then is the source told, and only then does an execution start. So a message is never lost,
 * and one that comes again is known.
 */
import type { ExecutionId } from "../core/ids.ts";
import { idFloor } from "../core/ids.ts";
import type { JsonObject } from "../core/json.ts";
import { parseJson } from "../core/json.ts";
import type { ExecutionStatus } from "../engine/decision.ts";
import { jsonArray } from "./json-array.ts";
import type { Pool, Sql } from "./pool.ts";
import { isSqlState } from "./sqlstate.ts";
import { withTransaction } from "./transaction.ts";

export interface TakenMessage {
  /** The source's own id, the same however often it delivers the message. */
  readonly identity: string;
  /** The document's dedup key. */
  readonly key: string | undefined;
  /** Messages of different lanes never share a dispatch. */
  readonly lane: string;
  /** JSON text of the message. */
  readonly text: string;
  /** Set: it cannot be dispatched, and why. */
  readonly problem: string | undefined;
}

export interface AcceptOptions {
  readonly subscriptionId: string;
  /** How long a dedup key counts. */
  readonly windowMs: number;
  /** How long a message is known by its identity. */
  readonly identityMs: number;
  /** Which messages share a dispatch; each in one, in order. */
  readonly group: (messages: readonly TakenMessage[]) => readonly (readonly TakenMessage[])[];
  /** For the dispatches, at most one for each message: made before, so that nothing waits inside. */
  readonly ids: readonly string[];
}

export interface Accepted {
  readonly dispatches: readonly AcceptedDispatch[];
  readonly deadLetterCount: number;
  /** Messages that were taken before, or whose key was. */
  readonly duplicateCount: number;
}

export interface AcceptedDispatch {
  readonly dispatchId: string;
  /** JSON text of a list of messages. */
  readonly messages: string;
  readonly messageCount: number;
  readonly attempts: number;
  /** From now. */
  readonly delayMs: number;
}

/** Writes what is new among the messages as dispatches and dead letters, in one transaction. */
export async function acceptMessages(
  pool: Pool,
  messages: readonly TakenMessage[],
  options: AcceptOptions,
): Promise<Accepted> {
  return await withTransaction(pool, async (sql) => {
    const fresh = await claimKeys(sql, messages, options);
    const good = fresh.filter(({ problem }) => problem === undefined);
    const dead = fresh.filter(({ problem }) => problem !== undefined);
    const groups = options.group(good);
    const rows = [...groups, ...dead.map((message) => [message])].map((group, index) => ({
      dispatchId: options.ids[index] ?? "",
      group,
    }));
    await addDispatches(sql, options.subscriptionId, rows);
    return {
      dispatches: rows.slice(0, groups.length).map(({ dispatchId, group }) => ({
        dispatchId,
        messages: jsonArray(group.map(({ text }) => text)),
        messageCount: group.length,
        attempts: 0,
        delayMs: 0,
      })),
      deadLetterCount: dead.length,
      duplicateCount: messages.length - fresh.length,
    };
  });
}

/** The messages whose identity is new, and whose key is. */
async function claimKeys(
  sql: Sql,
  messages: readonly TakenMessage[],
  { subscriptionId, windowMs, identityMs }: AcceptOptions,
): Promise<readonly TakenMessage[]> {
  const byIdentity = new Map(messages.map((message) => [`id:${message.identity}`, message]));
  const identities = await claim(sql, subscriptionId, [...byIdentity.keys()], identityMs);
  const unknown = [...byIdentity].flatMap(([key, message]) =>
    identities.has(key) ? [message] : [],
  );
  const byKey = new Map<string, TakenMessage>();
  for (const message of unknown) {
    const key = `key:${message.key ?? ""}`;
    if (message.key !== undefined && !byKey.has(key)) {
      byKey.set(key, message);
    }
  }
  const keys = await claim(sql, subscriptionId, [...byKey.keys()], windowMs);
  return unknown.filter((message) => {
    const key = `key:${message.key ?? ""}`;
    return message.key === undefined || (byKey.get(key) === message && keys.has(key));
  });
}

/** Those of the keys that nobody had claimed, or not for long enough. */
async function claim(
  sql: Sql,
  subscriptionId: string,
  keys: readonly string[],
  windowMs: number,
): Promise<ReadonlySet<string>> {
  if (keys.length === 0) {
    return new Set();
  }
  const rows = await sql<{ key: string }[]>`
    INSERT INTO noetl.subscription_dedup AS d (subscription_id, dedup_key, expires_at)
    SELECT ${subscriptionId}::bigint, q.key, now() + ${windowMs} * interval '1 millisecond'
    FROM unnest(${[...keys]}::text[]) AS q (key)
    -- Two holders that meet lock in the same order.
    ORDER BY q.key
    ON CONFLICT (subscription_id, dedup_key) DO UPDATE
    SET seen_at = now(), expires_at = excluded.expires_at
    WHERE d.expires_at <= now()
    RETURNING d.dedup_key AS key`;
  return new Set(rows.map((row) => row.key));
}

interface NewDispatch {
  readonly dispatchId: string;
  readonly group: readonly TakenMessage[];
}

async function addDispatches(
  sql: Sql,
  subscriptionId: string,
  rows: readonly NewDispatch[],
): Promise<void> {
  if (rows.length === 0) {
    return;
  }
  await sql`
    INSERT INTO noetl.subscription_dispatch (
      dispatch_id, subscription_id, status, messages, message_count, error
    )
    SELECT q.id, ${subscriptionId}::bigint,
      CASE WHEN q.error IS NULL THEN 'accepted' ELSE 'dead' END, m.value, q.count, q.error
    FROM unnest(
      ${rows.map((row) => row.dispatchId)}::bigint[],
      ${rows.map((row) => row.group.length)}::integer[],
      ${rows.map((row) => row.group[0]?.problem ?? null)}::text[]
    ) WITH ORDINALITY AS q (id, count, error, n)
    JOIN json_array_elements(
      ${jsonArray(rows.map((row) => jsonArray(row.group.map(({ text }) => text))))}::text::json
    ) WITH ORDINALITY AS m (value, n) ON m.n = q.n`;
}

/** A dead letter of a message that was never accepted. */
export async function addDeadLetter(
  sql: Sql,
  letter: {
    readonly dispatchId: string;
    readonly subscriptionId: string;
    readonly text: string;
    readonly error: string;
  },
): Promise<void> {
  await sql`
    INSERT INTO noetl.subscription_dispatch (
      dispatch_id, subscription_id, status, messages, message_count, error
    )
    VALUES (
      ${letter.dispatchId}, ${letter.subscriptionId}, 'dead', ${`[${letter.text}]`}::text::json, 1,
      ${letter.error}
    )`;
}

/** A request to a hook that has started its execution. */
export async function addStarted(
  sql: Sql,
  row: {
    readonly dispatchId: string;
    readonly subscriptionId: string;
    readonly executionId: ExecutionId;
    readonly isCounted: boolean;
  },
): Promise<void> {
  await sql`
    INSERT INTO noetl.subscription_dispatch (
      dispatch_id, subscription_id, status, message_count, execution_id, is_open, acted_at
    )
    VALUES (
      ${row.dispatchId}, ${row.subscriptionId}, 'started', 1, ${row.executionId},
      ${row.isCounted}, now()
    )
    ON CONFLICT (dispatch_id) DO NOTHING`;
}

/** What was accepted and not yet started, oldest first. */
export async function loadAccepted(
  sql: Sql,
  subscriptionId: string,
  limit: number,
): Promise<readonly AcceptedDispatch[]> {
  return await sql<AcceptedDispatch[]>`
    SELECT dispatch_id AS "dispatchId", messages::text AS messages,
      message_count AS "messageCount", attempts,
      greatest(0, extract(epoch FROM not_before - now()) * 1000)::float8 AS "delayMs"
    FROM noetl.subscription_dispatch
    WHERE subscription_id = ${subscriptionId} AND status = 'accepted'
    ORDER BY not_before, dispatch_id
    LIMIT ${limit}`;
}

export interface StartedDispatch {
  readonly dispatchId: string;
  readonly executionId: ExecutionId;
  /** Counts for max_in_flight until its execution has ended. */
  readonly isCounted: boolean;
}

/** Their messages are no longer needed: the executions have them. */
export async function markStarted(sql: Sql, started: readonly StartedDispatch[]): Promise<void> {
  await sql`
    UPDATE noetl.subscription_dispatch AS d
    SET status = 'started', execution_id = q.execution_id, is_open = q.is_open = 1,
        messages = NULL, error = NULL, acted_at = now()
    FROM unnest(
      ${started.map((one) => one.dispatchId)}::bigint[],
      ${started.map((one) => one.executionId)}::bigint[],
      ${started.map((one) => (one.isCounted ? 1 : 0))}::integer[]
    ) AS q (dispatch_id, execution_id, is_open)
    WHERE d.dispatch_id = q.dispatch_id AND d.status <> 'started'`;
}

/**
 * A try that failed: again after `delayMs`, or a dead letter when that is undefined.
 *
 * What is neither started nor dead is accepted: said so, the planner of a young table would walk all
 * that is accepted.
 */
export async function markFailed(
  sql: Sql,
  failed: {
    readonly dispatchId: string;
    readonly attempts: number;
    readonly error: string;
    readonly delayMs: number | undefined;
  },
): Promise<void> {
  const { dispatchId, attempts, error, delayMs } = failed;
  await sql`
    UPDATE noetl.subscription_dispatch
    SET status = ${delayMs === undefined ? "dead" : "accepted"}, attempts = ${attempts},
        error = ${error}, not_before = now() + ${delayMs ?? 0} * interval '1 millisecond',
        acted_at = now()
    WHERE dispatch_id = ${dispatchId} AND status <> 'started' AND status <> 'dead'`;
}

/** Executions of the subscription that count for max_in_flight and have not ended. */
export async function countOpenDispatches(sql: Sql, subscriptionId: string): Promise<number> {
  const rows = await sql<{ count: number }[]>`
    WITH known AS (
      SELECT d.dispatch_id, coalesce(e.status IN ('pending', 'running'), false) AS is_open
      FROM noetl.subscription_dispatch AS d
      LEFT JOIN noetl.execution AS e ON e.execution_id = d.execution_id
      WHERE d.subscription_id = ${subscriptionId} AND d.is_open
    ), closed AS (
      UPDATE noetl.subscription_dispatch AS d
      SET is_open = false
      FROM known AS k
      WHERE d.dispatch_id = k.dispatch_id AND NOT k.is_open
    )
    SELECT count(*) FILTER (WHERE is_open)::int AS count FROM known`;
  return rows[0]?.count ?? 0;
}

export interface DispatchRow {
  readonly dispatchId: string;
  readonly status: "accepted" | "started" | "dead";
  readonly messageCount: number;
  readonly attempts: number;
  readonly executionId: ExecutionId | null;
  readonly executionStatus: ExecutionStatus | null;
  readonly error: string | null;
  /** Of dead letters. */
  readonly messages: readonly JsonObject[] | null;
  readonly createdAtMs: number;
  readonly actedAtMs: number | null;
}

/** Not parameters: the planner is to see where an index has just these. */
const IS_STATUS = {
  accepted: (sql: Sql) => sql`d.status = 'accepted'`,
  started: (sql: Sql) => sql`d.status = 'started'`,
  dead: (sql: Sql) => sql`d.status = 'dead'`,
} as const satisfies Record<DispatchRow["status"], unknown>;

/** Newest first; dead ones with their messages. */
export async function listDispatches(
  sql: Sql,
  subscriptionId: string,
  page: {
    readonly status: DispatchRow["status"] | undefined;
    readonly limit: number;
    readonly offset: number;
  },
): Promise<readonly DispatchRow[]> {
  const rows = await sql<(Omit<DispatchRow, "messages"> & { messages: string | null })[]>`
    SELECT d.dispatch_id AS "dispatchId", d.status, d.message_count AS "messageCount", d.attempts,
      d.execution_id AS "executionId", e.status AS "executionStatus", d.error,
      CASE WHEN d.status = 'dead' THEN d.messages::text END AS messages,
      (extract(epoch FROM d.created_at) * 1000)::float8 AS "createdAtMs",
      (extract(epoch FROM d.acted_at) * 1000)::float8 AS "actedAtMs"
    FROM noetl.subscription_dispatch AS d
    LEFT JOIN noetl.execution AS e ON e.execution_id = d.execution_id
    WHERE d.subscription_id = ${subscriptionId}
      ${page.status === undefined ? sql`` : sql`AND ${IS_STATUS[page.status](sql)}`}
    ORDER BY d.dispatch_id DESC
    LIMIT ${page.limit}
    OFFSET ${page.offset}`;
  return rows.map((row) => ({
    ...row,
    messages: row.messages === null ? null : (parseJson(row.messages) as readonly JsonObject[]),
  }));
}

/** Dead letters to be dispatched after all: one, or all of them. @returns how many. */
export async function replayDispatches(
  sql: Sql,
  subscriptionId: string,
  dispatchId: string | undefined,
): Promise<number> {
  const rows = await sql`
    UPDATE noetl.subscription_dispatch
    SET status = 'accepted', attempts = 0, not_before = now(), error = NULL
    WHERE subscription_id = ${subscriptionId} AND status = 'dead'
      ${dispatchId === undefined ? sql`` : sql`AND dispatch_id = ${dispatchId}`}
    RETURNING dispatch_id`;
  return rows.length;
}

/** @returns how many dead letters there were. */
export async function removeDeadLetters(
  sql: Sql,
  subscriptionId: string,
  dispatchId: string | undefined,
): Promise<number> {
  const rows = await sql`
    DELETE FROM noetl.subscription_dispatch
    WHERE subscription_id = ${subscriptionId} AND status = 'dead'
      ${dispatchId === undefined ? sql`` : sql`AND dispatch_id = ${dispatchId}`}
    RETURNING dispatch_id`;
  return rows.length;
}

/** Rows that one call removes. */
const REMOVE_MAX = 5000;

/** Forgets started ones of long ago, oldest first. True: there are more. */
export async function removeOldDispatches(
  sql: Sql,
  { keepMs, nowMs }: { readonly keepMs: number; readonly nowMs: number },
): Promise<boolean> {
  const rows = await sql`
    WITH old AS MATERIALIZED (
      SELECT dispatch_id
      FROM noetl.subscription_dispatch
      WHERE dispatch_id < ${idFloor(nowMs - keepMs)} AND status = 'started' AND NOT is_open
      ORDER BY dispatch_id
      LIMIT ${REMOVE_MAX}
      FOR UPDATE SKIP LOCKED
    )
    DELETE FROM noetl.subscription_dispatch AS d
    USING old AS o
    WHERE d.dispatch_id = o.dispatch_id`;
  return rows.count >= REMOVE_MAX;
}

/** Forgets keys whose time is over. True: there are more. */
export async function removeExpiredKeys(sql: Sql): Promise<boolean> {
  const rows = await sql`
    WITH old AS MATERIALIZED (
      SELECT subscription_id, dedup_key
      FROM noetl.subscription_dedup
      WHERE expires_at <= now()
      LIMIT ${REMOVE_MAX}
      -- Whoever takes the key again just now has it locked.
      FOR UPDATE SKIP LOCKED
    )
    DELETE FROM noetl.subscription_dedup AS d
    USING old AS o
    WHERE d.subscription_id = o.subscription_id AND d.dedup_key = o.dedup_key`;
  return rows.count >= REMOVE_MAX;
}

/** True if the error says that another subscription has the hook path. */
export function isHookTaken(error: unknown): boolean {
  return isSqlState(error, "23505") && String(error).includes("hook_path");
}
