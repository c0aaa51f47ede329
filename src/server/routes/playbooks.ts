/** Playbooks as editors and forms use them: content, checks, fields of their workload, in and out of use. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import type { CatalogId } from "../../core/ids.ts";
import type { UiField } from "../../dsl/ui-schema.ts";
import { readUiSchema } from "../../dsl/ui-schema.ts";
import type { CheckedDocument } from "../../triggers/check-document.ts";
import { checkDocument } from "../../triggers/check-document.ts";
import type { ArchivedVersion, ArchiveKey } from "../backend.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import { isoTime } from "../event-view.ts";
import { readContent, registerDocument } from "../register.ts";
import type { RouteContext } from "../route-context.ts";
import { countWrite } from "../route-context.ts";
import { readId } from "../schema.ts";
import { findEntry } from "./catalog.ts";
import { readVersion } from "./execute.ts";

const TAG = "Catalog";
const NOT_FOUND = { 404: "No such playbook." };
const FORM = "/ui_schema";

const VersionQuery = t.Object({
  path: t.String({ description: "Catalog path." }),
  version: t.Optional(t.String({ description: "Default: the latest." })),
});

const ContentBody = t.Object(
  {
    content: t.String({ minLength: 1, description: "YAML, or YAML in base64." }),
    path: t.Optional(
      t.Nullable(t.String({ description: "The path that the document must have." })),
    ),
    strict: t.Optional(t.Nullable(t.Boolean())),
  },
  { additionalProperties: true },
);

const ArchiveBody = t.Object(
  {
    path: t.String({ minLength: 1 }),
    version: t.Optional(t.Nullable(t.Union([t.Number(), t.String()]))),
  },
  { additionalProperties: true },
);

export function playbookRoutes(context: RouteContext) {
  return new Elysia({ prefix: "/api/catalog", normalize: false })
    .use(contentRoutes(context))
    .use(archiveRoutes(context))
    .use(formRoutes(context));
}

function contentRoutes(context: RouteContext) {
  const { reader } = context;
  const save = async (body: typeof ContentBody.static) => {
    checkPath(context, body);
    return await registerDocument(context, {
      content: body.content,
      isStrict: body.strict === true,
    });
  };
  return new Elysia({ normalize: false })
    .get(
      "/playbook/content",
      async ({ query }) => {
        const { catalogId, path, version, content } = await findEntry(reader, query);
        return { catalog_id: catalogId, path, version, content };
      },
      {
        query: VersionQuery,
        detail: docs({ tag: TAG, summary: "Content of a playbook", errors: NOT_FOUND }),
      },
    )
    .put("/playbook/content", async ({ body }) => await save(body), {
      parse: JSON_BODY,
      body: ContentBody,
      detail: docs({
        tag: TAG,
        summary: "Save a playbook: its next version",
        description: "As `register`; a `path` that is not the document's is refused.",
        errors: { 422: "The document has errors, or another path." },
      }),
    })
    .put("/playbook", async ({ body }) => await save(body), {
      parse: JSON_BODY,
      body: ContentBody,
      detail: docs({ tag: TAG, summary: "Save a playbook, as NoETL's GUI calls it" }),
    })
    .post("/agents/list", () => ({ entries: [] }), {
      parse: "none",
      detail: docs({ tag: TAG, summary: "Always empty: there are no agents here" }),
    })
    .post(
      "/playbooks/validate",
      ({ body }) => {
        const checked = check(context, body.content);
        const errors = checked.diagnostics.filter(({ severity }) => severity === "error");
        const isValid = errors.length === 0;
        return {
          valid: isValid,
          status: isValid ? "valid" : "invalid",
          kind: checked.kind,
          path: checked.path ?? null,
          errors,
          warnings: checked.diagnostics.filter(({ severity }) => severity === "warning"),
        };
      },
      {
        parse: JSON_BODY,
        body: ContentBody,
        detail: docs({
          tag: TAG,
          summary: "Check a document without registering it",
          description: "All that registration would say, with line and column; 200 in any case.",
        }),
      },
    );
}

/** @throws AppError unavailable CHECK_OFF. */
function check({ knownTools }: RouteContext, content: string): CheckedDocument {
  if (knownTools === undefined) {
    throw new AppError("unavailable", "CHECK_OFF", "This server was started without its tools");
  }
  return checkDocument(readContent(content), knownTools);
}

