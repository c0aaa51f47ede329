/**
 * Values that were fetched with credentials or composed by keychain entries, until they expire. The
 * store sees sealed text only. One server at a time fetches a value: it holds the row's lease.
 */
import type { CatalogId, ExecutionId } from "../core/ids.ts";
import type { Sql } from "./pool.ts";

export type KeychainScope = "local" | "global" | "shared";

export interface KeychainPlace {
  /** Unique. */
  readonly cacheKey: string;
  /** Alias in the playbook, or name of a credential. */
  readonly name: string;
  readonly scope: KeychainScope;
  /** Undefined of shared values. */
  readonly catalogId: CatalogId | undefined;
  /** On whose behalf the value is renewed. */
  readonly executionId: ExecutionId | undefined;
}

export interface KeychainValue {
  readonly cacheKey: string;
  /** Null while it is fetched for the first time. */
  readonly sealed: string | null;
  /** Grows with each value. */
  readonly version: number;
  /** From now on, by the database's clock; null: it does not expire. Below 0: it has expired. */
  readonly leftMs: number | null;
  /** From fetched to expired; null: it does not expire. */
  readonly lifetimeMs: number | null;
}

/** Values by key, with a note that they were used. Absent keys are left out. */
export async function useKeychain(
  sql: Sql,
  cacheKeys: readonly string[],
): Promise<readonly KeychainValue[]> {
  return await sql<KeychainValue[]>`
    UPDATE noetl.keychain
    SET used_at = now(), access_count = access_count + 1
    WHERE cache_key = ANY (${[...cacheKeys]}::text[])
    RETURNING ${valueColumns(sql)}`;
}

/** The same, without a note. */
export async function readKeychain(
  sql: Sql,
  cacheKeys: readonly string[],
): Promise<readonly KeychainValue[]> {
  return await sql<KeychainValue[]>`
    SELECT ${valueColumns(sql)}
    FROM noetl.keychain
    WHERE cache_key = ANY (${[...cacheKeys]}::text[])`;
}

function valueColumns(sql: Sql) {
  return sql`
    cache_key AS "cacheKey", sealed, version,
    (extract(epoch FROM expires_at - now()) * 1000)::float8 AS "leftMs",
    (extract(epoch FROM expires_at - updated_at) * 1000)::float8 AS "lifetimeMs"`;
}

/**
 * Takes the right to fetch the value, for `leaseMs`.
 *
 * @returns the version that it replaces, 0 for none; undefined while another server has the right.
 */
export async function leaseKeychain(
  sql: Sql,
  place: KeychainPlace,
  leaseMs: number,
): Promise<number | undefined> {
  const rows = await sql<{ version: number }[]>`
    INSERT INTO noetl.keychain AS k (
      cache_key, name, scope, catalog_id, execution_id, lease_until, expires_at
    )
    VALUES (
      ${place.cacheKey}, ${place.name}, ${place.scope}, ${place.catalogId ?? null},
      ${place.executionId ?? null}, now() + ${leaseMs} * interval '1 millisecond',
      now() + ${leaseMs} * interval '1 millisecond'
    )
    ON CONFLICT (cache_key) DO UPDATE
    SET lease_until = excluded.lease_until,
        execution_id = coalesce(excluded.execution_id, k.execution_id)
    WHERE k.lease_until IS NULL OR k.lease_until < now()
    RETURNING version`;
  return rows[0]?.version;
}

export interface NewKeychainValue {
  readonly cacheKey: string;
  readonly sealed: string;
  /** Undefined: it does not expire. */
  readonly lifetimeMs: number | undefined;
  /** Undefined: it is not renewed ahead. */
  readonly renewInMs: number | undefined;
  /** Somebody asked for it; false when it was renewed ahead. */
  readonly isUsed: boolean;
}

/** Writes the value whose lease is held, and ends the lease. @returns its version. */
export async function storeKeychain(
  sql: Sql,
  { cacheKey, sealed, lifetimeMs, renewInMs, isUsed }: NewKeychainValue,
): Promise<number> {
  const [row] = await sql<{ version: number }[]>`
    UPDATE noetl.keychain
    SET sealed = ${sealed},
        version = version + 1,
        updated_at = now(),
        expires_at = now() + ${lifetimeMs ?? null} * interval '1 millisecond',
        auto_renew = ${renewInMs !== undefined},
        renew_at = now() + ${renewInMs ?? null} * interval '1 millisecond',
        used_at = CASE WHEN ${isUsed}::boolean THEN now() ELSE used_at END,
        lease_until = NULL
    WHERE cache_key = ${cacheKey}
    RETURNING version`;
  return row?.version ?? 0;
}

