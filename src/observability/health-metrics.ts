/** What `noetl health --listen` knows of the platform. */
import type { Instruments } from "./definition.ts";
import { createInstruments, gauge } from "./definition.ts";
import type { MetricsRegistry } from "./registry.ts";

const COMPONENT = {
  component: "postgresql, nats, pool/cpu-01 and so on: those that are configured",
};

export const HEALTH_METRICS = {
  componentStatus: gauge(
    "noetl_health_status",
    "How a component is: 1 well, 0.5 degraded or not known, 0 down.",
    COMPONENT,
  ),
  platformStatus: gauge(
    "noetl_health_platform_status",
    "How the platform as a whole is: 1 well, 0.5 degraded or not known, 0 down.",
  ),
  checkSeconds: gauge(
    "noetl_health_check_seconds",
    "How long the last check of a component took.",
    COMPONENT,
  ),
  checkedAt: gauge(
    "noetl_health_checked_timestamp_seconds",
    "When the last round of checks ended, since 1970.",
  ),
};

export type HealthMetrics = Instruments<typeof HEALTH_METRICS>;

export function createHealthMetrics(registry: MetricsRegistry): HealthMetrics {
  return createInstruments(registry, HEALTH_METRICS);
}
