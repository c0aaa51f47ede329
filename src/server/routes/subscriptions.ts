/** Subscriptions: messages and hooks that start playbooks. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import type { SubscriptionRow } from "../../store/subscription.ts";
import type { DispatchRow } from "../../store/subscription-dispatch.ts";
import type { SubscriptionAction } from "../../triggers/subscription-book.ts";
import { SUBSCRIPTION_ACTIONS } from "../../triggers/subscription-book.ts";
import type { Triggers } from "../../triggers/triggers.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import { isoTime } from "../event-view.ts";
import type { RouteContext } from "../route-context.ts";
import { countWrite } from "../route-context.ts";
import { Any, PageQuery, readObject, readPage } from "../schema.ts";

const TAG = "Subscriptions";
const NOT_FOUND = { 404: "No such subscription." };
const STATUSES = ["accepted", "started", "dead"] as const;

const Params = t.Object({ key: t.String({ description: "Id, or path with `%2F` for `/`." }) });
const LetterParams = t.Object({ key: t.String(), id: t.String({ description: "Dispatch id." }) });

const RegisterBody = t.Object(
  {
    path: t.Optional(t.Nullable(t.String({ description: "Of a document in the catalog." }))),
    content: t.Optional(t.Nullable(t.String({ description: "The document, YAML." }))),
    metadata: t.Optional(Any),
    spec: t.Optional(Any),
  },
  { additionalProperties: true },
);

type SubscriptionContext = RouteContext & { readonly triggers: Triggers };

export function subscriptionRoutes(context: SubscriptionContext) {
  const { triggers, reader, metrics } = context;
  const register = async (body: typeof RegisterBody.static): Promise<JsonObject> =>
    await countWrite(metrics, "subscriptions_register", async () => {
      const content = await readContent(context, body);
      const { path } = await triggers.register({ content, isStrict: false });
      return view(await triggers.subscriptions.get(path));
    });
  const registerDocs = docs({
    tag: TAG,
    summary: "Register a subscription",
    description:
      "By the `path` of a document in the catalog, by `content`, or by `metadata` and `spec` as " +
      "JSON. A new one is active unless `spec.enabled` is false.",
    errors: { 404: "No such document.", 422: "The document is not valid." },
  });
  return new Elysia({ prefix: "/api/subscriptions", normalize: false })
    .get(
      "",
      async ({ query }) => {
        const page = readPage(query, { max: 1000, otherwise: 200 });
        return { subscriptions: (await triggers.subscriptions.list(page)).map(view) };
      },
      { query: t.Object(PageQuery), detail: docs({ tag: TAG, summary: "List subscriptions" }) },
    )
    .post("", async ({ body }) => await register(body), {
      parse: JSON_BODY,
      body: RegisterBody,
      detail: registerDocs,
    })
    .post("/register", async ({ body }) => await register(body), {
      parse: JSON_BODY,
      body: RegisterBody,
      detail: registerDocs,
    })
    .get(
      "/:key",
      async ({ params }) => {
        const row = await triggers.subscriptions.get(params.key);
        const entry = await reader.getCatalog({ catalogId: row.catalogId });
        return { ...view(row), version: entry?.version ?? null, content: entry?.content ?? null };
      },
      {
        params: Params,
        detail: docs({ tag: TAG, summary: "One subscription", errors: NOT_FOUND }),
      },
    )
    .delete(
      "/:key",
      async ({ params }) =>
        await countWrite(metrics, "subscriptions_delete", async () => {
          await triggers.subscriptions.remove(params.key);
          return { message: `Subscription ${params.key} deleted` };
        }),
      {
        params: Params,
        detail: docs({
          tag: TAG,
          summary: "Delete a subscription with its dead letters",
          description: "Its durable consumer stays at NATS, the document in the catalog.",
          errors: NOT_FOUND,
        }),
      },
    )
    .use(deadLetterRoutes(context))
    .post(
      "/:key/:action",
      async ({ params }) =>
        await countWrite(metrics, "subscriptions_act", async () =>
          view(await triggers.subscriptions.act(params.key, readAction(params.action))),
        ),
      {
        parse: "none",
        params: t.Object({
          key: t.String(),
          action: t.String({ description: SUBSCRIPTION_ACTIONS.join(", ") }),
        }),
        detail: docs({
          tag: TAG,
          summary: "Start or stop a subscription",
          description:
            "`pause` and `deactivate` stop taking messages; what was accepted is dispatched all the " +
            "same. `drain` does so and ends `inactive`.",
          errors: { ...NOT_FOUND, 409: "Its state does not allow it." },
        }),
      },
    );
}

function deadLetterRoutes({ triggers: { subscriptions }, metrics }: SubscriptionContext) {
  return new Elysia({ normalize: false })
    .get(
      "/:key/dispatches",
      async ({ params, query }) => {
        const status = STATUSES.find((one) => one === query.status);
        const page = { ...readPage(query, { max: 1000, otherwise: 50 }), status };
        return { dispatches: (await subscriptions.dispatches(params.key, page)).map(viewDispatch) };
      },
      {
        params: Params,
        query: t.Object({ status: t.Optional(t.String()), ...PageQuery }),
        detail: docs({
          tag: TAG,
          summary: "What became of its messages",
          description: "Newest first: `accepted`, `started` or `dead`.",
          errors: NOT_FOUND,
        }),
      },
    )
    .get(
      "/:key/dead-letters",
      async ({ params, query }) => {
        const page = { ...readPage(query, { max: 1000, otherwise: 50 }), status: "dead" as const };
        const rows = await subscriptions.dispatches(params.key, page);
        return { dead_letters: rows.map(viewDispatch) };
      },
      {
        params: Params,
        query: t.Object(PageQuery),
        detail: docs({ tag: TAG, summary: "Dead letters with their messages", errors: NOT_FOUND }),
      },
    )
    .post(
      "/:key/dead-letters/replay",
      async ({ params }) =>
        await countWrite(metrics, "dead_letters_replay", async () => ({
          replayed: await subscriptions.replay(params.key, undefined),
        })),
      {
        parse: "none",
        params: Params,
        detail: docs({ tag: TAG, summary: "Dispatch all dead letters again", errors: NOT_FOUND }),
      },
    )
    .post(
      "/:key/dead-letters/:id/replay",
      async ({ params }) =>
        await countWrite(metrics, "dead_letters_replay", async () => ({
          replayed: found(await subscriptions.replay(params.key, params.id), params.id),
        })),
      {
        parse: "none",
        params: LetterParams,
        detail: docs({ tag: TAG, summary: "Dispatch a dead letter again", errors: NOT_FOUND }),
      },
    )
    .delete(
      "/:key/dead-letters/:id",
      async ({ params }) =>
        await countWrite(metrics, "dead_letters_delete", async () => ({
          deleted: found(await subscriptions.discard(params.key, params.id), params.id),
        })),
      {
        params: LetterParams,
        detail: docs({ tag: TAG, summary: "Delete a dead letter", errors: NOT_FOUND }),
      },
    );
}

/** @throws AppError not_found CATALOG_ENTRY_NOT_FOUND, invalid REQUEST_INVALID. */
async function readContent(
  { reader }: SubscriptionContext,
  body: typeof RegisterBody.static,
): Promise<string> {
  if (typeof body.content === "string") {
    return body.content;
  }
  const spec = readObject(body.spec, "spec");
  if (spec !== undefined) {
    const metadata: Json = readObject(body.metadata, "metadata") ?? { path: body.path ?? null };
    return JSON.stringify({ apiVersion: "noetl.io/v1", kind: "Subscription", metadata, spec });
  }
  const entry = body.path ? await reader.getCatalog({ path: body.path }) : undefined;
  if (entry?.kind !== "subscription") {
    const message = `There is no subscription at ${body.path ?? "(no path given)"} in the catalog`;
    throw new AppError("not_found", "CATALOG_ENTRY_NOT_FOUND", message);
  }
  return entry.content;
}

