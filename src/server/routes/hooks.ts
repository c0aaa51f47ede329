/** Hooks: requests from outside that start playbooks. Each verifies its callers by itself. */
import { Elysia, t } from "elysia";
import type { ExecutionId } from "../../core/ids.ts";
import type { Triggers } from "../../triggers/triggers.ts";
import type { HookAnswer } from "../../triggers/webhook.ts";
import { docs } from "../docs.ts";
import { isTerminal, viewExecutionDetail } from "../execution-view.ts";
import type { RouteContext } from "../route-context.ts";
import { findExecution } from "../route-context.ts";

type HookContext = RouteContext & { readonly triggers: Triggers };

export function hookRoutes(context: HookContext) {
  return new Elysia({ normalize: false }).post(
    "/hooks/*",
    async ({ params, request }) => {
      const answer = await context.triggers.receiveHook({
        path: params["*"],
        headers: Object.fromEntries(request.headers),
        query: Object.fromEntries(new URL(request.url).searchParams),
        readBody: async (bytesMax) => await readBytes(request, bytesMax),
      });
      return await respond(context, answer, request.signal);
    },
    {
      parse: "none",
      query: t.Object(
        {
          wait: t.Optional(
            t.String({ description: "Answer with the result, if it comes so soon." }),
          ),
        },
        { additionalProperties: true },
      ),
      detail: docs({
        tag: "Hooks",
        summary: "Call a hook",
        description:
          "202 with `execution_id` once the execution is durable; `duplicate` if its key was seen, " +
          "`filtered` if it starts nothing. `?wait=30s` answers 200 with the result if the execution " +
          "ends in time. Needs no token of the API: the subscription says how callers are verified.",
        errors: {
          401: "The call is not verified.",
          404: "No such hook.",
          413: "The body is too large.",
          422: "It cannot be dispatched; it is a dead letter now.",
          429: "Too many calls; see Retry-After.",
          503: "The hook is paused, or the platform not ready: call again.",
        },
      }),
    },
  );
}

/** The body as it came; undefined when it has more bytes. */
async function readBytes(request: Request, bytesMax: number): Promise<Uint8Array | undefined> {
  if (Number(request.headers.get("content-length") ?? 0) > bytesMax) {
    return undefined;
  }
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request.body ?? []) {
    length += chunk.byteLength;
    if (length > bytesMax) {
      return undefined;
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function respond(
  context: HookContext,
  answer: HookAnswer,
  caller: AbortSignal,
): Promise<Response> {
  if (answer.status === "filtered") {
    return Response.json({ status: "filtered" }, { status: 202 });
  }
  const { executionId, status, waitMs } = answer;
  const ended = waitMs > 0 ? await awaitEnd(context, executionId, waitMs, caller) : undefined;
  return ended === undefined
    ? Response.json({ execution_id: executionId, status }, { status: 202 })
    : Response.json(ended, { status: 200 });
}

/** Undefined if it has not ended by then. */
async function awaitEnd(
  { orchestrator, reader, closing }: HookContext,
  executionId: ExecutionId,
  waitMs: number,
  caller: AbortSignal,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const signal = AbortSignal.any([AbortSignal.timeout(waitMs), closing, caller]);
  for await (const _event of orchestrator.watch(executionId, { afterSeq: 0, signal })) {
    // The last one ends the loop.
  }
  const row = await findExecution(reader, executionId);
  if (!isTerminal(row.status)) {
    return undefined;
  }
  const { status, result, error } = viewExecutionDetail(row, {});
  return { execution_id: executionId, status, result, error };
}
