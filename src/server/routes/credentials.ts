/** Credentials: sealed at rest, shown without their content. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import { checkCredential } from "../../secrets/credential-type.ts";
import type { CredentialRow, NewCredential, ServerReader } from "../backend.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import { isoTime } from "../event-view.ts";
import type { RouteContext } from "../route-context.ts";
import { countWrite } from "../route-context.ts";
import { Any, isTrue, PageQuery, readObject, readPage } from "../schema.ts";

const TAG = "Credentials";
const NOT_FOUND = { 404: "No such credential." };

const CredentialBody = t.Object(
  {
    name: t.String({ minLength: 1, maxLength: 255 }),
    type: t.String({ minLength: 1, description: "`postgres`, `bearer`, `basic`, `nats`, …" }),
    data: Any,
    meta: t.Optional(Any),
    tags: t.Optional(t.Nullable(t.Array(t.String()))),
    description: t.Optional(t.Nullable(t.String())),
  },
  { additionalProperties: true },
);

const ListQuery = t.Object({
  type: t.Optional(t.String()),
  q: t.Optional(t.String({ description: "Part of the name, in any case." })),
  ...PageQuery,
});

const KeyParams = t.Object({ key: t.String({ description: "Name or id." }) });

export function credentialRoutes(context: RouteContext) {
  const { reader, metrics, orchestrator } = context;
  return new Elysia({ prefix: "/api/credentials", normalize: false })
    .post(
      "",
      async ({ body }) =>
        await countWrite(metrics, "credentials_upsert", async () => {
          const credential = readCredential(body);
          const warnings = checkContent(credential);
          const view = viewCredential(await reader.saveCredential(credential));
          return warnings.length === 0 ? view : { ...view, warnings };
        }),
      {
        parse: JSON_BODY,
        body: CredentialBody,
        detail: docs({
          tag: TAG,
          summary: "Create or replace a credential",
          description:
            "`data` holds the fields of the type; it, or a field, may refer to where the secret is " +
            "kept: `{provider: env|file|kubernetes|vault|gcp, …}`.",
          errors: { 422: "Fields of the type are missing; all of them are named." },
        }),
      },
    )
    .post(
      "/rotate",
      async () =>
        await countWrite(metrics, "credentials_rotate", async () => {
          const { keyId, rewrapped, failed, keys } = await orchestrator.rotateSecrets();
          return { key_id: keyId, rewrapped, failed, keys };
        }),
      {
        parse: "none",
        detail: docs({
          tag: TAG,
          summary: "Wrap the data keys of all secrets with the current key",
          description:
            "Secrets themselves are not touched, servers go on meanwhile. Interrupted, it is called " +
            "again. `failed` names secrets whose key this server does not have.",
        }),
      },
    )
    .get(
      "",
      async ({ query }) => {
        const rows = await reader.listCredentials({
          ...readPage(query, { max: 1000, otherwise: 200 }),
          type: query.type,
          query: query.q,
        });
        return {
          items: rows.map(viewCredential),
          filter: { type: query.type ?? null, q: query.q ?? null },
        };
      },
      { query: ListQuery, detail: docs({ tag: TAG, summary: "List credentials" }) },
    )
    .get(
      "/:key",
      async ({ params, query }) => {
        const row = await findCredential(reader, params.key);
        return isTrue(query.include_data)
          ? { ...viewCredential(row), data: await openData(context, row) }
          : viewCredential(row);
      },
      {
        params: KeyParams,
        query: t.Object({ include_data: t.Optional(t.String()) }),
        detail: docs({
          tag: TAG,
          summary: "One credential",
          description: "`include_data=true` shows the content where the operator allows it.",
          errors: { 403: "The operator does not allow it.", ...NOT_FOUND },
        }),
      },
    )
    .delete(
      "/:key",
      async ({ params }) => {
        const { credentialId, name } = await findCredential(reader, params.key);
        await countWrite(
          metrics,
          "credentials_delete",
          async () => await reader.deleteCredential(name),
        );
        return { message: `Credential ${name} deleted`, id: credentialId };
      },
      {
        params: KeyParams,
        detail: docs({ tag: TAG, summary: "Delete a credential", errors: NOT_FOUND }),
      },
    );
}

function readCredential(body: typeof CredentialBody.static): NewCredential {
  return {
    name: body.name,
    type: body.type,
    data: readObject(body.data, "data") ?? {},
    meta: readObject(body.meta, "meta"),
    tags: body.tags ?? undefined,
    description: body.description ?? undefined,
  };
}

/** @throws AppError not_found CREDENTIAL_NOT_FOUND. */
async function findCredential(reader: ServerReader, key: string): Promise<CredentialRow> {
  const row = await reader.getCredential(key);
  if (row === undefined) {
    throw new AppError("not_found", "CREDENTIAL_NOT_FOUND", `No credential ${key}`);
  }
  return row;
}

/** Warnings. @throws AppError invalid CREDENTIAL_INVALID with all that is wrong. */
function checkContent({ name, type, data }: NewCredential): readonly string[] {
  const { errors, warnings } = checkCredential(type, data);
  if (errors.length > 0) {
    const message = `Credential ${name}: ${errors.join("; ")}`;
    const problems = errors.map((what) => ({ where: "/data", what }));
    throw new AppError("invalid", "CREDENTIAL_INVALID", message, { details: { problems } });
  }
  return warnings;
}

/** @throws AppError forbidden SECRETS_HIDDEN. */
async function openData({ reader, canReadSecrets, log }: RouteContext, row: CredentialRow) {
  if (!canReadSecrets) {
    log.warn("credential not shown", { name: row.name, type: row.type });
    throw new AppError(
      "forbidden",
      "SECRETS_HIDDEN",
      "This server does not show the content of credentials: its operator has to set NOETL_SECRET_READING=true",
    );
  }
  log.info("credential shown with its secrets", { name: row.name, type: row.type });
  return await reader.openCredential(row.name);
}

function viewCredential(row: CredentialRow) {
  return {
    id: row.credentialId,
    name: row.name,
    type: row.type,
    meta: row.meta ?? null,
    tags: row.tags ?? [],
    description: row.description ?? null,
    created_at: isoTime(row.createdAtMs),
    updated_at: isoTime(row.updatedAtMs),
  };
}