function readAction(text: string): SubscriptionAction {
  const action = SUBSCRIPTION_ACTIONS.find((name) => name === text);
  if (action === undefined) {
    const message = `There is no action ${text}: ${SUBSCRIPTION_ACTIONS.join(", ")}`;
    throw new AppError("not_found", "ACTION_UNKNOWN", message);
  }
  return action;
}

function found(count: number, id: string): number {
  if (count === 0) {
    throw new AppError("not_found", "DEAD_LETTER_NOT_FOUND", `There is no dead letter ${id}`);
  }
  return count;
}

function view({ spec, ...row }: SubscriptionRow): JsonObject {
  const { source, dispatch } = spec;
  return {
    subscription_id: row.subscriptionId,
    path: row.path,
    catalog_id: row.catalogId,
    state: row.state,
    source: source.kind,
    subject: source.kind === "nats" ? source.subject : null,
    hook: source.kind === "webhook" ? `/hooks/${source.path}` : null,
    playbook: dispatch.playbook,
    holder: row.holder === "" ? null : row.holder,
    circuit: row.circuit,
    problem: row.problem,
    last_event_type: row.lastEventType,
    created_at: isoTime(row.createdAtMs),
    updated_at: isoTime(row.updatedAtMs),
  };
}

function viewDispatch(row: DispatchRow): JsonObject {
  return {
    dispatch_id: row.dispatchId,
    status: row.status,
    message_count: row.messageCount,
    attempts: row.attempts,
    execution_id: row.executionId,
    execution_status: row.executionStatus?.toUpperCase() ?? null,
    error: row.error,
    messages: row.messages,
    created_at: isoTime(row.createdAtMs),
    acted_at: row.actedAtMs === null ? null : isoTime(row.actedAtMs),
  };
}
