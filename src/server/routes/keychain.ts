/**
 * Values that are kept for playbooks' keychains: tokens that were fetched, and values that somebody
 * sets, which stand in for an alias that the playbook does not explain. Shown without their content
 * unless the operator allows it.
 */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import type { CatalogId, ExecutionId } from "../../core/ids.ts";
import type { KeychainKey, KeychainRow } from "../backend.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import { isoTime } from "../event-view.ts";
import type { RouteContext } from "../route-context.ts";
import { countWrite } from "../route-context.ts";
import { Any, readId, readObject, readOptionalId } from "../schema.ts";

const TAG = "Keychain";
const SCOPES = ["local", "global", "shared"] as const;

const Params = t.Object({
  id: t.String({ description: "Catalog id of the playbook." }),
  name: t.String({ description: "Alias: `keychain.<name>` in tasks." }),
});

const PlaceQuery = t.Object({
  execution_id: t.Optional(t.String({ description: "Of scope local." })),
  scope_type: t.Optional(t.String({ description: "`local`, `global` (default) or `shared`." })),
  include_data: t.Optional(t.String()),
});

const ValueBody = t.Object(
  {
    data: Any,
    scope_type: t.Optional(t.Nullable(t.String())),
    execution_id: t.Optional(t.Nullable(t.Union([t.String(), t.Number()]))),
    expires_at: t.Optional(t.Nullable(t.String())),
    expires_in: t.Optional(t.Nullable(t.Number({ description: "Seconds." }))),
    auto_renew: t.Optional(t.Nullable(t.Boolean())),
    renew_config: t.Optional(Any),
  },
  { additionalProperties: true },
);

export function keychainRoutes({ reader, metrics, log, canReadSecrets }: RouteContext) {
  return new Elysia({ prefix: "/api/keychain", normalize: false })
    .get(
      "/catalog/:id",
      async ({ params }) => {
        const catalogId = readId<CatalogId>(params.id, "catalog id");
        const rows = await reader.listKeychain(catalogId);
        return { catalog_id: catalogId, entries: rows.map(viewRow) };
      },
      {
        params: t.Object({ id: t.String() }),
        detail: docs({ tag: TAG, summary: "Kept values of one playbook, without content" }),
      },
    )
    .get(
      "/:id/:name",
      async ({ params, query }) => {
        const place = readPlace(params, query.scope_type, query.execution_id);
        const row = await reader.getKeychain(place);
        if (row === undefined || row.isExpired) {
          return { status: row === undefined ? "not_found" : "expired", name: place.name };
        }
        const answer = { status: "found", ...viewRow(row) };
        if (!canReadSecrets) {
          return answer;
        }
        log.info("keychain value shown", { name: place.name, cache_key: row.cacheKey });
        return { ...answer, data: (await reader.openKeychain(place)) ?? null };
      },
      {
        params: Params,
        query: PlaceQuery,
        detail: docs({
          tag: TAG,
          summary: "One kept value",
          description:
            "`status` is found, not_found or expired. `data` is there where the operator allows it.",
        }),
      },
    )
    .post(
      "/:id/:name",
      async ({ params, body }) =>
        await countWrite(metrics, "keychain_set", async () => {
          const place = readPlace(params, body.scope_type, body.execution_id);
          const row = await reader.saveKeychain({
            ...place,
            data: readObject(body.data, "data") ?? {},
            lifetimeMs: readLifetime(body),
          });
          return { ...viewRow(row), status: "success" };
        }),
      {
        params: Params,
        parse: JSON_BODY,
        body: ValueBody,
        detail: docs({ tag: TAG, summary: "Set a value for an alias" }),
      },
    )
    .delete(
      "/:id/:name",
      async ({ params, query }) => {
        const place = readPlace(params, query.scope_type, query.execution_id);
        const isThere = await countWrite(
          metrics,
          "keychain_delete",
          async () => await reader.deleteKeychain(place),
        );
        if (!isThere) {
          throw new AppError("not_found", "KEYCHAIN_NOT_FOUND", `No value for ${place.name}`);
        }
        return { status: "deleted", message: `Keychain value ${place.name} deleted` };
      },
      {
        params: Params,
        query: PlaceQuery,
        detail: docs({ tag: TAG, summary: "Forget a value", errors: { 404: "None." } }),
      },
    );
}

/** Without a scope: the execution's if one is named, else the playbook's. */
function readPlace(
  { id, name }: { readonly id: string; readonly name: string },
  scopeType: string | null | undefined,
  execution: unknown,
): KeychainKey {
  const catalogId = readId<CatalogId>(id, "catalog id");
  const executionId = readOptionalId<ExecutionId>(execution, "execution_id");
  const given = scopeType ?? (executionId === undefined ? "global" : "local");
  const scope = SCOPES.find((one) => one === (given === "catalog" ? "global" : given));
  if (scope === undefined) {
    throw invalid("scope_type", `must be one of ${SCOPES.join(", ")}`);
  }
  if (scope === "local" && executionId === undefined) {
    throw invalid("execution_id", "is needed for scope local");
  }
  return { catalogId, name, scope, executionId };
}

function readLifetime(body: typeof ValueBody.static): number | undefined {
  if (typeof body.expires_in === "number") {
    return Math.max(0, body.expires_in * 1000);
  }
  if (body.expires_at === undefined || body.expires_at === null) {
    return undefined;
  }
  const untilMs = Date.parse(body.expires_at);
  if (Number.isNaN(untilMs)) {
    throw invalid("expires_at", "must be a time such as 2027-01-31T12:00:00Z");
  }
  return Math.max(0, untilMs - Date.now());
}

function invalid(field: string, what: string): AppError {
  return new AppError("invalid", "REQUEST_INVALID", `${field} ${what}`, {
    details: { problems: [{ where: `/${field}`, what }] },
  });
}

function viewRow(row: KeychainRow) {
  return {
    cache_key: row.cacheKey,
    keychain_name: row.name,
    scope_type: row.scope,
    execution_id: row.executionId,
    expires_at: row.expiresAtMs === null ? null : isoTime(row.expiresAtMs),
    auto_renew: row.autoRenew,
    access_count: row.accessCount,
    accessed_at: isoTime(row.usedAtMs),
    created_at: isoTime(row.createdAtMs),
    updated_at: isoTime(row.updatedAtMs),
  };
}
