/** What the triggers are made of. */
import type { Bus } from "../bus/bus.ts";
import type { Logger } from "../observability/log.ts";
import type { ServerMetrics } from "../observability/metrics.ts";
import type { Orchestrator } from "../orchestrator/orchestrator.ts";
import type { Store } from "../store/pool.ts";

export type TriggerMetrics = Pick<
  ServerMetrics,
  | "scheduleFirings"
  | "scheduleLagSeconds"
  | "subscriptionReceived"
  | "subscriptionExecutions"
  | "subscriptionDirectives"
  | "subscriptionSpooled"
  | "subscriptionSpoolBytes"
  | "subscriptionCircuit"
  | "subscriptionDeadLettered"
  | "subscriptionBatches"
  | "subscriptionBatchMessages"
  | "subscriptionRateLimited"
>;

export type TriggerOrchestrator = Pick<
  Orchestrator,
  "start" | "cancel" | "newId" | "registerPlaybook" | "openCredential" | "onOverdue"
>;

export interface TriggerOptions {
  readonly store: Store;
  readonly bus: Bus;
  readonly orchestrator: TriggerOrchestrator;
  readonly metrics: TriggerMetrics;
  readonly log: Logger;
  /** Unique per process life; holds the leases. */
  readonly serverId: string;
  /** How long a subscription is held without a renewal; default 10,000. */
  readonly leaseMs?: number | undefined;
}
