/** Credentials: sealed at rest, shown without their content. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
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

export function credentialRoutes({ reader, metrics, canReadSecrets }: RouteContext) {
  return new Elysia({ prefix: "/api/credentials", normalize: false })
    .post(
      "",
      async ({ body }) =>
        await countWrite(metrics, "credentials_upsert", async () =>
          viewCredential(await reader.saveCredential(readCredential(body))),
        ),
      {
        parse: JSON_BODY,
        body: CredentialBody,
        detail: docs({ tag: TAG, summary: "Create or replace a credential" }),
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
          ? { ...viewCredential(row), data: await openData(reader, row, canReadSecrets) }
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

/** @throws AppError forbidden SECRETS_HIDDEN. */
async function openData(reader: ServerReader, row: CredentialRow, canReadSecrets: boolean) {
  if (!canReadSecrets) {
    throw new AppError(
      "forbidden",
      "SECRETS_HIDDEN",
      "This server does not show the content of credentials",
    );
  }
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
