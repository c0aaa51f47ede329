/** The catalog: immutable versions of documents. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import type { CatalogId } from "../../core/ids.ts";
import type { Diagnostic } from "../../dsl/diagnostic.ts";
import type { CatalogEntry, RegisteredPlaybook, ServerReader } from "../backend.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import { isoTime } from "../event-view.ts";
import type { RouteContext } from "../route-context.ts";
import { countWrite } from "../route-context.ts";
import { Id, PageQuery, readOptionalId, readPage } from "../schema.ts";
import { readVersion } from "./execute.ts";

/** Entries carry their whole content. */
const LIST_LIMITS = { max: 1000, otherwise: 500 };

const RegisterBody = t.Object(
  {
    content: t.String({ description: "The document: YAML, or YAML in base64.", minLength: 1 }),
    resource_type: t.Optional(t.Nullable(t.String())),
    strict: t.Optional(t.Nullable(t.Boolean({ description: "Warnings refuse the document too." }))),
  },
  { additionalProperties: true },
);

const ListFilter = t.Object(
  { resource_type: t.Optional(t.Nullable(t.String())), ...PageQuery },
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

export function catalogRoutes({ orchestrator, reader, metrics, triggers }: RouteContext) {
  return new Elysia({ prefix: "/api/catalog", normalize: false })
    .post(
      "/register",
      async ({ body }) =>
        await countWrite(metrics, "catalog_register", async () => {
          const request = { content: readContent(body.content), isStrict: body.strict === true };
          try {
            return viewRegistered(
              await (triggers === undefined
                ? orchestrator.registerPlaybook(request)
                : triggers.register(request)),
            );
          } catch (error) {
            throw explain(error);
          }
        }),
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
      detail: docs({ tag: "Catalog", summary: "List entries", description: "Newest first." }),
    })
    .get("/list", async ({ query }) => await listCatalog(reader, query.resource_type, query), {
      query: ListFilter,
      detail: docs({ tag: "Catalog", summary: "List entries", description: "Newest first." }),
    })
    .get(
      "/list/:kind",
      async ({ params, query }) => await listCatalog(reader, params.kind, query),
      {
        query: t.Object(PageQuery),
        detail: docs({ tag: "Catalog", summary: "List entries of a kind" }),
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

/** Base64 has no colon, and no playbook is without one. */
function readContent(content: string): string {
  return content.includes(":") ? content : Buffer.from(content, "base64").toString("utf8");
}

/** Lists all diagnostics in the text too: most clients show only that. */
function explain(error: unknown): unknown {
  const diagnostics = error instanceof AppError ? error.details?.["diagnostics"] : undefined;
  if (!(error instanceof AppError) || !Array.isArray(diagnostics)) {
    return error;
  }
  const list: readonly Diagnostic[] = diagnostics;
  const errorCount = list.filter(({ severity }) => severity === "error").length;
  const count = errorCount > 0 ? `${errorCount} error(s)` : `${list.length} warning(s)`;
  const lines = [
    `Cannot register the ${error.code.replace("_INVALID", "").toLowerCase()}: ${count}`,
    ...list.map(diagnosticLine),
  ];
  return new AppError(error.kind, error.code, lines.join("\n"), {
    cause: error,
    details: { diagnostics },
  });
}

function diagnosticLine({ severity, line, column, path, message }: Diagnostic): string {
  const place = path === "" ? "" : ` ${path}:`;
  return `  ${severity} at line ${line}, column ${column}:${place} ${message}`;
}

function viewRegistered({
  catalogId,
  path,
  version,
  warnings,
  kind = "playbook",
}: RegisteredPlaybook & { readonly kind?: string }) {
  return {
    status: "success",
    message: `Registered ${path} version ${version}`,
    path,
    version,
    catalog_id: catalogId,
    kind,
    warnings,
  };
}

async function listCatalog(
  reader: ServerReader,
  kind: string | null | undefined,
  page: { readonly limit?: number | undefined; readonly offset?: number | undefined },
) {
  const entries = await reader.listCatalog({
    ...(kind ? { kind: kind.toLowerCase() } : {}),
    ...readPage(page, LIST_LIMITS),
  });
  return { entries: entries.map(viewEntry) };
}

/** @throws AppError not_found CATALOG_ENTRY_NOT_FOUND. */
async function findEntry(
  reader: ServerReader,
  body: typeof ResourceBody.static,
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

function viewEntry(entry: CatalogEntry) {
  return {
    catalog_id: entry.catalogId,
    path: entry.path,
    kind: entry.kind,
    version: entry.version,
    content: entry.content,
    layout: null,
    payload: null,
    meta: null,
    created_at: isoTime(entry.createdAtMs),
  };
}
