/**
 * `noetl health --listen`: what the monitor knows, over HTTP.
 *
 * `/livez` and `/readyz` are about this process: it goes on checking. `/health` is about the platform, and
 * `/health/nats` about one component: 503 if it is down. No request causes a check.
 */
import { AppError, errorMessage } from "../core/errors.ts";
import type { MetricsRegistry } from "../observability/registry.ts";
import { kindOf } from "./finding.ts";
import type { HealthMonitor } from "./monitor.ts";
import { reportPage } from "./page.ts";
import type { HealthReport } from "./report.ts";
import { overall, reportJson } from "./report.ts";
import { reportText } from "./text.ts";

export interface HealthServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly monitor: HealthMonitor;
  readonly registry: Pick<MetricsRegistry, "contentType" | "text">;
  /** Of this binary. */
  readonly version: string;
}

export interface HealthServer extends AsyncDisposable {
  readonly port: number;
}

const TEXT_WIDTH = 120;

/** @throws AppError `HEALTH_LISTEN_FAILED`. */
export function startHealthServer(options: HealthServerOptions): HealthServer {
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
    throw cannotListen(options, error);
  }
}

function cannotListen(
  { host, port }: Pick<HealthServerOptions, "host" | "port">,
  cause: unknown,
): AppError {
  const message = `Cannot listen on ${host}:${port} (${errorMessage(cause)}): choose another port with --listen`;
  return new AppError("unavailable", "HEALTH_LISTEN_FAILED", message, { cause });
}

async function answer(request: Request, options: HealthServerOptions): Promise<Response> {
  const { monitor, registry } = options;
  const url = new URL(request.url);
  const path = decodeURIComponent(url.pathname);
  switch (path) {
    case "/livez":
    case "/healthz":
      // Before the first report it is still alive; later, one that checks no more must be restarted.
      return probe(monitor.report === undefined || monitor.isCurrent(Date.now()));
    case "/readyz":
      return probe(monitor.isCurrent(Date.now()));
    case "/metrics":
      return new Response(await registry.text(), {
        headers: { "content-type": registry.contentType },
      });
    case "/":
      return Response.redirect("/health", 302);
    default:
      return path === "/health" || path.startsWith("/health/")
        ? health(path.slice("/health/".length), formOf(request, url), options)
        : Response.json(
            { error: "There are only /health, /health/COMPONENT, /livez, /readyz and /metrics" },
            { status: 404 },
          );
  }
}

function probe(isWell: boolean): Response {
  const body = isWell
    ? { status: "ok" }
    : { status: "not_ready", reason: "no current report: checks have not ended yet, or no more" };
  return Response.json(body, { status: isWell ? 200 : 503 });
}

type Form = "json" | "text" | "html";

/** `?format=` wins; then what a browser or `curl -H 'Accept: text/plain'` asks for. */
function formOf(request: Request, url: URL): Form {
  const named = url.searchParams.get("format");
  const accept = request.headers.get("accept") ?? "";
  if (named === "text" || named === "html" || named === "json") {
    return named;
  }
  if (accept.includes("text/html")) {
    return "html";
  }
  return accept.includes("text/plain") ? "text" : "json";
}

function health(name: string, form: Form, { monitor, version }: HealthServerOptions): Response {
  const { report } = monitor;
  if (report === undefined || !monitor.isCurrent(Date.now())) {
    return probe(false);
  }
  const shown = name === "" ? report : only(report, name);
  if (shown === undefined) {
    const known = report.components.map(({ component }) => component);
    const error = `There is no component ${name}; there are ${known.join(", ")}`;
    return Response.json({ error }, { status: 404 });
  }
  const init = { status: shown.status === "down" ? 503 : 200 };
  const { sinces } = monitor;
  switch (form) {
    case "json":
      return Response.json(reportJson(shown, version, sinces), init);
    case "text":
      return new Response(
        `${reportText(shown, { hasColor: false, width: TEXT_WIDTH, sinces })}\n`,
        { ...init, headers: { "content-type": "text/plain; charset=utf-8" } },
      );
    case "html":
      return new Response(reportPage(shown, sinces), {
        ...init,
        headers: { "content-type": "text/html; charset=utf-8" },
      });
  }
}

/** Of one component, or of all of a kind; undefined: there is none. */
function only(report: HealthReport, name: string): HealthReport | undefined {
  const components = report.components.filter(
    ({ component }) => component === name || kindOf(component) === name,
  );
  return components.length === 0
    ? undefined
    : { ...report, components, status: overall(components) };
}
