/**
 * The outside world of the playbooks: an HTTP service that is never killed and remembers every call
 * it got, so that effects can be counted.
 */
export interface Sink extends Disposable {
  readonly url: string;
  /** Calls of `POST /effect` with this execution and item. */
  effects(executionId: string, item: number): number;
  /** Of calls of `GET /limited/<key>`, in order; milliseconds since 1970. */
  callTimes(key: string): readonly number[];
  /** From now on `POST /gate/<gate>` takes all items. */
  open(gate: string): void;
}

/** What `POST /token` wants. */
export const CLIENT_SECRET = "cl1ent-s3cret-of-chaos";
/** What `GET /protected` takes, beside tokens that are not over. */
export const STATIC_TOKEN = "st4tic-s3cret-of-chaos";
/** What all tokens begin with. */
export const TOKEN_PREFIX = "tok-s3cret-of-chaos-";

const FLAKY_FAILURES = 2;
const TOKEN_SECONDS = 5;

/** Listens on a free port of 127.0.0.1. */
export function startSink(): Sink {
  const calls = new Map<string, number[]>();
  /** Gives how many there have been. */
  const note = (key: string): number => {
    const times = calls.get(key) ?? [];
    calls.set(key, times);
    return times.push(Date.now());
  };
  const gates = new Set<string>();
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    routes: {
      "/effect": {
        POST: async (request) => {
          const { execution, item } = Object(await request.json());
          return Response.json({ calls: note(effectKey(String(execution), Number(item))), item });
        },
      },
      /** Fails the first {@link FLAKY_FAILURES} calls of each execution. */
      "/flaky/:execution": (request) =>
        note(`flaky ${request.params.execution}`) <= FLAKY_FAILURES
          ? Response.json({ error: "try again" }, { status: 503 })
          : Response.json({ answer: 42 }),
      "/limited/:key": (request) => Response.json({ calls: note(`limited ${request.params.key}`) }),
      "/gate/:gate": {
        POST: async (request) => {
          const { item, isGated } = Object(await request.json());
          return isGated && !gates.has(request.params.gate)
            ? Response.json({ error: "closed" }, { status: 500 })
            : Response.json({ item });
        },
      },
      "/rows/:version/:count": ({ params }) => Response.json(makeRows(params)),
      ...tokenRoutes(),
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    effects: (executionId, item) => calls.get(effectKey(executionId, item))?.length ?? 0,
    callTimes: (key) => calls.get(`limited ${key}`) ?? [],
    open: (gate) => void gates.add(gate),
    [Symbol.dispose]: () => void server.stop(true),
  };
}

function effectKey(executionId: string, item: number): string {
  return `effect ${executionId} ${item}`;
}

function makeRows({
  version,
  count,
}: {
  readonly version: string;
  readonly count: string;
}): readonly object[] {
  const filler = "x".repeat(100);
  return Array.from({ length: Number(count) }, (_, id) => ({ id, version, filler }));
}

/** Tokens that are soon over, and what only they open. */
function tokenRoutes() {
  const issued = new Map<string, number>();
  return {
    "/token": {
      POST: async (request: Request) => {
        const form = new URLSearchParams(await request.text());
        if (form.get("client_secret") !== CLIENT_SECRET) {
          return Response.json({ error: "invalid_client" }, { status: 401 });
        }
        const token = `${TOKEN_PREFIX}${issued.size + 1}`;
        issued.set(token, Date.now() + TOKEN_SECONDS * 1000);
        return Response.json({ access_token: token, expires_in: TOKEN_SECONDS });
      },
    },
    "/protected": (request: Request) => {
      const token = (request.headers.get("authorization") ?? "").replace(/^Bearer /, "");
      const isValid = token === STATIC_TOKEN || (issued.get(token) ?? 0) > Date.now();
      return isValid
        ? Response.json({ answer: 42 })
        : Response.json({ error: "no valid token" }, { status: 401 });
    },
  };
}
