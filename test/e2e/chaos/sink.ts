/**
 * The outside world of the playbooks: an HTTP service that is never killed and remembers every call
 * it got, so that effects can be counted.
 */
export interface Sink extends Disposable {
  readonly url: string;
  /** Calls of `POST /effect` with this execution and item. */
  effects(executionId: string, item: number): number;
}

const FLAKY_FAILURES = 2;

/** Listens on a free port of 127.0.0.1. */
export function startSink(): Sink {
  const counts = new Map<string, number>();
  const count = (key: string): number => {
    const value = (counts.get(key) ?? 0) + 1;
    counts.set(key, value);
    return value;
  };
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    routes: {
      "/effect": {
        POST: async (request) => {
          const { execution, item } = Object(await request.json());
          return Response.json({ calls: count(effectKey(String(execution), Number(item))), item });
        },
      },
      /** Fails the first {@link FLAKY_FAILURES} calls of each execution. */
      "/flaky/:execution": (request) =>
        count(`flaky ${request.params.execution}`) <= FLAKY_FAILURES
          ? Response.json({ error: "try again" }, { status: 503 })
          : Response.json({ answer: 42 }),
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    effects: (executionId, item) => counts.get(effectKey(executionId, item)) ?? 0,
    [Symbol.dispose]: () => void server.stop(true),
  };
}

function effectKey(executionId: string, item: number): string {
  return `effect ${executionId} ${item}`;
}
