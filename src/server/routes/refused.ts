/**
 * Routes of NoETL that this server does not have on purpose. Each answers 404 with what to use in its
 * place, so that nobody looks for a mistake in an address.
 */
import { Elysia } from "elysia";
import { AppError } from "../../core/errors.ts";

const GRPC = "workers register, claim and report over gRPC (`noetl worker`)";
const LANGUAGE_MODEL =
  "there is no language model here; POST /api/catalog/playbooks/validate checks";
const TOKEN = "there are no sessions: send `Authorization: Bearer` with NOETL_TOKEN";
const LOG = "events are in PostgreSQL alone: GET /api/executions/ID/events";
const RESULTS = "GET /api/result/resolve?ref=… and GET /api/executions/ID/results";
const INTERNAL = "there is no second event store to feed; nothing internal goes over HTTP";

/** Patterns by what to use in their place. */
export const REFUSED_ROUTES: Readonly<Record<string, string>> = {
  "/api/commands/*": `${GRPC}; open commands: GET /api/executions/ID/commands`,
  "/api/worker/pool/*": GRPC,
  "/api/runtime/*": "executions are not sharded: any server continues any of them",
  "/api/threads": "GET /metrics",
  "/api/profiler/*": "GET /metrics",
  "/api/auth/*": TOKEN,
  "/api/ehdb": LOG,
  "/api/ehdb/*": LOG,
  "/api/internal/*": INTERNAL,
  "/api/executions/:id/analyze": "GET /api/executions/ID/steps and `error_details`",
  "/api/executions/:id/analyze/ai": LANGUAGE_MODEL,
  "/api/catalog/playbooks/explain/ai": LANGUAGE_MODEL,
  "/api/catalog/playbooks/generate/ai": LANGUAGE_MODEL,
  "/api/playbook-tests/*": "tests are files beside playbooks: `noetl test FILE`",
  "/api/mcp/*": "a task of kind mcp calls such servers",
  "/api/stages/*": "frames of cursor loops are commands of workers",
  "/api/frames/*": "frames of cursor loops are commands of workers",
  "/api/temp/*": RESULTS,
  "/api/aggregate/*": RESULTS,
  "/api/context/*": "`noetl test` renders templates of a playbook without a server",
  "/api/gcp/*": "a credential of type gcp_service_account gives tokens to the tasks that name it",
};

export function refusedRoutes() {
  const routes = new Elysia({ normalize: false });
  for (const [path, instead] of Object.entries(REFUSED_ROUTES)) {
    routes.all(
      path,
      ({ request }) => {
        const { pathname } = new URL(request.url);
        throw new AppError("not_found", "ROUTE_UNSUPPORTED", `No route ${pathname}: ${instead}`, {
          details: { instead },
        });
      },
      { parse: "none", detail: { hide: true } },
    );
  }
  return routes;
}
