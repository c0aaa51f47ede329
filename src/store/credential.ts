/** Credentials of playbooks. The store sees sealed text only. */
import type { JsonObject } from "../core/json.ts";
import type { Sql } from "./pool.ts";

export interface CredentialRow {
  readonly credentialId: string;
  /** Unique. */
  readonly name: string;
  readonly type: string;
  readonly sealed: string;
  readonly description: string | null;
  readonly tags: readonly string[];
  readonly meta: JsonObject;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

export interface NewCredential {
  /** Kept when the name exists. */
  readonly credentialId: string;
  readonly name: string;
  readonly type: string;
  readonly sealed: string;
  readonly description: string | undefined;
  readonly tags: readonly string[];
  readonly meta: JsonObject;
}

/** Adds the credential or replaces the one of that name. */
export async function saveCredential(
  sql: Sql,
  credential: NewCredential,
): Promise<CredentialRow | undefined> {
  await sql`
    INSERT INTO noetl.credential (credential_id, name, type, sealed, description, tags, meta)
    VALUES (
      ${credential.credentialId}, ${credential.name}, ${credential.type}, ${credential.sealed},
      ${credential.description ?? null}, ${[...credential.tags]}::text[],
      ${JSON.stringify(credential.meta)}::text::jsonb
    )
    ON CONFLICT (name) DO UPDATE
    SET type = excluded.type, sealed = excluded.sealed, description = excluded.description,
        tags = excluded.tags, meta = excluded.meta, updated_at = now()`;
  return await findCredential(sql, credential.name);
}

/** By name, else by id. */
export async function findCredential(
  sql: Sql,
  nameOrId: string,
): Promise<CredentialRow | undefined> {
  const rows = await sql<CredentialRow[]>`
    ${columns(sql)}
    WHERE name = ${nameOrId} OR credential_id::text = ${nameOrId}
    ORDER BY (name = ${nameOrId}) DESC
    LIMIT 1`;
  return rows[0];
}

export interface CredentialFilter {
  readonly type?: string;
  /** Part of the name or description, any case. */
  readonly text?: string;
}

/** By name. */
export async function listCredentials(
  sql: Sql,
  filter: CredentialFilter,
): Promise<readonly CredentialRow[]> {
  const text = filter.text === undefined ? null : `%${escapeLike(filter.text)}%`;
  return await sql<CredentialRow[]>`
    ${columns(sql)}
    WHERE (${filter.type ?? null}::text IS NULL OR type = ${filter.type ?? null})
      AND (${text}::text IS NULL OR name ILIKE ${text} OR description ILIKE ${text})
    ORDER BY name`;
}

/** By name, else by id. @returns false when there was none. */
export async function removeCredential(sql: Sql, nameOrId: string): Promise<boolean> {
  const rows = await sql`
    DELETE FROM noetl.credential
    WHERE name = ${nameOrId} OR credential_id::text = ${nameOrId}
    RETURNING credential_id`;
  return rows.length > 0;
}

function columns(sql: Sql) {
  return sql`
    SELECT
      credential_id AS "credentialId", name, type, sealed, description,
      array_to_json(tags) AS tags, meta,
      (extract(epoch FROM created_at) * 1000)::float8 AS "createdAtMs",
      (extract(epoch FROM updated_at) * 1000)::float8 AS "updatedAtMs"
    FROM noetl.credential`;
}

/** Makes `%` and `_` in a search text mean themselves. */
export function escapeLike(text: string): string {
  return text.replace(/[\\%_]/g, "\\$&");
}
