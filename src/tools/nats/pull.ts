/** One batch of a pull consumer's messages. See ADR-13 of NATS. */
import type { Msg, NatsConnection } from "nats";
import { createInbox } from "nats";
import { taskError } from "../task-error.ts";

export interface PullRequest {
  readonly stream: string;
  readonly consumer: string;
  readonly batch: number;
  /** Wait for the first message; 0: only what is there. Milliseconds. */
  readonly waitMs: number;
  /** Bytes of all messages together. */
  readonly bytesMax: number;
  readonly signal: AbortSignal;
}

/** Beyond the server's own limit: the answer that ends a batch may be lost. */
const GRACE_MS = 2000;
const NANOS_PER_MS = 1_000_000;

/**
 * What is there, at most `batch`; nothing there: the first that comes within `waitMs`, with what
 * has come by then.
 *
 * @throws TaskError if the consumer is gone or a message is larger than the limit.
 */
export async function pullBatch(
  connection: NatsConnection,
  request: PullRequest,
): Promise<readonly Msg[]> {
  const there = await pull(connection, { ...request, waitMs: 0 });
  if (there.length > 0 || request.waitMs <= 0 || request.signal.aborted) {
    return there;
  }
  const first = await pull(connection, { ...request, batch: 1 });
  if (first.length === 0 || request.batch === 1) {
    return first;
  }
  const rest = { ...request, batch: request.batch - 1, waitMs: 0 };
  return [...first, ...(await pull(connection, rest))];
}

async function pull(connection: NatsConnection, request: PullRequest): Promise<readonly Msg[]> {
  const { stream, consumer, batch, waitMs, bytesMax, signal } = request;
  const messages: Msg[] = [];
  const done = Promise.withResolvers<void>();
  const inbox = createInbox();
  const subscription = connection.subscribe(inbox, {
    callback: (error, message) => {
      const end = error === null ? endOf(message) : "over";
      if (end === "message") {
        messages.push(message);
      }
      if (end === "over" || messages.length === batch) {
        done.resolve();
      } else if (end !== "message") {
        done.reject(end);
      }
    },
  });
  const timer = setTimeout(done.resolve, waitMs + GRACE_MS);
  signal.addEventListener("abort", () => done.resolve(), { once: true });
  const wish = waitMs > 0 ? { batch, expires: waitMs * NANOS_PER_MS } : { batch, no_wait: true };
  try {
    connection.publish(
      `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`,
      JSON.stringify({ ...wish, max_bytes: bytesMax }),
      { reply: inbox },
    );
    await done.promise;
    return messages;
  } finally {
    clearTimeout(timer);
    subscription.unsubscribe();
  }
}

/** A message, the end of the batch, or why there is none. */
function endOf(message: Msg): "message" | "over" | Error {
  const code = message.headers?.code ?? 0;
  const text = message.headers?.description ?? "";
  if (code === 0 || message.data.length > 0) {
    return "message";
  }
  if (code === 409 && /exceeds maxbytes/i.test(text)) {
    return taskError("limit", "RESULT_TOO_LARGE", "a message is larger than a result may be");
  }
  if (code === 503 || (code === 409 && /deleted|push based/i.test(text))) {
    return taskError("not_found", "CONSUMER_NOT_FOUND", `the consumer is gone: ${code} ${text}`);
  }
  return "over";
}
