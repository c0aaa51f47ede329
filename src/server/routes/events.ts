/**
 * Reports from outside: something other than one of our workers says how a command ended. The event
 * names the command (`meta.command_id`) or the step, if only one command of it is open. There must
 * be an open command; an event that nothing waits for is refused, not stored.
 */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import type { ExecutionId, WorkerId } from "../../core/ids.ts";
import type { Json } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { CommandOutcome } from "../../engine/command.ts";
import type { Failure } from "../../engine/failure.ts";
import { FAILURE_KINDS, failure } from "../../engine/failure.ts";
import type { OpenCommand } from "../backend.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import { canonicalEventName } from "../event-name.ts";
import type { RouteContext } from "../route-context.ts";
import { findExecution } from "../route-context.ts";
import { Any, Id } from "../schema.ts";

const BATCH_MAX = 1000;

const EventFields = {
  step: t.Optional(t.Nullable(t.String())),
  event_type: t.Optional(t.Nullable(t.String())),
  name: t.Optional(t.Nullable(t.String())),
  payload: t.Optional(Any),
  context: t.Optional(Any),
  error: t.Optional(Any),
  meta: t.Optional(Any),
};
const EventBody = t.Object(
  { execution_id: Id, worker_id: t.Optional(t.Nullable(t.String())), ...EventFields },
  { additionalProperties: true },
);
const BatchBody = t.Object(
  {
    execution_id: Id,
    worker_id: t.Optional(t.Nullable(t.String())),
    events: t.Array(t.Object(EventFields, { additionalProperties: true }), { maxItems: BATCH_MAX }),
  },
  { additionalProperties: true },
);
type OutsideEvent = Omit<typeof EventBody.static, "execution_id">;

const DETAIL = {
  tag: "Events",
  description:
    "`call.done` or `command.completed` with the value in `payload.result` (or `payload` itself); " +
    "`call.error` or `command.failed` with `payload.error`. The command is `meta.command_id`, or the " +
    "only open one of `step`.",
  errors: { 404: "No such execution.", 409: "No such open command.", 422: "Not such an event." },
};

export function eventRoutes(context: RouteContext) {
  return new Elysia({ prefix: "/api/events", normalize: false })
    .post(
      "",
      async ({ body }) => {
        await reportOutside(context, String(body.execution_id), body);
        return { status: "ok", event_id: null, commands_generated: 0 };
      },
      {
        parse: JSON_BODY,
        body: EventBody,
        detail: docs({ ...DETAIL, summary: "Report how a command ended" }),
      },
    )
    .post(
      "/batch",
      async ({ body }) => {
        const worker = { worker_id: body.worker_id ?? null };
        for (const event of body.events) {
          await reportOutside(context, String(body.execution_id), { ...worker, ...event });
        }
        return { status: "ok", event_ids: body.events.map(() => null), commands_generated: 0 };
      },
      {
        parse: JSON_BODY,
        body: BatchBody,
        detail: docs({ ...DETAIL, summary: "Report several, in order" }),
      },
    );
}

async function reportOutside(
  { orchestrator, reader, metrics }: RouteContext,
  id: string,
  event: OutsideEvent,
): Promise<void> {
  const name = canonicalEventName(event.event_type ?? event.name ?? "");
  const outcome = readOutcome(name, event);
  const { executionId } = await findExecution(reader, id);
  const command = findCommand(await reader.listOpenCommands(executionId), executionId, event);
  const report = {
    executionId,
    commandId: command.commandId,
    attempt: command.attempt,
    workerId: (event.worker_id ?? "external") as WorkerId,
    startedAtMs: Date.now(),
    outcome,
  };
  const [answer] = await orchestrator.report([report]);
  if (answer !== "accepted") {
    metrics.eventsIngested.inc(name, "error");
    throw notOpen(executionId, `Command ${command.commandId} ended in the meantime`);
  }
}

/** @throws AppError invalid EVENT_TYPE_UNSUPPORTED. */
function readOutcome(name: string, event: OutsideEvent): CommandOutcome {
  const payload = event.payload ?? event.context ?? null;
  const fields = isJsonObject(payload) ? payload : {};
  switch (name) {
    case "call.done":
    case "command.completed":
      return { status: "ok", value: fields["result"] ?? fields["data"] ?? payload, ctx: {} };
    case "call.error":
    case "command.failed":
      return {
        status: "error",
        error: readFailure(event.error ?? fields["error"] ?? null),
        value: fields["result"] ?? null,
        ctx: {},
      };
    default:
      throw new AppError(
        "invalid",
        "EVENT_TYPE_UNSUPPORTED",
        `Cannot take an event ${name || "without a type"} from outside: only call.done, call.error, ` +
          "command.completed and command.failed",
      );
  }
}

function readFailure(error: Json): Failure {
  if (!isJsonObject(error)) {
    return failure("client_error", typeof error === "string" ? error : "reported as failed");
  }
  const kind = FAILURE_KINDS.find((each) => each === error["kind"]) ?? "client_error";
  const code = typeof error["code"] === "string" ? { code: error["code"] } : {};
  const message = error["message"];
  return failure(kind, typeof message === "string" ? message : JSON.stringify(error), code);
}

/** @throws AppError conflict COMMAND_NOT_OPEN, COMMAND_AMBIGUOUS. */
function findCommand(
  open: readonly OpenCommand[],
  executionId: ExecutionId,
  { step, meta }: OutsideEvent,
): OpenCommand {
  const wanted = isJsonObject(meta) ? meta["command_id"] : undefined;
  const commandId = wanted === undefined || wanted === null ? undefined : String(wanted);
  const found = open.filter((each) =>
    commandId === undefined ? each.step === step : each.commandId === commandId,
  );
  const [first, second] = found;
  if (first === undefined) {
    throw notOpen(
      executionId,
      commandId === undefined
        ? `No open command of step ${step ?? "(none given)"}`
        : `No open command ${commandId}`,
    );
  }
  if (second !== undefined) {
    throw new AppError(
      "conflict",
      "COMMAND_AMBIGUOUS",
      `Step ${step} has ${found.length} open commands: name one in meta.command_id`,
      {
        details: { command_ids: found.map((each) => each.commandId) },
      },
    );
  }
  return first;
}

function notOpen(executionId: ExecutionId, message: string): AppError {
  return new AppError("conflict", "COMMAND_NOT_OPEN", `${message} in execution ${executionId}`);
}
