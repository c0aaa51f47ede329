/** `/metrics` in Prometheus text format. */
import { Elysia } from "elysia";
import { errorMessage } from "../../core/errors.ts";
import { docs } from "../docs.ts";
import { setBusGauges, setDatabaseGauges } from "../gauges.ts";
import type { RouteContext } from "../route-context.ts";

/** Several scrapers together ask the database and NATS this often at most. */
const GAUGES_AGE_MS_MAX = 5000;

export function metricsRoutes(context: RouteContext) {
  const { registry } = context;
  const refresh = createRefresh(context);
  return new Elysia({ normalize: false }).get(
    "/metrics",
    async () => {
      await refresh();
      const headers = { "content-type": registry.contentType };
      return new Response(await registry.text(), { headers });
    },
    { detail: docs({ tag: "Health", summary: "Metrics", type: "text/plain" }) },
  );
}

/** What is not in memory. Without PostgreSQL or NATS the other metrics must still be served. */
function createRefresh({ reader, metrics, log }: RouteContext): () => Promise<void> {
  let readAtMs = 0;
  return async () => {
    metrics.busConnected.set(reader.isBusConnected() ? 1 : 0);
    if (Date.now() - readAtMs < GAUGES_AGE_MS_MAX) {
      return;
    }
    readAtMs = Date.now();
    let part = "database";
    try {
      const pools = await setDatabaseGauges(metrics, reader);
      part = "nats";
      await setBusGauges(metrics, reader, pools);
    } catch (error) {
      log.warn("gauges of the platform are stale", { part, reason: errorMessage(error) });
    }
    metrics.databaseUp.set(part === "database" ? 0 : 1);
  };
}
