/** The catalog: immutable versions of documents. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import type { CatalogId } from "../../core/ids.ts";
import type { CatalogEntry, ServerReader } from "../backend.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import { isoTime } from "../event-view.ts";
import { registerDocument } from "../register.ts";
import type { RouteContext } from "../route-context.ts";
import { Id, isTrue, PageQuery, readOptionalId, readPage } from "../schema.ts";
import { readVersion } from "./execute.ts";

/** Entries carry their whole content, so that a page may be shorter than its limit. */
const LIST_LIMITS = { max: 1000, otherwise: 100 };
const LIST = {
  tag: "Catalog",
  description:
    "Newest first, 100 (≤ 1000) at a time and at most 16 MiB of content: go on with `next_offset` while " +
    "that is not null. All versions, unless `latest` is true; those that are archived if " +
    "`include_archived` is. `include_content: false` leaves the documents out.",
};

const RegisterBody = t.Object(
  {
    content: t.String({ description: "The document: YAML, or YAML in base64.", minLength: 1 }),
    resource_type: t.Optional(t.Nullable(t.String())),
    strict: t.Optional(t.Nullable(t.Boolean({ description: "Warnings refuse the document too." }))),
  },
  { additionalProperties: true },
);

const Flag = t.Optional(t.Nullable(t.Union([t.Boolean(), t.String()])));

const ListFields = {
  path: t.Optional(t.Nullable(t.String({ description: "Part of the path, in any case." }))),
  latest: Flag,
  include_archived: Flag,
  include_content: Flag,
  ...PageQuery,
};

const ListFilter = t.Object(
  { resource_type: t.Optional(t.Nullable(t.String())), ...ListFields },
  { additionalProperties: true },
);

const ResourceBody = t.Object(
  {
    catalog_id: t.Optional(t.Nullable(Id)),
    path: t.Optional(t.Nullable(t.String())),
    version: t.Optional(t.Nullable(t.Union([t.Number(), t.String()]))),
  },
  { additionalProperties: true },
);

export function catalogRoutes(context: RouteContext) {
  const { reader } = context;
  return new Elysia({ prefix: "/api/catalog", normalize: false })
    .post(
      "/register",
      async ({ body }) =>
        await registerDocument(context, { content: body.content, isStrict: body.strict === true }),
      {
        parse: JSON_BODY,
        body: RegisterBody,
        detail: docs({
          tag: "Catalog",
          summary: "Register a playbook, schedule or subscription",
          description:
            "The same content again gives the same version. Warnings are in the answer. A schedule or " +
            "subscription is put to work.",
          errors: { 422: "The document has errors: all of them, with line and column." },
        }),
      },
    )
    .post("/list", async ({ body }) => await listCatalog(reader, body.resource_type, body), {
      parse: JSON_BODY,
      body: ListFilter,
      detail: docs({ ...LIST, summary: "List entries" }),
    })
    .get("/list", async ({ query }) => await listCatalog(reader, query.resource_type, query), {
      query: ListFilter,
      detail: docs({ ...LIST, summary: "List entries" }),
    })
    .get(
      "/list/:kind",
      async ({ params, query }) => await listCatalog(reader, params.kind, query),
      {
        query: t.Object(ListFields),
        detail: docs({ ...LIST, summary: "List entries of a kind" }),
      },
    )
    .post("/resource", async ({ body }) => viewEntry(await findEntry(reader, body)), {
      parse: JSON_BODY,
      body: ResourceBody,
      detail: docs({
        tag: "Catalog",
        summary: "One entry",
        description: "By `catalog_id`, or by `path` and `version` (default: the latest).",
        errors: { 404: "No such entry." },
      }),
    });
}

type ListQuery = Omit<typeof ListFilter.static, "resource_type">;

async function listCatalog(
  reader: ServerReader,
  kind: string | null | undefined,
  query: ListQuery,
) {
  const filter = {
    ...(kind ? { kind: kind.toLowerCase() } : {}),
    ...(query.path ? { path: query.path } : {}),
    isLatestOnly: isTrue(query.latest ?? undefined),
    hasArchived: isTrue(query.include_archived ?? undefined),
  };
  const page = readPage(query, LIST_LIMITS);
  const hasContent = !["false", "0", false].includes(query.include_content ?? true);
  const [entries, total] = await Promise.all([
    reader.listCatalog({ ...filter, ...page, hasContent }),
    reader.countCatalog(filter),
  ]);
  const end = page.offset + entries.length;
  return {
    entries: entries.map(viewEntry),
    total,
    next_offset: entries.length > 0 && end < total ? end : null,
  };
}

/** @throws AppError not_found CATALOG_ENTRY_NOT_FOUND. */
export async function findEntry(
  reader: ServerReader,
  body: Partial<typeof ResourceBody.static>,
): Promise<CatalogEntry> {
  const catalogId = readOptionalId<CatalogId>(body.catalog_id, "catalog_id");
  const version = readVersion(body.version);
  const path = body.path ?? "";
  const entry = await reader.getCatalog({
    ...(catalogId === undefined ? { path } : { catalogId }),
    ...(version === undefined ? {} : { version }),
  });
  if (entry === undefined) {
    const name = catalogId === undefined ? `at ${path || "(no path given)"}` : catalogId;
    throw new AppError("not_found", "CATALOG_ENTRY_NOT_FOUND", `No catalog entry ${name}`);
  }
  return entry;
}

export function viewEntry(entry: CatalogEntry) {
  return {
    catalog_id: entry.catalogId,
    path: entry.path,
    kind: entry.kind,
    version: entry.version,
    content: entry.content,
    layout: null,
    payload: null,
    meta: entry.labels ?? null,
    created_at: isoTime(entry.createdAtMs),
    archived_at: entry.archivedAtMs ? isoTime(entry.archivedAtMs) : null,
  };
}
