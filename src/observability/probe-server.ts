/**
 * Metrics and probes of a process without an HTTP API: a worker. Plain `Bun.serve`, because three
 * answers need no router.
 *
 * `/livez` and `/healthz` answer as long as the event loop turns and ask nobody; `/readyz` says with
 * 200 or 503 whether the process takes work, and why.
 */
import { AppError, errorMessage } from "../core/errors.ts";
import type { MetricsRegistry } from "./registry.ts";

export interface ProbeServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly registry: Pick<MetricsRegistry, "contentType" | "text">;
  readonly readiness: () => Readiness;
}

export interface Readiness {
  readonly isReady: boolean;
  /** What else `/readyz` tells, as JSON. */
  readonly details: Readonly<Record<string, unknown>>;
}

export interface ProbeServer extends AsyncDisposable {
  readonly port: number;
}

/** @throws AppError `PROBE_LISTEN_FAILED`. */
export function startProbeServer(options: ProbeServerOptions): ProbeServer {
  const { host, port } = options;
  try {
    const server = Bun.serve({
      hostname: host,
      port,
      fetch: (request) => answer(request, options),
    });
    return {
      port: server.port ?? port,
      [Symbol.asyncDispose]: async () => await server.stop(true),
    };
  } catch (error) {
    throw cannotListen(host, port, error);
  }
}

function cannotListen(host: string, port: number, cause: unknown): AppError {
  return new AppError(
    "unavailable",
    "PROBE_LISTEN_FAILED",
    `Cannot serve metrics on ${host}:${port} (${errorMessage(cause)}): choose another port with --metrics-port`,
    { cause },
  );
}

async function answer(request: Request, options: ProbeServerOptions): Promise<Response> {
  switch (new URL(request.url).pathname) {
    case "/metrics":
      return await metrics(options);
    case "/livez":
    case "/healthz":
      return Response.json({ status: "ok" });
    case "/readyz": {
      const { isReady, details } = options.readiness();
      const body = { status: isReady ? "ok" : "not_ready", ...details };
      return Response.json(body, { status: isReady ? 200 : 503 });
    }
    default:
      return Response.json(
        { error: "There are only /metrics, /livez, /readyz and /healthz" },
        { status: 404 },
      );
  }
}

async function metrics({ registry }: ProbeServerOptions): Promise<Response> {
  return new Response(await registry.text(), { headers: { "content-type": registry.contentType } });
}