/** @throws AppError invalid PATH_MISMATCH: it would become a version of another playbook. */
function checkPath(context: RouteContext, { content, path }: typeof ContentBody.static): void {
  const own = path ? check(context, content).path : undefined;
  if (own !== undefined && own !== path) {
    const message = `The document has the path ${own}, not ${path}: change metadata.path`;
    throw new AppError("invalid", "PATH_MISMATCH", message, { details: { path: own } });
  }
}

function archiveRoutes({ reader, metrics }: RouteContext) {
  const archive = async (key: ArchiveKey, isArchived: boolean) => {
    const changed = await countWrite(
      metrics,
      isArchived ? "catalog_delete" : "catalog_restore",
      () => reader.archivePlaybooks(key, isArchived),
    );
    return viewArchived(key, changed, isArchived);
  };
  const description =
    "Without `version` all of the path. Archived versions are not listed and not started by path; " +
    "what runs goes on, and what ran stays readable. To stop a schedule or subscription use its own routes.";
  return new Elysia({ normalize: false })
    .post("/delete", async ({ body }) => await archive(readKey(body), true), {
      parse: JSON_BODY,
      body: ArchiveBody,
      detail: docs({
        tag: TAG,
        summary: "Take a playbook out of use",
        description,
        errors: NOT_FOUND,
      }),
    })
    .post("/restore", async ({ body }) => await archive(readKey(body), false), {
      parse: JSON_BODY,
      body: ArchiveBody,
      detail: docs({ tag: TAG, summary: "Put a playbook back into use", errors: NOT_FOUND }),
    })
    .delete(
      "/playbooks/:id",
      async ({ params }) =>
        await archive({ catalogId: readId<CatalogId>(params.id, "catalog id") }, true),
      {
        params: t.Object({ id: t.String({ description: "Catalog id." }) }),
        detail: docs({ tag: TAG, summary: "Take one version out of use", errors: NOT_FOUND }),
      },
    );
}

function readKey({ path, version }: typeof ArchiveBody.static): ArchiveKey {
  return { path, version: readVersion(version) };
}

/** @throws AppError not_found CATALOG_ENTRY_NOT_FOUND. */
function viewArchived(
  { path, catalogId }: ArchiveKey,
  changed: readonly ArchivedVersion[],
  isArchived: boolean,
) {
  const [first] = changed;
  if (first === undefined) {
    const name = path ?? catalogId ?? "";
    const state = isArchived ? "in use" : "archived";
    const message = `No version of a playbook ${name} is ${state}`;
    throw new AppError("not_found", "CATALOG_ENTRY_NOT_FOUND", message);
  }
  const did = isArchived ? "Archived" : "Restored";
  return {
    status: "success",
    message: `${did} ${changed.length} version(s) of ${first.path}`,
    path: first.path,
    [isArchived ? "deleted" : "restored"]: changed.map(({ catalogId: id, version }) => ({
      catalog_id: id,
      version,
    })),
    count: changed.length,
  };
}

/** Paths have slashes, so that the last word of the address says what is meant. */
function formRoutes({ reader }: RouteContext) {
  return new Elysia({ normalize: false }).get(
    "/*",
    async ({ params, query }) => {
      const rest = decodeURIComponent(params["*"]);
      if (!rest.endsWith(FORM)) {
        throw new AppError("not_found", "ROUTE_NOT_FOUND", `No route /api/catalog/${rest}`);
      }
      const path = rest.slice(0, -FORM.length);
      const entry = await findEntry(reader, { path, version: query.version ?? null });
      const { title, description, isExposed, fields } = readUiSchema(entry.content);
      return {
        path: entry.path,
        version: entry.version,
        kind: entry.kind,
        title,
        description_markdown: description,
        exposed_in_ui: isExposed,
        fields: fields.map(viewField),
        generated_at: isoTime(Date.now()),
      };
    },
    {
      query: t.Object({ version: t.Optional(t.String()) }),
      detail: docs({
        tag: TAG,
        summary: "Fields of a form for a playbook's workload",
        description:
          "`/api/catalog/PATH/ui_schema`. Each key of the workload with its type and default; comments " +
          "above or behind it are its label and description.",
        errors: NOT_FOUND,
      }),
    },
  );
}

function viewField(field: UiField): Readonly<Record<string, unknown>> {
  return {
    name: field.name,
    type: field.type,
    default: field.default,
    label: field.label,
    description: field.description,
    required: false,
    format: field.isSecret ? "password" : null,
    ...(field.fields === undefined ? {} : { fields: field.fields.map(viewField) }),
  };
}
