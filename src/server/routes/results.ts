/** Values that are stored apart because they are large, or put by name. */
import { Elysia, t } from "elysia";
import { parseDuration } from "../../core/duration.ts";
import { AppError } from "../../core/errors.ts";
import type { Json } from "../../core/json.ts";
import type { NewResult } from "../../engine/result.ts";
import { JSON_TYPE, RESULT_SCOPES, toScope } from "../../engine/result.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import { answerResult, viewResultInfo } from "../result-view.ts";
import type { RouteContext } from "../route-context.ts";
import { countWrite, findExecution } from "../route-context.ts";
import { Any, PageQuery, readPage } from "../schema.ts";

const TAG = "Results";
const NOT_FOUND = { 404: "No such value, or it has expired." };
const Params = t.Object({ id: t.String({ description: "Execution id." }) });
const NamedParams = t.Object({ ...Params.properties, name: t.String() });
const RESOLVE =
  "By `ref` (`noetl://execution/…`), `uri` (`noetl://tenant/project/results/…`) or `urn` (the same with `urn:noetl:`). " +
  "Streamed, with `ETag` and `Range`. Small values of steps are found by their `uri` too.";

const Text = t.Optional(t.Nullable(t.String()));
const PutBody = t.Object({
  name: t.String(),
  data: Any,
  scope: t.Optional(t.Nullable(t.String({ description: RESULT_SCOPES.join(", ") }))),
  source_step: Text,
  ttl: t.Optional(
    t.Nullable(t.Union([t.String(), t.Number()], { description: "Seconds, or `30m`, `7d`." })),
  ),
  content_type: t.Optional(
    t.Nullable(t.String({ description: "Of other than JSON: `data` is text, or base64." })),
  ),
  encoding: t.Optional(t.Nullable(t.String({ description: "`base64`: `data` is that." }))),
});

export function resultRoutes(context: RouteContext) {
  const { reader } = context;
  return new Elysia({ prefix: "/api/result", normalize: false })
    .get(
      "/resolve",
      async ({ query, request }) =>
        await answerResult(request, await reader.openResult(readAddress(query))),
      {
        query: t.Object({ ref: Text, uri: Text, urn: Text }),
        detail: docs({
          tag: TAG,
          summary: "A stored value",
          description: RESOLVE,
          errors: NOT_FOUND,
        }),
      },
    )
    .delete(
      "/resolve",
      async ({ query }) => {
        const ref = readAddress(query);
        if (!(await countWrite(context.metrics, "result_delete", () => reader.removeResult(ref)))) {
          throw new AppError("not_found", "RESULT_NOT_FOUND", `There is no stored value ${ref}`);
        }
        return { ref, status: "deleted" };
      },
      {
        query: t.Object({ ref: Text, uri: Text, urn: Text }),
        detail: docs({ tag: TAG, summary: "Delete a stored value", errors: NOT_FOUND }),
      },
    )
    .use(executionResults(context));
}

