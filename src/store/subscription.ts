/** Subscriptions: their definition and state, and the lease under which one server works on each. */
import type { CatalogId } from "../core/ids.ts";
import { parseJson } from "../core/json.ts";
import type { Subscription } from "../dsl/subscription.ts";
import type { Sql } from "./pool.ts";

export type SubscriptionState = "registered" | "active" | "paused" | "draining" | "inactive";
export type CircuitState = "closed" | "open" | "half_open";

export interface SubscriptionRow {
  readonly subscriptionId: string;
  readonly path: string;
  readonly catalogId: CatalogId;
  readonly spec: Subscription;
  readonly state: SubscriptionState;
  readonly revision: number;
  /** Server that works on it; null: none has to. */
  readonly holder: string | null;
  readonly circuit: CircuitState;
  /** Why nothing comes in; null: nothing is wrong. */
  readonly problem: string | null;
  readonly lastEventType: string;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

type RawRow = Omit<SubscriptionRow, "spec"> & { readonly spec: string };

export interface NewSubscription {
  /** Kept when the path exists. */
  readonly subscriptionId: string;
  readonly catalogId: CatalogId;
  readonly spec: Subscription;
}

/**
 * Adds the subscription, active if its document says so; of a known path it replaces the definition
 * and leaves the state. The unique index on hook_path may refuse it.
 */
export async function saveSubscription(
  sql: Sql,
  { subscriptionId, catalogId, spec }: NewSubscription,
): Promise<SubscriptionRow> {
  const { source, path } = spec;
  const rows = await sql<RawRow[]>`
    INSERT INTO noetl.subscription AS s (
      subscription_id, path, catalog_id, source, hook_path, spec, state, last_event_type
    )
    VALUES (
      ${subscriptionId}, ${path}, ${catalogId}, ${source.kind},
      ${source.kind === "webhook" ? source.path : null}, ${JSON.stringify(spec)}::text::json,
      ${spec.isEnabled ? "active" : "registered"},
      ${spec.isEnabled ? "subscription.activated" : "subscription.registered"}
    )
    ON CONFLICT (path) DO UPDATE
    SET catalog_id = excluded.catalog_id, source = excluded.source, hook_path = excluded.hook_path,
        spec = excluded.spec, revision = s.revision + 1, problem = NULL, tokens = NULL,
        last_event_type = 'subscription.registered', updated_at = now()
    RETURNING ${columns(sql)}`;
  const [row] = rows.map(toRow);
  if (row === undefined) {
    throw new Error("an upsert returns its row");
  }
  return row;
}

/** By path, else by id. */
export async function findSubscription(
  sql: Sql,
  pathOrId: string,
): Promise<SubscriptionRow | undefined> {
  const rows = await sql<RawRow[]>`
    SELECT ${columns(sql)}
    FROM noetl.subscription AS s
    WHERE path = ${pathOrId} OR subscription_id::text = ${pathOrId}
    ORDER BY (path = ${pathOrId}) DESC
    LIMIT 1`;
  return rows.map(toRow)[0];
}

/** The webhook behind `/hooks/{path}`. */
export async function findHook(sql: Sql, hookPath: string): Promise<SubscriptionRow | undefined> {
  const rows = await sql<RawRow[]>`
    SELECT ${columns(sql)} FROM noetl.subscription AS s WHERE hook_path = ${hookPath}`;
  return rows.map(toRow)[0];
}

/** By path. */
export async function listSubscriptions(
  sql: Sql,
  page: { readonly limit: number; readonly offset: number },
): Promise<readonly SubscriptionRow[]> {
  const rows = await sql<RawRow[]>`
    SELECT ${columns(sql)}
    FROM noetl.subscription AS s
    ORDER BY path
    LIMIT ${page.limit}
    OFFSET ${page.offset}`;
  return rows.map(toRow);
}

/** With its dead letters. @returns false when there was none. */
export async function removeSubscription(sql: Sql, subscriptionId: string): Promise<boolean> {
  const rows = await sql`
    DELETE FROM noetl.subscription
    WHERE subscription_id = ${subscriptionId}
    RETURNING subscription_id`;
  return rows.length > 0;
}

/** Undefined, and nothing changed, if the state is none of `from`. */
export async function changeState(
  sql: Sql,
  subscriptionId: string,
  change: {
    readonly from: readonly SubscriptionState[];
    readonly to: SubscriptionState;
    readonly eventType: string;
  },
): Promise<SubscriptionRow | undefined> {
  const rows = await sql<RawRow[]>`
    UPDATE noetl.subscription AS s
    SET state = ${change.to}, last_event_type = ${change.eventType}, revision = revision + 1,
        problem = NULL, updated_at = now()
    WHERE subscription_id = ${subscriptionId} AND state = ANY (${[...change.from]}::text[])
    RETURNING ${columns(sql)}`;
  return rows.map(toRow)[0];
}

/** Takes the subscription if nobody holds it; undefined otherwise. */
export async function takeSubscription(
  sql: Sql,
  subscriptionId: string,
  lease: { readonly holder: string; readonly leaseMs: number },
): Promise<SubscriptionRow | undefined> {
  const rows = await sql<RawRow[]>`
    UPDATE noetl.subscription AS s
    SET holder = ${lease.holder}, lease_until = now() + ${lease.leaseMs} * interval '1 millisecond'
    WHERE subscription_id = ${subscriptionId}
      AND (lease_until IS NULL OR lease_until <= now() OR holder IN ('', ${lease.holder}))
    RETURNING ${columns(sql)}`;
  return rows.map(toRow)[0];
}

/** @returns the ones that are still the holder's. */
export async function renewSubscriptions(
  sql: Sql,
  ids: readonly string[],
  lease: { readonly holder: string; readonly leaseMs: number },
): Promise<ReadonlySet<string>> {
  const rows = await sql<{ subscriptionId: string }[]>`
    UPDATE noetl.subscription
    SET lease_until = now() + ${lease.leaseMs} * interval '1 millisecond'
    WHERE subscription_id = ANY (${[...ids]}::bigint[]) AND holder = ${lease.holder}
    RETURNING subscription_id AS "subscriptionId"`;
  return new Set(rows.map((row) => row.subscriptionId));
}

/** Gives the subscription up to others. */
export async function releaseSubscription(
  sql: Sql,
  subscriptionId: string,
  holder: string,
): Promise<void> {
  await sql`
    UPDATE noetl.subscription
    SET holder = '', lease_until = NULL
    WHERE subscription_id = ${subscriptionId} AND holder = ${holder}`;
}

/** Gives the subscription up because nothing is to be done, unless a person has changed that. */
export async function leaveSubscription(
  sql: Sql,
  { subscriptionId, revision }: Pick<SubscriptionRow, "subscriptionId" | "revision">,
  holder: string,
): Promise<void> {
  await sql`
    UPDATE noetl.subscription
    SET holder = NULL, lease_until = NULL
    WHERE subscription_id = ${subscriptionId} AND holder = ${holder} AND revision = ${revision}`;
}

/** Has a server work on the subscription although it fetches nothing. */
export async function wakeSubscription(sql: Sql, subscriptionId: string): Promise<void> {
  await sql`
    UPDATE noetl.subscription
    SET holder = coalesce(holder, ''), revision = revision + 1
    WHERE subscription_id = ${subscriptionId}`;
}

/** What its holder sees of it. */
export async function noteCondition(
  sql: Sql,
  subscriptionId: string,
  condition: { readonly circuit?: CircuitState; readonly problem?: string | null },
): Promise<void> {
  const { circuit, problem } = condition;
  await sql`
    UPDATE noetl.subscription
    SET circuit = coalesce(${circuit ?? null}, circuit),
        problem = CASE WHEN ${problem !== undefined}::boolean THEN ${problem ?? null} ELSE problem END
    WHERE subscription_id = ${subscriptionId}`;
}

/**
 * Takes one token of a bucket that holds a second's worth, at least one. Shared by all servers.
 *
 * @returns milliseconds until there is one; 0: it was taken.
 */
export async function takeToken(
  sql: Sql,
  subscriptionId: string,
  perSecond: number,
): Promise<number> {
  const capacity = Math.max(1, perSecond);
  const rows = await sql<{ tokens: number }[]>`
    WITH bucket AS (
      SELECT subscription_id,
        least(${capacity}::float8, coalesce(
          tokens + ${perSecond}::float8 * extract(epoch FROM clock_timestamp() - tokens_at)::float8,
          ${capacity}::float8
        )) AS tokens
      FROM noetl.subscription
      WHERE subscription_id = ${subscriptionId}
      -- Against other requests to the same hook.
      FOR UPDATE
    ), taken AS (
      UPDATE noetl.subscription AS s
      SET tokens = b.tokens - 1, tokens_at = clock_timestamp()
      FROM bucket AS b
      WHERE s.subscription_id = b.subscription_id AND b.tokens >= 1
    )
    SELECT tokens FROM bucket`;
  const tokens = rows[0]?.tokens ?? capacity;
  return tokens >= 1 ? 0 : Math.ceil(((1 - tokens) / perSecond) * 1000);
}

function columns(sql: Sql) {
  return sql`
    s.subscription_id AS "subscriptionId", s.path, s.catalog_id AS "catalogId",
    s.spec::text AS spec, s.state, s.revision, s.holder, s.circuit, s.problem,
    s.last_event_type AS "lastEventType",
    (extract(epoch FROM s.created_at) * 1000)::float8 AS "createdAtMs",
    (extract(epoch FROM s.updated_at) * 1000)::float8 AS "updatedAtMs"`;
}

function toRow({ spec, ...row }: RawRow): SubscriptionRow {
  return { ...row, spec: parseJson(spec) as unknown as Subscription };
}
