/**
 * Two questions: is it alive (`/livez`: the event loop answers), and can it work (`/readyz`,
 * `/api/health`: database and bus answer too). `/health` is NoETL's name for the first.
 */
import { Elysia } from "elysia";
import type { ComponentHealth } from "../backend.ts";
import { docs } from "../docs.ts";
import type { RouteContext } from "../route-context.ts";

export function healthRoutes(context: RouteContext) {
  const { closing } = context;
  const alive = { status: "ok" };
  return new Elysia({ normalize: false })
    .get("/health", () => alive, { detail: docs({ tag: "Health", summary: "Alive" }) })
    .get("/livez", () => alive, { detail: docs({ tag: "Health", summary: "Alive" }) })
    .get(
      "/readyz",
      async ({ status }) => {
        const { isHealthy, report } = await checkAll(context);
        const isReady = isHealthy && !closing.aborted;
        return status(isReady ? 200 : 503, { ...report, status: isReady ? "ok" : "not_ready" });
      },
      {
        detail: docs({
          tag: "Health",
          summary: "Ready for requests",
          errors: { 503: "Not ready." },
        }),
      },
    )
    .get(
      "/api/health",
      async ({ status }) => {
        const { isHealthy, report } = await checkAll(context);
        return status(isHealthy ? 200 : 503, report);
      },
      { detail: docs({ tag: "Health", summary: "Components", errors: { 503: "Unhealthy." } }) },
    );
}

async function checkAll({ reader, startedAtMs, version }: RouteContext) {
  const { database, nats } = await reader.checkHealth();
  const isHealthy = database.isHealthy && nats.isHealthy;
  const report = {
    status: isHealthy ? "ok" : "unhealthy",
    database: describe(database),
    nats: describe(nats),
    uptime_seconds: Math.floor((Date.now() - startedAtMs) / 1000),
    version,
  };
  return { isHealthy, report };
}

function describe({ isHealthy, reason }: ComponentHealth): string {
  return isHealthy ? "ok" : `unhealthy: ${reason ?? "no reason given"}`;
}
