/**
 * The stream of the tasks' own output, one message per batch of lines of one step. Bounded by age
 * and size: a convenience for people who watch, not a record.
 */
import type { JetStreamClient, JetStreamManager, JsMsg, NatsConnection } from "nats";
import { AckPolicy, DeliverPolicy, nanos } from "nats";
import type { CommandId, ExecutionId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import type { LogLine } from "../engine/command.ts";
import { orMissing } from "./stream.ts";
import { logFilter, logSubject } from "./subject.ts";

export interface LogPage {
  /** In the order in which they were written, per task. */
  readonly lines: readonly LogLine[];
  /** Continue with `afterSeq` at this; the `afterSeq` asked with when there are no lines. */
  readonly lastSeq: number;
}

export interface LogQuery {
  /** Absent: all steps. */
  readonly step?: string;
  /** Position after which to read; 0 or absent: from the start. */
  readonly afterSeq?: number;
}

/** Half of the server's default limit of a message. */
const BATCH_CHARS_MAX = 512 * 1024;
const READ_WAIT_MS = 2000;
const READER_IDLE_MS = 30_000;

export interface LogBatch {
  readonly subject: string;
  readonly text: string;
}

/** Messages for `lines`, grouped by step, their order kept. */
export function encodeLogs(prefix: string, lines: readonly LogLine[]): readonly LogBatch[] {
  const bySubject = Map.groupBy(lines, (line) => logSubject(prefix, line.executionId, line.step));
  return [...bySubject].flatMap(([subject, group]) =>
    chunk(group.map(encodeLine)).map((texts) => ({ subject, text: `[${texts.join(",")}]` })),
  );
}

function chunk(texts: readonly string[]): readonly (readonly string[])[] {
  const chunks: string[][] = [];
  let room = 0;
  for (const text of texts) {
    const current = chunks.at(-1);
    if (current === undefined || text.length > room) {
      chunks.push([text]);
      room = BATCH_CHARS_MAX - text.length;
    } else {
      current.push(text);
      room -= text.length;
    }
  }
  return chunks;
}

function encodeLine(line: LogLine): string {
  return JSON.stringify({
    execution_id: line.executionId,
    command_id: line.commandId,
    attempt: line.attempt,
    step: line.step,
    index: line.index,
    task: line.task,
    stream: line.stream,
    time_ms: line.timeMs,
    text: line.text,
  });
}

/** Empty for a message that is not a batch of lines. */
export function decodeLogs(text: string): readonly LogLine[] {
  try {
    const value = parseJson(text);
    return Array.isArray(value) ? value.filter(isJsonObject).map(decodeLine) : [];
  } catch {
    // Somebody else's message on our subject: not a line of ours.
    return [];
  }
}

function decodeLine(fields: JsonObject): LogLine {
  const stream = fields["stream"];
  const index = fields["index"];
  return {
    executionId: String(fields["execution_id"] ?? "") as ExecutionId,
    commandId: String(fields["command_id"] ?? "") as CommandId,
    attempt: numberOf(fields["attempt"]),
    step: String(fields["step"] ?? ""),
    ...(typeof index === "number" ? { index } : {}),
    task: String(fields["task"] ?? ""),
    stream: stream === "stderr" || stream === "system" ? stream : "stdout",
    timeMs: numberOf(fields["time_ms"]),
    text: String(fields["text"] ?? ""),
  };
}

function numberOf(value: Json | undefined): number {
  return typeof value === "number" ? value : 0;
}

export interface LogSource {
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
  readonly jetstream: JetStreamClient;
  readonly stream: string;
  readonly prefix: string;
}

/**
 * Lines after a position, oldest first. Gives at least `limit` lines when there are that many: a
 * batch is never split. Empty when the stream is gone.
 */
export async function readLogs(
  source: LogSource,
  executionId: ExecutionId,
  query: LogQuery & { readonly limit: number },
): Promise<LogPage> {
  const lines: LogLine[] = [];
  let lastSeq = query.afterSeq ?? 0;
  const reader = await orMissing(() => addReader(source, executionId, query));
  let pending = reader?.num_pending ?? 0;
  if (reader === undefined || pending === 0) {
    return { lines, lastSeq };
  }
  const consumer = await source.jetstream.consumers.get(source.stream, reader.name);
  while (pending > 0 && lines.length < query.limit) {
    const batch = Math.min(pending, query.limit - lines.length);
    const messages = await consumer.fetch({ max_messages: batch, expires: READ_WAIT_MS });
    let count = 0;
    for await (const message of messages) {
      lines.push(...decodeLogs(message.string()));
      lastSeq = message.seq;
      count++;
    }
    pending = count === 0 ? 0 : pending - count;
  }
  // Nobody waits for it: the server removes an unused reader by itself.
  source.manager.consumers.delete(source.stream, reader.name).catch(() => undefined);
  return { lines, lastSeq };
}

async function addReader(source: LogSource, executionId: ExecutionId, query: LogQuery) {
  const afterSeq = query.afterSeq ?? 0;
  return await source.manager.consumers.add(source.stream, {
    ack_policy: AckPolicy.None,
    filter_subject: logFilter(source.prefix, executionId, query.step),
    ...(afterSeq > 0
      ? { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: afterSeq + 1 }
      : { deliver_policy: DeliverPolicy.All }),
    mem_storage: true,
    inactive_threshold: nanos(READER_IDLE_MS),
  });
}

/**
 * Lines after a position and then live, until `signal` aborts or the connection closes. Goes on
 * after a reconnect and after the stream was made anew.
 */
export async function* followLogs(
  source: LogSource,
  executionId: ExecutionId,
  query: LogQuery & { readonly signal: AbortSignal },
): AsyncGenerator<LogPage, void, undefined> {
  const consumer = await source.jetstream.consumers.get(source.stream, {
    filterSubjects: logFilter(source.prefix, executionId, query.step),
    ...(query.afterSeq !== undefined && query.afterSeq > 0
      ? { opt_start_seq: query.afterSeq + 1 }
      : {}),
  });
  const messages = await consumer.consume({ max_messages: 256, expires: 30_000 });
  const stop = (): void => void messages.close();
  query.signal.addEventListener("abort", stop, { once: true });
  try {
    if (query.signal.aborted) {
      return;
    }
    for await (const message of messages) {
      yield page(message);
    }
  } finally {
    query.signal.removeEventListener("abort", stop);
    await messages.close();
    await consumer.delete().catch(() => false);
  }
}

function page(message: JsMsg): LogPage {
  return { lines: decodeLogs(message.string()), lastSeq: message.seq };
}
