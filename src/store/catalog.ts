/** Immutable versions of documents. */
import { AppError } from "../core/errors.ts";
import type { CatalogId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import { parseJson } from "../core/json.ts";
import type { Playbook } from "../dsl/playbook.ts";
import { escapeLike } from "./credential.ts";
import type { Pool, Sql } from "./pool.ts";

export interface CatalogKey {
  readonly catalogId: CatalogId;
  readonly path: string;
  readonly version: number;
}

export interface NewPlaybook {
  /** Used if this becomes a new version. */
  readonly catalogId: CatalogId;
  readonly content: string;
  /** SHA-256 of the content, hex. */
  readonly contentHash: string;
  readonly playbook: Playbook;
}

/** Adds a version of a playbook, see {@link saveDocument}. */
export async function savePlaybook(
  pool: Pool,
  { playbook, ...rest }: NewPlaybook,
): Promise<CatalogKey> {
  return await saveDocument(pool, { ...rest, kind: "playbook", document: playbook });
}

export interface NewDocument extends Omit<NewPlaybook, "playbook"> {
  readonly kind: "playbook" | "schedule" | "subscription";
  /** Parsed form. */
  readonly document: Pick<Playbook, "path" | "description" | "labels">;
}

/**
 * Adds the next version of the document's path, unless its latest version has the same content:
 * then that one. Calls for one path wait for each other.
 *
 * @throws AppError conflict CATALOG_KIND_CONFLICT: the path has another kind of document.
 */
export async function saveDocument(
  pool: Pool,
  { catalogId, content, contentHash, kind, document }: NewDocument,
): Promise<CatalogKey> {
  const { path } = document;
  return await pool.begin(async (sql) => {
    // Against other registrations of the same path, until the transaction ends.
    await sql`SELECT pg_advisory_xact_lock(hashtextextended('noetl.catalog:' || ${path}, 0))`;
    const [latest] = await sql<LatestRow[]>`
      SELECT
        catalog_id AS "catalogId", path, version, content_hash AS "contentHash", kind
      FROM noetl.catalog
      WHERE path = ${path}
      ORDER BY version DESC
      LIMIT 1`;
    if (latest !== undefined && latest.kind !== kind) {
      const message = `${path} is a ${latest.kind} already: give the ${kind} another path`;
      throw new AppError("conflict", "CATALOG_KIND_CONFLICT", message);
    }
    if (latest?.contentHash === contentHash) {
      return { catalogId: latest.catalogId, path, version: latest.version };
    }
    const version = (latest?.version ?? 0) + 1;
    await sql`
      INSERT INTO noetl.catalog (
        catalog_id, path, version, kind, content, content_hash, document, description, labels
      )
      VALUES (
        ${catalogId}, ${path}, ${version}, ${kind}, ${content}, ${contentHash},
        ${JSON.stringify(document)}::text::json, ${document.description ?? null},
        ${JSON.stringify(document.labels)}::text::jsonb
      )`;
    return { catalogId, path, version };
  });
}

type LatestRow = CatalogKey & { readonly contentHash: string; readonly kind: string };

/** What a request may name a playbook by: `catalogId`, or `path` with or without a version. */
export interface PlaybookName {
  readonly catalogId?: CatalogId | undefined;
  readonly path?: string | undefined;
  /** Absent: the latest. */
  readonly version?: number | undefined;
}

/** The versions meant, in order; undefined for what does not exist. */
export async function findPlaybooks(
  sql: Sql,
  names: readonly PlaybookName[],
): Promise<readonly (CatalogKey | undefined)[]> {
  const rows = await sql<(Partial<CatalogKey> & { readonly n: number })[]>`
    SELECT c.catalog_id AS "catalogId", c.path, c.version, q.n::int AS n
    FROM unnest(
      ${names.map((name) => name.catalogId ?? null)}::bigint[],
      ${names.map((name) => name.path ?? null)}::text[],
      ${names.map((name) => name.version ?? null)}::integer[]
    ) WITH ORDINALITY AS q (catalog_id, path, version, n)
    CROSS JOIN LATERAL (
      (SELECT catalog_id, path, version
      FROM noetl.catalog
      WHERE q.catalog_id IS NOT NULL AND catalog_id = q.catalog_id)
      UNION ALL
      (SELECT catalog_id, path, version
      FROM noetl.catalog
      WHERE q.catalog_id IS NULL AND path = q.path
        AND version = coalesce(q.version, version)
      ORDER BY version DESC
      LIMIT 1)
    ) AS c`;
  const found: (CatalogKey | undefined)[] = names.map(() => undefined);
  for (const { catalogId, path, version, n } of rows) {
    if (catalogId !== undefined && path !== undefined && version !== undefined) {
      found[n - 1] = { catalogId, path, version };
    }
  }
  return found;
}

/** Parsed forms by catalog id; without documents of other kinds. */
export async function loadPlaybooks(
  sql: Sql,
  ids: readonly CatalogId[],
): Promise<ReadonlyMap<CatalogId, Playbook>> {
  const rows = await sql<{ catalogId: CatalogId; document: string }[]>`
    SELECT catalog_id AS "catalogId", document::text AS document
    FROM noetl.catalog
    WHERE catalog_id = ANY (${[...ids]}::bigint[]) AND kind = 'playbook'`;
  return new Map(
    rows.map((row) => [row.catalogId, parseJson(row.document) as unknown as Playbook]),
  );
}

export interface CatalogEntry extends CatalogKey {
  readonly kind: string;
  readonly description: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
  /** The document as it was registered. */
  readonly content: string;
  /** Parsed form, see src/dsl/playbook.ts. */
  readonly document: Json;
}

/** One version with its content; undefined when it does not exist. */
export async function getCatalogEntry(
  sql: Sql,
  name: PlaybookName,
): Promise<CatalogEntry | undefined> {
  const [key] = await findPlaybooks(sql, [name]);
  if (key === undefined) {
    return undefined;
  }
  const [row] = await sql<EntryRow[]>`
    ${entryColumns(sql)}
    WHERE catalog_id = ${key.catalogId}`;
  return row === undefined ? undefined : toEntry(row);
}

export interface CatalogFilter {
  /** Part of the path, any case. */
  readonly path?: string;
  readonly kind?: string;
  /** False: every version; true: the last of each path. */
  readonly isLatestOnly: boolean;
  readonly limit: number;
  readonly offset: number;
}

/** Newest first. */
export async function listCatalogEntries(
  sql: Sql,
  filter: CatalogFilter,
): Promise<readonly CatalogEntry[]> {
  const path = filter.path === undefined ? null : `%${escapeLike(filter.path)}%`;
  const rows = await sql<EntryRow[]>`
    ${entryColumns(sql)}
    WHERE (${path}::text IS NULL OR path ILIKE ${path})
      AND (${filter.kind ?? null}::text IS NULL OR kind = lower(${filter.kind ?? null}))
      ${
        filter.isLatestOnly
          ? sql`AND version = (SELECT max(l.version) FROM noetl.catalog AS l WHERE l.path = c.path)`
          : sql``
      }
    ORDER BY catalog_id DESC
    LIMIT ${filter.limit}
    OFFSET ${filter.offset}`;
  return rows.map(toEntry);
}

type EntryRow = Omit<CatalogEntry, "document"> & { readonly document: string };

function entryColumns(sql: Sql) {
  return sql`
    SELECT
      catalog_id AS "catalogId", path, version, kind, description, labels, content,
      document::text AS document,
      (extract(epoch FROM created_at) * 1000)::float8 AS "createdAtMs"
    FROM noetl.catalog AS c`;
}

function toEntry(row: EntryRow): CatalogEntry {
  return { ...row, document: parseJson(row.document) };
}

/** Number of paths, not of versions. */
export async function countPlaybooks(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    SELECT count(DISTINCT path)::int AS count FROM noetl.catalog WHERE kind = 'playbook'`;
  return row?.count ?? 0;
}