function executionResults(context: RouteContext) {
  const { reader, metrics } = context;
  return new Elysia({ normalize: false })
    .get(
      "/:id",
      async ({ params, query }) => {
        const { executionId } = await findExecution(reader, params.id);
        const page = readPage(query, { max: 1000, otherwise: 100 });
        const name = query.name ?? undefined;
        const infos = await reader.listResults(executionId, { ...page, name });
        return { execution_id: executionId, results: infos.map(viewResultInfo), ...page };
      },
      {
        params: Params,
        query: t.Object({ ...PageQuery, name: Text }),
        detail: docs({ tag: TAG, summary: "Stored values of an execution", errors: NOT_FOUND }),
      },
    )
    .put(
      "/:id",
      async ({ params, body }) => {
        const { executionId } = await findExecution(reader, params.id);
        const { result, bytes } = readPut(body);
        const put = () => reader.putResult({ ...result, executionId }, once(bytes));
        return viewResultInfo(await countWrite(metrics, "result_put", put));
      },
      {
        params: Params,
        parse: JSON_BODY,
        body: PutBody,
        detail: docs({
          tag: TAG,
          summary: "Store a value",
          description: `JSON under \`data\`; larger or binary ones as the body of PUT /api/result/{id}/{name}.`,
          errors: { ...NOT_FOUND, 422: "Too large, or not well-formed." },
        }),
      },
    )
    .get(
      "/:id/:name",
      async ({ params, request }) => {
        const { executionId } = await findExecution(reader, params.id);
        return await answerResult(request, await reader.openNamedResult(executionId, params.name));
      },
      {
        params: NamedParams,
        detail: docs({ tag: TAG, summary: "The newest value of a name", errors: NOT_FOUND }),
      },
    )
    .put(
      "/:id/:name",
      async ({ params, query, request }) => {
        const { executionId } = await findExecution(reader, params.id);
        const contentType = request.headers.get("content-type") ?? "application/octet-stream";
        const result = { executionId, name: params.name, contentType, ...readKeep(query) };
        const put = () => reader.putResult(result, bodyOf(request));
        return viewResultInfo(await countWrite(metrics, "result_put", put));
      },
      {
        params: NamedParams,
        query: t.Object({ scope: Text, ttl: Text, source_step: Text }),
        // The body is read as it comes.
        parse: "none",
        detail: docs({
          tag: TAG,
          summary: "Store the body of the request",
          description: "Of any content type; streamed, never held as a whole.",
          errors: { ...NOT_FOUND, 422: "Too large." },
        }),
      },
    );
}

interface Keep {
  readonly scope?: string | null | undefined;
  readonly ttl?: string | number | null | undefined;
  readonly source_step?: string | null | undefined;
}

/** @throws AppError invalid REQUEST_INVALID. */
function readKeep({ scope, ttl, source_step }: Keep): Pick<NewResult, "scope" | "ttlMs" | "step"> {
  const known = toScope(scope);
  if (known === undefined && typeof scope === "string") {
    throw invalid(`scope is "${scope}": it must be one of ${RESULT_SCOPES.join(", ")}`);
  }
  const ttlMs = ttl === undefined || ttl === null ? undefined : parseDuration(ttl);
  if (ttl !== undefined && ttl !== null && (ttlMs === undefined || ttlMs <= 0)) {
    throw invalid(`ttl is ${JSON.stringify(ttl)}: it must be seconds or a text such as 30m or 7d`);
  }
  return { scope: known, ttlMs, step: source_step ?? undefined };
}

function readPut(body: typeof PutBody.static): {
  readonly result: Omit<NewResult, "executionId">;
  readonly bytes: Uint8Array;
} {
  const { name, data, content_type, encoding } = body;
  const contentType =
    content_type ?? (encoding === "base64" ? "application/octet-stream" : JSON_TYPE);
  return {
    result: { name, contentType, ...readKeep(body) },
    bytes: bytesOf(data ?? null, contentType, encoding === "base64"),
  };
}

function bytesOf(data: Json, contentType: string, isBase64: boolean): Uint8Array {
  if (isBase64) {
    return fromBase64(data);
  }
  const isText = contentType !== JSON_TYPE && typeof data === "string";
  return new TextEncoder().encode(isText ? data : JSON.stringify(data));
}

function fromBase64(data: Json): Uint8Array {
  try {
    return Uint8Array.fromBase64(String(data));
  } catch (error) {
    throw invalid("data is no base64", error);
  }
}

function readAddress(query: {
  readonly ref?: string | null | undefined;
  readonly uri?: string | null | undefined;
  readonly urn?: string | null | undefined;
}): string {
  const address = query.ref ?? query.uri ?? query.urn;
  if (address === undefined || address === null || address === "") {
    throw new AppError("invalid", "REF_MISSING", "Say which value: ?ref=, ?uri= or ?urn=");
  }
  return address;
}

function invalid(message: string, cause?: unknown): AppError {
  return new AppError("invalid", "REQUEST_INVALID", message, { cause });
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}

async function* bodyOf({ body }: Request): AsyncGenerator<Uint8Array> {
  if (body !== null) {
    yield* body;
  }
}
