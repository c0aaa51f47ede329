/**
 * All sealed texts, whatever table they are in, for the change of the key that wraps their data keys.
 * Walked in the order of their keys, a batch at a time, so that a change that was interrupted is begun
 * again anywhere.
 */
import type { Sql } from "./pool.ts";

export const SEALED_TABLES = ["credential", "keychain"] as const;
export type SealedTable = (typeof SEALED_TABLES)[number];

export interface SealedRow {
  readonly key: string;
  readonly name: string;
  readonly sealed: string;
}

/** Rows wrapped by another key than `keyId`, after the row `afterKey`, in the order of keys. */
export async function listSealedBefore(
  sql: Sql,
  table: SealedTable,
  {
    keyId,
    afterKey,
    limit,
  }: { readonly keyId: string; readonly afterKey: string; readonly limit: number },
): Promise<readonly SealedRow[]> {
  const key = table === "credential" ? sql`name` : sql`cache_key`;
  return await sql<SealedRow[]>`
    SELECT ${key} AS key, name, sealed
    FROM noetl.${sql(table)}
    WHERE ${key} > ${afterKey} AND ${wrappedBy(sql)} IS DISTINCT FROM ${keyId}
      AND sealed IS NOT NULL
    ORDER BY ${key}
    LIMIT ${limit}`;
}

/** @returns false if somebody else has written the row meanwhile: theirs is newer. */
export async function replaceSealed(
  sql: Sql,
  table: SealedTable,
  { key, sealed, next }: { readonly key: string; readonly sealed: string; readonly next: string },
): Promise<boolean> {
  const name = table === "credential" ? sql`name` : sql`cache_key`;
  const rows = await sql`
    UPDATE noetl.${sql(table)}
    SET sealed = ${next}
    WHERE ${name} = ${key} AND sealed = ${sealed}
    RETURNING 1`;
  return rows.length > 0;
}

/** Null for a text that is not one of ours. */
function wrappedBy(sql: Sql) {
  return sql`substring(sealed FROM '"kid":"([0-9a-f]+)"')`;
}

/** How many secrets each key wraps. */
export async function countSealed(sql: Sql): Promise<Readonly<Record<string, number>>> {
  const rows = await sql<{ keyId: string; count: number }[]>`
    SELECT coalesce(${wrappedBy(sql)}, '') AS "keyId", count(*)::int AS count
    FROM (
      SELECT sealed FROM noetl.credential
      UNION ALL
      SELECT sealed FROM noetl.keychain WHERE sealed IS NOT NULL
    ) AS secrets
    GROUP BY 1`;
  return Object.fromEntries(rows.map(({ keyId, count }) => [keyId, count]));
}