/** Gives the right to fetch back after a failure: others need not wait. */
export async function releaseKeychain(sql: Sql, cacheKey: string): Promise<void> {
  await sql`
    UPDATE noetl.keychain SET lease_until = NULL WHERE cache_key = ${cacheKey}`;
}

/**
 * Takes the renewal of a value that is due. Whatever becomes of it, the next try is not before
 * `againMs`. False: somebody else was first.
 */
export async function claimRenewal(sql: Sql, cacheKey: string, againMs: number): Promise<boolean> {
  const rows = await sql`
    UPDATE noetl.keychain
    SET renew_at = now() + ${againMs} * interval '1 millisecond'
    WHERE cache_key = ${cacheKey} AND renew_at <= now()
    RETURNING 1`;
  return rows.length > 0;
}

/** Nobody renews the value ahead any more. */
export async function stopRenewing(sql: Sql, cacheKey: string): Promise<void> {
  await sql`
    UPDATE noetl.keychain SET auto_renew = false WHERE cache_key = ${cacheKey}`;
}

export interface KeychainEntryRow {
  readonly cacheKey: string;
  readonly name: string;
  readonly scope: KeychainScope;
  readonly catalogId: CatalogId | null;
  readonly executionId: ExecutionId | null;
  readonly version: number;
  readonly autoRenew: boolean;
  readonly accessCount: number;
  readonly expiresAtMs: number | null;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  readonly usedAtMs: number;
  readonly isExpired: boolean;
}

const LIST_MAX = 1000;

/** Values of one version of a playbook, by name. */
export async function listKeychain(
  sql: Sql,
  catalogId: CatalogId,
): Promise<readonly KeychainEntryRow[]> {
  return await sql<KeychainEntryRow[]>`
    ${entryColumns(sql)}
    WHERE catalog_id = ${catalogId} AND sealed IS NOT NULL
    ORDER BY name, cache_key
    LIMIT ${LIST_MAX}`;
}

export async function findKeychainEntry(
  sql: Sql,
  cacheKey: string,
): Promise<KeychainEntryRow | undefined> {
  const rows = await sql<KeychainEntryRow[]>`
    ${entryColumns(sql)}
    WHERE cache_key = ${cacheKey} AND sealed IS NOT NULL`;
  return rows[0];
}

function entryColumns(sql: Sql) {
  return sql`
    SELECT
      cache_key AS "cacheKey", name, scope, catalog_id AS "catalogId",
      execution_id AS "executionId", version, auto_renew AS "autoRenew",
      access_count::int AS "accessCount",
      (extract(epoch FROM expires_at) * 1000)::float8 AS "expiresAtMs",
      (extract(epoch FROM created_at) * 1000)::float8 AS "createdAtMs",
      (extract(epoch FROM updated_at) * 1000)::float8 AS "updatedAtMs",
      (extract(epoch FROM used_at) * 1000)::float8 AS "usedAtMs",
      coalesce(expires_at <= now(), false) AS "isExpired"
    FROM noetl.keychain`;
}

/** @returns false when there was none. */
export async function removeKeychain(sql: Sql, cacheKey: string): Promise<boolean> {
  const rows = await sql`
    DELETE FROM noetl.keychain WHERE cache_key = ${cacheKey} RETURNING cache_key`;
  return rows.length > 0;
}

const EXPIRED_MAX = 5000;

/** Forgets values that expired a while ago. True: there are more. */
export async function removeExpiredKeychain(sql: Sql): Promise<boolean> {
  const rows = await sql`
    WITH old AS MATERIALIZED (
      SELECT cache_key
      FROM noetl.keychain
      WHERE expires_at < now() - interval '1 hour'
      LIMIT ${EXPIRED_MAX}
      FOR UPDATE SKIP LOCKED
    )
    DELETE FROM noetl.keychain AS k
    USING old AS o
    WHERE k.cache_key = o.cache_key`;
  return rows.count >= EXPIRED_MAX;
}
