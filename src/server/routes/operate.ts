/** Operating executions: signals to those that wait, retries and reruns of those that have ended. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import type { ExecutionId } from "../../core/ids.ts";
import type { Json } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { Signal } from "../../engine/decision.ts";
import { JSON_BODY, OPTIONAL_JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import type { RouteContext } from "../route-context.ts";
import { findExecution } from "../route-context.ts";
import { Any, ExecutionParams, isTrue, readId, readObject } from "../schema.ts";

const TAG = "Executions";
const NOT_FOUND = { 404: "No such execution." };

const SignalAnswer = t.Object({
  execution_id: t.String(),
  signal: t.String(),
  status: t.Union([t.Literal("delivered"), t.Literal("kept"), t.Literal("duplicate")]),
  waits: t.Number({ description: "Waiting steps or items that it has ended." }),
});

const SignalQuery = t.Object({
  dedup_key: t.Optional(t.String()),
  broadcast: t.Optional(t.String()),
  sender: t.Optional(t.String()),
});

const Dedup = t.Optional(t.Nullable(t.Object({ key: t.String({ minLength: 1, maxLength: 512 }) })));

const RetryBody = t.Object(
  {
    new_execution: t.Optional(t.Nullable(t.Boolean())),
    steps: t.Optional(t.Nullable(t.Array(t.String(), { maxItems: 1000 }))),
    reason: t.Optional(t.Nullable(t.String({ maxLength: 2000 }))),
    dedup: Dedup,
  },
  { additionalProperties: true },
);

const RetryAnswer = t.Object({
  execution_id: t.String({ description: "The one that goes on." }),
  retried_execution_id: t.String(),
  status: t.String(),
});

const RerunBody = t.Object(
  {
    payload: t.Optional(Any),
    workload: t.Optional(Any),
    dedup: Dedup,
  },
  { additionalProperties: true },
);

export function operateRoutes(context: RouteContext) {
  return new Elysia({ normalize: false }).use(signalRoute(context)).use(againRoutes(context));
}

function signalRoute({ orchestrator }: RouteContext) {
  return new Elysia({ normalize: false }).post(
    "/:id/signals/:name",
    async ({ params, query, body, headers }) => {
      const id = readId<ExecutionId>(params.id, "execution id");
      const signal = readSignal(params.name, body, query, headers["idempotency-key"]);
      const { status, waitCount } = await orchestrator.signal(id, signal);
      return { execution_id: id, signal: signal.name, status, waits: waitCount };
    },
    {
      params: t.Object({ id: t.String(), name: t.String({ description: "Name of the signal." }) }),
      query: SignalQuery,
      parse: OPTIONAL_JSON_BODY,
      detail: docs({
        tag: TAG,
        summary: "Send a signal",
        description:
          "Ends the oldest `kind: wait` task that waits for this name; with `broadcast` all that do. " +
          "One that comes before its wait is kept for it. The body is the payload, any JSON or none; " +
          "an object with `payload` and no other keys than `payload`, `dedup_key`, `broadcast` and " +
          "`sender` is read as such. The same `Idempotency-Key` header or `dedup_key` counts once.",
        answer: SignalAnswer,
        errors: {
          ...NOT_FOUND,
          409: "The execution has ended or is ending, or keeps too many signals.",
          422: "The name or the payload is not valid.",
        },
      }),
    },
  );
}

function againRoutes({ orchestrator, reader, metrics }: RouteContext) {
  return new Elysia({ normalize: false })
    .post(
      "/:id/retry",
      async ({ params, body, headers }) => {
        const id = readId<ExecutionId>(params.id, "execution id");
        const key = body.dedup?.key ?? headers["idempotency-key"];
        const { executionId, originId, status } = await orchestrator.retry(id, {
          isNew: body.new_execution ?? false,
          ...(key ? { dedup: { key } } : {}),
          ...(body.steps ? { steps: body.steps } : {}),
          ...(body.reason ? { reason: body.reason } : {}),
        });
        return {
          execution_id: executionId,
          retried_execution_id: originId,
          status: status.toUpperCase(),
        };
      },
      {
        params: ExecutionParams,
        parse: JSON_BODY,
        body: RetryBody,
        detail: docs({
          tag: TAG,
          summary: "Continue a failed or cancelled execution",
          description:
            "From the steps that failed or were cut off; what went well is kept, also items of loops. " +
            "`steps` retries only these. `new_execution` continues in a copy that is linked to the " +
            "first, once for the same `dedup.key` or `Idempotency-Key` header. A sub-playbook that " +
            "failed is started anew; a parent that has learned of the failure is not told again.",
          answer: RetryAnswer,
          errors: {
            ...NOT_FOUND,
            409: "It runs, has completed, or ended before its first step.",
            422: "A named step neither failed nor was cut off.",
          },
        }),
      },
    )
    .post(
      "/:id/rerun",
      async ({ params, body, headers }) => {
        const { executionId: id } = await findExecution(reader, params.id);
        const key = body.dedup?.key ?? headers["idempotency-key"];
        const started = await orchestrator.rerun(id, {
          payload:
            readObject(body.payload, "payload") ?? readObject(body.workload, "workload") ?? {},
          ...(key ? { dedup: { key } } : {}),
        });
        metrics.executeOutcomes.inc("rerun", started.status === "duplicate" ? "duplicate" : "new");
        return {
          execution_id: started.executionId,
          rerun_of: id,
          status: started.status,
        };
      },
      {
        params: ExecutionParams,
        parse: JSON_BODY,
        body: RerunBody,
        detail: docs({
          tag: TAG,
          summary: "Start over",
          description:
            "A new execution of the same playbook version with the same payload, linked to the first. " +
            "`payload` is merged over that of the first.",
          errors: NOT_FOUND,
        }),
      },
    );
}

const SIGNAL_KEYS: ReadonlySet<string> = new Set(["payload", "dedup_key", "broadcast", "sender"]);

/** @throws AppError invalid REQUEST_INVALID. */
function readSignal(
  name: string,
  body: unknown,
  query: typeof SignalQuery.static,
  header: string | undefined,
): Signal {
  const json = unwrap(body);
  const isTaken =
    isJsonObject(json) &&
    Object.hasOwn(json, "payload") &&
    Object.keys(json).every((key) => SIGNAL_KEYS.has(key));
  const fields = isTaken ? json : {};
  const dedupKey = readText(fields["dedup_key"], "dedup_key") ?? query.dedup_key ?? header;
  const sender = readText(fields["sender"], "sender") ?? query.sender;
  const isBroadcast = fields["broadcast"] === true || isTrue(query.broadcast);
  return {
    name,
    payload: isTaken ? (json["payload"] ?? null) : json,
    ...(dedupKey ? { dedupKey } : {}),
    ...(sender ? { sender } : {}),
    ...(isBroadcast ? { isBroadcast } : {}),
  };
}

/** See {@link OPTIONAL_JSON_BODY}. */
function unwrap(body: unknown): Json {
  return isJsonObject(body) ? (body["value"] ?? null) : null;
}

function readText(value: Json | undefined, name: string): string | undefined {
  if (value === undefined || value === null || typeof value === "string") {
    return value ?? undefined;
  }
  throw new AppError("invalid", "REQUEST_INVALID", `${name} must be a text`);
}
