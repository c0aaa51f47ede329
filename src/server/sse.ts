/**
 * Server-sent events. A stream ends by itself with an event `end`; a client that lost the connection
 * comes back with `Last-Event-ID` and goes on behind it. Comments keep idle connections open.
 */

export interface SseMessage {
  /** What the client sends back as `Last-Event-ID`. */
  readonly id?: string;
  /** Absent: `message`. */
  readonly event?: string;
  /** Serialised as JSON. */
  readonly data: unknown;
}

export interface SseOptions {
  /** Aborted when the server closes. */
  readonly signal: AbortSignal;
  /** Time without a message after which a comment is sent. */
  readonly heartbeatMs: number;
}

const HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-store",
  // nginx would otherwise hold events back.
  "x-accel-buffering": "no",
};

/** Streams `open(signal)`; its signal aborts when the client goes away or the server closes. */
export function streamEvents(
  open: (signal: AbortSignal) => AsyncIterable<SseMessage>,
  options: SseOptions,
): Response {
  const gone = new AbortController();
  const source = open(AbortSignal.any([gone.signal, options.signal]))[Symbol.asyncIterator]();
  let next: Promise<IteratorResult<SseMessage>> | undefined;
  const stream = new ReadableStream<string>({
    start: (controller) => controller.enqueue("retry: 1000\n\n"),
    async pull(controller) {
      next ??= source.next();
      const result = await withTimeout(next, options.heartbeatMs);
      if (result === undefined) {
        controller.enqueue(": still here\n\n");
        return;
      }
      next = undefined;
      if (result.done === true) {
        controller.close();
      } else {
        controller.enqueue(formatMessage(result.value));
      }
    },
    cancel: async () => {
      gone.abort();
      await source.return?.();
    },
  });
  return new Response(stream.pipeThrough(new TextEncoderStream()), { headers: HEADERS });
}

export function formatMessage({ id, event, data }: SseMessage): string {
  const head = `${id === undefined ? "" : `id: ${id}\n`}${event === undefined ? "" : `event: ${event}\n`}`;
  return `${head}data: ${JSON.stringify(data)}\n\n`;
}

/** Undefined when `promise` takes longer. */
async function withTimeout<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
