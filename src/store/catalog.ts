/** Immutable versions of documents. */
import { AppError } from "../core/errors.ts";
import type { CatalogId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import { parseJson } from "../core/json.ts";
import type { Playbook } from "../dsl/playbook.ts";
import { escapeLike } from "./credential.ts";
import type { Fragment, Pool, Sql } from "./pool.ts";
import { withTransaction } from "./transaction.ts";

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
 * then that one, back in use if it was archived. Calls for one path wait for each other.
 *
 * @throws AppError conflict CATALOG_KIND_CONFLICT: the path has another kind of document.
 */
export async function saveDocument(
  pool: Pool,
  { catalogId, content, contentHash, kind, document }: NewDocument,
): Promise<CatalogKey> {
  const { path } = document;
  return await withTransaction(pool, async (sql) => {
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
      await sql`
        UPDATE noetl.catalog SET archived_at = NULL
        WHERE catalog_id = ${latest.catalogId} AND archived_at IS NOT NULL`;
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

/** The versions meant, in order; undefined for what does not exist, or is archived and not named by id. */
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
        AND version = coalesce(q.version, version) AND archived_at IS NULL
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

export interface CatalogItem extends CatalogKey {
  readonly kind: string;
  readonly description: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
  /** Out of use since; null: in use. */
  readonly archivedAtMs: number | null;
  /** The document as it was registered; "" if it was not asked for. */
  readonly content: string;
}

export interface CatalogEntry extends CatalogItem {
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
  const [row] = await sql<(CatalogItem & { readonly document: string })[]>`
    SELECT ${itemColumns(sql)}, content, document::text AS document
    FROM noetl.catalog AS c
    WHERE catalog_id = ${key.catalogId}`;
  return row === undefined ? undefined : { ...row, document: parseJson(row.document) };
}

export interface CatalogFilter {
  /** Part of the path, any case. */
  readonly path?: string;
  readonly kind?: string;
  /** False: every version; true: the last of each path. */
  readonly isLatestOnly: boolean;
  /** Default false: archived versions are left out. */
  readonly hasArchived?: boolean;
}

export interface CatalogPage extends CatalogFilter {
  readonly limit: number;
  readonly offset: number;
  /** Default true. */
  readonly hasContent?: boolean;
}

/** A page ends before this many bytes of content; it has at least one entry all the same. */
const PAGE_BYTES_MAX = 16 * 1024 * 1024;

/** Newest first. May be shorter than the limit, see {@link PAGE_BYTES_MAX}. */
export async function listCatalogEntries(
  sql: Sql,
  page: CatalogPage,
): Promise<readonly CatalogItem[]> {
  const hasContent = page.hasContent ?? true;
  const { limit, offset } = page;
  return await sql<CatalogItem[]>`
    WITH found AS (
      SELECT catalog_id, octet_length(content) AS bytes
      FROM noetl.catalog AS c
      WHERE ${filterOf(sql, page)}
      ORDER BY catalog_id DESC
      LIMIT ${limit}
      OFFSET ${offset}
    ), fitting AS (
      SELECT catalog_id, sum(bytes) OVER (ORDER BY catalog_id DESC) - bytes AS bytes_before
      FROM found
    )
    SELECT ${itemColumns(sql)}, ${hasContent ? sql`content` : sql`'' AS content`}
    FROM fitting
    JOIN noetl.catalog AS c USING (catalog_id)
    WHERE NOT ${hasContent}::boolean OR bytes_before < ${PAGE_BYTES_MAX}
    ORDER BY catalog_id DESC`;
}

/** Number of entries that the filter finds. */
export async function countCatalogEntries(sql: Sql, filter: CatalogFilter): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    SELECT count(*)::int AS count FROM noetl.catalog AS c WHERE ${filterOf(sql, filter)}`;
  return row?.count ?? 0;
}

function filterOf(sql: Sql, { path, kind, isLatestOnly, hasArchived }: CatalogFilter): Fragment {
  const pattern = path === undefined ? null : `%${escapeLike(path)}%`;
  return sql`
    (${pattern}::text IS NULL OR path ILIKE ${pattern})
      AND (${kind ?? null}::text IS NULL OR kind = lower(${kind ?? null}))
      ${hasArchived === true ? sql`` : sql`AND archived_at IS NULL`}
      ${
        isLatestOnly
          ? sql`AND version = (
              SELECT max(l.version) FROM noetl.catalog AS l
              WHERE l.path = c.path ${hasArchived === true ? sql`` : sql`AND l.archived_at IS NULL`}
            )`
          : sql``
      }`;
}

function itemColumns(sql: Sql): Fragment {
  return sql`
    catalog_id AS "catalogId", path, version, kind, description, labels,
    (extract(epoch FROM created_at) * 1000)::float8 AS "createdAtMs",
    (extract(epoch FROM archived_at) * 1000)::float8 AS "archivedAtMs"`;
}

/** One version by id, those of a path, or one of them. */
export interface ArchiveKey {
  readonly catalogId?: CatalogId | undefined;
  readonly path?: string | undefined;
  /** Absent: all versions of the path. */
  readonly version?: number | undefined;
}

/** Takes playbooks out of use, or back; those that this changed, in order of their versions. */
export async function archivePlaybooks(
  sql: Sql,
  { catalogId, path, version }: ArchiveKey,
  isArchived: boolean,
): Promise<readonly CatalogKey[]> {
  const rows = await sql<CatalogKey[]>`
    UPDATE noetl.catalog
    SET archived_at = ${isArchived ? sql`now()` : sql`NULL`}
    WHERE kind = 'playbook'
      AND (archived_at IS NULL) = ${isArchived}
      AND (catalog_id = ${catalogId ?? null} OR path = ${path ?? null})
      AND version = coalesce(${version ?? null}, version)
    RETURNING catalog_id AS "catalogId", path, version`;
  return [...rows].sort((left, right) => left.version - right.version);
}

/** Number of paths, not of versions. */
export async function countPlaybooks(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    SELECT count(DISTINCT path)::int AS count
    FROM noetl.catalog
    WHERE kind = 'playbook' AND archived_at IS NULL`;
  return row?.count ?? 0;
}
