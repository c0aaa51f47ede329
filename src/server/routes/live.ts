/** Executions live: events and log lines by server-sent events, and kept log lines. */
import { Elysia, t } from "elysia";
import { sleep } from "../../core/clock.ts";
import type { ExecutionId } from "../../core/ids.ts";
import type { LogLine } from "../../engine/command.ts";
import type { LogQuery } from "../backend.ts";
import { inBatches } from "../batches.ts";
import { docs } from "../docs.ts";
import { digestEvents } from "../event-digest.ts";
import { isoTime, seqOfEventId, viewEvent } from "../event-view.ts";
import { isTerminal } from "../execution-view.ts";
import type { RouteContext } from "../route-context.ts";
import { findExecution } from "../route-context.ts";
import { clamp, ExecutionParams, isTrue } from "../schema.ts";
import type { SseMessage } from "../sse.ts";
import { streamEvents } from "../sse.ts";

/** Log lines travel beside the events: the last ones may come this much later than the end. */
const LOG_TAIL_MS = 500;
const TAG = "Live";

export function liveRoutes(context: RouteContext) {
  const { reader, closing, heartbeatMs } = context;
  const options = { signal: closing, heartbeatMs };
  return new Elysia({ prefix: "/api/executions", normalize: false })
    .get(
      "/:id/events/stream",
      async ({ params, query, request }) => {
        const { executionId } = await findExecution(reader, params.id);
        const afterSeq = seqOfEventId(request.headers.get("last-event-id") ?? query.after_seq);
        const follow = isTrue(query.digest) ? followDigest : followEvents;
        return streamEvents(
          (signal) => follow(context, executionId, { afterSeq, signal }),
          options,
        );
      },
      {
        params: ExecutionParams,
        query: t.Object({
          after_seq: t.Optional(t.String()),
          digest: t.Optional(t.String({ description: "`true`: what progress is drawn from." })),
        }),
        detail: docs({
          tag: TAG,
          summary: "Events, live",
          description:
            "From the first (or behind `Last-Event-ID`) until the end; then `event: end`. With " +
            "`digest` each message is `{events}`, without values, and items of loops are summed up " +
            "as `loop.progress`.",
          type: "text/event-stream",
        }),
      },
    )
    .get(
      "/:id/logs",
      async ({ params, query }) => {
        const { executionId } = await findExecution(reader, params.id);
        const limit = clamp(query.limit, { min: 1, max: 10_000, otherwise: 1000 });
        const { lines, lastSeq } = await reader.readLogs(executionId, {
          ...readLogQuery(query),
          limit,
        });
        const next = lines.length < limit ? null : lastSeq;
        return { execution_id: executionId, next_after_seq: next, logs: lines.map(viewLine) };
      },
      {
        params: ExecutionParams,
        query: t.Object({ limit: t.Optional(t.Numeric()), ...LogFilter }),
        detail: docs({
          tag: TAG,
          summary: "Log lines",
          description:
            "In order; a page may hold more than `limit`. Go on with `after_seq` = `next_after_seq` while that is not null.",
        }),
      },
    )
    .get(
      "/:id/logs/stream",
      async ({ params, query, request }) => {
        const { executionId } = await findExecution(reader, params.id);
        const after = request.headers.get("last-event-id") ?? query.after_seq;
        const log = readLogQuery({ ...query, after_seq: after ?? undefined });
        return streamEvents(
          (signal) => followLogs(context, executionId, { ...log, signal }),
          options,
        );
      },
      {
        params: ExecutionParams,
        query: t.Object(LogFilter),
        detail: docs({
          tag: TAG,
          summary: "Log lines, live",
          description:
            "From the first kept line (or behind `Last-Event-ID`) until the execution has ended; then `event: end`.",
          type: "text/event-stream",
        }),
      },
    );
}

const LogFilter = { after_seq: t.Optional(t.String()), step: t.Optional(t.String()) };

function readLogQuery(query: {
  readonly after_seq?: string | undefined;
  readonly step?: string | undefined;
}): LogQuery {
  const afterSeq = seqOfEventId(query.after_seq);
  return query.step === undefined ? { afterSeq } : { afterSeq, step: query.step };
}

interface FollowOptions {
  readonly afterSeq: number;
  readonly signal: AbortSignal;
}

async function* followEvents(
  context: RouteContext,
  executionId: ExecutionId,
  options: FollowOptions,
): AsyncGenerator<SseMessage> {
  for await (const recorded of context.orchestrator.watch(executionId, options)) {
    const views = viewEvent(executionId, recorded);
    for (const [index, data] of views.entries()) {
      // Only the last one names the position: a client that lost the others gets all of them again.
      yield index === views.length - 1 ? { id: String(recorded.seq), data } : { data };
    }
  }
  yield* endMessage(context, executionId);
}

/** Enough for an eye, and few messages however many items a loop has. */
const DIGEST = { sizeMax: 2000, waitMs: 100 };

async function* followDigest(
  context: RouteContext,
  executionId: ExecutionId,
  options: FollowOptions,
): AsyncGenerator<SseMessage> {
  const events = context.orchestrator.watch(executionId, options);
  for await (const batch of inBatches(events, DIGEST)) {
    // One message for all, so that none of them is counted twice after a lost connection.
    const data = { events: digestEvents(executionId, batch) };
    yield { id: String(batch.at(-1)?.seq ?? options.afterSeq), data };
  }
  yield* endMessage(context, executionId);
}

async function* endMessage(
  { reader }: RouteContext,
  executionId: ExecutionId,
): AsyncGenerator<SseMessage> {
  const row = await reader.getExecution(executionId);
  if (row !== undefined && isTerminal(row.status)) {
    yield { event: "end", data: { execution_id: executionId, status: row.status.toUpperCase() } };
  }
}

async function* followLogs(
  { orchestrator, reader }: RouteContext,
  executionId: ExecutionId,
  query: LogQuery & { readonly signal: AbortSignal },
): AsyncGenerator<SseMessage> {
  const { signal } = query;
  const ended = new AbortController();
  const both = AbortSignal.any([signal, ended.signal]);
  const row = await reader.getExecution(executionId);
  const events = orchestrator.watch(executionId, { afterSeq: row?.seq ?? 0, signal: both });
  const stop = (): void => ended.abort();
  void waitForEnd(events, both).then(stop, stop);
  for await (const { lines, lastSeq } of reader.followLogs(executionId, {
    ...query,
    signal: both,
  })) {
    for (const [index, line] of lines.entries()) {
      // As with events: the last line of a batch names the position.
      const data = viewLine(line);
      yield index === lines.length - 1 ? { id: String(lastSeq), data } : { data };
    }
  }
  if (!signal.aborted) {
    yield { event: "end", data: { execution_id: executionId } };
  }
}

async function waitForEnd(events: AsyncIterable<unknown>, signal: AbortSignal): Promise<void> {
  for await (const _event of events) {
    // Only the end of the iteration counts.
  }
  await sleep(LOG_TAIL_MS, signal);
}

function viewLine(line: LogLine) {
  return {
    time: isoTime(line.timeMs),
    execution_id: line.executionId,
    step: line.step,
    task: line.task,
    index: line.index ?? null,
    attempt: line.attempt,
    command_id: line.commandId,
    stream: line.stream,
    text: line.text,
  };
}
